//! `room/…`.

use penpal_local_api::SHAPE_VERSION;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::room::{Member, MemberRequest, NameRequest, Room, RoomRow, Rooms, Standing};
use penpal_protocol::ids::{Fingerprint, RoomId};
use penpal_protocol::text::Label;
use penpal_room::{RoomError, RoomView};

use super::{Outcome, label, now};
use crate::engine::machines::{Engine, room_step};

impl Engine {
    pub(super) fn room_list(&mut self) -> Outcome {
        let rooms = self.rooms.list().iter().map(|view| self.room_row(view)).collect();
        now(&Rooms { v: SHAPE_VERSION, rooms })
    }

    pub(super) fn room_create(&mut self, request: &NameRequest) -> Outcome {
        self.needs_account()?;
        let name = room_label(&request.name)?;
        let id = self.rooms.create(&name, &mut room_step!(self)).map_err(|error| room_error(&error))?;
        self.room_shape(&id, Vec::new())
    }

    pub(super) fn room_invite(&mut self, request: &MemberRequest) -> Outcome {
        self.needs_account()?;
        // Whoever comes reads what is said there, and becomes a contact of everybody in it.
        self.person_only(&request.caller)?;
        let id = self.room_named(&request.name)?;
        let (account, name) = self.room_contact(&request.contact)?;
        if !self.is_linked(&account) {
            let message = format!("{name} is no contact that can be written to");
            return Err(ApiError::new(ErrorCode::ContactState, message));
        }
        self.rooms
            .invite(&id, account, &name, &mut room_step!(self))
            .map_err(|error| self.room_refusal(&error))?;
        self.room_shape(&id, Vec::new())
    }

    pub(super) fn room_join(&mut self, request: &NameRequest) -> Outcome {
        self.needs_account()?;
        // It decides who may write to this account.
        self.person_only(&request.caller)?;
        let id = self.room_named(&request.name)?;
        self.rooms.join(&id, &mut room_step!(self)).map_err(|error| self.room_refusal(&error))?;
        let remarks = self.meeting(&id);
        self.room_shape(&id, remarks)
    }

    pub(super) fn room_leave(&mut self, request: &NameRequest) -> Outcome {
        // Only the owner can bring back whoever left or said no.
        self.person_only(&request.caller)?;
        let id = self.room_named(&request.name)?;
        self.rooms.leave(&id, &mut room_step!(self)).map_err(|error| self.room_refusal(&error))?;
        self.room_shape(&id, Vec::new())
    }

    pub(super) fn room_remove(&mut self, request: &MemberRequest) -> Outcome {
        // Neither this nor the end of a room can be taken back.
        self.person_only(&request.caller)?;
        let id = self.room_named(&request.name)?;
        let account = self.room_member(&id, &request.contact)?;
        self.rooms.remove(&id, account, &mut room_step!(self)).map_err(|error| self.room_refusal(&error))?;
        self.room_shape(&id, Vec::new())
    }

    pub(super) fn room_close(&mut self, request: &NameRequest) -> Outcome {
        self.person_only(&request.caller)?;
        let id = self.room_named(&request.name)?;
        self.rooms.close(&id, &mut room_step!(self)).map_err(|error| self.room_refusal(&error))?;
        self.room_shape(&id, Vec::new())
    }

    pub(super) fn room_members(&mut self, request: &NameRequest) -> Outcome {
        let id = self.room_named(&request.name)?;
        let view = self.rooms.view(&id).ok_or_else(|| room_error(&RoomError::Unknown))?;
        let own = self.contacts.account().map(|me| me.account);
        let unlinked = view.members.iter().map(|(account, _)| account);
        let unlinked = unlinked.filter(|account| Some(**account) != own && !self.is_linked(account));
        let (blocked, unlinked): (Vec<&Fingerprint>, Vec<&Fingerprint>) =
            unlinked.partition(|account| self.is_blocked(account));
        // What a person did, no node takes back by itself.
        let (aside, strangers): (Vec<&Fingerprint>, Vec<&Fingerprint>) =
            unlinked.into_iter().partition(|account| self.contacts.was_put_aside(account));
        let names = |accounts: &[&Fingerprint]| {
            let names: Vec<String> = accounts.iter().map(|account| self.member_name(&id, account)).collect();
            names.join(", ")
        };
        let mut remarks = Vec::new();
        if view.standing == penpal_room::Standing::Member {
            if !strangers.is_empty() {
                remarks.push(format!("not your contacts yet: {}; nothing goes to them", names(&strangers)));
            }
            if !blocked.is_empty() {
                remarks.push(format!(
                    "blocked: {}; nothing goes to them, and penpal contact list says why",
                    names(&blocked)
                ));
            }
            if !aside.is_empty() {
                remarks.push(format!(
                    "removed or declined by you: {}; nothing goes to them until one of you invites the other: penpal contact invite",
                    names(&aside)
                ));
            }
        }
        self.room_shape(&id, remarks)
    }

    /// What joining brings about, for whoever joins.
    fn meeting(&self, id: &RoomId) -> Vec<String> {
        let Some(view) = self.rooms.view(id) else { return Vec::new() };
        let own = self.contacts.account().map(|me| me.account);
        let strangers = view.members.iter().map(|(account, _)| account);
        let strangers = strangers.filter(|account| {
            Some(**account) != own && !self.is_linked(account) && !self.is_blocked(account)
        });
        let strangers: Vec<String> = strangers.map(|account| self.member_name(id, account)).collect();
        if strangers.is_empty() {
            return Vec::new();
        }
        let many = if strangers.len() == 1 { "its member" } else { "its members" };
        vec![format!(
            "joining makes you a contact of {many}: {}; and of whoever joins later",
            strangers.join(", ")
        )]
    }

    /// A room by what was typed.
    pub(in crate::engine) fn room_named(&self, typed: &str) -> Result<RoomId, ApiError> {
        let name = room_label(typed)?;
        self.rooms.by_name(&name).ok_or_else(|| {
            let candidates = self.rooms.list().iter().map(|view| format!("#{}", view.name)).take(8).collect();
            ApiError::new(ErrorCode::UnknownRoom, format!("there is no room #{name}")).candidates(candidates)
        })
    }

    /// What the machine says no to; where one is out of a room, with those that were made anew under its name.
    pub(super) fn room_refusal(&self, error: &RoomError) -> ApiError {
        use RoomError as E;
        let shown = room_error(error);
        let (E::NotIn { name } | E::NotInvited { name } | E::Closed { name }) = error else { return shown };
        use penpal_room::Standing as S;
        let rooms = self.rooms.list();
        let goes_on = |view: &&RoomView| matches!(view.standing, S::Invited | S::Joining | S::Member);
        let others = rooms.iter().filter(goes_on).filter(|view| is_namesake(&view.name, name));
        let others: Vec<String> = others.map(|view| format!("#{}", view.name)).collect();
        if others.is_empty() {
            return shown;
        }
        shown.candidates(others).hint("use one of the candidates; penpal room list shows where you stand")
    }

    fn room_contact(&self, typed: &str) -> Result<(Fingerprint, Label), ApiError> {
        let name = label(typed.strip_suffix('/').unwrap_or(typed))?;
        let account =
            self.contacts.resolve(&name).map_err(|error| super::contacts::unknown_contact(&error))?;
        Ok((account, name))
    }

    /// A member by our name for it, or by the owner's for one who is no contact any more.
    fn room_member(&self, id: &RoomId, typed: &str) -> Result<Fingerprint, ApiError> {
        let contact = self.room_contact(typed);
        if let Ok((account, _)) = contact {
            return Ok(account);
        }
        let members = self.rooms.view(id).map(|view| view.members).unwrap_or_default();
        let mut named = members.iter().filter(|(account, _)| self.member_name(id, account) == typed);
        match (named.next(), named.next()) {
            (Some((account, _)), None) => Ok(*account),
            _ => contact.map(|(account, _)| account),
        }
    }

    fn room_shape(&self, id: &RoomId, remarks: Vec<String>) -> Outcome {
        let view = self.rooms.view(id).ok_or_else(|| room_error(&RoomError::Unknown))?;
        now(&Room { v: SHAPE_VERSION, row: self.room_row(&view), remarks })
    }

    /// One room for listings.
    pub(in crate::engine) fn room_row(&self, view: &RoomView) -> RoomRow {
        let own = self.contacts.account().map(|me| me.account);
        let member = |account: &Fingerprint| Member {
            name: self.member_name(&view.id, account),
            fingerprint: account.to_text(),
            linked: Some(*account) == own || self.is_linked(account),
            blocked: self.is_blocked(account),
            owner: view.owner == *account,
        };
        RoomRow {
            room: format!("#{}", view.name),
            id: view.id.to_text(),
            standing: match view.standing {
                penpal_room::Standing::Invited => Standing::Invited,
                penpal_room::Standing::Joining => Standing::Joining,
                penpal_room::Standing::Member => Standing::Member,
                penpal_room::Standing::Left => Standing::Left,
                penpal_room::Standing::Removed => Standing::Removed,
                penpal_room::Standing::Closed => Standing::Closed,
            },
            owner: self.member_name(&view.id, &view.owner),
            members: view.members.iter().map(|(account, _)| member(account)).collect(),
            invited: view.invited.iter().map(|account| self.contact_name(account)).collect(),
            epoch: view.epoch,
            since_ms: view.since_ms,
        }
    }

    /// Rooms that can be written to.
    pub(super) fn open_rooms(&self) -> Vec<RoomRow> {
        let all = self.rooms.list();
        let open = all.iter().filter(|view| view.standing == penpal_room::Standing::Member);
        open.map(|view| self.room_row(view)).collect()
    }

    /// Invitations that wait, as status says them.
    pub(super) fn room_invitations(&self) -> Vec<String> {
        let all = self.rooms.list();
        let waiting = all.iter().filter(|view| view.standing == penpal_room::Standing::Invited);
        let line =
            |view: &RoomView| format!("{} invites you into #{}", self.contact_name(&view.owner), view.name);
        waiting.map(line).collect()
    }
}

/// A name of a room, as people type it.
pub(super) fn room_label(typed: &str) -> Result<Label, ApiError> {
    label(typed.strip_prefix('#').unwrap_or(typed))
}

/// Whether two rooms here have the same name but for the number that tells them apart.
fn is_namesake(one: &Label, other: &Label) -> bool {
    fn stem(name: &Label) -> &str {
        match name.as_str().rsplit_once('-') {
            Some((stem, number)) if number.bytes().all(|digit| digit.is_ascii_digit()) => stem,
            _ => name.as_str(),
        }
    }
    one != other && stem(one) == stem(other)
}

/// What the machine says no to.
pub(super) fn room_error(error: &RoomError) -> ApiError {
    use RoomError as E;
    let code = match error {
        E::NoAccount => ErrorCode::NoAccount,
        E::Unknown => ErrorCode::UnknownRoom,
        _ => ErrorCode::RoomState,
    };
    let shown = ApiError::new(code, error.to_string());
    match error {
        E::Owner { name } => shown.hint(format!("penpal room close '#{name}'")),
        E::Worn { .. } => shown.hint("make a new room and invite its members there"),
        E::NotIn { .. } => shown.hint("penpal room list shows where you stand, and what you can do"),
        E::NotOwner { name } => shown.hint(format!("penpal room members '#{name}' shows whose it is")),
        _ => shown,
    }
}
