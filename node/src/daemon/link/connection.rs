//! One connection to a relay, from its first frame to its end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use penpal_protocol::Revisions;
use penpal_protocol::ids::{DepositId, RelayPin, TransportPublicKey};
use penpal_protocol::limits::MAX_FRAME_BYTES;
use penpal_protocol::wire::{
    Answer, Deposit, DepositAnswer, Event, FrameKind, MAX_ANSWER_BYTES, Request, Welcome,
};
use penpal_transport::discovery::Names;
use penpal_transport::{CloseCode, Connection, DialError, Dialed, Frame, FrameReader, FrameWriter, Target};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use super::{LEAST_EVENT_KIB, LinkCommand, LinkContext, LinkEvent, MAX_WAITING_KIB, Trouble};
use crate::engine::{Input, LinkId};

/// How long a dial may take in all: long enough for a second address, short enough to say within five seconds that UDP gets no
/// answer.
const DIAL_LIMIT: Duration = Duration::from_millis(4_800);

/// How long name resolution may take.
const RESOLVE_LIMIT: Duration = Duration::from_secs(3);

/// How long the relay may take for its first frame.
const WELCOME_LIMIT: Duration = Duration::from_secs(5);

/// How long one request may take; the relay answers from memory and one disk write.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);

/// How long a relay may be silent, down to the last packet, while something is under way: it is dialled anew then, and people see that it
/// is away, long before the idle timeout of the connection.
const SILENCE: Duration = Duration::from_secs(8);

/// A connection that was welcomed.
#[derive(Debug)]
pub(in crate::daemon) struct Live {
    pub(in crate::daemon) connection: Connection,
    events: FrameReader,
    pub(super) welcome: Welcome,
    /// Where the relay's name led.
    pub(super) addresses: Vec<SocketAddr>,
}

/// Dials, and waits for the relay's first words.
pub(in crate::daemon) async fn dial(context: &LinkContext) -> Result<Live, Trouble> {
    let (dialer, address) = (&context.dialer, &context.address);
    let place = format!("{}:{}", address.host(), address.port());
    let resolved = Names::asking(context.dns).find(address.host(), address.port(), RESOLVE_LIMIT).await;
    let addresses = resolved.map_err(|error| Trouble::other(format!("cannot find {place}: {error}")))?;
    let target = |pin: RelayPin| {
        let pin = penpal_transport::RelayPin(*pin.as_bytes());
        Target { addresses: &addresses, pin, key: &context.key }
    };
    let pinned = *address.pin();
    let mut dialed = dialer.dial(target(context.keys.present(&pinned)), DIAL_LIMIT).await;
    if let Err(DialError::WrongKey { got, .. }) = &dialed
        && let Some(present) = context.keys.follow(dialer, &addresses, pinned, *got).await
    {
        dialed = dialer.dial(target(present), DIAL_LIMIT).await;
    }
    let dialed = match dialed {
        Ok(dialed) => dialed,
        Err(error @ DialError::WrongKey { .. }) => return Err(other_key(&error, context).await),
        Err(error) => return Err(Trouble::of_dial(&error, address)),
    };
    let Dialed { connection, mut incoming, .. } = dialed;
    let first = tokio::time::timeout(WELCOME_LIMIT, incoming.read()).await;
    let strange = |what: &str| Trouble::other(format!("the relay at {place} {what}"));
    let frame = match first {
        Ok(Ok(Some(frame))) => frame,
        Ok(Ok(None)) | Err(_) => return Err(strange("said nothing")),
        Ok(Err(error)) => return Err(strange(&format!("hung up: {error}"))),
    };
    match Event::decode(frame.kind, &frame.payload) {
        Ok(Event::Welcome(welcome)) if context.revisions.common(range(&welcome)).is_some() => {
            Ok(Live { connection, events: incoming, welcome, addresses })
        }
        Ok(Event::Welcome(welcome)) => {
            connection.close(CloseCode::Refused, "no common revision");
            let (theirs, ours) = (range(&welcome), context.revisions);
            let newer = if theirs.min > ours.max { "penpal here" } else { "the relay" };
            Err(Trouble::Incompatible {
                text: format!(
                    "the relay at {place} speaks {theirs} of the protocol, this node {ours}: {newer} must be updated"
                ),
            })
        }
        Ok(_) | Err(_) => {
            connection.close(CloseCode::Violation, "no welcome");
            Err(strange("does not begin with a welcome"))
        }
    }
}

/// Says what somebody should do about another key, with what the relay's domain publishes.
async fn other_key(error: &DialError, context: &LinkContext) -> Trouble {
    let address = &context.address;
    let names = Names::asking(context.dns);
    let known = penpal_protocol::text::pin_to_text(address.pin());
    let dns = match names.published_pins(address.host(), RESOLVE_LIMIT).await {
        Ok(pins) if pins.is_empty() || pins.contains(&known) => String::new(),
        Ok(pins) => format!("; its domain now publishes the pin {}", pins.join(" and ")),
        Err(_) => String::new(),
    };
    let trouble = Trouble::of_dial(error, address);
    Trouble::WrongPin {
        text: format!("{}{dns}. Nothing was sent: ask whoever runs it, by another way", trouble.text()),
    }
}

fn range(welcome: &Welcome) -> Revisions {
    Revisions { min: welcome.min_revision, max: welcome.max_revision }
}

/// What ends a connection.
pub(super) enum Ended {
    /// The other side, the network, or a violation.
    Lost(Trouble),
    /// The engine dropped the link.
    Dropped,
    /// Nothing was said for as long as `idle` allowed.
    Idle,
    /// Another connection is there and takes over.
    Replaced(Box<Live>),
}

/// Serves one connection: passes commands to the relay and everything from it to the engine.
///
/// Reports each request and deposit exactly once. `idle` ends a connection on which nothing is under way; it is served until
/// `successor` has another one.
pub(super) async fn serve(
    context: &LinkContext,
    live: Live,
    commands: &mut tokio::sync::mpsc::UnboundedReceiver<LinkCommand>,
    waiting: Vec<LinkCommand>,
    idle: Option<Duration>,
    successor: impl Future<Output = Box<Live>>,
) -> Ended {
    let Live { connection, mut events, welcome, .. } = live;
    let key = TransportPublicKey::from_bytes(*context.key.public().as_bytes());
    report(context, LinkEvent::Up { welcome, key }).await;
    let mut session = Session {
        id: context.id,
        connection: connection.clone(),
        requests: JoinSet::new(),
        asked: BTreeMap::new(),
        deposits: None,
        pending: BTreeMap::new(),
    };
    for command in waiting {
        session.command(command).await;
    }
    tokio::pin!(successor);
    let mut heard = Heard::new(&connection);
    let ended = loop {
        let quiet = session.requests.is_empty() && session.pending.is_empty();
        heard.look(&connection, quiet);
        // In this order nothing starves: all but the last two wait only for what this side asked, and the relay's events, of which
        // it may have any number, come after them.
        tokio::select! {
            biased;
            next = &mut successor => break Ended::Replaced(next),
            command = commands.recv() => match command {
                Some(LinkCommand::GiveUp { why }) => {
                    connection.close(CloseCode::Violation, "");
                    break Ended::Lost(Trouble::other(why));
                }
                Some(command) => session.command(command).await,
                None => break Ended::Dropped,
            },
            Some(done) = session.requests.join_next(), if !session.requests.is_empty() => {
                if let Ok((token, answer, refused)) = done {
                    session.asked.remove(&token);
                    report(context, LinkEvent::Answer { token, answer: answer.map(Box::new), refused }).await;
                }
            }
            answered = next_deposit_answer(&mut session.deposits), if session.deposits.is_some() => match answered {
                Ok(answer) => {
                    if session.pending.remove(&answer.deposit).is_some() {
                        let (deposit, outcome) = (answer.deposit, Some(answer.outcome));
                        report(context, LinkEvent::Deposited { deposit, outcome }).await;
                    }
                }
                Err(trouble) => break Ended::Lost(trouble),
            },
            frame = events.read() => match frame {
                Ok(Some(frame)) => match Event::decode(frame.kind, &frame.payload) {
                    Ok(event) => {
                        let room = room(context, frame.payload.len()).await;
                        report(context, LinkEvent::Event { event: Box::new(event), room }).await;
                    }
                    // A newer relay may say things that this node need not know.
                    Err(penpal_protocol::wire::FrameError::Unknown { number }) => tracing::debug!(number, "unknown event"),
                    Err(error) => {
                        connection.close(CloseCode::Violation, "malformed event");
                        break Ended::Lost(Trouble::other(format!("the relay sent a malformed event: {error}")));
                    }
                },
                Ok(None) => break Ended::Lost(Trouble::other("the relay ended the connection")),
                Err(error) => break Ended::Lost(Trouble::other(format!("the connection to the relay ended: {error}"))),
            },
            () = tokio::time::sleep_until(heard.until()), if !quiet => {
                if !heard.look(&connection, quiet) {
                    break Ended::Lost(Trouble::other(format!("the relay is silent for {} s", SILENCE.as_secs())));
                }
            }
            () = tokio::time::sleep(idle.unwrap_or(Duration::MAX)), if idle.is_some() && quiet => break Ended::Idle,
        }
    };
    session.unanswered(context).await;
    connection.close(CloseCode::Done, "");
    ended
}

/// When something came last over a connection. A relay that is there acknowledges what it is asked within a round trip, long before it
/// answers.
struct Heard {
    datagrams: u64,
    at: tokio::time::Instant,
    /// Nothing was under way at the last look.
    quiet: bool,
}

impl Heard {
    fn new(connection: &Connection) -> Self {
        Self { datagrams: connection.stats().datagrams.1, at: tokio::time::Instant::now(), quiet: true }
    }

    /// Tells whether something came since the last look. While nothing is under way nothing need come.
    fn look(&mut self, connection: &Connection, quiet: bool) -> bool {
        let datagrams = connection.stats().datagrams.1;
        let fresh = datagrams != self.datagrams;
        if fresh || self.quiet {
            *self = Self { datagrams, at: tokio::time::Instant::now(), quiet };
        }
        self.quiet = quiet;
        fresh
    }

    fn until(&self) -> tokio::time::Instant {
        self.at + SILENCE
    }
}

/// Reports to the engine.
pub(super) async fn report(context: &LinkContext, event: LinkEvent) {
    context.engine.input(Input::Link { link: context.id, event }).await;
}

/// Waits for room for an event of so many bytes.
async fn room(context: &LinkContext, bytes: usize) -> Option<OwnedSemaphorePermit> {
    let kib = u32::try_from(bytes / 1024).unwrap_or(u32::MAX).clamp(LEAST_EVENT_KIB, MAX_WAITING_KIB);
    // Never closed.
    Arc::clone(&context.room).acquire_many_owned(kib).await.ok()
}

/// Answers everything in `commands` with "not reached".
pub(super) async fn unreachable(context: &LinkContext, commands: Vec<LinkCommand>) {
    for command in commands {
        match command {
            LinkCommand::Request { token, .. } => {
                report(context, LinkEvent::Answer { token, answer: None, refused: None }).await
            }
            LinkCommand::Deposit(deposit) => {
                report(context, LinkEvent::Deposited { deposit: deposit.deposit, outcome: None }).await;
            }
            LinkCommand::Hurry | LinkCommand::GiveUp { .. } => {}
        }
    }
}

struct Session {
    id: LinkId,
    connection: Connection,
    requests: JoinSet<(u64, Option<Answer>, Option<String>)>,
    asked: BTreeMap<u64, ()>,
    deposits: Option<(FrameWriter, FrameReader)>,
    pending: BTreeMap<DepositId, ()>,
}

impl Session {
    async fn command(&mut self, command: LinkCommand) {
        match command {
            LinkCommand::Request { token, request } => {
                self.asked.insert(token, ());
                let connection = self.connection.clone();
                let link = self.id;
                self.requests.spawn(async move {
                    let (answer, refused) = ask(link, &connection, &request).await;
                    (token, answer, refused)
                });
            }
            LinkCommand::Deposit(deposit) => {
                self.pending.insert(deposit.deposit, ());
                // A stream that cannot be opened or written means that the connection is ending: the reader sees it too.
                if let Err(error) = self.deposit(&deposit).await {
                    tracing::debug!(%error, "a deposit could not be written");
                    self.connection.close(CloseCode::Internal, "deposits cannot be written");
                }
            }
            LinkCommand::Hurry | LinkCommand::GiveUp { .. } => {}
        }
    }

    async fn deposit(&mut self, deposit: &Deposit) -> anyhow::Result<()> {
        if self.deposits.is_none() {
            self.deposits = Some(self.connection.open_bi(frame_limit(MAX_FRAME_BYTES)).await?);
        }
        if let Some((writer, _)) = &mut self.deposits {
            writer.send(FrameKind::Deposit.number(), &penpal_protocol::cbor::encode(deposit)).await?;
        }
        Ok(())
    }

    async fn unanswered(&mut self, context: &LinkContext) {
        self.requests.abort_all();
        for token in std::mem::take(&mut self.asked).into_keys() {
            report(context, LinkEvent::Answer { token, answer: None, refused: None }).await;
        }
        for deposit in std::mem::take(&mut self.pending).into_keys() {
            report(context, LinkEvent::Deposited { deposit, outcome: None }).await;
        }
    }
}

/// The answer, and of a refusal the name under which the relay's log has it.
async fn ask(link: LinkId, connection: &Connection, request: &Request) -> (Option<Answer>, Option<String>) {
    let frame = Frame::new(request.kind().number(), request.encode());
    let asked = connection.request_with_name(&frame, frame_limit(MAX_ANSWER_BYTES), REQUEST_LIMIT).await;
    match asked {
        Ok((answer, name)) => match Answer::decode(answer.kind, &answer.payload) {
            Ok(Answer::Refused(refusal)) => {
                tracing::info!(request = name, asked = ?request.kind(), code = ?refusal.code, "refused by the relay");
                (Some(Answer::Refused(refusal)), Some(name))
            }
            Ok(answer) => (Some(answer), None),
            Err(error) => {
                tracing::warn!(?link, request = name, kind = ?request.kind(), %error, "an answer cannot be read");
                (None, None)
            }
        },
        Err(error) => {
            tracing::debug!(?link, kind = ?request.kind(), %error, "no answer");
            (None, None)
        }
    }
}

async fn next_deposit_answer(
    deposits: &mut Option<(FrameWriter, FrameReader)>,
) -> Result<DepositAnswer, Trouble> {
    let Some((_, reader)) = deposits else { return std::future::pending().await };
    let frame = match reader.read().await {
        Ok(Some(frame)) => frame,
        Ok(None) => return Err(Trouble::other("the relay ended the stream of deposits")),
        Err(error) => return Err(Trouble::other(format!("the stream of deposits ended: {error}"))),
    };
    let strange = || Trouble::other("the relay sent a malformed answer to a deposit");
    if frame.kind != FrameKind::DepositAnswer.number() {
        return Err(strange());
    }
    penpal_protocol::cbor::decode(&frame.payload, MAX_FRAME_BYTES).map_err(|_| strange())
}

fn frame_limit(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
