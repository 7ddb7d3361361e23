//! Envelopes by somebody who knows every key that a contact knows, and cheats.

#![expect(clippy::unwrap_in_result, reason = "only the last step is what a helper reports")]

use penpal_protocol::{
    envelope::Header,
    ids::{DeviceId, KeyHint, Signature, XWingPublicKey},
    sealed::{Body, Signed},
};
use zeroize::Zeroizing;

use super::{Arrived, FreshBytes, Opened, Recipient, VerifyError, binding, seal};
use crate::{
    SignatureError,
    hybrid::{self, Coins, RecipientKey},
    labels::SignatureLabel,
    people::{NOW_MS, Pair, Person, note, rng},
    primitives::{self, pad},
};

/// Seals any plaintext, computed from header and encapsulation, to one of Bob's keys.
fn seal_raw(pair: &Pair, to: &Person, plaintext: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let key = to.prekey.public();
    let info = binding::seal_info(&to.device, &to.key_id, key);
    let coins = Coins::new(Zeroizing::new([7; 64]));
    let sealing = hybrid::seal(&RecipientKey::parse(key).unwrap(), &info, coins).unwrap();
    let enc_hash = binding::encapsulation_hash(&sealing.encapsulation);
    let masked_key = KeyHint::from_bytes(binding::mask(&pair.alice_to_bob, &enc_hash, *to.key_id.as_bytes()));
    let hint = KeyHint::from_bytes(binding::hint(&pair.alice_to_bob, &masked_key, &enc_hash));
    let mut envelope = Header { hint, masked_key }.encode().to_vec();
    envelope.extend_from_slice(&sealing.encapsulation);
    let ciphertext = sealing.finish(&envelope, &plaintext(&envelope));
    envelope.extend_from_slice(&ciphertext);
    envelope
}

const PLAINTEXT_BYTES: usize = 4096 - 18 - 1120 - 16;

/// Seals a body with a signature of the cheater's choice.
fn seal_signed(pair: &Pair, to: &Person, body: &[u8], sign: impl FnOnce(&[u8]) -> Signature) -> Vec<u8> {
    seal_raw(pair, to, |head| {
        pad(Signed { body: body.to_vec(), sig: sign(head) }.encode(), PLAINTEXT_BYTES).unwrap()
    })
}

fn open(pair: &Pair, to: &Person, envelope: &[u8]) -> Option<Opened<()>> {
    let found = Arrived::parse(envelope).unwrap().find_contact([((), &pair.alice_to_bob)]).unwrap();
    found.open(&to.prekey, &to.device).ok()
}

fn verify(pair: &Pair, to: &Person, envelope: &[u8]) -> Result<Body, VerifyError> {
    let parsed = open(pair, to, envelope).unwrap().parse().unwrap();
    parsed.verify(&to.fingerprint(), &pair.alice.manifest, NOW_MS).map(|message| message.body)
}

fn message_signature(
    signer: &Person,
    head: &[u8],
    device: &DeviceId,
    key: &XWingPublicKey,
    body: &[u8],
) -> Signature {
    let [bind, body_hash] = binding::signed_hashes(head, device, key, body);
    primitives::sign(signer.signing.signer(), SignatureLabel::Message, &[&bind, &body_hash])
}

#[test]
fn what_is_sealed_by_hand_opens_when_all_is_right() {
    let pair = Pair::new(1);
    let (alice, bob) = (&pair.alice, &pair.bob);
    let body = note(alice, bob, "x");
    let bytes = body.encode();
    let envelope = seal_signed(&pair, bob, &bytes, |head| {
        message_signature(alice, head, &bob.device, bob.prekey.public(), &bytes)
    });
    assert_eq!(verify(&pair, bob, &envelope), Ok(body));
}

#[test]
fn a_received_signature_is_worth_nothing_elsewhere() {
    // Bob takes body and signature out of Alice's envelope and seals them anew: to himself, to another key, as another device.
    let pair = Pair::new(1);
    let (alice, bob) = (&pair.alice, &pair.bob);
    let body = note(alice, bob, "x");
    let recipient = Recipient { key_id: bob.key_id, key: bob.prekey.public(), pair_key: &pair.alice_to_bob };
    let envelope = seal(&body, &recipient, &alice.sender(), FreshBytes::generate(&mut rng(2))).unwrap();
    let received = open(&pair, bob, &envelope).unwrap();
    let refused = Err(VerifyError::Signature { device: alice.device });

    let again = seal_signed(&pair, bob, &received.body, |_| received.sig);
    assert_eq!(verify(&pair, bob, &again), refused);

    let carol = Person::new("carol", &mut rng(5));
    let to_carol = Body { to: carol.fingerprint(), to_device: carol.device, ..body }.encode();
    let passed_on = seal_signed(&pair, &carol, &to_carol, |_| received.sig);
    assert_eq!(verify(&pair, &carol, &passed_on), refused);
}

#[test]
fn a_body_for_another_device_of_mine_is_not_for_me() {
    let pair = Pair::new(1);
    let (alice, bob) = (&pair.alice, &pair.bob);
    let device = DeviceId::from_bytes([9; 16]);
    let body = Body { to_device: device, ..note(alice, bob, "x") }.encode();
    let envelope = seal_signed(&pair, bob, &body, |head| {
        message_signature(alice, head, &bob.device, bob.prekey.public(), &body)
    });
    assert_eq!(verify(&pair, bob, &envelope), Err(VerifyError::NotForMe { to: bob.fingerprint(), device }));
}

#[test]
fn a_signature_binds_each_of_its_inputs() {
    let pair = Pair::new(1);
    let (alice, bob) = (&pair.alice, &pair.bob);
    let other = Person::new("other", &mut rng(5));
    let body = note(alice, bob, "x").encode();
    let another = note(alice, bob, "y").encode();
    let (device, key) = (&bob.device, bob.prekey.public());
    let refused = Err(VerifyError::Signature { device: alice.device });
    type Sign<'a> = &'a dyn Fn(&[u8]) -> Signature;
    let signatures: [Sign<'_>; 6] = [
        &|_| message_signature(alice, &[0; 1138], device, key, &body),
        &|head| message_signature(alice, head, &other.device, key, &body),
        &|head| message_signature(alice, head, device, other.prekey.public(), &body),
        &|head| message_signature(alice, head, device, key, &another),
        &|head| message_signature(&other, head, device, key, &body),
        &|head| {
            let [bind, body_hash] = binding::signed_hashes(head, device, key, &body);
            primitives::sign(alice.signing.signer(), SignatureLabel::Bundle, &[&bind, &body_hash])
        },
    ];
    for sign in signatures {
        assert_eq!(verify(&pair, bob, &seal_signed(&pair, bob, &body, sign)), refused);
    }
}

#[test]
fn plaintexts_that_are_not_exactly_body_signature_and_padding_do_not_open() {
    let pair = Pair::new(1);
    let bob = &pair.bob;
    let signed = Signed { body: b"body".to_vec(), sig: Signature::from_bytes([1; 64]) }.encode();
    let full = |text: Vec<u8>| -> Vec<u8> {
        text.into_iter().chain(std::iter::repeat(0)).take(PLAINTEXT_BYTES).collect()
    };
    let marked = |text: &[u8]| full([text, &[0x80]].concat());
    assert!(open(&pair, bob, &seal_raw(&pair, bob, |_| marked(&signed))).is_some());
    let short = Signed { body: b"body".to_vec(), sig: Signature::from_bytes([1; 64]) }.encode();
    let bad = [
        full(signed.clone()),
        full(vec![]),
        marked(&[]),
        marked(&signed[..signed.len() - 1]),
        marked(&[&signed[..], &[0]].concat()),
        marked(&[&signed[..], &signed].concat()),
        full([&short[..], &[0x81]].concat()),
        full([&signed[..], &[0x80, 0, 0, 1]].concat()),
        // An array of two with a length head that is not the shortest.
        marked(&[&[0x98, 2], &signed[1..]].concat()),
    ];
    for (number, plaintext) in bad.into_iter().enumerate() {
        assert!(open(&pair, bob, &seal_raw(&pair, bob, |_| plaintext)).is_none(), "case {number}");
    }
}

#[test]
fn a_sealed_body_that_is_no_body_is_refused_after_opening() {
    let pair = Pair::new(1);
    let bob = &pair.bob;
    let envelope = seal_signed(&pair, bob, b"\xa0", |_| Signature::from_bytes([0; 64]));
    assert!(open(&pair, bob, &envelope).unwrap().parse().is_err());
    assert_eq!(SignatureError.to_string(), "signature does not verify");
}
