//! Connections, edges and contacts as they come and go.

use penpal_protocol::ids::{DepositId, DeviceId, Fingerprint, Incarnation, RelayPin, SpoolEpoch};

use super::{Attempt, EDGE_UP_RETRY, GONE};
use crate::address::Peer;
use crate::contacts::{ContactInfo, Standing};
use crate::event::Event;
use crate::lane::Lane;
use crate::machine::Delivery;
use crate::record::CopyRecord;
use crate::stage::{Stage, TrailEvent};
use crate::step::Step;

impl Delivery {
    /// Tells of a contact at start, and whenever its relay, standing or devices change.
    pub fn set_contact(&mut self, account: Fingerprint, info: ContactInfo, step: &mut Step<'_>) {
        self.begin(step);
        let (standing, open, way) = (info.standing, info.open, info.way());
        let devices = info.devices.clone();
        let before = self.contacts.set(account, info);
        self.end_copies_for_others(account, &devices, step);
        if standing == Standing::Active
            && before.as_ref().is_some_and(|before| before.standing == Standing::OnProbation)
        {
            self.release_account(account, step);
        }
        let is_other = |before: &ContactInfo| before.way() != way || (open && !before.open);
        if before.as_ref().is_some_and(is_other) {
            self.try_refused_again(account);
        }
        self.touch_account(&account);
    }

    /// What the relay refused for another edge or another list of devices, or before it said that the contact is there or took something for
    /// it, says nothing any more.
    pub(super) fn try_refused_again(&mut self, account: Fingerprint) {
        let Some(contact) = self.contacts.get_mut(&account) else { return };
        if std::mem::take(&mut contact.gone) {
            self.events.push_back(Event::Back { account });
        }
        for peer in self.lanes_of(&account) {
            let copies = self.outbox.live.iter().filter(|((to, _), _)| *to == peer);
            let copies = copies.filter(|(_, copy)| copy.record.reason.as_deref() == Some(GONE));
            let copies: Vec<_> = copies.map(|((_, msg_id), _)| *msg_id).collect();
            let lane = self.lane(peer);
            if std::mem::take(&mut lane.refused) {
                lane.backoff_until = None;
            }
            for msg_id in copies {
                self.clear_reason(peer, msg_id, GONE);
            }
        }
    }

    /// A device that its account does not list any more was revoked: nothing is sent there, and what is on its way comes to an end.
    fn end_copies_for_others(&mut self, account: Fingerprint, devices: &[DeviceId], step: &mut Step<'_>) {
        let is_gone = |peer: &Peer| peer.account == account && !devices.contains(&peer.device);
        let live = self.outbox.live.iter().filter(|((peer, _), _)| is_gone(peer));
        let live: Vec<_> = live.map(|((peer, msg_id), live)| (*peer, *msg_id, live.record.clone())).collect();
        for (peer, msg_id, record) in live {
            if Self::is_owed(record.stage) {
                let event = TrailEvent {
                    reason: Some("device-revoked".to_owned()),
                    ..TrailEvent::here(Stage::Refused, step.now.wall_ms)
                };
                self.state_copy(peer, msg_id, event, step);
            } else if record.again {
                self.write_back(CopyRecord { again: false, ..record }, step);
            }
        }
        for peer in self.lanes_of(&account).into_iter().filter(is_gone) {
            if self.lanes.get(&peer).is_some_and(Lane::has_something) {
                self.drop_lane(peer);
            }
        }
    }

    /// The contact was removed here: nothing is sent to it or expected of it any more.
    pub fn remove_contact(&mut self, account: Fingerprint, step: &mut Step<'_>) {
        self.begin(step);
        self.contacts.remove(&account);
        self.keyring.retire_account(&account, step.now, &mut self.ledger);
        let owed: Vec<_> =
            self.outbox.live.keys().filter(|(peer, _)| peer.account == account).copied().collect();
        for (peer, msg_id) in owed {
            let event = TrailEvent {
                reason: Some("contact-removed".to_owned()),
                ..TrailEvent::here(Stage::Refused, step.now.wall_ms)
            };
            self.state_copy(peer, msg_id, event, step);
        }
        for peer in self.lanes_of(&account) {
            self.drop_lane(peer);
        }
        let hashes: Vec<_> = self.outbox.unreadable.get(&account).into_iter().flatten().copied().collect();
        self.forget_unreadable(&account, &hashes);
    }

    fn drop_lane(&mut self, peer: Peer) {
        let Some(lane) = self.lanes.get_mut(&peer) else { return };
        for deposit in std::mem::take(&mut lane.flights).into_keys() {
            self.outbox.flights.remove(&deposit);
        }
        lane.announce = false;
        lane.ask.clear();
        lane.receipts.clear(peer, &mut lane.pair.receipts_floor, &mut self.ledger);
        lane.drop_offer(peer, &mut self.ledger);
        // The counters stay: should the two become contacts again, places and keys are not used twice.
        lane.save(peer, &mut self.ledger);
        self.touch(peer);
    }

    /// Deposits at this relay can be made from now on.
    pub fn handle_relay_up(&mut self, relay: RelayPin, step: &mut Step<'_>) {
        self.begin(step);
        self.contacts.relay_up(relay);
        for account in self.contacts.at(&relay) {
            for peer in self.lanes_of(&account) {
                let lane = self.lane(peer);
                // The wait was asked for by a relay that may have been restarted since.
                lane.backoff_until = None;
                self.touch(peer);
            }
        }
    }

    /// The connection to this relay ended: deposits without answer are made again, sealed anew.
    pub fn handle_relay_lost(&mut self, relay: RelayPin, step: &mut Step<'_>) {
        self.begin(step);
        self.contacts.relay_down(&relay);
        for account in self.contacts.at(&relay) {
            for peer in self.lanes_of(&account) {
                let deposits: Vec<DepositId> = self
                    .lanes
                    .get(&peer)
                    .map(|lane| lane.flights.keys().copied().collect())
                    .unwrap_or_default();
                for deposit in deposits {
                    self.return_flight(deposit, step.now.mono);
                }
                self.touch(peer);
            }
        }
    }

    /// The home relay answered `Hello`: life of the spool, and newest row given out in it.
    pub fn handle_connected(&mut self, epoch: SpoolEpoch, newest: u64, step: &mut Step<'_>) {
        self.begin(step);
        if self.spool.connected(epoch, newest, step.now.mono) {
            self.save_spool();
            self.keyring.epoch_changed(&mut self.ledger);
        }
        self.keyring.publish_again();
        if self.spool.may_seal() {
            self.touch_all();
        }
    }

    /// The connection to the home relay ended.
    pub fn handle_disconnected(&mut self, step: &mut Step<'_>) {
        self.begin(step);
        self.spool.disconnected(step.now.mono);
    }

    /// The relay says whether a device of this contact is connected.
    pub fn handle_edge(&mut self, account: Fingerprint, up: bool, step: &mut Step<'_>) {
        self.begin(step);
        let Some(contact) = self.contacts.get_mut(&account) else { return };
        if std::mem::replace(&mut contact.up, up) == up || !up {
            return;
        }
        let soon = step.now.mono.saturating_add(EDGE_UP_RETRY);
        for peer in self.lanes_of(&account) {
            let Some(lane) = self.lanes.get_mut(&peer) else { continue };
            let waiting = std::mem::take(&mut lane.waiting);
            for (at, place) in waiting {
                let at = at.min(soon);
                lane.waiting.insert((at, place));
                if let Some(copy) = self.outbox.live.get_mut(&(peer, place.1)) {
                    copy.attempt = Attempt::Waiting(at);
                }
            }
            self.touch(peer);
        }
    }

    /// The relay found these records to be an older copy: takes a new incarnation and fresh keys, and tells every contact.
    ///
    /// Returns the new incarnation, for the next `Hello`.
    pub fn handle_rolled_back(&mut self, step: &mut Step<'_>) -> Incarnation {
        self.begin(step);
        self.node.incarnation = Incarnation::from_bytes(step.random());
        self.save_node();
        self.keyring.retire_all(step.now, &mut self.ledger);
        let peers: Vec<Peer> = self
            .contacts
            .accounts()
            .filter(|(_, contact)| contact.info.standing != Standing::Blocked)
            .flat_map(|(account, contact)| {
                contact.info.devices.iter().map(|device| Peer::new(*account, *device))
            })
            .collect();
        for (peer, lane) in &mut self.lanes {
            lane.receipts.fell_back(&mut lane.pair.receipts_floor);
            lane.save(*peer, &mut self.ledger);
        }
        for peer in peers {
            let lane = self.lanes.entry(peer).or_default();
            lane.announce = true;
            // It may have been used by the later state, and no key is used twice.
            lane.drop_offer(peer, &mut self.ledger);
            lane.save(peer, &mut self.ledger);
            self.touch(peer);
        }
        self.node.incarnation
    }
}
