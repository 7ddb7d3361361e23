//! Envelopes: what opens, and everything that must not.

use std::sync::Arc;

use penpal_protocol::{
    envelope::{HeaderError, LADDER, capacity},
    ids::{DeviceId, Fingerprint, KeyId, XWingPublicKey},
    limits::{DAY_MS, MAX_BODY_BYTES, MAX_TEXT_BYTES},
    sealed::{Body, PreviousKey},
};
use penpal_seal::{
    Arrived, DeviceSigningKey, FreshBytes, ManifestUpdate, PairKey, ReceiveKey, ReceiveSeed, Recipient,
    SealError, VerifiedManifest, VerifiedMessage, VerifyError, reseal_hash, seal,
};
use proptest::prelude::*;

use crate::people::{NOW_MS, Pair, Person, note, rng};

fn seal_for(pair: &Pair, body: &Body, seed: u64) -> Vec<u8> {
    let recipient =
        Recipient { key_id: pair.bob.key_id, key: pair.bob.prekey.public(), pair_key: &pair.alice_to_bob };
    seal(body, &recipient, &pair.alice.sender(), FreshBytes::generate(&mut rng(seed))).unwrap()
}

/// All of opening; `None` says only that some step refused.
fn open_with(
    envelope: &[u8],
    pair_key: &PairKey,
    key: &Arc<ReceiveKey>,
    me: (&Fingerprint, &DeviceId),
    contact: &VerifiedManifest,
) -> Option<VerifiedMessage<()>> {
    let found = Arrived::parse(envelope).ok()?.find_contact([((), pair_key)])?;
    found.open(key, me.1).ok()?.parse().ok()?.verify(me.0, contact, NOW_MS).ok()
}

fn open(pair: &Pair, envelope: &[u8]) -> Option<VerifiedMessage<()>> {
    let bob = &pair.bob;
    open_with(
        envelope,
        &pair.alice_to_bob,
        &bob.prekey,
        (&bob.fingerprint(), &bob.device),
        &pair.alice.manifest,
    )
}

#[test]
fn a_message_comes_out_as_it_went_in() {
    let pair = Pair::new(1);
    let body = note(&pair.alice, &pair.bob, "hello");
    let envelope = seal_for(&pair, &body, 2);
    let arrived = Arrived::parse(&envelope).unwrap();
    let found =
        arrived.find_contact([("bob's other", &pair.bob_to_alice), ("alice", &pair.alice_to_bob)]).unwrap();
    assert_eq!((*found.contact(), found.key_id()), ("alice", pair.bob.key_id));
    let parsed = found.open(&pair.bob.prekey, &pair.bob.device).unwrap().parse().unwrap();
    assert_eq!((parsed.claims(), *parsed.contact()), (&body, "alice"));
    let message = parsed.verify(&pair.bob.fingerprint(), &pair.alice.manifest, NOW_MS).unwrap();
    assert_eq!(message.body, body);
    assert_eq!((message.contact, message.key_id, message.stale), ("alice", pair.bob.key_id, false));
    assert_eq!(message.signed_by, pair.alice.signing.public());
    assert_eq!(message.duplicate_mark, arrived.duplicate_mark());
    assert_eq!(arrived.reseal_hash(), reseal_hash(&envelope));
}

#[test]
fn every_size_is_on_the_ladder_and_the_smallest_that_fits() {
    let pair = Pair::new(1);
    let around = note(&pair.alice, &pair.bob, "").encode().len();
    let mut seen = Vec::new();
    for step in LADDER {
        // The text's CBOR heads grow a little with its length: walk across the border.
        for text_bytes in
            capacity(step).saturating_sub(around + 12)..capacity(step).saturating_sub(around - 4)
        {
            if text_bytes > MAX_TEXT_BYTES {
                continue;
            }
            let body = note(&pair.alice, &pair.bob, &"x".repeat(text_bytes));
            let envelope = seal_for(&pair, &body, 2);
            let expected = LADDER.into_iter().find(|step| capacity(*step) >= body.encode().len()).unwrap();
            assert_eq!(envelope.len(), expected);
            assert_eq!(open(&pair, &envelope).unwrap().body, body);
            seen.push(envelope.len());
        }
    }
    let longest = note(&pair.alice, &pair.bob, &"x".repeat(MAX_TEXT_BYTES));
    seen.push(seal_for(&pair, &longest, 2).len());
    seen.dedup();
    assert_eq!(seen, LADDER);
}

#[test]
fn capacity_is_exact() {
    // A body of any length goes in as a byte string, so the border can be found with arithmetic alone.
    for step in LADDER {
        let fits = |body: usize| {
            let head = match body {
                0..=23 => 1,
                24..=255 => 2,
                256..=65_535 => 3,
                _ => 5,
            };
            18 + 1120 + 1 + head + body + 2 + 64 + 1 + 16 <= step
        };
        assert!(fits(capacity(step)) && !fits(capacity(step) + 1), "{step}");
    }
}

#[test]
fn a_body_longer_than_its_reader_would_take_is_refused_with_both_numbers() {
    let pair = Pair::new(1);
    let seal_with = |content_bytes: usize| {
        let mut body = note(&pair.alice, &pair.bob, "");
        body.content = penpal_protocol::cbor::Blob::new(vec![0; content_bytes]).unwrap();
        let recipient = Recipient {
            key_id: pair.bob.key_id,
            key: pair.bob.prekey.public(),
            pair_key: &pair.alice_to_bob,
        };
        (
            body.encode().len(),
            seal(&body, &recipient, &pair.alice.sender(), FreshBytes::generate(&mut rng(1))),
        )
    };
    let around = seal_with(MAX_BODY_BYTES).0 - MAX_BODY_BYTES;
    let (got, sealed) = seal_with(MAX_BODY_BYTES - around);
    assert_eq!(got, MAX_BODY_BYTES);
    assert_eq!(open(&pair, &sealed.unwrap()).unwrap().body.encode().len(), MAX_BODY_BYTES);
    let (got, sealed) = seal_with(MAX_BODY_BYTES - around + 1);
    assert_eq!(sealed, Err(SealError::TooLong { max: MAX_BODY_BYTES, got }));
}

#[test]
fn a_key_that_cannot_be_sealed_to_is_refused() {
    let pair = Pair::new(1);
    let body = note(&pair.alice, &pair.bob, "x");
    let mut unreduced = pair.bob.prekey.public().as_bytes().to_vec();
    unreduced[..3].fill(0xff);
    let mut small_order = pair.bob.prekey.public().as_bytes().to_vec();
    small_order[1184..].fill(0);
    for bad in [unreduced, small_order] {
        let key = XWingPublicKey::from_slice(&bad).unwrap();
        let recipient = Recipient { key_id: pair.bob.key_id, key: &key, pair_key: &pair.alice_to_bob };
        let sealed = seal(&body, &recipient, &pair.alice.sender(), FreshBytes::generate(&mut rng(1)));
        assert!(matches!(sealed, Err(SealError::RecipientKey(_))));
    }
}

#[test]
fn two_clones_with_one_random_stream_encapsulate_alike_only_for_one_message() {
    let pair = Pair::new(1);
    let mut body = note(&pair.alice, &pair.bob, "one");
    let first = seal_for(&pair, &body, 2);
    assert_eq!(first, seal_for(&pair, &body, 2), "sealing is a function of its arguments");
    let encapsulation = |envelope: &[u8]| envelope[18..1138].to_vec();
    body.hops += 1;
    assert_ne!(encapsulation(&first), encapsulation(&seal_for(&pair, &body, 2)), "another body, other coins");

    let mut other = Pair::new(1);
    other.alice.hedge = Person::new("x", &mut rng(9)).hedge;
    body.hops -= 1;
    assert_ne!(
        encapsulation(&first),
        encapsulation(&seal_for(&other, &body, 2)),
        "another hedge, other coins"
    );
}

#[test]
fn a_stranger_s_envelope_and_a_wrong_key_are_told_apart() {
    let pair = Pair::new(1);
    let envelope = seal_for(&pair, &note(&pair.alice, &pair.bob, "x"), 2);
    let arrived = Arrived::parse(&envelope).unwrap();
    assert!(arrived.find_contact([((), &pair.bob_to_alice)]).is_none());
    assert!(arrived.find_contact(std::iter::empty::<((), &PairKey)>()).is_none());

    let found = arrived.find_contact([((), &pair.alice_to_bob)]).unwrap();
    let other = Arc::new(ReceiveKey::expand(ReceiveSeed::from_bytes([9; 32])));
    assert_eq!(found.open(&other, &pair.bob.device).unwrap_err().key_id, pair.bob.key_id);
    assert!(found.open(&pair.bob.prekey, &pair.alice.device).is_err(), "another device");
    assert!(found.open(&pair.bob.prekey, &pair.bob.device).is_ok());
}

#[test]
fn a_message_is_not_passed_on_to_another_account_or_device() {
    let pair = Pair::new(1);
    let carol = Person::new("carol", &mut rng(5));
    let me = pair.bob.fingerprint();
    let verify = |body: &Body, contact: &VerifiedManifest| {
        let envelope = seal_for(&pair, body, 2);
        let found = Arrived::parse(&envelope).unwrap().find_contact([((), &pair.alice_to_bob)]).unwrap();
        let opened = found.open(&pair.bob.prekey, &body.to_device).unwrap();
        opened.parse().unwrap().verify(&me, contact, NOW_MS).unwrap_err()
    };
    let good = note(&pair.alice, &pair.bob, "x");

    let body = Body { to: carol.fingerprint(), ..good.clone() };
    let error = verify(&body, &pair.alice.manifest);
    assert_eq!(error, VerifyError::NotForMe { to: carol.fingerprint(), device: pair.bob.device });

    let body = Body { from: carol.fingerprint(), ..good.clone() };
    let error = verify(&body, &pair.alice.manifest);
    assert_eq!(
        error,
        VerifyError::OtherAccount { expected: pair.alice.fingerprint(), got: carol.fingerprint() }
    );

    let body = Body { from_device: carol.device, ..good.clone() };
    assert_eq!(
        verify(&body, &pair.alice.manifest),
        VerifyError::UnknownDevice { device: carol.device, manifest: 1 }
    );

    // Alice's device, but signed by somebody who stole the pair key only.
    let recipient =
        Recipient { key_id: pair.bob.key_id, key: pair.bob.prekey.public(), pair_key: &pair.alice_to_bob };
    let envelope = seal(&good, &recipient, &carol.sender(), FreshBytes::generate(&mut rng(3))).unwrap();
    let found = Arrived::parse(&envelope).unwrap().find_contact([((), &pair.alice_to_bob)]).unwrap();
    let parsed = found.open(&pair.bob.prekey, &pair.bob.device).unwrap().parse().unwrap();
    let error = parsed.verify(&me, &pair.alice.manifest, NOW_MS).unwrap_err();
    assert_eq!(error, VerifyError::Signature { device: pair.alice.device });
}

#[test]
fn parts_of_two_envelopes_do_not_make_a_third() {
    let pair = Pair::new(1);
    let body = note(&pair.alice, &pair.bob, "x");
    let (one, other) = (seal_for(&pair, &body, 2), seal_for(&pair, &body, 3));
    let spliced = [&one[..1138], &other[1138..]].concat();
    assert!(open(&pair, &spliced).is_none());
}

#[test]
fn a_replaced_signing_key_is_accepted_until_its_time_and_a_revoked_device_never() {
    let mut pair = Pair::new(1);
    let old = pair.alice.signing.clone();
    let envelope = seal_for(&pair, &note(&pair.alice, &pair.bob, "x"), 2);

    let mut rotated = pair.alice.manifest.successor(NOW_MS).unwrap();
    let mut devices = rotated.devices.to_vec();
    let until_ms = NOW_MS + DAY_MS;
    devices[0].signing = DeviceSigningKey::generate(&mut rng(8)).public();
    devices[0].previous = Some(PreviousKey { signing: old.public(), until_ms });
    rotated.devices = penpal_protocol::cbor::List::new(devices).unwrap();
    let rotated = VerifiedManifest::sign(&pair.alice.root, rotated).unwrap();
    let verify = |manifest: &VerifiedManifest, now_ms| {
        let found = Arrived::parse(&envelope).unwrap().find_contact([((), &pair.alice_to_bob)]).unwrap();
        let parsed = found.open(&pair.bob.prekey, &pair.bob.device).unwrap().parse().unwrap();
        parsed.verify(&pair.bob.fingerprint(), manifest, now_ms)
    };
    assert_eq!(verify(&rotated, until_ms).unwrap().signed_by, old.public());
    let device = pair.alice.device;
    assert_eq!(verify(&rotated, until_ms + 1).unwrap_err(), VerifyError::Signature { device });

    let mut cut = pair.alice.manifest.successor(NOW_MS).unwrap();
    let replacement = Person::new("x", &mut rng(10));
    cut.devices = replacement.manifest.manifest().devices.clone();
    cut.revoked = penpal_protocol::cbor::List::new(vec![device]).unwrap();
    let cut = VerifiedManifest::sign(&pair.alice.root, cut).unwrap();
    assert_eq!(verify(&cut, NOW_MS).unwrap_err(), VerifyError::Revoked { device });

    let stale_ms = pair.alice.manifest.manifest().expires_ms + 1;
    assert!(verify(&pair.alice.manifest, stale_ms).unwrap().stale);
    let ManifestUpdate::Newer { manifest, .. } =
        pair.alice.manifest.update(rotated.signed(), NOW_MS).unwrap()
    else {
        panic!("newer")
    };
    pair.alice.manifest = manifest;
}

#[test]
fn sizes_versions_and_suites_of_others_are_refused() {
    let pair = Pair::new(1);
    let envelope = seal_for(&pair, &note(&pair.alice, &pair.bob, "x"), 2);
    for size in [0, 1, 17, 18, 1138, 4095, 4097, 12 * 1024, 80 * 1024 + 1] {
        let mut wrong = envelope.clone();
        wrong.resize(size, 0);
        assert_eq!(Arrived::parse(&wrong).unwrap_err(), HeaderError::Size { got: size });
    }
    let mut later = envelope.clone();
    later[0] = 2;
    assert_eq!(Arrived::parse(&later).unwrap_err(), HeaderError::Version { got: 2 });
    let mut other = envelope;
    other[1] = 9;
    assert_eq!(Arrived::parse(&other).unwrap_err(), HeaderError::Suite { got: 9 });
}

#[test]
fn a_longer_step_of_the_ladder_does_not_open_either() {
    let pair = Pair::new(1);
    let mut envelope = seal_for(&pair, &note(&pair.alice, &pair.bob, "x"), 2);
    envelope.resize(8 * 1024, 0);
    assert!(Arrived::parse(&envelope).is_ok());
    assert!(open(&pair, &envelope).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_text_survives(text in ".{0,2000}", seed: u64) {
        let pair = Pair::new(1);
        let body = note(&pair.alice, &pair.bob, &text);
        prop_assert_eq!(open(&pair, &seal_for(&pair, &body, seed)).unwrap().body, body);
    }

    #[test]
    fn any_flipped_bit_is_an_error(bit in 0_usize..4096 * 8) {
        let pair = Pair::new(1);
        let mut envelope = seal_for(&pair, &note(&pair.alice, &pair.bob, "x"), 2);
        envelope[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(open(&pair, &envelope).is_none());
    }

    #[test]
    fn any_swapped_argument_is_an_error(which in 0_usize..5) {
        let pair = Pair::new(1);
        let envelope = seal_for(&pair, &note(&pair.alice, &pair.bob, "x"), 2);
        let bob = &pair.bob;
        let opened = match which {
            0 => open_with(&envelope, &pair.bob_to_alice, &bob.prekey, (&bob.fingerprint(), &bob.device), &pair.alice.manifest),
            1 => open_with(&envelope, &pair.alice_to_bob, &pair.alice.prekey, (&bob.fingerprint(), &bob.device), &pair.alice.manifest),
            2 => open_with(&envelope, &pair.alice_to_bob, &bob.prekey, (&pair.alice.fingerprint(), &bob.device), &pair.alice.manifest),
            3 => open_with(&envelope, &pair.alice_to_bob, &bob.prekey, (&bob.fingerprint(), &pair.alice.device), &pair.alice.manifest),
            _ => open_with(&envelope, &pair.alice_to_bob, &bob.prekey, (&bob.fingerprint(), &bob.device), &bob.manifest),
        };
        prop_assert!(opened.is_none());
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 4096)) {
        let pair = Pair::new(1);
        prop_assert!(open(&pair, &noise).is_none());
        let mut noise = noise;
        noise[..2].copy_from_slice(&[1, 1]);
        prop_assert!(open(&pair, &noise).is_none());
    }
}

#[test]
fn a_key_id_is_masked() {
    let pair = Pair::new(1);
    let body = note(&pair.alice, &pair.bob, "x");
    let (one, two) = (seal_for(&pair, &body, 2), seal_for(&pair, &body, 3));
    assert_ne!(one[2..18], two[2..18], "neither hint nor mask repeats");
    for envelope in [one, two] {
        assert!(!envelope.windows(8).any(|window| window == pair.bob.key_id.as_bytes()));
    }
    assert_ne!(pair.bob.key_id, KeyId::from_bytes([0; 8]));
}
