//! Wycheproof's edge cases for the primitives of AWS-LC: rustls uses them in the same program, below what is sealed here.

use aws_lc_rs::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    agreement::{self, X25519},
    hkdf::{HKDF_SHA256, KeyType, Salt},
    hmac,
    kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768},
    signature::{ED25519, UnparsedPublicKey},
};
use libcrux_ml_kem::mlkem768;

use crate::wycheproof::{bytes, each, vectors};

/// As rustls does, it refuses a shared secret of zeros, which Wycheproof calls acceptable.
#[test]
fn x25519() {
    each(vectors!("x25519"), |_, test, valid| {
        let private = agreement::PrivateKey::from_private_key(&X25519, &bytes(&test["private"])).unwrap();
        let public = agreement::UnparsedPublicKey::new(&X25519, bytes(&test["public"]));
        let shared = agreement::agree(&private, public, (), |secret| Ok(secret.to_vec())).ok();
        let expected = bytes(&test["shared"]);
        if expected.iter().all(|byte| *byte == 0) {
            assert_eq!((shared, valid), (None, None), "{}", test["tcId"]);
        } else {
            assert_eq!(shared, Some(expected), "{}", test["tcId"]);
        }
    });
}

#[test]
fn ed25519() {
    each(vectors!("ed25519"), |group, test, valid| {
        let key = UnparsedPublicKey::new(&ED25519, bytes(&group["publicKey"]["pk"]));
        let verified = key.verify(&bytes(&test["msg"]), &bytes(&test["sig"])).is_ok();
        assert_eq!(Some(verified), valid, "{}", test["tcId"]);
    });
}

#[test]
fn chacha20poly1305() {
    each(vectors!("chacha20_poly1305"), |_, test, valid| {
        let Ok(nonce) = Nonce::try_assume_unique_for_key(&bytes(&test["iv"])) else {
            assert_eq!(valid, Some(false));
            return;
        };
        let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &bytes(&test["key"])).unwrap());
        let mut sealed = [bytes(&test["ct"]), bytes(&test["tag"])].concat();
        let opened = key.open_in_place(nonce, Aad::from(bytes(&test["aad"])), &mut sealed);
        assert_eq!(Some(opened.is_ok()), valid, "{}", test["tcId"]);
        if let Ok(opened) = opened {
            assert_eq!(opened.to_vec(), bytes(&test["msg"]));
        }
    });
}

struct Size(usize);

impl KeyType for Size {
    fn len(&self) -> usize {
        self.0
    }
}

#[test]
fn hkdf_sha256() {
    each(vectors!("hkdf_sha256"), |_, test, valid| {
        let size = usize::try_from(test["size"].as_u64().unwrap()).unwrap();
        let key = Salt::new(HKDF_SHA256, &bytes(&test["salt"])).extract(&bytes(&test["ikm"]));
        let mut out = vec![0; size];
        let info = bytes(&test["info"]);
        let info = [info.as_slice()];
        let expanded = key.expand(&info, Size(size)).and_then(|okm| okm.fill(&mut out));
        assert_eq!(Some(expanded.is_ok()), valid, "{}", test["tcId"]);
        if expanded.is_ok() {
            assert_eq!(out, bytes(&test["okm"]), "{}", test["tcId"]);
        }
    });
}

#[test]
fn hmac_sha256() {
    each(vectors!("hmac_sha256"), |group, test, valid| {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &bytes(&test["key"])), &bytes(&test["msg"]));
        let tag_bytes = usize::try_from(group["tagSize"].as_u64().unwrap()).unwrap() / 8;
        assert_eq!(Some(tag.as_ref()[..tag_bytes] == bytes(&test["tag"])[..]), valid, "{}", test["tcId"]);
    });
}

/// Private keys come from Wycheproof's seeds by way of libcrux, whose keys are compared in `wycheproof.rs`.
#[test]
fn ml_kem_768_openings() {
    each(vectors!("mlkem_768"), |_, test, valid| {
        let id = &test["tcId"];
        let Ok(seed) = <[u8; 64]>::try_from(bytes(&test["seed"])) else {
            assert_eq!(valid, Some(false), "{id}");
            return;
        };
        let private = mlkem768::generate_key_pair(seed);
        let private = DecapsulationKey::new(&ML_KEM_768, private.sk()).unwrap();
        let ciphertext = bytes(&test["c"]);
        let secret = private.decapsulate(Ciphertext::from(ciphertext.as_slice()));
        let right = secret.is_ok_and(|secret| secret.as_ref() == bytes(&test["K"]));
        assert_eq!(Some(right), valid, "{id}");
    });
}

/// Its coins are its own: the keys it refuses are compared, and what it makes for the others opens with libcrux elsewhere.
#[test]
fn ml_kem_768_public_keys() {
    each(vectors!("mlkem_768_encaps"), |_, test, valid| {
        let key = EncapsulationKey::new(&ML_KEM_768, &bytes(&test["ek"]));
        let sound = key.is_ok_and(|key| key.encapsulate().is_ok());
        assert_eq!(Some(sound), valid, "{}", test["tcId"]);
    });
}

/// Each opens what the other made.
#[test]
fn ml_kem_768_with_libcrux() {
    let theirs = DecapsulationKey::generate(&ML_KEM_768).unwrap();
    let public = theirs.encapsulation_key().unwrap().key_bytes().unwrap();
    let public = <[u8; 1184]>::try_from(public.as_ref()).unwrap();
    let (ciphertext, secret) = mlkem768::encapsulate(&public.into(), [7; 32]);
    let opened = theirs.decapsulate(Ciphertext::from(ciphertext.as_ref())).unwrap();
    assert_eq!(opened.as_ref(), secret);

    let ours = mlkem768::generate_key_pair([9; 64]);
    let (ciphertext, secret) = EncapsulationKey::new(&ML_KEM_768, ours.pk()).unwrap().encapsulate().unwrap();
    let ciphertext = <[u8; 1088]>::try_from(ciphertext.as_ref()).unwrap();
    assert_eq!(mlkem768::decapsulate(ours.private_key(), &ciphertext.into()).to_vec(), secret.as_ref());
}
