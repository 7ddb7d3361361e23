//! What a relay keeps of an account for the day on which its machines are gone.
//!
//! ```text
//! padded = state, 0x80 and zeros, to the next power of two from 16 KiB on
//! part n of p = AEAD(HKDF(R, state id, "state" | n 1 | p 1), nonce 0, no aad, 32 KiB of padded)
//! ```
//! The state id is random and fresh for every write, so each key seals once. Only a state of 16 KiB has a shorter part. Source:
//! `docs/protocol.md` §7.

use penpal_protocol::{
    cbor::Blob,
    ids::StateId,
    limits::{MAX_ACCOUNT_STATE_BYTES, MAX_STATE_PART_BYTES, MAX_STATE_PARTS, STATE_CHUNK_BYTES},
    sealed::AccountState,
};
use zeroize::Zeroizing;

use crate::{
    keys::RootKey,
    labels::KeyLabel,
    primitives::{Derived, derive, open_once, pad, seal_once, unpad},
};

/// Shortest padded state, in bytes.
const MIN_PADDED_BYTES: usize = 16 * 1024;

/// One part as it is sent.
pub type StateBlob = Blob<MAX_STATE_PART_BYTES>;

/// A state cannot be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// It is longer than a relay takes.
    #[error(
        "the account state has {got} bytes, at most {MAX_ACCOUNT_STATE_BYTES} can be kept with its padding"
    )]
    TooLong {
        /// Its length.
        got: usize,
    },
    /// Another account's, another version's parts among them, or altered.
    #[error("the account state does not open")]
    Forged,
    /// It opens and is none: whoever sealed it did not follow the rules, or is newer.
    #[error("the account state is malformed")]
    Malformed,
}

fn key(root: &RootKey, state: &StateId, part: u8, parts: u8) -> Derived<32> {
    derive(root.expose_seed(), state.as_bytes(), KeyLabel::State, &[&[part, parts]])
}

/// Seals the encoded state. `state` must be fresh from the operating system for every call.
///
/// # Errors
/// [`StateError::TooLong`].
pub fn seal_state(root: &RootKey, state: &StateId, encoded: &[u8]) -> Result<Vec<StateBlob>, StateError> {
    let too_long = StateError::TooLong { got: encoded.len() };
    let padded_bytes = encoded.len().saturating_add(1).next_power_of_two().max(MIN_PADDED_BYTES);
    if padded_bytes > MAX_ACCOUNT_STATE_BYTES {
        return Err(too_long);
    }
    let padded = Zeroizing::new(pad(encoded.to_vec(), padded_bytes).ok_or(too_long)?);
    let chunks: Vec<_> = padded.chunks(STATE_CHUNK_BYTES).collect();
    let parts = u8::try_from(chunks.len()).map_err(|_| too_long)?;
    let seal = |(part, chunk): (u8, &&[u8])| seal_once(key(root, state, part, parts), &[], chunk);
    let sealed = (0..parts).zip(&chunks).map(seal).map(|sealed| Blob::new(sealed).map_err(|_| too_long));
    sealed.collect()
}

/// Opens all parts of a state.
///
/// # Errors
/// [`StateError`].
pub fn open_state(root: &RootKey, state: &StateId, sealed: &[StateBlob]) -> Result<AccountState, StateError> {
    let parts = u8::try_from(sealed.len()).map_err(|_| StateError::Forged)?;
    if parts > MAX_STATE_PARTS {
        return Err(StateError::Forged);
    }
    let mut padded = Zeroizing::new(Vec::with_capacity(sealed.len().saturating_mul(STATE_CHUNK_BYTES)));
    for (part, sealed) in (0..parts).zip(sealed) {
        let opened = open_once(key(root, state, part, parts), &[], sealed).map(Zeroizing::new);
        padded.extend_from_slice(&opened.ok_or(StateError::Forged)?);
    }
    let encoded = unpad(&padded).ok_or(StateError::Malformed)?;
    AccountState::decode(encoded).map_err(|_| StateError::Malformed)
}

#[cfg(test)]
mod tests {
    use penpal_protocol::{
        cbor::List,
        ids::{Capability, DeviceId, EdgeId, Fingerprint, ProfileKey, SharedKey},
        limits::MAX_KEPT_ENTRIES,
        sealed::{AmongDevices, ContactEntry, Stamp},
    };

    use super::*;

    const ID: StateId = StateId::from_bytes([7; 16]);

    fn root() -> RootKey {
        RootKey::from_seed(&[1; 32])
    }

    /// A state with so many removals, which have the least to say.
    fn state(entries: usize) -> AccountState {
        let stamp = Stamp { counter: 1 << 40, device: DeviceId::from_bytes([2; 16]) };
        let entry = ContactEntry { contact: Fingerprint::from_bytes([3; 16]), stamp, card: None };
        AccountState {
            manifest: Blob::new(vec![4; 600]).unwrap(),
            profile_key: ProfileKey::from_bytes([5; 32]),
            counter: 9,
            among: Some(AmongDevices {
                edge: EdgeId::from_bytes([6; 16]),
                cap: Capability::from_bytes([7; 32]),
                pair: SharedKey::from_bytes([8; 32]),
            }),
            contacts: List::<_, MAX_KEPT_ENTRIES>::new(vec![entry; entries]).unwrap(),
        }
    }

    #[test]
    fn a_state_opens_again_and_its_length_tells_little() {
        let mut lengths = Vec::new();
        for entries in [0, 1, 100, 400, 1000, 3000] {
            let sealed = seal_state(&root(), &ID, &state(entries).encode()).unwrap();
            assert_eq!(open_state(&root(), &ID, &sealed), Ok(state(entries)));
            lengths.push(sealed.iter().map(|part| part.len()).collect::<Vec<_>>());
        }
        let tag = 16;
        assert_eq!(lengths[..3], [vec![16 * 1024 + tag], vec![16 * 1024 + tag], vec![16 * 1024 + tag]]);
        assert_eq!(lengths[3], [32 * 1024 + tag]);
        assert_eq!(lengths[4], [32 * 1024 + tag; 2]);
        assert_eq!(lengths[5], [32 * 1024 + tag; 8]);
    }

    #[test]
    fn nothing_else_opens() {
        let sealed = seal_state(&root(), &ID, &state(1000).encode()).unwrap();
        let open = |sealed: &[StateBlob]| open_state(&root(), &ID, sealed);
        let other = seal_state(&root(), &StateId::from_bytes([8; 16]), &state(1000).encode()).unwrap();
        let mut flipped = sealed[1].to_vec();
        flipped[100] ^= 1;
        for wrong in [
            vec![],
            vec![sealed[0].clone()],
            vec![sealed[1].clone(), sealed[0].clone()],
            vec![sealed[0].clone(), other[1].clone()],
            vec![sealed[0].clone(), Blob::new(flipped).unwrap()],
            vec![sealed[0].clone(), sealed[1].clone(), sealed[1].clone()],
        ] {
            assert!(open(&wrong).is_err());
        }
        assert_eq!(open_state(&RootKey::from_seed(&[2; 32]), &ID, &sealed), Err(StateError::Forged));
        assert_eq!(open_state(&root(), &StateId::from_bytes([8; 16]), &sealed), Err(StateError::Forged));
    }

    #[test]
    fn what_is_longer_than_a_relay_takes_is_not_sealed() {
        let most = MAX_ACCOUNT_STATE_BYTES - 1;
        let sealed = seal_state(&root(), &ID, &vec![0; most]).unwrap();
        assert_eq!(sealed.len(), usize::from(MAX_STATE_PARTS));
        assert_eq!(
            open_state(&root(), &ID, &sealed),
            Err(StateError::Malformed),
            "it opens, and is no state"
        );
        assert_eq!(seal_state(&root(), &ID, &vec![0; most + 1]), Err(StateError::TooLong { got: most + 1 }));
        let garbage = seal_state(&root(), &ID, &[0xff; 100]).unwrap();
        assert_eq!(open_state(&root(), &ID, &garbage), Err(StateError::Malformed));
    }

    /// Another implementation has to come to these bytes.
    #[test]
    fn is_sealed_like_this() {
        let sealed = seal_state(&root(), &ID, b"state").unwrap();
        let hash = penpal_protocol::hash::labelled("content", &[&sealed[0]]);
        assert_eq!((sealed.len(), sealed[0].len()), (1, 16 * 1024 + 16));
        assert_eq!(hex::encode(&sealed[0][..16]), "3f665c494e2b932f7b2aa59dee522339");
        assert_eq!(hex::encode(&hash[..8]), "5ef35d7fa8f52fe3");
    }
}
