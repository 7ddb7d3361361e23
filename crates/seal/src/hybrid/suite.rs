//! The one HPKE suite: base mode, X-Wing, HKDF-SHA256, ChaCha20-Poly1305 (RFC 9180).

use std::sync::Arc;

use hpke::{
    OpModeR, OpModeS,
    aead::{AeadCtxR, AeadCtxS, ChaCha20Poly1305},
    kdf::HkdfSha256,
    setup_receiver, setup_sender_with_rng,
};

use super::{
    coins::Coins,
    kem::{EncappedKey, PrivateKey, XWing},
    xwing::{ReceiveKey, RecipientKey, XWING_ENCAPSULATION_BYTES},
};

/// Bytes of an encapsulation.
pub(crate) type Encapsulation = [u8; XWING_ENCAPSULATION_BYTES];

/// A context that seals one text after its encapsulation is known.
pub(crate) struct Sealing {
    pub(crate) encapsulation: Encapsulation,
    context: AeadCtxS<ChaCha20Poly1305, HkdfSha256, XWing>,
}

/// Encapsulates to a key. `None` when its X25519 part is of small order.
pub(crate) fn seal(recipient: &RecipientKey, info: &[u8], mut coins: Coins) -> Option<Sealing> {
    let (encapsulation, context) = setup_sender_with_rng(&OpModeS::Base, recipient, info, &mut coins).ok()?;
    let EncappedKey(encapsulation) = encapsulation;
    Some(Sealing { encapsulation, context })
}

impl Sealing {
    /// Seals the one text of this context; the tag follows it.
    pub(crate) fn finish(mut self, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        self.context.seal(plaintext, aad).expect("the first text of a context, far below 256 GiB")
    }
}

/// Opens what was sealed to a key of ours, or nothing.
pub(crate) fn open(
    key: &Arc<ReceiveKey>,
    encapsulation: &Encapsulation,
    info: &[u8],
    aad: &[u8],
    ciphertext: &[u8],
) -> Option<Vec<u8>> {
    let mut context: AeadCtxR<ChaCha20Poly1305, HkdfSha256, XWing> =
        setup_receiver(&OpModeR::Base, &PrivateKey(Arc::clone(key)), &EncappedKey(*encapsulation), info)
            .ok()?;
    context.open(ciphertext, aad).ok()
}
