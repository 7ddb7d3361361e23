//! Files of the operating system. Everything that is particular to Unix is here.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, DiskFile};

/// New files are synced after each so many bytes of zeros, so that a commit's own sync never queues
/// behind a large one.
const FILL_BYTES: u64 = 1024 * 1024;

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Kept free beside what an allocation needs, for the index and for whoever else shares the disk.
const MARGIN_BYTES: u64 = 8 * 1024 * 1024;

/// A folder on a real file system: mode 0700, files 0600.
#[derive(Clone, Debug)]
pub struct RealDisk {
    dir: PathBuf,
}

impl RealDisk {
    /// Uses a folder, creating it and its parents where they are missing.
    pub fn new(dir: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        Ok(Self { dir: dir.to_owned() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.path(name))
    }

    fn fill(&self, name: &str, bytes: u64) -> io::Result<()> {
        let file = self.create(name)?;
        let mut at = 0;
        while at < bytes {
            let piece = usize::try_from(bytes - at).unwrap_or(usize::MAX).min(ZEROS.len());
            file.write_all_at(ZEROS.get(..piece).unwrap_or(&ZEROS), at)?;
            at += piece as u64;
            if at.is_multiple_of(FILL_BYTES) {
                file.sync_data()?;
            }
        }
        file.sync_all()
    }
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path(name))?;
        Ok(Arc::new(RealFile { file }))
    }

    fn allocate(&self, name: &str, bytes: u64) -> io::Result<()> {
        if !self.has_room(bytes)? {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.fill(name, bytes).inspect_err(|_| {
            // The error that matters is the one being returned.
            let _removed = fs::remove_file(self.path(name));
        })
    }

    fn has_room(&self, bytes: u64) -> io::Result<bool> {
        let stat = rustix::fs::statvfs(&self.dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize) >= bytes + MARGIN_BYTES)
    }

    fn write_file(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let file = self.create(name)?;
        file.write_all_at(content, 0)?;
        file.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Send>> {
        let path = self.path(name);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn in_background(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
}

impl DiskFile for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_as_long_as_asked_and_empty() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(dir.path()).unwrap();
        for bytes in [0, 1, 70_000, 2 * FILL_BYTES + 5] {
            disk.allocate("file", bytes).unwrap();
            let content = fs::read(dir.path().join("file")).unwrap();
            assert_eq!((content.len() as u64, content.iter().any(|byte| *byte != 0)), (bytes, false));
        }
        assert!(disk.in_background());
    }

    #[test]
    fn a_file_for_which_there_is_no_room_is_not_begun() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(dir.path()).unwrap();
        let too_much = 1 << 60;
        assert!(disk.has_room(0).unwrap() && !disk.has_room(too_much).unwrap());
        assert!(super::super::is_full(&disk.allocate("file", too_much).unwrap_err()));
        assert_eq!(disk.list().unwrap(), Vec::<String>::new());
    }
}
