//! Blobs on disk: one file each, beside the log, named by the blob's id. Sealed bytes only.
//!
//! What parts of a file count stands in the log; the file may hold more, never less.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use penpal_protocol::blob::PART_BYTES;
use penpal_protocol::ids::BlobId;
use penpal_transport::Offload;
use tokio::sync::Semaphore;

use crate::folder::create_private_dir;
use crate::shared_sync::SharedSync;

/// Parts of all connections that are in memory at once each way: 1 MiB each. Apart, so that whoever reads slowly keeps nobody from writing.
const MAX_PARTS_IN_MEMORY: usize = 64;

/// Kept free for the log: two segments, and the index. A file can wait; whoever has mail cannot.
const KEPT_FREE_BYTES: u64 = 40 * 1024 * 1024;

/// The folder of blobs.
#[derive(Debug)]
pub(crate) struct Blobs {
    dir: PathBuf,
    /// Whoever holds a part that came in memory holds a permit.
    pub(crate) writing: Semaphore,
    /// Whoever holds a part that goes out in memory holds a permit.
    pub(crate) reading: Semaphore,
    syncs: SharedSync,
    /// Where parts are read and written.
    pub(crate) offload: Offload,
}

impl Blobs {
    /// The blobs in a folder, which is made with the first.
    pub(crate) fn new(dir: PathBuf, offload: Offload) -> Self {
        let room = || Semaphore::new(MAX_PARTS_IN_MEMORY);
        Self { dir, writing: room(), reading: room(), syncs: SharedSync::default(), offload }
    }

    fn path(&self, blob: &BlobId) -> PathBuf {
        self.dir.join(blob.to_text())
    }

    /// Writes a part, durably.
    ///
    /// # Errors
    /// The system's, a full disk among them.
    pub(crate) fn write(&self, blob: &BlobId, part: u32, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(blob);
        let file = match OpenOptions::new().write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create_private_dir(&self.dir)?;
                self.check_room(bytes.len())?;
                let made =
                    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
                File::open(&self.dir)?.sync_all()?;
                made
            }
            Err(error) => return Err(error),
        };
        self.check_room(bytes.len())?;
        file.write_all_at(bytes, begin(part))?;
        self.syncs.sync(blob, &file)
    }

    /// Refuses to take what the log may need. Where the room cannot be known, writing will tell.
    fn check_room(&self, bytes: usize) -> io::Result<()> {
        let Ok(stat) = rustix::fs::statvfs(&self.dir) else { return Ok(()) };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let needed = KEPT_FREE_BYTES.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if free < needed { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// Reads a part that is known to be there.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn read(&self, blob: &BlobId, part: u32) -> io::Result<Vec<u8>> {
        let file = File::open(self.path(blob))?;
        let left = file.metadata()?.len().saturating_sub(begin(part));
        let mut bytes = vec![0; usize::try_from(left).unwrap_or(PART_BYTES).min(PART_BYTES)];
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
        blobs.write(&id(1), 1, &last).unwrap();
        blobs.write(&id(1), 0, &vec![8; PART_BYTES]).unwrap();
        blobs.write(&id(2), 0, &last).unwrap();
        assert_eq!(
            (blobs.read(&id(1), 1).unwrap(), blobs.read(&id(1), 0).unwrap().len()),
            (last, PART_BYTES)
        );
        assert!(blobs.read(&id(3), 0).is_err());
        blobs.sweep(|blob| *blob == id(2));
        assert_eq!(ids(&blobs.dir), [id(2)]);
        blobs.remove(&id(2));
        blobs.remove(&id(2));
        assert_eq!(ids(&blobs.dir), []);
    }
}
