//! A relay that is honest inside, and everything on its way to and from it, which is not.

use std::collections::{BTreeMap, VecDeque};

use penpal_protocol::{
    cbor::Blob,
    ids::{DepositId, TransportPublicKey},
    text::RelayAddress,
    time::Now,
    wire::{Answer, Delivery, Deposit, DepositOutcome, EdgeState, Event, RefusalCode, Verdict},
};
use penpal_relay_core::{
    AddressPrefix, AdminAnswer, AdminRequest, Command, Committed, Config, ConnId, GraphKey, MemRows,
    RelayCore, RequestId,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

use super::node::{Asked, Out};
use crate::edit::edited;

/// Most things under way in one direction for one node: far above what honest queues hold.
const MAX_UNDER_WAY: usize = 512;

/// What is on its way to a node.
#[derive(Debug, Clone)]
pub(super) enum Down {
    Answer(Asked, Box<Answer>),
    Deposited(DepositId, DepositOutcome),
    Event(Box<Event>),
}

/// One end.
#[derive(Default)]
pub(super) struct End {
    pub(super) conn: Option<ConnId>,
    pub(super) up: VecDeque<Out>,
    pub(super) down: VecDeque<Down>,
}

pub(super) struct Relay {
    core: RelayCore,
    pub(super) rows: MemRows,
    rng: ChaCha20Rng,
    pub(super) ends: [End; 2],
    last: u64,
    asked: BTreeMap<RequestId, (usize, Asked)>,
    /// Every envelope that ever came, and every answer and event that ever went, for saying them again.
    pub(super) envelopes: Vec<Vec<u8>>,
    pub(super) said: Vec<Down>,
}

fn graph() -> GraphKey {
    GraphKey::from_bytes([0x5a; 32])
}

pub(super) fn address() -> RelayAddress {
    let pin = penpal_protocol::ids::RelayPin::from_bytes([1; 16]);
    RelayAddress { at: "relay.example.com".parse().expect("an address"), pin }
}

impl Relay {
    pub(super) fn open(rows: MemRows, now: Now) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(11);
        let core = RelayCore::new(Config::default(), graph(), false, &rows, now, &mut rng).expect("own rows");
        let mut relay = Self {
            core,
            rows,
            rng,
            ends: [End::default(), End::default()],
            last: 0,
            asked: BTreeMap::new(),
            envelopes: Vec::new(),
            said: Vec::new(),
        };
        relay.step(now);
        relay
    }

    pub(super) fn token(&mut self, now: Now) -> String {
        self.last += 1;
        let ask = AdminRequest::TokenNew { note: String::new(), life_ms: 3_600_000, uses: 1 };
        self.core.handle_admin(RequestId(self.last), ask, &self.rows, now, &mut self.rng).expect("memory");
        match self.step(now) {
            Some(AdminAnswer::TokenNew { token, .. }) => token,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn connect(&mut self, who: usize, key: TransportPublicKey, now: Now) {
        self.last += 1;
        let conn = ConnId(self.last);
        self.ends[who] = End { conn: Some(conn), ..End::default() };
        let prefix = AddressPrefix::of([192, 0, 2, 7].into());
        self.core.handle_connected(conn, key, prefix, &self.rows, now).expect("memory");
        self.step(now);
    }

    /// Gives what was asked and not answered.
    pub(super) fn cut(&mut self, who: usize, now: Now) -> Vec<Asked> {
        let end = std::mem::take(&mut self.ends[who]);
        if let Some(conn) = end.conn {
            self.core.handle_closed(conn, now);
            self.step(now);
        }
        let unheard = self.asked.iter().filter(|(_, (of, _))| *of == who).map(|(_, (_, asked))| *asked);
        let unsent = end.up.iter().filter_map(|out| match out {
            Out::Request(asked, _) => Some(*asked),
            Out::Deposit(_) => None,
        });
        let lost = end.down.iter().filter_map(|down| match down {
            Down::Answer(asked, _) => Some(*asked),
            Down::Deposited(..) | Down::Event(_) => None,
        });
        let all = unheard.chain(unsent).chain(lost).collect();
        self.asked.retain(|_, (of, _)| *of != who);
        all
    }

    pub(super) fn send(&mut self, who: usize, out: Vec<Out>) {
        if self.ends[who].conn.is_none() {
            return;
        }
        self.ends[who].up.extend(out);
        assert!(self.ends[who].up.len() <= MAX_UNDER_WAY, "too much under way");
    }

    /// Hands one thing to the honest inside.
    pub(super) fn take(&mut self, who: usize, out: Out, now: Now) {
        let Some(conn) = self.ends[who].conn else { return };
        match out {
            Out::Request(asked, request) => {
                self.last += 1;
                let id = RequestId(self.last);
                self.asked.insert(id, (who, asked));
                let taken = self.core.handle_request(conn, id, *request, &self.rows, now, &mut self.rng);
                taken.expect("memory");
            }
            Out::Deposit(deposit) => {
                self.envelopes.push(deposit.envelope.to_vec());
                self.core.handle_deposit(conn, *deposit, &self.rows, now).expect("memory");
            }
        }
        self.step(now);
    }

    pub(super) fn timeout(&mut self, now: Now) {
        if self.core.poll_timeout().is_some_and(|at| at <= now.mono) {
            self.core.handle_timeout(&self.rows, now).expect("memory");
            self.step(now);
        }
    }

    fn step(&mut self, now: Now) -> Option<AdminAnswer> {
        let changes = self.core.take_changes(now);
        self.rows.commit(changes);
        self.core.handle_committed(Committed::Done, &self.rows, now).expect("memory");
        let mut admin = None;
        while let Some(command) = self.core.poll_command() {
            match command {
                Command::Answer { request, answer, .. } => {
                    if let Some((who, asked)) = self.asked.remove(&request) {
                        self.say(who, Down::Answer(asked, Box::new(answer)));
                    }
                }
                Command::DepositAnswer { conn, answer } => {
                    if let Some(who) = self.end(conn) {
                        self.say(who, Down::Deposited(answer.deposit, answer.outcome));
                    }
                }
                Command::Push { conn, push } => {
                    if let Some(who) = self.end(conn) {
                        self.say(who, Down::Event(Box::new(push.event().expect("an event"))));
                    }
                }
                Command::Admin { answer, .. } => admin = Some(answer),
                Command::Alarm { what } => panic!("{what}"),
                Command::Grant { request, .. } => {
                    if let Some((who, asked)) = self.asked.remove(&request) {
                        self.say(who, Down::Answer(asked, Box::new(Answer::Done)));
                    }
                }
                Command::RemoveBlob { .. } => {}
                Command::Close { .. } => {}
            }
        }
        admin
    }

    fn end(&self, conn: ConnId) -> Option<usize> {
        self.ends.iter().position(|end| end.conn == Some(conn))
    }

    pub(super) fn say(&mut self, who: usize, what: Down) {
        self.said.push(what.clone());
        self.ends[who].down.push_back(what);
        assert!(self.ends[who].down.len() <= MAX_UNDER_WAY, "too much under way");
    }

    // ---- lies ------------------------------------------------------------------------------------------------------

    /// An envelope that came earlier, from whomever, to whomever.
    pub(super) fn earlier(&self, which: u8) -> Option<&Vec<u8>> {
        self.envelopes.get(usize::from(which) % self.envelopes.len().max(1))
    }

    /// A deposit with something changed.
    pub(super) fn spoiled(&self, mut deposit: Deposit, how: u8, edits: &[u8]) -> Deposit {
        let envelope = match how % 3 {
            0 => edited(&deposit.envelope, edits),
            1 => self.earlier(how / 3).cloned().unwrap_or_default(),
            _ => edits.to_vec(),
        };
        if let Ok(envelope) = Blob::new(envelope) {
            deposit.envelope = envelope;
        }
        deposit
    }

    /// A thing on its way to a node, changed.
    pub(super) fn changed(&self, what: Down, how: u8, edits: [u8; 4]) -> Down {
        match what {
            Down::Deposited(deposit, _) => Down::Deposited(deposit, outcome(how)),
            Down::Answer(asked, answer) => {
                let answer = match how % 4 {
                    0 => {
                        let (kind, bytes) = (answer.kind().number(), edited(&answer.encode(), &edits));
                        Answer::decode(kind, &bytes).unwrap_or(*answer)
                    }
                    1 => Answer::refused(refusal(how / 4)),
                    2 => self.earlier_answer(how / 4).unwrap_or(*answer),
                    _ => greeted(*answer, how / 4),
                };
                Down::Answer(asked, Box::new(answer))
            }
            Down::Event(event) => Down::Event(Box::new(self.changed_event(*event, how, edits))),
        }
    }

    fn changed_event(&self, event: Event, how: u8, edits: [u8; 4]) -> Event {
        match event {
            Event::Delivery(delivery) => {
                let envelope = match how % 3 {
                    0 => edited(&delivery.envelope, &edits),
                    1 => self.earlier(how / 3).cloned().unwrap_or_default(),
                    _ => delivery.envelope.to_vec(),
                };
                let seq = if how % 3 == 2 { u64::from(how / 3) } else { delivery.seq };
                let envelope = Blob::new(envelope).unwrap_or_default();
                Event::Delivery(Delivery { epoch: delivery.epoch, seq, envelope })
            }
            Event::EdgeState(state) => Event::EdgeState(EdgeState { up: !state.up, ..state }),
            other => {
                let (kind, bytes) = (other.kind().number(), edited(&other.encode(), &edits));
                Event::decode(kind, &bytes).unwrap_or(other)
            }
        }
    }

    fn earlier_answer(&self, which: u8) -> Option<Answer> {
        let answers: Vec<&Answer> = self
            .said
            .iter()
            .filter_map(|down| match down {
                Down::Answer(_, answer) => Some(&**answer),
                Down::Deposited(..) | Down::Event(_) => None,
            })
            .collect();
        answers.get(usize::from(which) % answers.len().max(1)).map(|answer| (*answer).clone())
    }
}

fn outcome(how: u8) -> DepositOutcome {
    [
        DepositOutcome::Accepted,
        DepositOutcome::Quota,
        DepositOutcome::Full,
        DepositOutcome::RecipientFull,
        DepositOutcome::No,
    ][usize::from(how) % 5]
}

pub(super) fn lie(how: u8) -> DepositOutcome {
    outcome(how)
}

fn refusal(how: u8) -> RefusalCode {
    [
        RefusalCode::No,
        RefusalCode::Used,
        RefusalCode::NotRegistered,
        RefusalCode::Conflict,
        RefusalCode::Busy,
        RefusalCode::HandleTaken,
        RefusalCode::Suspended,
    ][usize::from(how) % 7]
}

/// Another verdict, another life of the spool, another newest row.
fn greeted(answer: Answer, how: u8) -> Answer {
    match answer {
        Answer::Hello(mut hello) => {
            match how % 4 {
                0 => hello.verdict = Verdict::RolledBack,
                1 => hello.verdict = Verdict::Clone,
                2 => hello.epoch = penpal_protocol::ids::SpoolEpoch::from_bytes([how; 8]),
                _ => hello.newest = u64::from(how),
            }
            Answer::Hello(hello)
        }
        Answer::Ack(mut ack) => {
            if how % 2 == 0 {
                ack.epoch = penpal_protocol::ids::SpoolEpoch::from_bytes([how; 8]);
            } else {
                ack.newest = u64::from(how);
            }
            Answer::Ack(ack)
        }
        other => other,
    }
}
