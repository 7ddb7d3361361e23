//! `receive.keys`: what opens messages and invites.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use minicbor::{Decoder, decode};
use penpal_protocol::ids::{InviteId, InviteSecret, KeyId, XWingPublicKey};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{
    KeyFile, KeyFileError, KeyStorage,
    cache::ExpandedKeys,
    format::{self, Payload},
};
use crate::{hybrid::ReceiveKey, keys::ReceiveSeed};

/// How many seeds are made at a time, so that handing out a key needs no write to the key file.
pub const SEED_POOL: usize = 64;

/// What is kept of an open invite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InviteEntry {
    /// The secret in its code.
    pub secret: InviteSecret,
    /// Seed of its one-time key; only at the inviter.
    pub one_time: Option<ReceiveSeed>,
}

/// Everything in `receive.keys`.
///
/// Payload: `{0: [[key id 8, seed 32]], 1: [[invite id 16, secret 20, one-time seed 32?]]}`, both by id ascending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Contents {
    seeds: BTreeMap<KeyId, ReceiveSeed>,
    invites: BTreeMap<InviteId, InviteEntry>,
}

impl Contents {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let entries = self.seeds.len().saturating_add(self.invites.len()).saturating_add(1);
        let mut payload = Payload::with_capacity(entries.saturating_mul(80));
        payload.map(2).key(0).array(self.seeds.len());
        for (id, seed) in &self.seeds {
            payload.array(2).bytes(id.as_bytes()).bytes(seed.expose());
        }
        payload.key(1).array(self.invites.len());
        for (id, entry) in &self.invites {
            let fields = if entry.one_time.is_some() { 3 } else { 2 };
            payload.array(fields).bytes(id.as_bytes()).bytes(entry.secret.expose());
            if let Some(seed) = &entry.one_time {
                payload.bytes(seed.expose());
            }
        }
        format::frame(KeyFile::Receive, &payload.finish())
    }

    fn decode(bytes: &[u8], path: &Path) -> Result<Self, KeyFileError> {
        let payload = format::unframe(KeyFile::Receive, bytes, path)?;
        format::read(payload, path, |d| {
            let mut contents = Self::default();
            for _ in 0..format::count(d.map()?)? {
                match d.u8()? {
                    0 => contents.seeds = read_all(d, read_seed)?,
                    1 => contents.invites = read_all(d, read_invite)?,
                    _ => d.skip()?,
                }
            }
            Ok(contents)
        })
    }
}

fn read_all<K: Ord, V>(
    d: &mut Decoder<'_>,
    read: impl Fn(&mut Decoder<'_>, u64) -> Result<(K, V), decode::Error>,
) -> Result<BTreeMap<K, V>, decode::Error> {
    let mut all = BTreeMap::new();
    for _ in 0..format::count(d.array()?)? {
        let at = d.position();
        let fields = format::count(d.array()?)?;
        let (id, value) = read(d, fields)?;
        if all.insert(id, value).is_some() {
            return Err(decode::Error::message("one id twice").at(at));
        }
    }
    Ok(all)
}

fn read_seed(d: &mut Decoder<'_>, fields: u64) -> Result<(KeyId, ReceiveSeed), decode::Error> {
    if fields != 2 {
        return Err(decode::Error::message("a seed has two fields"));
    }
    Ok((KeyId::from_bytes(format::fixed(d)?), ReceiveSeed::from_bytes(format::fixed(d)?)))
}

fn read_invite(d: &mut Decoder<'_>, fields: u64) -> Result<(InviteId, InviteEntry), decode::Error> {
    if fields != 2 && fields != 3 {
        return Err(decode::Error::message("an invite has two or three fields"));
    }
    let id = InviteId::from_bytes(format::fixed(d)?);
    let secret = InviteSecret::from_bytes(format::fixed(d)?);
    let one_time = if fields == 3 { Some(ReceiveSeed::from_bytes(format::fixed(d)?)) } else { None };
    Ok((id, InviteEntry { secret, one_time }))
}

/// `receive.keys` as it was read, before the log has said which keys were handed out.
#[derive(Debug)]
pub struct StoredReceiveKeys<S> {
    storage: S,
    contents: Contents,
}

impl<S: KeyStorage> StoredReceiveKeys<S> {
    /// Reads the file; no file is an empty one.
    ///
    /// # Errors
    /// [`KeyFileError`]; a torn or foreign file is never taken for an empty one.
    pub fn load(storage: S) -> Result<Self, KeyFileError> {
        let contents = match storage.read(KeyFile::Receive)? {
            None => Contents::default(),
            Some(bytes) => Contents::decode(&bytes, &storage.path(KeyFile::Receive))?,
        };
        Ok(Self { storage, contents })
    }

    /// Tells which keys were handed out, by the log. Every other seed is unused.
    ///
    /// The second value lists keys that were handed out and have no seed here: the file is older than the log, and messages to them
    /// will have to be sealed again.
    #[must_use]
    pub fn with_assigned(self, assigned: impl IntoIterator<Item = KeyId>) -> (ReceiveKeys<S>, Vec<KeyId>) {
        let Self { storage, contents } = self;
        let mut unused: BTreeSet<_> = contents.seeds.keys().copied().collect();
        let missing = assigned.into_iter().filter(|id| !unused.remove(id)).collect();
        (ReceiveKeys { storage, contents, unused, expanded: ExpandedKeys::default() }, missing)
    }
}

/// The receive keys of this device: seeds on disk, expanded keys in memory.
///
/// Every method that changes the file returns once the change is durable, and changes nothing when it fails.
#[derive(Debug)]
pub struct ReceiveKeys<S> {
    storage: S,
    contents: Contents,
    unused: BTreeSet<KeyId>,
    expanded: ExpandedKeys,
}

impl<S: KeyStorage> ReceiveKeys<S> {
    /// Where the key files are.
    #[must_use]
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// How many seeds nobody was given yet.
    #[must_use]
    pub fn unused_count(&self) -> usize {
        self.unused.len()
    }

    /// Seeds that nobody was given yet.
    pub fn unused(&self) -> impl Iterator<Item = KeyId> {
        self.unused.iter().copied()
    }

    /// All keys held, used or not.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.contents.seeds.keys().copied()
    }

    /// Makes [`SEED_POOL`] seeds under random ids and writes them, with one replacement of the file.
    ///
    /// # Errors
    /// [`KeyFileError::Io`].
    pub fn refill(&mut self, rng: &mut impl CryptoRng) -> Result<(), KeyFileError> {
        let mut next = self.contents.clone();
        let mut made = Vec::with_capacity(SEED_POOL);
        while made.len() < SEED_POOL {
            let mut id = [0; KeyId::BYTES];
            rng.fill_bytes(&mut id);
            let id = KeyId::from_bytes(id);
            if let std::collections::btree_map::Entry::Vacant(entry) = next.seeds.entry(id) {
                entry.insert(ReceiveSeed::generate(rng));
                made.push(id);
            }
        }
        self.write(next)?;
        self.unused.extend(made);
        Ok(())
    }

    /// Notes that a key was handed out: the log says so. `false` when there is no such unused key.
    pub fn mark_assigned(&mut self, id: &KeyId) -> bool {
        self.unused.remove(id)
    }

    /// Takes an unused key, to be handed out by a log record; a node that dies before that record finds it unused again.
    pub fn take_unused(&mut self) -> Option<(KeyId, XWingPublicKey)> {
        let id = self.unused.pop_first()?;
        let public = self.key(&id)?.public().clone();
        Some((id, public))
    }

    /// The key with an id, expanded.
    pub fn key(&mut self, id: &KeyId) -> Option<Arc<ReceiveKey>> {
        let seed = self.contents.seeds.get(id)?;
        Some(self.expanded.expand(*id, seed))
    }

    /// Deletes keys with one replacement of the file; returns how many there were.
    ///
    /// Callers collect deletions and call this at most once a minute.
    ///
    /// # Errors
    /// [`KeyFileError::Io`].
    pub fn rewrite_without(&mut self, ids: &BTreeSet<KeyId>) -> Result<usize, KeyFileError> {
        let mut next = self.contents.clone();
        next.seeds.retain(|id, _| !ids.contains(id));
        let deleted = self.contents.seeds.len().saturating_sub(next.seeds.len());
        if deleted > 0 {
            self.write(next)?;
        }
        for id in ids {
            self.unused.remove(id);
            self.expanded.forget(id);
        }
        Ok(deleted)
    }

    /// Deletes every seed and makes a new pool: this node was restored or cloned, so its keys may live elsewhere too.
    ///
    /// # Errors
    /// [`KeyFileError::Io`].
    pub fn replace_all(&mut self, rng: &mut impl CryptoRng) -> Result<(), KeyFileError> {
        let all = self.ids().collect();
        self.rewrite_without(&all)?;
        self.refill(rng)
    }

    /// What is kept of an open invite.
    #[must_use]
    pub fn invite(&self, id: &InviteId) -> Option<&InviteEntry> {
        self.contents.invites.get(id)
    }

    /// All open invites.
    pub fn invites(&self) -> impl Iterator<Item = (&InviteId, &InviteEntry)> {
        self.contents.invites.iter()
    }

    /// Keeps an invite's secrets.
    ///
    /// # Errors
    /// [`KeyFileError::Io`].
    pub fn keep_invite(&mut self, id: InviteId, entry: InviteEntry) -> Result<(), KeyFileError> {
        let mut next = self.contents.clone();
        next.invites.insert(id, entry);
        self.write(next)
    }

    /// Erases an invite's secrets.
    ///
    /// # Errors
    /// [`KeyFileError::Io`].
    pub fn erase_invite(&mut self, id: &InviteId) -> Result<(), KeyFileError> {
        if !self.contents.invites.contains_key(id) {
            return Ok(());
        }
        let mut next = self.contents.clone();
        next.invites.remove(id);
        self.write(next)
    }

    fn write(&mut self, next: Contents) -> Result<(), KeyFileError> {
        self.storage.replace(KeyFile::Receive, &next.encode())?;
        self.contents = next;
        Ok(())
    }
}
