//! Ed25519 raw public keys in rustls' terms.
//!
//! Signing stays in ed25519-dalek, so the secret is held once, in memory that is wiped, and never encoded.

use std::sync::Arc;

use ed25519_dalek::Signer as _;
use rustls::client::{AlwaysResolvesClientRawPublicKeys, ResolvesClientCert};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};

use crate::key::{KeyError, PeerKey, TransportKey};

/// What precedes the 32 key bytes in an Ed25519 `SubjectPublicKeyInfo` (RFC 8410 §4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

fn spki(key: PeerKey) -> Vec<u8> {
    [SPKI_PREFIX.as_slice(), key.as_bytes()].concat()
}

/// Takes the key out of what TLS calls a certificate and, with raw public keys, is a `SubjectPublicKeyInfo`.
pub(crate) fn peer_key_of(certificate: &CertificateDer<'_>) -> Result<PeerKey, KeyError> {
    let bytes: &[u8] = certificate.as_ref();
    match bytes.strip_prefix(SPKI_PREFIX.as_slice()).map(<[u8; 32]>::try_from) {
        Some(Ok(key)) => PeerKey::from_bytes(key),
        Some(Err(_)) | None => Err(KeyError::NotEd25519 { got: bytes.len() }),
    }
}

pub(super) fn server_identity(key: &TransportKey) -> Arc<dyn ResolvesServerCert> {
    Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified(key)))
}

pub(super) fn client_identity(key: &TransportKey) -> Arc<dyn ResolvesClientCert> {
    Arc::new(AlwaysResolvesClientRawPublicKeys::new(certified(key)))
}

fn certified(key: &TransportKey) -> Arc<CertifiedKey> {
    let certificate = CertificateDer::from(spki(key.public()));
    Arc::new(CertifiedKey::new(vec![certificate], Arc::new(Ed25519Key(key.clone()))))
}

/// Our transport key as rustls wants it.
#[derive(Debug, Clone)]
struct Ed25519Key(TransportKey);

impl SigningKey for Ed25519Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ED25519).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(spki(self.0.public())))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for Ed25519Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(self.0.signing_key().sign(message).to_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_survives_its_spki_form() {
        let key = TransportKey::from_seed(&[3; 32]).public();
        assert_eq!(peer_key_of(&CertificateDer::from(spki(key))), Ok(key));
    }

    #[test]
    fn everything_else_is_refused() {
        let good = spki(TransportKey::from_seed(&[3; 32]).public());
        for length in 0..good.len() {
            let cut = CertificateDer::from(good[..length].to_vec());
            assert_eq!(peer_key_of(&cut), Err(KeyError::NotEd25519 { got: length }));
        }
        let long = CertificateDer::from([good.as_slice(), &[0]].concat());
        assert_eq!(peer_key_of(&long), Err(KeyError::NotEd25519 { got: 45 }));
        for index in 0..SPKI_PREFIX.len() {
            let mut other = good.clone();
            other[index] ^= 1;
            assert!(peer_key_of(&CertificateDer::from(other)).is_err(), "byte {index}");
        }
    }
}
