//! One node in memory: contact and delivery machines, real sealing, and a shell that stores before it speaks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use penpal_contact::{
    At, By, Command as ContactCommand, Contacts, Heard, Opener, Table as ContactTable, Token, Unreachable,
    Via,
};
use penpal_delivery::{
    Arrival, BodyParts, Command, ContactInfo, Delivery, Destination, Event as DeliveryEvent, Mailbox,
    NewMessage, Opened, Peer, Placement, SealJob, SealKey, Sealed, SpoolRow, Stage, Standing, Verdict,
};
use penpal_protocol::{
    cbor::{Blob, List, Text},
    hash::labelled16,
    ids::{DepositId, EdgeId, Fingerprint, KeyId, RunId, ShortHash},
    limits::{DAY_MS, MAX_MESSAGE_LIFE_MS},
    sealed::{Body, Bundle, Content, Kind, OfferedKey},
    time::Now,
    wire::{Ack, Answer, Deposit, DepositOutcome, Event, Hello, HelloAnswer, Request, Verdict as Greeting},
};
use penpal_seal::{
    Arrived, FreshBytes, IdentityKeys, MemoryKeys, ReceiveKeys, Recipient, Sender, StoredReceiveKeys,
    VerifiedBundle, reseal_hash, seal,
};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

use crate::stored::Stored;

/// Rounds of talk between the machines after which something is wrong.
const MAX_ROUNDS: usize = 64;

/// Rows that may come before the answer to `Hello`.
const MAX_EARLY: usize = 64;

/// What survives a crash.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    pub(super) contact: BTreeMap<(ContactTable, Vec<u8>), Vec<u8>>,
    pub(super) delivery: Stored,
    pub(super) keys: MemoryKeys,
    since: Vec<RunId>,
}

impl Disk {
    /// A copy that later changes do not reach.
    pub(super) fn copy(&self) -> Self {
        Self { keys: self.keys.snapshot(), ..self.clone() }
    }
}

/// What an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Hello,
    Ack,
    Contact(Token),
}

/// What a durable step says to the relay.
#[derive(Debug, Clone)]
pub(super) enum Out {
    Request(Asked, Box<Request>),
    Deposit(Box<Deposit>),
}

/// When a process dies, as its disk sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crash {
    BeforeCommit,
    AfterCommit,
}

pub(super) struct Node {
    pub(super) identity: Arc<IdentityKeys>,
    pub(super) disk: Disk,
    pub(super) contacts: Contacts,
    pub(super) delivery: Delivery,
    receive: ReceiveKeys<MemoryKeys>,
    pub(super) now: Now,
    rng: ChaCha20Rng,
    run: RunId,
    pub(super) connected: bool,
    asked_hello: bool,
    greeted: bool,
    early: Vec<Event>,
    batch: Vec<penpal_contact::Change>,
    out: Vec<Out>,
    flying: BTreeMap<DepositId, (Fingerprint, EdgeId)>,
    erase_invites: Vec<penpal_protocol::ids::InviteId>,
    erase_seeds: Vec<KeyId>,
    /// Keys of the other one that something was sealed to and said.
    pub(super) used_keys: BTreeSet<KeyId>,
    sealed_to: Vec<KeyId>,
    /// The newest notices of the contact machine.
    pub(super) notices: Vec<penpal_contact::Notice>,
}

macro_rules! contact_step {
    ($node:expr) => {
        penpal_contact::Step { now: $node.now, rng: &mut $node.rng }
    };
}

macro_rules! delivery_step {
    ($node:expr) => {
        penpal_delivery::Step { now: $node.now, records: &$node.disk.delivery, rng: &mut $node.rng }
    };
}

fn random<const N: usize>(rng: &mut ChaCha20Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

impl Node {
    /// Starts over what is durable.
    pub(super) fn open(identity: Arc<IdentityKeys>, disk: Disk, now: Now, seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let (contacts, delivery, receive) = machines(&identity, &disk, now, &mut rng);
        let mut node = Self {
            identity,
            disk,
            contacts,
            delivery,
            receive,
            now,
            run: RunId::from_bytes(random(&mut rng)),
            rng,
            connected: false,
            asked_hello: false,
            greeted: false,
            early: Vec::new(),
            batch: Vec::new(),
            out: Vec::new(),
            flying: BTreeMap::new(),
            erase_invites: Vec::new(),
            erase_seeds: Vec::new(),
            used_keys: BTreeSet::new(),
            sealed_to: Vec::new(),
            notices: Vec::new(),
        };
        node.opened();
        node
    }

    fn opened(&mut self) {
        let present: BTreeSet<KeyId> = self.receive.ids().collect();
        self.delivery.reconcile_seeds(&present, &mut delivery_step!(self));
        let known: Vec<Fingerprint> = self.contacts.list().into_iter().map(|row| row.contact).collect();
        for contact in known {
            self.mirror(contact);
        }
    }

    /// The process dies and starts again; its connection is gone.
    pub(super) fn restart(&mut self) {
        self.disk.since.push(self.run);
        self.run = RunId::from_bytes(random(&mut self.rng));
        self.batch.clear();
        self.out.clear();
        self.sealed_to.clear();
        self.flying.clear();
        self.erase_invites.clear();
        self.erase_seeds.clear();
        self.early.clear();
        (self.connected, self.asked_hello, self.greeted) = (false, false, false);
        (self.contacts, self.delivery, self.receive) =
            machines(&self.identity, &self.disk, self.now, &mut self.rng);
        self.opened();
    }

    /// One step: input, everything that follows, commit. What it says, if it became durable and the process lives.
    pub(super) fn step(&mut self, crash: Option<Crash>, input: impl FnOnce(&mut Self)) -> Vec<Out> {
        input(self);
        let due = |at: Option<Duration>, now: Duration| at.is_some_and(|at| at <= now);
        if due(self.contacts.poll_timeout(), self.now.mono) {
            self.contacts.handle_timeout(&mut contact_step!(self));
        }
        if due(self.delivery.poll_timeout(), self.now.mono) {
            self.delivery.handle_timeout(&mut delivery_step!(self));
        }
        self.settle();
        if crash == Some(Crash::BeforeCommit) {
            self.restart();
            return Vec::new();
        }
        let changes = self.delivery.take_changes().expect("own rows can be read");
        self.disk.delivery.commit(changes);
        for change in std::mem::take(&mut self.batch) {
            match change.value {
                Some(value) => self.disk.contact.insert((change.table, change.key), value),
                None => self.disk.contact.remove(&(change.table, change.key)),
            };
        }
        if crash == Some(Crash::AfterCommit) {
            self.restart();
            return Vec::new();
        }
        for key in std::mem::take(&mut self.sealed_to) {
            assert!(self.used_keys.insert(key), "{key:?} is used twice");
        }
        for invite in std::mem::take(&mut self.erase_invites) {
            self.receive.erase_invite(&invite).expect("memory");
        }
        let seeds = std::mem::take(&mut self.erase_seeds);
        if !seeds.is_empty() {
            self.receive.rewrite_without(&seeds.iter().copied().collect()).expect("memory");
            self.delivery.handle_seeds_deleted(&seeds, &mut delivery_step!(self));
        }
        std::mem::take(&mut self.out)
    }

    fn settle(&mut self) {
        for _ in 0..MAX_ROUNDS {
            let mut busy = false;
            while let Some(command) = self.contacts.poll_command() {
                self.contact_command(command);
                busy = true;
            }
            self.delivery.flush(&mut delivery_step!(self));
            while let Some(command) = self.delivery.poll_command() {
                self.delivery_command(command);
                busy = true;
            }
            while let Some(event) = self.delivery.poll_event() {
                self.delivery_event(&event);
                busy = true;
            }
            if !busy {
                return;
            }
        }
        panic!("the machines do not come to rest");
    }

    fn contact_command(&mut self, command: ContactCommand) {
        match command {
            ContactCommand::KeepSecret(keep) => {
                self.receive.keep_invite(keep.invite, keep.entry).expect("memory");
            }
            ContactCommand::KeepIdentity(keys) => self.identity = keys,
            ContactCommand::Persist(change) => self.batch.push(change),
            ContactCommand::EraseSecret(invite) => self.erase_invites.push(invite),
            ContactCommand::Relay(call) => {
                let asked = Asked::Contact(call.token);
                if call.relay == At::Home && self.connected {
                    self.out.push(Out::Request(asked, Box::new(call.request)));
                } else {
                    self.contacts.handle_answer(call.token, Err(Unreachable), &mut contact_step!(self));
                }
            }
            ContactCommand::Deliver(deliver) => {
                let peers = deliver.devices.iter();
                let destinations =
                    peers.map(|device| Destination::Device(Peer::new(deliver.to, *device))).collect();
                self.mirror(deliver.to);
                let message = NewMessage {
                    msg_id: Some(deliver.message),
                    kind: Kind::Control,
                    content: Content::Control(deliver.control),
                    from: Mailbox::Desk,
                    to: String::new(),
                    destinations,
                    reply_to: None,
                    trace_id: None,
                    hops: 0,
                    wake_budget: 0,
                    life_ms: Some(deliver.expires_ms.saturating_sub(self.now.wall_ms)),
                    boot: deliver.by == By::Boot,
                };
                if self.delivery.send(message, &mut delivery_step!(self)).is_err() {
                    self.contacts.handle_undelivered(&deliver.message, &mut contact_step!(self));
                }
            }
            ContactCommand::CancelDelivery(message) => {
                self.delivery.cancel(message, &mut delivery_step!(self));
            }
            ContactCommand::RouteChanged(contact) => self.mirror(contact),
            ContactCommand::ContactEnded(contact) => {
                self.delivery.remove_contact(contact, &mut delivery_step!(self));
            }
            ContactCommand::Fetched { contact, fresh } => {
                self.delivery.handle_prekeys(contact, fresh, &mut delivery_step!(self));
                self.mirror(contact);
            }
            ContactCommand::BundleWanted => self.delivery.handle_prekey_wanted(&mut delivery_step!(self)),
            ContactCommand::BundlePublished(key) => {
                self.delivery.handle_prekey_taken(key, &mut delivery_step!(self));
            }
            ContactCommand::HelloWanted => self.hello(),
            ContactCommand::Notice(notice) => {
                if let penpal_contact::Notice::Registered { .. } = notice {
                    self.hello();
                }
                self.notices.push(notice);
            }
        }
    }

    fn mirror(&mut self, contact: Fingerprint) {
        let Some(row) = self.contacts.view(&contact) else { return };
        let opener = Opener { contact, via: Via::Link };
        let Some(peer) = self.contacts.peer(&opener) else { return };
        let standing = match (peer.shut, peer.held) {
            (true, _) => Standing::Blocked,
            (false, true) => Standing::OnProbation,
            (false, false) => Standing::Active,
        };
        let devices = peer.manifest.manifest().devices.iter().map(|device| device.id).collect();
        let list = peer.manifest.version();
        let route = self.contacts.route(&contact);
        let open = route.as_ref().is_some_and(|route| route.open);
        let edge = route.map(|route| route.edge);
        let info = ContactInfo { relay: row.relay.pin, standing, open, edge, devices, list };
        self.delivery.set_contact(contact, info, &mut delivery_step!(self));
    }

    fn delivery_command(&mut self, command: Command) {
        match command {
            Command::Seal(job) => {
                let deposit = job.deposit;
                let sealed = self.seal(*job);
                self.delivery.handle_sealed(deposit, sealed, &mut delivery_step!(self));
            }
            Command::FetchPrekeys { account } => self.contacts.fetch(&account, &mut contact_step!(self)),
            Command::Ack { epoch, up_to, gaps } => {
                let ack = Ack { epoch, up_to, gaps: List::truncated(gaps) };
                self.out.push(Out::Request(Asked::Ack, Box::new(Request::Ack(ack))));
            }
            Command::WantSeeds { .. } => {
                self.receive.refill(&mut self.rng).expect("memory");
                let unused: Vec<KeyId> = self.receive.unused().collect();
                self.delivery.handle_seeds(&unused, &mut delivery_step!(self));
            }
            Command::PublishPrekey { key, issued_ms } => self.publish(key, issued_ms),
            Command::DeleteSeeds { keys } => self.erase_seeds.extend(keys),
        }
    }

    fn delivery_event(&mut self, event: &DeliveryEvent) {
        if let DeliveryEvent::Stage { msg_id, stage, .. } = event {
            if *stage == Stage::Delivered {
                self.contacts.handle_delivered(msg_id, &mut contact_step!(self));
            } else if stage.is_failure() {
                self.contacts.handle_undelivered(msg_id, &mut contact_step!(self));
            }
        }
    }

    fn seal(&mut self, job: SealJob) -> Sealed {
        let peer = job.peer;
        let prekey = self.contacts.bundle(&peer.account, &peer.device, self.now.wall_ms);
        let (key_id, key, once) = match (&job.key, prekey) {
            (SealKey::Receive(offered), _) => (offered.id, offered.key.clone(), true),
            (SealKey::Prekey, Some(bundle)) => (bundle.prekey().0, bundle.prekey().1.clone(), false),
            (SealKey::Prekey, None) => return Sealed::NoPrekey,
        };
        let offer = job.offer.and_then(|offer| {
            let own = self.receive.key(&offer.key)?;
            Some(OfferedKey { id: offer.key, key: own.public().clone(), use_until_ms: offer.use_until_ms })
        });
        let Some(me) = self.contacts.account() else { return Sealed::NoPrekey };
        let manifest = self.contacts.manifest(&peer.account);
        let parts = BodyParts {
            from: me.account,
            from_device: me.device,
            manifest: me.manifest,
            peer_manifest: manifest.map(penpal_seal::VerifiedManifest::reference),
            next_key: offer,
        };
        let Some(slot) = manifest.and_then(|one| one.device(&peer.device)).map(|device| device.slot) else {
            return Sealed::NoDevice;
        };
        let deposit = job.deposit;
        let body = job.into_body(parts);
        let boot = (body.kind == Kind::Control).then(|| self.contacts.boot_route(&body.msg_id)).flatten();
        let route = boot.or_else(|| self.contacts.route(&peer.account)).filter(|route| route.open);
        let Some(route) = route else { return Sealed::NoPrekey };
        let recipient = Recipient { key_id, key: &key, pair_key: route.pair_key };
        let sender = Sender { signing: &self.identity.signing, hedge: &self.identity.hedge };
        let fresh = FreshBytes::from_bytes(random(&mut self.rng));
        let Ok(bytes) = seal(&body, &recipient, &sender, fresh) else { return Sealed::TooLong };
        let hash = reseal_hash(&bytes);
        let envelope = Blob::new(bytes).expect("an envelope");
        self.flying.insert(deposit, (peer.account, route.edge));
        let (edge, cap) = (route.edge, route.cap.clone());
        if once {
            self.sealed_to.push(key_id);
        }
        self.out.push(Out::Deposit(Box::new(Deposit {
            edge,
            cap,
            slot,
            deposit,
            ephemeral: None,
            envelope,
        })));
        Sealed::Done { envelope: hash }
    }

    fn publish(&mut self, key: KeyId, issued_ms: u64) {
        let Some(device) = self.contacts.account().map(|me| me.device) else { return };
        let own = self.receive.key(&key).expect("a seed that is to be published is there");
        let bundle = Bundle {
            device,
            signing: self.identity.signing.public(),
            key_id: key,
            key: own.public().clone(),
            issued_ms,
            expires_ms: issued_ms.saturating_add(30 * DAY_MS),
        };
        let signed = VerifiedBundle::sign(&self.identity.signing, bundle).expect("a good bundle");
        self.contacts
            .publish_bundle(signed.signed(), &mut contact_step!(self))
            .expect("an own bundle can be published");
    }

    // ---- the connection --------------------------------------------------------------------------------------------

    pub(super) fn up(&mut self) {
        (self.connected, self.asked_hello, self.greeted) = (true, false, false);
        self.early.clear();
        if self.contacts.account().is_some() {
            self.hello();
        } else {
            self.contacts.handle_connected(&At::Home, &mut contact_step!(self));
        }
    }

    /// The connection is gone, and everything that was asked on it.
    pub(super) fn down(&mut self, asked: impl IntoIterator<Item = Asked>) {
        (self.connected, self.asked_hello, self.greeted) = (false, false, false);
        self.flying.clear();
        for asked in asked {
            if let Asked::Contact(token) = asked {
                self.contacts.handle_answer(token, Err(Unreachable), &mut contact_step!(self));
            }
        }
        if let Some(pin) = self.contacts.home_relay().map(|home| home.pin) {
            self.delivery.handle_relay_lost(pin, &mut delivery_step!(self));
        }
        self.delivery.handle_disconnected(&mut delivery_step!(self));
    }

    fn hello(&mut self) {
        if !self.connected || self.asked_hello || self.contacts.account().is_none() {
            return;
        }
        self.asked_hello = true;
        let hello = Hello {
            incarnation: self.delivery.incarnation(),
            run: self.run,
            since: List::truncated(self.disk.since.clone()),
            software: Text::truncated("fuzz"),
        };
        self.out.push(Out::Request(Asked::Hello, Box::new(Request::Hello(hello))));
    }

    pub(super) fn answered(&mut self, asked: Asked, answer: Answer) {
        match (asked, answer) {
            (Asked::Contact(token), answer) => {
                self.contacts.handle_answer(token, Ok(answer), &mut contact_step!(self));
            }
            (Asked::Hello, Answer::Hello(answer)) => self.greeted(&answer),
            (Asked::Hello, _) => self.asked_hello = false,
            (Asked::Ack, Answer::Ack(answer)) => {
                let same = self.delivery.handle_acked(answer.epoch, answer.newest, &mut delivery_step!(self));
                if !same {
                    self.greeted = false;
                    self.hello();
                }
            }
            (Asked::Ack, _) => {}
        }
    }

    fn greeted(&mut self, answer: &HelloAnswer) {
        self.asked_hello = false;
        match answer.verdict {
            Greeting::Known => {
                self.greeted = true;
                self.disk.since.clear();
                self.contacts.handle_hello(answer, &mut contact_step!(self));
                if let Some(pin) = self.contacts.home_relay().map(|home| home.pin) {
                    self.delivery.handle_relay_up(pin, &mut delivery_step!(self));
                }
                self.delivery.handle_connected(answer.epoch, answer.newest, &mut delivery_step!(self));
                for event in std::mem::take(&mut self.early) {
                    self.event(event);
                }
            }
            Greeting::RolledBack => {
                self.delivery.handle_rolled_back(&mut delivery_step!(self));
                self.hello();
            }
            Greeting::Clone => self.greeted = false,
        }
    }

    pub(super) fn deposited(&mut self, deposit: DepositId, outcome: DepositOutcome) {
        match (self.flying.remove(&deposit), outcome) {
            (Some((account, edge)), DepositOutcome::No) => {
                self.contacts.handle_refused(&account, &edge, &mut contact_step!(self));
            }
            (Some((account, _)), DepositOutcome::Accepted) => {
                self.contacts.handle_accepted(&account, &mut contact_step!(self));
            }
            (Some(_) | None, _) => {}
        }
        self.delivery.handle_deposit_answer(deposit, outcome, &mut delivery_step!(self));
    }

    pub(super) fn event(&mut self, event: Event) {
        if matches!(event, Event::Delivery(_) | Event::Redeemed(_)) && !self.greeted {
            if self.early.len() < MAX_EARLY {
                self.early.push(event);
            }
            return;
        }
        match event {
            Event::Delivery(delivery) => {
                let row = SpoolRow { epoch: delivery.epoch, seq: delivery.seq };
                self.envelope(row, &delivery.envelope);
            }
            Event::Redeemed(redeemed) => {
                self.contacts.handle_redeemed(&redeemed.invite, &redeemed.request, &mut contact_step!(self));
                let row = SpoolRow { epoch: redeemed.epoch, seq: redeemed.seq };
                self.delivery.handle_other_row(row, &mut delivery_step!(self));
            }
            Event::EdgeState(state) => {
                if let Some(contact) = self.contacts.contact_of_edge(&state.edge) {
                    self.delivery.handle_edge(contact, state.up, &mut delivery_step!(self));
                }
            }
            Event::Cloned => self.greeted = false,
            Event::Welcome(_) | Event::Ephemeral(_) => {}
        }
    }

    fn envelope(&mut self, row: SpoolRow, bytes: &[u8]) {
        let Ok(arrived) = Arrived::parse(bytes) else {
            let mark = ShortHash::from_bytes(labelled16("no-envelope", &[bytes]));
            let arrival = Arrival { row: Some(row), enc: mark, envelope: mark, verdict: Verdict::Foreign };
            self.delivery.handle_arrival(arrival, &mut delivery_step!(self));
            return;
        };
        let (enc, envelope) = (arrived.duplicate_mark(), arrived.reseal_hash());
        if self.delivery.is_seen(&enc, &self.disk.delivery).expect("memory") {
            self.delivery.handle_seen(Some(row), &enc, &mut delivery_step!(self));
            return;
        }
        let verdict = self.judged(arrived);
        let arrival = Arrival { row: Some(row), enc, envelope, verdict };
        self.delivery.handle_arrival(arrival, &mut delivery_step!(self));
    }

    fn judged(&mut self, arrived: Arrived<'_>) -> Verdict {
        let refused = |body: Option<&Body>, reason: &str, now_ms: u64| Verdict::Refused {
            from: body.map(|body| Peer::new(body.from, body.from_device)),
            msg_id: body.map_or(penpal_protocol::ids::MsgId::from_bytes([0; 16]), |body| body.msg_id),
            expires_ms: body.map_or(now_ms.saturating_add(MAX_MESSAGE_LIFE_MS), |body| body.expires_ms),
            reason: reason.to_owned(),
        };
        let Some((me, device)) = self.contacts.account().map(|me| (me.account, me.device)) else {
            return Verdict::Foreign;
        };
        let Some(found) = arrived.find_contact(self.contacts.openers()) else { return Verdict::Foreign };
        let opener = *found.contact();
        let unreadable = Verdict::Unreadable { account: opener.contact };
        let Some(key) = self.receive.key(&found.key_id()) else { return unreadable };
        let Ok(opened) = found.open(&key, &device) else { return unreadable };
        let now_ms = self.now.wall_ms;
        let Ok(parsed) = opened.parse() else { return refused(None, "malformed", now_ms) };
        let Some(peer) = self.contacts.peer(&opener) else { return Verdict::Foreign };
        let Ok(verified) = parsed.verify(&me, peer.manifest, now_ms) else {
            return refused(None, "not-verified", now_ms);
        };
        let (key, body) = (verified.key_id, verified.body);
        let Ok(content) = body.parse_content() else { return refused(Some(&body), "malformed", now_ms) };
        let boot = matches!(opener.via, Via::Boot(_) | Via::BootAgain);
        if boot && !matches!(&content, Content::Control(control) if control.accept.is_some()) {
            return Verdict::Foreign;
        }
        if !boot {
            let (mine, theirs) = (&body.manifest, body.peer_manifest.as_ref());
            self.contacts.handle_message(opener, &body.from_device, mine, theirs, &mut contact_step!(self));
        }
        if let Content::Control(control) = &content {
            match self.contacts.handle_control(opener, &body.from_device, control, &mut contact_step!(self)) {
                Ok(Heard::Applied | Heard::Accepted | Heard::Repeated) => self.mirror(opener.contact),
                Ok(Heard::Ignored) => return Verdict::Ignored,
                Err(_) => return refused(Some(&body).filter(|_| !boot), "control-refused", now_ms),
            }
        }
        let placement = Placement { mailbox: Mailbox::Desk, held: None, quiet: false };
        Verdict::Opened(Box::new(Opened { key, body, content, placement }))
    }

    // ---- what people do --------------------------------------------------------------------------------------------

    pub(super) fn with_contacts<T>(
        &mut self,
        act: impl FnOnce(&mut Contacts, &mut penpal_contact::Step<'_>) -> T,
    ) -> T {
        act(&mut self.contacts, &mut contact_step!(self))
    }

    pub(super) fn with_delivery<T>(
        &mut self,
        act: impl FnOnce(&mut Delivery, &mut penpal_delivery::Step<'_>) -> T,
    ) -> T {
        act(&mut self.delivery, &mut delivery_step!(self))
    }

    pub(super) fn due(&self) -> Option<Duration> {
        self.contacts.poll_timeout().into_iter().chain(self.delivery.poll_timeout()).min()
    }
}

fn machines(
    identity: &Arc<IdentityKeys>,
    disk: &Disk,
    now: Now,
    rng: &mut ChaCha20Rng,
) -> (Contacts, Delivery, ReceiveKeys<MemoryKeys>) {
    let stored = StoredReceiveKeys::load(disk.keys.clone()).expect("own key file");
    let assigned = disk.delivery.0.keys().filter(|(table, _)| *table == penpal_delivery::Table::Key);
    let (receive, _) = stored.with_assigned(assigned.filter_map(|(_, key)| KeyId::from_slice(key)));
    let mut restoring = Contacts::restoring(Arc::clone(identity));
    for ((table, key), value) in &disk.contact {
        restoring.row(*table, key, value).expect("an own row");
    }
    for (invite, entry) in receive.invites() {
        restoring.secret(*invite, entry.clone());
    }
    let contacts = restoring.finish(&mut penpal_contact::Step { now, rng });
    let delivery =
        Delivery::open(&mut penpal_delivery::Step { now, records: &disk.delivery, rng }).expect("own rows");
    (contacts, delivery, receive)
}
