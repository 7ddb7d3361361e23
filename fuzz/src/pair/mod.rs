//! Two nodes and a relay that means harm: real contact and delivery machines, real sealing, an honest relay machine with a liar in
//! front of it who drops, repeats, reorders, swaps, replays, forges, and answers what it likes.
//!
//! After every step: nothing is in a mailbox that was not sent to it, nothing twice, no stage says more than is true, no key is used
//! twice, what is stored opens again, queues stay bounded. At the end the liar goes, and what was sent arrives.

mod node;
mod relay;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
    time::Duration,
};

use arbitrary::Arbitrary;
use penpal_contact::{NewAccount, State};
use penpal_delivery::{Delivery, Destination, Mailbox, NewMessage, Peer, Selection, Stage, Surfacing};
use penpal_protocol::{
    cbor::{Blob, Text},
    ids::{Fingerprint, InviteSecret, MsgId},
    sealed::{Content, Kind, Letter},
    text::{InviteCode, Label},
    time::Now,
    wire::{Delivery as Row, Event},
};
use penpal_relay_core::MemRows;
use penpal_seal::IdentityKeys;

use crate::{
    people::{NOW_MS, rng},
    steps::steps,
};
use node::{Crash, Disk, Node, Out};
use relay::{Down, Relay, lie};

const ALICE: usize = 0;
const BOB: usize = 1;
const MAX_STEPS: usize = 48;
/// Most messages of one history: each costs two sealings.
const MAX_SENT: usize = 12;
/// Most rows of one node, whatever came: every step adds a few.
const MAX_ROWS: usize = 400 + 16 * MAX_STEPS;

#[derive(Debug, Arbitrary)]
enum Step {
    /// Everything goes on honestly for some rounds.
    Flow(u8),
    Send(bool, u8),
    Take(bool, bool),
    Crash(bool, bool),
    Pass(u16),
    Cut(bool),
    Connect(bool),
    /// One thing on its way to the relay.
    Up(bool, u8, Fate),
    /// One thing on its way to a node.
    Down(bool, u8, Fate),
    /// An envelope that came earlier, again, as a row of its own.
    Replay(bool, u8, u8),
    /// Bytes of nobody.
    Forge(bool, Vec<u8>),
    /// Something said earlier, again, to anybody.
    Again(bool, u8),
    // Before they are contacts.
    Add,
    Accept(bool),
    Decline(bool),
    Remove(bool),
}

#[derive(Debug, Arbitrary)]
enum Fate {
    Pass,
    Drop,
    Twice,
    Last,
    Change(u8, [u8; 4]),
    /// It is answered and not carried out.
    Lie(u8),
}

/// The first byte says whether they begin as contacts, and whether the liar goes in the end.
pub fn check(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let start = if how & 1 == 0 { &*CONTACTS } else { &*STRANGERS };
    let mut world = start.world();
    for step in steps::<Step>(rest, MAX_STEPS) {
        world.step(step);
        world.holds();
    }
    if how & 2 == 0 {
        world.heal();
    }
}

/// Where histories begin.
struct Start {
    identities: [Arc<IdentityKeys>; 2],
    disks: [Disk; 2],
    rows: MemRows,
    now: Now,
    code: InviteCode,
}

impl Start {
    fn world(&self) -> World {
        let node = |who: usize| {
            let seed = 100 + who as u64;
            Node::open(Arc::clone(&self.identities[who]), self.disks[who].copy(), self.now, seed)
        };
        let mut world = World {
            nodes: [node(ALICE), node(BOB)],
            relay: Relay::open(self.rows.clone(), self.now),
            now: self.now,
            code: self.code.clone(),
            sent: BTreeMap::new(),
            stored: [BTreeSet::new(), BTreeSet::new()],
            surfaced: [BTreeSet::new(), BTreeSet::new()],
            removed: false,
        };
        for who in [ALICE, BOB] {
            world.act(who, None, |_| ());
            world.connect(who);
        }
        world.flow(6);
        world
    }

    fn of(world: &World) -> Self {
        let [alice, bob] = &world.nodes;
        Self {
            identities: [Arc::clone(&alice.identity), Arc::clone(&bob.identity)],
            disks: [alice.disk.copy(), bob.disk.copy()],
            rows: world.relay.rows.clone(),
            now: world.now,
            code: world.code.clone(),
        }
    }
}

/// Alice has an account and an invite that Bob has the code of.
static STRANGERS: LazyLock<Start> = LazyLock::new(|| {
    let now = Now { mono: Duration::from_secs(5), wall_ms: NOW_MS };
    let node = |who: u64| {
        let identity = Arc::new(IdentityKeys::generate(&mut rng(40 + who)));
        Node::open(identity, Disk::default(), now, 50 + who)
    };
    let mut relay = Relay::open(MemRows::new(), now);
    let token = relay.token(now);
    let mut world = World {
        nodes: [node(0), node(1)],
        relay,
        now,
        code: InviteCode::new(
            InviteSecret::from_bytes([0; 20]),
            Fingerprint::from_bytes([0; 16]),
            relay::address(),
            0,
        ),
        sent: BTreeMap::new(),
        stored: [BTreeSet::new(), BTreeSet::new()],
        surfaced: [BTreeSet::new(), BTreeSet::new()],
        removed: false,
    };
    let label = |text: &str| Label::new(text).expect("a label");
    world.act(ALICE, None, |node| {
        let token = Some(Text::new(token).expect("short"));
        node.with_contacts(|contacts, step| {
            contacts
                .register(relay::address(), label("alice"), label("desktop"), token, step)
                .expect("an account can be asked for");
        });
    });
    world.connect(ALICE);
    world.flow(8);
    let mut code = None;
    world.act(ALICE, None, |node| {
        let made = node.with_contacts(|contacts, step| contacts.invite(1, 72 * 3_600_000, false, step));
        code = Some(made.expect("an invite").remove(0).code);
    });
    world.code = code.expect("a code");
    world.flow(8);
    Start::of(&world)
});

/// They are contacts of each other.
static CONTACTS: LazyLock<Start> = LazyLock::new(|| {
    let mut world = STRANGERS.world();
    world.step(Step::Add);
    world.connect(BOB);
    for _ in 0..8 {
        world.flow(8);
        world.pass(1000);
    }
    world.step(Step::Accept(false));
    for _ in 0..12 {
        world.flow(8);
        world.pass(2000);
    }
    for (who, other) in [(ALICE, BOB), (BOB, ALICE)] {
        let of = world.nodes[other].contacts.account().expect("an account").account;
        let view = world.nodes[who].contacts.view(&of).expect("a contact");
        assert!(view.state == State::Active && view.confirmed, "not contacts at the start: {view:?}");
    }
    Start::of(&world)
});

struct World {
    nodes: [Node; 2],
    relay: Relay,
    now: Now,
    code: InviteCode,
    /// Text of every message whose sending became durable, by sender and id.
    sent: BTreeMap<(usize, MsgId), Sent>,
    /// Messages of the other one that a node ever stored, and showed.
    stored: [BTreeSet<MsgId>; 2],
    surfaced: [BTreeSet<MsgId>; 2],
    /// One of them ended it.
    removed: bool,
}

struct Sent {
    text: String,
    answers: Option<MsgId>,
}

impl World {
    /// One step of a node.
    fn act(&mut self, who: usize, crash: Option<Crash>, input: impl FnOnce(&mut Node)) {
        self.nodes[who].now = self.now;
        let out = self.nodes[who].step(crash, input);
        if crash.is_some() {
            // The process is gone, and so is its connection.
            drop(self.relay.cut(who, self.now));
        } else {
            self.relay.send(who, out);
        }
    }

    fn connect(&mut self, who: usize) {
        if self.nodes[who].contacts.home_relay().is_none() || self.nodes[who].connected {
            return;
        }
        let key = self.nodes[who].identity.transport.public();
        self.relay.connect(who, key, self.now);
        self.act(who, None, Node::up);
    }

    fn cut(&mut self, who: usize) {
        let asked = self.relay.cut(who, self.now);
        if self.nodes[who].connected {
            self.act(who, None, |node| node.down(asked));
        }
    }

    fn hear(&mut self, who: usize, what: Down) {
        self.act(who, None, |node| match what {
            Down::Answer(asked, answer) => node.answered(asked, *answer),
            Down::Deposited(deposit, outcome) => node.deposited(deposit, outcome),
            Down::Event(event) => node.event(*event),
        });
    }

    /// Everything under way arrives, so many times over.
    fn flow(&mut self, rounds: usize) {
        for _ in 0..rounds {
            let mut quiet = true;
            for who in [ALICE, BOB] {
                for _ in 0..self.relay.ends[who].up.len() {
                    if let Some(out) = self.relay.ends[who].up.pop_front() {
                        self.relay.take(who, out, self.now);
                        quiet = false;
                    }
                }
            }
            for who in [ALICE, BOB] {
                for _ in 0..self.relay.ends[who].down.len() {
                    if let Some(down) = self.relay.ends[who].down.pop_front() {
                        self.hear(who, down);
                        quiet = false;
                    }
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.plus(Duration::from_millis(ms));
        self.relay.timeout(self.now);
        for who in [ALICE, BOB] {
            self.act(who, None, |_| ());
        }
    }

    fn step(&mut self, step: Step) {
        let who = usize::from;
        match step {
            Step::Flow(rounds) => self.flow(usize::from(rounds % 8) + 1),
            Step::Send(bob, kind) => self.write(who(bob), kind),
            Step::Take(bob, commit) => self.read(who(bob), commit),
            Step::Crash(bob, before) => {
                let crash = if before { Crash::BeforeCommit } else { Crash::AfterCommit };
                self.act(who(bob), Some(crash), |_| ());
                self.connect(who(bob));
            }
            Step::Pass(length) => {
                // From nothing to two hours.
                self.pass(u64::from(length) * u64::from(length) / 600);
            }
            Step::Cut(bob) => self.cut(who(bob)),
            Step::Connect(bob) => self.connect(who(bob)),
            Step::Up(bob, which, fate) => self.up(who(bob), which, fate),
            Step::Down(bob, which, fate) => self.down(who(bob), which, fate),
            Step::Replay(bob, which, seq) => {
                let earlier = self.relay.earlier(which).cloned();
                if let Some(envelope) = earlier {
                    self.row(who(bob), seq, envelope);
                }
            }
            Step::Forge(bob, mut bytes) => {
                if let Some(length) = penpal_protocol::envelope::ladder_step(bytes.len()) {
                    bytes.resize(length, 0);
                }
                self.row(who(bob), 200, bytes);
            }
            Step::Again(bob, which) => {
                let said = self.relay.said.get(usize::from(which) % self.relay.said.len().max(1)).cloned();
                if let Some(said) = said {
                    self.hear(who(bob), said);
                }
            }
            Step::Add => {
                let code = self.code.clone();
                self.act(BOB, None, |node| {
                    let label = |text: &str| Label::new(text).expect("a label");
                    let account = NewAccount { handle: label("bob"), device_name: label("desktop") };
                    node.with_contacts(|contacts, step| drop(contacts.add(&code, Some(account), step)));
                });
                self.connect(BOB);
            }
            Step::Accept(bob) => self.on_first(who(bob), |contacts, name, step| {
                drop(contacts.accept(name, step));
            }),
            Step::Decline(bob) => {
                self.removed = true;
                self.on_first(who(bob), |contacts, name, step| drop(contacts.decline(name, step)));
            }
            Step::Remove(bob) => {
                self.removed = true;
                self.on_first(who(bob), |contacts, name, step| drop(contacts.remove(name, step)));
            }
        }
    }

    fn on_first(
        &mut self,
        who: usize,
        act: impl FnOnce(&mut penpal_contact::Contacts, &Label, &mut penpal_contact::Step<'_>),
    ) {
        let Some(view) = self.nodes[who].contacts.list().into_iter().next() else { return };
        self.act(who, None, |node| node.with_contacts(|contacts, step| act(contacts, &view.name, step)));
    }

    /// A row of a made-up number, in the life that the spool has as far as the last honest row says.
    fn row(&mut self, who: usize, seq: u8, envelope: Vec<u8>) {
        let epoch = self.relay.said.iter().rev().find_map(|down| match down {
            Down::Event(event) => match &**event {
                Event::Delivery(row) => Some(row.epoch),
                _ => None,
            },
            Down::Answer(_, answer) => match &**answer {
                penpal_protocol::wire::Answer::Hello(hello) => Some(hello.epoch),
                _ => None,
            },
            Down::Deposited(..) => None,
        });
        let (Some(epoch), Ok(envelope)) = (epoch, Blob::new(envelope)) else { return };
        let row = Row { epoch, seq: 1000 + u64::from(seq), envelope };
        self.hear(who, Down::Event(Box::new(Event::Delivery(row))));
    }

    fn up(&mut self, who: usize, which: u8, fate: Fate) {
        let queue = &mut self.relay.ends[who].up;
        let place = usize::from(which) % queue.len().max(1);
        let Some(out) = queue.remove(place) else { return };
        let now = self.now;
        match (fate, out) {
            (Fate::Pass, out) => self.relay.take(who, out, now),
            (Fate::Drop, Out::Deposit(_)) => {}
            // Without an answer the node waits for ever; it hears that the connection is gone.
            (Fate::Drop, Out::Request(asked, _)) => self.hear_nothing(who, asked),
            (Fate::Twice, out) => {
                if let Out::Deposit(_) = out {
                    self.relay.take(who, out.clone(), now);
                }
                self.relay.take(who, out, now);
            }
            (Fate::Last, out) => self.relay.ends[who].up.push_back(out),
            (Fate::Change(how, edits), Out::Deposit(deposit)) => {
                let deposit = self.relay.spoiled(*deposit, how, &edits);
                self.relay.take(who, Out::Deposit(Box::new(deposit)), now);
            }
            (Fate::Change(..), out) => self.relay.take(who, out, now),
            (Fate::Lie(how), Out::Deposit(deposit)) => {
                self.relay.envelopes.push(deposit.envelope.to_vec());
                self.hear(who, Down::Deposited(deposit.deposit, lie(how)));
            }
            (Fate::Lie(how), Out::Request(asked, _)) => {
                let answer = penpal_protocol::wire::Answer::Done;
                let lied = self.relay.changed(Down::Answer(asked, Box::new(answer)), how, [0; 4]);
                self.hear(who, lied);
            }
        }
    }

    fn hear_nothing(&mut self, who: usize, asked: node::Asked) {
        let mut lost = self.relay.cut(who, self.now);
        lost.push(asked);
        if self.nodes[who].connected {
            self.act(who, None, |node| node.down(lost));
        }
        self.connect(who);
    }

    fn down(&mut self, who: usize, which: u8, fate: Fate) {
        let queue = &mut self.relay.ends[who].down;
        let place = usize::from(which) % queue.len().max(1);
        let Some(down) = queue.remove(place) else { return };
        match fate {
            Fate::Pass => self.hear(who, down),
            Fate::Drop => match down {
                Down::Answer(asked, _) => self.hear_nothing(who, asked),
                Down::Deposited(..) | Down::Event(_) => {}
            },
            Fate::Twice => {
                // A request has one answer on its stream; deposits and events share theirs.
                if !matches!(down, Down::Answer(..)) {
                    self.hear(who, down.clone());
                }
                self.hear(who, down);
            }
            Fate::Last => self.relay.ends[who].down.push_back(down),
            Fate::Change(how, edits) => {
                let changed = self.relay.changed(down, how, edits);
                self.hear(who, changed);
            }
            Fate::Lie(how) => {
                let changed = self.relay.changed(down.clone(), how, [how; 4]);
                self.hear(who, changed);
                if !matches!(down, Down::Answer(..)) {
                    self.hear(who, down);
                }
            }
        }
    }

    // ---- people ----------------------------------------------------------------------------------------------------

    fn fingerprint(&self, who: usize) -> Option<Fingerprint> {
        self.nodes[who].identity.root.as_ref().map(|root| root.fingerprint())
    }

    fn write(&mut self, who: usize, kind: u8) {
        if self.sent.len() >= MAX_SENT {
            return;
        }
        let node = &self.nodes[who];
        let contact = node.contacts.list().into_iter().find(|view| view.state == State::Active);
        let Some(contact) = contact.map(|view| view.contact) else { return };
        let Some(manifest) = node.contacts.manifest(&contact) else { return };
        let devices = manifest.manifest().devices.iter();
        let destinations: Vec<_> =
            devices.map(|device| Destination::Device(Peer::new(contact, device.id))).collect();
        let asks = list(&node.delivery, node);
        let answers = asks
            .into_iter()
            .find(|view| view.kind == Kind::Ask && !view.marks.answered && view.key.from == Some(contact));
        let (kind, reply_to) = match (kind % 3, answers) {
            (0, Some(ask)) => (Kind::Reply, Some(ask.key)),
            (1, _) => (Kind::Ask, None),
            _ => (Kind::Note, None),
        };
        let text = format!("message {} of {who}", self.sent.len());
        let letter = Letter {
            from: None,
            to: None,
            subject: None,
            text: Text::new(text.clone()).expect("short"),
            reply_to: reply_to.map(|key| key.msg_id),
            room: None,
            artifacts: None,
            target_device: None,
        };
        let message = NewMessage {
            kind,
            content: Content::Letter(Box::new(letter)),
            from: Mailbox::Desk,
            to: "somebody".to_owned(),
            destinations,
            reply_to,
            trace_id: None,
            hops: 0,
            wake_budget: 3,
            life_ms: None,
            boot: false,
            msg_id: None,
        };
        let mut accepted = None;
        self.act(who, None, |node| {
            accepted = node.with_delivery(|delivery, step| delivery.send(message, step)).ok();
            node.with_contacts(|contacts, step| contacts.handle_person_wrote(&contact, step));
        });
        if let Some(accepted) = accepted {
            let answers = reply_to.map(|key| key.msg_id);
            self.sent.insert((who, accepted.msg_id), Sent { text, answers });
        }
    }

    fn read(&mut self, who: usize, commit: bool) {
        let mut shown = Vec::new();
        self.act(who, None, |node| {
            let lease = node.with_delivery(|delivery, step| delivery.take(Mailbox::Desk, None, 8, step));
            if commit {
                let surfacing = Surfacing { mechanism: "hook".to_owned(), session: None, read: false };
                let done =
                    node.with_delivery(|delivery, step| delivery.commit(lease.id, None, &surfacing, step));
                if done.is_ok() {
                    shown.extend(lease.messages.into_iter().map(|view| view.key.msg_id));
                }
            }
        });
        self.surfaced[who].extend(shown);
    }

    // ---- what holds ------------------------------------------------------------------------------------------------

    fn holds(&mut self) {
        for who in [ALICE, BOB] {
            self.mail_is_genuine(who);
        }
        for who in [ALICE, BOB] {
            self.stages_are_true(who);
            self.contacts_are_right(who);
            let node = &self.nodes[who];
            let rows = node.disk.delivery.0.len() + node.disk.contact.len();
            assert!(rows <= MAX_ROWS, "{rows} rows");
            let mut again = Node::open(Arc::clone(&node.identity), node.disk.copy(), self.now, 5);
            again.now = self.now;
            let contacts = |node: &Node| format!("{:?}", node.contacts.list());
            assert_eq!(contacts(&again), contacts(node), "another contact list after a restart");
            let outbox = |node: &Node| node.delivery.outbox(&node.disk.delivery);
            assert_eq!(outbox(&again), outbox(node), "another outbox after a restart");
        }
    }

    /// Nothing forged, nothing twice, all in order.
    fn mail_is_genuine(&mut self, who: usize) {
        let (other, node) = (1 - who, &self.nodes[who]);
        let mut seen = BTreeSet::new();
        for view in list(&node.delivery, node) {
            if view.key.from.is_none() {
                continue;
            }
            assert_eq!(view.key.from, self.fingerprint(other), "mail of nobody");
            let sent = self.sent.get(&(other, view.key.msg_id)).expect("mail that nobody sent");
            let content = node.delivery.content(view.key, &node.disk.delivery).expect("memory");
            let content = Content::decode(view.kind, &content.expect("its content")).expect("content");
            let Content::Letter(letter) = content else { panic!("no letter") };
            assert_eq!(letter.text.as_str(), sent.text, "a text that was changed");
            assert!(seen.insert(view.key.msg_id), "a message is twice in the desk");
        }
        self.stored[who].extend(seen);
    }

    fn stages_are_true(&self, who: usize) {
        let (other, node) = (1 - who, &self.nodes[who]);
        for ((by, msg_id), _) in self.sent.iter().filter(|((by, _), _)| *by == who) {
            let report = node.delivery.report(*msg_id, &node.disk.delivery).expect("memory");
            let Some(report) = report else { continue };
            let stored = self.stored[other].contains(msg_id);
            match report.stage {
                Stage::Delivered | Stage::Held => assert!(stored, "{:?} of {by}, not stored", report.stage),
                Stage::Surfaced => {
                    assert!(self.surfaced[other].contains(msg_id), "surfaced without being");
                }
                Stage::Answered => {
                    let answered = |sent: &Sent| sent.answers == Some(*msg_id);
                    let answer = self.sent.iter().find(|((by, _), sent)| *by == other && answered(sent));
                    assert!(answer.is_some(), "answered by nothing");
                }
                Stage::Refused => {
                    let reason = report.reason.as_deref().unwrap_or_default();
                    assert!(!report.signed, "refused by the recipient ({reason}), who did not");
                }
                Stage::Queued | Stage::Relayed | Stage::Expired => {}
            }
        }
    }

    /// Each has nobody but the other one, under the right key.
    fn contacts_are_right(&self, who: usize) {
        for view in self.nodes[who].contacts.list() {
            assert_eq!(Some(view.contact), self.fingerprint(1 - who), "a contact that is nobody");
            assert!(view.changed.is_none(), "a key change that never was: {:?}", view.changed);
        }
    }

    /// The liar goes; what was sent arrives.
    fn heal(&mut self) {
        for who in [ALICE, BOB] {
            self.cut(who);
            self.relay.ends[who] = relay::End::default();
        }
        let end = self.now.mono + Duration::from_secs(60 * 3600);
        for _ in 0..400 {
            for who in [ALICE, BOB] {
                self.connect(who);
            }
            self.flow(8);
            let due = self.nodes.iter().filter_map(Node::due).min().unwrap_or(end);
            let wait = due.saturating_sub(self.now.mono).max(Duration::from_millis(500));
            if self.now.mono + wait >= end {
                break;
            }
            self.pass(u64::try_from(wait.as_millis()).expect("short") + 1);
        }
        self.holds();
        if self.removed {
            return;
        }
        for (who, msg_id) in self.sent.keys() {
            let node = &self.nodes[*who];
            let report = node.delivery.report(*msg_id, &node.disk.delivery).expect("memory");
            let stage = report.map(|report| report.stage);
            assert!(self.stored[1 - who].contains(msg_id), "never arrives: {stage:?} at its sender");
            assert!(stage >= Some(Stage::Delivered), "{stage:?} although it arrived");
        }
    }
}

fn list(delivery: &Delivery, node: &Node) -> Vec<penpal_delivery::MailView> {
    delivery.list(Selection::All(Mailbox::Desk), None, usize::MAX, &node.disk.delivery).expect("memory")
}

/// Rows of two nodes that are contacts, and of their relay, in the form of the target `rows`: seeds.
pub fn stored_rows() -> Vec<Vec<u8>> {
    let mut rows = Vec::new();
    let mut add = |machine: u8, table: usize, key: &[u8], value: &[u8]| {
        let table = u8::try_from(table).expect("few tables");
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes();
        let head = [machine, table, u8::try_from(key.len()).expect("short keys")];
        rows.push([&head[..], key, &length, value].concat());
    };
    for start in [&*STRANGERS, &*CONTACTS] {
        for disk in &start.disks {
            for ((table, key), value) in &disk.contact {
                let all = penpal_contact::Table::ALL;
                add(0, all.iter().position(|one| one == table).expect("a table"), key, value);
            }
            for ((table, key), value) in &disk.delivery.0 {
                let all = penpal_delivery::Table::ALL;
                add(1, all.iter().position(|one| one == table).expect("a table"), key, value);
            }
        }
        for (place, table) in crate::rows::RELAY_TABLES.iter().enumerate() {
            use penpal_relay_core::Rows as _;
            for key in start.rows.keys(*table, &[], None, 8).expect("memory") {
                let value = start.rows.get(*table, &key).expect("memory").unwrap_or_default();
                add(3, place, &key, &value);
            }
        }
    }
    rows
}
