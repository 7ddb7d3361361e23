//! Where key files live: a folder, or memory in simulations. The only file access of this crate.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use zeroize::Zeroizing;

use super::{KeyFile, KeyFileError, format::MAX_FILE_BYTES};

/// Keeps key files, each read and replaced whole.
pub trait KeyStorage {
    /// Reads a file; `None` when there is none.
    ///
    /// # Errors
    /// [`KeyFileError::Io`], [`KeyFileError::Exposed`].
    fn read(&self, file: KeyFile) -> Result<Option<Zeroizing<Vec<u8>>>, KeyFileError>;

    /// Replaces a file and returns once the new one is durable; on an error the old one is still there.
    ///
    /// # Errors
    /// [`KeyFileError::Io`].
    fn replace(&self, file: KeyFile, contents: &[u8]) -> Result<(), KeyFileError>;

    /// Where the file is, for messages.
    fn path(&self, file: KeyFile) -> PathBuf;
}

impl<S: KeyStorage + ?Sized> KeyStorage for Box<S> {
    fn read(&self, file: KeyFile) -> Result<Option<Zeroizing<Vec<u8>>>, KeyFileError> {
        (**self).read(file)
    }

    fn replace(&self, file: KeyFile, contents: &[u8]) -> Result<(), KeyFileError> {
        (**self).replace(file, contents)
    }

    fn path(&self, file: KeyFile) -> PathBuf {
        (**self).path(file)
    }
}

/// Tells backup programs to leave the folder out (<https://bford.info/cachedir/>).
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # Keys of penpal. Left out of backups on purpose: a copy of receive keys opens messages after they were deleted here.\n";

/// A folder of key files, mode 0700, its files 0600, with a CACHEDIR.TAG.
///
/// A replaced file is unlinked, not overwritten in place: the disk may keep its old content.
#[derive(Debug, Clone)]
pub struct KeyFolder {
    path: PathBuf,
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyFileError {
    let path = path.to_owned();
    move |source| KeyFileError::Io { action, path, source }
}

impl KeyFolder {
    /// Opens a folder, makes it where it is missing, and removes what an interrupted replacement left.
    ///
    /// # Errors
    /// [`KeyFileError::Io`]; [`KeyFileError::Exposed`] when others may enter the folder.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, KeyFileError> {
        let path = path.into();
        let existed = path.try_exists().map_err(io_error("look for", &path))?;
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(io_error("create", &path))?;
        private(&path)?;
        let folder = Self { path };
        let tag = folder.path.join("CACHEDIR.TAG");
        if !tag.try_exists().map_err(io_error("look for", &tag))? {
            fs::write(&tag, CACHEDIR_TAG).map_err(io_error("write", &tag))?;
        }
        for file in [KeyFile::Identity, KeyFile::Receive] {
            folder.remove_temporary(file)?;
        }
        folder.sync()?;
        if existed {
            return Ok(folder);
        }
        // Without this a power cut could leave a node without its identity.
        sync_folder(parent(&folder.path))?;
        Ok(folder)
    }

    fn temporary(&self, file: KeyFile) -> PathBuf {
        self.path.join(format!("{file}.new"))
    }

    fn remove_temporary(&self, file: KeyFile) -> Result<(), KeyFileError> {
        let temporary = self.temporary(file);
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove", &temporary)(error))
            }
            _ => Ok(()),
        }
    }

    fn sync(&self) -> Result<(), KeyFileError> {
        sync_folder(&self.path)
    }
}

/// The folder in which a path lies: the present one for a bare name.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_folder(path: &Path) -> Result<(), KeyFileError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(io_error("sync", path))
}

/// Refuses what group or others may touch.
fn private(path: &Path) -> Result<Metadata, KeyFileError> {
    let metadata = fs::metadata(path).map_err(io_error("look at", path))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(metadata) } else { Err(KeyFileError::Exposed { path: path.to_owned(), mode }) }
}

impl KeyStorage for KeyFolder {
    fn read(&self, file: KeyFile) -> Result<Option<Zeroizing<Vec<u8>>>, KeyFileError> {
        let path = self.path(file);
        if !path.try_exists().map_err(io_error("look for", &path))? {
            return Ok(None);
        }
        let length = usize::try_from(private(&path)?.len()).unwrap_or(usize::MAX);
        if length > MAX_FILE_BYTES {
            return Err(KeyFileError::Torn { path, expected: MAX_FILE_BYTES, got: length });
        }
        fs::read(&path).map(|bytes| Some(Zeroizing::new(bytes))).map_err(io_error("read", &path))
    }

    fn replace(&self, file: KeyFile, contents: &[u8]) -> Result<(), KeyFileError> {
        let (path, temporary) = (self.path(file), self.temporary(file));
        self.remove_temporary(file)?;
        let write = || {
            let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            new.set_permissions(Permissions::from_mode(0o600))?;
            new.write_all(contents)?;
            new.sync_all()
        };
        write().map_err(io_error("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(io_error("replace", &path))?;
        self.sync()
    }

    fn path(&self, file: KeyFile) -> PathBuf {
        self.path.join(file.name())
    }
}

/// Key files in memory, shared by its clones: the disk of a simulated node, which outlives its restarts.
#[derive(Debug, Clone, Default)]
pub struct MemoryKeys {
    files: Arc<Mutex<BTreeMap<KeyFile, Zeroizing<Vec<u8>>>>>,
}

impl MemoryKeys {
    /// A copy that later changes do not reach: a backup, or a cloned machine.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        Self { files: Arc::new(Mutex::new(self.lock().clone())) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<KeyFile, Zeroizing<Vec<u8>>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyStorage for MemoryKeys {
    fn read(&self, file: KeyFile) -> Result<Option<Zeroizing<Vec<u8>>>, KeyFileError> {
        Ok(self.lock().get(&file).cloned())
    }

    fn replace(&self, file: KeyFile, contents: &[u8]) -> Result<(), KeyFileError> {
        self.lock().insert(file, Zeroizing::new(contents.to_vec()));
        Ok(())
    }

    fn path(&self, file: KeyFile) -> PathBuf {
        PathBuf::from(file.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_lies_in_the_present_folder() {
        assert_eq!(parent(Path::new("keys")), Path::new("."));
        assert_eq!(parent(Path::new("/home/alice/keys")), Path::new("/home/alice"));
        assert_eq!(parent(Path::new("/")), Path::new("."));
    }
}
