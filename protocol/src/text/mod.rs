//! What people type and read: names, addresses, relay addresses, invite codes.

pub mod base32;
mod label;

pub use label::{Label, LabelError};
