//! Secret keys, each its own type: wiped when dropped, compared in constant time, never printed.
//!
//! `InviteSecret`, `ProfileKey`, `HalfSecret` and `Capability` travel in codes and sealed structures and are types of
//! `penpal_protocol`.

use std::fmt;

use ed25519_dalek::SigningKey;
use penpal_protocol::ids::{AccountProof, Fingerprint, RootPublicKey, SigningPublicKey, TransportPublicKey};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{labels::KeyLabel, primitives::derive};

macro_rules! secrets {
    ($($(#[$doc:meta])* $name:ident, $len:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Zeroize, ZeroizeOnDrop)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const BYTES: usize = $len;

            /// Takes the bytes as they are.
            #[must_use]
            pub fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Makes one from a generator.
            #[must_use]
            pub fn generate(rng: &mut impl CryptoRng) -> Self {
                let mut bytes = [0; $len];
                rng.fill_bytes(&mut bytes);
                let made = Self(bytes);
                bytes.zeroize();
                made
            }

            /// The bytes, to be stored or derived from.
            #[must_use]
            pub fn expose(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.ct_eq(&other.0).into()
            }
        }

        impl Eq for $name {}

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )*};
}

secrets! {
    /// Ed25519 seed of a device's transport key; its public half is the only key that a relay knows.
    TransportSeed, 32;
    /// Mixed into the coins of every encapsulation, so that two clones of one machine image never encapsulate alike.
    HedgeSecret, 32;
    /// Seed of an X-Wing key: a signed prekey, a receive key, or the one-time key of an invite.
    ReceiveSeed, 32;
    /// Key of one direction of a contact: finds the contact of an envelope and unmasks its key id. Opens no message.
    PairKey, 32;
    /// Shared by the devices of one account.
    AccountSecret, 32;
}

macro_rules! signing_keys {
    ($($(#[$doc:meta])* $name:ident, $public:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(SigningKey);

        impl $name {
            /// Takes the 32-byte seed (RFC 8032 §5.1.5).
            #[must_use]
            pub fn from_seed(seed: &[u8; 32]) -> Self {
                Self(SigningKey::from_bytes(seed))
            }

            /// Makes one from a generator.
            #[must_use]
            pub fn generate(rng: &mut impl CryptoRng) -> Self {
                let mut seed = Zeroizing::new([0; 32]);
                rng.fill_bytes(seed.as_mut_slice());
                Self::from_seed(&seed)
            }

            /// The seed, to be stored.
            #[must_use]
            pub fn expose_seed(&self) -> &[u8; 32] {
                self.0.as_bytes()
            }

            /// The public key.
            #[must_use]
            pub fn public(&self) -> $public {
                $public::from_bytes(self.0.verifying_key().to_bytes())
            }

            pub(crate) fn signer(&self) -> &SigningKey {
                &self.0
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.expose_seed().ct_eq(other.expose_seed()).into()
            }
        }

        impl Eq for $name {}

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )*};
}

signing_keys! {
    /// Root of an account (Ed25519): signs manifests and nothing else.
    RootKey, RootPublicKey;
    /// Signing key of a device (Ed25519): signs its messages, bundles and invites.
    DeviceSigningKey, SigningPublicKey;
}

impl RootKey {
    /// The account's fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.public())
    }

    /// What shows a relay that its holder may add and remove devices of the account; the relay keeps only its hash.
    #[must_use]
    pub fn account_proof(&self) -> AccountProof {
        AccountProof::from_bytes(*derive::<32>(self.expose_seed(), &[], KeyLabel::AccountProof, &[]))
    }
}

impl TransportSeed {
    /// The public key that a relay knows.
    #[must_use]
    pub fn public(&self) -> TransportPublicKey {
        TransportPublicKey::from_bytes(SigningKey::from_bytes(self.expose()).verifying_key().to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_byte_of_a_secret() {
        let shown = format!(
            "{:?} {:?} {:?}",
            RootKey::from_seed(&[0xab; 32]),
            DeviceSigningKey::from_seed(&[0xab; 32]),
            PairKey::from_bytes([0xab; 32]),
        );
        assert_eq!(shown, "RootKey(…) DeviceSigningKey(…) PairKey(…)");
    }
}
