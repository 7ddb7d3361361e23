//! What is done about bad files, failing and full disks, and what is said about them.

use std::sync::Arc;

use penpal_store::conformance::{TABLES, assert_same};
use penpal_store::disk::{Crash, Disk, Fault, MemDisk};
use penpal_store::{
    Batch, CommitError, KvStore, LogStore, MemIndex, MemStore, OpenError, Options, Outcome, QueueId, Rebuilt,
    SpoolStore, Store,
};

const SEGMENT_BYTES: u64 = 64 * 1024;
const LONG: penpal_store::Table = TABLES[1];
const QUEUE: QueueId = QueueId([7; 16]);

fn options() -> Options {
    Options { segment_bytes: SEGMENT_BYTES, log_id: Some(7), ..Options::default() }
}

fn try_open(disk: &MemDisk, options: Options) -> Result<LogStore, OpenError> {
    LogStore::open_in(Arc::new(disk.clone()), Box::new(MemIndex::new()), options)
}

fn open(disk: &MemDisk) -> LogStore {
    try_open(disk, options()).expect("open")
}

fn done(store: &mut dyn Store, batch: Batch) {
    assert_eq!(store.commit(vec![batch]).expect("commit"), [Outcome::Done]);
}

fn row(n: u64, bytes: usize) -> Batch {
    Batch::new().append(QUEUE, n, 0, vec![u8::try_from(n % 251).unwrap_or(0); bytes])
}

/// Rows of 2000 bytes, numbered from 1, over several segments.
fn filled(rows: u64) -> MemDisk {
    let disk = MemDisk::new();
    let mut store = open(&disk);
    for n in 1..=rows {
        done(&mut store, row(n, 2000));
    }
    disk
}

fn seqs(store: &dyn Store) -> Vec<u64> {
    store.read(QUEUE, 0, usize::MAX, usize::MAX).expect("read").iter().map(|row| row.seq).collect()
}

fn logs(disk: &MemDisk) -> Vec<String> {
    let mut names = disk.list().expect("list");
    names.retain(|name| name.ends_with(".log"));
    names.sort();
    names
}

/// Changes one byte.
fn spoil(disk: &MemDisk, name: &str, at: usize) {
    let mut content = disk.content(name).expect("exists");
    content[at] ^= 0xff;
    disk.set_content(name, &content);
}

#[test]
fn a_torn_tail_is_cut_with_a_warning() {
    let disk = filled(3);
    // Rows begin at 0, 2560 and 5120: the last batch loses a byte.
    spoil(&disk, "0000000001.log", 5120 + 700);
    let mut store = open(&disk);
    assert_eq!(seqs(&store), [1, 2]);
    let warnings = &store.opening().warnings;
    assert!(warnings.iter().any(|w| w.place == "0000000001.log" && w.offset == Some(5120)), "{warnings:?}");
    assert_eq!(store.log_end().commit, 2);
    done(&mut store, row(3, 10));
    drop(store);
    let store = open(&disk);
    assert_eq!(seqs(&store), [1, 2, 3]);
    assert_eq!(store.opening().warnings, []);
}

#[test]
fn a_damaged_middle_is_refused_by_name_and_repaired_on_demand() {
    let disk = filled(60);
    assert!(logs(&disk).len() > 2, "{:?}", logs(&disk));
    spoil(&disk, "0000000001.log", 2560 + 700);
    let before = disk.content("0000000001.log");
    for _ in 0..2 {
        let error = try_open(&disk, options()).expect_err("damaged");
        let OpenError::Damaged { file, offset, .. } = &error else { panic!("{error}") };
        assert_eq!((file.as_str(), *offset), ("0000000001.log", 2560));
    }
    assert_eq!(disk.content("0000000001.log"), before, "refusing changes nothing");

    let mut store = try_open(&disk, Options { repair: true, ..options() }).expect("repair");
    let expected: Vec<u64> = (1..=60).filter(|n| *n != 2).collect();
    assert_eq!(seqs(&store), expected);
    let repaired = &store.opening().repaired;
    assert!(repaired.iter().any(|f| f.place == "0000000001.log" && f.offset == Some(2560)), "{repaired:?}");
    done(&mut store, row(61, 10));
    drop(store);
    let names = disk.list().expect("list");
    assert!(names.iter().any(|name| name == "0000000001.damaged"), "{names:?}");
    let store = open(&disk);
    assert_eq!(seqs(&store), expected.into_iter().chain([61]).collect::<Vec<_>>());
    assert_eq!(store.verify(&mut |_| {}).expect("verify").findings, []);
    assert_eq!(store.opening().warnings.len(), 1, "the file set aside is mentioned");
}

/// A row of segment 1 whose tombstone was lost with the damage, and a later tombstone of the same key that was not: repair
/// moves the latter, although all that it was written for went with its segment.
#[test]
fn what_a_surviving_tombstone_removed_stays_removed_after_repair() {
    let disk = MemDisk::new();
    let mut store = open(&disk);
    let newest = "0000000002.log";
    let filled = || disk.content(newest).map_or(0, |bytes| bytes.iter().filter(|byte| **byte != 0).count());
    done(&mut store, Batch::new().put(LONG, b"k", "first"));
    let mut rows = 0;
    while filled() == 0 {
        rows += 1;
        done(&mut store, row(rows, 2000));
    }
    let before = disk.content(newest).expect("exists");
    done(&mut store, Batch::new().delete(LONG, b"k"));
    let after = disk.content(newest).expect("exists");
    done(&mut store, Batch::new().put(LONG, b"k", "second"));
    done(&mut store, Batch::new().delete(LONG, b"k"));
    drop(store);
    let first_deletion = before.iter().zip(&after).position(|(before, after)| before != after);
    spoil(&disk, newest, first_deletion.expect("written") + 40);
    let store = try_open(&disk, Options { repair: true, ..options() }).expect("repair");
    assert_eq!(store.opening().repaired.len(), 2, "{:?}", store.opening());
    assert_eq!(store.get(LONG, b"k").expect("get"), None);
    drop(store);
    assert_eq!(open(&disk).get(LONG, b"k").expect("get"), None);
}

#[test]
fn damage_in_the_newest_segment_is_repaired_too() {
    let disk = filled(4);
    spoil(&disk, "0000000001.log", 2560);
    assert!(matches!(try_open(&disk, options()), Err(OpenError::Damaged { offset: 2560, .. })));
    let mut store = try_open(&disk, Options { repair: true, ..options() }).expect("repair");
    assert_eq!(seqs(&store), [1, 3, 4]);
    done(&mut store, row(5, 10));
    drop(store);
    assert_eq!(seqs(&open(&disk)), [1, 3, 4, 5]);
}

#[test]
fn damage_at_the_very_beginning_of_the_newest_segment_is_noticed() {
    let disk = filled(3);
    spoil(&disk, "0000000001.log", 3);
    assert!(matches!(try_open(&disk, options()), Err(OpenError::Damaged { offset: 0, .. })));
    let store = try_open(&disk, Options { repair: true, ..options() }).expect("repair");
    assert_eq!(seqs(&store), [2, 3]);
}

#[test]
fn a_missing_segment_is_refused_by_name_and_repaired_on_demand() {
    let disk = filled(90);
    disk.remove("0000000002.log").expect("remove");
    let error = try_open(&disk, options()).expect_err("missing");
    assert!(matches!(&error, OpenError::Missing { file } if file == "0000000002.log"), "{error}");
    let store = try_open(&disk, Options { repair: true, ..options() }).expect("repair");
    let left = seqs(&store);
    assert!(left.len() < 90 && left.contains(&1) && left.contains(&90));
    drop(store);
    assert_eq!(seqs(&open(&disk)), left);
}

#[test]
fn a_repair_without_room_says_so_and_goes_on_when_there_is() {
    let disk = filled(60);
    for (name, at) in [("0000000001.log", 2560), ("0000000002.log", 2560)] {
        spoil(&disk, name, at + 700);
    }
    let repair = || try_open(&disk, Options { repair: true, ..options() });
    disk.set_capacity(Some(disk.used_bytes()));
    for _ in 0..2 {
        let error = repair().expect_err("there is no room");
        assert!(matches!(error, OpenError::Full { .. }), "{error}");
    }
    disk.set_capacity(None);
    let store = repair().expect("repair");
    assert_eq!(seqs(&store).len(), 58);
    drop(store);
    let names = disk.list().expect("list");
    for name in ["0000000001.damaged", "0000000002.damaged"] {
        assert!(names.iter().any(|found| found == name), "{names:?}");
    }
    assert_eq!(seqs(&open(&disk)).len(), 58);
}

/// Found by the fuzzer: the newest segment looked whole by itself, its batches numbered below those of the one before. The
/// store opened, went on behind them, and did not find what it had written when it was opened again.
#[test]
fn an_older_copy_of_the_newest_segment_is_refused_by_name_and_repaired_on_demand() {
    let older = filled(35);
    let disk = MemDisk::new();
    let mut store = open(&disk);
    for n in 1..=30 {
        // The same rows in twice as many batches: the numbers in the second segment are higher.
        done(&mut store, row(n, 2000));
        done(&mut store, Batch::new().put(LONG, b"k", "v"));
    }
    drop(store);
    let newest = "0000000002.log";
    disk.set_content(newest, &older.content(newest).expect("exists"));
    let error = try_open(&disk, options()).expect_err("numbers that go back");
    assert!(matches!(&error, OpenError::Damaged { file, offset: 0, .. } if file == newest), "{error}");
    let mut store = try_open(&disk, Options { repair: true, ..options() }).expect("repair");
    assert_eq!(store.opening().repaired.len(), 2, "{:?}", store.opening());
    done(&mut store, row(50, 10));
    let left = seqs(&store);
    drop(store);
    assert_eq!(seqs(&open(&disk)), left);
    assert!(left.contains(&1) && left.contains(&50));
}

#[test]
fn a_segment_of_another_log_is_no_part_of_this_one() {
    let disk = filled(90);
    let other = MemDisk::new();
    let foreign = Options { log_id: Some(8), ..options() };
    let mut store = try_open(&other, foreign).expect("open");
    for n in 1..=90 {
        done(&mut store, row(n, 2000));
    }
    disk.set_content("0000000002.log", &other.content("0000000002.log").expect("exists"));
    let error = try_open(&disk, options()).expect_err("foreign");
    assert!(
        matches!(&error, OpenError::Damaged { file, offset: 0, .. } if file == "0000000002.log"),
        "{error}"
    );
}

#[test]
fn an_envelope_that_looks_like_a_batch_cannot_pass_for_one() {
    let disk = filled(2);
    // A contact who knows the format sends what would be a later batch, if the log's id were known.
    let other = MemDisk::new();
    let mut store = try_open(&other, Options { log_id: Some(8), ..options() }).expect("open");
    for n in 1..=9 {
        done(&mut store, row(n, 100));
    }
    let forged = other.content("0000000001.log").expect("exists")[512 * 8..512 * 9].to_vec();
    let mut store = open(&disk);
    done(&mut store, Batch::new().append(QUEUE, 3, 0, forged.repeat(6)));
    drop(store);
    // Torn: everything but its first sector is there.
    let mut content = disk.content("0000000001.log").expect("exists");
    content[5120..5632].fill(0);
    disk.set_content("0000000001.log", &content);
    assert_eq!(seqs(&open(&disk)), [1, 2]);
}

#[test]
fn foreign_files_are_ignored_with_a_warning() {
    let disk = filled(3);
    disk.set_content("notes.txt", b"garbage");
    disk.set_content("7.log", &[0xff; 100]);
    disk.set_content("0000000009.new", &[0; 100]);
    let store = open(&disk);
    assert_eq!(seqs(&store), [1, 2, 3]);
    let places: Vec<&str> = store.opening().warnings.iter().map(|w| w.place.as_str()).collect();
    assert_eq!(places, ["7.log", "notes.txt"]);
    let names = disk.list().expect("list");
    assert!(names.contains(&"notes.txt".to_owned()) && !names.contains(&"0000000009.new".to_owned()));
}

#[test]
fn bytes_past_the_end_of_a_segment_are_ignored_with_a_warning() {
    let disk = filled(3);
    let mut content = disk.content("0000000001.log").expect("exists");
    content.extend_from_slice(&[0xee; 700]);
    disk.set_content("0000000001.log", &content);
    let store = open(&disk);
    assert_eq!(seqs(&store), [1, 2, 3]);
    let warnings = &store.opening().warnings;
    assert!(warnings.iter().any(|w| w.offset == Some(SEGMENT_BYTES)), "{warnings:?}");
}

#[test]
fn other_formats_and_missing_formats_are_refused() {
    let disk = filled(3);
    let format = String::from_utf8(disk.content("format").expect("exists")).expect("text");
    disk.set_content("format", format.replace("format 1", "format 9").as_bytes());
    let error = try_open(&disk, options()).expect_err("newer");
    assert_eq!(error.to_string(), "stored in format 9, this version reads 1");
    disk.set_content("format", b"noise");
    assert!(matches!(try_open(&disk, options()), Err(OpenError::NotAStore { .. })));
    disk.remove("format").expect("remove");
    let error = try_open(&disk, options()).expect_err("no format");
    assert!(error.to_string().contains("0000000001.log holds data"), "{error}");
    disk.set_content("format", format.as_bytes());
    assert_eq!(seqs(&open(&disk)), [1, 2, 3]);
    for name in logs(&disk) {
        disk.remove(&name).expect("remove");
    }
    assert!(matches!(try_open(&disk, options()), Err(OpenError::Missing { .. })));
}

#[test]
fn one_process_at_a_time() {
    let disk = MemDisk::new();
    let store = open(&disk);
    assert!(matches!(try_open(&disk, options()), Err(OpenError::Locked { .. })));
    drop(store);
    open(&disk);
    let dir = tempfile::tempdir().expect("folder");
    let store = LogStore::open(dir.path(), options()).expect("open");
    assert!(matches!(LogStore::open(dir.path(), options()), Err(OpenError::Locked { .. })));
    drop(store);
    LogStore::open(dir.path(), options()).expect("open again");
}

#[test]
fn a_failed_sync_or_write_stops_everything_until_reopened() {
    for fault in [Fault::Sync, Fault::Write] {
        let disk = filled(2);
        let mut store = open(&disk);
        let offset = u64::from(matches!(fault(0), Fault::Sync(_)));
        disk.inject(fault(disk.steps() + offset));
        let error = store.commit(vec![row(3, 100)]).expect_err("fails");
        assert!(matches!(error, CommitError::Fatal { .. }), "{error}");
        assert!(matches!(store.commit(vec![row(4, 100)]), Err(CommitError::Stopped)));
        assert!(matches!(store.compact(1), Err(CommitError::Stopped)));
        store.read(QUEUE, 0, 9, 9).expect_err("stopped");
        store.get(LONG, b"k").expect_err("stopped");
        store.verify(&mut |_| {}).expect_err("stopped");
        assert!(store.backup().is_err());
        Box::new(store).close().expect_err("stopped");
        disk.crash(Crash::LoseAll);
        assert_eq!(seqs(&open(&disk)), [1, 2]);
    }
}

#[test]
fn a_full_disk_still_takes_what_frees_space() {
    let disk = MemDisk::new();
    disk.set_capacity(Some(4 * SEGMENT_BYTES + 1000));
    let mut store = open(&disk);
    let mut rows = 0;
    loop {
        match store.commit(vec![row(rows + 1, 2000)]).expect("commit").remove(0) {
            Outcome::Done => rows += 1,
            Outcome::Full => break,
            other @ (Outcome::Conflict { .. } | Outcome::Refused(_)) => panic!("{other:?}"),
        }
    }
    assert!(store.stats().full && rows > 60, "{rows}");
    // A mixed commit: what grows is refused, what frees happens.
    let outcomes = store.commit(vec![row(rows + 1, 2000), Batch::new().ack(QUEUE, 1)]).expect("commit");
    assert_eq!(outcomes, [Outcome::Full, Outcome::Done]);
    assert_eq!(seqs(&store).len() as u64, rows - 1);
    // Also after a restart on the full disk, and far into the reserve.
    drop(store);
    let mut store = open(&disk);
    for n in 2..=rows {
        done(&mut store, Batch::new().remove(QUEUE, [n]));
    }
    while store.compact(u64::MAX).expect("compact").more {}
    assert!(!store.stats().full);
    done(&mut store, row(rows + 1, 2000));
    assert_eq!(seqs(&store), [rows + 1]);
    drop(store);
    assert_eq!(seqs(&open(&disk)), [rows + 1]);
}

/// A nearly full store after `removals` removals of small rows between large ones, or as many as there
/// was room for, which is the answer.
fn squeezed(removals: usize) -> usize {
    let disk = MemDisk::new();
    disk.set_capacity(Some(3 * SEGMENT_BYTES + 1000));
    let (mut store, mut model) = (open(&disk), MemStore::new());
    let mut done = 0;
    let mut both = |store: &mut LogStore, batch: Batch| {
        let outcomes = store.commit(vec![batch.clone()]).expect("commit");
        if outcomes == [Outcome::Done] {
            assert_eq!(model.commit(vec![batch]).expect("model"), outcomes);
        }
        (outcomes == [Outcome::Done], model.clone())
    };
    let mut rows = 0;
    let bytes = |n: u64| if n.is_multiple_of(24) { 3000 } else { 100 };
    while both(&mut store, row(rows + 1, bytes(rows + 1))).0 {
        rows += 1;
    }
    for n in (1..=rows).filter(|n| !n.is_multiple_of(24)).take(removals) {
        if !both(&mut store, Batch::new().remove(QUEUE, [n])).0 {
            break;
        }
        done += 1;
    }
    let (_, model) = both(&mut store, Batch::new());
    for _ in 0..20 {
        store.compact(3000).expect("compact");
        assert_same(&store, &model, &format!("compacted after {done}"));
    }
    drop(store);
    assert_same(&open(&disk), &model, "opened again");
    done
}

#[test]
fn compaction_without_room_loses_nothing() {
    let room = squeezed(usize::MAX);
    for less in 1..16 {
        assert_eq!(squeezed(room - less), room - less);
    }
}

#[test]
fn a_disk_that_is_full_to_the_last_sector_recovers_when_all_is_acknowledged() {
    let disk = MemDisk::new();
    disk.set_capacity(Some(3 * SEGMENT_BYTES + 1000));
    let mut store = open(&disk);
    let mut rows = 0;
    while store.commit(vec![row(rows + 1, 100)]).expect("commit") == [Outcome::Done] {
        rows += 1;
    }
    // Acknowledged one by one until even that finds no room.
    let acked = (1..=rows)
        .take_while(|n| store.commit(vec![Batch::new().ack(QUEUE, *n)]).expect("commit") == [Outcome::Done])
        .count() as u64;
    assert!(acked < rows);
    while store.compact(u64::MAX).expect("compact").more {}
    done(&mut store, Batch::new().ack(QUEUE, rows));
    while store.compact(u64::MAX).expect("compact").more {}
    done(&mut store, row(rows + 1, 100));
    assert_eq!(seqs(&store), [rows + 1]);
    assert_eq!(logs(&disk).len(), 2);
}

#[test]
fn two_segments_are_left_when_all_is_acknowledged() {
    let disk = filled(500);
    let mut store = open(&disk);
    done(&mut store, Batch::new().put(LONG, b"stays", "here"));
    let files = logs(&disk).len();
    assert!(files > 15);
    for n in 501..=600 {
        done(&mut store, row(n, 2000));
        done(&mut store, Batch::new().ack(QUEUE, n));
        store.compact(10_000).expect("compact");
    }
    while store.compact(10_000).expect("compact").more {}
    assert!(logs(&disk).len() <= 2, "{:?}", logs(&disk));
    assert_eq!(store.stats().disk_bytes, 2 * SEGMENT_BYTES);
    drop(store);
    let store = open(&disk);
    assert_eq!(store.get(LONG, b"stays").expect("get").as_deref(), Some(&b"here"[..]));
    assert_eq!(store.usage(QUEUE).expect("usage").map(|usage| usage.last_seq), Some(600));
}

#[test]
fn mostly_dead_segments_are_emptied() {
    let disk = MemDisk::new();
    let mut store = open(&disk);
    for n in 0..200_u32 {
        let key = format!("{}", n / 10).into_bytes();
        done(&mut store, Batch::new().put(LONG, key, vec![0; 3000]));
    }
    let before = store.stats();
    let mut moved = 0;
    loop {
        let step = store.compact(4000).expect("compact");
        assert!(step.moved_bytes <= 4000 + 3100, "{step:?}");
        moved += step.moved_bytes;
        if !step.more {
            break;
        }
    }
    let after = store.stats();
    assert!(moved > 0 && after.segments <= 4 && after.segments < before.segments, "{before:?} {after:?}");
    assert_eq!(store.scan(LONG, b"", None, 99).expect("scan").len(), 20);
}

#[test]
fn a_failing_index_stops_the_store_and_is_rebuilt() {
    let (disk, index) = (MemDisk::new(), MemIndex::new());
    let open = || LogStore::open_in(Arc::new(disk.clone()), Box::new(index.clone()), options());
    let mut store = open().expect("open");
    done(&mut store, Batch::new().put(LONG, b"k", "v"));
    index.fail();
    let error = store.commit(vec![Batch::new().put(LONG, b"other", "v")]).expect_err("fails");
    assert!(matches!(error, CommitError::Index(_)), "{error}");
    assert!(matches!(store.commit(Vec::new()), Err(CommitError::Stopped)));
    drop(store);
    let store = open().expect("rebuilt");
    assert!(store.opening().rebuilt.is_some());
    assert_eq!(store.get(LONG, b"k").expect("get").as_deref(), Some(&b"v"[..]));
}

#[test]
fn an_index_of_another_state_of_the_log_is_rebuilt() {
    let (disk, index) = (MemDisk::new(), MemIndex::new());
    let open = |disk: &MemDisk, index: &MemIndex| {
        LogStore::open_in(Arc::new(disk.clone()), Box::new(index.clone()), options()).expect("open")
    };
    let mut store = open(&disk, &index);
    done(&mut store, row(1, 100));
    Box::new(store).close().expect("close");
    let (old_disk, old_index) = (disk.fork(), index.fork());
    let mut store = open(&disk, &index);
    assert_eq!(store.opening().rebuilt, None);
    done(&mut store, row(2, 100));
    Box::new(store).close().expect("close");
    // An old index with the newer log, and a newer index with the old log.
    let store = open(&disk, &old_index);
    assert!(matches!(store.opening().rebuilt, Some(Rebuilt::Stale { .. })), "{:?}", store.opening());
    assert_eq!(seqs(&store), [1, 2]);
    drop(store);
    let store = open(&old_disk, &index);
    assert!(matches!(store.opening().rebuilt, Some(Rebuilt::Stale { .. })), "{:?}", store.opening());
    assert_eq!(seqs(&store), [1]);
}

#[test]
fn a_changed_byte_in_a_value_is_noticed_when_reading() {
    let (disk, index) = (MemDisk::new(), MemIndex::new());
    let open =
        || LogStore::open_in(Arc::new(disk.clone()), Box::new(index.clone()), options()).expect("open");
    let mut store = open();
    for n in 1..=60 {
        done(&mut store, row(n, 2000));
    }
    Box::new(store).close().expect("close");
    spoil(&disk, "0000000001.log", 700);
    // The index is trusted, so only the end of the log is read at opening.
    let mut store = open();
    assert_eq!(store.opening().rebuilt, None);
    let error = store.read(QUEUE, 0, 1, 9999).expect_err("damaged").to_string();
    assert!(error.starts_with("0000000001.log is damaged at byte"), "{error}");
    assert_eq!(store.read(QUEUE, 1, 1, 9999).expect("read").len(), 1);
    let findings = store.verify(&mut |_| {}).expect("verify").findings;
    assert!(findings.iter().any(|f| f.place == "0000000001.log" && f.offset == Some(0)), "{findings:?}");
    // Compaction must not take what it cannot read for dead.
    done(&mut store, Batch::new().ack(QUEUE, 59));
    while store.compact(u64::MAX).expect("compact").more {}
    assert_eq!(seqs(&store), [60]);
}

#[test]
fn a_position_tells_a_restored_copy() {
    let disk = filled(3);
    let copy = disk.fork();
    copy.crash(Crash::KeepAll);
    let mut store = open(&disk);
    done(&mut store, row(4, 10));
    let mark = store.log_end();
    assert_eq!(penpal_store::LogPosition::from_bytes(mark.to_bytes()), mark);
    drop(store);
    assert!(!open(&disk).log_end().is_behind(&mark));
    assert!(open(&copy).log_end().is_behind(&mark));
    let other = try_open(&MemDisk::new(), Options { log_id: Some(9), ..options() }).expect("open");
    assert!(other.log_end().is_behind(&mark));
}

#[test]
fn a_backup_taken_while_running_is_the_state_of_that_moment() {
    let disk = filled(60);
    let mut store = open(&disk);
    let mut model = MemStore::new();
    for n in 1..=60 {
        done(&mut model, row(n, 2000));
    }
    let backup = store.backup().expect("backup");
    let position = store.log_end();
    // Meanwhile everything goes away.
    done(&mut store, Batch::new().drop_queue(QUEUE));
    while store.compact(u64::MAX).expect("compact").more {}
    let dir = tempfile::tempdir().expect("folder");
    let mut last = 0;
    let report = backup.write_to(&dir.path().join("a/b"), &mut |p| last = p.done).expect("write");
    assert_eq!((report.position, report.bytes), (position, last));
    let restored = LogStore::open(&dir.path().join("a/b"), options()).expect("open");
    assert_same(&restored, &model, "restored");
    assert_eq!(restored.log_end(), position);
    assert_eq!(restored.opening().rebuilt, Some(Rebuilt::Absent));
    assert!(store.backup().expect("backup").write_to(&dir.path().join("a/b"), &mut |_| {}).is_err());
    // The model is backed up into the same kind of folder.
    done(&mut model, Batch::new().ack(QUEUE, 100).put(LONG, b"k", "v"));
    model.backup().expect("backup").write_to(&dir.path().join("c"), &mut |_| {}).expect("write");
    assert_same(&LogStore::open(&dir.path().join("c"), options()).expect("open"), &model, "model");
}
