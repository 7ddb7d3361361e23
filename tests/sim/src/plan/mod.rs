//! What is to happen in a world, made of its seed alone: who is there, who writes when, and what goes wrong.

mod devices;
mod rooms;

use std::collections::BTreeSet;
use std::fmt;

use crate::dice::Dice;
use crate::net::Weather;
pub use devices::Second;
pub use rooms::{Act, Gathering};

/// Length of the part of a world in which things go wrong, in milliseconds.
const STORM_MS: u64 = 90_000;

/// One thing that goes wrong. Nodes, relays and pairs are named by their number; `ms` says for how long, `crash` what a disk keeps.
#[expect(missing_docs, reason = "the variants say it")]
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// The network gets worse, for so long.
    Weather(Weather, u64),
    /// No way between a node and a relay, for so long.
    Cut { node: usize, relay: usize, ms: u64 },
    /// A node has no network, for so long.
    Isolate { node: usize, ms: u64 },
    /// A node's process dies at a step from now and starts again after so long.
    Crash { node: usize, steps: u32, when: u8, crash: u64, ms: u64 },
    /// A node's power goes at a step of its disk.
    PowerCut { node: usize, steps: u64, crash: u64, ms: u64 },
    /// A write or a sync of a node's disk fails.
    DiskError { node: usize, steps: u64, write: bool, ms: u64 },
    /// A node's disk is full for so long.
    DiskFull { node: usize, ms: u64 },
    /// A node's wall clock is wrong by so much for so long.
    Clock { node: usize, wrong_ms: i64, ms: u64 },
    /// A laptop sleeps.
    Sleep { node: usize, ms: u64 },
    /// A node's folder is copied, while it is stopped or while it runs; it is put back after so long.
    Restore { node: usize, ms: u64, running: bool },
    /// A copy of the machine runs beside it, for so long; then the copy ends, or the first does.
    Clone { node: usize, ms: u64, copy_stays: bool },
    /// `receive.keys` is lost while the node is off.
    LoseReceiveKeys { node: usize },
    /// `identity.key` is lost while the node is off, and found again after so long.
    LoseIdentity { node: usize, ms: u64 },
    /// A relay's process dies.
    RelayCrash { relay: usize, steps: u32, when: u8, crash: u64, ms: u64 },
    /// A relay's power goes at a step of its disk.
    RelayPowerCut { relay: usize, steps: u64, crash: u64, ms: u64 },
    /// A relay's disk is full for so long.
    RelayDiskFull { relay: usize, ms: u64 },
    /// A relay's data is copied; the copy is put in its place after so long.
    RelayRestore { relay: usize, ms: u64 },
    /// One person of a pair removes the other.
    Remove { pair: usize, first: bool },
    /// One person of a pair blocks the other, for so long.
    Block { pair: usize, first: bool, ms: u64 },
}

impl Fault {
    /// Its kind, for counting.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Weather(..) => "bad network",
            Self::Cut { .. } => "partition",
            Self::Isolate { .. } => "machine off the network",
            Self::Crash { .. } => "node killed at a step",
            Self::PowerCut { .. } => "node's power cut at a disk step",
            Self::DiskError { .. } => "failing write or sync",
            Self::DiskFull { .. } => "node's disk full",
            Self::Clock { .. } => "wrong wall clock",
            Self::Sleep { .. } => "laptop sleep",
            Self::Restore { running: false, .. } => "node restored from a backup",
            Self::Restore { running: true, .. } => "node restored from a copy taken as it ran",
            Self::Clone { .. } => "cloned machine",
            Self::LoseReceiveKeys { .. } => "receive keys lost",
            Self::LoseIdentity { .. } => "identity lost and found",
            Self::RelayCrash { .. } => "relay killed at a step",
            Self::RelayPowerCut { .. } => "relay's power cut at a disk step",
            Self::RelayDiskFull { .. } => "relay's disk full",
            Self::RelayRestore { .. } => "relay restored from a backup",
            Self::Remove { .. } => "contact removed",
            Self::Block { .. } => "contact blocked",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self:?}", self.kind())
    }
}

/// A message to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letter {
    /// When, in milliseconds since the storm began.
    pub at_ms: u64,
    /// From which machine.
    pub from: usize,
    /// To whom: a machine of that person.
    pub to: usize,
    /// To the session on that machine, or to the desk, which all of them have.
    pub session: bool,
    /// Its life, when it is short.
    pub life_ms: Option<u64>,
    /// Bytes of text beyond what names it.
    pub bytes: usize,
}

/// A file to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parcel {
    /// When, in milliseconds since the storm began.
    pub at_ms: u64,
    /// Who sends it.
    pub from: usize,
    /// To whom.
    pub to: usize,
    /// Its length.
    pub bytes: usize,
}

/// Everything.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Number of relays.
    pub relays: usize,
    /// Home relay of each node.
    pub homes: Vec<usize>,
    /// Contacts: the first invites the second.
    pub pairs: Vec<(usize, usize)>,
    /// Messages, by time.
    pub letters: Vec<Letter>,
    /// Files, by time.
    pub parcels: Vec<Parcel>,
    /// Rooms.
    pub rooms: Vec<Gathering>,
    /// Second machines of people. Machines are numbered as people are, and these follow.
    pub seconds: Vec<Second>,
    /// Faults, by time in milliseconds since the storm began.
    pub faults: Vec<(u64, Fault)>,
    /// Rows that wait for one device at most.
    pub spool_rows: u64,
}

impl Plan {
    /// The world of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed, "plan");
        let relays = 1 + dice.index(2);
        let nodes = 3 + dice.index(4);
        let homes: Vec<usize> = (0..nodes).map(|_| dice.index(relays)).collect();
        let mut pairs = BTreeSet::new();
        // A tree, so that everybody knows somebody, and a few more.
        for node in 1..nodes {
            pairs.insert((dice.index(node), node));
        }
        for _ in 0..dice.index(3) {
            let (a, b) = (dice.index(nodes), dice.index(nodes));
            if a != b {
                pairs.insert((a.min(b), a.max(b)));
            }
        }
        let pairs: Vec<(usize, usize)> = pairs.into_iter().collect();
        let mut letters = letters(&mut dice, &pairs);
        let count = 2 + dice.index(9);
        let mut faults: Vec<(u64, Fault)> = (0..count)
            .map(|_| {
                let at_ms = dice.below(STORM_MS);
                let node = dice.index(nodes);
                (at_ms, fault(&mut dice, node, relays, pairs.len()))
            })
            .collect();
        let brought = devices::brought(&mut Dice::new(seed, "devices"), nodes, relays, &pairs);
        faults.extend(brought.faults);
        faults.sort_by_key(|(at, _)| *at);
        let spool_rows = if dice.chance(150) { dice.between(16, 24) } else { 10_000 };
        let parcels = parcels(&mut Dice::new(seed, "parcels"), &pairs);
        let rooms = rooms::gatherings(&mut Dice::new(seed, "rooms"), nodes, &pairs);
        letters.extend(brought.letters);
        letters.sort_by_key(|letter| letter.at_ms);
        let seconds = brought.seconds;
        Self { seed, relays, homes, pairs, letters, parcels, rooms, seconds, faults, spool_rows }
    }

    /// Whose machine it is.
    #[must_use]
    pub fn person(&self, machine: usize) -> usize {
        let second = machine.checked_sub(self.homes.len()).and_then(|number| self.seconds.get(number));
        second.map_or(machine, |second| second.of)
    }

    /// Whether a machine is linked in the storm.
    #[must_use]
    pub fn is_linked_late(&self, machine: usize) -> bool {
        let second = machine.checked_sub(self.homes.len()).and_then(|number| self.seconds.get(number));
        second.is_some_and(|second| second.at_ms.is_some())
    }

    /// All machines of nodes.
    #[must_use]
    pub fn machines(&self) -> std::ops::Range<usize> {
        0..self.homes.len() + self.seconds.len()
    }

    /// The machines of a person.
    pub fn machines_of(&self, person: usize) -> impl Iterator<Item = usize> {
        self.machines().filter(move |machine| self.person(*machine) == person)
    }

    /// The same world with only the faults of these numbers.
    #[must_use]
    pub fn with_faults(&self, keep: &BTreeSet<usize>) -> Self {
        let kept = self.faults.iter().enumerate().filter(|(number, _)| keep.contains(number));
        Self { faults: kept.map(|(_, fault)| *fault).collect(), ..self.clone() }
    }
}

fn letters(dice: &mut Dice, pairs: &[(usize, usize)]) -> Vec<Letter> {
    let count = 8 + dice.index(25);
    let mut letters: Vec<Letter> = Vec::new();
    let mut at_ms = dice.below(STORM_MS);
    while letters.len() < count {
        let (a, b) = pairs[dice.index(pairs.len())];
        let (from, to) = if dice.chance(500) { (a, b) } else { (b, a) };
        // People write once, agents in bursts.
        let burst = if dice.chance(250) { dice.between(3, 8) } else { 1 };
        if dice.chance(600) {
            at_ms = dice.below(STORM_MS);
        }
        for _ in 0..burst {
            letters.push(Letter {
                at_ms,
                from,
                to,
                session: dice.chance(600),
                life_ms: dice.chance(80).then(|| dice.between(1_000, 60_000)),
                bytes: if dice.chance(60) { dice.index(40_000) } else { dice.index(300) },
            });
            at_ms += dice.below(400);
        }
    }
    letters.sort_by_key(|letter| letter.at_ms);
    letters
}

/// Mostly one small file or none; now and then one of two or three parts.
fn parcels(dice: &mut Dice, pairs: &[(usize, usize)]) -> Vec<Parcel> {
    let mut parcels: Vec<Parcel> = (0..dice.index(3))
        .map(|_| {
            let (a, b) = pairs[dice.index(pairs.len())];
            let (from, to) = if dice.chance(500) { (a, b) } else { (b, a) };
            let bytes =
                if dice.chance(150) { 1_000_000 + dice.index(1_500_000) } else { dice.index(100_000) };
            Parcel { at_ms: dice.below(STORM_MS), from, to, bytes }
        })
        .collect();
    parcels.sort_by_key(|parcel| parcel.at_ms);
    parcels
}

fn fault(dice: &mut Dice, node: usize, relays: usize, pairs: usize) -> Fault {
    let relay = dice.index(relays);
    let pair = dice.index(pairs);
    let first = dice.chance(500);
    let ms = 1 << dice.between(7, 16);
    let crash = dice.below(u64::MAX);
    let (near, when) = (u32::try_from(dice.below(12)).unwrap_or(0), u8::try_from(dice.below(6)).unwrap_or(0));
    match dice.below(100) {
        0..=13 => {
            let least = dice.below(150);
            let weather = Weather {
                loss: dice.below(300),
                twice: dice.below(200),
                delay_ms: (least, least + 1 + dice.below(400)),
            };
            Fault::Weather(weather, ms)
        }
        14..=20 => Fault::Cut { node, relay, ms },
        21..=25 => Fault::Isolate { node, ms },
        26..=38 => Fault::Crash { node, steps: near, when, crash, ms },
        39..=47 => Fault::PowerCut { node, steps: dice.below(20), crash, ms },
        48..=50 => Fault::DiskError { node, steps: dice.below(10), write: first, ms },
        51..=55 => Fault::DiskFull { node, ms },
        56..=59 => {
            let wrong = i64::try_from(1_u64 << dice.between(10, 23)).unwrap_or(0);
            Fault::Clock { node, wrong_ms: if first { wrong } else { -wrong }, ms }
        }
        60..=63 => Fault::Sleep { node, ms: ms * 4 },
        64..=68 => Fault::Restore { node, ms, running: dice.chance(250) },
        69..=71 => Fault::Clone { node, ms, copy_stays: first },
        72..=74 => Fault::LoseReceiveKeys { node },
        75..=76 => Fault::LoseIdentity { node, ms },
        77..=84 => Fault::RelayCrash { relay, steps: near, when, crash, ms },
        85..=90 => Fault::RelayPowerCut { relay, steps: dice.below(20), crash, ms },
        91..=92 => Fault::RelayDiskFull { relay, ms },
        93..=95 => Fault::RelayRestore { relay, ms },
        96..=97 => Fault::Remove { pair, first },
        _ => Fault::Block { pair, first, ms },
    }
}
