//! Members of a room who are no contacts of each other become contacts: their nodes exchange an invite through the room's owner.

use std::collections::BTreeMap;

use penpal_contact::Notice;
use penpal_protocol::ids::{Fingerprint, InviteId, RoomId};
use penpal_protocol::limits::DEFAULT_INVITE_LIFE_MS;
use penpal_protocol::text::{InviteCode, Label};
use penpal_room::Introduction;

use super::machines::{Engine, contact_step, room_step};
use super::notices::Holds;
use super::storage;

/// Invites that are made for members and that the relay does not have yet; what is lost with the process is made again.
#[derive(Debug, Default)]
pub(super) struct Introducing(BTreeMap<InviteId, (RoomId, Introduction)>);

impl Engine {
    /// Makes an invite for every one of these members that is unknown here.
    pub(super) fn introduce_to(&mut self, room: RoomId, members: Vec<Fingerprint>) {
        for member in members {
            let under_way = self.introducing.0.values().any(|(_, one)| one.to == member);
            // Whoever was blocked, removed or declined, or asked already, is a matter for people.
            let known = self.contacts.view(&member).is_some() || self.contacts.was_put_aside(&member);
            if under_way || known {
                continue;
            }
            let made = self.contacts.invite(1, DEFAULT_INVITE_LIFE_MS, false, &mut contact_step!(self));
            match made {
                Ok(made) => {
                    for one in made {
                        let code = one.code.to_code().to_string();
                        let introduction =
                            Introduction { to: member, invite: one.invite, code, until_ms: one.expires_ms };
                        self.introducing.0.insert(one.invite, (room, introduction));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a member of a room cannot be invited to be a contact");
                    return;
                }
            }
        }
    }

    /// Uses the code of a member, unless it is known here or people put it aside.
    pub(super) fn meet(&mut self, room: &RoomId, with: Fingerprint, code: &str) {
        if self.contacts.view(&with).is_some() || self.contacts.was_put_aside(&with) {
            return;
        }
        let Ok(code) = code.parse::<InviteCode>() else {
            tracing::warn!("a code from a room cannot be read");
            return;
        };
        if code.inviter != with {
            tracing::warn!("a code from a room is of somebody else than it says");
            return;
        }
        match self.contacts.add_introduced(&code, &mut contact_step!(self)) {
            Ok(_) => self.remember_introduction(&with, room),
            Err(error) => tracing::warn!(%error, "a member of a room cannot be made a contact"),
        }
    }

    /// Goes on with introductions when the contact machine has news; tells whether they were about one.
    pub(super) fn introduction_notice(&mut self, notice: &Notice) -> bool {
        match notice {
            Notice::InviteOpen { invite } => {
                let Some((room, made)) = self.introducing.0.remove(invite) else { return false };
                self.rooms.introduce(&room, &[made], &mut room_step!(self));
                true
            }
            // The node made it, and makes another one while both are members: nothing that a person could do.
            Notice::InviteExpired { invite } => self.rooms.meant_for(invite).is_some(),
            Notice::InviteFailed { invite, .. } => self.introducing.0.remove(invite).is_some(),
            Notice::Requested { invite, contact, name, accepted: false, .. } => {
                let Some((room, meant)) = self.rooms.meant_for(invite) else { return false };
                if self.contacts.was_put_aside(contact) {
                    return false;
                }
                self.answer_introduced(&room, meant, *contact, name);
                true
            }
            _ => false,
        }
    }

    /// Accepts the member for whom the invite was made, and nobody else.
    fn answer_introduced(&mut self, room: &RoomId, meant: Fingerprint, asks: Fingerprint, name: &Label) {
        if meant != asks {
            let declined = self.contacts.decline(name, &mut contact_step!(self));
            if let Err(error) = declined {
                tracing::warn!(%error, "a request cannot be declined");
            }
            let room = self.room_name(room);
            let text =
                format!("an invite for a member of {room} was used by somebody else, who was declined");
            self.notice(Holds::Always, text);
            return;
        }
        match self.contacts.accept(name, &mut contact_step!(self)) {
            Ok(contact) => self.remember_introduction(&contact, room),
            Err(error) => tracing::warn!(%error, "a member of a room cannot be accepted"),
        }
    }

    /// Keeps through whom somebody became a contact.
    fn remember_introduction(&mut self, contact: &Fingerprint, room: &RoomId) {
        let Some(view) = self.rooms.view(room) else { return };
        let through = format!("{} in #{}", self.contact_name(&view.owner), view.name);
        self.storage.change(storage::INTRODUCED, contact.as_bytes().to_vec(), Some(through.into_bytes()));
    }

    /// For which member of which room an invite was made, in words.
    pub(super) fn invited_member(&self, invite: &InviteId) -> Option<String> {
        let under_way = self.introducing.0.get(invite).map(|(room, made)| (*room, made.to));
        let (room, member) = under_way.or_else(|| self.rooms.meant_for(invite))?;
        Some(format!("{} in {}", self.member_name(&room, &member), self.room_name(&room)))
    }

    /// Through whom somebody became a contact.
    pub(super) fn introduced_by(&self, contact: &Fingerprint) -> Option<String> {
        let kept = self.storage.get_now(storage::INTRODUCED, contact.as_bytes()).ok().flatten()?;
        String::from_utf8(kept).ok()
    }
}
