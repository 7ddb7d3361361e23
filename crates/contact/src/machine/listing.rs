//! Devices that a relay forgot: one that was put back to a copy of before a link does not know the machine, and gets it added again.

use penpal_protocol::{
    cbor::List,
    ids::{DeviceId, SlotId, TransportPublicKey},
    sealed::DeviceEntry,
    wire::{Answer, DeviceAdd, Request},
};
use penpal_seal::RootKey;

use super::{Contacts, Step, answers::Reply};
use crate::{
    command::{At, Command},
    jobs::Job,
    record::{Machine, RowKey},
};

impl Contacts {
    fn machines(&self) -> &[Machine] {
        self.own.as_ref().and_then(|own| own.machines.as_deref()).unwrap_or_default()
    }

    /// Changes what is kept of the machines that were linked here; what is listed no more is left out.
    fn change_machines(&mut self, change: impl FnOnce(&mut Vec<Machine>)) {
        let Some(own) = &mut self.own else { return };
        let mut machines = own.machines.take().unwrap_or_default().into_vec();
        change(&mut machines);
        own.machines = Some(List::truncated(machines));
        self.touch(RowKey::Own);
    }

    /// Keeps the key by which the relay knows a machine that is linked here.
    pub(super) fn keep_machine(&mut self, device: DeviceId, transport: TransportPublicKey) {
        if self.machines().iter().any(|known| known.device == device && known.transport == transport) {
            return;
        }
        let Some(own) = &self.own else { return };
        let manifest = own.manifest.0.clone();
        self.change_machines(|machines| {
            machines.retain(|known| known.device != device && manifest.device(&known.device).is_some());
            machines.push(Machine { device, transport, again: false, slot: None });
        });
    }

    /// The relay was put back: each machine is added once more. It answers with the place that it has, or a new one.
    pub(super) fn machines_lost(&mut self) {
        if self.root().is_none() || self.others().is_empty() {
            return;
        }
        self.change_machines(|machines| machines.iter_mut().for_each(|machine| machine.again = true));
        self.want_machines();
        // So may be the edge among our devices.
        let Some(me) = self.me() else { return };
        let Some(link) = self.contacts.get_mut(&me).and_then(|row| row.link.as_mut()) else { return };
        (link.made, link.linked) = (false, false);
        let edge = link.edge_in;
        self.touch(RowKey::Contact(me));
        self.queue.push_back(Command::RouteChanged(me));
        self.jobs.want(Job::CreateEdge(edge));
    }

    /// Asks for what was not answered yet.
    pub(super) fn want_machines(&mut self) {
        let again = self.machines().iter().filter(|machine| machine.again).map(|machine| machine.device);
        for device in again.collect::<Vec<_>>() {
            self.jobs.want(Job::AddAgain(device));
        }
    }

    pub(super) fn again_request(&self, device: DeviceId) -> Option<(At, Request)> {
        let proof = self.root().map(RootKey::account_proof)?;
        // One that was revoked meanwhile is not brought back.
        self.own.as_ref()?.manifest.0.device(&device)?;
        let machine = self.machines().iter().find(|machine| machine.device == device && machine.again)?;
        Some((At::Home, Request::DeviceAdd(DeviceAdd { key: machine.transport, proof })))
    }

    /// The relay has a place for a machine, the one before or another.
    pub(super) fn added_again(&mut self, device: DeviceId, reply: &Reply<'_>) -> bool {
        let Reply::Yes(Answer::Registered(registered)) = reply else { return false };
        self.jobs.done(Job::AddAgain(device));
        let Some(own) = &self.own else { return true };
        let devices = &own.manifest.0.manifest().devices;
        let listed = devices.iter().find(|entry| entry.id == device).map(|entry| entry.slot);
        let taken = devices.iter().any(|entry| entry.slot == registered.slot && entry.id != device);
        let fits = registered.account == own.account && listed.is_some() && !taken;
        let slot = Some(registered.slot).filter(|slot| fits && Some(*slot) != listed);
        self.change_machines(|machines| {
            if let Some(machine) = machines.iter_mut().find(|machine| machine.device == device) {
                (machine.again, machine.slot) = (false, slot);
            }
        });
        true
    }

    /// Lists machines under their new places, once a manifest can be signed.
    pub(super) fn list_machines(&mut self, step: &mut Step<'_>) {
        let moved = self.machines().iter().filter_map(|machine| Some((machine.device, machine.slot?)));
        for (device, slot) in moved.collect::<Vec<_>>() {
            let is_listed = self.own.as_ref().is_some_and(|own| own.manifest.0.device(&device).is_some());
            if is_listed && self.list_place(device, slot, step).is_none() {
                return;
            }
            self.change_machines(|machines| {
                if let Some(machine) = machines.iter_mut().find(|machine| machine.device == device) {
                    machine.slot = None;
                }
            });
        }
    }

    /// Signs a manifest in which a device has another place. `None` while that cannot be.
    pub(super) fn list_place(&mut self, device: DeviceId, slot: SlotId, step: &mut Step<'_>) -> Option<()> {
        self.sign_manifest(step, |manifest| {
            let mut devices: Vec<DeviceEntry> = manifest.devices.to_vec();
            devices.iter_mut().find(|entry| entry.id == device)?.slot = slot;
            manifest.devices = List::new(devices).ok()?;
            Some(())
        })
    }
}
