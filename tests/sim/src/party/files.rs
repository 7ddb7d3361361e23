//! Files of a machine: contents of artifacts, half-fetched ones, or blobs. They are real, in a folder of their own, and the only thing of
//! a world that a power cut takes nothing of; what the log says of them comes and goes with the disk in memory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tempfile::TempDir;

/// All of them at one moment, by their path in the folder.
pub type Contents = Rc<BTreeMap<PathBuf, Vec<u8>>>;

/// The folder. Without one, which is logged as the error that it is, whatever touches files fails.
#[derive(Debug)]
pub struct Files(Option<TempDir>);

impl Files {
    /// An empty one.
    #[must_use]
    pub fn make() -> Self {
        let made = tempfile::Builder::new().prefix("penpal-test-world-").tempdir();
        Self(made.inspect_err(|error| tracing::error!(%error, "a world has no folder for files")).ok())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.as_ref().map_or(Path::new("/nowhere"), TempDir::path)
    }

    /// Reads all of it.
    #[must_use]
    pub fn contents(&self) -> Contents {
        let mut all = BTreeMap::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(self.path().join(&folder)).into_iter().flatten().flatten() {
                let name = folder.join(entry.file_name());
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(name),
                    Ok(_) | Err(_) => drop(fs::read(entry.path()).map(|bytes| all.insert(name, bytes))),
                }
            }
        }
        Rc::new(all)
    }

    /// Makes it what it was at another moment, or on another machine.
    pub fn replace(&self, contents: &Contents) {
        if let Err(error) = self.try_replace(contents) {
            tracing::error!(%error, "the files of a machine cannot be put back");
        }
    }

    fn try_replace(&self, contents: &Contents) -> io::Result<()> {
        for entry in fs::read_dir(self.path())? {
            fs::remove_dir_all(entry?.path())?;
        }
        for (name, bytes) in contents.iter() {
            let path = self.path().join(name);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(path, bytes)?;
        }
        Ok(())
    }
}
