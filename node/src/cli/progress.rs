//! One line on standard error that says how far something is; nothing where that is no terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::output::clean;
pub(crate) use crate::files::size;

/// Pause between two drawings.
const PAUSE: Duration = Duration::from_millis(100);

/// Cells of the bar.
const CELLS: u64 = 24;

/// A bar that is taken away when dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    label: String,
    total: u64,
    begun: Instant,
    drawn: Option<Instant>,
    on: bool,
}

impl Progress {
    /// A bar for so many bytes, drawn with the first step.
    pub(crate) fn new(label: &str, total: u64) -> Self {
        let on = std::io::stderr().is_terminal();
        Self { label: clean(label), total, begun: Instant::now(), drawn: None, on }
    }

    /// So many bytes are done.
    pub(crate) fn set(&mut self, done: u64) {
        let now = Instant::now();
        let fresh = self.drawn.is_some_and(|drawn| now.duration_since(drawn) < PAUSE);
        if !self.on || fresh {
            return;
        }
        self.drawn = Some(now);
        let line = line(&self.label, done, self.total, now.duration_since(self.begun));
        // Nobody looking is no reason to stop.
        let drawn = write!(std::io::stderr().lock(), "\r\x1b[2K{line}");
        drop(drawn);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let wiped = write!(std::io::stderr().lock(), "\r\x1b[2K");
            drop(wiped);
        }
    }
}

fn line(label: &str, done: u64, total: u64, time: Duration) -> String {
    let share = |whole: u64| done.min(total).saturating_mul(whole).checked_div(total).unwrap_or(whole);
    let full = usize::try_from(share(CELLS)).unwrap_or_default();
    let empty = usize::try_from(CELLS).unwrap_or_default().saturating_sub(full);
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = done.saturating_mul(1000).checked_div(millis).unwrap_or_default();
    format!(
        "  {label}  [{}{}] {:>3} %  {} of {}  {}/s",
        "#".repeat(full),
        ".".repeat(empty),
        share(100),
        size(done),
        size(total),
        size(rate)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_says_how_far_and_how_fast() {
        let half = line("x", 512 * 1024, 1024 * 1024, Duration::from_secs(1));
        assert_eq!(half, "  x  [############............]  50 %  512.0 KiB of 1.0 MiB  512.0 KiB/s");
        assert!(line("x", 0, 0, Duration::ZERO).contains("100 %"));
    }
}
