//! Disks without any room: what frees space goes on, what grows is refused, nothing is lost, and it ends by itself.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use penpal_store::conformance::{Histories, TABLES, assert_same};
use penpal_store::disk::{Crash, MemDisk};
use penpal_store::{
    Batch, LogStore, MemIndex, MemStore, OpenError, Options, Outcome, QueueId, Rebuilt, SpoolStore, Store,
};

const SEGMENT_BYTES: u64 = 64 * 1024;
const QUEUE: QueueId = QueueId([7; 16]);

fn try_open(disk: &MemDisk, index: &MemIndex) -> Result<LogStore, OpenError> {
    let options = Options { segment_bytes: SEGMENT_BYTES, log_id: Some(7), ..Options::default() };
    LogStore::open_in(Arc::new(disk.clone()), Box::new(index.clone()), options)
}

fn open(disk: &MemDisk, index: &MemIndex) -> LogStore {
    try_open(disk, index).expect("open")
}

fn row(n: u64, bytes: usize) -> Batch {
    Batch::new().append(QUEUE, n, 0, vec![u8::try_from(n % 251).unwrap_or(0); bytes])
}

/// Commits to the store, and to the model what the store took.
fn both(store: &mut dyn Store, model: &mut MemStore, batch: Batch) -> Outcome {
    let outcome = store.commit(vec![batch.clone()]).expect("commit").remove(0);
    if outcome != Outcome::Full {
        assert_eq!(model.commit(vec![batch]).expect("model"), std::slice::from_ref(&outcome));
    }
    outcome
}

/// Random histories in which the room on the disk comes and goes, for the log and for the index, and the process dies.
#[test]
fn what_was_taken_is_there_however_often_the_disk_is_full() {
    let (mut refused, mut died_full) = (0, 0);
    for seed in 0..40 {
        let (disk, index) = (MemDisk::new(), MemIndex::new().remembering());
        let mut histories = Histories::new(seed);
        let mut model = MemStore::new();
        let mut store = open(&disk, &index);
        for step in 0..250 {
            let label = format!("seed {seed} step {step}");
            match histories.below(12) {
                0 => {
                    index.set_full(true);
                    disk.set_capacity(Some(disk.used_bytes()));
                }
                1 => {
                    index.set_full(false);
                    disk.set_capacity(None);
                }
                2 => index.set_full(histories.below(2) == 0),
                3 => index.set_room(usize::try_from(histories.below(3)).unwrap_or(0)),
                _ => {}
            }
            for batch in histories.batches(&model) {
                refused += u32::from(both(&mut store, &mut model, batch) == Outcome::Full);
            }
            if histories.below(3) == 0 {
                store.compact(histories.below(90_000)).expect("compact");
            }
            if histories.below(40) == 0 {
                drop(store);
                disk.crash(Crash::Process);
                index.roll_back(|states| usize::try_from(histories.below(states as u64)).unwrap_or(0));
                if let Err(error) = try_open(&disk, &index) {
                    assert!(matches!(error, OpenError::Full { .. }), "{label}: {error}");
                    died_full += 1;
                    index.set_full(false);
                    disk.set_capacity(None);
                }
                store = open(&disk, &index);
            }
            if step % 25 == 0 {
                assert_same(&store, &model, &label);
            }
        }
        index.set_full(false);
        disk.set_capacity(None);
        while store.compact(u64::MAX).expect("compact").more {}
        assert!(!store.stats().full, "seed {seed}");
        assert_same(&store, &model, &format!("seed {seed}, with room"));
        assert_eq!(store.verify(&mut |_| {}).expect("verify").findings, [], "seed {seed}");
        Box::new(store).close().expect("close");
        let store = open(&disk, &index);
        assert_eq!(store.opening().rebuilt, None, "seed {seed}: a clean end with room");
        assert_same(&store, &model, &format!("seed {seed}, opened again"));
    }
    assert!(refused > 100 && died_full > 5, "{refused} refused, {died_full} ends on a full disk");
}

/// A store on a disk of four files that takes no further row, and how many it has.
fn full(disk: &MemDisk, index: &MemIndex) -> (LogStore, MemStore, u64) {
    disk.set_capacity(Some(4 * SEGMENT_BYTES + 1000));
    let (mut store, mut model) = (open(disk, index), MemStore::new());
    let mut rows = 0;
    while both(&mut store, &mut model, row(rows + 1, 2000)) == Outcome::Done {
        rows += 1;
    }
    (store, model, rows)
}

/// Growth is refused as soon as the last file is being written, though it has room: that is for what frees space.
#[test]
fn the_last_file_is_kept_for_what_frees_space() {
    let (disk, index) = (MemDisk::new(), MemIndex::new());
    let (mut store, mut model, rows) = full(&disk, &index);
    assert_eq!(store.stats().spare_segments, 1);
    for n in 1..rows {
        if store.stats().spare_segments == 0 {
            break;
        }
        assert_eq!(both(&mut store, &mut model, Batch::new().remove(QUEUE, [n])), Outcome::Done);
    }
    assert_eq!(store.stats().spare_segments, 0);
    assert_eq!(both(&mut store, &mut model, row(rows + 1, 10)), Outcome::Full);
    disk.set_capacity(None);
    assert_eq!(both(&mut store, &mut model, row(rows + 1, 10)), Outcome::Done);
    assert_same(&store, &model, "with room");
}

/// So is it for what must happen all the same, and says so.
#[test]
fn what_may_use_the_last_file_grows_into_it() {
    let (disk, index) = (MemDisk::new(), MemIndex::new());
    let (mut store, mut model, _) = full(&disk, &index);
    let shorter = || Batch::new().put(TABLES[0], "account", vec![7; 2000]).remove(QUEUE, [1]);
    assert_eq!(both(&mut store, &mut model, shorter()), Outcome::Full);
    assert_eq!(both(&mut store, &mut model, shorter().from_reserve()), Outcome::Done);
    drop(store);
    disk.crash(Crash::Process);
    assert_same(&open(&disk, &index), &model, "opened again");
}

/// What is removed leaves the disk although the index cannot say that it knows; a restart then makes the index anew.
#[test]
fn removing_frees_segments_while_the_index_has_no_room() {
    for dies in [false, true] {
        let (disk, index) = (MemDisk::new(), MemIndex::new());
        let (mut store, mut model) = (open(&disk, &index), MemStore::new());
        for n in 1..=300 {
            assert_eq!(both(&mut store, &mut model, row(n, 2000)), Outcome::Done);
        }
        while store.compact(u64::MAX).expect("compact").more {}
        let before = store.stats().segments;
        assert!(before > 8, "{before}");
        index.set_full(true);
        disk.set_capacity(Some(disk.used_bytes()));
        for n in 1..=300 {
            assert_eq!(both(&mut store, &mut model, Batch::new().remove(QUEUE, [n])), Outcome::Done);
            store.compact(u64::MAX).expect("compact");
        }
        let stats = store.stats();
        assert!(stats.segments <= 3 && stats.full, "{stats:?}");
        assert_eq!(both(&mut store, &mut model, row(301, 10)), Outcome::Full, "nothing grows meanwhile");
        if dies {
            drop(store);
            disk.crash(Crash::Process);
            assert!(matches!(try_open(&disk, &index), Err(OpenError::Full { .. })));
            index.set_full(false);
            store = open(&disk, &index);
        }
        index.set_full(false);
        store.compact(1).expect("compact");
        assert_eq!(both(&mut store, &mut model, row(301, 10)), Outcome::Done);
        assert_same(&store, &model, "with room");
    }
}

/// The disk fills up between the first fold's two halves, tombstones go with their segments, and the process dies: the half that
/// was folded names rows that no record of the log takes away any more.
#[test]
fn an_index_folded_by_half_on_a_full_disk_is_made_anew() {
    let (disk, index) = (MemDisk::new(), MemIndex::new());
    let (mut store, mut model) = (open(&disk, &index), MemStore::new());
    for n in 1..=300 {
        assert_eq!(both(&mut store, &mut model, row(n, 2000)), Outcome::Done);
    }
    // The first map's fold has room, the second's has none.
    index.set_room(1);
    disk.set_capacity(Some(disk.used_bytes()));
    for n in 1..=300 {
        assert_eq!(both(&mut store, &mut model, Batch::new().remove(QUEUE, [n])), Outcome::Done);
        store.compact(u64::MAX).expect("compact");
    }
    let stats = store.stats();
    assert!(stats.segments <= 3 && stats.full, "{stats:?}");
    drop(store);
    disk.crash(Crash::Process);
    index.set_full(false);
    disk.set_capacity(None);
    let store = open(&disk, &index);
    assert_same(&store, &model, "opened again");
    assert!(matches!(store.opening().rebuilt, Some(Rebuilt::Stale { .. })), "{:?}", store.opening());
    assert_eq!(store.verify(&mut |_| {}).expect("verify").findings, []);
}

/// Rows that have no room on the disk are held in memory, and not more than is said.
#[test]
fn memory_is_bounded_while_the_index_has_no_room() {
    let (disk, index) = (MemDisk::new(), MemIndex::new());
    let mut store = open(&disk, &index);
    let last = 263_000;
    for first in (1..=last).step_by(250) {
        let batch = (first..first + 250).fold(Batch::new(), |batch, n| batch.append(QUEUE, n, 0, "x"));
        assert_eq!(store.commit(vec![batch]).expect("commit"), [Outcome::Done]);
    }
    store.compact(1).expect("compact");
    index.set_full(true);
    let ack =
        |store: &mut LogStore, up_to| store.commit(vec![Batch::new().ack(QUEUE, up_to)]).expect("commit");
    assert_eq!(ack(&mut store, 40_000), [Outcome::Done]);
    store.compact(1).expect("compact");
    assert!(store.stats().full);
    assert_eq!(ack(&mut store, 262_500), [Outcome::Done]);
    assert_eq!(ack(&mut store, 262_600), [Outcome::Full], "that many are held");
    assert_eq!(store.read(QUEUE, 0, 1, 10).expect("read")[0].seq, 262_501, "reading goes on");
    index.set_full(false);
    store.compact(1).expect("compact");
    assert_eq!(ack(&mut store, 262_600), [Outcome::Done]);
    assert_eq!(store.read(QUEUE, 0, 1, 10).expect("read")[0].seq, 262_601);
}

const INSIDE: &str = "PENPAL_STORE_TEST_SMALL_DISK";

/// Bytes of the small file system.
const SMALL: &str = "26m";

fn small_options() -> Options {
    Options { segment_bytes: 1024 * 1024, index_cache_bytes: 1024 * 1024, ..Options::default() }
}

/// Fills a file system to its last byte.
fn fill(path: &Path) {
    let mut file = File::options().create(true).append(true).open(path).expect("a file");
    for bytes in [64 * 1024, 1] {
        let piece = vec![0xa5; bytes];
        while file.write_all(&piece).is_ok() {}
    }
}

/// On a real file system of its own, as root in a mount namespace: filled by somebody else, to the last byte, again and again.
#[test]
fn a_real_disk_filled_by_others() {
    if let Some(dir) = std::env::var_os(INSIDE) {
        return filled_by_others(&PathBuf::from(dir));
    }
    let dir = tempfile::tempdir().expect("folder");
    let mount = format!("mount -t tmpfs -o size={SMALL} tmpfs \"$1\" || exit 77; shift; exec \"$@\"");
    let test = std::env::current_exe().expect("this test");
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--", "sh", "-c", &mount, "sh"])
        .arg(dir.path())
        .arg(test)
        .args(["--exact", "a_real_disk_filled_by_others", "--nocapture"])
        .env(INSIDE, dir.path())
        .status();
    match status {
        Ok(status) if status.success() => {}
        // 77 from us, 1 from `unshare`; a test that fails ends with 101.
        Ok(status) if matches!(status.code(), Some(1 | 77)) => {
            println!("a full disk: SKIPPED, this needs a mount namespace");
        }
        Ok(status) => panic!("{status}"),
        Err(error) => println!("a full disk: SKIPPED, this needs unshare ({error})"),
    }
}

fn filled_by_others(mount: &Path) {
    let (dir, ballast) = (mount.join("store"), mount.join("ballast"));
    let (mut store, mut model) = (LogStore::open(&dir, small_options()).expect("open"), MemStore::new());
    let mut rows = 0;
    while rows < 8_000 && both(&mut store, &mut model, row(rows + 1, 2000)) == Outcome::Done {
        rows += 1;
        let small = Batch::new().put(TABLES[1], rows.to_be_bytes(), "a small row beside it");
        let _taken = both(&mut store, &mut model, small);
    }
    assert!(rows > 2_000, "{rows}");
    fill(&ballast);
    // The log has some room of its own.
    while both(&mut store, &mut model, row(rows + 1, 2000)) == Outcome::Done {
        rows += 1;
    }
    assert_same(&store, &model, "full");
    // Everything is taken away, little by little, while somebody else takes every byte that this frees.
    for first in (1..=rows).step_by(5) {
        let gone = first..rows.min(first + 4) + 1;
        let batch =
            gone.clone().fold(Batch::new().remove(QUEUE, gone.clone().collect::<Vec<_>>()), |batch, n| {
                batch.delete(TABLES[1], n.to_be_bytes())
            });
        assert_eq!(both(&mut store, &mut model, batch), Outcome::Done, "row {first} of {rows}");
        if first % 100 == 1 {
            store.compact(1024 * 1024).expect("compact");
            fill(&ballast);
        }
    }
    while store.compact(1024 * 1024).expect("compact").more {}
    fill(&ballast);
    assert!(store.stats().segments <= 4, "{:?}", store.stats());
    assert_same(&store, &model, "emptied");
    // The process dies on the full disk, and cannot begin again before there is room.
    drop(store);
    assert!(matches!(LogStore::open(&dir, small_options()), Err(OpenError::Full { .. })));
    std::fs::remove_file(&ballast).expect("room");
    let mut store = LogStore::open(&dir, small_options()).expect("open");
    assert_same(&store, &model, "opened again");
    for n in 1..=200 {
        assert_eq!(both(&mut store, &mut model, row(rows + n, 2000)), Outcome::Done);
    }
    // It runs through a full disk, and closes cleanly when there is room again.
    fill(&ballast);
    let ack = Batch::new().ack(QUEUE, rows + 100);
    assert_eq!(both(&mut store, &mut model, ack), Outcome::Done);
    store.compact(1).expect("compact");
    std::fs::remove_file(&ballast).expect("room");
    while store.compact(1024 * 1024).expect("compact").more {}
    assert!(!store.stats().full);
    assert_eq!(both(&mut store, &mut model, row(rows + 1000, 2000)), Outcome::Done);
    Box::new(store).close().expect("close");
    let store = LogStore::open(&dir, small_options()).expect("open");
    assert_eq!(store.opening().rebuilt, None);
    assert_same(&store, &model, "closed and opened");
    assert_eq!(store.verify(&mut |_| {}).expect("verify").findings, []);
}
