//! The index on disk: two sled databases, and the rule when to trust them.
//!
//! sled's own `flush` does not survive a power cut, and it may panic on what such a cut leaves. So it
//! is trusted only when it was closed cleanly — everything synced by us, then [`CLEAN_FILE`] written —
//! or when the machine has not stopped since it was opened, which the operating system's boot id in
//! [`BOOT_FILE`] tells. Anything else, also a panic at any time, is set aside and rebuilt.
//!
//! sled applies a batch atomically, but holds on to every page it replaces until the batch ends: 16 000
//! rows at once cost half a gigabyte. Long lists of changes are therefore applied in pieces, with the
//! whole list in a [`redo`] file beside the database until they are all there.
//!
//! A write that fails leaves sled unusable, so room is allocated behind the end of its file before anything is
//! written: on a full disk the answer is [`IndexError::Full`], and nothing was tried.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::redo;
use super::{Bases, Found, IndexBase, IndexChange, IndexHome, IndexRow, ROOM_BYTES, Rebuilt};
use crate::IndexError;

/// Holds both databases, each in a folder of its own.
const FOLDER: &str = "index";
/// Where the last index that was not trusted is kept, for whoever wants to know why.
const SET_ASIDE: &str = "index.set-aside";
/// `log id, last batch`: written by a clean close, removed at opening.
const CLEAN_FILE: &str = "index.clean";
/// `log id, boot id`: written at opening.
const BOOT_FILE: &str = "index.boot";

/// Most changes in one batch of sled's.
const PIECE_ROWS: usize = 256;

/// Log items above a quarter of this go to files that sled never syncs; our rows are far below it.
const SEGMENT_BYTES: usize = 512 * 1024;

/// The index of a store in a folder.
#[derive(Debug)]
pub struct SledIndex {
    dir: PathBuf,
    cache_bytes: u64,
    boot_id: Option<String>,
}

impl SledIndex {
    /// Uses sub-folders and files of `dir` whose names begin with `index`.
    pub fn new(dir: &Path, cache_bytes: u64) -> Self {
        Self { dir: dir.to_owned(), cache_bytes, boot_id: boot_id() }
    }

    /// Pretends another boot, for tests of the trust rule.
    #[must_use]
    pub fn with_boot_id_for_tests(mut self, boot_id: Option<&str>) -> Self {
        self.boot_id = boot_id.map(str::to_owned);
        self
    }

    fn open_base(&self, name: &str) -> Result<Arc<dyn IndexBase>, IndexError> {
        let path = self.dir.join(FOLDER).join(name);
        // sled would make them readable for everybody.
        for folder in [self.dir.join(FOLDER), path.clone()] {
            let made = DirBuilder::new().recursive(true).create(&folder);
            made.and_then(|()| fs::set_permissions(&folder, Permissions::from_mode(0o700)))
                .map_err(|source| IndexError::Io { action: "create", path: folder, source })?;
        }
        let config = sled::Config::new()
            .path(&path)
            .mode(sled::Mode::LowSpace)
            .cache_capacity(self.cache_bytes)
            .segment_size(SEGMENT_BYTES)
            .flush_every_ms(None);
        let db = guarded("open the index", || config.open())?;
        let ahead = Ahead::of(&path).map_err(|source| IndexError::Io {
            action: "open",
            path: path.clone(),
            source,
        })?;
        let base = SledBase { db: Some(db), path, ahead: Mutex::new(ahead) };
        if let Some(changes) = redo::read(&base.redo_path()) {
            base.apply_in_pieces(&changes)?;
        }
        Ok(Arc::new(base))
    }

    fn open_bases(&self) -> Result<Bases, IndexError> {
        Ok(Bases { short: self.open_base("short")?, long: self.open_base("long")? })
    }

    /// What the marks say, before anything of sled is touched. Takes the clean mark away.
    fn judge(&self, log: u64) -> Result<Result<Option<u64>, Rebuilt>, IndexError> {
        let clean = self.take_mark(CLEAN_FILE, log)?;
        let boot = self.read_mark(BOOT_FILE, log);
        if !self.dir.join(FOLDER).is_dir() {
            return Ok(Err(Rebuilt::Absent));
        }
        let same_boot = boot.is_some() && boot == self.boot_id;
        Ok(match clean.map(|end| end.parse()) {
            Some(Ok(end)) => Ok(Some(end)),
            Some(Err(_)) => Err(Rebuilt::Stale { detail: format!("{CLEAN_FILE} makes no sense") }),
            None if same_boot => Ok(None),
            None => Err(Rebuilt::NotClosed),
        })
    }

    fn mark_open(&self, log: u64) -> Result<(), IndexError> {
        match &self.boot_id {
            Some(boot_id) => self.write_mark(BOOT_FILE, log, boot_id),
            None => self.remove(BOOT_FILE),
        }
    }

    /// Reads the second word of a mark whose first is this log's id.
    fn read_mark(&self, name: &str, log: u64) -> Option<String> {
        let text = fs::read_to_string(self.dir.join(name)).ok()?;
        let (found, value) = text.trim_end().split_once(' ')?;
        (found == format!("{log:016x}")).then(|| value.to_owned())
    }

    fn take_mark(&self, name: &str, log: u64) -> Result<Option<String>, IndexError> {
        let value = self.read_mark(name, log);
        self.remove(name)?;
        Ok(value)
    }

    fn write_mark(&self, name: &str, log: u64, value: &str) -> Result<(), IndexError> {
        let path = self.dir.join(name);
        let write = || {
            let mut file = File::create(&path)?;
            writeln!(file, "{log:016x} {value}")?;
            file.sync_all()
        };
        write().map_err(|source| IndexError::Io { action: "write", path: path.clone(), source })?;
        self.sync_dir()
    }

    /// Removes a mark and makes that durable.
    fn remove(&self, name: &str) -> Result<(), IndexError> {
        let path = self.dir.join(name);
        match fs::remove_file(&path) {
            Ok(()) => self.sync_dir(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(IndexError::Io { action: "remove", path, source }),
        }
    }

    fn sync_dir(&self) -> Result<(), IndexError> {
        let sync = || File::open(&self.dir)?.sync_all();
        sync().map_err(|source| IndexError::Io { action: "sync", path: self.dir.clone(), source })
    }

    fn set_aside(&self) -> Result<(), IndexError> {
        let (from, to) = (self.dir.join(FOLDER), self.dir.join(SET_ASIDE));
        if from.symlink_metadata().is_err() {
            return Ok(());
        }
        self.remove_set_aside()?;
        fs::rename(&from, &to).map_err(|source| IndexError::Io { action: "set aside", path: from, source })
    }

    fn remove_set_aside(&self) -> Result<(), IndexError> {
        let path = self.dir.join(SET_ASIDE);
        let Ok(old) = path.symlink_metadata() else { return Ok(()) };
        let removed = if old.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(|source| IndexError::Io { action: "remove", path, source })
    }
}

impl IndexHome for SledIndex {
    fn in_background(&self) -> bool {
        true
    }

    fn has_room(&self) -> bool {
        has_room(&self.dir)
    }

    fn open(&mut self, log: u64) -> Found {
        let clean_end = match self.judge(log) {
            Ok(Ok(clean_end)) => clean_end,
            Ok(Err(why)) => return Found::Untrusted(why),
            Err(error) => return Found::Untrusted(Rebuilt::Failed { detail: error.to_string() }),
        };
        let opened = self.open_bases().and_then(|bases| {
            self.mark_open(log)?;
            Ok(bases)
        });
        match opened {
            Ok(bases) => Found::Trusted { bases, clean_end },
            Err(error) => Found::Untrusted(Rebuilt::Failed { detail: error.to_string() }),
        }
    }

    fn reset(&mut self, log: u64) -> Result<Bases, IndexError> {
        self.remove(BOOT_FILE)?;
        self.remove(CLEAN_FILE)?;
        self.set_aside()?;
        let bases = self.open_bases()?;
        self.mark_open(log)?;
        Ok(bases)
    }

    fn forget(&mut self) -> Result<(), IndexError> {
        self.remove_set_aside()?;
        self.sync_dir()
    }

    fn close(&mut self, log: u64, bases: Bases, end: u64) -> Result<(), IndexError> {
        drop(bases);
        sync_tree(&self.dir.join(FOLDER))?;
        self.write_mark(CLEAN_FILE, log, &end.to_string())
    }

    fn distrust(&mut self) {
        // If even that fails, the marks stay: the checksum of every value still guards reads.
        let _removed = self.remove(BOOT_FILE);
    }
}

/// Syncs every file and folder below, itself included.
fn sync_tree(path: &Path) -> Result<(), IndexError> {
    let failed = |source| IndexError::Io { action: "sync", path: path.to_owned(), source };
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(failed)? {
            sync_tree(&entry.map_err(failed)?.path())?;
        }
    }
    File::open(path).and_then(|file| file.sync_all()).map_err(failed)
}

/// Identifies this run of the operating system; `None` where that cannot be known.
fn boot_id() -> Option<String> {
    #[cfg(target_os = "linux")]
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    #[cfg(target_os = "macos")]
    let id = std::process::Command::new("/usr/sbin/sysctl")
        .args(["-n", "kern.bootsessionuuid"])
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok());
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    let id: Option<String> = None;
    id.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty())
}

/// Runs something of sled's, which may return an error or panic.
fn guarded<T>(action: &'static str, job: impl FnOnce() -> sled::Result<T>) -> Result<T, IndexError> {
    match catch_unwind(AssertUnwindSafe(job)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(IndexError::Failed { action, detail: error.to_string() }),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let detail = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(IndexError::Panicked { action, detail: detail.to_owned() })
        }
    }
}

/// Whether there is room for a piece of a fold. Where that cannot be known, trying will tell.
fn has_room(dir: &Path) -> bool {
    rustix::fs::statvfs(dir).map_or(true, |stat| stat.f_bavail.saturating_mul(stat.f_frsize) >= ROOM_BYTES)
}

/// Blocks behind the end of sled's file that are its own already: what it writes next cannot fail for want of room, though
/// somebody else takes all that is left. Reading may make it write, too.
#[derive(Debug)]
struct Ahead {
    file: File,
    len: u64,
    up_to: u64,
}

impl Ahead {
    fn of(database: &Path) -> io::Result<Self> {
        let path = database.join("db");
        let file = fs::OpenOptions::new().write(true).open(path)?;
        Ok(Self { file, len: 0, up_to: 0 })
    }

    /// Whether there is room for the next piece.
    fn reserve(&mut self) -> io::Result<bool> {
        let len = self.file.metadata()?.len();
        // A file that became shorter has lost what was behind its end.
        let held = len >= self.len && len + ROOM_BYTES <= self.up_to;
        self.len = len;
        if held {
            return Ok(true);
        }
        for bytes in [2 * ROOM_BYTES, ROOM_BYTES] {
            match allocate(&self.file, len, bytes) {
                Ok(()) => {
                    self.up_to = len + bytes;
                    return Ok(true);
                }
                Err(error) if crate::disk::is_full(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

/// Allocates blocks of a file without making it longer.
#[cfg(target_os = "linux")]
fn allocate(file: &File, from: u64, bytes: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, from, bytes)?)
}

#[cfg(not(target_os = "linux"))]
fn allocate(_file: &File, _from: u64, _bytes: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

struct SledBase {
    /// Taken only when dropping.
    db: Option<sled::Db>,
    path: PathBuf,
    ahead: Mutex<Ahead>,
}

impl SledBase {
    fn with<T>(
        &self,
        action: &'static str,
        job: impl FnOnce(&sled::Db) -> sled::Result<T>,
    ) -> Result<T, IndexError> {
        let gone = || IndexError::Io {
            action,
            path: self.path.clone(),
            source: io::Error::from(io::ErrorKind::NotConnected),
        };
        let db = self.db.as_ref().ok_or_else(gone)?;
        guarded(action, || job(db))
    }
}

impl SledBase {
    fn redo_path(&self) -> PathBuf {
        self.path.with_extension("redo")
    }

    /// Makes sure of room for a piece.
    fn reserve(&self) -> Result<(), IndexError> {
        let reserved = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).reserve();
        // Not every file system can allocate ahead.
        if reserved.unwrap_or_else(|_| has_room(&self.path)) { Ok(()) } else { Err(IndexError::Full) }
    }

    fn write(&self, batch: sled::Batch) -> Result<(), IndexError> {
        self.reserve()?;
        self.with("write the index", |db| db.apply_batch(batch))
    }

    /// Writes the redo file, so that it is there completely or as it was.
    fn write_redo(&self, changes: &[redo::Change]) -> Result<(), IndexError> {
        let path = self.redo_path();
        self.reserve()?;
        match redo::write(&path, changes) {
            Ok(()) => Ok(()),
            Err(error) if crate::disk::is_full(&error) => Err(IndexError::Full),
            Err(source) => Err(IndexError::Io { action: "write", path, source }),
        }
    }

    /// Applies what the redo file holds, and removes it when nothing of it can be lost any more.
    fn apply_in_pieces(&self, changes: &[redo::Change]) -> Result<(), IndexError> {
        for piece in changes.chunks(PIECE_ROWS) {
            let mut batch = sled::Batch::default();
            for (key, value) in piece {
                add(&mut batch, key, value.as_deref());
            }
            self.write(batch)?;
        }
        // Less is in memory than what was reserved for the last piece.
        self.with("flush the index", |db| db.flush().map(|_| ()))?;
        let path = self.redo_path();
        fs::remove_file(&path).map_err(|source| IndexError::Io { action: "remove", path, source })
    }
}

fn add(batch: &mut sled::Batch, key: &[u8], value: Option<&[u8]>) {
    match value {
        Some(value) => batch.insert(key, value),
        None => batch.remove(key),
    }
}

impl Drop for SledBase {
    fn drop(&mut self) {
        let db = self.db.take();
        // A database that panicked before may do so again while closing.
        let _closed = catch_unwind(AssertUnwindSafe(move || drop(db)));
    }
}

impl IndexBase for SledBase {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.with("read the index", |db| Ok(db.get(key)?.map(|value| value.to_vec())))
    }

    fn range(
        &self,
        from: &[u8],
        inclusive: bool,
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<IndexRow>, IndexError> {
        if from >= to {
            return Ok(Vec::new());
        }
        self.with("scan the index", |db| {
            let rows = db.range(from..to).filter(|row| {
                // Only the first row can be the excluded one.
                inclusive || !matches!(row, Ok((key, _)) if key.as_ref() == from)
            });
            rows.take(limit).map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec()))).collect()
        })
    }

    fn apply(&self, changes: &mut dyn Iterator<Item = IndexChange<'_>>) -> Result<(), IndexError> {
        let changes: Vec<redo::Change> =
            changes.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect();
        if changes.len() > PIECE_ROWS {
            self.write_redo(&changes)?;
            return self.apply_in_pieces(&changes);
        }
        let mut batch = sled::Batch::default();
        for (key, value) in &changes {
            add(&mut batch, key, value.as_deref());
        }
        self.write(batch)
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.reserve()?;
        self.with("flush the index", |db| db.flush().map(|_| ()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_and_errors_become_errors() {
        let error = guarded::<()>("try", || panic!("boom {}", 1)).unwrap_err();
        assert_eq!(error.to_string(), "try panicked: boom 1");
        let error = guarded::<()>("try", || Err(sled::Error::Unsupported("x".to_owned()))).unwrap_err();
        assert!(matches!(error, IndexError::Failed { action: "try", .. }), "{error}");
        assert_eq!(guarded("try", || Ok(7)).unwrap(), 7);
    }

    #[test]
    fn folders_are_for_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let home = SledIndex::new(dir.path(), 1024 * 1024);
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        fs::create_dir_all(dir.path().join("index/long")).unwrap();
        fs::set_permissions(dir.path().join("index"), Permissions::from_mode(0o755)).unwrap();
        drop(home.open_bases().unwrap());
        assert_eq!([mode("index"), mode("index/short"), mode("index/long")], [0o700; 3]);
    }

    #[test]
    fn pieces_interrupted_are_finished_at_the_next_opening() {
        let dir = tempfile::tempdir().unwrap();
        let home = SledIndex::new(dir.path(), 1024 * 1024);
        let key = |n: u32| n.to_be_bytes().to_vec();
        let changes: Vec<redo::Change> = (0..1000).map(|n| (key(n), (n % 3 > 0).then(|| vec![1]))).collect();
        let base = home.open_base("short").unwrap();
        base.apply(
            &mut (0..1000).map(key).collect::<Vec<_>>().iter().map(|key| (key.as_slice(), Some(&[0][..]))),
        )
        .unwrap();
        let redo = dir.path().join("index/short.redo");
        assert!(!redo.exists(), "finished");
        // The process dies when a part is applied.
        redo::write(&redo, &changes).unwrap();
        let part: Vec<_> = changes[..300].to_vec();
        base.apply(&mut part.iter().take(200).map(|(key, value)| (key.as_slice(), value.as_deref())))
            .unwrap();
        drop(base);
        // A thread of sled's own unlocks what was dropped, a moment later.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        let base = loop {
            match home.open_base("short") {
                Ok(base) => break base,
                Err(error) => assert!(std::time::Instant::now() < until, "{error}"),
            }
            std::thread::yield_now();
        };
        assert!(!redo.exists());
        for (key, value) in changes {
            assert_eq!(base.get(&key).unwrap(), value);
        }
    }

    #[test]
    fn what_has_failed_is_not_trusted_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut home = SledIndex::new(dir.path(), 1024 * 1024).with_boot_id_for_tests(Some("this"));
        drop(home.reset(7).unwrap());
        assert_eq!(home.judge(7).unwrap(), Ok(None));
        home.distrust();
        assert_eq!(home.judge(7).unwrap(), Err(Rebuilt::NotClosed));
        home.distrust();
        assert!(home.in_background() && home.has_room());
    }

    #[test]
    fn a_mark_that_cannot_be_removed_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let home = SledIndex::new(dir.path(), 1024 * 1024);
        home.remove(CLEAN_FILE).unwrap();
        fs::create_dir(dir.path().join(CLEAN_FILE)).unwrap();
        let error = home.remove(CLEAN_FILE).unwrap_err();
        assert!(matches!(error, IndexError::Io { action: "remove", .. }), "{error}");
    }

    /// Of indexes that were not trusted the last one is kept, until its owner wants none.
    #[test]
    fn one_index_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let mut home = SledIndex::new(dir.path(), 1024 * 1024);
        let kept = dir.path().join(SET_ASIDE);
        for round in ["one", "two"] {
            drop(home.reset(7).unwrap());
            fs::write(dir.path().join(FOLDER).join(round), "").unwrap();
        }
        assert!(kept.join("one").exists());
        drop(home.reset(7).unwrap());
        assert!(kept.join("two").exists() && !kept.join("one").exists());
        home.forget().unwrap();
        assert!(!kept.exists());
        home.forget().unwrap();
    }

    /// More than a piece goes through the file beside the database, a piece does not.
    #[test]
    fn only_long_lists_of_changes_are_written_twice() {
        let dir = tempfile::tempdir().unwrap();
        let home = SledIndex::new(dir.path(), 1024 * 1024);
        let base = home.open_base("short").unwrap();
        // Nothing can be written there.
        fs::create_dir(dir.path().join("index/short.redo")).unwrap();
        let keys: Vec<[u8; 4]> = (0..1000_u32).map(u32::to_be_bytes).collect();
        let apply = |count: usize| {
            base.apply(&mut keys.iter().take(count).map(|key| (key.as_slice(), Some(&b"x"[..]))))
        };
        apply(PIECE_ROWS).unwrap();
        for count in [PIECE_ROWS + 1, 1000] {
            assert!(matches!(apply(count), Err(IndexError::Io { action: "write", .. })), "{count}");
        }
    }

    #[test]
    fn room_is_allocated_behind_the_end() {
        use std::os::unix::fs::MetadataExt;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        fs::write(&path, "").unwrap();
        let mut ahead = Ahead::of(dir.path()).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        if ahead.reserve().is_err() {
            println!("allocating ahead: SKIPPED, this file system cannot");
            return;
        }
        let has = |ahead: &Ahead, len: u64, up_to: u64| {
            let meta = file.metadata().unwrap();
            assert_eq!((meta.len(), ahead.up_to), (len, up_to));
            assert!(meta.blocks() * 512 >= up_to, "{} blocks", meta.blocks());
        };
        has(&ahead, 0, 2 * ROOM_BYTES);
        // There is room for another piece, up to the last byte.
        for len in [10, ROOM_BYTES] {
            file.set_len(len).unwrap();
            assert!(ahead.reserve().unwrap());
            has(&ahead, len, 2 * ROOM_BYTES);
        }
        file.set_len(ROOM_BYTES + 1).unwrap();
        assert!(ahead.reserve().unwrap());
        has(&ahead, ROOM_BYTES + 1, 3 * ROOM_BYTES + 1);
        // Shorter than it was: what lay behind its end is gone.
        file.set_len(100).unwrap();
        assert!(ahead.reserve().unwrap());
        has(&ahead, 100, 100 + 2 * ROOM_BYTES);
        // Where nothing can be allocated, it is not for want of room.
        let file = fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
        Ahead { file, len: 0, up_to: 0 }.reserve().unwrap_err();
    }

    #[test]
    fn a_boot_has_an_id_here() {
        assert_eq!(boot_id(), boot_id());
        assert!(boot_id().is_some_and(|id| id.len() >= 16));
    }
}
