//! The one writer: gathers records, then one write and one sync.

use std::io;
use std::sync::Arc;

use super::batch::{LogId, finish};
use super::layout::{HEADER_BYTES, Pos, SECTOR, SegmentNo, align, offset_usize, offset32};
use super::record::{Placed, Record};
use crate::disk::DiskFile;

/// Writes batches into one segment after the other. At most one is ever unsynced.
#[derive(Debug)]
pub(crate) struct Writer {
    log: LogId,
    file: Arc<dyn DiskFile>,
    segment: SegmentNo,
    segment_bytes: usize,
    /// Where the next batch begins.
    offset: usize,
    /// Its number.
    number: u64,
    /// Room for the header, then records.
    buffer: Vec<u8>,
    /// Checksum of the last batch written, and where it ends.
    crc: u32,
    end: Pos,
}

/// What room is needed for, which decides what it may be taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// New rows: never from the reserve.
    Grow,
    /// What frees space, and moving rows out of mostly dead segments.
    Free,
    /// Declaring segments gone.
    Unlink,
}

/// Kept free at the end of each segment for [`Need::Unlink`].
const HOUSEKEEPING_BYTES: usize = 8 * SECTOR;

/// Where a log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resume {
    pub(crate) segment: SegmentNo,
    pub(crate) offset: u32,
    /// Number and checksum of the last batch; 0 and 0 in a new log.
    pub(crate) last: (u64, u32),
}

impl Writer {
    pub(crate) fn new(log: LogId, segment_bytes: u64, file: Arc<dyn DiskFile>, at: Resume) -> Self {
        Self {
            log,
            file,
            segment: at.segment,
            segment_bytes: usize::try_from(segment_bytes).unwrap_or(usize::MAX),
            offset: offset_usize(at.offset),
            number: at.last.0 + 1,
            buffer: vec![0; HEADER_BYTES],
            crc: at.last.1,
            end: Pos { segment: at.segment, offset: at.offset },
        }
    }

    pub(crate) fn segment(&self) -> SegmentNo {
        self.segment
    }

    /// Number of the last batch on disk.
    pub(crate) fn last_number(&self) -> u64 {
        self.number - 1
    }

    /// Number that the batch being gathered will have.
    pub(crate) fn next_number(&self) -> u64 {
        self.number
    }

    pub(crate) fn last_crc(&self) -> u32 {
        self.crc
    }

    /// Where the last batch on disk ends.
    pub(crate) fn end(&self) -> Pos {
        self.end
    }

    /// Whether nothing is on disk in the active segment.
    pub(crate) fn at_beginning(&self) -> bool {
        self.offset == 0
    }

    /// How full the segment is, in bytes, with what is gathered.
    pub(crate) fn filled(&self) -> usize {
        self.offset + self.buffer.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.len() == HEADER_BYTES
    }

    /// Whether so many more bytes of records fit before what is kept free: always the place of the seal,
    /// and for all but housekeeping a little more, so that it can always be said that segments are gone.
    pub(crate) fn has_room(&self, bytes: usize, need: Need) -> bool {
        let kept = match need {
            Need::Grow | Need::Free => SECTOR + HOUSEKEEPING_BYTES,
            Need::Unlink => SECTOR,
        };
        align(self.filled() + bytes) + kept <= self.segment_bytes
    }

    /// Adds a record to the batch being gathered and tells its place.
    pub(crate) fn push<'a>(&mut self, record: Record<'a>) -> Placed<'a> {
        let start = self.buffer.len();
        let value_at = record.encode(&mut self.buffer);
        Placed {
            record,
            offset: offset32(self.offset + start),
            value_offset: offset32(self.offset + value_at),
            size: offset32(self.buffer.len() - start),
        }
    }

    /// Bytes that are gathered and not on disk yet, by place.
    pub(crate) fn gathered(&self, pos: Pos, len: usize) -> Option<&[u8]> {
        if pos.segment != self.segment {
            return None;
        }
        let start = offset_usize(pos.offset).checked_sub(self.offset)?;
        self.buffer.get(start..start.checked_add(len)?)
    }

    /// Writes and syncs what is gathered. After an error the writer must not be used again.
    pub(crate) fn flush(&mut self) -> Result<(), (&'static str, io::Error)> {
        if self.is_empty() {
            return Ok(());
        }
        let crc = finish(self.log, self.segment, self.number, &mut self.buffer);
        self.file.write_at(&self.buffer, self.offset as u64).map_err(|error| ("write", error))?;
        self.file.sync_data().map_err(|error| ("sync", error))?;
        self.offset += self.buffer.len();
        self.number += 1;
        self.crc = crc;
        self.end = Pos { segment: self.segment, offset: offset32(self.offset) };
        self.buffer.truncate(HEADER_BYTES);
        // A buffer that once held megabytes is not kept.
        self.buffer.shrink_to(KEPT_BUFFER_BYTES);
        Ok(())
    }

    /// Ends the segment, durably. Nothing must be gathered.
    pub(crate) fn seal(&mut self) -> Result<(), (&'static str, io::Error)> {
        self.push(Record::Seal);
        self.flush()
    }

    /// Goes on at the beginning of another segment.
    pub(crate) fn turn_to(&mut self, segment: SegmentNo, file: Arc<dyn DiskFile>) {
        (self.segment, self.file, self.offset) = (segment, file, 0);
    }
}

const KEPT_BUFFER_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, MemDisk};

    #[test]
    fn what_frees_segments_has_room_when_nothing_else_has() {
        let disk = MemDisk::new();
        disk.set_content("file", &[0; 8192]);
        let at = Resume { segment: 1, offset: 1024, last: (6, 0) };
        let writer = Writer::new(LogId(42), 8192, disk.open("file").unwrap(), at);
        // Of sixteen sectors two are written, one is the seal's and eight are kept.
        for (need, sectors) in [(Need::Grow, 5), (Need::Free, 5), (Need::Unlink, 13)] {
            let most = sectors * SECTOR - HEADER_BYTES;
            assert!(writer.has_room(most, need) && !writer.has_room(most + 1, need), "{need:?}");
        }
    }

    #[test]
    fn a_record_is_told_where_it_lies_and_how_long_it_is() {
        let disk = MemDisk::new();
        disk.set_content("file", &[0; 8192]);
        let at = Resume { segment: 3, offset: 1024, last: (6, 0) };
        let mut writer = Writer::new(LogId(42), 8192, disk.open("file").unwrap(), at);
        let places = [2, 3].map(|segments| {
            let placed = writer.push(Record::Unlink { segments: vec![9; segments] });
            (placed.offset, placed.value_offset, placed.size)
        });
        assert_eq!(places, [(1056, 1069, 13), (1069, 1086, 17)]);
        writer.flush().unwrap();
        assert_eq!((writer.end(), writer.last_number()), (Pos { segment: 3, offset: 1536 }, 7));
        assert_eq!(writer.push(Record::Seal).offset, 1568);
    }
}
