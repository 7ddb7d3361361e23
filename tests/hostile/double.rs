//! A relay that speaks the real protocol over real QUIC and lies where a test tells it to.
//!
//! Underneath works [`RelayCore`], the honest relay. Each frame passes a hook of [`Malice`] on its way in or out; a hook that does
//! nothing leaves an honest relay. Everything that passes is noted, so that tests can replay it.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use penpal_protocol::ids::TransportPublicKey;
use penpal_protocol::limits::MAX_FRAME_BYTES;
use penpal_protocol::time::Now;
use penpal_protocol::wire::{Answer, Deposit, DepositAnswer, DepositOutcome, Event, FrameKind, Request};
use penpal_relay_core::{
    AddressPrefix, Command, Committed, Config, ConnId, GraphKey, MemRows, RegistrationPolicy, RelayCore,
    RequestId,
};
use penpal_transport::{
    Accepted, CloseCode, Connection, FrameReader, FrameWriter, Listener, ServerOptions, ServerSecrets,
    TransportKey,
};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use tokio::sync::{mpsc, oneshot};

const MAX_PAYLOAD: u32 = MAX_FRAME_BYTES as u32;

/// Something on a stream towards a node.
#[derive(Debug, Clone)]
pub(crate) enum Out {
    /// An event as the protocol has it.
    Event(Event),
    /// A frame of any number and content.
    Raw(u8, Vec<u8>),
    /// Bytes that need not be frames.
    Bytes(Vec<u8>),
    /// The end of the delivery stream.
    End,
    /// The end of the connection.
    Hangup,
}

/// What a node gets for a request.
#[derive(Debug)]
pub(crate) enum Say {
    /// What the honest relay says.
    Honest,
    /// This, whatever the honest relay would do.
    Answer(Answer),
    /// A frame of any number and content.
    Raw(u8, Vec<u8>),
    /// Bytes that need not be a frame; then the stream ends.
    Bytes(Vec<u8>),
    /// Nothing, for ever.
    Never,
    /// The end of the connection.
    Hangup,
}

/// What becomes of a deposit.
#[derive(Debug)]
pub(crate) enum Fate {
    /// As the honest relay has it; the hook may have changed it.
    Honest,
    /// It is not stored, and this is said.
    Lie(DepositOutcome),
    /// It is not stored, and nothing is said.
    Swallow,
    /// The end of the connection.
    Hangup,
}

type RequestHook = Box<dyn FnMut(&str, &Request) -> Say + Send>;
type AnswerHook = Box<dyn FnMut(&str, &Request, Answer) -> Say + Send>;
type DepositHook = Box<dyn FnMut(&str, &mut Deposit) -> Fate + Send>;
type DepositAnswerHook = Box<dyn FnMut(&str, DepositAnswer) -> Vec<DepositAnswer> + Send>;
type EventHook = Box<dyn FnMut(&str, Event) -> Vec<Out> + Send>;

/// Where the relay departs from honesty. Each hook is told the handle of the account concerned, or `?`.
pub(crate) struct Malice {
    /// A request, before the honest relay sees it.
    pub(crate) request: RequestHook,
    /// The honest answer to a request; [`Say::Honest`] says it.
    pub(crate) answer: AnswerHook,
    /// A deposit, before the honest relay sees it.
    pub(crate) deposit: DepositHook,
    /// The honest answer to a deposit.
    pub(crate) deposit_answer: DepositAnswerHook,
    /// An honest event.
    pub(crate) event: EventHook,
}

impl Default for Malice {
    fn default() -> Self {
        Self {
            request: Box::new(|_, _| Say::Honest),
            answer: Box::new(|_, _, _| Say::Honest),
            deposit: Box::new(|_, _| Fate::Honest),
            deposit_answer: Box::new(|_, answer| vec![answer]),
            event: Box::new(|_, event| vec![Out::Event(event)]),
        }
    }
}

/// One connection of a node.
struct Line {
    key: TransportPublicKey,
    connection: Connection,
    events: mpsc::UnboundedSender<Out>,
    answers: Option<mpsc::UnboundedSender<DepositAnswer>>,
}

/// Everything behind the socket.
pub(crate) struct World {
    core: RelayCore,
    rows: MemRows,
    rng: ChaCha8Rng,
    started: Instant,
    /// How far this relay's clocks are ahead, in milliseconds.
    pub(crate) ahead_ms: u64,
    lines: BTreeMap<ConnId, Line>,
    replies: HashMap<RequestId, oneshot::Sender<Answer>>,
    people: BTreeMap<TransportPublicKey, String>,
    last: u64,
    /// The lies.
    pub(crate) malice: Malice,
    /// Every deposit that came, as it came.
    pub(crate) deposits: Vec<(String, Deposit)>,
    /// Every event that the honest relay would have sent.
    pub(crate) events: Vec<(String, Event)>,
    /// Every request that came.
    pub(crate) requests: Vec<(String, Request)>,
    /// Every honest answer.
    pub(crate) answers: Vec<(String, Answer)>,
    /// Connections so far.
    pub(crate) connections: u64,
}

impl World {
    fn new() -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let rows = MemRows::new();
        let config = Config { registration: RegistrationPolicy::Open, ..Config::default() };
        let now = Now { mono: Duration::ZERO, wall_ms: wall_ms() };
        let core = RelayCore::new(config, GraphKey::from_bytes([9; 32]), false, &rows, now, &mut rng);
        Self {
            core: core.expect("a new relay"),
            rows,
            rng,
            started: Instant::now(),
            ahead_ms: 0,
            lines: BTreeMap::new(),
            replies: HashMap::new(),
            people: BTreeMap::new(),
            last: 0,
            malice: Malice::default(),
            deposits: Vec::new(),
            events: Vec::new(),
            requests: Vec::new(),
            answers: Vec::new(),
            connections: 0,
        }
    }

    fn now(&self) -> Now {
        let ahead = Duration::from_millis(self.ahead_ms);
        Now { mono: self.started.elapsed() + ahead, wall_ms: wall_ms() + self.ahead_ms }
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn name(&self, conn: ConnId) -> String {
        let key = self.lines.get(&conn).map(|line| line.key);
        key.and_then(|key| self.people.get(&key).cloned()).unwrap_or_else(|| "?".to_owned())
    }

    /// Ends a step of the honest relay and says what it wants said, past the hooks.
    fn step(&mut self) {
        let now = self.now();
        let changes = self.core.take_changes(now);
        self.rows.commit(changes);
        self.core.handle_committed(Committed::Done, &self.rows, now).expect("rows in memory");
        while let Some(command) = self.core.poll_command() {
            match command {
                Command::Answer { request, answer, .. } => {
                    if let Some(reply) = self.replies.remove(&request) {
                        reply.send(answer).ok();
                    }
                }
                Command::DepositAnswer { conn, answer } => {
                    let who = self.name(conn);
                    for answer in (self.malice.deposit_answer)(&who, answer) {
                        self.answer_deposit(conn, answer);
                    }
                }
                Command::Push { conn, push } => {
                    let Some(event) = push.event() else { continue };
                    let who = self.name(conn);
                    self.events.push((who.clone(), event.clone()));
                    for out in (self.malice.event)(&who, event) {
                        self.put(conn, out);
                    }
                }
                Command::Close { conn, .. } => self.put(conn, Out::Hangup),
                Command::Admin { .. }
                | Command::Alarm { .. }
                | Command::Grant { .. }
                | Command::RemoveBlob { .. } => {}
            }
        }
    }

    fn put(&self, conn: ConnId, out: Out) {
        if let Some(line) = self.lines.get(&conn) {
            if matches!(out, Out::Hangup) {
                line.connection.close(CloseCode::GoingAway, "");
            }
            line.events.send(out).ok();
        }
    }

    fn answer_deposit(&self, conn: ConnId, answer: DepositAnswer) {
        if let Some(answers) = self.lines.get(&conn).and_then(|line| line.answers.as_ref()) {
            answers.send(answer).ok();
        }
    }

    fn lines_of(&self, who: &str) -> Vec<ConnId> {
        self.lines.keys().copied().filter(|conn| self.name(*conn) == who).collect()
    }

    /// Sends something on every delivery stream of an account.
    pub(crate) fn say(&self, who: &str, out: &Out) {
        for conn in self.lines_of(who) {
            self.put(conn, out.clone());
        }
    }

    /// Sends an answer on every deposits stream of an account.
    pub(crate) fn say_deposit_answer(&self, who: &str, answer: DepositAnswer) {
        for conn in self.lines_of(who) {
            self.answer_deposit(conn, answer);
        }
    }

    /// Ends every connection of an account.
    pub(crate) fn hang_up(&self, who: &str) {
        self.say(who, &Out::Hangup);
    }

    /// Hands in a deposit as the honest relay does, as if it had come from that account.
    pub(crate) fn deposit_as(&mut self, who: &str, deposit: Deposit) {
        let Some(conn) = self.lines_of(who).first().copied() else { return };
        let now = self.now();
        self.core.handle_deposit(conn, deposit, &self.rows, now).expect("rows in memory");
        self.step();
    }

    /// Envelopes that were spooled for an account, oldest first.
    pub(crate) fn delivered(&self, who: &str) -> Vec<penpal_protocol::wire::Delivery> {
        let to = self.events.iter().filter(|(name, _)| name == who);
        to.filter_map(|(_, event)| match event {
            Event::Delivery(delivery) => Some(delivery.clone()),
            _ => None,
        })
        .collect()
    }

    /// Whether the account has acknowledged everything that was spooled for it.
    pub(crate) fn is_acknowledged(&self, who: &str) -> bool {
        let newest = self.delivered(who).last().map_or(0, |row| row.seq);
        self.requests.iter().any(|(name, request)| {
            name == who && matches!(request, Request::Ack(ack) if ack.up_to >= newest && ack.gaps.is_empty())
        })
    }

    /// Deposits of an account that were to be stored, oldest first.
    pub(crate) fn mail_of(&self, who: &str) -> Vec<Deposit> {
        let of = self.deposits.iter().filter(|(name, deposit)| name == who && deposit.ephemeral.is_none());
        of.map(|(_, deposit)| deposit.clone()).collect()
    }
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("before the end of time")
}

type Shared = Arc<Mutex<World>>;

fn lock(shared: &Shared) -> MutexGuard<'_, World> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running hostile relay. Dropping it ends it.
pub(crate) struct Double {
    shared: Shared,
    address: String,
    listening: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Double {
    /// Starts an honest one on a free port.
    pub(crate) fn start() -> Self {
        let shared = Arc::new(Mutex::new(World::new()));
        Self::serve(shared, SocketAddr::from(([127, 0, 0, 1], 0)), [1; 32])
    }

    fn serve(shared: Shared, listen: SocketAddr, seed: [u8; 32]) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (bound, listening) = std::sync::mpsc::channel();
        let key = TransportKey::from_seed(&seed);
        let pin = penpal_protocol::ids::RelayPin::from_bytes(key.public().pin().0);
        let state = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let options = ServerOptions::new(listen, key, ServerSecrets::new([3; 64], [4; 64]));
                let listener = Listener::bind(options).expect("a socket");
                bound.send(listener.local_address().expect("its address")).expect("somebody waits");
                accept(listener, state, stopped).await;
            });
            runtime.shutdown_timeout(Duration::ZERO);
        });
        let listening = listening.recv().expect("it listens");
        let at = format!("{listening}").parse().expect("host and port");
        let address = penpal_protocol::text::RelayAddress { at, pin }.to_string();
        Self { shared, address, listening, stop: Some(stop), thread: Some(thread) }
    }

    /// Ends it and starts it again at the same place, with another key.
    pub(crate) fn change_key(&mut self) {
        self.end();
        let (shared, listening) = (Arc::clone(&self.shared), self.listening);
        lock(&shared).lines.clear();
        *self = Self::serve(shared, listening, [2; 32]);
    }

    fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).ok();
        }
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the relay's thread");
        }
    }

    /// Its address, with the pin.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Looks at it, or changes it.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut lock(&self.shared))
    }

    /// Sets lies.
    pub(crate) fn lie(&self, set: impl FnOnce(&mut Malice)) {
        self.with(|world| set(&mut world.malice));
    }

    /// Ends all lies.
    pub(crate) fn repent(&self) {
        self.with(|world| world.malice = Malice::default());
    }

    /// Waits until something holds.
    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut(&mut World) -> bool) {
        penpal_tests::wait::until(what, || self.with(&mut holds));
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.end();
    }
}

async fn accept(mut listener: Listener, shared: Shared, mut stopped: oneshot::Receiver<()>) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Some(accepted) => drop(tokio::spawn(connection(accepted, Arc::clone(&shared)))),
                None => return,
            },
            _ = tick.tick() => {
                let mut world = lock(&shared);
                let now = world.now();
                if world.core.poll_timeout().is_some_and(|due| due <= now.mono) {
                    let World { core, rows, .. } = &mut *world;
                    core.handle_timeout(rows, now).expect("rows in memory");
                    world.step();
                }
            }
            _ = &mut stopped => break,
        }
    }
    listener.shutdown(CloseCode::GoingAway, "", Duration::from_millis(200)).await;
}

async fn connection(accepted: Accepted, shared: Shared) {
    let Accepted { connection, outgoing } = accepted;
    let (events, says) = mpsc::unbounded_channel();
    let conn = {
        let mut world = lock(&shared);
        world.connections += 1;
        let conn = ConnId(world.number());
        let key = TransportPublicKey::from_bytes(*connection.peer_key().as_bytes());
        world.lines.insert(conn, Line { key, connection: connection.clone(), events, answers: None });
        let (prefix, now) = (AddressPrefix::of(connection.remote_address().ip()), world.now());
        let World { core, rows, .. } = &mut *world;
        core.handle_connected(conn, key, prefix, rows, now).expect("rows in memory");
        world.step();
        conn
    };
    tokio::spawn(write_events(outgoing, says));
    while let Ok((writer, reader)) = connection.accept_bi(MAX_PAYLOAD).await {
        tokio::spawn(stream(conn, connection.clone(), writer, reader, Arc::clone(&shared)));
    }
    let mut world = lock(&shared);
    world.lines.remove(&conn);
    let now = world.now();
    world.core.handle_closed(conn, now);
    world.step();
}

async fn write_events(mut writer: FrameWriter, mut says: mpsc::UnboundedReceiver<Out>) {
    while let Some(out) = says.recv().await {
        let written = match out {
            Out::Event(event) => writer.send(event.kind().number(), &event.encode()).await,
            Out::Raw(kind, payload) => writer.send(kind, &payload).await,
            Out::Bytes(bytes) => {
                writer.push_raw_for_tests(&bytes);
                writer.flush().await
            }
            Out::End => {
                writer.finish().await.ok();
                return;
            }
            Out::Hangup => return,
        };
        if written.is_err() {
            return;
        }
    }
}

async fn stream(
    conn: ConnId,
    connection: Connection,
    mut writer: FrameWriter,
    mut reader: FrameReader,
    shared: Shared,
) {
    let Ok(Some(first)) = reader.read().await else { return };
    if first.kind == FrameKind::Deposit.number() {
        let (answers, mut says) = mpsc::unbounded_channel::<DepositAnswer>();
        if let Some(line) = lock(&shared).lines.get_mut(&conn) {
            line.answers = Some(answers);
        }
        tokio::spawn(async move {
            while let Some(answer) = says.recv().await {
                if writer.send(FrameKind::DepositAnswer.number(), &answer.encode()).await.is_err() {
                    return;
                }
            }
        });
        let mut next = Some(first);
        while let Some(frame) = next {
            let deposit = Deposit::decode(frame.kind, &frame.payload).expect("nodes are honest here");
            take_deposit(conn, &connection, deposit, &shared);
            next = reader.read().await.unwrap_or_default();
        }
        return;
    }
    let request = Request::decode(first.kind, &first.payload).expect("nodes are honest here");
    let say = match ask(conn, &request, &shared).await {
        Some(say) => say,
        None => return,
    };
    let pushed = match say {
        Say::Answer(answer) => writer.push(answer.kind().number(), &answer.encode()),
        Say::Raw(kind, payload) => writer.push(kind, &payload),
        Say::Bytes(bytes) => {
            writer.push_raw_for_tests(&bytes);
            Ok(())
        }
        Say::Never | Say::Honest => {
            // The stream stays open: a reset would be an answer of a kind.
            connection.closed().await;
            return;
        }
        Say::Hangup => return connection.close(CloseCode::GoingAway, ""),
    };
    if pushed.is_ok() {
        writer.finish().await.ok();
    }
}

/// What to say to a request; `None` when the honest relay has closed the connection.
async fn ask(conn: ConnId, request: &Request, shared: &Shared) -> Option<Say> {
    let answer = {
        let mut world = lock(shared);
        if let Request::Register(register) = request {
            let key = world.lines.get(&conn).map(|line| line.key)?;
            world.people.insert(key, register.handle.to_string());
        }
        let who = world.name(conn);
        world.requests.push((who.clone(), request.clone()));
        match (world.malice.request)(&who, request) {
            Say::Honest => {}
            other => return Some(other),
        }
        let (id, now) = (RequestId(world.number()), world.now());
        let (reply, answer) = oneshot::channel();
        world.replies.insert(id, reply);
        let World { core, rows, rng, .. } = &mut *world;
        core.handle_request(conn, id, request.clone(), rows, now, rng).expect("rows in memory");
        world.step();
        answer
    };
    let answer = answer.await.ok()?;
    let mut world = lock(shared);
    let who = world.name(conn);
    world.answers.push((who.clone(), answer.clone()));
    Some(match (world.malice.answer)(&who, request, answer.clone()) {
        Say::Honest => Say::Answer(answer),
        other => other,
    })
}

fn take_deposit(conn: ConnId, connection: &Connection, mut deposit: Deposit, shared: &Shared) {
    let mut world = lock(shared);
    let who = world.name(conn);
    world.deposits.push((who.clone(), deposit.clone()));
    let id = deposit.deposit;
    match (world.malice.deposit)(&who, &mut deposit) {
        Fate::Honest => {
            let now = world.now();
            let World { core, rows, .. } = &mut *world;
            core.handle_deposit(conn, deposit, rows, now).expect("rows in memory");
            world.step();
        }
        Fate::Lie(outcome) => world.answer_deposit(conn, DepositAnswer { deposit: id, outcome }),
        Fate::Swallow => {}
        Fate::Hangup => connection.close(CloseCode::GoingAway, ""),
    }
}
