//! Answers to deposits.

use std::time::Duration;

use penpal_protocol::ids::{DepositId, Fingerprint};
use penpal_protocol::limits::HOUR_MS;
use penpal_protocol::wire::DepositOutcome;

use super::{Attempt, GONE, retry_after};
use crate::address::Peer;
use crate::event::Event;
use crate::lane::{Flight, Place};
use crate::ledger::Table;
use crate::machine::Delivery;
use crate::stage::{Stage, TrailEvent, Witness};
use crate::step::Step;

/// First wait after a relay said that it, or the recipient's spool, is full; doubles each time.
const FIRST_BACKOFF: Duration = Duration::from_secs(30);

/// Longest wait of that kind.
const MAX_BACKOFF: Duration = Duration::from_secs(1800);

/// Wait after a relay refused a deposit without a reason.
const GONE_RETRY: Duration = Duration::from_millis(HOUR_MS);

impl Delivery {
    /// The relay answered a deposit.
    pub fn handle_deposit_answer(
        &mut self,
        deposit: DepositId,
        outcome: DepositOutcome,
        step: &mut Step<'_>,
    ) {
        self.begin(step);
        let Some(peer) = self.outbox.flights.get(&deposit).copied() else { return };
        match outcome {
            DepositOutcome::Accepted => self.accepted(peer, deposit, step),
            DepositOutcome::Quota => self.put_off(peer, deposit, "quota", step),
            DepositOutcome::Full => self.put_off(peer, deposit, "relay-full", step),
            DepositOutcome::RecipientFull => self.put_off(peer, deposit, "recipient-full", step),
            DepositOutcome::No => self.gone(peer, deposit, step),
        }
        self.touch(peer);
    }

    fn accepted(&mut self, peer: Peer, deposit: DepositId, step: &mut Step<'_>) {
        self.outbox.flights.remove(&deposit);
        let now = step.now;
        let lane = self.lane(peer);
        lane.backoffs = 0;
        let Some(flight) = lane.flights.remove(&deposit) else { return };
        if flight.receipts.is_some() {
            lane.receipts.accepted(now.mono);
        }
        self.forget_unreadable(&peer.account, &flight.ask);
        if let Some(place) = flight.message {
            self.copy_relayed(peer, deposit, place, step);
        }
        if self.contacts.get(&peer.account).is_some_and(|contact| contact.gone) {
            self.try_refused_again(peer.account);
        }
    }

    fn copy_relayed(&mut self, peer: Peer, deposit: DepositId, place: Place, step: &mut Step<'_>) {
        let now = step.now;
        let msg_id = place.1;
        if let Some(copy) = self.outbox.live.get_mut(&(peer, msg_id))
            && copy.attempt == Attempt::Flying(deposit)
        {
            copy.record.deposits = copy.record.deposits.saturating_add(1);
            copy.record.last_deposit_ms = now.wall_ms;
            copy.record.reason = None;
            let at = now.mono.saturating_add(retry_after(copy.record.deposits));
            copy.attempt = Attempt::Waiting(at);
            let record = copy.record.clone();
            self.lane(peer).waiting.insert((at, place));
            self.save_copy(&record);
        }
        let event = TrailEvent { by: Witness::Relay, ..TrailEvent::here(Stage::Relayed, now.wall_ms) };
        self.state_copy(peer, msg_id, event, step);
    }

    /// Puts a deposit that did not get there back to what is to be sent; nothing is saved.
    pub(super) fn return_flight(&mut self, deposit: DepositId, now: Duration) -> Option<Flight> {
        let peer = self.outbox.flights.remove(&deposit)?;
        let lane = self.lanes.get_mut(&peer)?;
        let flight = lane.flights.remove(&deposit)?;
        if let Some((first, _)) = flight.receipts {
            lane.receipts.lost(lane.pair.receipts_floor, first);
        }
        lane.announce |= flight.announce;
        lane.ask.extend(&flight.ask);
        if let Some(place) = flight.message
            && let Some(copy) = self.outbox.live.get_mut(&(peer, place.1))
            && copy.attempt == Attempt::Flying(deposit)
        {
            copy.attempt = Attempt::Ready(now);
            lane.ready.insert(place);
        }
        Some(flight)
    }

    /// The relay is short of room: the whole lane waits, so that order holds.
    fn put_off(&mut self, peer: Peer, deposit: DepositId, reason: &str, step: &mut Step<'_>) {
        let flight = self.return_untaken(deposit, step.now.mono);
        let lane = self.lane(peer);
        if lane.backoff_until.is_none() {
            let doublings = lane.backoffs.min(6);
            lane.backoffs = lane.backoffs.saturating_add(1);
            let wait = FIRST_BACKOFF.saturating_mul(1 << doublings).min(MAX_BACKOFF);
            lane.backoff_until = Some(step.now.mono.saturating_add(wait));
        }
        self.note_reason(peer, flight, reason);
    }

    /// The same for one that the relay is known not to have taken: its envelope is nowhere.
    fn return_untaken(&mut self, deposit: DepositId, now: Duration) -> Option<Flight> {
        let peer = self.outbox.flights.get(&deposit).copied()?;
        let flight = self.return_flight(deposit, now)?;
        if let (Some((_, msg_id)), Some(envelope)) = (flight.message, flight.envelope)
            && let Some(copy) = self.outbox.live.get_mut(&(peer, msg_id))
        {
            copy.record.sealed.retain(|sealed| *sealed != envelope);
            let record = copy.record.clone();
            self.ledger.delete(Table::Sealed, envelope.as_bytes());
            self.save_copy(&record);
        }
        Some(flight)
    }

    /// The relay takes nothing for this device: its contact was removed there, or the account or only the device is gone.
    fn gone(&mut self, peer: Peer, deposit: DepositId, step: &mut Step<'_>) {
        let flight = self.return_untaken(deposit, step.now.mono);
        if flight.as_ref().is_some_and(|flight| flight.way != self.contacts.way(&peer.account)) {
            // It was under way on an edge or to a place that gave way to another one: it goes by that one, and no contact is gone.
            return;
        }
        let completes = flight
            .as_ref()
            .and_then(|flight| flight.message)
            .is_some_and(|(_, msg_id)| self.outbox.live.get(&(peer, msg_id)).is_some_and(|copy| copy.boot));
        self.note_reason(peer, flight, GONE);
        let contact = self.contacts.get(&peer.account);
        if contact.is_some_and(|contact| contact.info.devices.iter().any(|device| *device != peer.device)) {
            // It may be revoked, and the others there: the contact's profile says so, and whoever fetches it tells.
            self.refused_lane(peer, completes, step);
            return;
        }
        self.account_gone(peer.account, completes, step);
    }

    /// Nothing goes there for a while, except for what completes another invite: that has an edge of its own, and is kept back only by
    /// `completes`, its own refusal.
    fn refused_lane(&mut self, peer: Peer, completes: bool, step: &Step<'_>) {
        if completes || self.first_boot(peer).is_none() {
            let lane = self.lane(peer);
            (lane.backoff_until, lane.refused) = (Some(step.now.mono.saturating_add(GONE_RETRY)), true);
        }
    }

    fn account_gone(&mut self, account: Fingerprint, completes: bool, step: &Step<'_>) {
        for peer in self.lanes_of(&account) {
            self.refused_lane(peer, completes, step);
            self.touch(peer);
        }
        if let Some(contact) = self.contacts.get_mut(&account)
            && !std::mem::replace(&mut contact.gone, true)
        {
            self.events.push_back(Event::Gone { account });
        }
    }

    /// The relay refused this contact in answer to something else than a deposit, such as fetching its bundles.
    pub fn handle_gone(&mut self, account: Fingerprint, step: &mut Step<'_>) {
        self.begin(step);
        self.account_gone(account, false, step);
        let copies: Vec<_> = self
            .outbox
            .live
            .iter()
            .filter(|((peer, _), _)| peer.account == account)
            .map(|(key, _)| *key)
            .collect();
        for (peer, msg_id) in copies {
            self.set_reason(peer, msg_id, GONE);
        }
    }

    fn note_reason(&mut self, peer: Peer, flight: Option<Flight>, reason: &str) {
        if let Some((_, msg_id)) = flight.and_then(|flight| flight.message) {
            self.set_reason(peer, msg_id, reason);
        }
    }

    /// Takes back why a copy is not through, if that is why.
    pub(super) fn clear_reason(&mut self, peer: Peer, msg_id: penpal_protocol::ids::MsgId, reason: &str) {
        let Some(copy) = self.outbox.live.get_mut(&(peer, msg_id)) else { return };
        if copy.record.reason.as_deref() == Some(reason) {
            copy.record.reason = None;
            let record = copy.record.clone();
            self.save_copy(&record);
        }
    }

    fn set_reason(&mut self, peer: Peer, msg_id: penpal_protocol::ids::MsgId, reason: &str) {
        let Some(copy) = self.outbox.live.get_mut(&(peer, msg_id)) else { return };
        if copy.record.reason.as_deref() == Some(reason) {
            return;
        }
        copy.record.reason = Some(reason.to_owned());
        let record = copy.record.clone();
        self.save_copy(&record);
    }
}
