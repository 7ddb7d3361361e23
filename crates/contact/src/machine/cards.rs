//! Cards of contacts, which other devices of ours send and our relay keeps: what of them is newer than what is here.

use penpal_protocol::{
    ids::{Fingerprint, SharedKey},
    limits::{DAY_MS, MAX_CONTACTS},
    sealed::{ContactCard, Stamp},
    text::RelayAddress,
};
use penpal_seal::{PairKey, VerifiedManifest};

use super::{Contacts, Step};
use crate::{
    command::Command,
    record::{Bundles, Contact, InviteEnd, Link, OldKey, Pinned, RowKey, StoredPairKey, StoredRelay, Trust},
};

/// How long envelopes under a pair key that was replaced are recognised, in milliseconds: as long as a spool keeps them.
const OLD_KEY_MS: u64 = 31 * DAY_MS;

impl Contacts {
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
            rekey_seen: card.edge_number,
            turn_seen: card.edge_turn,
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
                    if card.edge_number <= Some(row.manifest.0.version()) {
                        (row.rekey_seen, row.turn_seen) = (card.edge_number, card.edge_turn);
                    }
                    if let Ok(relay) = card.relay.as_str().parse() {
                        row.relay = StoredRelay(relay);
                    }
                    self.end_acceptance(contact, InviteEnd::Withdrawn, step);
                }
            }
        }
        self.take_way(contact, card, false, step);
    }

    /// Takes from a card where a contact takes mail. It tells every device of ours by itself; but one that was put back to a backup may have
    /// missed it, and what it leaves on the edge before comes nowhere. `again`: also what was told under the number that is held.
    fn take_way(&mut self, contact: Fingerprint, card: &ContactCard, again: bool, step: &mut Step<'_>) {
        let Some(row) = self.contacts.get_mut(&contact) else { return };
        let (held, told) = ((row.rekey_seen, row.turn_seen), (card.edge_number, card.edge_turn));
        let earlier = told.1.is_some() && told.1 < held.1;
        let newer = held < told || (again && held.0 == told.0 && !earlier);
        let possible = card.edge_number <= Some(row.manifest.0.version());
        let same = |link: &&Link| link.transcript == card.transcript && link.edge_out != card.edge_out;
        if !newer || !possible || row.link.as_ref().filter(same).is_none() {
            return;
        }
        (row.rekey_seen, row.turn_seen) = told;
        tracing::info!("an edge of a contact was missed here, and is taken now");
        let pair = StoredPairKey(PairKey::from_bytes(*card.pair_out.expose()));
        self.write_on(contact, card.edge_out, card.cap_out.clone(), pair, step);
    }

    /// Takes a card that this account itself left at its relay.
    pub(super) fn take_kept_card(
        &mut self,
        contact: Fingerprint,
        stamp: Stamp,
        card: &ContactCard,
        step: &mut Step<'_>,
    ) {
        let held = self.contacts.get(&contact).map(|row| (row.link_stamp, row.rekey_seen));
        self.take_card(contact, stamp, card, step);
        let later = held.is_some_and(|(link, _)| link < Some(card.link_stamp));
        let told = held.is_some_and(|(_, number)| number < card.edge_number);
        if later {
            self.take_way(contact, card, true, step);
        }
        if (later || told)
            && let Some(row) = self.contacts.get_mut(&contact)
        {
            // Whoever made new edges made a new profile key, too.
            row.profile_key = card.profile_key.clone();
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
        turn_in: None,
    }
}
