//! The acceptance that ends an invite.

use penpal_protocol::{
    cbor::{Blob, Bounded, CborError},
    ids::{DeviceId, Hash},
    sealed::{Accept, InviteAccept},
};

use super::{
    request::verify_bundles,
    secret::{InviteKeys, accept_transcript},
};
use crate::{
    keys::DeviceSigningKey,
    labels::{MacLabel, SignatureLabel},
    primitives::{self, SignatureError},
    profile::{BundleError, ManifestError, ManifestUpdate, VerifiedBundle, VerifiedManifest},
};

/// An acceptance, ready to travel in a control message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedAccept {
    /// Body, signature and MAC.
    pub accept: Accept,
    /// `T4`, from which the pair keys derive.
    pub transcript: Hash,
}

/// Signs and authenticates an acceptance of the request with transcript `T3`.
///
/// # Errors
/// [`Bounded`]: manifest and bundles do not fit one message.
pub fn sign_accept(
    keys: &InviteKeys,
    request_transcript: &Hash,
    accept: &InviteAccept,
    signing: &DeviceSigningKey,
) -> Result<SignedAccept, Bounded> {
    let body = accept.encode();
    let transcript = accept_transcript(request_transcript, &body);
    let sig = primitives::sign(signing.signer(), SignatureLabel::Accept, &[transcript.as_bytes()]);
    let mac = keys.authenticate(MacLabel::Accept, &transcript);
    Ok(SignedAccept { accept: Accept { body: Blob::new(body)?, sig, mac }, transcript })
}

/// An acceptance is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The bytes are malformed.
    #[error("acceptance is malformed: {0}")]
    Malformed(#[from] CborError),
    /// Its author does not know the code, or accepts another request.
    #[error("acceptance is not authenticated by the code")]
    Mac,
    /// Its manifest is refused.
    #[error("acceptance: {0}")]
    Manifest(#[from] ManifestError),
    /// One of its bundles is refused.
    #[error("acceptance: {0}")]
    Bundle(#[from] BundleError),
    /// Not signed by the device that sent it.
    #[error("acceptance: {0}")]
    Signature(#[from] SignatureError),
}

/// An acceptance by the account that the code names, of exactly the request that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedAccept {
    accept: InviteAccept,
    manifest: VerifiedManifest,
    bundles: Vec<VerifiedBundle>,
    transcript: Hash,
}

impl VerifiedAccept {
    /// The acceptance.
    #[must_use]
    pub fn accept(&self) -> &InviteAccept {
        &self.accept
    }

    /// The inviter's newest manifest: the record's, or one that follows it.
    #[must_use]
    pub fn manifest(&self) -> &VerifiedManifest {
        &self.manifest
    }

    /// Its bundles.
    #[must_use]
    pub fn bundles(&self) -> &[VerifiedBundle] {
        &self.bundles
    }

    /// `T4`, from which the pair keys derive.
    #[must_use]
    pub fn transcript(&self) -> &Hash {
        &self.transcript
    }
}

/// Verifies an acceptance against the request's transcript and the manifest of the record.
///
/// `device` is the sender of the message that carried it.
///
/// # Errors
/// [`AcceptError`].
pub fn verify_accept(
    keys: &InviteKeys,
    request_transcript: &Hash,
    pinned: &VerifiedManifest,
    device: &DeviceId,
    accept: &Accept,
    now_ms: u64,
) -> Result<VerifiedAccept, AcceptError> {
    let transcript = accept_transcript(request_transcript, &accept.body);
    if !keys.authentic(MacLabel::Accept, &transcript, &accept.mac) {
        return Err(AcceptError::Mac);
    }
    let body = InviteAccept::decode(&accept.body)?;
    let manifest = match pinned.update(&body.manifest, now_ms)? {
        ManifestUpdate::Same => pinned.clone(),
        ManifestUpdate::Newer { manifest, .. } => manifest,
    };
    let signs = |key: &[u8; 32]| {
        primitives::verify(key, SignatureLabel::Accept, &[transcript.as_bytes()], &accept.sig).is_ok()
    };
    if !manifest.signing_keys(device, now_ms).any(|key| signs(key.as_bytes())) {
        return Err(SignatureError.into());
    }
    let bundles = verify_bundles(body.bundles.iter().map(|bundle| &**bundle), &manifest, now_ms)?;
    Ok(VerifiedAccept { accept: body, manifest, bundles, transcript })
}
