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

#[cfg(test)]
mod tests {
    use penpal_protocol::{
        cbor::List,
        hash::labelled16,
        ids::RoomId,
        limits::DAY_MS,
        sealed::{PreviousKey, RoomChange},
    };

    use super::*;
    use crate::people::{NOW_MS, Pair, Person, label};

    fn entry_of(owner: &Person) -> RoomEntry {
        RoomEntry {
            room: RoomId::from_bytes([1; 16]),
            epoch: 0,
            prev: ShortHash::from_bytes([0; 16]),
            issued_ms: NOW_MS,
            owner: owner.fingerprint(),
            device: owner.device,
            change: RoomChange { created: Some(label("garden")), ..RoomChange::default() },
        }
    }

    #[test]
    fn an_entry_is_read_as_it_was_signed_and_named_by_its_body() {
        let alice = Pair::new(1).alice;
        let entry = entry_of(&alice);
        let made = SignedRoomEntry::sign(&alice.signing, entry.clone());
        assert_eq!(Signed::decode(made.signed(), MAX_ROOM_ENTRY_BYTES).unwrap().body, entry.encode());
        let read = SignedRoomEntry::read(made.signed()).unwrap();
        assert_eq!(read, made);
        assert_eq!(read.entry(), &entry);
        assert_eq!(*read.name().as_bytes(), labelled16("room-entry", &[&entry.encode()]));
        let cut = made.signed().split_last().unwrap().1;
        assert!(matches!(SignedRoomEntry::read(cut), Err(RoomEntryError::Malformed(_))));
    }

    #[test]
    fn only_a_device_of_the_owner_vouches_for_an_entry() {
        let Pair { alice, bob, .. } = Pair::new(1);
        let verify = |signer: &Person, entry| {
            SignedRoomEntry::sign(&signer.signing, entry).verify(&alice.manifest, NOW_MS)
        };
        assert_eq!(verify(&alice, entry_of(&alice)), Ok(()));
        assert_eq!(verify(&bob, entry_of(&alice)), Err(SignatureError.into()));
        assert_eq!(verify(&bob, entry_of(&bob)), Err(RoomEntryError::OtherOwner));
        let entry = RoomEntry { device: bob.device, ..entry_of(&alice) };
        let unknown = RoomEntryError::UnknownDevice { device: bob.device, manifest: 1 };
        assert_eq!(verify(&alice, entry), Err(unknown));
    }

    #[test]
    fn a_replaced_key_vouches_for_an_entry_until_its_time() {
        let Pair { alice, bob, .. } = Pair::new(1);
        let entry = SignedRoomEntry::sign(&alice.signing, entry_of(&alice));
        let mut rotated = alice.manifest.successor(NOW_MS).unwrap();
        let mut devices = rotated.devices.to_vec();
        let until_ms = NOW_MS + DAY_MS;
        devices[0].signing = bob.signing.public();
        devices[0].previous = Some(PreviousKey { signing: alice.signing.public(), until_ms });
        rotated.devices = List::new(devices).unwrap();
        let rotated = VerifiedManifest::sign(&alice.root, rotated).unwrap();
        assert_eq!(entry.verify(&rotated, until_ms), Ok(()));
        assert_eq!(entry.verify(&rotated, until_ms + 1), Err(SignatureError.into()));
    }
}
