//! The request with which the invited person answers.

use std::sync::Arc;

use penpal_protocol::{
    cbor::{Blob, Bounded, CborError},
    ids::{Fingerprint, Hash, InviteId},
    limits::MAX_INVITE_BLOB_BYTES,
    sealed::{InviteRequest, SealedRequest},
};

use super::{
    offer::VerifiedRecord,
    secret::{InviteKeys, request_transcript},
};
use crate::{
    envelope::{FreshBytes, Sender, coins},
    hybrid::{self, Encapsulation, InvalidKeyError, ReceiveKey, RecipientKey, XWING_ENCAPSULATION_BYTES},
    labels::{HashLabel, KeyLabel, MacLabel, SignatureLabel},
    primitives::{self, SignatureError, hash, info, pad_to_step, unpad},
    profile::{BundleError, ManifestError, VerifiedBundle, VerifiedManifest},
};

/// A request, sealed to the invite's one-time key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedInviteRequest {
    /// `enc 1120 | ciphertext`, for the relay; one log record, sent again as it is.
    pub sealed: Vec<u8>,
    /// `T3`, needed for the boot key and to verify the acceptance.
    pub transcript: Hash,
}

/// A request cannot be sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealRequestError {
    /// The invite's one-time key cannot be sealed to.
    #[error("invite's one-time key cannot be sealed to: {0}")]
    Key(#[from] InvalidKeyError),
    /// Longer than the relay takes.
    #[error("invite request is too long: {0}")]
    TooLong(#[from] Bounded),
}

/// Signs, authenticates and seals a request.
///
/// # Errors
/// [`SealRequestError`].
pub fn seal_request(
    keys: &InviteKeys,
    record: &VerifiedRecord,
    request: &InviteRequest,
    sender: &Sender<'_>,
    fresh: FreshBytes,
) -> Result<SealedInviteRequest, SealRequestError> {
    let request = request.encode();
    let transcript = request_transcript(&keys.id(), record.hash(), &request);
    let sig = primitives::sign(sender.signing.signer(), SignatureLabel::Request, &[transcript.as_bytes()]);
    let mac = keys.authenticate(MacLabel::Request, &transcript);
    let coins = coins(fresh, sender.hedge, keys.id().as_bytes(), &hash(HashLabel::Request, &[&request]));
    let plaintext = pad_to_step(SealedRequest { request: Blob::new(request)?, sig, mac }.encode());

    let one_time = RecipientKey::parse(&record.record().one_time)?;
    let sealing = hybrid::seal(&one_time, &hpke_info(&keys.id()), coins).ok_or(InvalidKeyError)?;
    let mut sealed = sealing.encapsulation.to_vec();
    let ciphertext = sealing.finish(&sealed, &plaintext);
    sealed.extend_from_slice(&ciphertext);
    let sealed = Blob::<MAX_INVITE_BLOB_BYTES>::new(sealed)?;
    Ok(SealedInviteRequest { sealed: sealed.into_vec(), transcript })
}

fn hpke_info(id: &InviteId) -> Vec<u8> {
    info(KeyLabel::Invite, &[id.as_bytes()])
}

/// A request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Not sealed to this invite's one-time key, or altered.
    #[error("invite request does not open")]
    Closed,
    /// The bytes are malformed.
    #[error("invite request is malformed: {0}")]
    Malformed(#[from] CborError),
    /// Its author does not know the code, or answers another record.
    #[error("invite request is not authenticated by the code")]
    Mac,
    /// Its manifest is refused.
    #[error("invite request: {0}")]
    Manifest(#[from] ManifestError),
    /// One of its bundles is refused.
    #[error("invite request: {0}")]
    Bundle(#[from] BundleError),
    /// It carries no bundle, so nothing could be sealed to its author.
    #[error("invite request carries no bundle")]
    NoBundle,
    /// Not signed by a device of its manifest.
    #[error("invite request: {0}")]
    Signature(#[from] SignatureError),
}

/// A request by somebody who knows the code, signed by a device of the account that it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRequest {
    request: InviteRequest,
    manifest: VerifiedManifest,
    bundles: Vec<VerifiedBundle>,
    transcript: Hash,
}

impl VerifiedRequest {
    /// The request.
    #[must_use]
    pub fn request(&self) -> &InviteRequest {
        &self.request
    }

    /// The manifest of its author, pinned by the root in the request.
    #[must_use]
    pub fn manifest(&self) -> &VerifiedManifest {
        &self.manifest
    }

    /// Its bundles.
    #[must_use]
    pub fn bundles(&self) -> &[VerifiedBundle] {
        &self.bundles
    }

    /// `T3`.
    #[must_use]
    pub fn transcript(&self) -> &Hash {
        &self.transcript
    }
}

/// Opens and verifies the request that the relay passed on.
///
/// The inviter takes the first one only; that it opens does not mean that the right person wrote it, only that its author knows
/// the code.
///
/// # Errors
/// [`RequestError`].
pub fn open_request(
    keys: &InviteKeys,
    record_hash: &Hash,
    one_time: &Arc<ReceiveKey>,
    sealed: &[u8],
    now_ms: u64,
) -> Result<VerifiedRequest, RequestError> {
    let (encapsulation, ciphertext): (&Encapsulation, _) =
        sealed.split_first_chunk::<XWING_ENCAPSULATION_BYTES>().ok_or(RequestError::Closed)?;
    let padded = hybrid::open(one_time, encapsulation, &hpke_info(&keys.id()), encapsulation, ciphertext);
    let padded = padded.ok_or(RequestError::Closed)?;
    let SealedRequest { request: body, sig, mac } =
        SealedRequest::decode(unpad(&padded).ok_or(RequestError::Closed)?)?;
    let transcript = request_transcript(&keys.id(), record_hash, &body);
    if !keys.authentic(MacLabel::Request, &transcript, &mac) {
        return Err(RequestError::Mac);
    }
    let request = InviteRequest::decode(&body)?;
    let manifest = VerifiedManifest::pin(&request.manifest, &Fingerprint::of(&request.root), now_ms)?;
    let signs = |key: &[u8; 32]| {
        primitives::verify(key, SignatureLabel::Request, &[transcript.as_bytes()], &sig).is_ok()
    };
    if !manifest.manifest().devices.iter().any(|device| signs(device.signing.as_bytes())) {
        return Err(SignatureError.into());
    }
    let bundles = verify_bundles(request.bundles.iter().map(|bundle| &**bundle), &manifest, now_ms)?;
    if bundles.is_empty() {
        return Err(RequestError::NoBundle);
    }
    Ok(VerifiedRequest { request, manifest, bundles, transcript })
}

/// Verifies all bundles of one account.
pub(super) fn verify_bundles<'a>(
    bundles: impl Iterator<Item = &'a [u8]>,
    manifest: &VerifiedManifest,
    now_ms: u64,
) -> Result<Vec<VerifiedBundle>, BundleError> {
    bundles.map(|bundle| VerifiedBundle::verify_any(bundle, manifest, now_ms)).collect()
}
