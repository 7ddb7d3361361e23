//! A relay in memory: one machine, its rows, a clock, and what it has said to whom.

use std::collections::BTreeMap;
use std::time::Duration;

use penpal_protocol::cbor::{Blob, List, Text};
use penpal_protocol::envelope::ladder_step;
use penpal_protocol::ids::{
    BlobId, Capability, DepositId, EdgeId, Incarnation, RunId, SlotId, TransportPublicKey,
};
use penpal_protocol::text::Label;
use penpal_protocol::time::Now;
use penpal_protocol::wire::{
    Ack, AckAnswer, Answer, Deposit, DepositOutcome, Event, Hello, HelloAnswer, RefusalCode, Register,
    Registered, Request, Verdict,
};
use penpal_relay_core::{
    AddressPrefix, AdminAnswer, AdminRequest, Change, CloseReason, Command, Committed, Config, ConnId,
    GraphKey, MemRows, RelayCore, RequestId, Rows as _, Table,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// 20 November 2026, noon.
pub(crate) const START_MS: u64 = 1_795_176_000_000;

pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) core: RelayCore,
    pub(crate) rows: MemRows,
    pub(crate) now: Now,
    pub(crate) rng: ChaCha20Rng,
    /// The next commit finds the disk full.
    pub(crate) disk_full: bool,
    last_conn: u64,
    last_request: u64,
    last_byte: u64,
    answers: BTreeMap<RequestId, Answer>,
    deposits: Vec<(ConnId, DepositId, DepositOutcome)>,
    admin: BTreeMap<RequestId, AdminAnswer>,
    events: BTreeMap<ConnId, Vec<Event>>,
    closed: BTreeMap<ConnId, CloseReason>,
    pub(crate) alarms: Vec<String>,
    /// Blobs whose files are to go.
    pub(crate) removed_blobs: Vec<BlobId>,
    /// Bytes of the largest commit so far.
    pub(crate) largest: usize,
}

pub(crate) fn graph_key() -> GraphKey {
    GraphKey::from_bytes([0x5a; 32])
}

/// Number `number` as 16 bytes.
pub(crate) fn id16(number: u64) -> [u8; 16] {
    let mut id = [0xa5; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    id
}

pub(crate) fn key(number: u64) -> TransportPublicKey {
    let mut key = [0x4b; 32];
    key[..8].copy_from_slice(&number.to_be_bytes());
    TransportPublicKey::from_bytes(key)
}

pub(crate) fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

pub(crate) fn refusal(answer: &Answer) -> Option<RefusalCode> {
    answer.refusal_code()
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        let rows = MemRows::new();
        let now = Now { mono: Duration::from_secs(5), wall_ms: START_MS };
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let core = RelayCore::new(config.clone(), graph_key(), false, &rows, now, &mut rng).unwrap();
        let mut world = Self {
            config,
            core,
            rows,
            now,
            rng,
            disk_full: false,
            last_conn: 0,
            last_request: 0,
            last_byte: 0,
            answers: BTreeMap::new(),
            deposits: Vec::new(),
            admin: BTreeMap::new(),
            events: BTreeMap::new(),
            closed: BTreeMap::new(),
            alarms: Vec::new(),
            removed_blobs: Vec::new(),
            largest: 0,
        };
        world.step();
        world
    }

    /// Ends a step as a shell does.
    pub(crate) fn step(&mut self) {
        self.step_changes();
    }

    /// The same, and gives what was to be committed.
    pub(crate) fn step_changes(&mut self) -> Vec<Change> {
        let changes = self.core.take_changes(self.now);
        let bytes = changes.iter().map(Change::stored_bytes).sum();
        self.largest = self.largest.max(bytes);
        let frees = self.core.is_urgent() || changes.iter().all(Change::frees_space);
        let committed = if self.disk_full && !frees {
            Committed::Full
        } else {
            self.rows.commit(changes.clone());
            Committed::Done
        };
        self.core.handle_committed(committed, &self.rows, self.now).unwrap();
        while let Some(command) = self.core.poll_command() {
            match command {
                Command::Answer { request, answer, .. } => {
                    assert!(self.answers.insert(request, answer).is_none(), "answered twice");
                }
                // To a client it is what comes next, or what it asked for.
                Command::Grant { request, .. } => {
                    assert!(self.answers.insert(request, Answer::Done).is_none(), "answered twice");
                }
                Command::DepositAnswer { conn, answer } => {
                    self.deposits.push((conn, answer.deposit, answer.outcome));
                }
                Command::Push { conn, push } => {
                    let event = push.event().expect("every push is an event");
                    let (kind, payload) = push.frame().expect("every push has a frame");
                    assert_eq!(Event::decode(kind.number(), &payload).unwrap(), event);
                    self.events.entry(conn).or_default().push(event);
                }
                Command::Close { conn, reason } => {
                    self.closed.insert(conn, reason);
                }
                Command::Admin { request, answer } => {
                    self.admin.insert(request, answer);
                }
                Command::Alarm { what } => self.alarms.push(what),
                Command::RemoveBlob { blob } => self.removed_blobs.push(blob),
            }
        }
        changes
    }

    /// Moves both clocks and lets every timer on the way fire in time.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.now.plus(by);
        while let Some(due) = self.core.poll_timeout().filter(|due| *due <= end.mono) {
            self.now = self.now.plus(due.saturating_sub(self.now.mono));
            self.core.handle_timeout(&self.rows, self.now).unwrap();
            self.step();
        }
        self.now = self.now.plus(end.mono.saturating_sub(self.now.mono));
    }

    /// Lets what is due now happen.
    pub(crate) fn settle(&mut self) {
        self.advance(Duration::ZERO);
    }

    /// The process dies and starts again.
    pub(crate) fn restart(&mut self) {
        self.restart_as(false);
    }

    pub(crate) fn restart_as(&mut self, restored: bool) {
        let (config, rows, now) = (self.config.clone(), &self.rows, self.now);
        self.core = RelayCore::new(config, graph_key(), restored, rows, now, &mut self.rng).unwrap();
        self.events.clear();
        self.step();
    }

    /// An unused number, for ids that tests do not care about.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.last_byte += 1;
        self.last_byte
    }

    pub(crate) fn connect(&mut self, key: TransportPublicKey) -> ConnId {
        self.connect_from(key, "192.0.2.7")
    }

    pub(crate) fn connect_from(&mut self, key: TransportPublicKey, address: &str) -> ConnId {
        self.last_conn += 1;
        let conn = ConnId(self.last_conn);
        let prefix = AddressPrefix::of(address.parse().unwrap());
        self.core.handle_connected(conn, key, prefix, &self.rows, self.now).unwrap();
        self.step();
        conn
    }

    pub(crate) fn disconnect(&mut self, conn: ConnId) {
        self.core.handle_closed(conn, self.now);
        self.step();
    }

    /// Hands a request in without ending the step.
    pub(crate) fn put(&mut self, conn: ConnId, request: Request) -> RequestId {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        self.core.handle_request(conn, id, request, &self.rows, self.now, &mut self.rng).unwrap();
        id
    }

    pub(crate) fn answer(&mut self, id: RequestId) -> Option<Answer> {
        self.answers.remove(&id)
    }

    pub(crate) fn ask(&mut self, conn: ConnId, request: Request) -> Answer {
        let id = self.put(conn, request);
        self.step();
        self.answer(id).expect("a request is answered in its step")
    }

    /// A part of a blob is durable in its file.
    pub(crate) fn written(&mut self, conn: ConnId, blob: BlobId, part: u32) -> Answer {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        self.core.handle_blob_written(conn, id, blob, part, &self.rows).unwrap();
        self.step();
        self.answer(id).expect("answered in its step")
    }

    /// The file of a blob holds so many bytes.
    pub(crate) fn kept(&mut self, blob: BlobId, bytes: u64) {
        self.core.handle_blob_kept(blob, bytes, &self.rows).unwrap();
        self.step();
    }

    /// Rows of a table.
    pub(crate) fn count(&self, table: Table) -> usize {
        self.rows.keys(table, &[], None, usize::MAX).unwrap().len()
    }

    pub(crate) fn admin(&mut self, request: AdminRequest) -> AdminAnswer {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        self.core.handle_admin(id, request, &self.rows, self.now, &mut self.rng).unwrap();
        self.step();
        self.admin.remove(&id).expect("the operator is answered")
    }

    pub(crate) fn put_deposit(&mut self, conn: ConnId, deposit: Deposit) {
        self.core.handle_deposit(conn, deposit, &self.rows, self.now).unwrap();
    }

    pub(crate) fn outcomes(&mut self) -> Vec<(ConnId, DepositId, DepositOutcome)> {
        std::mem::take(&mut self.deposits)
    }

    pub(crate) fn deposit(&mut self, conn: ConnId, deposit: Deposit) -> DepositOutcome {
        let id = deposit.deposit;
        self.put_deposit(conn, deposit);
        self.step();
        match self.outcomes().as_slice() {
            [(answered, of, outcome)] if *answered == conn && *of == id => *outcome,
            other => panic!("one deposit has one answer: {other:?}"),
        }
    }

    /// Events since the last call.
    pub(crate) fn events(&mut self, conn: ConnId) -> Vec<Event> {
        self.events.remove(&conn).unwrap_or_default()
    }

    pub(crate) fn closed(&self, conn: ConnId) -> Option<CloseReason> {
        self.closed.get(&conn).copied()
    }

    pub(crate) fn token(&mut self) -> String {
        let ask = AdminRequest::TokenNew { note: String::new(), life_ms: 3_600_000, uses: 1 };
        match self.admin(ask) {
            AdminAnswer::TokenNew { token, .. } => token,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn register(&mut self, conn: ConnId, handle: &str) -> Registered {
        let token = self.token();
        let request = Register {
            handle: label(handle),
            token: Some(Text::new(token).unwrap()),
            invite: None,
            proof: None,
        };
        match self.ask(conn, Request::Register(request)) {
            Answer::Registered(registered) => registered,
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn hello(incarnation: u8, run: u8, since: &[u8]) -> Request {
    let since = since.iter().map(|run| RunId::from_bytes([*run; 8])).collect();
    Request::Hello(Hello {
        incarnation: Incarnation::from_bytes([incarnation; 8]),
        run: RunId::from_bytes([run; 8]),
        since: List::new(since).unwrap(),
        software: Text::truncated("test"),
    })
}

impl World {
    pub(crate) fn hello(&mut self, conn: ConnId, incarnation: u8, run: u8, since: &[u8]) -> HelloAnswer {
        let answer = self.ask(conn, hello(incarnation, run, since));
        self.settle();
        match answer {
            Answer::Hello(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// `Hello` of a node that never restarted.
    pub(crate) fn receive(&mut self, conn: ConnId) -> HelloAnswer {
        let answer = self.hello(conn, 1, 1, &[]);
        assert_eq!(answer.verdict, Verdict::Known);
        answer
    }

    pub(crate) fn ack(
        &mut self,
        conn: ConnId,
        epoch: penpal_protocol::ids::SpoolEpoch,
        up_to: u64,
        gaps: &[u64],
    ) -> AckAnswer {
        let gaps = List::new(gaps.to_vec()).unwrap();
        let answer = self.ask(conn, Request::Ack(Ack { epoch, up_to, gaps }));
        self.settle();
        match answer {
            Answer::Ack(answer) => answer,
            other => panic!("{other:?}"),
        }
    }
}

/// What somebody needs to write to somebody.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub(crate) edge: EdgeId,
    pub(crate) cap: Capability,
    pub(crate) slot: SlotId,
}

impl Way {
    /// A deposit whose envelope is filled up to the next size that there is.
    pub(crate) fn deposit(&self, number: u64, mut envelope: Vec<u8>) -> Deposit {
        envelope.resize(ladder_step(envelope.len()).unwrap(), 0);
        Deposit {
            edge: self.edge,
            cap: self.cap.clone(),
            slot: self.slot,
            deposit: DepositId::from_bytes(id16(number)),
            ephemeral: None,
            envelope: Blob::new(envelope).unwrap(),
        }
    }
}

/// Sequence numbers and first bytes of deliveries, in order.
pub(crate) fn delivered(events: &[Event]) -> Vec<(u64, u8)> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Delivery(delivery) => {
                Some((delivery.seq, delivery.envelope.first().copied().unwrap_or(0)))
            }
            Event::Welcome(_)
            | Event::Redeemed(_)
            | Event::EdgeState(_)
            | Event::Ephemeral(_)
            | Event::Cloned => None,
        })
        .collect()
}
