//! Where a node lives: its home folder, its socket, its marks. The same for every client of one user.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

/// Longest path that a Unix socket may have on every system here, in bytes.
const MAX_SOCKET_PATH_BYTES: usize = 100;

/// The home folder of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    path: PathBuf,
    is_default: bool,
}

/// The home cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// No home folder of the user is known.
    #[error("no home folder: set HOME, or give --home")]
    Unknown,
    /// A relative path was given.
    #[error("--home {path:?} is not an absolute path and the present folder is unknown")]
    Relative {
        /// What was given.
        path: PathBuf,
    },
}

impl Home {
    /// `--home`, else `PENPAL_HOME`, else the system's place for a user's data; nothing else matters.
    ///
    /// # Errors
    /// See [`HomeError`].
    pub fn resolve(argument: Option<&Path>) -> Result<Self, HomeError> {
        let given = argument
            .map(Path::to_path_buf)
            .or_else(|| std::env::var_os("PENPAL_HOME").filter(|value| !value.is_empty()).map(PathBuf::from));
        let default = etcetera::choose_base_strategy().map(|base| base.data_dir().join("penpal")).ok();
        match given {
            Some(path) => {
                let path = std::path::absolute(&path).map_err(|_| HomeError::Relative { path })?;
                let is_default = default.as_deref() == Some(path.as_path());
                Ok(Self { path, is_default })
            }
            None => default.map(|path| Self { path, is_default: true }).ok_or(HomeError::Unknown),
        }
    }

    /// A home at an absolute path.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), is_default: false }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is the place used when nothing is said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.is_default
    }

    /// The socket: `<home>/node.sock`, or a short path in `/tmp` that is the same for everybody who means this home.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        let plain = self.path.join("node.sock");
        if plain.as_os_str().len() <= MAX_SOCKET_PATH_BYTES {
            return plain;
        }
        let hash =
            penpal_protocol::hash::labelled16("home-path", &[self.path.as_os_str().as_encoded_bytes()]);
        let name = penpal_protocol::text::base32::encode(&hash);
        self.short_socket_folder().join(format!("{name}.sock"))
    }

    /// Folder of the short socket path; made with mode 0700 by the node, its owner checked by everybody.
    #[must_use]
    pub fn short_socket_folder(&self) -> PathBuf {
        PathBuf::from(format!("/tmp/penpal-{}", rustix::process::getuid().as_raw()))
    }

    /// Whether the socket has the short path.
    #[must_use]
    pub fn has_short_socket(&self) -> bool {
        self.socket().parent() != Some(self.path.as_path())
    }

    /// Lock that the running node, or whoever starts it, holds.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.path.join("node.lock")
    }

    /// Mark of a node that was stopped by hand.
    #[must_use]
    pub fn stopped(&self) -> PathBuf {
        self.path.join("stopped")
    }

    /// The log file of the daemon.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.path.join("node.log")
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// Messages and state.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// The index for searching: made from messages and state, and made again when it is missing.
    #[must_use]
    pub fn search(&self) -> PathBuf {
        self.path.join("search.db")
    }

    /// Contents of artifacts.
    #[must_use]
    pub fn artifacts(&self) -> PathBuf {
        self.path.join("artifacts")
    }

    /// Where clients copy files that they hand over.
    #[must_use]
    pub fn incoming(&self) -> PathBuf {
        self.artifacts().join("incoming")
    }

    /// Keys.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.path.join("keys")
    }
}
