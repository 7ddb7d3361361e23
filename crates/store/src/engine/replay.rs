//! Reading the log back: finding its end, checking what must be there, bringing the index up to date.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::commit::MAX_HELD_ROWS;
use crate::disk::Disk;
use crate::index::catalog::{At, Catalog};
use crate::index::rows::Watermark;
use crate::log::batch::LogId;
use crate::log::layout::{Pos, SegmentNo, segment_name};
use crate::log::record::Record;
use crate::log::recover::{
    Damage, End, Found, Scanned, SegmentReader, Unreadable, salvage, scan, unreadable,
};
use crate::{Finding, IndexError, OpenError, Progress, Task};

/// Rows gathered in memory during a rebuild before they are folded.
const REBUILD_FOLD_ROWS: usize = 32_768;

/// Reads whole segments of one log.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) log: LogId,
    pub(super) segment_bytes: u64,
    /// Damage is skipped and noted, not refused.
    pub(super) repair: bool,
}

/// A log's newest segment, and what it says about the others.
#[derive(Debug)]
pub(super) struct Newest {
    pub(super) segment: SegmentNo,
    pub(super) scanned: Scanned,
    pub(super) damages: Vec<Damage>,
    /// Segments that exist by what it says, itself included; `None` when its beginning is damaged.
    pub(super) existing: Option<BTreeSet<SegmentNo>>,
}

/// What replay has come to.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// Number and checksum of the batch with the highest number.
    pub(super) last: (u64, u32),
    pub(super) damages: Vec<Damage>,
}

/// Why replay stopped.
#[derive(Debug)]
pub(super) enum ReplayError {
    /// The log itself is bad: refuse.
    Open(OpenError),
    /// The index does not fit the log: rebuild it.
    Stale(String),
    /// The index failed: rebuild it.
    Index(IndexError),
}

impl From<IndexError> for ReplayError {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

impl From<Unreadable> for OpenError {
    fn from(error: Unreadable) -> Self {
        Self::Io { action: "read", file: segment_name(error.segment), source: error.source }
    }
}

impl From<Unreadable> for ReplayError {
    fn from(error: Unreadable) -> Self {
        Self::Open(error.into())
    }
}

impl From<OpenError> for ReplayError {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

pub(super) fn damaged(damage: &Damage) -> OpenError {
    OpenError::Damaged {
        file: segment_name(damage.segment),
        offset: u64::from(damage.offset),
        detail: damage.detail.clone(),
    }
}

pub(super) fn io_error(action: &'static str, file: &str) -> impl FnOnce(std::io::Error) -> OpenError {
    let file = file.to_owned();
    move |source| OpenError::Io { action, file, source }
}

impl Reader {
    /// Begins to read a segment. Tells of bytes past its end.
    pub(super) fn segment(
        &self,
        segment: SegmentNo,
        warnings: &mut Vec<Finding>,
    ) -> Result<SegmentReader, OpenError> {
        let name = segment_name(segment);
        let file = self.disk.open(&name).map_err(io_error("open", &name))?;
        let len = file.bytes().map_err(io_error("measure", &name))?;
        if len > self.segment_bytes {
            let finding = Finding {
                place: name,
                offset: Some(self.segment_bytes),
                detail: format!("{} bytes past the end of the segment are ignored", len - self.segment_bytes),
            };
            if !warnings.contains(&finding) {
                warnings.push(finding);
            }
        }
        Ok(SegmentReader::new(self.log, segment, file, self.segment_bytes))
    }

    /// Scans one segment, skipping damage when repairing.
    fn scan_one(
        &self,
        reader: &mut SegmentReader,
        expected: Option<u64>,
        above: u64,
        damages: &mut Vec<Damage>,
        visit: impl FnMut(Found<'_>) -> Result<(), ReplayError>,
    ) -> Result<Scanned, ReplayError> {
        if self.repair {
            let (scanned, mut found) = salvage(reader, visit)?;
            damages.append(&mut found);
            return Ok(scanned);
        }
        let scanned = scan(reader, 0, expected, above, visit)?;
        match &scanned.end {
            End::Damaged(damage) => Err(damaged(damage).into()),
            End::Sealed | End::Open { .. } => Ok(scanned),
        }
    }

    /// Reads the newest segment for what it says of the others and for where the log ends.
    pub(super) fn newest(&self, reader: &mut SegmentReader) -> Result<Newest, OpenError> {
        let segment = reader.segment();
        let mut existing: Option<BTreeSet<SegmentNo>> = None;
        let (mut damages, mut senseless) = (Vec::new(), None);
        let visit = |found: Found<'_>| {
            for placed in found.records() {
                let placed = placed.map_err(|bad| damaged(&unreadable(segment, bad)))?;
                let made_sense = match &placed.record {
                    Record::SegmentSet { ranges } => {
                        existing = named(ranges, segment);
                        existing.is_some()
                    }
                    Record::Unlink { segments } => {
                        if let Some(existing) = &mut existing {
                            let gone: BTreeSet<SegmentNo> = segments.iter().copied().collect();
                            existing.retain(|segment| !gone.contains(segment));
                        }
                        !segments.contains(&segment)
                    }
                    Record::Put { .. }
                    | Record::Delete { .. }
                    | Record::Append { .. }
                    | Record::Floor { .. }
                    | Record::Remove { .. }
                    | Record::DropQueue { .. }
                    | Record::Seal => true,
                };
                if !made_sense {
                    let detail = "what it says of the segments that exist makes no sense".to_owned();
                    let found = Damage { segment, offset: placed.offset, next: None, detail };
                    if !self.repair {
                        return Err(damaged(&found).into());
                    }
                    senseless.get_or_insert(found);
                }
            }
            Ok(())
        };
        let scanned = self.scan_one(reader, None, 0, &mut damages, visit).map_err(|error| match error {
            ReplayError::Open(error) => error,
            // The visitor above touches no index.
            ReplayError::Index(error) => OpenError::Index(error),
            ReplayError::Stale(detail) => {
                OpenError::Damaged { file: segment_name(segment), offset: 0, detail }
            }
        })?;
        if senseless.is_some() {
            existing = None;
        }
        damages.extend(senseless);
        Ok(Newest { segment, scanned, damages, existing })
    }

    /// Brings the index up to the log's end: from the older of its watermarks on, or from the beginning
    /// when it has none.
    pub(super) fn replay(
        &self,
        catalog: &mut Catalog,
        existing: &BTreeSet<SegmentNo>,
        newest: Option<&Newest>,
        warnings: &mut Vec<Finding>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Replayed, ReplayError> {
        let marks: Vec<Watermark> = catalog.watermarks().map(Vec::from).unwrap_or_default();
        let from = self.first_to_read(&marks, existing)?;
        let task = if marks.is_empty() { Task::Rebuild } else { Task::Recover };
        let segments: Vec<SegmentNo> = existing.range(from..).copied().collect();
        let total = segments.len() as u64 * self.segment_bytes;
        // Watermarks not met yet, by batch.
        let mut unmet: BTreeMap<u64, Watermark> =
            marks.iter().filter(|mark| mark.batch > 0).map(|mark| (mark.batch, *mark)).collect();
        let mut replayed = Replayed::default();
        // The segment before, unless it is damaged: what goes on from it is known.
        let mut previous: Option<SegmentNo> = None;
        for (index, segment) in segments.iter().copied().enumerate() {
            progress(Progress { task, done: index as u64 * self.segment_bytes, total });
            let mut reader = self.segment(segment, warnings)?;
            let (last, _) = replayed.last;
            let follows = previous.is_some_and(|previous| previous + 1 == segment);
            let expected = follows.then_some(last + 1);
            let mut damages = Vec::new();
            let (mut first, mut at_last) = (None, replayed.last);
            let visit = |found: Found<'_>| {
                let end = Pos { segment, offset: found.end() };
                first = first.or(Some(found.batch.number));
                at_last = at_last.max((found.batch.number, found.batch.crc));
                if let Some(mark) = unmet.remove(&found.batch.number)
                    && (mark.end, mark.crc) != (end, found.batch.crc)
                {
                    return Err(ReplayError::Stale(format!("batch {} is another", mark.batch)));
                }
                replay_batch(catalog, segment, &found)?;
                if catalog.pending() >= REBUILD_FOLD_ROWS {
                    let (batch, crc) = at_last;
                    catalog.finish_fold()?;
                    if catalog.is_postponed() && catalog.held() >= MAX_HELD_ROWS {
                        return Err(ReplayError::Index(IndexError::Full));
                    }
                    catalog.fold_beside(Watermark { log: self.log.0, batch, end, crc })?;
                }
                Ok(())
            };
            let scanned = self.scan_one(&mut reader, expected, last, &mut damages, visit)?;
            replayed.last = at_last;
            let is_newest = index + 1 == segments.len();
            if let (End::Open { .. }, false) = (&scanned.end, is_newest) {
                let detail = "the segment ends here, but later ones exist".to_owned();
                damages.push(Damage { segment, offset: scanned.offset, next: None, detail });
            }
            if let Some(newest) = newest
                && is_newest
                && scanned.offset != newest.scanned.offset
            {
                // By itself it goes on, but not from the one before: what is written behind would not be found again.
                let detail = format!("the numbers of its batches do not follow on {last}");
                damages.push(Damage { segment, offset: scanned.offset, next: None, detail });
            }
            if let Some(first) = first
                && (first <= last || expected.is_some_and(|expected| first != expected))
            {
                let detail = format!("batch {first} where one after {last} belongs");
                damages.push(Damage { segment, offset: 0, next: Some(0), detail });
            }
            previous = damages.is_empty().then_some(segment);
            match damages.first() {
                Some(damage) if !self.repair => return Err(damaged(damage).into()),
                Some(_) | None => replayed.damages.append(&mut damages),
            }
        }
        if let Some(mark) = unmet.values().next() {
            return Err(ReplayError::Stale(format!("it knows batch {}, the log ends before", mark.batch)));
        }
        progress(Progress { task, done: total, total });
        Ok(replayed)
    }

    /// The first segment that a trusted index still needs; all from there on must exist.
    fn first_to_read(
        &self,
        marks: &[Watermark],
        existing: &BTreeSet<SegmentNo>,
    ) -> Result<SegmentNo, ReplayError> {
        if marks.iter().any(|mark| mark.log != self.log.0) {
            return Err(ReplayError::Stale("another log".to_owned()));
        }
        let first = existing.first().copied().unwrap_or(0);
        let Some(from) = marks.iter().map(|mark| mark.end.segment).min() else { return Ok(first) };
        if marks.iter().all(|mark| mark.batch == 0) {
            return Ok(first);
        }
        let newest = existing.last().copied().unwrap_or(0);
        if from > newest || !(from..=newest).all(|segment| existing.contains(&segment)) {
            return Err(ReplayError::Stale(format!("it ends in {}", segment_name(from))));
        }
        Ok(from)
    }
}

/// The segments of a set in the segment `own`, which is among them and the last; `None` when it cannot have been written like that.
fn named(ranges: &[(SegmentNo, SegmentNo)], own: SegmentNo) -> Option<BTreeSet<SegmentNo>> {
    let named: BTreeSet<SegmentNo> = ranges.iter().flat_map(|(first, last)| *first..=*last).collect();
    (named.last() == Some(&own)).then_some(named)
}

fn replay_batch(catalog: &mut Catalog, segment: SegmentNo, found: &Found<'_>) -> Result<(), ReplayError> {
    let at = At { segment, batch: found.batch.number };
    for placed in found.records() {
        let placed = placed.map_err(|bad| damaged(&unreadable(segment, bad)))?;
        catalog.apply(at, &placed)?;
    }
    Ok(())
}
