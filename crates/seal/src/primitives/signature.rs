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
