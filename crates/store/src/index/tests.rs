//! The catalog over an index in memory: what it counts, pages through and keeps at hand.

use super::catalog::{At, Catalog};
use super::memory::MemIndex;
use super::rows::Watermark;
use super::shard::Folded;
use super::{IndexHome, Rebuilt};
use crate::log::layout::Pos;
use crate::log::record::{Grave, Placed, Record, append_size, put_size};
use crate::{Life, QueueId, Table};

const SHORT: Table = Table::new(1, Life::Short);
const LONG: Table = Table::new(1, Life::Long);

/// A catalog, and how many records were applied.
struct World {
    index: MemIndex,
    catalog: Catalog,
    batch: u64,
}

impl World {
    fn new() -> Self {
        let mut index = MemIndex::new();
        let catalog = Catalog::open(index.reset(7).unwrap(), false).unwrap();
        Self { index, catalog, batch: 0 }
    }

    /// Each record in a batch of its own, ten in a segment.
    fn apply(&mut self, record: Record<'_>) {
        self.batch += 1;
        let at = At { segment: self.segment(), batch: self.batch };
        let offset = u32::try_from(self.batch % 10 * 1000).unwrap();
        let placed = Placed { record, offset, value_offset: offset + 100, size: 50 };
        self.catalog.apply(at, &placed).unwrap();
    }

    fn segment(&self) -> u32 {
        u32::try_from(self.batch / 10).unwrap() + 1
    }

    fn append(&mut self, queue: u8, seq: u64, minute: u32) {
        self.apply(Record::Append { queue: QueueId([queue; 16]), seq, minute, bytes: b"row" });
    }

    fn remove(&mut self, queue: u8, seq: u64) {
        let grave = Grave { first: 1, last: 1, limit: Pos::START };
        self.apply(Record::Remove { grave, queue: QueueId([queue; 16]), seqs: vec![seq] });
    }

    fn put(&mut self, table: Table, key: &[u8]) {
        self.apply(Record::Put { table, key, value: b"value" });
    }

    fn watermark(&self) -> Watermark {
        Watermark { log: 7, batch: self.batch, end: Pos { segment: self.segment(), offset: 0 }, crc: 0 }
    }

    fn fold(&mut self) -> Folded {
        let watermark = self.watermark();
        self.catalog.fold(watermark).unwrap()
    }
}

#[test]
fn rows_that_wait_and_bytes_that_count_are_those_of_both_maps() {
    let mut world = World::new();
    for key in [b"a", b"b", b"c"] {
        world.put(SHORT, key);
    }
    for key in [b"a", b"b"] {
        world.put(LONG, key);
    }
    assert_eq!((world.catalog.pending(), world.catalog.held()), (5, 5));
    assert_eq!(world.catalog.live_bytes(), u64::from(5 * put_size(1, 5)));
    world.index.set_full(true);
    assert_eq!(world.fold(), Folded::NoRoom);
    world.put(SHORT, b"d");
    assert_eq!((world.catalog.pending(), world.catalog.held()), (1, 6), "what has no room is held too");
    world.index.set_full(false);
    for round in 0..2 {
        world.put(SHORT, b"e");
        assert_eq!(world.fold(), Folded::Done, "round {round}");
        assert_eq!((world.catalog.pending(), world.catalog.held()), (0, 0), "round {round}");
    }
    assert_eq!(world.catalog.live_bytes(), u64::from(7 * put_size(1, 5)));
    // What is folded is counted when it is opened again, and a segment that is forgotten is not.
    let mut catalog = Catalog::open(world.catalog.into_bases(), false).unwrap();
    assert_eq!(catalog.live_bytes(), u64::from(7 * put_size(1, 5)));
    catalog.forget_segment(1);
    assert_eq!(catalog.live_bytes(), 0);
    assert_eq!(catalog.fold(world_mark(9)).unwrap(), Folded::Done);
    let catalog = Catalog::open(catalog.into_bases(), false).unwrap();
    assert_eq!(catalog.live_bytes(), 0);
}

fn world_mark(batch: u64) -> Watermark {
    Watermark { log: 7, batch, end: Pos { segment: 1, offset: 0 }, crc: 0 }
}

/// What a tombstone costs counts while segments of its range exist, however many lie in one segment.
#[test]
fn a_segment_knows_the_range_of_all_its_tombstones() {
    let mut world = World::new();
    let graves = [(4, 5), (2, 3), (6, 9)];
    for (first, last) in graves {
        let grave = Grave { first, last, limit: Pos::START };
        world.apply(Record::Delete { grave, table: LONG, key: b"k" });
    }
    let [short, long] = world.catalog.tallies(1);
    assert_eq!((short.grave_bytes, long.grave_bytes), (0, 150));
    assert_eq!((long.grave_first, long.grave_last), (2, 9));
}

#[test]
fn all_rows_are_paged_through() {
    for folded in [false, true] {
        let mut world = World::new();
        for n in 0..5_u8 {
            world.put(SHORT, &[n]);
            world.put(LONG, &[n]);
            world.append(n, 1, 0);
            world.append(n, 2, 0);
        }
        if folded {
            assert_eq!(world.fold(), Folded::Done);
        }
        for (life, expected) in [(Life::Short, 15), (Life::Long, 5)] {
            for limit in [1, 2, 4, 5, 100] {
                let (mut seen, mut after) = (Vec::new(), Vec::new());
                loop {
                    let page = world.catalog.page(life, &after, limit).unwrap();
                    let Some((last, _)) = page.last() else { break };
                    after.clone_from(last);
                    assert!(page.len() <= limit);
                    seen.extend(page.into_iter().map(|(key, _)| key));
                    assert!(seen.len() <= expected, "{life:?}, pages of {limit}");
                }
                assert!(seen.is_sorted_by(|one, next| one < next), "{seen:?}");
                let rows = seen.iter().filter(|key| key.starts_with(b"k")).count();
                let queued = seen.iter().filter(|key| key.starts_with(b"q")).count();
                assert_eq!((rows, rows + queued), (5, expected), "{life:?}, pages of {limit}");
            }
        }
    }
}

#[test]
fn states_of_queues_are_at_hand_up_to_a_number() {
    let mut world = World::new();
    let resident = |world: &World| world.catalog.residents.borrow().len();
    for n in 0..4096_u64 {
        let mut queue = QueueId([0; 16]);
        queue.0[..8].copy_from_slice(&n.to_be_bytes());
        world.apply(Record::Append { queue, seq: 1, minute: 0, bytes: b"row" });
    }
    assert_eq!(resident(&world), 4096);
    world.append(9, 1, 0);
    assert_eq!(resident(&world), 1);
    assert_eq!(world.catalog.queue(QueueId([0; 16])).unwrap().map(|state| state.rows), Some(1));
    assert_eq!(resident(&world), 2);
}

/// While minutes rise with the numbers, the first row is the oldest and nothing has to be looked through.
#[test]
fn a_queue_is_in_order_again_when_what_was_not_is_gone() {
    let mut world = World::new();
    let state = |world: &World| {
        let state = world.catalog.queue(QueueId([1; 16])).unwrap().unwrap();
        (state.ordered, state.oldest, state.newest)
    };
    for (seq, minute) in [(1, 5), (2, 5), (3, 7)] {
        world.append(1, seq, minute);
        assert_eq!(state(&world), (true, 5, minute));
    }
    world.append(1, 4, 2);
    assert_eq!(state(&world), (false, 2, 7));
    world.append(1, 5, 9);
    assert_eq!(state(&world), (false, 2, 9), "not for a row that is in order");
    world.remove(1, 3);
    assert_eq!(state(&world), (false, 2, 9));
    world.remove(1, 4);
    assert_eq!(state(&world), (true, 5, 9));
    world.remove(1, 1);
    assert_eq!(state(&world), (true, 5, 9));
    world.remove(1, 2);
    assert_eq!(state(&world), (true, 9, 9));
}

/// Replay meets a number that is lower than the last, or that was there before.
#[test]
fn a_row_that_comes_late_or_again_is_counted_once() {
    let mut world = World::new();
    for (seq, minute) in [(4, 5), (2, 6)] {
        world.append(1, seq, minute);
    }
    let queue = QueueId([1; 16]);
    let state = world.catalog.queue(queue).unwrap().unwrap();
    assert_eq!((state.rows, state.first, state.last, state.ordered), (2, 2, 4, false));
    for _ in 0..2 {
        world.append(1, 4, 5);
        let state = world.catalog.queue(queue).unwrap().unwrap();
        assert_eq!((state.rows, state.bytes, state.first, state.last), (2, 6, 2, 4));
    }
    assert_eq!(world.catalog.live_bytes(), u64::from(2 * append_size(3)));
}

/// The same queue in two lives: the end of the first comes when rows of the second, with its numbers, are in the index.
#[test]
fn a_row_in_the_index_is_found_whatever_became_of_others_of_its_number() {
    let mut world = World::new();
    for seq in [1, 2, 3, 4, 5, 1, 2] {
        world.append(1, seq, 0);
    }
    assert_eq!(world.fold(), Folded::Done);
    let queue = QueueId([1; 16]);
    let first_life = Grave { first: 1, last: 1, limit: Pos { segment: 1, offset: 5500 } };
    world.apply(Record::DropQueue { grave: first_life, queue });
    let seqs = |world: &World| {
        let rows = world.catalog.queued_after(queue, 0, 9).unwrap();
        rows.into_iter().map(|(seq, _)| seq).collect::<Vec<_>>()
    };
    assert_eq!(seqs(&world), [1, 2]);
    world.append(1, 3, 0);
    world.remove(1, 3);
    world.remove(1, 1);
    assert_eq!(seqs(&world), [2]);
    assert_eq!(world.catalog.queue(queue).unwrap().map(|state| (state.rows, state.first)), Some((1, 2)));
    world.apply(Record::Floor { queue, up_to: 2, last: 5 });
    assert_eq!(seqs(&world), [] as [u64; 0]);
}

#[test]
fn each_reason_for_making_an_index_anew_reads_well() {
    let detail = "why".to_owned();
    for (why, text) in [
        (Rebuilt::Absent, "there was no index"),
        (Rebuilt::NotClosed, "the machine stopped without closing the index"),
        (Rebuilt::Stale { detail: detail.clone() }, "the index does not belong to this log: why"),
        (Rebuilt::Failed { detail }, "the index was damaged: why"),
        (Rebuilt::Repair, "repair was asked for"),
        (Rebuilt::Asked, "it was asked for"),
    ] {
        assert_eq!(why.to_string(), text);
    }
}
