//! A room's membership log: signed entries, each naming the one before it, and who is a member after each of them.

use std::collections::{BTreeMap, BTreeSet};

use penpal_protocol::ids::{Fingerprint, RoomId, ShortHash};
use penpal_protocol::limits::{MAX_ROOM_ENTRIES, MAX_ROOM_MEMBERS};
use penpal_protocol::sealed::{RoomChange, RoomHead};
use penpal_protocol::text::Label;
use penpal_seal::{SignedRoomEntry, VerifiedManifest};

/// All entries of one room that are held, and which of them count.
///
/// The owner's devices append, and two of them may append at the same place without knowing of each other. What counts is the longest chain
/// that ends with an entry of a device that the owner's manifest lists; when none does, the longest. Of equally long ones that whose last
/// entry has the lowest name. So what a revoked device appended counts only as far as one that is left built on it or took over from it, and
/// which entries count depends on which are held, on that list, and on nothing else: nodes that have the same agree, in whatever order it came.
#[derive(Debug, Clone, Default)]
pub struct Log {
    entries: BTreeMap<ShortHash, SignedRoomEntry>,
    head: Option<ShortHash>,
    /// Entries that made place and are no more to be kept.
    dropped: Vec<ShortHash>,
}

/// Most entries that are held, those that do not count included: two whole chains, so that one of them can always be told from a third.
const MAX_HELD_ENTRIES: usize = 2 * MAX_ROOM_ENTRIES;

/// From this many entries on nobody is added: removing everybody and closing always find place.
pub(crate) const MAX_ENTRIES_TO_ADD: u64 = (MAX_ROOM_ENTRIES - (MAX_ROOM_MEMBERS + 2)) as u64;

/// Who is in a room at some entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The account that owns the room, always a member.
    pub owner: Fingerprint,
    /// The others: what the owner calls them, and the epoch in which they came last.
    pub others: BTreeMap<Fingerprint, Member>,
    /// The room is over.
    pub closed: bool,
}

/// A member other than the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What the owner calls it.
    pub name: Label,
    /// Epoch in which it came.
    pub since: u64,
}

impl Membership {
    /// Whether the account is in the room.
    #[must_use]
    pub fn contains(&self, account: &Fingerprint) -> bool {
        self.owner == *account || self.others.contains_key(account)
    }

    /// Everybody in the room, the owner first, then by when they came.
    #[must_use]
    pub fn accounts(&self) -> Vec<Fingerprint> {
        let mut others: Vec<(u64, Fingerprint)> =
            self.others.iter().map(|(account, member)| (member.since, *account)).collect();
        others.sort_unstable();
        std::iter::once(self.owner).chain(others.into_iter().map(|(_, account)| account)).collect()
    }

    /// Whether `one` came before `other`; both are members.
    #[must_use]
    pub fn came_before(&self, one: &Fingerprint, other: &Fingerprint) -> bool {
        let place = |account: &Fingerprint| {
            let member = self.others.get(account).map(|member| member.since);
            (if *account == self.owner { Some(0) } else { member }, *account)
        };
        place(one) < place(other)
    }

    fn apply(&mut self, epoch: u64, change: &RoomChange) {
        if self.closed {
            return;
        }
        if let Some(member) = &change.added
            && member.account != self.owner
        {
            let known = self.others.get(&member.account).map(|known| known.since);
            if known.is_some() || self.others.len() < MAX_ROOM_MEMBERS {
                let since = known.unwrap_or(epoch);
                self.others.insert(member.account, Member { name: member.name.clone(), since });
            }
        }
        for gone in change.removed.iter().chain(&change.left) {
            self.others.remove(gone);
        }
        self.closed |= change.closed == Some(true);
    }

    /// Whether the change would change anything.
    #[must_use]
    pub fn would_change(&self, epoch: u64, change: &RoomChange) -> bool {
        let mut after = self.clone();
        after.apply(epoch, change);
        after != *self
    }
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is new here.
    New,
    /// It was here.
    Known,
    /// The one before it is not here.
    Orphan,
    /// It is of another room or owner, or its place is wrong.
    Misfit,
    /// No more entries count.
    Full,
}

/// The best comes first: the last, and of two with one epoch that with the lowest name.
fn rank(signed: &SignedRoomEntry) -> (std::cmp::Reverse<u64>, ShortHash) {
    (std::cmp::Reverse(signed.entry().epoch), signed.name())
}

impl Log {
    /// Takes an entry whose signature counts. Which entries count is to be said once all that came with it is taken.
    pub fn insert(&mut self, room: &RoomId, signed: SignedRoomEntry) -> Taken {
        let entry = signed.entry();
        if entry.room != *room {
            return Taken::Misfit;
        }
        if self.entries.contains_key(&signed.name()) {
            return Taken::Known;
        }
        let fits = match (self.first(), entry.epoch) {
            (None, 0) => true,
            (None, _) => return Taken::Orphan,
            (Some(_), 0) => false,
            (Some(first), _) => {
                let Some(before) = self.entries.get(&entry.prev) else { return Taken::Orphan };
                first.entry().owner == entry.owner && before.entry().epoch.checked_add(1) == Some(entry.epoch)
            }
        };
        if !fits {
            return Taken::Misfit;
        }
        let adds = entry.change.added.as_ref().is_some_and(|member| member.account != entry.owner);
        if entry.epoch >= MAX_ROOM_ENTRIES as u64 || (adds && entry.epoch >= MAX_ENTRIES_TO_ADD) {
            return Taken::Full;
        }
        if self.entries.len() >= MAX_HELD_ENTRIES {
            let prev = entry.prev;
            self.drop_dead(&prev);
        }
        let name = signed.name();
        let better =
            self.head.and_then(|head| self.entries.get(&head)).is_none_or(|head| rank(&signed) < rank(head));
        self.entries.insert(name, signed);
        if better {
            self.head = Some(name);
        }
        Taken::New
    }

    /// Says which entries count by the owner's list of devices; tells whether others count now.
    pub(crate) fn judge(&mut self, owner: &VerifiedManifest, now_ms: u64) -> bool {
        let mut best: Vec<&SignedRoomEntry> = self.entries.values().collect();
        best.sort_unstable_by_key(|signed| rank(signed));
        // An entry that a later one names may have been taken for that one's sake, whatever device it says.
        let listed = best.iter().find(|signed| signed.verify(owner, now_ms).is_ok());
        let head = listed.or(best.first()).map(|signed| signed.name());
        std::mem::replace(&mut self.head, head) != head
    }

    /// Drops the end of a branch that neither counts nor leads to `kept`.
    fn drop_dead(&mut self, kept: &ShortHash) {
        let alive: BTreeSet<ShortHash> =
            self.chain().into_iter().chain(self.chain_to(kept)).map(SignedRoomEntry::name).collect();
        let named: BTreeSet<ShortHash> = self.entries.values().map(|signed| signed.entry().prev).collect();
        let ends = self.entries.keys().filter(|name| !alive.contains(name) && !named.contains(name));
        let end = ends.copied().min_by_key(|name| self.entries.get(name).map(|signed| signed.entry().epoch));
        if let Some(end) = end {
            self.entries.remove(&end);
            self.dropped.push(end);
        }
    }

    /// Entries that made place since this was asked.
    pub(crate) fn take_dropped(&mut self) -> Vec<ShortHash> {
        std::mem::take(&mut self.dropped)
    }

    /// The entry that created the room.
    fn first(&self) -> Option<&SignedRoomEntry> {
        self.entries.values().find(|signed| signed.entry().epoch == 0)
    }

    /// Names of all entries that are held.
    pub(crate) fn names(&self) -> Vec<ShortHash> {
        self.entries.keys().copied().collect()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries are held, those that do not count included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The newest entry that counts.
    #[must_use]
    pub fn head(&self) -> Option<RoomHead> {
        let head = self.entries.get(&self.head?)?;
        Some(RoomHead { epoch: head.entry().epoch, entry: head.name() })
    }

    /// One entry.
    #[must_use]
    pub fn get(&self, name: &ShortHash) -> Option<&SignedRoomEntry> {
        self.entries.get(name)
    }

    /// The entries from the first one to `last`, in order; empty when `last` is not held.
    #[must_use]
    pub fn chain_to(&self, last: &ShortHash) -> Vec<&SignedRoomEntry> {
        let mut chain = Vec::new();
        let mut at = self.entries.get(last);
        while let Some(signed) = at {
            chain.push(signed);
            at = self.entries.get(&signed.entry().prev);
        }
        chain.reverse();
        chain
    }

    /// The entries that count, in order.
    #[must_use]
    pub fn chain(&self) -> Vec<&SignedRoomEntry> {
        self.head.map(|head| self.chain_to(&head)).unwrap_or_default()
    }

    /// Who was a member at an entry; `None` when it is not held.
    #[must_use]
    pub fn membership_at(&self, entry: &ShortHash) -> Option<Membership> {
        let chain = self.chain_to(entry);
        let first = chain.first()?;
        let mut membership =
            Membership { owner: first.entry().owner, others: BTreeMap::new(), closed: false };
        for signed in chain {
            membership.apply(signed.entry().epoch, &signed.entry().change);
        }
        Some(membership)
    }

    /// Who is a member now.
    #[must_use]
    pub fn membership(&self) -> Option<Membership> {
        self.membership_at(&self.head?)
    }

    /// Whether an entry as far from the first as the newest that counts takes an account out, by a device that the owner's list has. Whoever is out
    /// is not told what came then, so it may never hold what makes that entry's branch the longer one.
    pub(crate) fn takes_out(&self, account: &Fingerprint, owner: &VerifiedManifest, now_ms: u64) -> bool {
        let Some(head) = self.head() else { return false };
        self.entries.values().any(|signed| {
            let entry = signed.entry();
            entry.change.removed == Some(*account)
                && entry.epoch == head.epoch
                && signed.verify(owner, now_ms).is_ok()
        })
    }

    /// When its owner ended the room, Unix milliseconds.
    #[must_use]
    pub fn closed_ms(&self) -> Option<u64> {
        let chain = self.chain();
        let end = chain.into_iter().find(|signed| signed.entry().change.closed == Some(true));
        end.map(|signed| signed.entry().issued_ms)
    }

    /// The name with which the room was created.
    #[must_use]
    pub fn name(&self) -> Option<&Label> {
        self.first()?.entry().change.created.as_ref()
    }

    /// The entries that count and come after `have`; all of them when that one does not count here.
    #[must_use]
    pub fn after(&self, have: Option<&RoomHead>) -> Vec<&SignedRoomEntry> {
        let chain = self.chain();
        let known = have.and_then(|have| chain.iter().position(|signed| signed.name() == have.entry));
        chain.into_iter().skip(known.map_or(0, |at| at.saturating_add(1))).collect()
    }
}
