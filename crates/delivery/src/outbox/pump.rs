//! What of a lane is sealed now.

use std::time::Duration;

use penpal_protocol::ids::Fingerprint;
use penpal_protocol::limits::MAX_NEED_RESEAL;

use super::Attempt;
use crate::address::Peer;
use crate::command::{Command, SealKey};
use crate::lane::{Place, WINDOW};
use crate::machine::Delivery;
use crate::step::Step;

/// How long a fetched bundle is sealed to without fetching again: as long as a sealed envelope may wait for its deposit.
const PREKEYS_FRESH: Duration = Duration::from_secs(600);

/// Shortest and longest wait after a fetch that failed.
const FETCH_RETRY: Duration = Duration::from_secs(5);
const MAX_FETCH_RETRY: Duration = Duration::from_secs(3600);

/// How often a contact is asked to seal again, at most.
const ASK_PERIOD: Duration = Duration::from_secs(60);

/// How fresh a key must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Freshness {
    /// The peer's offer, else a bundle fetched in the last ten minutes.
    Usual,
    /// A bundle fetched since then; never an offer.
    Since(Duration),
}

impl Delivery {
    /// Seals what a lane has ready, as far as its window, its keys and its relay allow.
    pub(crate) fn pump(&mut self, peer: Peer, step: &mut Step<'_>) {
        if !self.spool.may_seal() || !self.contacts.is_reachable(&peer.account) {
            return;
        }
        self.begin_ask(&peer.account, step.now.mono);
        let now = step.now.mono;
        loop {
            let Some(lane) = self.lanes.get(&peer) else { return };
            if lane.flights.len() >= WINDOW || lane.backoff_until.is_some_and(|until| now < until) {
                return;
            }
            let open = self.contacts.is_open(&peer.account);
            if !open {
                let Some(place) = self.first_boot(peer) else { return };
                let freshness = self.freshness(peer, place);
                let Some(key) = self.choose_key(peer, freshness, step) else { return };
                self.seal_copy(peer, place, key, step);
            } else if !lane.ask.is_empty() {
                let Some(key) = self.choose_key(peer, Freshness::Since(self.asked_at(&peer)), step) else {
                    return;
                };
                self.seal_ask(peer, key, step);
            } else if let Some(place) =
                lane.ready.iter().find(|place| !self.outbox.held.contains(&place.1)).copied()
            {
                let freshness = self.freshness(peer, place);
                let Some(key) = self.choose_key(peer, freshness, step) else { return };
                self.seal_copy(peer, place, key, step);
            } else if lane.receipts.is_due(now) || lane.announce {
                let Some(key) = self.choose_key(peer, Freshness::Usual, step) else { return };
                self.seal_receipts(peer, key, step);
            } else {
                return;
            }
        }
    }

    /// The next copy that goes to a contact before it is open.
    pub(super) fn first_boot(&self, peer: Peer) -> Option<Place> {
        let lane = self.lanes.get(&peer)?;
        let boots = |place: &&Place| self.outbox.live.get(&(peer, place.1)).is_some_and(|copy| copy.boot);
        lane.ready.iter().find(boots).copied()
    }

    fn freshness(&self, peer: Peer, place: Place) -> Freshness {
        match self.outbox.live.get(&(peer, place.1)) {
            Some(copy) if copy.boot || copy.record.again => match copy.attempt {
                Attempt::Ready(since) => Freshness::Since(since),
                Attempt::Flying(_) | Attempt::Waiting(_) => Freshness::Usual,
            },
            _ => Freshness::Usual,
        }
    }

    fn choose_key(&mut self, peer: Peer, freshness: Freshness, step: &Step<'_>) -> Option<SealKey> {
        if freshness == Freshness::Usual
            && let Some(lane) = self.lanes.get_mut(&peer)
            && let Some(offer) = lane.use_offer(peer, step.now.wall_ms, &mut self.ledger)
        {
            return Some(SealKey::Receive(offer));
        }
        let now = step.now.mono;
        let contact = self.contacts.get_mut(&peer.account)?;
        let prekeys = &mut contact.prekeys;
        let since = match freshness {
            Freshness::Usual => Duration::ZERO,
            Freshness::Since(since) => since,
        };
        let fresh = prekeys.fetched.is_some_and(|at| at >= since && now.saturating_sub(at) < PREKEYS_FRESH);
        if fresh {
            return Some(SealKey::Prekey);
        }
        if !prekeys.asked && prekeys.retry_at.is_none() {
            prekeys.asked = true;
            self.commands.push_back(Command::FetchPrekeys { account: peer.account });
        }
        None
    }

    /// The shell fetched manifest and bundles of a contact, or could not.
    ///
    /// `fetched` is true when the newest manifest and bundles are at hand for [`SealKey::Prekey`].
    pub fn handle_prekeys(&mut self, account: Fingerprint, fetched: bool, step: &mut Step<'_>) {
        self.begin(step);
        let Some(contact) = self.contacts.get_mut(&account) else { return };
        let prekeys = &mut contact.prekeys;
        prekeys.asked = false;
        if fetched {
            prekeys.fetched = Some(step.now.mono);
            prekeys.retry_at = None;
            prekeys.failures = 0;
        } else {
            prekeys.fetched = None;
            let doublings = prekeys.failures.min(10);
            prekeys.failures = prekeys.failures.saturating_add(1);
            let wait = FETCH_RETRY.saturating_mul(1 << doublings).min(MAX_FETCH_RETRY);
            prekeys.retry_at = Some(step.now.mono.saturating_add(wait));
        }
        self.touch_account(&account);
    }

    pub(crate) fn retry_fetches(&mut self, now: Duration) {
        for account in self.contacts.fetches_due(now) {
            self.touch_account(&account);
        }
        if self.outbox.ask_at.is_some_and(|at| at <= now) {
            self.outbox.ask_at = None;
            let accounts: Vec<Fingerprint> = self.outbox.unreadable.keys().copied().collect();
            for account in accounts {
                self.touch_account(&account);
            }
        }
    }

    fn asked_at(&self, peer: &Peer) -> Duration {
        self.contacts.get(&peer.account).and_then(|contact| contact.last_ask).unwrap_or_default()
    }

    /// Starts a request to seal again when one is due: at most one a minute for a contact, to each of its devices.
    fn begin_ask(&mut self, account: &Fingerprint, now: Duration) {
        let Some(hashes) = self.outbox.unreadable.get(account).filter(|hashes| !hashes.is_empty()) else {
            return;
        };
        let Some(contact) = self.contacts.get_mut(account) else { return };
        let due = contact.last_ask.map_or(now, |last| last.saturating_add(ASK_PERIOD));
        if now < due {
            self.outbox.ask_at = Some(self.outbox.ask_at.map_or(due, |at| at.min(due)));
            return;
        }
        let hashes: Vec<_> = hashes.iter().copied().take(MAX_NEED_RESEAL).collect();
        contact.last_ask = Some(now);
        let devices = contact.info.devices.clone();
        for device in devices {
            let peer = Peer::new(*account, device);
            self.lane(peer).ask.extend(&hashes);
            self.touch(peer);
        }
        // Their rows stay until a relay has the request; a restart before that asks again.
        if let Some(wanted) = self.outbox.unreadable.get_mut(account) {
            wanted.retain(|hash| !hashes.contains(hash));
        }
    }
}
