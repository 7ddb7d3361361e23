//! The clocks of one machine: virtual time, with a wall clock that may be wrong.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use penpal::daemon::link::Surroundings;
use penpal_transport::BootInstant;
use penpal_transport::clock::Clock;
use tokio::time::Instant;

use crate::dice::Dice;

/// Wall time at which every world begins: 2026-11-21.
const BEGIN_MS: u64 = 1_795_219_200_000;

/// What the monotonic clock shows when a world begins: machines run already.
const UPTIME: Duration = Duration::from_secs(3600);

/// The clocks, and the chance that links ask for.
#[derive(Debug)]
pub struct PartyClock {
    began: Instant,
    wrong_ms: AtomicI64,
    jitter: std::sync::Mutex<Dice>,
}

impl PartyClock {
    /// Clocks that are right.
    #[must_use]
    pub fn new(began: Instant, jitter: Dice) -> Self {
        Self { began, wrong_ms: AtomicI64::new(0), jitter: std::sync::Mutex::new(jitter) }
    }

    /// Sets by how much the wall clock is wrong from now on.
    pub fn set_wrong(&self, ms: i64) {
        self.wrong_ms.store(ms, Ordering::Relaxed);
    }
}

impl Clock for PartyClock {
    fn boot(&self) -> BootInstant {
        BootInstant::from_nanos(0) + UPTIME + self.began.elapsed()
    }

    fn wall_ms(&self) -> u64 {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        (BEGIN_MS + elapsed).saturating_add_signed(self.wrong_ms.load(Ordering::Relaxed))
    }
}

impl Surroundings for PartyClock {
    fn boot(&self) -> BootInstant {
        Clock::boot(self)
    }

    fn jitter(&self) -> u64 {
        let mut dice = self.jitter.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        dice.below(u64::MAX)
    }
}
