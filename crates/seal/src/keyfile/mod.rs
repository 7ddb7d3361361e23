//! The two key files of a node.
//!
//! | file | holds | rewritten |
//! | --- | --- | --- |
//! | `identity.key` | root (where this device has it), signing key, transport seed, hedge secret, account secret | when one of them changes |
//! | `receive.keys` | seeds of prekeys and receive keys by id; secret and one-time seed of open invites | 64 seeds at a time; deletions at most once a minute |
//!
//! Both are replaced whole: write temporary, fsync, rename, fsync folder. Their bytes are made and read by pure functions; all file
//! access is behind [`KeyStorage`]. Which key belongs to whom stands in the log, never here.

mod cache;
mod format;
mod identity;
mod receive;
mod storage;

use std::{fmt, io, path::PathBuf};

use penpal_protocol::cbor::CborError;

pub use identity::{IdentityKeys, load_identity, store_identity};
pub use receive::{InviteEntry, ReceiveKeys, SEED_POOL, StoredReceiveKeys};
pub use storage::{KeyFolder, KeyStorage, MemoryKeys};

/// One of the two key files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyFile {
    /// `identity.key`.
    Identity,
    /// `receive.keys`.
    Receive,
}

impl KeyFile {
    /// File name within the key folder.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity.key",
            Self::Receive => "receive.keys",
        }
    }
}

impl fmt::Display for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A key file cannot be read or written. None of these ever leads to new keys by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file is something else.
    #[error("{} is not a penpal key file", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file ends early, or is longer than it says or may be: a copy that went wrong.
    #[error("{} is torn: {got} bytes, {expected} expected", path.display())]
    Torn {
        /// The file.
        path: PathBuf,
        /// Length that its head promises, in bytes.
        expected: usize,
        /// Length in bytes.
        got: usize,
    },
    /// The checksum is wrong.
    #[error("{} is damaged: its checksum does not match", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The checksum is right, but the content is not understood.
    #[error("{} is malformed: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: CborError,
    },
    /// Written by a later version.
    #[error("{} has version {got}, this penpal reads {expected}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Version that this code reads.
        expected: u8,
        /// Version of the file.
        got: u8,
    },
    /// Other users of the machine can read it.
    #[error("{} has mode {mode:o}; keys must be readable by their owner only", path.display())]
    Exposed {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}
