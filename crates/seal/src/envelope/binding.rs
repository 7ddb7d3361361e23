//! What seal and open compute alike.

use penpal_protocol::{
    envelope::{SUITE, VERSION},
    ids::{DeviceId, KeyHint, KeyId, XWingPublicKey},
};

use crate::{
    hybrid::Encapsulation,
    keys::PairKey,
    labels::{HashLabel, KeyLabel, MacLabel},
    primitives::{first, hash, info, mac},
};

/// `H("enc" | enc)`.
pub(super) fn encapsulation_hash(encapsulation: &Encapsulation) -> [u8; 32] {
    hash(HashLabel::Encapsulation, &[encapsulation])
}

/// HPKE `info`: which key of which device.
pub(super) fn seal_info(device: &DeviceId, key_id: &KeyId, key: &XWingPublicKey) -> Vec<u8> {
    let key_hash = hash(HashLabel::RecipientKey, &[key.as_bytes()]);
    info(KeyLabel::Seal, &[device.as_bytes(), key_id.as_bytes(), &key_hash])
}

/// Masks a key id, or unmasks it.
pub(super) fn mask(pair_key: &PairKey, encapsulation_hash: &[u8; 32], id: [u8; 8]) -> [u8; 8] {
    let mut out: [u8; 8] =
        first(&mac(pair_key.expose(), MacLabel::KeyId, &[&[VERSION, SUITE], encapsulation_hash]));
    for (byte, other) in out.iter_mut().zip(id) {
        *byte ^= other;
    }
    out
}

/// The hint of a contact for one envelope.
pub(super) fn hint(pair_key: &PairKey, masked_key: &KeyHint, encapsulation_hash: &[u8; 32]) -> [u8; 8] {
    let parts: [&[u8]; 3] = [&[VERSION, SUITE], masked_key.as_bytes(), encapsulation_hash];
    first(&mac(pair_key.expose(), MacLabel::Hint, &parts))
}

/// The two hashes that a message signature covers, after its label.
pub(super) fn signed_hashes(
    header_and_encapsulation: &[u8],
    device: &DeviceId,
    key: &XWingPublicKey,
    body: &[u8],
) -> [[u8; 32]; 2] {
    let bind = hash(HashLabel::Bind, &[header_and_encapsulation, device.as_bytes(), key.as_bytes()]);
    [bind, hash(HashLabel::Body, &[body])]
}
