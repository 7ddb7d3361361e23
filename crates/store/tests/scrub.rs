//! Writing everything anew: nothing of what was removed is left in any file, and everything else is still there.

use std::fs;
use std::path::Path;

use penpal_store::conformance::{Histories, assert_same};
use penpal_store::{Batch, Life, LogStore, MemStore, Options, Outcome, QueueId, Rebuilt, Store, Table};

const KEPT: &[u8] = b"kept-canary";
const GONE: &[u8] = b"gone-canary";

fn options() -> Options {
    Options { segment_bytes: 64 * 1024, index_cache_bytes: 1024 * 1024, ..Options::default() }
}

/// Whether the bytes are in any file of the folder.
fn found(dir: &Path, what: &[u8]) -> bool {
    fs::read_dir(dir).expect("list").any(|entry| {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            return found(&path, what);
        }
        let bytes = fs::read(path).unwrap_or_default();
        bytes.windows(what.len()).any(|window| window == what)
    })
}

fn commit(store: &mut LogStore, model: &mut MemStore, batch: Batch) {
    assert_eq!(store.commit(vec![batch.clone()]).expect("commit"), [Outcome::Done]);
    assert_eq!(model.commit(vec![batch]).expect("model"), [Outcome::Done]);
}

fn scrub(store: &mut LogStore) {
    assert!(store.scrub().expect("begun"));
    while store.compact(64 * 1024).expect("compact").more {}
    assert!(!store.is_scrubbing());
}

#[test]
fn what_was_removed_is_in_no_file_any_more() {
    let dir = tempfile::tempdir().expect("folder");
    let mut store = LogStore::open(dir.path(), options()).expect("open");
    let mut model = MemStore::new();
    let (table, short) = (Table::new(200, Life::Long), Table::new(201, Life::Short));
    let (queue, other) = (QueueId(*b"gone-canary-----"), QueueId([7; 16]));
    commit(&mut store, &mut model, Batch::new().put(table, GONE, GONE).put(table, KEPT, KEPT));
    commit(&mut store, &mut model, Batch::new().put(short, GONE, GONE).append(queue, 1, 5, GONE));
    let mut histories = Histories::new(9);
    for round in 0..40 {
        commit(&mut store, &mut model, Batch::new().append(queue, round + 2, 5, vec![7; 3_000]));
        commit(&mut store, &mut model, Batch::new().append(other, round + 1, 5, KEPT));
        let batches = histories.batches(&model);
        assert_eq!(store.commit(batches.clone()).expect("commit"), model.commit(batches).expect("model"));
    }
    commit(&mut store, &mut model, Batch::new().delete(table, GONE).delete(short, GONE).drop_queue(queue));
    assert!(found(dir.path(), GONE), "a removed row stays in the log for a while");
    assert!(store.scrub().expect("begun") && store.is_scrubbing());
    scrub(&mut store);
    assert_same(&store, &model, "scrubbed");
    Box::new(store).close().expect("close");
    let store = LogStore::open(dir.path(), Options { rebuild: true, ..options() }).expect("open");
    assert_eq!(store.opening().rebuilt, Some(Rebuilt::Asked));
    assert_same(&store, &model, "index rebuilt");
    assert!(!found(dir.path(), GONE));
    assert!(found(dir.path(), KEPT));
    Box::new(store).close().expect("close");
    let mut store = LogStore::open(dir.path(), options()).expect("open");
    assert_eq!(store.opening().rebuilt, None);
    assert_same(&store, &model, "opened again");
    scrub(&mut store);
    assert_same(&store, &model, "scrubbed again");
}

#[test]
fn a_new_store_has_nothing_to_scrub() {
    let dir = tempfile::tempdir().expect("folder");
    let mut store = LogStore::open(dir.path(), options()).expect("open");
    scrub(&mut store);
    assert_same(&store, &MemStore::new(), "empty");
}
