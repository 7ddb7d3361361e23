//! Commands of the operator: through a socket to the running relay, or on the folder of a stopped one.

mod client;
mod server;
mod shape;

pub(crate) use client::run;
pub(crate) use server::{ask, serve};
pub use shape::parse_question;
pub(crate) use shape::{Ask, Failure, Reply, TokenShape};
