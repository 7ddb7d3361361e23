//! `contact/…`.

use std::time::Duration;

use penpal_contact::{AddError, ContactError, InviteStatus, NewAccount, State, UnknownName};
use penpal_local_api::SHAPE_VERSION;
use penpal_local_api::contacts::{
    AddRequest, Contact, ContactSession, ContactSessions, Contacts, InviteList, InviteRequest, InviteRow,
    NameRequest, RenameRequest, SessionsRequest, VerifyRequest,
};
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_protocol::ids::Fingerprint;
use penpal_protocol::limits::DEFAULT_INVITE_LIFE_MS;
use penpal_protocol::text::{InviteCode, InviteCodeError, Label};

use super::account::{device_name, register_error};
use super::{Outcome, Reply, label, now, wait};
use crate::engine::machines::{Engine, contact_step, room_step};
use crate::engine::views::{reach, state};
use crate::engine::waiting::Wait;

/// How long an invite may take to reach the relay.
const INVITE_LIMIT: Duration = Duration::from_secs(15);
/// How long the use of a code may take until the request is stored.
const ADD_LIMIT: Duration = Duration::from_secs(40);
/// How long the relay may take to hear of a removed contact.
const REMOVE_LIMIT: Duration = Duration::from_secs(2);

impl Engine {
    pub(super) fn invite(&mut self, request: &InviteRequest) -> Outcome {
        self.needs_account()?;
        self.refuse_cut_off()?;
        if request.auto_accept {
            self.person_only(&request.caller)?;
        }
        let life_ms = request.life_ms.unwrap_or(DEFAULT_INVITE_LIFE_MS);
        let count = request.count.unwrap_or(1);
        let made = self.contacts.invite(count, life_ms, request.auto_accept, &mut contact_step!(self));
        let made = made.map_err(|error| {
            use penpal_contact::InviteError as E;
            let code = match &error {
                E::NoAccount => ErrorCode::NoAccount,
                E::Count { .. } | E::Life { .. } | E::TooMany { .. } => ErrorCode::Usage,
                _ => ErrorCode::RelayAway,
            };
            ApiError::new(code, error.to_string())
        })?;
        self.waiting.trouble = None;
        self.hurry();
        Ok(Reply::Later(Wait::Invites(made.into_iter().map(|one| one.invite).collect()), INVITE_LIMIT))
    }

    pub(super) fn invites(&mut self) -> Outcome {
        self.needs_account()?;
        let rows = self.contacts.invites().into_iter().map(|view| InviteRow {
            id: view.invite.to_text().chars().take(6).collect(),
            state: match view.status {
                InviteStatus::Creating => "creating".to_owned(),
                InviteStatus::Open => "open".to_owned(),
                InviteStatus::Redeemed => "redeemed".to_owned(),
                InviteStatus::Accepted => "accepted".to_owned(),
                InviteStatus::Ended(end) => ended(end).to_owned(),
            },
            by: view.by.map(|name| name.to_string()),
            code: match self.invited_member(&view.invite) {
                // It goes to that member by itself, and whoever else uses it is declined.
                Some(_) => None,
                None => self.contacts.code(&view.invite).map(|code| code.to_code().to_string()),
            },
            meant_for: self.invited_member(&view.invite),
            auto_accept: view.auto_accept,
            created_ms: view.created_ms,
            expires_ms: view.expires_ms,
        });
        now(&InviteList { v: SHAPE_VERSION, invites: rows.collect() })
    }

    pub(super) fn add(&mut self, request: &AddRequest) -> Outcome {
        let code: InviteCode = request.code.parse().map_err(|error: InviteCodeError| {
            ApiError::new(ErrorCode::BadCode, format!("no usable invite code: {error}"))
        })?;
        self.refuse_cut_off()?;
        let has_account = self.contacts.account().is_some();
        let account = match &request.handle {
            Some(handle) if !has_account => Some(NewAccount {
                handle: label(handle)?,
                device_name: device_name(request.device.as_deref())?,
            }),
            Some(_) | None => None,
        };
        let registers = !has_account;
        self.waiting.trouble = None;
        let invite =
            self.contacts.add(&code, account, &mut contact_step!(self)).map_err(|error| add_error(&error))?;
        self.hurry();
        let decision = request.wait_ms > 0;
        let limit = if decision { wait(request.wait_ms) } else { ADD_LIMIT };
        Ok(Reply::Later(Wait::Added { invite, inviter: code.inviter, registers, decision }, limit))
    }

    pub(super) fn accept(&mut self, request: &NameRequest) -> Outcome {
        self.needs_account()?;
        self.person_only(&request.caller)?;
        let name = self.contact_label(&request.name)?;
        let accepted = self.contacts.accept(&name, &mut contact_step!(self));
        let contact = accepted.map_err(|error| {
            use penpal_contact::AcceptRequestError as E;
            let code = match &error {
                E::Unknown(unknown) => return unknown_contact(unknown),
                E::Blocked { .. } | E::Changed { .. } => ErrorCode::ContactBlocked,
                _ => ErrorCode::ContactState,
            };
            ApiError::new(code, error.to_string())
        })?;
        self.contact_shape(&contact)
    }

    pub(super) fn decline(&mut self, request: &NameRequest) -> Outcome {
        let name = self.contact_label(&request.name)?;
        let contact = self.contacts.resolve(&name).map_err(|error| unknown_contact(&error))?;
        let before = self.contacts.view(&contact);
        let outgoing = before.as_ref().is_some_and(|view| view.state == State::PendingOut);
        if outgoing {
            self.contacts.remove(&name, &mut contact_step!(self)).map_err(|error| contact_error(&error))?;
        } else {
            self.contacts.decline(&name, &mut contact_step!(self)).map_err(|error| contact_error(&error))?;
        }
        let view = before
            .ok_or_else(|| ApiError::new(ErrorCode::UnknownContact, format!("there is no contact {name}")))?;
        let mut row = self.contact_row(&view);
        row.state = penpal_local_api::contacts::ContactState::Declined;
        now(&Contact { v: SHAPE_VERSION, contact: row })
    }

    pub(super) fn remove(&mut self, request: &NameRequest) -> Outcome {
        let name = self.contact_label(&request.name)?;
        let contact = self.contacts.resolve(&name).map_err(|error| unknown_contact(&error))?;
        if let Some(view) = self.contacts.view(&contact) {
            self.remember_names(&view);
        }
        let removed =
            self.contacts.remove(&name, &mut contact_step!(self)).map_err(|error| contact_error(&error))?;
        let name = name.to_string();
        if removed.at_relay {
            return now(&penpal_local_api::contacts::Removed { v: SHAPE_VERSION, name, at_relay: true });
        }
        Ok(Reply::Later(Wait::Removed { contact: removed.contact, name }, REMOVE_LIMIT))
    }

    pub(super) fn block(&mut self, request: &NameRequest) -> Outcome {
        let name = self.contact_label(&request.name)?;
        self.contacts.block(&name, &mut contact_step!(self)).map_err(|error| contact_error(&error))?;
        self.named_shape(&name)
    }

    pub(super) fn unblock(&mut self, request: &NameRequest) -> Outcome {
        self.person_only(&request.caller)?;
        let name = self.contact_label(&request.name)?;
        self.contacts.unblock(&name, &mut contact_step!(self)).map_err(|error| contact_error(&error))?;
        self.back_in_rooms(&name);
        self.named_shape(&name)
    }

    pub(super) fn rename(&mut self, request: &RenameRequest) -> Outcome {
        let (name, new) = (self.contact_label(&request.name)?, label(&request.new)?);
        self.contacts.rename(&name, &new, &mut contact_step!(self)).map_err(|error| contact_error(&error))?;
        self.named_shape(&new)
    }

    pub(super) fn verify(&mut self, request: &VerifyRequest) -> Outcome {
        let name = self.contact_label(&request.name)?;
        let contact = self.contacts.resolve(&name).map_err(|error| unknown_contact(&error))?;
        let Some(compared) = &request.compared else { return self.contact_shape(&contact) };
        self.person_only(&request.caller)?;
        let safety = self.contacts.view(&contact).and_then(|view| view.safety);
        let safety = safety.filter(|number| number.matches(compared)).ok_or_else(|| {
            let message = format!("that is not the safety number of {name}: somebody may be between you");
            ApiError::new(ErrorCode::ContactState, message)
                .hint(format!("penpal contact verify {name} shows it; compare again on a call"))
        })?;
        self.contacts
            .verify(&name, &safety, &mut contact_step!(self))
            .map_err(|error| contact_error(&error))?;
        self.back_in_rooms(&name);
        self.contact_shape(&contact)
    }

    /// A contact that was shut out can be written to: of rooms it is told what it missed.
    fn back_in_rooms(&mut self, name: &Label) {
        if let Ok(contact) = self.contacts.resolve(name)
            && self.is_linked(&contact)
        {
            self.rooms.handle_contact_back(&contact, &mut room_step!(self));
        }
    }

    pub(super) fn contact_list(&mut self) -> Outcome {
        let contacts = self.contacts.list().iter().map(|view| self.contact_row(view)).collect();
        now(&Contacts { v: SHAPE_VERSION, contacts })
    }

    pub(super) fn contact_sessions(&mut self, request: &SessionsRequest) -> Outcome {
        self.note_caller(&request.caller);
        if let Some(name) = &request.name {
            let name = self.contact_label(name)?;
            self.contacts.resolve(&name).map_err(|error| unknown_contact(&error))?;
        }
        let rows = self.sessions.remote(&self.directory(), self.now).into_iter();
        let wanted = rows.filter(|row| request.name.as_ref().is_none_or(|name| row.contact.as_str() == name));
        now(&ContactSessions { v: SHAPE_VERSION, sessions: wanted.map(remote_session).collect() })
    }

    /// A contact's name; a name that cannot be one is unknown.
    fn contact_label(&self, name: &str) -> Result<Label, ApiError> {
        label(name.strip_suffix('/').unwrap_or(name))
    }

    fn named_shape(&self, name: &Label) -> Outcome {
        let contact = self.contacts.resolve(name).map_err(|error| unknown_contact(&error))?;
        self.contact_shape(&contact)
    }

    fn contact_shape(&self, contact: &Fingerprint) -> Outcome {
        let view = self.contacts.view(contact);
        let view = view.ok_or_else(|| ApiError::new(ErrorCode::UnknownContact, "the contact is gone"))?;
        now(&Contact { v: SHAPE_VERSION, contact: self.contact_row(&view) })
    }
}

/// A session of a contact, or of another device of ours.
pub(super) fn remote_session(row: penpal_sessions::RemoteView) -> ContactSession {
    ContactSession {
        online: row.online(),
        contact: row.contact.to_string(),
        session: row.name.to_string(),
        device: row.device,
        agent: row.agent.to_string(),
        state: state(row.state),
        since_ms: row.since_ms,
        reach: reach(row.reach),
        folder: row.folder,
        summary: row.summary,
        address: row.address,
        last_seen_ms: row.last_seen_ms,
    }
}

fn ended(end: penpal_contact::InviteEnd) -> &'static str {
    use penpal_contact::InviteEnd as E;
    match end {
        E::Confirmed => "accepted",
        E::Declined => "declined",
        E::Expired => "expired",
        E::Revoked => "revoked",
        E::Withdrawn => "withdrawn",
        _ => "lost",
    }
}

/// There is no such contact.
pub(super) fn unknown_contact(error: &UnknownName) -> ApiError {
    let candidates = error.candidates.iter().map(ToString::to_string).collect();
    ApiError::new(ErrorCode::UnknownContact, error.to_string()).candidates(candidates)
}

fn contact_error(error: &ContactError) -> ApiError {
    let code = match error {
        ContactError::Unknown(unknown) => return unknown_contact(unknown),
        ContactError::NameTaken { .. } | ContactError::Reserved { .. } => {
            return ApiError::new(ErrorCode::BadName, error.to_string()).hint(super::OTHER_NAME);
        }
        _ => ErrorCode::ContactState,
    };
    ApiError::new(code, error.to_string())
}

fn add_error(error: &AddError) -> ApiError {
    let code = match error {
        AddError::Expired { .. } => ErrorCode::InviteExpired,
        AddError::Own => ErrorCode::InviteOwn,
        AddError::NoHandle => {
            let message = "there is no account yet, and no handle for one was given";
            return ApiError::new(ErrorCode::NeedsAnswer, message)
                .hint("penpal contact add CODE --handle NAME");
        }
        AddError::ForDevices => {
            return ApiError::new(ErrorCode::BadCode, error.to_string()).hint("penpal device link CODE");
        }
        AddError::Register(error) => return register_error(error),
        _ => ErrorCode::ContactState,
    };
    ApiError::new(code, error.to_string())
}
