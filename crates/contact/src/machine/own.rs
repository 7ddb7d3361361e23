//! Our own account: registering it, and keeping manifest and bundle at the relay.

use std::time::Duration;

use penpal_protocol::{
    cbor::{Blob, List, Text},
    ids::{DeviceId, Fingerprint, ProfileKey},
    limits::{DAY_MS, MAX_PROFILE_BLOB_BYTES},
    sealed::{Control, DeviceEntry, Manifest},
    text::{Label, RelayAddress},
    wire::{HelloAnswer, RefusalCode, Registered, Verdict},
};
use penpal_seal::{ProfileItem, VerifiedBundle, VerifiedManifest, seal_profile};

use super::{Contacts, Step, learning::MAX_VERSION_JUMP};
use crate::{
    command::{At, Command},
    error::{PublishError, RegisterError},
    jobs::Job,
    notice::{AddFailure, Notice, RegistrationFailure},
    record::{
        AddStep, BundlePut, Copies, ManifestPut, Own, OwnBundle, PreviousProfile, Registering, RowKey,
        StoredRelay,
    },
};

/// A manifest is renewed when it has lived this long, in milliseconds: half of its longest life.
const RENEW_AFTER_MS: u64 = 15 * DAY_MS;
/// Longest time for which a copy under the profile key before is kept, in milliseconds.
const PREVIOUS_PROFILE_MS: u64 = 30 * DAY_MS;
/// Shortest such time, in milliseconds, even when every contact has the new key: a contact may be put back to a backup that has not. As long
/// as senders keep what a restored recipient may have lost.
const RESTORED_PROFILE_MS: u64 = 2 * DAY_MS;
/// How long a list of devices that was named may take until it comes.
const ON_ITS_WAY: Duration = Duration::from_secs(20);
/// Pause before a manifest is signed again because the relay held another one.
const FIRST_CONFLICT_PAUSE: Duration = Duration::from_secs(1);
/// Longest such pause.
const LONGEST_CONFLICT_PAUSE: Duration = Duration::from_secs(60 * 60);
/// Life of a manifest, in milliseconds.
const MANIFEST_LIFE_MS: u64 = 30 * DAY_MS;

impl Contacts {
    /// Asks a relay for an account, with a token of its operator or, at an open relay, without.
    ///
    /// The result comes as [`Notice::Registered`] or [`Notice::RegistrationFailed`]. Asking again while it runs changes nothing.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn register(
        &mut self,
        relay: RelayAddress,
        handle: Label,
        device_name: Label,
        token: Option<Text<64>>,
        step: &mut Step<'_>,
    ) -> Result<(), RegisterError> {
        self.start_registering(relay, handle, device_name, token, None, step)?;
        self.settle(step);
        Ok(())
    }

    pub(super) fn start_registering(
        &mut self,
        relay: RelayAddress,
        handle: Label,
        device_name: Label,
        token: Option<Text<64>>,
        invite: Option<penpal_protocol::ids::InviteId>,
        step: &mut Step<'_>,
    ) -> Result<(), RegisterError> {
        if let Some(own) = &self.own {
            return Err(RegisterError::Registered { handle: own.handle.clone() });
        }
        if self.is_joining() || self.is_recovering() {
            return Err(RegisterError::Joining);
        }
        if handle.is_reserved() {
            return Err(RegisterError::Reserved { handle });
        }
        if self.keys.root.is_none() {
            return Err(RegisterError::NoRoot);
        }
        if let Some(running) = &self.registering {
            let same = running.relay.0 == relay && running.handle == handle && running.token == token;
            let same = same && (invite.is_none() || running.invite == invite);
            return if same {
                Ok(())
            } else {
                Err(RegisterError::Running { handle: running.handle.clone() })
            };
        }
        let device = DeviceId::from_bytes(step.random());
        self.registering =
            Some(Registering { relay: StoredRelay(relay), handle, device, device_name, token, invite });
        self.touch(RowKey::Registering);
        self.jobs.want(Job::Register);
        Ok(())
    }

    /// Gives up an account that was asked for and not answered, such as one at a relay that cannot be reached.
    ///
    /// Tells whether there was one. Codes that waited for it are given up too.
    pub fn cancel_registration(&mut self, step: &mut Step<'_>) -> bool {
        let running = self.registering.is_some();
        if running {
            self.registration_failed(RegistrationFailure::Cancelled);
            self.settle(step);
        }
        running
    }

    pub(super) fn registered(&mut self, answer: Registered, step: &mut Step<'_>) {
        let Some(asked) = self.registering.take() else { return };
        self.touch(RowKey::Registering);
        let Some(root) = &self.keys.root else { return };
        let now_ms = step.now.wall_ms;
        let device = DeviceEntry {
            id: asked.device,
            slot: answer.slot,
            signing: self.keys.signing.public(),
            previous: None,
            name: asked.device_name.clone(),
            added_ms: now_ms,
            primary: Some(true),
        };
        let manifest = Manifest {
            root: root.public(),
            version: 1,
            previous: List::default(),
            issued_ms: now_ms,
            expires_ms: now_ms.saturating_add(MANIFEST_LIFE_MS),
            devices: List::truncated(vec![device.clone()]),
            revoked: List::default(),
        };
        let manifest = match VerifiedManifest::sign(root, manifest) {
            Ok(manifest) => manifest,
            Err(error) => {
                tracing::error!(%error, "own first manifest cannot be signed");
                return;
            }
        };
        tracing::info!("registered");
        tracing::debug!(handle = %answer.handle, relay = %asked.relay.0.at, "registered");
        let named = (answer.account, answer.handle.clone());
        let profile_key = ProfileKey::from_bytes(step.random());
        let own = Own::new(named, asked.relay, &device, manifest, profile_key);
        self.own = Some(Own { settled: asked.invite.is_none(), ..own });
        self.relay_revision = Some(0);
        self.touch(RowKey::Own);
        self.notify(Notice::Registered { handle: answer.handle });
        self.advance_all(AddStep::Registering, step);
    }

    pub(super) fn registration_failed(&mut self, why: RegistrationFailure) {
        let invite = self.registering.take().and_then(|asked| asked.invite);
        self.touch(RowKey::Registering);
        self.jobs.done(Job::Register);
        if let Some(id) = invite.filter(|_| why == RegistrationFailure::NotAdmitted) {
            // A code that somebody else used must be told as such.
            self.ask_refused(id);
        } else if invite.is_none() {
            self.notify(Notice::RegistrationFailed(why));
        }
        let waiting = self.adding.values().filter(|adding| adding.step == AddStep::Registering);
        let waiting: Vec<_> = waiting.map(|adding| adding.id).collect();
        for id in waiting {
            self.fail_adding(id, AddFailure::Registration(why));
        }
    }

    /// Our relay does not know this device: its `Welcome` or an answer says so.
    ///
    /// An account that was made with an invite and never redeemed it is gone then, and forgotten here: [`Contacts::account`] is
    /// `None` again. Any other stays, and people are told.
    pub fn handle_not_registered(&mut self, step: &mut Step<'_>) {
        self.account_refused(RefusalCode::NotRegistered);
        self.settle(step);
    }

    pub(super) fn account_refused(&mut self, code: RefusalCode) {
        let settled = self.own.as_ref().is_none_or(|own| own.settled) || !self.contacts.is_empty();
        if code == RefusalCode::NotRegistered && !settled {
            self.forget_account();
        } else if self.own.is_some() && self.refused.replace(code) != Some(code) {
            self.notify(Notice::AccountRefused { code });
        }
    }

    /// Forgets an account that the relay took back before anything came of it.
    fn forget_account(&mut self) {
        let Some(own) = self.own.take() else { return };
        tracing::warn!("the account was taken back");
        tracing::debug!(handle = %own.handle, "it was this one");
        self.touch(RowKey::Own);
        self.relay_revision = None;
        self.bundle_wanted = false;
        for (edge, _) in std::mem::take(&mut self.retired_edges) {
            self.touch(RowKey::RetiredEdge(edge));
        }
        for invite in std::mem::take(&mut self.retired_invites) {
            self.touch(RowKey::RetiredInvite(invite));
        }
        for (invite, _) in std::mem::take(&mut self.invites) {
            self.touch(RowKey::Invite(invite));
            self.plan_invite(invite);
            self.erase_secret(invite);
        }
        self.notify(Notice::AccountLost { handle: own.handle });
        let under_way = self.adding.values().filter(|adding| adding.step != AddStep::Declined);
        for id in under_way.map(|adding| adding.id).collect::<Vec<_>>() {
            self.ask_refused(id);
        }
    }

    /// What our relay answered to `Hello`: from now on it is known which manifest it holds.
    pub fn handle_hello(&mut self, answer: &HelloAnswer, step: &mut Step<'_>) {
        if answer.verdict == Verdict::Known {
            self.relay_revision = Some(answer.manifest_revision);
            self.refused = None;
            let lost = self.own.as_mut().filter(|own| {
                own.manifest_published.is_some_and(|mark| mark.item > answer.manifest_revision)
            });
            let mut went_back = lost.is_some();
            if let Some(own) = lost {
                // The relay went back to an older state of itself: what it took before may be gone.
                own.manifest_published = None;
                own.bundle_published = None;
                own.proof_put = None;
                self.touch(RowKey::Own);
            }
            let before = self.own.as_mut().and_then(|own| own.epoch.replace(answer.epoch));
            if before != Some(answer.epoch) {
                self.touch(RowKey::Own);
                went_back |= before.is_some();
            }
            // A linked device may know a manifest before the one that signs has put it there.
            if went_back && (before != Some(answer.epoch) || self.root().is_some()) {
                self.relay_went_back();
            }
            if self.root().is_some() && self.own.as_ref().is_some_and(|own| own.proof_put.is_none()) {
                self.jobs.want(Job::PutProof);
            }
        } else {
            // This database is an old copy: sign nothing until the relay has said what it holds.
            self.relay_revision = None;
            if answer.verdict == Verdict::RolledBack {
                // Contacts may hold a key that was made since and is lost: with it they open nothing that is published from here.
                self.rotate_profile_key(step);
            }
        }
        self.jobs.wake(&At::Home);
        self.settle(step);
    }

    /// Takes a new bundle of this device and brings it to the relay. [`Command::BundlePublished`] follows.
    ///
    /// # Errors
    /// [`PublishError`]: not this device's, or there is no account.
    pub fn publish_bundle(&mut self, signed: &[u8], step: &mut Step<'_>) -> Result<(), PublishError> {
        let own = self.own.as_mut().ok_or(PublishError::NoAccount)?;
        let bundle = VerifiedBundle::verify(signed, &own.device, &own.manifest.0, step.now.wall_ms)?;
        let signed = Blob::new(signed.to_vec())?;
        own.bundle = Some(OwnBundle { key_id: bundle.prekey().0, signed });
        self.touch(RowKey::Own);
        self.settle(step);
        Ok(())
    }

    /// Signs, seals and sends whatever of our profile the relay does not hold yet.
    pub(super) fn maintain_profile(&mut self, step: &mut Step<'_>) {
        self.retire_profile_key(step);
        if self.sign_after <= step.now.mono {
            self.renew_manifest(step);
        }
        self.put_profile(step);
        let Some(own) = &self.own else { return };
        if own.bundle.is_none() && !self.bundle_wanted {
            self.bundle_wanted = true;
            self.queue.push_back(Command::BundleWanted);
        }
        if own.is_published() {
            self.advance_all(AddStep::Publishing, step);
        }
    }

    /// Drops the copy under the profile key before, once nobody needs it.
    fn retire_profile_key(&mut self, step: &Step<'_>) {
        let Some(own) = &mut self.own else { return };
        let Some(previous) = &own.previous else { return };
        let over = |life_ms| previous.since_ms.saturating_add(life_ms) <= step.now.wall_ms;
        let known = || self.contacts.values().all(|contact| contact.knows_profile(own.generation));
        if over(PREVIOUS_PROFILE_MS) || (over(RESTORED_PROFILE_MS) && known()) {
            own.previous = None;
            self.touch(RowKey::Own);
        }
    }

    /// Makes a new profile key: somebody who holds the present one is no contact any more.
    ///
    /// The device that signs does it for all; the others hear of it as contacts do.
    pub(super) fn rotate_profile_key(&mut self, step: &mut Step<'_>) {
        if self.root().is_none() {
            return;
        }
        let fresh = ProfileKey::from_bytes(step.random());
        self.replace_profile_key(fresh, step);
        let contacts: Vec<_> = self.contacts.keys().copied().collect();
        for contact in contacts {
            self.tell_profile(contact, step);
        }
    }

    pub(super) fn replace_profile_key(&mut self, fresh: ProfileKey, step: &Step<'_>) {
        let Some(own) = &mut self.own else { return };
        let key = std::mem::replace(&mut own.profile_key, fresh.clone());
        own.previous = Some(PreviousProfile { key, since_ms: step.now.wall_ms });
        own.generation = own.generation.saturating_add(1);
        let me = own.manifest.0.fingerprint();
        self.touch(RowKey::Own);
        if let Some(row) = self.contacts.get_mut(&me) {
            row.profile_key = fresh;
            self.touch(RowKey::Contact(me));
        }
    }

    /// Tells a contact our present profile key, when it does not hold it.
    pub(super) fn tell_profile(&mut self, contact: Fingerprint, step: &mut Step<'_>) {
        if self.root().is_none() || (self.me() == Some(contact) && self.others().is_empty()) {
            return;
        }
        let Some(own) = &self.own else { return };
        let Some(row) = self.contacts.get_mut(&contact) else { return };
        let generation = own.generation;
        let under_way = row.telling.is_some_and(|telling| telling.generation == generation);
        if row.knows_profile(generation) || under_way {
            return;
        }
        // With the list that says that this device may change the key.
        let manifest = Blob::new(own.manifest.0.signed().to_vec()).ok();
        let control = Control { profile_key: Some(own.profile_key.clone()), manifest, ..Control::default() };
        let message = Self::new_message(step);
        if let Some(old) = row.telling.replace(crate::record::Telling { message, generation }) {
            self.queue.push_back(Command::CancelDelivery(old.message));
        }
        self.touch(RowKey::Contact(contact));
        self.deliver(contact, message, control, step);
    }

    /// Signs a newer manifest when the one we have cannot be put or is getting old.
    fn renew_manifest(&mut self, step: &mut Step<'_>) {
        if self.root().is_none() || self.is_taking() {
            return;
        }
        let (Some(own), Some(revision)) = (&mut self.own, self.relay_revision) else { return };
        let now_ms = step.now.wall_ms;
        let renew_ms = own.manifest.0.manifest().issued_ms.saturating_add(RENEW_AFTER_MS);
        let version = own.manifest.0.version();
        let published = own.manifest_published == Some(own.manifest_mark());
        let newest = newest_named(version, revision, own.echoed);
        let waits = self.grace.is_some_and(|(held, until)| held == version && step.now.mono < until);
        let overtaken = !waits && if published { newest > version } else { newest >= version };
        let me = own.manifest.0.fingerprint();
        if self.is_list_unread() {
            // Another device may sign by now, made so with a recovery code.
            if self.is_among_linked(&me) {
                return self.jobs.want(Job::FetchProfile(me));
            }
            // Or a device was linked since this database was copied, which then knows no way to it.
            return self.read_kept();
        }
        let Some(own) = &self.own else { return };
        if own.manifest_put.is_none() && (renew_ms <= now_ms || overtaken) {
            let successor = own.manifest.0.successor(now_ms).map(|manifest| Manifest {
                version: manifest.version.max(newest.saturating_add(1)),
                ..manifest
            });
            let (Some(successor), Some(root)) = (successor, self.root()) else { return };
            match VerifiedManifest::sign(root, successor) {
                Ok(manifest) => {
                    tracing::info!(version = manifest.version(), "own manifest signed");
                    self.set_manifest(manifest, step);
                }
                Err(error) => tracing::error!(%error, "own manifest cannot be signed"),
            }
        }
        let renew_ms =
            self.own.as_ref().map(|own| own.manifest.0.manifest().issued_ms.saturating_add(RENEW_AFTER_MS));
        if let Some(renew_ms) = renew_ms {
            self.plan_own(renew_ms.max(now_ms.saturating_add(1)));
        }
    }

    /// Whether somebody names a newer list of our devices than the one that is held, and it was not looked for yet.
    pub(super) fn is_list_unread(&self) -> bool {
        self.own.as_ref().zip(self.relay_revision).is_some_and(|(own, revision)| {
            let held = own.manifest.0.version();
            let named = newest_named(held, revision, own.echoed).max(revision);
            named > held && self.looked != Some(named)
        })
    }

    /// Our own list was looked for at the relay. A newer one that somebody names and that is not there may be on its way from another device
    /// that signs now: nothing is signed above that one before it had time to come. What a person asks for is signed at once.
    pub(super) fn note_looked(&mut self, step: &Step<'_>) {
        let Some((own, revision)) = self.own.as_ref().zip(self.relay_revision) else { return };
        let (me, held) = (own.manifest.0.fingerprint(), own.manifest.0.version());
        let named = newest_named(held, revision, own.echoed).max(revision);
        self.looked = Some(named);
        // Once for the list that is held: whoever names others again and again delays nothing further.
        if named > held && self.is_among_linked(&me) && self.grace.is_none_or(|(of, _)| of != held) {
            self.grace = Some((held, step.now.mono.saturating_add(ON_ITS_WAY)));
        }
    }

    /// Whether our devices have an edge by which our own profile can be fetched.
    pub(super) fn is_among_linked(&self, me: &Fingerprint) -> bool {
        let link = self.contacts.get(me).and_then(|row| row.link.as_ref());
        link.is_some_and(|link| link.linked)
    }

    fn put_profile(&mut self, step: &mut Step<'_>) {
        let signs = self.root().is_some();
        let Some(own) = &mut self.own else { return };
        let mut touched = false;
        let mark = own.manifest_mark();
        let stale = own.manifest_published != Some(mark);
        if let Some(expect) = self.relay_revision.filter(|revision| *revision < mark.item)
            && self.sign_after <= step.now.mono
            && stale
            && signs
            && own.manifest_put.is_none()
        {
            let signed = own.manifest.0.signed().to_vec();
            let copies = copies(own, ProfileItem::Manifest, &signed, step);
            own.manifest_put = copies.map(|copies| ManifestPut { expect, mark, copies });
            touched = true;
        }
        let mark = own.bundle_mark();
        if let (Some(bundle), Some(mark)) = (own.bundle.clone(), mark)
            && own.bundle_put.is_none()
            && own.bundle_published != Some(mark)
        {
            let copies = copies(own, ProfileItem::Bundle(own.device), &bundle.signed, step);
            own.bundle_put = copies.map(|copies| BundlePut { mark, copies });
            touched = true;
        }
        let (manifest, bundle) = (own.manifest_put.is_some(), own.bundle_put.is_some());
        if touched {
            self.touch(RowKey::Own);
        }
        for (wanted, job) in [(manifest, Job::PutManifest), (bundle, Job::PutBundle)] {
            if wanted {
                self.jobs.want(job);
            }
        }
    }

    pub(super) fn manifest_put(&mut self) {
        let Some(own) = &mut self.own else { return };
        let Some(put) = own.manifest_put.take() else { return };
        own.manifest_published = Some(put.mark);
        self.conflicts = 0;
        self.relay_revision = Some(put.mark.item);
        self.touch(RowKey::Own);
    }

    /// The relay holds another manifest than expected: it is asked for its revision, and overtaken. Each time in a row takes twice as
    /// long, so that a relay cannot make us sign without end.
    pub(super) fn manifest_conflict(&mut self, step: &Step<'_>) {
        let pause =
            FIRST_CONFLICT_PAUSE.saturating_mul(1 << self.conflicts.min(16)).min(LONGEST_CONFLICT_PAUSE);
        self.conflicts = self.conflicts.saturating_add(1);
        self.sign_after = step.now.mono.saturating_add(pause);
        let Some(own) = &mut self.own else { return };
        own.manifest_put = None;
        own.manifest_published = None;
        self.relay_revision = None;
        self.touch(RowKey::Own);
        self.queue.push_back(Command::HelloWanted);
    }

    pub(super) fn bundle_put(&mut self) {
        let Some(own) = &mut self.own else { return };
        let Some(put) = own.bundle_put.take() else { return };
        own.bundle_published = Some(put.mark);
        self.touch(RowKey::Own);
        let key_id = penpal_protocol::ids::KeyId::from_bytes(put.mark.item.to_be_bytes());
        self.queue.push_back(Command::BundlePublished(key_id));
    }
}

/// The highest version of our manifest that somebody named, as far as it can be true.
pub(super) fn newest_named(version: u64, relay: u64, contacts: u64) -> u64 {
    let most = version.saturating_add(MAX_VERSION_JUMP);
    [relay, contacts].into_iter().filter(|named| *named <= most).max().unwrap_or_default()
}

/// Seals one item under the present profile key and, while there is one, under the key before.
fn copies(own: &Own, item: ProfileItem, signed: &[u8], step: &mut Step<'_>) -> Option<Copies> {
    let mut seal = |key: &ProfileKey| -> Option<Blob<MAX_PROFILE_BLOB_BYTES>> {
        let sealed = seal_profile(key, item, signed, step.random());
        Blob::new(sealed).inspect_err(|error| tracing::error!(%error, "own profile is too long")).ok()
    };
    let current = seal(&own.profile_key)?;
    let previous = own.previous.as_ref().and_then(|previous| seal(&previous.key));
    Some(Copies { current, previous })
}
