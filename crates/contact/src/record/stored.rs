//! How values that are proofs, secrets or texts elsewhere stand in a stored record.

use std::collections::BTreeMap;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use penpal_protocol::{
    ids::{DeviceId, Fingerprint},
    limits::{MAX_BUNDLE_BYTES, MAX_DEVICES, MAX_MANIFEST_BYTES},
    sealed::{Manifest, Signed},
    text::RelayAddress,
};
use penpal_seal::{PairKey, VerifiedBundle, VerifiedManifest};

/// A manifest that was verified before it was stored. Encoded as its signed bytes, verified again when read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pinned(pub(crate) VerifiedManifest);

impl<C> Encode<C> for Pinned {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.bytes(self.0.signed())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Pinned {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let at = d.position();
        let wrong = |reason: String| decode::Error::message(reason).at(at);
        let bytes = d.bytes()?;
        let signed = Signed::decode(bytes, MAX_MANIFEST_BYTES).map_err(|error| wrong(error.to_string()))?;
        let manifest = Manifest::decode(&signed.body).map_err(|error| wrong(error.to_string()))?;
        VerifiedManifest::restore(bytes, &Fingerprint::of(&manifest.root))
            .map(Self)
            .map_err(|error| wrong(error.to_string()))
    }
}

/// A pair key. Encoded as a byte string of 32 bytes: it opens no message, so it may stand in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredPairKey(pub(crate) PairKey);

impl<C> Encode<C> for StoredPairKey {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.bytes(self.0.expose())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for StoredPairKey {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let at = d.position();
        <[u8; PairKey::BYTES]>::try_from(d.bytes()?)
            .map(|bytes| Self(PairKey::from_bytes(bytes)))
            .map_err(|_| decode::Error::message("pair key has another length").at(at))
    }
}

/// A relay's address. Encoded as its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredRelay(pub(crate) RelayAddress);

impl<C> Encode<C> for StoredRelay {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.str(&self.0.to_string())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for StoredRelay {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let at = d.position();
        d.str()?.parse().map(Self).map_err(|error: penpal_protocol::text::RelayAddressError| {
            decode::Error::message(error.to_string()).at(at)
        })
    }
}

/// The newest bundle of each device of a contact. Encoded as an array of signed bytes.
///
/// Read back, they are unverified until [`Bundles::verify`]: a bundle needs its manifest and the time to be judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bundles {
    verified: BTreeMap<DeviceId, VerifiedBundle>,
    unverified: Vec<Vec<u8>>,
}

impl Bundles {
    /// Verifies what was read; out-of-date and otherwise unusable ones go.
    pub(crate) fn verify(&mut self, manifest: &VerifiedManifest, now_ms: u64) {
        for signed in std::mem::take(&mut self.unverified) {
            if let Ok(bundle) = VerifiedBundle::verify_any(&signed, manifest, now_ms) {
                self.take(bundle);
            }
        }
    }

    /// Takes a bundle unless a newer one of its device is held; tells whether it was taken.
    pub(crate) fn take(&mut self, bundle: VerifiedBundle) -> bool {
        let device = bundle.bundle().device;
        let newer =
            self.verified.get(&device).is_none_or(|held| held.bundle().issued_ms < bundle.bundle().issued_ms);
        let room = self.verified.contains_key(&device) || self.verified.len() < MAX_DEVICES;
        if newer && room {
            self.verified.insert(device, bundle);
        }
        newer && room
    }

    /// Drops bundles of devices that a newer manifest does not list with that key.
    pub(crate) fn follow(&mut self, manifest: &VerifiedManifest, now_ms: u64) {
        self.verified.retain(|device, bundle| {
            manifest.signing_keys(device, now_ms).any(|key| *key == bundle.bundle().signing)
        });
    }

    /// The bundle of a device, while something may be sealed to it.
    pub(crate) fn of(&self, device: &DeviceId, now_ms: u64) -> Option<&VerifiedBundle> {
        self.verified.get(device).filter(|bundle| now_ms <= bundle.bundle().expires_ms)
    }
}

impl<C> Encode<C> for Bundles {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.array(u64::try_from(self.verified.len()).unwrap_or_default())?;
        for bundle in self.verified.values() {
            e.bytes(bundle.signed())?;
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for Bundles {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let at = d.position();
        let wrong = |reason: &'static str| decode::Error::message(reason).at(at);
        let count = d.array()?.ok_or_else(|| wrong("bundles without count"))?;
        if count > u64::try_from(MAX_DEVICES).unwrap_or_default() {
            return Err(wrong("too many bundles"));
        }
        let mut unverified = Vec::new();
        for _ in 0..count {
            let bytes = d.bytes()?;
            if bytes.len() > MAX_BUNDLE_BYTES {
                return Err(wrong("bundle is too long"));
            }
            unverified.push(bytes.to_vec());
        }
        Ok(Self { verified: BTreeMap::new(), unverified })
    }
}
