//! Which accounts are connected, and who is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use penpal_protocol::ids::AccountId;

use crate::command::ConnId;
use crate::secrets::LinkTag;

/// How long an account must be away before anybody is told. Reconnecting within it is not seen by contacts, so a flapping
/// connection causes at most one *down* and one *up* in this time.
pub(crate) const DOWN_DELAY: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Live {
    tag: LinkTag,
    conns: BTreeSet<ConnId>,
    down_at: Option<Duration>,
}

/// Accounts with receiving connections, and those that just lost the last one.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    accounts: BTreeMap<AccountId, Live>,
    tags: BTreeMap<LinkTag, AccountId>,
    downs: BTreeSet<(Duration, AccountId)>,
}

impl Presence {
    /// A connection of the account receives from now on. True when the account was down before.
    pub(crate) fn join(&mut self, account: AccountId, tag: LinkTag, conn: ConnId) -> bool {
        let mut new = false;
        let live = self.accounts.entry(account).or_insert_with(|| {
            new = true;
            Live { tag, conns: BTreeSet::new(), down_at: None }
        });
        live.conns.insert(conn);
        if let Some(at) = live.down_at.take() {
            self.downs.remove(&(at, account));
        }
        self.tags.insert(tag, account);
        new
    }

    /// A connection of the account receives no more.
    pub(crate) fn leave(&mut self, account: AccountId, conn: ConnId, now: Duration) {
        let Some(live) = self.accounts.get_mut(&account) else { return };
        if live.conns.remove(&conn) && live.conns.is_empty() {
            let at = now.saturating_add(DOWN_DELAY);
            live.down_at = Some(at);
            self.downs.insert((at, account));
        }
    }

    /// When the next account counts as down.
    pub(crate) fn next_down(&self) -> Option<Duration> {
        self.downs.first().map(|(at, _)| *at)
    }

    /// The next account that counts as down by now; it is forgotten.
    pub(crate) fn pop_down(&mut self, now: Duration) -> Option<AccountId> {
        let (at, account) = *self.downs.first()?;
        if at > now {
            return None;
        }
        self.downs.remove(&(at, account));
        if let Some(live) = self.accounts.remove(&account) {
            self.tags.remove(&live.tag);
        }
        Some(account)
    }

    /// Whether contacts are told that the account is there.
    pub(crate) fn is_up(&self, account: &AccountId) -> bool {
        self.accounts.contains_key(account)
    }

    /// Accounts with a receiving connection.
    pub(crate) fn receiving(&self) -> usize {
        self.accounts.len() - self.downs.len()
    }

    /// Entries in memory.
    pub(crate) fn len(&self) -> usize {
        self.accounts.len() + self.tags.len() + self.downs.len()
    }

    /// Receiving connections of the account behind a tag.
    pub(crate) fn conns_of(&self, tag: &LinkTag) -> impl Iterator<Item = ConnId> + '_ {
        let live = self.tags.get(tag).and_then(|account| self.accounts.get(account));
        live.into_iter().flat_map(|live| live.conns.iter().copied())
    }
}
