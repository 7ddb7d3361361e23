//! The file operations that the log needs, so that a simulated disk can stand in for a real one.
//!
//! A disk is one flat folder. What is promised about a crash: bytes covered by a returned
//! [`DiskFile::sync_data`] stay; names covered by a returned [`Disk::sync_dir`] stay; everything else
//! may be there, partly or not at all.

mod mem;
mod real;

use std::fmt;
use std::io;
use std::sync::Arc;

pub use mem::{Crash, Fault, MemDisk};
pub use real::RealDisk;

/// Whether it failed for want of room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A folder of files, used by one store at a time.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Names of the files in the folder, in no order; sub-folders are left out.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Creates a file of `bytes` zeros, content synced, whose later overwriting allocates nothing.
    ///
    /// Removes what it wrote when it fails; [`io::ErrorKind::StorageFull`] when there is no room.
    /// An existing file of that name is replaced.
    fn allocate(&self, name: &str, bytes: u64) -> io::Result<()>;

    /// Whether [`Self::allocate`] would find room for so many bytes now.
    fn has_room(&self, bytes: u64) -> io::Result<bool>;

    /// Creates or replaces a small file with this content, synced.
    fn write_file(&self, name: &str, content: &[u8]) -> io::Result<()>;

    /// Renames, replacing the target.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals so far durable.
    fn sync_dir(&self) -> io::Result<()>;

    /// Locks the folder by a file of this name until the answer is dropped;
    /// [`io::ErrorKind::WouldBlock`] when another holds it.
    fn lock(&self, name: &str) -> io::Result<Box<dyn Send>>;

    /// Whether files may be prepared by a second thread. A simulated disk says no, to stay deterministic.
    fn in_background(&self) -> bool;
}

/// An open file.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all bytes.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes everything written so far durable.
    fn sync_data(&self) -> io::Result<()>;

    /// How long it is.
    fn bytes(&self) -> io::Result<u64>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_want_of_room_is_a_full_disk() {
        for (kind, full) in [
            (io::ErrorKind::StorageFull, true),
            (io::ErrorKind::QuotaExceeded, true),
            (io::ErrorKind::PermissionDenied, false),
            (io::ErrorKind::Other, false),
        ] {
            assert_eq!(is_full(&kind.into()), full, "{kind}");
        }
    }
}
