//! How long a frame may take that is long for the link it travels on.
//!
//! A deadline for the whole would be one for the bandwidth, and several that share a slow link would all miss it, for ever. So what
//! counts is that bytes move; the bound of the whole only ends what would trickle without end.

use std::time::Duration;

/// How long is waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Longest time without a byte.
    pub silence: Duration,
    /// Longest time in all.
    pub whole: Duration,
}

/// What was waited for did not come: nothing moved for so long, or it took too long in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing moved for {waited:?}")]
pub struct Stalled {
    /// What passed.
    pub waited: Duration,
}

/// Bytes of a connection that are no progress: keep-alives, acknowledgements, probes of the path.
const IDLE_BYTES: u64 = 4 * 1024;

/// Watches a number of bytes grow; pure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch {
    patience: Patience,
    began: Duration,
    moved: (u64, Duration),
}

impl Watch {
    pub(crate) fn new(patience: Patience, bytes: u64, now: Duration) -> Self {
        Self { patience, began: now, moved: (bytes, now) }
    }

    /// Looks again: how many bytes there are by now.
    pub(crate) fn look(&mut self, bytes: u64, now: Duration) -> Result<(), Stalled> {
        if bytes.saturating_sub(self.moved.0) >= IDLE_BYTES {
            self.moved = (bytes, now);
        }
        let (silent, all) = (now.saturating_sub(self.moved.1), now.saturating_sub(self.began));
        if silent >= self.patience.silence {
            return Err(Stalled { waited: self.patience.silence });
        }
        if all >= self.patience.whole { Err(Stalled { waited: self.patience.whole }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const PATIENCE: Patience = Patience { silence: Duration::from_secs(30), whole: Duration::from_secs(600) };

    fn ends(bytes_a_second: u64) -> Option<Duration> {
        let mut watch = Watch::new(PATIENCE, 0, Duration::ZERO);
        (1..700).map(|at| SECOND * at).find(|now| watch.look(bytes_a_second * now.as_secs(), *now).is_err())
    }

    #[test]
    fn a_slow_link_is_waited_for_and_a_silent_one_is_not() {
        assert_eq!(ends(0), Some(PATIENCE.silence));
        // Keep-alives of an idle connection: some 60 bytes each way in 20 s.
        assert_eq!(ends(6), Some(PATIENCE.silence));
        for slow in [2_000, 16_000, 125_000] {
            assert_eq!(ends(slow), Some(PATIENCE.whole), "{slow}");
        }
    }
}
