//! Records: what a batch is made of.
//!
//! `type u8 | length u32 | payload`, little-endian:
//!
//! | type | payload |
//! | --- | --- |
//! | 1 put | table u8, life u8, key length u16, key, value |
//! | 2 delete | grave 16, table u8, life u8, key |
//! | 3 append | queue 16, seq u64, minute u32, row |
//! | 4 floor | queue 16, acknowledged up to u64, last seq u64 |
//! | 5 remove | grave 16, queue 16, seqs u64 … |
//! | 6 drop queue | grave 16, queue 16 |
//! | 7 segment set | first u32, last u32 … (ranges of segments that exist) |
//! | 8 unlink | segment u32 … |
//! | 9 seal | nothing: the segment ends here |

use super::layout::{Pos, SegmentNo, offset32};
use crate::{Life, QueueId, Table};

/// Bytes before a payload.
const FRAME_BYTES: usize = 5;

/// Most segments of a log: 16 TiB of the usual size. A set of more is refused before anything is made from it.
const MAX_SEGMENTS: u64 = 1 << 20;

/// Where a tombstone's victims lie: it must be kept while one of these segments exists.
///
/// Encoded as first u32, last u32, limit segment u32, limit offset u32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grave {
    /// Segments `first..=last` may hold records it kills.
    pub(crate) first: SegmentNo,
    pub(crate) last: SegmentNo,
    /// It kills only what lies before this place; [`Pos::START`] means its own place. Set when a
    /// tombstone is moved, because newer records of the same key may lie in between.
    pub(crate) limit: Pos,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    Put { table: Table, key: &'a [u8], value: &'a [u8] },
    Delete { grave: Grave, table: Table, key: &'a [u8] },
    Append { queue: QueueId, seq: u64, minute: u32, bytes: &'a [u8] },
    Floor { queue: QueueId, up_to: u64, last: u64 },
    Remove { grave: Grave, queue: QueueId, seqs: Vec<u64> },
    DropQueue { grave: Grave, queue: QueueId },
    SegmentSet { ranges: Vec<(SegmentNo, SegmentNo)> },
    Unlink { segments: Vec<SegmentNo> },
    Seal,
}

/// A record and where it stands in its segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed<'a> {
    pub(crate) record: Record<'a>,
    /// Offset of its first byte.
    pub(crate) offset: u32,
    /// Offset of its value or row; past its end for the others.
    pub(crate) value_offset: u32,
    /// Its bytes, frame included.
    pub(crate) size: u32,
}

/// Bytes that a put needs in the log.
pub(crate) fn put_size(key_len: usize, value_len: u32) -> u32 {
    offset32(FRAME_BYTES + 4 + key_len) + value_len
}

/// Bytes that an appended row needs in the log.
pub(crate) fn append_size(row_len: u32) -> u32 {
    offset32(FRAME_BYTES + 28) + row_len
}

/// Bytes that it needs to declare so many segments gone.
pub(crate) fn unlink_size(segments: usize) -> usize {
    FRAME_BYTES + segments * size_of::<SegmentNo>()
}

/// Bytes of a floor.
pub(crate) const FLOOR_SIZE: u32 = 5 + 32;

impl Record<'_> {
    /// Appends the record; answers the offset in `out` of its value (or of its end).
    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.extend_from_slice(&[self.kind(), 0, 0, 0, 0]);
        let mut value_at = None;
        match self {
            Self::Put { table, key, value } => {
                encode_table(*table, out);
                let key_len = u16::try_from(key.len()).expect("keys are at most MAX_KEY_BYTES long");
                out.extend_from_slice(&key_len.to_le_bytes());
                out.extend_from_slice(key);
                value_at = Some(out.len());
                out.extend_from_slice(value);
            }
            Self::Delete { grave, table, key } => {
                grave.encode(out);
                encode_table(*table, out);
                out.extend_from_slice(key);
            }
            Self::Append { queue, seq, minute, bytes } => {
                out.extend_from_slice(&queue.0);
                out.extend_from_slice(&seq.to_le_bytes());
                out.extend_from_slice(&minute.to_le_bytes());
                value_at = Some(out.len());
                out.extend_from_slice(bytes);
            }
            Self::Floor { queue, up_to, last } => {
                out.extend_from_slice(&queue.0);
                out.extend_from_slice(&up_to.to_le_bytes());
                out.extend_from_slice(&last.to_le_bytes());
            }
            Self::Remove { grave, queue, seqs } => {
                grave.encode(out);
                out.extend_from_slice(&queue.0);
                for seq in seqs {
                    out.extend_from_slice(&seq.to_le_bytes());
                }
            }
            Self::DropQueue { grave, queue } => {
                grave.encode(out);
                out.extend_from_slice(&queue.0);
            }
            Self::SegmentSet { ranges } => {
                for (first, last) in ranges {
                    out.extend_from_slice(&first.to_le_bytes());
                    out.extend_from_slice(&last.to_le_bytes());
                }
            }
            Self::Unlink { segments } => {
                for segment in segments {
                    out.extend_from_slice(&segment.to_le_bytes());
                }
            }
            Self::Seal => {}
        }
        let length = offset32(out.len() - start - FRAME_BYTES);
        if let Some(room) = out.get_mut(start + 1..start + FRAME_BYTES) {
            room.copy_from_slice(&length.to_le_bytes());
        }
        value_at.unwrap_or(out.len())
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Put { .. } => 1,
            Self::Delete { .. } => 2,
            Self::Append { .. } => 3,
            Self::Floor { .. } => 4,
            Self::Remove { .. } => 5,
            Self::DropQueue { .. } => 6,
            Self::SegmentSet { .. } => 7,
            Self::Unlink { .. } => 8,
            Self::Seal => 9,
        }
    }
}

fn encode_table(table: Table, out: &mut Vec<u8>) {
    out.push(table.id);
    out.push(match table.life {
        Life::Short => 0,
        Life::Long => 1,
    });
}

impl Grave {
    fn encode(self, out: &mut Vec<u8>) {
        for number in [self.first, self.last, self.limit.segment, self.limit.offset] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
}

/// A batch whose checksum holds but whose records make no sense: written by a newer version, or a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadRecord {
    pub(crate) offset: u32,
    pub(crate) detail: &'static str,
}

/// Reads the records of one batch.
#[derive(Clone, Debug)]
pub(crate) struct Records<'a> {
    rest: &'a [u8],
    /// Offset in the segment of what is next.
    offset: usize,
}

impl<'a> Records<'a> {
    /// `offset` is where `records` begins in its segment.
    pub(crate) fn new(records: &'a [u8], offset: usize) -> Self {
        Self { rest: records, offset }
    }

    fn read(&mut self) -> Result<Placed<'a>, &'static str> {
        let ([kind, l0, l1, l2, l3], rest) = self.rest.split_first_chunk().ok_or("a record cut short")?;
        let length = usize::try_from(u32::from_le_bytes([*l0, *l1, *l2, *l3])).unwrap_or(usize::MAX);
        let (payload, rest) = rest.split_at_checked(length).ok_or("a record longer than its batch")?;
        let (record, value_len) = decode(*kind, payload).ok_or("a record that this version cannot read")?;
        let (offset, size) = (self.offset, FRAME_BYTES + length);
        self.rest = rest;
        self.offset += size;
        Ok(Placed {
            record,
            offset: offset32(offset),
            value_offset: offset32(self.offset - value_len),
            size: offset32(size),
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Placed<'a>, BadRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let offset = offset32(self.offset);
        Some(self.read().map_err(|detail| {
            self.rest = &[];
            BadRecord { offset, detail }
        }))
    }
}

/// Takes fixed-size fields from the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Ranges of segments, each first and last.
    fn segment_ranges(&mut self) -> Option<Vec<(SegmentNo, SegmentNo)>> {
        let ranges = self.all(|fields| Some((fields.u32()?, fields.u32()?)))?;
        let lengths = ranges.iter().map(|(first, last)| Some(u64::from(last.checked_sub(*first)?) + 1));
        let segments: Option<u64> = lengths.sum();
        segments.is_some_and(|segments| segments <= MAX_SEGMENTS).then_some(ranges)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn queue(&mut self) -> Option<QueueId> {
        self.take().map(QueueId)
    }

    fn table(&mut self) -> Option<Table> {
        let [id, life] = self.take()?;
        let life = match life {
            0 => Life::Short,
            1 => Life::Long,
            _ => return None,
        };
        Some(Table { id, life })
    }

    fn grave(&mut self) -> Option<Grave> {
        let (first, last) = (self.u32()?, self.u32()?);
        Some(Grave { first, last, limit: Pos { segment: self.u32()?, offset: self.u32()? } })
    }

    fn all<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut list = Vec::new();
        while !self.0.is_empty() {
            list.push(one(self)?);
        }
        Some(list)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// Answers the record and the length of the value at its end.
fn decode(kind: u8, payload: &[u8]) -> Option<(Record<'_>, usize)> {
    let mut fields = Fields(payload);
    let mut value_len = 0;
    let record = match kind {
        1 => {
            let table = fields.table()?;
            let key_len = usize::from(u16::from_le_bytes(fields.take()?));
            let (key, value) = fields.rest().split_at_checked(key_len)?;
            value_len = value.len();
            Record::Put { table, key, value }
        }
        2 => Record::Delete { grave: fields.grave()?, table: fields.table()?, key: fields.rest() },
        3 => {
            let (queue, seq, minute) = (fields.queue()?, fields.u64()?, fields.u32()?);
            let bytes = fields.rest();
            value_len = bytes.len();
            Record::Append { queue, seq, minute, bytes }
        }
        4 => Record::Floor { queue: fields.queue()?, up_to: fields.u64()?, last: fields.u64()? },
        5 => {
            let (grave, queue) = (fields.grave()?, fields.queue()?);
            Record::Remove { grave, queue, seqs: fields.all(Fields::u64)? }
        }
        6 => Record::DropQueue { grave: fields.grave()?, queue: fields.queue()? },
        7 => Record::SegmentSet { ranges: fields.segment_ranges()? },
        8 => Record::Unlink { segments: fields.all(Fields::u32)? },
        9 => Record::Seal,
        _ => return None,
    };
    fields.0.is_empty().then_some((record, value_len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log::layout::offset_usize;

    fn samples() -> Vec<Record<'static>> {
        let grave = Grave { first: 1, last: 2, limit: Pos { segment: 3, offset: 4 } };
        let table = Table::new(7, Life::Long);
        let queue = QueueId([9; 16]);
        vec![
            Record::Put { table, key: b"key", value: b"value" },
            Record::Delete { grave, table, key: b"key" },
            Record::Append { queue, seq: 5, minute: 6, bytes: b"row" },
            Record::Floor { queue, up_to: 5, last: 8 },
            Record::Remove { grave, queue, seqs: vec![3, 4] },
            Record::DropQueue { grave, queue },
            Record::SegmentSet { ranges: vec![(1, 4), (6, 6)] },
            Record::Unlink { segments: vec![5] },
            Record::Seal,
        ]
    }

    #[test]
    fn bytes_are_frozen() {
        let mut all = Vec::new();
        for record in samples() {
            record.encode(&mut all);
        }
        let hex: String = all.iter().map(|byte| format!("{byte:02x}")).collect();
        let queue = "09".repeat(16);
        let grave = "01000000020000000300000004000000";
        let expected = [
            "010c00000007010300".to_owned() + "6b6579" + "76616c7565",
            "0215000000".to_owned() + grave + "0701" + "6b6579",
            "031f000000".to_owned() + &queue + "0500000000000000" + "06000000" + "726f77",
            "0420000000".to_owned() + &queue + "0500000000000000" + "0800000000000000",
            "0530000000".to_owned() + grave + &queue + "0300000000000000" + "0400000000000000",
            "0620000000".to_owned() + grave + &queue,
            "0710000000".to_owned() + "0100000004000000" + "0600000006000000",
            "0804000000".to_owned() + "05000000",
            "0900000000".to_owned(),
        ];
        assert_eq!(hex, expected.concat());
    }

    #[test]
    fn what_was_encoded_is_read_with_its_place() {
        let mut all = Vec::new();
        let values: Vec<usize> = samples().iter().map(|record| record.encode(&mut all)).collect();
        let read: Vec<Placed<'_>> = Records::new(&all, 1000).collect::<Result<_, _>>().unwrap();
        assert_eq!(read.iter().map(|placed| placed.record.clone()).collect::<Vec<_>>(), samples());
        for (placed, value_at) in read.iter().zip(values) {
            assert_eq!(placed.value_offset, offset32(1000 + value_at));
        }
        assert_eq!(read[0].size, put_size(3, 5));
        assert_eq!(read[2].size, append_size(3));
        assert_eq!(read[3].size, FLOOR_SIZE);
        assert_eq!(offset_usize(read[7].size), unlink_size(1));
        let many = Record::Unlink { segments: vec![5; 300] };
        assert_eq!(many.encode(&mut Vec::new()), unlink_size(300));
        assert_eq!(read[1].offset, 1000 + read[0].size);
    }

    #[test]
    fn unknown_types_and_trailing_bytes_are_refused() {
        let unknown: Vec<_> = Records::new(&[200, 0, 0, 0, 0], 0).collect();
        assert!(matches!(unknown[..], [Err(BadRecord { offset: 0, .. })]));
        for (first, last) in [(1_u32, u32::MAX), (2, 1)] {
            let set = [&[7, 8, 0, 0, 0][..], &first.to_le_bytes(), &last.to_le_bytes()].concat();
            let refused: Vec<_> = Records::new(&set, 0).collect();
            assert!(matches!(refused[..], [Err(_)]), "segments {first} to {last}");
        }
        let most = u32::try_from(MAX_SEGMENTS).unwrap();
        for (ranges, fits) in [
            (vec![(1, most)], true),
            (vec![(1, most + 1)], false),
            (vec![(1, most - 1), (most + 5, most + 5)], true),
            (vec![(1, most - 1), (most + 5, most + 6)], false),
        ] {
            let mut set = Vec::new();
            Record::SegmentSet { ranges: ranges.clone() }.encode(&mut set);
            assert_eq!(Records::new(&set, 0).next().is_some_and(|read| read.is_ok()), fits, "{ranges:?}");
        }
        let trailing: Vec<_> = Records::new(&[9, 1, 0, 0, 0, 7], 0).collect();
        assert!(matches!(trailing[..], [Err(_)]));
    }

    proptest! {
        #[test]
        fn noise_never_panics_and_ends(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Records::new(&bytes, 0).count() <= bytes.len());
        }
    }
}
