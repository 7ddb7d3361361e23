//! What the shell and other machines may look at.

use std::collections::BTreeSet;

use penpal_protocol::{
    ids::{DeviceId, Fingerprint, InviteId, MsgId, RelayPin, SlotId},
    sealed::ManifestRef,
    text::{Label, RelayAddress},
};
use penpal_seal::{PairKey, SafetyNumber, VerifiedBundle, VerifiedManifest};

use super::Contacts;
use crate::{
    command::Route,
    record::{AddStep, Adding, Contact, InviteEnd, InviteState, KeyChange, Link, Request, Trust},
};

/// Our own account.
#[derive(Debug, Clone)]
pub struct Me<'a> {
    /// Handle at our relay.
    pub handle: &'a Label,
    /// The account.
    pub account: Fingerprint,
    /// This device.
    pub device: DeviceId,
    /// Name of this machine.
    pub device_name: &'a Label,
    /// Its spool.
    pub slot: SlotId,
    /// Its relay.
    pub relay: &'a RelayAddress,
    /// Our newest manifest, for the messages we seal.
    pub manifest: ManifestRef,
    /// Whether the relay holds manifest and bundle, so that contacts can seal to us.
    pub published: bool,
}

/// Which of our keys finds an envelope's sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Opener {
    /// The account behind it.
    pub contact: Fingerprint,
    /// Which of its keys.
    pub via: Via,
}

/// Which key of a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// The pair key in use.
    Link,
    /// The pair key of an acceptance that was not confirmed: this message confirms it.
    Accepting,
    /// A new pair key in place of one that a revoked device knows: this message confirms it.
    Rekeyed,
    /// The pair key of a connection that was replaced.
    Replaced,
    /// The boot key of an invite that we use: only an acceptance may come under it.
    Boot(InviteId),
    /// The boot key of an invite that is complete: its acceptance, again.
    BootAgain,
}

/// With what a message of an account is judged.
#[derive(Debug, Clone, Copy)]
pub struct PeerKeys<'a> {
    /// Its devices.
    pub manifest: &'a VerifiedManifest,
    /// Whether nothing is to be stored or answered.
    pub shut: bool,
    /// Whether its mail is to be held.
    pub held: bool,
    /// How its key was checked by people.
    pub trust: Trust,
}

/// Where a contact stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It asked; a person here must decide.
    PendingIn,
    /// We asked; a person there must decide.
    PendingOut,
    /// Both sides accepted.
    Active,
    /// Its mail is not taken: blocked by a person, or its key changed.
    Blocked,
    /// It declined, or did not answer in time.
    Declined,
    /// Its relay refuses us.
    Gone,
}

/// One contact, or a request of either direction.
#[derive(Debug, Clone)]
pub struct ContactView {
    /// Name here.
    pub name: Label,
    /// The account.
    pub contact: Fingerprint,
    /// Where it stands.
    pub state: State,
    /// How its key was checked.
    pub trust: Trust,
    /// Why, when `trust` is [`Trust::Changed`].
    pub changed: Option<KeyChange>,
    /// To compare.
    pub safety: Option<SafetyNumber>,
    /// The handle that the other side gave.
    pub handle: Label,
    /// Its relay.
    pub relay: RelayAddress,
    /// Whether its mail is held.
    pub held: bool,
    /// Whether its device has confirmed, so that mail flows. False for a while after `accept`.
    pub confirmed: bool,
    /// Whether a request of it waits, also when it is a contact.
    pub asks: bool,
    /// Whether its manifest is out of date.
    pub stale: bool,
    /// Its devices, as pinned.
    pub devices: Vec<DeviceView>,
    /// Since when it stands so, Unix milliseconds.
    pub since_ms: u64,
}

/// One device of a contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceView {
    /// Its id.
    pub id: DeviceId,
    /// Its spool.
    pub slot: SlotId,
    /// Name of the machine.
    pub name: Label,
}

/// One invite that we made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InviteView {
    /// The invite.
    pub invite: InviteId,
    /// Where it stands.
    pub status: InviteStatus,
    /// Who used it, by name here.
    pub by: Option<Label>,
    /// Whether whoever uses it is accepted at once.
    pub auto_accept: bool,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
    /// When it ends, Unix milliseconds.
    pub expires_ms: u64,
}

/// Where an invite that we made stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InviteStatus {
    /// Not at the relay yet.
    Creating,
    /// Can be used.
    Open,
    /// Used; a person must decide.
    Redeemed,
    /// Accepted; not confirmed yet.
    Accepted,
    /// Over.
    Ended(InviteEnd),
}

impl Contacts {
    /// Our own account; `None` before there is one.
    #[must_use]
    pub fn account(&self) -> Option<Me<'_>> {
        let own = self.own.as_ref()?;
        Some(Me {
            handle: &own.handle,
            account: own.manifest.0.fingerprint(),
            device: own.device,
            device_name: &own.device_name,
            slot: own.slot,
            relay: &own.relay.0,
            manifest: own.manifest.0.reference(),
            published: own.is_published(),
        })
    }

    /// Our own newest manifest.
    #[must_use]
    pub fn own_manifest(&self) -> Option<&VerifiedManifest> {
        self.own.as_ref().map(|own| &own.manifest.0)
    }

    /// Whether an account was asked for and not answered yet.
    #[must_use]
    pub fn is_registering(&self) -> bool {
        self.registering.is_some()
    }

    /// Every key that an arriving envelope may name, most likely ones first, for [`penpal_seal::Arrived::find_contact`].
    pub fn openers(&self) -> impl Iterator<Item = (Opener, &PairKey)> {
        let rows = || self.contacts.iter();
        let opener = |contact: &Fingerprint, via| Opener { contact: *contact, via };
        let links = rows().filter_map(move |(contact, row)| {
            row.link.as_ref().map(|link| (opener(contact, Via::Link), &link.pair_in.0))
        });
        let rekeyed = rows().filter_map(move |(contact, row)| {
            let rekeying = row.rekeying.as_ref().filter(|rekeying| rekeying.made)?;
            Some((opener(contact, Via::Rekeyed), &rekeying.pair_in.0))
        });
        let accepting = rows().filter_map(move |(contact, row)| {
            row.accepting
                .as_ref()
                .map(|accepting| (opener(contact, Via::Accepting), &accepting.link.pair_in.0))
        });
        let replaced = rows().filter_map(move |(contact, row)| {
            let key = row.old.as_ref().and_then(|old| old.pair_in.as_ref());
            key.map(|key| (opener(contact, Via::Replaced), &key.0))
        });
        let earlier = rows().flat_map(move |(contact, row)| {
            row.earlier().iter().map(move |known| (opener(contact, Via::Replaced), &known.pair_in.0))
        });
        let again = rows().filter_map(move |(contact, row)| {
            let key = row.old.as_ref().and_then(|old| old.boot.as_ref());
            key.map(|key| (opener(contact, Via::BootAgain), &key.0))
        });
        let boot = self.adding.values().filter_map(move |adding| {
            let waits = matches!(adding.step, AddStep::Redeeming | AddStep::Waiting);
            let key = self.secrets.get(&adding.id).filter(|_| waits)?.boot.as_ref()?;
            Some((opener(&adding.inviter, Via::Boot(adding.id)), key))
        });
        links.chain(boot).chain(rekeyed).chain(accepting).chain(replaced).chain(earlier).chain(again)
    }

    /// With what a message that an opener found is judged; `None` when it is known no more.
    #[must_use]
    pub fn peer(&self, opener: &Opener) -> Option<PeerKeys<'_>> {
        let row = self.contacts.get(&opener.contact);
        if let Via::Boot(invite) = opener.via {
            let prepared = self.adding.get(&invite)?.prepared.as_deref()?;
            let newer =
                row.map(|row| &row.manifest.0).filter(|held| held.version() > prepared.manifest.0.version());
            let manifest = newer.unwrap_or(&prepared.manifest.0);
            return Some(PeerKeys { manifest, shut: false, held: false, trust: Trust::Invited });
        }
        row.map(|row| PeerKeys {
            manifest: &row.manifest.0,
            shut: row.is_shut(),
            held: row.held,
            trust: row.trust,
        })
    }

    /// The pinned manifest of a contact.
    #[must_use]
    pub fn manifest(&self, contact: &Fingerprint) -> Option<&VerifiedManifest> {
        self.contacts.get(contact).map(|row| &row.manifest.0)
    }

    /// The newest bundle of a contact's device, while something may be sealed to it. [`Contacts::fetch`] looks for a newer one.
    #[must_use]
    pub fn bundle(&self, contact: &Fingerprint, device: &DeviceId, now_ms: u64) -> Option<&VerifiedBundle> {
        self.contacts.get(contact)?.bundles.of(device, now_ms)
    }

    /// Where mail for a contact goes; `None` while there is no connection to it.
    #[must_use]
    pub fn route(&self, contact: &Fingerprint) -> Option<Route<'_>> {
        let row = self.contacts.get(contact)?;
        let link = row.link.as_ref()?;
        let among = self.me() == Some(*contact);
        Some(self.route_by(row, link, &link.pair_out.0, row.is_open() && (among || !self.is_unlisted())))
    }

    /// Where the message of an acceptance goes; `None` once that is over.
    #[must_use]
    pub fn boot_route(&self, message: &MsgId) -> Option<Route<'_>> {
        let is_it =
            |row: &&Contact| row.accepting.as_ref().is_some_and(|accepting| accepting.message == *message);
        let row = self.contacts.values().find(is_it)?;
        let accepting = row.accepting.as_ref()?;
        let open = accepting.link.made && accepting.link.linked;
        Some(self.route_by(row, &accepting.link, &accepting.boot.0, open))
    }

    fn route_by<'a>(
        &'a self,
        row: &'a Contact,
        link: &'a Link,
        pair_key: &'a PairKey,
        open: bool,
    ) -> Route<'a> {
        Route { relay: self.relay_of(row), edge: link.edge_out, cap: &link.cap_out, pair_key, open }
    }

    /// Whose edge of ours that is: for *up* and *down*, which name the edge that we linked.
    #[must_use]
    pub fn contact_of_edge(&self, edge: &penpal_protocol::ids::EdgeId) -> Option<Fingerprint> {
        let has = |row: &Contact| {
            super::requests::links(row).any(|link| link.edge_out == *edge || link.edge_in == *edge)
        };
        self.contacts.iter().find(|(_, row)| has(row)).map(|(contact, _)| *contact)
    }

    /// Contacts to which mail can be deposited now: for presence.
    pub fn reachable(&self) -> impl Iterator<Item = Fingerprint> {
        self.contacts.iter().filter(|(_, row)| row.is_open()).map(|(contact, _)| *contact)
    }

    /// Addresses that contacts name for a relay.
    #[must_use]
    pub fn addresses_of(&self, relay: &RelayPin) -> BTreeSet<RelayAddress> {
        let addresses = self.contacts.values().map(|row| &row.relay.0);
        addresses.filter(|address| address.pin == *relay).cloned().collect()
    }

    /// The name of an account here.
    #[must_use]
    pub fn name(&self, contact: &Fingerprint) -> Option<&Label> {
        self.contacts.get(contact).map(|row| &row.name)
    }

    /// All contacts and requests, by name.
    #[must_use]
    pub fn list(&self) -> Vec<ContactView> {
        let me = self.me();
        let others = self.contacts.iter().filter(|(contact, _)| Some(**contact) != me);
        let mut all: Vec<_> = others.map(|(contact, row)| self.view_contact(*contact, row)).collect();
        let unknown = |contact: &Fingerprint| !self.contacts.contains_key(contact);
        let mut seen = BTreeSet::new();
        for (_, request) in self.requests().filter(|(_, request)| unknown(&request.contact())) {
            if seen.insert(request.contact()) {
                all.push(self.view_request(request));
            }
        }
        for adding in self.adding.values().filter(|adding| unknown(&adding.inviter)) {
            if seen.insert(adding.inviter) {
                all.extend(self.view_adding(adding));
            }
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// One of [`list`](Self::list).
    #[must_use]
    pub fn view(&self, contact: &Fingerprint) -> Option<ContactView> {
        if let Some(row) = self.contacts.get(contact) {
            return Some(self.view_contact(*contact, row));
        }
        let request = self.requests().find(|(_, request)| request.contact() == *contact);
        let request = request.map(|(_, request)| self.view_request(request));
        let adding = || self.adding.values().find(|adding| adding.inviter == *contact);
        request.or_else(|| self.view_adding(adding()?))
    }

    /// Whether people here removed or declined this account, and did not connect with it since. Nothing brings it back but people.
    #[must_use]
    pub fn was_put_aside(&self, contact: &Fingerprint) -> bool {
        self.tombstones.contains_key(contact)
    }

    fn view_contact(&self, contact: Fingerprint, row: &Contact) -> ContactView {
        let asks = self.request_of(contact).is_some();
        let asked =
            self.adding.values().find(|adding| adding.inviter == contact && adding.step != AddStep::Declined);
        let lost = row.gone_since_ms.is_some() && row.accepting.is_none();
        let state = match () {
            () if row.is_shut() => State::Blocked,
            () if lost && asks => State::PendingIn,
            () if lost && asked.is_some() => State::PendingOut,
            () if lost => State::Gone,
            () => State::Active,
        };
        ContactView {
            name: row.name.clone(),
            contact,
            state,
            trust: row.trust,
            changed: row.changed,
            safety: self.safety(row.manifest.0.root()),
            handle: row.handle.clone(),
            relay: row.relay.0.clone(),
            held: row.held,
            confirmed: row.link.as_ref().is_some_and(|link| link.linked || link.rekeyed == Some(true)),
            asks,
            stale: row.manifest.0.is_stale(self.now.wall_ms),
            devices: self.devices_seen(contact, row),
            since_ms: row.since_ms,
        }
    }

    fn devices_seen(&self, contact: Fingerprint, row: &Contact) -> Vec<DeviceView> {
        let here = self.own.as_ref().map(|own| own.device).filter(|_| self.me() == Some(contact));
        let mut all = devices(&row.manifest.0);
        all.retain(|device| Some(device.id) != here);
        all
    }

    fn view_request(&self, request: &Request) -> ContactView {
        ContactView {
            name: request.name.clone(),
            contact: request.contact(),
            state: State::PendingIn,
            trust: Trust::Invited,
            changed: None,
            safety: self.safety(request.manifest.0.root()),
            handle: request.body.name.clone(),
            relay: request.relay.0.clone(),
            held: false,
            confirmed: false,
            asks: true,
            stale: request.manifest.0.is_stale(self.now.wall_ms),
            devices: devices(&request.manifest.0),
            since_ms: request.received_ms,
        }
    }

    /// `None` before the record was verified: nothing is known of the inviter then.
    fn view_adding(&self, adding: &Adding) -> Option<ContactView> {
        let prepared = adding.prepared.as_deref()?;
        let state = if adding.step == AddStep::Declined { State::Declined } else { State::PendingOut };
        Some(ContactView {
            name: prepared.name.clone(),
            contact: adding.inviter,
            state,
            trust: Trust::Invited,
            changed: None,
            safety: self.safety(prepared.manifest.0.root()),
            handle: prepared.handle.clone(),
            relay: adding.relay.0.clone(),
            held: false,
            confirmed: false,
            asks: false,
            stale: prepared.manifest.0.is_stale(self.now.wall_ms),
            devices: devices(&prepared.manifest.0),
            since_ms: adding.started_ms,
        })
    }

    /// Whether a code is still being used: its request is not at the relay yet.
    #[must_use]
    pub fn is_adding(&self, invite: &InviteId) -> bool {
        let done = |step| matches!(step, AddStep::Waiting | AddStep::Declined);
        self.adding.get(invite).is_some_and(|adding| !done(adding.step))
    }

    /// Who made a code that is being used or waits, once the record was verified.
    #[must_use]
    pub fn inviter(&self, invite: &InviteId) -> Option<Fingerprint> {
        self.adding.get(invite).map(|adding| adding.inviter)
    }

    /// Requests that wait for a person here.
    #[must_use]
    pub fn request_count(&self) -> usize {
        self.requests().count()
    }

    /// Edges that the relay was not told to end yet.
    #[must_use]
    pub fn retiring(&self) -> usize {
        self.retired_edges.len()
    }

    /// All invites that we made and still remember, oldest first.
    #[must_use]
    pub fn invites(&self) -> Vec<InviteView> {
        let view = |row: &crate::record::Invite| InviteView {
            invite: row.id,
            status: match &row.state {
                InviteState::Creating { .. } => InviteStatus::Creating,
                InviteState::Open => InviteStatus::Open,
                InviteState::Requested { .. } => InviteStatus::Redeemed,
                InviteState::Accepted { .. } => InviteStatus::Accepted,
                InviteState::Ended { why, .. } => InviteStatus::Ended(*why),
            },
            by: row.by.clone(),
            auto_accept: row.auto_accept,
            created_ms: row.created_ms,
            expires_ms: row.expires_ms,
        };
        let mut all: Vec<_> = self.invites.values().map(view).collect();
        all.sort_by_key(|invite| (invite.created_ms, invite.invite));
        all
    }
}

fn devices(manifest: &VerifiedManifest) -> Vec<DeviceView> {
    let view = |device: &penpal_protocol::sealed::DeviceEntry| DeviceView {
        id: device.id,
        slot: device.slot,
        name: device.name.clone(),
    };
    manifest.manifest().devices.iter().map(view).collect()
}
