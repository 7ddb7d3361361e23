//! Rows as the local API shows them.

use penpal_agents::quote::{Mark, Nonce, Origin, Quoted, QuotedFile, QuotedKind, QuotedTrust, Shown};
use penpal_contact::{ContactView, State, Trust};
use penpal_delivery::{MailState, MailView, Mailbox, QueryError, Stage, StageReport, TrailEvent, Witness};
use penpal_local_api::SHAPE_VERSION;
use penpal_local_api::contacts as api;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::mail::{self, CopyStage, Message, ReadState, Sent, TraceEvent};
use penpal_local_api::sessions as sessions_api;
use penpal_protocol::ids::Fingerprint;
use penpal_protocol::sealed::{Content, Kind, Letter, Reach, SessionState};
use penpal_sessions::{Directory, DirectoryContact, LocalView};

use super::machines::{Engine, random};

/// Any failure to read what is on disk.
pub(super) fn unreadable(error: &QueryError) -> ApiError {
    ApiError::new(ErrorCode::HomeUnusable, format!("messages cannot be read: {error}"))
}

impl Engine {
    /// One contact or request.
    pub(super) fn contact_row(&self, view: &ContactView) -> api::ContactRow {
        let home = self.contacts.home_relay().map(|home| home.pin);
        let notice = match (&view.changed, view.stale, view.asks, view.state) {
            (Some(_), ..) => {
                Some("its key changed: compare safety numbers, penpal contact verify".to_owned())
            }
            (None, true, ..) => Some("its list of devices is out of date".to_owned()),
            (None, false, true, State::Active) => Some("asks again: penpal contact accept".to_owned()),
            (None, false, _, State::Active) if view.held => {
                Some("accepted by itself: mail is held until you write or verify".to_owned())
            }
            (None, false, _, State::Active) if !view.confirmed => {
                Some("accepted; not confirmed by its machine yet".to_owned())
            }
            (None, false, ..) => None,
        };
        let introduced_by = self.introduced_by(&view.contact);
        let through =
            introduced_by.as_ref().filter(|_| view.state == State::Active && view.trust == Trust::Invited);
        let notice = notice.or_else(|| {
            through.map(|through| format!("through {through}: compare safety numbers, penpal contact verify"))
        });
        api::ContactRow {
            name: view.name.to_string(),
            state: match view.state {
                State::PendingIn => api::ContactState::PendingIn,
                State::PendingOut => api::ContactState::PendingOut,
                State::Active => api::ContactState::Active,
                State::Blocked => api::ContactState::Blocked,
                State::Declined => api::ContactState::Declined,
                State::Gone => api::ContactState::Gone,
            },
            trust: trust(view.trust),
            online: self.sessions.contact_online(view.contact, self.now),
            safety_number: view.safety.as_ref().map(ToString::to_string),
            handle: view.handle.to_string(),
            fingerprint: view.contact.to_text(),
            relay: Some(view.relay.to_string()).filter(|_| home != Some(view.relay.pin)),
            held: view.held,
            introduced_by,
            notice,
            since_ms: view.since_ms,
        }
    }

    /// Whom addresses may mean.
    pub(super) fn directory(&self) -> Directory {
        let rows = self.contacts.list().into_iter();
        let reachable = rows.filter(|row| matches!(row.state, State::Active | State::Blocked | State::Gone));
        let contacts = reachable.map(|row| DirectoryContact {
            account: row.contact,
            name: row.name,
            devices: row.devices.into_iter().map(|device| (device.id, device.name)).collect(),
        });
        let rooms = self.rooms.list().into_iter().map(|view| view.name).collect();
        let own_devices = self.contacts.devices().into_iter().filter(|device| !device.here);
        let own_devices = own_devices.map(|device| (device.id, device.name)).collect();
        Directory { contacts: contacts.collect(), own_devices, rooms }
    }

    /// Our own other devices, as a contact.
    pub(super) fn own_directory(&self) -> Directory {
        let me = self.contacts.account().map(|me| me.account);
        let row = me.and_then(|me| self.contacts.view(&me));
        let contacts = row.into_iter().map(|row| DirectoryContact {
            account: row.contact,
            name: row.name,
            devices: row.devices.into_iter().map(|device| (device.id, device.name)).collect(),
        });
        Directory { contacts: contacts.collect(), ..Directory::default() }
    }

    /// One local session.
    pub(super) fn session_row(&self, view: &LocalView) -> sessions_api::SessionRow {
        let unread = self.delivery.unread(Mailbox::Session(view.session)).unread;
        sessions_api::SessionRow {
            session: view.name.to_string(),
            agent: view.agent.to_string(),
            state: state(view.state),
            since_ms: view.since_ms,
            reach: reach(view.reach),
            folder: view.folder.clone(),
            summary: view.summary.clone(),
            address: view.name.to_string(),
            online: true,
            last_seen_ms: view.last_seen_ms,
            unread: count(unread),
            announced: view.announced,
            hidden: view.hidden,
            desk: view.desk,
            mode: match view.mode {
                penpal_sessions::DeliveryMode::Wake => sessions_api::Mode::Wake,
                penpal_sessions::DeliveryMode::Quiet => sessions_api::Mode::Quiet,
                penpal_sessions::DeliveryMode::Off => sessions_api::Mode::Off,
            },
            wakes: self.wake_ways(view.session),
        }
    }

    /// Name of a mailbox.
    pub(super) fn mailbox_name(&self, mailbox: Mailbox) -> String {
        match mailbox {
            Mailbox::Desk => "desk".to_owned(),
            Mailbox::Session(sid) => {
                let session = self.sessions.session(sid);
                session.map_or_else(|| "an ended session".to_owned(), |view| view.name.to_string())
            }
        }
    }

    /// Name of a contact. One that was removed is marked, for somebody else may have the name now; one that never was any has a fingerprint.
    pub(super) fn contact_name(&self, account: &Fingerprint) -> String {
        if let Some(name) = self.contacts.name(account) {
            return name.to_string();
        }
        self.former(account.as_bytes()).map_or_else(|| account.to_text(), |name| format!("{name} (removed)"))
    }

    fn former(&self, key: &[u8]) -> Option<String> {
        let name = self.storage.get(super::storage::FORMER, key).ok().flatten()?;
        String::from_utf8(name).ok()
    }

    /// Keeps the names of a contact that is about to be removed.
    pub(super) fn remember_names(&mut self, view: &ContactView) {
        let account = view.contact.as_bytes().to_vec();
        for device in &view.devices {
            let key = [account.as_slice(), device.id.as_bytes()].concat();
            self.storage.change(super::storage::FORMER, key, Some(device.name.as_str().as_bytes().to_vec()));
        }
        self.storage.change(super::storage::FORMER, account, Some(view.name.as_str().as_bytes().to_vec()));
    }

    fn device_name(&self, account: &Fingerprint, device: &penpal_protocol::ids::DeviceId) -> String {
        let named = self
            .contacts
            .manifest(account)
            .and_then(|manifest| manifest.device(device).map(|one| one.name.to_string()));
        named
            .or_else(|| self.former(&[account.as_bytes().as_slice(), device.as_bytes()].concat()))
            .unwrap_or_else(|| device.to_text().chars().take(8).collect())
    }

    /// Who wrote a message, by address.
    pub(super) fn sender_name(&self, view: &MailView) -> String {
        match (view.sender(), &view.from_session, view.sent_from) {
            (Some(peer), Some(session), _) => {
                format!("{}/{}", self.contact_name(&peer.account), session.name)
            }
            (Some(peer), None, _) => self.contact_name(&peer.account),
            (None, _, Some(mailbox)) => self.mailbox_name(mailbox),
            (None, Some(session), None) => session.name.to_string(),
            (None, None, None) => "desk".to_owned(),
        }
    }

    /// A message with its text.
    pub(super) fn message(&self, view: &MailView) -> Result<Message, ApiError> {
        let bytes = self.delivery.content(view.key, &self.storage).map_err(|error| unreadable(&error))?;
        let letter = bytes.as_deref().and_then(|bytes| match Content::decode(view.kind, bytes) {
            Ok(Content::Letter(letter)) => Some(*letter),
            Ok(_) | Err(_) => None,
        });
        let sender = view.sender();
        let from = self.sender_name(view);
        let room = view.room.map(|room| self.room_name(&room));
        let to = match (view.mailbox, &view.sent_to) {
            _ if room.is_some() => self.said_to(view, room.as_deref().unwrap_or_default(), letter.as_ref()),
            (Some(mailbox), _) => self.mailbox_name(mailbox),
            (None, Some(address)) => address.clone(),
            (None, None) => "desk".to_owned(),
        };
        let contact_trust =
            |peer: &penpal_delivery::Peer| self.contacts.view(&peer.account).map(|row| trust(row.trust));
        let mut marks = Vec::new();
        for (is_set, text) in [
            (view.marks.again, "again"),
            (view.marks.gap, "gap-before"),
            (view.marks.late, "late"),
            (view.marks.earlier, "sent to an earlier conversation"),
        ] {
            if is_set {
                marks.push(text.to_owned());
            }
        }
        Ok(Message {
            id: view.key.msg_id.to_text(),
            short: view.short.clone(),
            from,
            to,
            kind: kind(view.kind),
            subject: view.subject.clone(),
            body: letter.as_ref().map(|letter| letter.text.as_str().to_owned()).unwrap_or_default(),
            sent_ms: view.sent_ms,
            received_ms: view.stored_ms,
            state: match view.state {
                Some(MailState::Unread) if !view.marks.answered => ReadState::Unread,
                Some(MailState::Surfaced) if !view.marks.answered => ReadState::Surfaced,
                Some(MailState::History) => ReadState::History,
                _ => ReadState::Read,
            },
            verified: sender.is_some(),
            trust: sender
                .as_ref()
                .map_or(api::Trust::Local, |peer| contact_trust(peer).unwrap_or(api::Trust::Invited)),
            device: sender.map(|peer| self.device_name(&peer.account, &peer.device)),
            reply_to: view.reply_to.map(|id| id.to_text()),
            answers: self.answered_short(view),
            conversation: view.conversation.to_text(),
            room,
            artifacts: letter.map(|letter| artifacts(&letter)).unwrap_or_default(),
            held: view.reason.clone(),
            marks,
        })
    }

    /// Short id of what a message answers, when that is here.
    fn answered_short(&self, view: &MailView) -> Option<String> {
        let answered = view.reply_to?;
        let short = |key| {
            let view = self.delivery.view(key, &self.storage).ok().flatten();
            view.filter(|view| !view.hidden).map(|view| view.short)
        };
        let own = short(super::waiting::own(answered));
        let theirs = || {
            let account = view.key.from?;
            short(penpal_delivery::MailKey::from_contact(answered, account))
        };
        // In a room any member may have said it.
        let members = || {
            let members = self.rooms.view(&view.room?)?.members;
            let of = |member| short(penpal_delivery::MailKey::from_contact(answered, member));
            members.into_iter().find_map(|(member, _)| of(member))
        };
        // An own answer answers what somebody else said. Only then is the conversation looked through: how long one is, and how many answers it
        // has that answer nothing, a contact decides.
        let others = || {
            view.key.from.is_none().then_some(())?;
            let said = self.delivery.said_in(view.conversation, answered, &self.storage);
            said.ok().flatten().map(|one| one.short)
        };
        own.or_else(theirs).or_else(members).or_else(others)
    }

    /// To whom something was said in a room: the room, and the session that it is for.
    fn said_to(&self, view: &MailView, room: &str, letter: Option<&Letter>) -> String {
        if let Some(typed) = view.sent_to.as_ref().filter(|_| view.sender().is_none()) {
            return typed.clone();
        }
        let Some(letter) = letter else { return room.to_owned() };
        let Some(name) = letter.to.as_ref().map(|to| &to.name) else { return room.to_owned() };
        let own = self.contacts.account().map(|me| me.device);
        let of = letter.target_device.filter(|device| Some(*device) != own).and_then(|device| {
            let all = self.contacts.list().into_iter();
            let mut with = all.filter(|row| row.devices.iter().any(|one| one.id == device));
            with.next().map(|row| row.name)
        });
        match (of, letter.target_device == own) {
            (Some(contact), _) => format!("{room} @{contact}/{name}"),
            (None, true) => format!("{room} @{name}"),
            (None, false) => format!("{room} @…/{name}"),
        }
    }

    /// Messages as one text for a model.
    pub(super) fn quote(&mut self, messages: &[Message], shown: Shown) -> String {
        if messages.is_empty() {
            return String::new();
        }
        let quoted: Vec<Quoted> = messages.iter().map(|message| self.quoted(message)).collect();
        let nonce = Nonce::from_bytes(random(&mut self.rng));
        penpal_agents::quote::render(&quoted, nonce, self.now.wall_ms, shown)
    }

    fn quoted(&self, message: &Message) -> Quoted {
        let trust = match message.trust {
            api::Trust::Verified => QuotedTrust::Verified,
            api::Trust::Changed => QuotedTrust::Changed,
            api::Trust::Local | api::Trust::Invited => QuotedTrust::Invited,
        };
        let origin = match (&message.device, message.from.split_once('/')) {
            (Some(device), Some((contact, _))) => {
                Origin::ContactSession { contact: contact.to_owned(), device: device.clone(), trust }
            }
            (Some(device), None) => {
                Origin::ContactDesk { contact: message.from.clone(), device: device.clone(), trust }
            }
            (None, _) if message.from == "desk" => Origin::LocalDesk,
            (None, _) => {
                let label = penpal_protocol::text::Label::new(&message.from).ok();
                let session = label
                    .and_then(|label| self.sessions.by_name(&label))
                    .and_then(|sid| self.sessions.session(sid));
                Origin::LocalSession {
                    agent: session.map_or_else(|| "agent".to_owned(), |view| view.agent.to_string()),
                }
            }
        };
        let mut marks = Vec::new();
        for mark in &message.marks {
            match mark.as_str() {
                "again" => marks.push(Mark::Again),
                "gap-before" => marks.push(Mark::Gap),
                "sent to an earlier conversation" => marks.push(Mark::EarlierConversation),
                _ => {}
            }
        }
        if message.to == "desk" {
            marks.push(Mark::ToDesk);
        }
        let whole = message.reply_to.as_deref().map(|id| id.chars().take(6).collect());
        let reply_to = message.answers.clone().or(whole);
        Quoted {
            from: message.from.clone(),
            origin,
            kind: match message.kind {
                mail::Kind::Note => QuotedKind::Note,
                mail::Kind::Ask => QuotedKind::Ask,
                mail::Kind::Reply => QuotedKind::Reply,
            },
            id: message.short.clone(),
            room: message.room.clone(),
            reply_to,
            sent_ms: message.sent_ms,
            subject: message.subject.clone(),
            text: message.body.clone(),
            files: message
                .artifacts
                .iter()
                .map(|file| QuotedFile {
                    name: file.name.clone(),
                    bytes: file.bytes,
                    hash: file.hash.clone(),
                })
                .collect(),
            marks,
        }
    }

    /// Copies of an own message.
    pub(super) fn copies(&self, report: &StageReport, trail: &[TrailEvent]) -> Vec<CopyStage> {
        let copy = |copy: &penpal_delivery::CopyReport| {
            let is_here = copy.peer == penpal_delivery::Peer::HERE;
            let told = trail.iter().rev().find(|event| is_here || event.device == Some(copy.peer));
            let surfaced = trail
                .iter()
                .rev()
                .find(|event| event.mechanism.is_some() && (is_here || event.device == Some(copy.peer)));
            CopyStage {
                device: if is_here {
                    "this machine".to_owned()
                } else {
                    self.device_name(&copy.peer.account, &copy.peer.device)
                },
                contact: (!is_here).then(|| self.contact_name(&copy.peer.account)),
                stage: stage(copy.stage),
                reason: copy.reason.clone(),
                session: told.and_then(|event| event.session.clone()),
                mechanism: surfaced.and_then(|event| event.mechanism.clone()),
            }
        };
        report.copies.iter().map(copy).collect()
    }

    /// What is true of an own message.
    pub(super) fn sent(
        &self,
        msg_id: penpal_protocol::ids::MsgId,
        remarks: Vec<String>,
    ) -> Result<Sent, ApiError> {
        let report = self.delivery.report(msg_id, &self.storage).map_err(|error| unreadable(&error))?;
        let report =
            report.ok_or_else(|| ApiError::new(ErrorCode::UnknownId, "no own message has that id"))?;
        let trail = self
            .delivery
            .trace(msg_id, &self.storage)
            .map_err(|error| unreadable(&error))?
            .unwrap_or_default();
        let view = self
            .delivery
            .view(super::waiting::own(msg_id), &self.storage)
            .map_err(|error| unreadable(&error))?;
        Ok(Sent {
            v: SHAPE_VERSION,
            id: msg_id.to_text(),
            short: view.as_ref().map(|view| view.short.clone()).unwrap_or_default(),
            to: view.and_then(|view| view.sent_to).unwrap_or_default(),
            stage: stage(report.stage),
            reason: report.reason.clone(),
            copies: self.copies(&report, &trail),
            reply: None,
            reply_quote: None,
            timed_out: false,
            remarks,
            lease: None,
        })
    }

    /// One line of a trail.
    pub(super) fn trace_event(&self, event: &TrailEvent) -> TraceEvent {
        let by = match (event.by, &event.reply, &event.device, &event.session) {
            (_, Some(reply), ..) => {
                let key = event.device.map_or(super::waiting::own(*reply), |peer| {
                    penpal_delivery::MailKey::from_contact(*reply, peer.account)
                });
                let short = self.delivery.view(key, &self.storage).ok().flatten().map(|view| view.short);
                short.unwrap_or_else(|| reply.to_text().chars().take(6).collect())
            }
            (Witness::Here, ..) => "here".to_owned(),
            (Witness::Relay, ..) => "relay".to_owned(),
            (Witness::Device, None, Some(peer), Some(session)) => {
                format!(
                    "{session} on {}/{}",
                    self.contact_name(&peer.account),
                    self.device_name(&peer.account, &peer.device)
                )
            }
            (Witness::Device, None, Some(peer), None) => {
                format!(
                    "{}/{}",
                    self.contact_name(&peer.account),
                    self.device_name(&peer.account, &peer.device)
                )
            }
            (Witness::Device, None, None, session) => {
                session.clone().unwrap_or_else(|| "this machine".to_owned())
            }
        };
        TraceEvent {
            stage: stage(event.stage),
            at_ms: event.at_ms,
            by,
            mechanism: event.mechanism.clone(),
            reason: event.reason.clone(),
            signed: event.signed,
        }
    }
}

fn artifacts(letter: &Letter) -> Vec<mail::Artifact> {
    let list = letter.artifacts.as_deref().unwrap_or_default();
    let artifact = |one: &penpal_protocol::sealed::ArtifactRef| mail::Artifact {
        hash: penpal_local_api::artifact::hash_text(&one.hash),
        name: one.name.as_str().to_owned(),
        bytes: one.bytes,
    };
    list.iter().map(artifact).collect()
}

/// A count for JSON.
pub(super) fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

pub(super) fn trust(trust: Trust) -> api::Trust {
    match trust {
        Trust::Invited => api::Trust::Invited,
        Trust::Verified => api::Trust::Verified,
        Trust::Changed => api::Trust::Changed,
    }
}

pub(super) fn kind(kind: Kind) -> mail::Kind {
    match kind {
        Kind::Ask => mail::Kind::Ask,
        Kind::Reply => mail::Kind::Reply,
        Kind::Note | Kind::Receipts | Kind::Presence | Kind::NeedReseal | Kind::Control | Kind::Sync => {
            mail::Kind::Note
        }
    }
}

pub(super) fn stage(stage: Stage) -> mail::Stage {
    match stage {
        Stage::Queued => mail::Stage::Queued,
        Stage::Relayed => mail::Stage::Relayed,
        Stage::Delivered => mail::Stage::Delivered,
        Stage::Held => mail::Stage::Held,
        Stage::Surfaced => mail::Stage::Surfaced,
        Stage::Answered => mail::Stage::Answered,
        Stage::Refused => mail::Stage::Refused,
        Stage::Expired => mail::Stage::Expired,
    }
}

pub(super) fn state(state: SessionState) -> sessions_api::SessionState {
    match state {
        SessionState::Busy => sessions_api::SessionState::Busy,
        SessionState::Idle => sessions_api::SessionState::Idle,
        SessionState::Ended => sessions_api::SessionState::Ended,
        SessionState::Offline => sessions_api::SessionState::Offline,
        SessionState::Unknown => sessions_api::SessionState::Unknown,
    }
}

pub(super) fn reach(reach: Reach) -> sessions_api::Reach {
    match reach {
        Reach::Wakes => sessions_api::Reach::Wakes,
        Reach::MidTurn => sessions_api::Reach::MidTurn,
        Reach::NextPrompt => sessions_api::Reach::NextPrompt,
        Reach::Manual => sessions_api::Reach::Manual,
        Reach::WhenBack => sessions_api::Reach::WhenBack,
    }
}
