//! One node's shell: durable rows, a key file, and the machine over them.

use std::collections::{BTreeMap, BTreeSet};

use penpal_delivery::{
    Arrival, BodyParts, Change, Command, ContactInfo, Delivery, Destination, Event, MailKey, MailView,
    Mailbox, NewMessage, Opened, Peer, Placement, ReadFailed, Records, Row, SealKey, Sealed, Selection,
    SpoolRow, Stage, Step, Surfacing, Table, Verdict,
};
use penpal_protocol::cbor::Text;
use penpal_protocol::ids::{
    ConversationId, DepositId, Fingerprint, KeyId, MsgId, ShortHash, SpoolEpoch, XWingPublicKey,
};
use penpal_protocol::sealed::{Content, Kind, Letter, ManifestRef, OfferedKey, RoomRef, SessionTarget};
use penpal_protocol::time::Now;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::relay::{Envelope, Relay};
use super::{Id, World, id_of, peer};

/// Committed rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows(pub BTreeMap<(Table, Vec<u8>), Vec<u8>>);

impl Records for Rows {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadFailed> {
        Ok(self.0.get(&(table, key.to_vec())).cloned())
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, ReadFailed> {
        let rows = self.0.range((table, prefix.to_vec())..);
        Ok(rows
            .take_while(|((at, key), _)| *at == table && key.starts_with(prefix))
            .filter(|((_, key), _)| after.is_none_or(|after| key.as_slice() > after))
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .take(limit)
            .collect())
    }
}

/// A message that a test sends.
#[derive(Debug, Clone)]
pub(crate) struct Send {
    pub(crate) kind: Kind,
    pub(crate) to: Vec<Destination>,
    pub(crate) text: String,
    pub(crate) reply_to: Option<MailKey>,
    pub(crate) life_ms: Option<u64>,
    pub(crate) boot: bool,
    pub(crate) room: Option<RoomRef>,
    /// Of the room the one with the session that it is for.
    pub(crate) for_session_of: Option<Id>,
}

impl Send {
    pub(crate) fn note(to: Id, text: &str) -> Self {
        Self {
            kind: Kind::Note,
            to: vec![Destination::Device(peer(to))],
            text: text.to_owned(),
            reply_to: None,
            life_ms: None,
            boot: false,
            room: None,
            for_session_of: None,
        }
    }

    pub(crate) fn ask(to: Id, text: &str) -> Self {
        Self { kind: Kind::Ask, ..Self::note(to, text) }
    }

    pub(crate) fn reply(to: Id, text: &str, answered: MailKey) -> Self {
        Self { kind: Kind::Reply, reply_to: Some(answered), ..Self::note(to, text) }
    }

    pub(crate) fn local(mailbox: Mailbox, text: &str) -> Self {
        Self { to: vec![Destination::Local { mailbox, held: None }], ..Self::note(0, text) }
    }

    pub(crate) fn to_node(&self) -> Option<Id> {
        match self.to.first() {
            Some(Destination::Device(peer)) => Some(id_of(*peer)),
            _ => None,
        }
    }

    pub(crate) fn letter(&self) -> Letter {
        Letter {
            from: None,
            to: self.for_session_of.map(|_| SessionTarget {
                sid: None,
                name: penpal_protocol::text::Label::new("web").expect("a name"),
            }),
            subject: None,
            text: Text::new(self.text.clone()).expect("short"),
            reply_to: self.reply_to.map(|key| key.msg_id),
            room: self.room.clone(),
            artifacts: None,
            target_device: self.for_session_of.map(|id| peer(id).device),
        }
    }

    pub(crate) fn message(&self, _: &Node) -> NewMessage {
        NewMessage {
            kind: self.kind,
            content: if self.kind == Kind::Control {
                Content::Control(Box::default())
            } else {
                Content::Letter(Box::new(self.letter()))
            },
            from: Mailbox::Desk,
            to: "somebody".to_owned(),
            destinations: self.to.clone(),
            reply_to: self.reply_to,
            trace_id: None,
            hops: 0,
            wake_budget: 3,
            life_ms: self.life_ms,
            boot: self.boot,
            msg_id: None,
        }
    }
}

pub(crate) struct Node {
    pub(crate) id: Id,
    pub(crate) rows: Rows,
    pub(crate) machine: Option<Delivery>,
    pending: Vec<Change>,
    /// The key file.
    pub(crate) seeds: BTreeSet<KeyId>,
    pub(crate) erased: BTreeSet<KeyId>,
    pub(crate) contacts: BTreeMap<Fingerprint, ContactInfo>,
    /// Prekeys of peers, as fetched last.
    pub(crate) prekeys: BTreeMap<Peer, KeyId>,
    pub(crate) skew_ms: i64,
    /// The same when the machine was called last.
    skew_seen: i64,
    /// Where letters go.
    pub(crate) places: Placement,
    pub(crate) run: u64,
    pub(crate) wake_at: Option<std::time::Duration>,
    pub(crate) rng: ChaCha8Rng,
    /// Messages whose sending became durable.
    pub(crate) sent: Vec<(MsgId, Send)>,
    pub(crate) events: Vec<Event>,
    /// Faults that strike at one step only: how many steps from now.
    pub(crate) crash_at: Option<(u64, super::Faults)>,
    /// Its rows are an older copy, and the relay has not said so yet.
    pub(crate) rolled_back: bool,
    /// What every sealing gives, where it is to fail.
    pub(crate) seals: Option<Sealed>,
    /// Most envelopes sealed in one step.
    pub(crate) most_sealed: usize,
    /// Bytes of changes of the largest step.
    pub(crate) most_changed: usize,
    pub(crate) unreadable: u64,
    /// Envelopes of nobody known when they arrived: dropped without a trace, so that a relay cannot fill the disk.
    foreign: BTreeSet<ShortHash>,
    /// Messages that this node receipted at some time, whatever was restored later.
    pub(crate) ever_stored: BTreeSet<(Fingerprint, MsgId)>,
    pub(crate) ever_surfaced: BTreeSet<(Fingerprint, MsgId)>,
}

impl Node {
    pub(crate) fn new(id: Id, seed: u64) -> Self {
        Self {
            id,
            rows: Rows::default(),
            machine: None,
            pending: Vec::new(),
            seeds: BTreeSet::new(),
            erased: BTreeSet::new(),
            contacts: BTreeMap::new(),
            prekeys: BTreeMap::new(),
            skew_ms: 0,
            skew_seen: 0,
            places: Placement { mailbox: Mailbox::Desk, held: None, quiet: false },
            run: 0,
            wake_at: None,
            rng: ChaCha8Rng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(u64::try_from(id).unwrap())),
            sent: Vec::new(),
            events: Vec::new(),
            crash_at: None,
            rolled_back: false,
            seals: None,
            most_sealed: 0,
            most_changed: 0,
            unreadable: 0,
            foreign: BTreeSet::new(),
            ever_stored: BTreeSet::new(),
            ever_surfaced: BTreeSet::new(),
        }
    }

    pub(crate) fn me(&self) -> Peer {
        peer(self.id)
    }

    pub(crate) fn machine(&self) -> &Delivery {
        self.machine.as_ref().expect("the node runs")
    }

    pub(crate) fn new_key(&mut self) -> KeyId {
        KeyId::from_bytes(self.rng.next_u64().to_be_bytes())
    }

    pub(crate) fn open(&mut self, now: Now) {
        self.pending.clear();
        self.wake_at = None;
        let mut step = Step { now, records: &self.rows, rng: &mut self.rng };
        let mut machine = Delivery::open(&mut step).expect("own rows can be read");
        machine.reconcile_seeds(&self.seeds, &mut step);
        for (account, info) in &self.contacts {
            machine.set_contact(*account, info.clone(), &mut step);
        }
        self.machine = Some(machine);
    }

    /// Carries out one step up to its commit.
    pub(crate) fn step<T>(
        &mut self,
        now: Now,
        input: impl FnOnce(&mut Delivery, &mut Step<'_>) -> T,
    ) -> Option<(T, Vec<Command>, BTreeMap<DepositId, Envelope>)> {
        let machine = self.machine.as_mut()?;
        self.skew_seen = self.skew_ms;
        let mut step = Step { now, records: &self.rows, rng: &mut self.rng };
        let result = input(machine, &mut step);
        machine.flush(&mut step);
        let (mut commands, mut envelopes) = (Vec::new(), BTreeMap::new());
        while let Some(command) = machine.poll_command() {
            if let Command::Seal(job) = &command {
                let (key, receive_key) = match &job.key {
                    SealKey::Receive(offered) => (Some(offered.id), Some(offered.id)),
                    SealKey::Prekey => (self.prekeys.get(&job.peer).copied(), None),
                };
                let sealed = match (self.seals, key) {
                    (Some(sealed), _) => sealed,
                    (None, None) => Sealed::NoPrekey,
                    (None, Some(key)) => {
                        let mut id = [0; 16];
                        step.rng.fill_bytes(&mut id);
                        let hash = ShortHash::from_bytes(id);
                        let from = peer(self.id);
                        let body = Box::new(body_of(job, from));
                        let envelope =
                            Envelope { from, to: job.peer, key, receive_key, enc: hash, hash, body };
                        envelopes.insert(job.deposit, envelope);
                        Sealed::Done { envelope: hash }
                    }
                };
                machine.handle_sealed(job.deposit, sealed, &mut step);
            }
            commands.push(command);
        }
        self.most_sealed = self.most_sealed.max(envelopes.len());
        self.most_changed = self.most_changed.max(machine.pending_bytes());
        self.pending = machine.take_changes().expect("own rows can be read");
        Some((result, commands, envelopes))
    }

    /// A timer that is called before the moment that was asked for finds nothing to do.
    pub(crate) fn check_nothing_is_due(&mut self, now: Now, seed: u64) {
        let jumped = self.skew_ms != self.skew_seen;
        let Some(machine) = self.machine.as_mut().filter(|_| !jumped) else { return };
        let due = machine.poll_timeout();
        if due.is_some_and(|at| at <= now.mono) {
            return;
        }
        let changes = machine.changes();
        let mut step = Step { now, records: &self.rows, rng: &mut self.rng };
        machine.handle_timeout(&mut step);
        machine.flush(&mut step);
        let id = self.id;
        assert_eq!(
            machine.poll_command(),
            None,
            "seed {seed}: node {id} at {:?}, asked for {due:?}",
            now.mono
        );
        assert_eq!(machine.poll_event(), None, "seed {seed}: node {id} at {:?}, asked for {due:?}", now.mono);
        assert_eq!(machine.changes(), changes, "seed {seed}: node {id} at {:?}, asked for {due:?}", now.mono);
        // The wall clock counts milliseconds.
        let near =
            |one: std::time::Duration, other| one.abs_diff(other) <= std::time::Duration::from_millis(1);
        let then = machine.poll_timeout();
        let same = due.zip(then).map_or(due == then, |(due, then)| near(due, then));
        assert!(same, "seed {seed}: node {id} at {:?}, asked for {due:?}, then for {then:?}", now.mono);
    }

    pub(crate) fn commit(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            let key = (change.table, change.key);
            match change.value {
                Some(value) => self.rows.0.insert(key, value),
                None => self.rows.0.remove(&key),
            };
        }
        for key in self.mail_keys() {
            self.ever_stored.insert(key);
        }
    }

    fn mail_keys(&self) -> Vec<(Fingerprint, MsgId)> {
        let mail = self.rows.0.keys().filter(|(table, _)| *table == Table::Mail);
        mail.filter_map(|(_, key)| MailKey::from_key(key))
            .filter_map(|key| key.from.map(|from| (from, key.msg_id)))
            .collect()
    }

    /// What the shell finds out about an envelope.
    pub(crate) fn open_envelope(&mut self, row: SpoolRow, envelope: &Envelope) -> Arrival {
        let known = self.contacts.contains_key(&envelope.from.account);
        let verdict = if !known {
            self.foreign.insert(envelope.enc);
            Verdict::Foreign
        } else if self.seeds.contains(&envelope.key) {
            let content = envelope.body.parse_content().expect("own content");
            let placement = self.places;
            let body = *envelope.body.clone();
            Verdict::Opened(Box::new(Opened { key: envelope.key, body, content, placement }))
        } else {
            self.unreadable += 1;
            Verdict::Unreadable { account: envelope.from.account }
        };
        Arrival { row: Some(row), enc: envelope.enc, envelope: envelope.hash, verdict }
    }

    pub(crate) fn check_events(&mut self) {
        while let Some(event) = self.machine.as_mut().and_then(Delivery::poll_event) {
            self.events.push(event);
        }
    }

    /// Nothing is acknowledged that is not recorded.
    pub(crate) fn check_ack(&self, relay: &Relay, epoch: SpoolEpoch, up_to: u64, gaps: &[u64], seed: u64) {
        if relay.hello(self.me()).0 != epoch {
            return;
        }
        for seq in
            relay.spooled_seqs(self.me()).into_iter().filter(|seq| *seq <= up_to && !gaps.contains(seq))
        {
            let envelope = relay.row(self.me(), seq).expect("it was listed");
            let marked = self.rows.0.contains_key(&(Table::Seen, envelope.enc.as_bytes().to_vec()));
            let done = marked || self.foreign.contains(&envelope.enc);
            assert!(done, "seed {seed}: row {seq} acknowledged before it is recorded");
        }
    }

    // ---- what the node holds ---------------------------------------------------------------------------------------

    pub(crate) fn list(&self, selection: Selection) -> Vec<MailView> {
        self.machine().list(selection, None, usize::MAX, &self.rows).expect("rows can be read")
    }

    pub(crate) fn newest(&self, selection: Selection, after: Option<u64>, limit: usize) -> Vec<MailView> {
        self.machine().newest(selection, after, limit, &self.rows).expect("rows can be read")
    }

    pub(crate) fn said_in(&self, conversation: ConversationId, msg_id: MsgId) -> Option<MailView> {
        self.machine().said_in(conversation, msg_id, &self.rows).expect("rows can be read")
    }

    pub(crate) fn texts(&self, selection: Selection) -> Vec<String> {
        self.list(selection).iter().map(|view| self.text(view.key)).collect()
    }

    pub(crate) fn text(&self, key: MailKey) -> String {
        let content = self.machine().content(key, &self.rows).expect("rows can be read").expect("content");
        match Content::decode(Kind::Note, &content).expect("own content") {
            Content::Letter(letter) => letter.text.as_str().to_owned(),
            Content::Receipts
            | Content::Presence(_)
            | Content::NeedReseal(_)
            | Content::Control(_)
            | Content::Sync(_) => panic!("not a letter"),
        }
    }

    pub(crate) fn times_in_mailboxes(&self, msg_id: MsgId, from: Fingerprint) -> usize {
        let wanted = MailKey::from_contact(msg_id, from).to_key();
        let rows = self.rows.0.iter().filter(|((table, _), _)| *table == Table::Mailbox);
        rows.filter(|(_, value)| value.ends_with(&wanted)).count()
    }

    pub(crate) fn stage(&self, msg_id: MsgId) -> Stage {
        self.report(msg_id).stage
    }

    pub(crate) fn report(&self, msg_id: MsgId) -> penpal_delivery::StageReport {
        self.machine().report(msg_id, &self.rows).expect("rows can be read").expect("an own message")
    }

    pub(crate) fn trail(&self, msg_id: MsgId) -> Vec<Stage> {
        let trace = self.machine().trace(msg_id, &self.rows).expect("rows can be read").expect("own");
        trace.into_iter().map(|event| event.stage).collect()
    }

    pub(crate) fn rows_of(&self, table: Table) -> usize {
        self.rows.0.keys().filter(|(at, _)| *at == table).count()
    }

    /// Messages of each sender are listed in the order in which they were sent, unless marked.
    pub(crate) fn check_order(&self, world: &World) {
        for from in &world.nodes {
            let mut last = 0;
            for view in self.list(Selection::All(Mailbox::Desk)) {
                let place = from.sent.iter().position(|(msg_id, _)| *msg_id == view.key.msg_id);
                let Some(place) = place.filter(|_| view.key.from == Some(from.me().account)) else {
                    continue;
                };
                let in_order = place >= last || view.marks.late;
                assert!(
                    in_order,
                    "seed {}: message {place} of {} after {last} at {}",
                    world.seed, from.id, self.id
                );
                last = last.max(place);
            }
        }
    }

    /// No stage says more than what is true.
    pub(crate) fn check_stages(&self, world: &World) {
        for (msg_id, send) in &self.sent {
            let Some(to) = send.to_node() else { continue };
            let receiver = &world.nodes[to];
            let key = (self.me().account, *msg_id);
            let stage = self.stage(*msg_id);
            let seed = world.seed;
            if matches!(stage, Stage::Delivered | Stage::Held | Stage::Surfaced | Stage::Answered) {
                assert!(receiver.ever_stored.contains(&key), "seed {seed}: {stage:?} without being stored");
            }
            if stage == Stage::Surfaced {
                assert!(receiver.ever_surfaced.contains(&key), "seed {seed}: surfaced without being");
            }
            assert!(stage >= Stage::Delivered, "seed {seed}: {stage:?} although it arrived");
            if receiver.ever_surfaced.contains(&key) {
                assert!(stage >= Stage::Surfaced, "seed {seed}: {stage:?} although it was surfaced");
            }
        }
    }

    pub(crate) fn check_queues_empty(&self, world: &World) {
        let seed = world.seed;
        let owed = self.machine().outbox(&self.rows).expect("rows can be read");
        assert!(owed.is_empty(), "seed {seed}: node {} still owes {owed:?}", self.id);
        assert_eq!(world.relay.spooled(self.me()), 0, "seed {seed}: rows wait for node {}", self.id);
        assert_eq!(self.rows_of(Table::Unreadable), 0, "seed {seed}");
    }

    /// Surfaces everything that waits, as a hook does.
    pub(crate) fn take_all(world: &mut World, id: Id) -> Vec<MailView> {
        let Some(lease) = world.step(id, |machine, step| machine.take(Mailbox::Desk, None, usize::MAX, step))
        else {
            return Vec::new();
        };
        if lease.messages.is_empty() {
            return Vec::new();
        }
        let surfacing = Surfacing { mechanism: "hook".to_owned(), session: None, read: false };
        let done = world.step(id, |machine, step| machine.commit(lease.id, None, &surfacing, step));
        if matches!(done, Some(Ok(()))) {
            for view in &lease.messages {
                if let Some(from) = view.key.from {
                    world.nodes[id].ever_surfaced.insert((from, view.key.msg_id));
                }
            }
            return lease.messages;
        }
        Vec::new()
    }
}

fn body_of(job: &penpal_delivery::SealJob, from: Peer) -> penpal_protocol::sealed::Body {
    let manifest = ManifestRef { version: 1, hash: ShortHash::from_bytes([1; 16]) };
    let next_key = job.offer.map(|offer| {
        let mut key = [0; 1216];
        key[..8].copy_from_slice(offer.key.as_bytes());
        OfferedKey {
            id: offer.key,
            key: XWingPublicKey::from_slice(&key).expect("its length"),
            use_until_ms: offer.use_until_ms,
        }
    });
    job.clone().into_body(BodyParts {
        from: from.account,
        from_device: from.device,
        manifest,
        peer_manifest: Some(manifest),
        next_key,
    })
}
