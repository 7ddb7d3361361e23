//! `inbox`, `read`, `take`, `commit`, `outbox`, `trace`, `dismiss`.

use penpal_agents::quote::Shown;
use penpal_delivery::{LeaseId, MailKey, MailView, Mailbox, Selection, Surfacing};
use penpal_local_api::SHAPE_VERSION;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::mail::{
    CommitRequest, Committed, Dismissed, IdRequest, Inbox, InboxRequest, Message, OutMessage, Outbox,
    OutboxRequest, ReadAnswer, ReadRequest, TakeRequest, Taken, Trace,
};

use penpal_protocol::ids::{MsgId, SessionId};
use penpal_protocol::text::Label;
use penpal_wake::{Outcome as WakeOutcome, Rung};

use super::send::Sight;
use super::{Outcome, Reply, now, wait};
use crate::engine::machines::{Engine, delivery_step};
use crate::engine::views::{count, kind, stage, unreadable};
use crate::engine::waiting::Wait;

/// Messages handed to a model at once, at most.
const MAX_TAKEN: usize = 20;

/// Messages of one thread that are shown at once, the newest.
const MAX_THREAD: usize = 200;

/// Rows read at once for a listing.
const PAGE: usize = 256;

impl Engine {
    pub(super) fn inbox(&mut self, request: InboxRequest) -> Outcome {
        let own = self.caller_session(&request.caller)?;
        let listed = self.list_mail(&request, own)?;
        if listed.messages.is_empty() && request.wait_ms > 0 {
            let span = wait(request.wait_ms);
            return Ok(Reply::Later(Wait::Inbox { request: Box::new(request), own }, span));
        }
        now(&listed)
    }

    /// Mail that a listing shows now to a caller of this session.
    pub(in crate::engine) fn list_mail(
        &self,
        request: &InboxRequest,
        own: Option<SessionId>,
    ) -> Result<Inbox, ApiError> {
        let room = request.session.iter().chain(&request.with).find(|name| name.starts_with('#'));
        let session = request.session.as_deref().filter(|name| !name.starts_with('#'));
        let sight = self.sight_of(own, &request.caller);
        let own = self.mailbox_of(own, &request.caller, session)?;
        let one_mailbox = request.session.is_some() || own != Mailbox::Desk;
        let after = match &request.after {
            Some(id) => {
                let key = self.message_seen(id, &sight)?;
                Some(self.view_of(key)?.ordinal)
            }
            None => None,
        };
        let mut views = Vec::new();
        let limit = request.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        if let Some(name) = room {
            views = self.newest(Selection::Room(self.room_named(name)?), after, limit)?;
        } else if let Some(name) = &request.with {
            views = match self.with_session(name)? {
                Some(session) => self.said_here_with(session, after)?,
                // What is said elsewhere is left out below.
                None => {
                    self.newest(Selection::With(self.with(name)?), after, limit.filter(|_| !one_mailbox))?
                }
            };
            if one_mailbox {
                views.retain(|view| view.mailbox == Some(own) || view.sent_from == Some(own));
            }
        } else {
            let mailboxes = match own {
                Mailbox::Session(session) if request.session.is_none() => self.mailboxes_of(session),
                _ if one_mailbox => vec![own],
                _ => self.all_mailboxes(),
            };
            for mailbox in mailboxes {
                let selection = if request.all || after.is_some() {
                    Selection::All(mailbox)
                } else {
                    Selection::Unread(mailbox)
                };
                views.extend(self.page_through(selection, after)?);
            }
            views.sort_by_key(|view| view.ordinal);
            views.retain(|view| !view.hidden);
        }
        if let Some(limit) = limit {
            let first = views.len().saturating_sub(limit);
            views.drain(..first);
        }
        let messages: Result<Vec<Message>, ApiError> = views.iter().map(|view| self.message(view)).collect();
        Ok(Inbox { v: SHAPE_VERSION, messages: messages? })
    }

    /// The session here that `--with` names: with `./` before it, or because no contact is called so.
    fn with_session(&self, name: &str) -> Result<Option<SessionId>, ApiError> {
        if let Some(local) = name.strip_prefix("./") {
            return self.session_named(local).map(Some);
        }
        let Ok(label) = Label::new(name) else { return Ok(None) };
        let session = self.sessions.by_name(&label);
        Ok(session.filter(|_| self.contacts.resolve(&label).is_err()))
    }

    /// What a session and the others on this machine wrote to each other, oldest first.
    fn said_here_with(&self, session: SessionId, after: Option<u64>) -> Result<Vec<MailView>, ApiError> {
        let session = Mailbox::Session(session);
        let mut views = Vec::new();
        for mailbox in self.all_mailboxes() {
            let page = self.page_through(Selection::All(mailbox), after)?;
            let local = page.into_iter().filter(|view| view.sent_from.is_some());
            views.extend(local.filter(|view| mailbox == session || view.sent_from == Some(session)));
        }
        views.sort_by_key(|view| view.ordinal);
        Ok(views)
    }

    /// Every mailbox, for a person.
    fn all_mailboxes(&self) -> Vec<Mailbox> {
        let mut all: Vec<Mailbox> = self.delivery.mailboxes().collect();
        all.push(Mailbox::Desk);
        all.extend(self.sessions.local().into_iter().map(|row| Mailbox::Session(row.session)));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The newest messages, oldest first; all of them without a limit.
    fn newest(
        &self,
        selection: Selection,
        after: Option<u64>,
        limit: Option<usize>,
    ) -> Result<Vec<MailView>, ApiError> {
        match limit {
            Some(limit) => {
                let newest = self.delivery.newest(selection, after, limit, &self.storage);
                newest.map_err(|error| unreadable(&error))
            }
            None => self.page_through(selection, after),
        }
    }

    pub(super) fn page_through(
        &self,
        selection: Selection,
        after: Option<u64>,
    ) -> Result<Vec<MailView>, ApiError> {
        let mut all: Vec<MailView> = Vec::new();
        let mut after = after;
        loop {
            let page = self
                .delivery
                .list(selection, after, PAGE, &self.storage)
                .map_err(|error| unreadable(&error))?;
            let full = page.len() == PAGE;
            after = page.last().map(|view| view.ordinal).or(after);
            all.extend(page);
            if !full {
                return Ok(all);
            }
        }
    }

    pub(super) fn read(&mut self, request: &ReadRequest) -> Outcome {
        let key = self.message_key(&request.id, &request.caller)?;
        let view = self.view_of(key)?;
        let sight = self.sight(&request.caller)?;
        if let Some(mailbox) = view.mailbox.filter(|mailbox| sight.is_of(*mailbox)) {
            let surfacing = self.surfacing("cli", mailbox, true);
            if let Err(error) = self.delivery.surface(key, &surfacing, &mut delivery_step!(self)) {
                tracing::debug!(%error, "a message is read that waits for nobody");
            }
        }
        let view = self.view_of(key)?;
        let mut thread = Vec::new();
        if request.thread {
            for one in self.thread_of(&view, &sight)? {
                thread.push(self.message(&one)?);
            }
        }
        now(&ReadAnswer { v: SHAPE_VERSION, message: self.message(&view)?, thread })
    }

    /// A message with what it answers and the answers to it, as far as the caller may see them, oldest first.
    fn thread_of(&self, view: &MailView, sight: &Sight) -> Result<Vec<MailView>, ApiError> {
        let mut thread = self.page_through(Selection::Conversation(view.conversation), None)?;
        let first = thread.len().saturating_sub(MAX_THREAD);
        thread.drain(..first);
        // Mail from before there were threads is in none.
        if !thread.iter().any(|one| one.key == view.key) {
            thread.push(view.clone());
            thread.sort_by_key(|one| one.ordinal);
        }
        thread.retain(|one| one.key == view.key || self.sees(sight, &one.key));
        Ok(thread)
    }

    /// How something is surfaced in a mailbox.
    pub(in crate::engine) fn surfacing(&self, mechanism: &str, mailbox: Mailbox, read: bool) -> Surfacing {
        Surfacing { mechanism: mechanism.to_owned(), session: self.session_ref(mailbox), read }
    }

    pub(super) fn take(&mut self, request: TakeRequest) -> Outcome {
        let Some(session) = self.caller_session(&request.caller)? else {
            return Err(ApiError::new(ErrorCode::WhichSession, "this call belongs to no session"));
        };
        let taken = self.take_now(&request, session)?;
        if taken.messages.is_empty() && request.wait_ms > 0 {
            let span = wait(request.wait_ms);
            return Ok(Reply::Later(Wait::Take { request: Box::new(request), session }, span));
        }
        now(&taken)
    }

    /// Takes what a session can take now.
    pub(in crate::engine) fn take_now(
        &mut self,
        request: &TakeRequest,
        session: SessionId,
    ) -> Result<Taken, ApiError> {
        let sight = self.sight_of(Some(session), &request.caller);
        let seen = self.mailboxes_of(session);
        let only = match &request.id {
            Some(id) => Some(vec![self.message_seen(id, &sight)?]),
            None => None,
        };
        let shows_old = request.all || request.with.is_some() || only.is_some();
        let limit = request
            .limit
            .map_or(MAX_TAKEN, |limit| usize::try_from(limit).unwrap_or(MAX_TAKEN))
            .min(MAX_TAKEN);
        let room = request.with.as_deref().filter(|name| name.starts_with('#'));
        let room = room.map(|name| self.room_named(name)).transpose()?;
        let with =
            request.with.as_deref().filter(|_| room.is_none()).map(|name| self.with(name)).transpose()?;
        let mut unread: Vec<MailKey> = Vec::new();
        for mailbox in &seen {
            let views = self.page_through(Selection::Unread(*mailbox), None)?;
            let views = views.into_iter().filter(|view| room.is_none() || view.room == room);
            unread.extend(views.map(|view| view.key));
        }
        let wanted: Option<Vec<MailKey>> = match (&only, with) {
            (Some(keys), _) => Some(keys.clone()),
            (None, Some(contact)) => {
                Some(unread.iter().copied().filter(|key| key.from == Some(contact)).collect())
            }
            (None, None) => room.map(|_| unread.clone()),
        };
        // A lease is of one mailbox: the session's own, and the desk once nothing is left in it.
        let mut mailbox = Mailbox::Session(session);
        let mut lease = self.delivery.take(mailbox, wanted.as_deref(), limit, &mut delivery_step!(self));
        if lease.messages.is_empty() && seen.contains(&Mailbox::Desk) {
            mailbox = Mailbox::Desk;
            lease = self.delivery.take(mailbox, wanted.as_deref(), limit, &mut delivery_step!(self));
        }
        let leased = lease.messages.len();
        let mut views = lease.messages;
        if shows_old {
            let old = match (&only, with) {
                (Some(keys), _) => {
                    let views: Vec<MailView> =
                        keys.iter().filter_map(|key| self.view_of(*key).ok()).collect();
                    match views.first().cloned() {
                        Some(view) if request.thread => self.thread_of(&view, &sight)?,
                        _ => views,
                    }
                }
                (None, Some(contact)) => self.page_through(Selection::With(contact), None)?,
                (None, None) if let Some(room) = room => self.page_through(Selection::Room(room), None)?,
                (None, None) => {
                    let mut all = Vec::new();
                    for mailbox in &seen {
                        all.extend(self.page_through(Selection::All(*mailbox), None)?);
                    }
                    all
                }
            };
            let old = old.into_iter().filter(|view| {
                view.room.is_some()
                    || view.mailbox.is_some_and(|mailbox| seen.contains(&mailbox))
                    || view.sent_from == Some(Mailbox::Session(session))
            });
            let taken: Vec<MailKey> = views.iter().map(|view| view.key).collect();
            views.extend(old.filter(|view| !taken.contains(&view.key) && !unread.contains(&view.key)));
            views.sort_by_key(|view| view.ordinal);
            let first = views.len().saturating_sub(MAX_TAKEN.max(taken.len()));
            views.drain(..first);
        }
        let messages: Result<Vec<Message>, ApiError> = views.iter().map(|view| self.message(view)).collect();
        let messages = messages?;
        let shown = if only.is_some() { Shown::Whole } else { Shown::Head };
        let quote = self.quote(&messages, shown);
        // What is handed out counts as unread until it is committed.
        let waiting: usize = seen.iter().map(|mailbox| self.delivery.unread(*mailbox).unread).sum();
        let left = waiting.saturating_sub(leased);
        let lease_text =
            (!messages.is_empty()).then(|| self.lease_text(lease.id, mailbox, request.mechanism.as_deref()));
        if let Some(lease) = &lease_text {
            self.remember_quote(&quote, session, lease);
        }
        Ok(Taken { v: SHAPE_VERSION, lease: lease_text, messages, quote, more: count(left) })
    }

    /// A lease as the client gives it back: its number, its mailbox, and how it was shown.
    pub(in crate::engine) fn lease_text(
        &self,
        lease: LeaseId,
        mailbox: Mailbox,
        mechanism: Option<&str>,
    ) -> String {
        let mailbox = penpal_protocol::text::base32::encode(&mailbox.to_key());
        format!("{}.{mailbox}.{}", lease.0, mechanism.unwrap_or("api"))
    }

    pub(super) fn commit_lease(&mut self, request: &CommitRequest) -> Outcome {
        let bad = || ApiError::new(ErrorCode::NotFound, "that is no lease");
        let mut parts = request.lease.splitn(3, '.');
        let lease = parts.next().and_then(|number| number.parse().ok()).map(LeaseId).ok_or_else(bad)?;
        let mailbox = parts
            .next()
            .and_then(penpal_protocol::text::base32::decode)
            .and_then(|key| Mailbox::from_key(&key));
        let (mailbox, mechanism) = mailbox.zip(parts.next()).ok_or_else(bad)?;
        let mechanism: String =
            mechanism.chars().filter(|one| one.is_ascii_alphanumeric() || *one == '-').take(32).collect();
        let surfacing = self.surfacing(&mechanism, mailbox, true);
        let committed = self.delivery.commit(lease, None, &surfacing, &mut delivery_step!(self));
        committed.map_err(|error| {
            ApiError::new(ErrorCode::NotFound, error.to_string())
                .hint("nothing to do: the mail is unread again and will be shown again")
        })?;
        if let (Mailbox::Session(session), Some(rung)) = (mailbox, Rung::from_name(&mechanism)) {
            self.wake_ended(session, Some(rung), WakeOutcome::Woken);
        }
        now(&Committed { v: SHAPE_VERSION })
    }

    /// The same for a lease that may have been committed before.
    pub(in crate::engine) fn commit_quietly(&mut self, request: &CommitRequest) {
        if let Err(error) = self.commit_lease(request) {
            tracing::debug!(%error, "a wake whose mail was committed before");
        }
    }

    pub(super) fn outbox(&mut self, request: &OutboxRequest) -> Outcome {
        let mut entries = if request.all {
            self.delivery.sent(&self.storage).map_err(|error| unreadable(&error))?
        } else {
            self.delivery.outbox(&self.storage).map_err(|error| unreadable(&error))?
        };
        if !request.all {
            // Copies are kept for two days after their receipt; to people they are done.
            entries.retain(|entry| !entry.report.copies.iter().all(|copy| copy.stage.is_receipted()));
        }
        let dead = self.delivery.dead(&self.storage).map_err(|error| unreadable(&error))?;
        let known: Vec<_> = entries.iter().map(|entry| entry.msg_id).collect();
        entries.extend(dead.into_iter().filter(|entry| !known.contains(&entry.msg_id)));
        let own = self.acting_mailbox(&request.caller, None)?;
        if own != Mailbox::Desk {
            entries.retain(|entry| entry.from == own);
        }
        entries.retain(|entry| entry.kind.is_mail());
        entries.sort_by_key(|entry| entry.sent_ms);
        if let Some(limit) = request.limit {
            let first = entries.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
            entries.drain(..first);
        }
        let mut messages = Vec::new();
        for entry in entries {
            let view = self.view_of(MailKey::own(entry.msg_id))?;
            let message = self.message(&view)?;
            let trail =
                self.delivery.trace(entry.msg_id, &self.storage).map_err(|error| unreadable(&error))?;
            messages.push(OutMessage {
                id: entry.msg_id.to_text(),
                short: entry.short.clone(),
                from: self.mailbox_name(entry.from),
                to: entry.to.clone(),
                kind: kind(entry.kind),
                subject: entry.subject.clone(),
                body: message.body,
                sent_ms: entry.sent_ms,
                expires_ms: entry.expires_ms,
                stage: stage(entry.report.stage),
                // What waits for its files says what they wait for.
                reason: entry
                    .report
                    .reason
                    .clone()
                    .or_else(|| self.files_progress(entry.msg_id).and_then(|(_, _, trouble)| trouble)),
                next_try_ms: self.next_try_ms(entry.msg_id),
                copies: self.copies(&entry.report, &trail.unwrap_or_default()),
            });
        }
        now(&Outbox { v: SHAPE_VERSION, messages })
    }

    /// When an own message is tried again, Unix milliseconds; what is due already is tried now.
    fn next_try_ms(&self, msg_id: MsgId) -> Option<u64> {
        let wait = self.delivery.next_try(msg_id)?.saturating_sub(self.now.mono);
        Some(self.now.wall_ms.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }

    pub(super) fn trace(&mut self, request: &IdRequest) -> Outcome {
        let key = self.own_message_key(&request.id, &request.caller)?;
        let view = self.view_of(key)?;
        let trail = self.delivery.trace(key.msg_id, &self.storage).map_err(|error| unreadable(&error))?;
        let trail = trail.ok_or_else(|| {
            ApiError::new(
                ErrorCode::UnknownId,
                "that message was received here; its trail is with whoever sent it",
            )
        })?;
        let events = trail.iter().map(|event| self.trace_event(event)).collect();
        now(&Trace { v: SHAPE_VERSION, id: key.msg_id.to_text(), short: view.short, events })
    }

    pub(super) fn dismiss(&mut self, request: &IdRequest) -> Outcome {
        let key = self.own_message_key(&request.id, &request.caller)?;
        self.delivery.dismiss(key.msg_id, &mut delivery_step!(self)).map_err(|error| {
            use penpal_delivery::DismissError as E;
            let code = match &error {
                E::Unknown => ErrorCode::UnknownId,
                E::NotFailed { .. } => ErrorCode::NotRetryable,
                _ => ErrorCode::HomeUnusable,
            };
            ApiError::new(code, error.to_string())
        })?;
        now(&Dismissed { v: SHAPE_VERSION, id: key.msg_id.to_text() })
    }
}
