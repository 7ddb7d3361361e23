//! What happened in a world, as lines and as one hash: the same seed gives the same hash.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// The record of one world. Clones write to the same.
#[derive(Debug, Clone)]
pub struct Trace {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    began: Instant,
    hash: Sha256,
    events: u64,
    shown: bool,
    line: String,
}

impl Trace {
    /// Begins; `shown` prints every event.
    #[must_use]
    pub fn new(shown: bool) -> Self {
        let inner =
            Inner { began: Instant::now(), hash: Sha256::new(), events: 0, shown, line: String::new() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Notes an event at the present virtual time.
    #[expect(clippy::print_stdout, reason = "whoever asked for a trace wants to see it")]
    pub fn note(&self, event: std::fmt::Arguments<'_>) {
        let mut inner = self.lock();
        let at = inner.began.elapsed().as_millis();
        let mut line = std::mem::take(&mut inner.line);
        line.clear();
        // Writing to a string does not fail.
        writeln!(line, "{:>9}.{:03}  {event}", at / 1000, at % 1000).ok();
        inner.hash.update(line.as_bytes());
        inner.events += 1;
        if inner.shown {
            print!("{line}");
        }
        inner.line = line;
    }

    /// Number of events and the hash of all, in 16 hexadecimal digits.
    #[must_use]
    pub fn finish(&self) -> (u64, String) {
        let inner = self.lock();
        let digest = inner.hash.clone().finalize();
        let mut text = String::new();
        for byte in digest.iter().take(8) {
            write!(text, "{byte:02x}").ok();
        }
        (inner.events, text)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes an event: `note!(trace, "…", …)`.
#[macro_export]
macro_rules! note {
    ($trace:expr, $($event:tt)*) => { $trace.note(format_args!($($event)*)) };
}
