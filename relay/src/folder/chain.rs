//! Changing the relay's key: the new one, and the signed steps that lead to it.

use std::fs;
use std::io;
use std::path::Path;

use penpal_transport::chain::{UPDATE_BYTES, keys_of, sign_update};
use penpal_transport::{PeerKey, TransportKey};
use zeroize::Zeroizing;

use super::files::replace;
use super::keys::{KeysError, RELAY_KEY, io_error};

/// The steps, as they are told to clients.
pub(super) const RELAY_CHAIN: &str = "relay.chain";

/// The chain that leads to the present key; empty for a relay that never changed it.
///
/// A last step to a key that never came to be, because the process ended in between, is left out.
pub(super) fn read(dir: &Path, present: &PeerKey) -> Result<Vec<u8>, KeysError> {
    let path = dir.join(RELAY_CHAIN);
    let mut chain = match fs::read(&path) {
        Ok(chain) => chain,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(KeysError::Io { action: "read", path, source }),
    };
    check(&mut chain, present).map_err(|detail| KeysError::Malformed { path, detail })?;
    Ok(chain)
}

/// Whether a chain leads to this key, without a step that was not finished.
pub(super) fn check(chain: &mut Vec<u8>, present: &PeerKey) -> Result<(), String> {
    let keys = keys_of(chain).map_err(|error| error.to_string())?;
    match keys.as_slice() {
        [] => Ok(()),
        [.., last] if last == present => Ok(()),
        [.., before, _] if before == present => {
            chain.truncate(chain.len() - UPDATE_BYTES);
            Ok(())
        }
        _ => Err("it does not lead to the present key".to_owned()),
    }
}

/// Makes a new key and signs the step to it with the present one, which is gone afterwards. Gives the new key.
pub(super) fn rotate(dir: &Path, present: &TransportKey) -> Result<PeerKey, KeysError> {
    let mut chain = read(dir, &present.public())?;
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice()).map_err(|_| KeysError::Random)?;
    let new = TransportKey::from_seed(&seed).public();
    chain.extend_from_slice(&sign_update(present, &new));
    // The step first: a key without it would be another relay to everybody.
    let path = dir.join(RELAY_CHAIN);
    keys_of(&chain)
        .map_err(|error| KeysError::Malformed { path: path.clone(), detail: error.to_string() })?;
    replace(&path, &chain).map_err(io_error("write", &path))?;
    let path = dir.join(RELAY_KEY);
    replace(&path, seed.as_slice()).map_err(io_error("write", &path))?;
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Keys;

    #[test]
    fn a_step_that_was_not_finished_is_as_if_it_had_not_begun() {
        let dir = tempfile::tempdir().unwrap();
        let first = Keys::open(dir.path(), false).unwrap().relay;
        let seed = fs::read(dir.path().join(RELAY_KEY)).unwrap();
        let second = Keys::rotate(dir.path()).unwrap();
        assert_ne!(second, first.public());
        let keys = Keys::open(dir.path(), true).unwrap();
        assert_eq!((keys.relay.public(), keys.chain.len()), (second, UPDATE_BYTES));
        // The process ended before the key was replaced.
        fs::write(dir.path().join(RELAY_KEY), &seed).unwrap();
        let keys = Keys::open(dir.path(), true).unwrap();
        assert_eq!((keys.relay.public(), keys.chain.len()), (first.public(), 0));
        let third = Keys::rotate(dir.path()).unwrap();
        let keys = Keys::open(dir.path(), true).unwrap();
        assert_eq!((keys.relay.public(), keys.chain.len()), (third, UPDATE_BYTES));
        Keys::rotate(dir.path()).unwrap();
        assert_eq!(Keys::open(dir.path(), true).unwrap().chain.len(), 2 * UPDATE_BYTES);
        // A copy of the keys holds it.
        let copy = Keys::export(dir.path()).unwrap();
        let other = tempfile::tempdir().unwrap();
        assert!(Keys::import(other.path(), &copy).unwrap());
        assert_eq!(Keys::open(other.path(), true).unwrap().chain.len(), 2 * UPDATE_BYTES);
        // With an old key in place of the present one, two steps back, nothing is guessed.
        fs::write(dir.path().join(RELAY_KEY), &seed).unwrap();
        assert!(matches!(Keys::open(dir.path(), true), Err(KeysError::Malformed { .. })));
    }
}
