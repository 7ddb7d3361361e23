//! The devices of our account: what is listed, renamed and revoked, and how they reach each other.
//!
//! They are a contact of each other, under the account's own fingerprint and the name `me`, with one edge and one pair key for all of
//! them. So mail, receipts, receive keys and presence go among them as to anybody else.

use std::time::Duration;

use penpal_protocol::{
    cbor::{Blob, List},
    ids::{Capability, DeviceId, EdgeId, Fingerprint, Hash, SlotId},
    sealed::{Control, DeviceEntry},
    text::Label,
    wire::{DeviceRemove, PutProof, Request},
};
use penpal_seal::{AccountSecret, RootKey, VerifiedManifest, own_devices_key};

use super::{Contacts, Step, revoking::MAX_REVOKED};
use crate::{
    command::{At, Command},
    error::DeviceError,
    jobs::Job,
    record::{Bundles, Contact, Link, Own, Pinned, RowKey, StoredPairKey, Trust},
};

/// Shortest time between two tellings of everything to one device.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

/// One device of our account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnDevice {
    /// Its id.
    pub id: DeviceId,
    /// Name of the machine.
    pub name: Label,
    /// When it was added, Unix milliseconds.
    pub added_ms: u64,
    /// Whether it is this one.
    pub here: bool,
    /// Whether it holds the root key: it alone links, renames and revokes.
    pub primary: bool,
}

impl Contacts {
    /// The root key, where this machine holds that of the account.
    pub(super) fn root(&self) -> Option<&RootKey> {
        let (root, own) = (self.keys.root.as_ref()?, self.own.as_ref()?);
        let signs = |device: &DeviceEntry| device.primary == Some(true) && device.id != own.device;
        // A recovery code makes another device the one that signs.
        let elsewhere = own.manifest.0.manifest().devices.iter().any(signs) && !self.is_taking();
        (self.me() == Some(root.fingerprint()) && !elsewhere).then_some(root)
    }

    /// The devices of our account, by name; empty without one.
    #[must_use]
    pub fn devices(&self) -> Vec<OwnDevice> {
        let Some(own) = &self.own else { return Vec::new() };
        let view = |device: &DeviceEntry| OwnDevice {
            id: device.id,
            name: device.name.clone(),
            added_ms: device.added_ms,
            here: device.id == own.device,
            primary: device.primary == Some(true),
        };
        let mut all: Vec<_> = own.manifest.0.manifest().devices.iter().map(view).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// Whether an account is ours, and not a contact's.
    #[must_use]
    pub fn is_me(&self, account: &Fingerprint) -> bool {
        self.me().as_ref() == Some(account)
    }

    /// Gives a device of ours another name. Contacts see it with the next manifest.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn rename_device(
        &mut self,
        name: &Label,
        new: &Label,
        step: &mut Step<'_>,
    ) -> Result<(), DeviceError> {
        let device = self.device_named(name)?;
        if new.is_reserved() {
            return Err(DeviceError::Reserved { name: new.clone() });
        }
        let own = self.own.as_ref().ok_or(DeviceError::NoAccount)?;
        let devices = &own.manifest.0.manifest().devices;
        if new != name && devices.iter().any(|device| device.name == *new) {
            return Err(DeviceError::NameTaken { name: new.clone() });
        }
        self.may_sign()?;
        let changed = self.sign_manifest(step, |manifest| {
            let mut devices = manifest.devices.to_vec();
            let entry = devices.iter_mut().find(|entry| entry.id == device)?;
            entry.name = new.clone();
            manifest.devices = List::new(devices).ok()?;
            Some(())
        });
        self.settle(step);
        changed.ok_or(DeviceError::NotNow)
    }

    pub(super) fn device_named(&self, name: &Label) -> Result<DeviceId, DeviceError> {
        let own = self.own.as_ref().ok_or(DeviceError::NoAccount)?;
        let devices = &own.manifest.0.manifest().devices;
        let found = devices.iter().find(|device| device.name == *name).map(|device| device.id);
        found.ok_or_else(|| DeviceError::Unknown {
            name: name.clone(),
            candidates: devices.iter().map(|device| device.name.clone()).collect(),
        })
    }

    pub(super) fn may_sign(&self) -> Result<(), DeviceError> {
        match self.root() {
            Some(_) => Ok(()),
            None => Err(DeviceError::NoRoot { primary: self.primary_name() }),
        }
    }

    /// Whether a device of ours is the one that signs.
    pub(super) fn is_primary(&self, device: &DeviceId) -> bool {
        let listed = self.own.as_ref().and_then(|own| own.manifest.0.device(device));
        listed.is_some_and(|device| device.primary == Some(true))
    }

    /// Another device of ours was put back to a backup, or set up from an export: it is told of every contact again.
    ///
    /// What it was told since is lost there, and nobody who blocked or removed somebody would say so twice. At most once in
    /// `TOLD_AGAIN` for each device: one that is stolen could ask for it with every message.
    pub fn handle_device_fell_back(&mut self, device: &DeviceId, step: &mut Step<'_>) {
        let due = self.told_again.get(device).is_none_or(|at| at.saturating_add(TOLD_AGAIN) <= step.now.mono);
        if due && self.others().contains(device) {
            self.told_again.retain(|_, at| at.saturating_add(TOLD_AGAIN) > step.now.mono);
            self.told_again.insert(*device, step.now.mono);
            self.send_all_state(Some(*device), step);
            self.settle(step);
        }
    }

    /// Takes a newer manifest of our own into use.
    pub(super) fn set_manifest(&mut self, manifest: VerifiedManifest, step: &Step<'_>) {
        let Some(own) = &mut self.own else { return };
        let me = manifest.fingerprint();
        if let Some(entry) = manifest.device(&own.device) {
            (own.device_name, own.slot) = (entry.name.clone(), entry.slot);
        }
        own.manifest = Pinned(manifest.clone());
        self.touch(RowKey::Own);
        self.give_up_root();
        if let Some(row) = self.contacts.get_mut(&me) {
            row.bundles.follow(&manifest, step.now.wall_ms);
            row.manifest = Pinned(manifest);
            self.touch(RowKey::Contact(me));
            self.queue.push_back(Command::RouteChanged(me));
        }
    }

    /// Our own manifest as another device of ours has it.
    pub(super) fn adopt_manifest(&mut self, step: &mut Step<'_>) {
        let Some(me) = self.me() else { return };
        let Some(manifest) = self.contacts.get(&me).map(|row| row.manifest.0.clone()) else { return };
        let newer = self.own.as_ref().is_some_and(|own| own.manifest.0.version() < manifest.version());
        if newer {
            let primary = |own: &Own| {
                let devices = own.manifest.0.manifest().devices.iter();
                devices.filter(|device| device.primary == Some(true)).map(|device| device.id).next()
            };
            let (before, known) = (self.own.as_ref().and_then(primary), self.others());
            self.set_manifest(manifest, step);
            let now = self.own.as_ref().and_then(primary);
            if let Some(primary) = now.filter(|now| before != Some(*now) && self.others().contains(now)) {
                // It has what the one before knew last, and not what was done here since.
                self.send_all_state(Some(primary), step);
            }
            if self.root().is_some() {
                self.tell_newcomers(&known, step);
            }
            // Whoever signed it brings it to the relay.
            if self.root().is_none()
                && let Some(own) = &mut self.own
            {
                own.manifest_published = Some(own.manifest_mark());
            }
        }
    }

    /// Sends our newest manifest to every contact, and to our other devices.
    pub(super) fn tell_manifest(&mut self, step: &mut Step<'_>) {
        let Some(own) = &self.own else { return };
        let (version, signed) = (own.manifest.0.version(), own.manifest.0.signed().to_vec());
        let Ok(manifest) = Blob::new(signed) else { return };
        let open = self.contacts.iter().filter(|(_, row)| row.link.is_some() && !row.is_shut());
        for contact in open.map(|(contact, _)| *contact).collect::<Vec<_>>() {
            let Some(row) = self.contacts.get_mut(&contact) else { continue };
            row.manifest_sent = version;
            self.touch(RowKey::Contact(contact));
            let control = Control { manifest: Some(manifest.clone()), ..Control::default() };
            let message = Self::new_message(step);
            self.deliver(contact, message, control, step);
        }
    }

    /// Our other devices.
    pub(super) fn others(&self) -> Vec<DeviceId> {
        let Some(own) = &self.own else { return Vec::new() };
        let devices = own.manifest.0.manifest().devices.iter().map(|device| device.id);
        devices.filter(|device| *device != own.device).collect()
    }

    /// Whether our devices have an edge among each other. Begins one when there is none.
    pub(super) fn self_is_linked(&mut self, step: &mut Step<'_>) -> bool {
        let Some(me) = self.me() else { return false };
        match self.contacts.get(&me) {
            Some(row) => row.link.as_ref().is_some_and(|link| link.linked),
            None => {
                let edge = EdgeId::from_bytes(step.random());
                let cap = Capability::from_bytes(step.random());
                let secret = AccountSecret::from_bytes(step.random());
                let pair = StoredPairKey(own_devices_key(&secret));
                self.make_self((edge, cap, pair), false, step);
                false
            }
        }
    }

    /// Makes our devices a contact of each other.
    pub(super) fn make_self(
        &mut self,
        (edge, cap, pair): (EdgeId, Capability, StoredPairKey),
        made: bool,
        step: &Step<'_>,
    ) {
        let Some(own) = &self.own else { return };
        let (me, version) = (own.manifest.0.fingerprint(), own.manifest.0.version());
        let Ok(name) = Label::new("me") else { return };
        let link = Link {
            edge_out: edge,
            cap_out: cap.clone(),
            edge_in: edge,
            cap_in: cap,
            pair_out: pair.clone(),
            pair_in: pair,
            transcript: Hash::from_bytes([0; 32]),
            made,
            linked: made,
            rekeyed: None,
            turn_in: None,
        };
        let row = Contact {
            name,
            handle: own.handle.clone(),
            trust: Trust::Verified,
            changed: None,
            blocked: false,
            held: false,
            manifest: own.manifest.clone(),
            bundles: Bundles::default(),
            profile_key: own.profile_key.clone(),
            relay: own.relay.clone(),
            link: Some(link),
            accepting: None,
            old: None,
            gone_since_ms: None,
            told: own.generation,
            telling: None,
            manifest_sent: version,
            since_ms: step.now.wall_ms,
            announced: 0,
            repin: false,
            stamp: None,
            link_stamp: None,
            rekeying: None,
            block_stamp: None,
            earlier: None,
            rekey_seen: None,
            turn_seen: None,
        };
        self.contacts.insert(me, row);
        self.touch(RowKey::Contact(me));
        self.queue.push_back(Command::RouteChanged(me));
        self.plan_contact(me, step.now.wall_ms);
        if !made {
            self.jobs.want(Job::CreateEdge(edge));
        }
    }

    /// What is asked of the relay about our devices; `None` when it is not needed any more.
    pub(super) fn device_request(&self, job: Job) -> Option<(At, Request)> {
        let proof = self.recovery_root().or_else(|| self.root()).map(RootKey::account_proof)?;
        let request = if job == Job::PutProof {
            Request::PutProof(PutProof { proof_hash: proof.hash() })
        } else if let Job::RemoveDevice(slot) = job
            && self.retired_devices.contains(&slot)
        {
            Request::DeviceRemove(DeviceRemove { slot, proof })
        } else {
            return None;
        };
        Some((At::Home, request))
    }

    /// The relay holds the proof's hash, or will not take it.
    pub(super) fn proof_put(&mut self) {
        if let Some(own) = &mut self.own {
            own.proof_put = Some(true);
            self.touch(RowKey::Own);
        }
    }

    /// Keeps in mind that the relay ended a device.
    fn note_cut_off(&mut self, slot: SlotId) {
        if self.cut_off.len() >= MAX_REVOKED
            && let Some(other) = self.cut_off.pop_first()
        {
            self.touch(RowKey::CutOff(other));
        }
        self.cut_off.insert(slot);
        self.touch(RowKey::CutOff(slot));
    }

    /// The relay was put back to an older copy of itself: what it was told since is told again.
    pub(super) fn relay_went_back(&mut self) {
        tracing::warn!("our relay is an older copy of itself; it is told again what it may have forgotten");
        if let Some(own) = &mut self.own {
            own.proof_put = None;
            own.bundle_published = None;
            self.touch(RowKey::Own);
        }
        self.kept_lost();
        self.machines_lost();
        if self.root().is_some() {
            for slot in self.cut_off.clone() {
                self.retire_device(slot);
            }
        }
    }

    /// The relay has no such device any more, and no manifest of ours: it is asked which one it holds, and gets the present one.
    pub(super) fn device_removed(&mut self, slot: SlotId) {
        if !self.retired_devices.remove(&slot) {
            return;
        }
        self.touch(RowKey::RetiredDevice(slot));
        self.note_cut_off(slot);
        if let Some(own) = &mut self.own {
            own.manifest_published = None;
            self.relay_revision = None;
            self.touch(RowKey::Own);
            self.queue.push_back(Command::HelloWanted);
        }
    }
}
