//! The clocks of the running process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use penpal_protocol::time::Now;
use penpal_transport::BootInstant;
use penpal_transport::clock::{Clock as Clocks, SystemClock};

/// Reads both clocks. The monotonic one goes on while the machine sleeps.
#[derive(Debug, Clone)]
pub struct Clock {
    clocks: Arc<dyn Clocks>,
    start: BootInstant,
    /// How far both are ahead of the machine's, in milliseconds.
    ahead_ms: Arc<AtomicU64>,
}

impl Clock {
    /// The machine's clocks; the monotonic one counts from now on.
    #[must_use]
    pub fn start() -> Self {
        Self::start_of(Arc::new(SystemClock))
    }

    /// Other clocks, such as those of a simulated machine.
    #[must_use]
    pub fn start_of(clocks: Arc<dyn Clocks>) -> Self {
        Self { start: clocks.boot(), clocks, ahead_ms: Arc::default() }
    }

    /// Clocks that are so many milliseconds ahead, which must never fall: so hours pass without waiting for them.
    ///
    /// The engine looks at its clocks whenever something comes in, such as any local call.
    #[must_use]
    pub fn ahead_for_tests(ahead_ms: Arc<AtomicU64>) -> Self {
        Self { ahead_ms, ..Self::start() }
    }

    pub(super) fn now(&self) -> Now {
        let ahead_ms = self.ahead_ms.load(Ordering::Relaxed);
        let mono = self.clocks.boot().saturating_since(self.start);
        Now {
            mono: mono.saturating_add(Duration::from_millis(ahead_ms)),
            wall_ms: self.clocks.wall_ms().saturating_add(ahead_ms),
        }
    }
}
