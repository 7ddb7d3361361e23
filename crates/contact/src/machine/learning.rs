//! What we learn of contacts: manifests, bundles, and what their messages say.

use penpal_protocol::{
    ids::{DeviceId, Fingerprint, ProfileKey},
    limits::DAY_MS,
    sealed::{Control, DeviceEntry, ManifestRef, OwnState, Rekey},
    text::{Label, RelayAddress},
    wire::{ContactState, Profile},
};
use penpal_seal::{
    BundleError, Continuity, ManifestError, ManifestUpdate, ProfileItem, VerifiedBundle, VerifiedManifest,
    open_profile,
};

use super::{Contacts, Opener, Step, Via};
use crate::{
    command::Command,
    error::ControlError,
    jobs::Job,
    notice::Notice,
    record::{Contact, KeyChange, Pinned, RowKey, StoredRelay},
};

/// How long after it was told of a new edge a contact that does not use it is told again when it writes, in milliseconds.
const SOON_MS: u64 = DAY_MS;

/// How far a version that somebody else names may be ahead of ours before it is taken for a lie: our manifest would run out of
/// versions.
pub(super) const MAX_VERSION_JUMP: u64 = 1 << 20;

/// What came of a control message. Each is a *stored* or *duplicate* message: its receipt is `delivered`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Its changes were made.
    Applied,
    /// It completed an invite: its author is a contact now.
    Accepted,
    /// It completes an invite that is complete.
    Repeated,
    /// Its author is blocked; nothing was done. Nothing is to be answered.
    Ignored,
}

impl Contacts {
    /// Takes the content of a verified message of kind *control*.
    ///
    /// `opener` is what opened it, `device` its sender. Call [`handle_message`](Self::handle_message) too.
    ///
    /// # Errors
    /// [`ControlError`]; the message is then refused, and nothing of it is stored.
    pub fn handle_control(
        &mut self,
        opener: Opener,
        device: &DeviceId,
        control: &Control,
        step: &mut Step<'_>,
    ) -> Result<Heard, ControlError> {
        if self.me() == Some(opener.contact) {
            self.device_heard(device);
        }
        let heard = self.take_control(opener, device, control, step);
        self.settle(step);
        heard
    }

    fn take_control(
        &mut self,
        opener: Opener,
        device: &DeviceId,
        control: &Control,
        step: &mut Step<'_>,
    ) -> Result<Heard, ControlError> {
        match (opener.via, &control.accept) {
            (Via::Boot(invite), Some(accept)) => self.take_acceptance(invite, device, accept, step),
            (Via::BootAgain, Some(_)) => Ok(Heard::Repeated),
            (Via::Boot(_) | Via::BootAgain, None)
            | (Via::Link | Via::Rekeyed | Via::Accepting | Via::Replaced, Some(_)) => {
                Err(ControlError::Misplaced)
            }
            (Via::Link | Via::Rekeyed | Via::Accepting | Via::Replaced, None) => {
                self.apply_control(opener.contact, device, control, step)
            }
        }
    }

    fn apply_control(
        &mut self,
        contact: Fingerprint,
        device: &DeviceId,
        control: &Control,
        step: &mut Step<'_>,
    ) -> Result<Heard, ControlError> {
        let row = self.contacts.get_mut(&contact).ok_or(ControlError::NoContact { contact })?;
        if row.is_shut() {
            return Ok(Heard::Ignored);
        }
        let mine = self.me() == Some(contact);
        if control.own.is_some() && !mine {
            return Err(ControlError::Misplaced);
        }
        // Where our own mail goes, and that it goes, is no device's to say.
        if mine && (control.relay.is_some() || control.goodbye.is_some() || control.rekey.is_some()) {
            return Err(ControlError::Misplaced);
        }
        let relay = control.relay.as_ref().map(|relay| relay.as_str().parse::<RelayAddress>()).transpose()?;
        if let Some(manifest) = &control.manifest {
            match self.learn_manifest(contact, manifest, step) {
                // It was the newest when it was written.
                Ok(()) | Err(ManifestError::Rollback { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // A device that is stolen must not turn what is written to the others, and what it said would outlast its revocation.
        let turns = control.relay.is_some() || control.rekey.is_some() || control.profile_key.is_some();
        if turns && !self.contacts.get(&contact).is_some_and(|row| row.is_signed_by(device)) {
            return Err(ControlError::Misplaced);
        }
        if let Some(bundle) = &control.bundle {
            self.learn_bundle(contact, bundle, step)?;
        }
        if let Some(own) = &control.own {
            let state = OwnState::decode(own)?;
            self.take_state(device, &state, step);
        }
        if let Some(key) = control.profile_key.as_ref().filter(|_| mine) {
            self.replace_profile_key(key.clone(), step);
        }
        let row = self.contacts.get_mut(&contact).ok_or(ControlError::NoContact { contact })?;
        if let Some(key) = control.profile_key.as_ref().filter(|_| !mine) {
            row.profile_key = key.clone();
        }
        if let Some(relay) = relay {
            row.relay = StoredRelay(relay);
        }
        self.touch(RowKey::Contact(contact));
        if control.profile_key.is_some() || control.relay.is_some() {
            self.jobs.want(Job::FetchProfile(contact));
            self.queue.push_back(Command::RouteChanged(contact));
        }
        if let Some(rekey) = &control.rekey {
            let rekey = Rekey::decode(rekey)?;
            self.take_rekey(contact, &rekey, step);
        }
        if control.goodbye == Some(true) {
            self.gone(contact, step);
        }
        Ok(Heard::Applied)
    }

    /// Takes what every verified message says besides its content: which manifests its author holds.
    ///
    /// A message under the keys of an acceptance also confirms that acceptance. `device` wrote it. Of who is blocked nothing is taken:
    /// what follows from it would tell that somebody is here.
    pub fn handle_message(
        &mut self,
        opener: Opener,
        device: &DeviceId,
        theirs: &ManifestRef,
        ours: Option<&ManifestRef>,
        step: &mut Step<'_>,
    ) {
        let contact = opener.contact;
        if self.contacts.get(&contact).is_some_and(|row| row.blocked) {
            return;
        }
        match opener.via {
            Via::Accepting => self.acceptance_confirmed(contact, step),
            Via::Rekeyed => self.rekey_confirmed(contact, step),
            // It writes, and not under the new key: it may not have been told.
            Via::Link | Via::Replaced => self.rekey_unanswered(contact, SOON_MS, step),
            Via::Boot(_) | Via::BootAgain => {}
        }
        if !matches!(opener.via, Via::Boot(_) | Via::BootAgain) {
            self.compare_their_manifest(contact, device, theirs);
            self.compare_our_manifest(contact, ours, step);
        }
        if !self.dirty.is_empty() || self.jobs.is_wanted(Job::FetchProfile(contact)) {
            self.settle(step);
        }
    }

    fn compare_their_manifest(&mut self, contact: Fingerprint, device: &DeviceId, theirs: &ManifestRef) {
        let Some(row) = self.contacts.get_mut(&contact) else { return };
        let held = row.manifest.0.reference();
        if theirs.version > held.version {
            if theirs.version > row.announced {
                row.announced = theirs.version;
                self.touch(RowKey::Contact(contact));
                self.jobs.want(Job::FetchProfile(contact));
            }
            return;
        }
        let earlier =
            row.manifest.0.manifest().previous.iter().map(|earlier| (earlier.version, earlier.hash));
        let mut known = earlier.chain([(held.version, held.hash)]);
        // The word of the device that signs is enough. Another one may be stolen; what it says of lists is believed when they are seen.
        if row.is_signed_by(device)
            && known.any(|(version, hash)| version == theirs.version && hash != theirs.hash)
            && !row.repin
        {
            self.key_changed(contact, KeyChange::Fork);
        }
    }

    fn compare_our_manifest(
        &mut self,
        contact: Fingerprint,
        ours: Option<&ManifestRef>,
        step: &mut Step<'_>,
    ) {
        let signs = self.root().is_some();
        let Some(own) = &mut self.own else { return };
        let (me, mine) = (own.manifest.0.fingerprint(), own.manifest.0.reference());
        let named = ours.map_or(0, |ours| ours.version);
        if let Some(ours) = ours {
            let ahead = named > mine.version && named <= mine.version.saturating_add(MAX_VERSION_JUMP);
            let other = named == mine.version && ours.hash != mine.hash;
            if (ahead && own.echoed < named) || other {
                own.echoed = own.echoed.max(named);
                self.touch(RowKey::Own);
                if signs || other {
                    self.notify(Notice::ForeignManifest { contact, version: named });
                } else {
                    // The primary signs, and the contact may have heard of it first.
                    self.jobs.want(Job::FetchProfile(me));
                }
                return;
            }
        }
        if named >= mine.version {
            return;
        }
        let manifest = own.manifest.0.signed().to_vec();
        let Some(row) = self.contacts.get_mut(&contact) else { return };
        if row.manifest_sent >= mine.version || !row.is_open() {
            return;
        }
        let Ok(manifest) = penpal_protocol::cbor::Blob::new(manifest) else { return };
        row.manifest_sent = mine.version;
        self.touch(RowKey::Contact(contact));
        let message = Self::new_message(step);
        let control = Control { manifest: Some(manifest), ..Control::default() };
        self.deliver(contact, message, control, step);
    }

    /// Asks a contact's relay for its newest manifest and bundles. [`Command::Fetched`] follows in any case.
    pub fn fetch(&mut self, contact: &Fingerprint, step: &mut Step<'_>) {
        if self.contacts.contains_key(contact) {
            self.want_profile(*contact);
            self.settle(step);
        }
        if !self.jobs.is_wanted(Job::FetchProfile(*contact)) {
            self.queue.push_back(Command::Fetched { contact: *contact, fresh: false });
        }
    }

    /// Plans to look at a contact's profile. Not at that of who is blocked: its relay would see that somebody is here.
    pub(super) fn want_profile(&mut self, contact: Fingerprint) {
        if self.contacts.get(&contact).is_some_and(|row| !row.blocked) {
            self.jobs.want(Job::FetchProfile(contact));
        }
    }

    /// The relay answered for a contact's profile.
    pub(super) fn profile_fetched(
        &mut self,
        contact: Fingerprint,
        state: &ContactState,
        step: &mut Step<'_>,
    ) {
        let Some(row) = self.contacts.get(&contact) else { return };
        if row.link.is_some() {
            self.back(contact, step);
        }
        let mine = self.me() == Some(contact);
        let before = self.own.as_ref().and_then(|own| own.previous.as_ref()).filter(|_| mine);
        let before = before.map(|previous| previous.key.clone());
        let Some(row) = self.contacts.get(&contact) else { return };
        let manifest = state
            .manifest
            .as_ref()
            .and_then(|sealed| open(row, before.as_ref(), ProfileItem::Manifest, sealed));
        let mut fresh = manifest.is_some();
        let mut refused = false;
        if let Some(signed) = manifest
            && let Err(error) = self.learn_manifest(contact, &signed, step)
        {
            refused = true;
            self.tell_refused_manifest(contact, &error);
        }
        let Some(row) = self.contacts.get(&contact) else { return };
        let mut bundles = Vec::new();
        for sealed in state.bundles.iter() {
            let device = row.manifest.0.manifest().devices.iter().find(|device| device.slot == sealed.slot);
            let item = device.map(|device| ProfileItem::Bundle(device.id));
            bundles.extend(item.and_then(|item| open(row, before.as_ref(), item, &sealed.profile)));
        }
        for signed in bundles {
            match self.learn_bundle(contact, &signed, step) {
                // A relay that has just ended a device has no list until the account puts the next one; what devices publish is as new.
                Ok(()) => fresh = true,
                Err(error) => tracing::debug!(contact = ?contact, %error, "bundle not taken"),
            }
        }
        if mine {
            self.note_looked(step);
        }
        self.queue.push_back(Command::Fetched { contact, fresh: fresh && !refused });
    }

    fn tell_refused_manifest(&mut self, contact: Fingerprint, error: &ManifestError) {
        tracing::warn!(%error, "a contact's manifest is not taken");
        tracing::debug!(?contact, "it was of this contact");
        let Some(row) = self.contacts.get(&contact) else { return };
        let name = row.name.clone();
        if matches!(error, ManifestError::Rollback { .. }) {
            self.notify(Notice::OldManifest { contact, name });
        } else if matches!(error, ManifestError::Expired { .. }) {
            self.notify(Notice::StaleManifest { contact, name });
        }
    }

    /// Judges a manifest against the pinned one; a contradiction blocks the contact.
    pub(super) fn learn_manifest(
        &mut self,
        contact: Fingerprint,
        signed: &[u8],
        step: &mut Step<'_>,
    ) -> Result<(), ManifestError> {
        let now_ms = step.now.wall_ms;
        let Some(row) = self.contacts.get_mut(&contact) else { return Ok(()) };
        let held = &row.manifest.0;
        let update = match held.update(signed, now_ms) {
            // People verified the root itself: which of two histories counts is then the newer one's choice.
            Err(ManifestError::Fork { .. } | ManifestError::Unrevoked { .. }) if row.repin => {
                let manifest = VerifiedManifest::pin(signed, &contact, now_ms)?;
                if manifest.version() < held.version() {
                    return Err(ManifestError::Rollback { held: held.version(), got: manifest.version() });
                }
                ManifestUpdate::Newer { manifest, continuity: Continuity::Unlinked }
            }
            other => other.inspect_err(|error| {
                if let Some(why) = contradiction(error) {
                    self.key_changed(contact, why);
                }
            })?,
        };
        let Some(row) = self.contacts.get_mut(&contact) else { return Ok(()) };
        if let ManifestUpdate::Newer { manifest, .. } = update {
            row.bundles.follow(&manifest, now_ms);
            let added = added(&row.manifest.0, &manifest);
            let primary = new_primary(&row.manifest.0, &manifest);
            row.manifest = Pinned(manifest);
            row.repin = false;
            let name = row.name.clone();
            self.touch(RowKey::Contact(contact));
            self.queue.push_back(Command::RouteChanged(contact));
            self.plan_contact(contact, now_ms);
            if self.me() == Some(contact) {
                self.adopt_manifest(step);
            } else {
                if !added.is_empty() {
                    self.tell_new_edge(contact, added.iter().map(|device| device.id).collect(), step);
                }
                if let Some(device) = primary {
                    self.notify(Notice::NewPrimary { contact, name, device });
                } else if !added.is_empty() {
                    let devices = added.into_iter().map(|device| device.name).collect();
                    self.notify(Notice::NewDevices { contact, name, devices });
                }
            }
        }
        Ok(())
    }

    /// Verifies a bundle against the pinned manifest and keeps it unless a newer one is held.
    pub(super) fn learn_bundle(
        &mut self,
        contact: Fingerprint,
        signed: &[u8],
        step: &Step<'_>,
    ) -> Result<(), BundleError> {
        let Some(row) = self.contacts.get_mut(&contact) else { return Ok(()) };
        let bundle = VerifiedBundle::verify_any(signed, &row.manifest.0, step.now.wall_ms)?;
        if row.bundles.take(bundle) {
            self.touch(RowKey::Contact(contact));
        }
        Ok(())
    }
}

/// Devices that a newer manifest lists and the one before did not.
fn added(before: &VerifiedManifest, after: &VerifiedManifest) -> Vec<DeviceEntry> {
    let devices = after.manifest().devices.iter().filter(|device| before.device(&device.id).is_none());
    devices.cloned().collect()
}

/// The device that signs, when it is another one than before.
fn new_primary(before: &VerifiedManifest, after: &VerifiedManifest) -> Option<Label> {
    let primary = |manifest: &VerifiedManifest| {
        let mut devices = manifest.manifest().devices.iter();
        devices.find(|device| device.primary == Some(true)).map(|device| (device.id, device.name.clone()))
    };
    let ((held, _), (now, name)) = (primary(before)?, primary(after)?);
    (held != now).then_some(name)
}

/// What about a contact's key does not add up, when a manifest is refused for that.
fn contradiction(error: &ManifestError) -> Option<KeyChange> {
    if matches!(error, ManifestError::OtherRoot { .. }) {
        Some(KeyChange::Root)
    } else if matches!(error, ManifestError::Fork { .. }) {
        Some(KeyChange::Fork)
    } else if matches!(error, ManifestError::Unrevoked { .. }) {
        Some(KeyChange::Unrevoked)
    } else {
        None
    }
}

/// Opens one item of a contact's profile, in whichever copy our key opens. Devices of ours that have not heard of a new profile key seal
/// under the one `before`.
fn open(row: &Contact, before: Option<&ProfileKey>, item: ProfileItem, profile: &Profile) -> Option<Vec<u8>> {
    let copies = [Some(&profile.current), profile.previous.as_ref()];
    let keys = [Some(&row.profile_key), before];
    keys.into_iter()
        .flatten()
        .find_map(|key| copies.into_iter().flatten().find_map(|sealed| open_profile(key, item, sealed).ok()))
}
