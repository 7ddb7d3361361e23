//! One peer device: its counters, what is to be sent to it and what is on its way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use penpal_protocol::ids::{DepositId, KeyId, MsgId, ShortHash};
use penpal_protocol::sealed::OfferedKey;

use crate::address::{MailKey, Peer};
use crate::contacts::Way;
use crate::ledger::{Ledger, Table};
use crate::receipts::ReceiptQueue;
use crate::record::PairRecord;

/// Most deposits to one device that are not answered.
///
/// Deposits are answered in order, so this many cover a round trip with group commit; more would only wait at the relay.
pub(crate) const WINDOW: usize = 32;

/// Most ids of used keys remembered for one device. A peer offers one key at a time, so a repeated offer is recent.
const MAX_USED_KEYS: usize = 16;

/// A copy in the order of its lane.
pub(crate) type Place = (u64, MsgId);

#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub pair: PairRecord,
    /// The key that the peer offers and nothing was sealed to.
    pub offer: Option<OfferedKey>,
    pub receipts: ReceiptQueue,
    /// Copies to seal and deposit, in order.
    pub ready: BTreeSet<Place>,
    /// Copies whose next try is later.
    pub waiting: BTreeSet<(Duration, Place)>,
    pub flights: BTreeMap<DepositId, Flight>,
    /// The relay asked to wait.
    pub backoff_until: Option<Duration>,
    /// It waits because the relay refused its device, whatever was to go there.
    pub refused: bool,
    pub backoffs: u32,
    /// An envelope without content is due: it tells of a new incarnation or repeats a key.
    pub announce: bool,
    /// Envelopes to ask for: a request to seal again is due.
    pub ask: BTreeSet<ShortHash>,
    /// Messages that wait for an earlier one.
    pub gap: Option<GapWait>,
}

/// One deposit without answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flight {
    pub message: Option<Place>,
    /// Number of the first receipt that rides along, and how many.
    pub receipts: Option<(u64, usize)>,
    pub announce: bool,
    pub ask: Vec<ShortHash>,
    /// How it goes.
    pub way: Option<Way>,
    /// The envelope, for a message.
    pub envelope: Option<ShortHash>,
}

/// Messages shown once an earlier one came, or at `until`.
#[derive(Debug, Clone)]
pub(crate) struct GapWait {
    pub until: Duration,
    /// First missing place; what was missing before is not waited for.
    pub from: u64,
    /// Newest place in a mailbox given to a message that waited and was shown.
    pub shown: u64,
    /// By place in the sender's order.
    pub waiting: BTreeMap<u64, MailKey>,
}

impl Lane {
    pub(crate) fn save(&self, peer: Peer, ledger: &mut Ledger) {
        ledger.put(Table::Pair, &peer.to_key(), &self.pair);
    }

    /// Takes over an offer from a message that is durable from this step on.
    pub(crate) fn take_offer(&mut self, peer: Peer, offered: OfferedKey, ledger: &mut Ledger) {
        let used = self.pair.used_keys.contains(&offered.id);
        if used || self.offer.as_ref().is_some_and(|offer| offer.id == offered.id) {
            return;
        }
        ledger.put(Table::Offer, &peer.to_key(), &offered);
        self.offer = Some(offered);
    }

    /// Gives the peer's key for one envelope, and never again.
    pub(crate) fn use_offer(&mut self, peer: Peer, wall_ms: u64, ledger: &mut Ledger) -> Option<OfferedKey> {
        let offer = self.offer.take_if(|offer| wall_ms < offer.use_until_ms)?;
        self.remember_used(offer.id);
        ledger.delete(Table::Offer, &peer.to_key());
        self.save(peer, ledger);
        Some(offer)
    }

    fn remember_used(&mut self, key: KeyId) {
        if self.pair.used_keys.len() >= MAX_USED_KEYS {
            self.pair.used_keys.remove(0);
        }
        self.pair.used_keys.push(key);
    }

    /// Forgets the peer's offer: one of the two databases fell back.
    pub(crate) fn drop_offer(&mut self, peer: Peer, ledger: &mut Ledger) {
        if self.offer.take().is_some() {
            ledger.delete(Table::Offer, &peer.to_key());
        }
    }

    /// When this lane needs a look.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let first_waiting = self.waiting.first().map(|(at, _)| *at);
        let gap = self.gap.as_ref().map(|gap| gap.until);
        [first_waiting, gap, self.backoff_until, self.receipts.repeat_at()].into_iter().flatten().min()
    }

    /// Whether anything is to be sent or is on its way besides messages, now or later.
    pub(crate) fn has_something(&self) -> bool {
        let waits = self.announce || !self.ask.is_empty() || self.receipts.len() > 0;
        waits || !self.flights.is_empty() || self.offer.is_some()
    }

    /// Whether anything could be sealed once the lane is free to.
    pub(crate) fn has_work(&self, now: Duration) -> bool {
        !self.ready.is_empty() || self.announce || !self.ask.is_empty() || self.receipts.is_due(now)
    }
}

#[cfg(test)]
mod tests {
    use penpal_protocol::ids::{DeviceId, Fingerprint, XWingPublicKey};
    use penpal_protocol::sealed::{Receipt, Stage};

    use super::*;
    use crate::record::QueuedReceipt;

    const PEER: Peer =
        Peer { account: Fingerprint::from_bytes([1; 16]), device: DeviceId::from_bytes([2; 16]) };

    fn offered(number: u8) -> OfferedKey {
        OfferedKey {
            id: KeyId::from_bytes([number; 8]),
            key: XWingPublicKey::from_slice(&[number; 1216]).unwrap(),
            use_until_ms: 100,
        }
    }

    #[test]
    fn a_lane_says_what_it_has_and_what_it_could_do() {
        let place = (1, MsgId::from_bytes([1; 16]));
        let receipt = Receipt {
            msg_id: place.1,
            stage: Stage::Delivered,
            session: None,
            mechanism: None,
            reason: None,
            at_ms: 1,
        };
        let with = |change: &dyn Fn(&mut Lane)| {
            let mut lane = Lane::default();
            change(&mut lane);
            (lane.has_something(), lane.has_work(Duration::ZERO))
        };
        assert_eq!(with(&|_| {}), (false, false));
        assert_eq!(with(&|lane| lane.announce = true), (true, true));
        assert_eq!(with(&|lane| lane.ask = BTreeSet::from([ShortHash::from_bytes([1; 16])])), (true, true));
        let queued = QueuedReceipt { receipt, expires_ms: 1 };
        let push = |lane: &mut Lane| lane.receipts.push(PEER, &mut 1, queued.clone(), &mut Ledger::default());
        assert_eq!(with(&push), (true, true));
        let sent = |lane: &mut Lane| {
            push(lane);
            lane.receipts.sending(1, 1, 1);
        };
        assert_eq!(with(&sent), (true, false));
        assert_eq!(with(&|lane| lane.offer = Some(offered(1))), (true, false));
        assert_eq!(with(&|lane| lane.ready = BTreeSet::from([place])), (false, true));
        let flight = Flight {
            message: None,
            receipts: None,
            announce: false,
            ask: Vec::new(),
            way: None,
            envelope: None,
        };
        let flies = |lane: &mut Lane| {
            lane.flights.insert(DepositId::from_bytes([1; 16]), flight.clone());
        };
        assert_eq!(with(&flies), (true, false));
    }

    #[test]
    fn the_newest_offer_counts_and_none_is_used_twice_or_too_late() {
        let (mut lane, mut ledger) = (Lane::default(), Ledger::default());
        lane.take_offer(PEER, offered(1), &mut ledger);
        lane.take_offer(PEER, offered(2), &mut ledger);
        let changes = ledger.changes();
        lane.take_offer(PEER, offered(2), &mut ledger);
        assert_eq!(ledger.changes(), changes, "an offer that is repeated says nothing new");
        assert_eq!(lane.use_offer(PEER, 100, &mut ledger), None);
        assert_eq!(lane.use_offer(PEER, 99, &mut ledger), Some(offered(2)));
        lane.take_offer(PEER, offered(2), &mut ledger);
        assert_eq!(lane.use_offer(PEER, 0, &mut ledger), None);
        lane.take_offer(PEER, offered(3), &mut ledger);
        assert_eq!(lane.use_offer(PEER, 0, &mut ledger), Some(offered(3)));
    }
}
