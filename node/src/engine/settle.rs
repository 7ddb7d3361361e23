//! Lets the machines talk until nothing is left to say, and takes what leaves the engine.

use std::collections::BTreeSet;
use std::time::Duration;

use penpal_contact::{At, By, Command as ContactCommand, Notice};
use penpal_delivery::{
    Command as DeliveryCommand, ContactInfo, Destination, Event as DeliveryEvent, HeldReason, MailKey,
    Mailbox, NewMessage, Peer, Stage, Standing,
};
use penpal_protocol::ids::{Fingerprint, KeyId, RelayPin, SessionId};
use penpal_protocol::limits::MAX_CONTACTS;
use penpal_protocol::sealed::{Content, Kind};
use penpal_protocol::text::RelayAddress;
use penpal_protocol::wire::{Ack, Request};
use penpal_sessions::Command as SessionsCommand;

use super::links::{Asked, PendingRequest};
use super::machines::{Engine, contact_step, delivery_step, random, room_step};
use super::notices::{Holds, holds, words};
use super::{Input, LinkId, Output, storage};
use crate::config::Notify;
use crate::daemon::link::LinkCommand;

/// Rounds of talk between machines after which something is wrong: each round answers the one before.
const MAX_ROUNDS: usize = 64;

impl Engine {
    /// Takes one input.
    pub(super) fn handle(&mut self, input: Input) {
        if matches!(input, Input::Call { .. } | Input::CallGone(_) | Input::ProcessGone(_)) {
            self.waking.look_again();
        }
        match input {
            Input::WakeTried { wake, ok } => self.wake_tried(wake, ok),
            Input::Call { id, call } => self.call(id, *call),
            Input::CallGone(id) => self.waiting.forget(id),
            Input::Link { link, event } => self.link_event(link, event),
            Input::Transfer(report) => self.transfer_report(report),
            Input::ProcessGone(process) => self.sessions.handle_process_gone(process, self.now),
            Input::Listeners(count) => self.listeners = count,
            Input::Resumed => self.delivery.handle_timeout(&mut delivery_step!(self)),
            Input::Stop => self.stopping = true,
        }
    }

    /// Does what is due.
    pub(super) fn handle_timeouts(&mut self) {
        let due = |at: Option<Duration>, now: Duration| at.is_some_and(|at| at <= now);
        let now = self.now.mono;
        if due(self.contacts.poll_timeout(), now) {
            self.contacts.handle_timeout(&mut contact_step!(self));
        }
        if due(self.delivery.poll_timeout(), now) {
            self.delivery.handle_timeout(&mut delivery_step!(self));
        }
        if due(self.rooms.poll_timeout(), now) {
            self.rooms.handle_timeout(&mut room_step!(self));
        }
        if due(self.sessions.poll_timeout(), now) {
            self.sessions.handle_timeout(self.now);
            self.waking.look_again();
        }
        if due(self.waking.ladder.poll_timeout(), now) {
            self.waking.ladder.handle_timeout(now);
            self.waking.look_again();
        }
        self.retry_foreign();
        self.collect_when_due();
        self.transfers_timeout();
        if due(self.greeting.again_at, now) {
            self.greeting.again_at = None;
            self.hello();
        }
    }

    /// When something is due next, on the monotonic clock.
    pub(super) fn next_timeout(&self) -> Option<Duration> {
        let foreign = self.foreign.values().filter_map(|relay| relay.retry_at).min();
        [
            self.contacts.poll_timeout(),
            self.delivery.poll_timeout(),
            self.sessions.poll_timeout(),
            self.rooms.poll_timeout(),
            self.waking.ladder.poll_timeout(),
            self.waiting.deadline(),
            self.greeting.again_at,
            Some(self.collect_at),
            self.moving.timeout(),
            foreign,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Carries commands between the machines until there are none.
    pub(super) fn settle(&mut self) {
        self.keep_home_link();
        for _ in 0..MAX_ROUNDS {
            let mut busy = false;
            while let Some(command) = self.contacts.poll_command() {
                self.contact_command(command);
                busy = true;
            }
            while let Some(command) = self.sessions.poll_command() {
                self.sessions_command(command);
                busy = true;
            }
            while let Some(command) = self.rooms.poll_command() {
                self.room_command(command);
                busy = true;
            }
            busy |= self.tell_new_devices();
            busy |= self.answer_waiting();
            busy |= self.settle_wakes();
            busy |= self.settle_transfers();
            busy |= self.say_reads();
            self.delivery.flush(&mut delivery_step!(self));
            while let Some(command) = self.delivery.poll_command() {
                self.delivery_command(command);
                busy = true;
            }
            while let Some(event) = self.delivery.poll_event() {
                self.delivery_event(event);
                busy = true;
            }
            self.keep_home_link();
            if !busy {
                return;
            }
        }
        tracing::error!("the machines do not come to rest");
    }

    fn contact_command(&mut self, command: ContactCommand) {
        self.tell_of_contact(&command);
        match command {
            ContactCommand::KeepSecret(keep) => {
                if let Err(error) = self.vault.receive.keep_invite(keep.invite, keep.entry) {
                    // Without its secret the invite is of no use; the machine finds out at the next start and says so.
                    tracing::error!(%error, "the secret of an invite could not be kept");
                }
            }
            ContactCommand::KeepIdentity(keys) => {
                if let Err(error) = penpal_seal::store_identity(self.vault.receive.storage(), &keys) {
                    // The machine finds out at the next start and says so.
                    tracing::error!(%error, "the root key could not be kept");
                }
                self.vault.identity = keys;
            }
            ContactCommand::Persist(change) => {
                self.storage.change(storage::contact_table(change.table), change.key, change.value);
            }
            ContactCommand::EraseSecret(invite) => {
                self.erase_invites.insert(invite);
            }
            ContactCommand::Relay(call) => {
                let Some(link) = self.link_to(&call.relay) else {
                    let (token, step) = (call.token, &mut contact_step!(self));
                    self.contacts.handle_answer(token, Err(penpal_contact::Unreachable), step);
                    return;
                };
                self.ask(link, Asked::Contact(call.token), call.request);
            }
            ContactCommand::Deliver(deliver) => self.deliver_control(*Box::new(deliver)),
            ContactCommand::CancelDelivery(message) => {
                self.delivery.cancel(message, &mut delivery_step!(self))
            }
            ContactCommand::RouteChanged(contact) => {
                self.mirror_contact(contact);
                if self.contacts.is_me(&contact) {
                    self.devices_changed = true;
                } else {
                    self.rooms.handle_list_changed(&contact, &mut room_step!(self));
                    self.rooms.handle_contact_known(&contact, &mut room_step!(self));
                }
            }
            ContactCommand::ContactEnded(contact) => {
                self.delivery.remove_contact(contact, &mut delivery_step!(self));
                self.sessions.handle_contact_gone(contact, self.now);
                self.rooms.handle_contact_ended(contact, &mut room_step!(self));
                self.unsent_presence.remove(&contact);
            }
            ContactCommand::Fetched { contact, fresh } => {
                self.delivery.handle_prekeys(contact, fresh, &mut delivery_step!(self));
                self.mirror_contact(contact);
                self.send_unsent_presence(contact);
                self.envelopes_again(contact);
            }
            // The key machine publishes one at every connection by itself.
            ContactCommand::BundleWanted => self.delivery.handle_prekey_wanted(&mut delivery_step!(self)),
            ContactCommand::BundlePublished(key) => {
                self.delivery.handle_prekey_taken(key, &mut delivery_step!(self))
            }
            ContactCommand::HelloWanted => self.hello(),
            ContactCommand::Notice(notice) => self.contact_notice(&notice),
        }
    }

    fn contact_notice(&mut self, notice: &Notice) {
        if let Notice::Registered { .. } | Notice::Joined { .. } | Notice::Recovered { .. } = notice {
            self.hello();
        }
        if let Notice::Gone { contact, .. } = notice {
            self.delivery.handle_gone(*contact, &mut delivery_step!(self));
        }
        if self.introduction_notice(notice) {
            self.waiting.note(notice);
            return;
        }
        if let Some(text) = words(notice) {
            self.notice(holds(notice), text);
        }
        self.waiting.note(notice);
    }

    fn deliver_control(&mut self, deliver: penpal_contact::Deliver) {
        let peers = deliver.devices.iter().map(|device| Destination::Device(Peer::new(deliver.to, *device)));
        let destinations: Vec<Destination> = peers.collect();
        self.mirror_contact(deliver.to);
        let message = NewMessage {
            msg_id: Some(deliver.message),
            kind: Kind::Control,
            content: Content::Control(deliver.control),
            from: Mailbox::Desk,
            to: String::new(),
            destinations,
            reply_to: None,
            trace_id: None,
            hops: 0,
            wake_budget: 0,
            life_ms: Some(deliver.expires_ms.saturating_sub(self.now.wall_ms)),
            boot: deliver.by == By::Boot,
        };
        if let Err(error) = self.delivery.send(message, &mut delivery_step!(self)) {
            tracing::error!(%error, "a control message cannot be sent");
            self.contacts.handle_undelivered(&deliver.message, &mut contact_step!(self));
        }
    }

    /// Tells delivery where a contact stands now.
    pub(super) fn mirror_contact(&mut self, contact: Fingerprint) {
        let Some(row) = self.contacts.view(&contact) else { return };
        let here = self.contacts.account().map(|me| me.device);
        let opener = penpal_contact::Opener { contact, via: penpal_contact::Via::Link };
        let Some(peer) = self.contacts.peer(&opener) else { return };
        let standing = if peer.shut {
            Standing::Blocked
        } else if peer.held {
            Standing::OnProbation
        } else {
            Standing::Active
        };
        let devices = peer.manifest.manifest().devices.iter().map(|device| device.id);
        let devices = devices.filter(|device| Some(*device) != here).collect();
        let list = peer.manifest.version();
        let route = self.contacts.route(&contact);
        let open = route.as_ref().is_some_and(|route| route.open);
        let edge = route.map(|route| route.edge);
        let info = ContactInfo { relay: row.relay.pin, standing, open, edge, devices, list };
        let early = edge.is_some_and(|edge| self.early_edges.remove(&edge));
        if early {
            self.up.insert(contact);
        }
        self.contact_is_there(contact);
        let is_foreign = self.contacts.home_relay().is_none_or(|home| home.pin != row.relay.pin);
        self.delivery.set_contact(contact, info, &mut delivery_step!(self));
        if row.state == penpal_contact::State::Gone && !self.contacts.is_me(&contact) {
            self.delivery.handle_gone(contact, &mut delivery_step!(self));
        }
        if early {
            self.delivery.handle_edge(contact, true, &mut delivery_step!(self));
        }
        if is_foreign && !self.foreign.contains_key(&row.relay.pin) {
            if self.foreign.len() >= 2 * MAX_CONTACTS {
                self.forget_relays();
            }
            // A relay of contacts is dialled when there is something to say; until a try fails it counts as reachable.
            self.foreign.insert(row.relay.pin, super::machines::ForeignRelay::default());
            self.delivery.handle_relay_up(row.relay.pin, &mut delivery_step!(self));
            self.sessions.handle_contact_up(contact, self.now);
        }
    }

    /// Forgets relays that no contact names any more: one that names another each day would fill the memory otherwise.
    fn forget_relays(&mut self) {
        let named: BTreeSet<RelayPin> =
            self.contacts.list().iter().map(|contact| contact.relay.pin).collect();
        for pin in
            self.foreign.extract_if(.., |pin, _| !named.contains(pin)).map(|(pin, _)| pin).collect::<Vec<_>>()
        {
            self.delivery.handle_relay_lost(pin, &mut delivery_step!(self));
        }
    }

    fn sessions_command(&mut self, command: SessionsCommand) {
        self.tell_of_sessions(&command);
        match command {
            SessionsCommand::Change(change) => {
                self.storage.change(storage::sessions_table(change.table), change.key, change.value);
            }
            SessionsCommand::Announce { presence, to } => {
                for contact in to {
                    self.announce(contact, &presence);
                }
            }
            SessionsCommand::MoveMail { from, into } => {
                let (from, into) = (Mailbox::Session(from), Mailbox::Session(into));
                self.delivery.retarget(from, into, None, &mut delivery_step!(self));
            }
            SessionsCommand::MarkEarlier { session, .. } => {
                self.delivery.mark_earlier(Mailbox::Session(session), &mut delivery_step!(self));
            }
            SessionsCommand::MailToDesk { session } => {
                let (from, held) = (Mailbox::Session(session), Some(HeldReason::SessionGone));
                self.delivery.retarget(from, Mailbox::Desk, held, &mut delivery_step!(self));
            }
            SessionsCommand::Watch(process) => self.outputs.push(Output::Watch(process)),
            SessionsCommand::Unwatch(process) => self.outputs.push(Output::Unwatch(process)),
        }
    }

    fn delivery_command(&mut self, command: DeliveryCommand) {
        match command {
            DeliveryCommand::Seal(job) => self.seal(*job),
            DeliveryCommand::FetchPrekeys { account } => {
                self.contacts.fetch(&account, &mut contact_step!(self))
            }
            DeliveryCommand::Ack { epoch, up_to, gaps } => {
                let gaps = penpal_protocol::cbor::List::truncated(gaps);
                self.ask(LinkId::HOME, Asked::Ack, Request::Ack(Ack { epoch, up_to, gaps }));
            }
            DeliveryCommand::WantSeeds { urgent: true, .. } => self.make_seeds(),
            DeliveryCommand::WantSeeds { urgent: false, .. } => self.seeds_wanted = true,
            DeliveryCommand::PublishPrekey { key, issued_ms } => self.publish_prekey(key, issued_ms),
            DeliveryCommand::DeleteSeeds { keys } => self.erase_seeds.extend(keys),
        }
    }

    fn delivery_event(&mut self, event: DeliveryEvent) {
        self.tell_of_mail(&event);
        if matches!(event, DeliveryEvent::Arrived { .. } | DeliveryEvent::Mailbox { .. }) {
            self.waking.look_again();
        }
        if let DeliveryEvent::Arrived { key, .. } = &event {
            self.note_arrived(*key);
        }
        match event {
            DeliveryEvent::Stage { msg_id, stage, .. } => {
                // Only the contact machine's own messages mean anything to it; it ignores all others.
                if stage.is_failure() {
                    self.files_unneeded(msg_id);
                    self.doubt_room(msg_id);
                }
                if stage == Stage::Delivered {
                    self.contacts.handle_delivered(&msg_id, &mut contact_step!(self));
                } else if stage.is_failure() {
                    self.contacts.handle_undelivered(&msg_id, &mut contact_step!(self));
                }
            }
            // Others have it: what is to be sent stays, and the list of failed ones says who does not.
            DeliveryEvent::FailedFor { msg_id, .. } => self.doubt_room(msg_id),
            DeliveryEvent::Read { key, mailbox, answered } => self.note_read(key, mailbox, answered),
            DeliveryEvent::Gone { .. } | DeliveryEvent::Back { .. } => {}
            DeliveryEvent::IncarnationChanged { peer } => {
                self.rooms.handle_contact_rolled_back(&peer.account, &mut room_step!(self));
                if self.contacts.is_me(&peer.account) {
                    self.contacts.handle_device_fell_back(&peer.device, &mut contact_step!(self));
                }
                self.peer_notice(peer, "was restored from a backup or set up anew");
            }
            DeliveryEvent::Gap { peer } => self.peer_notice(peer, "sent messages that did not arrive"),
            DeliveryEvent::IdReused { peer, .. } => {
                self.peer_notice(peer, "used one message id twice; the second was refused")
            }
            DeliveryEvent::Foreign => self.foreign_envelopes = self.foreign_envelopes.saturating_add(1),
            DeliveryEvent::Arrived { key, mailbox: Mailbox::Session(sid), kind, .. } => {
                if kind == Kind::Ask {
                    self.notify_ask(key, sid);
                }
                if let Err(error) = self.sessions.handle_mail(sid, self.now) {
                    tracing::warn!(%error, "mail for a session that is gone");
                }
            }
            DeliveryEvent::Arrived { .. }
            | DeliveryEvent::Mailbox { .. }
            | DeliveryEvent::Unreadable { .. } => {}
        }
    }

    /// A session that cannot be woken sees an ask when its person looks, so the person may want to know.
    fn notify_ask(&mut self, key: MailKey, session: SessionId) {
        if self.config.notify == Notify::Off {
            return;
        }
        let Some(to) = self.sessions.session(session) else { return };
        let by_hand = to.model == penpal_sessions::ProcessModel::ByHand;
        if by_hand || to.reach == penpal_protocol::sealed::Reach::Wakes {
            return;
        }
        let from = self.view_of(key).and_then(|view| self.message(&view));
        if let Ok(message) = from {
            let session = to.name.to_string();
            self.outputs.push(Output::Notify { from: message.from, session });
        }
    }

    fn peer_notice(&mut self, peer: Peer, what: &str) {
        let name =
            self.contacts.name(&peer.account).map_or_else(|| "a contact".to_owned(), ToString::to_string);
        self.notice(Holds::Contact(peer.account), format!("a device of {name} {what}"));
    }

    /// Makes seeds, durable in their file before the step is.
    pub(super) fn make_seeds(&mut self) {
        let before: BTreeSet<KeyId> = self.vault.receive.unused().collect();
        if let Err(error) = self.vault.receive.refill(&mut self.rng) {
            tracing::error!(%error, "keys cannot be made");
            return;
        }
        let unused: Vec<KeyId> = self.vault.receive.unused().collect();
        self.unstored_seeds.extend(unused.iter().filter(|id| !before.contains(*id)));
        self.delivery.handle_seeds(&unused, &mut delivery_step!(self));
    }

    /// A link to a relay, opened when there is none.
    pub(super) fn link_to(&mut self, relay: &At) -> Option<LinkId> {
        let address = match relay {
            At::Home => return self.links.get(LinkId::HOME).map(|link| link.id),
            At::Foreign(address) => address.clone(),
        };
        if let Some(link) = self.links.to(&address.pin) {
            return Some(link);
        }
        if self.links.is_full() {
            let busy: BTreeSet<LinkId> = self.flying.values().map(|(link, ..)| *link).collect();
            let quiet = self.links.quiet().find(|link| !busy.contains(link))?;
            self.close_link(quiet);
        }
        Some(self.open_link(address))
    }

    /// Opens a link to a contact's relay.
    pub(super) fn open_link(&mut self, address: RelayAddress) -> LinkId {
        let link = self.links.open_foreign(address.clone());
        // Whoever deposits by capability is nobody there: a key for this link only.
        let key = penpal_transport::TransportKey::from_seed(&random(&mut self.rng));
        self.outputs.push(Output::OpenLink { link, address, key });
        link
    }

    /// Closes a link to a contact's relay. What it was asked finds nobody.
    pub(super) fn close_link(&mut self, link: LinkId) {
        self.outputs.push(Output::CloseLink(link));
        for asked in self.links.close_foreign(link) {
            self.answered(&asked, None);
        }
    }

    /// Holds the link to the account's relay, or to the one where an account was asked for.
    fn keep_home_link(&mut self) {
        let wanted = self.contacts.home_relay().cloned();
        let open = self.links.get(LinkId::HOME).map(|link| link.address.clone());
        if wanted == open {
            return;
        }
        if open.is_some() {
            self.links.close_home();
            self.outputs.push(Output::CloseLink(LinkId::HOME));
        }
        if let Some(address) = wanted {
            self.links.open_home(address.clone());
            let key = penpal_transport::TransportKey::from_seed(self.vault.identity.transport.expose());
            self.outputs.push(Output::OpenLink { link: LinkId::HOME, address, key });
        }
    }

    /// Asks a relay once the step is durable.
    pub(super) fn ask(&mut self, link: LinkId, what: Asked, request: Request) {
        let token = self.links.ask(link, what);
        self.requests.push(PendingRequest { link, token, request: Box::new(request) });
    }

    /// Turns what the durable step wants to say into outputs: deposits in order, then requests, then answers.
    pub(super) fn release(&mut self) {
        for (link, deposit) in self.deposits.drain(..) {
            self.outputs.push(Output::Link { link, command: LinkCommand::Deposit(deposit) });
        }
        for PendingRequest { link, token, request } in self.requests.drain(..) {
            self.outputs.push(Output::Link { link, command: LinkCommand::Request { token, request } });
        }
        for (call, outcome) in self.answers.drain(..) {
            self.outputs.push(Output::Answer { call, outcome });
        }
    }

    /// What may only be forgotten once the step is durable, and what may wait until its outputs are on their way.
    pub(super) fn after_commit(&mut self) {
        self.unstored_seeds.clear();
        // A message is sealed 40 µs earlier when the key that it offers is at hand.
        if let Some(next) = self.delivery.next_key() {
            let expanded = self.vault.receive.key(&next);
            drop(expanded);
        }
        for invite in std::mem::take(&mut self.erase_invites) {
            if let Err(error) = self.vault.receive.erase_invite(&invite) {
                tracing::warn!(%error, "the secret of an invite stays until the next start");
            }
        }
        for hash in std::mem::take(&mut self.erase_contents) {
            // One that was put again in the same step has a row, and its file stays.
            if !matches!(self.content_row(&hash), Ok(None)) {
                continue;
            }
            if let Err(error) = self.shelf.remove(&hash) {
                tracing::warn!(%error, "a content stays until the next start");
            }
        }
        let seeds = std::mem::take(&mut self.erase_seeds);
        if seeds.is_empty() {
            return;
        }
        match self.vault.receive.rewrite_without(&seeds.iter().copied().collect()) {
            Ok(_) => self.delivery.handle_seeds_deleted(&seeds, &mut delivery_step!(self)),
            Err(error) => tracing::warn!(%error, "old keys stay until the next try"),
        }
    }
}
