//! Nodes and a relay whose connections break and which die at any moment. What was accepted arrives, once, in order.
//!
//! `PENPAL_SIM_SEEDS=10000` runs more worlds; a failing one prints its seed, and `PENPAL_SIM_SEED=n` runs that one alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use penpal_protocol::cbor::List;
use penpal_protocol::ids::{DepositId, SpoolEpoch};
use penpal_protocol::wire::{Ack, Answer, Deposit, DepositOutcome, Event, Request, Verdict};
use penpal_relay_core::{Change, Command, Committed, ConnId, MemRows, Queue, RelayCore, RequestId, Rows};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::people::Person;
use crate::world::{Way, World, graph_key, hello, id16};

const NODES: usize = 3;
const MESSAGES: u32 = 12;

/// Prints the seed when its world fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "world failed: PENPAL_SIM_SEED={} cargo nextest run -p penpal-relay-core simulation",
                self.0
            );
        }
    }
}

/// What is on the way between a node and the relay. Lost when the connection breaks.
enum Up {
    Request(RequestId, Request),
    Deposit(Deposit),
}

enum Down {
    Answer(RequestId, Answer),
    Deposit(DepositId, DepositOutcome),
    Event(Event),
}

/// A node that keeps everything it logs across its own crashes, as nodes do.
struct Node {
    person: Person,
    /// Messages to each other node that are not accepted yet, in order, with the id of their deposit.
    outbox: BTreeMap<usize, VecDeque<(u32, u64)>>,
    /// What has arrived: by sender, message numbers in order of first arrival.
    arrived: BTreeMap<u8, Vec<u32>>,
    /// Rows processed in this epoch.
    epoch: Option<SpoolEpoch>,
    done: BTreeSet<u64>,
    /// Message of each row of this epoch, to notice one message in two rows.
    rows: BTreeMap<u64, (u8, u32)>,
    incarnation: u8,
    /// Answered or unanswered runs: a crash begins a new one.
    run: u8,
    since: Vec<u8>,
    conn: Option<ConnId>,
    hello_at: Option<RequestId>,
    waiting_deposit: BTreeMap<usize, DepositId>,
}

struct Sim {
    world: World,
    rng: ChaCha20Rng,
    nodes: Vec<Node>,
    ways: BTreeMap<(usize, usize), Way>,
    up: BTreeMap<ConnId, VecDeque<Up>>,
    down: BTreeMap<ConnId, VecDeque<Down>>,
    last: u64,
    accepted: BTreeSet<(usize, usize, u32)>,
    /// A backup and what was accepted when it was taken.
    backup: Option<MemRows>,
    faults: bool,
    restored: bool,
    /// The relay may know older runs than it has answered: it was restored, or died while its disk was full.
    forgetful: bool,
    was_full: bool,
}

fn envelope(from: usize, number: u32) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(from).unwrap()];
    bytes.extend(number.to_be_bytes());
    bytes
}

fn read_envelope(bytes: &[u8]) -> (u8, u32) {
    (bytes[0], u32::from_be_bytes(bytes[1..5].try_into().unwrap()))
}

impl Sim {
    fn new(seed: u64) -> Self {
        let mut world = World::new();
        let people: Vec<Person> =
            (0..NODES as u64).map(|number| world.person(number, &format!("n{number}"))).collect();
        let mut ways = BTreeMap::new();
        for from in 0..NODES {
            for to in (0..NODES).filter(|to| *to != from) {
                ways.insert((from, to), world.way(&people[to], people[from].conn));
            }
        }
        for person in &people {
            world.disconnect(person.conn);
        }
        let nodes = people.into_iter().map(Node::new).collect();
        Self {
            world,
            rng: ChaCha20Rng::seed_from_u64(seed),
            nodes,
            ways,
            up: BTreeMap::new(),
            down: BTreeMap::new(),
            last: 1_000_000,
            accepted: BTreeSet::new(),
            backup: None,
            faults: true,
            restored: false,
            forgetful: false,
            was_full: false,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn run(&mut self) {
        for from in 0..NODES {
            for to in (0..NODES).filter(|to| *to != from) {
                for number in 0..MESSAGES {
                    let id = self.next();
                    self.nodes[from].outbox.entry(to).or_default().push_back((number, id));
                }
            }
        }
        for _ in 0..600 {
            self.turn();
        }
        self.faults = false;
        self.heal();
        for _ in 0..20_000 {
            if self.is_done() {
                break;
            }
            self.turn();
        }
        self.check();
    }

    /// One thing happens.
    fn turn(&mut self) {
        let who = usize::try_from(self.below(NODES as u64)).unwrap();
        match self.below(12) {
            0..=3 => self.node_acts(who),
            4..=7 => self.relay_steps(),
            8 | 9 => self.node_hears(who),
            10 => self.world.now = self.world.now.plus(Duration::from_millis(self.rng.next_u64() % 40)),
            _ if self.faults => self.fault(who),
            _ => {}
        }
    }

    fn fault(&mut self, who: usize) {
        match self.below(12) {
            0..=3 => self.break_connection(who),
            4 | 5 => self.node_crashes(who),
            6 => self.relay_dies(false),
            7 => self.backup = Some(self.world.rows.clone()),
            8 if self.chance(4) => {
                if let Some(backup) = self.backup.take() {
                    self.world.rows = backup;
                    self.restored = true;
                    self.relay_dies(true);
                }
            }
            _ => {
                self.world.disk_full = self.chance(3);
                self.was_full |= self.world.disk_full;
            }
        }
    }

    fn heal(&mut self) {
        self.world.disk_full = false;
        self.world.now = self.world.now.plus(Duration::from_secs(2));
        // After a restore senders find no receipt, and deposit again under a new id.
        if self.restored {
            for (from, to, number) in std::mem::take(&mut self.accepted) {
                let sender = u8::try_from(from).unwrap();
                if !self.nodes[to].arrived.get(&sender).is_some_and(|numbers| numbers.contains(&number)) {
                    let id = self.next();
                    self.nodes[from].outbox.entry(to).or_default().push_back((number, id));
                }
            }
        }
    }

    fn connect(&mut self, who: usize) {
        // The relay may still believe in a connection that is long dead.
        let conn = self.world.connect(self.nodes[who].person.key);
        self.world.events(conn);
        let node = &mut self.nodes[who];
        node.conn = Some(conn);
        node.waiting_deposit.clear();
        self.last += 1;
        let id = RequestId(self.last);
        node.hello_at = Some(id);
        let since: Vec<u8> = node.since.iter().copied().filter(|run| *run != node.run).collect();
        let request = hello(node.incarnation, node.run, &since);
        self.up.entry(conn).or_default().push_back(Up::Request(id, request));
    }

    fn node_acts(&mut self, who: usize) {
        let Some(conn) = self.nodes[who].conn else { return self.connect(who) };
        if self.world.closed(conn).is_some() {
            return self.break_connection(who);
        }
        let to = usize::try_from(self.below(NODES as u64)).unwrap();
        let id = self.next();
        let node = &mut self.nodes[who];
        if let Some((number, deposit)) = node.outbox.get(&to).and_then(|queue| queue.front()).copied()
            && !node.waiting_deposit.contains_key(&to)
        {
            let what = self.ways[&(who, to)].deposit(deposit, envelope(who, number));
            node.waiting_deposit.insert(to, what.deposit);
            self.up.entry(conn).or_default().push_back(Up::Deposit(what));
        }
        if let Some(epoch) = node.epoch
            && let Some(last) = node.done.last().copied()
        {
            let gaps: Vec<u64> = (1..last).filter(|seq| !node.done.contains(seq)).collect();
            // More gaps than fit: acknowledge less.
            let up_to = gaps.get(64).map_or(last, |gap| gap - 1);
            let ack = Ack { epoch, up_to, gaps: List::truncated(gaps) };
            self.up.entry(conn).or_default().push_back(Up::Request(RequestId(id), Request::Ack(ack)));
        }
    }

    /// The relay takes some of what is on the way, and ends its step, or dies.
    fn relay_steps(&mut self) {
        let conns: Vec<ConnId> = self.up.keys().copied().collect();
        for conn in conns {
            let mut take = self.below(4);
            while take > 0
                && let Some(input) = self.up.get_mut(&conn).and_then(VecDeque::pop_front)
            {
                take -= 1;
                let (rows, now) = (&self.world.rows, self.world.now);
                match input {
                    Up::Request(id, request) => self
                        .world
                        .core
                        .handle_request(conn, id, request, rows, now, &mut self.world.rng)
                        .unwrap(),
                    Up::Deposit(deposit) => self.world.core.handle_deposit(conn, deposit, rows, now).unwrap(),
                }
            }
        }
        let (rows, now) = (&self.world.rows, self.world.now);
        if self.world.core.poll_timeout().is_some_and(|due| due <= now.mono) {
            self.world.core.handle_timeout(rows, now).unwrap();
        }
        let changes = self.world.core.take_changes(now);
        let dies = self.faults.then(|| self.below(60));
        if dies == Some(0) {
            return self.relay_dies(false);
        }
        let frees = self.world.core.is_urgent() || changes.iter().all(Change::frees_space);
        let full = self.world.disk_full && !frees;
        if !full {
            self.world.rows.commit(changes);
        }
        if dies == Some(1) {
            // Durable, and nobody hears of it.
            return self.relay_dies(false);
        }
        let committed = if full { Committed::Full } else { Committed::Done };
        self.world.core.handle_committed(committed, &self.world.rows, now).unwrap();
        while let Some(command) = self.world.core.poll_command() {
            let (conn, what) = match command {
                Command::Answer { conn, request, answer } => (conn, Down::Answer(request, answer)),
                Command::DepositAnswer { conn, answer } => {
                    (conn, Down::Deposit(answer.deposit, answer.outcome))
                }
                Command::Push { conn, push } => (conn, Down::Event(push.event().unwrap())),
                Command::Close { conn, .. } => {
                    self.end(conn);
                    continue;
                }
                Command::Admin { .. }
                | Command::Alarm { .. }
                | Command::Grant { .. }
                | Command::RemoveBlob { .. } => {
                    panic!("nobody asked")
                }
            };
            self.down.entry(conn).or_default().push_back(what);
        }
    }

    fn node_hears(&mut self, who: usize) {
        let Some(conn) = self.nodes[who].conn else { return };
        let mut take = self.below(6);
        while take > 0
            && let Some(what) = self.down.get_mut(&conn).and_then(VecDeque::pop_front)
        {
            take -= 1;
            match what {
                Down::Answer(id, Answer::Hello(answer)) if self.nodes[who].hello_at == Some(id) => {
                    assert!(answer.verdict == Verdict::Known || self.forgetful, "{:?}", answer.verdict);
                    let node = &mut self.nodes[who];
                    if answer.verdict == Verdict::Known {
                        node.since = vec![node.run];
                        node.meet(answer.epoch);
                    } else {
                        // To a restored relay the node looks like an older copy of itself: it begins a new life.
                        node.incarnation += 1;
                        let request = hello(node.incarnation, node.run, &[]);
                        self.last += 1;
                        let id = RequestId(self.last);
                        node.hello_at = Some(id);
                        self.up.entry(conn).or_default().push_back(Up::Request(id, request));
                    }
                }
                Down::Answer(id, Answer::Refused(_)) if self.nodes[who].hello_at == Some(id) => {
                    return self.break_connection(who);
                }
                Down::Answer(..) => {}
                Down::Deposit(id, outcome) => self.deposit_answered(who, id, outcome),
                Down::Event(Event::Delivery(delivery)) => {
                    let restored = self.restored;
                    self.nodes[who].take(delivery.epoch, delivery.seq, &delivery.envelope, restored);
                }
                Down::Event(_) => {}
            }
        }
    }

    fn deposit_answered(&mut self, who: usize, id: DepositId, outcome: DepositOutcome) {
        let node = &mut self.nodes[who];
        let Some(to) = node.waiting_deposit.iter().find(|(_, waiting)| **waiting == id).map(|(to, _)| *to)
        else {
            return;
        };
        node.waiting_deposit.remove(&to);
        match outcome {
            DepositOutcome::Accepted => {
                let (number, sent) = node.outbox.get_mut(&to).and_then(VecDeque::pop_front).unwrap();
                assert_eq!(DepositId::from_bytes(id16(sent)), id);
                self.accepted.insert((who, to, number));
            }
            DepositOutcome::Full => {}
            other => panic!("{other:?}"),
        }
    }

    fn end(&mut self, conn: ConnId) {
        self.up.remove(&conn);
        self.down.remove(&conn);
        for node in self.nodes.iter_mut().filter(|node| node.conn == Some(conn)) {
            node.conn = None;
            node.waiting_deposit.clear();
        }
    }

    fn break_connection(&mut self, who: usize) {
        let Some(conn) = self.nodes[who].conn else { return };
        self.end(conn);
        // The relay hears of it, or not yet.
        if !self.chance(3) {
            self.world.core.handle_closed(conn, self.world.now);
        }
    }

    fn node_crashes(&mut self, who: usize) {
        self.break_connection(who);
        let node = &mut self.nodes[who];
        if !node.since.contains(&node.run) {
            node.since.push(node.run);
        }
        node.run += 1;
    }

    fn relay_dies(&mut self, restored: bool) {
        self.forgetful |= restored || self.was_full;
        let conns: Vec<ConnId> = self.nodes.iter().filter_map(|node| node.conn).collect();
        conns.into_iter().for_each(|conn| self.end(conn));
        self.up.clear();
        self.down.clear();
        let world = &mut self.world;
        let config = world.config.clone();
        world.core =
            RelayCore::new(config, graph_key(), restored, &world.rows, world.now, &mut world.rng).unwrap();
        // A new epoch is committed before anything else happens, as the program does.
        let changes = world.core.take_changes(world.now);
        world.rows.commit(changes);
        world.core.handle_committed(Committed::Done, &world.rows, world.now).unwrap();
    }

    fn is_done(&self) -> bool {
        let all = (NODES - 1) * usize::try_from(MESSAGES).unwrap();
        self.nodes.iter().all(|node| {
            node.outbox.values().all(VecDeque::is_empty)
                && node.arrived.values().map(Vec::len).sum::<usize>() == all
        })
    }

    fn check(&mut self) {
        for who in 0..NODES {
            assert!(self.nodes[who].outbox.values().all(VecDeque::is_empty), "all accepted in the end");
            for from in (0..NODES).filter(|from| *from != who) {
                let arrived = &self.nodes[who].arrived[&u8::try_from(from).unwrap()];
                let all: Vec<u32> = (0..MESSAGES).collect();
                if self.restored {
                    let set: BTreeSet<u32> = arrived.iter().copied().collect();
                    assert_eq!((set.len(), arrived.len()), (all.len(), all.len()), "each once");
                } else {
                    assert_eq!(*arrived, all, "from {from} to {who}: each once, in order");
                }
            }
        }
        for _ in 0..20_000 {
            if self.waiting() == 0 {
                return;
            }
            self.turn();
        }
        panic!("{} rows are never acknowledged", self.waiting());
    }

    /// Rows in all spools.
    fn waiting(&self) -> u64 {
        let slots = self.nodes.iter().map(|node| node.person.registered.slot);
        slots.map(|slot| self.world.rows.usage(Queue(*slot.as_bytes())).unwrap().rows).sum()
    }
}

impl Node {
    fn new(person: Person) -> Self {
        Self {
            person,
            outbox: BTreeMap::new(),
            arrived: BTreeMap::new(),
            epoch: None,
            done: BTreeSet::new(),
            rows: BTreeMap::new(),
            incarnation: 1,
            run: 1,
            since: Vec::new(),
            conn: None,
            hello_at: None,
            waiting_deposit: BTreeMap::new(),
        }
    }

    fn meet(&mut self, epoch: SpoolEpoch) {
        if self.epoch.replace(epoch) != Some(epoch) {
            self.done.clear();
            self.rows.clear();
        }
    }

    fn take(&mut self, epoch: SpoolEpoch, seq: u64, bytes: &[u8], restored: bool) {
        self.meet(epoch);
        let (from, number) = read_envelope(bytes);
        let before = self.rows.insert(seq, (from, number));
        assert!(before.is_none_or(|before| before == (from, number)), "row {seq} changed");
        let rows_of_it = self.rows.values().filter(|row| **row == (from, number)).count();
        // After a restore senders deposit under new ids what may still be there.
        assert!(rows_of_it == 1 || restored, "message {number} of {from} is in two rows of one life");
        self.done.insert(seq);
        let arrived = self.arrived.entry(from).or_default();
        if !arrived.contains(&number) {
            arrived.push(number);
        }
    }
}

fn world(seed: u64) {
    let _seed = Seed(seed);
    Sim::new(seed).run();
}

#[test]
fn worlds() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match number("PENPAL_SIM_SEED") {
        Some(seed) => world(seed),
        None => (0..number("PENPAL_SIM_SEEDS").unwrap_or(50)).for_each(world),
    }
}
