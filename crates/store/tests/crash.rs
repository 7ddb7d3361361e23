//! Power cuts at every step, torn and reordered writes, dead processes: what is there afterwards is
//! what was acknowledged, plus at most a beginning of what was under way.

use std::sync::Arc;

use penpal_store::conformance::{Histories, assert_same, describe};
use penpal_store::disk::{Crash, Fault, MemDisk};
use penpal_store::{Batch, KvStore, LogStore, MemIndex, MemStore, Options, Store};

const SEGMENT_BYTES: u64 = 64 * 1024;

fn open(disk: &MemDisk, index: &MemIndex) -> LogStore {
    let options = Options { segment_bytes: SEGMENT_BYTES, log_id: Some(7), ..Options::default() };
    LogStore::open_in(Arc::new(disk.clone()), Box::new(index.clone()), options).expect("open")
}

fn try_open(disk: &MemDisk, index: &MemIndex) -> Option<LogStore> {
    let options = Options { segment_bytes: SEGMENT_BYTES, log_id: Some(7), ..Options::default() };
    LogStore::open_in(Arc::new(disk.clone()), Box::new(index.clone()), options).ok()
}

/// More with `PENPAL_STORE_CRASHES`.
fn rounds(default: u64) -> u64 {
    std::env::var("PENPAL_STORE_CRASHES").ok().and_then(|count| count.parse().ok()).unwrap_or(default)
}

/// A store under a random history, with what may be found after a crash.
struct World {
    disk: MemDisk,
    index: MemIndex,
    histories: Histories,
    /// What was acknowledged.
    acked: MemStore,
    /// What was under way when the power went.
    pending: Vec<Batch>,
    label: String,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            disk: MemDisk::new(),
            index: MemIndex::new().remembering(),
            histories: Histories::new(seed),
            acked: MemStore::new(),
            pending: Vec::new(),
            label: format!("seed {seed}"),
        }
    }

    /// Runs until the steps are done (`true`) or the disk fails.
    fn run(&mut self, steps: u64) -> bool {
        let Some(mut store) = try_open(&self.disk, &self.index) else { return false };
        for _ in 0..steps {
            self.pending = self.histories.batches(&self.acked);
            match store.commit(self.pending.clone()) {
                Ok(outcomes) => {
                    let expected = self.acked.commit(std::mem::take(&mut self.pending)).expect("model");
                    assert_eq!(outcomes, expected, "{}", self.label);
                }
                Err(_) => return false,
            }
            if self.histories.below(3) == 0 && store.compact(self.histories.below(9000)).is_err() {
                return false;
            }
        }
        true
    }

    /// Opens and checks that the state is what was acknowledged and a beginning of what was pending.
    fn check_recovered(&mut self) {
        let store = open(&self.disk, &self.index);
        let found = describe(&store);
        let mut model = self.acked.clone();
        let pending = std::mem::take(&mut self.pending);
        let mut candidates = vec![model.clone()];
        for batch in pending {
            let _outcomes = model.commit(vec![batch]).expect("model");
            candidates.push(model.clone());
        }
        match candidates.into_iter().find(|candidate| describe(candidate) == found) {
            Some(model) => self.acked = model,
            None => assert_same(&store, &self.acked, &self.label),
        }
        let report = store.verify(&mut |_| {}).expect("verify");
        assert_eq!(report.findings, Vec::new(), "{}", self.label);
    }

    /// The same log gives the same state with an index from nothing.
    fn check_rebuild(&self) {
        let index = MemIndex::new();
        let disk = self.disk.fork();
        disk.crash(Crash::KeepAll);
        let store = open(&disk, &index);
        assert_same(&store, &self.acked, &format!("{}, rebuilt", self.label));
        assert_eq!(store.verify(&mut |_| {}).expect("verify").findings, Vec::new(), "{}", self.label);
    }
}

/// Power cuts: unsynced writes are lost, torn or reordered; the index cannot be trusted.
#[test]
fn power_cuts_keep_what_was_acknowledged() {
    for seed in 0..rounds(20) {
        let mut steps = World::new(seed);
        assert!(steps.run(40));
        let total = steps.disk.steps();
        for cut in 0..8 {
            let mut world = World::new(seed);
            let mut dice = Histories::new(seed.wrapping_mul(1000) + cut);
            for life in 0..3 {
                let at = world.disk.steps() + dice.below(total);
                let how = match dice.below(5) {
                    0 => Crash::LoseAll,
                    1 => Crash::KeepAll,
                    2 => Crash::KeepBytes(dice.below(3000)),
                    _ => Crash::Sectors(dice.below(u64::MAX)),
                };
                world.label = format!("seed {seed} cut {cut} life {life} at step {at} {how:?}");
                world.disk.inject(Fault::PowerCut(at));
                world.run(40);
                world.disk.crash(how);
                world.index.lose();
                world.check_recovered();
            }
            assert!(world.run(10), "{}", world.label);
            world.check_rebuild();
        }
    }
}

/// Most sectors of which every subset is tried.
const MOST_SECTORS: u32 = 10;

/// Small histories, cut at every step of the disk: every subset of the unsynced sectors (each kept or lost, so every order and
/// every tearing of the writes), with every beginning of the unsynced names, recovers to what was acknowledged and a beginning of
/// what was under way.
#[test]
fn every_reordering_of_a_small_history_recovers() {
    let mut tried = 0_u64;
    for seed in 0..rounds(12).div_ceil(2) {
        let total = small_history(seed, None).disk.steps();
        for cut in 0..=total {
            let world = small_history(seed, Some(cut));
            let (sectors, names) = world.disk.unsynced();
            assert!(
                sectors <= MOST_SECTORS,
                "seed {seed} cut {cut}: {sectors} sectors are too many to try all"
            );
            for chosen in 0..1_u64 << sectors {
                for names in 0..=names {
                    let how = Crash::Chosen { sectors: chosen, names };
                    let mut fork = World {
                        disk: world.disk.fork(),
                        index: MemIndex::new(),
                        histories: Histories::new(seed),
                        acked: world.acked.clone(),
                        pending: world.pending.clone(),
                        label: format!("seed {seed} cut {cut} of {total} {how:?}"),
                    };
                    fork.disk.crash(how);
                    fork.check_recovered();
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 200, "only {tried} ways to crash were tried");
}

/// Opens a store, commits small rows one after the other, and is cut at a step.
fn small_history(seed: u64, cut: Option<u64>) -> World {
    let mut world = World::new(seed);
    let mut dice = Histories::new(seed + 9000);
    if let Some(cut) = cut {
        world.disk.inject(Fault::PowerCut(cut));
    }
    let Some(mut store) = try_open(&world.disk, &world.index) else { return world };
    for n in 0_u8..5 {
        let bytes = usize::try_from(dice.below(1500)).unwrap_or(0);
        let table = penpal_store::conformance::TABLES[1];
        let mut batches = vec![Batch::new().put(table, [n % 3], vec![n; bytes])];
        if dice.below(2) == 0 {
            batches.push(Batch::new().append(
                penpal_store::QueueId([1; 16]),
                u64::from(n) + 1,
                0,
                vec![n; bytes / 2],
            ));
        }
        world.pending = batches.clone();
        if store.commit(batches.clone()).is_err() {
            return world;
        }
        world.pending.clear();
        let _outcomes = world.acked.commit(batches).expect("model");
        if n == 3 && store.compact(9000).is_err() {
            return world;
        }
    }
    world
}

/// A commit that never returned, cut at every step and torn at every sector of its write.
#[test]
fn one_commit_is_whole_or_absent_wherever_it_is_cut() {
    let disk = MemDisk::new();
    let big = vec![0xab; 3000];
    let first = Batch::new().put(penpal_store::conformance::TABLES[1], b"a", "acknowledged");
    let second = Batch::new().put(penpal_store::conformance::TABLES[1], b"b", big).append(
        penpal_store::QueueId([1; 16]),
        1,
        1,
        vec![0xcd; 2000],
    );
    let mut store = open(&disk, &MemIndex::new());
    let outcomes = store.commit(vec![first.clone()]).expect("commit");
    assert!(outcomes[0].is_done());
    let steps = disk.steps();
    disk.inject(Fault::PowerCut(steps + 1));
    store.commit(vec![second.clone()]).expect_err("cut before the sync");
    let mut without = MemStore::new();
    let _outcomes = without.commit(vec![first]).expect("model");
    let mut with = without.clone();
    let _outcomes = with.commit(vec![second]).expect("model");
    let kept = (0..6000).step_by(97).map(Crash::KeepBytes);
    let mut whole = 0;
    for how in kept.chain((0..150).map(Crash::Sectors)).chain([Crash::LoseAll, Crash::KeepAll]) {
        let disk = disk.fork();
        disk.crash(how);
        let found = describe(&open(&disk, &MemIndex::new()));
        assert!(found == describe(&without) || found == describe(&with), "{how:?}: {found:?}");
        whole += u32::from(found == describe(&with));
        // What was cut does not come back, and writing goes on over it.
        let mut store = open(&disk, &MemIndex::new());
        assert_eq!(describe(&store), found, "{how:?}");
        let next = Batch::new().put(penpal_store::conformance::TABLES[1], b"c", "next");
        let outcomes = store.commit(vec![next]).expect("commit");
        assert!(outcomes[0].is_done());
        drop(store);
        let store = open(&disk, &MemIndex::new());
        assert_eq!(
            store.get(penpal_store::conformance::TABLES[1], b"c").expect("get").as_deref(),
            Some(&b"next"[..])
        );
    }
    assert!(whole > 0, "no crash kept the whole write");
}

/// The process dies, the machine does not: written data is there, the index is as old as its last
/// flush, each of its maps by itself.
#[test]
fn dead_processes_leave_an_index_that_catches_up() {
    let mut trusted = 0;
    for seed in 0..rounds(30) {
        let mut world = World::new(seed);
        let mut dice = Histories::new(seed + 77);
        for life in 0..6 {
            world.label = format!("seed {seed} life {life}");
            let at = world.disk.steps() + 20 + dice.below(200);
            world.disk.inject(Fault::PowerCut(at));
            world.run(40);
            world.disk.crash(Crash::Process);
            world.index.roll_back(|states| usize::try_from(dice.below(states as u64)).unwrap_or(0));
            world.check_recovered();
            // What was found must stay, although nobody had synced it before the process died.
            if dice.below(4) == 0 {
                world.disk.crash(Crash::LoseAll);
                world.index.lose();
                world.check_recovered();
            }
            world.disk.crash(Crash::Process);
            trusted += u64::from(open(&world.disk, &world.index).opening().rebuilt.is_none());
            world.check_rebuild();
        }
    }
    assert!(trusted > rounds(30), "the index was hardly ever used: {trusted}");
}

/// Random histories with compaction: an index from nothing always says the same as the running one.
#[test]
fn the_log_alone_tells_everything() {
    for seed in 1000..1000 + rounds(20) {
        let mut world = World::new(seed);
        for part in 0..8 {
            world.label = format!("seed {seed} part {part}");
            assert!(world.run(25));
            world.disk.crash(Crash::KeepAll);
            world.check_rebuild();
        }
    }
}
