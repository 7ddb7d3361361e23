//! The engine: one thread that owns the machines and the store, and turns inputs into durable steps and outputs.
//!
//! ```text
//! inputs ─▶ handle ─▶ machines ─▶ changes ─▶ one batch, one sync ─▶ outputs
//! ```
//!
//! A step takes all inputs that wait, lets the machines decide, stores every change of the step in one atomic batch, and only then
//! releases what the step wants to say. What was not durable was never visible. When a step cannot be stored, the machines are dropped
//! and opened again from what is.
//!
//! | module | does |
//! | --- | --- |
//! | [`run`](self::run()) | the thread: waits and gathers |
//! | [`Engine`] | the step: handles, commits, releases; also for hosts that have no thread |
//! | [`Parts`] | what the engine stands on: store, key files, clocks, randomness |
//! | `machines` | opens contact, delivery and sessions from the store |
//! | `settle` | lets the machines talk until nothing is left to say |
//! | `relay` | what links report |
//! | `arrivals` | opens envelopes |
//! | `artifacts` | which contents are here, and which messages refer to them |
//! | `sealing` | seals envelopes |
//! | `calls` | the methods of the local API, one file a group |
//! | `search` | the index for searching |
//! | `transfers` | files on their way to and from relays |
//! | `waiting` | calls that wait for something |
//! | `events` | tells listeners what changed |
//! | `wakes` | which session is woken when, and how |
//! | `views` | rows as the local API shows them |

#[cfg(test)]
mod alone;
mod arrivals;
mod artifacts;
mod calls;
mod clock;
mod discards;
mod events;
mod fate;
mod fetches;
#[cfg(test)]
mod file_tests;
mod imported;
mod introductions;
mod links;
mod machines;
mod meta;
mod notices;
mod parts;
mod relay;
mod rooms;
mod run;
mod sealing;
mod search;
#[cfg(test)]
mod session_tests;
mod settle;
mod siblings;
mod storage;
mod transfers;
mod views;
mod waiting;
mod wakes;

use penpal_local_api::error::ApiError;
use penpal_local_api::events::Event;
use penpal_local_api::methods::Call;
use penpal_protocol::text::RelayAddress;
use penpal_sessions::ProcessRef;
use penpal_transport::TransportKey;
use penpal_wake::WakeId;

use crate::daemon::link::{LinkCommand, LinkEvent};
use crate::daemon::transfer::{TransferOrder, TransferReport};

pub use clock::Clock;
pub use machines::Engine;
pub use parts::{Parts, Rng};
pub use run::{MAX_INPUTS_A_STEP, run};

/// The change that makes a relay take this node for one that was restored from a copy.
pub(crate) fn forget_runs() -> penpal_store::Batch {
    penpal_store::Batch::new().delete(storage::META, meta::Runs::key())
}

/// Names one call until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Names one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

impl LinkId {
    /// The link to the account's own relay.
    pub const HOME: Self = Self(0);

    /// Connections that carry files; the engine has no link of that name.
    pub const TRANSFERS: Self = Self(u64::MAX);
}

/// What the engine is told.
#[derive(Debug)]
pub enum Input {
    /// A client calls.
    Call {
        /// Names it in the answer.
        id: CallId,
        /// What it wants.
        call: Box<Call>,
    },
    /// A client hung up before its answer.
    CallGone(CallId),
    /// A link reports.
    Link {
        /// Which.
        link: LinkId,
        /// What.
        event: LinkEvent,
    },
    /// What became of something about a file on its way.
    Transfer(TransferReport),
    /// A watched process ended.
    ProcessGone(ProcessRef),
    /// The machine slept and is awake again: clocks jumped.
    Resumed,
    /// What became of a push into an agent.
    WakeTried {
        /// Which wake.
        wake: WakeId,
        /// Whether the agent took it.
        ok: bool,
    },
    /// So many listen to events now.
    Listeners(usize),
    /// The node is to end.
    Stop,
}

/// What the engine wants done, all after the step that says so is durable.
#[derive(Debug)]
pub enum Output {
    /// Answer a call.
    Answer {
        /// Which.
        call: CallId,
        /// JSON, or a failure.
        outcome: Result<Vec<u8>, ApiError>,
    },
    /// Tell whoever listens.
    Event(Event),
    /// Hold a link to this relay from now on.
    OpenLink {
        /// Its name.
        link: LinkId,
        /// Where.
        address: RelayAddress,
        /// Key to show.
        key: TransportKey,
    },
    /// Drop a link.
    CloseLink(LinkId),
    /// Tell a link.
    Link {
        /// Which.
        link: LinkId,
        /// What.
        command: LinkCommand,
    },
    /// Move a file.
    Transfer(TransferOrder),
    /// Report when this process ends.
    Watch(ProcessRef),
    /// No longer of interest.
    Unwatch(ProcessRef),
    /// Somebody asks a session that cannot be woken: the desktop may be told.
    Notify {
        /// Who, by address.
        from: String,
        /// The session's name.
        session: String,
    },
    /// Wake a session; answered by [`Input::WakeTried`].
    Wake {
        /// Names the wake.
        wake: WakeId,
        /// How.
        push: Push,
    },
    /// End the process.
    Stop,
}

/// A way to start a turn in an agent from outside.
#[derive(Debug)]
pub enum Push {
    /// Write one message to the agent's socket.
    Inbox {
        /// Its path.
        socket: String,
        /// The agent's id of the conversation.
        conversation: String,
        /// What to write.
        text: String,
    },
    /// Run the agent's queue command.
    Queue {
        /// Its program.
        program: String,
        /// Folder of its settings, when a variable moved it.
        folder: Option<String>,
        /// The agent's id of the conversation.
        thread: String,
        /// What to queue: no mail.
        text: String,
    },
}
