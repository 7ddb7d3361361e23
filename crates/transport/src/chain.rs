//! The chain of a relay's keys: each signed by the one before, so that whoever pinned an old one can follow.
//!
//! ```text
//! update = old key 32 | new key 32 | signature 64        by the old key, over "penpal/v1/relay-key" 0 | old | new
//! chain  = update …                                      oldest first, each beginning where the one before ends
//! ```
//!
//! A relay keeps its chain for ever and gives it to whoever asks. Source: docs/protocol.md §5.

use ed25519_dalek::{Signature, Signer, VerifyingKey};

use crate::key::{PeerKey, RelayPin, TransportKey};

/// Bytes of one update.
pub const UPDATE_BYTES: usize = 128;

/// Most updates in a chain: one a month for twenty years.
pub const MAX_UPDATES: usize = 256;

const LABEL: &[u8] = b"penpal/v1/relay-key\0";

/// A chain cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// Not a whole number of updates, or too many.
    #[error("a chain of {bytes} bytes")]
    Length {
        /// What came.
        bytes: usize,
    },
    /// An update is not signed by its old key.
    #[error("update {at} is not signed by the key before it")]
    Signature {
        /// Counted from 1.
        at: usize,
    },
    /// An update does not begin where the one before it ends.
    #[error("update {at} does not follow the one before it")]
    Broken {
        /// Counted from 1.
        at: usize,
    },
    /// It does not lead from the pinned key to the one that was shown.
    #[error("the chain does not lead from the pinned key to this one")]
    Elsewhere,
}

/// Signs the step from one key to the next.
#[must_use]
pub fn sign_update(old: &TransportKey, new: &PeerKey) -> [u8; UPDATE_BYTES] {
    let mut update = [0; UPDATE_BYTES];
    update[..32].copy_from_slice(old.public().as_bytes());
    update[32..64].copy_from_slice(new.as_bytes());
    let signature = old.signing_key().sign(&signed(&update[..64]));
    update[64..].copy_from_slice(&signature.to_bytes());
    update
}

/// Checks a chain as a whole; gives its keys, oldest first. An empty chain has none.
///
/// # Errors
/// [`ChainError`]: one bad update spoils all of it.
pub fn keys_of(chain: &[u8]) -> Result<Vec<PeerKey>, ChainError> {
    let (updates, rest) = chain.as_chunks::<UPDATE_BYTES>();
    if !rest.is_empty() || updates.len() > MAX_UPDATES {
        return Err(ChainError::Length { bytes: chain.len() });
    }
    let mut keys: Vec<PeerKey> = Vec::new();
    for (place, update) in updates.iter().enumerate() {
        let at = place + 1;
        let [old, new] = [&update[..32], &update[32..64]].map(|bytes| {
            let mut key = [0; 32];
            key.copy_from_slice(bytes);
            PeerKey::from_bytes(key)
        });
        let (Ok(old), Ok(new)) = (old, new) else { return Err(ChainError::Signature { at }) };
        if keys.last().is_some_and(|last| *last != old) {
            return Err(ChainError::Broken { at });
        }
        let signature = Signature::from_slice(&update[64..]);
        let signer = VerifyingKey::from_bytes(old.as_bytes());
        match (signer, signature) {
            (Ok(signer), Ok(signature))
                if signer.verify_strict(&signed(&update[..64]), &signature).is_ok() => {}
            _ => return Err(ChainError::Signature { at }),
        }
        if keys.is_empty() {
            keys.push(old);
        }
        keys.push(new);
    }
    Ok(keys)
}

/// Whether a chain leads forward from one pinned key to another: `from` stands in it before `to`, which is its end.
///
/// # Errors
/// [`ChainError`].
pub fn follow(chain: &[u8], from: RelayPin, to: RelayPin) -> Result<(), ChainError> {
    let keys = keys_of(chain)?;
    let Some((last, before)) = keys.split_last() else { return Err(ChainError::Elsewhere) };
    if last.pin() == to && from != to && before.iter().any(|key| key.pin() == from) {
        return Ok(());
    }
    Err(ChainError::Elsewhere)
}

fn signed(keys: &[u8]) -> Vec<u8> {
    [LABEL, keys].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> TransportKey {
        TransportKey::from_seed(&[seed; 32])
    }

    fn pin(seed: u8) -> RelayPin {
        key(seed).public().pin()
    }

    fn chain(seeds: &[u8]) -> Vec<u8> {
        seeds.windows(2).flat_map(|pair| sign_update(&key(pair[0]), &key(pair[1]).public())).collect()
    }

    #[test]
    fn a_chain_is_followed_from_any_of_its_keys_to_its_end() {
        let chain = chain(&[1, 2, 3]);
        for from in [1, 2] {
            assert_eq!(follow(&chain, pin(from), pin(3)), Ok(()));
        }
        // Neither backwards, nor to a key that was given up, nor from or to others, nor on the spot.
        for (from, to) in [(3, 1), (1, 2), (4, 3), (1, 4), (3, 3)] {
            assert_eq!(follow(&chain, pin(from), pin(to)), Err(ChainError::Elsewhere), "{from} {to}");
        }
        assert_eq!(follow(&[], pin(1), pin(2)), Err(ChainError::Elsewhere));
    }

    #[test]
    fn any_changed_byte_spoils_it() {
        let good = chain(&[1, 2, 3]);
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            assert!(follow(&bad, pin(1), pin(3)).is_err(), "{place}");
        }
        assert_eq!(keys_of(&good[..200]), Err(ChainError::Length { bytes: 200 }));
        let gap = [chain(&[1, 2]), chain(&[3, 4])].concat();
        assert_eq!(keys_of(&gap), Err(ChainError::Broken { at: 2 }));
        // Signed by somebody else.
        let mut forged = sign_update(&key(9), &key(3).public());
        forged[..32].copy_from_slice(key(1).public().as_bytes());
        assert_eq!(keys_of(&forged), Err(ChainError::Signature { at: 1 }));
        let long = sign_update(&key(1), &key(1).public()).repeat(MAX_UPDATES + 1);
        assert_eq!(keys_of(&long), Err(ChainError::Length { bytes: long.len() }));
    }

    #[test]
    fn an_update_is_fixed() {
        let update = sign_update(&key(1), &key(2).public());
        // SHA-256 of the update; Ed25519 signatures are deterministic.
        let hash = <sha2::Sha256 as sha2::Digest>::digest(update);
        let text: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, "1cfa44e6dd5931b0");
    }
}
