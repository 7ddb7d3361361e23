//! Answers calls that waited: when what they wait for holds, or their time is over.

use penpal_contact::{AddFailure, Notice, RegistrationFailure, State};
use penpal_delivery::MailKey;
use penpal_local_api::SHAPE_VERSION;
use penpal_local_api::contacts::{Added, Invite, Invites, Removed};
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::mail::{Inbox, Sent, Taken};
use penpal_protocol::ids::{Fingerprint, InviteId, SessionId};
use penpal_protocol::sealed::SessionState;

use super::json;
use crate::daemon::link::Trouble;
use crate::engine::machines::{Engine, contact_step, delivery_step};
use crate::engine::views::unreadable;
use crate::engine::waiting::{Goal, Parked, SentWait, Wait};

/// What a look at a waiting call finds.
type Look = Result<Option<Vec<u8>>, ApiError>;

impl Engine {
    /// Looks at every waiting call; tells whether one was answered, which may have given the machines something to say.
    pub(in crate::engine) fn answer_waiting(&mut self) -> bool {
        let before = self.answers.len();
        let parked = std::mem::take(&mut self.waiting.parked);
        let heard = std::mem::take(&mut self.waiting.heard);
        let refused = self.waiting.refused.take();
        for one in parked {
            let late = one.until <= self.now.mono || self.stopping;
            match self.look(&one, late, &heard) {
                Ok(None) => self.waiting.parked.push(one),
                Ok(Some(body)) => self.answers.push((one.call, Ok(body))),
                Err(error) if error.code.is_said_by_relay() => {
                    self.answers.push((one.call, Err(error.request(refused.clone()))));
                }
                Err(error) => self.answers.push((one.call, Err(error))),
            }
        }
        self.answers.len() > before
    }

    fn look(&mut self, parked: &Parked, late: bool, heard: &[Notice]) -> Look {
        match &parked.wait {
            Wait::Sent(wait) => self.look_sent(wait, late),
            Wait::Inbox { request, own } => {
                let own = match own {
                    None => None,
                    Some(own) => match self.still_there(*own) {
                        None => return json(&Inbox { v: SHAPE_VERSION, messages: Vec::new() }).map(Some),
                        there => there,
                    },
                };
                let listed = self.list_mail(request, own)?;
                if listed.messages.is_empty() && !late { Ok(None) } else { json(&listed).map(Some) }
            }
            Wait::Take { request, session } => {
                let Some(session) = self.still_there(*session) else {
                    let (quote, messages) = (String::new(), Vec::new());
                    let nothing = Taken { v: SHAPE_VERSION, lease: None, messages, quote, more: 0 };
                    return json(&nothing).map(Some);
                };
                let taken = self.take_now(request, session)?;
                if taken.messages.is_empty() && !late { Ok(None) } else { json(&taken).map(Some) }
            }
            Wait::Wake { session, run, rung: _ } => self.look_wake(*session, run.as_deref(), late),
            Wait::Fetched { hash, blob, name, bytes } => self.look_fetched(hash, blob, name, *bytes, late),
            Wait::Account => self.look_account(late, heard),
            Wait::Invites(invites) => self.look_invites(invites, late, heard),
            Wait::Added { invite, inviter, registers, decision } => {
                self.look_added(*invite, *inviter, *registers, *decision, late, heard)
            }
            Wait::Linked { invite, code, expires_ms } => {
                self.look_linked(*invite, code, *expires_ms, late, heard)
            }
            Wait::Joined => self.look_joined(late, heard),
            Wait::Recovered { decided } => self.look_recovered(*decided, late, heard),
            Wait::Revoked { name } => self.look_revoked(name, late),
            Wait::Removed { contact, name } => {
                let ended = heard.iter().any(
                    |notice| matches!(notice, Notice::EdgeEnded { contact: ended, .. } if ended == contact),
                );
                let removed = Removed { v: SHAPE_VERSION, name: name.clone(), at_relay: ended };
                if ended || late { json(&removed).map(Some) } else { Ok(None) }
            }
        }
    }

    /// The session of a waiting call, by the id that it has by now; `None` when it ended: nobody reads what it is given.
    fn still_there(&self, session: SessionId) -> Option<SessionId> {
        let view = self.sessions.session(session)?;
        (view.state != SessionState::Ended).then_some(view.session)
    }

    fn look_sent(&mut self, wait: &SentWait, late: bool) -> Look {
        let report = self.delivery.report(wait.msg_id, &self.storage).map_err(|error| unreadable(&error))?;
        let Some(report) = report else {
            return Err(ApiError::new(ErrorCode::UnknownId, "no own message has that id"));
        };
        let reached = match wait.goal {
            Goal::Queued => true,
            Goal::Stage(goal) => report.stage >= goal,
            Goal::Reply => report.reply.is_some(),
        };
        // Whoever is gone or blocked answers nothing soon; the reason says so.
        let hopeless =
            report.stage.is_failure() || (!wait.strict && report.reason.as_deref() == Some("gone"));
        if !(reached || hopeless || late) {
            return Ok(None);
        }
        let mut sent = self.sent(wait.msg_id, wait.remarks.clone())?;
        if sent.stage != penpal_local_api::mail::Stage::Queued {
            sent.remarks.retain(|remark| remark != super::send::WAITS_FOR_FILES);
        }
        sent.timed_out = wait.strict && !reached && !hopeless;
        if wait.goal == Goal::Reply
            && let Some(reply) = report.reply
        {
            self.add_reply(&mut sent, wait, reply)?;
        }
        json(&sent).map(Some)
    }

    /// Takes the answer for the caller: it is committed once it was shown.
    fn add_reply(&mut self, sent: &mut Sent, wait: &SentWait, reply: MailKey) -> Result<(), ApiError> {
        let view = self.delivery.view(reply, &self.storage).map_err(|error| unreadable(&error))?;
        let Some(view) = view.filter(|view| !view.hidden) else { return Ok(()) };
        let message = self.message(&view)?;
        sent.reply_quote =
            Some(self.quote(std::slice::from_ref(&message), penpal_agents::quote::Shown::Whole));
        sent.reply = Some(message);
        if let Some(mailbox) = view.mailbox {
            let lease = self.delivery.take(mailbox, Some(&[reply]), 1, &mut delivery_step!(self));
            if !lease.messages.is_empty() {
                sent.lease = Some(self.lease_text(lease.id, mailbox, wait.mechanism.as_deref()));
            }
        }
        Ok(())
    }

    fn look_account(&mut self, late: bool, heard: &[Notice]) -> Look {
        for notice in heard {
            if let Notice::RegistrationFailed(why) = notice {
                return Err(registration_failed(*why));
            }
        }
        if self.contacts.account().is_some_and(|me| me.published) {
            let account = self.account_shape();
            return account.map(|account| json(&account)).transpose();
        }
        self.give_up_registering(late)?;
        if late { Err(self.relay_away()) } else { Ok(None) }
    }

    /// An account that cannot be made is not asked for any longer, so that another address can be tried.
    fn give_up_registering(&mut self, late: bool) -> Result<(), ApiError> {
        if !self.contacts.is_registering() {
            return Ok(());
        }
        let hopeless = self.waiting.trouble.is_some();
        if hopeless || late {
            let error = self.relay_away();
            self.contacts.cancel_registration(&mut contact_step!(self));
            return Err(error);
        }
        Ok(())
    }

    /// Why the relay could not be asked.
    pub(super) fn relay_away(&self) -> ApiError {
        if self.is_cut_off() {
            return ApiError::new(ErrorCode::DeviceRevoked, super::DISOWNED);
        }
        match &self.waiting.trouble {
            Some(Trouble::WrongPin { text }) => ApiError::new(ErrorCode::WrongPin, text.clone()),
            Some(Trouble::Incompatible { text }) => ApiError::new(ErrorCode::RelayVersion, text.clone()),
            Some(trouble) => ApiError::new(ErrorCode::RelayAway, trouble.text().to_owned()),
            None => ApiError::new(ErrorCode::RelayAway, "the relay did not answer in time"),
        }
    }

    fn look_invites(&mut self, invites: &[InviteId], late: bool, heard: &[Notice]) -> Look {
        for notice in heard {
            if let Notice::InviteFailed { invite, code } = notice
                && invites.contains(invite)
            {
                return Err(ApiError::new(
                    ErrorCode::RelayRefused,
                    format!("the relay did not take the invite ({code:?})"),
                ));
            }
        }
        let rows = self.contacts.invites();
        let open = |id: &InviteId| {
            rows.iter().any(|row| row.invite == *id && row.status != penpal_contact::InviteStatus::Creating)
        };
        if !invites.iter().all(open) {
            if self.waiting.trouble.is_some() || late {
                for invite in invites {
                    self.contacts.revoke_invite(invite, &mut contact_step!(self));
                }
                return Err(self.relay_away());
            }
            return Ok(None);
        }
        let made: Vec<Invite> = invites
            .iter()
            .filter_map(|id| {
                let code = self.contacts.code(id)?;
                Some(Invite { code: code.to_code().to_string(), expires_ms: code.expires_ms() })
            })
            .collect();
        let Some(first) = made.first().cloned() else {
            return Err(ApiError::new(ErrorCode::Internal, "the invite was used before it was shown"));
        };
        json(&Invites { v: SHAPE_VERSION, code: first.code, expires_ms: first.expires_ms, invites: made })
            .map(Some)
    }

    fn look_added(
        &mut self,
        invite: InviteId,
        inviter: Fingerprint,
        registers: bool,
        decision: bool,
        late: bool,
        heard: &[Notice],
    ) -> Look {
        for notice in heard {
            match notice {
                Notice::AddFailed { invite: failed, why } if *failed == invite => {
                    return Err(add_failed(why));
                }
                Notice::RegistrationFailed(why) if registers => return Err(registration_failed(*why)),
                _ => {}
            }
        }
        if registers {
            self.give_up_registering(false)?;
        }
        let view = self.contacts.view(&inviter);
        let stored = (self.contacts.inviter(&invite).is_some() && !self.contacts.is_adding(&invite))
            || view.as_ref().is_some_and(|view| view.state == State::Active);
        let decided = view.as_ref().is_some_and(|view| view.state != State::PendingOut);
        if let Some(view) = view.filter(|_| stored && (!decision || decided || late)) {
            let account = self.account_shape().filter(|_| registers);
            return json(&Added { v: SHAPE_VERSION, contact: self.contact_row(&view), account }).map(Some);
        }
        if late {
            let error = self.relay_away();
            return Err(error.hint("it is tried again by itself; run the same command again to see"));
        }
        Ok(None)
    }
}

fn registration_failed(why: RegistrationFailure) -> ApiError {
    match why {
        RegistrationFailure::HandleTaken => {
            ApiError::new(ErrorCode::HandleTaken, "that handle belongs to somebody else at this relay")
        }
        RegistrationFailure::NotAdmitted => ApiError::new(
            ErrorCode::NeedsToken,
            "the relay registers only with a token or an invite that it knows",
        ),
        RegistrationFailure::Incompatible => {
            ApiError::new(ErrorCode::RelayVersion, "the relay does not understand this version")
        }
        _ => ApiError::new(ErrorCode::RelayRefused, "the relay made no account"),
    }
}

fn add_failed(why: &AddFailure) -> ApiError {
    match why {
        AddFailure::Registration(why) => registration_failed(*why),
        AddFailure::Used => ApiError::new(
            ErrorCode::InviteUsed,
            "the code was already used; if not by you, it may have been intercepted",
        ),
        AddFailure::NotFound => ApiError::new(ErrorCode::InviteGone, "the relay knows no such invite"),
        AddFailure::Record(error) => ApiError::new(
            ErrorCode::InviteForged,
            format!("what the relay holds does not fit the code: {error}"),
        ),
        AddFailure::Incompatible => {
            ApiError::new(ErrorCode::RelayVersion, "the relay does not understand this version")
        }
        _ => ApiError::new(ErrorCode::InviteGone, "the code cannot be used on this machine any more"),
    }
}
