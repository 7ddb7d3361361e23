//! Cutting a device off: a manifest without it, its place at the relay, and new edges and keys in place of those it knows.
//!
//! Only the device that signs makes new edges; its contacts answer with theirs. Each direction changes by itself: who receives makes
//! the edge, tells the other side in a sealed message, and ends the old edge when something comes under the new key.

use penpal_protocol::{
    cbor::{Blob, List},
    ids::{Capability, EdgeId, Fingerprint, SharedKey, SlotId},
    limits::DAY_MS,
    sealed::{Control, Rekey},
    text::Label,
};
use penpal_seal::PairKey;

use super::{Contacts, Step};
use crate::{
    command::Command,
    error::DeviceError,
    jobs::Job,
    notice::Notice,
    record::{OldKey, Rekeying, RowKey, StoredPairKey},
};

/// How long envelopes under a key that was replaced are recognised, in milliseconds: as long as a spool keeps them.
const OLD_KEY_MS: u64 = 31 * DAY_MS;
/// Most revoked devices that a manifest lists.
pub(super) const MAX_REVOKED: usize = 256;

impl Contacts {
    /// Takes a device out of the account. From the next connection to the relay on it can neither receive nor deposit.
    ///
    /// # Errors
    /// [`DeviceError`]; then nothing changed.
    pub fn revoke_device(&mut self, name: &Label, step: &mut Step<'_>) -> Result<(), DeviceError> {
        let revoked = self.revoke(name, step);
        self.settle(step);
        revoked
    }

    fn revoke(&mut self, name: &Label, step: &mut Step<'_>) -> Result<(), DeviceError> {
        let device = self.device_named(name)?;
        self.may_sign()?;
        let own = self.own.as_ref().ok_or(DeviceError::NoAccount)?;
        if device == own.device {
            return Err(DeviceError::This { name: name.clone() });
        }
        let slot = own.manifest.0.device(&device).map(|entry| entry.slot).ok_or(DeviceError::NotNow)?;
        let signed = self.sign_manifest(step, |manifest| {
            let mut devices = manifest.devices.to_vec();
            devices.retain(|entry| entry.id != device);
            manifest.devices = List::new(devices).ok()?;
            let mut revoked = manifest.revoked.to_vec();
            revoked.push(device);
            let old = revoked.len().saturating_sub(MAX_REVOKED);
            manifest.revoked = List::new(revoked.split_off(old)).ok()?;
            Some(())
        });
        signed.ok_or(DeviceError::NotNow)?;
        tracing::warn!("a device was revoked");
        self.retire_device(slot);
        // It may never have come: then its answer is not to be had any more.
        self.device_heard(&device);
        self.rotate_profile_key(step);
        self.rekey_all(step);
        self.notify(Notice::DeviceRevoked { name: name.clone() });
        Ok(())
    }

    /// Begins new edges and keys with all contacts, in both directions.
    pub(super) fn rekey_all(&mut self, step: &mut Step<'_>) {
        for contact in self.contacts.keys().copied().collect::<Vec<_>>() {
            self.rekey(contact, true, step);
        }
    }

    /// Lets the relay end a device of ours.
    pub(super) fn retire_device(&mut self, slot: SlotId) {
        self.retired_devices.insert(slot);
        self.touch(RowKey::RetiredDevice(slot));
        self.jobs.want(Job::RemoveDevice(slot));
    }

    /// Whether the relay still has to be told of a revoked device.
    #[must_use]
    pub fn is_revoking(&self) -> bool {
        !self.retired_devices.is_empty()
    }

    /// Begins a new edge and pair key for what a contact sends us; `both` asks it to do the same.
    fn rekey(&mut self, contact: Fingerprint, both: bool, step: &mut Step<'_>) {
        if self.me() == Some(contact) || self.root().is_none() {
            return;
        }
        let fresh = Rekeying {
            edge: EdgeId::from_bytes(step.random()),
            cap: Capability::from_bytes(step.random()),
            pair_in: StoredPairKey(PairKey::from_bytes(step.random())),
            made: false,
            both,
        };
        let Some(row) = self.contacts.get_mut(&contact) else { return };
        // One that was begun before knows nothing that the revoked device does not.
        if row.link.is_none() || (row.rekeying.is_some() && !both) {
            return;
        }
        let edge = fresh.edge;
        let before = row.rekeying.replace(Box::new(fresh));
        let name = row.name.clone();
        self.touch(RowKey::Contact(contact));
        if let Some(before) = before {
            self.retire_edge(before.edge, contact, Some(name));
        }
        self.jobs.want(Job::CreateEdge(edge));
    }

    /// Our new edge exists: our other devices are told of it, then the contact.
    pub(super) fn rekey_made(&mut self, edge: EdgeId, step: &mut Step<'_>) {
        let found = self.contacts.iter_mut().find_map(|(contact, row)| {
            let rekeying =
                row.rekeying.as_mut().filter(|rekeying| rekeying.edge == edge && !rekeying.made)?;
            rekeying.made = true;
            let rekey = Rekey {
                edge,
                cap: rekeying.cap.clone(),
                pair: SharedKey::from_bytes(*rekeying.pair_in.0.expose()),
                both: rekeying.both,
            };
            Some((*contact, rekey))
        });
        let Some((contact, rekey)) = found else { return };
        self.link_changed(contact);
        self.say_state(step);
        let manifest = self.own.as_ref().and_then(|own| Blob::new(own.manifest.0.signed().to_vec()).ok());
        let control = Control { manifest, rekey: Blob::new(rekey.encode()).ok(), ..Control::default() };
        let message = Self::new_message(step);
        self.deliver(contact, message, control, step);
    }

    /// Something came under the new key: the old edge ends.
    pub(super) fn rekey_confirmed(&mut self, contact: Fingerprint, step: &Step<'_>) {
        let Some(row) = self.contacts.get_mut(&contact) else { return };
        let (Some(rekeying), Some(link)) = (row.rekeying.take(), row.link.as_mut()) else { return };
        let Rekeying { edge, cap, pair_in, .. } = *rekeying;
        let before = std::mem::replace(&mut link.pair_in, pair_in);
        let old = std::mem::replace(&mut link.edge_in, edge);
        link.cap_in = cap;
        let until_ms = step.now.wall_ms.saturating_add(OLD_KEY_MS);
        row.old = Some(OldKey { pair_in: Some(before), boot: None, until_ms });
        let (name, linked) = (row.name.clone(), row.link.as_ref().is_some_and(|link| link.linked));
        self.touch(RowKey::Contact(contact));
        self.jobs.drop_unless_asked(Job::LinkEdge(contact, old));
        if !linked {
            self.jobs.want(Job::LinkEdge(contact, edge));
        }
        self.retire_edge(old, contact, Some(name));
        self.plan_contact(contact, step.now.wall_ms);
    }

    /// A contact has a new edge and key for what we send.
    pub(super) fn take_rekey(&mut self, contact: Fingerprint, rekey: &Rekey, step: &mut Step<'_>) {
        let Some(link) = self.contacts.get_mut(&contact).and_then(|row| row.link.as_mut()) else { return };
        link.edge_out = rekey.edge;
        link.cap_out = rekey.cap.clone();
        link.pair_out = StoredPairKey(PairKey::from_bytes(*rekey.pair.expose()));
        link.linked = false;
        link.rekeyed = Some(true);
        let edge = link.edge_in;
        self.touch(RowKey::Contact(contact));
        // Whatever is on its way about the edge before says nothing of this one.
        self.jobs.done(Job::LinkEdge(contact, edge));
        self.jobs.want(Job::LinkEdge(contact, edge));
        self.queue.push_back(Command::RouteChanged(contact));
        if rekey.both {
            self.rekey(contact, false, step);
        }
    }
}
