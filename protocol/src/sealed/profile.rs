//! Manifest and bundle: who an account is, on which devices, and with which prekeys.

use minicbor::{Decode, Encode};

use crate::cbor::{self, CborError, List};
use crate::ids::{DeviceId, KeyId, RootPublicKey, ShortHash, SigningPublicKey, SlotId, XWingPublicKey};
use crate::limits::{MAX_DEVICES, MAX_MANIFEST_BYTES, MAX_MANIFEST_HISTORY, MAX_REVOKED};
use crate::text::Label;

/// The devices of an account, signed by its root key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Manifest {
    /// Root key that signs this manifest.
    #[n(0)]
    pub root: RootPublicKey,
    /// Starts at 1 and only grows.
    #[n(1)]
    pub version: u64,
    /// Newest earlier versions, ascending.
    #[n(2)]
    pub previous: List<ManifestVersion, MAX_MANIFEST_HISTORY>,
    /// When it was signed, Unix milliseconds.
    #[n(3)]
    pub issued_ms: u64,
    /// When it becomes stale, Unix milliseconds; at most 30 days after `issued_ms`.
    #[n(4)]
    pub expires_ms: u64,
    /// Devices of the account, by id ascending.
    #[n(5)]
    pub devices: List<DeviceEntry, MAX_DEVICES>,
    /// Devices that were cut off.
    #[n(6)]
    pub revoked: List<DeviceId, MAX_REVOKED>,
}

/// One earlier version of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ManifestVersion {
    /// Version number.
    #[n(0)]
    pub version: u64,
    /// Labelled hash of the signed body.
    #[n(1)]
    pub hash: ShortHash,
}

/// One device in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DeviceEntry {
    /// Id of the device.
    #[n(0)]
    pub id: DeviceId,
    /// Where its mail is deposited.
    #[n(1)]
    pub slot: SlotId,
    /// Key that signs its messages.
    #[n(2)]
    pub signing: SigningPublicKey,
    /// The signing key before this one, while it is still accepted.
    #[n(3)]
    pub previous: Option<PreviousKey>,
    /// Name of the machine.
    #[n(4)]
    pub name: Label,
    /// When it joined, Unix milliseconds.
    #[n(5)]
    pub added_ms: u64,
    /// Whether it answers for the account when presence does not decide.
    #[n(6)]
    pub primary: Option<bool>,
}

/// A signing key that was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PreviousKey {
    /// The key.
    #[n(0)]
    pub signing: SigningPublicKey,
    /// Until when it is accepted, Unix milliseconds; at most 31 days after its replacement.
    #[n(1)]
    pub until_ms: u64,
}

/// A signed prekey of one device, signed by that device.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Bundle {
    /// The device.
    #[n(0)]
    pub device: DeviceId,
    /// Key that signs this bundle.
    #[n(1)]
    pub signing: SigningPublicKey,
    /// Id of the prekey.
    #[n(2)]
    pub key_id: KeyId,
    /// The prekey.
    #[n(3)]
    pub key: XWingPublicKey,
    /// When it was signed, Unix milliseconds.
    #[n(4)]
    pub issued_ms: u64,
    /// Until when it may be used, Unix milliseconds; 30 days after `issued_ms`.
    #[n(5)]
    pub expires_ms: u64,
}

impl Manifest {
    /// Encodes the body that is signed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Decodes a signed body.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        cbor::decode(bytes, MAX_MANIFEST_BYTES)
    }

    /// What other structures name this version by: the labelled hash of the signed body.
    #[must_use]
    pub fn hash(body: &[u8]) -> ShortHash {
        ShortHash::from_bytes(crate::hash::labelled16("manifest", &[body]))
    }

    /// The entry of a device.
    #[must_use]
    pub fn device(&self, id: &DeviceId) -> Option<&DeviceEntry> {
        self.devices.iter().find(|device| device.id == *id)
    }
}

impl Bundle {
    /// Encodes the body that is signed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Decodes a signed body.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        cbor::decode(bytes, crate::limits::MAX_BUNDLE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_its_devices_by_id() {
        let entry = |number: u8| DeviceEntry {
            id: DeviceId::from_bytes([number; 16]),
            slot: SlotId::from_bytes([number; 16]),
            signing: SigningPublicKey::from_bytes([number; 32]),
            previous: None,
            name: Label::new("laptop").unwrap(),
            added_ms: 1,
            primary: None,
        };
        let manifest = Manifest {
            root: RootPublicKey::from_bytes([1; 32]),
            version: 1,
            previous: List::default(),
            issued_ms: 1,
            expires_ms: 2,
            devices: List::new(vec![entry(1), entry(2)]).unwrap(),
            revoked: List::default(),
        };
        assert_eq!(manifest.device(&DeviceId::from_bytes([2; 16])), Some(&entry(2)));
        assert_eq!(manifest.device(&DeviceId::from_bytes([3; 16])), None);
        assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
    }

    #[test]
    fn a_bundle_is_read_as_it_was_written() {
        let bundle = Bundle {
            device: DeviceId::from_bytes([1; 16]),
            signing: SigningPublicKey::from_bytes([2; 32]),
            key_id: KeyId::from_bytes([3; 8]),
            key: XWingPublicKey::from_slice(&[4; crate::ids::XWING_PUBLIC_BYTES]).unwrap(),
            issued_ms: 5,
            expires_ms: 6,
        };
        assert_eq!(Bundle::decode(&bundle.encode()), Ok(bundle));
    }
}
