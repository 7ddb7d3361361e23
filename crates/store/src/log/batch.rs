//! The unit of writing: a header, records, a checksum over both.
//!
//! ```text
//! magic 8 | segment u64 | number u64 | length u32 | CRC32C u32 | records … | zeros to the next 512
//! ```
//!
//! Little-endian. The magic carries half of the log's random id and the checksum is seeded with the
//! other half: bytes that somebody else made cannot pass for a batch, wherever they come to lie, and
//! neither can a segment of another log.

use super::layout::{HEADER_BYTES, SegmentNo, align};

/// The random identity of a log, made when it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogId(pub(crate) u64);

impl LogId {
    fn magic(self) -> [u8; 8] {
        let [a, b, c, d, ..] = self.0.to_le_bytes();
        [b'P', b'P', b'L', b'1', a, b, c, d]
    }

    fn crc(self, header: &[u8], records: &[u8]) -> u32 {
        let [.., e, f, g, h] = self.0.to_le_bytes();
        crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&[e, f, g, h]), header), records)
    }
}

/// Bytes of the header that the checksum covers: all but itself.
const COVERED: usize = HEADER_BYTES - 4;

/// Turns a buffer that begins with [`HEADER_BYTES`] of room, then records, into a batch ready to write.
/// Answers its checksum.
pub(crate) fn finish(log: LogId, segment: SegmentNo, number: u64, buffer: &mut Vec<u8>) -> u32 {
    let length = u32::try_from(buffer.len() - HEADER_BYTES).expect("a batch is smaller than a segment");
    let mut header = [0_u8; COVERED];
    header[..8].copy_from_slice(&log.magic());
    header[8..16].copy_from_slice(&u64::from(segment).to_le_bytes());
    header[16..24].copy_from_slice(&number.to_le_bytes());
    header[24..28].copy_from_slice(&length.to_le_bytes());
    let crc = log.crc(&header, buffer.get(HEADER_BYTES..).unwrap_or(&[]));
    if let Some(room) = buffer.first_chunk_mut::<HEADER_BYTES>() {
        room[..COVERED].copy_from_slice(&header);
        room[COVERED..].copy_from_slice(&crc.to_le_bytes());
    }
    buffer.resize(align(buffer.len()), 0);
    crc
}

/// What lies at a border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed<'a> {
    Batch(Batch<'a>),
    /// Only zeros where a header would be.
    Empty,
    Bad(&'static str),
}

/// A batch whose checksum holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch<'a> {
    pub(crate) number: u64,
    pub(crate) crc: u32,
    pub(crate) records: &'a [u8],
    /// Bytes to the next border after it.
    pub(crate) size: usize,
}

/// Reads what is at the beginning of `bytes`.
pub(crate) fn parse(log: LogId, segment: SegmentNo, bytes: &[u8]) -> Parsed<'_> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Parsed::Bad("no room for a header");
    };
    if header.iter().all(|byte| *byte == 0) {
        return Parsed::Empty;
    }
    if header[..8] != log.magic() {
        return Parsed::Bad("not the header of a batch of this log");
    }
    if header[8..16] != u64::from(segment).to_le_bytes() {
        return Parsed::Bad("a batch of another segment");
    }
    let [.., l0, l1, l2, l3, c0, c1, c2, c3] = *header;
    let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
    let crc = u32::from_le_bytes([c0, c1, c2, c3]);
    let Some(records) = rest.get(..length) else {
        return Parsed::Bad("a length beyond the segment");
    };
    if log.crc(&header[..COVERED], records) != crc {
        return Parsed::Bad("the checksum does not hold");
    }
    let mut number = [0; 8];
    number.copy_from_slice(&header[16..24]);
    let size = align(HEADER_BYTES + length);
    Parsed::Batch(Batch { number: u64::from_le_bytes(number), crc, records, size })
}

/// Whether a batch of this log may begin so.
pub(crate) fn may_begin(log: LogId, bytes: &[u8]) -> bool {
    bytes.starts_with(&log.magic())
}

/// The length of the records that a header claims; `None` when it is not one of this log.
pub(crate) fn claimed_length(log: LogId, header: &[u8]) -> Option<usize> {
    let length = header.get(24..28).filter(|_| may_begin(log, header))?;
    let length = u32::from_le_bytes(length.try_into().ok()?);
    usize::try_from(length).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log::layout::SECTOR;

    const LOG: LogId = LogId(0x0123_4567_89ab_cdef);

    fn batch(segment: SegmentNo, number: u64, records: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; HEADER_BYTES];
        buffer.extend_from_slice(records);
        finish(LOG, segment, number, &mut buffer);
        buffer
    }

    #[test]
    fn bytes_are_frozen() {
        let bytes = batch(3, 9, b"records");
        let hex: String = bytes[..40].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "50504c31efcdab8903000000000000000900000000000000070000001de54fcd7265636f72647300",);
        assert_eq!(bytes.len(), SECTOR);
    }

    #[test]
    fn foreign_batches_are_told_apart() {
        let bytes = batch(3, 9, b"records");
        assert!(matches!(parse(LOG, 3, &bytes), Parsed::Batch(Batch { number: 9, records: b"records", .. })));
        assert_eq!(parse(LOG, 4, &bytes), Parsed::Bad("a batch of another segment"));
        // Only the half of the id that is not in the magic differs.
        assert_eq!(parse(LogId(LOG.0 ^ (1 << 40)), 3, &bytes), Parsed::Bad("the checksum does not hold"));
        assert_eq!(parse(LogId(LOG.0 ^ 1), 3, &bytes), Parsed::Bad("not the header of a batch of this log"));
        assert_eq!(parse(LOG, 3, &[0; 512]), Parsed::Empty);
        assert_eq!(parse(LOG, 3, &bytes[..20]), Parsed::Bad("no room for a header"));
        assert_eq!(parse(LOG, 3, &bytes[..35]), Parsed::Bad("a length beyond the segment"));
    }

    proptest! {
        #[test]
        fn any_changed_bit_is_noticed(records in proptest::collection::vec(any::<u8>(), 0..600), at: usize, bit in 0..8_u8) {
            let mut bytes = batch(1, 1, &records);
            let at = at % (HEADER_BYTES + records.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(!matches!(parse(LOG, 1, &bytes), Parsed::Batch(_)));
        }
    }
}
