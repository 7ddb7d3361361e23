//! Receipts that a peer has not confirmed, numbered without gap.
//!
//! A receipt's number is `floor + its position`, and a batch names the number of its first receipt. The peer confirms
//! the highest number it received without gap. A confirmation outside of what this queue holds means that one side
//! fell back to an older state, or that receipts were dropped here: the queue is then numbered anew from just above
//! it and sent again. So both sides agree after one exchange whatever happened, and nothing needs a reset.

use std::collections::VecDeque;
use std::time::Duration;

use penpal_protocol::limits::{DAY_MS, HOUR_MS, MAX_RECEIPTS};
use penpal_protocol::sealed::Receipt;

use crate::address::Peer;
use crate::ledger::{Ledger, Table};
use crate::record::QueuedReceipt;

/// Most unconfirmed receipts kept for one device; beyond it the oldest go. They are asked for by sending again.
const MAX_QUEUED: usize = 4096;

/// First repetition of unconfirmed receipts.
const FIRST_REPEAT: Duration = Duration::from_millis(HOUR_MS);

/// Later repetitions.
const REPEAT: Duration = Duration::from_millis(DAY_MS);

#[derive(Debug, Default)]
pub(crate) struct ReceiptQueue {
    items: VecDeque<(u64, QueuedReceipt)>,
    next_index: u64,
    /// How many of `items`, from the front, are sent or on their way.
    sent: usize,
    repeat_at: Option<Duration>,
    repeats: u32,
}

/// A run of receipts chosen for one envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// Number of the first.
    pub first: u64,
    pub receipts: Vec<Receipt>,
}

impl ReceiptQueue {
    pub(crate) fn restore(&mut self, index: u64, queued: QueuedReceipt) {
        self.items.push_back((index, queued));
        self.next_index = self.next_index.max(index.saturating_add(1));
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Adds a receipt to be sent at once; one that says the same is sent again instead.
    pub(crate) fn push(&mut self, peer: Peer, floor: &mut u64, queued: QueuedReceipt, ledger: &mut Ledger) {
        let same = |item: &QueuedReceipt| {
            item.receipt.msg_id == queued.receipt.msg_id && item.receipt.stage == queued.receipt.stage
        };
        if let Some(position) = self.items.iter().position(|(_, item)| same(item)) {
            if let Some((index, item)) = self.items.get_mut(position)
                && item.receipt.reason != queued.receipt.reason
            {
                *item = queued;
                ledger.put(Table::Receipt, &row_key(peer, *index), item);
            }
            self.sent = self.sent.min(position);
            return;
        }
        if self.items.len() >= MAX_QUEUED {
            self.drop_front(peer, floor, 1, ledger);
        }
        let index = self.next_index;
        self.next_index = index.saturating_add(1);
        ledger.put(Table::Receipt, &row_key(peer, index), &queued);
        self.items.push_back((index, queued));
        self.repeats = 0;
    }

    fn drop_front(&mut self, peer: Peer, floor: &mut u64, count: usize, ledger: &mut Ledger) {
        for _ in 0..count {
            let Some((index, _)) = self.items.pop_front() else { break };
            ledger.delete(Table::Receipt, &row_key(peer, index));
            *floor = floor.saturating_add(1);
            self.sent = self.sent.saturating_sub(1);
        }
        if self.items.is_empty() {
            self.repeat_at = None;
        }
    }

    /// Takes the peer's confirmation; returns whether `floor` changed.
    pub(crate) fn confirm(&mut self, peer: Peer, floor: &mut u64, seen: u64, ledger: &mut Ledger) -> bool {
        let next = seen.saturating_add(1);
        let end = floor.saturating_add(u64::try_from(self.items.len()).unwrap_or(u64::MAX));
        if next == *floor {
            return false;
        }
        if next > *floor && next <= end {
            let count = usize::try_from(next.saturating_sub(*floor)).unwrap_or(usize::MAX);
            self.drop_front(peer, floor, count, ledger);
        } else {
            *floor = next;
            self.sent = 0;
        }
        true
    }

    /// Whether an envelope should go now, even with nothing else in it.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        self.sent < self.items.len() || self.repeat_at.is_some_and(|at| at <= now)
    }

    pub(crate) fn repeat_at(&self) -> Option<Duration> {
        self.repeat_at.filter(|_| !self.items.is_empty())
    }

    /// Prepares a repetition that is due: what ended is dropped, all else is unsent again.
    pub(crate) fn begin_repeat(
        &mut self,
        peer: Peer,
        floor: &mut u64,
        now: Duration,
        wall_ms: u64,
        ledger: &mut Ledger,
    ) {
        if self.repeat_at.is_none_or(|at| now < at) {
            return;
        }
        while self.items.front().is_some_and(|(_, item)| item.expires_ms <= wall_ms) {
            self.drop_front(peer, floor, 1, ledger);
        }
        let ended: Vec<u64> = self
            .items
            .iter()
            .filter(|(_, item)| item.expires_ms <= wall_ms)
            .map(|(index, _)| *index)
            .collect();
        for index in &ended {
            ledger.delete(Table::Receipt, &row_key(peer, *index));
        }
        self.items.retain(|(index, _)| !ended.contains(index));
        self.sent = 0;
        self.repeat_at = None;
        self.repeats = self.repeats.saturating_add(1);
    }

    /// Chooses what goes into an envelope with room for `room` bytes of receipts: all that is unconfirmed when it fits,
    /// else what was not sent yet, else the oldest.
    pub(crate) fn choose(&self, floor: u64, room: usize) -> Option<Chosen> {
        let from = |start: usize| {
            let mut left = room.checked_sub(BATCH_BYTES)?;
            let mut receipts = Vec::new();
            for (_, item) in self.items.iter().skip(start).take(MAX_RECEIPTS) {
                let Some(rest) = left.checked_sub(receipt_bytes(&item.receipt)) else { break };
                left = rest;
                receipts.push(item.receipt.clone());
            }
            let first = floor.saturating_add(u64::try_from(start).unwrap_or(u64::MAX));
            (!receipts.is_empty()).then_some(Chosen { first, receipts })
        };
        let all = from(0)?;
        let unsent = self.sent < self.items.len();
        if all.receipts.len() < self.items.len() && unsent { from(self.sent) } else { Some(all) }
    }

    /// A chosen run is on its way.
    pub(crate) fn sending(&mut self, floor: u64, first: u64, count: usize) {
        let start = usize::try_from(first.saturating_sub(floor)).unwrap_or(usize::MAX);
        if start <= self.sent {
            self.sent = self.sent.max(start.saturating_add(count)).min(self.items.len());
        }
    }

    /// The relay has it.
    pub(crate) fn accepted(&mut self, now: Duration) {
        let wait = if self.repeats == 0 { FIRST_REPEAT } else { REPEAT };
        self.repeat_at = (!self.items.is_empty()).then(|| now.saturating_add(wait));
    }

    /// It did not get there.
    pub(crate) fn lost(&mut self, floor: u64, first: u64) {
        let start = usize::try_from(first.saturating_sub(floor)).unwrap_or(usize::MAX);
        self.sent = self.sent.min(start);
    }

    /// Drops everything: the peer is no contact any more.
    pub(crate) fn clear(&mut self, peer: Peer, floor: &mut u64, ledger: &mut Ledger) {
        self.drop_front(peer, floor, usize::MAX, ledger);
    }
}

/// Encoded length of a batch without its receipts, at most: map, keys, number, list head.
const BATCH_BYTES: usize = 24;

/// Encoded length of a receipt, at most.
fn receipt_bytes(receipt: &Receipt) -> usize {
    let text = |length: usize| length.saturating_add(3);
    let session = receipt.session.as_ref().map_or(0, |session| text(session.name.as_str().len()) + 22);
    let mechanism = receipt.mechanism.as_ref().map_or(0, |value| text(value.len()));
    let reason = receipt.reason.as_ref().map_or(0, |value| text(value.len()));
    // Map head, id with key and head, stage, time.
    1 + 18 + 2 + 10 + session + mechanism + reason
}

pub(crate) fn row_key(peer: Peer, index: u64) -> Vec<u8> {
    let mut key = peer.to_key().to_vec();
    key.extend_from_slice(&index.to_be_bytes());
    key
}
