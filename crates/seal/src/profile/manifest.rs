//! Signing and verifying manifests; [`VerifiedManifest`] is the proof that trusted state is built from.

use penpal_protocol::{
    cbor::{CborError, List},
    ids::{DeviceId, Fingerprint, RootPublicKey, ShortHash, SigningPublicKey},
    limits::{DAY_MS, MAX_MANIFEST_BYTES, MAX_MANIFEST_HISTORY},
    sealed::{DeviceEntry, Manifest, ManifestRef, ManifestVersion, Signed},
};

use crate::{
    keys::RootKey,
    labels::SignatureLabel,
    primitives::{self, SignatureError},
};

/// Longest life of a manifest, in milliseconds: 30 days.
pub const MAX_MANIFEST_LIFE_MS: u64 = 30 * DAY_MS;

/// Longest time for which a replaced signing key is still accepted, in milliseconds: 31 days, one more than any message lives.
pub const MAX_PREVIOUS_KEY_MS: u64 = 31 * DAY_MS;

/// A manifest is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The bytes are malformed.
    #[error("manifest is malformed: {0}")]
    Malformed(#[from] CborError),
    /// Well formed, but it contradicts itself.
    #[error("manifest is inconsistent: {what}")]
    Inconsistent {
        /// The rule that is broken.
        what: &'static str,
    },
    /// Not signed by its root.
    #[error("manifest signature does not verify")]
    Signature(#[from] SignatureError),
    /// Of another account than the pinned one.
    #[error("manifest is of account {got:?}, pinned is {expected:?}")]
    OtherRoot {
        /// The pinned account.
        expected: Fingerprint,
        /// The account that signed.
        got: Fingerprint,
    },
    /// Older than what is held: somebody serves old state.
    #[error("manifest version {got} is older than {held}")]
    Rollback {
        /// Version that is held.
        held: u64,
        /// Version that came.
        got: u64,
    },
    /// Another history than the one that is held: two manifests of one version exist.
    #[error("manifest version {got} contradicts what is known of version {version}")]
    Fork {
        /// The version on which the histories differ.
        version: u64,
        /// Version that came.
        got: u64,
    },
    /// Lists a device that was revoked before.
    #[error("manifest version {got} lists revoked device {device:?}")]
    Unrevoked {
        /// The device.
        device: DeviceId,
        /// Version that came.
        got: u64,
    },
    /// Out of date, so it cannot introduce a device or a key.
    #[error("manifest version {got} expired at {expires_ms} ms")]
    Expired {
        /// Version that came.
        got: u64,
        /// When it ended, Unix milliseconds.
        expires_ms: u64,
    },
    /// Our own manifest does not fit.
    #[error("manifest of {got} bytes is longer than {max}")]
    TooLong {
        /// Largest allowed length in bytes.
        max: usize,
        /// Length that was made.
        got: usize,
    },
}

/// A manifest whose signature, form and place in its account's history were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedManifest {
    manifest: Manifest,
    signed: Vec<u8>,
    hash: ShortHash,
}

/// How a newer manifest follows the one that was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuity {
    /// It names the one that was held, with its hash.
    Linked,
    /// Its list of earlier ones does not have the one that was held: it is more than 32 versions ahead, or its owner went back to a
    /// backup and does not know what was signed since.
    Unlinked,
}

/// What came of a manifest that was offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestUpdate {
    /// The one that is held already.
    Same,
    /// A newer one, to be pinned instead.
    Newer {
        /// The newer one.
        manifest: VerifiedManifest,
        /// How it follows.
        continuity: Continuity,
    },
}

impl VerifiedManifest {
    /// Verifies the first manifest of an account, whose root is known by fingerprint.
    ///
    /// # Errors
    /// [`ManifestError`]; an expired one is refused, because it introduces devices.
    pub fn pin(signed: &[u8], account: &Fingerprint, now_ms: u64) -> Result<Self, ManifestError> {
        let verified = Self::verify(signed)?;
        let got = verified.fingerprint();
        if got != *account {
            return Err(ManifestError::OtherRoot { expected: *account, got });
        }
        if verified.is_stale(now_ms) {
            return Err(verified.expired());
        }
        Ok(verified)
    }

    /// Verifies what this node stored after an earlier [`pin`](Self::pin) or [`update`](Self::update).
    ///
    /// # Errors
    /// [`ManifestError`]; expiry is not looked at.
    pub fn restore(signed: &[u8], account: &Fingerprint) -> Result<Self, ManifestError> {
        let verified = Self::verify(signed)?;
        let got = verified.fingerprint();
        if got == *account { Ok(verified) } else { Err(ManifestError::OtherRoot { expected: *account, got }) }
    }

    /// Judges a manifest of the same account against this one, which is held.
    ///
    /// The version may not fall; every version known to both must have one hash; a revoked device stays revoked; an expired
    /// manifest introduces no device and no key.
    ///
    /// # Errors
    /// [`ManifestError`]. [`ManifestError::Fork`] and [`ManifestError::Rollback`] are signs of a relay that serves several or old
    /// states.
    pub fn update(&self, signed: &[u8], now_ms: u64) -> Result<ManifestUpdate, ManifestError> {
        let newer = Self::restore(signed, &self.fingerprint())?;
        let got = newer.version();
        if got < self.version() {
            return Err(ManifestError::Rollback { held: self.version(), got });
        }
        if got == self.version() {
            let same = newer.hash == self.hash;
            return if same {
                Ok(ManifestUpdate::Same)
            } else {
                Err(ManifestError::Fork { version: got, got })
            };
        }
        let continuity = self.continuity(&newer)?;
        if let Some(device) = newer.manifest.devices.iter().find(|entry| self.is_revoked(&entry.id)) {
            return Err(ManifestError::Unrevoked { device: device.id, got });
        }
        let introduces =
            |entry: &DeviceEntry| self.device(&entry.id).is_none_or(|held| held.signing != entry.signing);
        if newer.is_stale(now_ms) && newer.manifest.devices.iter().any(introduces) {
            return Err(newer.expired());
        }
        Ok(ManifestUpdate::Newer { manifest: newer, continuity })
    }

    fn continuity(&self, newer: &Self) -> Result<Continuity, ManifestError> {
        let got = newer.version();
        let mine = self.manifest.previous.iter().copied();
        let mine: Vec<_> =
            mine.chain([ManifestVersion { version: self.version(), hash: self.hash }]).collect();
        for theirs in newer.manifest.previous.iter() {
            let differs =
                |held: &&ManifestVersion| held.version == theirs.version && held.hash != theirs.hash;
            if let Some(held) = mine.iter().find(differs) {
                return Err(ManifestError::Fork { version: held.version, got });
            }
        }
        let previous = &newer.manifest.previous;
        if previous.iter().any(|earlier| earlier.version == self.version()) {
            return Ok(Continuity::Linked);
        }
        Ok(Continuity::Unlinked)
    }

    /// Signs a manifest of our own account.
    ///
    /// # Errors
    /// [`ManifestError::Inconsistent`], [`ManifestError::OtherRoot`] and [`ManifestError::TooLong`]: a mistake of the caller.
    pub fn sign(root: &RootKey, manifest: Manifest) -> Result<Self, ManifestError> {
        if manifest.root != root.public() {
            let got = Fingerprint::of(&manifest.root);
            return Err(ManifestError::OtherRoot { expected: root.fingerprint(), got });
        }
        check(&manifest)?;
        let body = manifest.encode();
        let sig = primitives::sign(root.signer(), SignatureLabel::Manifest, &[&body]);
        let hash = Manifest::hash(&body);
        let signed = Signed { body, sig }.encode();
        if signed.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLong { max: MAX_MANIFEST_BYTES, got: signed.len() });
        }
        Ok(Self { manifest, signed, hash })
    }

    /// The next version with the same devices, to be changed and signed: this one joins its history, and it lives 30 days.
    ///
    /// `None` when the version cannot grow.
    #[must_use]
    pub fn successor(&self, now_ms: u64) -> Option<Manifest> {
        let mut history = self.manifest.previous.to_vec();
        history.push(ManifestVersion { version: self.version(), hash: self.hash });
        let excess = history.len().saturating_sub(MAX_MANIFEST_HISTORY);
        Some(Manifest {
            version: self.version().checked_add(1)?,
            previous: List::truncated(history.split_off(excess)),
            issued_ms: now_ms,
            expires_ms: now_ms.checked_add(MAX_MANIFEST_LIFE_MS)?,
            ..self.manifest.clone()
        })
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The exact signed bytes, to be stored or sent.
    #[must_use]
    pub fn signed(&self) -> &[u8] {
        &self.signed
    }

    /// Version and hash, as messages name it.
    #[must_use]
    pub fn reference(&self) -> ManifestRef {
        ManifestRef { version: self.version(), hash: self.hash }
    }

    /// Version number.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.manifest.version
    }

    /// The account's root key.
    #[must_use]
    pub fn root(&self) -> &RootPublicKey {
        &self.manifest.root
    }

    /// The account.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.manifest.root)
    }

    /// Whether it has expired: it then still authenticates the devices it lists, and introduces none.
    #[must_use]
    pub fn is_stale(&self, now_ms: u64) -> bool {
        now_ms > self.manifest.expires_ms
    }

    /// The entry of a device that is not revoked.
    #[must_use]
    pub fn device(&self, id: &DeviceId) -> Option<&DeviceEntry> {
        self.manifest.device(id)
    }

    /// Whether a device was cut off.
    #[must_use]
    pub fn is_revoked(&self, id: &DeviceId) -> bool {
        self.manifest.revoked.contains(id)
    }

    /// The keys whose signatures count for a device now: the present one, and the one before while it is still accepted.
    pub fn signing_keys(&self, id: &DeviceId, now_ms: u64) -> impl Iterator<Item = &SigningPublicKey> {
        self.device(id).into_iter().flat_map(move |device| {
            let previous = device.previous.as_ref().filter(|previous| now_ms <= previous.until_ms);
            [Some(&device.signing), previous.map(|previous| &previous.signing)].into_iter().flatten()
        })
    }

    fn expired(&self) -> ManifestError {
        ManifestError::Expired { got: self.version(), expires_ms: self.manifest.expires_ms }
    }

    fn verify(signed: &[u8]) -> Result<Self, ManifestError> {
        let Signed { body, sig } = Signed::decode(signed, MAX_MANIFEST_BYTES)?;
        let manifest = Manifest::decode(&body)?;
        check(&manifest)?;
        primitives::verify(manifest.root.as_bytes(), SignatureLabel::Manifest, &[&body], &sig)?;
        Ok(Self { manifest, signed: signed.to_vec(), hash: Manifest::hash(&body) })
    }
}

/// Checks what a manifest alone can show.
fn check(manifest: &Manifest) -> Result<(), ManifestError> {
    let life_ms = manifest.expires_ms.saturating_sub(manifest.issued_ms);
    let ids: Vec<_> = manifest.devices.iter().map(|device| device.id).collect();
    let versions: Vec<_> = manifest.previous.iter().map(|earlier| earlier.version).collect();
    let distinct = |mut keys: Vec<[u8; 32]>| {
        let before = keys.len();
        keys.sort_unstable();
        keys.dedup();
        keys.len() == before
    };
    let slots = manifest.devices.iter().map(|device| {
        let mut slot = [0; 32];
        for (to, from) in slot.iter_mut().zip(device.slot.as_bytes()) {
            *to = *from;
        }
        slot
    });
    let latest_until_ms = manifest.issued_ms.saturating_add(MAX_PREVIOUS_KEY_MS);
    let rules = [
        (manifest.version >= 1, "version is zero"),
        (life_ms > 0 && life_ms <= MAX_MANIFEST_LIFE_MS, "life is not within 30 days"),
        (!ids.is_empty(), "no device"),
        (ids.is_sorted_by(|one, next| one < next), "devices are not ascending"),
        (versions.is_sorted_by(|one, next| one < next), "earlier versions are not ascending"),
        (versions.last().is_none_or(|last| *last < manifest.version), "an earlier version is not earlier"),
        (!manifest.revoked.iter().any(|device| ids.contains(device)), "a device is listed and revoked"),
        (
            distinct(manifest.devices.iter().map(|device| *device.signing.as_bytes()).collect()),
            "two devices share a key",
        ),
        (distinct(slots.collect()), "two devices share a slot"),
        (
            manifest.devices.iter().filter(|device| device.primary == Some(true)).count() <= 1,
            "two primary devices",
        ),
        (
            manifest
                .devices
                .iter()
                .filter_map(|device| device.previous)
                .all(|key| key.until_ms <= latest_until_ms),
            "a replaced key is accepted for more than 31 days",
        ),
    ];
    match rules.into_iter().find(|(holds, _)| !holds) {
        None => Ok(()),
        Some((_, what)) => Err(ManifestError::Inconsistent { what }),
    }
}
