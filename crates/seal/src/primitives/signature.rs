//! Ed25519 under labels, verified strictly.

use ed25519_dalek::{Signature as DalekSignature, Signer as _, SigningKey, VerifyingKey};
use penpal_protocol::ids::Signature;

use crate::labels::SignatureLabel;

/// A signature is not by that key over those bytes, or the key is no sound key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("signature does not verify")]
pub struct SignatureError;

/// Signs label and parts.
pub(crate) fn sign(key: &SigningKey, label: SignatureLabel, parts: &[&[u8]]) -> Signature {
    Signature::from_bytes(key.sign(&input(label, parts)).to_bytes())
}

/// Verifies with the strict rules: canonical encodings, no small-order point.
pub(crate) fn verify(
    key: &[u8; 32],
    label: SignatureLabel,
    parts: &[&[u8]],
    signature: &Signature,
) -> Result<(), SignatureError> {
    let key = VerifyingKey::from_bytes(key).map_err(|_| SignatureError)?;
    let signature = DalekSignature::from_bytes(signature.as_bytes());
    key.verify_strict(&input(label, parts), &signature).map_err(|_| SignatureError)
}

fn input(label: SignatureLabel, parts: &[&[u8]]) -> Vec<u8> {
    let mut all = label.bytes().to_vec();
    for part in parts {
        all.extend_from_slice(part);
    }
    all
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::Verifier as _;

    use super::*;

    #[test]
    fn a_key_of_small_order_signs_nothing() {
        // With the identity as key and as R, and S = 0, the verification equation holds for every message.
        let mut key = [0; 32];
        key[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        let lenient = VerifyingKey::from_bytes(&key).unwrap();
        assert!(lenient.verify(b"any message", &DalekSignature::from_bytes(&signature)).is_ok());
        let signature = Signature::from_bytes(signature);
        assert_eq!(verify(&key, SignatureLabel::Message, &[b"any message"], &signature), Err(SignatureError));
    }

    #[test]
    fn one_label_s_signature_is_no_other_s() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let public = key.verifying_key().to_bytes();
        let signature = sign(&key, SignatureLabel::Request, &[b"t"]);
        assert_eq!(verify(&public, SignatureLabel::Request, &[b"t"], &signature), Ok(()));
        assert_eq!(verify(&public, SignatureLabel::Accept, &[b"t"], &signature), Err(SignatureError));
    }
}
