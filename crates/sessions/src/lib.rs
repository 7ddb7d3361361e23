//! Local sessions and the sessions of contacts: names as leases, liveness, presence, and whom an address means.
//!
//! A *session* is an addressable mailbox: a coding agent's conversation, or one opened by hand. This crate decides what
//! it is called, whether it is alive, who may see it, what contacts are told, and which mailbox an address names.
//!
//! ```text
//!   who is calling ──▶ register / bind ┐                  ┌─▶ Change      (to the store)
//!   hooks and calls ─▶ signs           │                  ├─▶ Announce    (to contacts)
//!   processes ───────▶ gone            ├─▶ [`Sessions`] ──┼─▶ MoveMail, MarkEarlier, MailToDesk
//!   contacts ────────▶ up, down, list  │                  └─▶ Watch, Unwatch
//!   people ──────────▶ rename, hide …  ┘                       [`Sessions::resolve`], views
//! ```
//!
//! It reads no clock, process table, file or socket; it never sees a message. It does not decide who is calling (the
//! crate for agents does) and not when to wake a session.
//!
//! | module | holds |
//! | --- | --- |
//! | `machine` | [`Sessions`]: the state, its inputs and timers |
//! | `input` | what the shell tells it |
//! | `command` | what it asks of the shell |
//! | `record` | what is stored |
//! | `lease` | take-over, merging |
//! | `naming` | who is called what |
//! | `mend` | restored records that contradict each other |
//! | `life` | state and reach |
//! | `announce` | presence that goes out |
//! | `peer` | presence that came in |
//! | `resolve` | whom an address means |
//! | `view` | rows for people |
//!
//! ```
//! use penpal_protocol::time::Now;
//! use penpal_sessions::{AgentConversation, Place, Registration, ProcessModel, Sessions};
//! # use std::time::Duration;
//! # use rand_core::SeedableRng;
//! # let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
//! let now = Now { mono: Duration::from_secs(1), wall_ms: 1_795_219_100_000 };
//! let mut sessions = Sessions::new();
//! sessions.handle_started(now);
//! let placed = sessions
//!     .handle_register(
//!         Registration {
//!             agent: "claude-code".parse()?,
//!             model: ProcessModel::OnePerConversation,
//!             process: None,
//!             conversation: AgentConversation::new("225e01cd").map(|id| (id, true)),
//!             place: Place::new("/home/alice/proj/src", Some("/home/alice/proj"), None),
//!             wanted: None,
//!             headless: false,
//!             fork: false,
//!         },
//!         now,
//!         &mut rng,
//!     )?;
//! assert_eq!(placed.name.as_str(), "proj");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod announce;
mod command;
mod error;
mod input;
mod lease;
mod life;
mod machine;
mod mend;
mod naming;
mod peer;
mod record;
mod resolve;
mod view;

pub use announce::{ANNOUNCE_INTERVAL, GREET_INTERVAL, REFRESH_AFTER};
pub use command::{Change, Command, Table};
pub use error::{CloseError, NameError, RegisterError, RestoreError, UnknownSession};
pub use input::{
    AgentConversation, Binding, DeliveryMode, Place, Placed, PlacedHow, ProcessModel, ProcessRef,
    Registration, Sign,
};
pub use lease::{ENDED_NAME_LIFE_MS, MAX_SESSIONS};
pub use life::{ENDED_AFTER, SHARED_SILENCE};
pub use machine::Sessions;
pub use peer::PresenceOutcome;
pub use resolve::{Directory, DirectoryContact, Inbound, ResolveError, Target, Unchecked};
pub use view::{LocalView, RemoteView, Whereabouts};
