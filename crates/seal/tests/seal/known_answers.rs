//! The primitives, as linked here, give the answers of their RFCs.

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit as _,
    aead::{Aead as _, Payload},
};
use ed25519_dalek::{Signer as _, SigningKey};
use hkdf::Hkdf;
use hpke::{Deserializable as _, OpModeR, kdf::HkdfSha256, kem::X25519HkdfSha256, setup_receiver};
use serde_json::Value;
use sha2::Sha256;
use x25519_dalek::x25519;

fn vectors(name: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("../../../../tests/vectors/seal/rfc.json")).unwrap();
    all[name].clone()
}

fn cases(name: &str) -> Vec<Value> {
    let cases = vectors(name)["cases"].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

#[test]
fn x25519_rfc_7748() {
    for case in cases("x25519") {
        assert_eq!(x25519(array(&case["scalar"]), array(&case["point"])), array(&case["out"]));
    }
    let all = vectors("x25519");
    let (mut scalar, mut point) = ([0; 32], [0; 32]);
    (scalar[0], point[0]) = (9, 9);
    for round in 1..=1000 {
        (scalar, point) = (x25519(scalar, point), scalar);
        if round == 1 {
            assert_eq!(scalar, array(&all["iterated_once"]));
        }
    }
    assert_eq!(scalar, array(&all["iterated_1000"]));
}

#[test]
fn ed25519_rfc_8032() {
    for case in cases("ed25519") {
        let key = SigningKey::from_bytes(&array(&case["seed"]));
        assert_eq!(key.verifying_key().to_bytes(), array(&case["public"]));
        let (message, signature) = (bytes(&case["message"]), key.sign(&bytes(&case["message"])));
        assert_eq!(signature.to_bytes(), array(&case["signature"]));
        assert!(key.verifying_key().verify_strict(&message, &signature).is_ok());
    }
}

#[test]
fn chacha20poly1305_rfc_8439() {
    for case in cases("chacha20poly1305") {
        let cipher = ChaCha20Poly1305::new(&array::<32>(&case["key"]).into());
        let (plaintext, aad) = (bytes(&case["plaintext"]), bytes(&case["aad"]));
        let sealed =
            cipher.encrypt(&array::<12>(&case["nonce"]).into(), Payload { msg: &plaintext, aad: &aad });
        assert_eq!(sealed.unwrap(), [bytes(&case["ciphertext"]), bytes(&case["tag"])].concat());
    }
}

#[test]
fn hkdf_rfc_5869() {
    for case in cases("hkdf_sha256") {
        let expected = bytes(&case["okm"]);
        let mut out = vec![0; expected.len()];
        let hkdf = Hkdf::<Sha256>::new(Some(&bytes(&case["salt"])), &bytes(&case["ikm"]));
        hkdf.expand(&bytes(&case["info"]), &mut out).unwrap();
        assert_eq!(out, expected);
    }
}

#[test]
fn hpke_rfc_9180() {
    for case in cases("hpke_x25519_base") {
        let private =
            <X25519HkdfSha256 as hpke::Kem>::PrivateKey::from_bytes(&bytes(&case["private"])).unwrap();
        let enc = <X25519HkdfSha256 as hpke::Kem>::EncappedKey::from_bytes(&bytes(&case["enc"])).unwrap();
        let mut context = setup_receiver::<hpke::aead::ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &private,
            &enc,
            &bytes(&case["info"]),
        )
        .unwrap();
        assert_eq!(
            context.open(&bytes(&case["ciphertext"]), &bytes(&case["aad"])).unwrap(),
            bytes(&case["plaintext"])
        );
    }
}
