//! Waiting for something that other processes do.

use std::time::{Duration, Instant};

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Most that one look counts for: a machine that sleeps, or stands still for somebody who measures, is not slow.
const LONGEST_LOOK: Duration = Duration::from_secs(12);

/// Looks again and again until something holds.
///
/// # Panics
/// When it does not hold within [`PATIENCE`].
pub fn until(what: &str, holds: impl FnMut() -> bool) {
    until_within(PATIENCE, what, holds);
}

/// The same with another limit.
///
/// # Panics
/// When it does not hold in time.
pub fn until_within(patience: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let mut waited = Duration::ZERO;
    let mut looked = Instant::now();
    while !holds() {
        assert!(waited < patience, "{what} did not happen within {patience:?}");
        std::thread::park_timeout(Duration::from_millis(20));
        let now = Instant::now();
        waited += now.saturating_duration_since(looked).min(LONGEST_LOOK);
        looked = now;
    }
}

/// Whether something comes to hold within so long.
pub fn holds_within(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if holds() {
            return true;
        }
        if begun.elapsed() >= patience {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
