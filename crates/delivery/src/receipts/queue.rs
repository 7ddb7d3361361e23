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

/// Far beyond any number of receipts.
const FELL_BACK: u64 = 1 << 48;

/// First repetition of unconfirmed receipts.
const FIRST_REPEAT: Duration = Duration::from_millis(HOUR_MS);

/// Later repetitions.
const REPEAT: Duration = Duration::from_millis(DAY_MS);

/// How long a receipt is repeated after its message's end, in milliseconds: what is there is not to be called expired.
const AFTER_END_MS: u64 = DAY_MS;

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
        if (*floor..=end).contains(&next) {
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
        let is_over = |item: &QueuedReceipt| item.expires_ms.saturating_add(AFTER_END_MS) <= wall_ms;
        while self.items.front().is_some_and(|(_, item)| is_over(item)) {
            self.drop_front(peer, floor, 1, ledger);
        }
        let ended: Vec<u64> =
            self.items.iter().filter(|(_, item)| is_over(item)).map(|(index, _)| *index).collect();
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

    /// These records are an older copy, so the peer may have confirmed more than is known here: moves the numbers out of
    /// any range it can name, and its next confirmation says where to go on.
    pub(crate) fn fell_back(&mut self, floor: &mut u64) {
        *floor |= FELL_BACK;
        self.sent = 0;
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

#[cfg(test)]
mod tests {
    use penpal_protocol::ids::{DeviceId, Fingerprint, MsgId};
    use penpal_protocol::sealed::Stage;
    use proptest::prelude::*;

    use super::*;

    const PEER: Peer =
        Peer { account: Fingerprint::from_bytes([1; 16]), device: DeviceId::from_bytes([2; 16]) };

    fn receipt(number: u8) -> QueuedReceipt {
        let msg_id = MsgId::from_bytes([number; 16]);
        let receipt = Receipt {
            msg_id,
            stage: Stage::Delivered,
            session: None,
            mechanism: None,
            reason: None,
            at_ms: 1,
        };
        QueuedReceipt { receipt, expires_ms: u64::MAX }
    }

    fn ids(chosen: &Chosen) -> Vec<u8> {
        chosen.receipts.iter().map(|receipt| receipt.msg_id.as_bytes()[0]).collect()
    }

    #[test]
    fn what_does_not_fit_goes_in_the_next_envelope() {
        let (mut queue, mut floor, mut ledger) = (ReceiptQueue::default(), 1, Ledger::default());
        for number in 0..10 {
            queue.push(PEER, &mut floor, receipt(number), &mut ledger);
        }
        let room = BATCH_BYTES + 4 * receipt_bytes(&receipt(0).receipt);
        let mut seen = Vec::new();
        while queue.is_due(Duration::ZERO) {
            let chosen = queue.choose(floor, room).unwrap();
            queue.sending(floor, chosen.first, chosen.receipts.len());
            seen.extend(ids(&chosen));
        }
        assert_eq!(seen, (0..10).collect::<Vec<u8>>());
        assert_eq!(queue.choose(floor, 10), None);
    }

    #[test]
    fn a_receipt_is_no_longer_than_estimated() {
        let mut long = receipt(1).receipt;
        long.at_ms = u64::MAX;
        long.mechanism = Some(penpal_protocol::cbor::Text::truncated(&"m".repeat(32)));
        long.reason = Some(penpal_protocol::cbor::Text::truncated(&"r".repeat(64)));
        long.session = Some(penpal_protocol::sealed::SessionRef {
            sid: penpal_protocol::ids::SessionId::from_bytes([1; 16]),
            name: penpal_protocol::text::Label::new(&"n".repeat(64)).unwrap(),
        });
        let short = Receipt { at_ms: u64::MAX, ..receipt(1).receipt };
        for (receipt, count) in [(&short, 1), (&short, 16), (&long, 1), (&long, 16)] {
            let batch = crate::command::batch(u64::MAX, vec![receipt.clone(); count]).unwrap();
            let length = penpal_protocol::cbor::encode(&batch).len();
            assert!(length <= BATCH_BYTES + count * receipt_bytes(receipt), "{length}");
        }
    }

    #[test]
    fn the_estimate_of_a_receipt_is_not_wasteful() {
        let length = |receipt: &Receipt, count: usize| {
            penpal_protocol::cbor::encode(&crate::command::batch(1, vec![receipt.clone(); count]).unwrap())
                .len()
        };
        let mut one = Receipt { at_ms: u64::MAX, ..receipt(1).receipt };
        assert_eq!(length(&one, 2) - length(&one, 1), receipt_bytes(&one));
        one.mechanism = Some(penpal_protocol::cbor::Text::truncated(&"m".repeat(32)));
        one.reason = Some(penpal_protocol::cbor::Text::truncated(&"r".repeat(64)));
        assert_eq!(length(&one, 2) - length(&one, 1), receipt_bytes(&one));
        one.session = Some(penpal_protocol::sealed::SessionRef {
            sid: penpal_protocol::ids::SessionId::from_bytes([1; 16]),
            name: penpal_protocol::text::Label::new(&"n".repeat(64)).unwrap(),
        });
        assert!(receipt_bytes(&one) - (length(&one, 2) - length(&one, 1)) <= 4);
    }

    #[test]
    fn a_receipt_that_says_the_same_is_sent_again_and_another_reason_takes_its_place() {
        let (mut queue, mut floor, mut ledger) = (ReceiptQueue::default(), 1, Ledger::default());
        let because = |reason: &str| {
            let mut one = receipt(1);
            one.receipt.reason = Some(penpal_protocol::cbor::Text::truncated(reason));
            one
        };
        queue.push(PEER, &mut floor, because("a"), &mut ledger);
        queue.sending(floor, 1, 1);
        assert!(!queue.is_due(Duration::ZERO));
        let changes = ledger.changes();
        queue.push(PEER, &mut floor, because("a"), &mut ledger);
        assert_eq!(ledger.changes(), changes);
        assert!(queue.is_due(Duration::ZERO));
        queue.push(PEER, &mut floor, because("b"), &mut ledger);
        assert_eq!(ledger.changes(), changes + 1);
        assert_eq!(queue.choose(floor, 1000).unwrap().receipts, [because("b").receipt]);
    }

    #[test]
    fn what_fits_goes_from_the_first_and_what_does_not_from_the_first_unsent() {
        let (mut queue, mut floor, mut ledger) = (ReceiptQueue::default(), 1, Ledger::default());
        for number in 0..4 {
            queue.push(PEER, &mut floor, receipt(number), &mut ledger);
        }
        let room = |count| BATCH_BYTES + count * receipt_bytes(&receipt(0).receipt);
        queue.sending(floor, 1, 2);
        assert_eq!(ids(&queue.choose(floor, room(4)).unwrap()), [0, 1, 2, 3]);
        assert_eq!(ids(&queue.choose(floor, room(3)).unwrap()), [2, 3]);
        queue.sending(floor, 3, 2);
        assert_eq!(ids(&queue.choose(floor, room(3)).unwrap()), [0, 1, 2]);
    }

    #[test]
    fn a_repetition_begins_when_it_is_due_and_not_before() {
        let (mut queue, mut floor, mut ledger) = (ReceiptQueue::default(), 1, Ledger::default());
        queue.push(PEER, &mut floor, receipt(1), &mut ledger);
        queue.sending(floor, 1, 1);
        queue.accepted(Duration::ZERO);
        let due = FIRST_REPEAT;
        queue.begin_repeat(PEER, &mut floor, due - Duration::from_millis(1), 0, &mut ledger);
        assert_eq!(queue.repeat_at(), Some(due));
        queue.begin_repeat(PEER, &mut floor, due + Duration::from_secs(1), 0, &mut ledger);
        assert_eq!((queue.repeat_at(), queue.is_due(Duration::ZERO)), (None, true));
    }

    #[test]
    fn a_queue_that_fell_back_is_numbered_anew_and_one_of_nobody_is_empty() {
        let (mut queue, mut floor, mut ledger) = (ReceiptQueue::default(), 5, Ledger::default());
        for number in 0..3 {
            queue.push(PEER, &mut floor, receipt(number), &mut ledger);
        }
        queue.sending(floor, 5, 3);
        queue.fell_back(&mut floor);
        assert_eq!((floor, queue.is_due(Duration::ZERO)), (5 | FELL_BACK, true));
        ledger = Ledger::default();
        queue.clear(PEER, &mut floor, &mut ledger);
        assert_eq!((queue.len(), floor), (0, (5 | FELL_BACK) + 3));
        assert_eq!(ledger.changes(), 3);
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let (mut queue, mut floor, mut ledger) = (ReceiptQueue::default(), 1, Ledger::default());
        for number in 0..=u64::try_from(MAX_QUEUED).unwrap() {
            let mut one = receipt(0);
            one.receipt.msg_id =
                MsgId::from_bytes([number.to_be_bytes(), [0; 8]].concat().try_into().unwrap());
            queue.push(PEER, &mut floor, one, &mut ledger);
        }
        assert_eq!((queue.len(), floor), (MAX_QUEUED, 2));
    }

    #[test]
    fn ended_receipts_are_not_repeated() {
        let (mut queue, mut floor, mut ledger) = (ReceiptQueue::default(), 1, Ledger::default());
        for number in 0..4 {
            let expires_ms = if number % 2 == 0 { 10 } else { 1000 };
            let one = QueuedReceipt { expires_ms, ..receipt(number) };
            queue.push(PEER, &mut floor, one, &mut ledger);
        }
        queue.sending(floor, 1, 4);
        queue.accepted(Duration::ZERO);
        let at = queue.repeat_at().unwrap();
        assert_eq!(at, FIRST_REPEAT);
        queue.begin_repeat(PEER, &mut floor, at, AFTER_END_MS + 500, &mut ledger);
        assert_eq!(ids(&queue.choose(floor, 1000).unwrap()), [1, 3]);
        queue.sending(floor, floor, 2);
        queue.accepted(at);
        assert_eq!(queue.repeat_at(), Some(at + REPEAT));
    }

    proptest! {
        /// Whatever is lost, and whatever state either side falls back to, everything is confirmed after a few exchanges.
        #[test]
        fn both_sides_agree_in_the_end(
            floor in 0_u64..40,
            mut seen in 0_u64..40,
            fell_back in any::<bool>(),
            steps in prop::collection::vec((0_u8..4, any::<u8>()), 0..40),
        ) {
            let (mut queue, mut floor, mut ledger) = (ReceiptQueue::default(), floor + 1, Ledger::default());
            if fell_back {
                queue.fell_back(&mut floor);
            } else {
                // The peer confirms nothing that was never sent, unless this side forgot it.
                floor = floor.max(seen + 1);
            }
            let mut got = std::collections::BTreeSet::new();
            let mut owed = std::collections::BTreeSet::new();
            let mut exchange = |queue: &mut ReceiptQueue, floor: &mut u64, ledger: &mut Ledger, arrives: bool| {
                if let Some(chosen) = queue.choose(*floor, 500) {
                    queue.sending(*floor, chosen.first, chosen.receipts.len());
                    if arrives {
                        got.extend(ids(&chosen));
                        let end = chosen.first + u64::try_from(chosen.receipts.len()).unwrap() - 1;
                        if chosen.first <= seen + 1 && end > seen {
                            seen = end;
                        }
                    } else {
                        queue.lost(*floor, chosen.first);
                    }
                }
                queue.confirm(PEER, floor, seen, ledger);
                got.clone()
            };
            for (what, number) in steps {
                match what {
                    0 | 1 => {
                        owed.insert(number);
                        queue.push(PEER, &mut floor, receipt(number), &mut ledger);
                    }
                    2 => {
                        exchange(&mut queue, &mut floor, &mut ledger, false);
                    }
                    _ => {
                        exchange(&mut queue, &mut floor, &mut ledger, true);
                    }
                }
            }
            let mut received = std::collections::BTreeSet::new();
            for _ in 0..20 {
                received = exchange(&mut queue, &mut floor, &mut ledger, true);
            }
            prop_assert_eq!(queue.len(), 0);
            prop_assert!(received.is_superset(&owed));
        }
    }
}
