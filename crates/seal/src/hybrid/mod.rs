//! X-Wing (ML-KEM-768 with X25519) and HPKE over it.
//!
//! `hpke` brings the key schedule and the AEAD; the key encapsulation is ours, because its own expands the seed twice for each
//! opening and accepts an all-zero X25519 output. Measured and decided in `docs/decisions/0001-ml-kem-implementation.md`.

mod coins;
mod kem;
mod self_check;
mod suite;
mod xwing;

pub(crate) use coins::Coins;
pub use self_check::{SelfCheckError, self_check};
pub(crate) use suite::{Encapsulation, open, seal};
pub(crate) use xwing::RecipientKey;
pub use xwing::{InvalidKeyError, ReceiveKey, XWING_ENCAPSULATION_BYTES};

#[cfg(test)]
mod tests;
