//! Checking everything: the log by its checksums, the index against the log.

use super::LogStore;
use crate::index::rows::Place;
use crate::index::rows::{QueuedRow, Tally, Value};
use crate::log::layout::{Pos, SegmentNo, segment_name};
use crate::log::record::{Placed, Record};
use crate::log::recover::{SegmentReader, Unreadable, salvage, unreadable};
use crate::{Finding, Life, Progress, ReadError, Task, VerifyReport};

/// Index rows looked at in one step.
const PAGE: usize = 1024;

/// What counts in one segment, as the log shows it.
#[derive(Debug, Default)]
struct Seen {
    /// By [`Life`]: short, long.
    counts: [Counts; 2],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    records: u32,
    bytes: u32,
}

impl LogStore {
    pub(super) fn verify_all(&self, progress: &mut dyn FnMut(Progress)) -> Result<VerifyReport, ReadError> {
        let mut report = VerifyReport::default();
        let existing = self.segments.existing();
        let total = existing.len() as u64 * self.segments.segment_bytes();
        for (index, segment) in existing.iter().enumerate() {
            let done = index as u64 * self.segments.segment_bytes();
            progress(Progress { task: Task::Verify, done, total });
            self.verify_segment(*segment, &mut report)?;
        }
        let in_index = self.count_index()?;
        if in_index != (report.rows, report.queued) {
            let (rows, queued) = in_index;
            report.findings.push(Finding {
                place: "index".to_owned(),
                offset: None,
                detail: format!(
                    "it has {rows} rows and {queued} queued, the log {} and {}",
                    report.rows, report.queued
                ),
            });
        }
        progress(Progress { task: Task::Verify, done: total, total });
        Ok(report)
    }

    fn verify_segment(&self, segment: SegmentNo, report: &mut VerifyReport) -> Result<(), ReadError> {
        report.segments += 1;
        let name = segment_name(segment);
        let file = self.segments.file(segment).map_err(|source| ReadError::Io {
            action: "open",
            file: name.clone(),
            source,
        })?;
        let mut reader = SegmentReader::new(self.log, segment, file, self.segments.segment_bytes());
        let mut seen = Seen::default();
        let (_, mut damages) = salvage(&mut reader, |found| {
            report.batches += 1;
            for placed in found.records() {
                match placed {
                    Ok(placed) => self.verify_record(segment, &placed, &mut seen, report)?,
                    Err(bad) => {
                        let damage = unreadable(segment, bad);
                        report.findings.push(finding(&name, damage.offset, &damage.detail));
                    }
                }
            }
            Ok::<_, ReadError>(())
        })?;
        for damage in damages.drain(..) {
            report.findings.push(finding(&name, damage.offset, &damage.detail));
        }
        let tallied = self.catalog.tallies(segment).map(Counts::from);
        if tallied != seen.counts {
            let detail = format!("the index counts {tallied:?}, the log shows {:?}", seen.counts);
            report.findings.push(Finding { place: name, offset: None, detail });
        }
        Ok(())
    }

    fn verify_record(
        &self,
        segment: SegmentNo,
        placed: &Placed<'_>,
        seen: &mut Seen,
        report: &mut VerifyReport,
    ) -> Result<(), ReadError> {
        let value_at = Pos { segment, offset: placed.value_offset };
        let (life, place, value) = match &placed.record {
            Record::Put { table, key, value } => (table.life, self.catalog.find(*table, key)?, *value),
            Record::Append { queue, seq, bytes, .. } => {
                let row = self.catalog.queued(*queue, *seq)?;
                (Life::Short, row.map(|row| row.place), *bytes)
            }
            Record::Floor { queue, .. } => {
                let floor = self.catalog.queue(*queue)?.and_then(|state| state.floor);
                if floor.is_some_and(|floor| floor.pos == Pos { segment, offset: placed.offset }) {
                    seen.add(Life::Short, placed.size);
                }
                return Ok(());
            }
            Record::Delete { .. }
            | Record::Remove { .. }
            | Record::DropQueue { .. }
            | Record::SegmentSet { .. }
            | Record::Unlink { .. }
            | Record::Seal => return Ok(()),
        };
        let Some(place) = place.filter(|place| place.pos() == value_at) else { return Ok(()) };
        seen.add(life, placed.size);
        if matches!(placed.record, Record::Append { .. }) {
            report.queued += 1;
        } else {
            report.rows += 1;
        }
        if place.crc != crc32c::crc32c(value) || offset_len(&place) != value.len() {
            let name = segment_name(segment);
            report.findings.push(finding(&name, placed.offset, "the index has another length or checksum"));
        }
        Ok(())
    }

    /// Rows and queued rows that the index has.
    fn count_index(&self) -> Result<(u64, u64), ReadError> {
        let (mut rows, mut queued) = (0, 0);
        for life in [Life::Short, Life::Long] {
            let mut after = Vec::new();
            loop {
                let page = self.catalog.page(life, &after, PAGE)?;
                let Some((last, _)) = page.last() else { break };
                after.clone_from(last);
                for (key, value) in &page {
                    if key.starts_with(b"q") {
                        QueuedRow::decode(value)?;
                        queued += 1;
                    } else {
                        Place::decode(value)?;
                        rows += 1;
                    }
                }
            }
        }
        Ok((rows, queued))
    }
}

impl From<Unreadable> for ReadError {
    fn from(error: Unreadable) -> Self {
        Self::Io { action: "read", file: segment_name(error.segment), source: error.source }
    }
}

fn offset_len(place: &Place) -> usize {
    usize::try_from(place.len).unwrap_or(usize::MAX)
}

fn finding(place: &str, offset: u32, detail: &str) -> Finding {
    Finding { place: place.to_owned(), offset: Some(u64::from(offset)), detail: detail.to_owned() }
}

impl Seen {
    fn add(&mut self, life: Life, size: u32) {
        let [short, long] = &mut self.counts;
        let counts = match life {
            Life::Short => short,
            Life::Long => long,
        };
        counts.records += 1;
        counts.bytes += size;
    }
}

impl From<Tally> for Counts {
    fn from(tally: Tally) -> Self {
        Self { records: tally.live_records, bytes: tally.live_bytes }
    }
}
