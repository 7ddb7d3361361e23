//! Two people on a hostile relay.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use penpal_local_api::home::Home;
use penpal_tests::{Person, connect, folder, wait};
use serde_json::Value;

use crate::double::Double;

/// Alice, who invites, and Bob, each with a node of their own; their relay is the double.
pub(crate) struct Scene {
    pub(crate) alice: Person,
    pub(crate) bob: Person,
    pub(crate) relay: Double,
    folder: tempfile::TempDir,
    clock: Option<Arc<AtomicU64>>,
    nodes: Vec<std::thread::JoinHandle<()>>,
}

impl Scene {
    /// Alice has an account; Bob is nobody yet.
    pub(crate) fn strangers() -> Self {
        let folder = folder();
        let (alice, bob) = (Person::new(&folder, "alice"), Person::new(&folder, "bob"));
        let scene = Self { alice, bob, relay: Double::start(), folder, clock: None, nodes: Vec::new() };
        scene.register();
        scene
    }

    /// The two are contacts, and the mail of becoming so is through.
    pub(crate) fn connected() -> Self {
        Self::strangers().connect()
    }

    /// Like [`Self::connected`], with both nodes in this process, on clocks that [`Self::pass`] moves.
    pub(crate) fn connected_with_clocks() -> Self {
        Self::strangers_with_clocks().connect()
    }

    /// Like [`Self::strangers`], on such clocks.
    pub(crate) fn strangers_with_clocks() -> Self {
        let folder = folder();
        let (alice, bob) = (Person::new(&folder, "alice"), Person::new(&folder, "bob"));
        let ahead = Arc::new(AtomicU64::new(0));
        let nodes = [&alice, &bob].map(|person| {
            let home = Home::at(person.home().to_path_buf());
            let clock = penpal::engine::Clock::ahead_for_tests(Arc::clone(&ahead));
            std::thread::spawn(move || penpal::daemon::run_for_tests(&home, clock).expect("a node"))
        });
        for person in [&alice, &bob] {
            let socket = Home::at(person.home().to_path_buf()).socket();
            wait::until("the node's socket", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
        }
        let (relay, clock) = (Double::start(), Some(ahead));
        let scene = Self { alice, bob, relay, folder, clock, nodes: nodes.into() };
        scene.register();
        scene
    }

    fn register(&self) {
        self.alice.ok(&["register", self.relay.address(), "--handle", "alice", "--device", "laptop"]);
    }

    fn connect(self) -> Self {
        connect(&self.alice, &self.bob);
        self.settle();
        self
    }

    /// Waits until neither owes the other anything.
    pub(crate) fn settle(&self) {
        for person in [&self.alice, &self.bob] {
            wait::until("an empty outbox", || {
                person.json(&["outbox"])["messages"].as_array().is_some_and(Vec::is_empty)
            });
        }
    }

    /// Somebody else with a home here.
    pub(crate) fn person(&self, name: &str) -> Person {
        Person::new(&self.folder, name)
    }

    /// Lets time pass on both nodes and the relay.
    pub(crate) fn pass(&self, minutes: u64) {
        let ms = minutes * 60_000;
        self.clock.as_ref().expect("nodes with clocks").fetch_add(ms, Ordering::Relaxed);
        self.relay.with(|world| world.ahead_ms += ms);
        for person in [&self.alice, &self.bob] {
            person.ok(&["status"]);
        }
    }

    /// Sends to the other's desk without waiting; gives the id.
    pub(crate) fn send(&self, from: &Person, to: &str, text: &str) -> String {
        let sent = from.json(&["send", to, text, "--wait", "0s"]);
        sent["id"].as_str().expect("an id").to_owned()
    }

    /// Repeats something, such as letting time pass, until neither owes the other anything.
    pub(crate) fn settle_after(&self, mut act: impl FnMut()) {
        let owes =
            |person: &Person| !person.json(&["outbox"])["messages"].as_array().is_some_and(Vec::is_empty);
        for _ in 0..40 {
            let until = std::time::Instant::now() + std::time::Duration::from_millis(700);
            while std::time::Instant::now() < until {
                if !owes(&self.alice) && !owes(&self.bob) {
                    return;
                }
                std::thread::park_timeout(std::time::Duration::from_millis(20));
            }
            act();
        }
        self.settle();
    }

    /// Waits until all of these are in somebody's desk, exactly once each, in this order, and nothing else is.
    pub(crate) fn arrives(&self, at: &Person, texts: &[&str]) {
        wait::until("the mail", || at.bodies("desk").len() >= texts.len());
        assert_eq!(at.bodies("desk"), texts);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if self.nodes.is_empty() {
            return;
        }
        for person in [&self.alice, &self.bob] {
            person.run(&["daemon", "stop"]);
        }
        for node in self.nodes.drain(..) {
            let ended = node.join();
            drop(ended);
        }
    }
}

/// Present stage of an own message.
pub(crate) fn stage(person: &Person, id: &str) -> String {
    let events = trail(person, id);
    events.last().map(|event| event.0.clone()).unwrap_or_default()
}

/// The trail of an own message: stage and whether it is signed, in order.
pub(crate) fn trail(person: &Person, id: &str) -> Vec<(String, bool)> {
    let trace = person.json(&["trace", id]);
    let events = trace["events"].as_array().cloned().unwrap_or_default();
    let row =
        |event: &Value| (event["stage"].as_str().unwrap_or_default().to_owned(), event["signed"] == true);
    events.iter().map(row).collect()
}

/// Waits for a stage.
pub(crate) fn reaches(person: &Person, id: &str, wanted: &str) {
    wait::until(wanted, || trail(person, id).iter().any(|(stage, _)| stage == wanted));
}

/// What status tells a person, as JSON.
pub(crate) fn status(person: &Person) -> Value {
    person.json(&["status"])
}

/// Whether a notice holds these words.
pub(crate) fn is_told(person: &Person, words: &str) -> bool {
    let notices = status(person)["notices"].as_array().cloned().unwrap_or_default();
    notices.iter().filter_map(Value::as_str).any(|notice| notice.contains(words))
}

/// Waits for a notice.
pub(crate) fn told(person: &Person, words: &str) {
    wait::until(words, || is_told(person, words));
}

/// Whether the node says that it is connected.
pub(crate) fn is_connected(person: &Person) -> bool {
    status(person)["relay"]["state"] == "connected"
}

/// Why an own message is where it is.
pub(crate) fn reason(person: &Person, id: &str) -> Option<String> {
    let outbox = person.json(&["outbox", "--all"]);
    let rows = outbox["messages"].as_array()?;
    let row = rows.iter().find(|row| row["id"] == id)?;
    row["reason"].as_str().map(str::to_owned)
}

/// How many envelopes of nobody the node has dropped, as `doctor` says.
pub(crate) fn doubtful(person: &Person) -> u64 {
    let doctor = person.run(&["doctor", "--json"]).json();
    let checks = doctor["checks"].as_array().cloned().unwrap_or_default();
    let fact =
        checks.iter().find(|check| check["name"] == "envelopes").and_then(|check| check["fact"].as_str());
    fact.and_then(|fact| fact.split(' ').next()).and_then(|count| count.parse().ok()).unwrap_or(0)
}
