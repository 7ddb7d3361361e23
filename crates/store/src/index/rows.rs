//! Keys and values of the index.
//!
//! | key | value |
//! | --- | --- |
//! | `k` table u8, key | [`Place`] of a table row's value |
//! | `q` queue 16, seq u64 | [`QueuedRow`]: minute u32 and [`Place`] |
//! | `u` queue 16 | [`QueueState`] |
//! | `s` segment u32 | [`Tally`]: what still counts in that segment |
//! | `w` | [`Watermark`] |
//!
//! Numbers in keys are big-endian, so that they sort; in values little-endian.

use crate::log::layout::{Pos, SegmentNo};
use crate::{IndexError, QueueId, Table};

/// Where a value is: 20 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: SegmentNo,
    pub(crate) offset: u32,
    pub(crate) len: u32,
    /// CRC32C of the value, so that a wrong place or a changed byte is noticed when reading.
    pub(crate) crc: u32,
    /// Oldest segment that may hold a record of this row: a tombstone must outlive all since then.
    pub(crate) since: SegmentNo,
}

impl Place {
    pub(crate) fn pos(&self) -> Pos {
        Pos { segment: self.segment, offset: self.offset }
    }
}

/// A row waiting in a queue: 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueuedRow {
    pub(crate) minute: u32,
    pub(crate) place: Place,
}

/// The record that remembers a queue's numbers when its rows are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Floor {
    pub(crate) pos: Pos,
    pub(crate) up_to: u64,
    pub(crate) last: u64,
}

/// What is known of a queue without looking at its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueState {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// First row waiting; 0 when there is none.
    pub(crate) first: u64,
    /// Highest number ever.
    pub(crate) last: u64,
    /// Smallest and greatest minute of the rows waiting; meaningless when there is none.
    pub(crate) oldest: u32,
    pub(crate) newest: u32,
    /// Whether minutes rise with numbers, so that the first row is the oldest.
    pub(crate) ordered: bool,
    /// Oldest segment that may hold any record of this queue.
    pub(crate) since: SegmentNo,
    pub(crate) floor: Option<Floor>,
}

/// What still counts in one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Puts, rows and floors that are current.
    pub(crate) live_records: u32,
    pub(crate) live_bytes: u32,
    /// Tombstones, and the range of segments in which their victims lie.
    pub(crate) grave_bytes: u32,
    pub(crate) grave_first: SegmentNo,
    pub(crate) grave_last: SegmentNo,
}

/// Up to where in the log a map is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watermark {
    pub(crate) log: u64,
    /// Last batch covered, and where it ends.
    pub(crate) batch: u64,
    pub(crate) end: Pos,
    /// Its checksum.
    pub(crate) crc: u32,
}

pub(crate) const WATERMARK_KEY: &[u8] = b"w";
pub(crate) const TALLY_FROM: &[u8] = b"s";
pub(crate) const TALLY_TO: &[u8] = b"t";
pub(crate) const STATES_TO: &[u8] = b"v";
pub(crate) const ROWS_TO: &[u8] = b"l";
pub(crate) const QUEUED_FROM: &[u8] = b"q";
pub(crate) const QUEUED_TO: &[u8] = b"r";

pub(crate) fn row_key(table: Table, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + key.len());
    out.extend_from_slice(&[b'k', table.id]);
    out.extend_from_slice(key);
    out
}

/// The key that follows all that begin with `prefix`.
pub(crate) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

pub(crate) fn queued_key(queue: QueueId, seq: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(25);
    out.push(b'q');
    out.extend_from_slice(&queue.0);
    out.extend_from_slice(&seq.to_be_bytes());
    out
}

/// The key that follows all rows of a queue.
pub(crate) fn queue_end(queue: QueueId) -> Vec<u8> {
    let mut prefix = vec![b'q'];
    prefix.extend_from_slice(&queue.0);
    prefix_end(&prefix)
}

pub(crate) fn parse_queued_key(key: &[u8]) -> Result<(QueueId, u64), IndexError> {
    let parts = || {
        let (queue, seq) = key.strip_prefix(b"q")?.split_first_chunk()?;
        Some((QueueId(*queue), u64::from_be_bytes(seq.try_into().ok()?)))
    };
    parts().ok_or_else(|| malformed("the key of a queued row"))
}

pub(crate) fn state_key(queue: QueueId) -> Vec<u8> {
    let mut out = Vec::with_capacity(17);
    out.push(b'u');
    out.extend_from_slice(&queue.0);
    out
}

pub(crate) fn parse_state_key(key: &[u8]) -> Result<QueueId, IndexError> {
    let queue = key.strip_prefix(b"u").and_then(|queue| queue.try_into().ok());
    queue.map(QueueId).ok_or_else(|| malformed("the key of a queue"))
}

pub(crate) fn tally_key(segment: SegmentNo) -> Vec<u8> {
    let mut out = b"s".to_vec();
    out.extend_from_slice(&segment.to_be_bytes());
    out
}

pub(crate) fn parse_tally_key(key: &[u8]) -> Result<SegmentNo, IndexError> {
    let segment = key.strip_prefix(b"s").and_then(|number| number.try_into().ok());
    segment.map(u32::from_be_bytes).ok_or_else(|| malformed("the key of a segment"))
}

pub(crate) fn malformed(detail: &str) -> IndexError {
    IndexError::Malformed { detail: detail.to_owned() }
}

/// A value of fixed shape.
pub(crate) trait Value: Sized {
    /// Its name in errors.
    const NAME: &'static str;
    fn write(&self, out: &mut Vec<u8>);
    fn read(fields: &mut Fields<'_>) -> Option<Self>;

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        self.write(&mut out);
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        let mut fields = Fields(bytes);
        let value = Self::read(&mut fields).filter(|_| fields.0.is_empty());
        value.ok_or_else(|| malformed(Self::NAME))
    }
}

/// Takes numbers from the front.
pub(crate) struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn u32(&mut self) -> Option<u32> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*field))
    }

    fn u64(&mut self) -> Option<u64> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*field))
    }

    fn pos(&mut self) -> Option<Pos> {
        Some(Pos { segment: self.u32()?, offset: self.u32()? })
    }
}

fn write_u32s(out: &mut Vec<u8>, numbers: &[u32]) {
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn write_u64s(out: &mut Vec<u8>, numbers: &[u64]) {
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

impl Value for Place {
    const NAME: &'static str = "the place of a row";

    fn write(&self, out: &mut Vec<u8>) {
        write_u32s(out, &[self.segment, self.offset, self.len, self.crc, self.since]);
    }

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            segment: fields.u32()?,
            offset: fields.u32()?,
            len: fields.u32()?,
            crc: fields.u32()?,
            since: fields.u32()?,
        })
    }
}

impl Value for QueuedRow {
    const NAME: &'static str = "a queued row";

    fn write(&self, out: &mut Vec<u8>) {
        write_u32s(out, &[self.minute]);
        self.place.write(out);
    }

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { minute: fields.u32()?, place: Place::read(fields)? })
    }
}

impl Value for QueueState {
    const NAME: &'static str = "the state of a queue";

    fn write(&self, out: &mut Vec<u8>) {
        write_u64s(out, &[self.rows, self.bytes, self.first, self.last]);
        write_u32s(out, &[self.oldest, self.newest, self.since]);
        out.push(u8::from(self.ordered));
        if let Some(floor) = &self.floor {
            write_u32s(out, &[floor.pos.segment, floor.pos.offset]);
            write_u64s(out, &[floor.up_to, floor.last]);
        }
    }

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let (rows, bytes) = (fields.u64()?, fields.u64()?);
        let (first, last) = (fields.u64()?, fields.u64()?);
        let (oldest, newest, since) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let ordered = fields.u8()? != 0;
        let floor = if fields.0.is_empty() {
            None
        } else {
            Some(Floor { pos: fields.pos()?, up_to: fields.u64()?, last: fields.u64()? })
        };
        Some(Self { rows, bytes, first, last, oldest, newest, ordered, since, floor })
    }
}

impl Value for Tally {
    const NAME: &'static str = "the tally of a segment";

    fn write(&self, out: &mut Vec<u8>) {
        let Self { live_records, live_bytes, grave_bytes, grave_first, grave_last } = *self;
        write_u32s(out, &[live_records, live_bytes, grave_bytes, grave_first, grave_last]);
    }

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            live_records: fields.u32()?,
            live_bytes: fields.u32()?,
            grave_bytes: fields.u32()?,
            grave_first: fields.u32()?,
            grave_last: fields.u32()?,
        })
    }
}

impl Value for Watermark {
    const NAME: &'static str = "the watermark";

    fn write(&self, out: &mut Vec<u8>) {
        write_u64s(out, &[self.log, self.batch]);
        write_u32s(out, &[self.end.segment, self.end.offset, self.crc]);
    }

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { log: fields.u64()?, batch: fields.u64()?, end: fields.pos()?, crc: fields.u32()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Life;

    const PLACE: Place = Place { segment: 1, offset: 2, len: 3, crc: 4, since: 5 };

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn bytes_are_frozen_and_read_back() {
        let floor = Floor { pos: Pos { segment: 1, offset: 2 }, up_to: 3, last: 4 };
        let state = QueueState {
            rows: 1,
            bytes: 2,
            first: 3,
            last: 4,
            oldest: 5,
            newest: 6,
            ordered: true,
            since: 7,
            floor: None,
        };
        assert_eq!(hex(&PLACE.encode()), "0100000002000000030000000400000005000000");
        let row = QueuedRow { minute: 9, place: PLACE };
        assert_eq!(hex(&row.encode()), "09000000".to_owned() + &hex(&PLACE.encode()));
        assert_eq!(
            hex(&state.encode()),
            "0100000000000000020000000000000003000000000000000400000000000000050000000600000007000000"
                .to_owned()
                + "01"
        );
        assert_eq!(Place::decode(&PLACE.encode()).unwrap(), PLACE);
        assert_eq!(QueuedRow::decode(&row.encode()).unwrap(), row);
        let both = [state, QueueState { floor: Some(floor), ..state }];
        assert!(both.iter().all(|state| QueueState::decode(&state.encode()).unwrap() == *state));
        let tally = Tally { live_records: 1, live_bytes: 2, grave_bytes: 3, grave_first: 4, grave_last: 5 };
        assert_eq!(Tally::decode(&tally.encode()).unwrap(), tally);
        let mark = Watermark { log: 1, batch: 2, end: Pos { segment: 3, offset: 4 }, crc: 5 };
        assert_eq!(Watermark::decode(&mark.encode()).unwrap(), mark);
        assert!(Place::decode(&[0; 19]).is_err() && Place::decode(&[0; 21]).is_err());
    }

    #[test]
    fn keys_sort_and_read_back() {
        let queue = QueueId([0xff; 16]);
        assert!(queued_key(queue, 255) < queued_key(queue, 256));
        assert!(queued_key(queue, u64::MAX) < queue_end(queue));
        assert_eq!(parse_queued_key(&queued_key(queue, 7)).unwrap(), (queue, 7));
        assert_eq!(parse_state_key(&state_key(queue)).unwrap(), queue);
        assert_eq!(parse_tally_key(&tally_key(300)).unwrap(), 300);
        assert_eq!(prefix_end(b"a\xff"), b"b");
        assert_eq!(hex(&row_key(Table::new(2, Life::Long), b"x")), "6b0278");
    }
}
