//! Wycheproof's edge cases for each primitive in use, and for both ML-KEM implementations that are linked in tests.

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit as _,
    aead::{Aead as _, Payload},
};
use ed25519_dalek::{Signature, VerifyingKey};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use libcrux_ml_kem::mlkem768;
use ml_kem::{FromSeed as _, KeyExport as _, MlKem768, kem::Decapsulate as _, ml_kem_768};
use serde_json::Value;
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};

macro_rules! vectors {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/vectors/seal/wycheproof/", $name, "_test.json"))
    };
}
pub(crate) use vectors;

pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

/// Calls `check` with each group, test, and whether the test must succeed; `None` for *acceptable*.
pub(crate) fn each(text: &str, mut check: impl FnMut(&Value, &Value, Option<bool>)) {
    let all: Value = serde_json::from_str(text).unwrap();
    let mut seen = 0;
    for group in all["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            let valid = match test["result"].as_str().unwrap() {
                "valid" => Some(true),
                "invalid" => Some(false),
                _ => None,
            };
            check(group, test, valid);
            seen += 1;
        }
    }
    assert_eq!(seen, all["numberOfTests"].as_u64().unwrap());
}

#[test]
fn x25519() {
    each(vectors!("x25519"), |_, test, valid| {
        let private = StaticSecret::from(<[u8; 32]>::try_from(bytes(&test["private"])).unwrap());
        let public = PublicKey::from(<[u8; 32]>::try_from(bytes(&test["public"])).unwrap());
        let shared = private.diffie_hellman(&public);
        assert_eq!(shared.as_bytes().to_vec(), bytes(&test["shared"]), "{}", test["tcId"]);
        assert_ne!(valid, Some(false));
        if !shared.was_contributory() {
            assert_eq!(valid, None, "{}: all zero and called valid", test["tcId"]);
        }
    });
}

#[test]
fn ed25519_strict() {
    each(vectors!("ed25519"), |group, test, valid| {
        let public = <[u8; 32]>::try_from(bytes(&group["publicKey"]["pk"])).unwrap();
        let verified = VerifyingKey::from_bytes(&public).is_ok_and(|key| {
            Signature::from_slice(&bytes(&test["sig"]))
                .is_ok_and(|signature| key.verify_strict(&bytes(&test["msg"]), &signature).is_ok())
        });
        assert_eq!(Some(verified), valid, "{}", test["tcId"]);
    });
}

#[test]
fn chacha20poly1305() {
    each(vectors!("chacha20_poly1305"), |_, test, valid| {
        let (key, nonce) = (bytes(&test["key"]), bytes(&test["iv"]));
        let Ok(nonce) = <[u8; 12]>::try_from(nonce) else {
            assert_eq!(valid, Some(false));
            return;
        };
        let cipher = ChaCha20Poly1305::new_from_slice(&key).unwrap();
        let sealed = [bytes(&test["ct"]), bytes(&test["tag"])].concat();
        let aad = bytes(&test["aad"]);
        let opened = cipher.decrypt(&nonce.into(), Payload { msg: &sealed, aad: &aad });
        assert_eq!(Some(opened.is_ok()), valid, "{}", test["tcId"]);
        if let Ok(opened) = opened {
            assert_eq!(opened, bytes(&test["msg"]));
        }
    });
}

#[test]
fn hkdf_sha256() {
    each(vectors!("hkdf_sha256"), |_, test, valid| {
        let mut out = vec![0; usize::try_from(test["size"].as_u64().unwrap()).unwrap()];
        let hkdf = Hkdf::<Sha256>::new(Some(&bytes(&test["salt"])), &bytes(&test["ikm"]));
        let expanded = hkdf.expand(&bytes(&test["info"]), &mut out);
        assert_eq!(Some(expanded.is_ok()), valid, "{}", test["tcId"]);
        if expanded.is_ok() {
            assert_eq!(out, bytes(&test["okm"]));
        }
    });
}

#[test]
fn hmac_sha256() {
    each(vectors!("hmac_sha256"), |group, test, valid| {
        let mut mac = Hmac::<Sha256>::new_from_slice(&bytes(&test["key"])).unwrap();
        mac.update(&bytes(&test["msg"]));
        let tag_bytes = usize::try_from(group["tagSize"].as_u64().unwrap()).unwrap() / 8;
        let full = mac.finalize().into_bytes();
        assert_eq!(Some(full[..tag_bytes] == bytes(&test["tag"])[..]), valid, "{}", test["tcId"]);
    });
}

#[test]
fn ml_kem_768_keys_and_openings() {
    each(vectors!("mlkem_768"), |_, test, valid| {
        let id = &test["tcId"];
        let Ok(seed) = <[u8; 64]>::try_from(bytes(&test["seed"])) else {
            assert_eq!(valid, Some(false), "{id}");
            return;
        };
        let (libcrux, (private, public)) =
            (mlkem768::generate_key_pair(seed), MlKem768::from_seed(&seed.into()));
        assert_eq!(libcrux.pk().to_vec(), public.to_bytes().to_vec(), "{id}");
        if let Some(expected) = test["ek"].as_str().filter(|_| valid == Some(true)) {
            assert_eq!(hex::encode(libcrux.pk()), expected, "{id}");
        }
        let Ok(ciphertext) = <[u8; 1088]>::try_from(bytes(&test["c"])) else {
            assert_eq!(valid, Some(false), "{id}");
            return;
        };
        let secret = mlkem768::decapsulate(libcrux.private_key(), &ciphertext.into());
        assert_eq!(secret.to_vec(), private.decapsulate(&ciphertext.into()).to_vec(), "{id}");
        assert_eq!(Some(secret.to_vec() == bytes(&test["K"])), valid, "{id}");
    });
}

#[test]
fn ml_kem_768_encapsulation() {
    each(vectors!("mlkem_768_encaps"), |_, test, valid| {
        let id = &test["tcId"];
        let public = bytes(&test["ek"]);
        let coins = <[u8; 32]>::try_from(bytes(&test["m"])).unwrap();
        let sound = <[u8; 1184]>::try_from(public.clone())
            .is_ok_and(|public| mlkem768::validate_public_key(&public.into()));
        assert_eq!(Some(sound), valid, "{id}");
        let other = <[u8; 1184]>::try_from(public.clone())
            .is_ok_and(|public| ml_kem_768::EncapsulationKey::new(&public.into()).is_ok());
        assert_eq!(sound, other, "{id}");
        if sound {
            let public = <[u8; 1184]>::try_from(public).unwrap();
            let (ciphertext, secret) = mlkem768::encapsulate(&public.into(), coins);
            assert_eq!(
                (ciphertext.as_ref().to_vec(), secret.to_vec()),
                (bytes(&test["c"]), bytes(&test["K"])),
                "{id}"
            );
        }
    });
}
