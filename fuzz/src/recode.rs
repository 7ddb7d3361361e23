//! The promise of every decoder.

use std::fmt::Debug;

use penpal_protocol::cbor;

/// What is read has one encoding: unknown fields are skipped, so it may be shorter than what was sent; it may not be different
/// otherwise.
pub(crate) fn one_encoding<T: PartialEq + Debug, E: Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> Option<T> {
    let value = decode(bytes).ok()?;
    assert!(bytes.is_empty() || cbor::check(bytes) == Ok(()), "read although not in deterministic form");
    let again = encode(&value);
    assert!(again == bytes || again.len() < bytes.len(), "{value:?} has a second encoding: {again:02x?}");
    match decode(&again) {
        Ok(same) => assert_eq!(same, value, "its own encoding means something else"),
        Err(error) => panic!("its own encoding is refused: {error:?}, {value:?}"),
    }
    Some(value)
}
