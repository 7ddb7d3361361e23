//! Contacts as people handle them: names, trust, blocking, removal; and what their relays say of them.

use std::collections::BTreeSet;

use penpal_protocol::{
    ids::{DeviceId, EdgeId, Fingerprint, MsgId, RootPublicKey},
    limits::MAX_MESSAGE_LIFE_MS,
    sealed::Control,
    text::Label,
};
use penpal_seal::SafetyNumber;

use super::{Contacts, Step};
use crate::{
    command::{By, Command, Deliver},
    error::{ContactError, UnknownName},
    jobs::Job,
    notice::Notice,
    record::{Contact, InviteEnd, KeyChange, RowKey, Trust},
};

/// Most names that an error suggests.
const MAX_CANDIDATES: usize = 5;

/// A contact that was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Who.
    pub contact: Fingerprint,
    /// Whether there is nothing left to be told to the relay. Otherwise [`Notice::EdgeEnded`] follows.
    pub at_relay: bool,
}

impl Contacts {
    /// Finds whoever goes by a name: a contact, a request of either direction.
    ///
    /// # Errors
    /// [`UnknownName`] with similar names.
    pub fn resolve(&self, name: &Label) -> Result<Fingerprint, UnknownName> {
        self.names()
            .find(|(_, held)| *held == name)
            .map(|(contact, _)| contact)
            .ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &Label) -> UnknownName {
        let wanted = name.as_str();
        let known: BTreeSet<&Label> = self.names().map(|(_, held)| held).collect();
        let alike = |held: &&Label| {
            let held = held.as_str();
            held.contains(wanted) || wanted.contains(held) || held.get(..2) == wanted.get(..2)
        };
        let candidates = known.into_iter().filter(alike).take(MAX_CANDIDATES).cloned().collect();
        UnknownName { name: name.clone(), candidates }
    }

    /// Every name in use, contacts first.
    fn names(&self) -> impl Iterator<Item = (Fingerprint, &Label)> {
        let me = self.me();
        let contacts = self.contacts.iter().filter(move |(contact, _)| Some(**contact) != me);
        let contacts = contacts.map(|(contact, row)| (*contact, &row.name));
        let adding = self
            .adding
            .values()
            .filter_map(|adding| adding.prepared.as_deref().map(|prepared| (adding.inviter, &prepared.name)));
        let requests = self.requests().map(|(_, request)| (request.contact(), &request.name));
        contacts.chain(adding).chain(requests)
    }

    /// The name of an account here: the one it has, else its handle, else that with a number behind it.
    pub(super) fn name_for(&mut self, contact: Fingerprint, handle: &Label) -> Label {
        if let Some((_, name)) = self.names().find(|(held, _)| *held == contact) {
            return name.clone();
        }
        let taken: BTreeSet<&Label> = self.names().map(|(_, name)| name).collect();
        let is_free = |name: &Label| !name.is_reserved() && !taken.contains(name);
        let numbered = (2_u32..).map(|number| handle.numbered(number));
        let name =
            std::iter::once(handle.clone()).chain(numbered).find(is_free).unwrap_or_else(|| handle.clone());
        if name != *handle {
            self.notify(Notice::NameTaken { contact, wanted: handle.clone(), name: name.clone() });
        }
        name
    }

    pub(super) fn safety(&self, root: &RootPublicKey) -> Option<SafetyNumber> {
        self.own.as_ref().map(|own| SafetyNumber::of(own.manifest.0.root(), root))
    }

    fn contact_named(&mut self, name: &Label) -> Result<(Fingerprint, &mut Contact), ContactError> {
        let contact = self.resolve(name)?;
        let row =
            self.contacts.get_mut(&contact).ok_or_else(|| ContactError::NotYet { name: name.clone() })?;
        Ok((contact, row))
    }

    /// Gives a contact another name here.
    ///
    /// # Errors
    /// [`ContactError`].
    pub fn rename(&mut self, name: &Label, new: &Label, step: &mut Step<'_>) -> Result<(), ContactError> {
        let contact = self.resolve(name)?;
        if new.is_reserved() {
            return Err(ContactError::Reserved { name: new.clone() });
        }
        if self.names().any(|(holder, held)| held == new && holder != contact) {
            return Err(ContactError::NameTaken { name: new.clone() });
        }
        if let Some(row) = self.contacts.get_mut(&contact) {
            row.name = new.clone();
            self.changed_by_people(contact);
        }
        let adding = self.adding.values_mut().filter(|adding| adding.inviter == contact);
        let mut touched = Vec::new();
        for adding in adding {
            if let Some(prepared) = adding.prepared.as_deref_mut() {
                prepared.name = new.clone();
                touched.push(RowKey::Adding(adding.id));
            }
        }
        for invite in self.invites.values_mut() {
            if let crate::record::InviteState::Requested { request } = &mut invite.state
                && request.contact() == contact
            {
                request.name = new.clone();
                invite.by = Some(new.clone());
                touched.push(RowKey::Invite(invite.id));
            }
        }
        for row in touched {
            self.touch(row);
        }
        self.settle(step);
        Ok(())
    }

    /// Notes that people compared the safety number. `compared` is the number that they saw, so that a contact who took the name in
    /// between is not verified by mistake.
    ///
    /// # Errors
    /// [`ContactError`].
    pub fn verify(
        &mut self,
        name: &Label,
        compared: &SafetyNumber,
        step: &mut Step<'_>,
    ) -> Result<(), ContactError> {
        let (_, row) = self.contact_named(name)?;
        let root = *row.manifest.0.root();
        if self.safety(&root).as_ref() != Some(compared) {
            return Err(ContactError::SafetyNumber { name: name.clone() });
        }
        let (contact, row) = self.contact_named(name)?;
        row.repin = matches!(row.changed, Some(KeyChange::Fork | KeyChange::Unrevoked));
        row.trust = Trust::Verified;
        row.changed = None;
        row.held = false;
        tracing::info!("a contact was verified");
        tracing::debug!(?contact, "verified");
        self.changed_standing(contact, step);
        Ok(())
    }

    /// Takes no mail from a contact any more, without telling it.
    ///
    /// # Errors
    /// [`ContactError`].
    pub fn block(&mut self, name: &Label, step: &mut Step<'_>) -> Result<(), ContactError> {
        let (contact, _) = self.contact_named(name)?;
        self.blocked_by_people(contact, true);
        self.standing_changed(contact, step);
        Ok(())
    }

    /// Takes mail from a contact again.
    ///
    /// # Errors
    /// [`ContactError`].
    pub fn unblock(&mut self, name: &Label, step: &mut Step<'_>) -> Result<(), ContactError> {
        let (contact, _) = self.contact_named(name)?;
        self.blocked_by_people(contact, false);
        self.want_profile(contact);
        self.standing_changed(contact, step);
        Ok(())
    }

    /// A person here wrote to a contact: its mail is not held any more.
    pub fn handle_person_wrote(&mut self, contact: &Fingerprint, step: &mut Step<'_>) {
        if let Some(row) = self.contacts.get_mut(contact).filter(|row| row.held) {
            row.held = false;
            self.changed_standing(*contact, step);
        }
    }

    fn changed_standing(&mut self, contact: Fingerprint, step: &mut Step<'_>) {
        self.changed_by_people(contact);
        self.standing_changed(contact, step);
    }

    fn standing_changed(&mut self, contact: Fingerprint, step: &mut Step<'_>) {
        self.queue.push_back(Command::RouteChanged(contact));
        self.tell_profile(contact, step);
        self.settle(step);
    }

    /// Ends a contact, or withdraws or declines what was under way with it: here at once, at the relay when it can be reached.
    ///
    /// No notice is sent. Its mail that is already spooled is *foreign* when it arrives.
    ///
    /// # Errors
    /// [`ContactError::Unknown`].
    pub fn remove(&mut self, name: &Label, step: &mut Step<'_>) -> Result<Removed, ContactError> {
        let contact = self.resolve(name)?;
        let linked = self.contacts.get(&contact).is_some_and(|row| row.link.is_some());
        if linked || self.request_of(contact).is_some() {
            self.removed_by_people(contact);
        }
        self.end_contact(contact, step);
        tracing::info!("a contact was removed");
        tracing::debug!(?contact, "removed");
        self.settle(step);
        let at_relay = !self.retired_edges.values().any(|edge| edge.contact == contact);
        Ok(Removed { contact, at_relay })
    }

    /// Ends a contact here, with everything that is under way with it.
    pub(super) fn end_contact(&mut self, contact: Fingerprint, step: &mut Step<'_>) {
        let adding = self.adding.values().filter(|adding| adding.inviter == contact);
        let adding: Vec<_> = adding.map(|adding| adding.id).collect();
        for id in adding {
            self.withdraw_adding(id);
        }
        let requests = self.requests().filter(|(_, request)| request.contact() == contact);
        let requests: Vec<_> = requests.map(|(id, _)| id).collect();
        for id in requests {
            self.end_invite(id, InviteEnd::Declined, step);
        }
        self.end_acceptance(contact, InviteEnd::Withdrawn, step);
        self.unkept.forget(&contact);
        if let Some(row) = self.contacts.remove(&contact) {
            for edge in row.earlier().iter().filter_map(|known| known.edge).collect::<Vec<_>>() {
                self.retire_edge(edge, contact, Some(row.name.clone()));
            }
            if let Some(rekeying) = row.rekeying {
                self.retire_edge(rekeying.edge, contact, Some(row.name.clone()));
            }
            if let Some(link) = row.link {
                self.jobs.drop_unless_asked(Job::LinkEdge(contact, link.edge_in));
                self.retire_edge(link.edge_in, contact, Some(row.name));
            }
            self.jobs.drop_unless_asked(Job::FetchProfile(contact));
            self.plan_contact(contact, step.now.wall_ms);
            self.touch(RowKey::Contact(contact));
            self.queue.push_back(Command::ContactEnded(contact));
            self.rotate_profile_key(step);
        }
    }

    /// A contact's relay answered `no` to a deposit on one of its edges.
    pub fn handle_refused(&mut self, contact: &Fingerprint, edge: &EdgeId, step: &mut Step<'_>) {
        let Some(row) = self.contacts.get(contact) else { return };
        if row.accepting.as_ref().is_some_and(|accepting| accepting.link.edge_out == *edge) {
            self.acceptance_failed(*contact, step);
        } else if row.link.as_ref().is_some_and(|link| link.edge_out == *edge) {
            // One of several that was revoked is refused like a contact that is gone. The profile is refused only with the edge itself.
            if row.manifest.0.manifest().devices.len() > 1 {
                self.want_profile(*contact);
            } else {
                self.gone(*contact, step);
            }
        } else {
            return;
        }
        self.settle(step);
    }

    /// A contact's relay took a deposit.
    pub fn handle_accepted(&mut self, contact: &Fingerprint, step: &mut Step<'_>) {
        if self.contacts.get(contact).is_some_and(|row| row.gone_since_ms.is_some() && row.link.is_some()) {
            self.back(*contact, step);
            self.settle(step);
        }
    }

    pub(super) fn gone(&mut self, contact: Fingerprint, step: &Step<'_>) {
        let Some(row) = self.contacts.get_mut(&contact) else { return };
        if row.gone_since_ms.is_none() {
            row.gone_since_ms = Some(step.now.wall_ms);
            row.since_ms = step.now.wall_ms;
            let name = row.name.clone();
            self.touch(RowKey::Contact(contact));
            if self.me() != Some(contact) {
                self.notify(Notice::Gone { contact, name });
            }
            self.queue.push_back(Command::RouteChanged(contact));
        }
        self.plan_contact(contact, step.now.wall_ms);
    }

    pub(super) fn back(&mut self, contact: Fingerprint, step: &mut Step<'_>) {
        let Some(row) = self.contacts.get_mut(&contact) else { return };
        // What an acceptance under way brings says nothing of the connection that it replaces.
        if row.accepting.is_some() || row.gone_since_ms.take().is_none() {
            return;
        }
        row.since_ms = step.now.wall_ms;
        let name = row.name.clone();
        let unlinked = row.link.as_ref().filter(|link| !link.linked).map(|link| link.edge_in);
        self.touch(RowKey::Contact(contact));
        if let Some(edge) = unlinked.filter(|_| !self.unkept.has(&contact)) {
            self.jobs.want(Job::LinkEdge(contact, edge));
        }
        if self.me() != Some(contact) {
            self.notify(Notice::Back { contact, name });
        }
        self.queue.push_back(Command::RouteChanged(contact));
        self.plan_contact(contact, step.now.wall_ms);
        self.tell_profile(contact, step);
    }

    /// Something about a contact's key does not add up: nothing is taken or sent until a person decides.
    pub(super) fn key_changed(&mut self, contact: Fingerprint, why: KeyChange) {
        if self.me() == Some(contact) {
            tracing::error!(?why, "our own devices do not agree about the account");
            return;
        }
        let Some(row) = self.contacts.get_mut(&contact) else { return };
        if row.trust == Trust::Changed {
            return;
        }
        row.trust = Trust::Changed;
        row.changed = Some(why);
        let name = row.name.clone();
        tracing::warn!(?why, "a contact's key does not add up");
        tracing::debug!(?contact, "its key does not add up");
        self.touch(RowKey::Contact(contact));
        self.notify(Notice::KeyChanged { contact, name, why });
        self.queue.push_back(Command::RouteChanged(contact));
    }

    /// Gives a control message for all devices of a contact to delivery.
    pub(super) fn deliver(
        &mut self,
        contact: Fingerprint,
        message: MsgId,
        control: Control,
        step: &Step<'_>,
    ) {
        let devices = self.devices_of(&contact);
        self.deliver_to(contact, devices, message, control, step);
    }

    /// Devices of a contact; of our own account those besides this one.
    pub(super) fn devices_of(&self, contact: &Fingerprint) -> Vec<DeviceId> {
        if self.me() == Some(*contact) {
            return self.others();
        }
        let Some(row) = self.contacts.get(contact) else { return Vec::new() };
        row.manifest.0.manifest().devices.iter().map(|device| device.id).collect()
    }

    pub(super) fn deliver_to(
        &mut self,
        contact: Fingerprint,
        devices: Vec<DeviceId>,
        message: MsgId,
        control: Control,
        step: &Step<'_>,
    ) {
        if devices.is_empty() {
            return;
        }
        self.queue.push_back(Command::Deliver(Deliver {
            message,
            to: contact,
            devices,
            control: Box::new(control),
            by: By::Contact,
            expires_ms: step.now.wall_ms.saturating_add(MAX_MESSAGE_LIFE_MS),
        }));
    }
}
