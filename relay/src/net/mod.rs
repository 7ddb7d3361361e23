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
use penpal_transport::Patience;
use refusals::Refusals;
pub(crate) use stream::ANSWER_PATIENCE;

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
    /// How long an answer may lie unread.
    patience: Patience,
}
