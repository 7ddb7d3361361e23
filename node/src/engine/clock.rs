//! The clocks of the running process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use penpal_protocol::time::Now;
use penpal_transport::BootInstant;

/// Reads both clocks. The monotonic one goes on while the machine sleeps.
#[derive(Debug, Clone)]
pub struct Clock {
    start: BootInstant,
    /// How far both are ahead of the machine's, in milliseconds.
    ahead_ms: Arc<AtomicU64>,
}

impl Clock {
    /// The machine's clocks; the monotonic one counts from now on.
    #[must_use]
    pub fn start() -> Self {
        Self::ahead_for_tests(Arc::default())
    }

    /// Clocks that are so many milliseconds ahead, which must never fall: so hours pass without waiting for them.
    ///
    /// The engine looks at its clocks whenever something comes in, such as any local call.
    #[must_use]
    pub fn ahead_for_tests(ahead_ms: Arc<AtomicU64>) -> Self {
        Self { start: BootInstant::now(), ahead_ms }
    }

    pub(super) fn now(&self) -> Now {
        let ahead = Duration::from_millis(self.ahead_ms.load(Ordering::Relaxed));
        let wall =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).saturating_add(ahead);
        Now {
            mono: BootInstant::now().saturating_since(self.start).saturating_add(ahead),
            wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
        }
    }
}
