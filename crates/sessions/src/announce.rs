//! Presence that goes out: what contacts are told, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use penpal_protocol::cbor::List;
use penpal_protocol::ids::Fingerprint;
use penpal_protocol::limits::{MAX_ANNOUNCED_SESSIONS, MAX_PRESENCE_TTL_MS};
use penpal_protocol::sealed::{Presence, SessionEntry, SessionState};
use penpal_protocol::time::Now;

use crate::command::Command;
use crate::machine::Sessions;
use crate::record::revision_change;

/// Least time between two announcements to everyone: each is one sealing for every contact that is up.
pub const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);

/// Least time between two greetings of one contact, whose connection may flap.
pub const GREET_INTERVAL: Duration = Duration::from_secs(10);

/// When an unchanged list is announced again: 5 minutes before it runs out.
pub const REFRESH_AFTER: Duration = Duration::from_secs(10 * 60);

/// How long a change waits for others of the same moment: an agent that starts changes several things at once.
const GATHER: Duration = Duration::from_millis(50);

/// Revisions taken at once from the store, so that an announcement needs no write of its own.
const REVISIONS_RESERVED: u64 = 1_000;

const _: () = assert!(REFRESH_AFTER.as_millis() < MAX_PRESENCE_TTL_MS as u128);

/// What is known of announcing.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    revision: u64,
    /// Highest revision that may be used before the store is told of more.
    reserved: u64,
    /// The list that everyone up was told last.
    told: Option<Vec<SessionEntry>>,
    told_at: Option<Duration>,
    /// When a change is announced.
    due: Option<Duration>,
    /// Contacts that are up.
    up: BTreeSet<Fingerprint>,
    /// Contacts that are to be greeted, and when.
    greet: BTreeMap<Fingerprint, Duration>,
    greeted_at: BTreeMap<Fingerprint, Duration>,
}

impl Outgoing {
    pub(crate) fn restore(&mut self, reserved: u64) {
        // What was reserved may have been used.
        self.revision = reserved;
        self.reserved = reserved;
    }

    pub(crate) fn is_up(&self, account: Fingerprint) -> bool {
        self.up.contains(&account)
    }

    pub(crate) fn up(&mut self, account: Fingerprint, now: Now) {
        self.up.insert(account);
        let earliest = self
            .greeted_at
            .get(&account)
            .map_or(now.mono, |at| at.saturating_add(GREET_INTERVAL))
            .max(now.mono);
        self.greet.entry(account).or_insert(earliest);
    }

    pub(crate) fn down(&mut self, account: Fingerprint) {
        self.up.remove(&account);
        self.greet.remove(&account);
    }

    pub(crate) fn all_down(&mut self) {
        self.up.clear();
        self.greet.clear();
        // A lost relay is no flapping contact: everyone is greeted at once when it is back.
        self.greeted_at.clear();
        self.due = None;
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        if self.up.is_empty() {
            return None;
        }
        let refresh = self.told_at.map(|at| at.saturating_add(REFRESH_AFTER));
        self.greet.values().copied().chain(self.due).chain(refresh).min()
    }

    /// Whom to tell this list now.
    fn take_due(&mut self, list: &[SessionEntry], now: Now) -> BTreeSet<Fingerprint> {
        let changed = self.told.as_deref() != Some(list);
        if !changed {
            self.due = None;
        } else if self.due.is_none() {
            let gathered = now.mono.saturating_add(GATHER);
            let spaced = self.told_at.map_or(gathered, |at| at.saturating_add(ANNOUNCE_INTERVAL));
            self.due = Some(gathered.max(spaced));
        }
        let passed = |at: Duration| at <= now.mono;
        let refresh = self.told_at.is_some_and(|at| passed(at.saturating_add(REFRESH_AFTER)));
        let mut to: BTreeSet<Fingerprint> =
            self.greet.iter().filter(|(_, at)| passed(**at)).map(|(account, _)| *account).collect();
        if refresh || self.due.is_some_and(passed) || to == self.up {
            to.clone_from(&self.up);
            self.told = Some(list.to_vec());
            self.told_at = Some(now.mono);
            self.due = None;
        }
        for account in &to {
            self.greet.remove(account);
            self.greeted_at.insert(*account, now.mono);
        }
        self.greeted_at
            .retain(|account, at| self.up.contains(account) || !passed(at.saturating_add(GREET_INTERVAL)));
        to
    }
}

impl Sessions {
    /// The list as contacts are told it: live sessions first, at most as many as a list may have.
    pub(crate) fn announced_list(&self) -> Vec<SessionEntry> {
        let mut shown: Vec<_> = self.local.iter().filter(|(_, local)| local.announced()).collect();
        shown.sort_by_key(|(sid, local)| {
            (local.state == SessionState::Ended, std::cmp::Reverse(local.since_ms), **sid)
        });
        shown.truncate(MAX_ANNOUNCED_SESSIONS);
        let mut list: Vec<SessionEntry> = shown
            .into_iter()
            .map(|(sid, local)| SessionEntry {
                sid: *sid,
                name: local.record.name.clone(),
                agent: local.record.agent.clone(),
                state: local.state,
                since_ms: local.since_ms,
                reach: local.reach(),
                folder: local.record.place.as_ref().and_then(|place| place.folder.clone()),
                summary: local.record.summary.clone(),
            })
            .collect();
        list.sort_by(|one, other| one.name.cmp(&other.name));
        list
    }

    pub(crate) fn announce(&mut self, now: Now) {
        if self.outgoing.up.is_empty() {
            return;
        }
        let list = self.announced_list();
        let to = self.outgoing.take_due(&list, now);
        if to.is_empty() {
            return;
        }
        let revision = self.outgoing.revision.saturating_add(1);
        self.outgoing.revision = revision;
        if revision > self.outgoing.reserved {
            let reserved = revision.saturating_add(REVISIONS_RESERVED);
            self.outgoing.reserved = reserved;
            self.command(Command::Change(revision_change(reserved)));
        }
        let presence = Presence {
            revision,
            sent_ms: now.wall_ms,
            ttl_ms: MAX_PRESENCE_TTL_MS,
            sessions: List::truncated(list),
        };
        self.command(Command::Announce { presence, to });
    }
}
