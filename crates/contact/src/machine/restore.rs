//! Starting from stored state.

use std::{collections::BTreeMap, sync::Arc};

use penpal_protocol::ids::{InviteId, SlotId};
use penpal_seal::{IdentityKeys, InviteEntry, boot_key};

use super::{Contacts, Secrets, Step};
use crate::{
    command::Command,
    jobs::Job,
    notice::{AddFailure, Notice},
    record::{self, AddStep, Contact, InviteEnd, InviteState, LinkState, RowError, RowKey, Table},
};
use penpal_protocol::time::Now;

/// A machine that is being read back.
#[derive(Debug)]
pub struct Restoring {
    machine: Contacts,
    secrets: BTreeMap<InviteId, InviteEntry>,
}

impl Restoring {
    pub(super) fn new(keys: Arc<IdentityKeys>) -> Self {
        let start = Now { mono: std::time::Duration::ZERO, wall_ms: 0 };
        Self { machine: Contacts::empty(keys, start), secrets: BTreeMap::new() }
    }

    /// Takes a stored row, in any order.
    ///
    /// # Errors
    /// [`RowError`]; the row is then not taken.
    pub fn row(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), RowError> {
        let row = RowKey::parse(table, key).ok_or(RowError::Key { table, got: key.len() })?;
        let machine = &mut self.machine;
        let matches = match row {
            RowKey::Own => {
                machine.own = Some(record::decode(table, value)?);
                true
            }
            RowKey::Registering => {
                machine.registering = Some(record::decode(table, value)?);
                true
            }
            RowKey::Invite(id) => {
                let invite: record::Invite = record::decode(table, value)?;
                let matches = invite.id == id;
                if matches {
                    machine.invites.insert(id, invite);
                }
                matches
            }
            RowKey::Adding(id) => {
                let adding: record::Adding = record::decode(table, value)?;
                let matches = adding.id == id;
                if matches {
                    machine.adding.insert(id, adding);
                }
                matches
            }
            RowKey::Contact(contact) => {
                let row: Contact = record::decode(table, value)?;
                let matches = row.manifest.0.fingerprint() == contact;
                if matches {
                    machine.contacts.insert(contact, row);
                }
                matches
            }
            RowKey::RetiredEdge(edge) => {
                let retired: record::RetiredEdge = record::decode(table, value)?;
                let matches = retired.edge == edge;
                if matches {
                    machine.retired_edges.insert(edge, retired);
                }
                matches
            }
            RowKey::RetiredDevice(slot) => {
                let matches = record::decode::<SlotId>(table, value)? == slot;
                if matches {
                    machine.retired_devices.insert(slot);
                }
                matches
            }
            RowKey::CutOff(slot) => {
                let matches = record::decode::<SlotId>(table, value)? == slot;
                if matches {
                    machine.cut_off.insert(slot);
                }
                matches
            }
            RowKey::Removed(contact) => {
                machine.tombstones.insert(contact, record::decode(table, value)?);
                true
            }
            RowKey::Joining => {
                machine.joining = Some(record::decode(table, value)?);
                true
            }
            RowKey::Recovering => {
                machine.recovering = Some(record::decode(table, value)?);
                true
            }
            RowKey::Link(id) => {
                let link: record::DeviceLink = record::decode(table, value)?;
                let matches = link.id == id;
                if matches {
                    machine.links.insert(id, link);
                }
                matches
            }
            RowKey::RetiredInvite(id) => {
                let matches = record::decode::<InviteId>(table, value)? == id;
                if matches {
                    machine.retired_invites.insert(id);
                }
                matches
            }
        };
        if matches { Ok(()) } else { Err(RowError::Mismatch { table }) }
    }

    /// Takes an invite's secrets from the key file, in any order.
    pub fn secret(&mut self, invite: InviteId, entry: InviteEntry) {
        self.secrets.insert(invite, entry);
    }

    /// Puts everything together and takes up what was under way. Commands wait in the machine.
    #[must_use]
    pub fn finish(self, step: &mut Step<'_>) -> Contacts {
        let Self { mut machine, secrets } = self;
        machine.now = step.now;
        for (id, entry) in secrets {
            machine.secrets.insert(id, Secrets::new(entry));
        }
        machine.erase_unused_secrets();
        machine.end_without_secrets(step);
        for row in machine.contacts.values_mut() {
            let manifest = row.manifest.0.clone();
            row.bundles.verify(&manifest, step.now.wall_ms);
        }
        machine.resume_invites(step);
        machine.resume_contacts(step);
        machine.resume_devices(step);
        machine.settle(step);
        machine
    }
}

impl Contacts {
    /// Erases secrets that no row needs: a crash came between the key file and the log.
    fn erase_unused_secrets(&mut self) {
        let unused = self.secrets.keys().filter(|id| {
            let invite =
                self.invites.get(id).is_some_and(|row| !matches!(row.state, InviteState::Ended { .. }));
            let adding = self.adding.get(id).is_some_and(|row| row.step != AddStep::Declined);
            let device =
                self.links.contains_key(id) || self.joining.as_ref().is_some_and(|row| row.id == **id);
            !invite && !adding && !device
        });
        let unused: Vec<_> = unused.copied().collect();
        for id in unused {
            self.erase_secret(id);
        }
    }

    /// Ends what cannot go on without its secrets: the key file is older than the log, or was replaced.
    fn end_without_secrets(&mut self, step: &mut Step<'_>) {
        let lost = self.invites.values().filter(|row| {
            let needed = matches!(
                row.state,
                InviteState::Creating { .. } | InviteState::Open | InviteState::Requested { .. }
            );
            needed && !self.secrets.contains_key(&row.id)
        });
        let lost: Vec<_> = lost.map(|row| row.id).collect();
        for id in lost {
            self.end_invite(id, InviteEnd::Lost, step);
            self.notify(Notice::InviteLost { invite: id });
        }
        let lost = self.links.keys().filter(|id| !self.secrets.contains_key(id));
        for id in lost.copied().collect::<Vec<_>>() {
            self.end_link(id);
        }
        let lost = self
            .adding
            .values()
            .filter(|row| row.step != AddStep::Declined && !self.secrets.contains_key(&row.id));
        let lost: Vec<_> = lost.map(|row| row.id).collect();
        for id in lost {
            self.fail_adding(id, AddFailure::Lost);
        }
    }

    fn resume_invites(&mut self, step: &mut Step<'_>) {
        if self.registering.is_some() {
            self.jobs.want(Job::Register);
        }
        for (id, row) in &self.invites {
            if matches!(row.state, InviteState::Creating { .. }) {
                self.jobs.want(Job::CreateInvite(*id));
            }
        }
        for id in self.invites.keys().copied().collect::<Vec<_>>() {
            self.plan_invite(id);
        }
        for id in self.adding.keys().copied().collect::<Vec<_>>() {
            let Some(row) = self.adding.get(&id) else { continue };
            if row.step == AddStep::Waiting {
                self.jobs.want(Job::AskRequest(id));
            }
            if let (Some(prepared), Some(secrets)) = (row.prepared.as_deref(), self.secrets.get_mut(&id)) {
                secrets.boot = Some(boot_key(&secrets.entry.secret, &prepared.transcript));
            }
            self.want_step(id);
            self.plan_adding(id, step.now.wall_ms);
        }
        if self.own.is_some() {
            self.advance_all(AddStep::Registering, step);
        }
        for id in &self.retired_invites {
            self.jobs.want(Job::RevokeInvite(*id));
        }
    }

    fn resume_devices(&mut self, step: &mut Step<'_>) {
        self.want_join();
        self.resume_recovery(step);
        for (id, link) in &self.links {
            match &link.state {
                LinkState::Creating { .. } => self.jobs.want(Job::CreateLink(*id)),
                LinkState::Adding { slot: None, .. } => self.jobs.want(Job::AddDevice(*id)),
                LinkState::Answering { .. } => self.jobs.want(Job::AnswerLink(*id)),
                LinkState::Open | LinkState::Adding { slot: Some(_), .. } | LinkState::Answered { .. } => {}
            }
        }
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            self.check_link(id, step.now.wall_ms);
        }
        // While the account is being recovered here its present state is read first.
        if self.own.is_some() || self.recovering.is_none() {
            for slot in &self.retired_devices {
                self.jobs.want(Job::RemoveDevice(*slot));
            }
        }
        self.want_machines();
    }

    fn resume_contacts(&mut self, step: &mut Step<'_>) {
        let mut wanted = Vec::new();
        for (contact, row) in &self.contacts {
            for link in super::requests::links(row) {
                if !link.made {
                    self.jobs.want(Job::CreateEdge(link.edge_in));
                }
                if !link.linked && link.rekeyed != Some(true) {
                    self.jobs.want(Job::LinkEdge(*contact, link.edge_in));
                }
            }
            if let Some(rekeying) = row.rekeying.as_ref().filter(|rekeying| !rekeying.made) {
                self.jobs.want(Job::CreateEdge(rekeying.edge));
            }
            let stale = row.manifest.0.is_stale(step.now.wall_ms);
            if row.gone_since_ms.is_some() || stale || row.announced > row.manifest.0.version() {
                wanted.push(*contact);
            }
        }
        for contact in wanted {
            self.want_profile(contact);
        }
        for contact in self.contacts.keys().copied().collect::<Vec<_>>() {
            self.queue.push_back(Command::RouteChanged(contact));
            self.plan_contact(contact, step.now.wall_ms);
            if self.contacts.get(&contact).is_some_and(Contact::has_unused) {
                self.use_once_kept(contact, step);
            }
            self.continue_acceptance(contact, step);
            self.tell_profile(contact, step);
        }
        for edge in self.retired_edges.keys() {
            self.jobs.want(Job::RevokeEdge(*edge));
        }
    }
}
