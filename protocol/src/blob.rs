//! The shape of a blob: how long a sealed content is, and where its parts begin.
//!
//! ```text
//! content ─ padded ─▶ chunks of 64 KiB ─ each sealed ─▶ 16 of them are a part ─▶ parts, one after another, are the blob
//! ```
//!
//! Source: `docs/protocol.md` §7.

/// Bytes of padded content in a chunk; only the last chunk may have fewer.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// Bytes that sealing adds to a chunk.
pub const CHUNK_TAG_BYTES: usize = 16;

/// Chunks of a part; only the last part may have fewer.
pub const PART_CHUNKS: usize = 16;

/// Bytes of padded content in a part: 1 MiB.
pub const PART_CONTENT_BYTES: usize = PART_CHUNKS * CHUNK_BYTES;

/// Bytes of a part as it is sent and stored.
pub const PART_BYTES: usize = PART_CHUNKS * (CHUNK_BYTES + CHUNK_TAG_BYTES);

/// Least padded length: what is shorter cannot be told apart.
pub const MIN_PADDED_BYTES: u64 = 4096;

/// Most parts of a blob: 64 GiB. Where which parts are there is told, it takes 8 KiB at most.
pub const MAX_PARTS: u32 = 65_536;

/// Largest content, in bytes.
///
/// Padding adds less than an eighth, so that no padded content of this length needs more than [`MAX_PARTS`].
pub const MAX_CONTENT_BYTES: u64 = 56 * 1024 * 1024 * 1024;

/// The length to which a content is padded: Padmé, which keeps as many leading bits of a length as its logarithm needs. At least
/// [`MIN_PADDED_BYTES`]; adds at most 12 %. `None` beyond [`MAX_CONTENT_BYTES`].
#[must_use]
pub fn padded_bytes(content_bytes: u64) -> Option<u64> {
    if content_bytes > MAX_CONTENT_BYTES {
        return None;
    }
    let length = content_bytes.max(MIN_PADDED_BYTES);
    let exponent = length.ilog2();
    // Bits that are needed to write the exponent.
    let kept = exponent.ilog2().saturating_add(1);
    let mask = 1_u64.checked_shl(exponent.saturating_sub(kept))?.saturating_sub(1);
    Some(length.saturating_add(mask) & !mask)
}

/// A blob of a certain length. Built only of lengths that sealing gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobShape {
    bytes: u64,
    parts: u32,
}

impl BlobShape {
    /// The blob of a content; `None` beyond [`MAX_CONTENT_BYTES`].
    #[must_use]
    pub fn of_content(content_bytes: u64) -> Option<Self> {
        let padded = padded_bytes(content_bytes)?;
        let chunks = padded.div_ceil(to_u64(CHUNK_BYTES));
        Self::of_sealed(padded.checked_add(chunks.checked_mul(to_u64(CHUNK_TAG_BYTES))?)?)
    }

    /// The blob of so many sealed bytes; `None` when no content gives as many.
    #[must_use]
    pub fn of_sealed(bytes: u64) -> Option<Self> {
        let chunk = to_u64(CHUNK_BYTES + CHUNK_TAG_BYTES);
        let rest = bytes.checked_rem(chunk)?;
        let whole = rest == 0 || rest > to_u64(CHUNK_TAG_BYTES);
        let parts = u32::try_from(bytes.div_ceil(to_u64(PART_BYTES))).ok()?;
        (whole && (1..=MAX_PARTS).contains(&parts)).then_some(Self { bytes, parts })
    }

    /// Its length in bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.bytes
    }

    /// How many parts it has.
    #[must_use]
    pub fn parts(self) -> u32 {
        self.parts
    }

    /// Where a part begins in the blob, and its length; `None` beyond the last.
    #[must_use]
    pub fn part(self, part: u32) -> Option<(u64, usize)> {
        if part >= self.parts {
            return None;
        }
        let begin = u64::from(part).checked_mul(to_u64(PART_BYTES))?;
        let length = self.bytes.checked_sub(begin)?.min(to_u64(PART_BYTES));
        Some((begin, usize::try_from(length).ok()?))
    }
}

/// Which parts of a blob are there: bit `n % 8` of byte `n / 8` stands for part `n`, the lowest bit first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartSet {
    bits: Vec<u8>,
}

impl PartSet {
    /// Reads the bytes of a set for a blob of so many parts; what is longer or names other parts is refused.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], parts: u32) -> Option<Self> {
        let set = Self { bits: bytes.to_vec() };
        let fits = bytes.len() <= usize::try_from(parts.div_ceil(8)).ok()?;
        let beyond = (parts..parts.next_multiple_of(8)).any(|part| set.contains(part));
        (fits && !beyond).then_some(set)
    }

    /// The bytes, without zeros at the end.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let end = self.bits.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
        self.bits.get(..end).unwrap_or_default().to_vec()
    }

    /// Whether a part is there.
    #[must_use]
    pub fn contains(&self, part: u32) -> bool {
        let (byte, bit) = place(part);
        self.bits.get(byte).is_some_and(|bits| bits & bit != 0)
    }

    /// Adds a part; tells whether it is new.
    pub fn insert(&mut self, part: u32) -> bool {
        let (byte, bit) = place(part);
        if self.bits.len() <= byte {
            self.bits.resize(byte.saturating_add(1), 0);
        }
        let Some(bits) = self.bits.get_mut(byte) else { return false };
        let new = *bits & bit == 0;
        *bits |= bit;
        new
    }

    /// How many parts are there.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.bits.iter().map(|bits| bits.count_ones()).fold(0, u32::saturating_add)
    }

    /// Whether none is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn place(part: u32) -> (usize, u8) {
    // A shift by less than eight keeps its bit.
    (usize::try_from(part / 8).unwrap_or(usize::MAX), 1_u8.checked_shl(part % 8).unwrap_or_default())
}

fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn padding_is_what_the_paper_says() {
        for (content, padded) in [
            (0, 4096),
            (4096, 4096),
            (4097, 4352),
            (9_000, 9_216),
            (65_536, 65_536),
            (65_537, 67_584),
            (1_000_000, 1_015_808),
            (100 * 1024 * 1024, 104_857_600),
            (1024 * 1024 * 1024, 1_073_741_824),
        ] {
            assert_eq!(padded_bytes(content), Some(padded), "{content}");
        }
        assert_eq!(padded_bytes(MAX_CONTENT_BYTES + 1), None);
        assert!(BlobShape::of_content(MAX_CONTENT_BYTES).is_some());
    }

    #[test]
    fn lengths_that_sealing_never_gives_are_refused() {
        for bytes in [0, 1, 16, 65_552 + 1, 65_552 + 16, u64::MAX] {
            assert_eq!(BlobShape::of_sealed(bytes), None, "{bytes}");
        }
        let most = u64::from(MAX_PARTS) * to_u64(PART_BYTES);
        assert!(BlobShape::of_sealed(most).is_some() && BlobShape::of_sealed(most + 17).is_none());
    }

    proptest! {
        #[test]
        fn padding_costs_little_and_hides_lengths_near_each_other(content in 0..MAX_CONTENT_BYTES) {
            let padded = padded_bytes(content).unwrap();
            prop_assert!(padded >= content);
            prop_assert!(padded <= (content + content / 8).max(MIN_PADDED_BYTES));
            prop_assert_eq!(padded_bytes(padded), Some(padded));
        }

        #[test]
        fn parts_cover_a_blob_without_gap(content in 0..MAX_CONTENT_BYTES) {
            let shape = BlobShape::of_content(content).unwrap();
            let (begin, length) = shape.part(shape.parts() - 1).unwrap();
            prop_assert_eq!(begin + to_u64(length), shape.bytes());
            prop_assert_eq!(shape.part(shape.parts()), None);
            prop_assert_eq!(BlobShape::of_sealed(shape.bytes()), Some(shape));
        }

        #[test]
        fn a_set_is_read_as_it_is_written(parts in 1..300_u32, some in prop::collection::btree_set(0..300_u32, 0..40)) {
            let mut set = PartSet::default();
            for part in some.iter().filter(|part| **part < parts) {
                prop_assert!(set.insert(*part));
                prop_assert!(!set.insert(*part));
            }
            prop_assert_eq!(set.len() as usize, some.iter().filter(|part| **part < parts).count());
            prop_assert_eq!(set.is_empty(), some.first().is_none_or(|part| *part >= parts));
            let bytes = set.to_bytes();
            let read = PartSet::from_bytes(&bytes, parts).unwrap();
            prop_assert_eq!(read.len(), set.len());
            for part in 0..parts {
                prop_assert_eq!(read.contains(part), some.contains(&part));
            }
            let mut beyond = set.clone();
            beyond.insert(parts);
            prop_assert_eq!(PartSet::from_bytes(&beyond.to_bytes(), parts), None);
        }
    }
}
