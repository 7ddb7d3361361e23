//! The relay's machine in the world of its own tests: every input, few ids so that they meet, small limits, a full disk, restarts.

use std::time::Duration;

use arbitrary::Arbitrary;
use penpal_protocol::{
    cbor::{Blob, List, Text},
    ids::{
        Capability, DepositId, EdgeId, Incarnation, InviteId, RegistrationProof, RunId, SlotId, SpoolEpoch,
    },
    wire::{
        Ack, Deposit, EdgeCreate, EdgeLink, EdgeRevoke, GetContactState, Hello, InviteCreate, InviteFetch,
        InviteRedeem, InviteRevoke, Profile, PutBundle, PutManifest, Register, Request,
    },
};
use penpal_relay_core::{
    AdminRequest, Config, ConnId, Limits, Queue, RegistrationPolicy, RequestId, Rows as _, Table,
};

use crate::steps::steps;

#[path = "../../crates/relay-core/tests/relay/world.rs"]
#[expect(dead_code, reason = "shared with the tests of the machine, which use all of it")]
mod world;

use world::{START_MS, World, key, label};

const MAX_STEPS: usize = 300;

/// Limits that a few hundred steps reach.
fn limits() -> Limits {
    Limits {
        spool_bytes: 600,
        spool_rows: 6,
        edges_per_account: 3,
        links_per_account: 3,
        invites_per_account: 2,
        edges_while_provisional: 1,
        connections: 8,
        unregistered_connections: 4,
        connections_per_prefix: 6,
        connections_per_key: 2,
        window_bytes: 200,
        window_rows: 3,
        deposit_marks: 8,
        cached_rows: 4,
        ..Limits::default()
    }
}

#[derive(Debug, Arbitrary)]
enum Step {
    Connect(u8),
    Close(u8),
    Ask(u8, Question),
    /// In the life that the spool has now.
    AckRight(u8, u8, u8),
    Deposit(u8, Letter),
    /// To a slot that there is.
    DepositRight(u8, u8, Letter),
    Token(u8),
    TokenList,
    Pass(u16),
    PassDays(u8),
    Jump(i32),
    DiskFull(bool),
    Commit,
    Restart(bool),
}

#[derive(Debug, Arbitrary)]
struct Letter {
    edge: u8,
    cap: u8,
    slot: u8,
    id: u8,
    ephemeral: Option<bool>,
    length: u8,
}

impl Letter {
    fn deposit(&self, slot: Option<[u8; 16]>) -> Deposit {
        Deposit {
            edge: EdgeId::from_bytes([self.edge % 4; 16]),
            cap: Capability::from_bytes([self.cap % 4; 32]),
            slot: SlotId::from_bytes(slot.unwrap_or([self.slot % 4; 16])),
            deposit: DepositId::from_bytes([self.id; 16]),
            ephemeral: self.ephemeral,
            envelope: Blob::new(vec![self.id; usize::from(self.length)]).expect("short"),
        }
    }
}

/// A request; numbers are cut down to a few values each.
#[derive(Debug, Arbitrary)]
enum Question {
    Hello(u8, u8, Vec<u8>),
    Register(u8, Option<u8>, Option<u8>),
    Ack([u8; 8], u64, Vec<u64>),
    PutManifest(u64, u64, u8, Option<u8>),
    PutBundle(u8, Option<u8>),
    GetContactState(u8, u8),
    EdgeCreate(u8, u8),
    EdgeLink(u8, u8),
    EdgeRevoke(u8),
    InviteCreate(u8, u8, u16, u8),
    InviteFetch(u8),
    InviteRedeem(u8, u8),
    InviteRevoke(u8),
}

fn edge(number: u8) -> EdgeId {
    EdgeId::from_bytes([number % 4; 16])
}

fn cap(number: u8) -> Capability {
    Capability::from_bytes([number % 4; 32])
}

fn invite(number: u8) -> InviteId {
    InviteId::from_bytes([number % 4; 16])
}

fn blob<const MAX: usize>(number: u8) -> Blob<MAX> {
    Blob::new(vec![number % 3; usize::from(number)]).expect("short")
}

fn profile(current: u8, previous: Option<u8>) -> Profile {
    Profile { current: blob(current), previous: previous.map(blob) }
}

impl Question {
    fn request(self) -> Request {
        match self {
            Self::Hello(incarnation, run, since) => Request::Hello(Hello {
                incarnation: Incarnation::from_bytes([incarnation % 3; 8]),
                run: RunId::from_bytes([run % 5; 8]),
                since: List::truncated(
                    since.into_iter().map(|run| RunId::from_bytes([run % 5; 8])).collect(),
                ),
                software: Text::truncated("x"),
            }),
            Self::Register(handle, invited, proof) => Request::Register(Register {
                handle: label(&format!("h{}", handle % 4)),
                token: None,
                invite: invited.map(invite),
                proof: proof.map(|number| RegistrationProof::from_bytes([number % 4; 32])),
            }),
            Self::Ack(epoch, up_to, gaps) => {
                Request::Ack(Ack { epoch: SpoolEpoch::from_bytes(epoch), up_to, gaps: List::truncated(gaps) })
            }
            Self::PutManifest(expect, revision, current, previous) => Request::PutManifest(PutManifest {
                expect: expect % 4,
                revision: revision % 5,
                profile: profile(current, previous),
            }),
            Self::PutBundle(current, previous) => {
                Request::PutBundle(PutBundle { profile: profile(current, previous) })
            }
            Self::GetContactState(of, by) => {
                Request::GetContactState(GetContactState { edge: edge(of), cap: cap(by) })
            }
            Self::EdgeCreate(of, by) => {
                Request::EdgeCreate(EdgeCreate { edge: edge(of), cap_hash: cap(by).hash() })
            }
            Self::EdgeLink(of, by) => Request::EdgeLink(EdgeLink { edge: edge(of), cap: cap(by) }),
            Self::EdgeRevoke(of) => Request::EdgeRevoke(EdgeRevoke { edge: edge(of) }),
            Self::InviteCreate(id, proof, life, record) => Request::InviteCreate(InviteCreate {
                invite: invite(id),
                proof_hash: RegistrationProof::from_bytes([proof % 4; 32]).hash(),
                expires_ms: START_MS + u64::from(life) * 60_000,
                record: blob(record),
            }),
            Self::InviteFetch(id) => Request::InviteFetch(InviteFetch { invite: invite(id) }),
            Self::InviteRedeem(id, request) => {
                Request::InviteRedeem(InviteRedeem { invite: invite(id), request: blob(request) })
            }
            Self::InviteRevoke(id) => Request::InviteRevoke(InviteRevoke { invite: invite(id) }),
        }
    }
}

/// Steps, one after the other; what is asked within one commit is answered after it.
pub fn check(data: &[u8]) {
    let config = Config { registration: RegistrationPolicy::Open, limits: limits(), ..Config::default() };
    let mut run = Run { world: World::with(config), asked: Vec::new(), last: 0 };
    for step in steps::<Step>(data, MAX_STEPS) {
        run.step(step);
    }
    run.commit();
    // What is stored starts again, and can be asked.
    run.world.disk_full = false;
    run.world.restart();
    let conn = run.world.connect(key(0));
    run.ask(conn, Question::Register(0, None, None).request());
    run.commit();
}

struct Run {
    world: World,
    /// Requests of this commit.
    asked: Vec<(ConnId, RequestId)>,
    /// Newest connection.
    last: u64,
}

impl Run {
    fn conn(&self, number: u8) -> ConnId {
        // One of the newest, which may be gone.
        ConnId(self.last.saturating_sub(u64::from(number % 8)).max(1))
    }

    fn ask(&mut self, conn: ConnId, request: Request) {
        let id = self.world.put(conn, request);
        self.asked.push((conn, id));
    }

    fn commit(&mut self) {
        self.world.step();
        for (_, id) in std::mem::take(&mut self.asked) {
            // At most once is checked where answers are kept; a connection that is gone gets none.
            drop(self.world.answer(id));
        }
        drop(self.world.outcomes());
        let limits = &self.world.config.limits;
        assert!(self.world.core.connections() <= limits.connections);
        for slot in self.world.rows.keys(Table::Slot, &[], None, 64).expect("memory") {
            let queue = Queue(slot.try_into().expect("a slot's id"));
            let usage = self.world.rows.usage(queue).expect("memory");
            assert!(usage.rows <= limits.spool_rows, "{} rows in a spool", usage.rows);
            assert!(usage.bytes <= limits.spool_bytes + 512, "{} bytes in a spool", usage.bytes);
        }
        let (accounts, edges) = (self.world.rows.count(Table::Account), self.world.rows.count(Table::Edge));
        assert!(edges <= accounts * limits.edges_per_account, "{edges} edges of {accounts} accounts");
        assert_eq!(self.world.rows.count(Table::OwnedEdge), edges, "an edge without its owner's entry");
        assert_eq!(self.world.rows.count(Table::Handle), accounts, "an account without its handle");
        assert_eq!(
            self.world.rows.count(Table::Invite),
            self.world.rows.count(Table::InviteEnd),
            "an invite that does not end"
        );
        assert!(self.world.alarms.is_empty(), "{:?}", self.world.alarms);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Connect(number) => {
                let network = format!("192.0.{}.7", number / 64);
                self.commit();
                self.last = self.world.connect_from(key(u64::from(number % 4)), &network).0;
            }
            Step::Close(number) => {
                let conn = self.conn(number);
                self.commit();
                self.world.disconnect(conn);
            }
            Step::Ask(number, question) => {
                let conn = self.conn(number);
                self.ask(conn, question.request());
            }
            Step::AckRight(number, up_to, gap) => {
                self.commit();
                let conn = self.conn(number);
                let id = self.world.put(conn, world::hello(1, 1, &[]));
                self.world.step();
                if let Some(penpal_protocol::wire::Answer::Hello(answer)) = self.world.answer(id) {
                    let (up_to, gaps) = (u64::from(up_to), List::truncated(vec![u64::from(gap)]));
                    self.ask(conn, Request::Ack(Ack { epoch: answer.epoch, up_to, gaps }));
                }
            }
            Step::Deposit(number, letter) => {
                let conn = self.conn(number);
                self.world.put_deposit(conn, letter.deposit(None));
            }
            Step::DepositRight(number, nth, letter) => {
                let slots = self.world.rows.keys(Table::Slot, &[], None, 9).expect("memory");
                let slot = slots.get(usize::from(nth % 4)).and_then(|key| key.as_slice().try_into().ok());
                let conn = self.conn(number);
                self.world.put_deposit(conn, letter.deposit(slot));
            }
            Step::Token(life) => {
                self.commit();
                let life_ms = u64::from(life) * 1000;
                self.world.admin(AdminRequest::TokenNew { note: "n".into(), life_ms, uses: 1 });
            }
            Step::TokenList => {
                self.commit();
                self.world.admin(AdminRequest::TokenList);
                self.world.admin(AdminRequest::TokenRevoke { which: "0000".into() });
            }
            Step::Pass(ms) => {
                self.commit();
                self.world.advance(Duration::from_millis(u64::from(ms)));
            }
            Step::PassDays(days) => {
                self.commit();
                self.world.advance(Duration::from_secs(86_400 * u64::from(days % 40)));
            }
            Step::Jump(seconds) => {
                let ms = i64::from(seconds) * 1000;
                self.world.now.wall_ms = self.world.now.wall_ms.saturating_add_signed(ms);
            }
            Step::DiskFull(full) => self.world.disk_full = full,
            Step::Commit => self.commit(),
            Step::Restart(restored) => {
                self.commit();
                let full = std::mem::take(&mut self.world.disk_full);
                self.world.restart_as(restored);
                self.world.disk_full = full;
            }
        }
    }
}
