//! What the log says, arranged for finding: rows point into segments. Can always be rebuilt.
//!
//! ```text
//!  records ──► Catalog (what records mean)
//!                ├── Shard short ── overlay in memory ──► base (sled database)
//!                └── Shard long  ── overlay in memory ──► base (sled database)
//! ```
//!
//! New rows gather in the overlay and are *folded* into the base from time to time, together with a
//! watermark that says up to where in the log the base is complete: short-lived rows never reach it.
//! On a real disk a second thread does it, beside the commits.

pub(crate) mod catalog;
mod folder;
pub(crate) mod memory;
pub(crate) mod queue;
mod redo;
pub(crate) mod rows;
pub(crate) mod shard;
pub(crate) mod sled;

use std::fmt;
use std::sync::Arc;

use crate::IndexError;

/// Room on the disk without which an index is not written to: what a piece of a fold makes sled write, page by
/// page in the worst case, twice over.
pub(crate) const ROOM_BYTES: u64 = 1024 * 1024;

/// A row of an index: key and value.
pub type IndexRow = (Vec<u8>, Vec<u8>);

/// A change of an index: a key, and its new value or `None`.
pub type IndexChange<'a> = (&'a [u8], Option<&'a [u8]>);

/// One ordered map that survives the process, though not necessarily the machine.
pub trait IndexBase: Send + Sync {
    /// Gives a value.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;

    /// Lists rows with `from < key < to` (`from <= key` when `inclusive`), in order, at most `limit`.
    fn range(
        &self,
        from: &[u8],
        inclusive: bool,
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<IndexRow>, IndexError>;

    /// Makes all changes, or none of them if the process dies. `None` deletes.
    ///
    /// [`IndexError::Full`]: it may have made some of them. The same changes must be made before any others.
    fn apply(&self, changes: &mut dyn Iterator<Item = IndexChange<'_>>) -> Result<(), IndexError>;

    /// Hands everything to the operating system, so that it survives the process.
    ///
    /// [`IndexError::Full`]: it may not survive.
    fn flush(&self) -> Result<(), IndexError>;
}

/// The two maps of an index.
pub struct Bases {
    /// For short-lived rows.
    pub short: Arc<dyn IndexBase>,
    /// For long-lived rows.
    pub long: Arc<dyn IndexBase>,
}

impl fmt::Debug for Bases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bases").finish_non_exhaustive()
    }
}

/// What [`IndexHome::open`] found.
#[derive(Debug)]
pub enum Found {
    /// It holds what was given to it before, up to its watermark.
    Trusted {
        /// The maps.
        bases: Bases,
        /// Where the log must end, after a clean close; `None` after the death of the process.
        clean_end: Option<u64>,
    },
    /// It must be rebuilt, and why.
    Untrusted(Rebuilt),
}

/// Why an index was rebuilt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rebuilt {
    /// There was none.
    Absent,
    /// It was neither closed cleanly nor written since the machine started.
    NotClosed,
    /// It belongs to another state of the log.
    Stale {
        /// What does not fit.
        detail: String,
    },
    /// It could not be read, or panicked.
    Failed {
        /// What happened.
        detail: String,
    },
    /// Repair was asked for.
    Repair,
    /// It was asked for.
    Asked,
}

impl fmt::Display for Rebuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("there was no index"),
            Self::NotClosed => f.write_str("the machine stopped without closing the index"),
            Self::Stale { detail } => write!(f, "the index does not belong to this log: {detail}"),
            Self::Failed { detail } => write!(f, "the index was damaged: {detail}"),
            Self::Repair => f.write_str("repair was asked for"),
            Self::Asked => f.write_str("it was asked for"),
        }
    }
}

/// Where an index lives, and whether it may be trusted.
pub trait IndexHome: Send {
    /// Whether changes may be made by a second thread, in order. A simulated index says no, to stay
    /// deterministic.
    fn in_background(&self) -> bool;

    /// Whether the disk has room for changing the index now. Costs next to nothing.
    fn has_room(&self) -> bool;

    /// Opens what is there for the log of this id. Until [`Self::close`], it counts as not closed.
    fn open(&mut self, log: u64) -> Found;

    /// Sets aside what is there and creates empty maps.
    fn reset(&mut self, log: u64) -> Result<Bases, IndexError>;

    /// Removes what [`Self::reset`] has set aside.
    fn forget(&mut self) -> Result<(), IndexError>;

    /// Remembers that the maps, dropped by now, are complete up to batch `end` of the log.
    fn close(&mut self, log: u64, bases: Bases, end: u64) -> Result<(), IndexError>;

    /// Remembers that what is there must not be trusted again.
    fn distrust(&mut self);
}

#[cfg(test)]
mod tests;
