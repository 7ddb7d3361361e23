//! Messages into a room: whom they go to, and whom they do not.

use penpal_contact::State;
use penpal_delivery::{Destination, MailKey, MailView, Peer};
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_protocol::ids::{DeviceId, Fingerprint, RoomId};
use penpal_protocol::sealed::SessionTarget;
use penpal_protocol::text::Label;
use penpal_sessions::{Target, Unchecked};

use super::room::{room_error, room_label};
use super::send::Route;
use crate::engine::machines::Engine;
use crate::engine::rooms::me;

/// One session that a message in a room is for.
struct Addressed {
    target: SessionTarget,
    device: Option<DeviceId>,
    account: Fingerprint,
}

impl Engine {
    /// Where `#room` or `#room @contact/session` goes; nothing for an address of another kind.
    pub(super) fn route_into_room(&self, to: &str, anyway: bool) -> Option<Result<Route, ApiError>> {
        let rest = to.trim().strip_prefix('#')?;
        let (room, whom) = match rest.split_once(char::is_whitespace) {
            Some((room, whom)) => (room, Some(whom.trim())),
            None => (rest, None),
        };
        Some(self.named_route(room, whom.filter(|whom| !whom.is_empty()), anyway))
    }

    fn named_route(&self, room: &str, whom: Option<&str>, anyway: bool) -> Result<Route, ApiError> {
        room_label(room)?;
        let id = self.room_named(room)?;
        let mut remarks = Vec::new();
        let addressed = whom.map(|whom| self.addressed(&id, whom, anyway, &mut remarks)).transpose()?;
        self.room_route(&id, addressed, remarks)
    }

    /// The session behind `@contact/session`.
    fn addressed(
        &self,
        id: &RoomId,
        whom: &str,
        anyway: bool,
        remarks: &mut Vec<String>,
    ) -> Result<Addressed, ApiError> {
        let address = whom.strip_prefix('@').ok_or_else(|| {
            ApiError::new(ErrorCode::Usage, format!("{whom:?} is not @CONTACT/SESSION"))
                .hint("'#room @bob/web' is for one session of bob's; '#room' for everybody")
        })?;
        let target = self.sessions.resolve(address, &self.directory(), anyway);
        let target = target.map_err(|error| self.resolve_error(address, &error))?;
        let (account, device, target) = match target {
            Target::ContactSession { account, device, session, name } => {
                (account, Some(device), SessionTarget { sid: Some(session), name })
            }
            Target::ContactUnchecked { account, device, name, why } => {
                if why == Unchecked::NoList {
                    remarks.push("name not checked: no list of their sessions has come yet".to_owned());
                }
                let device = match device {
                    Some(device) => Some(device),
                    None => Some(self.only_device(id, &account, &name)?),
                };
                (account, device, SessionTarget { sid: None, name })
            }
            _ => {
                let message = format!("{whom} is no session of a member");
                return Err(ApiError::new(ErrorCode::UnknownAddress, message)
                    .hint("'#room @bob/web' is for one session of bob's; '#room' for everybody"));
            }
        };
        let own = me(&self.contacts).ok_or_else(|| room_error(&penpal_room::RoomError::NoAccount))?;
        let fanout = self.rooms.fanout(id, &own).map_err(|error| self.room_refusal(&error))?;
        if !fanout.to.contains(&account) {
            let (name, room) = (self.contact_name(&account), self.room_name(id));
            return Err(ApiError::new(ErrorCode::RoomState, format!("{name} is not in {room}")));
        }
        Ok(Addressed { target, device, account })
    }

    /// The machine of a member that has one. In a room a session is on one machine, and of several none is guessed.
    fn only_device(&self, id: &RoomId, account: &Fingerprint, name: &Label) -> Result<DeviceId, ApiError> {
        let devices = self.contacts.view(account).map(|view| view.devices).unwrap_or_default();
        if let [one] = devices.as_slice() {
            return Ok(one.id);
        }
        let (room, contact) = (self.room_name(id), self.contact_name(account));
        let on = devices.iter().map(|one| format!("{room} @{contact}/{}/{name}", one.name)).collect();
        let message = format!("{contact} has several machines, and none of them announced {name}");
        Err(ApiError::new(ErrorCode::AmbiguousAddress, message).candidates(on))
    }

    /// Back into the room in which a message was said, to the session that said it.
    pub(super) fn route_back_into_room(&self, view: &MailView, id: &RoomId) -> Result<Route, ApiError> {
        let addressed = view.sender().zip(view.from_session.clone()).map(|(peer, session)| Addressed {
            target: SessionTarget { sid: Some(session.sid), name: session.name },
            device: Some(peer.device),
            account: peer.account,
        });
        self.room_route(id, addressed, Vec::new())
    }

    /// Of a message said in a room, the accounts that are in it now; nothing for other messages.
    pub(super) fn still_in_room(&self, key: MailKey) -> Result<Option<Vec<Fingerprint>>, ApiError> {
        let Some(room) = self.view_of(key)?.room else { return Ok(None) };
        let own = me(&self.contacts).ok_or_else(|| room_error(&penpal_room::RoomError::NoAccount))?;
        let fanout = self.rooms.fanout(&room, &own).map_err(|error| room_error(&error))?;
        Ok(Some(fanout.to))
    }

    /// Whom a message is for must be among those who get it: the others only keep it.
    fn reaches(
        &self,
        id: &RoomId,
        whom: &Addressed,
        is_member: bool,
        destinations: &[Destination],
    ) -> Result<(), ApiError> {
        let of = |to: &&Destination| matches!(to, Destination::Device(peer) if peer.account == whom.account);
        let on = |to: &Destination| {
            whom.device.is_none_or(|device| *to == Destination::Device(Peer::new(whom.account, device)))
        };
        if destinations.iter().filter(of).any(on) {
            return Ok(());
        }
        let (name, room) = (self.member_name(id, &whom.account), self.room_name(id));
        let message = if !is_member {
            format!("{name} is not in {room} any more")
        } else if destinations.iter().any(|to| of(&to)) {
            format!("{name} has no such device any more")
        } else {
            format!("nothing goes to {name}: penpal contact list says why")
        };
        Err(ApiError::new(ErrorCode::RoomState, message)
            .hint(format!("penpal send '{room}' is for everybody in it")))
    }

    fn room_route(
        &self,
        id: &RoomId,
        addressed: Option<Addressed>,
        mut remarks: Vec<String>,
    ) -> Result<Route, ApiError> {
        let own = me(&self.contacts).ok_or_else(|| room_error(&penpal_room::RoomError::NoAccount))?;
        let fanout = self.rooms.fanout(id, &own).map_err(|error| self.room_refusal(&error))?;
        let room = self.room_name(id);
        if fanout.to.is_empty() {
            return Err(ApiError::new(ErrorCode::RoomState, format!("nobody else is in {room}"))
                .hint(format!("penpal room invite '{room}' CONTACT")));
        }
        let (mut destinations, mut accounts) = (Vec::new(), Vec::new());
        for account in &fanout.to {
            let view = self.contacts.view(account);
            let state = view.as_ref().map(|view| view.state);
            match (view, state) {
                (Some(view), Some(State::Active | State::Gone)) if !view.devices.is_empty() => {
                    let peers =
                        view.devices.iter().map(|one| Destination::Device(Peer::new(*account, one.id)));
                    destinations.extend(peers);
                    accounts.push(*account);
                }
                (_, state) => {
                    let why = match state {
                        Some(State::Blocked) => "blocked",
                        None if self.contacts.was_put_aside(account) => "removed or declined by you",
                        _ => "not your contact yet",
                    };
                    remarks.push(format!("not to {}: {why}", self.member_name(id, account)));
                }
            }
        }
        if destinations.is_empty() {
            let message = format!("nothing was sent into {room}: {}", remarks.join("; "));
            return Err(
                ApiError::new(ErrorCode::ContactState, message).hint(format!("penpal room members '{room}'"))
            );
        }
        if let Some(whom) = &addressed {
            self.reaches(id, whom, fanout.to.contains(&whom.account), &destinations)?;
        }
        let mut to = room;
        if let Some(whom) = &addressed {
            to.push_str(&format!(" @{}/{}", self.contact_name(&whom.account), whom.target.name));
        }
        let target_device = addressed.as_ref().and_then(|whom| whom.device);
        Ok(Route {
            destinations,
            target: addressed.map(|whom| whom.target),
            to,
            remarks,
            accounts,
            room: Some(fanout.said_in),
            target_device,
        })
    }

    /// A room as an address.
    pub(in crate::engine) fn room_name(&self, id: &RoomId) -> String {
        self.rooms.name(id).map_or_else(|| "a room".to_owned(), |name| format!("#{name}"))
    }
}
