//! Transport keys: what a device or a relay shows in TLS, and the pin by which an address names a relay.

use std::fmt;

use ed25519_dalek::{SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Label under which a relay's key is hashed into its pin.
const RELAY_PIN_LABEL: &[u8] = b"penpal/v1/relay-pin\0";

/// Hashes a relay's Ed25519 public key into the 16 bytes that an address or an invite carries.
///
/// Shape: first 16 bytes of SHA-256 over the label `penpal/v1/relay-pin`, a zero byte, and the 32 key bytes.
/// Source: docs/protocol.md §5.
pub fn relay_pin(key: &[u8; 32]) -> [u8; 16] {
    let digest: [u8; 32] = Sha256::new().chain_update(RELAY_PIN_LABEL).chain_update(key).finalize().into();
    let mut pin = [0; 16];
    pin.copy_from_slice(&digest[..16]);
    pin
}

/// Names a relay by its key: 16 bytes, see [`relay_pin`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayPin(pub [u8; 16]);

impl fmt::Debug for RelayPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelayPin({self})")
    }
}

/// Lower-case hexadecimal, 32 characters; the form that people type belongs to the address codec.
impl fmt::Display for RelayPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The Ed25519 public key of the other end, as proved in the TLS handshake: 32 bytes, never a small-order point.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerKey([u8; 32]);

/// Says why 32 bytes are no usable public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The bytes encode no curve point, or a small-order one under which anybody can sign.
    #[error("not a usable Ed25519 public key")]
    NotAKey,
    /// The structure around the key is not the one of an Ed25519 raw public key.
    #[error("not an Ed25519 raw public key: {got} bytes")]
    NotEd25519 {
        /// Length of what came.
        got: usize,
    },
}

impl PeerKey {
    /// Checks 32 bytes and takes them as a key.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, KeyError> {
        match VerifyingKey::from_bytes(&bytes) {
            Ok(key) if !key.is_weak() => Ok(Self(bytes)),
            Ok(_) | Err(_) => Err(KeyError::NotAKey),
        }
    }

    /// The 32 bytes of the key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The pin of the relay that has this key; see [`relay_pin`].
    pub fn pin(&self) -> RelayPin {
        RelayPin(relay_pin(&self.0))
    }
}

/// Prints the first four bytes only: enough to tell peers apart in a log.
impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "PeerKey({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// A device's or relay's secret transport key: Ed25519, zeroized when the last clone is dropped.
#[derive(Clone)]
pub struct TransportKey(Arc<SigningKey>);

impl TransportKey {
    /// Makes the key of a 32-byte seed; the caller wipes its own copy.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Arc::new(SigningKey::from_bytes(seed)))
    }

    /// The public half, which the other end will see.
    pub fn public(&self) -> PeerKey {
        PeerKey(self.0.verifying_key().to_bytes())
    }

    pub(crate) fn signing_key(&self) -> &SigningKey {
        &self.0
    }
}

impl fmt::Debug for TransportKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransportKey(secret of {:?})", self.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let text = format!("{:?}", TransportKey::from_seed(&[7; 32]));
        assert!(text.starts_with("TransportKey(secret of PeerKey("), "{text}");
        assert!(!text.contains("0707"), "{text}");
    }

    #[test]
    fn small_order_points_are_no_keys() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(PeerKey::from_bytes(identity), Err(KeyError::NotAKey));
        assert_eq!(PeerKey::from_bytes([0; 32]), Err(KeyError::NotAKey));
    }

    #[test]
    fn pin_is_fixed() {
        // SHA-256("penpal/v1/relay-pin\0" | 32 × 0x2a)[..16], computed with sha256sum.
        assert_eq!(RelayPin(relay_pin(&[0x2a; 32])).to_string(), "5951ce26e6a05ffd3a0f2f2342740348");
    }
}
