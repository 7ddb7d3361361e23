//! What whole-system tests share: the built binaries, a relay process, people with a home each.
//!
//! Everything runs in temporary folders with an environment of its own: no variable of the person or agent who runs the tests reaches them.

#![expect(clippy::panic, reason = "support of tests: a panic is how a test fails")]

mod binaries;
mod person;
mod relay;
pub mod seed;
pub mod small_disk;
pub mod wait;

pub use binaries::{Binaries, clean_command};
pub use person::{Person, Said};
pub use relay::{Relay, operator_of};

/// A folder that is removed in the end, unless `PENPAL_TEST_KEEP` is set: logs of nodes and relay stand in it, as `PENPAL_LOG` and
/// `PENPAL_RELAY_LOG` want them.
///
/// # Panics
/// When the system gives none.
#[must_use]
pub fn folder() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("penpal-test-")
        .disable_cleanup(std::env::var_os("PENPAL_TEST_KEEP").is_some())
        .tempdir()
        .expect("a temporary folder")
}

/// A relay and two people who are contacts, each with one open session: `alice` with `api`, `bob` with `web`.
#[derive(Debug)]
pub struct Pair {
    /// The relay.
    pub relay: Relay,
    /// Invited.
    pub alice: Person,
    /// Was invited.
    pub bob: Person,
    folder: tempfile::TempDir,
}

impl Pair {
    /// Does what the README tells two people to do.
    ///
    /// # Panics
    /// When a step fails.
    #[must_use]
    pub fn connected() -> Self {
        Self::connected_with(&[])
    }

    /// The same at a relay with further settings, as arguments of `serve`.
    ///
    /// # Panics
    /// When a step fails.
    #[must_use]
    pub fn connected_with(settings: &[&str]) -> Self {
        let folder = folder();
        let relay = Relay::start_with(&folder.path().join("relay"), settings);
        let (alice, bob) = (Person::new(&folder, "alice"), Person::new(&folder, "bob"));
        introduce(&relay, &alice, &bob);
        Self { relay, alice, bob, folder }
    }

    /// The folder of everything.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }
}

/// Makes two people contacts at a relay, each with one open session: `api` of the first, `web` of the second.
///
/// # Panics
/// When a step fails.
pub fn introduce(relay: &Relay, alice: &Person, bob: &Person) {
    let token = relay.token();
    alice.ok(&["register", relay.address(), "--token", &token, "--handle", "alice", "--device", "laptop"]);
    connect(alice, bob);
    alice.ok(&["session", "open", "api"]);
    bob.ok(&["session", "open", "web"]);
    for (person, session) in [(alice, "web"), (bob, "api")] {
        wait::until("the other's session", || {
            let list = person.json(&["contact", "sessions"]);
            list["sessions"].as_array().is_some_and(|rows| rows.iter().any(|row| row["session"] == session))
        });
    }
}

/// Makes two people contacts: the first has an account, the second perhaps not.
///
/// # Panics
/// When a step fails.
pub fn connect(inviter: &Person, invited: &Person) {
    let code = inviter.json(&["contact", "invite"])["code"].as_str().expect("a code").to_owned();
    invited.ok(&["contact", "add", &code, "--handle", invited.name(), "--device", "desktop"]);
    wait::until("the request", || inviter.contact_state(invited.name()).as_deref() == Some("pending-in"));
    inviter.ok(&["contact", "accept", invited.name()]);
    wait::until("the contact", || {
        invited.contact_state(inviter.name()).as_deref() == Some("active")
            && inviter.contact_state(invited.name()).as_deref() == Some("active")
    });
}
