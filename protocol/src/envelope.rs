//! The outside of a sealed envelope: its sizes and its header.
//!
//! ```text
//! header   = version 1 | suite 1 | hint 8 | mkey 8
//! envelope = header 18 | encapsulation 1120 | ciphertext        total exactly 4, 8, 16, 32 or 80 KiB
//! ```

use crate::ids::KeyHint;

/// Version of the envelope format that this code writes and reads.
pub const VERSION: u8 = 1;
/// HPKE base mode, X-Wing, HKDF-SHA256, ChaCha20-Poly1305; Ed25519 inside.
pub const SUITE: u8 = 1;
/// Length of the header in bytes.
pub const HEADER_BYTES: usize = 18;
/// Length of an X-Wing encapsulation in bytes.
pub const ENCAPSULATION_BYTES: usize = 1120;
/// Length of the AEAD tag that ends the ciphertext, in bytes.
pub const TAG_BYTES: usize = 16;
/// Sizes that an envelope may have, ascending, in bytes.
pub const LADDER: [usize; 5] = [4 * 1024, 8 * 1024, 16 * 1024, 32 * 1024, 80 * 1024];
/// Largest envelope in bytes.
pub const MAX_ENVELOPE_BYTES: usize = 80 * 1024;

/// Bytes of an envelope that are never body: header, encapsulation, tag, heads of the signed pair (array 1, signature 2), signature,
/// padding mark. The head of the body's byte string comes on top.
const FIXED_BYTES: usize = HEADER_BYTES + ENCAPSULATION_BYTES + TAG_BYTES + 3 + 64 + 1;

/// What a relay and a stranger can see of an envelope, besides its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Tells the recipient, and nobody else, which contact sealed it.
    pub hint: KeyHint,
    /// Id of the recipient's key, masked with a MAC that only the pair can compute.
    pub masked_key: KeyHint,
}

/// An envelope is not one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The length is no step of [`LADDER`].
    #[error("envelope of {got} bytes is not 4, 8, 16, 32 or 80 KiB")]
    Size {
        /// Length that was seen.
        got: usize,
    },
    /// A later version of the format.
    #[error("envelope version {got}, this node reads {VERSION}")]
    Version {
        /// Version byte that was seen.
        got: u8,
    },
    /// A suite that this code does not have.
    #[error("envelope suite {got}, this node has {SUITE}")]
    Suite {
        /// Suite byte that was seen.
        got: u8,
    },
}

impl Header {
    /// Writes the 18 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        let bytes =
            [VERSION, SUITE].into_iter().chain(*self.hint.as_bytes()).chain(*self.masked_key.as_bytes());
        for (to, from) in out.iter_mut().zip(bytes) {
            *to = from;
        }
        out
    }

    /// Reads the header of a whole envelope and checks that its size is on the ladder.
    ///
    /// # Errors
    /// See [`HeaderError`].
    pub fn decode(envelope: &[u8]) -> Result<Self, HeaderError> {
        let size = HeaderError::Size { got: envelope.len() };
        if !LADDER.contains(&envelope.len()) {
            return Err(size);
        }
        let Some((&[version, suite], rest)) = envelope.split_first_chunk::<2>() else { return Err(size) };
        if version != VERSION {
            return Err(HeaderError::Version { got: version });
        }
        if suite != SUITE {
            return Err(HeaderError::Suite { got: suite });
        }
        let Some((hint, rest)) = rest.split_first_chunk::<8>() else { return Err(size) };
        let Some((masked, _)) = rest.split_first_chunk::<8>() else { return Err(size) };
        Ok(Self { hint: KeyHint::from_bytes(*hint), masked_key: KeyHint::from_bytes(*masked) })
    }
}

/// The smallest step of the ladder that holds `bytes`, or `None` when none does.
#[must_use]
pub fn ladder_step(bytes: usize) -> Option<usize> {
    LADDER.into_iter().find(|step| *step >= bytes)
}

/// The longest encoded body, in bytes, that an envelope of `envelope_bytes` holds; 0 when it holds none.
///
/// What rides along with a message (receipts, an offered key) is cut so that the body stays within [`MAX_BODY_BYTES`]; whoever
/// wants to stay on a ladder step compares with this.
///
/// [`MAX_BODY_BYTES`]: crate::limits::MAX_BODY_BYTES
#[must_use]
pub const fn capacity(envelope_bytes: usize) -> usize {
    let room = envelope_bytes.saturating_sub(FIXED_BYTES);
    // The head of a byte string grows with its length (RFC 8949 §3).
    match room {
        0..=24 => room.saturating_sub(1),
        25..=257 => room.saturating_sub(2),
        258..=65_538 => room.saturating_sub(3),
        65_539..=65_540 => 65_535,
        _ => room.saturating_sub(5),
    }
}

/// The smallest step of the ladder whose envelope holds a body of `body_bytes`, or `None` when none does.
#[must_use]
pub fn step_for_body(body_bytes: usize) -> Option<usize> {
    LADDER.into_iter().find(|step| capacity(*step) >= body_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::Signature;
    use crate::sealed::Signed;

    fn envelope_bytes(body_bytes: usize) -> usize {
        let signed = Signed { body: vec![7; body_bytes], sig: Signature::from_bytes([9; 64]) };
        HEADER_BYTES + ENCAPSULATION_BYTES + TAG_BYTES + signed.encode().len() + 1
    }

    #[test]
    fn capacity_is_what_really_fits() {
        for step in LADDER
            .into_iter()
            .chain(FIXED_BYTES + 1..FIXED_BYTES + 600)
            .chain(FIXED_BYTES + 65_530..FIXED_BYTES + 65_550)
        {
            let body_bytes = capacity(step);
            assert!(envelope_bytes(body_bytes) <= step, "{step}");
            assert!(envelope_bytes(body_bytes + 1) > step, "{step}");
        }
        assert_eq!(LADDER.map(capacity), [2_871, 6_967, 15_159, 31_543, 80_693]);
        assert_eq!(capacity(100), 0);
    }

    #[test]
    fn bodies_take_the_smallest_step() {
        assert_eq!([0, 4_096, 4_097, 81_920].map(ladder_step), [4_096, 4_096, 8_192, 81_920].map(Some));
        assert_eq!(ladder_step(81_921), None);
        assert_eq!(step_for_body(0), Some(4096));
        assert_eq!(step_for_body(2_871), Some(4096));
        assert_eq!(step_for_body(2_872), Some(8192));
        assert_eq!(step_for_body(crate::limits::MAX_BODY_BYTES), Some(MAX_ENVELOPE_BYTES));
        assert_eq!(step_for_body(80_694), None);
    }

    #[test]
    fn only_our_envelopes_have_a_header() {
        let header = Header { hint: KeyHint::from_bytes([1; 8]), masked_key: KeyHint::from_bytes([2; 8]) };
        for size in LADDER {
            let mut envelope = vec![0; size];
            envelope[..HEADER_BYTES].copy_from_slice(&header.encode());
            assert_eq!(Header::decode(&envelope), Ok(header));
            assert_eq!(Header::decode(&envelope[1..]), Err(HeaderError::Size { got: size - 1 }));
            envelope[1] = 2;
            assert_eq!(Header::decode(&envelope), Err(HeaderError::Suite { got: 2 }));
            envelope[0] = 2;
            assert_eq!(Header::decode(&envelope), Err(HeaderError::Version { got: 2 }));
        }
        assert_eq!(Header::decode(&[]), Err(HeaderError::Size { got: 0 }));
    }

    proptest! {
        #[test]
        fn headers_read_back(hint in any::<[u8; 8]>(), masked in any::<[u8; 8]>(), step in 0..LADDER.len()) {
            let header = Header { hint: KeyHint::from_bytes(hint), masked_key: KeyHint::from_bytes(masked) };
            let mut envelope = vec![0x55; LADDER[step]];
            envelope[..HEADER_BYTES].copy_from_slice(&header.encode());
            prop_assert_eq!(Header::decode(&envelope), Ok(header));
        }
    }
}
