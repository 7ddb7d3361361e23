//! What the code under test logs as an error is a failure of the world, unless the world asked for it; and the log says which envelope
//! was sealed to which receive key, which nobody can see from outside.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

thread_local! {
    static ALARMS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static KEYS: RefCell<BTreeMap<String, String>> = const { RefCell::new(BTreeMap::new()) };
}

/// Errors that faults of the world cause.
const EXPECTED: [&str; 1] = ["the disk is full"];

/// Where envelopes are sealed.
const SEALING: &str = "penpal::engine::sealing";

struct Ears;

#[derive(Default)]
struct Words {
    text: String,
    key: String,
    envelope: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a string does not fail.
        match field.name() {
            "message" => write!(self.text, "{value:?} ").ok(),
            "key" => write!(self.key, "{value:?}").ok(),
            "envelope" => write!(self.envelope, "{value:?}").ok(),
            name => write!(self.text, "{name}={value:?} ").ok(),
        };
    }
}

impl<S: Subscriber> Layer<S> for Ears {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        if level != Level::ERROR && target != SEALING {
            return;
        }
        let mut words = Words::default();
        event.record(&mut words);
        if level != Level::ERROR {
            if !words.key.is_empty() {
                KEYS.with_borrow_mut(|keys| keys.insert(words.envelope, words.key));
            }
            return;
        }
        let text = format!("{target}: {} {} {}", words.text.trim_end(), words.key, words.envelope);
        if !EXPECTED.iter().any(|expected| text.contains(expected)) {
            ALARMS.with_borrow_mut(|alarms| alarms.push(text.trim_end().to_owned()));
        }
    }
}

/// Listens from now on, in the whole process. `logs` prints what the code logs, too.
pub fn listen(logs: bool) {
    let shown = logs.then(|| {
        tracing_subscriber::fmt::layer().without_time().with_ansi(false).with_filter(
            Targets::new()
                .with_target("penpal", Level::DEBUG)
                .with_target("penpal_relay", Level::DEBUG)
                .with_target("penpal_relay_core", Level::DEBUG)
                .with_target("penpal_transport", Level::DEBUG),
        )
    });
    // A second world in the same process has a listener already.
    let heard = Targets::new().with_default(LevelFilter::ERROR).with_target(SEALING, Level::TRACE);
    tracing_subscriber::registry().with(Ears.with_filter(heard)).with(shown).try_init().ok();
}

/// How many errors this thread heard and nobody took yet.
#[must_use]
pub fn count() -> usize {
    ALARMS.with_borrow(Vec::len)
}

/// Forgets what was heard since that count: the world had asked for it.
pub fn excuse(since: usize) {
    ALARMS.with_borrow_mut(|alarms| alarms.truncate(since));
}

/// Takes what this thread heard since the last time.
#[must_use]
pub fn take() -> Vec<String> {
    ALARMS.take()
}

/// Takes the receive key of each envelope that was sealed to one, by the names that logs give them.
#[must_use]
pub fn take_keys() -> BTreeMap<String, String> {
    KEYS.take()
}
