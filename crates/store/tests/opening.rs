//! Opening what others left: logs whose ends are short, sealed, torn or of other times, and the index beside them.

use std::sync::{Arc, Mutex};

use penpal_store::conformance::{TABLES, assert_same};
use penpal_store::disk::{Disk, MemDisk};
use penpal_store::{
    Batch, KvStore, LogStore, MemIndex, MemStore, OpenError, Options, Outcome, Progress, QueueId, Rebuilt,
    SpoolStore, Store, Task,
};

const SEGMENT_BYTES: u64 = 64 * 1024;
const LONG: penpal_store::Table = TABLES[1];
const QUEUE: QueueId = QueueId([7; 16]);

fn options() -> Options {
    Options { segment_bytes: SEGMENT_BYTES, log_id: Some(7), ..Options::default() }
}

fn try_open(disk: &MemDisk, index: &MemIndex, options: Options) -> Result<LogStore, OpenError> {
    LogStore::open_in(Arc::new(disk.clone()), Box::new(index.clone()), options)
}

fn open(disk: &MemDisk, index: &MemIndex) -> LogStore {
    try_open(disk, index, options()).expect("open")
}

fn done(store: &mut LogStore, batch: Batch) {
    assert_eq!(store.commit(vec![batch]).expect("commit"), [Outcome::Done]);
}

fn row(n: u64) -> Batch {
    Batch::new().append(QUEUE, n, 0, vec![u8::try_from(n % 251).unwrap_or(0); 2000])
}

/// Rows of 2000 bytes, numbered from 1: twenty-five fill a segment.
fn filled(rows: u64) -> MemDisk {
    let disk = MemDisk::new();
    let mut store = open(&disk, &MemIndex::new());
    for n in 1..=rows {
        done(&mut store, row(n));
    }
    disk
}

fn seqs(store: &LogStore) -> Vec<u64> {
    store.read(QUEUE, 0, usize::MAX, usize::MAX).expect("read").iter().map(|row| row.seq).collect()
}

fn name(segment: u32) -> String {
    format!("{segment:010}.log")
}

/// The number of segments with something in them.
fn used(disk: &MemDisk) -> u32 {
    let names = (1..).map(|segment| disk.content(&name(segment)));
    let used = names.take_while(|content| content.as_ref().is_some_and(|bytes| bytes[0] != 0));
    u32::try_from(used.count()).expect("few")
}

/// As [`open`], and the progress that was told.
fn open_watched(disk: &MemDisk, index: &MemIndex) -> (LogStore, Vec<Progress>) {
    let seen: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let sink = seen.clone();
    let progress = Box::new(move |progress| sink.lock().expect("lock").push(progress));
    let store = try_open(disk, index, Options { progress: Some(progress), ..options() }).expect("open");
    let seen = seen.lock().expect("lock").clone();
    (store, seen)
}

/// One step for each segment, in bytes, and the end.
fn steps(task: Task, segments: u64) -> Vec<Progress> {
    let total = segments * SEGMENT_BYTES;
    (0..=segments).map(|done| Progress { task, done: done * SEGMENT_BYTES, total }).collect()
}

#[test]
fn progress_is_told_segment_by_segment() {
    let disk = filled(60);
    let segments = u64::from(used(&disk));
    assert_eq!(segments, 3);
    let index = MemIndex::new();
    let (store, seen) = open_watched(&disk, &index);
    assert_eq!(seen, steps(Task::Rebuild, segments));
    let mut seen = Vec::new();
    let report = store.verify(&mut |progress| seen.push(progress)).expect("verify");
    assert_eq!(seen, steps(Task::Verify, segments));
    assert_eq!((report.segments, report.rows, report.queued), (segments, 0, 60));
    // Two segments were sealed, and each row is a batch of its own.
    assert_eq!((report.batches, report.findings), (62, Vec::new()));
    Box::new(store).close().expect("close");
    let (_, seen) = open_watched(&disk, &index);
    assert_eq!(seen, steps(Task::Recover, 1), "a clean end leaves the newest");
}

#[test]
fn an_index_is_trusted_however_early_it_was_left() {
    for (rows, closes) in [(0, false), (0, true), (5, false), (5, true), (60, false)] {
        let (disk, index) = (MemDisk::new(), MemIndex::new());
        let mut store = open(&disk, &index);
        for n in 1..=rows {
            done(&mut store, row(n));
        }
        if closes {
            Box::new(store).close().expect("close");
        } else {
            drop(store);
        }
        let store = open(&disk, &index);
        assert_eq!(store.opening().rebuilt, None, "{rows} rows, closed: {closes}");
        assert_eq!(seqs(&store).len() as u64, rows);
    }
}

/// A thousand rows, folded into the index, and then some that are not.
fn folded(disk: &MemDisk, index: &MemIndex, value: &'static str, more: u64) -> MemStore {
    let (mut store, mut model) = (open(disk, index), MemStore::new());
    let mut both = |store: &mut LogStore, batch: Batch| {
        done(store, batch.clone());
        assert_eq!(model.commit(vec![batch]).expect("model"), [Outcome::Done]);
    };
    for first in (0..1100_u32).step_by(50) {
        let rows = first..first + 50;
        let value = value.repeat(100);
        both(&mut store, rows.fold(Batch::new(), |batch, n| batch.put(LONG, n.to_be_bytes(), value.clone())));
    }
    store.compact(1).expect("compact");
    assert_eq!(store.stats().pending_rows, 0);
    for n in 1..=more {
        both(&mut store, row(n));
    }
    model
}

#[test]
fn only_what_the_index_does_not_have_is_replayed() {
    let (disk, index) = (MemDisk::new(), MemIndex::new());
    let model = folded(&disk, &index, "v", 100);
    let (store, seen) = open_watched(&disk, &index);
    assert_eq!(store.opening().rebuilt, None);
    assert_same(&store, &model, "caught up");
    let segments = u64::from(used(&disk));
    let replayed = seen[0].total / SEGMENT_BYTES;
    assert!(replayed > 3 && replayed < segments, "{replayed} of {segments}");
    assert_eq!(seen, steps(Task::Recover, replayed));
}

/// The log of another machine that began alike, or an older copy that went on differently.
#[test]
fn an_index_of_another_history_is_noticed_by_its_last_batch() {
    let (disk, index) = (MemDisk::new(), MemIndex::new());
    folded(&disk, &index, "one", 0);
    let other = MemDisk::new();
    let model = folded(&other, &MemIndex::new(), "two", 10);
    let store = open(&other, &index);
    assert!(matches!(store.opening().rebuilt, Some(Rebuilt::Stale { .. })), "{:?}", store.opening());
    assert_same(&store, &model, "rebuilt");
}

#[test]
fn an_index_without_room_is_made_anew_in_memory() {
    let (disk, mut rows) = (MemDisk::new(), 0);
    let mut store = open(&disk, &MemIndex::new());
    for most in [70_000, 300_000] {
        while rows < most {
            let next = (rows + 1..=rows + 250).fold(Batch::new(), |batch, n| batch.append(QUEUE, n, 0, "x"));
            done(&mut store, next);
            rows += 250;
        }
        let (disk, index) = (disk.fork(), MemIndex::new());
        disk.crash(penpal_store::disk::Crash::KeepAll);
        index.set_room(0);
        match try_open(&disk, &index, options()) {
            Ok(store) => {
                assert!(store.stats().full && rows == 70_000);
                assert_eq!(store.usage(QUEUE).expect("usage").map(|usage| usage.rows), Some(rows));
            }
            // More than may be held: it waits for room on the disk.
            Err(error) => assert!(rows == 300_000 && matches!(error, OpenError::Index(_)), "{rows}: {error}"),
        }
    }
}

#[test]
fn a_torn_tail_is_cut_to_its_end() {
    let disk = filled(3);
    let mut content = disk.content(&name(1)).expect("exists");
    for at in [20_000, 40_000, 65_535] {
        content[at] = 0xee;
    }
    disk.set_content(&name(1), &content);
    assert_eq!(seqs(&open(&disk, &MemIndex::new())), [1, 2, 3]);
    let content = disk.content(&name(1)).expect("exists");
    assert_eq!(content.iter().rposition(|byte| *byte != 0).map(|last| last < 7_680), Some(true));
    assert_eq!(content.len() as u64, SEGMENT_BYTES);
}

/// As a backup leaves it: its room is there before anything is written.
#[test]
fn a_short_newest_segment_is_completed() {
    let disk = filled(3);
    let content = disk.content(&name(1)).expect("exists");
    disk.set_content(&name(1), &content[..7_680]);
    let mut store = open(&disk, &MemIndex::new());
    assert_eq!(disk.content(&name(1)).map(|content| content.len() as u64), Some(SEGMENT_BYTES));
    done(&mut store, row(4));
    drop(store);
    assert_eq!(seqs(&open(&disk, &MemIndex::new())), [1, 2, 3, 4]);
}

/// The machine stopped when a segment was sealed and nothing was in the next.
#[test]
fn a_sealed_newest_segment_is_gone_on_from() {
    let disk = filled(30);
    for segment in 2..5 {
        if disk.content(&name(segment)).is_some() {
            disk.remove(&name(segment)).expect("remove");
        }
    }
    let mut store = open(&disk, &MemIndex::new());
    let rows = seqs(&store);
    assert!(rows.len() > 20 && rows.len() < 30, "{rows:?}");
    done(&mut store, row(100));
    drop(store);
    assert_eq!(seqs(&open(&disk, &MemIndex::new())).len(), rows.len() + 1);
}

/// Its batches have higher numbers than those that belong there: something in between is missing.
#[test]
fn a_newer_copy_of_a_segment_is_refused_by_name() {
    let newer = MemDisk::new();
    let mut store = open(&newer, &MemIndex::new());
    for n in 1..=60 {
        // The same rows in twice as many batches.
        done(&mut store, row(n));
        done(&mut store, Batch::new().put(LONG, b"k", "v"));
    }
    drop(store);
    for rows in [30, 60] {
        let disk = filled(rows);
        disk.set_content(&name(2), &newer.content(&name(2)).expect("exists"));
        let error = try_open(&disk, &MemIndex::new(), options()).expect_err("numbers that skip");
        assert!(matches!(&error, OpenError::Damaged { file, offset: 0, .. } if *file == name(2)), "{error}");
    }
}

#[test]
fn a_value_that_was_written_differently_is_not_the_same() {
    // Two values with the same checksum: some are among two hundred thousand.
    let mut seen = std::collections::HashMap::new();
    let alike = (0..1_000_000_u64).find_map(|n| {
        let value = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        seen.insert(crc32c::crc32c(&value), value).map(|other| (other, value))
    });
    let (one, other) = alike.expect("a pair");
    let mut store = open(&MemDisk::new(), &MemIndex::new());
    done(&mut store, Batch::new().put(LONG, b"k", one.to_vec()));
    let expecting = |value: [u8; 8]| Batch::new().equals(LONG, b"k", value.to_vec()).delete(LONG, b"k");
    let outcomes = store.commit(vec![expecting(other), expecting(one)]).expect("commit");
    assert_eq!(outcomes, [Outcome::Conflict { expect: 0 }, Outcome::Done]);
    assert_eq!(store.get(LONG, b"k").expect("get"), None);
}
