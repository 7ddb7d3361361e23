//! The record that the inviter leaves at the relay.

use penpal_protocol::{
    cbor::{Blob, Bounded, CborError},
    ids::{Fingerprint, Hash, InviteId, InviteSecret, ShortHash},
    limits::MAX_INVITE_BLOB_BYTES,
    sealed::{InviteRecord, Signed},
    text::Label,
};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::secret::InviteKeys;
use crate::{
    hybrid::{InvalidKeyError, ReceiveKey, RecipientKey},
    keys::{DeviceSigningKey, ReceiveSeed},
    labels::{HashLabel, SignatureLabel},
    primitives::{self, SignatureError, hash, open_once, pad_to_step, seal_once, unpad},
    profile::{ManifestError, VerifiedManifest},
};

/// What an invite is made from.
#[derive(Debug, Clone, Copy)]
pub struct NewInvite<'a> {
    /// Our own newest manifest.
    pub manifest: &'a VerifiedManifest,
    /// Our handle.
    pub name: &'a Label,
    /// When it ends, Unix milliseconds.
    pub expires_ms: u64,
    /// Key of this device.
    pub signing: &'a DeviceSigningKey,
}

/// An invite that was made and not yet sent: everything of one log record and of the key file.
#[derive(Debug)]
pub struct Offer {
    /// Goes into the code and, until the contact is confirmed, into `receive.keys`.
    pub secret: InviteSecret,
    /// Seed of the one-time key; goes into `receive.keys`.
    pub one_time: ReceiveSeed,
    /// Derived from the secret.
    pub keys: InviteKeys,
    /// `AEAD(K, record)`, for the relay; sent again as it is.
    pub sealed_record: Vec<u8>,
    /// `H("record" | record)`, needed to open the request.
    pub record_hash: Hash,
}

/// Our own manifest is too long to be invited with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invite cannot be made: {0}")]
pub struct OfferError(#[from] Bounded);

/// Makes an invite: a fresh secret, a fresh one-time key, and the signed record sealed under a key from the secret.
///
/// The secret is made here and seals this one record, so its key never meets two.
///
/// # Errors
/// [`OfferError`].
pub fn offer(invite: &NewInvite<'_>, rng: &mut impl CryptoRng) -> Result<Offer, OfferError> {
    let mut secret = Zeroizing::new([0; 20]);
    rng.fill_bytes(secret.as_mut_slice());
    let secret = InviteSecret::from_bytes(*secret);
    let one_time = ReceiveSeed::generate(rng);
    let mut nonce = [0; ShortHash::BYTES];
    rng.fill_bytes(&mut nonce);
    let keys = InviteKeys::derive(&secret);
    let record = InviteRecord {
        invite: keys.id(),
        expires_ms: invite.expires_ms,
        root: *invite.manifest.root(),
        manifest: Blob::new(invite.manifest.signed().to_vec())?,
        one_time: ReceiveKey::expand(one_time.clone()).public().clone(),
        name: invite.name.clone(),
        nonce: ShortHash::from_bytes(nonce),
    };
    let body = record.encode();
    let sig = primitives::sign(invite.signing.signer(), SignatureLabel::Record, &[&body]);
    let signed = Signed { body, sig }.encode();
    let record_hash = Hash::from_bytes(hash(HashLabel::Record, &[&signed]));
    let sealed_record = seal_once(keys.record_key(), keys.id().as_bytes(), &pad_to_step(signed));
    Ok(Offer { secret, one_time, keys, sealed_record, record_hash })
}

/// An invite's record is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Not sealed under this code's secret, or altered.
    #[error("invite record does not open with this code")]
    Closed,
    /// The bytes are malformed.
    #[error("invite record is malformed: {0}")]
    Malformed(#[from] CborError),
    /// It belongs to another invite.
    #[error("invite record is of invite {got:?}, expected {expected:?}")]
    OtherInvite {
        /// Id from the code.
        expected: InviteId,
        /// Id in the record.
        got: InviteId,
    },
    /// Its root is not the one that the code names: somebody swapped keys.
    #[error("invite record is of account {got:?}, the code says {expected:?}")]
    OtherAccount {
        /// Fingerprint in the code.
        expected: Fingerprint,
        /// Fingerprint of the record's root.
        got: Fingerprint,
    },
    /// Its manifest is refused.
    #[error("invite record: {0}")]
    Manifest(#[from] ManifestError),
    /// Not signed by a device of its manifest.
    #[error("invite record: {0}")]
    Signature(#[from] SignatureError),
    /// Its one-time key cannot be used.
    #[error("invite record: {0}")]
    Key(#[from] InvalidKeyError),
    /// Out of date.
    #[error("invite expired at {expires_ms} ms")]
    Expired {
        /// When it ended, Unix milliseconds.
        expires_ms: u64,
    },
}

/// A record that a device of the account in the code signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRecord {
    record: InviteRecord,
    manifest: VerifiedManifest,
    hash: Hash,
}

impl VerifiedRecord {
    /// The record.
    #[must_use]
    pub fn record(&self) -> &InviteRecord {
        &self.record
    }

    /// The inviter's manifest, pinned by the code's fingerprint.
    #[must_use]
    pub fn manifest(&self) -> &VerifiedManifest {
        &self.manifest
    }

    /// `H("record" | record)`.
    #[must_use]
    pub fn hash(&self) -> &Hash {
        &self.hash
    }
}

/// Opens and verifies the record that the relay served for a code.
///
/// # Errors
/// [`RecordError`].
pub fn open_record(
    keys: &InviteKeys,
    inviter: &Fingerprint,
    sealed_record: &[u8],
    now_ms: u64,
) -> Result<VerifiedRecord, RecordError> {
    let padded =
        open_once(keys.record_key(), keys.id().as_bytes(), sealed_record).ok_or(RecordError::Closed)?;
    let signed = unpad(&padded).ok_or(RecordError::Closed)?;
    let Signed { body, sig } = Signed::decode(signed, MAX_INVITE_BLOB_BYTES)?;
    let record = InviteRecord::decode(&body)?;
    if record.invite != keys.id() {
        return Err(RecordError::OtherInvite { expected: keys.id(), got: record.invite });
    }
    let got = Fingerprint::of(&record.root);
    if got != *inviter {
        return Err(RecordError::OtherAccount { expected: *inviter, got });
    }
    let manifest = VerifiedManifest::pin(&record.manifest, inviter, now_ms)?;
    let signs = |key: &[u8; 32]| primitives::verify(key, SignatureLabel::Record, &[&body], &sig).is_ok();
    if !manifest.manifest().devices.iter().any(|device| signs(device.signing.as_bytes())) {
        return Err(SignatureError.into());
    }
    RecipientKey::parse(&record.one_time)?;
    if now_ms > record.expires_ms {
        return Err(RecordError::Expired { expires_ms: record.expires_ms });
    }
    let hash = Hash::from_bytes(hash(HashLabel::Record, &[signed]));
    Ok(VerifiedRecord { record, manifest, hash })
}
