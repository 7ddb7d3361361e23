//! The two clocks, read in one place.

use std::time::{SystemTime, UNIX_EPOCH};

use penpal_protocol::time::Now;
use penpal_transport::clock::BootInstant;

/// Reads both clocks; monotonic time counts from its making, and through suspend.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: BootInstant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: BootInstant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            mono: BootInstant::now() - self.start,
            wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
        }
    }
}
