//! Reading a segment from its beginning to its end, and telling a torn tail from damage.
//!
//! A bad batch with a valid one of a higher number behind it is damage: something acknowledged may be
//! lost there. Without one it is the tail of a write that never finished, which nobody was told of.

use std::io;
use std::sync::Arc;

use super::batch::{Batch, LogId, Parsed, may_begin, parse};
use super::layout::{HEADER_BYTES, SECTOR, SegmentNo, offset_usize, offset32};
use super::record::{BadRecord, Placed, Record, Records};
use crate::disk::DiskFile;

/// Bytes read at once; more where a batch is longer.
const WINDOW_BYTES: usize = 512 * 1024;

/// Reads one segment piece by piece. What a short file lacks reads as zeros.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    log: LogId,
    segment: SegmentNo,
    file: Arc<dyn DiskFile>,
    /// Nothing is read beyond.
    size: usize,
    window: Vec<u8>,
    /// Where the window begins.
    start: usize,
}

/// A segment could not be read.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) segment: SegmentNo,
    pub(crate) source: io::Error,
}

impl SegmentReader {
    pub(crate) fn new(log: LogId, segment: SegmentNo, file: Arc<dyn DiskFile>, segment_bytes: u64) -> Self {
        let size = usize::try_from(segment_bytes).unwrap_or(usize::MAX);
        Self { log, segment, file, size, window: Vec::new(), start: 0 }
    }

    pub(crate) fn segment(&self) -> SegmentNo {
        self.segment
    }

    /// Up to `len` bytes from `offset` on, fewer at the end of the segment.
    fn view(&mut self, offset: usize, len: usize) -> Result<&[u8], Unreadable> {
        let len = len.min(self.size.saturating_sub(offset));
        let held = offset >= self.start && offset + len <= self.start + self.window.len();
        if !held {
            self.window.resize(len.max(WINDOW_BYTES).min(self.size - offset), 0);
            let read = self.file.read_at(&mut self.window, offset as u64);
            let read = read.map_err(|source| Unreadable { segment: self.segment, source })?;
            self.window.get_mut(read..).unwrap_or_default().fill(0);
            self.start = offset;
        }
        let from = offset - self.start;
        Ok(self.window.get(from..from + len).unwrap_or_default())
    }

    /// Reads what is at a border.
    pub(crate) fn parse_at(&mut self, offset: u32) -> Result<Parsed<'_>, Unreadable> {
        let (log, segment, offset) = (self.log, self.segment, offset_usize(offset));
        let header = self.view(offset, HEADER_BYTES)?;
        let length = super::batch::claimed_length(log, header).unwrap_or(0);
        Ok(parse(log, segment, self.view(offset, HEADER_BYTES.saturating_add(length))?))
    }

    /// Where the next valid batch numbered above `above` begins, at or after `offset`.
    pub(crate) fn next_valid(&mut self, offset: u32, above: u64) -> Result<Option<u32>, Unreadable> {
        let log = self.log;
        for offset in (offset_usize(offset).next_multiple_of(SECTOR)..self.size).step_by(SECTOR) {
            // Most borders lie inside zeros or values: look twice only at what begins right.
            if may_begin(log, self.view(offset, HEADER_BYTES)?)
                && matches!(self.parse_at(offset32(offset))?, Parsed::Batch(batch) if batch.number > above)
            {
                return Ok(Some(offset32(offset)));
            }
        }
        Ok(None)
    }

    /// Whether anything but zeros follows.
    pub(crate) fn any_after(&mut self, offset: u32) -> Result<bool, Unreadable> {
        for offset in (offset_usize(offset)..self.size).step_by(SECTOR) {
            if self.view(offset, SECTOR)?.iter().any(|byte| *byte != 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// How a segment ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By a seal: writing went on in the next segment.
    Sealed,
    /// Nothing valid follows. `torn` when what follows is not only zeros.
    Open { torn: bool },
    /// Something valid follows, at `next`.
    Damaged(Damage),
}

/// A bad place inside a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) segment: SegmentNo,
    pub(crate) offset: u32,
    /// Where valid batches go on; `None` at the end of the segment.
    pub(crate) next: Option<u32>,
    pub(crate) detail: String,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    pub(crate) end: End,
    /// Where the valid batches end.
    pub(crate) offset: u32,
    /// Number and checksum of the last one.
    pub(crate) last: Option<(u64, u32)>,
}

/// A batch and where it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found<'a> {
    pub(crate) offset: u32,
    pub(crate) batch: Batch<'a>,
}

impl<'a> Found<'a> {
    pub(crate) fn records(&self) -> Records<'a> {
        let records_at = offset_usize(self.offset) + HEADER_BYTES;
        Records::new(self.batch.records, records_at)
    }

    /// Where the next batch may begin.
    pub(crate) fn end(&self) -> u32 {
        self.offset + offset32(self.batch.size)
    }

    fn is_seal(&self) -> bool {
        matches!(self.records().next(), Some(Ok(Placed { record: Record::Seal, .. })))
    }
}

/// Reads batches from `from` on, which must follow each other from number `expected` on (any, for
/// `None`, but above `above`), and hands each to `visit`. Stops at the first that is not so.
pub(crate) fn scan<E: From<Unreadable>>(
    reader: &mut SegmentReader,
    from: u32,
    expected: Option<u64>,
    above: u64,
    mut visit: impl FnMut(Found<'_>) -> Result<(), E>,
) -> Result<Scanned, E> {
    let (mut offset, mut expected, mut last) = (from, expected, None);
    loop {
        let detail = match reader.parse_at(offset)? {
            Parsed::Batch(batch) => {
                let fits = expected.map_or(batch.number > above, |expected| batch.number == expected);
                if fits {
                    let found = Found { offset, batch };
                    let sealed = found.is_seal();
                    visit(found)?;
                    offset = found.end();
                    expected = Some(batch.number + 1);
                    last = Some((batch.number, batch.crc));
                    if sealed {
                        return Ok(Scanned { end: End::Sealed, offset, last });
                    }
                    continue;
                }
                let wanted =
                    expected.map_or_else(|| format!("one above {above}"), |number| number.to_string());
                format!("batch {} where {wanted} belongs", batch.number)
            }
            Parsed::Empty => "zeros where a batch belongs".to_owned(),
            Parsed::Bad(detail) => detail.to_owned(),
        };
        let known = last.map_or(above, |(number, _)| number).max(expected.map_or(0, |number| number - 1));
        let end = match reader.next_valid(offset, known)? {
            Some(next) => {
                End::Damaged(Damage { segment: reader.segment(), offset, next: Some(next), detail })
            }
            None => End::Open { torn: reader.any_after(offset)? },
        };
        return Ok(Scanned { end, offset, last });
    }
}

/// As [`scan`] for damaged segments: skips what is bad and tells of it.
pub(crate) fn salvage<E: From<Unreadable>>(
    reader: &mut SegmentReader,
    mut visit: impl FnMut(Found<'_>) -> Result<(), E>,
) -> Result<(Scanned, Vec<Damage>), E> {
    let mut damages = Vec::new();
    let (mut from, mut above) = (0, 0);
    loop {
        let scanned = scan(reader, from, None, above, &mut visit)?;
        if let End::Damaged(damage) = &scanned.end
            && let Some(next) = damage.next
        {
            damages.push(damage.clone());
            above = scanned.last.map_or(above, |(number, _)| number);
            from = next;
            continue;
        }
        return Ok((scanned, damages));
    }
}

/// Describes records that cannot be read in a batch whose checksum holds.
pub(crate) fn unreadable(segment: SegmentNo, bad: BadRecord) -> Damage {
    Damage { segment, offset: bad.offset, next: None, detail: bad.detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, MemDisk};
    use crate::log::batch::finish;

    const LOG: LogId = LogId(42);

    fn batch(number: u64, record: &Record<'_>) -> Vec<u8> {
        let mut buffer = vec![0; HEADER_BYTES];
        record.encode(&mut buffer);
        finish(LOG, 1, number, &mut buffer);
        buffer
    }

    fn segment(numbers: &[u64]) -> Vec<u8> {
        let record = Record::Unlink { segments: vec![9] };
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| batch(*number, &record)).collect();
        bytes.resize(8192, 0);
        bytes
    }

    fn reader(bytes: &[u8]) -> SegmentReader {
        let disk = MemDisk::new();
        disk.set_content("file", bytes);
        SegmentReader::new(LOG, 1, disk.open("file").unwrap(), 8192)
    }

    fn run(bytes: &[u8]) -> (Scanned, Vec<u64>) {
        let mut seen = Vec::new();
        let scanned = scan(&mut reader(bytes), 0, None, 0, |found| {
            seen.push(found.batch.number);
            Ok::<_, Unreadable>(())
        });
        (scanned.unwrap(), seen)
    }

    #[test]
    fn ends_are_told_apart() {
        let (scanned, seen) = run(&segment(&[5, 6, 7]));
        assert_eq!((scanned.end, scanned.offset, seen), (End::Open { torn: false }, 1536, vec![5, 6, 7]));

        let mut sealed = segment(&[5]);
        sealed[512..1024].copy_from_slice(&batch(6, &Record::Seal));
        assert_eq!(run(&sealed).0.end, End::Sealed);

        let mut torn = segment(&[5, 6]);
        torn[520] ^= 1;
        let (scanned, seen) = run(&torn);
        assert_eq!((scanned.end, scanned.offset, seen), (End::Open { torn: true }, 512, vec![5]));
    }

    #[test]
    fn damage_before_a_later_batch_is_named_and_can_be_skipped() {
        for spoil in [520, 540] {
            let mut bytes = segment(&[5, 6, 7]);
            bytes[spoil] ^= 1;
            let (scanned, seen) = run(&bytes);
            let End::Damaged(damage) = scanned.end else { panic!("{:?}", scanned.end) };
            assert_eq!((damage.segment, damage.offset, damage.next, seen), (1, 512, Some(1024), vec![5]));
            let mut salvaged = Vec::new();
            let (scanned, damages) = salvage(&mut reader(&bytes), |found| {
                salvaged.push(found.batch.number);
                Ok::<_, Unreadable>(())
            })
            .unwrap();
            assert_eq!((salvaged, damages.len(), scanned.offset), (vec![5, 7], 1, 1536));
            assert_eq!(scanned.end, End::Open { torn: false });
        }
        // A hole in the numbers is damage too.
        let (scanned, _) = run(&segment(&[5, 7]));
        assert!(matches!(scanned.end, End::Damaged(Damage { offset: 512, .. })), "{:?}", scanned.end);
    }

    #[test]
    fn numbers_rise_from_where_others_ended() {
        let bytes = segment(&[5, 6]);
        for (above, fits) in [(4, true), (5, false), (6, false)] {
            let scanned = scan(&mut reader(&bytes), 0, None, above, |_| Ok::<_, Unreadable>(())).unwrap();
            assert_eq!(scanned.last.is_some(), fits, "above {above}");
        }
    }

    /// Most segments are read in several pieces.
    #[test]
    fn what_lies_far_behind_is_read_too() {
        let size = 4 * WINDOW_BYTES;
        let mut bytes = vec![0; size];
        let record = Record::Unlink { segments: vec![9; 5_000] };
        let (mut at, mut number) = (0, 1);
        while at + 30_000 < size {
            let one = batch(number, &record);
            bytes[at..at + one.len()].copy_from_slice(&one);
            (at, number) = (at + one.len(), number + 1);
        }
        let disk = MemDisk::new();
        disk.set_content("file", &bytes);
        let mut reader = SegmentReader::new(LOG, 1, disk.open("file").unwrap(), size as u64);
        let scanned = scan(&mut reader, 0, None, 0, |_| Ok::<_, Unreadable>(())).unwrap();
        assert_eq!((scanned.end, scanned.offset), (End::Open { torn: false }, offset32(at)));
        assert_eq!(scanned.last.map(|(last, _)| last), Some(number - 1));
        assert!(reader.window.len() <= WINDOW_BYTES, "{}", reader.window.len());
        // Back to the beginning, and to the last bytes.
        assert!(matches!(reader.parse_at(0).unwrap(), Parsed::Batch(batch) if batch.number == 1));
        assert_eq!(reader.view(size - 100, 512).unwrap(), &[0; 100]);
        assert_eq!(reader.window.len(), 100);
    }

    #[test]
    fn an_old_batch_behind_a_torn_one_is_no_proof_of_damage() {
        let (scanned, seen) = run(&segment(&[5, 6, 4]));
        assert_eq!((scanned.end, seen), (End::Open { torn: true }, vec![5, 6]));
    }
}
