//! X-Wing against its draft's vectors and against another implementation.

use std::sync::Arc;

use hpke::{
    Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _, aead::ChaCha20Poly1305,
    kdf::HkdfSha256, setup_receiver, setup_sender_with_rng,
};
use penpal_protocol::ids::XWingPublicKey;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{SeedableRng as _, TryRng as _};
use zeroize::Zeroizing;

use super::{
    Coins,
    kem::{EncappedKey, PrivateKey, XWing},
    open, seal,
    xwing::{InvalidKeyError, ReceiveKey, RecipientKey},
};
use crate::keys::ReceiveSeed;

type Theirs = hpke::kem::XWing;

fn receive_key(seed: [u8; 32]) -> Arc<ReceiveKey> {
    Arc::new(ReceiveKey::expand(ReceiveSeed::from_bytes(seed)))
}

fn field<const N: usize>(case: &serde_json::Value, name: &str) -> [u8; N] {
    hex::decode(case[name].as_str().unwrap()).unwrap().try_into().unwrap()
}

#[test]
fn gives_the_draft_s_answers() {
    let text = include_str!("../../../../tests/vectors/seal/xwing-draft.json");
    let cases: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let key = receive_key(field(&case, "seed"));
        assert_eq!(*key.public().as_bytes(), field::<1216>(&case, "pk"));
        let recipient = RecipientKey::parse(key.public()).unwrap();
        let made = recipient.encapsulate(&Zeroizing::new(field(&case, "eseed"))).unwrap();
        assert_eq!(made.encapsulation, field::<1120>(&case, "ct"));
        assert_eq!(*made.secret, field::<32>(&case, "ss"));
        assert_eq!(*key.decapsulate(&made.encapsulation).unwrap(), field::<32>(&case, "ss"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn agrees_with_another_implementation(seed: [u8; 32], coins: [u8; 64], other: [u8; 32]) {
        let ours = PrivateKey::from_bytes(&seed).unwrap();
        let theirs = <Theirs as hpke::Kem>::PrivateKey::from_bytes(&seed).unwrap();
        let (our_public, their_public) = (XWing::sk_to_pk(&ours), Theirs::sk_to_pk(&theirs));
        prop_assert_eq!(our_public.to_bytes(), their_public.to_bytes());

        let draw = || Coins::new(Zeroizing::new(coins));
        let (our_secret, our_enc) = XWing::encap_with_rng(&our_public, None, &mut draw()).unwrap();
        let (their_secret, their_enc) = Theirs::encap_with_rng(&their_public, None, &mut draw()).unwrap();
        prop_assert_eq!(our_enc.to_bytes(), their_enc.to_bytes());
        prop_assert_eq!(our_secret.0, their_secret.0);
        prop_assert_eq!(XWing::decap(&ours, None, &our_enc).unwrap().0, our_secret.0);
        prop_assert_eq!(Theirs::decap(&theirs, None, &their_enc).unwrap().0, our_secret.0);

        // A key that it was not made for gives the same useless secret in both (implicit rejection).
        let (ours, theirs) = (PrivateKey::from_bytes(&other).unwrap(), <Theirs as hpke::Kem>::PrivateKey::from_bytes(&other).unwrap());
        let useless = XWing::decap(&ours, None, &our_enc).unwrap().0;
        prop_assert_eq!(Theirs::decap(&theirs, None, &their_enc).unwrap().0, useless);
        prop_assert_ne!(useless, our_secret.0);

        let (ours, our_public) = XWing::derive_keypair(&coins);
        let (theirs, their_public) = Theirs::derive_keypair(&coins);
        prop_assert_eq!(ours.to_bytes(), theirs.to_bytes());
        prop_assert_eq!(our_public.to_bytes(), their_public.to_bytes());
    }
}

#[test]
fn hpke_texts_open_in_both_directions() {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let key = receive_key([3; 32]);
    let theirs = <Theirs as hpke::Kem>::PrivateKey::from_bytes(&[3; 32]).unwrap();

    let recipient = RecipientKey::parse(key.public()).unwrap();
    let sealing = seal(&recipient, b"info", Coins::new(Zeroizing::new([9; 64]))).unwrap();
    let encapsulation = sealing.encapsulation;
    let ciphertext = sealing.finish(b"aad", b"from us");
    let enc = <Theirs as hpke::Kem>::EncappedKey::from_bytes(&encapsulation).unwrap();
    let mut context =
        setup_receiver::<ChaCha20Poly1305, HkdfSha256, Theirs>(&OpModeR::Base, &theirs, &enc, b"info")
            .unwrap();
    assert_eq!(context.open(&ciphertext, b"aad").unwrap(), b"from us");

    let public = Theirs::sk_to_pk(&theirs);
    let (enc, mut context) = setup_sender_with_rng::<ChaCha20Poly1305, HkdfSha256, Theirs>(
        &OpModeS::Base,
        &public,
        b"info",
        &mut rng,
    )
    .unwrap();
    let ciphertext = context.seal(b"from them", b"aad").unwrap();
    let encapsulation: [u8; 1120] = enc.to_bytes().as_slice().try_into().unwrap();
    assert_eq!(open(&key, &encapsulation, b"info", b"aad", &ciphertext).unwrap(), b"from them");
    assert_eq!(open(&key, &encapsulation, b"other", b"aad", &ciphertext), None);
    assert_eq!(open(&key, &encapsulation, b"info", b"other", &ciphertext), None);
}

/// The points of small order on Curve25519, whose shared secrets are all zero (and one that is not canonical).
const SMALL_ORDER: [&str; 5] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

#[test]
fn an_all_zero_x25519_output_is_refused_on_both_sides() {
    let key = receive_key([3; 32]);
    let coins = Zeroizing::new([9; 64]);
    for point in SMALL_ORDER {
        let point = hex::decode(point).unwrap();
        let mut public = key.public().as_bytes().to_vec();
        public[1184..].copy_from_slice(&point);
        let poisoned = RecipientKey::parse(&XWingPublicKey::from_slice(&public).unwrap()).unwrap();
        assert!(poisoned.encapsulate(&coins).is_none());
        assert!(seal(&poisoned, b"", Coins::new(coins.clone())).is_none());

        let mut encapsulation =
            RecipientKey::parse(key.public()).unwrap().encapsulate(&coins).unwrap().encapsulation;
        encapsulation[1088..].copy_from_slice(&point);
        assert!(key.decapsulate(&encapsulation).is_none());
        assert!(XWing::decap(&PrivateKey(Arc::clone(&key)), None, &EncappedKey(encapsulation)).is_err());
    }
}

#[test]
fn a_key_whose_coefficients_are_not_reduced_is_refused() {
    let mut public = receive_key([3; 32]).public().as_bytes().to_vec();
    // 12 bits per coefficient, below 3329.
    public[..3].copy_from_slice(&[0xff; 3]);
    assert_eq!(RecipientKey::parse_slice(&public), Err(InvalidKeyError));
    assert_eq!(RecipientKey::parse_slice(&public[..1215]), Err(InvalidKeyError));
}

#[test]
fn two_keys_are_equal_when_both_of_their_parts_are() {
    let parse = |bytes: &[u8]| RecipientKey::parse_slice(bytes).unwrap();
    let [one, other] = [3, 4].map(|seed| receive_key([seed; 32]).public().as_bytes().to_vec());
    assert!(parse(&one) == parse(&one));
    assert!(parse(&one) != parse(&[&one[..1184], &other[1184..]].concat()));
    assert!(parse(&one) != parse(&[&other[..1184], &one[1184..]].concat()));
}

#[test]
#[should_panic(expected = "all its coins at once")]
fn four_bytes_of_coins_cannot_be_drawn() {
    Coins::new(Zeroizing::new([9; 64])).try_next_u32().unwrap();
}

#[test]
#[should_panic(expected = "all its coins at once")]
fn eight_bytes_of_coins_cannot_be_drawn() {
    Coins::new(Zeroizing::new([9; 64])).try_next_u64().unwrap();
}

#[test]
#[should_panic(expected = "once")]
fn coins_cannot_be_drawn_twice() {
    let recipient = RecipientKey::parse(receive_key([3; 32]).public()).unwrap();
    let mut coins = Coins::new(Zeroizing::new([9; 64]));
    XWing::encap_with_rng(&recipient, None, &mut coins).unwrap();
    drop(XWing::encap_with_rng(&recipient, None, &mut coins));
}
