//! Positions, file names and the few numbers that define the files.

use std::fmt;

/// Batches begin on borders of this many bytes.
pub(crate) const SECTOR: usize = 512;

/// Bytes before a batch's records.
pub(crate) const HEADER_BYTES: usize = 32;

/// Segment size unless the store was created with another.
pub(crate) const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// Smallest segment: a batch of 32 KiB must fit in half of it.
pub(crate) const MIN_SEGMENT_BYTES: u64 = 64 * 1024;

/// Name of the file that identifies the folder.
pub(crate) const FORMAT_FILE: &str = "format";

/// Name of the file that one process holds locked.
pub(crate) const LOCK_FILE: &str = "lock";

/// Number of a segment; they rise and are never used again.
pub(crate) type SegmentNo = u32;

/// A place in the log: later places are greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pos {
    pub(crate) segment: SegmentNo,
    pub(crate) offset: u32,
}

impl Pos {
    /// Before everything: segments begin at 1.
    pub(crate) const START: Self = Self { segment: 0, offset: 0 };
}

impl fmt::Debug for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.segment, self.offset)
    }
}

/// `NNNNNNNNNN.log`.
pub(crate) fn segment_name(segment: SegmentNo) -> String {
    format!("{segment:010}.log")
}

/// A segment being filled with zeros, not part of the log yet.
pub(crate) fn unfinished_name(segment: SegmentNo) -> String {
    format!("{segment:010}.new")
}

/// A segment that repair took out of the log.
pub(crate) fn set_aside_name(segment: SegmentNo) -> String {
    format!("{segment:010}.damaged")
}

/// What a file in the folder is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Segment(SegmentNo),
    Unfinished,
    SetAside,
    /// Format, lock, and the index's own files.
    Known,
    Foreign,
}

pub(crate) fn file_kind(name: &str) -> FileKind {
    let number = |stem: &str| match stem.parse::<SegmentNo>() {
        Ok(number) if stem.len() == 10 && number > 0 => Some(number),
        Ok(_) | Err(_) => None,
    };
    if let Some(segment) = name.strip_suffix(".log").and_then(number) {
        FileKind::Segment(segment)
    } else if name.strip_suffix(".new").and_then(number).is_some() || name == "format.new" {
        FileKind::Unfinished
    } else if name.strip_suffix(".damaged").and_then(number).is_some() {
        FileKind::SetAside
    } else if name == FORMAT_FILE || name == LOCK_FILE || name.starts_with("index.") {
        FileKind::Known
    } else {
        FileKind::Foreign
    }
}

/// Rounds up to the next border.
pub(crate) const fn align(bytes: usize) -> usize {
    bytes.next_multiple_of(SECTOR)
}

/// An offset inside a segment; segments are at most 16 MiB.
#[expect(clippy::cast_possible_truncation, reason = "segments are at most 16 MiB")]
pub(crate) const fn offset32(offset: usize) -> u32 {
    offset as u32
}

/// The way back from [`offset32`]: `usize` has at least 32 bits where this runs.
pub(crate) const fn offset_usize(offset: u32) -> usize {
    offset as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_a_file_is() {
        assert_eq!(segment_name(7), "0000000007.log");
        assert_eq!(file_kind(&segment_name(7)), FileKind::Segment(7));
        assert_eq!(file_kind(&unfinished_name(u32::MAX)), FileKind::Unfinished);
        assert_eq!(file_kind(&set_aside_name(3)), FileKind::SetAside);
        assert_eq!(file_kind("index.clean"), FileKind::Known);
        for foreign in ["0000000000.log", "7.log", "00000000070.log", "99999999999.log", ".DS_Store", "x"] {
            assert_eq!(file_kind(foreign), FileKind::Foreign, "{foreign}");
        }
    }
}
