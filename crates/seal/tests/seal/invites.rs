//! Invites: two people who share a code become contacts, and nobody else does.

use std::sync::Arc;

use penpal_protocol::{
    cbor::Blob,
    ids::Fingerprint,
    limits::DAY_MS,
    sealed::{Accept, Body, Content, Control, Kind},
};
use penpal_seal::{
    AcceptError, Arrived, FreshBytes, InviteKeys, InviteSecret, ManifestError, NewInvite, Offer, PairHalves,
    ReceiveKey, Recipient, RecordError, RequestError, SafetyNumber, SealedInviteRequest, VerifiedAccept,
    VerifiedManifest, VerifiedRecord, VerifiedRequest, boot_key, offer, open_record, open_request, seal,
    seal_request, sign_accept, verify_accept,
};
use proptest::prelude::*;

use crate::people::{NOW_MS, Pair, Person, label, note, rng};

fn offer_of(alice: &Person, seed: u64) -> Offer {
    let invite = NewInvite {
        manifest: &alice.manifest,
        name: &alice.name,
        expires_ms: NOW_MS + 3 * DAY_MS,
        signing: &alice.signing,
    };
    offer(&invite, &mut rng(seed)).unwrap()
}

fn one_time(offer: &Offer) -> Arc<ReceiveKey> {
    Arc::new(ReceiveKey::expand(offer.one_time.clone()))
}

/// What Bob does with the code.
fn request_of(bob: &Person, keys: &InviteKeys, record: &VerifiedRecord, seed: u64) -> SealedInviteRequest {
    let mut rng = rng(seed);
    let request = bob.request(&mut rng);
    seal_request(keys, record, &request, &bob.sender(), FreshBytes::generate(&mut rng)).unwrap()
}

struct Flow {
    pair: Pair,
    offer: Offer,
    record: VerifiedRecord,
    sent: SealedInviteRequest,
    request: VerifiedRequest,
    accept: Accept,
    accepted: VerifiedAccept,
}

fn flow() -> Flow {
    let pair = Pair::new(1);
    let offer = offer_of(&pair.alice, 2);
    let keys = InviteKeys::derive(&offer.secret);
    let record = open_record(&keys, &pair.alice.fingerprint(), &offer.sealed_record, NOW_MS).unwrap();
    let sent = request_of(&pair.bob, &keys, &record, 3);
    let request =
        open_request(&offer.keys, &offer.record_hash, &one_time(&offer), &sent.sealed, NOW_MS).unwrap();
    let signed =
        sign_accept(&offer.keys, request.transcript(), &pair.alice.accept(&mut rng(4)), &pair.alice.signing)
            .unwrap();
    let accepted =
        verify_accept(&keys, &sent.transcript, record.manifest(), &pair.alice.device, &signed.accept, NOW_MS)
            .unwrap();
    assert_eq!(*accepted.transcript(), signed.transcript);
    Flow { pair, offer, record, sent, request, accept: signed.accept, accepted }
}

#[test]
fn both_sides_end_with_the_same_keys() {
    let Flow { pair, offer, record, sent, request, accepted, .. } = flow();
    let (alice, bob) = (&pair.alice, &pair.bob);
    assert_eq!(record.record().name, label("alice"));
    assert_eq!(*record.hash(), offer.record_hash);
    assert_eq!(record.manifest(), &alice.manifest);
    assert_eq!(request.manifest(), &bob.manifest);
    assert_eq!(request.bundles(), std::slice::from_ref(&bob.bundle));
    assert_eq!(*request.transcript(), sent.transcript);
    assert_eq!(accepted.manifest(), &alice.manifest);
    assert_eq!(accepted.bundles(), std::slice::from_ref(&alice.bundle));

    let halves = PairHalves {
        inviter: &accepted.accept().half,
        invited: &request.request().half,
        transcript: accepted.transcript(),
    };
    let (a, b) = (alice.fingerprint(), bob.fingerprint());
    assert_eq!(halves.pair_key(&a, &b), halves.pair_key(&a, &b));
    assert_ne!(halves.pair_key(&a, &b), halves.pair_key(&b, &a), "one key a direction");
    let swapped = PairHalves { inviter: halves.invited, invited: halves.inviter, ..halves };
    assert_ne!(halves.pair_key(&a, &b), swapped.pair_key(&a, &b));
    let other = PairHalves { transcript: &sent.transcript, ..halves };
    assert_ne!(halves.pair_key(&a, &b), other.pair_key(&a, &b));

    let seen_by_bob = SafetyNumber::of(&bob.root.public(), record.manifest().root());
    assert_eq!(SafetyNumber::of(&alice.root.public(), request.manifest().root()), seen_by_bob);
}

#[test]
fn the_acceptance_travels_under_the_boot_key() {
    let Flow { pair, offer, sent, accept, record, .. } = flow();
    let (alice, bob) = (&pair.alice, &pair.bob);
    let boot = boot_key(&offer.secret, &sent.transcript);
    let control = Control { accept: Some(accept), ..Control::default() };
    let body = Body {
        kind: Kind::Control,
        content: Blob::new(Content::Control(Box::new(control)).encode()).unwrap(),
        ..note(alice, bob, "")
    };
    let recipient = Recipient { key_id: bob.key_id, key: bob.prekey.public(), pair_key: &boot };
    let envelope = seal(&body, &recipient, &alice.sender(), FreshBytes::generate(&mut rng(9))).unwrap();
    let arrived = Arrived::parse(&envelope).unwrap();
    let found = arrived.find_contact([((), &boot)]).unwrap();
    let parsed = found.open(&bob.prekey, &bob.device).unwrap().parse().unwrap();
    let message = parsed.verify(&bob.fingerprint(), record.manifest(), NOW_MS).unwrap();
    let Content::Control(control) = message.body.parse_content().unwrap() else { panic!("control") };
    let keys = InviteKeys::derive(&offer.secret);
    let from = &message.body.from_device;
    let accept = control.accept.unwrap();
    assert!(verify_accept(&keys, &sent.transcript, record.manifest(), from, &accept, NOW_MS).is_ok());
}

#[test]
fn the_relay_cannot_swap_the_inviter() {
    let pair = Pair::new(1);
    let offer = offer_of(&pair.alice, 2);
    let keys = InviteKeys::derive(&offer.secret);
    // The code's fingerprint is not that of the record's root.
    let bob = pair.bob.fingerprint();
    let error = open_record(&keys, &bob, &offer.sealed_record, NOW_MS).unwrap_err();
    assert_eq!(error, RecordError::OtherAccount { expected: bob, got: pair.alice.fingerprint() });
    // A record of Mallory's under another secret does not even open.
    let mallory = Person::new("mallory", &mut rng(7));
    let forged = offer_of(&mallory, 8);
    let alice = pair.alice.fingerprint();
    assert_eq!(open_record(&keys, &alice, &forged.sealed_record, NOW_MS).unwrap_err(), RecordError::Closed);
    let other = InviteKeys::derive(&InviteSecret::from_bytes([0; 20]));
    assert_eq!(open_record(&other, &alice, &offer.sealed_record, NOW_MS).unwrap_err(), RecordError::Closed);
}

#[test]
fn an_invite_ends() {
    let pair = Pair::new(1);
    let offer = offer_of(&pair.alice, 2);
    let alice = pair.alice.fingerprint();
    let expires_ms = NOW_MS + 3 * DAY_MS;
    assert!(open_record(&offer.keys, &alice, &offer.sealed_record, expires_ms).is_ok());
    let error = open_record(&offer.keys, &alice, &offer.sealed_record, expires_ms + 1).unwrap_err();
    assert_eq!(error, RecordError::Expired { expires_ms });
    let stale_ms = pair.alice.manifest.manifest().expires_ms + 1;
    let error = open_record(&offer.keys, &alice, &offer.sealed_record, stale_ms).unwrap_err();
    assert!(matches!(error, RecordError::Manifest(ManifestError::Expired { .. })));
}

#[test]
fn a_request_answers_one_record_only() {
    let pair = Pair::new(1);
    let first = offer_of(&pair.alice, 2);
    let second = offer_of(&pair.alice, 3);
    let alice = pair.alice.fingerprint();
    let record = open_record(&first.keys, &alice, &first.sealed_record, NOW_MS).unwrap();
    let sent = request_of(&pair.bob, &first.keys, &record, 4);
    let open = |offer: &Offer, record_hash, key: &Offer| {
        open_request(&offer.keys, record_hash, &one_time(key), &sent.sealed, NOW_MS)
    };
    assert!(open(&first, &first.record_hash, &first).is_ok());
    assert_eq!(open(&second, &second.record_hash, &second).unwrap_err(), RequestError::Closed);
    assert_eq!(open(&first, &first.record_hash, &second).unwrap_err(), RequestError::Closed);
    assert_eq!(open(&second, &first.record_hash, &first).unwrap_err(), RequestError::Closed);
    assert_eq!(open(&first, &second.record_hash, &first).unwrap_err(), RequestError::Mac);
}

#[test]
fn who_lacks_the_code_cannot_answer_an_invite() {
    // The relay sees `I` only inside the sealed record; suppose that it learned it all the same.
    let pair = Pair::new(1);
    let offer = offer_of(&pair.alice, 2);
    let record = open_record(&offer.keys, &pair.alice.fingerprint(), &offer.sealed_record, NOW_MS).unwrap();
    let guessed = InviteKeys::derive(&InviteSecret::from_bytes([1; 20]));
    let sent = request_of(&pair.bob, &guessed, &record, 4);
    let opened = open_request(&offer.keys, &offer.record_hash, &one_time(&offer), &sent.sealed, NOW_MS);
    assert_eq!(opened.unwrap_err(), RequestError::Closed);
}

#[test]
fn a_request_signed_by_somebody_else_or_without_bundle_is_refused() {
    let pair = Pair::new(1);
    let offer = offer_of(&pair.alice, 2);
    let record = open_record(&offer.keys, &pair.alice.fingerprint(), &offer.sealed_record, NOW_MS).unwrap();
    let send = |request, signer: &Person| {
        let fresh = FreshBytes::generate(&mut rng(5));
        let sent = seal_request(&offer.keys, &record, &request, &signer.sender(), fresh).unwrap();
        open_request(&offer.keys, &offer.record_hash, &one_time(&offer), &sent.sealed, NOW_MS).unwrap_err()
    };
    let mallory = Person::new("mallory", &mut rng(7));
    let request = pair.bob.request(&mut rng(4));
    assert!(matches!(send(request.clone(), &mallory), RequestError::Signature(_)));
    let mut none = request.clone();
    none.bundles = penpal_protocol::cbor::List::default();
    assert_eq!(send(none, &pair.bob), RequestError::NoBundle);
    let mut foreign = request.clone();
    foreign.bundles = mallory.request(&mut rng(4)).bundles;
    assert!(matches!(send(foreign, &pair.bob), RequestError::Bundle(_)));
    let mut swapped = request;
    swapped.root = mallory.root.public();
    assert!(matches!(send(swapped, &pair.bob), RequestError::Manifest(ManifestError::OtherRoot { .. })));
}

#[test]
fn an_acceptance_is_of_one_request_by_one_device() {
    let Flow { pair, offer, sent, accept, record, .. } = flow();
    let keys = &offer.keys;
    let verify = |keys: &InviteKeys, transcript, pinned: &VerifiedManifest, device, accept: &Accept| {
        verify_accept(keys, transcript, pinned, device, accept, NOW_MS)
    };
    let (alice, bob) = (&pair.alice, &pair.bob);
    let pinned = record.manifest();
    assert!(verify(keys, &sent.transcript, pinned, &alice.device, &accept).is_ok());

    let other = request_of(bob, keys, &record, 99);
    let refused = verify(keys, &other.transcript, pinned, &alice.device, &accept);
    assert_eq!(refused.unwrap_err(), AcceptError::Mac);
    let guessed = InviteKeys::derive(&InviteSecret::from_bytes([1; 20]));
    let refused = verify(&guessed, &sent.transcript, pinned, &alice.device, &accept);
    assert_eq!(refused.unwrap_err(), AcceptError::Mac);
    let refused = verify(keys, &sent.transcript, pinned, &bob.device, &accept);
    assert!(matches!(refused, Err(AcceptError::Signature(_))));
    let refused = verify(keys, &sent.transcript, &bob.manifest, &alice.device, &accept);
    assert!(matches!(refused, Err(AcceptError::Manifest(ManifestError::OtherRoot { .. }))));

    // A thief of the code who poses as the inviter knows the MAC key, but not the device's signing key.
    let mallory = Person::new("mallory", &mut rng(7));
    let forged = sign_accept(keys, &sent.transcript, &alice.accept(&mut rng(4)), &mallory.signing).unwrap();
    let refused = verify(keys, &sent.transcript, pinned, &alice.device, &forged.accept);
    assert!(matches!(refused, Err(AcceptError::Signature(_))));
    let forged = sign_accept(keys, &sent.transcript, &mallory.accept(&mut rng(4)), &mallory.signing).unwrap();
    let refused = verify(keys, &sent.transcript, pinned, &alice.device, &forged.accept);
    assert!(matches!(refused, Err(AcceptError::Manifest(ManifestError::OtherRoot { .. }))));
}

#[test]
fn an_acceptance_may_bring_a_newer_manifest_and_no_older_one() {
    let Flow { pair, offer, sent, record, .. } = flow();
    let mut alice = pair.alice;
    let newer = VerifiedManifest::sign(&alice.root, alice.manifest.successor(NOW_MS).unwrap()).unwrap();
    let old = std::mem::replace(&mut alice.manifest, newer.clone());
    let signed =
        sign_accept(&offer.keys, &sent.transcript, &alice.accept(&mut rng(4)), &alice.signing).unwrap();
    let verified = verify_accept(
        &offer.keys,
        &sent.transcript,
        record.manifest(),
        &alice.device,
        &signed.accept,
        NOW_MS,
    )
    .unwrap();
    assert_eq!(*verified.manifest(), newer);
    alice.manifest = old;
    let signed =
        sign_accept(&offer.keys, &sent.transcript, &alice.accept(&mut rng(4)), &alice.signing).unwrap();
    let refused = verify_accept(&offer.keys, &sent.transcript, &newer, &alice.device, &signed.accept, NOW_MS);
    assert!(matches!(refused, Err(AcceptError::Manifest(ManifestError::Rollback { held: 2, got: 1 }))));
}

#[test]
fn what_derives_from_a_code_differs_in_every_use() {
    let secret = InviteSecret::from_bytes([7; 20]);
    let keys = InviteKeys::derive(&secret);
    let boot = boot_key(&secret, &penpal_protocol::ids::Hash::from_bytes([1; 32]));
    assert_ne!(boot, boot_key(&secret, &penpal_protocol::ids::Hash::from_bytes([2; 32])));
    assert_ne!(keys.registration().expose(), boot.expose());
    assert_ne!(keys.registration().expose()[..16], keys.id().as_bytes()[..]);
    assert!(!format!("{keys:?}").contains("record"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_flipped_bit_or_cut_of_an_invite_is_an_error(at: prop::sample::Index, bit in 0_u8..8, end: prop::sample::Index) {
        let Flow { pair, offer, sent, accept, record, .. } = flow();
        let alice: Fingerprint = pair.alice.fingerprint();

        let sealed = &offer.sealed_record;
        prop_assert!(open_record(&offer.keys, &alice, &sealed[..end.index(sealed.len())], NOW_MS).is_err());
        let mut flipped = sealed.clone();
        flipped[at.index(sealed.len())] ^= 1 << bit;
        prop_assert!(open_record(&offer.keys, &alice, &flipped, NOW_MS).is_err());

        let key = one_time(&offer);
        let open = |bytes: &[u8]| open_request(&offer.keys, &offer.record_hash, &key, bytes, NOW_MS);
        prop_assert!(open(&sent.sealed[..end.index(sent.sealed.len())]).is_err());
        let mut flipped = sent.sealed.clone();
        flipped[at.index(sent.sealed.len())] ^= 1 << bit;
        prop_assert!(open(&flipped).is_err());

        let mut body = accept.body.to_vec();
        let at = at.index(body.len());
        body[at] ^= 1 << bit;
        let flipped = Accept { body: Blob::new(body).unwrap(), ..accept };
        let verified = verify_accept(&offer.keys, &sent.transcript, record.manifest(), &pair.alice.device, &flipped, NOW_MS);
        prop_assert_eq!(verified.unwrap_err(), AcceptError::Mac);
    }
}
