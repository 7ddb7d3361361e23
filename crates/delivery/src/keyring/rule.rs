//! The key rule: when a key retires, and when its seed may be erased.

use std::time::Duration;

use penpal_protocol::ids::{Fingerprint, KeyId};
use penpal_protocol::time::Now;

use super::{Keyring, MAX_KEY_LIFE_MS, OFFER_GRACE_MS, PERIOD, PREKEY_GRACE_MS, SUPERSEDED_GRACE_MS};
use crate::command::Command;
use crate::ledger::Ledger;
use crate::record::{KeyRecord, KeyUse};
use crate::spool::Spool;

impl Keyring {
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.next_check
    }

    /// Looks through the keys when something may be due.
    pub(crate) fn check(&mut self, now: Now, spool: &mut Spool, ledger: &mut Ledger) -> Option<Command> {
        self.learn_barriers(spool, ledger);
        if self.next_check.is_none_or(|at| now.mono < at) {
            return None;
        }
        let mut earliest: Option<u64> = None;
        let ids: Vec<KeyId> = self.keys.keys().copied().collect();
        for id in ids {
            let Some(record) = self.keys.get_mut(&id) else { continue };
            let before = record.state;
            let due = advance(record, now.wall_ms, spool);
            let after = record.state;
            if let Some(due) = due {
                earliest = Some(earliest.map_or(due, |earliest| earliest.min(due)));
            }
            if before != after {
                self.save(&id, ledger);
                match after {
                    KeyUse::Retired => {
                        self.retired.insert(id);
                        self.unbounded.insert(id, None);
                    }
                    KeyUse::Deleting => {
                        self.retired.remove(&id);
                        self.unbounded.remove(&id);
                        self.pool.remove(&id);
                    }
                    KeyUse::Pool | KeyUse::Offered | KeyUse::Used | KeyUse::Prekey => {}
                }
            }
        }
        self.learn_barriers(spool, ledger);
        let rest = earliest.map(|due| Duration::from_millis(due.saturating_sub(now.wall_ms)).max(PERIOD));
        self.next_check = rest.map(|rest| now.mono.saturating_add(rest));
        let command = self.erase(now.mono);
        if self.keys.values().any(|key| key.state == KeyUse::Deleting) {
            self.check_by(now.mono.saturating_add(PERIOD));
        }
        command
    }

    /// The spool moved on: retired keys may be free to go.
    pub(crate) fn spool_moved(&mut self, now: Duration) {
        if !self.retired.is_empty() {
            let earliest = self.last_erase.map_or(now, |last| last.saturating_add(PERIOD).max(now));
            self.check_by(earliest);
        }
    }

    /// For each retired key without a barrier: asks the relay for its newest row, and takes the answer.
    fn learn_barriers(&mut self, spool: &mut Spool, ledger: &mut Ledger) {
        let mut known = Vec::new();
        for (id, ask) in &mut self.unbounded {
            match *ask {
                None => *ask = Some(spool.ask_newest()),
                Some(ask) if spool.is_answered(ask) => known.push(*id),
                Some(_) => {}
            }
        }
        for id in known {
            self.unbounded.remove(&id);
            if let (Some(record), Some((epoch, newest))) = (self.keys.get_mut(&id), spool.newest()) {
                record.barrier_epoch = Some(epoch);
                record.barrier = newest;
                self.save(&id, ledger);
                self.next_check = Some(Duration::ZERO);
            }
        }
    }

    /// The spool has another life: rows were numbered anew, so every barrier must be learnt again.
    pub(crate) fn epoch_changed(&mut self, ledger: &mut Ledger) {
        for id in self.retired.clone() {
            if let Some(record) = self.keys.get_mut(&id) {
                record.barrier_epoch = None;
            }
            self.unbounded.insert(id, None);
            self.save(&id, ledger);
        }
    }

    /// Retires every key made so far, as after a restore: some may have been handed out or used by the later state.
    pub(crate) fn retire_all(&mut self, now: Now, ledger: &mut Ledger) {
        self.retire(now, ledger, |_| true);
        self.pool.clear();
        self.wanting_since = None;
        self.publish_again();
    }

    /// Retires the receive keys made for devices of a contact that was removed.
    pub(crate) fn retire_account(&mut self, account: &Fingerprint, now: Now, ledger: &mut Ledger) {
        self.retire(now, ledger, |key| key.peer.is_some_and(|peer| peer.account == *account));
        self.newest.retain(|peer, _| peer.account != *account);
    }

    fn retire(&mut self, now: Now, ledger: &mut Ledger, which: impl Fn(&KeyRecord) -> bool) {
        let ids: Vec<KeyId> = self
            .keys
            .iter()
            .filter(|(_, key)| !matches!(key.state, KeyUse::Retired | KeyUse::Deleting) && which(key))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            if let Some(record) = self.keys.get_mut(&id) {
                record.state = KeyUse::Retired;
                record.retired_ms = Some(now.wall_ms);
            }
            self.retired.insert(id);
            self.unbounded.insert(id, None);
            self.save(&id, ledger);
        }
        self.check_by(now.mono);
    }
}

/// Moves a key on as far as it is due; returns when it is due next, in Unix milliseconds.
fn advance(record: &mut KeyRecord, wall_ms: u64, spool: &Spool) -> Option<u64> {
    let end = record.issued_ms.saturating_add(MAX_KEY_LIFE_MS);
    let retires = match record.state {
        KeyUse::Pool | KeyUse::Deleting => return None,
        KeyUse::Offered | KeyUse::Used => {
            let unused = record.use_until_ms.saturating_add(OFFER_GRACE_MS);
            let superseded = record.superseded_ms.map(|at| at.saturating_add(SUPERSEDED_GRACE_MS));
            Some(superseded.map_or(unused, |at| at.min(unused)))
        }
        KeyUse::Prekey => record.superseded_ms.map(|at| at.saturating_add(PREKEY_GRACE_MS)),
        KeyUse::Retired => {
            let free = record.barrier_epoch.is_some_and(|epoch| spool.is_processed(epoch, record.barrier));
            if free || wall_ms >= end {
                record.state = KeyUse::Deleting;
                return None;
            }
            return Some(end);
        }
    };
    if wall_ms >= end {
        record.state = KeyUse::Deleting;
        return None;
    }
    match retires {
        Some(at) if at <= wall_ms => {
            record.state = KeyUse::Retired;
            record.retired_ms = Some(wall_ms);
            Some(end)
        }
        Some(at) => Some(at.min(end)),
        None => Some(end),
    }
}
