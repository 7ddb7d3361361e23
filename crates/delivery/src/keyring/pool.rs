//! Seeds: made many at a time, handed out by a record, erased many at a time.

use std::collections::BTreeSet;

use penpal_protocol::ids::KeyId;
use penpal_protocol::time::Now;

use super::{Keyring, LOW_POOL, PERIOD, PREKEY_PERIOD_MS, SEEDS_AT_A_TIME, blank};
use crate::command::Command;
use crate::ledger::Ledger;
use crate::record::{KeyRecord, KeyUse};
use std::time::Duration;

/// What the key file and the records say about each other at start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeedReport {
    /// Keys whose seeds are missing: what is sealed to them is unreadable and will be asked for again.
    pub lost: Vec<KeyId>,
    /// Seeds without a record: from a step that never became durable, or after the records were restored.
    pub adopted: Vec<KeyId>,
}

impl Keyring {
    /// The key that is handed out next.
    pub(crate) fn next_seed(&self) -> Option<KeyId> {
        self.pool.first().copied()
    }

    pub(super) fn take_seed(&mut self) -> Option<KeyId> {
        self.pool.pop_first()
    }

    /// Asks for seeds when there are few, and again when they could not be made, as on a full disk.
    pub(crate) fn want_seeds(&mut self, now: Duration) -> Option<Command> {
        let asked = self.wanting_since.is_some_and(|since| now < since.saturating_add(PERIOD));
        let want = self.pool.len() < LOW_POOL && !asked;
        want.then(|| {
            self.wanting_since = Some(now);
            Command::WantSeeds { count: SEEDS_AT_A_TIME, urgent: self.pool.is_empty() }
        })
    }

    pub(crate) fn seeds(&mut self, ids: &[KeyId], ledger: &mut Ledger) {
        self.wanting_since = None;
        self.publish_at = None;
        for id in ids {
            if self.keys.contains_key(id) {
                continue;
            }
            self.keys.insert(*id, blank());
            self.pool.insert(*id);
            self.save(id, ledger);
        }
    }

    /// Compares with the seeds that the key file holds.
    pub(crate) fn reconcile(
        &mut self,
        present: &BTreeSet<KeyId>,
        now: Now,
        ledger: &mut Ledger,
    ) -> SeedReport {
        let lost: Vec<KeyId> = self.keys.keys().copied().filter(|id| !present.contains(id)).collect();
        for id in &lost {
            self.forget(id, ledger);
        }
        let adopted: Vec<KeyId> = present.iter().copied().filter(|id| !self.keys.contains_key(id)).collect();
        for id in &adopted {
            // Perhaps handed out by a later state of these records, so the spool may hold mail for it.
            let record = KeyRecord {
                state: KeyUse::Retired,
                issued_ms: now.wall_ms,
                retired_ms: Some(now.wall_ms),
                ..blank()
            };
            self.keys.insert(*id, record);
            self.retired.insert(*id);
            self.unbounded.insert(*id, None);
            self.save(id, ledger);
        }
        self.check_by(now.mono);
        SeedReport { lost, adopted }
    }

    pub(super) fn forget(&mut self, id: &KeyId, ledger: &mut Ledger) {
        if let Some(key) = self.keys.remove(id)
            && let Some(peer) = key.peer
            && let Some(keys) = self.by_peer.get_mut(&peer)
        {
            keys.remove(&(key.number, *id));
            if keys.is_empty() {
                self.by_peer.remove(&peer);
            }
        }
        self.retired.remove(id);
        self.pool.remove(id);
        self.unbounded.remove(id);
        if self.publishing == Some(*id) {
            self.publishing = None;
        }
        self.save(id, ledger);
    }

    /// Hands out collected deletions, at most once a minute, and again what could not be erased.
    pub(super) fn erase(&mut self, now: Duration) -> Option<Command> {
        if self.last_erase.is_some_and(|last| now < last.saturating_add(PERIOD)) {
            return None;
        }
        let deleting = self.keys.iter().filter(|(_, key)| key.state == KeyUse::Deleting);
        let keys: Vec<KeyId> = deleting.map(|(id, _)| *id).collect();
        if keys.is_empty() {
            return None;
        }
        self.last_erase = Some(now);
        Some(Command::DeleteSeeds { keys })
    }

    pub(crate) fn erased(&mut self, ids: &[KeyId], ledger: &mut Ledger) {
        for id in ids {
            if self.keys.get(id).is_some_and(|key| key.state == KeyUse::Deleting) {
                self.forget(id, ledger);
            }
        }
    }

    /// Publishes a prekey when there is none, or the present one is a day old.
    pub(crate) fn publish(&mut self, now: Now, ledger: &mut Ledger) -> Option<Command> {
        if self.publish_at.is_some_and(|at| now.mono < at) {
            return None;
        }
        let newest = self
            .keys
            .iter()
            .filter(|(_, key)| key.state == KeyUse::Prekey)
            .max_by_key(|(id, key)| (key.number, **id))
            .map(|(id, key)| (*id, key.clone()));
        let (number, due) = match &newest {
            // A clock that went back makes a key from the future, which is as good as an old one.
            Some((_, key)) => (key.number, now.wall_ms.abs_diff(key.issued_ms) >= PREKEY_PERIOD_MS),
            None => (0, true),
        };
        if !due {
            let age_ms = newest.as_ref().map_or(0, |(_, key)| now.wall_ms.abs_diff(key.issued_ms));
            let rest = Duration::from_millis(PREKEY_PERIOD_MS.saturating_sub(age_ms));
            self.publish_at = Some(now.mono.saturating_add(rest));
            return match newest {
                Some((key, record)) if record.taken_ms.is_none() && self.publishing != Some(key) => {
                    self.publishing = Some(key);
                    Some(Command::PublishPrekey { key, issued_ms: record.issued_ms })
                }
                _ => None,
            };
        }
        let Some(key) = self.take_seed() else {
            self.publish_at = Some(now.mono.saturating_add(PERIOD));
            return None;
        };
        self.wanted = false;
        let issued_ms = now.wall_ms;
        let record =
            KeyRecord { state: KeyUse::Prekey, number: number.saturating_add(1), issued_ms, ..blank() };
        self.keys.insert(key, record);
        self.save(&key, ledger);
        self.publishing = Some(key);
        self.publish_at = Some(now.mono.saturating_add(Duration::from_millis(PREKEY_PERIOD_MS)));
        Some(Command::PublishPrekey { key, issued_ms })
    }

    /// Publishes the newest prekey, taken or not; a new one when it is a day old or there is none.
    pub(crate) fn publish_wanted(&mut self, now: Now, ledger: &mut Ledger) -> Option<Command> {
        self.publish_again();
        if let Some(command) = self.publish(now, ledger) {
            return Some(command);
        }
        let newest = self
            .keys
            .iter()
            .filter(|(_, key)| key.state == KeyUse::Prekey)
            .max_by_key(|(id, key)| (key.number, **id));
        match newest {
            Some((key, record)) => {
                self.publishing = Some(*key);
                Some(Command::PublishPrekey { key: *key, issued_ms: record.issued_ms })
            }
            None => {
                // No seed yet: it is published once there are some.
                self.wanted = true;
                None
            }
        }
    }

    pub(crate) fn publish_deadline(&self) -> Option<Duration> {
        self.publish_at
    }

    /// The connection is new: a prekey that is not known to be taken is handed out again.
    pub(crate) fn publish_again(&mut self) {
        self.publishing = None;
        self.publish_at = None;
    }

    /// The relay took this prekey, so those before it have a successor.
    pub(crate) fn prekey_taken(&mut self, key: KeyId, now: Now, ledger: &mut Ledger) {
        let Some(record) = self.keys.get_mut(&key) else { return };
        if record.state != KeyUse::Prekey || record.taken_ms.is_some() {
            return;
        }
        record.taken_ms = Some(now.wall_ms);
        let number = record.number;
        self.save(&key, ledger);
        let older: Vec<KeyId> = self
            .keys
            .iter()
            .filter(|(_, other)| {
                other.state == KeyUse::Prekey && other.number < number && other.superseded_ms.is_none()
            })
            .map(|(id, _)| *id)
            .collect();
        for id in older {
            if let Some(record) = self.keys.get_mut(&id) {
                record.superseded_ms = Some(now.wall_ms);
            }
            self.save(&id, ledger);
        }
        self.check_by(now.mono.saturating_add(Duration::from_millis(super::PREKEY_GRACE_MS)));
    }
}
