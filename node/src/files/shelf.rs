//! Where the contents of artifacts lie: one file each, named by its hash.
//!
//! ```text
//! <home>/artifacts/content/<hash>     whole, verified, never written again
//! <home>/artifacts/incoming/<random>  being copied in by a client
//! <home>/artifacts/partial/<blob>.*   being fetched: its bytes, and which of them are there
//! ```

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use penpal_local_api::artifact::{hash_text, parse_hash};
use penpal_local_api::home::Home;
use penpal_protocol::ids::{BlobId, Hash};

/// After so long a copy in the folder for incoming files belongs to nobody any more.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// After so long a content that was half fetched is begun anew.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 3600);

/// The contents of a node, as its engine moves them. Only the engine adds and removes: so no content goes while it is being put.
#[derive(Debug, Clone)]
pub struct Shelf {
    content: PathBuf,
    incoming: PathBuf,
    partial: PathBuf,
}

impl Shelf {
    /// The shelf of a home. Touches nothing.
    #[must_use]
    pub fn of(home: &Home) -> Self {
        let all = home.artifacts();
        Self { content: all.join("content"), incoming: home.incoming(), partial: all.join("partial") }
    }

    /// Where a content lies, or would.
    #[must_use]
    pub fn path(&self, hash: &Hash) -> PathBuf {
        self.content.join(hash_text(hash))
    }

    /// Where a blob's content is put together.
    #[must_use]
    pub fn partial(&self, blob: &BlobId) -> PathBuf {
        self.partial.join(format!("{}.part", blob.to_text()))
    }

    /// Takes a synced copy out of the folder for incoming files, durably. Of a content that is here already the copy is dropped.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is no such copy, [`io::ErrorKind::InvalidData`] when it has another length or is no plain
    /// file; and the system's.
    pub fn adopt(&self, incoming: &str, hash: &Hash, bytes: u64) -> io::Result<()> {
        if incoming.contains('/') || incoming.starts_with('.') || incoming.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.take(&self.incoming.join(incoming), hash, bytes)
    }

    /// As [`Self::adopt`], of any file in the same file system.
    ///
    /// # Errors
    /// As [`Self::adopt`].
    pub fn take(&self, from: &Path, hash: &Hash, bytes: u64) -> io::Result<()> {
        let found = fs::symlink_metadata(from)?;
        if !found.is_file() || found.len() != bytes {
            return Err(io::ErrorKind::InvalidData.into());
        }
        private_folder(&self.content)?;
        let place = self.path(hash);
        if fs::symlink_metadata(&place).is_ok_and(|there| there.is_file() && there.len() == bytes) {
            return fs::remove_file(from);
        }
        fs::set_permissions(from, Permissions::from_mode(0o400))?;
        fs::rename(from, &place)?;
        File::open(&self.content)?.sync_all()
    }

    /// Removes a content. One that is not there is fine.
    ///
    /// # Errors
    /// The system's.
    pub fn remove(&self, hash: &Hash) -> io::Result<()> {
        match fs::remove_file(self.path(hash)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Removes what no row speaks of: contents whose step was never durable, and copies that nobody finished.
    pub fn sweep(&self, mut is_known: impl FnMut(&Hash) -> bool) {
        for entry in fs::read_dir(&self.content).into_iter().flatten().flatten() {
            let hash = entry.file_name().to_str().and_then(parse_hash);
            // What was put there by somebody else stays.
            if let Some(hash) = hash.filter(|hash| !is_known(hash)) {
                report(self.remove(&hash));
            }
        }
        self.sweep_incoming();
    }

    /// Removes copies that nobody finished within a day.
    pub fn sweep_incoming(&self) {
        sweep_old(&self.incoming, ABANDONED, |_| false);
    }

    /// Removes half-fetched contents that nobody went on with for so long, a week at most.
    pub fn sweep_partial(&self, keep: Duration, is_moving: impl Fn(&BlobId) -> bool) {
        sweep_old(&self.partial, keep.min(FORGOTTEN), |path| {
            let blob = path.file_stem().and_then(|name| BlobId::parse(name.to_str()?).ok());
            blob.is_some_and(|blob| is_moving(&blob))
        });
    }

    /// Removes what is half fetched of a blob.
    pub fn discard_partial(&self, blob: &BlobId) {
        let part = self.partial(blob);
        for path in [part.with_extension("have"), part] {
            match fs::remove_file(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => report(removed),
            }
        }
    }

    /// Whether no part of a blob is here.
    #[must_use]
    pub fn has_no_part(&self, blob: &BlobId) -> bool {
        let list = fs::metadata(self.partial(blob).with_extension("have"));
        list.map_or(true, |found| found.len() == 0)
    }
}

fn sweep_old(folder: &Path, most: Duration, is_needed: impl Fn(&Path) -> bool) {
    let now = SystemTime::now();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|found| found.modified());
        let age = modified.ok().and_then(|at| now.duration_since(at).ok());
        if age.is_some_and(|age| age >= most) && !is_needed(&entry.path()) {
            report(fs::remove_file(entry.path()));
        }
    }
}

fn report(removed: io::Result<()>) {
    if let Err(error) = removed {
        tracing::warn!(%error, "a file that nobody needs cannot be removed");
    }
}

/// Makes a folder that only its owner can use.
pub(crate) fn private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf() -> (tempfile::TempDir, Shelf) {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        private_folder(&home.incoming()).unwrap();
        (folder, Shelf::of(&home))
    }

    fn hash(byte: u8) -> Hash {
        Hash::from_bytes([byte; 32])
    }

    #[test]
    fn the_same_content_is_one_file() {
        let (_folder, shelf) = shelf();
        for name in ["a", "b"] {
            fs::write(shelf.incoming.join(name), "text").unwrap();
            shelf.adopt(name, &hash(1), 4).unwrap();
            assert!(!shelf.incoming.join(name).exists());
        }
        assert_eq!(fs::read(shelf.path(&hash(1))).unwrap(), b"text");
        assert_eq!(fs::metadata(shelf.path(&hash(1))).unwrap().permissions().mode() & 0o777, 0o400);
        shelf.remove(&hash(1)).unwrap();
        shelf.remove(&hash(1)).unwrap();
        assert!(!shelf.path(&hash(1)).exists());
    }

    #[test]
    fn only_plain_files_of_the_folder_and_the_said_length_are_taken() {
        let (folder, shelf) = shelf();
        fs::write(folder.path().join("secret"), "text").unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret"), shelf.incoming.join("link")).unwrap();
        fs::write(shelf.incoming.join("long"), "longer").unwrap();
        for name in ["../secret", "../../secret", "link", "long", ".", "..", "", "absent"] {
            assert!(shelf.adopt(name, &hash(1), 4).is_err(), "{name}");
        }
        assert!(folder.path().join("secret").exists() && !shelf.path(&hash(1)).exists());
    }

    #[test]
    fn what_is_half_fetched_goes_when_it_is_given_up_or_does_not_move() {
        let (_folder, shelf) = shelf();
        private_folder(&shelf.partial).unwrap();
        let blob = |byte| BlobId::from_bytes([byte; 16]);
        for byte in 1..=3 {
            fs::write(shelf.partial(&blob(byte)), "half").unwrap();
            fs::write(shelf.partial(&blob(byte)).with_extension("have"), [0; 4]).unwrap();
        }
        assert!(!shelf.has_no_part(&blob(1)) && shelf.has_no_part(&blob(9)));
        shelf.discard_partial(&blob(1));
        shelf.discard_partial(&blob(1));
        assert!(shelf.has_no_part(&blob(1)));
        shelf.sweep_partial(Duration::from_secs(60), |_| false);
        assert_eq!(fs::read_dir(&shelf.partial).unwrap().count(), 4, "too young");
        shelf.sweep_partial(Duration::ZERO, |moving| *moving == blob(2));
        assert_eq!(fs::read_dir(&shelf.partial).unwrap().count(), 2);
        assert!(shelf.partial(&blob(2)).exists());
    }

    #[test]
    fn what_no_row_speaks_of_goes_and_what_is_not_ours_stays() {
        let (_folder, shelf) = shelf();
        for byte in 1..=2 {
            fs::write(shelf.incoming.join("x"), "text").unwrap();
            shelf.adopt("x", &hash(byte), 4).unwrap();
        }
        fs::write(shelf.content.join("notes.txt"), "mine").unwrap();
        fs::write(shelf.incoming.join("young"), "being copied").unwrap();
        shelf.sweep(|known| *known == hash(1));
        assert!(shelf.path(&hash(1)).exists() && !shelf.path(&hash(2)).exists());
        assert!(shelf.content.join("notes.txt").exists() && shelf.incoming.join("young").exists());
    }
}
