//! A structure and the signature over its exact bytes.

use minicbor::{Decode, Decoder, Encode, decode};

use crate::cbor::{self, CborError};
use crate::ids::Signature;

/// `[body: bstr, sig: bstr]`: what was signed, exactly as it was signed, never encoded again.
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct Signed {
    /// The encoded structure.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub body: Vec<u8>,
    /// Signature over the label of the structure's use and `body`.
    #[n(1)]
    pub sig: Signature,
}

/// Written out, because a derived decoder would skip further elements of the array, and then one signature had many encodings.
impl<'b, C> Decode<'b, C> for Signed {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        let at = d.position();
        if d.array()? != Some(2) {
            return Err(decode::Error::message("a signed structure has two parts").at(at));
        }
        let body = d.bytes()?.to_owned();
        Ok(Self { body, sig: Signature::decode(d, ctx)? })
    }
}

impl Signed {
    /// Encodes both parts.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Decodes both parts; the body is not looked into.
    ///
    /// # Errors
    /// [`CborError`], also when longer than `max` bytes.
    pub fn decode(bytes: &[u8], max: usize) -> Result<Self, CborError> {
        cbor::decode(bytes, max)
    }
}
