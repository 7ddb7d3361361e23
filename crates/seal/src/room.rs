//! Entries of a room's membership log: signed by the owner's device, each naming the one before it.

use penpal_protocol::{
    cbor::CborError,
    ids::{DeviceId, ShortHash},
    limits::MAX_ROOM_ENTRY_BYTES,
    sealed::{RoomEntry, Signed},
};

use crate::{
    keys::DeviceSigningKey,
    labels::{HashLabel, SignatureLabel},
    primitives::{self, SignatureError},
    profile::VerifiedManifest,
};

/// An entry is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RoomEntryError {
    /// The bytes are malformed.
    #[error("entry of a room is malformed: {0}")]
    Malformed(#[from] CborError),
    /// It names another owner than the account that is asked.
    #[error("entry of a room of another owner")]
    OtherOwner,
    /// Of a device that the owner's manifest does not list.
    #[error("manifest version {manifest} does not list device {device:?}")]
    UnknownDevice {
        /// The device.
        device: DeviceId,
        /// Version of the manifest that was asked.
        manifest: u64,
    },
    /// Not signed by that device.
    #[error("signature of an entry does not verify")]
    Signature(#[from] SignatureError),
}

/// An entry with its exact signed bytes and its name, `H("room-entry" | body)[..16]`.
///
/// Reading one says nothing of its signature: [`Self::verify`] does. An entry that a verified later one names is as good as that one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRoomEntry {
    entry: RoomEntry,
    signed: Vec<u8>,
    name: ShortHash,
}

impl SignedRoomEntry {
    /// Signs an entry with our own device's key.
    #[must_use]
    pub fn sign(key: &DeviceSigningKey, entry: RoomEntry) -> Self {
        let body = entry.encode();
        let name = name(&body);
        let sig = primitives::sign(key.signer(), SignatureLabel::RoomEntry, &[&body]);
        Self { entry, signed: Signed { body, sig }.encode(), name }
    }

    /// Reads an entry without looking at its signature.
    ///
    /// # Errors
    /// [`RoomEntryError::Malformed`].
    pub fn read(signed: &[u8]) -> Result<Self, RoomEntryError> {
        let Signed { body, .. } = Signed::decode(signed, MAX_ROOM_ENTRY_BYTES)?;
        Ok(Self { entry: RoomEntry::decode(&body)?, name: name(&body), signed: signed.to_vec() })
    }

    /// Checks that a device of its owner signed it.
    ///
    /// # Errors
    /// [`RoomEntryError`].
    pub fn verify(&self, owner: &VerifiedManifest, now_ms: u64) -> Result<(), RoomEntryError> {
        if self.entry.owner != owner.fingerprint() {
            return Err(RoomEntryError::OtherOwner);
        }
        let Signed { body, sig } = Signed::decode(&self.signed, MAX_ROOM_ENTRY_BYTES)?;
        let (device, manifest) = (self.entry.device, owner.version());
        let mut outcome = Err(RoomEntryError::UnknownDevice { device, manifest });
        for key in owner.signing_keys(&device, now_ms) {
            match primitives::verify(key.as_bytes(), SignatureLabel::RoomEntry, &[&body], &sig) {
                Ok(()) => return Ok(()),
                Err(error) => outcome = Err(error.into()),
            }
        }
        outcome
    }

    /// The entry.
    #[must_use]
    pub fn entry(&self) -> &RoomEntry {
        &self.entry
    }

    /// The exact signed bytes, to be stored or sent.
    #[must_use]
    pub fn signed(&self) -> &[u8] {
        &self.signed
    }

    /// Its name, by which the next one names it.
    #[must_use]
    pub fn name(&self) -> ShortHash {
        self.name
    }
}

fn name(body: &[u8]) -> ShortHash {
    ShortHash::from_bytes(primitives::hash_short(HashLabel::RoomEntry, &[body]))
}
