//! What the relay keeps of this account and this database does not know, as one that was put back to an older copy: it is taken over.

use std::collections::BTreeSet;

use penpal_protocol::{
    ids::{DeviceId, Fingerprint, ProfileKey},
    sealed::AccountState,
    wire::Profile,
};
use penpal_seal::{PairKey, ProfileItem, VerifiedManifest, open_profile};

use super::{
    Contacts, Step,
    kept::{Head, Read},
};
use crate::{
    jobs::Why,
    record::{KeptMark, PreviousProfile, RowKey, StoredPairKey},
};

impl Contacts {
    /// Takes over what the relay keeps and this database does not know, and writes what comes of it.
    pub(super) fn merge_kept(&mut self, read: Read, step: &mut Step<'_>) {
        match read {
            Read::Nothing => self.set_kept(None),
            Read::Unusable(state, error) => {
                tracing::warn!(%error, "the state that the relay keeps is replaced");
                self.set_kept(Some(KeptMark { state, hash: None }));
            }
            // It is read again.
            Read::Changed => return,
            Read::All(all) => {
                let (head, state) = *all;
                let known = self.others();
                if !self.follow_kept(&head, &state, step) {
                    return;
                }
                self.follow_among(&state, step);
                self.merge_entries(&state, step);
                self.set_kept(Some(KeptMark { state: head.state, hash: None }));
                self.tell_newcomers(&known, step);
            }
        }
        self.plan_kept(step, Why::NotYet);
    }

    /// Takes the list of devices in a state, or beside it, if it is newer. `false`: another device signs by now, or this one is none any more,
    /// and nothing of the state is for it to take or to replace.
    fn follow_kept(&mut self, head: &Head, state: &AccountState, step: &Step<'_>) -> bool {
        let (Some(me), Some(own)) = (self.me(), self.own.as_ref()) else { return false };
        let Some(kept) = newest_manifest(&me, head, state) else { return true };
        if kept.version() <= own.manifest.0.version() {
            return true;
        }
        if kept.device(&own.device).is_none() {
            tracing::warn!("this machine is no device of its account any more");
            return false;
        }
        self.set_manifest(kept, step);
        self.root().is_some()
    }

    /// Tells devices that were not known here what was done without them, as edges that contacts asked for meanwhile: as later than anything
    /// that they heard from here before.
    pub(super) fn tell_newcomers(&mut self, known: &[DeviceId], step: &mut Step<'_>) {
        let newcomers: Vec<DeviceId> =
            self.others().into_iter().filter(|device| !known.contains(device)).collect();
        if newcomers.is_empty() {
            return;
        }
        let rekeying = self.contacts.iter().filter(|(_, row)| row.rekeying.is_some());
        for contact in rekeying.map(|(contact, _)| *contact).collect::<Vec<_>>() {
            self.link_changed(contact);
        }
        for device in newcomers {
            self.send_all_state(Some(device), step);
        }
    }

    /// Takes the way between our devices, which a database from before the first of them was linked does not know.
    fn follow_among(&mut self, state: &AccountState, step: &Step<'_>) {
        let (Some(me), Some(among)) = (self.me(), &state.among) else { return };
        if self.is_among_linked(&me) {
            return;
        }
        let pair = StoredPairKey(PairKey::from_bytes(*among.pair.expose()));
        self.make_self((among.edge, among.cap.clone(), pair), true, step);
        if let Some(own) = &mut self.own
            && own.profile_key != state.profile_key
        {
            // What the others publish opens with the key that they know.
            own.previous =
                Some(PreviousProfile { key: state.profile_key.clone(), since_ms: step.now.wall_ms });
            self.touch(RowKey::Own);
        }
    }

    /// Takes the contacts and removals of a state. Contacts that were not here have not heard what this device said since.
    fn merge_entries(&mut self, state: &AccountState, step: &mut Step<'_>) {
        let before: BTreeSet<Fingerprint> = self.contacts.keys().copied().collect();
        self.take_entries(state, step);
        let fresh: Vec<Fingerprint> =
            self.contacts.keys().filter(|contact| !before.contains(*contact)).copied().collect();
        for contact in fresh {
            if let Some(row) = self.contacts.get_mut(&contact) {
                (row.told, row.manifest_sent) = (0, 0);
                self.touch(RowKey::Contact(contact));
            }
            self.tell_profile(contact, step);
        }
    }

    /// Takes contacts and removals of a state that was sealed with our root key.
    pub(super) fn take_entries(&mut self, state: &AccountState, step: &mut Step<'_>) {
        self.saw_counter(state.counter);
        let me: Option<Fingerprint> = self.me();
        for entry in state.contacts.iter().filter(|entry| Some(entry.contact) != me) {
            match &entry.card {
                Some(card) => self.take_kept_card(entry.contact, entry.stamp, card, step),
                None => self.take_removal(entry.contact, entry.stamp, step),
            }
        }
    }
}

/// The newer one of two manifests: that of the state, and that which the relay serves to contacts.
pub(super) fn newest_manifest(
    account: &Fingerprint,
    head: &Head,
    state: &AccountState,
) -> Option<VerifiedManifest> {
    let kept = VerifiedManifest::restore(&state.manifest, account).ok()?;
    let served = head.manifest.as_ref().and_then(|profile| open_manifest(profile, &state.profile_key));
    let served = served.and_then(|signed| VerifiedManifest::restore(&signed, account).ok());
    Some(served.filter(|served| served.version() > kept.version()).unwrap_or(kept))
}

fn open_manifest(profile: &Profile, key: &ProfileKey) -> Option<Vec<u8>> {
    let copies = [Some(&profile.current), profile.previous.as_ref()];
    copies.into_iter().flatten().find_map(|sealed| open_profile(key, ProfileItem::Manifest, sealed).ok())
}
