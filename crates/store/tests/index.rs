//! The sled index on real files: when it is trusted, and what happens when it must not be.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use penpal_store::conformance::{Histories, TABLES, assert_same};
use penpal_store::disk::RealDisk;
use penpal_store::{
    Batch, LogStore, MemStore, OpenError, Options, Outcome, Progress, Rebuilt, SledIndex, Store, Task,
};

fn options() -> Options {
    Options { segment_bytes: 64 * 1024, index_cache_bytes: 1024 * 1024, ..Options::default() }
}

fn open(dir: &Path) -> LogStore {
    LogStore::open(dir, options()).expect("open")
}

fn open_after_boot(dir: &Path, boot: Option<&str>) -> LogStore {
    let index = SledIndex::new(dir, 1024 * 1024).with_boot_id_for_tests(boot);
    let disk = RealDisk::new(dir).expect("folder");
    LogStore::open_in(Arc::new(disk), Box::new(index), options()).expect("open")
}

fn fill(store: &mut LogStore, model: &mut MemStore, seed: u64) {
    let mut histories = Histories::new(seed);
    for _ in 0..40 {
        let batches = histories.batches(model);
        let outcomes = store.commit(batches.clone()).expect("commit");
        assert_eq!(outcomes, model.commit(batches).expect("model"), "seed {seed}");
    }
    while store.compact(u64::MAX).expect("compact").more {}
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("create");
    for entry in fs::read_dir(from).expect("list") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copy");
        }
    }
}

/// A store in a folder, closed, and what it must hold.
fn closed() -> (tempfile::TempDir, MemStore) {
    let dir = tempfile::tempdir().expect("folder");
    let (mut store, mut model) = (open(dir.path()), MemStore::new());
    assert_eq!(store.opening().rebuilt, None, "a new store has nothing to rebuild");
    fill(&mut store, &mut model, 5);
    Box::new(store).close().expect("close");
    (dir, model)
}

#[test]
fn a_clean_close_is_trusted_after_any_boot() {
    let (dir, model) = closed();
    let store = open_after_boot(dir.path(), Some("another"));
    assert_eq!(store.opening().rebuilt, None);
    assert_same(&store, &model, "trusted");
    drop(store);
    let store = open_after_boot(dir.path(), Some("another"));
    assert_eq!(store.opening().rebuilt, None, "the process died, the machine did not");
    assert_same(&store, &model, "same boot");
    drop(store);
    let store = open_after_boot(dir.path(), Some("a third"));
    assert_eq!(store.opening().rebuilt, Some(Rebuilt::NotClosed));
    assert_same(&store, &model, "other boot");
}

#[test]
fn without_a_boot_id_only_a_clean_close_is_trusted() {
    let (dir, model) = closed();
    let store = open_after_boot(dir.path(), None);
    assert_eq!(store.opening().rebuilt, None);
    drop(store);
    let store = open_after_boot(dir.path(), None);
    assert_eq!(store.opening().rebuilt, Some(Rebuilt::NotClosed));
    assert_same(&store, &model, "rebuilt");
}

#[test]
fn a_missing_index_is_rebuilt_with_progress() {
    let (dir, model) = closed();
    fs::remove_dir_all(dir.path().join("index")).expect("remove");
    let seen: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let sink = seen.clone();
    let progress = Box::new(move |progress| sink.lock().expect("lock").push(progress));
    let store = LogStore::open(dir.path(), Options { progress: Some(progress), ..options() }).expect("open");
    assert_eq!(store.opening().rebuilt, Some(Rebuilt::Absent));
    assert_same(&store, &model, "rebuilt");
    let seen = seen.lock().expect("lock");
    let (first, last) = (seen[0], seen[seen.len() - 1]);
    assert_eq!((first.task, first.done, last.done), (Task::Rebuild, 0, last.total));
}

#[test]
fn a_stale_index_is_rebuilt() {
    let (dir, mut model) = closed();
    let old = tempfile::tempdir().expect("folder");
    copy_all(dir.path(), old.path());
    let old_model = model.clone();
    let mut store = open(dir.path());
    fill(&mut store, &mut model, 6);
    Box::new(store).close().expect("close");
    let swap = |from: &Path, to: &Path| {
        fs::remove_dir_all(to.join("index")).expect("remove");
        copy_all(&from.join("index"), &to.join("index"));
        fs::copy(from.join("index.clean"), to.join("index.clean")).expect("copy");
    };
    let newer = tempfile::tempdir().expect("folder");
    copy_all(dir.path(), newer.path());
    swap(old.path(), dir.path());
    swap(newer.path(), old.path());
    for (path, model) in [(dir.path(), &model), (old.path(), &old_model)] {
        let store = open(path);
        assert!(matches!(store.opening().rebuilt, Some(Rebuilt::Stale { .. })), "{:?}", store.opening());
        assert_same(&store, model, "rebuilt");
        assert!(path.join("index.set-aside").exists());
    }
}

/// Only the mark was put back: what it says of the log is not so.
#[test]
fn a_clean_end_of_another_time_is_not_trusted() {
    let (dir, mut model) = closed();
    let mark = fs::read(dir.path().join("index.clean")).expect("read");
    let mut store = open(dir.path());
    fill(&mut store, &mut model, 6);
    Box::new(store).close().expect("close");
    fs::write(dir.path().join("index.clean"), mark).expect("write");
    let store = open(dir.path());
    assert!(matches!(store.opening().rebuilt, Some(Rebuilt::Stale { .. })), "{:?}", store.opening());
    assert_same(&store, &model, "rebuilt");
}

#[test]
fn noise_in_place_of_the_index_is_rebuilt() {
    let mut histories = Histories::new(9);
    for round in 0..6 {
        let (dir, model) = closed();
        let db = dir.path().join("index/short/db");
        match round {
            0 => fs::write(&db, vec![0xa5; 100_000]).expect("write"),
            1 => fs::write(dir.path().join("index/long/conf"), "noise").expect("write"),
            2 => {
                fs::remove_dir_all(dir.path().join("index")).expect("remove");
                fs::write(dir.path().join("index"), "a file").expect("write");
            }
            _ => {
                let mut bytes = fs::read(&db).expect("read");
                for _ in 0..50 {
                    let at = usize::try_from(histories.below(bytes.len() as u64)).expect("small");
                    bytes[at] ^= 0x5a;
                }
                fs::write(&db, bytes).expect("write");
            }
        }
        let store = open(dir.path());
        assert_same(&store, &model, &format!("round {round}: {:?}", store.opening().rebuilt));
        assert_eq!(store.verify(&mut |_| {}).expect("verify").findings, [], "round {round}");
    }
}

#[test]
fn an_index_that_cannot_be_set_aside_is_an_error_that_names_it() {
    let (dir, _) = closed();
    // A log that is fine, and an index whose place cannot be freed.
    fs::remove_dir_all(dir.path().join("index")).expect("remove");
    fs::create_dir(dir.path().join("index")).expect("create");
    fs::write(dir.path().join("index/short"), "a file where a folder belongs").expect("write");
    let store = LogStore::open(dir.path(), options()).expect("set aside");
    assert!(matches!(store.opening().rebuilt, Some(Rebuilt::Failed { .. })), "{:?}", store.opening());
    drop(store);
    let missing = dir.path().join("file");
    fs::write(&missing, "").expect("write");
    let error = LogStore::open(&missing.join("store"), options()).expect_err("not a folder");
    assert!(matches!(&error, OpenError::Io { file, .. } if file.ends_with("file/store")), "{error}");
}

#[test]
fn many_rows_go_through_the_index_and_back() {
    let dir = tempfile::tempdir().expect("folder");
    let options = || Options { segment_bytes: 1024 * 1024, ..options() };
    let mut store = LogStore::open(dir.path(), options()).expect("open");
    let mut model = MemStore::new();
    for n in 0..60_u64 {
        let batches: Vec<Batch> = (0..200)
            .map(|m| {
                let key = (n * 200 + m).to_be_bytes();
                let queue = penpal_store::QueueId([u8::try_from(m % 7).unwrap_or(0); 16]);
                Batch::new().put(TABLES[1], key, vec![1; 20]).append(queue, 1 + n * 200 + m, 1, "row")
            })
            .collect();
        let outcomes = store.commit(batches.clone()).expect("commit");
        assert!(outcomes.iter().all(Outcome::is_done));
        let _outcomes = model.commit(batches).expect("model");
    }
    assert!(store.stats().pending_rows <= 24_000, "{:?}", store.stats());
    assert_same(&store, &model, "running");
    drop(store);
    let mut store = LogStore::open(dir.path(), options()).expect("open");
    assert_eq!(store.opening().rebuilt, None);
    assert_same(&store, &model, "after a death of the process");
    for queue in 0..7 {
        let batch = Batch::new().ack(penpal_store::QueueId([queue; 16]), 11_000);
        assert_eq!(
            store.commit(vec![batch.clone()]).expect("commit"),
            model.commit(vec![batch]).expect("model")
        );
    }
    assert_same(&store, &model, "acknowledged");
    assert_eq!(store.verify(&mut |_| {}).expect("verify").findings, []);
}
