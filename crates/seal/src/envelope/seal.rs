//! Sealing.

use std::fmt;

use penpal_protocol::{
    envelope::{ENCAPSULATION_BYTES, HEADER_BYTES, Header, LADDER, TAG_BYTES, capacity},
    ids::{KeyHint, KeyId, XWingPublicKey},
    limits::MAX_BODY_BYTES,
    sealed::{Body, Signed},
};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::binding;
use crate::{
    hybrid::{self, Coins, InvalidKeyError, RecipientKey},
    keys::{DeviceSigningKey, HedgeSecret, PairKey},
    labels::{HashLabel, KeyLabel, SignatureLabel},
    primitives::{self, derive, hash, pad},
};

/// 64 bytes fresh from the operating system, for one encapsulation.
pub struct FreshBytes(pub(crate) Zeroizing<[u8; 64]>);

impl FreshBytes {
    /// Takes the bytes as they are; they may serve one sealing only.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Draws them from a generator.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; 64]);
        rng.fill_bytes(bytes.as_mut_slice());
        Self(bytes)
    }
}

impl fmt::Debug for FreshBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FreshBytes(…)")
    }
}

/// For whom an envelope is sealed. The device is the body's `to_device`.
#[derive(Debug, Clone, Copy)]
pub struct Recipient<'a> {
    /// Id of the key: a receive key that the device offered, or the prekey of its bundle.
    pub key_id: KeyId,
    /// The key.
    pub key: &'a XWingPublicKey,
    /// Key of this direction of the contact.
    pub pair_key: &'a PairKey,
}

/// Who seals.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    /// Signs the message.
    pub signing: &'a DeviceSigningKey,
    /// Mixed into the coins.
    pub hedge: &'a HedgeSecret,
}

/// A message cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The recipient's key is malformed, or its X25519 part is of small order.
    #[error("recipient's key cannot be sealed to: {0}")]
    RecipientKey(#[from] InvalidKeyError),
    /// Longer than a recipient would read: too many receipts or too much content.
    #[error("body of {got} bytes is longer than {max}")]
    TooLong {
        /// Longest body allowed, in bytes.
        max: usize,
        /// Length of the encoded body.
        got: usize,
    },
}

/// Coins of one encapsulation: `HKDF(ikm = fresh, salt = hedge, info = "encap" | id | H(text))`.
pub(crate) fn coins(fresh: FreshBytes, hedge: &HedgeSecret, id: &[u8; 16], text_hash: &[u8; 32]) -> Coins {
    Coins::new(derive(fresh.0.as_slice(), hedge.expose(), KeyLabel::Encapsulation, &[id, text_hash]))
}

/// Seals a body for one device: signs it, pads it and encrypts it to one of the device's keys.
///
/// The result is exactly 4, 8, 16, 32 or 80 KiB: the smallest that fits. Every try to send seals anew, with fresh bytes.
///
/// # Errors
/// [`SealError`].
pub fn seal(
    body: &Body,
    recipient: &Recipient<'_>,
    sender: &Sender<'_>,
    fresh: FreshBytes,
) -> Result<Vec<u8>, SealError> {
    let encoded = body.encode();
    let too_long = SealError::TooLong { max: MAX_BODY_BYTES, got: encoded.len() };
    if encoded.len() > MAX_BODY_BYTES {
        return Err(too_long);
    }
    let size = LADDER.into_iter().find(|size| capacity(*size) >= encoded.len()).ok_or(too_long)?;

    let key = RecipientKey::parse(recipient.key)?;
    let coins = coins(fresh, sender.hedge, body.msg_id.as_bytes(), &hash(HashLabel::Body, &[&encoded]));
    let info = binding::seal_info(&body.to_device, &recipient.key_id, recipient.key);
    let sealing = hybrid::seal(&key, &info, coins).ok_or(InvalidKeyError)?;

    let enc_hash = binding::encapsulation_hash(&sealing.encapsulation);
    let masked = binding::mask(recipient.pair_key, &enc_hash, *recipient.key_id.as_bytes());
    let masked_key = KeyHint::from_bytes(masked);
    let hint = KeyHint::from_bytes(binding::hint(recipient.pair_key, &masked_key, &enc_hash));
    let mut envelope = Vec::with_capacity(size);
    envelope.extend_from_slice(&Header { hint, masked_key }.encode());
    envelope.extend_from_slice(&sealing.encapsulation);

    let [bind, body_hash] = binding::signed_hashes(&envelope, &body.to_device, recipient.key, &encoded);
    let sig = primitives::sign(sender.signing.signer(), SignatureLabel::Message, &[&bind, &body_hash]);
    let plaintext_bytes =
        size.saturating_sub(HEADER_BYTES).saturating_sub(ENCAPSULATION_BYTES).saturating_sub(TAG_BYTES);
    let plaintext = pad(Signed { body: encoded, sig }.encode(), plaintext_bytes).ok_or(too_long)?;

    let ciphertext = sealing.finish(&envelope, &plaintext);
    envelope.extend_from_slice(&ciphertext);
    Ok(envelope)
}
