//! The keys folder: who this relay is, and what a thief of its data must not have.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use penpal_protocol::text::base32;
use penpal_relay_core::{Config, GraphKey};
use penpal_store::{LogPosition, Store};
use penpal_transport::Offload;
use penpal_transport::clock::SystemClock;
use penpal_transport::{ServerSecrets, TransportKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::chain::{self, RELAY_CHAIN};
use super::files::{create_private_dir, replace};
use crate::engine::{Mark, Parts};

pub(super) const RELAY_KEY: &str = "relay.key";
const GRAPH_KEY: &str = "graph.key";
const QUIC_KEY: &str = "quic.key";
const LOG_MARK: &str = "log.mark";
const CACHE_TAG: &str = "CACHEDIR.TAG";

/// First line by which backup programs know a folder that they should leave out, and our reason.
const CACHE_TAG_TEXT: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# Keys of a penpal relay. They belong into the relay's own key backup, apart from its data.\n";

/// The keys folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// There is data, but not the keys it was written with.
    #[error("{path} is missing, and the data folder is in use already")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Others may read a key.
    #[error("{path} can be read by other users (mode {mode:03o})")]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file is not what it should be.
    #[error("{path} has {got} bytes, {expected} are expected")]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes found.
        got: usize,
        /// Bytes that belong there.
        expected: usize,
    },
    /// A file of keys is not what we write.
    #[error("{path} is not usable: {detail}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// No random bytes from the system.
    #[error("the system gives no random bytes")]
    Random,
    /// The system said no.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl KeysError {
    /// Whether there was no room on the disk.
    pub(crate) fn is_full(&self) -> bool {
        let full = |kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        matches!(self, Self::Io { source, .. } if full(source.kind()))
    }
}

/// Everything in the keys folder.
#[derive(Debug)]
pub(crate) struct Keys {
    dir: PathBuf,
    pub(crate) relay: TransportKey,
    /// The signed steps from its first key to the present one.
    pub(crate) chain: Vec<u8>,
    pub(crate) graph: GraphKey,
    pub(crate) quic: ServerSecrets,
}

impl Keys {
    /// Reads the keys. Makes missing ones only while there is no data that could have been written under lost ones.
    pub(crate) fn open(dir: &Path, data_in_use: bool) -> Result<Self, KeysError> {
        if !data_in_use {
            create_private_dir(dir).map_err(io_error("create", dir))?;
            let tag = dir.join(CACHE_TAG);
            if !tag.exists() {
                replace(&tag, CACHE_TAG_TEXT.as_bytes()).map_err(io_error("write", &tag))?;
            }
        }
        let relay = Self::key::<32>(dir, RELAY_KEY, data_in_use)?;
        let graph = Self::key::<32>(dir, GRAPH_KEY, data_in_use)?;
        let quic = Self::key::<128>(dir, QUIC_KEY, data_in_use)?;
        let (mut reset, mut token) = (Zeroizing::new([0; 64]), Zeroizing::new([0; 64]));
        reset.copy_from_slice(&quic[..64]);
        token.copy_from_slice(&quic[64..]);
        let relay = TransportKey::from_seed(&relay);
        Ok(Self {
            dir: dir.to_owned(),
            chain: chain::read(dir, &relay.public())?,
            relay,
            graph: GraphKey::from_bytes(*graph),
            quic: ServerSecrets::new(*reset, *token),
        })
    }

    /// Reads the relay's public identity only.
    pub(crate) fn identity(dir: &Path) -> Result<TransportKey, KeysError> {
        Ok(TransportKey::from_seed(&*Self::key::<32>(dir, RELAY_KEY, true)?))
    }

    /// Gives the relay another key, and those who know it by the present one a way to follow.
    pub(crate) fn rotate(dir: &Path) -> Result<penpal_transport::PeerKey, KeysError> {
        chain::rotate(dir, &Self::identity(dir)?)
    }

    /// Notes how far the log goes, or is to be taken to have gone.
    pub(crate) fn set_mark(dir: &Path, mark: LogPosition) -> Result<(), KeysError> {
        let path = dir.join(LOG_MARK);
        replace(&path, &mark.to_bytes()).map_err(io_error("write", &path))
    }

    /// All keys, for a copy that is kept elsewhere.
    pub(crate) fn export(dir: &Path) -> Result<KeyCopy, KeysError> {
        let key = |name: &str, bytes: &[u8]| (name.to_owned(), base32::encode(bytes));
        let mut keys = BTreeMap::new();
        keys.extend([key(RELAY_KEY, Self::key::<32>(dir, RELAY_KEY, true)?.as_slice())]);
        keys.extend([key(GRAPH_KEY, Self::key::<32>(dir, GRAPH_KEY, true)?.as_slice())]);
        keys.extend([key(QUIC_KEY, Self::key::<128>(dir, QUIC_KEY, true)?.as_slice())]);
        let chain = chain::read(dir, &Self::identity(dir)?.public())?;
        if !chain.is_empty() {
            keys.extend([key(RELAY_CHAIN, &chain)]);
        }
        Ok(KeyCopy { v: 1, keys })
    }

    /// Puts keys into a folder without any; one with the same keys stays as it is. `false`: it holds others.
    pub(crate) fn import(dir: &Path, copy: &KeyCopy) -> Result<bool, KeysError> {
        if dir.join(RELAY_KEY).exists() {
            let there = Self::export(dir)?;
            let same = |name: &str| there.keys.get(name) == copy.keys.get(name);
            return Ok(same(RELAY_KEY) && same(GRAPH_KEY));
        }
        create_private_dir(dir).map_err(io_error("create", dir))?;
        let tag = dir.join(CACHE_TAG);
        replace(&tag, CACHE_TAG_TEXT.as_bytes()).map_err(io_error("write", &tag))?;
        let chain = copy.keys.contains_key(RELAY_CHAIN).then_some(RELAY_CHAIN);
        for name in chain.into_iter().chain([GRAPH_KEY, QUIC_KEY, RELAY_KEY]) {
            let path = dir.join(name);
            replace(&path, &copy.bytes(name)?).map_err(io_error("write", &path))?;
        }
        Ok(true)
    }

    fn key<const N: usize>(
        dir: &Path,
        name: &str,
        must_exist: bool,
    ) -> Result<Zeroizing<[u8; N]>, KeysError> {
        let path = dir.join(name);
        let mut key = Zeroizing::new([0; N]);
        match fs::read(&path).map(Zeroizing::new) {
            Ok(bytes) => {
                check_mode(&path)?;
                if bytes.len() != N {
                    return Err(KeysError::Length { path, got: bytes.len(), expected: N });
                }
                key.copy_from_slice(&bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => {
                getrandom::fill(key.as_mut_slice()).map_err(|_| KeysError::Random)?;
                replace(&path, key.as_slice()).map_err(io_error("write", &path))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(KeysError::Missing { path }),
            Err(source) => return Err(KeysError::Io { action: "read", path, source }),
        }
        Ok(key)
    }

    /// What an engine stands on, with the system's clocks and generator.
    pub(crate) fn into_parts(self, config: Config, store: Box<dyn Store>, blobs: PathBuf) -> Parts {
        Parts {
            config,
            store,
            blobs,
            offload: Offload::Threads,
            graph: self.graph,
            mark: Box::new(MarkFile(self.dir.join(LOG_MARK))),
            clock: Arc::new(SystemClock),
            rng: Box::new(rand_core::UnwrapErr(getrandom::SysRng)),
        }
    }
}

/// The file `log.mark`.
#[derive(Debug)]
struct MarkFile(PathBuf);

impl Mark for MarkFile {
    fn read(&self) -> Result<Option<LogPosition>, KeysError> {
        let path = &self.0;
        match fs::read(path) {
            Ok(bytes) => match <[u8; 16]>::try_from(bytes.as_slice()) {
                Ok(bytes) => Ok(Some(LogPosition::from_bytes(bytes))),
                Err(_) => Err(KeysError::Length { path: path.clone(), got: bytes.len(), expected: 16 }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(KeysError::Io { action: "read", path: path.clone(), source }),
        }
    }

    fn write(&mut self, mark: LogPosition) -> Result<(), KeysError> {
        replace(&self.0, &mark.to_bytes()).map_err(io_error("write", &self.0))
    }
}

/// The keys in one file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyCopy {
    v: u32,
    keys: BTreeMap<String, String>,
}

impl std::fmt::Debug for KeyCopy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyCopy").finish_non_exhaustive()
    }
}

impl Drop for KeyCopy {
    fn drop(&mut self) {
        self.keys.values_mut().for_each(zeroize::Zeroize::zeroize);
    }
}

impl KeyCopy {
    /// Reads such a file.
    pub(crate) fn read(path: &Path) -> Result<Self, KeysError> {
        let bytes = fs::read(path).map(Zeroizing::new).map_err(io_error("read", path))?;
        check_mode(path)?;
        let malformed = |detail: String| KeysError::Malformed { path: path.to_owned(), detail };
        let copy: Self = serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
        if copy.v != 1 {
            return Err(malformed(format!("version {}, this version reads 1", copy.v)));
        }
        for (name, length) in [(RELAY_KEY, 32), (GRAPH_KEY, 32), (QUIC_KEY, 128)] {
            let got = copy.bytes(name)?.len();
            if got != length {
                return Err(malformed(format!("{name} has {got} bytes, {length} are expected")));
            }
        }
        if copy.keys.contains_key(RELAY_CHAIN) {
            let mut chain = copy.bytes(RELAY_CHAIN)?.to_vec();
            chain::check(&mut chain, &copy.public()).map_err(malformed)?;
        }
        Ok(copy)
    }

    /// As it is written.
    pub(crate) fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(serde_json::to_string(self).unwrap_or_default())
    }

    /// The relay's public key.
    pub(crate) fn public(&self) -> penpal_transport::PeerKey {
        let mut seed = Zeroizing::new([0; 32]);
        // Checked when it was read.
        if let Ok(bytes) = self.bytes(RELAY_KEY)
            && bytes.len() == seed.len()
        {
            seed.copy_from_slice(&bytes);
        }
        TransportKey::from_seed(&seed).public()
    }

    fn bytes(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, KeysError> {
        let missing = || KeysError::Malformed { path: name.into(), detail: "not in the file".to_owned() };
        let text = self.keys.get(name).ok_or_else(missing)?;
        base32::decode(text).map(Zeroizing::new).ok_or_else(missing)
    }
}

fn check_mode(path: &Path) -> Result<(), KeysError> {
    let mode = fs::metadata(path).map_err(io_error("look at", path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeysError::Open { path: path.to_owned(), mode });
    }
    Ok(())
}

pub(super) fn io_error<'p>(action: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> KeysError + 'p {
    move |source| KeysError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_the_same_and_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        let first = Keys::open(&keys, false).unwrap().relay.public();
        assert_eq!(Keys::open(&keys, true).unwrap().relay.public(), first);
        assert_eq!(Keys::identity(&keys).unwrap().public(), first);
        for name in [RELAY_KEY, GRAPH_KEY, QUIC_KEY] {
            let mode = fs::metadata(keys.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert!(
            fs::read_to_string(keys.join(CACHE_TAG))
                .unwrap()
                .starts_with("Signature: 8a477f597d28d172789f06886806bc55")
        );
    }

    #[test]
    fn lost_keys_are_never_replaced_silently() {
        let dir = tempfile::tempdir().unwrap();
        Keys::open(dir.path(), false).unwrap();
        fs::remove_file(dir.path().join(GRAPH_KEY)).unwrap();
        assert!(matches!(Keys::open(dir.path(), true), Err(KeysError::Missing { .. })));
    }

    #[test]
    fn open_and_short_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        Keys::open(dir.path(), false).unwrap();
        let key = dir.path().join(RELAY_KEY);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Keys::open(dir.path(), true), Err(KeysError::Open { mode: 0o640, .. })));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&key, [1; 31]).unwrap();
        assert!(matches!(Keys::open(dir.path(), true), Err(KeysError::Length { got: 31, .. })));
    }

    #[test]
    fn the_mark_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut mark = MarkFile(dir.path().join(LOG_MARK));
        assert_eq!(mark.read().unwrap(), None);
        mark.write(LogPosition { log: 3, commit: 9 }).unwrap();
        assert_eq!(mark.read().unwrap(), Some(LogPosition { log: 3, commit: 9 }));
    }
}
