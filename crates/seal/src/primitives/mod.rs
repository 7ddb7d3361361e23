//! The primitives, each taking a label first: hash, MAC, key derivation, signature, one-time AEAD, padding.

mod aead;
mod derive;
mod padding;
mod signature;

pub(crate) use aead::{open_once, seal_once};
pub(crate) use derive::{Derived, derive, first, hash, hash_short, info, mac, mac_matches};
pub(crate) use padding::{pad, pad_to_step, unpad};
pub use signature::SignatureError;
pub(crate) use signature::{sign, verify};
