//! Committing: conditions, records, one write and one sync, and what follows from a full disk.

use std::io;

use super::LogStore;
use crate::index::catalog::At;
use crate::index::queue::Span;
use crate::index::shard::Folded;
use crate::log::layout::{Pos, segment_name};
use crate::log::record::{Grave, Record};
use crate::log::segments::Room;
use crate::log::writer::Need;
use crate::{Batch, CommitError, Expect, IndexError, Op, Outcome, QueueId, ReadError, Want};

/// Rows that may gather outside the index's map before a commit folds them into it.
///
/// Bounds memory, and the time to replay after the death of the process.
const FOLD_ROWS: usize = 16_384;

/// Rows that may gather while a fold is under way before commits wait for it.
const MAX_PENDING_ROWS: usize = 4 * FOLD_ROWS;

/// Rows held in memory for want of room on the disk beyond which nothing is taken any more, not even what
/// frees space: some 40 MiB. While any are held, nothing that grows is taken.
pub(super) const MAX_HELD_ROWS: usize = 262_144;

/// Segments written since the last fold after which a commit folds, however few rows wait.
const FOLD_SEGMENTS: u32 = 16;

impl LogStore {
    /// Remembers that the store has failed, and what the next opening must not trust.
    pub(super) fn stop_on_error<T>(&mut self, result: Result<T, CommitError>) -> Result<T, CommitError> {
        if let Err(error) = &result {
            self.stop();
            if matches!(error, CommitError::Index(_) | CommitError::Read(ReadError::Index(_))) {
                self.home.distrust();
            }
        }
        result
    }

    pub(super) fn commit_all(&mut self, batches: Vec<Batch>) -> Result<Vec<Outcome>, CommitError> {
        let mut outcomes = Vec::with_capacity(batches.len());
        for batch in batches {
            outcomes.push(self.commit_one(batch)?);
        }
        self.flush()?;
        self.fold_when_due()?;
        self.prepare_spares()?;
        Ok(outcomes)
    }

    fn commit_one(&mut self, batch: Batch) -> Result<Outcome, CommitError> {
        for (index, expect) in batch.expect.iter().enumerate() {
            if !self.holds(expect)? {
                return Ok(Outcome::Conflict { expect: index });
            }
        }
        let last_seq = |queue| Ok::<_, IndexError>(self.catalog.queue(queue)?.map(|state| state.last));
        if let Err(refusal) = batch.check(self.max_batch_bytes, last_seq)? {
            return Ok(Outcome::Refused(refusal));
        }
        if batch.ops.is_empty() {
            return Ok(Outcome::Done);
        }
        let need = if batch.reserve || batch.frees_space() { Need::Free } else { Need::Grow };
        if !self.make_room(batch.stored_bytes(), need)? {
            return Ok(Outcome::Full);
        }
        for op in batch.ops {
            self.apply(&op)?;
        }
        Ok(Outcome::Done)
    }

    fn holds(&self, expect: &Expect) -> Result<bool, CommitError> {
        let place = self.catalog.find(expect.table, &expect.key)?;
        Ok(match (&expect.want, place) {
            (Want::Absent, place) => place.is_none(),
            (Want::Present, place) => place.is_some(),
            (Want::Value(_), None) => false,
            (Want::Value(value), Some(place)) => {
                // Unequal checksums spare reading; equal ones prove nothing.
                place.crc == crc32c::crc32c(value) && self.value(&place)? == *value
            }
        })
    }

    /// Makes sure that so many bytes of records fit into the active segment. `false`: the disk is full.
    pub(super) fn make_room(&mut self, bytes: usize, need: Need) -> Result<bool, CommitError> {
        let held = if self.catalog.is_postponed() { self.catalog.held() } else { 0 };
        let refused = match need {
            Need::Grow => held > 0,
            Need::Free => held >= MAX_HELD_ROWS,
            Need::Unlink => false,
        };
        if refused {
            return Ok(false);
        }
        // What is left of the last segment that could be had is kept for what frees space.
        if need == Need::Grow
            && self.segments.is_full()
            && self.segments.spares() == 0
            && self.require_spares(1)? == Room::DiskFull
        {
            return Ok(false);
        }
        if self.writer.has_room(bytes, need) {
            return Ok(true);
        }
        Ok(self.rotate(need)? && self.writer.has_room(bytes, need))
    }

    /// Ends the active segment and goes on in the next. `false`: there is none, and no room for one.
    pub(super) fn rotate(&mut self, need: Need) -> Result<bool, CommitError> {
        // One spare stays behind as the reserve, unless this is what the reserve is for.
        let spares = if need == Need::Grow { 2 } else { 1 };
        if self.require_spares(spares)? == Room::DiskFull {
            return Ok(false);
        }
        self.flush()?;
        let sealed = self.writer.segment();
        self.writer.seal().map_err(|(action, source)| fatal(action, sealed, source))?;
        self.advance()
    }

    /// Goes on in the next segment, this one being sealed.
    pub(super) fn advance(&mut self) -> Result<bool, CommitError> {
        let Some(segment) = self.segments.take_spare() else { return Ok(false) };
        let file = self.segments.file(segment).map_err(|source| fatal("open", segment, source))?;
        self.writer.turn_to(segment, file);
        self.begin_segment();
        Ok(true)
    }

    /// The first record of a segment tells which others exist.
    pub(super) fn begin_segment(&mut self) {
        let ranges = self.segments.ranges();
        self.writer.push(Record::SegmentSet { ranges });
    }

    /// Writes and syncs what changed, if anything did.
    pub(super) fn flush(&mut self) -> Result<(), CommitError> {
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        let segment = self.writer.segment();
        self.writer.flush().map_err(|(action, source)| fatal(action, segment, source))
    }

    /// Adds a record to what is gathered, and to the index.
    pub(super) fn record(&mut self, record: Record<'_>) -> Result<(), CommitError> {
        self.changed = true;
        let at = At { segment: self.writer.segment(), batch: self.writer.next_number() };
        let placed = self.writer.push(record);
        Ok(self.catalog.apply(at, &placed)?)
    }

    fn apply(&mut self, op: &Op) -> Result<(), CommitError> {
        match op {
            Op::Put { table, key, value } => self.record(Record::Put { table: *table, key, value }),
            Op::Delete { table, key } => {
                let Some(old) = self.catalog.find(*table, key)? else { return Ok(()) };
                self.record(Record::Delete { grave: fresh(Span::of(&old)), table: *table, key })
            }
            Op::Append { queue, seq, minute, bytes } => {
                self.record(Record::Append { queue: *queue, seq: *seq, minute: *minute, bytes })
            }
            Op::Ack { queue, up_to } => self.apply_ack(*queue, *up_to),
            Op::Remove { queue, seqs } => self.apply_remove(*queue, seqs),
            Op::DropQueue { queue } => {
                let Some(state) = self.catalog.queue(*queue)? else { return Ok(()) };
                let span = Span { first: state.since, last: self.writer.segment() };
                self.record(Record::DropQueue { grave: fresh(span), queue: *queue })
            }
        }
    }

    fn apply_ack(&mut self, queue: QueueId, up_to: u64) -> Result<(), CommitError> {
        match self.catalog.queue(queue)? {
            Some(state) if state.rows > 0 && state.first <= up_to => {
                // Never beyond the last row: later ones must not be born dead.
                let up_to = up_to.min(state.last);
                self.record(Record::Floor { queue, up_to, last: state.last })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn apply_remove(&mut self, queue: QueueId, seqs: &[u64]) -> Result<(), CommitError> {
        let (Some(state), Some(span)) = (self.catalog.queue(queue)?, self.catalog.span_of(queue, seqs)?)
        else {
            return Ok(());
        };
        let takes_last = seqs.contains(&state.last) && self.catalog.queued(queue, state.last)?.is_some();
        self.record(Record::Remove { grave: fresh(span), queue, seqs: seqs.to_vec() })?;
        if takes_last {
            // The row that told the last number is gone: something else must.
            let up_to = state.floor.map_or(0, |floor| floor.up_to);
            self.record(Record::Floor { queue, up_to, last: state.last })?;
        }
        Ok(())
    }

    /// Moves what gathered in memory into the index's maps.
    pub(super) fn fold(&mut self) -> Result<Folded, CommitError> {
        Ok(self.catalog.fold(self.watermark())?)
    }

    /// Has that done beside what follows.
    pub(super) fn fold_beside(&mut self) -> Result<(), CommitError> {
        Ok(self.catalog.fold_beside(self.watermark())?)
    }

    fn fold_when_due(&mut self) -> Result<(), CommitError> {
        if self.fold_postponed()? {
            return Ok(());
        }
        let folded =
            self.catalog.watermarks().map_or(0, |[short, long]| short.end.segment.min(long.end.segment));
        let behind = self.writer.segment().saturating_sub(folded);
        self.wait_for_fold()?;
        if self.catalog.pending() >= FOLD_ROWS || behind >= FOLD_SEGMENTS {
            self.fold_beside()?;
        }
        Ok(())
    }

    /// Has the other thread catch up, when more gathered than may.
    fn wait_for_fold(&mut self) -> Result<(), IndexError> {
        if self.catalog.pending() >= MAX_PENDING_ROWS { self.catalog.finish_fold() } else { Ok(()) }
    }

    /// Whether a fold waits for room; begins it again when there may be some.
    pub(super) fn fold_postponed(&mut self) -> Result<bool, CommitError> {
        let working = self.catalog.is_folding()?;
        if self.catalog.is_postponed() && !working && self.home.has_room() {
            self.fold_beside()?;
        }
        Ok(self.catalog.is_postponed())
    }

    /// Has files made ahead of need: the reserve always, the next one when this one is half full.
    pub(super) fn prepare_spares(&mut self) -> Result<(), CommitError> {
        let spares = if self.writer.filled() > self.segment_size() / 2 { 2 } else { 1 };
        self.segments.prepare(spares).map_err(|source| CommitError::Fatal {
            action: "create",
            file: "the next segment".to_owned(),
            source,
        })
    }

    fn require_spares(&mut self, spares: usize) -> Result<Room, CommitError> {
        self.segments.require(spares).map_err(|source| CommitError::Fatal {
            action: "create",
            file: "the next segment".to_owned(),
            source,
        })
    }
}

pub(super) fn fatal(action: &'static str, segment: u32, source: io::Error) -> CommitError {
    CommitError::Fatal { action, file: segment_name(segment), source }
}

fn fresh(span: Span) -> Grave {
    Grave { first: span.first, last: span.last, limit: Pos::START }
}
