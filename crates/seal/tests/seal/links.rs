//! Linking a device: whoever was told the code becomes one, and nobody in between learns or changes anything.

use std::sync::Arc;

use ed25519_dalek::{Signature, VerifyingKey};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hpke::{
    Deserializable as _, Kem, OpModeR, aead::ChaCha20Poly1305, kdf::HkdfSha256, kem::XWing, setup_receiver,
};
use penpal_protocol::{
    cbor::{Blob, List},
    hash::labelled,
    ids::{AccountId, Capability, DeviceId, EdgeId, InviteSecret, ProfileKey, SharedKey},
    limits::DAY_MS,
    sealed::{DeviceEntry, LinkAnswer, LinkRequest, SealedRequest},
};
use penpal_seal::{
    FreshBytes, InviteKeys, LinkError, Linking, ManifestError, NewInvite, Offer, ReceiveKey, ReceiveSeed,
    TransportSeed, VerifiedLinkAnswer, VerifiedLinkRequest, VerifiedManifest, VerifiedRecord, link_mailbox,
    offer, open_link_answer, open_link_request, open_record, open_request, seal_link_answer,
    seal_link_request,
};

use sha2::Sha256;

use crate::people::{NOW_MS, Pair, Person, device_entry, label, rng};

struct Flow {
    /// The account's device, and a machine whose own account does not count.
    pair: Pair,
    offer: Offer,
    record: VerifiedRecord,
    one_time_seed: ReceiveSeed,
    one_time: Arc<ReceiveKey>,
    sealed: Vec<u8>,
    transcript: penpal_protocol::ids::Hash,
    request: VerifiedLinkRequest,
}

fn flow() -> Flow {
    let pair = Pair::new(1);
    let invite = NewInvite {
        manifest: &pair.alice.manifest,
        name: &pair.alice.name,
        expires_ms: NOW_MS + DAY_MS,
        signing: &pair.alice.signing,
    };
    let offer = offer(&invite, &mut rng(2)).unwrap();
    let keys = InviteKeys::derive(&offer.secret);
    let record = open_record(&keys, &pair.alice.fingerprint(), &offer.sealed_record, NOW_MS).unwrap();
    let mut rng = rng(3);
    let one_time_seed = ReceiveSeed::generate(&mut rng);
    let one_time = Arc::new(ReceiveKey::expand(one_time_seed.clone()));
    let request = LinkRequest {
        device: pair.bob.device,
        signing: pair.bob.signing.public(),
        transport: TransportSeed::generate(&mut rng).public(),
        name: label("desktop"),
        one_time: one_time.public().clone(),
    };
    let fresh = FreshBytes::generate(&mut rng);
    let sent = seal_link_request(&keys, &record, &request, &pair.bob.sender(), fresh).unwrap();
    let key = Arc::new(ReceiveKey::expand(offer.one_time.clone()));
    let opened = open_link_request(&offer.keys, &offer.record_hash, &key, &sent.sealed).unwrap();
    assert_eq!(opened.request(), &request);
    assert_eq!(opened.transcript(), &sent.transcript);
    let (sealed, transcript) = (sent.sealed, sent.transcript);
    Flow { pair, offer, record, one_time_seed, one_time, sealed, transcript, request: opened }
}

/// The account's next manifest, with these further devices.
fn manifest_with(alice: &Person, more: Vec<DeviceEntry>) -> VerifiedManifest {
    let mut next = alice.manifest.successor(NOW_MS).unwrap();
    let mut devices = next.devices.to_vec();
    devices.extend(more);
    devices.sort_by_key(|device| device.id);
    next.devices = List::new(devices).unwrap();
    VerifiedManifest::sign(&alice.root, next).unwrap()
}

impl Flow {
    fn answer(&self, manifest: &VerifiedManifest, by: &Person) -> Vec<u8> {
        let answer = LinkAnswer {
            manifest: Blob::new(manifest.signed().to_vec()).unwrap(),
            handle: label("alice"),
            account: AccountId::from_bytes([1; 16]),
            profile_key: ProfileKey::from_bytes([2; 32]),
            edge: EdgeId::from_bytes([3; 16]),
            cap: Capability::from_bytes([4; 32]),
            pair: SharedKey::from_bytes([5; 32]),
        };
        let fresh = FreshBytes::generate(&mut rng(4));
        seal_link_answer(&self.offer.keys, &self.request, &answer, &by.sender(), fresh).unwrap()
    }

    fn open(&self, sealed: &[u8]) -> Result<VerifiedLinkAnswer, LinkError> {
        let linking = Linking {
            keys: &self.offer.keys,
            transcript: &self.transcript,
            pinned: self.record.manifest(),
            device: &self.pair.bob.device,
            signing: &self.pair.bob.signing,
        };
        open_link_answer(&linking, &self.one_time, sealed, NOW_MS)
    }

    fn linked(&self) -> VerifiedManifest {
        let entry = device_entry(self.pair.bob.device, &self.pair.bob.signing, &mut rng(5));
        manifest_with(&self.pair.alice, vec![entry])
    }
}

#[test]
fn a_machine_with_the_code_becomes_a_device() {
    let flow = flow();
    let manifest = flow.linked();
    let opened = flow.open(&flow.answer(&manifest, &flow.pair.alice)).unwrap();
    assert_eq!(opened.manifest(), &manifest);
    assert_eq!(opened.answer().handle, label("alice"));
    assert_ne!(link_mailbox(&flow.offer.secret).id(), flow.offer.keys.id());
}

/// What a message for one of the two one-time keys carries, without the crate: opened, padding cut off, held against its transcript.
fn opened_by_hand(flow: &Flow, to: &ReceiveSeed, sealed: &[u8], by: &Person, step: [&str; 3]) -> Vec<u8> {
    let [transcript_use, signature_use, mac_use] = step;
    let label = |use_: &str| [b"penpal/v1/", use_.as_bytes(), &[0]].concat();
    let (enc, text) = sealed.split_at(1120);
    let key = <XWing as Kem>::PrivateKey::from_bytes(to.expose()).unwrap();
    let encapsulated = <XWing as Kem>::EncappedKey::from_bytes(enc).unwrap();
    let info = [label("link").as_slice(), flow.offer.keys.id().as_bytes()].concat();
    let context = setup_receiver::<ChaCha20Poly1305, HkdfSha256, XWing>;
    let padded = context(&OpModeR::Base, &key, &encapsulated, &info).unwrap().open(text, enc).unwrap();
    let end = padded.iter().rposition(|byte| *byte == 0x80).unwrap();
    let SealedRequest { request, sig, mac } = SealedRequest::decode(&padded[..end]).unwrap();

    let transcript = match transcript_use {
        "link-request" => {
            let body = labelled("request", &[&request]);
            let record = flow.offer.record_hash.as_bytes();
            labelled("link-request", &[flow.offer.keys.id().as_bytes(), record, &body])
        }
        _ => labelled("link-answer", &[flow.transcript.as_bytes(), &labelled("accept", &[&request])]),
    };
    let signed = [label(signature_use).as_slice(), &transcript].concat();
    let key = VerifyingKey::from_bytes(by.signing.public().as_bytes()).unwrap();
    key.verify_strict(&signed, &Signature::from_bytes(sig.as_bytes())).unwrap();
    let mut mac_key = [0; 32];
    let secret = Hkdf::<Sha256>::new(None, flow.offer.secret.expose());
    secret.expand(&label("invite-mac"), &mut mac_key).unwrap();
    let mut expected = Hmac::<Sha256>::new_from_slice(&mac_key).unwrap();
    expected.update(&[label(mac_use).as_slice(), &transcript].concat());
    assert_eq!(expected.finalize().into_bytes().as_slice(), mac.as_bytes());
    request.to_vec()
}

#[test]
fn both_messages_are_what_the_document_says() {
    let flow = flow();
    let step = ["link-request", "link-request-signature", "D"];
    let request = opened_by_hand(&flow, &flow.offer.one_time, &flow.sealed, &flow.pair.bob, step);
    assert_eq!(request, flow.request.request().encode());

    let manifest = flow.linked();
    let sealed = flow.answer(&manifest, &flow.pair.alice);
    let step = ["link-answer", "link-answer-signature", "L"];
    let answer = opened_by_hand(&flow, &flow.one_time_seed, &sealed, &flow.pair.alice, step);
    assert_eq!(LinkAnswer::decode(&answer).unwrap().manifest.as_ref(), manifest.signed());
}

#[test]
fn every_flipped_bit_is_noticed() {
    let flow = flow();
    let key = Arc::new(ReceiveKey::expand(flow.offer.one_time.clone()));
    let answer = flow.answer(&flow.linked(), &flow.pair.alice);
    for at in (0..flow.sealed.len()).step_by(97) {
        let mut sealed = flow.sealed.clone();
        sealed[at] ^= 1;
        assert!(open_link_request(&flow.offer.keys, &flow.offer.record_hash, &key, &sealed).is_err());
    }
    for at in (0..answer.len()).step_by(97) {
        let mut sealed = answer.clone();
        sealed[at] ^= 1;
        assert_eq!(flow.open(&sealed), Err(LinkError::Closed), "byte {at}");
    }
    assert_eq!(flow.open(&answer[..1000]), Err(LinkError::Closed));
}

#[test]
fn who_does_not_know_the_code_is_refused() {
    let flow = flow();
    let other = InviteKeys::derive(&InviteSecret::from_bytes([9; 20]));
    let key = Arc::new(ReceiveKey::expand(flow.offer.one_time.clone()));
    let opened = open_link_request(&other, &flow.offer.record_hash, &key, &flow.sealed);
    assert!(opened.is_err());
    // The same mailbox, another record: the transcript differs.
    let record = penpal_protocol::ids::Hash::from_bytes([0; 32]);
    let opened = open_link_request(&flow.offer.keys, &record, &key, &flow.sealed);
    assert_eq!(opened, Err(LinkError::Mac));
}

#[test]
fn a_request_for_a_contact_is_none_for_a_device() {
    let flow = flow();
    let key = Arc::new(ReceiveKey::expand(flow.offer.one_time.clone()));
    let contact = open_request(&flow.offer.keys, &flow.offer.record_hash, &key, &flow.sealed, NOW_MS);
    assert!(contact.is_err());
}

#[test]
fn only_the_account_of_the_code_can_answer() {
    let flow = flow();
    // Signed by somebody whom the record does not list.
    let forged = flow.answer(&flow.linked(), &flow.pair.bob);
    assert!(matches!(flow.open(&forged), Err(LinkError::Signature(_))));
    // A list of another account.
    let mut bob = Pair::new(7).bob;
    bob.device = DeviceId::from_bytes([7; 16]);
    let other = flow.answer(&bob.manifest, &flow.pair.alice);
    assert!(matches!(flow.open(&other), Err(LinkError::Manifest(ManifestError::OtherRoot { .. }))));
    // One that does not list this machine, or another key for it.
    let same = flow.answer(&flow.pair.alice.manifest, &flow.pair.alice);
    assert_eq!(flow.open(&same), Err(LinkError::NotListed));
    let entry = device_entry(flow.pair.bob.device, &bob.signing, &mut rng(5));
    let wrong = manifest_with(&flow.pair.alice, vec![entry]);
    assert_eq!(flow.open(&flow.answer(&wrong, &flow.pair.alice)), Err(LinkError::NotListed));
}
