//! The durable store: the log and its index, together.

mod backup;
mod clean;
mod commit;
mod open;
mod read;
mod replay;
mod verify;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;

use crate::index::catalog::Catalog;
use crate::index::rows::Watermark;
use crate::index::shard::Folded;
use crate::index::{IndexHome, Rebuilt};
use crate::log::batch::LogId;
use crate::log::layout::SegmentNo;
use crate::log::segments::Segments;
use crate::log::writer::Writer;
use crate::{
    Backup, Batch, CloseError, CommitError, Compacted, Finding, LogPosition, Outcome, Progress, ReadError,
    Stats, Store, VerifyReport,
};

pub(crate) use backup::create_target;
pub use open::Options;

/// The durable store: a segmented log as the truth, and an index over it.
///
/// One thread owns it; every call blocks. Opening takes a lock on the folder. The format is described
/// in `docs/protocol.md` §6.
pub struct LogStore {
    log: LogId,
    segments: Segments,
    writer: Writer,
    catalog: Catalog,
    home: Box<dyn IndexHome>,
    max_batch_bytes: usize,
    /// Set by the first failure: everything fails from then on.
    stopped: Cell<bool>,
    /// Whether the writer has gathered anything that changes what the store holds.
    changed: bool,
    /// The segment up to which the index would survive the death of the process.
    flushed_to: SegmentNo,
    cleaning: Option<clean::Cleaning>,
    /// Everything up to this segment is to be written anew: see [`Store::scrub`].
    scrub_to: Option<SegmentNo>,
    /// Segments that cannot be read completely: they stay until repair.
    unmovable: BTreeSet<SegmentNo>,
    opening: Opening,
    /// Released last, when everything else is gone.
    _lock: Box<dyn Send>,
}

/// What opening a store met with: for the log of whoever opens it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opening {
    /// There was no store before.
    pub created: bool,
    /// Worth a look, but nothing is lost: foreign files, a cut tail, bytes past a segment's end.
    pub warnings: Vec<Finding>,
    /// Why the index was rebuilt, if it was.
    pub rebuilt: Option<Rebuilt>,
    /// Damage that repair took out of the log. Acknowledged data may be lost there.
    pub repaired: Vec<Finding>,
}

impl fmt::Debug for LogStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStore").field("writer", &self.writer).finish_non_exhaustive()
    }
}

impl LogStore {
    /// What opening met with.
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    fn stop(&self) {
        self.stopped.set(true);
    }

    /// The watermark of an index that knows all there is.
    fn watermark(&self) -> Watermark {
        Watermark {
            log: self.log.0,
            batch: self.writer.last_number(),
            end: self.writer.end(),
            crc: self.writer.last_crc(),
        }
    }

    fn segment_size(&self) -> usize {
        usize::try_from(self.segments.segment_bytes()).unwrap_or(usize::MAX)
    }
}

impl Store for LogStore {
    fn commit(&mut self, batches: Vec<Batch>) -> Result<Vec<Outcome>, CommitError> {
        if self.stopped.get() {
            return Err(CommitError::Stopped);
        }
        let outcomes = self.commit_all(batches);
        self.stop_on_error(outcomes)
    }

    fn log_end(&self) -> LogPosition {
        LogPosition { log: self.log.0, commit: self.writer.last_number() }
    }

    fn compact(&mut self, budget_bytes: u64) -> Result<Compacted, CommitError> {
        if self.stopped.get() {
            return Err(CommitError::Stopped);
        }
        let compacted = self.compact_step(budget_bytes);
        self.stop_on_error(compacted)
    }

    fn scrub(&mut self) -> Result<bool, CommitError> {
        if self.stopped.get() {
            return Err(CommitError::Stopped);
        }
        let begun = self.begin_scrub();
        self.stop_on_error(begun)
    }

    fn is_scrubbing(&self) -> bool {
        self.scrub_to.is_some()
    }

    fn stats(&self) -> Stats {
        let files = self.segments.existing().len() + self.segments.spares();
        Stats {
            segments: files as u64,
            spare_segments: self.segments.spares() as u64,
            disk_bytes: files as u64 * self.segments.segment_bytes(),
            live_bytes: self.catalog.live_bytes(),
            pending_rows: self.catalog.pending() as u64,
            full: self.segments.is_full() || self.catalog.is_postponed(),
            commit: self.writer.last_number(),
        }
    }

    fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Result<VerifyReport, ReadError> {
        self.check_running()?;
        self.verify_all(progress)
    }

    fn backup(&self) -> Result<Box<dyn Backup>, ReadError> {
        self.check_running()?;
        Ok(Box::new(self.snapshot()?))
    }

    fn close(self: Box<Self>) -> Result<LogPosition, CloseError> {
        if self.stopped.get() {
            return Err(CloseError::Stopped);
        }
        let (end, watermark) = (self.log_end(), self.watermark());
        let Self { mut catalog, mut home, .. } = *self;
        if catalog.fold(watermark)? == Folded::Done && catalog.flush()? == Folded::Done {
            home.close(end.log, catalog.into_bases(), end.commit)?;
        }
        Ok(end)
    }
}

#[cfg(test)]
mod tests;
