//! What our devices tell each other of contacts: who they are, what people decided, and where to write to them.
//!
//! Each contact carries two stamps: one of what people decided (name, trust, blocked, held, removed) and one of its connection. The
//! greater one wins on every device, so all end alike whatever comes first.

use penpal_protocol::{
    cbor::{Blob, List, Text},
    ids::{DeviceId, Fingerprint, SharedKey},
    limits::{DAY_MS, MAX_CONTACTS, MAX_STATE_ENTRIES},
    sealed::{ContactCard, ContactEntry, Control, OwnState, Stamp},
    text::RelayAddress,
};
use penpal_seal::{PairKey, VerifiedManifest};

use super::{Contacts, Step, learning::MAX_VERSION_JUMP};
use crate::{
    command::Command,
    record::{
        Bundles, Contact, InviteEnd, Link, OldKey, Pinned, RowKey, StoredPairKey, StoredRelay, Tombstone,
        Trust,
    },
};

/// Longest encoded state in one message, in bytes: it leaves room for everything else in a body.
const MAX_STATE_BYTES: usize = 60 * 1024;
/// How long envelopes under a pair key that was replaced are recognised, in milliseconds: as long as a spool keeps them.
const OLD_KEY_MS: u64 = 31 * DAY_MS;
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

    pub(super) fn take_card(
        &mut self,
        contact: Fingerprint,
        stamp: Stamp,
        card: &ContactCard,
        step: &mut Step<'_>,
    ) {
        if self.tombstones.get(&contact).is_some_and(|held| held.stamp >= stamp) {
            return;
        }
        if !self.contacts.contains_key(&contact) && self.new_from_card(contact, card, step).is_none() {
            tracing::warn!("what another device says of a contact cannot be used");
            return;
        }
        if self.tombstones.remove(&contact).is_some() {
            self.touch(RowKey::Removed(contact));
        }
        self.judge_card(contact, stamp, card, step);
        self.touch(RowKey::Contact(contact));
        self.queue.push_back(Command::RouteChanged(contact));
        self.plan_contact(contact, step.now.wall_ms);
    }

    /// A contact that this device did not know.
    fn new_from_card(&mut self, contact: Fingerprint, card: &ContactCard, step: &mut Step<'_>) -> Option<()> {
        if self.contacts.len() >= MAX_CONTACTS {
            return None;
        }
        let manifest = VerifiedManifest::restore(&card.manifest, &contact).ok()?;
        let relay: RelayAddress = card.relay.as_str().parse().ok()?;
        let name = self.name_for(contact, &card.name);
        let row = Contact {
            name,
            handle: card.handle.clone(),
            trust: if card.verified { Trust::Verified } else { Trust::Invited },
            changed: None,
            blocked: card.blocked,
            held: card.held,
            manifest: Pinned(manifest),
            bundles: Bundles::default(),
            profile_key: card.profile_key.clone(),
            relay: StoredRelay(relay),
            link: Some(link_of(card)),
            accepting: None,
            old: None,
            gone_since_ms: None,
            // Whoever connected with it told it the present profile key.
            told: self.own.as_ref().map_or(0, |own| own.generation),
            telling: None,
            manifest_sent: self.own.as_ref().map_or(0, |own| own.manifest.0.version()),
            since_ms: step.now.wall_ms,
            announced: 0,
            repin: false,
            stamp: None,
            link_stamp: Some(card.link_stamp),
            rekeying: None,
            block_stamp: card.block_stamp,
            earlier: None,
            rekey_seen: None,
        };
        self.contacts.insert(contact, row);
        self.drop_crossing(contact, step);
        Some(())
    }

    /// Takes of a card what is newer than what is here.
    fn judge_card(&mut self, contact: Fingerprint, stamp: Stamp, card: &ContactCard, step: &mut Step<'_>) {
        if let Err(error) = self.learn_manifest(contact, &card.manifest, step) {
            tracing::debug!(%error, "the manifest that another device holds is not taken");
        }
        let taken = self.contacts.iter().any(|(other, row)| *other != contact && row.name == card.name);
        let Some(row) = self.contacts.get_mut(&contact) else { return };
        if row.stamp.is_none_or(|held| held < stamp) {
            row.stamp = Some(stamp);
            if !taken {
                row.name = card.name.clone();
            }
            row.held = card.held;
            if row.block_stamp.is_none() && card.block_stamp.is_none() {
                row.blocked = card.blocked;
            }
            row.trust = match (row.trust, card.verified) {
                // What did not add up here was not looked at there: only a person at this device ends it.
                (Trust::Changed, _) => Trust::Changed,
                (Trust::Invited | Trust::Verified, true) => Trust::Verified,
                (Trust::Invited | Trust::Verified, false) => Trust::Invited,
            };
        }
        if row.block_stamp < card.block_stamp {
            (row.blocked, row.block_stamp) = (card.blocked, card.block_stamp);
        }
        if row.link_stamp.is_none_or(|held| held < card.link_stamp) {
            row.link_stamp = Some(card.link_stamp);
            let until_ms = step.now.wall_ms.saturating_add(OLD_KEY_MS);
            let fresh = link_of(card);
            let same = row.link.as_ref().is_some_and(|link| link.transcript == fresh.transcript);
            match row.link.as_mut().filter(|_| same) {
                // The other side tells every device of ours by itself where it takes mail.
                Some(link) => {
                    (link.edge_in, link.cap_in) = (fresh.edge_in, fresh.cap_in);
                    if link.pair_in != fresh.pair_in {
                        let before = std::mem::replace(&mut link.pair_in, fresh.pair_in);
                        row.put_aside(OldKey { pair_in: Some(before), boot: None, until_ms });
                    }
                }
                None => {
                    let before = row.link.replace(fresh).map(|before| before.pair_in);
                    row.old = Some(OldKey { pair_in: before, boot: None, until_ms });
                    row.profile_key = card.profile_key.clone();
                    row.gone_since_ms = None;
                    if let Ok(relay) = card.relay.as_str().parse() {
                        row.relay = StoredRelay(relay);
                    }
                    self.end_acceptance(contact, InviteEnd::Withdrawn, step);
                }
            }
        }
    }
}

fn link_of(card: &ContactCard) -> Link {
    let key = |key: &SharedKey| StoredPairKey(PairKey::from_bytes(*key.expose()));
    Link {
        edge_out: card.edge_out,
        cap_out: card.cap_out.clone(),
        edge_in: card.edge_in,
        cap_in: card.cap_in.clone(),
        pair_out: key(&card.pair_out),
        pair_in: key(&card.pair_in),
        transcript: card.transcript,
        made: true,
        linked: true,
        rekeyed: None,
    }
}
