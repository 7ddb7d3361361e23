//! Housekeeping: dead segments are unlinked, mostly dead ones emptied into the active one first.
//!
//! A moved record keeps its meaning: a put or row that is current stays current at its new place; a
//! tombstone is moved with the limit "kills only what lies before my first place" and only while a
//! segment with possible victims exists. Before a segment is unlinked the index must have left it
//! behind for good, because replay could not read it any more.

use super::LogStore;
use super::commit::fatal;
use crate::index::rows::Tally;
use crate::index::shard::Folded;
use crate::log::batch::Parsed;
use crate::log::layout::{Pos, SegmentNo, offset_usize, segment_name, set_aside_name};
use crate::log::record::{Grave, Placed, Record, unlink_size};
use crate::log::recover::{Found, SegmentReader, Unreadable};
use crate::log::writer::Need;
use crate::{CommitError, Compacted, Finding};

/// Rows waiting outside the index's map from which an idle store folds them.
const IDLE_FOLD_ROWS: usize = 1024;

/// A segment being emptied.
#[derive(Debug)]
pub(super) struct Cleaning {
    reader: SegmentReader,
    /// Where the next batch begins.
    offset: u32,
    /// Number of the last batch seen.
    last: u64,
    /// Bad batches are skipped, and the file is kept under another name: repair.
    salvage: bool,
}

impl From<Unreadable> for CommitError {
    fn from(error: Unreadable) -> Self {
        fatal("read", error.segment, error.source)
    }
}

/// What is being emptied.
#[derive(Clone, Copy, Debug)]
struct Emptied {
    segment: SegmentNo,
    salvage: bool,
}

/// What became of moving a batch.
enum Moved {
    All,
    /// All, and the segment ends here.
    Seal,
    NoRoom,
}

/// What to do next.
enum Choice {
    Unlink(Vec<SegmentNo>),
    Empty(SegmentNo),
    /// The active segment is mostly dead: end it early, so that it can be emptied.
    Rotate,
    Nothing,
}

impl LogStore {
    /// Marks everything written so far as to be emptied, oldest first: tombstones then find their victims gone, and
    /// end where they are.
    pub(super) fn begin_scrub(&mut self) -> Result<bool, CommitError> {
        let active = self.writer.segment();
        let last = if self.writer.at_beginning() {
            active.saturating_sub(1)
        } else if self.rotate(Need::Free)? {
            active
        } else {
            return Ok(false);
        };
        // A segment emptied halfway has tombstones ahead of their turn: it is begun again.
        self.cleaning = None;
        self.scrub_to = Some(last);
        self.end_scrub();
        Ok(true)
    }

    fn end_scrub(&mut self) {
        let left = |last: SegmentNo| self.segments.existing().range(..=last).next().is_some();
        if self.scrub_to.is_some_and(|last| !left(last)) {
            self.scrub_to = None;
        }
    }

    pub(super) fn compact_step(&mut self, budget_bytes: u64) -> Result<Compacted, CommitError> {
        self.segments.look_again().map_err(|source| CommitError::Fatal {
            action: "create",
            file: "the next segment".to_owned(),
            source,
        })?;
        if !self.fold_postponed()? && self.catalog.pending() >= IDLE_FOLD_ROWS {
            self.fold_beside()?;
        }
        let (mut done, mut rotated) = (Compacted::default(), false);
        if self.cleaning.is_none() {
            match self.choose() {
                Choice::Unlink(segments) => {
                    if self.unlink(&segments, false)? {
                        done.freed_segments += segments.len() as u64;
                    }
                }
                Choice::Empty(segment) => self.cleaning = Some(self.start_cleaning(segment, false)?),
                Choice::Rotate => {
                    rotated = self.rotate(Need::Free)?;
                }
                Choice::Nothing => {}
            }
        }
        if let Some(cleaning) = self.cleaning.take() {
            self.clean(cleaning, budget_bytes, &mut done)?;
        }
        self.end_scrub();
        self.prepare_spares()?;
        let progressed = done != Compacted::default() || rotated || self.cleaning.is_some();
        done.more = progressed && (self.cleaning.is_some() || !matches!(self.choose(), Choice::Nothing));
        Ok(done)
    }

    fn choose(&self) -> Choice {
        let active = self.writer.segment();
        let sealed = || {
            let existing = self.segments.existing().iter().copied();
            existing.filter(|segment| *segment != active && !self.unmovable.contains(segment))
        };
        if let Some(segment) = self.scrub_to.and_then(|last| sealed().find(|segment| *segment <= last)) {
            return Choice::Empty(segment);
        }
        let dead: Vec<SegmentNo> = sealed().filter(|segment| self.burden(*segment) == 0).collect();
        if !dead.is_empty() {
            return Choice::Unlink(dead);
        }
        let half = self.segments.segment_bytes() / 2;
        if let Some((burden, segment)) = sealed().map(|segment| (self.burden(segment), segment)).min()
            && burden < half
        {
            return Choice::Empty(segment);
        }
        let files = self.segments.existing().len() + self.segments.spares();
        let mostly_dead = self.writer.filled() as u64 > half && self.burden(active) < half / 2;
        if files > 2 && self.segments.spares() > 0 && mostly_dead { Choice::Rotate } else { Choice::Nothing }
    }

    /// Bytes of a segment that would have to be moved; 0 only when nothing in it counts.
    fn burden(&self, segment: SegmentNo) -> u64 {
        let one = |tally: Tally| {
            let graves = if self.segments.any_in(tally.grave_first, tally.grave_last, segment) {
                tally.grave_bytes
            } else {
                0
            };
            // A record that counts makes the segment count, whatever the bytes say.
            u64::from(tally.live_bytes) + u64::from(graves) + u64::from(tally.live_records)
        };
        self.catalog.tallies(segment).into_iter().map(one).sum()
    }

    pub(super) fn start_cleaning(&self, segment: SegmentNo, salvage: bool) -> Result<Cleaning, CommitError> {
        let file = self.segments.file(segment).map_err(|source| fatal("open", segment, source))?;
        let reader = SegmentReader::new(self.log, segment, file, self.segments.segment_bytes());
        Ok(Cleaning { reader, offset: 0, last: 0, salvage })
    }

    /// Moves what counts, batch by batch, and unlinks the segment when its end is reached.
    pub(super) fn clean(
        &mut self,
        mut cleaning: Cleaning,
        budget_bytes: u64,
        done: &mut Compacted,
    ) -> Result<(), CommitError> {
        let budget_bytes = budget_bytes.max(1);
        let segment = cleaning.reader.segment();
        let emptied = Emptied { segment, salvage: cleaning.salvage };
        loop {
            if done.moved_bytes >= budget_bytes {
                self.flush()?;
                self.cleaning = Some(cleaning);
                return Ok(());
            }
            if let Parsed::Batch(batch) = cleaning.reader.parse_at(cleaning.offset)? {
                let found = Found { offset: cleaning.offset, batch };
                match self.move_batch(emptied, &found, done)? {
                    Moved::All => {}
                    Moved::Seal => break,
                    // Begun again when there is room.
                    Moved::NoRoom => return self.flush(),
                }
                (cleaning.offset, cleaning.last) = (found.end(), batch.number);
            } else if !cleaning.salvage {
                // Damaged since it was written: what is behind may count, so it is not touched.
                self.unmovable.insert(segment);
                return self.flush();
            } else if let Some(next) = cleaning.reader.next_valid(cleaning.offset, cleaning.last)? {
                cleaning.offset = next;
            } else {
                break;
            }
        }
        if self.unlink(&[segment], cleaning.salvage)? {
            done.freed_segments += 1;
        }
        Ok(())
    }

    /// Moves the records of one batch that count.
    fn move_batch(
        &mut self,
        emptied: Emptied,
        found: &Found<'_>,
        done: &mut Compacted,
    ) -> Result<Moved, CommitError> {
        let mut moved = Moved::All;
        for placed in found.records() {
            let Ok(placed) = placed else { continue };
            if matches!(placed.record, Record::Seal) {
                moved = Moved::Seal;
            }
            if let Some(record) = self.still_counts(emptied, &placed)? {
                // Moving frees space in the end, so it may use the reserve.
                if !self.make_room(offset_usize(placed.size), Need::Free)? {
                    return Ok(Moved::NoRoom);
                }
                done.moved_bytes += u64::from(placed.size);
                self.record(record)?;
            }
        }
        Ok(moved)
    }

    /// The record as it must be written again; `None` when nothing depends on it.
    fn still_counts<'a>(
        &self,
        emptied: Emptied,
        placed: &Placed<'a>,
    ) -> Result<Option<Record<'a>>, CommitError> {
        let segment = emptied.segment;
        let value_at = Pos { segment, offset: placed.value_offset };
        let here = Pos { segment, offset: placed.offset };
        let moved = |grave: &Grave| {
            let limit = if grave.limit == Pos::START { here } else { grave.limit };
            let (mut first, mut last) = (grave.first, grave.last);
            if emptied.salvage {
                // The tombstone of an earlier row may be lost: that row, in any segment, is a victim of this one now.
                first = self.segments.existing().first().map_or(first, |lowest| first.min(*lowest));
                last = last.max(limit.segment);
            }
            let needed = self.segments.any_in(first, last, segment);
            needed.then_some(Grave { first, last, limit })
        };
        let counts = match &placed.record {
            Record::Put { table, key, .. } => {
                self.catalog.find(*table, key)?.is_some_and(|place| place.pos() == value_at)
            }
            Record::Append { queue, seq, .. } => {
                self.catalog.queued(*queue, *seq)?.is_some_and(|row| row.place.pos() == value_at)
            }
            Record::Floor { queue, .. } => {
                let floor = self.catalog.queue(*queue)?.and_then(|state| state.floor);
                floor.is_some_and(|floor| floor.pos == here)
            }
            Record::Delete { grave, table, key } => {
                return Ok(moved(grave).map(|grave| Record::Delete { grave, table: *table, key }));
            }
            Record::Remove { grave, queue, seqs } => {
                return Ok(moved(grave).map(|grave| Record::Remove {
                    grave,
                    queue: *queue,
                    seqs: seqs.clone(),
                }));
            }
            Record::DropQueue { grave, queue } => {
                return Ok(moved(grave).map(|grave| Record::DropQueue { grave, queue: *queue }));
            }
            // The newest segment's set, and what was unlinked since, is all that recovery reads.
            Record::SegmentSet { .. } | Record::Unlink { .. } | Record::Seal => false,
        };
        Ok(counts.then(|| placed.record.clone()))
    }

    /// Declares segments gone, durably, then removes their files (or keeps them under another name).
    /// `false`: there is no room even for saying so.
    pub(super) fn unlink(&mut self, segments: &[SegmentNo], keep: bool) -> Result<bool, CommitError> {
        self.flush()?;
        if segments.iter().any(|segment| *segment >= self.flushed_to) {
            if self.writer.at_beginning() {
                // The last batch must not lie in what is about to go: write the segment's first one.
                self.changed = true;
                self.flush()?;
            }
            // Without room for it, an index left behind by the death of the process lacks segments that it needs: the next
            // opening sees that and rebuilds it.
            if self.fold()? == Folded::Done && self.catalog.flush()? == Folded::Done {
                self.flushed_to = self.writer.end().segment;
            }
        }
        let record = Record::Unlink { segments: segments.to_vec() };
        if !self.make_room(unlink_size(segments.len()), Need::Unlink)? {
            return Ok(false);
        }
        self.record(record)?;
        self.flush()?;
        for segment in segments {
            self.catalog.forget_segment(*segment);
            let keep_as = keep.then(|| set_aside_name(*segment));
            self.segments.discard(*segment, keep_as).map_err(|source| fatal("remove", *segment, source))?;
        }
        Ok(true)
    }

    /// Takes damaged segments out of the log, keeping what can be read of them. `None`: there is no room for that.
    pub(super) fn set_aside(&mut self, segments: &[SegmentNo]) -> Result<Option<Vec<Finding>>, CommitError> {
        let mut findings = Vec::new();
        for segment in segments {
            let cleaning = self.start_cleaning(*segment, true)?;
            let mut done = Compacted::default();
            self.clean(cleaning, u64::MAX, &mut done)?;
            if done.freed_segments == 0 {
                return Ok(None);
            }
            findings.push(Finding {
                place: segment_name(*segment),
                offset: None,
                detail: format!(
                    "kept as {}; {} bytes that could be read were moved",
                    set_aside_name(*segment),
                    done.moved_bytes
                ),
            });
        }
        Ok(Some(findings))
    }
}
