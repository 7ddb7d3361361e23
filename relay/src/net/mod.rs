//! Connections: bytes in, inputs for the engine; the engine's outputs, bytes out.

mod accept;
mod connection;
mod outbox;
mod stream;

pub(crate) use accept::{Accepting, accept};
pub(crate) use outbox::Outbox;
