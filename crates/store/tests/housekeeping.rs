//! Housekeeping: which segments are emptied and when, what must not go with them, and what is made ahead.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use penpal_store::conformance::TABLES;
use penpal_store::disk::{Disk, MemDisk};
use penpal_store::{
    Batch, Compacted, KvStore, LogStore, MemIndex, Options, Outcome, QueueId, SpoolStore, Store,
};

const LONG: penpal_store::Table = TABLES[1];
const STAYS: QueueId = QueueId([7; 16]);
const GOES: QueueId = QueueId([8; 16]);

fn options() -> Options {
    Options { segment_bytes: 64 * 1024, log_id: Some(7), ..Options::default() }
}

fn open(disk: &MemDisk, index: &MemIndex) -> LogStore {
    LogStore::open_in(Arc::new(disk.clone()), Box::new(index.clone()), options()).expect("open")
}

fn new() -> (MemDisk, LogStore) {
    let disk = MemDisk::new();
    let store = open(&disk, &MemIndex::new());
    (disk, store)
}

fn done(store: &mut LogStore, batch: Batch) {
    assert_eq!(store.commit(vec![batch]).expect("commit"), [Outcome::Done]);
}

fn last(store: &LogStore, queue: QueueId) -> u64 {
    store.usage(queue).expect("usage").map_or(0, |usage| usage.last_seq)
}

/// Appends so many rows of 2000 bytes: thirty fill a segment almost.
fn append(store: &mut LogStore, queue: QueueId, rows: u64) {
    for _ in 0..rows {
        let next = last(store, queue) + 1;
        done(store, Batch::new().append(queue, next, 0, vec![7; 2000]));
    }
}

fn exists(disk: &MemDisk, segment: u32) -> bool {
    disk.content(&format!("{segment:010}.log")).is_some()
}

/// Whether anything is written in a segment.
fn is_used(disk: &MemDisk, segment: u32) -> bool {
    disk.content(&format!("{segment:010}.log")).is_some_and(|bytes| bytes.iter().any(|byte| *byte != 0))
}

/// Appends until a segment is begun.
fn append_until(disk: &MemDisk, store: &mut LogStore, queue: QueueId, segment: u32) {
    while !is_used(disk, segment) {
        append(store, queue, 1);
    }
}

/// Every step that was said to do more does something, and the one after the last does not.
fn settle(store: &mut LogStore) -> Compacted {
    let mut sum = Compacted::default();
    loop {
        let step = store.compact(u64::MAX).expect("compact");
        assert!(!sum.more || step != Compacted::default(), "nothing done, although there was more to do");
        sum.moved_bytes += step.moved_bytes;
        sum.freed_segments += step.freed_segments;
        sum.more = step.more;
        if !step.more {
            break;
        }
    }
    assert_eq!(store.compact(u64::MAX).expect("compact"), Compacted::default());
    sum
}

/// A log alone, whatever the index said.
fn rebuilt(disk: &MemDisk, store: LogStore) -> LogStore {
    drop(store);
    open(disk, &MemIndex::new())
}

/// Rows of one segment removed in another that is else dead: without the tombstones they would be back when the index is
/// made anew.
#[test]
fn tombstones_stay_as_long_as_what_they_removed() {
    let (disk, mut store) = new();
    done(&mut store, Batch::new().put(LONG, b"first", "v"));
    append(&mut store, STAYS, 20);
    append_until(&disk, &mut store, GOES, 2);
    done(&mut store, Batch::new().delete(LONG, b"first"));
    done(&mut store, Batch::new().put(LONG, b"second", "v"));
    done(&mut store, Batch::new().delete(LONG, b"second"));
    append_until(&disk, &mut store, GOES, 3);
    let rows = last(&store, STAYS);
    let gone = last(&store, GOES);
    done(&mut store, Batch::new().ack(GOES, gone));
    let sum = settle(&mut store);
    assert_eq!((exists(&disk, 1), exists(&disk, 2), sum.freed_segments), (true, false, 1));
    let store = rebuilt(&disk, store);
    for key in [&b"first"[..], b"second"] {
        assert_eq!(store.get(LONG, key).expect("get"), None);
    }
    assert_eq!(store.usage(STAYS).expect("usage").map(|usage| usage.rows), Some(rows));
}

#[test]
fn segments_in_which_nothing_counts_are_counted_when_they_go() {
    let (disk, mut store) = new();
    append_until(&disk, &mut store, GOES, 5);
    let gone = last(&store, GOES);
    done(&mut store, Batch::new().drop_queue(GOES));
    done(&mut store, Batch::new().put(LONG, b"k", "v"));
    assert_eq!(settle(&mut store).freed_segments, 4);
    assert!(gone > 90 && !exists(&disk, 4) && exists(&disk, 5));
}

#[test]
fn an_active_segment_is_ended_early_when_it_is_mostly_dead() {
    let (disk, mut store) = new();
    append_until(&disk, &mut store, STAYS, 2);
    append(&mut store, GOES, 20);
    let gone = last(&store, GOES);
    // Full of what counts, it is written on.
    assert_eq!(settle(&mut store), Compacted::default());
    done(&mut store, Batch::new().ack(GOES, gone));
    let step = store.compact(u64::MAX).expect("compact");
    assert_eq!((step.moved_bytes, step.freed_segments, step.more), (0, 0, true), "ended");
    let sum = settle(&mut store);
    assert_eq!((exists(&disk, 2), sum.freed_segments), (false, 1), "and emptied");
    assert_eq!(store.stats().segments, 3);
}

#[test]
fn two_files_are_no_reason_to_end_one() {
    let (disk, mut store) = new();
    append(&mut store, GOES, 20);
    done(&mut store, Batch::new().ack(GOES, 20));
    assert_eq!(settle(&mut store), Compacted::default());
    assert_eq!((exists(&disk, 1), store.stats().segments), (true, 2));
}

#[test]
fn an_idle_store_folds_what_gathered_when_it_is_much() {
    let (_, mut store) = new();
    let put = |store: &mut LogStore, from: u32, to: u32| {
        for first in (from..to).step_by(100) {
            let rows = first..first + 100;
            done(store, rows.fold(Batch::new(), |batch, n| batch.put(LONG, n.to_be_bytes(), vec![7; 200])));
        }
    };
    put(&mut store, 0, 500);
    store.compact(1).expect("compact");
    assert_eq!(store.stats().pending_rows, 500);
    put(&mut store, 500, 1200);
    assert_eq!(store.stats().pending_rows, 1200);
    store.compact(1).expect("compact");
    assert_eq!(store.stats().pending_rows, 0);
}

/// The death of the process costs replaying no more than that.
#[test]
fn a_busy_store_folds_after_sixteen_segments() {
    let (disk, mut store) = new();
    append_until(&disk, &mut store, STAYS, 15);
    let before = store.stats().pending_rows;
    assert!(before > 300, "{before}");
    append_until(&disk, &mut store, STAYS, 17);
    let after = store.stats().pending_rows;
    assert!(after < 40, "{after}");
    append_until(&disk, &mut store, STAYS, 31);
    let before = store.stats().pending_rows;
    assert!(before > 300, "{before}");
}

/// So many rows as one map takes, however few segments they fill.
#[test]
fn a_busy_store_folds_after_many_rows() {
    let (_, mut store) = new();
    let mut most = 0;
    for first in (1..20_000_u64).step_by(200) {
        done(&mut store, (first..first + 200).fold(Batch::new(), |batch, n| batch.append(STAYS, n, 0, "x")));
        most = most.max(store.stats().pending_rows);
    }
    assert!(most > 16_000 && store.stats().pending_rows < 4_000, "{most} and {:?}", store.stats());
}

/// The reserve is there from the beginning, and the next segment when this one is half full: a commit never waits for it.
#[test]
fn files_are_made_ahead_of_need() {
    let files = |dir: &Path| {
        let names = fs::read_dir(dir).expect("list").map(|entry| entry.expect("entry").file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".log")).count()
    };
    for (rows, expected) in [(0, 2), (10, 2), (20, 3)] {
        let dir = tempfile::tempdir().expect("folder");
        let mut store = LogStore::open(dir.path(), options()).expect("open");
        append(&mut store, STAYS, rows);
        drop(store);
        assert_eq!(files(dir.path()), expected, "{rows} rows");
    }
    let (_, store) = new();
    assert_eq!((store.stats().segments, store.stats().spare_segments), (2, 1));
}

#[test]
fn a_batch_has_half_a_segment() {
    let (_, mut store) = new();
    let batch = |bytes: usize| Batch::new().put(LONG, b"k", vec![7; bytes]);
    done(&mut store, batch(30_000));
    let outcomes = store.commit(vec![batch(33_000)]).expect("commit");
    assert!(matches!(outcomes[..], [Outcome::Refused(_)]), "{outcomes:?}");
}

/// What changes nothing writes nothing, and what is written is what is needed.
#[test]
fn nothing_is_written_for_nothing() {
    let (disk, mut store) = new();
    let one = |store: &mut LogStore, seq| done(store, Batch::new().append(GOES, seq, 0, "row"));
    one(&mut store, 1);
    let live = store.stats().live_bytes;
    one(&mut store, 2);
    done(&mut store, Batch::new().remove(GOES, [1]));
    assert_eq!(store.stats().live_bytes, live, "its last row tells the last number");
    done(&mut store, Batch::new().ack(GOES, 2));
    let (end, steps) = (store.log_end(), disk.steps());
    done(&mut store, Batch::new().ack(GOES, 2));
    done(&mut store, Batch::new().delete(LONG, b"absent").remove(GOES, [2]).ack(STAYS, 9).drop_queue(STAYS));
    assert_eq!((store.log_end(), disk.steps()), (end, steps));
    assert_eq!(disk.list().expect("list").len(), 3);
}
