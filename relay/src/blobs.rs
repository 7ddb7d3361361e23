//! Blobs on disk: one file each, beside the log, named by the blob's id. Sealed bytes only.
//!
//! What parts of a file count stands in the log; the file may hold more, never less.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use penpal_protocol::blob::PART_BYTES;
use penpal_protocol::ids::{AccountId, BlobId};
use penpal_relay_core::AddressPrefix;
use penpal_transport::Offload;

use crate::folder::create_private_dir;
use crate::shared_sync::SharedSync;
use crate::shares::Shares;

/// Parts of all connections that are in memory at once each way: 1 MiB each. Apart, so that whoever reads slowly keeps nobody from writing.
const MAX_PARTS_IN_MEMORY: usize = 64;

/// Of them one account may write so many, and one network read so many.
const PARTS_OF_ONE: (usize, usize) = (16, 32);

/// Kept free for the log: two segments, and the index. A file can wait; whoever has mail cannot.
const KEPT_FREE_BYTES: u64 = 40 * 1024 * 1024;

/// Blobs in the list of those that somebody writes to from which on it is looked through for old ones.
const MANY_LIVES: usize = 1024;

/// One life of a blob's id, from one removal to the next.
#[derive(Debug, Default)]
struct Life {
    over: Mutex<bool>,
}

/// A part of a blob that is to be written.
#[derive(Debug)]
pub(crate) struct Writing {
    blob: BlobId,
    life: Arc<Life>,
}

/// Bytes on their way to the disk, until dropped.
#[derive(Debug)]
struct Coming<'b> {
    all: &'b AtomicU64,
    bytes: u64,
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder of blobs.
#[derive(Debug)]
pub(crate) struct Blobs {
    dir: PathBuf,
    /// Whoever holds a part that came in memory holds a permit.
    pub(crate) writing: Shares<AccountId>,
    /// Whoever holds a part that goes out in memory holds a permit.
    pub(crate) reading: Shares<AddressPrefix>,
    syncs: SharedSync,
    /// Blobs that somebody is about to write to.
    lives: Mutex<HashMap<BlobId, Weak<Life>>>,
    /// Bytes that are being written and that the file system does not count yet.
    coming: AtomicU64,
    /// Where parts are read and written.
    pub(crate) offload: Offload,
}

impl Blobs {
    /// The blobs in a folder, which is made with the first.
    pub(crate) fn new(dir: PathBuf, offload: Offload) -> Self {
        Self {
            dir,
            writing: Shares::new(MAX_PARTS_IN_MEMORY, PARTS_OF_ONE.0),
            reading: Shares::new(MAX_PARTS_IN_MEMORY, PARTS_OF_ONE.1),
            syncs: SharedSync::default(),
            lives: Mutex::default(),
            coming: AtomicU64::new(0),
            offload,
        }
    }

    fn path(&self, blob: &BlobId) -> PathBuf {
        self.dir.join(blob.to_text())
    }

    /// Begins to write to a blob, before it is known whether that is allowed. A blob may be removed, and another of the same id made,
    /// before the bytes come: they are no part of that one.
    pub(crate) fn begin(&self, blob: BlobId) -> Writing {
        let mut lives = lock(&self.lives);
        if lives.len() >= MANY_LIVES {
            lives.retain(|_, life| life.strong_count() > 0);
        }
        let known = lives.get(&blob).and_then(Weak::upgrade);
        let life = known.unwrap_or_else(|| {
            let life = Arc::default();
            lives.insert(blob, Arc::downgrade(&life));
            life
        });
        Writing { blob, life }
    }

    /// Writes a part, durably.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when the blob was removed since [`Self::begin`]; the system's, a full disk among them.
    pub(crate) fn write(&self, to: &Writing, part: u32, bytes: &[u8]) -> io::Result<()> {
        let _coming = self.take_room(bytes.len())?;
        let file = {
            let over = lock(&to.life.over);
            if *over {
                return Err(io::ErrorKind::NotFound.into());
            }
            self.open_or_make(&to.blob)?
        };
        file.write_all_at(bytes, begin(part))?;
        self.syncs.sync(&to.blob, &file)
    }

    fn open_or_make(&self, blob: &BlobId) -> io::Result<File> {
        let path = self.path(blob);
        match OpenOptions::new().write(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made =
                    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
                File::open(&self.dir)?.sync_all()?;
                Ok(made)
            }
            opened => opened,
        }
    }

    /// Refuses to take what the log may need, others' bytes that are on their way to the disk included. Where the room cannot be known,
    /// writing will tell.
    fn take_room(&self, bytes: usize) -> io::Result<Coming<'_>> {
        create_private_dir(&self.dir)?;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let all = self.coming.fetch_add(bytes, Ordering::AcqRel).saturating_add(bytes);
        let coming = Coming { all: &self.coming, bytes };
        let Ok(stat) = rustix::fs::statvfs(&self.dir) else { return Ok(coming) };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free < KEPT_FREE_BYTES.saturating_add(all) {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(coming)
        }
    }

    /// Reads a part that is known to be there, with its length.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::UnexpectedEof`] when the file was cut.
    pub(crate) fn read(&self, blob: &BlobId, part: u32, length: usize) -> io::Result<Vec<u8>> {
        let file = File::open(self.path(blob))?;
        let mut bytes = vec![0; length.min(PART_BYTES)];
        file.read_exact_at(&mut bytes, begin(part))?;
        Ok(bytes)
    }

    /// How long the file of a blob is; nothing when there is none.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn bytes(&self, blob: &BlobId) -> io::Result<u64> {
        match fs::metadata(self.path(blob)) {
            Ok(found) => Ok(found.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Removes a blob. One that has no file is fine.
    pub(crate) fn remove(&self, blob: &BlobId) {
        let life = lock(&self.lives).remove(blob).and_then(|life| life.upgrade());
        // Held until the file is gone: whoever writes opens it before, and writes to what nobody can open any more, or not at all.
        let mut over = life.as_ref().map(|life| lock(&life.over));
        if let Some(over) = over.as_deref_mut() {
            *over = true;
        }
        match fs::remove_file(self.path(blob)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the file of a blob stays until the next start");
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Removes files of blobs that the log does not know: a part was written, and then the process died.
    pub(crate) fn sweep(&self, mut is_known: impl FnMut(&BlobId) -> bool) {
        for blob in ids(&self.dir) {
            if !is_known(&blob) {
                self.remove(&blob);
            }
        }
    }
}

/// Blobs that have a file in a folder.
pub(crate) fn ids(dir: &Path) -> Vec<BlobId> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let id = |entry: fs::DirEntry| BlobId::parse(entry.file_name().to_str()?).ok();
    entries.filter_map(id).collect()
}

fn begin(part: u32) -> u64 {
    u64::from(part).saturating_mul(u64::try_from(PART_BYTES).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(dir.path().join("blobs"), Offload::Inline);
        let id = |byte| BlobId::from_bytes([byte; 16]);
        let last = vec![7; 100];
        blobs.write(&blobs.begin(id(1)), 1, &last).unwrap();
        blobs.write(&blobs.begin(id(1)), 0, &vec![8; PART_BYTES]).unwrap();
        blobs.write(&blobs.begin(id(2)), 0, &last).unwrap();
        assert_eq!(
            (blobs.read(&id(1), 1, 100).unwrap(), blobs.read(&id(1), 0, PART_BYTES).unwrap().len()),
            (last, PART_BYTES)
        );
        assert!(blobs.read(&id(3), 0, 100).is_err());
        // A file that was cut is not served as if it were whole.
        assert_eq!(blobs.read(&id(1), 1, 101).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        blobs.sweep(|blob| *blob == id(2));
        assert_eq!(ids(&blobs.dir), [id(2)]);
        blobs.remove(&id(2));
        blobs.remove(&id(2));
        assert_eq!(ids(&blobs.dir), []);
    }

    /// Whoever was allowed to write, and writes after the blob went, writes nowhere; and no file comes back that no row counts.
    #[test]
    fn what_comes_after_a_removal_is_no_part_of_what_has_the_id_then() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(dir.path().join("blobs"), Offload::Inline);
        let id = BlobId::from_bytes([1; 16]);
        let (early, same) = (blobs.begin(id), blobs.begin(id));
        blobs.write(&early, 0, b"long").unwrap();
        blobs.remove(&id);
        for old in [&early, &same] {
            assert_eq!(blobs.write(old, 90, b"long").unwrap_err().kind(), io::ErrorKind::NotFound);
        }
        assert_eq!(ids(&blobs.dir), []);
        let next = blobs.begin(id);
        blobs.write(&next, 0, b"short").unwrap();
        assert!(blobs.write(&early, 90, b"long").is_err());
        assert_eq!((blobs.bytes(&id).unwrap(), blobs.coming.load(Ordering::Acquire)), (5, 0));
    }

    #[test]
    fn bytes_on_their_way_count_as_taken() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(dir.path().join("blobs"), Offload::Inline);
        let free = |dir: &Path| {
            let stat = rustix::fs::statvfs(dir).unwrap();
            stat.f_bavail * stat.f_frsize
        };
        drop(blobs.take_room(7).unwrap());
        // Others have as much on its way as there is.
        blobs.coming.store(free(dir.path()), Ordering::Release);
        assert_eq!(blobs.take_room(7).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
