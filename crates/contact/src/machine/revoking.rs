//! Cutting a device off: a manifest without it, its place at the relay, and new edges and keys in place of those it knows.
//!
//! Only the device that signs makes new edges; its contacts answer with theirs. Each direction changes by itself: who receives makes
//! the edge, tells the other side in a sealed message, and ends the old edge when something comes under the new key.

use penpal_protocol::{
    cbor::{Blob, List},
    ids::{Capability, DeviceId, EdgeId, Fingerprint, SharedKey, SlotId},
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
    record::{Earlier, OldKey, Rekeying, RowKey, StoredPairKey},
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
            self.rekey(contact, true, true, step);
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

    /// Begins a new edge and pair key for what a contact sends us; `both` asks it to do the same. One that was begun before goes on, unless
    /// they are wanted `anew`: because of a device that may know it.
    fn rekey(&mut self, contact: Fingerprint, both: bool, anew: bool, step: &mut Step<'_>) {
        if self.me() == Some(contact) || self.root().is_none() {
            return;
        }
        let Some(row) = self.contacts.get(&contact) else { return };
        let turns = [
            row.link.as_ref().and_then(|link| link.turn_in),
            row.rekeying.as_ref().and_then(|before| before.turn),
        ];
        let after = turns.into_iter().flatten().map(|turn| turn.saturating_add(1)).max();
        let fresh = Rekeying {
            edge: EdgeId::from_bytes(step.random()),
            cap: Capability::from_bytes(step.random()),
            pair_in: StoredPairKey(PairKey::from_bytes(step.random())),
            made: false,
            both,
            told_ms: None,
            message: None,
            turn: after.max(Some(step.now.wall_ms)),
        };
        let Some(row) = self.contacts.get_mut(&contact) else { return };
        if row.link.is_none() || (row.rekeying.is_some() && !anew) {
            return;
        }
        let edge = fresh.edge;
        let before = row.rekeying.replace(Box::new(fresh));
        let name = row.name.clone();
        let over = before.and_then(|before| {
            if let Some(message) = before.message {
                self.queue.push_back(Command::CancelDelivery(message));
            }
            if !before.made {
                return Some(before.edge);
            }
            // It may use that one by now: it stands, and its key is recognised, until something comes under the newest.
            let until_ms = step.now.wall_ms.saturating_add(OLD_KEY_MS);
            row.remember(Earlier { pair_in: before.pair_in, until_ms, edge: Some(before.edge) })
        });
        self.touch(RowKey::Contact(contact));
        if let Some(over) = over {
            self.retire_edge(over, contact, Some(name));
        }
        self.jobs.want(Job::CreateEdge(edge));
    }

    /// Our new edge exists: our other devices are told of it, then the relay that keeps our state, then the contact.
    pub(super) fn rekey_made(&mut self, edge: EdgeId, step: &mut Step<'_>) {
        let found = self.contacts.iter_mut().find_map(|(contact, row)| {
            let rekeying =
                row.rekeying.as_mut().filter(|rekeying| rekeying.edge == edge && !rekeying.made)?;
            rekeying.made = true;
            Some(*contact)
        });
        let Some(contact) = found else { return };
        self.link_changed(contact);
        self.say_state(step);
        self.use_once_kept(contact, step);
    }

    /// Asks a contact to use our new edge. What asked before and is still on its way is taken back.
    pub(super) fn tell_rekey(&mut self, contact: Fingerprint, step: &mut Step<'_>) {
        let message = Self::new_message(step);
        let Some(own) = &self.own else { return };
        let number = own.manifest.0.version();
        let manifest = Blob::new(own.manifest.0.signed().to_vec()).ok();
        let Some(row) = self.contacts.get_mut(&contact) else { return };
        let Some(rekeying) = row.rekeying.as_mut().filter(|rekeying| rekeying.made) else { return };
        let rekey = Rekey {
            edge: rekeying.edge,
            cap: rekeying.cap.clone(),
            pair: SharedKey::from_bytes(*rekeying.pair_in.0.expose()),
            both: rekeying.both,
            number: Some(number),
            turn: rekeying.turn,
        };
        rekeying.told_ms = Some(step.now.wall_ms);
        let before = rekeying.message.replace(message);
        self.touch(RowKey::Contact(contact));
        if let Some(before) = before {
            self.queue.push_back(Command::CancelDelivery(before));
        }
        let control = Control { manifest, rekey: Blob::new(rekey.encode()).ok(), ..Control::default() };
        self.deliver(contact, message, control, step);
    }

    /// Asks once more when nothing came under the new key for so long: a message ends after 30 days, or is lost with a restored backup.
    pub(super) fn rekey_unanswered(&mut self, contact: Fingerprint, after_ms: u64, step: &mut Step<'_>) {
        if self.unkept.has(&contact) {
            return;
        }
        let Some(row) = self.contacts.get(&contact).filter(|row| !row.is_shut()) else { return };
        let Some(rekeying) = row.rekeying.as_ref().filter(|rekeying| rekeying.made) else { return };
        if rekeying.told_ms.unwrap_or_default().saturating_add(after_ms) <= step.now.wall_ms {
            tracing::info!("a contact does not use its new edge yet; it is told again");
            self.tell_rekey(contact, step);
        }
    }

    /// A contact has further devices. What their account told them of us may be from before we made a new edge, which those that we knew
    /// were told.
    pub(super) fn tell_new_edge(
        &mut self,
        contact: Fingerprint,
        devices: Vec<DeviceId>,
        step: &mut Step<'_>,
    ) {
        if self.me() == Some(contact) || self.root().is_none() {
            return;
        }
        let number = self.own.as_ref().map(|own| own.manifest.0.version());
        let Some(row) = self.contacts.get(&contact) else { return };
        let key = |key: &StoredPairKey| SharedKey::from_bytes(*key.0.expose());
        // One that nobody was told of yet is told to all devices.
        let told = row.rekeying.as_deref().filter(|rekeying| rekeying.made && !row.is_untold());
        let replaced = row.old.as_ref().is_some_and(|old| old.pair_in.is_some());
        let (edge, cap, pair, turn) = match (told, row.link.as_ref().filter(|_| replaced)) {
            (Some(fresh), _) => (fresh.edge, fresh.cap.clone(), key(&fresh.pair_in), fresh.turn),
            (None, Some(link)) => (link.edge_in, link.cap_in.clone(), key(&link.pair_in), link.turn_in),
            (None, None) => return,
        };
        let rekey = Rekey { edge, cap, pair, both: false, number, turn };
        let control = Control { rekey: Blob::new(rekey.encode()).ok(), ..Control::default() };
        let message = Self::new_message(step);
        self.deliver_to(contact, devices, message, control, step);
    }

    /// Something came under the new key: the old edge ends, and so do new ones that were replaced meanwhile.
    pub(super) fn rekey_confirmed(&mut self, contact: Fingerprint, step: &Step<'_>) {
        let Some(row) = self.contacts.get_mut(&contact) else { return };
        let (Some(rekeying), Some(link)) = (row.rekeying.take(), row.link.as_mut()) else { return };
        let Rekeying { edge, cap, pair_in, turn, .. } = *rekeying;
        let before = std::mem::replace(&mut link.pair_in, pair_in);
        let old = std::mem::replace(&mut link.edge_in, edge);
        (link.cap_in, link.turn_in) = (cap, turn);
        let until_ms = step.now.wall_ms.saturating_add(OLD_KEY_MS);
        row.put_aside(OldKey { pair_in: Some(before), boot: None, until_ms });
        let mut earlier = row.earlier.take().unwrap_or_default().into_vec();
        let over: Vec<EdgeId> = earlier.iter_mut().filter_map(|known| known.edge.take()).collect();
        row.earlier = Some(List::truncated(earlier));
        let (name, linked) = (row.name.clone(), row.link.as_ref().is_some_and(|link| link.linked));
        self.touch(RowKey::Contact(contact));
        self.jobs.drop_unless_asked(Job::LinkEdge(contact, old));
        if !linked && !self.unkept.has(&contact) {
            self.jobs.want(Job::LinkEdge(contact, edge));
        }
        for edge in over.into_iter().chain([old]) {
            self.retire_edge(edge, contact, Some(name.clone()));
        }
        self.plan_contact(contact, step.now.wall_ms);
    }

    /// A contact has a new edge and key for what we send.
    pub(super) fn take_rekey(&mut self, contact: Fingerprint, rekey: &Rekey, step: &mut Step<'_>) {
        let Some(row) = self.contacts.get_mut(&contact) else { return };
        let Some(link) = row.link.as_mut() else { return };
        if rekey.number > Some(row.manifest.0.version()) {
            tracing::warn!("a contact numbers a new edge above its list of devices; it is not taken");
            return;
        }
        if rekey.number < row.rekey_seen {
            tracing::debug!("a contact's older word on its edge is not taken");
            return;
        }
        if rekey.number == row.rekey_seen && rekey.turn.is_some() && rekey.turn < row.turn_seen {
            tracing::debug!("a contact's word on an edge before its present one is not taken");
            if rekey.both {
                self.rekey(contact, false, false, step);
            }
            return;
        }
        let newer = rekey.number > row.rekey_seen;
        (row.rekey_seen, row.turn_seen) = (rekey.number, rekey.turn);
        // Said again, because nothing came there yet.
        if link.edge_out == rekey.edge {
            let (edge, linked) = (link.edge_in, link.linked);
            self.touch(RowKey::Contact(contact));
            if !linked && !self.unkept.has(&contact) {
                self.jobs.want(Job::LinkEdge(contact, edge));
            }
            return;
        }
        let pair = StoredPairKey(PairKey::from_bytes(*rekey.pair.expose()));
        self.write_on(contact, rekey.edge, rekey.cap.clone(), pair, step);
        if rekey.both {
            // The one that was begun for an earlier list was told to devices that are not on this one.
            self.rekey(contact, false, newer, step);
        }
    }

    /// What we send to a contact goes on another edge of its from now on.
    pub(super) fn write_on(
        &mut self,
        contact: Fingerprint,
        edge_out: EdgeId,
        cap_out: Capability,
        pair_out: StoredPairKey,
        step: &mut Step<'_>,
    ) {
        let link = self.contacts.get_mut(&contact).and_then(|row| row.link.as_mut());
        let Some(link) = link else { return };
        (link.edge_out, link.cap_out, link.pair_out) = (edge_out, cap_out, pair_out);
        (link.linked, link.rekeyed) = (false, Some(true));
        let edge = link.edge_in;
        self.touch(RowKey::Contact(contact));
        // Whatever is on its way about the edge before says nothing of this one.
        self.jobs.done(Job::LinkEdge(contact, edge));
        self.use_once_kept(contact, step);
        self.queue.push_back(Command::RouteChanged(contact));
    }
}
