//! Being an account on a new machine, by its recovery code: the root key, and what the relay keeps.
//!
//! It begins once a person has decided (`looking`). The devices that are to go leave the relay, this machine is added, and in one step it
//! becomes the device that signs, with all contacts. When the relay has the new manifest, contacts are told, and get new edges and keys in
//! place of those that the revoked devices know. On a machine that is a device of the account already, only the last part happens.

use penpal_protocol::{
    cbor::List,
    ids::{DeviceId, Fingerprint, ProfileKey, RootSeed},
    sealed::{DeviceEntry, Manifest},
    text::{Label, RecoveryCode},
    wire::{Answer, DeviceAdd, RefusalCode, Registered, Request},
};
use penpal_seal::{IdentityKeys, PairKey, RootKey, VerifiedManifest};

use super::{
    Contacts, Step,
    answers::Reply,
    linking::free_name,
    looking::{Looking, Opened},
    own::newest_named,
    revoking::MAX_REVOKED,
};
use crate::{
    command::{At, Command},
    jobs::Job,
    notice::{Notice, RecoveryFailure},
    record::{KeptMark, Own, RecoverStep, RowKey, StoredPairKey},
};

impl Contacts {
    /// Whether this machine is becoming a device of an account, or the one that signs, by a recovery code.
    #[must_use]
    pub fn is_recovering(&self) -> bool {
        self.recovering.is_some()
    }

    /// The recovery code of this account; `None` without one and on a device that does not sign.
    #[must_use]
    pub fn recovery_code(&self) -> Option<RecoveryCode> {
        let seed = RootSeed::from_bytes(*self.root()?.expose_seed());
        Some(RecoveryCode { seed, relay: self.own.as_ref()?.relay.0.clone() })
    }

    /// Whether a person has seen the recovery code, or this device does not have it.
    #[must_use]
    pub fn is_code_shown(&self) -> bool {
        let shown = self.own.as_ref().is_none_or(|own| own.code_shown == Some(true));
        shown || self.root().is_none()
    }

    /// A person has seen the recovery code.
    pub fn code_shown(&mut self, step: &mut Step<'_>) {
        if let Some(own) = self.own.as_mut().filter(|own| own.code_shown != Some(true)) {
            own.code_shown = Some(true);
            self.touch(RowKey::Own);
            self.settle(step);
        }
    }

    /// Whether this device is to sign from now on, and has not done so.
    pub(super) fn is_taking(&self) -> bool {
        self.recovering.as_ref().is_some_and(|recovering| recovering.step == RecoverStep::Taking)
    }

    /// Whether contacts could not know this device yet: nothing is sent to them before the relay has the manifest that lists it.
    pub(super) fn is_unlisted(&self) -> bool {
        self.recovering.as_ref().is_some_and(|recovering| recovering.step == RecoverStep::Telling)
    }

    /// Another device of ours signs now: the root key has no business here any more.
    pub(super) fn give_up_root(&mut self) {
        let held = self.keys.root.as_ref().map(RootKey::fingerprint);
        if held.is_none() || held != self.me() || self.root().is_some() || self.is_taking() {
            return;
        }
        tracing::warn!("another device of this account holds its root key from now on");
        self.jobs.drop_unless_asked(Job::PutState);
        self.keep_identity(IdentityKeys { root: None, ..IdentityKeys::clone(&self.keys) });
    }

    /// Takes up what a restart interrupted. No device leaves the relay before it is known that nobody else recovered the account meanwhile.
    pub(super) fn resume_recovery(&mut self, step: &mut Step<'_>) {
        let Some(recovering) = &self.recovering else { return };
        let held = self.keys.root.as_ref().map(RootKey::fingerprint);
        if held != Some(recovering.account) {
            return self.fail_recovery(RecoveryFailure::Lost, step);
        }
        if recovering.step == RecoverStep::Adding {
            self.jobs.want(Job::GetState);
        }
    }

    /// Wants and does what comes next.
    pub(super) fn continue_recovery(&mut self, step: &mut Step<'_>) {
        let Some(recovering) = &self.recovering else { return };
        match recovering.step {
            RecoverStep::Adding => {
                let opened = self.looking.as_ref().is_some_and(|looking| looking.opened.is_some());
                if opened && self.retired_devices.is_empty() {
                    self.jobs.want(Job::AddSelf);
                } else if opened {
                    for slot in &self.retired_devices {
                        self.jobs.want(Job::RemoveDevice(*slot));
                    }
                }
            }
            RecoverStep::Taking => self.take_over(step),
            RecoverStep::Telling => {
                let listed = self.own.as_ref().is_some_and(|own| {
                    own.is_published() && own.manifest_published == Some(own.manifest_mark())
                });
                if listed {
                    self.tell_recovery(step);
                }
            }
        }
    }

    /// What is asked of the relay; `None` when it is not needed any more.
    pub(super) fn recovery_request(&self) -> Option<(At, Request)> {
        self.recovering.as_ref().filter(|recovering| recovering.step == RecoverStep::Adding)?;
        let proof = self.recovery_root()?.account_proof();
        Some((At::Home, Request::DeviceAdd(DeviceAdd { key: self.keys.transport.public(), proof })))
    }

    /// Takes the relay's answer to it.
    pub(super) fn recovery_answered(&mut self, reply: &Reply<'_>, step: &mut Step<'_>) -> bool {
        match reply {
            Reply::Yes(Answer::Registered(registered)) => {
                self.jobs.done(Job::AddSelf);
                if self.recovered(registered, step).is_none() && self.own.is_none() {
                    self.fail_recovery(RecoveryFailure::TooManyDevices, step);
                }
            }
            Reply::No => {
                self.jobs.done(Job::AddSelf);
                self.fail_recovery(RecoveryFailure::NotFound, step);
            }
            Reply::Refused(RefusalCode::Quota) => {
                self.jobs.done(Job::AddSelf);
                self.fail_recovery(RecoveryFailure::TooManyDevices, step);
            }
            Reply::Yes(_) | Reply::Refused(_) => return false,
        }
        true
    }

    /// This machine has a place at the relay: it becomes a device, and the one that signs, with everything that was kept.
    fn recovered(&mut self, registered: &Registered, step: &mut Step<'_>) -> Option<()> {
        let recovering = self.recovering.as_mut().filter(|row| row.step == RecoverStep::Adding)?;
        let looking = self.looking.as_mut()?;
        let Opened { head, state, manifest } = *looking.opened.take()?;
        let now_ms = step.now.wall_ms;
        let entry = DeviceEntry {
            id: recovering.device,
            slot: registered.slot,
            signing: self.keys.signing.public(),
            previous: None,
            name: recovering.device_name.clone(),
            added_ms: now_ms,
            primary: Some(true),
        };
        let mut next = manifest.successor(now_ms)?;
        let newest = newest_named(manifest.version(), head.revision, 0);
        next.version = next.version.max(newest.saturating_add(1));
        leave_behind(&mut next);
        take_place(&mut next, entry, &recovering.revoke)?;
        let signed = VerifiedManifest::sign(self.keys.root.as_ref()?, next)
            .inspect_err(
                |error| tracing::error!(%error, "the manifest of a recovered account cannot be signed"),
            )
            .ok()?;
        recovering.step = RecoverStep::Telling;
        let own = Own::new(
            (registered.account, registered.handle.clone()),
            recovering.relay.clone(),
            &signed.device(&recovering.device)?.clone(),
            signed,
            state.profile_key.clone(),
        );
        self.own = Some(Own {
            proof_put: Some(true),
            counter: Some(state.counter),
            kept: Some(KeptMark { state: head.state, hash: None }),
            // Whoever recovered it has it.
            code_shown: Some(true),
            ..own
        });
        self.relay_revision = None;
        self.touch(RowKey::Own);
        self.touch(RowKey::Recovering);
        if let Some(among) = &state.among {
            let pair = StoredPairKey(PairKey::from_bytes(*among.pair.expose()));
            self.make_self((among.edge, among.cap.clone(), pair), true, step);
        }
        self.take_entries(&state, step);
        // Whoever has the old one, on a lost machine or as a contact, reads nothing that is published from here on.
        self.replace_profile_key(ProfileKey::from_bytes(step.random()), step);
        self.looking = None;
        tracing::warn!("an account was recovered here");
        self.notify(Notice::Recovered { handle: registered.handle.clone() });
        Some(())
    }

    /// A device of the account becomes the one that signs.
    fn take_over(&mut self, step: &mut Step<'_>) {
        let (Some(own), Some(revision)) = (&self.own, self.relay_revision) else { return };
        let (me, held) = (own.manifest.0.fingerprint(), own.manifest.0.version());
        // What the other device signed last is to be known first, as far as it is to be had.
        let fetched = self.looking.as_ref().is_some_and(|looking| looking.fetched);
        if self.jobs.is_wanted(Job::FetchProfile(me)) {
            return;
        }
        if revision > held && !fetched {
            self.look_fetched();
            return self.jobs.want(Job::FetchProfile(me));
        }
        if self.own.as_ref().is_some_and(|own| self.is_overtaken(&own.manifest.0)) {
            self.fail_recovery(RecoveryFailure::Overtaken, step);
            return self.give_up_root();
        }
        let Some(recovering) = self.recovering.clone() else { return };
        let slots: Vec<_> = {
            let Some(own) = &self.own else { return };
            let devices = own.manifest.0.manifest().devices.iter();
            devices
                .filter(|device| recovering.revoke.contains(&device.id))
                .map(|device| device.slot)
                .collect()
        };
        let signed = self.sign_manifest(step, |manifest| {
            let entry = manifest.devices.iter().find(|device| device.id == recovering.device)?.clone();
            leave_behind(manifest);
            take_place(manifest, DeviceEntry { primary: Some(true), ..entry }, &recovering.revoke)
        });
        if signed.is_none() {
            return;
        }
        self.recovering = None;
        self.looking = None;
        self.touch(RowKey::Recovering);
        for slot in &slots {
            self.retire_device(*slot);
        }
        if !slots.is_empty() {
            self.rotate_profile_key(step);
            self.rekey_all(step);
        }
        // From now on this device keeps the account's state, once the relay knows the proof.
        self.jobs.want(Job::PutProof);
        if let Some(own) = &mut self.own {
            own.code_shown = Some(true);
            let handle = own.handle.clone();
            self.touch(RowKey::Own);
            self.notify(Notice::Recovered { handle });
        }
    }

    fn look_fetched(&mut self) {
        match &mut self.looking {
            Some(looking) => looking.fetched = true,
            // After a restart.
            None => {
                let (Some(root), Some(recovering)) = (self.keys.root.clone(), &self.recovering) else {
                    return;
                };
                let (relay, name) = (recovering.relay.0.clone(), recovering.device_name.clone());
                self.looking = Some(Looking { root, relay, name, choice: None, opened: None, fetched: true });
            }
        }
    }

    /// The relay has the manifest that lists this device: contacts hear of it, and leave what revoked devices know.
    fn tell_recovery(&mut self, step: &mut Step<'_>) {
        let Some(recovering) = self.recovering.take() else { return };
        self.touch(RowKey::Recovering);
        for contact in self.contacts.keys().copied().collect::<Vec<Fingerprint>>() {
            self.queue.push_back(Command::RouteChanged(contact));
            self.tell_profile(contact, step);
        }
        self.tell_manifest(step);
        if !recovering.revoke.is_empty() {
            self.rekey_all(step);
        }
    }
}

/// Versions that are left free after a recovery.
const VERSION_GAP: u64 = 1024;

/// Numbers a list so that it contradicts none that the machine before may have signed meanwhile, and that nobody here has seen: it is far
/// newer, and claims nothing of those between.
fn leave_behind(manifest: &mut Manifest) {
    manifest.version = manifest.version.saturating_add(VERSION_GAP);
    manifest.previous = List::default();
}

/// Lists a device as the one that signs, and revokes others.
fn take_place(manifest: &mut Manifest, entry: DeviceEntry, revoke: &[DeviceId]) -> Option<()> {
    let mut devices = manifest.devices.to_vec();
    devices.retain(|device| device.id != entry.id && !revoke.contains(&device.id));
    for device in &mut devices {
        device.primary = None;
    }
    let taken = |name: &Label| devices.iter().any(|device| device.name == *name);
    let name = free_name(&taken, &entry.name);
    devices.push(DeviceEntry { name, ..entry });
    devices.sort_by_key(|device| device.id);
    manifest.devices = List::new(devices).ok()?;
    let mut revoked = manifest.revoked.to_vec();
    revoked.extend(revoke.iter().filter(|device| !manifest.revoked.contains(device)));
    let old = revoked.len().saturating_sub(MAX_REVOKED);
    manifest.revoked = List::new(revoked.split_off(old)).ok()?;
    Some(())
}
