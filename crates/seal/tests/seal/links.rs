//! Linking a device: whoever was told the code becomes one, and nobody in between learns or changes anything.

use std::sync::Arc;

use penpal_protocol::{
    cbor::{Blob, List},
    ids::{AccountId, Capability, DeviceId, EdgeId, InviteSecret, ProfileKey, SharedKey},
    limits::DAY_MS,
    sealed::{DeviceEntry, LinkAnswer, LinkRequest},
};
use penpal_seal::{
    FreshBytes, InviteKeys, LinkError, Linking, ManifestError, NewInvite, Offer, ReceiveKey, ReceiveSeed,
    TransportSeed, VerifiedLinkAnswer, VerifiedLinkRequest, VerifiedManifest, VerifiedRecord, link_mailbox,
    offer, open_link_answer, open_link_request, open_record, open_request, seal_link_answer,
    seal_link_request,
};

use crate::people::{NOW_MS, Pair, Person, device_entry, label, rng};

struct Flow {
    /// The account's device, and a machine whose own account does not count.
    pair: Pair,
    offer: Offer,
    record: VerifiedRecord,
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
    let one_time = Arc::new(ReceiveKey::expand(ReceiveSeed::generate(&mut rng)));
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
    Flow { pair, offer, record, one_time, sealed: sent.sealed, transcript: sent.transcript, request: opened }
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
