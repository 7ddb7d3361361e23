//! The world: nodes, a relay, connections between them and one clock.
//!
//! Everything that happens is an entry of one queue, ordered by time and then by when it was made; the same seed gives
//! the same world. Checks that must hold at every moment are made here, at the place where they could fail.

mod forge;
pub(crate) mod node;
pub(crate) mod relay;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use penpal_delivery::{Command, ContactInfo, Peer, SpoolRow, Standing};
use penpal_protocol::ids::{DepositId, DeviceId, Fingerprint, KeyId, RelayPin, SpoolEpoch};
use penpal_protocol::time::Now;
use penpal_protocol::wire::DepositOutcome;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

pub(crate) use node::{Node, Send};
pub(crate) use relay::{Envelope, Relay};

pub(crate) const RELAY: RelayPin = RelayPin::from_bytes([7; 16]);

/// Start of the world, Unix milliseconds.
pub(crate) const EPOCH_MS: u64 = 1_790_000_000_000;

/// Index of a node.
pub(crate) type Id = usize;

/// What travels or is due.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    /// A step of the node without a new input: its timer.
    Wake(Id),
    /// A node dials.
    Dial(Id),
    /// From relay to node, on a connection.
    Down(u64, Down),
    /// From node to relay, on a connection.
    Up(u64, Up),
    /// The key file is written.
    Seeds(Id, u64, Vec<KeyId>),
    Erased(Id, u64, Vec<KeyId>),
}

#[derive(Debug, Clone)]
pub(crate) enum Down {
    Hello { epoch: SpoolEpoch, newest: u64 },
    Row { row: SpoolRow, envelope: Box<Envelope> },
    Edge { account: Fingerprint, up: bool },
    Deposited { deposit: DepositId, outcome: DepositOutcome },
    Acked { epoch: SpoolEpoch, newest: u64 },
    Prekeys { account: Fingerprint, keys: BTreeMap<DeviceId, KeyId> },
    PrekeyTaken { key: KeyId },
}

#[derive(Debug, Clone)]
pub(crate) enum Up {
    Hello,
    Deposit { deposit: DepositId, envelope: Box<Envelope> },
    Ack { epoch: SpoolEpoch, up_to: u64, gaps: Vec<u64> },
    Fetch { account: Fingerprint },
    Publish { key: KeyId },
}

/// What goes wrong, and how often, out of a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) crash_before_commit: u64,
    pub(crate) crash_after_commit: u64,
    pub(crate) crash_while_releasing: u64,
    pub(crate) cut: u64,
    pub(crate) full: u64,
    pub(crate) clock_jump: u64,
    pub(crate) row_twice: u64,
    pub(crate) relay_loses: u64,
}

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) mono: Duration,
    pub(crate) nodes: Vec<Node>,
    pub(crate) relay: Relay,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) faults: Faults,
    /// Most milliseconds that anything takes.
    pub(crate) delay_ms: u64,
    queue: BTreeMap<(Duration, u64), Happening>,
    made: u64,
    /// Live connections.
    pub(crate) connections: BTreeMap<u64, Id>,
    next_connection: u64,
    /// When each node was cut off last, and how often without a minute in between.
    cuts: BTreeMap<Id, (Duration, u32)>,
    /// Connections on which `Hello` was answered.
    greeted: BTreeSet<u64>,
    /// Last arrival time per connection and direction: streams keep their order.
    last_down: BTreeMap<u64, Duration>,
    last_up: BTreeMap<u64, Duration>,
    /// Receive keys that something was sealed to and released.
    pub(crate) used_keys: BTreeSet<(Peer, KeyId)>,
    /// Which message stands at each place of each pair's order.
    pub(crate) places: BTreeMap<(Peer, Peer, [u8; 8], u64), penpal_protocol::ids::MsgId>,
    /// Nodes that put off every row.
    pub(crate) defers: BTreeSet<Id>,
    /// Nodes that cannot connect.
    pub(crate) offline: BTreeSet<Id>,
    pub(crate) deposits: u64,
    /// Deposits that the relay refused.
    pub(crate) refused: u64,
    /// Steps made only because time passed.
    pub(crate) wakes: u64,
    /// Envelopes to a node that never arrive.
    pub(crate) swallow: BTreeMap<Id, u64>,
}

impl World {
    /// People who are contacts of each other, each with one device.
    pub(crate) fn new(seed: u64, people: usize) -> Self {
        let mut world = Self {
            seed,
            mono: Duration::from_secs(1),
            nodes: Vec::new(),
            relay: Relay::new(seed),
            rng: ChaCha8Rng::seed_from_u64(seed),
            faults: Faults::default(),
            delay_ms: 1,
            queue: BTreeMap::new(),
            made: 0,
            connections: BTreeMap::new(),
            next_connection: 0,
            cuts: BTreeMap::new(),
            greeted: BTreeSet::new(),
            last_down: BTreeMap::new(),
            last_up: BTreeMap::new(),
            used_keys: BTreeSet::new(),
            places: BTreeMap::new(),
            defers: BTreeSet::new(),
            offline: BTreeSet::new(),
            deposits: 0,
            refused: 0,
            wakes: 0,
            swallow: BTreeMap::new(),
        };
        let peers: Vec<Peer> = (0..people).map(peer).collect();
        for id in 0..people {
            let mut node = Node::new(id, seed);
            for other in peers.iter().filter(|other| **other != peer(id)) {
                node.contacts.insert(other.account, info(*other, Standing::Active));
            }
            world.relay.register(peer(id));
            world.nodes.push(node);
        }
        for id in 0..people {
            world.start(id);
        }
        world.run_for(Duration::from_secs(2));
        world
    }

    pub(crate) fn now(&self, id: Id) -> Now {
        let elapsed = u64::try_from(self.mono.as_millis()).unwrap();
        let wall_ms = (EPOCH_MS + elapsed).saturating_add_signed(self.nodes[id].skew_ms);
        Now { mono: self.mono, wall_ms }
    }

    pub(crate) fn chance(&mut self, thousandth: u64) -> bool {
        thousandth > 0 && self.rng.next_u64() % 1000 < thousandth
    }

    fn at(&mut self, when: Duration, what: Happening) {
        self.made += 1;
        self.queue.insert((when, self.made), what);
    }

    fn travel(&mut self) -> Duration {
        Duration::from_micros(100 + self.rng.next_u64() % (self.delay_ms * 1000))
    }

    fn down(&mut self, connection: u64, what: Down) {
        let mut when = self.mono + self.travel();
        when = when.max(self.last_down.get(&connection).copied().unwrap_or_default());
        self.last_down.insert(connection, when);
        self.at(when, Happening::Down(connection, what));
    }

    fn up(&mut self, connection: u64, what: Up) {
        let mut when = self.mono + self.travel();
        when = when.max(self.last_up.get(&connection).copied().unwrap_or_default());
        self.last_up.insert(connection, when);
        self.at(when, Happening::Up(connection, what));
    }

    pub(crate) fn connection_of(&self, id: Id) -> Option<u64> {
        self.connections.iter().find(|(_, node)| **node == id).map(|(connection, _)| *connection)
    }

    // ---- nodes -----------------------------------------------------------------------------------------------------

    /// Starts a node's program over what is durable.
    pub(crate) fn start(&mut self, id: Id) {
        let now = self.now(id);
        self.nodes[id].open(now);
        let wait = self.travel();
        self.at(self.mono + wait, Happening::Dial(id));
        self.step(id, |_, _| {});
    }

    /// Ends a node's program without warning.
    pub(crate) fn crash(&mut self, id: Id) {
        self.nodes[id].machine = None;
        self.nodes[id].run += 1;
        self.cut(id);
    }

    pub(crate) fn restart(&mut self, id: Id) {
        self.crash(id);
        self.start(id);
    }

    /// Puts a node's folder back to an older copy; its key file is the present one, the older one, or lost.
    pub(crate) fn restore_node(&mut self, id: Id, rows: node::Rows, seeds: BTreeSet<KeyId>) {
        self.crash(id);
        self.nodes[id].rows = rows;
        self.nodes[id].seeds = seeds;
        self.nodes[id].rolled_back = true;
        self.nodes[id].prekeys.clear();
        self.start(id);
    }

    /// Puts the relay back to an older copy of itself.
    pub(crate) fn restore_relay(&mut self, backup: &Relay) {
        for id in 0..self.nodes.len() {
            self.cut(id);
        }
        self.relay = Relay::restored(backup, &self.relay);
    }

    /// Ends a node's connection.
    pub(crate) fn cut(&mut self, id: Id) {
        let Some(connection) = self.connection_of(id) else { return };
        self.connections.remove(&connection);
        self.tell_edges(id, false);
        if self.nodes[id].machine.is_some() {
            self.step(id, |machine, step| {
                machine.handle_relay_lost(RELAY, step);
                machine.handle_disconnected(step);
            });
            let wait = self.pause(id) + self.travel();
            self.at(self.mono + wait, Happening::Dial(id));
        }
    }

    /// Ends a node's connection, and lets it make no other.
    pub(crate) fn take_offline(&mut self, id: Id) {
        self.offline.insert(id);
        self.cut(id);
    }

    /// As a node does, which waits longer when its connections do not last: a spool full of what is put off would be cut off by chance each time.
    fn pause(&mut self, id: Id) -> Duration {
        let (last, times) = self.cuts.get(&id).copied().unwrap_or_default();
        let times = if last + Duration::from_secs(60) > self.mono { times + 1 } else { 0 };
        self.cuts.insert(id, (self.mono, times));
        Duration::from_millis(50) * 2_u32.pow(times.min(9))
    }

    fn tell_edges(&mut self, id: Id, up: bool) {
        let account = peer(id).account;
        let others: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, other)| **other != id)
            .map(|(connection, _)| *connection)
            .collect();
        for connection in others {
            self.down(connection, Down::Edge { account, up });
        }
    }

    /// One step of a node: an input, then everything that follows from it. Returns what the input returned, if the step
    /// became durable.
    pub(crate) fn step<T>(
        &mut self,
        id: Id,
        input: impl FnOnce(&mut penpal_delivery::Delivery, &mut penpal_delivery::Step<'_>) -> T,
    ) -> Option<T> {
        let now = self.now(id);
        let full = self.faults_of(id);
        let (result, commands, envelopes) = self.nodes[id].step(now, input)?;
        if self.chance(full.crash_before_commit) {
            self.fall(id);
            return None;
        }
        self.nodes[id].commit();
        if self.chance(full.crash_after_commit) {
            self.fall(id);
            return Some(result);
        }
        let mut commands = std::collections::VecDeque::from(commands);
        let mut envelopes = envelopes;
        while let Some(command) = commands.pop_front() {
            if self.chance(full.crash_while_releasing) {
                self.fall(id);
                return Some(result);
            }
            self.release(id, command, &mut envelopes);
        }
        self.nodes[id].check_events();
        if let Some(at) = self.nodes[id].machine.as_ref().and_then(|machine| machine.poll_timeout()) {
            let at = at.max(self.mono);
            if self.nodes[id].wake_at.is_none_or(|wake| at < wake || wake <= self.mono) {
                self.nodes[id].wake_at = Some(at);
                self.at(at, Happening::Wake(id));
            }
        }
        Some(result)
    }

    /// One step of a node of which nothing leaves it: what it asks for.
    pub(crate) fn commands(
        &mut self,
        id: Id,
        input: impl FnOnce(&mut penpal_delivery::Delivery, &mut penpal_delivery::Step<'_>),
    ) -> Vec<Command> {
        let now = self.now(id);
        let (_, commands, _) = self.nodes[id].step(now, input).expect("the node runs");
        self.nodes[id].commit();
        self.nodes[id].check_events();
        commands
    }

    /// The bundles of a node come to another one; what that asks for then.
    pub(crate) fn fetched(&mut self, id: Id, of: Id) -> Vec<Command> {
        let account = peer(of).account;
        let keys = self.relay.prekeys(account);
        let keys = keys.into_iter().map(|(device, key)| (Peer::new(account, device), key));
        self.nodes[id].prekeys.extend(keys);
        self.commands(id, |machine, step| machine.handle_prekeys(account, true, step))
    }

    /// The same, of what it seals.
    pub(crate) fn seals(
        &mut self,
        id: Id,
        input: impl FnOnce(&mut penpal_delivery::Delivery, &mut penpal_delivery::Step<'_>),
    ) -> Vec<penpal_delivery::SealJob> {
        let commands = self.commands(id, input).into_iter();
        let jobs =
            commands.filter_map(|command| if let Command::Seal(job) = command { Some(*job) } else { None });
        jobs.collect()
    }

    /// The same, of a message that it takes.
    pub(crate) fn seals_of(&mut self, from: Id, send: &Send) -> Vec<penpal_delivery::SealJob> {
        let message = send.message(&self.nodes[from]);
        self.seals(from, |machine, step| {
            machine.send(message, step).expect("a good message");
        })
    }

    fn faults_of(&mut self, id: Id) -> Faults {
        match self.nodes[id].crash_at {
            Some((1, faults)) => {
                self.nodes[id].crash_at = None;
                faults
            }
            Some((steps, faults)) => {
                self.nodes[id].crash_at = Some((steps - 1, faults));
                self.faults
            }
            None => self.faults,
        }
    }

    fn fall(&mut self, id: Id) {
        self.crash(id);
        self.start(id);
    }

    fn release(&mut self, id: Id, command: Command, envelopes: &mut BTreeMap<DepositId, Envelope>) {
        let connection = self.connection_of(id);
        match command {
            Command::Seal(job) => {
                let Some(envelope) = envelopes.remove(&job.deposit) else { return };
                if let Some(key) = envelope.receive_key {
                    let fresh = self.used_keys.insert((envelope.to, key));
                    assert!(fresh, "seed {}: {key:?} of {:?} is used twice", self.seed, envelope.to);
                }
                if let Some(order) = envelope.body.order {
                    let place =
                        (envelope.from, envelope.to, *envelope.body.incarnation.as_bytes(), order.seq);
                    let holder = *self.places.entry(place).or_insert(envelope.body.msg_id);
                    assert_eq!(holder, envelope.body.msg_id, "seed {}: two messages at {place:?}", self.seed);
                }
                self.deposits += 1;
                if let Some(connection) = connection {
                    let envelope = Box::new(envelope);
                    self.up(connection, Up::Deposit { deposit: job.deposit, envelope });
                }
            }
            Command::FetchPrekeys { account } => match connection {
                Some(connection) => self.up(connection, Up::Fetch { account }),
                None => {
                    self.step(id, |machine, step| machine.handle_prekeys(account, false, step));
                }
            },
            Command::Ack { epoch, up_to, gaps } => {
                self.nodes[id].check_ack(&self.relay, epoch, up_to, &gaps, self.seed);
                if let Some(connection) = connection {
                    self.up(connection, Up::Ack { epoch, up_to, gaps });
                }
            }
            Command::WantSeeds { count, .. } => {
                let keys: Vec<KeyId> = (0..count).map(|_| self.nodes[id].new_key()).collect();
                self.nodes[id].seeds.extend(&keys);
                let run = self.nodes[id].run;
                self.at(self.mono + Duration::from_millis(1), Happening::Seeds(id, run, keys));
            }
            Command::DeleteSeeds { keys } => {
                for key in &keys {
                    self.nodes[id].seeds.remove(key);
                    self.nodes[id].erased.insert(*key);
                }
                let run = self.nodes[id].run;
                self.at(self.mono + Duration::from_millis(1), Happening::Erased(id, run, keys));
            }
            Command::PublishPrekey { key, .. } => {
                if let Some(connection) = connection {
                    self.up(connection, Up::Publish { key });
                }
            }
        }
    }

    pub(crate) fn send(&mut self, from: Id, send: Send) -> Option<penpal_delivery::Accepted> {
        let message = send.message(&self.nodes[from]);
        let accepted =
            self.step(from, |machine, step| machine.send(message, step).expect("a good message"))?;
        self.nodes[from].sent.push((accepted.msg_id, send));
        Some(accepted)
    }

    // ---- forged envelopes: as a hostile contact can make them, signed by its own key ---------------------------------

    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.mono + time;
        self.run_until(end);
    }

    pub(crate) fn run_until(&mut self, end: Duration) {
        let mut steps = 0_u64;
        while let Some((when, _)) = self.queue.first_key_value().map(|(key, _)| *key) {
            if when > end {
                break;
            }
            steps += 1;
            assert!(steps < 500_000, "seed {}: the world does not come to rest", self.seed);
            self.check_nothing_was_due_before(when);
            self.mono = self.mono.max(when);
            let (_, what) = self.queue.pop_first().expect("there is a first");
            self.happen(what);
        }
        self.mono = end;
    }

    /// Nodes that slept until now had nothing to do before: what is due at some moment was asked for at that moment.
    fn check_nothing_was_due_before(&mut self, when: Duration) {
        let Some(early) = when.checked_sub(Duration::from_millis(2)).filter(|early| *early > self.mono)
        else {
            return;
        };
        let present = std::mem::replace(&mut self.mono, early);
        for id in 0..self.nodes.len() {
            let now = self.now(id);
            self.nodes[id].check_nothing_is_due(now, self.seed);
        }
        self.mono = present;
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Wake(id) => {
                if self.nodes[id].machine.is_some()
                    && self.nodes[id].wake_at.is_some_and(|at| at <= self.mono)
                {
                    self.nodes[id].wake_at = None;
                    self.wakes += 1;
                    self.step(id, |machine, step| machine.handle_timeout(step));
                }
            }
            Happening::Dial(id) => self.dial(id),
            Happening::Up(connection, up) => self.at_relay(connection, up),
            Happening::Down(connection, down) => self.at_node(connection, down),
            Happening::Seeds(id, run, keys) => {
                if self.nodes[id].run == run {
                    self.step(id, |machine, step| machine.handle_seeds(&keys, step));
                }
            }
            Happening::Erased(id, run, keys) => {
                if self.nodes[id].run == run {
                    self.step(id, |machine, step| machine.handle_seeds_deleted(&keys, step));
                }
            }
        }
    }

    fn dial(&mut self, id: Id) {
        if self.nodes[id].machine.is_none() || self.connection_of(id).is_some() {
            return;
        }
        if self.offline.contains(&id) || self.relay.down {
            let wait = Duration::from_secs(5);
            return self.at(self.mono + wait, Happening::Dial(id));
        }
        self.next_connection += 1;
        let connection = self.next_connection;
        self.connections.insert(connection, id);
        self.up(connection, Up::Hello);
    }

    fn at_relay(&mut self, connection: u64, up: Up) {
        let Some(id) = self.connections.get(&connection).copied() else { return };
        if self.chance(self.faults.cut) {
            return self.cut(id);
        }
        let me = peer(id);
        match up {
            Up::Hello => {
                let (epoch, newest) = self.relay.hello(me);
                self.greeted.insert(connection);
                self.down(connection, Down::Hello { epoch, newest });
                for (row, envelope) in self.relay.rows(me) {
                    let envelope = Box::new(envelope);
                    self.down(connection, Down::Row { row, envelope });
                }
                let others: Vec<Id> =
                    self.connections.values().copied().filter(|other| *other != id).collect();
                for other in others {
                    self.down(connection, Down::Edge { account: peer(other).account, up: true });
                }
                self.tell_edges(id, true);
            }
            Up::Deposit { deposit, envelope } => {
                if self.chance(self.faults.full) {
                    let outcome = DepositOutcome::RecipientFull;
                    return self.down(connection, Down::Deposited { deposit, outcome });
                }
                let to = envelope.to;
                let refused = self.relay.refuses.contains(&(me, to));
                self.refused += u64::from(refused);
                let outcome = if refused { DepositOutcome::No } else { DepositOutcome::Accepted };
                if !refused {
                    let receiver = id_of(to);
                    let lost = self.swallow.get_mut(&receiver).is_some_and(|left| {
                        let swallow = *left > 0;
                        *left = left.saturating_sub(1);
                        swallow
                    }) || self.chance(self.faults.relay_loses);
                    if !lost {
                        let row = self.relay.store((*envelope).clone());
                        let connection = self.connection_of(receiver);
                        if let Some(connection) = connection.filter(|it| self.greeted.contains(it)) {
                            self.down(connection, Down::Row { row, envelope: envelope.clone() });
                            if self.chance(self.faults.row_twice) {
                                self.down(connection, Down::Row { row, envelope });
                            }
                        }
                    }
                }
                self.down(connection, Down::Deposited { deposit, outcome });
            }
            Up::Ack { epoch, up_to, gaps } => {
                let (epoch, newest) = self.relay.ack(me, epoch, up_to, &gaps);
                self.down(connection, Down::Acked { epoch, newest });
            }
            Up::Fetch { account } => {
                let keys = self.relay.prekeys(account);
                self.down(connection, Down::Prekeys { account, keys });
            }
            Up::Publish { key } => {
                self.relay.publish(me, key);
                self.down(connection, Down::PrekeyTaken { key });
            }
        }
    }

    fn at_node(&mut self, connection: u64, down: Down) {
        let Some(id) = self.connections.get(&connection).copied() else { return };
        if self.chance(self.faults.cut) {
            return self.cut(id);
        }
        if self.chance(self.faults.clock_jump) {
            let jump = i64::try_from(self.rng.next_u64() % 7_200_000).unwrap() - 3_600_000;
            self.nodes[id].skew_ms += jump;
        }
        match down {
            Down::Hello { .. } if std::mem::take(&mut self.nodes[id].rolled_back) => {
                // The relay notices by the runs in `Hello`; the node says it again with its new incarnation.
                self.step(id, |machine, step| machine.handle_rolled_back(step));
                self.up(connection, Up::Hello);
            }
            Down::Hello { epoch, newest } => {
                self.step(id, |machine, step| {
                    machine.handle_relay_up(RELAY, step);
                    machine.handle_connected(epoch, newest, step);
                });
            }
            Down::Row { row, .. } if self.defers.contains(&id) => {
                self.step(id, |machine, step| machine.defer_row(row, step));
            }
            Down::Row { row, envelope } => {
                let arrival = self.nodes[id].open_envelope(row, &envelope);
                self.step(id, |machine, step| machine.handle_arrival(arrival, step));
            }
            Down::Edge { account, up } => {
                self.step(id, |machine, step| machine.handle_edge(account, up, step));
            }
            Down::Deposited { deposit, outcome } => {
                self.step(id, |machine, step| machine.handle_deposit_answer(deposit, outcome, step));
            }
            Down::Acked { epoch, newest } => {
                let same = self.step(id, |machine, step| machine.handle_acked(epoch, newest, step));
                if same == Some(false) {
                    self.cut(id);
                }
            }
            Down::Prekeys { account, keys } => {
                self.nodes[id]
                    .prekeys
                    .extend(keys.iter().map(|(device, key)| (Peer::new(account, *device), *key)));
                let fetched = !keys.is_empty();
                self.step(id, |machine, step| machine.handle_prekeys(account, fetched, step));
            }
            Down::PrekeyTaken { key } => {
                self.step(id, |machine, step| machine.handle_prekey_taken(key, step));
            }
        }
    }

    // ---- what must hold in the end ---------------------------------------------------------------------------------

    /// Ends all faults and lets everything that is owed arrive.
    pub(crate) fn heal(&mut self) {
        self.faults = Faults::default();
        self.offline.clear();
        self.relay.refuses.clear();
        self.relay.down = false;
        self.swallow.clear();
        for node in &mut self.nodes {
            node.skew_ms = 0;
        }
        for id in 0..self.nodes.len() {
            if self.nodes[id].machine.is_none() {
                self.start(id);
            }
        }
        self.run_for(Duration::from_secs(30 * 3600));
    }

    /// Every message that was accepted is in its mailbox exactly once and in order, and its sender knows.
    pub(crate) fn check_delivered(&self) {
        let seed = self.seed;
        for from in &self.nodes {
            for (place, (msg_id, send)) in from.sent.iter().enumerate() {
                let Some(to) = send.to_node() else { continue };
                let times = self.nodes[to].times_in_mailboxes(*msg_id, from.me().account);
                assert_eq!(times, 1, "seed {seed}: message {place} of node {} to {to}", from.id);
            }
        }
        for node in &self.nodes {
            node.check_order(self);
            node.check_stages(self);
            node.check_queues_empty(self);
        }
    }

    pub(crate) fn run_seconds(&mut self, seconds: u64) {
        self.run_for(Duration::from_secs(seconds));
    }
}

/// The device of node `id`.
pub(crate) fn peer(id: Id) -> Peer {
    let byte = u8::try_from(id + 1).expect("few nodes");
    Peer::new(Fingerprint::from_bytes([byte; 16]), DeviceId::from_bytes([byte | 0x80; 16]))
}

pub(crate) fn id_of(peer: Peer) -> Id {
    usize::from(peer.account.as_bytes()[0]) - 1
}

pub(crate) fn info(peer: Peer, standing: Standing) -> ContactInfo {
    ContactInfo { relay: RELAY, standing, open: true, edge: None, devices: vec![peer.device], list: 1 }
}
