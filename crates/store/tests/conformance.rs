//! Every backend against the one suite.

use std::path::Path;
use std::sync::Arc;

use penpal_store::conformance::{Backend, run};
use penpal_store::disk::MemDisk;
use penpal_store::{LogStore, MemIndex, MemStore, Options, Store};

const SMALL_SEGMENTS: u64 = 64 * 1024;

fn options() -> Options {
    Options { segment_bytes: SMALL_SEGMENTS, log_id: Some(7), ..Options::default() }
}

struct Memory;

impl Backend for Memory {
    fn clear(&mut self) {}

    fn open(&mut self) -> Box<dyn Store> {
        Box::new(MemStore::new())
    }

    fn is_durable(&self) -> bool {
        false
    }
}

/// The log on a simulated disk, the index in memory.
#[derive(Default)]
struct Simulated {
    disk: MemDisk,
    index: MemIndex,
}

impl Backend for Simulated {
    fn clear(&mut self) {
        *self = Self::default();
    }

    fn open(&mut self) -> Box<dyn Store> {
        let disk = Arc::new(self.disk.clone());
        Box::new(LogStore::open_in(disk, Box::new(self.index.clone()), options()).expect("test"))
    }

    fn is_durable(&self) -> bool {
        true
    }
}

/// The log on real files with sled, as it is shipped.
struct Real {
    dir: tempfile::TempDir,
}

impl Real {
    fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Backend for Real {
    fn clear(&mut self) {
        self.dir = tempfile::tempdir().expect("test");
    }

    fn open(&mut self) -> Box<dyn Store> {
        Box::new(LogStore::open(self.path(), options()).expect("test"))
    }

    fn is_durable(&self) -> bool {
        true
    }
}

/// More with `PENPAL_STORE_HISTORIES`.
fn histories(default: u64) -> u64 {
    std::env::var("PENPAL_STORE_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(default)
}

#[test]
fn reference_model() {
    run(&mut Memory, 1, histories(20));
}

#[test]
fn log_on_a_simulated_disk() {
    run(&mut Simulated::default(), 1, histories(60));
}

#[test]
fn log_and_sled_on_files() {
    run(&mut Real { dir: tempfile::tempdir().expect("test") }, 1, histories(3));
}
