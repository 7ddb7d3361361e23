//! QUIC endpoint settings that both sides share: connection ids and keys that survive a restart.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::{hkdf, hmac};
use quinn::crypto::HandshakeTokenKey;
use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};
use quinn_proto::InvalidCid;

/// Least time between two stateless resets, in the whole endpoint.
///
/// After a restart 10 000 clients run into it within one keep-alive: 1 000 resets a second let all of them know in
/// 20 s. A reset is smaller than what caused it, so it amplifies nothing.
const RESET_INTERVAL: std::time::Duration = std::time::Duration::from_millis(1);

/// Length of our connection ids: half nonce, half tag.
const CID_BYTES: usize = 8;
const CID_NONCE_BYTES: usize = 4;

/// Failure of the operating system's random source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoRandomness;

/// Fills an array from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// Builds the endpoint settings from the reset key; a seed makes everything the endpoint draws repeatable.
pub(crate) fn config(
    reset_key: &[u8; 64],
    rng_seed: Option<[u8; 32]>,
) -> Result<EndpointConfig, NoRandomness> {
    let instance: [u8; 32] = match rng_seed {
        Some(seed) => seed,
        None => random()?,
    };
    let tags = derive(reset_key, b"penpal/v1/cid-tag\0");
    let nonces = derive(&instance, b"penpal/v1/cid-nonce\0");
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, reset_key)));
    config
        .rng_seed(rng_seed)
        .min_reset_interval(RESET_INTERVAL)
        .cid_generator(move || Box::new(KeyedIds { tags: tags.clone(), nonces: nonces.clone(), counter: 0 }));
    Ok(config)
}

/// The key under which a server seals Retry tokens.
pub(crate) fn token_key(key: &[u8; 64]) -> Arc<dyn HandshakeTokenKey> {
    Arc::new(hkdf::Salt::new(hkdf::HKDF_SHA256, b"penpal/v1/quic-token\0").extract(key))
}

fn derive(key: &[u8], label: &[u8]) -> hmac::Key {
    let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), label);
    hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref())
}

/// Connection ids that this relay recognises as its own, even those of an earlier run.
///
/// `nonce 4 | tag 4`, the tag under a persisted key: a packet for an unknown id with a right tag belongs to a
/// connection from before the restart and is answered with a stateless reset at once; noise is dropped unanswered.
struct KeyedIds {
    tags: hmac::Key,
    nonces: hmac::Key,
    counter: u64,
}

impl KeyedIds {
    fn tag(&self, nonce: &[u8]) -> [u8; CID_BYTES - CID_NONCE_BYTES] {
        let mac = hmac::sign(&self.tags, nonce);
        let mut tag = [0; CID_BYTES - CID_NONCE_BYTES];
        tag.copy_from_slice(&mac.as_ref()[..CID_BYTES - CID_NONCE_BYTES]);
        tag
    }
}

impl ConnectionIdGenerator for KeyedIds {
    fn generate_cid(&mut self) -> ConnectionId {
        // Out of a keyed function, not a counter in clear: ids must not tell an observer what belongs together.
        self.counter = self.counter.wrapping_add(1);
        let stream = hmac::sign(&self.nonces, &self.counter.to_be_bytes());
        let mut id = [0; CID_BYTES];
        let (nonce, tag) = id.split_at_mut(CID_NONCE_BYTES);
        nonce.copy_from_slice(&stream.as_ref()[..CID_NONCE_BYTES]);
        tag.copy_from_slice(&self.tag(nonce));
        ConnectionId::new(&id)
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        match id.split_at_checked(CID_NONCE_BYTES) {
            Some((nonce, tag)) if tag == self.tag(nonce) => Ok(()),
            Some(_) | None => Err(InvalidCid),
        }
    }

    fn cid_len(&self) -> usize {
        CID_BYTES
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

impl fmt::Debug for KeyedIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedIds").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(key: &[u8; 64], instance: &[u8]) -> KeyedIds {
        KeyedIds { tags: derive(key, b"penpal/v1/cid-tag\0"), nonces: derive(instance, b"x"), counter: 0 }
    }

    #[test]
    fn ids_are_recognised_after_a_restart_and_nobody_elses_are() {
        let mut before = ids(&[1; 64], b"run 1");
        let after = ids(&[1; 64], b"run 2");
        let stranger = ids(&[2; 64], b"run 1");
        for _ in 0..100 {
            let id = before.generate_cid();
            assert!(after.validate(&id).is_ok());
            assert!(stranger.validate(&id).is_err());
        }
    }
}
