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
