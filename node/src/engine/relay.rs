//! What links report: connections, answers, events.

use std::ops::Bound;
use std::time::Duration;

use penpal_contact::{At, Unreachable};
use penpal_delivery::SpoolRow;
use penpal_protocol::cbor::Text;
use penpal_protocol::ids::{DepositId, EdgeId, RelayPin};
use penpal_protocol::wire::{
    Answer, DepositOutcome, Event, Hello, HelloAnswer, RefusalCode, Request, Verdict,
};

use super::links::{Asked, LinkState};
use super::machines::{Engine, contact_step, delivery_step, room_step};
use super::meta::Runs;
use super::notices::Holds;
use super::{LinkId, Output, storage};
use crate::daemon::link::{LinkCommand, LinkEvent, Trouble};

/// How long after a copy of this node was seen connected `Hello` is said again. A connection that died unnoticed lives as long.
const CLONE_RETRY: Duration = Duration::from_secs(61);

/// How long after a `Hello` that was refused or got no answer it is said again on the same connection.
const HELLO_RETRY: Duration = Duration::from_secs(30);

/// How often `Hello` is said on one connection. A relay that goes on asking for it contradicts itself.
const MAX_HELLOS: u32 = 8;

/// Rows, and their bytes, that may come before the answer to `Hello`: more than an honest relay's window of 512 rows or 1 MiB.
/// All of them are taken in one step.
const MAX_EARLY: (usize, usize) = (1_024, 1280 * 1024);

/// Most edges that are up and belong to nobody known here.
const MAX_EARLY_EDGES: usize = 4 * penpal_protocol::limits::MAX_CONTACTS;

/// How long a relay is not believed again that this database is an older copy: each time costs all receive keys.
const ROLLED_BACK_PAUSE: Duration = Duration::from_secs(600);

/// First and longest pause before a contact's relay that could not be reached counts as reachable again.
const FOREIGN_RETRY: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(1_800));

impl Engine {
    pub(super) fn link_event(&mut self, id: LinkId, event: LinkEvent) {
        if self.links.get(id).is_none() {
            return;
        }
        match event {
            LinkEvent::Dialing => self.set_link(id, LinkState::Dialing),
            LinkEvent::Up { welcome, .. } => {
                self.set_link(id, LinkState::Up);
                tracing::info!(link = id.0, software = welcome.software.as_str(), "connected to a relay");
                self.link_up(id);
            }
            LinkEvent::Down { trouble } => self.link_down(id, trouble),
            LinkEvent::Event { event, .. } => {
                if id == LinkId::HOME {
                    self.home_event(*event);
                }
            }
            LinkEvent::Answer { token, answer, refused } => {
                if refused.is_some() {
                    self.waiting.refused = refused;
                }
                if let Some(what) = self.links.answered(token) {
                    self.answered(&what, answer.map(|answer| *answer));
                }
            }
            LinkEvent::Deposited { deposit, outcome } => self.deposited(id, deposit, outcome),
        }
    }

    fn set_link(&mut self, id: LinkId, state: LinkState) {
        if let Some(link) = self.links.get_mut(id) {
            link.state = state;
        }
        if id == LinkId::HOME {
            self.tell_of_relay();
        }
    }

    fn link_up(&mut self, id: LinkId) {
        let Some((at, pin)) = self.links.at(id).zip(self.links.get(id).map(|link| link.address.pin)) else {
            return;
        };
        if id == LinkId::HOME {
            self.greeting.begin();
            if self.contacts.account().is_some() {
                self.hello();
            } else {
                self.contacts.handle_connected(&At::Home, &mut contact_step!(self));
            }
            return;
        }
        if let Some(relay) = self.foreign.get_mut(&pin) {
            (relay.failures, relay.retry_at) = (0, None);
        }
        self.contacts.handle_connected(&at, &mut contact_step!(self));
        self.delivery.handle_relay_up(pin, &mut delivery_step!(self));
    }

    fn link_down(&mut self, id: LinkId, trouble: Trouble) {
        let Some(pin) = self.links.get(id).map(|link| link.address.pin) else { return };
        let was_up = self.links.get(id).is_some_and(|link| link.state == LinkState::Up);
        let unanswered = self.flying.values().any(|(link, ..)| *link == id);
        self.flying.retain(|_, (link, ..)| *link != id);
        self.waiting.note_trouble(id, &trouble);
        self.set_link(id, LinkState::Down(Some(trouble)));
        if id == LinkId::HOME {
            if was_up {
                self.delivery.handle_relay_lost(pin, &mut delivery_step!(self));
                self.delivery.handle_disconnected(&mut delivery_step!(self));
                self.sessions.handle_disconnected(self.now);
                self.up.clear();
            }
            // What waits to be looked at again comes again.
            self.unproved.clear();
            self.early_edges.clear();
            self.greeting.asked = false;
            self.greeting.greeted = false;
            self.greeting.again_at = None;
        } else if !was_up || unanswered {
            self.foreign_failed(id, pin);
        }
        // A quiet link to a contact's relay that hung up is not lost: it is dialled again when there is something to say.
    }

    /// A relay of contacts did not answer. Its key is what it is known by, and contacts may name different addresses for one: the next of them
    /// is tried at once, so that an address that does not answer keeps nobody's mail from the others.
    fn foreign_failed(&mut self, id: LinkId, pin: RelayPin) {
        let Some(failed) = self.links.get(id).map(|link| link.address.clone()) else { return };
        let Some(relay) = self.foreign.get_mut(&pin) else { return };
        let mut addresses = self.contacts.addresses_of(&pin);
        addresses.insert(failed.clone());
        let round = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        relay.failures = relay.failures.saturating_add(1);
        let pause = if relay.failures.is_multiple_of(round) {
            let rounds = relay.failures / round - 1;
            FOREIGN_RETRY.0.saturating_mul(1 << rounds.min(8)).min(FOREIGN_RETRY.1)
        } else {
            Duration::ZERO
        };
        relay.retry_at = Some(self.now.mono.saturating_add(pause));
        let behind = addresses.range((Bound::Excluded(&failed), Bound::Unbounded)).next();
        if let Some(next) = behind.or_else(|| addresses.first()).filter(|next| **next != failed).cloned() {
            self.close_link(id);
            self.open_link(next);
        }
        self.delivery.handle_relay_lost(pin, &mut delivery_step!(self));
    }

    /// Relays of contacts that could not be reached count as reachable again.
    pub(super) fn retry_foreign(&mut self) {
        let now = self.now.mono;
        let due = self.foreign.iter_mut().filter(|(_, relay)| relay.retry_at.is_some_and(|at| at <= now));
        let due: Vec<_> = due
            .map(|(pin, relay)| {
                relay.retry_at = None;
                *pin
            })
            .collect();
        for pin in due {
            self.delivery.handle_relay_up(pin, &mut delivery_step!(self));
        }
    }

    /// Says `Hello` on the home link.
    pub(super) fn hello(&mut self) {
        let is_up = self.links.get(LinkId::HOME).is_some_and(|link| link.state == LinkState::Up);
        if !is_up || self.greeting.asked || self.greeting.given_up || self.contacts.account().is_none() {
            return;
        }
        if self.greeting.hellos >= MAX_HELLOS {
            return self.give_up("the relay contradicts itself about what it holds for this device");
        }
        self.greeting.hellos += 1;
        self.greeting.asked = true;
        // Logged in the step that says it, so before it leaves; a step that a full disk undid took its row along.
        self.storage.change(storage::META, Runs::key(), Some(self.greeting.runs.encode()));
        let request = Hello {
            incarnation: self.delivery.incarnation(),
            run: self.greeting.run,
            since: self.greeting.runs.since(self.greeting.run),
            software: Text::truncated(concat!("penpal ", env!("CARGO_PKG_VERSION"))),
        };
        self.ask(LinkId::HOME, Asked::Hello, Request::Hello(request));
    }

    /// Ends the home connection, because of what the relay says on it; another one is tried after a pause.
    fn give_up(&mut self, why: &str) {
        tracing::warn!(why, "the connection to the relay is given up");
        self.greeting.given_up = true;
        self.greeting.greeted = false;
        self.greeting.forget_early();
        self.notice(Holds::UntilGreeted, why.to_owned());
        let command = LinkCommand::GiveUp { why: why.to_owned() };
        self.outputs.push(Output::Link { link: LinkId::HOME, command });
    }

    pub(super) fn answered(&mut self, what: &Asked, answer: Option<Answer>) {
        match (what, answer) {
            (Asked::Hello, Some(Answer::Hello(answer))) => self.greeted(&answer),
            (Asked::Hello, other) => {
                self.greeting.asked = false;
                // It waits before it asks again: only what asks at once can go round in a circle.
                self.greeting.hellos = 0;
                // Without the answer nothing is received, and the connection alone would never ask again.
                self.greeting.again_at = Some(self.now.mono.saturating_add(HELLO_RETRY));
                if let Some(Answer::Refused(refusal)) = other {
                    self.refused_at_home(refusal.code);
                }
            }
            (Asked::Ack, Some(Answer::Ack(answer))) => {
                let same_life =
                    self.delivery.handle_acked(answer.epoch, answer.newest, &mut delivery_step!(self));
                if !same_life {
                    self.greeting.greeted = false;
                    self.hello();
                }
            }
            (Asked::Ack, _) => self.delivery.handle_ack_lost(&mut delivery_step!(self)),
            (Asked::Discard(blob), answer) => self.discarded(*blob, answer.as_ref()),
            (Asked::Contact(token), answer) => {
                self.contacts.handle_answer(*token, answer.ok_or(Unreachable), &mut contact_step!(self));
            }
        }
    }

    fn refused_at_home(&mut self, code: RefusalCode) {
        self.greeting.refused = Some(code);
        self.tell_of_relay();
        self.notice(Holds::UntilGreeted, refusal_words(code));
    }

    /// What the relay last said instead of greeting this node.
    pub(super) fn home_refusal(&self) -> Option<RefusalCode> {
        self.greeting.refused.filter(|_| !self.greeting.greeted)
    }

    /// Whether our relay does not know this device.
    pub(super) fn is_cut_off(&self) -> bool {
        self.home_refusal() == Some(RefusalCode::NotRegistered)
    }

    fn greeted(&mut self, answer: &HelloAnswer) {
        self.greeting.asked = false;
        match answer.verdict {
            Verdict::Known => {
                self.greeting.greeted = true;
                self.greeting.refused = None;
                self.tell_of_relay();
                self.greeting.runs.answered(self.greeting.run);
                self.storage.change(storage::META, Runs::key(), Some(self.greeting.runs.encode()));
                self.contacts.handle_hello(answer, &mut contact_step!(self));
                if let Some(pin) = self.contacts.home_relay().map(|home| home.pin) {
                    self.delivery.handle_relay_up(pin, &mut delivery_step!(self));
                }
                if self.delivery.spool_epoch().is_some_and(|epoch| epoch != answer.epoch) {
                    self.look_after_uploads();
                }
                self.delivery.handle_connected(answer.epoch, answer.newest, &mut delivery_step!(self));
                self.rooms.handle_connected(&mut room_step!(self));
                self.transfers_online();
                self.ask_discards();
                self.greeting.early_bytes = 0;
                for event in std::mem::take(&mut self.greeting.early) {
                    self.home_event(event);
                }
            }
            Verdict::RolledBack if self.was_just_rolled_back() => {
                let text = "the relay says again that this node is an older copy of itself; it is not believed so soon";
                self.notice(Holds::UntilGreeted, text.to_owned());
                self.greeting.again_at = Some(self.now.mono.saturating_add(CLONE_RETRY));
            }
            Verdict::RolledBack => {
                self.greeting.rolled_back_at = Some(self.now.mono);
                let text = "this node is older than what the relay knows of it: restored from a backup. It takes fresh keys";
                self.notice(Holds::Always, text.to_owned());
                let incarnation = self.delivery.handle_rolled_back(&mut delivery_step!(self));
                tracing::warn!("rolled back");
                self.contacts.handle_hello(answer, &mut contact_step!(self));
                self.rooms.handle_rolled_back(&mut room_step!(self));
                tracing::debug!(?incarnation, "new incarnation");
                self.hello();
            }
            Verdict::Clone => self.cloned(),
        }
    }

    fn was_just_rolled_back(&self) -> bool {
        let at = self.greeting.rolled_back_at;
        at.is_some_and(|at| self.now.mono.saturating_sub(at) < ROLLED_BACK_PAUSE)
    }

    fn cloned(&mut self) {
        let text = "another copy of this node is connected: both stop receiving. Stop one of them";
        self.notice(Holds::UntilGreeted, text.to_owned());
        self.greeting.greeted = false;
        self.greeting.again_at = Some(self.now.mono.saturating_add(CLONE_RETRY));
    }

    fn home_event(&mut self, event: Event) {
        // Rows travel on another stream than the answer to `Hello`, which names the life of the spool that they belong to: they may
        // come first. An honest relay's window bounds how many.
        if self.greeting.given_up {
            return;
        }
        if let Some(bytes) = row_bytes(&event).filter(|_| !self.greeting.greeted) {
            self.greeting.early_bytes += bytes;
            self.greeting.early.push(event);
            if self.greeting.early.len() > MAX_EARLY.0 || self.greeting.early_bytes > MAX_EARLY.1 {
                self.give_up("the relay sends mail without saying which life of the spool it belongs to");
            }
            return;
        }
        match event {
            Event::Welcome(_) => {}
            Event::Delivery(delivery) => {
                let row = SpoolRow { epoch: delivery.epoch, seq: delivery.seq };
                self.envelope(row, &delivery.envelope);
            }
            Event::Redeemed(redeemed) => {
                self.contacts.handle_redeemed(&redeemed.invite, &redeemed.request, &mut contact_step!(self));
                let row = SpoolRow { epoch: redeemed.epoch, seq: redeemed.seq };
                self.delivery.handle_other_row(row, &mut delivery_step!(self));
            }
            Event::EdgeState(state) => {
                let contact = self.contacts.contact_of_edge(&state.edge);
                tracing::debug!(?contact, up = state.up, "an edge");
                let Some(contact) = contact else {
                    self.edge_of_nobody(state.edge, state.up);
                    return;
                };
                self.delivery.handle_edge(contact, state.up, &mut delivery_step!(self));
                if state.up {
                    self.up.insert(contact);
                    self.contact_is_there(contact);
                } else {
                    self.up.remove(&contact);
                    self.sessions.handle_contact_down(contact, self.now);
                }
            }
            Event::Ephemeral(ephemeral) => self.ephemeral(&ephemeral.envelope),
            Event::Cloned => self.cloned(),
        }
    }

    /// An edge that another device of ours linked, of which this one has not heard: its contact may follow.
    fn edge_of_nobody(&mut self, edge: EdgeId, up: bool) {
        if !up {
            self.early_edges.remove(&edge);
        } else if self.early_edges.len() < MAX_EARLY_EDGES {
            self.early_edges.insert(edge);
        }
    }

    /// A contact is connected: it gets the list of sessions as soon as there is a way to it, once.
    pub(super) fn contact_is_there(&mut self, contact: penpal_protocol::ids::Fingerprint) {
        let open = self.contacts.route(&contact).is_some_and(|route| route.open);
        if open && self.up.contains(&contact) && !self.sessions.is_up(contact) {
            self.sessions.handle_contact_up(contact, self.now);
        }
    }

    fn deposited(&mut self, link: LinkId, deposit: DepositId, outcome: Option<DepositOutcome>) {
        // Without an answer the link says that it is down next; that returns everything under way.
        let Some(outcome) = outcome else { return };
        let known = self.flying.remove(&deposit);
        match (known, outcome) {
            (Some((_, account, edge)), DepositOutcome::No) => {
                self.contacts.handle_refused(&account, &edge, &mut contact_step!(self));
            }
            (Some((_, account, _)), DepositOutcome::Accepted) => {
                self.contacts.handle_accepted(&account, &mut contact_step!(self));
            }
            (Some(_) | None, _) => {}
        }
        tracing::trace!(?link, ?outcome, "deposit answered");
        self.delivery.handle_deposit_answer(deposit, outcome, &mut delivery_step!(self));
    }
}

/// Why a relay does not take this node.
pub(super) fn refusal_words(code: RefusalCode) -> String {
    match code {
        RefusalCode::Suspended => "the operator of the relay suspended this account".to_owned(),
        RefusalCode::NotRegistered => super::calls::DISOWNED.to_owned(),
        other => format!("the relay does not take this node ({other:?})"),
    }
}

/// Size of a spool row; `None` for other events.
fn row_bytes(event: &Event) -> Option<usize> {
    match event {
        Event::Delivery(delivery) => Some(delivery.envelope.len()),
        Event::Redeemed(redeemed) => Some(redeemed.request.len()),
        Event::Welcome(_) | Event::EdgeState(_) | Event::Ephemeral(_) | Event::Cloned => None,
    }
}
