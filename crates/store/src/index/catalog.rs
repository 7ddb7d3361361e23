//! What records mean: the one place where a record, fresh or replayed, changes the index.
//!
//! A record that replaces or kills another takes its bytes off the tally of the segment where the
//! other lies. Tombstones carry a [`Grave`] and are tallied apart: they count while a segment of their
//! range exists.

use super::folder::Folder;
use std::cell::RefCell;
use std::collections::BTreeMap;

use super::queue::Resident;
use super::rows::{Place, QUEUED_FROM, QUEUED_TO, ROWS_TO, Tally, Value, Watermark, row_key};
use super::shard::{Fold, Folded, Shard};
use super::{Bases, IndexRow};
use crate::log::layout::{Pos, SegmentNo};
use crate::log::record::{Grave, Placed, Record, put_size};
use crate::{IndexError, Life, QueueId, Table};

/// The index as the engine sees it.
#[derive(Debug)]
pub(crate) struct Catalog {
    pub(super) short: Shard,
    long: Shard,
    /// Queues used since the last fold.
    pub(super) residents: RefCell<BTreeMap<QueueId, Resident>>,
    folder: Folder,
    /// Whether a fold found no room and waits in memory.
    postponed: bool,
}

/// A record's place in the log, for [`Catalog::apply`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) segment: SegmentNo,
    pub(crate) batch: u64,
}

impl Catalog {
    pub(crate) fn open(bases: Bases, in_background: bool) -> Result<Self, IndexError> {
        let folder = if in_background { Folder::start() } else { Folder::none() };
        Ok(Self {
            short: Shard::open(bases.short)?,
            long: Shard::open(bases.long)?,
            residents: RefCell::default(),
            folder,
            postponed: false,
        })
    }

    /// The maps alone; what is not folded is lost to them.
    pub(crate) fn into_bases(self) -> Bases {
        // The other thread holds the maps as long as it lives.
        drop(self.folder);
        Bases { short: self.short.into_base(), long: self.long.into_base() }
    }

    /// The watermarks of both maps; `None` when either was never folded into.
    pub(crate) fn watermarks(&self) -> Option<[Watermark; 2]> {
        Some([*self.short.watermark()?, *self.long.watermark()?])
    }

    /// Whether only one map was ever folded into: no log can complete the other when segments are gone.
    pub(crate) fn is_half(&self) -> bool {
        self.short.watermark().is_some() != self.long.watermark().is_some()
    }

    pub(crate) fn pending(&self) -> usize {
        self.short.pending() + self.long.pending()
    }

    /// Rows in memory, those being folded among them.
    pub(crate) fn held(&self) -> usize {
        self.short.held() + self.long.held()
    }

    /// Whether a fold found no room on the disk. What is in memory is right and stays; folding tries it again.
    pub(crate) fn is_postponed(&self) -> bool {
        self.postponed
    }

    /// Moves what gathered in memory into the maps, and returns when that is done.
    pub(crate) fn fold(&mut self, watermark: Watermark) -> Result<Folded, IndexError> {
        self.finish_fold()?;
        if self.postponed {
            let folds = self.begin_fold(watermark);
            let ended = Fold::run_all(&folds)?;
            self.ended(ended);
        }
        if !self.postponed {
            let folds = self.begin_fold(watermark);
            let ended = Fold::run_all(&folds)?;
            self.ended(ended);
        }
        Ok(if self.postponed { Folded::NoRoom } else { Folded::Done })
    }

    /// Has it done by the second thread, if there is one and it has nothing to do.
    pub(crate) fn fold_beside(&mut self, watermark: Watermark) -> Result<(), IndexError> {
        if !self.folder.exists() {
            return self.fold(watermark).map(|_| ());
        }
        if self.is_folding()? {
            return Ok(());
        }
        let folds = self.begin_fold(watermark);
        self.folder.ask(folds)
    }

    /// A postponed fold is the same one again.
    fn begin_fold(&mut self, watermark: Watermark) -> [Fold; 2] {
        // What is known of queues says which rows lie below the overlay, which is another one now.
        self.residents.get_mut().clear();
        [self.short.begin_fold(watermark), self.long.begin_fold(watermark)]
    }

    /// Whether the second thread is at work; takes note when it is done.
    pub(crate) fn is_folding(&mut self) -> Result<bool, IndexError> {
        if let Some(ended) = self.folder.poll()? {
            self.ended(ended);
        }
        Ok(self.folder.is_busy())
    }

    /// Waits for the second thread.
    pub(crate) fn finish_fold(&mut self) -> Result<(), IndexError> {
        if let Some(ended) = self.folder.wait()? {
            self.ended(ended);
        }
        Ok(())
    }

    fn ended(&mut self, ended: Folded) {
        self.postponed = ended == Folded::NoRoom;
        if !self.postponed {
            self.short.folded();
            self.long.folded();
        }
    }

    /// Hands the maps to the operating system, so that they survive the process. With [`Folded::NoRoom`], they may not.
    pub(crate) fn flush(&mut self) -> Result<Folded, IndexError> {
        match self.short.flush().and_then(|()| self.long.flush()) {
            Ok(()) => Ok(Folded::Done),
            Err(IndexError::Full) => Ok(Folded::NoRoom),
            Err(error) => Err(error),
        }
    }

    fn shard(&self, life: Life) -> &Shard {
        match life {
            Life::Short => &self.short,
            Life::Long => &self.long,
        }
    }

    fn shard_mut(&mut self, life: Life) -> &mut Shard {
        match life {
            Life::Short => &mut self.short,
            Life::Long => &mut self.long,
        }
    }

    /// Applies one record. Replayed batches that a map has already are skipped for that map.
    pub(crate) fn apply(&mut self, at: At, placed: &Placed<'_>) -> Result<(), IndexError> {
        let life = match &placed.record {
            Record::Put { table, .. } | Record::Delete { table, .. } => table.life,
            Record::Append { .. }
            | Record::Floor { .. }
            | Record::Remove { .. }
            | Record::DropQueue { .. } => Life::Short,
            Record::SegmentSet { .. } | Record::Unlink { .. } | Record::Seal => return Ok(()),
        };
        if self.shard(life).watermark().is_some_and(|watermark| at.batch <= watermark.batch) {
            return Ok(());
        }
        let here = Pos { segment: at.segment, offset: placed.offset };
        match &placed.record {
            Record::Put { table, key, value } => {
                self.put(*table, key, place(at.segment, placed.value_offset, value))?;
            }
            Record::Delete { grave, table, key } => {
                let limit = grave.limit_at(here);
                if let Some(old) = self.find(*table, key)?.filter(|old| old.pos() <= limit) {
                    self.shard_mut(life).delete(&row_key(*table, key));
                    self.retire(life, old.segment, put_size(key.len(), old.len));
                }
                self.bury(life, at.segment, placed.size, grave);
            }
            Record::Append { queue, seq, minute, bytes } => {
                self.append(*queue, *seq, *minute, place(at.segment, placed.value_offset, bytes))?;
            }
            Record::Floor { queue, up_to, last } => self.set_floor(*queue, *up_to, *last, here)?,
            Record::Remove { grave, queue, seqs } => {
                self.remove(*queue, seqs, grave.limit_at(here))?;
                self.bury(life, at.segment, placed.size, grave);
            }
            Record::DropQueue { grave, queue } => {
                self.drop_queue(*queue, grave.limit_at(here))?;
                self.bury(life, at.segment, placed.size, grave);
            }
            Record::SegmentSet { .. } | Record::Unlink { .. } | Record::Seal => {}
        }
        Ok(())
    }

    /// Where a table row's value is.
    pub(crate) fn find(&self, table: Table, key: &[u8]) -> Result<Option<Place>, IndexError> {
        let row = self.shard(table.life).get(&row_key(table, key))?;
        row.map(|bytes| Place::decode(&bytes)).transpose()
    }

    /// Lists table rows whose key begins with `prefix`, from after `after`; keys without the table.
    pub(crate) fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Place)>, IndexError> {
        let prefix_key = row_key(table, prefix);
        let end = super::rows::prefix_end(&prefix_key);
        let (from, inclusive) = match after {
            Some(after) if after >= prefix => (row_key(table, after), false),
            Some(_) | None => (prefix_key, true),
        };
        let rows = self.shard(table.life).range(&from, inclusive, &end, limit)?;
        rows.into_iter()
            .map(|(key, value)| Ok((key.get(2..).unwrap_or_default().to_vec(), Place::decode(&value)?)))
            .collect()
    }

    /// Pages through all table rows and queued rows of a map, for verification.
    pub(crate) fn page(&self, life: Life, after: &[u8], limit: usize) -> Result<Vec<IndexRow>, IndexError> {
        let rows = self.shard(life).range(after, false, ROWS_TO, limit)?;
        if !rows.is_empty() {
            return Ok(rows);
        }
        self.shard(life).range(after.max(QUEUED_FROM), false, QUEUED_TO, limit)
    }

    fn put(&mut self, table: Table, key: &[u8], mut place: Place) -> Result<(), IndexError> {
        let old = self.find(table, key)?;
        if let Some(old) = &old {
            place.since = old.since.min(place.since);
            self.retire(table.life, old.segment, put_size(key.len(), old.len));
        }
        let size = put_size(key.len(), place.len);
        self.shard_mut(table.life).put(row_key(table, key), place.encode(), old.is_none());
        self.count(table.life, place.segment, size);
        Ok(())
    }

    /// Adds a record that counts.
    pub(super) fn count(&mut self, life: Life, segment: SegmentNo, size: u32) {
        self.shard_mut(life).change_tally(segment, |tally| {
            tally.live_records += 1;
            tally.live_bytes += size;
        });
    }

    /// Takes away a record that no longer counts.
    pub(super) fn retire(&mut self, life: Life, segment: SegmentNo, size: u32) {
        self.shard_mut(life).change_tally(segment, |tally| {
            tally.live_records = tally.live_records.saturating_sub(1);
            tally.live_bytes = tally.live_bytes.saturating_sub(size);
        });
    }

    fn bury(&mut self, life: Life, segment: SegmentNo, size: u32, grave: &Grave) {
        self.shard_mut(life).change_tally(segment, |tally| {
            if tally.grave_bytes == 0 {
                (tally.grave_first, tally.grave_last) = (grave.first, grave.last);
            }
            tally.grave_bytes += size;
            tally.grave_first = tally.grave_first.min(grave.first);
            tally.grave_last = tally.grave_last.max(grave.last);
        });
    }

    /// What still counts in a segment, by map.
    pub(crate) fn tallies(&self, segment: SegmentNo) -> [Tally; 2] {
        [self.short.tally(segment), self.long.tally(segment)]
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.short.live_bytes() + self.long.live_bytes()
    }

    pub(crate) fn forget_segment(&mut self, segment: SegmentNo) {
        self.short.forget_segment(segment);
        self.long.forget_segment(segment);
    }
}

impl Grave {
    /// A value lies before this place, or, being empty, at it.
    fn limit_at(&self, here: Pos) -> Pos {
        if self.limit == Pos::START { here } else { self.limit }
    }
}

fn place(segment: SegmentNo, offset: u32, value: &[u8]) -> Place {
    let len = u32::try_from(value.len()).expect("a value is smaller than a segment");
    Place { segment, offset, len, crc: crc32c::crc32c(value), since: segment }
}
