//! ChaCha20-Poly1305 under a key that seals once, so that its nonce may be zero.

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit as _,
    aead::{Aead as _, Payload},
};

use super::Derived;

/// Seals under a key derived for this one text. The tag of 16 bytes follows the ciphertext.
///
/// Takes the key by value: it must not seal again.
pub(crate) fn seal_once(key: Derived<32>, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    ChaCha20Poly1305::new(&(*key).into())
        .encrypt(&[0; 12].into(), Payload { msg: plaintext, aad })
        .expect("texts of this protocol are far below 256 GiB")
}

/// Opens what [`seal_once`] sealed, or nothing.
pub(crate) fn open_once(key: Derived<32>, aad: &[u8], ciphertext: &[u8]) -> Option<Vec<u8>> {
    ChaCha20Poly1305::new(&(*key).into()).decrypt(&[0; 12].into(), Payload { msg: ciphertext, aad }).ok()
}
