//! What each edge has added to spools that fill up, so that no one contact takes the room of all others.
//!
//! A spool that is less than an eighth full takes what comes, and nothing is counted. From there on each edge may add a quarter of the
//! whole, until less waits again. So one edge never has more than three eighths, and memory is spent only on spools that hold much.

use std::collections::BTreeMap;

use penpal_protocol::ids::{EdgeId, SlotId};

use crate::config::Limits;
use crate::rows::Usage;

/// The part of a spool from which on is counted.
const FREE: u64 = 8;

/// The part of a spool that one edge may add from there on.
const SHARE: u64 = 4;

/// Pairs of spool and edge that are counted. Beyond it the first is forgotten: that edge may add its share once more.
const MAX_SHARES: usize = 65_536;

type Pair = (SlotId, EdgeId);

#[derive(Debug, Clone, Copy, Default)]
struct Share {
    rows: u64,
    bytes: u64,
}

/// All shares, in memory only: after a restart everybody has a new one.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    all: BTreeMap<Pair, Share>,
    /// What this step added.
    step: Vec<(Pair, u64)>,
}

impl Shares {
    /// Whether so little waits that nothing is counted.
    pub(crate) fn is_free(usage: &Usage, limits: &Limits) -> bool {
        usage.rows < limits.spool_rows / FREE && usage.bytes < limits.spool_bytes / FREE
    }

    /// Whether an edge may add so many bytes to a spool: one envelope it always may.
    pub(crate) fn allow(&self, slot: SlotId, edge: EdgeId, bytes: u64, limits: &Limits) -> bool {
        self.all.get(&(slot, edge)).is_none_or(|share| {
            share.rows < limits.spool_rows / SHARE
                && share.bytes.saturating_add(bytes) <= limits.spool_bytes / SHARE
        })
    }

    /// An edge adds so many bytes to a spool in this step.
    pub(crate) fn add(&mut self, slot: SlotId, edge: EdgeId, bytes: u64) {
        let share = self.all.entry((slot, edge)).or_default();
        share.rows += 1;
        share.bytes = share.bytes.saturating_add(bytes);
        self.step.push(((slot, edge), bytes));
        if self.all.len() > MAX_SHARES {
            self.all.pop_first();
        }
    }

    /// A spool has room again, or is no more.
    pub(crate) fn forget(&mut self, slot: &SlotId) {
        while let Some((pair, _)) = self.all.range((*slot, EdgeId::from_bytes([0; 16]))..).next()
            && pair.0 == *slot
        {
            let pair = *pair;
            self.all.remove(&pair);
        }
    }

    /// Spools of which something is counted.
    pub(crate) fn slots(&self) -> Vec<SlotId> {
        let mut slots: Vec<SlotId> = self.all.keys().map(|(slot, _)| *slot).collect();
        slots.dedup();
        slots
    }

    /// Entries in memory.
    pub(crate) fn len(&self) -> usize {
        self.all.len() + self.step.len()
    }

    /// The step happened.
    pub(crate) fn commit(&mut self) {
        self.step.clear();
    }

    /// The step did not happen.
    pub(crate) fn abort(&mut self) {
        for (pair, bytes) in std::mem::take(&mut self.step) {
            let Some(share) = self.all.get_mut(&pair) else { continue };
            share.rows = share.rows.saturating_sub(1);
            share.bytes = share.bytes.saturating_sub(bytes);
            if share.rows == 0 {
                self.all.remove(&pair);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(byte: u8) -> SlotId {
        SlotId::from_bytes([byte; 16])
    }

    fn edge(number: usize) -> EdgeId {
        let mut id = [0xff; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        EdgeId::from_bytes(id)
    }

    #[test]
    fn a_spool_is_forgotten_with_all_its_edges_and_no_other() {
        let mut shares = Shares::default();
        for number in 0..10 {
            shares.add(slot(1), edge(number), 5);
            shares.add(slot(2), edge(number), 5);
        }
        shares.commit();
        assert_eq!(shares.slots(), [slot(1), slot(2)]);
        shares.forget(&slot(1));
        assert_eq!((shares.slots(), shares.len()), (vec![slot(2)], 10));
        shares.add(slot(2), edge(3), 5);
        shares.add(slot(3), edge(3), 5);
        shares.abort();
        assert_eq!((shares.slots(), shares.len()), (vec![slot(2)], 10));
    }

    #[test]
    fn memory_is_bounded() {
        let mut shares = Shares::default();
        for number in 0..MAX_SHARES + 10 {
            shares.add(slot(1), edge(number), 5);
            shares.commit();
        }
        assert_eq!(shares.len(), MAX_SHARES);
    }
}
