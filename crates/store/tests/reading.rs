//! How rows are read: those that lie together at once, each checked by itself. And copies for a backup.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use penpal_store::disk::{Disk, DiskFile, MemDisk};
use penpal_store::{Batch, LogStore, MemIndex, Options, Outcome, QueueId, SpoolStore, Store};

const QUEUE: QueueId = QueueId([7; 16]);
const OTHER: QueueId = QueueId([8; 16]);

/// A disk that counts how often is read.
#[derive(Clone, Debug, Default)]
struct Counted {
    disk: MemDisk,
    reads: Arc<AtomicU64>,
}

#[derive(Debug)]
struct CountedFile {
    file: Arc<dyn DiskFile>,
    reads: Arc<AtomicU64>,
}

impl Disk for Counted {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(CountedFile { file: self.disk.open(name)?, reads: self.reads.clone() }))
    }
    fn allocate(&self, name: &str, bytes: u64) -> io::Result<()> {
        self.disk.allocate(name, bytes)
    }
    fn has_room(&self, bytes: u64) -> io::Result<bool> {
        self.disk.has_room(bytes)
    }
    fn write_file(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.disk.write_file(name, content)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }
    fn lock(&self, name: &str) -> io::Result<Box<dyn Send>> {
        self.disk.lock(name)
    }
    fn in_background(&self) -> bool {
        self.disk.in_background()
    }
}

impl DiskFile for CountedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }
}

fn open(segment_bytes: u64) -> (Counted, LogStore) {
    let disk = Counted::default();
    let options = Options { segment_bytes, log_id: Some(7), ..Options::default() };
    let store = LogStore::open_in(Arc::new(disk.clone()), Box::new(MemIndex::new()), options);
    (disk, store.expect("open"))
}

fn done(store: &mut LogStore, batch: Batch) {
    assert_eq!(store.commit(vec![batch]).expect("commit"), [Outcome::Done]);
}

/// Rows with the given lengths in one batch; so many bytes of another queue's after each.
fn rows(store: &mut LogStore, lengths: &[usize], between: usize) {
    let numbered = lengths.iter().zip(1_u64..);
    let batch = numbered.fold(Batch::new(), |batch, (length, seq)| {
        let batch = batch.append(QUEUE, seq, 0, vec![u8::try_from(seq % 251).unwrap_or(0); *length]);
        if between == 0 { batch } else { batch.append(OTHER, seq, 0, vec![0xee; between]) }
    });
    done(store, batch);
}

/// How many reads it takes to get all rows, which are as they were written.
fn reads(disk: &Counted, store: &LogStore, lengths: &[usize]) -> u64 {
    let before = disk.reads.load(Ordering::Relaxed);
    let rows = store.read(QUEUE, 0, usize::MAX, usize::MAX).expect("read");
    for (row, (length, seq)) in rows.iter().zip(lengths.iter().zip(1_u64..)) {
        assert_eq!(row.seq, seq);
        assert_eq!(row.bytes, vec![u8::try_from(seq % 251).unwrap_or(0); *length]);
    }
    assert_eq!(rows.len(), lengths.len());
    disk.reads.load(Ordering::Relaxed) - before
}

#[test]
fn rows_that_lie_together_are_read_at_once() {
    let megabyte = 1024 * 1024;
    // The frame and the fixed fields of a row are 33 bytes: of one in between and of the next, 66 bytes lie in a gap.
    for (lengths, between, expected) in [
        (vec![100; 10], 0, 1),
        (vec![100; 10], 512 - 66, 1),
        (vec![100; 10], 512 - 66 + 1, 10),
        (vec![megabyte / 4; 3], 0, 1),
        (vec![megabyte / 4; 4], 0, 2),
        // To the byte: two rows and the gap between them.
        (vec![megabyte / 2, megabyte / 2 - 33], 0, 1),
        (vec![megabyte / 2, megabyte / 2 - 32], 0, 2),
        (vec![0; 5], 0, 1),
    ] {
        let (disk, mut store) = open(16 * 1024 * 1024);
        rows(&mut store, &lengths, between);
        assert_eq!(reads(&disk, &store, &lengths), expected, "{} rows, {between} between", lengths.len());
    }
}

/// Rows of one queue in two segments, each where the other one would go on.
#[test]
fn rows_of_two_segments_are_read_apart() {
    let (disk, mut store) = open(64 * 1024);
    let lengths = [2100, 2000];
    rows(&mut store, &lengths[..1], 0);
    let second = "0000000002.log";
    let is_used = || disk.disk.content(second).is_some_and(|bytes| bytes[0] != 0);
    for n in 1.. {
        done(&mut store, Batch::new().append(OTHER, n, 0, vec![0xee; 2000]));
        if is_used() {
            break;
        }
    }
    done(&mut store, Batch::new().append(QUEUE, 2, 0, vec![2; 2000]));
    assert_eq!(reads(&disk, &store, &lengths), 2);
}

#[test]
fn what_a_file_lacks_is_damage() {
    for kept in [0, 100, 3000] {
        let (disk, index) = (MemDisk::new(), MemIndex::new());
        let open = || {
            let options = Options { segment_bytes: 64 * 1024, ..Options::default() };
            LogStore::open_in(Arc::new(disk.clone()), Box::new(index.clone()), options).expect("open")
        };
        let mut store = open();
        for n in 1..=60 {
            done(&mut store, Batch::new().append(QUEUE, n, 0, vec![7; 4000]));
        }
        Box::new(store).close().expect("close");
        let name = "0000000001.log";
        let content = disk.content(name).expect("exists");
        disk.set_content(name, &content[..kept]);
        // The index is trusted, so only the end of the log is read at opening.
        let store = open();
        let error = store.read(QUEUE, 0, 1, usize::MAX).expect_err("cut").to_string();
        assert!(error.starts_with("0000000001.log is damaged at byte"), "{kept}: {error}");
        assert_eq!(store.read(QUEUE, 50, 1, usize::MAX).expect("read").len(), 1);
    }
}

/// A backup holds the moment at which it was taken, though it is written later.
#[test]
fn a_backup_ends_where_it_was_taken() {
    let (_, mut store) = open(64 * 1024);
    rows(&mut store, &[2000; 3], 0);
    let (backup, position) = (store.backup().expect("backup"), store.log_end());
    done(&mut store, Batch::new().append(QUEUE, 4, 0, "later"));
    let dir = tempfile::tempdir().expect("folder");
    let target = dir.path().join("copy");
    let mut told = Vec::new();
    let report = backup.write_to(&target, &mut |progress| told.push((progress.done, progress.total)));
    let report = report.expect("written");
    // One batch of three rows, in whole sectors.
    assert_eq!((report.position, report.bytes, told), (position, 6_144, vec![(6_144, 6_144)]));
    let copy = LogStore::open(&target, Options::default()).expect("open");
    assert_eq!(copy.log_end(), position);
    assert_eq!(copy.read(QUEUE, 0, 9, usize::MAX).expect("read").len(), 3);
    drop(copy);
    // Of several segments, each is copied whole.
    let (_, mut store) = open(64 * 1024);
    for n in 1..=60 {
        done(&mut store, Batch::new().append(QUEUE, n, 0, vec![7; 2000]));
    }
    let mut told = Vec::new();
    let backup = store.backup().expect("backup");
    let report = backup.write_to(&dir.path().join("more"), &mut |progress| told.push(progress.done));
    let bytes = report.expect("written").bytes;
    assert_eq!(told.last(), Some(&bytes));
    assert!(told.len() == 3 && told.is_sorted_by(|one, next| one < next) && bytes > 2 * 65_536, "{told:?}");
    let copy = LogStore::open(&dir.path().join("more"), Options::default()).expect("open");
    assert_eq!(copy.read(QUEUE, 0, 99, usize::MAX).expect("read").len(), 60);
}
