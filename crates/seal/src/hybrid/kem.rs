//! X-Wing as the key encapsulation of the `hpke` crate.

use std::sync::Arc;

use hpke::{Deserializable, HpkeError, Kem, Serializable, kem::SharedSecret};
use hybrid_array::sizes::{U32, U1120, U1216};
use rand_core::CryptoRng;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::{
    coins::COINS_BYTES,
    xwing::{ReceiveKey, RecipientKey, XWING_ENCAPSULATION_BYTES},
};
use crate::keys::ReceiveSeed;

/// X-Wing, KEM id `0x647a`.
pub(crate) enum XWing {}

/// A key of ours, shared with the cache of expanded keys.
#[derive(Clone)]
pub(crate) struct PrivateKey(pub(crate) Arc<ReceiveKey>);

/// An encapsulation.
#[derive(Clone)]
pub(crate) struct EncappedKey(pub(crate) [u8; XWING_ENCAPSULATION_BYTES]);

impl Kem for XWing {
    type PublicKey = RecipientKey;
    type PrivateKey = PrivateKey;
    type EncappedKey = EncappedKey;
    type NSecret = U32;

    const KEM_ID: u16 = 0x647a;

    fn sk_to_pk(key: &PrivateKey) -> RecipientKey {
        RecipientKey::parse(key.0.public()).expect("a generated key is well formed")
    }

    /// `SHAKE256.LabeledDerive(ikm, "DeriveKeyPair", "", 32)` of draft-ietf-hpke-pq, as `hpke` does for its own X-Wing.
    ///
    /// Required by the trait; keys here are random seeds and never derived.
    fn derive_keypair(ikm: &[u8]) -> (PrivateKey, RecipientKey) {
        let mut input = Zeroizing::new(ikm.to_vec());
        input.extend_from_slice(b"HPKE-v1KEM");
        input.extend_from_slice(&Self::KEM_ID.to_be_bytes());
        input.extend_from_slice(&[0, 13]);
        input.extend_from_slice(b"DeriveKeyPair");
        input.extend_from_slice(&[0, 32]);
        let key =
            PrivateKey(Arc::new(ReceiveKey::expand(ReceiveSeed::from_bytes(libcrux_sha3::shake256(&input)))));
        let public = Self::sk_to_pk(&key);
        (key, public)
    }

    fn decap(
        key: &PrivateKey,
        sender: Option<&RecipientKey>,
        encapsulation: &EncappedKey,
    ) -> Result<SharedSecret<Self>, HpkeError> {
        if sender.is_some() {
            return Err(HpkeError::DecapError);
        }
        let secret = key.0.decapsulate(&encapsulation.0).ok_or(HpkeError::DecapError)?;
        Ok(SharedSecret((*secret).into()))
    }

    fn encap_with_rng(
        recipient: &RecipientKey,
        sender: Option<(&PrivateKey, &RecipientKey)>,
        rng: &mut impl CryptoRng,
    ) -> Result<(SharedSecret<Self>, EncappedKey), HpkeError> {
        if sender.is_some() {
            return Err(HpkeError::EncapError);
        }
        let mut coins = Zeroizing::new([0; COINS_BYTES]);
        rng.fill_bytes(coins.as_mut_slice());
        let made = recipient.encapsulate(&coins).ok_or(HpkeError::EncapError)?;
        Ok((SharedSecret((*made.secret).into()), EncappedKey(made.encapsulation)))
    }
}

/// Copies as far as both reach; `hpke` passes a buffer of the right length.
fn copy(parts: &[&[u8]], out: &mut [u8]) {
    for (to, from) in out.iter_mut().zip(parts.iter().copied().flatten()) {
        *to = *from;
    }
}

impl Serializable for RecipientKey {
    type OutputSize = U1216;

    fn write_exact(&self, out: &mut [u8]) {
        copy(&self.parts(), out);
    }
}

impl Deserializable for RecipientKey {
    fn from_bytes(bytes: &[u8]) -> Result<Self, HpkeError> {
        Self::parse_slice(bytes).map_err(|_| HpkeError::ValidationError)
    }
}

impl Serializable for PrivateKey {
    type OutputSize = U32;

    fn write_exact(&self, out: &mut [u8]) {
        copy(&[self.0.seed().expose()], out);
    }
}

impl Deserializable for PrivateKey {
    fn from_bytes(bytes: &[u8]) -> Result<Self, HpkeError> {
        let seed = bytes.try_into().map_err(|_| HpkeError::IncorrectInputLength(32, bytes.len()))?;
        Ok(Self(Arc::new(ReceiveKey::expand(ReceiveSeed::from_bytes(seed)))))
    }
}

impl ConstantTimeEq for PrivateKey {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.seed().expose().ct_eq(other.0.seed().expose())
    }
}

impl Serializable for EncappedKey {
    type OutputSize = U1120;

    fn write_exact(&self, out: &mut [u8]) {
        copy(&[&self.0], out);
    }
}

impl Deserializable for EncappedKey {
    fn from_bytes(bytes: &[u8]) -> Result<Self, HpkeError> {
        let bytes = bytes.try_into();
        bytes.map(Self).map_err(|_| HpkeError::ValidationError)
    }
}
