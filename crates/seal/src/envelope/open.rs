//! Opening, as steps that the caller drives and each of which can be taken only after the one before.
//!
//! ```text
//! Arrived ── find_contact ─▶ FromContact ── open(key) ─▶ Opened ── parse ─▶ Parsed ── verify ─▶ VerifiedMessage
//!    └ duplicate_mark           └ key_id                                      └ body
//! ```

use std::sync::Arc;

use penpal_protocol::{
    envelope::{ENCAPSULATION_BYTES, HEADER_BYTES, Header, HeaderError},
    ids::{DeviceId, Fingerprint, KeyId, ShortHash, Signature, SigningPublicKey},
    limits::MAX_BODY_BYTES,
    sealed::{Body, BodyError, Signed},
};

use super::binding;
use crate::{
    hybrid::{self, Encapsulation, ReceiveKey},
    keys::PairKey,
    labels::{HashLabel, SignatureLabel},
    primitives::{self, first, hash_short, mac_matches, unpad},
    profile::VerifiedManifest,
};

/// An envelope of the right size and version; nothing else is known of it.
#[derive(Debug, Clone, Copy)]
pub struct Arrived<'e> {
    envelope: &'e [u8],
    header_and_encapsulation: &'e [u8],
    header: Header,
    encapsulation: &'e Encapsulation,
    ciphertext: &'e [u8],
    encapsulation_hash: [u8; 32],
}

impl<'e> Arrived<'e> {
    /// Checks size, version and suite.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn parse(envelope: &'e [u8]) -> Result<Self, HeaderError> {
        let header = Header::decode(envelope)?;
        let cut = || {
            let (header_and_encapsulation, ciphertext) =
                envelope.split_at_checked(const { HEADER_BYTES.saturating_add(ENCAPSULATION_BYTES) })?;
            let encapsulation = header_and_encapsulation.last_chunk::<ENCAPSULATION_BYTES>()?;
            Some((header_and_encapsulation, encapsulation, ciphertext))
        };
        let (header_and_encapsulation, encapsulation, ciphertext) =
            cut().ok_or(HeaderError::Size { got: envelope.len() })?;
        let encapsulation_hash = binding::encapsulation_hash(encapsulation);
        Ok(Self { envelope, header_and_encapsulation, header, encapsulation, ciphertext, encapsulation_hash })
    }

    /// `H("enc" | enc)[..16]`: seen before, it is the same envelope again. Stored with each message.
    #[must_use]
    pub fn duplicate_mark(&self) -> ShortHash {
        ShortHash::from_bytes(first(&self.encapsulation_hash))
    }

    /// `H("envelope" | envelope)[..16]`: names this envelope when asking to seal again.
    #[must_use]
    pub fn reseal_hash(&self) -> ShortHash {
        reseal_hash(self.envelope)
    }

    /// Finds the contact that sealed it, by the keys of the direction *contact to me*; `None` is *foreign*.
    ///
    /// Also offered: [`boot_key`](crate::boot_key) of each pending invite. Each hint is compared in constant time; the search
    /// stops at the first that matches, so its length tells the place of the contact in the given order.
    pub fn find_contact<'k, C>(
        &self,
        contacts: impl IntoIterator<Item = (C, &'k PairKey)>,
    ) -> Option<FromContact<'e, C>> {
        contacts.into_iter().find_map(|(contact, pair_key)| {
            let hint = binding::hint(pair_key, &self.header.masked_key, &self.encapsulation_hash);
            if !bool::from(mac_matches(&hint, self.header.hint.as_bytes())) {
                return None;
            }
            let key_id =
                binding::mask(pair_key, &self.encapsulation_hash, *self.header.masked_key.as_bytes());
            Some(FromContact { arrived: *self, contact, key_id: KeyId::from_bytes(key_id) })
        })
    }
}

/// The name of an envelope in a request to seal again: `H("envelope" | envelope)[..16]`. The sender keeps it for each copy.
#[must_use]
pub fn reseal_hash(envelope: &[u8]) -> ShortHash {
    ShortHash::from_bytes(hash_short(HashLabel::Envelope, &[envelope]))
}

/// An envelope of a known contact, to a key that its header names.
#[derive(Debug, Clone, Copy)]
pub struct FromContact<'e, C> {
    arrived: Arrived<'e>,
    contact: C,
    key_id: KeyId,
}

/// An envelope that a contact sealed does not open: *unreadable*, to be sealed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("envelope does not open with key {key_id:?}")]
pub struct OpenError {
    /// The key that was tried.
    pub key_id: KeyId,
}

impl<'e, C> FromContact<'e, C> {
    /// The contact, as the caller named it.
    #[must_use]
    pub fn contact(&self) -> &C {
        &self.contact
    }

    /// Which key to open it with.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The envelope itself, for its marks.
    #[must_use]
    pub fn arrived(&self) -> &Arrived<'e> {
        &self.arrived
    }

    /// Opens it as the device `me` with the key that [`key_id`](Self::key_id) names.
    ///
    /// # Errors
    /// [`OpenError`], which says no more on purpose.
    pub fn open(self, key: &Arc<ReceiveKey>, me: &DeviceId) -> Result<Opened<C>, OpenError> {
        let error = OpenError { key_id: self.key_id };
        let Arrived { header_and_encapsulation, encapsulation, ciphertext, .. } = self.arrived;
        let info = binding::seal_info(me, &self.key_id, key.public());
        let padded =
            hybrid::open(key, encapsulation, &info, header_and_encapsulation, ciphertext).ok_or(error)?;
        let text = unpad(&padded).ok_or(error)?;
        let Signed { body, sig } = Signed::decode(text, padded.len()).map_err(|_| error)?;
        let signed_hashes = binding::signed_hashes(header_and_encapsulation, me, key.public(), &body);
        Ok(Opened {
            contact: self.contact,
            key_id: self.key_id,
            duplicate_mark: self.arrived.duplicate_mark(),
            me: *me,
            body,
            sig,
            signed_hashes,
        })
    }
}

/// Decrypted, but neither parsed nor verified: who wrote it is not known.
#[derive(Debug)]
pub struct Opened<C> {
    contact: C,
    key_id: KeyId,
    duplicate_mark: ShortHash,
    me: DeviceId,
    pub(super) body: Vec<u8>,
    pub(super) sig: Signature,
    signed_hashes: [[u8; 32]; 2],
}

impl<C> Opened<C> {
    /// Parses the body.
    ///
    /// # Errors
    /// [`BodyError`]: whoever sealed it speaks another language.
    pub fn parse(self) -> Result<Parsed<C>, BodyError> {
        if self.body.len() > MAX_BODY_BYTES {
            return Err(penpal_protocol::cbor::CborError::TooLong {
                max: MAX_BODY_BYTES,
                got: self.body.len(),
            }
            .into());
        }
        let body = Body::decode(&self.body)?;
        Ok(Parsed { opened: self, body })
    }
}

/// Parsed, but not verified: use [`claims`](Self::claims) only to find what to verify with.
#[derive(Debug)]
pub struct Parsed<C> {
    opened: Opened<C>,
    body: Body,
}

/// A parsed message is not from whom it says, or not for me.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Meant for another account or device: somebody passed it on.
    #[error("message is for account {to:?} device {device:?}")]
    NotForMe {
        /// Account that it names.
        to: Fingerprint,
        /// Device that it names.
        device: DeviceId,
    },
    /// Sealed with one contact's pair key, but naming another account.
    #[error("message names account {got:?}, its pair key is {expected:?}'s")]
    OtherAccount {
        /// Account of the contact whose pair key matched.
        expected: Fingerprint,
        /// Account that it names.
        got: Fingerprint,
    },
    /// From a device that was cut off.
    #[error("message is from revoked device {device:?}")]
    Revoked {
        /// The device.
        device: DeviceId,
    },
    /// From a device that the pinned manifest does not list.
    #[error("message is from device {device:?}, which manifest version {manifest} does not list")]
    UnknownDevice {
        /// The device.
        device: DeviceId,
        /// Version of the pinned manifest.
        manifest: u64,
    },
    /// Not signed by that device.
    #[error("message signature does not verify for device {device:?}")]
    Signature {
        /// The device.
        device: DeviceId,
    },
}

impl<C> Parsed<C> {
    /// What the message says of itself, unproved.
    #[must_use]
    pub fn claims(&self) -> &Body {
        &self.body
    }

    /// The contact whose pair key matched, as the caller named it.
    #[must_use]
    pub fn contact(&self) -> &C {
        &self.opened.contact
    }

    /// Verifies that it is for `me` and that a device of the contact's pinned manifest signed it.
    ///
    /// A stale manifest still vouches; [`VerifiedMessage::stale`] says so.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify(
        self,
        me: &Fingerprint,
        contact: &VerifiedManifest,
        now_ms: u64,
    ) -> Result<VerifiedMessage<C>, VerifyError> {
        let Self { opened, body } = self;
        if body.to != *me || body.to_device != opened.me {
            return Err(VerifyError::NotForMe { to: body.to, device: body.to_device });
        }
        let expected = contact.fingerprint();
        if body.from != expected {
            return Err(VerifyError::OtherAccount { expected, got: body.from });
        }
        let device = body.from_device;
        if contact.is_revoked(&device) {
            return Err(VerifyError::Revoked { device });
        }
        if contact.device(&device).is_none() {
            return Err(VerifyError::UnknownDevice { device, manifest: contact.version() });
        }
        let [bind, body_hash] = &opened.signed_hashes;
        let signs = |key: &&SigningPublicKey| {
            primitives::verify(key.as_bytes(), SignatureLabel::Message, &[bind, body_hash], &opened.sig)
                .is_ok()
        };
        let signed_by = contact.signing_keys(&device, now_ms).find(signs).copied();
        let signed_by = signed_by.ok_or(VerifyError::Signature { device })?;
        Ok(VerifiedMessage {
            contact: opened.contact,
            key_id: opened.key_id,
            duplicate_mark: opened.duplicate_mark,
            signed_by,
            stale: contact.is_stale(now_ms),
            body,
        })
    }
}

/// A message that a device of the contact wrote for this device. Life, duplicates and grants are still to be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedMessage<C> {
    /// The contact, as the caller named it.
    pub contact: C,
    /// The key it was sealed to.
    pub key_id: KeyId,
    /// Mark of the envelope, stored with the message.
    pub duplicate_mark: ShortHash,
    /// The key that signed it: the device's present one, or the one before.
    pub signed_by: SigningPublicKey,
    /// Whether the pinned manifest had expired.
    pub stale: bool,
    /// The message.
    pub body: Body,
}
