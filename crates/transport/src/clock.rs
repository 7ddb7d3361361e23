//! The clocks: monotonic time that goes on while the machine sleeps, and wall time for what people and peers see.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads the clocks for a program; a simulation has its own.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Monotonic time since some origin that stays the same while the process lives; it counts time spent suspended.
    fn boot(&self) -> BootInstant;

    /// Wall time in milliseconds since the Unix epoch. It may jump, also back.
    fn wall_ms(&self) -> u64;
}

/// The clocks of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn boot(&self) -> BootInstant {
        BootInstant::now()
    }

    fn wall_ms(&self) -> u64 {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A point on the machine's clock since boot, time spent suspended included.
///
/// `std::time::Instant` stands still during suspend on Linux and macOS, so a deadline kept in it comes late by as long
/// as the lid was closed. Resolution nanoseconds, range 584 years; additions saturate. Only comparable within one boot.
/// In tests and simulations any origin will do: [`Self::from_nanos`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootInstant(u64);

impl BootInstant {
    /// Now: `CLOCK_BOOTTIME` on Linux, `CLOCK_MONOTONIC` on macOS, where it counts sleep.
    pub fn now() -> Self {
        system::since_boot()
    }

    /// The instant this many nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to this; zero when it is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for BootInstant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub for BootInstant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.saturating_since(earlier)
    }
}

impl fmt::Debug for BootInstant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BootInstant({:?})", Duration::from_nanos(self.0))
    }
}

/// How long the machine has been suspended since boot: 0 where the system does not tell.
///
/// Linux keeps two clocks, of which only one runs during suspend; their difference is the answer.
pub fn suspended_since_boot() -> Duration {
    system::suspended()
}

#[cfg(unix)]
mod system {
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    use super::BootInstant;

    fn nanos(clock: ClockId) -> u64 {
        let time = clock_gettime(clock);
        // Neither clock is ever negative, and 64 bits of nanoseconds last 584 years.
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
    }

    #[cfg(target_os = "linux")]
    pub(super) fn since_boot() -> BootInstant {
        BootInstant(nanos(ClockId::Boottime))
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn since_boot() -> BootInstant {
        BootInstant(nanos(ClockId::Monotonic))
    }

    #[cfg(target_os = "linux")]
    pub(super) fn suspended() -> Duration {
        // Read in this order a preemption in between makes the result too small, never too large.
        let boot = nanos(ClockId::Boottime);
        Duration::from_nanos(boot.saturating_sub(nanos(ClockId::Monotonic)))
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn suspended() -> Duration {
        use std::sync::OnceLock;
        use std::time::Instant;

        // `Instant` does not count sleep here and `Monotonic` does: how far they have drifted apart since first asked.
        static ORIGIN: OnceLock<(u64, Instant)> = OnceLock::new();
        let boot = nanos(ClockId::Monotonic);
        let (origin, awake) = ORIGIN.get_or_init(|| (boot, Instant::now()));
        Duration::from_nanos(boot.saturating_sub(*origin)).saturating_sub(awake.elapsed())
    }
}

#[cfg(not(unix))]
mod system {
    use std::sync::OnceLock;
    use std::time::{Duration, Instant};

    use super::BootInstant;

    pub(super) fn since_boot() -> BootInstant {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        let elapsed = ORIGIN.get_or_init(Instant::now).elapsed();
        BootInstant(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(super) fn suspended() -> Duration {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let late = BootInstant::from_nanos(u64::MAX - 1);
        assert_eq!(late + Duration::MAX, BootInstant::from_nanos(u64::MAX));
        assert_eq!(BootInstant::from_nanos(1) - late, Duration::ZERO);
        assert_eq!((late + Duration::ZERO) - BootInstant::from_nanos(u64::MAX - 3), Duration::from_nanos(2));
    }

    #[test]
    fn clock_does_not_go_back() {
        let first = BootInstant::now();
        assert!(BootInstant::now() >= first);
        assert!(suspended_since_boot() <= first - BootInstant::from_nanos(0));
    }
}
