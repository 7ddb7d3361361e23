//! One known answer, computed when a program starts.
//!
//! The ML-KEM and SHA-3 code picks its instructions at run time, and such code was wrong on some machines before. A node that
//! computes something else than everybody else must not begin to seal.

use zeroize::Zeroizing;

use super::xwing::{ReceiveKey, RecipientKey};
use crate::{keys::ReceiveSeed, labels::HashLabel, primitives::hash};

/// This machine computes X-Wing wrongly: nothing it seals could be opened, or worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this machine computes the key encapsulation wrongly")]
pub struct SelfCheckError;

const SEED: [u8; 32] = [0x5e; 32];
const COINS: [u8; 64] = [0xc0; 64];
/// `H("self-check" | public key | encapsulation | secret)` for [`SEED`] and [`COINS`], computed with another implementation.
const ANSWER: [u8; 32] = [
    0x3c, 0xcb, 0x5a, 0x05, 0x0b, 0xd4, 0xec, 0x83, 0x1d, 0x64, 0x8a, 0x48, 0x2b, 0x18, 0xff, 0x45, 0x53,
    0x8a, 0x41, 0xa6, 0x6a, 0x8d, 0xc3, 0x99, 0x3a, 0xf4, 0xd1, 0xa6, 0x8a, 0x4e, 0x1c, 0x93,
];

/// Computes one X-Wing key, encapsulation and decapsulation, and compares with a known answer. Takes about 0.2 ms.
///
/// # Errors
/// [`SelfCheckError`].
pub fn self_check() -> Result<(), SelfCheckError> {
    check(&ANSWER)
}

fn check(expected: &[u8; 32]) -> Result<(), SelfCheckError> {
    let key = ReceiveKey::expand(ReceiveSeed::from_bytes(SEED));
    let recipient = RecipientKey::parse(key.public()).map_err(|_| SelfCheckError)?;
    let made = recipient.encapsulate(&Zeroizing::new(COINS)).ok_or(SelfCheckError)?;
    let opened = key.decapsulate(&made.encapsulation).ok_or(SelfCheckError)?;
    let is_right = |secret: &Zeroizing<[u8; 32]>| {
        let parts = [key.public().as_bytes().as_slice(), &made.encapsulation, secret.as_slice()];
        hash(HashLabel::SelfCheck, &parts) == *expected
    };
    if [made.secret, opened].iter().all(is_right) { Ok(()) } else { Err(SelfCheckError) }
}

#[cfg(test)]
mod tests {
    use hpke::{Deserializable as _, Kem as _, Serializable as _, kem::XWing};

    use super::*;
    use crate::hybrid::Coins;

    #[test]
    fn the_known_answer_is_that_of_another_implementation() {
        let private = <XWing as hpke::Kem>::PrivateKey::from_bytes(&SEED).unwrap();
        let public = XWing::sk_to_pk(&private);
        let mut coins = Coins::new(Zeroizing::new(COINS));
        let (secret, encapsulation) = XWing::encap_with_rng(&public, None, &mut coins).unwrap();
        let parts = [public.to_bytes().to_vec(), encapsulation.to_bytes().to_vec(), secret.0.to_vec()];
        let answer = hash(HashLabel::SelfCheck, &parts.each_ref().map(Vec::as_slice));
        assert_eq!(hex::encode(answer), hex::encode(ANSWER));
    }

    #[test]
    fn passes_here() {
        assert_eq!(self_check(), Ok(()));
    }

    #[test]
    fn any_other_answer_is_an_error() {
        let mut other = ANSWER;
        other[31] ^= 1;
        assert_eq!(check(&other), Err(SelfCheckError));
    }
}
