//! Durable storage for relay and node: opaque records, atomic batches, queues and tables.
//!
//! The crate knows bytes only. A [`Store`] holds *tables* (key → value, with compare-and-swap) and
//! *spools* (queues of numbered rows). Changes are grouped in a [`Batch`], which happens completely or
//! not at all, also across a crash; [`Store::commit`] returns when all of them are on disk.
//!
//! It does not know what a message is, does not encrypt, has no clock (minutes are arguments), no
//! async runtime, and two threads of its own: one prepares files ahead of need, one folds rows into the
//! index.
//!
//! ```text
//!   Batch ──► LogStore ──► log: one write, one fdatasync      (the truth)
//!                │
//!                └──► overlay in memory ──► index (sled)      (can always be rebuilt from the log)
//! ```
//!
//! | type | what it is |
//! | --- | --- |
//! | [`LogStore`] | the durable store: segmented log and index |
//! | [`MemStore`] | the reference model, in memory; what conformance is measured against |
//! | [`disk::Disk`] | the file operations the log uses; [`disk::RealDisk`], [`disk::MemDisk`] |
//! | [`conformance`] | the one suite that every backend must pass |
//!
//! ```
//! use penpal_store::{Batch, Life, MemStore, Outcome, Store, Table};
//! const NAMES: Table = Table::new(1, Life::Long);
//! let mut store: Box<dyn Store> = Box::new(MemStore::new());
//! let done = store.commit(vec![Batch::new().absent(NAMES, b"alice").put(NAMES, b"alice", "1")])?;
//! assert_eq!(done, [Outcome::Done]);
//! assert_eq!(store.get(NAMES, b"alice")?.as_deref(), Some(&b"1"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod conformance;
pub mod disk;
mod engine;
mod error;
mod index;
mod log;
mod mem;
mod model;
mod traits;

pub use engine::{LogStore, Opening, Options};
pub use error::{BackupError, CloseError, CommitError, IndexError, OpenError, ReadError};
pub use index::memory::MemIndex;
pub use index::sled::SledIndex;
pub use index::{Bases, Found, IndexBase, IndexChange, IndexHome, IndexRow, Rebuilt};
pub use mem::MemStore;
pub use model::{
    Batch, Expect, Life, LogPosition, MAX_BATCH_BYTES, MAX_KEY_BYTES, MAX_REMOVED_ROWS, Op, Outcome, QueueId,
    Refusal, Row, Table, Usage, Want,
};
pub use traits::{
    Backup, BackupReport, Compacted, Finding, KvStore, Progress, Queued, SpoolStore, Stats, Store, Task,
    VerifyReport,
};
