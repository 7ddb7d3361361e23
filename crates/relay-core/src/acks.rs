//! Acknowledgements that wait for a commit to go along with.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use penpal_protocol::ids::SlotId;

use crate::rows::Change;
use crate::spool::{self, Spools};

/// Longest wait of an acknowledgement for somebody else's commit.
const MAX_WAIT: Duration = Duration::from_millis(20);

/// Numbers removed singly before the acknowledgements are written at once, and most of them in one change.
const MAX_WAITING: usize = 4_096;

#[derive(Debug, Default)]
struct Pending {
    up_to: u64,
    /// Single rows beyond it: each once, however often it is acknowledged, so no more than were sent.
    singles: BTreeSet<u64>,
}

/// Acknowledged rows that storage still holds.
///
/// They are not worth a sync of their own: losing them means delivering again what the node already has.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    waiting: BTreeMap<SlotId, Pending>,
    /// In the commit that is under way.
    flushed: BTreeMap<SlotId, Pending>,
    since: Option<Duration>,
    singles: usize,
}

impl Acks {
    /// Notes that rows up to `up_to` and the given single ones are done.
    pub(crate) fn add(
        &mut self,
        slot: SlotId,
        up_to: u64,
        singles: impl IntoIterator<Item = u64>,
        now: Duration,
    ) {
        let pending = self.waiting.entry(slot).or_default();
        let before = pending.singles.len();
        pending.singles.extend(singles);
        if up_to > pending.up_to {
            pending.up_to = up_to;
            pending.singles = pending.singles.split_off(&up_to.saturating_add(1));
        }
        self.singles = (self.singles + pending.singles.len()).saturating_sub(before);
        self.since.get_or_insert(now);
    }

    /// Has a slot's acknowledgements written in this very step: it is about to be read from its first row.
    pub(crate) fn hurry(&mut self, slot: &SlotId) {
        if self.waiting.contains_key(slot) {
            self.since = Some(Duration::ZERO);
        }
    }

    /// Forgets a slot that is removed in this step.
    pub(crate) fn forget(&mut self, slot: &SlotId) {
        if let Some(pending) = self.waiting.remove(slot) {
            self.singles -= pending.singles.len();
        }
    }

    /// What they need in storage at most, in bytes.
    pub(crate) fn stored_bytes(&self) -> usize {
        self.waiting.len() * 2 * Change::OVERHEAD + self.singles * 8
    }

    /// Slots and single rows that wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.singles
    }

    /// When they must be written.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.since.map(|since| since.saturating_add(MAX_WAIT))
    }

    pub(crate) fn is_due(&self, now: Duration) -> bool {
        self.singles >= MAX_WAITING || self.due().is_some_and(|due| due <= now)
    }

    /// Adds them to a commit.
    pub(crate) fn flush(&mut self, spools: &mut Spools, changes: &mut Vec<Change>) {
        self.flushed = std::mem::take(&mut self.waiting);
        self.since = None;
        self.singles = 0;
        for (slot, pending) in &self.flushed {
            let queue = spool::queue(slot);
            if pending.up_to > 0 {
                changes.push(Change::Ack { queue, up_to: pending.up_to });
            }
            let singles: Vec<u64> =
                pending.singles.iter().copied().filter(|seq| *seq > pending.up_to).collect();
            for seqs in singles.chunks(MAX_WAITING) {
                changes.push(Change::Remove { queue, seqs: seqs.to_vec() });
            }
            spools.taken(slot);
        }
    }

    /// The commit happened.
    pub(crate) fn committed(&mut self) {
        self.flushed.clear();
    }

    /// The commit did not happen.
    pub(crate) fn aborted(&mut self, now: Duration) {
        for (slot, pending) in std::mem::take(&mut self.flushed) {
            self.add(slot, pending.up_to, pending.singles, now);
        }
    }
}
