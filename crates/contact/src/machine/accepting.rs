//! Completing an invite, on both sides: the acceptance goes out, comes in, and is confirmed.

use penpal_protocol::{
    cbor::{Blob, List},
    ids::{Capability, DeviceId, EdgeId, Fingerprint, HalfSecret, InviteId, MsgId},
    limits::{DAY_MS, MAX_CONTACTS, MAX_MESSAGE_LIFE_MS},
    sealed::{Accept, Control, InviteAccept},
    text::Label,
};
use penpal_seal::{
    ManifestUpdate, PairHalves, PairKey, VerifiedAccept, boot_key, sign_accept, verify_accept,
};

use super::{Contacts, Heard, Step};
use crate::{
    command::{By, Command, Deliver},
    error::{AcceptRequestError, ControlError},
    jobs::Job,
    notice::Notice,
    record::{
        Accepting, Bundles, Contact, InviteEnd, InviteState, Link, OldKey, Pinned, Request, RowKey,
        StoredPairKey, Trust,
    },
};

/// How long envelopes of a connection that was replaced are still recognised, in milliseconds: as long as a spool keeps them.
const OLD_KEY_MS: u64 = 31 * DAY_MS;

impl Contacts {
    /// Accepts the request of a name. From then on it is a contact; mail flows once its device has confirmed.
    ///
    /// # Errors
    /// [`AcceptRequestError`].
    pub fn accept(&mut self, name: &Label, step: &mut Step<'_>) -> Result<Fingerprint, AcceptRequestError> {
        let contact = self.resolve(name)?;
        let invite =
            self.request_of(contact).ok_or_else(|| AcceptRequestError::NoRequest { name: name.clone() })?;
        self.accept_invite(invite, false, step)?;
        self.settle(step);
        Ok(contact)
    }

    pub(super) fn accept_invite(
        &mut self,
        invite: InviteId,
        held: bool,
        step: &mut Step<'_>,
    ) -> Result<(), AcceptRequestError> {
        let Some(InviteState::Requested { request }) = self.invites.get(&invite).map(|row| &row.state) else {
            return Ok(());
        };
        let request = request.as_ref().clone();
        let contact = request.contact();
        let accepting = self.sign_acceptance(invite, &request, step)?;
        match self.contacts.get(&contact) {
            Some(row) if row.blocked => return Err(AcceptRequestError::Blocked { name: request.name }),
            Some(row) if row.trust == Trust::Changed => {
                return Err(AcceptRequestError::Changed { name: request.name });
            }
            None if self.contacts.len() >= MAX_CONTACTS => return Err(AcceptRequestError::TooMany),
            Some(_) | None => {}
        }
        self.end_acceptance(contact, InviteEnd::Withdrawn, step);
        self.merge_contact(contact, &request, held, step);
        let Some(row) = self.contacts.get_mut(&contact) else { return Ok(()) };
        let edge = accepting.link.edge_in;
        row.accepting = Some(Box::new(accepting));
        self.touch(RowKey::Contact(contact));
        if let Some(row) = self.invites.get_mut(&invite) {
            row.state = InviteState::Accepted { contact };
        }
        self.touch(RowKey::Invite(invite));
        self.plan_invite(invite);
        self.plan_contact(contact, step.now.wall_ms);
        self.jobs.want(Job::CreateEdge(edge));
        self.jobs.want(Job::LinkEdge(contact, edge));
        self.queue.push_back(Command::RouteChanged(contact));
        Ok(())
    }

    fn sign_acceptance(
        &self,
        invite: InviteId,
        request: &Request,
        step: &mut Step<'_>,
    ) -> Result<Accepting, AcceptRequestError> {
        let own = self.own.as_ref().ok_or(AcceptRequestError::NotReady)?;
        let bundle = own.bundle.as_ref().ok_or(AcceptRequestError::NotReady)?;
        let secrets = self.secrets.get(&invite);
        let secrets = secrets.ok_or_else(|| AcceptRequestError::Lost { name: request.name.clone() })?;
        let edge_in = EdgeId::from_bytes(step.random());
        let cap_in = Capability::from_bytes(step.random());
        let half = HalfSecret::from_bytes(step.random());
        let body = InviteAccept {
            manifest: Blob::new(own.manifest.0.signed().to_vec())?,
            bundles: List::new(vec![bundle.signed.clone()])?,
            profile_key: own.profile_key.clone(),
            edge: edge_in,
            cap: cap_in.clone(),
            half: half.clone(),
        };
        let signed = sign_accept(&secrets.keys, &request.transcript, &body, &self.keys.signing)?;
        let halves =
            PairHalves { inviter: &half, invited: &request.body.half, transcript: &signed.transcript };
        let (me, contact) = (own.manifest.0.fingerprint(), request.contact());
        let link = Link {
            edge_out: request.body.edge,
            cap_out: request.body.cap.clone(),
            edge_in,
            cap_in,
            pair_out: StoredPairKey(halves.pair_key(&me, &contact)),
            pair_in: StoredPairKey(halves.pair_key(&contact, &me)),
            transcript: signed.transcript,
            made: false,
            linked: false,
            rekeyed: None,
            turn_in: None,
        };
        Ok(Accepting {
            invite,
            link,
            boot: StoredPairKey(boot_key(&secrets.entry.secret, &request.transcript)),
            accept: signed.accept,
            message: Self::new_message(step),
            queued: false,
            generation: own.generation,
        })
    }

    /// Makes the contact of a request, or brings one that exists up to date.
    fn merge_contact(&mut self, contact: Fingerprint, request: &Request, held: bool, step: &mut Step<'_>) {
        let now_ms = step.now.wall_ms;
        if let Some(row) = self.contacts.get_mut(&contact) {
            row.profile_key = request.body.profile_key.clone();
            row.relay = request.relay.clone();
            row.handle = request.body.name.clone();
            // The connection of before stays refused until this one takes its place: nothing is tried on it meanwhile.
            if row.link.is_none() {
                row.gone_since_ms = None;
            }
        } else {
            let row = Contact {
                name: request.name.clone(),
                handle: request.body.name.clone(),
                trust: Trust::Invited,
                changed: None,
                blocked: false,
                held,
                manifest: request.manifest.clone(),
                bundles: Bundles::default(),
                profile_key: request.body.profile_key.clone(),
                relay: request.relay.clone(),
                link: None,
                accepting: None,
                old: None,
                gone_since_ms: None,
                told: 0,
                telling: None,
                manifest_sent: 0,
                since_ms: now_ms,
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
            self.contacts.insert(contact, row);
        }
        // Judged against what is pinned, like anything else that shows a manifest.
        let manifest = request.manifest.0.signed().to_vec();
        if let Err(error) = self.learn_manifest(contact, &manifest, step) {
            tracing::debug!(contact = ?contact, %error, "manifest of a request not taken");
        }
        for bundle in request.body.bundles.iter() {
            if let Err(error) = self.learn_bundle(contact, bundle, step) {
                tracing::debug!(contact = ?contact, %error, "bundle of a request not taken");
            }
        }
    }

    /// Sends the acceptance once our edge exists and the other one is linked.
    pub(super) fn continue_acceptance(&mut self, contact: Fingerprint, step: &Step<'_>) {
        let Some(row) = self.contacts.get_mut(&contact) else { return };
        let devices: Vec<DeviceId> =
            row.manifest.0.manifest().devices.iter().map(|device| device.id).collect();
        let Some(accepting) = row.accepting.as_mut() else { return };
        if !accepting.link.made || !accepting.link.linked || accepting.queued {
            return;
        }
        accepting.queued = true;
        let control = Control { accept: Some(accepting.accept.clone()), ..Control::default() };
        let deliver = Deliver {
            message: accepting.message,
            to: contact,
            devices,
            control: Box::new(control),
            by: By::Boot,
            expires_ms: step.now.wall_ms.saturating_add(MAX_MESSAGE_LIFE_MS),
        };
        self.touch(RowKey::Contact(contact));
        self.queue.push_back(Command::RouteChanged(contact));
        self.queue.push_back(Command::Deliver(deliver));
    }

    /// Gives up an acceptance that was not confirmed.
    pub(super) fn end_acceptance(&mut self, contact: Fingerprint, why: InviteEnd, step: &Step<'_>) {
        let Some(row) = self.contacts.get_mut(&contact) else { return };
        let Some(accepting) = row.accepting.take() else { return };
        let name = row.name.clone();
        self.touch(RowKey::Contact(contact));
        if accepting.queued {
            self.queue.push_back(Command::CancelDelivery(accepting.message));
        }
        self.jobs.drop_unless_asked(Job::LinkEdge(contact, accepting.link.edge_in));
        self.retire_edge(accepting.link.edge_in, contact, Some(name));
        self.end_invite(accepting.invite, why, step);
        self.queue.push_back(Command::RouteChanged(contact));
    }

    /// The other side cannot take our acceptance any more.
    pub(super) fn acceptance_failed(&mut self, contact: Fingerprint, step: &Step<'_>) {
        self.end_acceptance(contact, InviteEnd::Withdrawn, step);
        let Some(row) = self.contacts.get_mut(&contact) else { return };
        let name = row.name.clone();
        if row.link.is_none() {
            row.gone_since_ms.get_or_insert(step.now.wall_ms);
            row.since_ms = step.now.wall_ms;
            self.touch(RowKey::Contact(contact));
        }
        self.notify(Notice::Withdrawn { contact, name });
    }

    /// The other side has shown that it took our acceptance: by its receipt, or by a message under the new pair key.
    pub(super) fn acceptance_confirmed(&mut self, contact: Fingerprint, step: &mut Step<'_>) {
        let Some(row) = self.contacts.get_mut(&contact) else { return };
        let Some(accepting) = row.accepting.take() else { return };
        let Accepting { invite, link, message, generation, .. } = *accepting;
        row.told = generation;
        self.queue.push_back(Command::CancelDelivery(message));
        self.connect(contact, link, None, step);
        self.end_invite(invite, InviteEnd::Confirmed, step);
    }

    /// Puts a connection into use, in place of an earlier one.
    fn connect(&mut self, contact: Fingerprint, link: Link, boot: Option<PairKey>, step: &mut Step<'_>) {
        let now_ms = step.now.wall_ms;
        let Some(row) = self.contacts.get_mut(&contact) else { return };
        let before = row.link.replace(link);
        let name = row.name.clone();
        row.old = Some(OldKey {
            pair_in: before.as_ref().map(|before| before.pair_in.clone()),
            boot: boot.map(StoredPairKey),
            until_ms: now_ms.saturating_add(OLD_KEY_MS),
        });
        row.gone_since_ms = None;
        let telling = row.telling.take();
        row.since_ms = now_ms;
        self.touch(RowKey::Contact(contact));
        if let Some(telling) = telling {
            self.queue.push_back(Command::CancelDelivery(telling.message));
        }
        if let Some(before) = before {
            self.retire_edge(before.edge_in, contact, Some(name));
        }
        if self.tombstones.remove(&contact).is_some() {
            self.touch(RowKey::Removed(contact));
        }
        self.connection_agreed(contact);
        self.drop_crossing(contact, step);
        self.plan_contact(contact, now_ms);
        self.connected(contact, step);
    }

    /// Tells that a contact can be written to, once its edge is linked.
    pub(super) fn connected(&mut self, contact: Fingerprint, step: &mut Step<'_>) {
        let mine = self.me() == Some(contact);
        let Some(row) = self.contacts.get_mut(&contact) else { return };
        let Some(link) = row.link.as_mut().filter(|link| link.linked) else { return };
        let again = link.rekeyed.take() == Some(true);
        let (name, root) = (row.name.clone(), *row.manifest.0.root());
        if let Some(safety) = self.safety(&root).filter(|_| !mine && !again) {
            tracing::info!("a contact is connected");
            tracing::debug!(?contact, "connected");
            self.notify(Notice::Connected { contact, name, safety });
        }
        self.queue.push_back(Command::RouteChanged(contact));
        self.tell_profile(contact, step);
    }

    /// Ends whatever else was under way with an account that has just become a contact: both sides do the same.
    pub(super) fn drop_crossing(&mut self, contact: Fingerprint, step: &Step<'_>) {
        let adding = self.adding.values().filter(|adding| adding.inviter == contact);
        let adding: Vec<_> = adding.map(|adding| adding.id).collect();
        for id in adding {
            self.withdraw_adding(id);
        }
        let requests = self.requests().filter(|(_, request)| request.contact() == contact);
        let requests: Vec<_> = requests.map(|(id, _)| id).collect();
        for id in requests {
            self.end_invite(id, InviteEnd::Withdrawn, step);
        }
        self.end_acceptance(contact, InviteEnd::Withdrawn, step);
    }

    /// Takes an acceptance that came under the boot key of an invite we use.
    pub(super) fn take_acceptance(
        &mut self,
        invite: InviteId,
        device: &DeviceId,
        accept: &Accept,
        step: &mut Step<'_>,
    ) -> Result<Heard, ControlError> {
        let late = ControlError::Late;
        let (Some(adding), Some(secrets), Some(me)) =
            (self.adding.get(&invite), self.secrets.get(&invite), self.me())
        else {
            return Err(late);
        };
        let contact = adding.inviter;
        let Some(prepared) = adding.prepared.as_deref() else { return Err(late) };
        let now_ms = step.now.wall_ms;
        // The newest manifest known: the one of an earlier connection may be newer than the record's.
        let held = self.contacts.get(&contact).map(|row| &row.manifest.0);
        let pinned = held
            .filter(|held| held.version() > prepared.manifest.0.version())
            .unwrap_or(&prepared.manifest.0);
        let verified = verify_accept(&secrets.keys, &prepared.transcript, pinned, device, accept, now_ms)?;
        let crossing = self.contacts.get(&contact).and_then(|row| row.accepting.as_deref());
        // Two invites crossed and both were accepted: both sides keep the connection with the greater transcript.
        if crossing.is_some_and(|ours| ours.link.transcript > *verified.transcript()) {
            self.withdraw_adding(invite);
            return Err(late);
        }
        let halves = PairHalves {
            inviter: &verified.accept().half,
            invited: &prepared.half,
            transcript: verified.transcript(),
        };
        let link = Link {
            edge_out: verified.accept().edge,
            cap_out: verified.accept().cap.clone(),
            edge_in: prepared.edge,
            cap_in: prepared.cap.clone(),
            pair_out: StoredPairKey(halves.pair_key(&me, &contact)),
            pair_in: StoredPairKey(halves.pair_key(&contact, &me)),
            transcript: *verified.transcript(),
            made: true,
            linked: false,
            rekeyed: None,
            turn_in: None,
        };
        let boot = secrets.boot.clone();
        self.join(invite, &verified, step);
        let edge = link.edge_in;
        self.connect(contact, link, boot, step);
        self.jobs.want(Job::LinkEdge(contact, edge));
        Ok(Heard::Accepted)
    }

    /// Makes the contact of an acceptance, or brings one that exists up to date, and ends the use of the invite.
    fn join(&mut self, invite: InviteId, verified: &VerifiedAccept, step: &Step<'_>) {
        let Some(adding) = self.adding.remove(&invite) else { return };
        let Some(prepared) = adding.prepared else { return };
        let contact = adding.inviter;
        if let Some(row) = self.contacts.get_mut(&contact) {
            row.profile_key = verified.accept().profile_key.clone();
            row.relay = adding.relay;
            row.handle = prepared.handle;
            row.told = prepared.generation;
            row.held = false;
        } else {
            let row = Contact {
                name: prepared.name,
                handle: prepared.handle,
                trust: Trust::Invited,
                changed: None,
                blocked: false,
                held: false,
                manifest: Pinned(verified.manifest().clone()),
                bundles: Bundles::default(),
                profile_key: verified.accept().profile_key.clone(),
                relay: adding.relay,
                link: None,
                accepting: None,
                old: None,
                gone_since_ms: None,
                told: prepared.generation,
                telling: None,
                manifest_sent: 0,
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
            self.contacts.insert(contact, row);
        }
        let now_ms = step.now.wall_ms;
        if let Some(row) = self.contacts.get_mut(&contact) {
            if let Ok(ManifestUpdate::Newer { manifest, .. }) =
                row.manifest.0.update(verified.manifest().signed(), now_ms)
            {
                row.manifest = Pinned(manifest);
            }
            for bundle in verified.bundles() {
                row.bundles.take(bundle.clone());
            }
        }
        self.touch(RowKey::Contact(contact));
        self.touch(RowKey::Adding(invite));
        self.erase_secret(invite);
    }

    /// A message of ours is durable at its recipient.
    pub fn handle_delivered(&mut self, message: &MsgId, step: &mut Step<'_>) {
        let accepted =
            |row: &Contact| row.accepting.as_ref().is_some_and(|accepting| accepting.message == *message);
        let told = |row: &Contact| row.telling.is_some_and(|telling| telling.message == *message);
        if let Some(contact) = self.contact_where(accepted) {
            self.acceptance_confirmed(contact, step);
        } else if let Some(contact) = self.contact_where(told) {
            if let Some(row) = self.contacts.get_mut(&contact)
                && let Some(telling) = row.telling.take()
            {
                row.told = telling.generation;
            }
            self.touch(RowKey::Contact(contact));
        } else {
            return;
        }
        self.settle(step);
    }

    /// A message of ours ended refused or expired.
    pub fn handle_undelivered(&mut self, message: &MsgId, step: &mut Step<'_>) {
        let accepted =
            |row: &Contact| row.accepting.as_ref().is_some_and(|accepting| accepting.message == *message);
        let told = |row: &Contact| row.telling.is_some_and(|telling| telling.message == *message);
        if let Some(contact) = self.contact_where(accepted) {
            self.acceptance_failed(contact, step);
        } else if let Some(contact) = self.contact_where(told) {
            if let Some(row) = self.contacts.get_mut(&contact) {
                row.telling = None;
            }
            self.touch(RowKey::Contact(contact));
        } else {
            return;
        }
        self.settle(step);
    }

    fn contact_where(&self, is_it: impl Fn(&Contact) -> bool) -> Option<Fingerprint> {
        self.contacts.iter().find(|(_, row)| is_it(row)).map(|(contact, _)| *contact)
    }
}
