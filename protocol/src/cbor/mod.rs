//! The strict outer check of CBOR, bounded containers, and the pair of functions every structure uses.

mod bounded;
mod strict;

use minicbor::{Decode, Encode};

pub use bounded::{Blob, Bounded, List, Text};
pub use strict::{CborError, check};

/// Encodes a value in core deterministic form (RFC 8949 §4.2.1).
///
/// Writing to memory cannot fail, and our encoders only return errors of the writer.
#[must_use]
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    // The writer is a `Vec`, whose error type is uninhabited; custom encoders of this crate raise none of their own.
    let written = minicbor::encode(value, &mut out);
    debug_assert!(written.is_ok(), "encoding into memory failed");
    out
}

/// Decodes a whole byte string: bounded length, deterministic form, no trailing bytes, then the structure itself.
///
/// # Errors
/// [`CborError`], each naming what is wrong and at which offset.
pub fn decode<'b, T: Decode<'b, ()>>(bytes: &'b [u8], max: usize) -> Result<T, CborError> {
    if bytes.len() > max {
        return Err(CborError::TooLong { max, got: bytes.len() });
    }
    check(bytes)?;
    minicbor::decode(bytes).map_err(|error| CborError::Structure {
        offset: error.position().unwrap_or_default(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_be_as_long_as_its_limit() {
        let bytes = encode(&Text::<9>::truncated("penpal"));
        assert_eq!(decode::<Text<9>>(&bytes, 7).unwrap().as_str(), "penpal");
        assert_eq!(decode::<Text<9>>(&bytes, 6), Err(CborError::TooLong { max: 6, got: 7 }));
    }
}
