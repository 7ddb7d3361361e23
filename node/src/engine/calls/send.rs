//! `send`, `send/wait`, `retry`.

use std::time::Duration;

use penpal_delivery::{Destination, HeldReason, MailKey, Mailbox, NewMessage, Stage, exact_id};
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::mail::{IdRequest, SendRequest, SendWaitRequest};
use penpal_protocol::cbor::Text;
use penpal_protocol::ids::{DeviceId, Fingerprint, SessionId};
use penpal_protocol::limits::{MAX_SUBJECT_BYTES, MAX_TEXT_BYTES};
use penpal_protocol::sealed::{
    Content, Kind, Letter, Reach, RoomRef, SessionRef, SessionState, SessionTarget,
};
use penpal_sessions::{Target, Unchecked};

use super::{Outcome, Reply, label, wait};
use crate::engine::machines::{Engine, delivery_step};
use crate::engine::views::unreadable;
use crate::engine::waiting::{Goal, SentWait, Wait};

/// How long `send` waits by itself for a better stage.
const PLAIN_WAIT: Duration = Duration::from_secs(2);

/// Said of a message with files until they are there.
pub(super) const WAITS_FOR_FILES: &str = "it goes once its files are at the relay";

/// Messages that a caller may see.
pub(super) enum Sight {
    /// Every one.
    All,
    /// Those of some mailboxes, and those that its session sent.
    Of {
        /// The session, when it can be told.
        session: Option<SessionId>,
        /// Its mailboxes.
        mailboxes: Vec<Mailbox>,
    },
}

impl Sight {
    /// Whether a mailbox is the caller's, so that what waits in it is read when the caller has it. What is said in a room to another
    /// session may be seen and still waits for that one.
    pub(super) fn is_of(&self, mailbox: Mailbox) -> bool {
        match self {
            Self::All => true,
            Self::Of { mailboxes, .. } => mailboxes.contains(&mailbox),
        }
    }
}

/// Where a message goes.
pub(super) struct Route {
    pub(super) destinations: Vec<Destination>,
    pub(super) target: Option<SessionTarget>,
    pub(super) to: String,
    pub(super) remarks: Vec<String>,
    /// Contacts to whose devices it goes.
    pub(super) accounts: Vec<Fingerprint>,
    /// Room in which it is said.
    pub(super) room: Option<RoomRef>,
    /// In a room, the device with the session that it is for.
    pub(super) target_device: Option<DeviceId>,
}

impl Engine {
    pub(super) fn send(&mut self, request: SendRequest) -> Outcome {
        if request.text.len() > MAX_TEXT_BYTES {
            let message =
                format!("the text has {} bytes, at most {MAX_TEXT_BYTES} are possible", request.text.len());
            return Err(ApiError::new(ErrorCode::BodyTooLarge, message));
        }
        if request.text.trim().is_empty() && request.artifacts.is_empty() {
            return Err(ApiError::new(ErrorCode::Usage, "there is nothing in the text")
                .hint("give a text, or - to read it from standard input, or a file"));
        }
        if request.from_session.as_deref() == Some("desk") {
            self.person_only(&request.caller)?;
        }
        let own = self.acting_mailbox(&request.caller, request.from_session.as_deref())?;
        let reply_to =
            request.reply_to.as_deref().map(|id| self.message_key(id, &request.caller)).transpose()?;
        // A person's answer comes from the mailbox that received the message. An agent answers in its own name, also what it sees of the
        // desk, or of a room although it is for another.
        let received = reply_to.map(|key| self.view_of(key)).transpose()?.and_then(|view| view.mailbox);
        let from = match received {
            Some(received) if request.from_session.is_none() && !self.acts_in_agent(&request.caller) => {
                received
            }
            _ => own,
        };
        let mut route = match (&request.to, reply_to) {
            // The answer's way is known exactly; the name it is shown by may mean several, or another one by now.
            (Some(to), Some(key)) if self.is_shown_from(key, to)? => self.route_back(key, request.anyway)?,
            (Some(to), _) => self.route(to, request.anyway)?,
            (None, Some(key)) => {
                self.refuse_own(key)?;
                self.route_back(key, request.anyway).map_err(|error| self.answer_anyway(key, error))?
            }
            (None, None) => return Err(ApiError::new(ErrorCode::Usage, "no address was given")),
        };
        if !route.accounts.is_empty() {
            self.refuse_cut_off()?;
        }
        let kind = match (reply_to, request.ask) {
            (_, true) => Kind::Ask,
            (Some(_), false) => Kind::Reply,
            (None, false) => Kind::Note,
        };
        if kind == Kind::Note && self.sees_late(&route) {
            route.remarks.push("seen at its next prompt; an ask would wake it".to_owned());
        }
        let subject =
            request.subject.as_deref().filter(|subject| !subject.is_empty()).map(Text::new).transpose();
        let subject = subject.map_err(|error| {
            ApiError::new(
                ErrorCode::Usage,
                format!("the subject has {} bytes, at most {MAX_SUBJECT_BYTES} are possible", error.got),
            )
        })?;
        let life_ms = request.life_ms.unwrap_or(self.config.message_life_ms);
        let leaves = !route.accounts.is_empty();
        // What an agent says, or anybody says to a whole room, takes nobody's mail out of its hold.
        let to_them = route.room.is_none() && !self.acts_in_agent(&request.caller);
        let until_ms = leaves.then(|| self.now.wall_ms.saturating_add(life_ms));
        let (artifacts, uploads) = self.attach(&request.artifacts, until_ms)?;
        if artifacts.is_some() && until_ms.is_some() {
            route.remarks.push(WAITS_FOR_FILES.to_owned());
        }
        let letter = Letter {
            from: self.session_ref(from),
            to: route.target,
            subject,
            text: Text::truncated(&request.text),
            reply_to: reply_to.map(|key| key.msg_id),
            room: route.room,
            artifacts,
            target_device: route.target_device,
        };
        let attached = letter.artifacts.is_some().then(|| letter.clone());
        let copied = leaves.then(|| letter.clone());
        let written_to = route.to.clone();
        let message = NewMessage {
            kind,
            content: Content::Letter(Box::new(letter)),
            from,
            to: route.to,
            destinations: route.destinations.clone(),
            reply_to,
            trace_id: None,
            hops: 0,
            wake_budget: 0,
            life_ms: Some(life_ms),
            boot: false,
            msg_id: None,
        };
        let sent = self.delivery.send(message, &mut delivery_step!(self));
        let sent = sent.map_err(|error| ApiError::new(ErrorCode::Usage, error.to_string()))?;
        self.begin_uploads(uploads);
        if let Some(letter) = attached {
            self.note_references(MailKey::own(sent.msg_id), &letter);
            if leaves {
                self.wait_for_files(sent.msg_id, &letter);
            }
        }
        if let Some(letter) = copied {
            self.say_sent(sent.msg_id, &letter, &written_to, &route.accounts);
        }
        if leaves {
            // Somebody has something to say: as good a reason to dial as any.
            if !self.greeting.greeted {
                self.hurry();
            }
            if to_them {
                self.wrote_to(&route.accounts);
            }
        }
        let sight = self.sight(&request.caller)?;
        if let Some(key) = reply_to
            && received.is_some_and(|received| received == from || sight.is_of(received))
        {
            // Whoever answers has read.
            let surfacing = self.surfacing(request.mechanism.as_deref().unwrap_or("api"), from, true);
            if let Err(error) = self.delivery.surface(key, &surfacing, &mut delivery_step!(self)) {
                tracing::debug!(%error, "an answered message waited for nobody");
            }
        }
        let (goal, strict, span) = match request.wait_ms {
            Some(0) => (Goal::Queued, false, Duration::ZERO),
            Some(ms) if kind == Kind::Ask => (Goal::Reply, true, wait(ms)),
            Some(ms) => (Goal::Stage(Stage::Surfaced), true, wait(ms)),
            None => (self.best_soon(&route.accounts), false, PLAIN_WAIT),
        };
        let wait = SentWait {
            msg_id: sent.msg_id,
            goal,
            strict,
            remarks: route.remarks,
            mechanism: request.mechanism,
        };
        Ok(Reply::Later(Wait::Sent(wait), span))
    }

    /// Whether a note reaches an idle session that an ask would wake.
    fn sees_late(&self, route: &Route) -> bool {
        let waits = |state, reach| state == SessionState::Idle && reach == Reach::Wakes;
        match (route.destinations.first(), &route.target, route.accounts.first().copied()) {
            (Some(Destination::Local { mailbox: Mailbox::Session(session), .. }), _, _) => {
                self.sessions.session(*session).is_some_and(|view| waits(view.state, view.reach))
            }
            (_, Some(SessionTarget { sid: Some(sid), .. }), Some(account)) if route.room.is_none() => {
                let rows = self.sessions.remote(&self.directory(), self.now);
                let row = rows.iter().find(|row| row.account == account && row.session == *sid);
                row.is_some_and(|row| waits(row.state, row.reach))
            }
            _ => false,
        }
    }

    /// The best stage that can come by itself within moments.
    fn best_soon(&self, accounts: &[Fingerprint]) -> Goal {
        let rank = |goal: &Goal| match goal {
            Goal::Queued | Goal::Reply => Stage::Queued,
            Goal::Stage(stage) => *stage,
        };
        let goals = accounts.iter().map(|account| self.best_soon_of(*account));
        goals.min_by_key(rank).unwrap_or(Goal::Queued)
    }

    fn best_soon_of(&self, account: Fingerprint) -> Goal {
        if self.contacts.route(&account).is_none_or(|route| !route.open) {
            return Goal::Queued;
        }
        let foreign = self
            .contacts
            .view(&account)
            .is_some_and(|view| self.contacts.home_relay().is_none_or(|home| home.pin != view.relay.pin));
        if foreign {
            return Goal::Stage(Stage::Delivered);
        }
        if !self.greeting.greeted {
            return Goal::Queued;
        }
        if self.sessions.contact_online(account, self.now) {
            Goal::Stage(Stage::Delivered)
        } else {
            Goal::Stage(Stage::Relayed)
        }
    }

    pub(super) fn send_wait(&mut self, request: SendWaitRequest) -> Outcome {
        let key = self.own_message_key(&request.id, &request.caller)?;
        let is_ask = self.view_of(key)?.kind == Kind::Ask;
        let goal = if is_ask { Goal::Reply } else { Goal::Stage(Stage::Surfaced) };
        let sent = SentWait {
            msg_id: key.msg_id,
            goal,
            strict: true,
            remarks: Vec::new(),
            mechanism: request.mechanism,
        };
        Ok(Reply::Later(Wait::Sent(sent), wait(request.wait_ms)))
    }

    pub(super) fn retry(&mut self, request: &IdRequest) -> Outcome {
        let key = self.own_message_key(&request.id, &request.caller)?;
        let members = self.still_in_room(key)?;
        let wanted = |account: &Fingerprint| members.as_ref().is_none_or(|members| members.contains(account));
        self.delivery.retry_for(key.msg_id, wanted, &mut delivery_step!(self)).map_err(|error| {
            use penpal_delivery::RetryError as E;
            match &error {
                E::Unknown => ApiError::new(ErrorCode::UnknownId, error.to_string()),
                E::Done { .. } => {
                    let error = ApiError::new(ErrorCode::NotRetryable, error.to_string());
                    if members.is_some() {
                        error.hint("who is not in the room any more gets nothing")
                    } else {
                        error
                    }
                }
                _ => ApiError::new(ErrorCode::HomeUnusable, error.to_string()),
            }
        })?;
        // Its files live as long as it does, from now on. Nothing is sealed before the end of the step.
        self.retry_files(key.msg_id)?;
        let sent = SentWait {
            msg_id: key.msg_id,
            goal: Goal::Stage(Stage::Relayed),
            strict: false,
            remarks: Vec::new(),
            mechanism: None,
        };
        Ok(Reply::Later(Wait::Sent(sent), PLAIN_WAIT))
    }

    /// How a mailbox of ours is named to others; nothing for the desk.
    pub(in crate::engine) fn session_ref(&self, mailbox: Mailbox) -> Option<SessionRef> {
        match mailbox {
            Mailbox::Desk => None,
            Mailbox::Session(sid) => {
                self.sessions.session(sid).map(|view| SessionRef { sid: view.session, name: view.name })
            }
        }
    }

    fn route(&self, to: &str, anyway: bool) -> Result<Route, ApiError> {
        if let Some(route) = self.route_into_room(to, anyway) {
            return route;
        }
        let target = self
            .sessions
            .resolve(to, &self.directory(), anyway)
            .map_err(|error| self.resolve_error(to, &error))?;
        let mut remarks = Vec::new();
        let (destinations, target, account): (_, _, Option<Fingerprint>) = match target {
            Target::Local { session, ended, .. } => {
                if ended {
                    remarks.push("that session has ended; it sees this when it is resumed".to_owned());
                }
                (vec![Destination::Local { mailbox: Mailbox::Session(session), held: None }], None, None)
            }
            Target::LocalDesk => {
                (vec![Destination::Local { mailbox: Mailbox::Desk, held: None }], None, None)
            }
            Target::ContactDesk { account } => {
                (self.devices_of(&account, None, anyway)?, None, Some(account))
            }
            Target::ContactSession { account, device, session, name } => {
                let target = SessionTarget { sid: Some(session), name };
                (self.devices_of(&account, Some(device), anyway)?, Some(target), Some(account))
            }
            Target::ContactUnchecked { account, device, name, why } => {
                if why == Unchecked::NoList {
                    remarks.push("name not checked: no list of their sessions has come yet".to_owned());
                }
                let target = SessionTarget { sid: None, name };
                (self.devices_of(&account, device, anyway)?, Some(target), Some(account))
            }
            Target::OwnDevice { device, name } => {
                let account = self.contacts.account().map(|me| me.account);
                let Some(account) = account else {
                    return Err(ApiError::new(ErrorCode::NoAccount, "there is no account yet"));
                };
                let rows = self.sessions.remote(&self.own_directory(), self.now);
                let row = rows.iter().find(|row| row.device_id == device && row.name == name);
                if row.is_none() && !anyway {
                    let all = rows.iter().filter(|row| row.device_id == device);
                    let all: Vec<String> = all.map(|row| row.address.clone()).collect();
                    if rows.iter().any(|row| row.device_id == device) {
                        let message = format!("{to}: that device announced no such session");
                        return Err(ApiError::new(ErrorCode::UnknownAddress, message)
                            .candidates(all)
                            .hint("use one of the candidates, or --anyway to send to that name"));
                    }
                    remarks.push("name not checked: no list of its sessions has come yet".to_owned());
                }
                let target = (!name.is_reserved())
                    .then(|| SessionTarget { sid: row.map(|row| row.session), name: name.clone() });
                (self.devices_of(&account, Some(device), anyway)?, target, Some(account))
            }
            Target::Room { .. } => {
                return Err(ApiError::new(ErrorCode::UnknownAddress, format!("{to} cannot be reached")));
            }
        };
        Ok(Route {
            destinations,
            target,
            to: to.to_owned(),
            remarks,
            accounts: account.into_iter().collect(),
            room: None,
            target_device: None,
        })
    }

    /// Whether a message that was not said in a room is shown as from that address.
    fn is_shown_from(&self, key: MailKey, address: &str) -> Result<bool, ApiError> {
        let view = self.view_of(key)?;
        Ok(view.room.is_none() && self.message(&view)?.from == address)
    }

    /// Refuses to answer what was sent from here to somebody elsewhere: the answer would go to its own writer. What lies in a mailbox of
    /// this machine is answered in its name, by whoever may.
    fn refuse_own(&self, key: MailKey) -> Result<(), ApiError> {
        let view = self.view_of(key)?;
        if view.sender().is_none() && view.room.is_none() && view.mailbox.is_none() {
            return Err(ApiError::new(
                ErrorCode::Usage,
                "that message is your own: nobody is to be answered",
            )
            .hint(format!("to add to it: penpal send NAME TEXT --reply-to {}", view.short)));
        }
        Ok(())
    }

    /// What is refused because its recipient is gone can be kept here: said in terms of what was tried.
    fn answer_anyway(&self, key: MailKey, error: ApiError) -> ApiError {
        match self.view_of(key) {
            Ok(view) if error.code == ErrorCode::ContactGone => error.hint(format!(
                "ask them on another way and exchange a new invite; penpal reply {} TEXT --anyway keeps it here",
                view.short
            )),
            _ => error,
        }
    }

    /// Back to whoever sent a message.
    fn route_back(&self, key: MailKey, anyway: bool) -> Result<Route, ApiError> {
        let view = self.view_of(key)?;
        if let Some(room) = view.room {
            return self.route_back_into_room(&view, &room);
        }
        match (view.sender(), view.sent_from) {
            (Some(peer), _) => {
                let target = view
                    .from_session
                    .map(|session| SessionTarget { sid: Some(session.sid), name: session.name });
                let name = self.contact_name(&peer.account);
                let to =
                    target.as_ref().map_or_else(|| name.clone(), |target| format!("{name}/{}", target.name));
                // A desk is on every device of its person, a session on one.
                let device = (target.is_some() || self.contacts.is_me(&peer.account)).then_some(peer.device);
                let destinations = self.devices_of(&peer.account, device, anyway)?;
                Ok(Route {
                    destinations,
                    target,
                    to,
                    remarks: Vec::new(),
                    accounts: vec![peer.account],
                    room: None,
                    target_device: None,
                })
            }
            (None, Some(mailbox)) => {
                let held = match mailbox {
                    Mailbox::Desk => None,
                    Mailbox::Session(sid) => {
                        self.sessions.session(sid).is_none().then_some(HeldReason::SessionGone)
                    }
                };
                let (mailbox, to) = if held.is_some() {
                    (Mailbox::Desk, "desk".to_owned())
                } else {
                    (mailbox, self.mailbox_name(mailbox))
                };
                Ok(Route {
                    destinations: vec![Destination::Local { mailbox, held }],
                    target: None,
                    to,
                    remarks: Vec::new(),
                    accounts: Vec::new(),
                    room: None,
                    target_device: None,
                })
            }
            (None, None) => Err(ApiError::new(ErrorCode::UnknownId, "that message has no sender to answer")),
        }
    }

    pub(super) fn resolve_error(&self, to: &str, error: &penpal_sessions::ResolveError) -> ApiError {
        use penpal_sessions::ResolveError as E;
        let candidates = error.candidates().to_vec();
        let code = match error {
            E::Malformed(_) => ErrorCode::BadName,
            E::Ambiguous { .. } => ErrorCode::AmbiguousAddress,
            E::UnknownContact { .. } if self.contacts.account().is_none() => {
                let message =
                    format!("{to}: there is no account, so only sessions on this machine can be reached");
                return ApiError::new(ErrorCode::NoAccount, message);
            }
            E::UnknownContact { .. } => ErrorCode::UnknownContact,
            E::Unknown { .. }
            | E::UnknownSession { .. }
            | E::UnknownDevice { .. }
            | E::UnknownRoom { .. } => ErrorCode::UnknownAddress,
            _ => ErrorCode::UnknownAddress,
        };
        let mut shown = ApiError::new(code, error.to_string()).candidates(candidates);
        if let E::Malformed(_) = error {
            shown = shown.hint(
                "write SESSION, CONTACT, CONTACT/SESSION, CONTACT/DEVICE/SESSION, me/DEVICE/SESSION or '#ROOM'",
            );
        }
        if let E::UnknownSession { .. } = error {
            shown = shown.hint("use one of the candidates, or --anyway to send to that name");
        }
        shown
    }

    /// A message by what was typed. Inside an agent only its own session's mail counts.
    pub(super) fn message_key(
        &mut self,
        typed: &str,
        caller: &penpal_local_api::caller::Caller,
    ) -> Result<MailKey, ApiError> {
        let sight = self.sight(caller)?;
        self.message_seen(typed, &sight)
    }

    /// The same among those that somebody sees.
    pub(super) fn message_seen(&self, typed: &str, sight: &Sight) -> Result<MailKey, ApiError> {
        let found = self.delivery.resolve(typed, |key| self.sees(sight, key), &self.storage);
        found.map_err(|error| self.unresolved(&error))
    }

    /// The same for a message that was sent from here, whoever else may have used its id.
    pub(super) fn own_message_key(
        &mut self,
        typed: &str,
        caller: &penpal_local_api::caller::Caller,
    ) -> Result<MailKey, ApiError> {
        use penpal_delivery::ResolveError as E;
        let sight = self.sight(caller)?;
        let own = |key: &MailKey| key.from.is_none() && self.sees(&sight, key);
        match self.delivery.resolve(typed, own, &self.storage) {
            // One that was received gets the answer that fits it.
            Err(E::Unknown { .. }) => self.message_key(typed, caller),
            found => found.map_err(|error| self.unresolved(&error)),
        }
    }

    /// What a caller may see.
    pub(super) fn sight(&mut self, caller: &penpal_local_api::caller::Caller) -> Result<Sight, ApiError> {
        let own = self.caller_session(caller)?;
        Ok(self.sight_of(own, caller))
    }

    /// The same for a caller whose session is known.
    pub(super) fn sight_of(
        &self,
        own: Option<SessionId>,
        caller: &penpal_local_api::caller::Caller,
    ) -> Sight {
        if !self.acts_in_agent(caller) {
            return Sight::All;
        }
        let mailboxes = own.map(|session| self.mailboxes_of(session)).unwrap_or_default();
        Sight::Of { session: own, mailboxes }
    }

    /// Whether a caller may see a message. Inside an agent only its own session's mail counts.
    pub(super) fn sees(&self, sight: &Sight, key: &MailKey) -> bool {
        let Sight::Of { session, mailboxes } = sight else { return true };
        let view = self.delivery.view(*key, &self.storage).ok().flatten();
        view.is_some_and(|view| match session {
            // What was said in a room is for everybody in it, their agents as well.
            _ if view.room.is_some() => true,
            Some(session) => {
                view.mailbox.is_some_and(|mailbox| mailboxes.contains(&mailbox))
                    || view.sent_from == Some(Mailbox::Session(*session))
            }
            // Which session it is cannot be told, so none of them is its own.
            None => false,
        })
    }

    fn unresolved(&self, error: &penpal_delivery::ResolveError) -> ApiError {
        use penpal_delivery::ResolveError as E;
        match error {
            E::Ambiguous { candidates, .. } => {
                let error = ApiError::new(ErrorCode::AmbiguousId, error.to_string())
                    .candidates(self.exact_ids(candidates));
                match self.senders_of_one_id(candidates) {
                    Some(senders) => error.hint(format!(
                        "more than one sender used this id, so use one of the candidates: {senders}"
                    )),
                    None => error,
                }
            }
            E::NotAnId { .. } | E::Unknown { .. } => ApiError::new(ErrorCode::UnknownId, error.to_string()),
            E::Held { .. } => ApiError::new(ErrorCode::UnknownId, error.to_string())
                .hint("it is shown once what it waits for is there: penpal contact list; penpal room list"),
            _ => ApiError::new(ErrorCode::HomeUnusable, error.to_string()),
        }
    }

    /// Texts that name each of some messages and no other.
    fn exact_ids(&self, keys: &[MailKey]) -> Vec<String> {
        let exact = |key: &MailKey| {
            if keys.iter().any(|other| other != key && other.msg_id == key.msg_id) {
                return Some(exact_id(key));
            }
            Some(self.delivery.view(*key, &self.storage).ok().flatten()?.short)
        };
        keys.iter().filter_map(exact).collect()
    }

    /// Which sender each of the exact ids means, when several messages have the same id.
    fn senders_of_one_id(&self, keys: &[MailKey]) -> Option<String> {
        let first = keys.first()?;
        if keys.len() < 2 || keys.iter().any(|key| key.msg_id != first.msg_id) {
            return None;
        }
        let name = |key: &MailKey| {
            let from = key.from.map_or_else(|| "this machine".to_owned(), |from| self.contact_name(&from));
            format!("{} is from {from}", exact_id(key))
        };
        Some(keys.iter().map(name).collect::<Vec<_>>().join(", "))
    }

    /// A message that is known to exist.
    pub(in crate::engine) fn view_of(&self, key: MailKey) -> Result<penpal_delivery::MailView, ApiError> {
        let view = self.delivery.view(key, &self.storage).map_err(|error| unreadable(&error))?;
        view.ok_or_else(|| ApiError::new(ErrorCode::UnknownId, "no message has that id"))
    }

    /// A contact or session in `--with`.
    pub(super) fn with(&self, name: &str) -> Result<Fingerprint, ApiError> {
        let head = name.split('/').next().unwrap_or(name);
        let name = label(head)?;
        self.contacts.resolve(&name).map_err(|error| super::contacts::unknown_contact(&error))
    }
}
