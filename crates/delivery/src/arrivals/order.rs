//! Order of what one device sends to this one: gaps are waited for, then shown with a mark.

use std::collections::BTreeMap;
use std::time::Duration;

use penpal_protocol::sealed::Body;

use crate::address::{MailKey, Peer};
use crate::event::Event;
use crate::lane::GapWait;
use crate::ledger::Table;
use crate::machine::Delivery;
use crate::record::MailRecord;
use crate::step::Step;

/// How long a message waits for one that was sent before it.
const GAP_WAIT: Duration = Duration::from_secs(2);

/// Most missing places remembered for one device; they only tell late messages from doubled places.
const MAX_HOLES: usize = 64;

/// Most messages of one device that wait for one sent before them; when there are more, all are shown with their marks. They are shown in one step.
const MAX_WAITING: usize = 512;

/// When an arriving message is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    /// Its place, when it has one in the peer's present incarnation.
    seq: Option<u64>,
    /// The one before it is missing.
    pub gap: bool,
    /// Later ones were shown already.
    pub late: bool,
}

impl Delivery {
    /// Notes the place of a message and says whether it is its turn.
    pub(super) fn turn(&mut self, peer: Peer, present: bool, body: &Body, now: Duration) -> Turn {
        let Some(order) = body.order.filter(|_| present) else {
            // Sent before the peer's database fell back: what it sent since may have been shown.
            let late = !present && self.lanes.get(&peer).is_some_and(|lane| lane.pair.seen_seq > 0);
            return Turn { seq: None, gap: false, late };
        };
        let seq = order.seq;
        let lane = self.lanes.entry(peer).or_default();
        let pair = &mut lane.pair;
        let next = pair.seen_seq.saturating_add(1);
        let mut turn = Turn { seq: Some(seq), gap: false, late: false };
        if seq >= next {
            turn.gap = seq > next;
            if !turn.gap && order.prev_hash != pair.seen_chain {
                self.events.push_back(Event::Gap { peer });
            }
            let first = next.max(seq.saturating_sub(u64::try_from(MAX_HOLES).unwrap_or(u64::MAX)));
            pair.holes.extend(first..seq);
            let extra = pair.holes.len().saturating_sub(MAX_HOLES);
            pair.holes.drain(..extra);
            pair.seen_seq = seq;
            pair.seen_chain = body.chain_hash();
            if turn.gap && lane.gap.is_none() {
                let until = now.saturating_add(GAP_WAIT);
                lane.gap = Some(GapWait { until, from: first, shown: 0, waiting: BTreeMap::new() });
            }
        } else {
            let filled = pair.holes.binary_search(&seq).map(|at| pair.holes.remove(at)).is_ok();
            turn.late = !(filled && lane.gap.as_ref().is_some_and(|gap| gap.from <= seq));
            if !filled {
                self.events.push_back(Event::Gap { peer });
            }
        }
        lane.save(peer, &mut self.ledger);
        turn
    }

    /// Shows a stored message, or lets it wait for those before it.
    pub(super) fn take_turn(&mut self, peer: Peer, turn: Turn, mail: &MailRecord, step: &mut Step<'_>) {
        let lane = self.lanes.entry(peer).or_default();
        let waits = match (&mut lane.gap, turn.seq) {
            (Some(gap), Some(seq)) if !turn.late => {
                gap.waiting.insert(seq, mail.key());
                true
            }
            _ => false,
        };
        if waits {
            self.inbox.set_waiting(&mail.key(), true);
            self.release_in_order(peer, turn, step);
            let waiting =
                self.lanes.get(&peer).and_then(|lane| lane.gap.as_ref()).map(|gap| gap.waiting.len());
            if waiting.is_some_and(|waiting| waiting >= MAX_WAITING) {
                self.give_up_gap(peer, step);
            }
        } else {
            self.announce_if_shown(mail, step);
        }
        self.touch(peer);
    }

    /// A message that is not shown used up its place.
    pub(super) fn skip_turn(&mut self, peer: Peer, turn: &Turn, step: &mut Step<'_>) {
        self.release_in_order(peer, *turn, step);
        self.touch(peer);
    }

    /// Shows every waiting message before which nothing is missing.
    fn release_in_order(&mut self, peer: Peer, turn: Turn, step: &mut Step<'_>) {
        let Some(lane) = self.lanes.get_mut(&peer) else { return };
        let Some(gap) = &mut lane.gap else { return };
        let missing = lane.pair.holes.iter().copied().find(|hole| *hole >= gap.from);
        let later = missing.map(|missing| gap.waiting.split_off(&missing)).unwrap_or_default();
        let shown = std::mem::replace(&mut gap.waiting, later);
        if gap.waiting.is_empty() && missing.is_none() {
            lane.gap = None;
        }
        let mut newest = 0;
        for (seq, key) in shown {
            let moved = turn.seq != Some(seq);
            newest = self.show(key, false, moved, step).unwrap_or(newest);
        }
        if let Some(gap) = self.lanes.get_mut(&peer).and_then(|lane| lane.gap.as_mut()) {
            gap.shown = gap.shown.max(newest);
        }
    }

    /// The wait for missing messages may be over: what waits is shown, with its marks.
    pub(crate) fn end_gap(&mut self, peer: Peer, step: &mut Step<'_>) {
        let gap = self.lanes.get(&peer).and_then(|lane| lane.gap.as_ref());
        if gap.is_some_and(|gap| gap.until <= step.now.mono) {
            self.give_up_gap(peer, step);
        }
    }

    /// Missing messages are waited for no longer: what waits is shown, with its marks.
    pub(super) fn give_up_gap(&mut self, peer: Peer, step: &mut Step<'_>) {
        let Some(lane) = self.lanes.get_mut(&peer) else { return };
        let Some(gap) = lane.gap.take() else { return };
        let holes = lane.pair.holes.clone();
        if !gap.waiting.is_empty() {
            self.events.push_back(Event::Gap { peer });
        }
        let mut newest = gap.shown;
        for (seq, key) in gap.waiting {
            let before_missing = seq.checked_sub(1).is_some_and(|before| holes.contains(&before));
            // Those that came out of order are moved behind those that were sent before them.
            let ordinal = self.inbox.ordinal_of(&key).unwrap_or_default();
            let shown = self.show(key, before_missing, ordinal < newest, step);
            newest = newest.max(shown.unwrap_or(ordinal));
        }
    }

    /// Shows a message that waited; `moved` gives it the newest place in its mailbox. Returns its place.
    fn show(&mut self, key: MailKey, gap: bool, moved: bool, step: &mut Step<'_>) -> Option<u64> {
        let mut mail: MailRecord = self.ledger.get(step.records, Table::Mail, &key.to_key())?;
        let mark = mail.received.as_ref().is_some_and(|received| received.marks.gap);
        if moved {
            self.unplace(&mail);
            mail.ordinal = self.take_ordinal();
        }
        if let Some(received) = &mut mail.received {
            received.marks.gap = gap;
        }
        if moved || mark != gap {
            self.ledger.put(Table::Mail, &key.to_key(), &mail);
        }
        if moved {
            self.index_thread(&mail);
            self.place(&mail);
        }
        self.inbox.set_waiting(&key, false);
        self.announce_if_shown(&mail, step);
        Some(mail.ordinal)
    }
}
