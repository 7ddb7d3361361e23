//! What the relay keeps: tables of small rows and queues of numbered ones, as the machine sees them.
//!
//! The machine reads committed state through [`Rows`] and asks for changes with [`Change`]; it never stores anything
//! itself. Keys and values are opaque to whoever implements [`Rows`].

mod cache;
pub(crate) mod keys;
mod memory;
pub(crate) mod records;

use std::error::Error;

use bytes::Bytes;

pub(crate) use cache::Cached;
pub use memory::MemRows;

/// A collection of rows. The number belongs to the stored format and is never used for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// The one row about the relay's data as a whole.
    Meta,
    /// Account id → account.
    Account,
    /// Handle → account id.
    Handle,
    /// Transport key → account and slot.
    Device,
    /// Slot → device, spool epoch and runs.
    Slot,
    /// Account id → sealed manifest.
    Manifest,
    /// Slot → sealed bundle.
    Bundle,
    /// Edge id → edge.
    Edge,
    /// Account id, edge id, and the linker's tag when it is local → nothing.
    OwnedEdge,
    /// Linker's tag, edge id, owner's account id → nothing.
    LinkedEdge,
    /// Invite id → invite.
    Invite,
    /// Account id, invite id → nothing.
    OwnedInvite,
    /// Minute of its end, invite id → nothing.
    InviteEnd,
    /// Hash of a registration token → token.
    Token,
    /// Number of a bucket of deposit marks → when it began.
    MarkBucket,
    /// Blob id → blob.
    Blob,
    /// Account id, blob id, its length → nothing.
    OwnedBlob,
    /// Minute of its end, blob id → nothing.
    BlobEnd,
    /// Hash of an account's proof → account id.
    Proof,
    /// Account id, id of a state, number of a part → that part, sealed.
    State,
}

impl Table {
    /// Every table.
    pub const ALL: &'static [Self] = &[
        Self::Meta,
        Self::Account,
        Self::Handle,
        Self::Device,
        Self::Slot,
        Self::Manifest,
        Self::Bundle,
        Self::Edge,
        Self::OwnedEdge,
        Self::LinkedEdge,
        Self::Invite,
        Self::OwnedInvite,
        Self::InviteEnd,
        Self::Token,
        Self::MarkBucket,
        Self::Blob,
        Self::OwnedBlob,
        Self::BlobEnd,
        Self::Proof,
        Self::State,
    ];

    /// The table's number in storage.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Meta => 1,
            Self::Account => 2,
            Self::Handle => 3,
            Self::Device => 4,
            Self::Slot => 5,
            Self::Manifest => 6,
            Self::Bundle => 7,
            Self::Edge => 8,
            Self::OwnedEdge => 9,
            Self::LinkedEdge => 10,
            Self::Invite => 11,
            Self::OwnedInvite => 12,
            Self::InviteEnd => 13,
            Self::Token => 14,
            Self::MarkBucket => 15,
            Self::Blob => 16,
            Self::OwnedBlob => 17,
            Self::BlobEnd => 18,
            Self::Proof => 19,
            Self::State => 20,
        }
    }

    /// Whether its rows usually live as long as an account, and not hours to weeks.
    #[must_use]
    pub const fn is_long_lived(self) -> bool {
        match self {
            Self::Meta
            | Self::Account
            | Self::Handle
            | Self::Device
            | Self::Slot
            | Self::Manifest
            | Self::Bundle
            | Self::Edge
            | Self::OwnedEdge
            | Self::LinkedEdge
            | Self::Proof
            | Self::State => true,
            Self::Invite
            | Self::OwnedInvite
            | Self::InviteEnd
            | Self::Token
            | Self::MarkBucket
            | Self::Blob
            | Self::OwnedBlob
            | Self::BlobEnd => false,
        }
    }
}

/// Names one queue: a slot's spool, or a bucket of deposit marks. 16 opaque bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Queue(pub [u8; 16]);

/// One change that the machine wants. All changes of a step are committed together, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Sets a row.
    Put {
        /// Where.
        table: Table,
        /// Which, at most 128 bytes.
        key: Vec<u8>,
        /// To what.
        value: Bytes,
    },
    /// Removes a row; an absent one is no error.
    Delete {
        /// Where.
        table: Table,
        /// Which.
        key: Vec<u8>,
    },
    /// Adds a row at the end of a queue, which exists from its first row on.
    Append {
        /// Which queue.
        queue: Queue,
        /// Above every number the queue ever held.
        seq: u64,
        /// Minutes since the Unix epoch.
        minute: u32,
        /// The row.
        bytes: Bytes,
    },
    /// Removes all rows up to and including a number; the queue remembers its last number.
    Ack {
        /// Which queue.
        queue: Queue,
        /// Inclusive.
        up_to: u64,
    },
    /// Removes single rows; absent ones are no error.
    Remove {
        /// Which queue.
        queue: Queue,
        /// At most a few thousand.
        seqs: Vec<u64>,
    },
    /// Removes a queue and the memory of its last number.
    DropQueue {
        /// Which queue.
        queue: Queue,
    },
}

impl Change {
    /// What any change needs beside keys, values and numbers.
    pub(crate) const OVERHEAD: usize = 96;

    /// Upper bound of what the change needs in a log, in bytes.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        Self::OVERHEAD
            + match self {
                Self::Put { key, value, .. } => key.len() + value.len(),
                Self::Delete { key, .. } => key.len(),
                Self::Append { bytes, .. } => bytes.len(),
                Self::Remove { seqs, .. } => seqs.len() * 8,
                Self::Ack { .. } | Self::DropQueue { .. } => 0,
            }
    }

    /// Whether it can only free space.
    #[must_use]
    pub fn frees_space(&self) -> bool {
        match self {
            Self::Put { .. } | Self::Append { .. } => false,
            Self::Delete { .. } | Self::Ack { .. } | Self::Remove { .. } | Self::DropQueue { .. } => true,
        }
    }
}

/// What a queue holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Rows waiting.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Highest number ever appended, waiting or not; 0 when none.
    pub last_seq: u64,
    /// Smallest minute among the rows waiting; `None` when there are none, or when only this step added them.
    pub oldest_minute: Option<u32>,
}

/// One row of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRow {
    /// Its number.
    pub seq: u64,
    /// What was appended.
    pub bytes: Bytes,
}

/// Storage could not be read. The relay cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("storage cannot be read")]
pub struct RowsError(#[source] pub Box<dyn Error + Send + Sync>);

/// Committed state, as the shell's storage holds it.
///
/// Reads see all commits that have returned and nothing else; the machine itself remembers what the present step has
/// changed.
pub trait Rows {
    /// Gives a row's value, or `None`.
    ///
    /// # Errors
    /// [`RowsError`] when storage fails.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, RowsError>;

    /// Lists keys that begin with `prefix`, in order, from after `after`, at most `limit`.
    ///
    /// # Errors
    /// [`RowsError`] when storage fails.
    fn keys(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, RowsError>;

    /// What a queue holds; all zero when it never had a row.
    ///
    /// # Errors
    /// [`RowsError`] when storage fails.
    fn usage(&self, queue: Queue) -> Result<Usage, RowsError>;

    /// Gives rows numbered above `after_seq`, in order: at most `max_rows`, stopping before `max_bytes` is exceeded, but
    /// never empty while a row exists and `max_rows` is not 0.
    ///
    /// # Errors
    /// [`RowsError`] when storage fails.
    fn read(
        &self,
        queue: Queue,
        after_seq: u64,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<Vec<QueueRow>, RowsError>;

    /// Lists queue rows appended before a minute, at most `limit`, grouped by queue.
    ///
    /// # Errors
    /// [`RowsError`] when storage fails.
    fn older_than(&self, minute: u32, limit: usize) -> Result<Vec<(Queue, u64)>, RowsError>;
}
