//! Being an account on a new machine, by its recovery code: the root key, and what the relay keeps.
//!
//! First the relay is asked what it keeps, and nothing changes anywhere. Once a person has said which devices are to be revoked, those go
//! from the relay, this machine is added, and in one step it becomes the device that signs, with all contacts. When the relay has the new
//! manifest, contacts are told, and get new edges and keys in place of those that the revoked devices know. On a machine that is a device of
//! the account already, only the last part happens.

use penpal_protocol::{
    cbor::List,
    ids::{DeviceId, Fingerprint, ProfileKey},
    limits::MAX_DEVICES,
    sealed::{AccountState, DeviceEntry, Manifest},
    text::{Label, RecoveryCode, RelayAddress},
    wire::{Answer, DeviceAdd, Profile, RefusalCode, Registered, Request},
};
use penpal_seal::{IdentityKeys, PairKey, ProfileItem, RootKey, RootSeed, VerifiedManifest, open_profile};

use super::{
    Contacts, OwnDevice, Step,
    answers::Reply,
    kept::{Head, Read},
    linking::free_name,
    own::newest_named,
    revoking::MAX_REVOKED,
    timing::Check,
};
use crate::{
    command::{At, Command},
    error::RecoverError,
    jobs::{Job, Why},
    notice::{Notice, RecoveryFailure},
    record::{KeptMark, Own, Pinned, RecoverStep, Recovering, RowKey, StoredPairKey, StoredRelay},
};

/// How long a code is kept in memory that nobody decides about, in milliseconds.
const LOOKING_LIFE_MS: u64 = 15 * 60 * 1000;

/// Which devices of the account a recovery revokes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoke {
    /// All but this one: what is right when they are lost.
    All,
    /// All but this one and these.
    AllBut(Vec<Label>),
    /// These.
    Only(Vec<Label>),
}

/// The account of a recovery code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its handle.
    pub handle: Label,
    /// Its devices, by name, this one among them if it is one.
    pub devices: Vec<OwnDevice>,
    /// How many contacts come back.
    pub contacts: usize,
}

/// A recovery code in use, in this run.
#[derive(Debug)]
pub(super) struct Looking {
    root: RootKey,
    pub(super) relay: RelayAddress,
    name: Label,
    choice: Option<Revoke>,
    opened: Option<Box<Opened>>,
    /// Whether our own profile was fetched, on a device that takes over.
    fetched: bool,
}

/// What the relay keeps, verified.
#[derive(Debug)]
struct Opened {
    head: Head,
    state: AccountState,
    manifest: VerifiedManifest,
}

impl Contacts {
    /// Uses a recovery code. Without a choice the account is only looked for; with one it is recovered.
    ///
    /// [`Notice::RecoveryFound`] follows when it was found and no choice was made, [`Notice::Recovered`] when it is done, and
    /// [`Notice::RecoveryFailed`] otherwise. Using the same code again goes on with it.
    ///
    /// # Errors
    /// [`RecoverError`]; then nothing was begun.
    pub fn recover(
        &mut self,
        code: &RecoveryCode,
        name: Label,
        choice: Option<Revoke>,
        step: &mut Step<'_>,
    ) -> Result<(), RecoverError> {
        let begun = self.start_recovery(code, name, choice, step);
        self.settle(step);
        begun
    }

    fn start_recovery(
        &mut self,
        code: &RecoveryCode,
        name: Label,
        choice: Option<Revoke>,
        step: &mut Step<'_>,
    ) -> Result<(), RecoverError> {
        let root = RootKey::from_seed(code.seed.expose());
        let account = root.fingerprint();
        if let Some(registering) = &self.registering {
            return Err(RecoverError::Registering { handle: registering.handle.clone() });
        }
        if self.is_joining() {
            return Err(RecoverError::Joining);
        }
        if name.is_reserved() {
            return Err(RecoverError::Reserved { name });
        }
        if let Some(recovering) = &self.recovering {
            // It is decided and under way.
            return if recovering.account == account { Ok(()) } else { Err(RecoverError::Running) };
        }
        if let Some(own) = &self.own {
            if own.manifest.0.fingerprint() != account {
                return Err(RecoverError::Registered { handle: own.handle.clone() });
            }
            if self.root().is_some() {
                return Err(RecoverError::Primary);
            }
        }
        // What a person chose is done to what is there now: the account may have changed since it was shown.
        let known = self.looking.as_ref().is_some_and(|looking| looking.root == root);
        let known = known && (self.own.is_some() || choice.is_none());
        if !known {
            self.kept.read_anew();
            self.jobs.drop_unless_asked(Job::GetState);
        }
        match self.looking.as_mut().filter(|_| known) {
            Some(looking) => (looking.name, looking.choice) = (name, choice),
            None => {
                let relay = code.relay.clone();
                self.looking = Some(Looking { root, relay, name, choice, opened: None, fetched: false });
            }
        }
        self.check_at(Check::Recovery, step.now.wall_ms.saturating_add(LOOKING_LIFE_MS));
        if self.own.is_some() || self.looking.as_ref().is_some_and(|looking| looking.opened.is_some()) {
            self.decide(step);
        } else {
            self.jobs.want(Job::GetState);
        }
        Ok(())
    }

    /// Gives up a recovery that was not decided yet. Tells whether there was one.
    pub fn cancel_recovery(&mut self, step: &mut Step<'_>) -> bool {
        let running = self.looking.is_some() && self.recovering.is_none();
        if running {
            self.stop_looking();
            self.settle(step);
        }
        running
    }

    /// Whether this machine is becoming a device of an account, or the one that signs, by a recovery code.
    #[must_use]
    pub fn is_recovering(&self) -> bool {
        self.recovering.is_some()
    }

    /// The account that was found with a recovery code.
    #[must_use]
    pub fn recovery_found(&self) -> Option<Found> {
        let looking = self.looking.as_ref()?;
        if let Some(own) = &self.own {
            let contacts = self.contacts.len();
            return Some(Found { handle: own.handle.clone(), devices: self.devices(), contacts });
        }
        let opened = looking.opened.as_deref()?;
        let device = |device: &DeviceEntry| OwnDevice {
            id: device.id,
            name: device.name.clone(),
            added_ms: device.added_ms,
            here: false,
            primary: device.primary == Some(true),
        };
        let mut devices: Vec<_> = opened.manifest.manifest().devices.iter().map(device).collect();
        devices.sort_by(|one, other| one.name.cmp(&other.name));
        let contacts = opened.state.contacts.iter().filter(|entry| entry.card.is_some()).count();
        Some(Found { handle: opened.head.handle.clone(), devices, contacts })
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

    /// The root key of the account that is being recovered.
    pub(super) fn recovery_root(&self) -> Option<&RootKey> {
        if self.own.is_some() {
            return None;
        }
        let decided = self.recovering.as_ref().and(self.keys.root.as_ref());
        decided.or_else(|| self.looking.as_ref().map(|looking| &looking.root))
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

    /// Takes up what a restart interrupted.
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

    /// What the relay keeps of the account was read.
    pub(super) fn recovery_read(&mut self, read: Read, step: &mut Step<'_>) {
        match read {
            Read::Nothing => self.fail_recovery(RecoveryFailure::NothingKept, step),
            Read::Unusable(_, error) => {
                tracing::warn!(%error, "what the relay keeps does not fit the recovery code");
                self.fail_recovery(RecoveryFailure::Forged, step);
            }
            Read::Changed => {
                self.jobs.want(Job::GetState);
                self.jobs.pause(Job::GetState, step.now.mono, Why::Busy);
            }
            Read::All(all) => {
                let (head, state) = *all;
                let Some(manifest) = self.newest_manifest(&head, &state) else {
                    return self.fail_recovery(RecoveryFailure::Forged, step);
                };
                self.look_on(Opened { head, state, manifest });
                self.decide(step);
            }
        }
    }

    /// Puts what was read where the recovery goes on; after a restart there is nothing yet.
    fn look_on(&mut self, opened: Opened) {
        let (Some(root), Some(recovering)) = (self.recovery_root().cloned(), &self.recovering) else {
            if let Some(looking) = &mut self.looking {
                looking.opened = Some(Box::new(opened));
            }
            return;
        };
        self.looking = Some(Looking {
            root,
            relay: recovering.relay.0.clone(),
            name: recovering.device_name.clone(),
            choice: None,
            opened: Some(Box::new(opened)),
            fetched: false,
        });
    }

    /// The newer one of two manifests: that of the state, and that which the relay serves to contacts.
    fn newest_manifest(&self, head: &Head, state: &AccountState) -> Option<VerifiedManifest> {
        let account = self.recovery_root()?.fingerprint();
        let kept = VerifiedManifest::restore(&state.manifest, &account).ok()?;
        let served = head.manifest.as_ref().and_then(|profile| open_manifest(profile, &state.profile_key));
        let served = served.and_then(|signed| VerifiedManifest::restore(&signed, &account).ok());
        Some(served.filter(|served| served.version() > kept.version()).unwrap_or(kept))
    }

    /// The relay does not know the account of this code.
    pub(super) fn recovery_unknown(&mut self, step: &mut Step<'_>) {
        self.fail_recovery(RecoveryFailure::NotFound, step);
    }

    /// Nobody decided in time: the root key leaves memory.
    pub(super) fn check_recovery(&mut self) {
        if self.recovering.is_none() && self.looking.is_some() {
            self.stop_looking();
        }
    }

    fn stop_looking(&mut self) {
        self.looking = None;
        self.kept.read_anew();
        for job in [Job::GetState, Job::AddSelf] {
            self.jobs.drop_unless_asked(job);
        }
    }

    fn fail_recovery(&mut self, why: RecoveryFailure, step: &mut Step<'_>) {
        if self.recovering.take().is_some() {
            self.touch(RowKey::Recovering);
            if self.own.is_none() {
                // Whatever account is made here next is another one.
                let root = Some(RootKey::generate(&mut step.rng));
                self.keep_identity(IdentityKeys { root, ..IdentityKeys::clone(&self.keys) });
            }
        }
        if self.own.is_none() {
            for slot in std::mem::take(&mut self.retired_devices) {
                self.jobs.drop_unless_asked(Job::RemoveDevice(slot));
                self.touch(RowKey::RetiredDevice(slot));
            }
        }
        self.stop_looking();
        self.notify(Notice::RecoveryFailed(why));
    }

    /// Goes on with what was found, as far as people have said what is to become of the devices.
    fn decide(&mut self, step: &mut Step<'_>) {
        if self.recovering.is_some() {
            return;
        }
        let Some(looking) = &self.looking else { return };
        let Some(choice) = looking.choice.clone() else {
            let Some(found) = self.recovery_found() else { return };
            return self.notify(Notice::RecoveryFound { handle: found.handle });
        };
        let Some(found) = self.recovery_found() else { return };
        let others: Vec<_> = found.devices.into_iter().filter(|device| !device.here).collect();
        let named = match &choice {
            Revoke::All => [].as_slice(),
            Revoke::AllBut(names) | Revoke::Only(names) => names,
        };
        if let Some(name) = named.iter().find(|name| !others.iter().any(|device| device.name == **name)) {
            let candidates = others.iter().map(|device| device.name.clone()).collect();
            return self
                .fail_recovery(RecoveryFailure::UnknownDevice { name: name.clone(), candidates }, step);
        }
        let goes = |device: &&OwnDevice| match &choice {
            Revoke::All => true,
            Revoke::AllBut(names) => !names.contains(&device.name),
            Revoke::Only(names) => names.contains(&device.name),
        };
        let revoke: Vec<_> = others.iter().filter(goes).map(|device| device.id).collect();
        // Devices that share nothing would never hear that another one signs, and go on signing.
        let stays = others.iter().find(|device| !revoke.contains(&device.id));
        let among = self.own.is_some()
            || looking.opened.as_deref().is_some_and(|opened| opened.state.among.is_some());
        if let Some(device) = stays.filter(|_| !among) {
            return self.fail_recovery(RecoveryFailure::MustGo { name: device.name.clone() }, step);
        }
        self.begin_recovery(List::truncated(revoke), step);
    }

    fn begin_recovery(&mut self, revoke: List<DeviceId, MAX_DEVICES>, step: &mut Step<'_>) {
        let Some(looking) = &self.looking else { return };
        let (device, next) = match &self.own {
            Some(own) => (own.device, RecoverStep::Taking),
            None => (DeviceId::from_bytes(step.random()), RecoverStep::Adding),
        };
        let keys = IdentityKeys { root: Some(looking.root.clone()), ..IdentityKeys::clone(&self.keys) };
        let slots: Vec<_> = looking
            .opened
            .iter()
            .flat_map(|opened| {
                let devices = opened.manifest.manifest().devices.iter();
                devices.filter(|device| revoke.contains(&device.id)).map(|device| device.slot)
            })
            .collect();
        self.recovering = Some(Recovering {
            account: looking.root.fingerprint(),
            relay: StoredRelay(looking.relay.clone()),
            device,
            device_name: looking.name.clone(),
            revoke,
            step: next,
        });
        self.touch(RowKey::Recovering);
        self.keep_identity(keys);
        tracing::warn!("an account is being recovered here");
        if next == RecoverStep::Adding {
            for slot in slots {
                self.retire_device(slot);
            }
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
        let device_name = signed.device(&recovering.device)?.name.clone();
        recovering.step = RecoverStep::Telling;
        self.own = Some(Own {
            account: registered.account,
            slot: registered.slot,
            handle: registered.handle.clone(),
            relay: recovering.relay.clone(),
            device: recovering.device,
            device_name,
            manifest: Pinned(signed),
            profile_key: state.profile_key.clone(),
            generation: 1,
            previous: None,
            bundle: None,
            manifest_put: None,
            manifest_published: None,
            bundle_put: None,
            bundle_published: None,
            echoed: 0,
            settled: true,
            proof_put: Some(true),
            counter: Some(state.counter),
            kept: Some(KeptMark { state: head.state, hash: None }),
            epoch: None,
            // Whoever recovered it has it.
            code_shown: Some(true),
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

fn open_manifest(profile: &Profile, key: &ProfileKey) -> Option<Vec<u8>> {
    let copies = [Some(&profile.current), profile.previous.as_ref()];
    copies.into_iter().flatten().find_map(|sealed| open_profile(key, ProfileItem::Manifest, sealed).ok())
}
