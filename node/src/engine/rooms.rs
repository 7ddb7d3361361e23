//! Rooms: does what the machine says, and tells it what contacts say and which messages come from where.

use penpal_contact::{Contacts, State};
use penpal_delivery::{Destination, HeldReason, MailKey, Mailbox, NewMessage, Peer, Placement};
use penpal_protocol::ids::{Fingerprint, MsgId, RoomId};
use penpal_protocol::limits::{HOUR_MS, MAX_MESSAGE_LIFE_MS};
use penpal_protocol::sealed::{Body, Content, Control, Kind, Letter, RoomNews, RoomRef};
use penpal_room::{Command, Manifests, Me, Notice, Said};
use penpal_seal::VerifiedManifest;

use super::machines::{Engine, contact_step, delivery_step, room_step};
use super::notices::Holds;
use super::storage;

/// How long a device to which the others still tell their rooms takes no message from one that it does not know for a mistake, in milliseconds.
/// Whoever sent one leaves it again.
const TOLD_WITHIN_MS: u64 = HOUR_MS;

/// Pinned manifests of contacts, and our own.
pub(super) struct Pinned<'c>(pub(super) &'c Contacts);

impl Manifests for Pinned<'_> {
    fn manifest(&self, account: &Fingerprint) -> Option<&VerifiedManifest> {
        let own = self.0.own_manifest().filter(|own| own.fingerprint() == *account);
        own.or_else(|| self.0.manifest(account))
    }
}

/// This node's part in its account.
pub(super) fn me(contacts: &Contacts) -> Option<Me> {
    let shared = contacts.devices().len() > 1;
    contacts.account().map(|me| Me { account: me.account, device: me.device, shared })
}

/// A message that waits for an entry of its room.
#[derive(Debug, Clone)]
pub(super) struct WaitsForEntry {
    from: Fingerprint,
    msg_id: MsgId,
    said_in: RoomRef,
    sent_ms: u64,
}

impl Engine {
    pub(super) fn room_command(&mut self, command: Command) {
        match command {
            Command::Persist(change) => {
                self.tell(penpal_local_api::events::Event::Rooms);
                self.storage.change(storage::room_table(change.table), change.key, change.value);
            }
            Command::Send { to, news } => self.send_news(to, *news),
            Command::Release { from, msg_id } => {
                let key = MailKey::from_contact(msg_id, from);
                self.delivery.release_from_room(key, &mut delivery_step!(self));
            }
            Command::Refuse { from, msg_id, reason } => {
                let key = MailKey::from_contact(msg_id, from);
                self.delivery.refuse_from_room(key, reason, &mut delivery_step!(self));
            }
            Command::Withdraw { room, account } => {
                self.delivery.withdraw(room, account, &mut delivery_step!(self));
            }
            Command::Introduce { room, to } => self.introduce_to(room, to),
            Command::Meet { room, with, code } => self.meet(&room, with, &code),
            Command::Notice(notice) => self.room_notice(&notice),
        }
    }

    /// Tells a contact something about a room, on all its devices; with our own account our other devices.
    fn send_news(&mut self, to: Fingerprint, news: RoomNews) {
        let view = self.contacts.view(&to).filter(|view| matches!(view.state, State::Active | State::Gone));
        let Some(view) = view else {
            tracing::debug!(contact = ?to, "news of a room for somebody who is no contact");
            return;
        };
        let here = self.contacts.account().map(|me| me.device);
        let devices = view.devices.iter().map(|device| device.id).filter(|device| Some(*device) != here);
        let destinations: Vec<_> = devices.map(|device| Destination::Device(Peer::new(to, device))).collect();
        if destinations.is_empty() {
            return;
        }
        let message = NewMessage {
            kind: Kind::Control,
            content: Content::Control(Box::new(Control { room: Some(news), ..Control::default() })),
            from: Mailbox::Desk,
            to: String::new(),
            destinations,
            reply_to: None,
            trace_id: None,
            hops: 0,
            wake_budget: 0,
            life_ms: Some(MAX_MESSAGE_LIFE_MS),
            boot: false,
            msg_id: None,
        };
        if let Err(error) = self.delivery.send(message, &mut delivery_step!(self)) {
            tracing::error!(%error, "news of a room cannot be sent");
        }
    }

    /// The list of our devices changed, and what that says is on its way: devices that are new are told of the rooms that this account is
    /// in. Tells whether there was something to do.
    pub(super) fn tell_new_devices(&mut self) -> bool {
        if !std::mem::take(&mut self.devices_changed) {
            return false;
        }
        let mut is_new = false;
        for device in self.contacts.devices().into_iter().filter(|device| !device.here) {
            let key = device.id.as_bytes().to_vec();
            if self.storage.get_now(storage::TOLD_OF_ROOMS, &key).ok().flatten().is_none() {
                self.storage.change(storage::TOLD_OF_ROOMS, key, Some(vec![1]));
                is_new = true;
            }
        }
        self.rooms.handle_devices_changed(&mut room_step!(self));
        if is_new {
            self.rooms.tell_devices(&mut room_step!(self));
        }
        true
    }

    /// Whether what is said of a room that the other devices joined may still be on its way here: to a device that is new, or to one that lost
    /// its receive keys, for which it is sealed again.
    pub(super) fn may_be_told_of_rooms(&self) -> bool {
        let devices = self.contacts.devices();
        let lately = |since_ms: u64| self.now.wall_ms < since_ms.saturating_add(TOLD_WITHIN_MS);
        let here = devices.iter().find(|device| device.here);
        let is_new = here.is_some_and(|here| !here.primary && lately(here.added_ms));
        is_new || (devices.len() > 1 && self.unreadable_ms.is_some_and(lately))
    }

    /// An own message failed: when a member refused it because of its room, this account may be out of it without having heard.
    pub(super) fn doubt_room(&mut self, msg_id: MsgId) {
        let view = self.delivery.view(MailKey::own(msg_id), &self.storage).ok().flatten();
        let Some(room) = view.and_then(|view| view.room) else { return };
        let report = self.delivery.report(msg_id, &self.storage).ok().flatten();
        let doubts = |reason: &str| matches!(reason, "not-a-member" | "no-such-room" | "room-epoch");
        let refused = report.is_some_and(|report| {
            report.copies.iter().any(|copy| copy.reason.as_deref().is_some_and(doubts))
        });
        if refused {
            self.rooms.handle_doubt(&room, &mut room_step!(self));
        }
    }

    /// Takes what a contact says of a room; tells whether it may be receipted.
    pub(super) fn room_news(&mut self, body: &Body, news: &RoomNews) -> bool {
        let key = MailKey::from_contact(body.msg_id, body.from);
        match self.delivery.is_known(key, &self.storage) {
            // Sealed again, and here from before: it may have been overtaken by what was said since.
            Ok(true) => return true,
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "messages cannot be read"),
        }
        match self.rooms.handle_news(body.from, news, &mut room_step!(self)) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "news of a room are refused");
                tracing::debug!(contact = ?body.from, "they came from here");
                false
            }
        }
    }

    /// Where a letter from a room goes here, or why it does not.
    pub(super) fn place_from_room(
        &self,
        body: &Body,
        letter: &Letter,
        said_in: &RoomRef,
    ) -> Result<(Placement, Option<WaitsForEntry>), &'static str> {
        let Some(me) = me(&self.contacts) else { return Err("no-such-room") };
        let key = MailKey::from_contact(body.msg_id, body.from);
        match self.delivery.is_settled(key, body.expires_ms, &self.storage) {
            // Left again because no receipt came: the room may have changed since, and what became of it has not.
            Ok(true) => return Ok((Placement { mailbox: Mailbox::Desk, held: None, quiet: true }, None)),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "messages cannot be read"),
        }
        let said = self.rooms.judge(&body.from, said_in, body.sent_ms, &me);
        let for_us = letter.target_device.is_none_or(|device| device == me.device);
        let mut placement = match (for_us, &letter.to) {
            (true, Some(_)) => self.place(letter),
            (true, None) => Placement { mailbox: Mailbox::Desk, held: None, quiet: false },
            // It is kept here because all of the room is, and nobody is told of it.
            (false, _) => Placement { mailbox: Mailbox::Desk, held: None, quiet: true },
        };
        match said {
            Said::Take => Ok((placement, None)),
            Said::Hold => {
                placement.held = Some(HeldReason::RoomEpoch);
                let (from, msg_id, said_in) = (body.from, body.msg_id, said_in.clone());
                Ok((placement, Some(WaitsForEntry { from, msg_id, said_in, sent_ms: body.sent_ms })))
            }
            Said::Refuse(reason) => Err(reason),
        }
    }

    /// A message that waits for an entry is stored.
    pub(super) fn wait_for_entry(&mut self, waits: &WaitsForEntry) {
        let WaitsForEntry { from, msg_id, ref said_in, sent_ms } = *waits;
        self.rooms.hold(from, msg_id, said_in, sent_ms, &mut room_step!(self));
    }

    fn room_notice(&mut self, notice: &Notice) {
        let name = |account: &Fingerprint| self.contact_name(account);
        let (holds, text) = match notice {
            Notice::Invited { name: room, by, .. } => {
                // Status says so itself for as long as it waits.
                let text = format!("{} invites you into #{room}: penpal room join '#{room}'", name(by));
                self.tell(penpal_local_api::events::Event::Notice { text });
                return;
            }
            Notice::Joined { name: room, .. } => (Holds::InRoom(room.clone()), format!("you are in #{room}")),
            Notice::Removed { name: room } => {
                (Holds::OutOfRoom(room.clone()), format!("you were taken out of #{room}"))
            }
            Notice::InvitationOver { name: room } => {
                let text = format!(
                    "#{room} cannot be joined any more: its owner closed it, or took the invitation back"
                );
                (Holds::OutOfRoom(room.clone()), text)
            }
            Notice::Closed { name: room } => {
                (Holds::OutOfRoom(room.clone()), format!("#{room} was closed by its owner"))
            }
            Notice::LeftElsewhere { name: room } => {
                let text = format!("#{room} was left on another machine of yours, for all of them");
                (Holds::OutOfRoom(room.clone()), text)
            }
            Notice::ClosedElsewhere { name: room } => {
                (Holds::OutOfRoom(room.clone()), format!("#{room} was closed on another machine of yours"))
            }
            Notice::TookOver { name: room } => {
                let text = format!(
                    "#{room} was kept by a machine that is revoked; this one keeps it now. Is everybody in it whom you want: penpal room members '#{room}'"
                );
                (Holds::InRoom(room.clone()), text)
            }
            Notice::Came { name: room, account } => {
                let text = format!("{} is in #{room} now", self.member_name_in(room, account));
                (Holds::Member(room.clone(), *account), text)
            }
            Notice::Went { name: room, account } => {
                let text = format!("{} is not in #{room} any more", name(account));
                (Holds::NotMember(room.clone(), *account), text)
            }
            Notice::Declined { name: room, account } => {
                let text = format!("{} does not want to join #{room}", name(account));
                (Holds::NotMember(room.clone(), *account), text)
            }
            _ => return,
        };
        self.notice(holds, text);
    }

    /// What a member is called: our name for a contact, else the name that the room's owner uses.
    pub(super) fn member_name(&self, room: &RoomId, account: &Fingerprint) -> String {
        if self.contacts.account().is_some_and(|me| me.account == *account) {
            return "me".to_owned();
        }
        if let Some(name) = self.contacts.name(account) {
            return name.to_string();
        }
        let view = self.rooms.view(room);
        let told = view.and_then(|view| view.members.into_iter().find(|(member, _)| member == account));
        told.and_then(|(_, name)| name).map_or_else(|| self.contact_name(account), |name| name.to_string())
    }

    fn member_name_in(&self, room: &penpal_protocol::text::Label, account: &Fingerprint) -> String {
        self.rooms
            .by_name(room)
            .map_or_else(|| self.contact_name(account), |id| self.member_name(&id, account))
    }

    /// Whether messages can go to an account and come from it.
    pub(super) fn is_linked(&self, account: &Fingerprint) -> bool {
        self.contacts.view(account).is_some_and(|view| matches!(view.state, State::Active | State::Gone))
    }

    /// Whether an account is a contact that is blocked: by a person, or because its key changed.
    pub(super) fn is_blocked(&self, account: &Fingerprint) -> bool {
        self.contacts.view(account).is_some_and(|view| view.state == State::Blocked)
    }

    /// A person wrote into a room: mail of its members need not be held any longer.
    pub(super) fn wrote_to(&mut self, accounts: &[Fingerprint]) {
        for account in accounts {
            self.contacts.handle_person_wrote(account, &mut contact_step!(self));
        }
    }
}
