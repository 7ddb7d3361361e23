//! What our devices tell each other of contacts: who they are, what people decided, and where to write to them.
//!
//! Each contact carries two stamps: one of what people decided (name, trust, blocked, held, removed) and one of its connection. The
//! greater one wins on every device, so all end alike whatever comes first.

use penpal_protocol::{
    cbor::{Blob, List, Text},
    ids::{DeviceId, Fingerprint, SharedKey},
    limits::{MAX_CONTACTS, MAX_STATE_ENTRIES},
    sealed::{ContactCard, ContactEntry, Control, OwnState, Stamp},
};

use super::{Contacts, Step, learning::MAX_VERSION_JUMP};
use crate::record::{RowKey, StoredPairKey, Tombstone, Trust};

/// Longest encoded state in one message, in bytes: it leaves room for everything else in a body.
const MAX_STATE_BYTES: usize = 60 * 1024;
/// How far a counter that a linked device names may be ahead of the primary's before it is taken for a lie: far above what linked devices
/// take of each other, so that what they came to is not refused by the primary. Counters never run out at this pace.
const MAX_COUNTER_JUMP: u64 = 1 << 40;
/// Most removals that are remembered; the oldest ones go.
const MAX_TOMBSTONES: usize = 2 * MAX_CONTACTS;
/// Before any change.
const NEVER: Stamp = Stamp { counter: 0, device: DeviceId::from_bytes([0; 16]) };

impl Contacts {
    /// The stamp of a change made now.
    fn next_stamp(&mut self) -> Stamp {
        let Some(own) = &mut self.own else { return NEVER };
        let counter = own.counter.unwrap_or_default().saturating_add(1);
        own.counter = Some(counter);
        let device = own.device;
        self.touch(RowKey::Own);
        Stamp { counter, device }
    }

    /// People changed something about a contact here: our other devices are told.
    pub(super) fn changed_by_people(&mut self, contact: Fingerprint) {
        let stamp = self.next_stamp();
        if let Some(row) = self.contacts.get_mut(&contact) {
            row.stamp = Some(stamp);
            self.touch(RowKey::Contact(contact));
            self.unsaid.insert(contact);
        }
    }

    /// People blocked or unblocked a contact here. Whatever else they change about it elsewhere stays, and this too.
    pub(super) fn blocked_by_people(&mut self, contact: Fingerprint, blocked: bool) {
        let stamp = self.next_stamp();
        if let Some(row) = self.contacts.get_mut(&contact) {
            (row.blocked, row.block_stamp) = (blocked, Some(stamp));
            self.touch(RowKey::Contact(contact));
            self.unsaid.insert(contact);
        }
    }

    /// The connection with a contact changed here.
    pub(super) fn link_changed(&mut self, contact: Fingerprint) {
        let stamp = self.next_stamp();
        if let Some(row) = self.contacts.get_mut(&contact) {
            row.link_stamp = Some(stamp);
            self.touch(RowKey::Contact(contact));
            self.unsaid.insert(contact);
        }
    }

    /// A connection was agreed on here. With somebody new that is a decision of people, which an earlier removal does not undo.
    pub(super) fn connection_agreed(&mut self, contact: Fingerprint) {
        if self.contacts.get(&contact).is_some_and(|row| row.stamp.is_none()) {
            self.changed_by_people(contact);
        }
        self.link_changed(contact);
    }

    /// A contact was removed here.
    pub(super) fn removed_by_people(&mut self, contact: Fingerprint) {
        let stamp = self.next_stamp();
        self.bury(contact, Tombstone { stamp });
        self.unsaid.insert(contact);
    }

    fn bury(&mut self, contact: Fingerprint, tombstone: Tombstone) {
        self.tombstones.insert(contact, tombstone);
        self.touch(RowKey::Removed(contact));
        if self.tombstones.len() > MAX_TOMBSTONES
            && let Some((oldest, _)) = self.tombstones.iter().min_by_key(|(_, held)| held.stamp)
        {
            let oldest = *oldest;
            self.tombstones.remove(&oldest);
            self.touch(RowKey::Removed(oldest));
        }
    }

    /// Tells our other devices what changed in this step.
    pub(super) fn say_state(&mut self, step: &mut Step<'_>) {
        if self.unsaid.is_empty() {
            return;
        }
        let contacts = std::mem::take(&mut self.unsaid);
        let devices = self.others();
        if !devices.is_empty() {
            self.send_state(contacts.into_iter(), &devices, step);
        }
    }

    /// Tells one device, or all, of every contact.
    pub(super) fn send_all_state(&mut self, device: Option<DeviceId>, step: &mut Step<'_>) {
        let contacts: Vec<_> = self.contacts.keys().chain(self.tombstones.keys()).copied().collect();
        let devices = device.map_or_else(|| self.others(), |device| vec![device]);
        self.send_state(contacts.into_iter(), &devices, step);
    }

    fn send_state(
        &mut self,
        contacts: impl Iterator<Item = Fingerprint>,
        devices: &[DeviceId],
        step: &mut Step<'_>,
    ) {
        let entries: Vec<_> = contacts.filter_map(|contact| self.entry(contact)).collect();
        let mut part = Vec::new();
        let mut bytes = 0;
        for entry in entries {
            let length = penpal_protocol::cbor::encode(&entry).len();
            if bytes + length > MAX_STATE_BYTES || part.len() >= MAX_STATE_ENTRIES {
                self.send_part(std::mem::take(&mut part), devices, step);
                bytes = 0;
            }
            bytes += length;
            part.push(entry);
        }
        if !part.is_empty() {
            self.send_part(part, devices, step);
        }
    }

    /// Tells our other devices of mail. Nothing is said where there are none.
    pub fn say_to_devices(&mut self, state: &OwnState, step: &mut Step<'_>) {
        let devices = self.others();
        if !devices.is_empty() {
            self.send_own(state, &devices, step);
            self.settle(step);
        }
    }

    fn send_part(&mut self, part: Vec<ContactEntry>, devices: &[DeviceId], step: &mut Step<'_>) {
        let state = OwnState { contacts: Some(List::truncated(part)), read: None, sent: None };
        self.send_own(&state, devices, step);
    }

    fn send_own(&mut self, state: &OwnState, devices: &[DeviceId], step: &mut Step<'_>) {
        let Ok(own) = Blob::new(state.encode()) else { return };
        let control = Control { own: Some(own), ..Control::default() };
        let message = Self::new_message(step);
        let Some(me) = self.me() else { return };
        self.deliver_to(me, devices.to_vec(), message, control, step);
    }

    /// How a contact stands here, for our other devices. One that was never connected is this device's own affair.
    pub(super) fn entry(&self, contact: Fingerprint) -> Option<ContactEntry> {
        if self.me() == Some(contact) {
            return None;
        }
        let Some(row) = self.contacts.get(&contact) else {
            let stamp = self.tombstones.get(&contact)?.stamp;
            return Some(ContactEntry { contact, stamp, card: None });
        };
        let link = row.link.as_ref()?;
        let key = |key: &StoredPairKey| SharedKey::from_bytes(*key.0.expose());
        // Once the contact is told of a new edge, mail may come under its key at any moment.
        let rekeying = row.rekeying.as_ref().filter(|rekeying| rekeying.made);
        let (edge_in, cap_in, pair_in) = rekeying
            .map_or((link.edge_in, &link.cap_in, &link.pair_in), |fresh| {
                (fresh.edge, &fresh.cap, &fresh.pair_in)
            });
        let card = ContactCard {
            name: row.name.clone(),
            handle: row.handle.clone(),
            verified: row.trust == Trust::Verified,
            blocked: row.blocked,
            held: row.held,
            manifest: Blob::new(row.manifest.0.signed().to_vec()).ok()?,
            profile_key: row.profile_key.clone(),
            relay: Text::new(row.relay.0.to_string()).ok()?,
            link_stamp: row.link_stamp.unwrap_or(NEVER),
            edge_out: link.edge_out,
            cap_out: link.cap_out.clone(),
            edge_in,
            cap_in: cap_in.clone(),
            pair_out: key(&link.pair_out),
            pair_in: key(pair_in),
            transcript: link.transcript,
            block_stamp: row.block_stamp,
            edge_number: row.rekey_seen,
            edge_turn: row.turn_seen,
        };
        Some(ContactEntry { contact, stamp: row.stamp.unwrap_or(NEVER), card: Some(card) })
    }

    /// Takes what another device of ours, `from`, says of contacts. What it cannot have seen is left out.
    pub(super) fn take_state(&mut self, from: &DeviceId, state: &OwnState, step: &mut Step<'_>) {
        for entry in state.contacts.iter().flat_map(|entries| entries.iter()) {
            let (contact, stamp) = (entry.contact, entry.stamp);
            if self.me() == Some(contact) {
                continue;
            }
            let card = entry.card.as_ref();
            let link_stamp = card.map_or(NEVER, |card| card.link_stamp);
            let block_stamp = card.and_then(|card| card.block_stamp).unwrap_or(NEVER);
            let stamps = [stamp, link_stamp, block_stamp];
            if !stamps.iter().all(|stamp| self.is_credible(from, stamp)) {
                tracing::warn!("a device of this account names a change that cannot be");
                continue;
            }
            self.saw_counter(stamps.iter().map(|stamp| stamp.counter).max().unwrap_or_default());
            match &entry.card {
                Some(card) => self.take_card(contact, stamp, card, step),
                None => self.take_removal(contact, stamp, step),
            }
        }
    }

    /// Whether a stamp can be: of a device that is or was ours, and not so far ahead that counters would run out. The primary is
    /// believed, so that whatever it took in good faith reaches all.
    fn is_credible(&self, from: &DeviceId, stamp: &Stamp) -> bool {
        let Some(own) = &self.own else { return false };
        let manifest = &own.manifest.0;
        let known = manifest.device(&stamp.device).is_some() || manifest.is_revoked(&stamp.device);
        let held = own.counter.unwrap_or_default();
        let most = if self.is_primary(from) {
            u64::MAX / 2
        } else if self.root().is_some() {
            held.saturating_add(MAX_COUNTER_JUMP)
        } else {
            held.saturating_add(MAX_VERSION_JUMP)
        };
        (known && stamp.counter <= most) || *stamp == NEVER
    }

    pub(super) fn saw_counter(&mut self, counter: u64) {
        if let Some(own) = &mut self.own
            && own.counter.unwrap_or_default() < counter
        {
            own.counter = Some(counter);
            self.touch(RowKey::Own);
        }
    }

    pub(super) fn take_removal(&mut self, contact: Fingerprint, stamp: Stamp, step: &mut Step<'_>) {
        if self.tombstones.get(&contact).is_some_and(|held| held.stamp >= stamp) {
            return;
        }
        let known = self.contacts.contains_key(&contact) || self.tombstones.contains_key(&contact);
        if !known && self.tombstones.len() >= MAX_TOMBSTONES {
            return;
        }
        // One that people connected anew since is another agreement. New edges alone are none: nobody decided them.
        if self.contacts.get(&contact).is_some_and(|row| row.stamp > Some(stamp)) {
            return;
        }
        self.bury(contact, Tombstone { stamp });
        self.end_contact(contact, step);
    }
}
