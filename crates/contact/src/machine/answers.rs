//! What relays answer.

use penpal_protocol::{
    ids::{EdgeId, Fingerprint, InviteId},
    wire::{Answer, RefusalCode},
};

use super::{Contacts, Step, requests::profile_link};
use crate::{
    command::{At, Command, Token, Unreachable},
    jobs::{Job, Why},
    notice::{AddFailure, Notice, RegistrationFailure},
    record::{AddStep, InviteState, RowKey},
};

/// An answer, sorted by what can be done about it.
pub(super) enum Reply<'a> {
    /// The request was carried out, or looked up.
    Yes(&'a Answer),
    /// `no`.
    No,
    /// Another refusal that belongs to this request.
    Refused(RefusalCode),
}

impl Contacts {
    /// Takes the answer to a [`Command::Relay`]. One that is not waited for is ignored.
    pub fn handle_answer(&mut self, token: Token, answer: Result<Answer, Unreachable>, step: &mut Step<'_>) {
        let Some(job) = self.jobs.answered(token) else { return };
        match answer {
            Ok(answer) => self.answered(job, &answer, step),
            Err(Unreachable) => {
                self.jobs.pause(job, step.now.mono, Why::Unreachable);
                self.fetch_failed(job);
            }
        }
        self.settle(step);
    }

    /// Whoever waits for a fetch is told that it brought nothing.
    pub(super) fn fetch_failed(&mut self, job: Job) {
        if let Job::FetchProfile(contact) = job {
            self.queue.push_back(Command::Fetched { contact, fresh: false });
        }
    }

    fn answered(&mut self, job: Job, answer: &Answer, step: &mut Step<'_>) {
        if self.join_answered(job, answer, step) {
            return;
        }
        let reply = match answer.refusal_code() {
            Some(RefusalCode::No) => Reply::No,
            Some(code) => Reply::Refused(code),
            None => Reply::Yes(answer),
        };
        if matches!(reply, Reply::Refused(RefusalCode::Busy | RefusalCode::Full)) {
            self.fetch_failed(job);
            return self.jobs.pause(job, step.now.mono, Why::Busy);
        }
        let done = match job {
            Job::Register => self.register_answered(&reply, step),
            Job::PutManifest => self.manifest_answered(&reply, step),
            Job::PutBundle => self.bundle_answered(&reply),
            Job::CreateInvite(id) => self.invite_answered(id, &reply, step),
            Job::RevokeInvite(id) => self.invite_revoked(id, &reply),
            Job::AskInvite(id) => self.invite_asked(id, &reply, step),
            Job::FetchRecord(id) => self.record_answered(id, &reply, step),
            Job::Redeem(id) => self.redeem_answered(id, &reply, step),
            Job::AskRequest(id) => self.request_answered(id, &reply, step),
            Job::CreateEdge(edge) => self.edge_made(edge, &reply, step),
            Job::RevokeEdge(edge) => self.edge_ended(edge, &reply),
            Job::LinkEdge(contact, edge) => self.edge_linked(contact, edge, &reply, step),
            Job::FetchProfile(contact) => self.profile_answered(contact, &reply, step),
            Job::PutProof | Job::RemoveDevice(_) => self.device_answered(job, &reply),
            Job::AddAgain(device) => self.added_again(device, &reply),
            Job::CreateLink(id) | Job::AddDevice(id) | Job::AnswerLink(id) => self.link_step(job, id, &reply),
            Job::FetchLink(_) | Job::JoinLink(_) | Job::AwaitLink(_) | Job::ConfirmLink(_) => false,
            Job::GetState | Job::PutState => self.kept_answered(job, &reply, step),
            Job::AddSelf => self.recovery_answered(&reply, step),
        };
        if done {
            return;
        }
        // Not an answer to this request, or a refusal that may end: tried again later, and told when it is about our account.
        if let Reply::Refused(code @ (RefusalCode::Suspended | RefusalCode::NotRegistered)) = reply
            && self.request(job).is_some_and(|(at, _)| at == At::Home)
        {
            self.account_refused(code);
        }
        tracing::warn!(answer = ?answer.kind(), "unexpected answer of a relay");
        tracing::debug!(?job, "it was to this");
        self.fetch_failed(job);
        self.jobs.pause(job, step.now.mono, Why::Refused);
    }

    fn device_answered(&mut self, job: Job, reply: &Reply<'_>) -> bool {
        match (job, reply) {
            // Another proof: made by whoever restored this account, so devices are managed there.
            (Job::PutProof, Reply::Yes(Answer::Done) | Reply::Refused(RefusalCode::Conflict)) => {
                self.proof_put()
            }
            (Job::RemoveDevice(slot), Reply::Yes(Answer::Done)) => self.device_removed(slot),
            _ => return false,
        }
        self.jobs.done(job);
        true
    }

    fn link_step(&mut self, job: Job, id: InviteId, reply: &Reply<'_>) -> bool {
        match (job, reply) {
            (Job::CreateLink(_), Reply::Yes(Answer::Done)) => self.link_created(id),
            (Job::AddDevice(_), Reply::Yes(Answer::Registered(registered))) => {
                self.device_added(id, registered);
            }
            (Job::AnswerLink(_), Reply::Yes(Answer::Done)) => self.link_answered(id),
            (Job::CreateLink(_), Reply::No | Reply::Refused(RefusalCode::Quota | RefusalCode::Malformed)) => {
                self.end_link(id);
                self.notify(Notice::InviteFailed { invite: id, code: RefusalCode::Quota });
            }
            (Job::AddDevice(_), Reply::No | Reply::Refused(RefusalCode::Quota | RefusalCode::Malformed))
            | (Job::AnswerLink(_), Reply::No) => self.device_not_added(id),
            _ => return false,
        }
        self.jobs.done(job);
        true
    }

    fn register_answered(&mut self, reply: &Reply<'_>, step: &mut Step<'_>) -> bool {
        let failure = match reply {
            Reply::Yes(Answer::Registered(registered)) => {
                self.jobs.done(Job::Register);
                self.registered(registered.clone(), step);
                return true;
            }
            Reply::Refused(RefusalCode::HandleTaken) => RegistrationFailure::HandleTaken,
            Reply::No | Reply::Refused(RefusalCode::NeedsToken | RefusalCode::Used) => {
                RegistrationFailure::NotAdmitted
            }
            Reply::Refused(RefusalCode::Malformed) => RegistrationFailure::Incompatible,
            Reply::Yes(_) | Reply::Refused(_) => return false,
        };
        self.registration_failed(failure);
        true
    }

    fn manifest_answered(&mut self, reply: &Reply<'_>, step: &Step<'_>) -> bool {
        match reply {
            Reply::Yes(Answer::Done) => {
                self.jobs.done(Job::PutManifest);
                self.manifest_put();
            }
            Reply::Refused(RefusalCode::Conflict) => {
                self.jobs.done(Job::PutManifest);
                self.manifest_conflict(step);
            }
            Reply::Yes(_) | Reply::No | Reply::Refused(_) => return false,
        }
        true
    }

    fn bundle_answered(&mut self, reply: &Reply<'_>) -> bool {
        let done = matches!(reply, Reply::Yes(Answer::Done));
        if done {
            self.jobs.done(Job::PutBundle);
            self.bundle_put();
        }
        done
    }

    fn invite_answered(&mut self, id: InviteId, reply: &Reply<'_>, step: &mut Step<'_>) -> bool {
        let code = match reply {
            Reply::Yes(Answer::Done) => None,
            Reply::No => Some(RefusalCode::No),
            Reply::Refused(code) => Some(*code),
            Reply::Yes(_) => return false,
        };
        self.jobs.done(Job::CreateInvite(id));
        let Some(invite) = self.invites.get_mut(&id) else { return true };
        if !matches!(invite.state, InviteState::Creating { .. }) {
            return true;
        }
        match code {
            None => {
                invite.state = InviteState::Open;
                self.touch(RowKey::Invite(id));
                self.notify(Notice::InviteOpen { invite: id });
            }
            Some(code) => {
                self.end_invite(id, crate::record::InviteEnd::Revoked, step);
                self.invites.remove(&id);
                self.plan_invite(id);
                self.notify(Notice::InviteFailed { invite: id, code });
            }
        }
        true
    }

    fn invite_revoked(&mut self, id: InviteId, reply: &Reply<'_>) -> bool {
        let done = is_gone(reply);
        if done {
            self.jobs.done(Job::RevokeInvite(id));
            self.retired_invites.remove(&id);
            self.touch(RowKey::RetiredInvite(id));
        }
        done
    }

    fn invite_asked(&mut self, id: InviteId, reply: &Reply<'_>, step: &Step<'_>) -> bool {
        let waits = self.invites.get(&id).map(|invite| &invite.state);
        let waits = matches!(waits, Some(InviteState::Creating { .. } | InviteState::Open));
        match reply {
            // Still open by the relay's clock, or used, with the request on its way to us: asked again in a day.
            Reply::Yes(Answer::Invite(_)) => {}
            Reply::No if waits => self.expire_invite(id, step),
            Reply::No => {}
            Reply::Yes(_) | Reply::Refused(_) => return false,
        }
        self.jobs.done(Job::AskInvite(id));
        true
    }

    fn record_answered(&mut self, id: InviteId, reply: &Reply<'_>, step: &mut Step<'_>) -> bool {
        let refused = self.adding.get(&id).is_some_and(|adding| adding.step == AddStep::Refused);
        match reply {
            Reply::Yes(Answer::Invite(answer)) if refused => {
                let used = answer.state == penpal_protocol::wire::InviteState::Redeemed;
                let why = AddFailure::Registration(RegistrationFailure::NotAdmitted);
                self.add_refused(Job::FetchRecord(id), id, if used { AddFailure::Used } else { why });
            }
            Reply::Yes(Answer::Invite(answer)) => {
                self.jobs.done(Job::FetchRecord(id));
                self.record_fetched(id, answer, step);
            }
            Reply::No => self.add_refused(Job::FetchRecord(id), id, AddFailure::NotFound),
            Reply::Refused(RefusalCode::Used) => self.add_refused(Job::FetchRecord(id), id, AddFailure::Used),
            Reply::Refused(RefusalCode::Malformed) => {
                self.add_refused(Job::FetchRecord(id), id, AddFailure::Incompatible);
            }
            Reply::Yes(_) | Reply::Refused(_) => return false,
        }
        true
    }

    fn redeem_answered(&mut self, id: InviteId, reply: &Reply<'_>, step: &Step<'_>) -> bool {
        match reply {
            Reply::Yes(Answer::Done | Answer::Invite(_)) => {
                self.jobs.done(Job::Redeem(id));
                self.redeemed(id, step);
            }
            Reply::No => self.add_refused(Job::Redeem(id), id, AddFailure::NotFound),
            Reply::Refused(RefusalCode::Used) => self.add_refused(Job::Redeem(id), id, AddFailure::Used),
            Reply::Refused(RefusalCode::Malformed) => {
                self.add_refused(Job::Redeem(id), id, AddFailure::Incompatible)
            }
            Reply::Yes(_) | Reply::Refused(_) => return false,
        }
        true
    }

    fn add_refused(&mut self, job: Job, id: InviteId, why: AddFailure) {
        self.jobs.done(job);
        self.fail_adding(id, why);
    }

    fn request_answered(&mut self, id: InviteId, reply: &Reply<'_>, step: &Step<'_>) -> bool {
        match reply {
            Reply::Yes(Answer::Invite(answer)) => self.request_asked(id, Some(answer), step),
            Reply::No | Reply::Refused(RefusalCode::Used) => self.request_asked(id, None, step),
            Reply::Yes(_) | Reply::Refused(_) => return false,
        }
        self.jobs.done(Job::AskRequest(id));
        true
    }

    fn edge_made(&mut self, edge: EdgeId, reply: &Reply<'_>, step: &mut Step<'_>) -> bool {
        if !matches!(reply, Reply::Yes(Answer::Done)) {
            return false;
        }
        self.jobs.done(Job::CreateEdge(edge));
        let is_it = |prepared: &crate::record::Prepared| prepared.edge == edge;
        let adding = self.adding.values().filter(|adding| adding.step == AddStep::MakingEdge);
        let adding = adding
            .filter(|adding| adding.prepared.as_deref().is_some_and(is_it))
            .map(|adding| adding.id)
            .next();
        if let Some(id) = adding {
            self.set_step(id, AddStep::Redeeming, step);
        }
        let offered = self.contacts.iter_mut().find_map(|(contact, row)| {
            let accepting = row.accepting.as_mut().filter(|accepting| accepting.link.edge_in == edge)?;
            accepting.link.made = true;
            Some(*contact)
        });
        if let Some(contact) = offered {
            self.touch(RowKey::Contact(contact));
            self.continue_acceptance(contact, step);
        }
        self.rekey_made(edge, step);
        let among_us = self.me().and_then(|me| self.contacts.get_mut(&me).map(|row| (me, row)));
        if let Some((me, row)) = among_us
            && let Some(link) = row.link.as_mut().filter(|link| link.edge_in == edge && !link.made)
        {
            link.made = true;
            self.touch(RowKey::Contact(me));
            self.jobs.want(Job::LinkEdge(me, edge));
        }
        true
    }

    fn edge_ended(&mut self, edge: EdgeId, reply: &Reply<'_>) -> bool {
        let done = is_gone(reply);
        if done {
            self.jobs.done(Job::RevokeEdge(edge));
            if let Some(retired) = self.retired_edges.remove(&edge) {
                self.touch(RowKey::RetiredEdge(edge));
                self.notify(Notice::EdgeEnded { contact: retired.contact, name: retired.name });
            }
        }
        done
    }

    fn edge_linked(
        &mut self,
        contact: Fingerprint,
        edge: EdgeId,
        reply: &Reply<'_>,
        step: &mut Step<'_>,
    ) -> bool {
        let linked = match reply {
            Reply::Yes(Answer::Done) => true,
            Reply::No => false,
            Reply::Yes(_) | Reply::Refused(_) => return false,
        };
        self.jobs.done(Job::LinkEdge(contact, edge));
        let Some(row) = self.contacts.get_mut(&contact) else { return true };
        if let Some(accepting) = row.accepting.as_mut().filter(|accepting| accepting.link.edge_in == edge) {
            accepting.link.linked = linked;
            self.touch(RowKey::Contact(contact));
            if linked {
                self.continue_acceptance(contact, step);
            } else {
                self.acceptance_failed(contact, step);
            }
        } else if let Some(link) = row.link.as_mut().filter(|link| link.edge_in == edge) {
            link.linked = linked;
            self.touch(RowKey::Contact(contact));
            if linked {
                // What was refused before was another edge.
                self.back(contact, step);
                self.connected(contact, step);
            } else {
                self.gone(contact, step);
            }
        }
        true
    }

    fn profile_answered(&mut self, contact: Fingerprint, reply: &Reply<'_>, step: &mut Step<'_>) -> bool {
        match reply {
            Reply::Yes(Answer::ContactState(state)) => {
                self.jobs.done(Job::FetchProfile(contact));
                self.profile_fetched(contact, state, step);
            }
            Reply::No => {
                self.jobs.done(Job::FetchProfile(contact));
                self.profile_refused(contact, step);
            }
            Reply::Yes(_) | Reply::Refused(_) => return false,
        }
        true
    }

    fn profile_refused(&mut self, contact: Fingerprint, step: &mut Step<'_>) {
        if self.me() == Some(contact) {
            self.note_looked(step);
        }
        self.queue.push_back(Command::Fetched { contact, fresh: false });
        let Some(row) = self.contacts.get(&contact) else { return };
        let asked = profile_link(row).map(|link| link.edge_in);
        if row.accepting.as_ref().is_some_and(|accepting| Some(accepting.link.edge_in) == asked) {
            self.acceptance_failed(contact, step);
        } else {
            self.gone(contact, step);
        }
    }
}

/// Whether what was to be revoked does not exist any more: also because the account does not.
fn is_gone(reply: &Reply<'_>) -> bool {
    match reply {
        Reply::Yes(Answer::Done) | Reply::No | Reply::Refused(RefusalCode::NotRegistered) => true,
        Reply::Yes(_) | Reply::Refused(_) => false,
    }
}
