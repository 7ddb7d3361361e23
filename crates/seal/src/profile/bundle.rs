//! Signing and verifying bundles: the signed prekey of a device.

use penpal_protocol::{
    cbor::CborError,
    ids::{DeviceId, KeyId, XWingPublicKey},
    limits::{DAY_MS, MAX_BUNDLE_BYTES},
    sealed::{Bundle, Signed},
};

use super::manifest::VerifiedManifest;
use crate::{
    hybrid::{InvalidKeyError, RecipientKey},
    keys::DeviceSigningKey,
    labels::SignatureLabel,
    primitives::{self, SignatureError},
};

/// Life of a bundle, in milliseconds: 30 days.
pub const MAX_BUNDLE_LIFE_MS: u64 = 30 * DAY_MS;

/// A bundle is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The bytes are malformed.
    #[error("bundle is malformed: {0}")]
    Malformed(#[from] CborError),
    /// Its prekey cannot be used.
    #[error("bundle carries an unusable key")]
    Key(#[from] InvalidKeyError),
    /// Its life is longer than 30 days or ends before it starts.
    #[error("bundle life of {life_ms} ms is not within 30 days")]
    Life {
        /// `expires_ms − issued_ms`, negative values as 0.
        life_ms: u64,
    },
    /// Not a bundle of the device that was asked for.
    #[error("bundle is of device {got:?}, expected {expected:?}")]
    OtherDevice {
        /// The device that was asked for.
        expected: DeviceId,
        /// The device that it names.
        got: DeviceId,
    },
    /// Of a device that the account's manifest does not list, or under a key that is not that device's.
    #[error("manifest version {manifest} does not vouch for device {device:?} with that key")]
    UnknownDevice {
        /// The device.
        device: DeviceId,
        /// Version of the manifest that was asked.
        manifest: u64,
    },
    /// Not signed by its device.
    #[error("bundle signature does not verify")]
    Signature(#[from] SignatureError),
    /// Out of date: nothing may be sealed to it.
    #[error("bundle expired at {expires_ms} ms")]
    Expired {
        /// When it ended, Unix milliseconds.
        expires_ms: u64,
    },
}

/// A bundle that a device of a verified manifest signed, with a usable key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedBundle {
    bundle: Bundle,
    signed: Vec<u8>,
}

impl VerifiedBundle {
    /// Verifies a bundle of one device against its account's manifest.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn verify(
        signed: &[u8],
        device: &DeviceId,
        manifest: &VerifiedManifest,
        now_ms: u64,
    ) -> Result<Self, BundleError> {
        let verified = Self::verify_any(signed, manifest, now_ms)?;
        let got = verified.bundle.device;
        if got == *device { Ok(verified) } else { Err(BundleError::OtherDevice { expected: *device, got }) }
    }

    /// Verifies a bundle of whichever device of the account it names.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn verify_any(signed: &[u8], manifest: &VerifiedManifest, now_ms: u64) -> Result<Self, BundleError> {
        let Signed { body, sig } = Signed::decode(signed, MAX_BUNDLE_BYTES)?;
        let bundle = Bundle::decode(&body)?;
        check_life(&bundle)?;
        if !manifest.signing_keys(&bundle.device, now_ms).any(|key| *key == bundle.signing) {
            return Err(BundleError::UnknownDevice { device: bundle.device, manifest: manifest.version() });
        }
        primitives::verify(bundle.signing.as_bytes(), SignatureLabel::Bundle, &[&body], &sig)?;
        if now_ms > bundle.expires_ms {
            return Err(BundleError::Expired { expires_ms: bundle.expires_ms });
        }
        RecipientKey::parse(&bundle.key)?;
        Ok(Self { bundle, signed: signed.to_vec() })
    }

    /// Signs a bundle of our own device.
    ///
    /// # Errors
    /// [`BundleError::Life`], [`BundleError::Key`], [`BundleError::UnknownDevice`] (version 0): a mistake of the caller.
    pub fn sign(key: &DeviceSigningKey, bundle: Bundle) -> Result<Self, BundleError> {
        check_life(&bundle)?;
        if bundle.signing != key.public() {
            return Err(BundleError::UnknownDevice { device: bundle.device, manifest: 0 });
        }
        RecipientKey::parse(&bundle.key)?;
        let body = bundle.encode();
        let sig = primitives::sign(key.signer(), SignatureLabel::Bundle, &[&body]);
        Ok(Self { bundle, signed: Signed { body, sig }.encode() })
    }

    /// The bundle.
    #[must_use]
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// The exact signed bytes, to be stored or sent.
    #[must_use]
    pub fn signed(&self) -> &[u8] {
        &self.signed
    }

    /// The signed prekey and its id.
    #[must_use]
    pub fn prekey(&self) -> (KeyId, &XWingPublicKey) {
        (self.bundle.key_id, &self.bundle.key)
    }
}

fn check_life(bundle: &Bundle) -> Result<(), BundleError> {
    let life_ms = bundle.expires_ms.saturating_sub(bundle.issued_ms);
    if life_ms > 0 && life_ms <= MAX_BUNDLE_LIFE_MS { Ok(()) } else { Err(BundleError::Life { life_ms }) }
}
