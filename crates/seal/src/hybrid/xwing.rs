//! The X-Wing key encapsulation mechanism over libcrux's ML-KEM-768 and x25519-dalek.
//!
//! Source: draft-connolly-cfrg-xwing-kem-10. One rule is added: an all-zero X25519 output is refused on both sides.

use std::{fmt, ops::IndexMut as _};

use libcrux_ml_kem::mlkem768::{self, MlKem768Ciphertext, MlKem768PrivateKey, MlKem768PublicKey};
use penpal_protocol::ids::{XWING_PUBLIC_BYTES, XWingPublicKey};
use x25519_dalek::{PublicKey as X25519Public, StaticSecret};
use zeroize::{Zeroize as _, Zeroizing};

use super::coins::COINS_BYTES;
use crate::keys::ReceiveSeed;

const ML_KEM_PUBLIC_BYTES: usize = 1184;
const ML_KEM_PRIVATE_BYTES: usize = 2400;
const ML_KEM_CIPHERTEXT_BYTES: usize = 1088;
const X25519_BYTES: usize = 32;
const X_WING_LABEL: &[u8; 6] = br"\.//^\";

/// Length of an encapsulation: 1088 bytes of ML-KEM, 32 of X25519.
pub const XWING_ENCAPSULATION_BYTES: usize = 1120;

const _: () = assert!(ML_KEM_CIPHERTEXT_BYTES + X25519_BYTES == XWING_ENCAPSULATION_BYTES);
const _: () = assert!(XWING_ENCAPSULATION_BYTES == penpal_protocol::envelope::ENCAPSULATION_BYTES);

/// An X-Wing public key that cannot be used: its ML-KEM part is not in canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("x-wing public key is malformed")]
pub struct InvalidKeyError;

/// An encapsulation and the secret that it carries.
pub(crate) struct Encapsulated {
    pub(crate) encapsulation: [u8; XWING_ENCAPSULATION_BYTES],
    pub(crate) secret: Zeroizing<[u8; 32]>,
}

/// The key of somebody else, checked.
#[derive(Clone)]
pub(crate) struct RecipientKey {
    ml_kem: MlKem768PublicKey,
    x25519: [u8; X25519_BYTES],
}

impl RecipientKey {
    /// Checks the ML-KEM part (FIPS 203 §7.2: every coefficient reduced).
    pub(crate) fn parse(key: &XWingPublicKey) -> Result<Self, InvalidKeyError> {
        Self::parse_slice(key.as_bytes())
    }

    pub(crate) fn parse_slice(bytes: &[u8]) -> Result<Self, InvalidKeyError> {
        let (ml_kem, rest) = bytes.split_first_chunk::<ML_KEM_PUBLIC_BYTES>().ok_or(InvalidKeyError)?;
        let x25519 = rest.try_into().map_err(|_| InvalidKeyError)?;
        let ml_kem = MlKem768PublicKey::from(ml_kem);
        if mlkem768::validate_public_key(&ml_kem) {
            Ok(Self { ml_kem, x25519 })
        } else {
            Err(InvalidKeyError)
        }
    }

    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        [self.ml_kem.as_ref(), &self.x25519]
    }

    /// Encapsulates with given coins: the first 32 bytes for ML-KEM, the last 32 for X25519.
    ///
    /// `None` when the recipient's X25519 key is of small order.
    pub(crate) fn encapsulate(&self, coins: &Zeroizing<[u8; COINS_BYTES]>) -> Option<Encapsulated> {
        let (ml_kem_coins, rest) = coins.split_first_chunk::<32>()?;
        let ephemeral = StaticSecret::from(<[u8; X25519_BYTES]>::try_from(rest).ok()?);
        let (ml_kem_ct, ml_kem_secret) = mlkem768::encapsulate(&self.ml_kem, *ml_kem_coins);
        let ml_kem_secret = Zeroizing::new(ml_kem_secret);
        let x25519_ct = X25519Public::from(&ephemeral);
        let x25519_secret = ephemeral.diffie_hellman(&X25519Public::from(self.x25519));
        if !x25519_secret.was_contributory() {
            return None;
        }
        let mut encapsulation = [0; XWING_ENCAPSULATION_BYTES];
        let (head, tail) = encapsulation.split_first_chunk_mut::<ML_KEM_CIPHERTEXT_BYTES>()?;
        *head = *ml_kem_ct.as_slice();
        tail.copy_from_slice(x25519_ct.as_bytes());
        let secret = combine(&ml_kem_secret, x25519_secret.as_bytes(), x25519_ct.as_bytes(), &self.x25519);
        Some(Encapsulated { encapsulation, secret })
    }
}

impl PartialEq for RecipientKey {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for RecipientKey {}

impl fmt::Debug for RecipientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecipientKey(…)")
    }
}

/// Our own X-Wing key, expanded from its seed once so that openings need not do it again (41 µs).
///
/// About 2.5 KiB on the heap, wiped when dropped. What the ML-KEM code leaves on the stack while it works is not wiped.
pub struct ReceiveKey {
    seed: ReceiveSeed,
    ml_kem: Box<MlKem768PrivateKey>,
    x25519: StaticSecret,
    public: XWingPublicKey,
}

impl ReceiveKey {
    /// Expands a seed.
    #[must_use]
    pub fn expand(seed: ReceiveSeed) -> Self {
        let expanded = Zeroizing::new(libcrux_sha3::shake256::<96>(seed.expose()));
        let mut ml_kem_seed = Zeroizing::new([0; 64]);
        let mut x25519 = Zeroizing::new([0; X25519_BYTES]);
        let halves = ml_kem_seed.iter_mut().chain(x25519.iter_mut());
        for (to, from) in halves.zip(expanded.iter()) {
            *to = *from;
        }
        let (private, ml_kem_public) = mlkem768::generate_key_pair(*ml_kem_seed).into_parts();
        let x25519 = StaticSecret::from(*x25519);
        let mut public = Vec::with_capacity(XWING_PUBLIC_BYTES);
        public.extend_from_slice(ml_kem_public.as_ref());
        public.extend_from_slice(X25519Public::from(&x25519).as_bytes());
        let public = XWingPublicKey::from_slice(&public).expect("1184 and 32 bytes are an X-Wing key");
        Self { seed, ml_kem: Box::new(private), x25519, public }
    }

    /// The public key, to be given to senders.
    #[must_use]
    pub fn public(&self) -> &XWingPublicKey {
        &self.public
    }

    pub(crate) fn seed(&self) -> &ReceiveSeed {
        &self.seed
    }

    /// Opens an encapsulation. ML-KEM rejects implicitly: a wrong one gives a secret that opens nothing.
    ///
    /// `None` when the X25519 output is all zero.
    pub(crate) fn decapsulate(
        &self,
        encapsulation: &[u8; XWING_ENCAPSULATION_BYTES],
    ) -> Option<Zeroizing<[u8; 32]>> {
        let (ml_kem_ct, rest) = encapsulation.split_first_chunk::<ML_KEM_CIPHERTEXT_BYTES>()?;
        let x25519_ct = <[u8; X25519_BYTES]>::try_from(rest).ok()?;
        let x25519_secret = self.x25519.diffie_hellman(&X25519Public::from(x25519_ct));
        if !x25519_secret.was_contributory() {
            return None;
        }
        let ml_kem_secret =
            Zeroizing::new(mlkem768::decapsulate(&self.ml_kem, &MlKem768Ciphertext::from(ml_kem_ct)));
        let x25519_public = self.public.as_bytes().last_chunk::<X25519_BYTES>()?;
        Some(combine(&ml_kem_secret, x25519_secret.as_bytes(), &x25519_ct, x25519_public))
    }
}

impl Drop for ReceiveKey {
    fn drop(&mut self) {
        self.ml_kem.index_mut(0..ML_KEM_PRIVATE_BYTES).zeroize();
    }
}

impl fmt::Debug for ReceiveKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReceiveKey(…)")
    }
}

/// The combiner: SHA3-256 over both secrets, the X25519 ciphertext and key, and the label.
fn combine(
    ml_kem_secret: &[u8; 32],
    x25519_secret: &[u8; 32],
    x25519_ct: &[u8; 32],
    x25519_public: &[u8; 32],
) -> Zeroizing<[u8; 32]> {
    let mut input = Zeroizing::new([0_u8; 4 * 32 + X_WING_LABEL.len()]);
    let parts =
        ml_kem_secret.iter().chain(x25519_secret).chain(x25519_ct).chain(x25519_public).chain(X_WING_LABEL);
    for (to, from) in input.iter_mut().zip(parts) {
        *to = *from;
    }
    Zeroizing::new(libcrux_sha3::sha256(input.as_slice()))
}
