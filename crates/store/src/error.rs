//! One error type for each kind of call.

use std::io;
use std::path::PathBuf;

/// Opening a store failed. Nothing was changed or lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A file's content is wrong, and acknowledged data lies behind it.
    #[error("{file} is damaged at byte {offset}: {detail}")]
    Damaged {
        /// File name inside the folder.
        file: String,
        /// Where the first bad batch begins.
        offset: u64,
        /// What is wrong there.
        detail: String,
    },
    /// A log file that the log says exists does not.
    #[error("{file} is missing from the log")]
    Missing {
        /// File name inside the folder.
        file: String,
    },
    /// The `format` file is not one of ours, or is absent where a log exists.
    #[error("{file} is not a store's format file: {detail}")]
    NotAStore {
        /// File name inside the folder.
        file: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Written by another version of this software.
    #[error("stored in format {found}, this version reads {supported}")]
    Version {
        /// The format found.
        found: u32,
        /// The format this code reads.
        supported: u32,
    },
    /// Another process has it open.
    #[error("{file} is locked by another process")]
    Locked {
        /// The lock file.
        file: String,
    },
    /// Options that cannot work.
    #[error("segments of {bytes} bytes are not possible: a power of two from {min} to {max}")]
    SegmentSize {
        /// Asked for.
        bytes: u64,
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// No room for what an open store needs: a log file, or changes of the index.
    #[error("no room on the disk for {needed} bytes more")]
    Full {
        /// Bytes needed.
        needed: u64,
    },
    /// The index could not be created anew.
    #[error("the index cannot be rebuilt")]
    Index(#[from] IndexError),
    /// The operating system said no.
    #[error("cannot {action} {file}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Which file.
        file: String,
        /// Why not.
        source: io::Error,
    },
}

/// Reading failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Stored bytes do not have the checksum they were stored with.
    #[error("{file} is damaged at byte {offset}")]
    Damaged {
        /// File name inside the folder.
        file: String,
        /// Where the value begins.
        offset: u64,
    },
    /// The store failed before: open it again.
    #[error("the store has stopped after a failure")]
    Stopped,
    /// The index failed. The next opening rebuilds it.
    #[error("the index failed")]
    Index(#[from] IndexError),
    /// The operating system said no.
    #[error("cannot {action} {file}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Which file.
        file: String,
        /// Why not.
        source: io::Error,
    },
}

/// The store has stopped: drop it and open it again. What was in this call may or may not have happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// It failed before.
    #[error("the store has stopped after a failure")]
    Stopped,
    /// Something that had to be read for the commit could not be.
    #[error("a row that the commit depends on cannot be read")]
    Read(#[from] ReadError),
    /// The index failed; the next opening rebuilds it.
    #[error("the index failed")]
    Index(#[from] IndexError),
    /// A write or sync of the log failed. Nothing is tried again on that file.
    #[error("cannot {action} {file}")]
    Fatal {
        /// What was tried.
        action: &'static str,
        /// Which file.
        file: String,
        /// Why not.
        source: io::Error,
    },
}

/// Ending cleanly failed; everything committed is on disk all the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// It failed before.
    #[error("the store has stopped after a failure")]
    Stopped,
    /// The index failed; the next opening rebuilds it.
    #[error("the index failed")]
    Index(#[from] IndexError),
    /// The operating system said no.
    #[error("cannot {action} {file}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Which file.
        file: String,
        /// Why not.
        source: io::Error,
    },
}

/// The index did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The disk has no room for it now. What it holds is as it was; what it was to take stays in memory.
    #[error("the disk has no room for the index")]
    Full,
    /// It returned an error.
    #[error("{action}: {detail}")]
    Failed {
        /// What was tried.
        action: &'static str,
        /// What it said.
        detail: String,
    },
    /// It panicked.
    #[error("{action} panicked: {detail}")]
    Panicked {
        /// What was tried.
        action: &'static str,
        /// What it said.
        detail: String,
    },
    /// It holds a row that cannot be one.
    #[error("malformed row in the index: {detail}")]
    Malformed {
        /// Which.
        detail: String,
    },
    /// A file of the index could not be written, renamed or removed.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Making a copy failed; the store itself is untouched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The target holds something already.
    #[error("{path} is not empty")]
    NotEmpty {
        /// The target.
        path: PathBuf,
    },
    /// What is to be copied cannot be read.
    #[error("the store cannot be read")]
    Read(#[from] ReadError),
    /// The copy cannot be created.
    #[error("the copy cannot be opened")]
    Open(#[from] OpenError),
    /// The copy cannot be written.
    #[error("the copy cannot be written")]
    Commit(#[from] CommitError),
    /// The copy cannot be closed.
    #[error("the copy cannot be closed")]
    Close(#[from] CloseError),
    /// The operating system said no.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}
