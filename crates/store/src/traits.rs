//! The traits every backend implements. All calls block; one thread owns a store.

use std::path::Path;

use bytes::Bytes;

use crate::{
    BackupError, Batch, CloseError, CommitError, LogPosition, Outcome, QueueId, ReadError, Row, Table, Usage,
};

/// Reading tables.
pub trait KvStore {
    /// Gives a row's value, or `None`.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, ReadError>;

    /// Lists rows whose key begins with `prefix`, in key order, from after `after`, at most `limit`.
    ///
    /// To continue, pass the last key received as `after`.
    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, ReadError>;

    /// As [`Self::scan`], keys only: does not touch the log.
    fn keys(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, ReadError>;
}

/// A row due for expiry, as [`SpoolStore::older_than`] lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Queued {
    /// In which queue.
    pub queue: QueueId,
    /// Which row.
    pub seq: u64,
}

/// Reading queues.
pub trait SpoolStore {
    /// Gives rows numbered above `after_seq`, in order: at most `max_rows`, and stopping before
    /// `max_bytes` is exceeded, but never empty while a row exists and `max_rows` is not 0.
    fn read(
        &self,
        queue: QueueId,
        after_seq: u64,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<Vec<Row>, ReadError>;

    /// What the queue holds; `None` if it was never appended to, or was dropped.
    ///
    /// Costs one look-up, whatever the number of rows.
    fn usage(&self, queue: QueueId) -> Result<Option<Usage>, ReadError>;

    /// Lists queues in order, from after `after`, at most `limit`.
    fn queues(&self, after: Option<QueueId>, limit: usize) -> Result<Vec<(QueueId, Usage)>, ReadError>;

    /// Lists rows whose minute is before `minute`, queue by queue from after `after`, at most `limit`.
    ///
    /// Remove them (with [`Op::Remove`](crate::Op::Remove)) and ask again until the answer is empty.
    /// Costs one look at each queue, and rows only of queues that have something due.
    fn older_than(&self, minute: u32, after: Option<Queued>, limit: usize) -> Result<Vec<Queued>, ReadError>;
}

/// What a store is doing for long enough to show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Task {
    /// Reading the log's end after a crash.
    Recover,
    /// Rebuilding the index from the whole log.
    Rebuild,
    /// Checking the whole log.
    Verify,
    /// Copying to a backup.
    Copy,
}

/// How far a task is; both numbers are bytes, except that a backend may count rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which task.
    pub task: Task,
    /// Done so far.
    pub done: u64,
    /// All there is to do.
    pub total: u64,
}

/// What one step of [`Store::compact`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Live bytes written again.
    pub moved_bytes: u64,
    /// Files removed.
    pub freed_segments: u64,
    /// Whether another step would do more.
    pub more: bool,
}

/// Sizes of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Log files, prepared ones included.
    pub segments: u64,
    /// Of those, empty and prepared ahead.
    pub spare_segments: u64,
    /// Bytes of all log files.
    pub disk_bytes: u64,
    /// Bytes of records that still count.
    pub live_bytes: u64,
    /// Rows in memory that the index does not have yet.
    pub pending_rows: u64,
    /// Whether the last attempt to grow, or to write the index, found the disk full.
    pub full: bool,
    /// Where the log ends.
    pub commit: u64,
}

/// A problem found by [`Store::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// File name, or what else is concerned.
    pub place: String,
    /// Byte offset, where it makes sense.
    pub offset: Option<u64>,
    /// What is wrong.
    pub detail: String,
}

/// What [`Store::verify`] saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Log files read.
    pub segments: u64,
    /// Batches whose checksum holds.
    pub batches: u64,
    /// Table rows that count.
    pub rows: u64,
    /// Queue rows that count.
    pub queued: u64,
    /// Everything wrong; empty is good.
    pub findings: Vec<Finding>,
}

/// What was written to a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupReport {
    /// The state it holds.
    pub position: LogPosition,
    /// Bytes written.
    pub bytes: u64,
}

/// A consistent copy being made. It holds what it needs: the store goes on, and may even be closed.
pub trait Backup: Send {
    /// Writes a folder that [`LogStore::open`](crate::LogStore::open) opens: created here, must not
    /// exist or be empty; durable on return.
    fn write_to(
        self: Box<Self>,
        dir: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<BackupReport, BackupError>;
}

/// A store: tables and queues, changed by atomic batches.
///
/// # Contract
///
/// - Reads see exactly what commits have returned; a commit that failed fatally may or may not have
///   happened, which the next opening decides.
/// - After [`CommitError`] every call fails: drop the store and open it again.
/// - `compact` is called when idle, and from time to time under load; without it the log only grows.
pub trait Store: KvStore + SpoolStore + Send {
    /// Applies batches in order and returns when all that happened are on disk, with one outcome for
    /// each. What waits together belongs in one call: it shares one write and one sync.
    fn commit(&mut self, batches: Vec<Batch>) -> Result<Vec<Outcome>, CommitError>;

    /// Where history ends now: the mark to keep elsewhere.
    fn log_end(&self) -> LogPosition;

    /// Does a bounded piece of housekeeping: writes what is pending into the index, moves live rows
    /// out of mostly dead files (at most about `budget_bytes`), removes dead files.
    fn compact(&mut self, budget_bytes: u64) -> Result<Compacted, CommitError>;

    /// Has [`Self::compact`] write anew everything stored so far, so that no byte of what was removed is left in the
    /// log's files; over when [`Self::is_scrubbing`] says no. The index may keep keys of removed rows until it is
    /// rebuilt. `false`: there is no room even for beginning.
    fn scrub(&mut self) -> Result<bool, CommitError>;

    /// Whether a scrub is under way.
    fn is_scrubbing(&self) -> bool;

    /// Sizes, at no cost.
    fn stats(&self) -> Stats;

    /// Reads everything and reports what is wrong; changes nothing.
    fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Result<VerifyReport, ReadError>;

    /// Takes a consistent copy as of now, to be written by any thread while the store goes on.
    fn backup(&self) -> Result<Box<dyn Backup>, ReadError>;

    /// Ends cleanly, so that the next opening is quick. Dropping without it is safe, and slower to reopen.
    fn close(self: Box<Self>) -> Result<LogPosition, CloseError>;
}
