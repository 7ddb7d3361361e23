//! A line in the log for each request that is refused, with the name that the client has for it too.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use penpal_protocol::wire::{Answer, FrameKind};
use penpal_transport::Connection;

/// Most lines in one [`SPAN`]: nobody fills the operator's disk by asking for what is refused.
const MAX_LINES: u32 = 60;

/// How long a count goes on.
const SPAN: Duration = Duration::from_secs(60);

/// How many lines were written lately.
#[derive(Debug)]
pub(crate) struct Refusals(Mutex<Lately>);

#[derive(Debug)]
struct Lately {
    since: Instant,
    lines: u32,
}

impl Default for Refusals {
    fn default() -> Self {
        Self(Mutex::new(Lately { since: Instant::now(), lines: 0 }))
    }
}

impl Refusals {
    /// Notes an answer to the request on this stream, if it is a refusal.
    ///
    /// The line says what was asked and which word was answered; not by whom nor about what.
    pub(super) fn note(&self, connection: &Connection, stream: u64, asked: u8, answer: &Answer) {
        let Answer::Refused(refusal) = answer else { return };
        let asked =
            FrameKind::from_number(asked).map_or_else(|| asked.to_string(), |kind| format!("{kind:?}"));
        match self.line(Instant::now()) {
            0..MAX_LINES => {
                let request = connection.exchange(stream);
                tracing::info!(request, asked, code = ?refusal.code, "refused");
            }
            MAX_LINES => tracing::info!("more is refused; no further lines in this minute"),
            _ => {}
        }
    }

    /// How many lines came before this one.
    fn line(&self, now: Instant) -> u32 {
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(lately.since) >= SPAN {
            *lately = Lately { since: now, lines: 0 };
        }
        let before = lately.lines;
        lately.lines = before.saturating_add(1);
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_a_minute_at_a_time() {
        let refusals = Refusals::default();
        let now = Instant::now();
        assert_eq!((0..100).map(|_| refusals.line(now)).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
        assert_eq!(refusals.line(now + SPAN - Duration::from_secs(1)), 100);
        assert_eq!(refusals.line(now + SPAN + Duration::from_secs(1)), 0);
    }
}
