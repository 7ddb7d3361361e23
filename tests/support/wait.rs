//! Waiting for something that other processes do.

use std::time::{Duration, Instant};

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again and again until something holds.
///
/// # Panics
/// When it does not hold within [`PATIENCE`].
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < limit, "{what} did not happen within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
