//! This device's own receive keys and prekeys: what is on offer, what retires, what is erased. `docs/protocol.md` §1.
//!
//! ```text
//! pool ──offer──▶ offered ──message durable / time over──▶ used ──1 h after a newer one, or use_until + 24 h──▶ retired
//! pool ──publish──▶ prekey ──48 h after its successor was taken──▶ retired
//! retired ──every spool row given out by then is processed──▶ deleting ──seed erased──▶ (gone)
//! ```
//!
//! Nothing here holds a secret: seeds are in the key file, under the ids used here.

mod handle;
mod pool;
mod rule;

pub use pool::SeedReport;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use penpal_protocol::ids::KeyId;

use crate::address::Peer;
use crate::command::KeyOffer;
use crate::ledger::{Ledger, Table};
use crate::record::{KeyRecord, KeyUse};
use penpal_protocol::limits::{DAY_MS, HOUR_MS};
use penpal_protocol::time::Now;

/// How long a receive key may be sealed to after it was made, in milliseconds: 24 hours.
pub const OFFER_LIFE_MS: u64 = DAY_MS;

/// How often a new prekey is published, in milliseconds: 24 hours.
pub const PREKEY_PERIOD_MS: u64 = DAY_MS;

/// How long a receive key outlives the first durable message under a newer one, in milliseconds: 1 hour.
const SUPERSEDED_GRACE_MS: u64 = HOUR_MS;

/// How long a receive key outlives its time to be used, in milliseconds: 24 hours.
const OFFER_GRACE_MS: u64 = DAY_MS;

/// How long a prekey outlives the day its successor was taken, in milliseconds: 48 hours.
const PREKEY_GRACE_MS: u64 = 2 * DAY_MS;

/// Longest life of any key, in milliseconds: 61 days, twice the life of a spool row less a day.
const MAX_KEY_LIFE_MS: u64 = 61 * DAY_MS;

/// Seeds made at a time.
pub const SEEDS_AT_A_TIME: usize = 64;

/// With fewer seeds in the pool than this, more are asked for.
const LOW_POOL: usize = 16;

/// How often keys are looked through, and seeds erased, at most.
const PERIOD: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct Keyring {
    keys: BTreeMap<KeyId, KeyRecord>,
    pool: BTreeSet<KeyId>,
    /// Receive keys made for each peer device that no newer one has followed in use, with their numbers: few, however
    /// many keys a long conversation leaves behind.
    by_peer: BTreeMap<Peer, BTreeSet<(u64, KeyId)>>,
    /// Retired keys whose seeds are still there.
    retired: BTreeSet<KeyId>,
    /// The newest key made for each peer device, and its number.
    newest: BTreeMap<Peer, (u64, KeyId)>,
    /// Retired keys whose last possible spool row is not known yet, with the acknowledgement that will tell.
    unbounded: BTreeMap<KeyId, Option<u64>>,
    /// When seeds were asked for that have not come.
    wanting_since: Option<Duration>,
    next_check: Option<Duration>,
    last_erase: Option<Duration>,
    /// The prekey that was handed to the shell and is not known to be taken.
    publishing: Option<KeyId>,
    publish_at: Option<Duration>,
    /// A prekey was wanted before there was a seed for it.
    pub wanted: bool,
}

impl Keyring {
    pub(crate) fn restore(&mut self, id: KeyId, record: KeyRecord) {
        if record.state == KeyUse::Pool {
            self.pool.insert(id);
        }
        if let Some(peer) = record.peer {
            if record.superseded_ms.is_none() {
                self.by_peer.entry(peer).or_default().insert((record.number, id));
            }
            let newest = self.newest.entry(peer).or_insert((record.number, id));
            *newest = (*newest).max((record.number, id));
        }
        if record.state == KeyUse::Retired {
            self.retired.insert(id);
            if record.barrier_epoch.is_none() {
                self.unbounded.insert(id, None);
            }
        }
        self.keys.insert(id, record);
        self.next_check = Some(Duration::ZERO);
    }

    /// Whether envelopes sealed to this key may still be opened.
    pub(crate) fn is_live(&self, id: &KeyId) -> bool {
        self.keys.get(id).is_some_and(|key| !matches!(key.state, KeyUse::Pool | KeyUse::Deleting))
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.keys.keys().copied().filter(|id| self.is_live(id))
    }

    pub(crate) fn save(&self, id: &KeyId, ledger: &mut Ledger) {
        match self.keys.get(id) {
            Some(record) => ledger.put(Table::Key, id.as_bytes(), record),
            None => ledger.delete(Table::Key, id.as_bytes()),
        }
    }

    /// The key that this peer should seal its next message to; `None` while the pool is empty.
    pub(crate) fn offer(&mut self, peer: Peer, now: Now, ledger: &mut Ledger) -> Option<KeyOffer> {
        let (number, current) =
            self.newest.get(&peer).map_or((0, None), |(number, key)| (*number, Some(*key)));
        if let Some(offer) = current.and_then(|key| self.standing_offer(key, now.wall_ms)) {
            return Some(offer);
        }
        let key = self.take_seed()?;
        let use_until_ms = now.wall_ms.saturating_add(OFFER_LIFE_MS);
        let record = KeyRecord {
            state: KeyUse::Offered,
            peer: Some(peer),
            number: number.saturating_add(1),
            issued_ms: now.wall_ms,
            use_until_ms,
            ..blank()
        };
        self.newest.insert(peer, (record.number, key));
        self.by_peer.entry(peer).or_default().insert((record.number, key));
        self.keys.insert(key, record);
        self.save(&key, ledger);
        self.check_by(now.mono.saturating_add(Duration::from_millis(OFFER_LIFE_MS + OFFER_GRACE_MS)));
        Some(KeyOffer { key, use_until_ms })
    }

    fn standing_offer(&self, key: KeyId, wall_ms: u64) -> Option<KeyOffer> {
        let record = self.keys.get(&key)?;
        let standing = record.state == KeyUse::Offered && wall_ms < record.use_until_ms;
        standing.then_some(KeyOffer { key, use_until_ms: record.use_until_ms })
    }

    /// A message from `peer` sealed to `key` is durable from this step on. Returns whether the peer needs another offer.
    pub(crate) fn used(&mut self, key: KeyId, peer: Peer, now: Now, ledger: &mut Ledger) -> bool {
        let Some(record) = self.keys.get_mut(&key) else { return false };
        if record.peer != Some(peer) {
            return false;
        }
        let number = record.number;
        let first = record.state == KeyUse::Offered;
        if first {
            record.state = KeyUse::Used;
        }
        self.save(&key, ledger);
        let Some(standing) = self.by_peer.get_mut(&peer) else { return first };
        let at_least = standing.split_off(&(number, KeyId::from_bytes([0; KeyId::BYTES])));
        for (_, id) in std::mem::replace(standing, at_least) {
            if let Some(record) = self.keys.get_mut(&id) {
                record.superseded_ms = Some(now.wall_ms);
                self.save(&id, ledger);
                self.check_by(now.mono.saturating_add(Duration::from_millis(SUPERSEDED_GRACE_MS)));
            }
        }
        first
    }

    fn check_by(&mut self, at: Duration) {
        self.next_check = Some(self.next_check.map_or(at, |next| next.min(at)));
    }
}

fn blank() -> KeyRecord {
    KeyRecord {
        state: KeyUse::Pool,
        peer: None,
        number: 0,
        issued_ms: 0,
        use_until_ms: 0,
        superseded_ms: None,
        retired_ms: None,
        barrier_epoch: None,
        barrier: 0,
        taken_ms: None,
    }
}

#[cfg(test)]
mod tests;
