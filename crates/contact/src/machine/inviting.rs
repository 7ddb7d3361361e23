//! The inviting side: making invites, taking requests, declining them.

use std::sync::Arc;

use penpal_protocol::{
    cbor::Blob,
    hash::labelled16,
    ids::{InviteId, ShortHash},
    limits::HOUR_MS,
    text::{InviteCode, Label, RelayAddress},
};
use penpal_seal::{InviteEntry, NewInvite, ReceiveKey, VerifiedManifest, offer, open_request};

use super::{
    Contacts, MAX_INVITE_LIFE_MS, MAX_INVITES_AT_ONCE, MAX_OPEN_INVITES, MIN_INVITE_LIFE_MS, Step,
    own::newest_named,
};
use crate::{
    error::{ContactError, InviteError},
    jobs::Job,
    notice::Notice,
    record::{Invite, InviteEnd, InviteState, Pinned, Request, RowKey, StoredRelay},
};

/// An invite that was just made. Its code works once [`Notice::InviteOpen`] came.
#[derive(Debug)]
pub struct NewCode {
    /// The invite.
    pub invite: InviteId,
    /// To be given to one person.
    pub code: InviteCode,
    /// When it ends, Unix milliseconds.
    pub expires_ms: u64,
}

/// Shortest rest of our manifest's life with which somebody can be invited, in milliseconds.
pub(super) const MIN_USABLE_MS: u64 = MIN_INVITE_LIFE_MS;

impl Contacts {
    /// Makes `count` invites that live `life_ms`. With `auto_accept` whoever uses one is accepted at once, with its mail held.
    ///
    /// The ends of code and record are the same whole hour, rounded up.
    ///
    /// # Errors
    /// [`InviteError`]; then none was made.
    pub fn invite(
        &mut self,
        count: u32,
        life_ms: u64,
        auto_accept: bool,
        step: &mut Step<'_>,
    ) -> Result<Vec<NewCode>, InviteError> {
        let made = self.make_invites(count, life_ms, auto_accept, step);
        self.settle(step);
        made
    }

    fn make_invites(
        &mut self,
        count: u32,
        life_ms: u64,
        auto_accept: bool,
        step: &mut Step<'_>,
    ) -> Result<Vec<NewCode>, InviteError> {
        if self.own.is_none() {
            return Err(InviteError::NoAccount);
        }
        if count == 0 || count > MAX_INVITES_AT_ONCE {
            return Err(InviteError::Count { got: count, max: MAX_INVITES_AT_ONCE });
        }
        if !(MIN_INVITE_LIFE_MS..=MAX_INVITE_LIFE_MS).contains(&life_ms) {
            return Err(InviteError::Life {
                got_ms: life_ms,
                min_ms: MIN_INVITE_LIFE_MS,
                max_ms: MAX_INVITE_LIFE_MS,
            });
        }
        let is_live = |invite: &&Invite| !matches!(invite.state, InviteState::Ended { .. });
        let open = self.invites.values().filter(is_live).count();
        let wanted = usize::try_from(count).unwrap_or(usize::MAX);
        if open.saturating_add(wanted) > MAX_OPEN_INVITES {
            return Err(InviteError::TooMany { open, max: MAX_OPEN_INVITES });
        }
        let now_ms = step.now.wall_ms;
        let expires_ms = now_ms.saturating_add(life_ms).div_ceil(HOUR_MS).saturating_mul(HOUR_MS);
        // The invited side refuses a manifest that ended, so the record carries one that outlives the invite where it can.
        let manifest = self.lasting_manifest(expires_ms, step)?;
        let own = self.own.as_ref().ok_or(InviteError::NoAccount)?;
        let (me, relay, name) = (manifest.fingerprint(), own.relay.0.clone(), own.handle.clone());
        let signing = self.keys.signing.clone();
        let mut made = Vec::new();
        for _ in 0..count {
            let new = NewInvite { manifest: &manifest, name: &name, expires_ms, signing: &signing };
            let offer = offer(&new, &mut step.rng)?;
            let sealed_record = Blob::new(offer.sealed_record).map_err(penpal_seal::OfferError::from)?;
            let id = offer.keys.id();
            let secret = penpal_protocol::ids::InviteSecret::from_bytes(*offer.secret.expose());
            let code = InviteCode::new(secret, me, relay.clone(), expires_ms);
            made.push(NewCode { invite: id, code, expires_ms });
            self.keep_secret(id, InviteEntry { secret: offer.secret, one_time: Some(offer.one_time) });
            let state = InviteState::Creating { sealed_record };
            let record_hash = offer.record_hash;
            let invite = Invite {
                id,
                created_ms: now_ms,
                expires_ms,
                auto_accept,
                record_hash,
                state,
                request: None,
                by: None,
            };
            self.invites.insert(id, invite);
            self.touch(RowKey::Invite(id));
            self.plan_invite(id);
            self.jobs.want(Job::CreateInvite(id));
        }
        Ok(made)
    }

    /// Our manifest, renewed first when it would end before an invite does.
    fn lasting_manifest(
        &mut self,
        until_ms: u64,
        step: &mut Step<'_>,
    ) -> Result<VerifiedManifest, InviteError> {
        let own = self.own.as_ref().ok_or(InviteError::NoAccount)?;
        let held = &own.manifest.0;
        let now_ms = step.now.wall_ms;
        if held.manifest().expires_ms >= until_ms {
            return Ok(held.clone());
        }
        // Signing needs what the relay holds; without it the present manifest must do, if it lives long enough to be of use.
        let (Some(revision), true) = (self.relay_revision, self.root().is_some()) else {
            let usable = held.manifest().expires_ms > now_ms.saturating_add(MIN_INVITE_LIFE_MS);
            return if usable { Ok(held.clone()) } else { Err(InviteError::ManifestEnds) };
        };
        let Some(mut successor) = held.successor(now_ms) else { return Ok(held.clone()) };
        let newest = newest_named(held.version(), revision, own.echoed);
        successor.version = successor.version.max(newest.saturating_add(1));
        let Some(root) = self.root() else { return Ok(held.clone()) };
        let manifest = VerifiedManifest::sign(root, successor)?;
        self.set_manifest(manifest.clone(), step);
        Ok(manifest)
    }

    /// The code of an invite that is still open, to be shown again.
    #[must_use]
    pub fn code(&self, invite: &InviteId) -> Option<InviteCode> {
        let row = self.invites.get(invite)?;
        if !matches!(row.state, InviteState::Creating { .. } | InviteState::Open) {
            return None;
        }
        let secret = &self.secrets.get(invite)?.entry.secret;
        let secret = penpal_protocol::ids::InviteSecret::from_bytes(*secret.expose());
        let own = self.own.as_ref()?;
        Some(InviteCode::new(secret, self.me()?, own.relay.0.clone(), row.expires_ms))
    }

    /// Takes an invite back that was not accepted: one that waits for a decision is declined. Tells whether there was one.
    pub fn revoke_invite(&mut self, invite: &InviteId, step: &mut Step<'_>) -> bool {
        let why = match self.invites.get(invite).map(|row| &row.state) {
            Some(InviteState::Creating { .. } | InviteState::Open) => InviteEnd::Revoked,
            Some(InviteState::Requested { .. }) => InviteEnd::Declined,
            Some(InviteState::Accepted { .. } | InviteState::Ended { .. }) | None => return false,
        };
        self.end_invite(*invite, why, step);
        self.settle(step);
        true
    }

    /// Ends an invite of ours: its secrets go, and the relay forgets it.
    pub(super) fn end_invite(&mut self, id: InviteId, why: InviteEnd, step: &Step<'_>) {
        let Some(invite) = self.invites.get_mut(&id) else { return };
        if matches!(invite.state, InviteState::Ended { .. }) {
            return;
        }
        invite.state = InviteState::Ended { why, at_ms: step.now.wall_ms };
        self.touch(RowKey::Invite(id));
        self.plan_invite(id);
        self.jobs.drop_unless_asked(Job::CreateInvite(id));
        self.jobs.drop_unless_asked(Job::AskInvite(id));
        self.erase_secret(id);
        self.retire_invite(id);
    }

    pub(super) fn expire_invite(&mut self, id: InviteId, step: &Step<'_>) {
        self.end_invite(id, InviteEnd::Expired, step);
        self.notify(Notice::InviteExpired { invite: id });
    }

    /// Takes what the relay says was redeemed. The spool row is done with the step in which this is called, whatever comes of it.
    ///
    /// The first request that verifies is taken; the same one again changes nothing; another one is told to people.
    pub fn handle_redeemed(&mut self, invite: &InviteId, sealed: &[u8], step: &mut Step<'_>) {
        if !self.link_redeemed(*invite, sealed) {
            self.take_request(*invite, sealed, step);
        }
        self.settle(step);
    }

    fn take_request(&mut self, id: InviteId, sealed: &[u8], step: &mut Step<'_>) {
        let Some(invite) = self.invites.get(&id) else {
            tracing::debug!(invite = ?id, "request for an unknown invite");
            return;
        };
        let mark = ShortHash::from_bytes(labelled16("contact-request-seen", &[sealed]));
        match &invite.state {
            InviteState::Creating { .. } | InviteState::Open => {}
            InviteState::Requested { .. } | InviteState::Accepted { .. } | InviteState::Ended { .. } => {
                let first = invite.by.clone();
                if invite.request.is_some_and(|first| first != mark) && self.warned.insert(id) {
                    self.notify(Notice::SecondRequest { invite: id, first });
                }
                return;
            }
        }
        let Some(request) = self.verify_request(id, sealed, step) else {
            if self.warned.insert(id) {
                self.notify(Notice::RequestForged { invite: id });
            }
            return;
        };
        self.store_request(id, mark, request, step);
    }

    fn verify_request(&self, id: InviteId, sealed: &[u8], step: &Step<'_>) -> Option<Request> {
        let invite = self.invites.get(&id)?;
        let secrets = self.secrets.get(&id)?;
        let one_time = Arc::new(ReceiveKey::expand(secrets.entry.one_time.clone()?));
        let now_ms = step.now.wall_ms;
        let refused = |error: &dyn std::fmt::Display| {
            tracing::warn!(%error, "an invite's request is refused");
            tracing::debug!(invite = ?id, "it was of this invite");
        };
        let verified = open_request(&secrets.keys, &invite.record_hash, &one_time, sealed, now_ms)
            .inspect_err(|error| refused(error))
            .ok()?;
        let body = verified.request().clone();
        if Some(verified.manifest().fingerprint()) == self.me() {
            refused(&"it is our own");
            return None;
        }
        let relay = body.relay.parse::<RelayAddress>().inspect_err(|error| refused(error)).ok()?;
        Some(Request {
            name: body.name.clone(),
            body,
            manifest: Pinned(verified.manifest().clone()),
            transcript: *verified.transcript(),
            relay: StoredRelay(relay),
            received_ms: now_ms,
        })
    }

    fn store_request(&mut self, id: InviteId, mark: ShortHash, mut request: Request, step: &mut Step<'_>) {
        let contact = request.contact();
        request.name = self.name_for(contact, &request.body.name);
        let name = request.name.clone();
        let safety = self.safety(request.manifest.0.root());
        self.warned.remove(&id);
        let Some(invite) = self.invites.get_mut(&id) else { return };
        invite.state = InviteState::Requested { request: Box::new(request) };
        invite.request = Some(mark);
        invite.by = Some(name.clone());
        let auto_accept = invite.auto_accept;
        self.touch(RowKey::Invite(id));
        self.plan_invite(id);
        self.jobs.drop_unless_asked(Job::CreateInvite(id));
        self.jobs.drop_unless_asked(Job::AskInvite(id));
        let accepted = auto_accept && self.accept_invite(id, true, step).is_ok();
        if let Some(safety) = safety {
            tracing::info!(accepted, "an invite was used");
            tracing::debug!(?contact, "an invite was used");
            self.notify(Notice::Requested { invite: id, contact, name, safety, accepted });
        }
    }

    /// Declines the request of a name: it is forgotten here, and the other side finds out by asking its relay.
    ///
    /// # Errors
    /// [`ContactError::Unknown`], [`ContactError::NoRequest`].
    pub fn decline(&mut self, name: &Label, step: &mut Step<'_>) -> Result<(), ContactError> {
        let contact = self.resolve(name)?;
        let invite =
            self.request_of(contact).ok_or_else(|| ContactError::NoRequest { name: name.clone() })?;
        self.end_invite(invite, InviteEnd::Declined, step);
        if !self.contacts.contains_key(&contact) {
            self.removed_by_people(contact);
        }
        self.settle(step);
        Ok(())
    }

    /// The newest request of an account that waits for a decision: who asks again has given up the request before.
    pub(super) fn request_of(&self, contact: penpal_protocol::ids::Fingerprint) -> Option<InviteId> {
        self.requests()
            .filter(|(_, request)| request.contact() == contact)
            .max_by_key(|(_, request)| request.received_ms)
            .map(|(id, _)| id)
    }

    /// Requests that wait for a decision.
    pub(super) fn requests(&self) -> impl Iterator<Item = (InviteId, &Request)> {
        self.invites.iter().filter_map(|(id, invite)| match &invite.state {
            InviteState::Requested { request } => Some((*id, request.as_ref())),
            InviteState::Creating { .. }
            | InviteState::Open
            | InviteState::Accepted { .. }
            | InviteState::Ended { .. } => None,
        })
    }
}
