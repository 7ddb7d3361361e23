//! The invited side: using a code, from registration to the stored request.

use penpal_protocol::{
    cbor::{Blob, Bounded, List, Text},
    ids::{Capability, EdgeId, HalfSecret, InviteId},
    limits::MAX_CONTACTS,
    sealed::InviteRequest,
    text::{CodePurpose, InviteCode, Label},
    wire::{InviteAnswer, InviteState as RelayState},
};
use penpal_seal::{
    FreshBytes, InviteEntry, InviteKeys, InviteSecret, Sender, VerifiedRecord, boot_key, open_record,
    seal_request,
};

use super::{Contacts, Step};
use crate::{
    error::AddError,
    jobs::Job,
    notice::{AddFailure, Notice},
    record::{AddStep, Adding, Pinned, Prepared, RowKey, StoredRelay},
};

/// The account that [`Contacts::add`] makes when there is none.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// Its handle.
    pub handle: Label,
    /// Name of this machine.
    pub device_name: Label,
}

/// Who gave a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GivenBy {
    Person,
    Introduction,
}

impl Contacts {
    /// Uses a code: registers at its relay when there is no account, checks what the inviter left there, and asks to be accepted.
    ///
    /// Using the same code again changes nothing while it is under way. What comes of it is told by [`Notice::RecordVerified`],
    /// [`Notice::RequestStored`] and later [`Notice::Connected`] or [`Notice::Declined`], or by [`Notice::AddFailed`].
    ///
    /// # Errors
    /// [`AddError`]; then nothing was begun.
    pub fn add(
        &mut self,
        code: &InviteCode,
        account: Option<NewAccount>,
        step: &mut Step<'_>,
    ) -> Result<InviteId, AddError> {
        let added = self.start_adding(code, GivenBy::Person, account, step);
        self.settle(step);
        added
    }

    /// The same with a code that came from somebody else than a person here: it gives way to any other of its author.
    ///
    /// # Errors
    /// [`AddError`]; then nothing was begun.
    pub fn add_introduced(&mut self, code: &InviteCode, step: &mut Step<'_>) -> Result<InviteId, AddError> {
        let added = self.start_adding(code, GivenBy::Introduction, None, step);
        self.settle(step);
        added
    }

    fn start_adding(
        &mut self,
        code: &InviteCode,
        by: GivenBy,
        account: Option<NewAccount>,
        step: &mut Step<'_>,
    ) -> Result<InviteId, AddError> {
        if code.purpose != CodePurpose::Contact {
            return Err(AddError::ForDevices);
        }
        let secret = InviteSecret::from_bytes(*code.secret.expose());
        let id = InviteKeys::derive(&secret).id();
        let root = self.keys.root.as_ref().map(penpal_seal::RootKey::fingerprint);
        if self.invites.contains_key(&id) || root == Some(code.inviter) || self.me() == Some(code.inviter) {
            return Err(AddError::Own);
        }
        let again = self.adding.get(&id).filter(|adding| adding.step != AddStep::Declined);
        if again.is_some() {
            return Ok(id);
        }
        if code.expires_ms() <= step.now.wall_ms {
            return Err(AddError::Expired { expires_ms: code.expires_ms() });
        }
        let is_live = |adding: &&Adding| adding.inviter == code.inviter && adding.step != AddStep::Declined;
        if let Some(other) = self.adding.values().find(is_live) {
            // While its record is asked for nothing came of the other one, and whoever made it up may be another than it names. Before, an
            // account may be registered by it.
            if other.step != AddStep::Fetching || by == GivenBy::Introduction {
                let name = other.prepared.as_ref().map(|prepared| prepared.name.clone());
                return Err(AddError::Pending { name });
            }
            self.withdraw_adding(other.id);
        }
        let others = self.adding.values().filter(|adding| adding.step != AddStep::Declined).count();
        if self.contacts.len().saturating_add(others) >= MAX_CONTACTS
            && !self.contacts.contains_key(&code.inviter)
        {
            return Err(AddError::TooMany);
        }
        // An account that is being made at that relay serves this code too.
        let under_way = self.registering.as_ref().is_some_and(|asked| asked.relay.0.pin == code.relay.pin);
        if self.own.is_none() && !under_way {
            let NewAccount { handle, device_name } = account.ok_or(AddError::NoHandle)?;
            self.start_registering(code.relay.clone(), handle, device_name, None, Some(id), step)?;
        }
        self.forget_declined(code.inviter);
        self.keep_secret(id, InviteEntry { secret, one_time: None });
        let adding = Adding {
            id,
            inviter: code.inviter,
            relay: StoredRelay(code.relay.clone()),
            started_ms: step.now.wall_ms,
            step: AddStep::Registering,
            prepared: None,
            ends_ms: Some(code.expires_ms()),
        };
        self.adding.insert(id, adding);
        self.touch(RowKey::Adding(id));
        if self.own.is_some() {
            self.advance_all(AddStep::Registering, step);
        }
        Ok(id)
    }

    fn forget_declined(&mut self, inviter: penpal_protocol::ids::Fingerprint) {
        let old = self
            .adding
            .values()
            .filter(|adding| adding.inviter == inviter && adding.step == AddStep::Declined);
        let old: Vec<_> = old.map(|adding| adding.id).collect();
        for id in old {
            self.forget_adding(id);
        }
    }

    /// Moves every use of a code that stands at a step on to the next.
    pub(super) fn advance_all(&mut self, from: AddStep, step: &mut Step<'_>) {
        let at: Vec<_> =
            self.adding.values().filter(|adding| adding.step == from).map(|adding| adding.id).collect();
        for id in at {
            match from {
                AddStep::Registering => {
                    let published = self.own.as_ref().is_some_and(crate::record::Own::is_published);
                    self.set_step(id, if published { AddStep::Fetching } else { AddStep::Publishing }, step);
                }
                AddStep::Publishing => self.set_step(id, AddStep::Fetching, step),
                AddStep::Fetching
                | AddStep::MakingEdge
                | AddStep::Redeeming
                | AddStep::Waiting
                | AddStep::Declined
                | AddStep::Refused => {}
            }
        }
    }

    pub(super) fn set_step(&mut self, id: InviteId, to: AddStep, step: &Step<'_>) {
        let Some(adding) = self.adding.get_mut(&id) else { return };
        adding.step = to;
        self.touch(RowKey::Adding(id));
        self.want_step(id);
        self.plan_adding(id, step.now.wall_ms);
    }

    /// Wants the request that a step consists of.
    pub(super) fn want_step(&mut self, id: InviteId) {
        let Some(adding) = self.adding.get(&id) else { return };
        let edge = adding.prepared.as_ref().map(|prepared| prepared.edge);
        match (adding.step, edge) {
            (AddStep::Fetching | AddStep::Refused, _) => self.jobs.want(Job::FetchRecord(id)),
            (AddStep::MakingEdge, Some(edge)) => self.jobs.want(Job::CreateEdge(edge)),
            (AddStep::Redeeming, _) => self.jobs.want(Job::Redeem(id)),
            (
                AddStep::Registering
                | AddStep::Publishing
                | AddStep::MakingEdge
                | AddStep::Waiting
                | AddStep::Declined,
                _,
            ) => {}
        }
    }

    /// The relay answered for the record of a code.
    pub(super) fn record_fetched(&mut self, id: InviteId, answer: &InviteAnswer, step: &mut Step<'_>) {
        if self.adding.get(&id).is_none_or(|adding| adding.step != AddStep::Fetching) {
            return;
        }
        let sealed = match (&answer.state, &answer.record) {
            (RelayState::Open, Some(record)) => record,
            (RelayState::Open | RelayState::Redeemed, _) => return self.fail_adding(id, AddFailure::Used),
        };
        let Some(secrets) = self.secrets.get(&id) else { return self.fail_adding(id, AddFailure::Lost) };
        let Some(adding) = self.adding.get(&id) else { return };
        match open_record(&secrets.keys, &adding.inviter, sealed, step.now.wall_ms) {
            Ok(record) => self.prepare_request(id, &record, step),
            Err(error) => {
                tracing::warn!(%error, "an invite's record is refused");
                tracing::debug!(invite = ?id, "it was of this invite");
                self.fail_adding(id, AddFailure::Record(error));
            }
        }
    }

    /// Seals the request once; every later try sends the same bytes.
    fn prepare_request(&mut self, id: InviteId, record: &VerifiedRecord, step: &mut Step<'_>) {
        let handle = record.record().name.clone();
        let contact = record.manifest().fingerprint();
        let name = self.name_for(contact, &handle);
        let prepared = match self.seal_request(id, record, name.clone(), step) {
            Ok(Some(prepared)) => prepared,
            Ok(None) => return self.set_step(id, AddStep::Publishing, step),
            Err(error) => {
                tracing::error!(%error, "an invite's request cannot be sealed");
                return self.fail_adding(id, AddFailure::Incompatible);
            }
        };
        if let Some(secrets) = self.secrets.get_mut(&id) {
            secrets.boot = Some(boot_key(&secrets.entry.secret, &prepared.transcript));
        }
        if let Some(adding) = self.adding.get_mut(&id) {
            adding.prepared = Some(Box::new(prepared));
        }
        self.set_step(id, AddStep::MakingEdge, step);
        if let Some(safety) = self.safety(record.manifest().root()) {
            self.notify(Notice::RecordVerified { invite: id, contact, name, safety });
        }
    }

    /// `None` when our own profile is not ready.
    fn seal_request(
        &self,
        id: InviteId,
        record: &VerifiedRecord,
        name: Label,
        step: &mut Step<'_>,
    ) -> Result<Option<Prepared>, SealingError> {
        let (Some(own), Some(secrets)) = (&self.own, self.secrets.get(&id)) else { return Ok(None) };
        let Some(bundle) = &own.bundle else { return Ok(None) };
        let edge = EdgeId::from_bytes(step.random());
        let cap = Capability::from_bytes(step.random());
        let half = HalfSecret::from_bytes(step.random());
        let request = InviteRequest {
            root: *own.manifest.0.root(),
            name: own.handle.clone(),
            manifest: Blob::new(own.manifest.0.signed().to_vec())?,
            bundles: List::new(vec![bundle.signed.clone()])?,
            profile_key: own.profile_key.clone(),
            edge,
            cap: cap.clone(),
            relay: Text::new(own.relay.0.to_string())?,
            half: half.clone(),
        };
        let sender = Sender { signing: &self.keys.signing, hedge: &self.keys.hedge };
        let sealed =
            seal_request(&secrets.keys, record, &request, &sender, FreshBytes::generate(&mut step.rng))?;
        Ok(Some(Prepared {
            manifest: Pinned(record.manifest().clone()),
            handle: record.record().name.clone(),
            name,
            edge,
            cap,
            half,
            sealed: Blob::new(sealed.sealed)?,
            transcript: sealed.transcript,
            generation: own.generation,
        }))
    }

    /// The relay has our request.
    pub(super) fn redeemed(&mut self, id: InviteId, step: &Step<'_>) {
        let Some(adding) = self.adding.get(&id).filter(|adding| adding.step == AddStep::Redeeming) else {
            return;
        };
        if let Some(own) =
            self.own.as_mut().filter(|own| own.relay.0.pin == adding.relay.0.pin && !own.settled)
        {
            own.settled = true;
            self.dirty.insert(RowKey::Own);
        }
        let name = adding.prepared.as_ref().map(|prepared| prepared.name.clone());
        self.set_step(id, AddStep::Waiting, step);
        if let Some(name) = name {
            tracing::info!("a request is stored at the relay");
            tracing::debug!(invite = ?id, "a request is stored at the relay");
            self.notify(Notice::RequestStored { invite: id, name });
        }
    }

    /// What the relay says of a request that waits.
    pub(super) fn request_asked(&mut self, id: InviteId, answer: Option<&InviteAnswer>, step: &Step<'_>) {
        if self.adding.get(&id).is_none_or(|adding| adding.step != AddStep::Waiting) {
            return;
        }
        match answer.map(|answer| answer.state) {
            Some(RelayState::Redeemed) => {}
            // The relay went back to an older state of itself: hand the request in again.
            Some(RelayState::Open) => self.set_step(id, AddStep::Redeeming, step),
            None => self.request_ended(id, step),
        }
    }

    /// Our request was declined or is out of date: it stays in the list as such, without secrets.
    pub(super) fn request_ended(&mut self, id: InviteId, step: &Step<'_>) {
        let Some(adding) = self.adding.get_mut(&id) else { return };
        let contact = adding.inviter;
        let prepared = adding.prepared.as_deref();
        let Some((name, edge)) = prepared.map(|prepared| (prepared.name.clone(), prepared.edge)) else {
            return;
        };
        adding.started_ms = step.now.wall_ms;
        self.set_step(id, AddStep::Declined, step);
        self.erase_secret(id);
        self.retire_edge(edge, contact, Some(name.clone()));
        self.notify(Notice::Declined { contact, name });
    }

    /// A code turned out to be of no use: nothing of it stays.
    pub(super) fn fail_adding(&mut self, id: InviteId, why: AddFailure) {
        if !self.adding.contains_key(&id) {
            return;
        }
        self.withdraw_adding(id);
        self.notify(Notice::AddFailed { invite: id, why });
    }

    /// Ends the use of a code: its secret goes, and our edge for it.
    pub(super) fn withdraw_adding(&mut self, id: InviteId) {
        let Some(adding) = self.adding.get(&id) else { return };
        let contact = adding.inviter;
        let live = adding.step != AddStep::Declined;
        let edge = adding.prepared.as_ref().map(|prepared| (prepared.edge, prepared.name.clone()));
        self.forget_adding(id);
        for job in [Job::FetchRecord(id), Job::Redeem(id), Job::AskRequest(id)] {
            self.jobs.drop_unless_asked(job);
        }
        if let Some((edge, name)) = edge.filter(|_| live) {
            self.retire_edge(edge, contact, Some(name));
        }
    }

    /// Asks what became of an invite that the relay would not take from us.
    pub(super) fn ask_refused(&mut self, id: InviteId) {
        let Some(adding) = self.adding.get_mut(&id) else { return };
        adding.step = AddStep::Refused;
        // Our edge for it went with the account.
        adding.prepared = None;
        self.touch(RowKey::Adding(id));
        for job in [Job::Redeem(id), Job::AskRequest(id)] {
            self.jobs.drop_unless_asked(job);
        }
        self.jobs.want(Job::FetchRecord(id));
    }

    pub(super) fn forget_adding(&mut self, id: InviteId) {
        self.adding.remove(&id);
        self.touch(RowKey::Adding(id));
        self.plan_adding(id, 0);
        self.erase_secret(id);
    }
}

/// Our own request cannot be sealed.
#[derive(Debug, thiserror::Error)]
enum SealingError {
    #[error(transparent)]
    Seal(#[from] penpal_seal::SealRequestError),
    #[error(transparent)]
    TooLong(#[from] Bounded),
}
