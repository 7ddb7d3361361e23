//! Connections: bytes in, inputs for the engine; the engine's outputs, bytes out.

mod accept;
mod blob;
mod connection;
mod outbox;
mod refusals;
mod stream;

use std::sync::Arc;

pub(crate) use accept::{Accepting, accept};
pub(crate) use outbox::Outbox;
use refusals::Refusals;

use crate::blobs::Blobs;
use crate::metrics::Metrics;

/// What all connections share.
#[derive(Debug)]
struct Common {
    /// The chain of the relay's keys, which changes only between two runs.
    chain: Arc<[u8]>,
    /// Files of blobs.
    blobs: Arc<Blobs>,
    /// What was refused lately.
    refusals: Refusals,
    /// Where answers that the engine knows nothing of are counted.
    metrics: Arc<Metrics>,
}
