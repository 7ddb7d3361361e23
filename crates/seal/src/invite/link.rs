//! Linking a device: the two messages by which a machine that was told a code becomes a device of the account.
//!
//! ```text
//! O  offer ─────── AEAD(K, record) ──▶ relay ──▶ N  open_record (root against the code)
//! O  open_link_request ◀── sealed to I, T5 ───── N  seal_link_request
//! O  seal_link_answer ──── sealed to J, T6 ────▶ N  open_link_answer
//! ```
//! `T5 = H("link-request" | invite id | H("record" | record) | H("request" | request))`,
//! `T6 = H("link-answer" | T5 | H("accept" | answer))`. Source: `docs/protocol.md` §7.

use std::sync::Arc;

use penpal_protocol::{
    cbor::{Blob, CborError},
    ids::{DeviceId, Hash, InviteId, InviteSecret, XWingPublicKey},
    limits::MAX_INVITE_BLOB_BYTES,
    sealed::{LinkAnswer, LinkRequest, SealedRequest},
};

use super::{
    offer::VerifiedRecord,
    request::{SealRequestError, SealedInviteRequest},
    secret::InviteKeys,
};
use crate::{
    envelope::{FreshBytes, Sender, coins},
    hybrid::{self, Encapsulation, InvalidKeyError, ReceiveKey, RecipientKey, XWING_ENCAPSULATION_BYTES},
    labels::{HashLabel, KeyLabel, MacLabel, SignatureLabel},
    primitives::{self, SignatureError, derive, hash, info, pad_to_step, unpad},
    profile::{ManifestError, ManifestUpdate, VerifiedManifest},
};

/// Keys of the second mailbox at the relay, in which the answer lies for the new device.
#[must_use]
pub fn link_mailbox(secret: &InviteSecret) -> InviteKeys {
    let second = derive::<20>(secret.expose(), &[], KeyLabel::LinkMailbox, &[]);
    InviteKeys::derive(&InviteSecret::from_bytes(*second))
}

/// Which of the two messages.
#[derive(Debug, Clone, Copy)]
struct Step {
    body: HashLabel,
    sign: SignatureLabel,
    mac: MacLabel,
}

const REQUEST: Step =
    Step { body: HashLabel::Request, sign: SignatureLabel::LinkRequest, mac: MacLabel::LinkRequest };
const ANSWER: Step =
    Step { body: HashLabel::Accept, sign: SignatureLabel::LinkAnswer, mac: MacLabel::LinkAnswer };

/// Signs, authenticates and seals the request of a new device to the record's one-time key.
///
/// # Errors
/// [`SealRequestError`].
pub fn seal_link_request(
    keys: &InviteKeys,
    record: &VerifiedRecord,
    request: &LinkRequest,
    sender: &Sender<'_>,
    fresh: FreshBytes,
) -> Result<SealedInviteRequest, SealRequestError> {
    let body = request.encode();
    let transcript = request_transcript(&keys.id(), record.hash(), &body);
    let sealed = seal(REQUEST, keys, &transcript, &record.record().one_time, &body, sender, fresh)?;
    Ok(SealedInviteRequest { sealed, transcript })
}

/// Signs, authenticates and seals the answer to the one-time key of the request.
///
/// # Errors
/// [`SealRequestError`].
pub fn seal_link_answer(
    keys: &InviteKeys,
    request: &VerifiedLinkRequest,
    answer: &LinkAnswer,
    sender: &Sender<'_>,
    fresh: FreshBytes,
) -> Result<Vec<u8>, SealRequestError> {
    let body = answer.encode();
    let transcript = answer_transcript(&request.transcript, &body);
    seal(ANSWER, keys, &transcript, &request.request.one_time, &body, sender, fresh)
}

fn seal(
    step: Step,
    keys: &InviteKeys,
    transcript: &Hash,
    to: &XWingPublicKey,
    body: &[u8],
    sender: &Sender<'_>,
    fresh: FreshBytes,
) -> Result<Vec<u8>, SealRequestError> {
    let sig = primitives::sign(sender.signing.signer(), step.sign, &[transcript.as_bytes()]);
    let mac = keys.authenticate(step.mac, transcript);
    let coins = coins(fresh, sender.hedge, keys.id().as_bytes(), &hash(step.body, &[body]));
    let plaintext = pad_to_step(SealedRequest { request: Blob::new(body.to_vec())?, sig, mac }.encode());
    let key = RecipientKey::parse(to)?;
    let sealing = hybrid::seal(&key, &hpke_info(&keys.id()), coins).ok_or(InvalidKeyError)?;
    let mut sealed = sealing.encapsulation.to_vec();
    let ciphertext = sealing.finish(&sealed, &plaintext);
    sealed.extend_from_slice(&ciphertext);
    let sealed = Blob::<MAX_INVITE_BLOB_BYTES>::new(sealed)?;
    Ok(sealed.into_vec())
}

/// A new device's request, or the answer to it, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Not sealed to the one-time key, or altered.
    #[error("it does not open")]
    Closed,
    /// The bytes are malformed.
    #[error("it is malformed: {0}")]
    Malformed(#[from] CborError),
    /// Its author does not know the code, or answers something else.
    #[error("it is not authenticated by the code")]
    Mac,
    /// Not signed by the device that it should be of.
    #[error("{0}")]
    Signature(#[from] SignatureError),
    /// A one-time key that cannot be used.
    #[error("{0}")]
    Key(#[from] InvalidKeyError),
    /// The manifest of an answer is refused.
    #[error("{0}")]
    Manifest(#[from] ManifestError),
    /// The manifest of an answer does not list this device with its key.
    #[error("its list of devices has another key for this one")]
    NotListed,
}

/// A request by a machine that knows the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedLinkRequest {
    request: LinkRequest,
    transcript: Hash,
}

impl VerifiedLinkRequest {
    /// The request.
    #[must_use]
    pub fn request(&self) -> &LinkRequest {
        &self.request
    }

    /// `T5`.
    #[must_use]
    pub fn transcript(&self) -> &Hash {
        &self.transcript
    }

    /// One that was verified before it was stored.
    #[must_use]
    pub fn restore(request: LinkRequest, transcript: Hash) -> Self {
        Self { request, transcript }
    }
}

/// Opens and verifies the request of a new device. Whoever knows the code can make one: the first is taken.
///
/// # Errors
/// [`LinkError`].
pub fn open_link_request(
    keys: &InviteKeys,
    record_hash: &Hash,
    one_time: &Arc<ReceiveKey>,
    sealed: &[u8],
) -> Result<VerifiedLinkRequest, LinkError> {
    let SealedRequest { request: body, sig, mac } = open(&keys.id(), one_time, sealed)?;
    let transcript = request_transcript(&keys.id(), record_hash, &body);
    if !keys.authentic(REQUEST.mac, &transcript, &mac) {
        return Err(LinkError::Mac);
    }
    let request = LinkRequest::decode(&body)?;
    primitives::verify(request.signing.as_bytes(), REQUEST.sign, &[transcript.as_bytes()], &sig)?;
    RecipientKey::parse(&request.one_time)?;
    Ok(VerifiedLinkRequest { request, transcript })
}

/// An answer by a device of the account in the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedLinkAnswer {
    answer: LinkAnswer,
    manifest: VerifiedManifest,
}

impl VerifiedLinkAnswer {
    /// The answer.
    #[must_use]
    pub fn answer(&self) -> &LinkAnswer {
        &self.answer
    }

    /// The account's manifest, which lists the new device.
    #[must_use]
    pub fn manifest(&self) -> &VerifiedManifest {
        &self.manifest
    }
}

/// What a new device holds its answer against.
#[derive(Debug, Clone, Copy)]
pub struct Linking<'a> {
    /// From the code.
    pub keys: &'a InviteKeys,
    /// `T5`.
    pub transcript: &'a Hash,
    /// The account's manifest in the record, pinned by the code.
    pub pinned: &'a VerifiedManifest,
    /// Id that this machine chose.
    pub device: &'a DeviceId,
    /// Its signing key.
    pub signing: &'a crate::keys::DeviceSigningKey,
}

/// Opens and verifies the answer to this machine's request.
///
/// # Errors
/// [`LinkError`].
pub fn open_link_answer(
    linking: &Linking<'_>,
    one_time: &Arc<ReceiveKey>,
    sealed: &[u8],
    now_ms: u64,
) -> Result<VerifiedLinkAnswer, LinkError> {
    let SealedRequest { request: body, sig, mac } = open(&linking.keys.id(), one_time, sealed)?;
    let transcript = answer_transcript(linking.transcript, &body);
    if !linking.keys.authentic(ANSWER.mac, &transcript, &mac) {
        return Err(LinkError::Mac);
    }
    let signs = |key: &[u8; 32]| primitives::verify(key, ANSWER.sign, &[transcript.as_bytes()], &sig).is_ok();
    if !linking.pinned.manifest().devices.iter().any(|device| signs(device.signing.as_bytes())) {
        return Err(SignatureError.into());
    }
    let answer = LinkAnswer::decode(&body)?;
    let manifest = match linking.pinned.update(&answer.manifest, now_ms)? {
        ManifestUpdate::Newer { manifest, .. } => manifest,
        ManifestUpdate::Same => linking.pinned.clone(),
    };
    let listed = manifest.device(linking.device);
    if listed.is_none_or(|device| device.signing != linking.signing.public()) {
        return Err(LinkError::NotListed);
    }
    Ok(VerifiedLinkAnswer { answer, manifest })
}

fn open(id: &InviteId, one_time: &Arc<ReceiveKey>, sealed: &[u8]) -> Result<SealedRequest, LinkError> {
    let (encapsulation, ciphertext): (&Encapsulation, _) =
        sealed.split_first_chunk::<XWING_ENCAPSULATION_BYTES>().ok_or(LinkError::Closed)?;
    let padded = hybrid::open(one_time, encapsulation, &hpke_info(id), encapsulation, ciphertext);
    let padded = padded.ok_or(LinkError::Closed)?;
    Ok(SealedRequest::decode(unpad(&padded).ok_or(LinkError::Closed)?)?)
}

fn hpke_info(id: &InviteId) -> Vec<u8> {
    info(KeyLabel::Link, &[id.as_bytes()])
}

fn request_transcript(id: &InviteId, record: &Hash, request: &[u8]) -> Hash {
    let request = hash(REQUEST.body, &[request]);
    Hash::from_bytes(hash(HashLabel::LinkRequest, &[id.as_bytes(), record.as_bytes(), &request]))
}

fn answer_transcript(request: &Hash, answer: &[u8]) -> Hash {
    let answer = hash(ANSWER.body, &[answer]);
    Hash::from_bytes(hash(HashLabel::LinkAnswer, &[request.as_bytes(), &answer]))
}
