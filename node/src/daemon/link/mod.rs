//! Links to relays: one that is held for ever to the account's own relay, and short ones to relays of contacts elsewhere.
//!
//! A link owns one task. It takes [`LinkCommand`]s from the engine and gives [`LinkEvent`]s back, in order: `Up`, then events and
//! answers, then `Down`. What was asked and not answered when a connection ends is reported as unreachable before `Down`.
//! The engine bounds what it has under way, so the command queue needs no bound of its own.

mod all;
mod connection;
mod foreign;
mod home;
mod keys;

use std::net::SocketAddr;
use std::sync::Arc;

use penpal_protocol::Revisions;
use penpal_protocol::ids::{DepositId, TransportPublicKey};
use penpal_protocol::text::RelayAddress;
use penpal_protocol::wire::{Answer, Deposit, DepositOutcome, Event, Request, Welcome};
use penpal_transport::{BootInstant, DialError, Dialer, LossKind, TransportKey};
use tokio::sync::mpsc;

use super::inputs::EngineHandle;
use crate::engine::LinkId;
pub use keys::KnownKeys;

pub use all::Links;
pub(super) use connection::{Live, dial};

/// Events of all links that may wait for the engine, in KiB. Beyond it links do not read on.
pub const MAX_WAITING_KIB: u32 = 4 * 1024;

/// Least share of an event in [`MAX_WAITING_KIB`], in KiB: however small events are, half the engine's queue is left for local calls.
const LEAST_EVENT_KIB: u32 = 8;

const _: () = assert!((MAX_WAITING_KIB / LEAST_EVENT_KIB) as usize <= super::inputs::MAX_WAITING_INPUTS / 2);

/// What the engine asks of a link.
#[derive(Debug)]
pub enum LinkCommand {
    /// Ask and report the answer under the same token.
    Request {
        /// Names the request in its answer.
        token: u64,
        /// The request.
        request: Box<Request>,
    },
    /// Hand over an envelope, after all that were handed over before.
    Deposit(Box<Deposit>),
    /// Dial now, if not connected: somebody is waiting.
    Hurry,
    /// End the connection because of what the relay says on it.
    GiveUp {
        /// One line for people.
        why: String,
    },
}

/// What a link reports.
#[derive(Debug)]
pub enum LinkEvent {
    /// The relay took the connection.
    Up {
        /// Its first words.
        welcome: Welcome,
        /// Key that this side showed.
        key: TransportPublicKey,
    },
    /// A dial failed, or the connection ended.
    Down {
        /// Why.
        trouble: Trouble,
    },
    /// A dial began.
    Dialing,
    /// Something from the delivery stream.
    Event {
        /// What.
        event: Box<Event>,
        /// Its share of [`MAX_WAITING_KIB`], given back once the engine has taken it.
        room: Option<tokio::sync::OwnedSemaphorePermit>,
    },
    /// An answer.
    Answer {
        /// Token of the request.
        token: u64,
        /// The answer, or nothing when the relay could not be asked or did not answer.
        answer: Option<Box<Answer>>,
        /// Name of the exchange, which the relay's log has too; only of a refusal.
        refused: Option<String>,
    },
    /// What became of a deposit; nothing when the connection ended first.
    Deposited {
        /// The deposit.
        deposit: DepositId,
        /// What became of it.
        outcome: Option<DepositOutcome>,
    },
}

/// Why a link is down, as the engine tells people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The relay shows another key than the address pins.
    WrongPin {
        /// One line for people.
        text: String,
    },
    /// Neither side speaks the other's version.
    Incompatible {
        /// One line for people.
        text: String,
    },
    /// No answer to anything.
    NoAnswer {
        /// One line for people.
        text: String,
    },
    /// Anything else.
    Other {
        /// One line for people.
        text: String,
    },
}

impl Trouble {
    /// One line for people.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::WrongPin { text }
            | Self::Incompatible { text }
            | Self::NoAnswer { text }
            | Self::Other { text } => text,
        }
    }

    fn other(text: impl Into<String>) -> Self {
        Self::Other { text: text.into() }
    }

    fn of_dial(error: &DialError, address: &RelayAddress) -> Self {
        let place = format!("{}:{}", address.host(), address.port());
        if let DialError::WrongKey { .. } = error {
            Self::WrongPin { text: format!("the relay at {place} shows another key than its address pins") }
        } else if let DialError::Incompatible { .. } = error {
            Self::Incompatible { text: format!("the relay at {place} speaks another protocol: {error}") }
        } else if let DialError::NoAnswer { .. } = error {
            Self::NoAnswer { text: format!("UDP to {place} gets no answer") }
        } else {
            Self::Other { text: format!("cannot reach the relay at {place}: {error}") }
        }
    }

    /// A word for the log, which names no relay; the text is logged only where more is asked for.
    fn note(&self, what: &str) {
        let why = match self {
            Self::WrongPin { .. } => "another key",
            Self::Incompatible { .. } => "another version",
            Self::NoAnswer { .. } => "no answer",
            Self::Other { .. } => "network or relay",
        };
        tracing::info!(why, "{what}");
        tracing::debug!(trouble = self.text(), "{what}");
    }

    /// Whether waiting will hardly help.
    fn kind(&self) -> LossKind {
        match self {
            Self::WrongPin { .. } | Self::Incompatible { .. } => LossKind::Refused,
            Self::NoAnswer { .. } | Self::Other { .. } => LossKind::Transient,
        }
    }
}

/// The engine's end of a link. Dropping it ends the link's task and its connection.
#[derive(Debug)]
pub struct Link {
    commands: mpsc::UnboundedSender<LinkCommand>,
    task: tokio::task::JoinHandle<()>,
}

/// What every link needs.
#[derive(Debug, Clone)]
pub struct LinkContext {
    /// Which link it is.
    pub id: LinkId,
    /// Where the relay is.
    pub address: RelayAddress,
    /// Key to show.
    pub key: TransportKey,
    /// Keys of relays that changed them.
    pub keys: Arc<KnownKeys>,
    /// The socket.
    pub dialer: Dialer,
    /// Where events go.
    pub engine: EngineHandle,
    /// Tells of network changes and resumed machines.
    pub nudges: Arc<tokio::sync::watch::Sender<Nudge>>,
    /// Room for waiting events, shared by all links: [`MAX_WAITING_KIB`] permits.
    pub room: Arc<tokio::sync::Semaphore>,
    /// Time and chance.
    pub surroundings: Arc<dyn Surroundings>,
    /// Name server to ask; the system's when absent.
    pub dns: Option<SocketAddr>,
    /// Revisions that this side speaks: those of this code, but in tests.
    pub revisions: Revisions,
}

/// Time and chance as links need them; a simulation has its own.
pub trait Surroundings: std::fmt::Debug + Send + Sync {
    /// Monotonic time that counts suspended time.
    fn boot(&self) -> BootInstant;

    /// A uniform number for jitter.
    fn jitter(&self) -> u64;
}

/// The system's clock and generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemSurroundings;

impl Surroundings for SystemSurroundings {
    fn boot(&self) -> BootInstant {
        BootInstant::now()
    }

    /// Zero, the least pause, when the system has none to give.
    fn jitter(&self) -> u64 {
        getrandom::u64().unwrap_or(0)
    }
}

/// The latest thing that happened to the machine under the connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Nudge {
    /// Counts network changes.
    pub network: u64,
    /// Counts resumptions.
    pub resumed: u64,
}

impl Link {
    /// Starts the link to the account's own relay: it dials at once, and again whenever it is down.
    #[must_use]
    pub fn home(context: LinkContext) -> Self {
        Self::spawn(context, |context, commands| Box::pin(home::run(context, commands)))
    }

    /// Starts a link to a contact's relay: it dials when there is something to say, and hangs up after a quiet minute.
    #[must_use]
    pub fn foreign(context: LinkContext) -> Self {
        Self::spawn(context, |context, commands| Box::pin(foreign::run(context, commands)))
    }

    fn spawn(
        context: LinkContext,
        run: impl FnOnce(
            LinkContext,
            mpsc::UnboundedReceiver<LinkCommand>,
        ) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        Self { commands, task: tokio::spawn(run(context, receiver)) }
    }

    /// Hands over a command; a link that ended ignores it.
    pub fn command(&self, command: LinkCommand) {
        let handed = self.commands.send(command);
        drop(handed);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}
