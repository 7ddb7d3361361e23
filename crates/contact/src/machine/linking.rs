//! Making another machine a device of our account: a code, its request, the answer.

use std::sync::Arc;

use penpal_protocol::{
    cbor::{Blob, List},
    ids::{DeviceId, InviteId, SharedKey, SlotId},
    limits::{DAY_MS, HOUR_MS, MAX_DEVICES},
    sealed::{DeviceEntry, LinkAnswer, LinkRequest, Manifest},
    text::{InviteCode, Label},
    wire::{DeviceAdd, InviteCreate, Registered, Request},
};
use penpal_seal::{
    FreshBytes, InviteEntry, NewInvite, ReceiveKey, RootKey, Sender, VerifiedLinkRequest, VerifiedManifest,
    link_mailbox, offer, open_link_request, seal_link_answer,
};

use super::{Contacts, NewCode, Step, inviting::MIN_USABLE_MS, own::newest_named, timing::Check};
use crate::{
    command::At,
    error::LinkDeviceError,
    jobs::Job,
    notice::Notice,
    record::{DeviceLink, LinkState, RowKey},
};

/// Life of a code for a device, in milliseconds: long enough to walk to the other machine.
const CODE_LIFE_MS: u64 = 15 * 60 * 1000;
/// How long after the code's end a machine may wait to be listed, in milliseconds.
const ADDING_LIFE_MS: u64 = DAY_MS;
/// How long an answer waits at the relay, in milliseconds.
const ANSWER_LIFE_MS: u64 = DAY_MS;

impl Contacts {
    /// Makes a code by which one machine becomes a device of this account, for a quarter of an hour.
    ///
    /// The code works once [`Notice::InviteOpen`] came; [`Notice::DeviceAdded`] follows its use.
    ///
    /// # Errors
    /// [`LinkDeviceError`]; then none was made.
    pub fn link_device(&mut self, step: &mut Step<'_>) -> Result<NewCode, LinkDeviceError> {
        let made = self.make_link(step);
        self.settle(step);
        made
    }

    fn make_link(&mut self, step: &mut Step<'_>) -> Result<NewCode, LinkDeviceError> {
        let own = self.own.as_ref().ok_or(LinkDeviceError::NoAccount)?;
        if self.root().is_none() {
            return Err(LinkDeviceError::NoRoot { primary: self.primary_name() });
        }
        let manifest = &own.manifest.0;
        if manifest.manifest().devices.len() >= MAX_DEVICES {
            return Err(LinkDeviceError::TooMany);
        }
        let now_ms = step.now.wall_ms;
        if manifest.manifest().expires_ms < now_ms.saturating_add(MIN_USABLE_MS) {
            return Err(LinkDeviceError::ManifestEnds);
        }
        let expires_ms = now_ms.saturating_add(CODE_LIFE_MS);
        let new = NewInvite { manifest, name: &own.handle, expires_ms, signing: &self.keys.signing };
        let offer = offer(&new, &mut step.rng)?;
        let sealed_record = Blob::new(offer.sealed_record).map_err(penpal_seal::OfferError::from)?;
        let id = offer.keys.id();
        let secret = penpal_protocol::ids::InviteSecret::from_bytes(*offer.secret.expose());
        let code = InviteCode::new(secret, manifest.fingerprint(), own.relay.0.clone(), expires_ms);
        // One code at a time: who asks for another one has lost the first.
        let earlier = self.links.values().filter(|link| link.is_unused()).map(|link| link.id);
        for earlier in earlier.collect::<Vec<_>>() {
            self.end_link(earlier);
        }
        self.keep_secret(id, InviteEntry { secret: offer.secret, one_time: Some(offer.one_time) });
        let state = LinkState::Creating { sealed_record };
        self.links.insert(id, DeviceLink { id, expires_ms, record_hash: offer.record_hash, state });
        self.touch(RowKey::Link(id));
        self.check_at(Check::Link(id), expires_ms);
        self.jobs.want(Job::CreateLink(id));
        Ok(NewCode { invite: id, code: code.for_device(), expires_ms })
    }

    /// Whether the code of a device is still to be used.
    #[must_use]
    pub fn is_link_open(&self, id: &InviteId) -> bool {
        self.links.get(id).is_some_and(DeviceLink::is_unused)
    }

    /// Whether a code for a device is to be used, or its use is under way.
    #[must_use]
    pub fn is_linking(&self) -> bool {
        !self.links.is_empty()
    }

    /// Takes a code for a device back. Tells whether there was one.
    pub fn cancel_link(&mut self, id: &InviteId, step: &mut Step<'_>) -> bool {
        let open = self.is_link_open(id);
        if open {
            self.end_link(*id);
            self.settle(step);
        }
        open
    }

    /// Ends a code: its secret goes, and both its mailboxes at the relay.
    pub(super) fn end_link(&mut self, id: InviteId) {
        if self.links.remove(&id).is_none() {
            return;
        }
        self.touch(RowKey::Link(id));
        for job in [Job::CreateLink(id), Job::AddDevice(id), Job::AnswerLink(id)] {
            self.jobs.drop_unless_asked(job);
        }
        if let Some(secrets) = self.secrets.get(&id) {
            let mailbox = link_mailbox(&secrets.entry.secret).id();
            self.retire_invite(mailbox);
        }
        self.erase_secret(id);
        self.retire_invite(id);
    }

    /// The record is at the relay.
    pub(super) fn link_created(&mut self, id: InviteId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if matches!(link.state, LinkState::Creating { .. }) {
            link.state = LinkState::Open;
            self.touch(RowKey::Link(id));
            self.notify(Notice::InviteOpen { invite: id });
        }
    }

    pub(super) fn check_link(&mut self, id: InviteId, now_ms: u64) {
        let Some(link) = self.links.get(&id) else { return };
        match &link.state {
            LinkState::Creating { .. }
            | LinkState::Open
            | LinkState::Answering { .. }
            | LinkState::Answered { .. } => {
                if link.expires_ms > now_ms {
                    self.check_at(Check::Link(id), link.expires_ms);
                    return;
                }
                if let LinkState::Answering { device, .. } | LinkState::Answered { device } = &link.state
                    && let Some(entry) = self.own.as_ref().and_then(|own| own.manifest.0.device(device))
                {
                    let name = entry.name.clone();
                    self.notify(Notice::DeviceNeverCame { name });
                }
                self.end_link(id);
            }
            LinkState::Adding { slot, .. } => {
                let (slot, end_ms) = (*slot, link.expires_ms.saturating_add(ADDING_LIFE_MS));
                if end_ms > now_ms {
                    self.check_at(Check::Link(id), end_ms);
                    return;
                }
                // It was never listed: its place at the relay goes again.
                if let Some(slot) = slot {
                    self.retire_device(slot);
                }
                self.device_not_added(id);
            }
        }
    }

    /// Takes what was left in one of a code's mailboxes. Tells whether it was one of ours.
    pub(super) fn link_redeemed(&mut self, id: InviteId, sealed: &[u8]) -> bool {
        if let Some(link) = self.links.get(&id) {
            if link.is_unused() {
                self.take_link_request(id, sealed);
            }
            return true;
        }
        // The new device has its answer.
        let answered = self.links.keys().copied().find(|link| self.mailbox_of(link) == Some(id));
        if let Some(link) = answered {
            self.end_link(link);
        }
        answered.is_some()
    }

    fn mailbox_of(&self, link: &InviteId) -> Option<InviteId> {
        self.secrets.get(link).map(|secrets| link_mailbox(&secrets.entry.secret).id())
    }

    fn take_link_request(&mut self, id: InviteId, sealed: &[u8]) {
        let verified = self.verify_link_request(id, sealed);
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(verified) = verified else {
            if self.warned.insert(id) {
                self.notify(Notice::RequestForged { invite: id });
            }
            return;
        };
        tracing::info!("a code for a device was used");
        link.state = LinkState::Adding {
            request: verified.request().clone(),
            transcript: *verified.transcript(),
            slot: None,
        };
        let end_ms = link.expires_ms.saturating_add(ADDING_LIFE_MS);
        self.touch(RowKey::Link(id));
        self.check_at(Check::Link(id), end_ms);
        self.jobs.drop_unless_asked(Job::CreateLink(id));
        self.jobs.want(Job::AddDevice(id));
    }

    fn verify_link_request(&self, id: InviteId, sealed: &[u8]) -> Option<VerifiedLinkRequest> {
        let link = self.links.get(&id)?;
        let secrets = self.secrets.get(&id)?;
        let one_time = Arc::new(ReceiveKey::expand(secrets.entry.one_time.clone()?));
        let verified = open_link_request(&secrets.keys, &link.record_hash, &one_time, sealed)
            .inspect_err(|error| tracing::warn!(%error, "the request of a device is refused"))
            .ok()?;
        self.may_be_listed(verified.request()).then_some(verified)
    }

    /// Whether no other device has, or had, the id or the key that a machine asks with: neither is given twice.
    fn may_be_listed(&self, request: &LinkRequest) -> bool {
        let Some(own) = &self.own else { return false };
        let manifest = &own.manifest.0;
        let known = manifest.manifest().devices.iter().any(|device| {
            // The machine itself may ask once more: its answer was lost.
            let same =
                device.id == request.device && device.signing == request.signing && device.id != own.device;
            !same && (device.id == request.device || device.signing == request.signing)
        });
        !known && !manifest.is_revoked(&request.device)
    }

    /// The relay made a spool for a new device.
    pub(super) fn device_added(&mut self, id: InviteId, registered: &Registered) {
        let (Some(own), Some(link)) = (&self.own, self.links.get_mut(&id)) else { return };
        let LinkState::Adding { request, slot: slot @ None, .. } = &mut link.state else { return };
        // The key of a machine that is another device already gets that one's spool: a list with both could not be signed.
        let mut devices = own.manifest.0.manifest().devices.iter();
        let listed = devices.any(|device| device.slot == registered.slot && device.id != request.device);
        if listed || registered.account != own.account {
            return self.device_not_added(id);
        }
        *slot = Some(registered.slot);
        self.touch(RowKey::Link(id));
    }

    /// The relay gives this machine no further device.
    pub(super) fn device_not_added(&mut self, id: InviteId) {
        self.end_link(id);
        self.notify(Notice::DeviceNotAdded);
    }

    /// The answer is at the relay.
    pub(super) fn link_answered(&mut self, id: InviteId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if let LinkState::Answering { device, .. } = &link.state {
            link.state = LinkState::Answered { device: *device };
            let expires_ms = link.expires_ms;
            self.touch(RowKey::Link(id));
            self.check_at(Check::Link(id), expires_ms);
        }
    }

    /// Goes on with devices that were asked for, as far as what they need is there: their spool, the relay's word on our manifest, and
    /// the edge among our own devices.
    pub(super) fn continue_links(&mut self, step: &mut Step<'_>) {
        let adding = self.links.iter().filter_map(|(id, link)| match &link.state {
            LinkState::Adding { request, transcript, slot: Some(slot) } => {
                Some((*id, VerifiedLinkRequest::restore(request.clone(), *transcript), *slot))
            }
            LinkState::Creating { .. }
            | LinkState::Open
            | LinkState::Adding { slot: None, .. }
            | LinkState::Answering { .. }
            | LinkState::Answered { .. } => None,
        });
        for (id, request, slot) in adding.collect::<Vec<_>>() {
            // Nor is a list signed above one that nobody has seen here: a device may stand in it.
            if !self.self_is_linked(step) || self.is_list_unread() {
                return;
            }
            // The list may have become a later one since it asked.
            if !self.may_be_listed(request.request()) {
                self.refuse_late(id, slot);
            } else if self.list_device(request.request(), slot, step).is_some() {
                self.answer_link(id, &request, step);
            }
        }
    }

    /// A machine that the list has under another id, or had, is not added. Its place at the relay goes again, unless it is that one's.
    fn refuse_late(&mut self, id: InviteId, slot: SlotId) {
        let mut listed = self.own.iter().flat_map(|own| own.manifest.0.manifest().devices.iter());
        if !listed.any(|device| device.slot == slot) {
            self.retire_device(slot);
        }
        self.device_not_added(id);
    }

    /// Signs a manifest that lists the new device. `None` while that cannot be.
    fn list_device(&mut self, request: &LinkRequest, slot: SlotId, step: &mut Step<'_>) -> Option<()> {
        let now_ms = step.now.wall_ms;
        let held = self.own.as_ref()?.manifest.0.clone();
        self.keep_machine(request.device, request.transport);
        if let Some(listed) = held.device(&request.device) {
            return if listed.slot == slot { Some(()) } else { self.list_place(request.device, slot, step) };
        }
        let taken = |name: &Label| held.manifest().devices.iter().any(|device| device.name == *name);
        let name = free_name(&taken, &request.name);
        let entry = DeviceEntry {
            id: request.device,
            slot,
            signing: request.signing,
            previous: None,
            name: name.clone(),
            added_ms: now_ms,
            primary: None,
        };
        self.sign_manifest(step, |manifest| {
            let mut devices = manifest.devices.to_vec();
            devices.push(entry);
            devices.sort_by_key(|device| device.id);
            manifest.devices = List::new(devices).ok()?;
            Some(())
        })?;
        self.notify(Notice::DeviceAdded { name });
        Some(())
    }

    /// Signs the next manifest with a change, once it is known which one the relay holds, and tells contacts.
    pub(super) fn sign_manifest(
        &mut self,
        step: &mut Step<'_>,
        change: impl FnOnce(&mut Manifest) -> Option<()>,
    ) -> Option<()> {
        let (own, revision) = (self.own.as_ref()?, self.relay_revision?);
        // What is on its way to the relay is settled first: another list under the same number would be a fork.
        if own.manifest_put.is_some() || self.sign_after > step.now.mono {
            return None;
        }
        let held = &own.manifest.0;
        let mut next = held.successor(step.now.wall_ms)?;
        next.version = next.version.max(newest_named(held.version(), revision, own.echoed).saturating_add(1));
        change(&mut next)?;
        let signed = VerifiedManifest::sign(self.root()?, next)
            .inspect_err(|error| tracing::error!(%error, "own manifest cannot be signed"))
            .ok()?;
        tracing::info!(version = signed.version(), "own manifest signed");
        self.set_manifest(signed, step);
        self.tell_manifest(step);
        Some(())
    }

    fn answer_link(&mut self, id: InviteId, request: &VerifiedLinkRequest, step: &mut Step<'_>) {
        let device = request.request().device;
        // Whatever was answered to that machine before did not come.
        let earlier = self.links.values().filter(|link| link.id != id && link.is_answered_to(&device));
        for earlier in earlier.map(|link| link.id).collect::<Vec<_>>() {
            self.end_link(earlier);
        }
        let sealed = self.seal_answer(id, request, step);
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(sealed) = sealed else { return };
        link.state = LinkState::Answering { device, sealed };
        link.expires_ms =
            step.now.wall_ms.saturating_add(ANSWER_LIFE_MS).div_ceil(HOUR_MS).saturating_mul(HOUR_MS);
        let expires_ms = link.expires_ms;
        self.touch(RowKey::Link(id));
        self.check_at(Check::Link(id), expires_ms);
        self.jobs.want(Job::AnswerLink(id));
        self.send_all_state(Some(device), step);
    }

    fn seal_answer(
        &self,
        id: InviteId,
        request: &VerifiedLinkRequest,
        step: &mut Step<'_>,
    ) -> Option<Blob<{ penpal_protocol::limits::MAX_INVITE_BLOB_BYTES }>> {
        let own = self.own.as_ref()?;
        let link = self.contacts.get(&self.me()?)?.link.as_ref()?;
        let secrets = self.secrets.get(&id)?;
        let answer = LinkAnswer {
            manifest: Blob::new(own.manifest.0.signed().to_vec()).ok()?,
            handle: own.handle.clone(),
            account: own.account,
            profile_key: own.profile_key.clone(),
            edge: link.edge_in,
            cap: link.cap_in.clone(),
            pair: SharedKey::from_bytes(*link.pair_in.0.expose()),
        };
        let sender = Sender { signing: &self.keys.signing, hedge: &self.keys.hedge };
        let fresh = FreshBytes::generate(&mut step.rng);
        let sealed = seal_link_answer(&secrets.keys, request, &answer, &sender, fresh)
            .inspect_err(|error| tracing::error!(%error, "the answer to a device cannot be sealed"));
        Blob::new(sealed.ok()?).ok()
    }

    /// What is asked of the relay for a code; `None` when it is not needed any more.
    pub(super) fn link_request(&self, job: Job) -> Option<(At, Request)> {
        let create = |invite, proof_hash, expires_ms, record: &Blob<_>| {
            Request::InviteCreate(InviteCreate { invite, proof_hash, expires_ms, record: record.clone() })
        };
        let request = if let Job::CreateLink(id) = job {
            let link = self.links.get(&id)?;
            let LinkState::Creating { sealed_record } = &link.state else { return None };
            let proof = self.secrets.get(&id)?.keys.registration().hash();
            create(id, proof, link.expires_ms, sealed_record)
        } else if let Job::AddDevice(id) = job {
            let LinkState::Adding { request, slot: None, .. } = &self.links.get(&id)?.state else {
                return None;
            };
            let proof = self.root().map(RootKey::account_proof)?;
            Request::DeviceAdd(DeviceAdd { key: request.transport, proof })
        } else if let Job::AnswerLink(id) = job {
            let link = self.links.get(&id)?;
            let LinkState::Answering { sealed, .. } = &link.state else { return None };
            let mailbox = link_mailbox(&self.secrets.get(&id)?.entry.secret);
            create(mailbox.id(), mailbox.registration().hash(), link.expires_ms, sealed)
        } else {
            return None;
        };
        Some((At::Home, request))
    }

    /// A device showed itself among us: the answer to it is not needed any more.
    pub(super) fn device_heard(&mut self, device: &DeviceId) {
        let answered = self.links.values().find(|link| link.is_answered_to(device));
        if let Some(id) = answered.map(|link| link.id) {
            self.end_link(id);
        }
    }

    /// Name of the device that holds the root key, as our manifest says.
    pub(super) fn primary_name(&self) -> Option<Label> {
        let manifest = self.own.as_ref()?.manifest.0.manifest();
        let primary = manifest.devices.iter().find(|device| device.primary == Some(true));
        primary.map(|device| device.name.clone())
    }
}

impl DeviceLink {
    fn is_unused(&self) -> bool {
        matches!(self.state, LinkState::Creating { .. } | LinkState::Open)
    }

    fn is_answered_to(&self, device: &DeviceId) -> bool {
        matches!(&self.state, LinkState::Answering { device: of, .. } | LinkState::Answered { device: of } if of == device)
    }
}

/// The wanted name, or with a number when another device has it.
pub(super) fn free_name(taken: &dyn Fn(&Label) -> bool, wanted: &Label) -> Label {
    let numbered = (2_u32..).map(|number| wanted.numbered(number));
    let mut names = std::iter::once(wanted.clone()).chain(numbered);
    names.find(|name| !name.is_reserved() && !taken(name)).unwrap_or_else(|| wanted.clone())
}
