//! Manifests and bundles as a relay keeps them.
//!
//! ```text
//! salt 32 | AEAD(HKDF(PK, salt, "profile" | kind | device), nonce 0, aad = kind | device, padded signed bytes)
//! ```
//! The salt is fresh for every write, so each key seals once. Padded to whole KiB.

use penpal_protocol::ids::{DeviceId, ProfileKey};

use crate::{
    labels::KeyLabel,
    primitives::{Derived, derive, open_once, pad_to_step, seal_once, unpad},
};

const SALT_BYTES: usize = 32;

/// What is kept, and of which device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProfileItem {
    /// The account's manifest (kind 1; the device id is all zero).
    Manifest,
    /// The bundle of one device (kind 2).
    Bundle(DeviceId),
}

impl ProfileItem {
    /// `kind | device`, 17 bytes.
    fn binding(self) -> Vec<u8> {
        let (kind, device) = match self {
            Self::Manifest => (1, [0; DeviceId::BYTES]),
            Self::Bundle(device) => (2, *device.as_bytes()),
        };
        [&[kind][..], &device].concat()
    }
}

/// A stored profile does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("profile does not open: another profile key, another item, or altered bytes")]
pub struct ProfileError;

fn key(profile_key: &ProfileKey, salt: &[u8; SALT_BYTES], binding: &[u8]) -> Derived<32> {
    derive(profile_key.expose(), salt, KeyLabel::Profile, &[binding])
}

/// Seals signed bytes for the relay. `salt` must be fresh from the operating system for every call.
#[must_use]
pub fn seal_profile(
    profile_key: &ProfileKey,
    item: ProfileItem,
    signed: &[u8],
    salt: [u8; SALT_BYTES],
) -> Vec<u8> {
    let binding = item.binding();
    let sealed = seal_once(key(profile_key, &salt, &binding), &binding, &pad_to_step(signed.to_vec()));
    [salt.as_slice(), &sealed].concat()
}

/// Opens what [`seal_profile`] sealed; the signature is still to be verified.
///
/// # Errors
/// [`ProfileError`], which says no more on purpose.
pub fn open_profile(
    profile_key: &ProfileKey,
    item: ProfileItem,
    blob: &[u8],
) -> Result<Vec<u8>, ProfileError> {
    let (salt, sealed) = blob.split_first_chunk::<SALT_BYTES>().ok_or(ProfileError)?;
    let binding = item.binding();
    let padded = open_once(key(profile_key, salt, &binding), &binding, sealed).ok_or(ProfileError)?;
    unpad(&padded).map(<[u8]>::to_vec).ok_or(ProfileError)
}
