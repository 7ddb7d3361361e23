//! Becoming a device of an account, on the machine that was told a code.

use std::sync::Arc;

use penpal_protocol::{
    cbor::Blob,
    ids::{DeviceId, InviteId},
    sealed::LinkRequest,
    text::{CodePurpose, InviteCode, Label},
    wire::{Answer, InviteFetch, InviteRedeem, InviteState, RefusalCode, Request},
};
use penpal_seal::{
    FreshBytes, InviteEntry, InviteKeys, InviteSecret, Linking, PairKey, ReceiveKey, ReceiveSeed, Sender,
    VerifiedLinkAnswer, VerifiedRecord, link_mailbox, open_link_answer, open_record, seal_link_request,
};

use super::{Contacts, Step};
use crate::{
    command::At,
    error::JoinError,
    jobs::{Job, Why},
    notice::{JoinFailure, Notice},
    record::{JoinRequest, Joining, Own, Pinned, RowKey, StoredPairKey, StoredRelay},
};

impl Contacts {
    /// Uses a code that another device of the account made: this machine becomes one too.
    ///
    /// Using the same code again changes nothing while it is under way. [`Notice::Joined`] or [`Notice::JoinFailed`] follows.
    ///
    /// # Errors
    /// [`JoinError`]; then nothing was begun.
    pub fn join_account(
        &mut self,
        code: &InviteCode,
        name: Label,
        step: &mut Step<'_>,
    ) -> Result<(), JoinError> {
        let begun = self.start_joining(code, name, step);
        self.settle(step);
        begun
    }

    fn start_joining(
        &mut self,
        code: &InviteCode,
        name: Label,
        step: &mut Step<'_>,
    ) -> Result<(), JoinError> {
        if code.purpose != CodePurpose::Device {
            return Err(JoinError::ForContacts);
        }
        if let Some(own) = &self.own {
            return Err(JoinError::Registered { handle: own.handle.clone() });
        }
        if let Some(registering) = &self.registering {
            return Err(JoinError::Registering { handle: registering.handle.clone() });
        }
        if self.is_recovering() {
            return Err(JoinError::Recovering);
        }
        if name.is_reserved() {
            return Err(JoinError::Reserved { name });
        }
        let secret = InviteSecret::from_bytes(*code.secret.expose());
        let id = InviteKeys::derive(&secret).id();
        if self.joining.as_ref().is_some_and(|joining| joining.id == id) {
            return Ok(());
        }
        if code.expires_ms() <= step.now.wall_ms {
            return Err(JoinError::Expired);
        }
        self.forget_joining();
        let one_time = ReceiveSeed::generate(&mut step.rng);
        self.keep_secret(id, InviteEntry { secret, one_time: Some(one_time) });
        self.joining = Some(Joining {
            id,
            account: code.inviter,
            relay: StoredRelay(code.relay.clone()),
            device: DeviceId::from_bytes(step.random()),
            device_name: name,
            expires_ms: code.expires_ms(),
            prepared: None,
            stored: false,
            done: false,
        });
        self.touch(RowKey::Joining);
        self.jobs.want(Job::FetchLink(id));
        Ok(())
    }

    /// Whether this machine is becoming a device.
    #[must_use]
    pub fn is_joining(&self) -> bool {
        self.joining.as_ref().is_some_and(|joining| !joining.done)
    }

    /// Gives up becoming a device. Tells whether it was under way.
    pub fn cancel_joining(&mut self, step: &mut Step<'_>) -> bool {
        let running = self.is_joining();
        if running {
            self.forget_joining();
            self.settle(step);
        }
        running
    }

    fn forget_joining(&mut self) {
        let Some(joining) = self.joining.take() else { return };
        let id = joining.id;
        self.touch(RowKey::Joining);
        for job in [Job::FetchLink(id), Job::JoinLink(id), Job::AwaitLink(id), Job::ConfirmLink(id)] {
            self.jobs.drop_unless_asked(job);
        }
        self.erase_secret(id);
    }

    fn fail_joining(&mut self, why: JoinFailure) {
        self.forget_joining();
        self.notify(Notice::JoinFailed(why));
    }

    /// Wants what comes next.
    pub(super) fn want_join(&mut self) {
        let Some(joining) = &self.joining else { return };
        let id = joining.id;
        self.jobs.want(match (&joining.prepared, joining.stored, joining.done) {
            (_, _, true) => Job::ConfirmLink(id),
            (None, ..) => Job::FetchLink(id),
            (Some(_), false, _) => Job::JoinLink(id),
            (Some(_), true, _) => Job::AwaitLink(id),
        });
    }

    /// What is asked of the relay; `None` when it is not needed any more.
    pub(super) fn join_request(&self, job: Job) -> Option<(At, Request)> {
        let joining = self.joining.as_ref()?;
        let mailbox = || {
            let secrets = self.secrets.get(&joining.id)?;
            Some(link_mailbox(&secrets.entry.secret).id())
        };
        let id = joining.id;
        let request = if job == Job::FetchLink(id) {
            Request::InviteFetch(InviteFetch { invite: id })
        } else if job == Job::JoinLink(id) {
            let request = joining.prepared.as_ref()?.sealed.clone();
            Request::InviteRedeem(InviteRedeem { invite: id, request })
        } else if job == Job::AwaitLink(id) && !joining.done {
            Request::InviteFetch(InviteFetch { invite: mailbox()? })
        } else if job == Job::ConfirmLink(id) {
            // Anything does: that it came is all that is said.
            let request = Blob::new(vec![0; 32]).ok()?;
            Request::InviteRedeem(InviteRedeem { invite: mailbox()?, request })
        } else {
            return None;
        };
        Some((At::Home, request))
    }

    /// Takes an answer of the relay; tells whether it was one to this.
    pub(super) fn join_answered(&mut self, job: Job, answer: &Answer, step: &mut Step<'_>) -> bool {
        match (job, answer, answer.refusal_code()) {
            (Job::FetchLink(id), Answer::Invite(found), _) => {
                self.jobs.done(job);
                match (&found.state, &found.record) {
                    (InviteState::Open, Some(record)) => self.link_record(id, record, step),
                    (InviteState::Open | InviteState::Redeemed, _) => self.fail_joining(JoinFailure::Used),
                }
            }
            (Job::FetchLink(_), _, Some(RefusalCode::No)) => {
                self.jobs.done(job);
                self.fail_joining(JoinFailure::NotFound);
            }
            (Job::JoinLink(_), Answer::Done, _) => {
                self.jobs.done(job);
                if let Some(joining) = &mut self.joining {
                    joining.stored = true;
                    self.touch(RowKey::Joining);
                }
                self.want_join();
            }
            (Job::JoinLink(_), _, Some(code @ (RefusalCode::No | RefusalCode::Used))) => {
                self.jobs.done(job);
                let used = code == RefusalCode::Used;
                self.fail_joining(if used { JoinFailure::Used } else { JoinFailure::NotFound });
            }
            (Job::AwaitLink(id), Answer::Invite(found), _) => {
                if let Some(sealed) = &found.record {
                    self.jobs.done(job);
                    self.take_link_answer(id, sealed, step);
                } else {
                    // Somebody else said that it came: the relay, or who stole the code.
                    self.jobs.done(job);
                    self.fail_joining(JoinFailure::Used);
                }
            }
            (Job::AwaitLink(_), _, Some(RefusalCode::No)) => {
                let over = self.joining.as_ref().is_none_or(|joining| {
                    joining.expires_ms.saturating_add(penpal_protocol::limits::DAY_MS) <= step.now.wall_ms
                });
                if over {
                    self.jobs.done(job);
                    self.fail_joining(JoinFailure::NotAnswered);
                } else {
                    self.jobs.pause(job, step.now.mono, Why::NotYet);
                }
            }
            (Job::ConfirmLink(_), Answer::Done, _)
            | (Job::ConfirmLink(_), _, Some(RefusalCode::No | RefusalCode::Used)) => {
                self.jobs.done(job);
                self.forget_joining();
            }
            _ => return false,
        }
        true
    }

    fn link_record(&mut self, id: InviteId, sealed: &[u8], step: &mut Step<'_>) {
        let Some(joining) = self.joining.as_ref().filter(|joining| joining.id == id) else { return };
        let Some(secrets) = self.secrets.get(&id) else { return self.fail_joining(JoinFailure::Lost) };
        let record = match open_record(&secrets.keys, &joining.account, sealed, step.now.wall_ms) {
            Ok(record) => record,
            Err(error) => {
                tracing::warn!(%error, "the record of a code is refused");
                return self.fail_joining(JoinFailure::Record(error));
            }
        };
        // It stands in the list from before, when the answer did not come: it is that device.
        let signing = self.keys.signing.public();
        let mut devices = record.manifest().manifest().devices.iter();
        let listed = devices.find(|device| device.signing == signing).map(|device| device.id);
        if let (Some(listed), Some(joining)) = (listed, &mut self.joining) {
            joining.device = listed;
            self.touch(RowKey::Joining);
        }
        let Some(prepared) = self.seal_join(id, &record, step) else {
            return self.fail_joining(JoinFailure::Lost);
        };
        if let Some(joining) = &mut self.joining {
            joining.prepared = Some(Box::new(prepared));
        }
        self.touch(RowKey::Joining);
        self.want_join();
    }

    fn seal_join(&self, id: InviteId, record: &VerifiedRecord, step: &mut Step<'_>) -> Option<JoinRequest> {
        let joining = self.joining.as_ref()?;
        let secrets = self.secrets.get(&id)?;
        let one_time = ReceiveKey::expand(secrets.entry.one_time.clone()?);
        let request = LinkRequest {
            device: joining.device,
            signing: self.keys.signing.public(),
            transport: self.keys.transport.public(),
            name: joining.device_name.clone(),
            one_time: one_time.public().clone(),
        };
        let sender = Sender { signing: &self.keys.signing, hedge: &self.keys.hedge };
        let fresh = FreshBytes::generate(&mut step.rng);
        let sealed = seal_link_request(&secrets.keys, record, &request, &sender, fresh)
            .inspect_err(|error| tracing::error!(%error, "a request cannot be sealed"))
            .ok()?;
        Some(JoinRequest {
            manifest: Pinned(record.manifest().clone()),
            sealed: Blob::new(sealed.sealed).ok()?,
            transcript: sealed.transcript,
        })
    }

    fn take_link_answer(&mut self, id: InviteId, sealed: &[u8], step: &mut Step<'_>) {
        let Some(joining) = self.joining.as_ref().filter(|joining| joining.id == id && !joining.done) else {
            return;
        };
        let (Some(secrets), Some(prepared)) = (self.secrets.get(&id), joining.prepared.as_deref()) else {
            return self.fail_joining(JoinFailure::Lost);
        };
        let Some(one_time) = secrets.entry.one_time.clone() else {
            return self.fail_joining(JoinFailure::Lost);
        };
        let linking = Linking {
            keys: &secrets.keys,
            transcript: &prepared.transcript,
            pinned: &prepared.manifest.0,
            device: &joining.device,
            signing: &self.keys.signing,
        };
        let one_time = Arc::new(ReceiveKey::expand(one_time));
        match open_link_answer(&linking, &one_time, sealed, step.now.wall_ms) {
            Ok(answer) => self.joined(&answer, step),
            Err(error) => {
                tracing::warn!(%error, "the answer of the account's device is refused");
                self.fail_joining(JoinFailure::Answer(error));
            }
        }
    }

    fn joined(&mut self, verified: &VerifiedLinkAnswer, step: &mut Step<'_>) {
        let Some(joining) = &mut self.joining else { return };
        joining.done = true;
        let (device, relay) = (joining.device, joining.relay.clone());
        self.touch(RowKey::Joining);
        let (answer, manifest) = (verified.answer(), verified.manifest().clone());
        let Some(entry) = manifest.device(&device).cloned() else { return };
        let named = (answer.account, answer.handle.clone());
        let mut own = Own::new(named, relay, &entry, manifest, answer.profile_key.clone());
        // The device that signs brings it to the relay.
        own.manifest_published = Some(own.manifest_mark());
        tracing::info!("this machine is a device of the account");
        self.own = Some(own);
        self.touch(RowKey::Own);
        let pair = StoredPairKey(PairKey::from_bytes(*answer.pair.expose()));
        self.make_self((answer.edge, answer.cap.clone(), pair), true, step);
        self.notify(Notice::Joined { handle: answer.handle.clone() });
        self.want_join();
    }
}
