//! One file for each group of requests.

mod accounts;
mod ack;
mod admin;
mod blob;
mod deposit;
mod device;
mod edge;
mod hello;
mod invite;
mod profile;
mod register;
mod removal;
mod state;

pub(crate) use admin::token_key;
pub(crate) use blob::May;
