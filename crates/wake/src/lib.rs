//! When an idle session is woken, by which means, and when a terminal may be typed into.
//!
//! A *wake* starts a turn in an idle session, and a turn costs money. Two pure machines decide:
//!
//! ```text
//!   mail that calls for a wake ─┐                ┌─▶ Wake (this session, by this rung)
//!   idle or not, muted or not ──┼─▶ [`Wakes`] ───┤
//!   rungs that come and go ─────┤                └─▶ Hold (this source used its wakes up)
//!   what became of a wake ──────┘
//!
//!   keys of the person ─────────┐                ┌─▶ Take, Text, Return, Commit
//!   output of the agent ────────┼─▶ [`Typist`] ──┤
//!   a wake is wanted ───────────┘                └─▶ Leave
//! ```
//!
//! Neither reads a clock, socket, file or terminal, and neither sees a message. They do not know which agent offers what: a shell tells
//! them which rungs are there.
//!
//! ```
//! use std::collections::BTreeSet;
//! use std::time::Duration;
//! use penpal_protocol::ids::SessionId;
//! use penpal_wake::{Command, Facts, Outcome, Rung, Source, Wakes};
//!
//! let (session, now) = (SessionId::from_bytes([1; 16]), Duration::from_secs(100));
//! let mut wakes = Wakes::new();
//! let facts = Facts { ready: true, rungs: BTreeSet::from([Rung::Plugin]), waiting: BTreeSet::from([Source::Desk]) };
//! wakes.handle_facts(session, &facts, now);
//! let Some(Command::Wake { wake, rung, .. }) = wakes.poll_command() else { panic!("woken") };
//! assert_eq!(rung, Rung::Plugin);
//! wakes.handle_outcome(wake, Outcome::Woken, now);
//! assert!(wakes.can_wake(session));
//! ```

mod keys;
mod typist;
mod wakes;

pub use keys::{Keys, Typed};
pub use typist::{Act, QUIET, RETURN_AFTER, Typist};
pub use wakes::{
    Command, Facts, HOUR, Health, Outcome, PATIENCE, REST, Rung, SPACING, Source, WAKES_AN_HOUR, WakeId,
    Wakes,
};
