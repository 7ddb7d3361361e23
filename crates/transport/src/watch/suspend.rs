//! Noticing that the machine was asleep.

use std::time::Duration;

use crate::clock;

/// Sleep shorter than this is no resume: connections survive it (docs/protocol.md §5, idle timeout 60 s).
pub const RESUME_THRESHOLD: Duration = Duration::from_secs(30);

/// Compares how long the machine has been suspended with what was known before.
///
/// Costs two clock reads: call it whenever anything runs. Pure but for [`Self::new`] and [`Self::check`].
#[derive(Debug, Clone, Copy)]
pub struct SuspendCheck {
    known: Duration,
}

impl SuspendCheck {
    /// Starts from now.
    pub fn new() -> Self {
        Self::from_known(clock::suspended_since_boot())
    }

    /// Starts from a given total, for tests and simulations.
    pub const fn from_known(known: Duration) -> Self {
        Self { known }
    }

    /// How long the machine slept since the last report, if longer than [`RESUME_THRESHOLD`].
    pub fn check(&mut self) -> Option<Duration> {
        self.check_total(clock::suspended_since_boot())
    }

    /// As [`Self::check`], with the total given. Short sleeps add up until they are reported.
    pub fn check_total(&mut self, total: Duration) -> Option<Duration> {
        let slept = total.saturating_sub(self.known);
        if slept <= RESUME_THRESHOLD {
            return None;
        }
        self.known = total;
        Some(slept)
    }
}

impl Default for SuspendCheck {
    fn default() -> Self {
        Self::new()
    }
}

/// Waits for the machine to wake from suspend.
#[derive(Debug)]
pub struct SuspendWatch {
    check: SuspendCheck,
    clock_jumps: jumps::ClockJumps,
}

impl SuspendWatch {
    /// Starts watching. Needs a tokio runtime. Where the system reports no resume, [`Self::resumed`] never returns and
    /// [`Self::check`] is the way.
    pub fn new() -> Self {
        Self { check: SuspendCheck::new(), clock_jumps: jumps::ClockJumps::new() }
    }

    /// Waits until the machine has slept longer than [`RESUME_THRESHOLD`]; says how long. Cancel-safe.
    ///
    /// On Linux it returns within moments of waking: resuming sets the wall clock, which cancels a timer made for it.
    /// Somebody setting the clock wakes this too, and is told from sleep by the clocks that nobody can set.
    pub async fn resumed(&mut self) -> Duration {
        loop {
            if let Some(slept) = self.check.check() {
                return slept;
            }
            self.clock_jumps.next().await;
        }
    }

    /// Asks without waiting; a sleep is reported once, here or by [`Self::resumed`].
    pub fn check(&mut self) -> Option<Duration> {
        self.check.check()
    }
}

impl Default for SuspendWatch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(target_os = "linux")]
mod jumps {
    use std::io;
    use std::os::fd::OwnedFd;

    use rustix::io::Errno;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::unix::AsyncFd;

    use crate::watch::readable;

    /// A wall-clock timer in the far future, cancelled by every discontinuous change of that clock (timerfd_create(2),
    /// `TFD_TIMER_CANCEL_ON_SET`); the kernel counts waking from suspend as one.
    #[derive(Debug)]
    pub(super) struct ClockJumps(Option<AsyncFd<OwnedFd>>);

    impl ClockJumps {
        pub(super) fn new() -> Self {
            match Self::open() {
                Ok(timer) => Self(Some(timer)),
                Err(error) => {
                    tracing::debug!(%error, "resume from suspend will not be reported");
                    Self(None)
                }
            }
        }

        fn open() -> io::Result<AsyncFd<OwnedFd>> {
            let timer =
                timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
            arm(&timer)?;
            readable(timer)
        }

        pub(super) async fn next(&mut self) {
            let Some(timer) = &self.0 else { return std::future::pending().await };
            if let Err(error) = wait(timer).await {
                tracing::debug!(%error, "resume from suspend will no longer be reported");
                self.0 = None;
            }
        }
    }

    fn arm(timer: &OwnedFd) -> io::Result<()> {
        // The year 2262: the last second that nanoseconds in 64 bits can say, which the kernel takes as "never".
        let never = Timespec { tv_sec: i64::MAX / 1_000_000_000, tv_nsec: 0 };
        let spec = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: never };
        timerfd_settime(timer, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &spec)?;
        Ok(())
    }

    async fn wait(timer: &AsyncFd<OwnedFd>) -> io::Result<()> {
        loop {
            let mut ready = timer.readable().await?;
            let mut expirations = [0; 8];
            match rustix::io::read(timer.get_ref(), &mut expirations) {
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                // ECANCELED is the jump; the timer stays armed. An expiry in 2262 is as good.
                Ok(_) | Err(Errno::CANCELED) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod jumps {
    /// Nothing reports a resume here.
    #[derive(Debug)]
    pub(super) struct ClockJumps;

    impl ClockJumps {
        pub(super) fn new() -> Self {
            Self
        }

        pub(super) async fn next(&mut self) {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn long_sleep_is_reported_once() {
        let mut check = SuspendCheck::from_known(secs(100));
        assert_eq!(check.check_total(secs(100)), None);
        assert_eq!(check.check_total(secs(130)), None);
        assert_eq!(check.check_total(secs(131)), Some(secs(31)));
        assert_eq!(check.check_total(secs(131)), None);
        assert_eq!(check.check_total(secs(4_000)), Some(secs(3_869)));
    }

    #[test]
    fn a_clock_that_goes_back_is_no_resume() {
        let mut check = SuspendCheck::from_known(secs(100));
        assert_eq!(check.check_total(secs(0)), None);
    }

    #[tokio::test]
    async fn a_machine_that_stays_awake_reports_nothing() {
        let mut watch = SuspendWatch::new();
        assert_eq!(watch.check(), None);
        let mut resumed = std::pin::pin!(watch.resumed());
        let poll = std::future::poll_fn(|cx| std::task::Poll::Ready(resumed.as_mut().poll(cx))).await;
        assert!(poll.is_pending());
    }
}
