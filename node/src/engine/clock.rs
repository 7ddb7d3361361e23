//! The clocks of the running process.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use penpal_protocol::time::Now;
use penpal_transport::BootInstant;

/// Reads both clocks. The monotonic one goes on while the machine sleeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: BootInstant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { start: BootInstant::now() }
    }

    pub(super) fn now(self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now {
            mono: BootInstant::now().saturating_since(self.start),
            wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
        }
    }
}
