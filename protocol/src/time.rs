//! The two clocks that every state machine is given.

use std::time::Duration;

/// One reading of both clocks, passed into machines; they never read a clock themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Since some fixed start of this process; never goes back and counts through suspend. Drives deadlines.
    pub mono: Duration,
    /// Unix milliseconds. May jump either way; only for values that people or peers see.
    pub wall_ms: u64,
}

impl Now {
    /// This reading moved forward on both clocks.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self { mono: self.mono.saturating_add(by), wall_ms: self.wall_ms.saturating_add(by_ms) }
    }
}
