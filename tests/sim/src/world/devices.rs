//! Second machines of people: linked as people link them, read at, cut off; and what must be the same on all of an account.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use penpal_local_api::caller::Caller;
use penpal_local_api::contacts::{ContactState, ListRequest as ContactsRequest};
use penpal_local_api::devices::{JoinRequest, LinkRequest, ListRequest, RevokeRequest};
use penpal_local_api::error::ErrorCode;
use penpal_local_api::mail::{InboxRequest, ReadRequest};
use penpal_local_api::methods::{
    Call, ContactList, DeviceJoin, DeviceLink, DeviceList, DeviceRevoke, Inbox, Read, SessionOpen,
};
use penpal_local_api::sessions::OpenRequest;
use penpal_transport::clock::Clock as _;
use tokio::time::sleep;

use super::World;
use super::people::{mark_of, plain};
use crate::ledger::{Dest, Revoked};
use crate::party::CallError;

/// How often a person tries again what a node could not do.
const TRIES: usize = 12;

/// How long a person waits between.
const PAUSE: Duration = Duration::from_secs(2);

/// Name of every first machine.
pub(super) const FIRST: &str = "desktop";

impl World {
    /// Name of the session of a machine's agent.
    pub(super) fn session_of(&self, machine: usize) -> String {
        let second = if machine < self.plan.homes.len() { "" } else { "-b" };
        format!("{}{second}", self.canary)
    }

    /// Links a second machine, and says whether it is.
    pub(super) async fn link(&self, machine: usize) -> Result<(), String> {
        let (first, second) = (self.node(self.plan.person(machine)), self.node(machine));
        let mut why = String::new();
        for number in 1..=TRIES {
            // Whether an earlier try came about whose answer nobody saw, the machine says itself, when it is up again.
            if !second.is_up() {
                "the machine is off".clone_into(&mut why);
                sleep(PAUSE).await;
                continue;
            }
            if let Some(name) = self.own_name(machine).await {
                self.linked_as(machine, name).await;
                return Ok(());
            }
            self.end_earlier_tries(machine).await;
            if self.own_name(machine).await.is_some() {
                continue;
            }
            let code = match first.call::<DeviceLink>(Call::DeviceLink(LinkRequest::default())).await {
                Ok(made) => made.code,
                Err(error) => {
                    why = error.to_string();
                    sleep(PAUSE).await;
                    continue;
                }
            };
            // Each try has a name of its own: one that was given up may stand in the list.
            let name = format!("laptop-{number}");
            for _ in 0..3 {
                let request =
                    JoinRequest { caller: Caller::default(), code: code.clone(), name: Some(name.clone()) };
                let joined = second.call::<DeviceJoin>(Call::DeviceJoin(request)).await;
                let there = match &joined {
                    Ok(account) => Some(account.device.clone()),
                    Err(CallError::Api(error)) if error.code == ErrorCode::Registered => {
                        self.own_name(machine).await
                    }
                    Err(_) => None,
                };
                if let Some(name) = there {
                    self.linked_as(machine, name).await;
                    return Ok(());
                }
                why = joined.err().map(|error| error.to_string()).unwrap_or_default();
                sleep(PAUSE).await;
            }
        }
        Err(why)
    }

    async fn linked_as(&self, machine: usize, name: String) {
        self.note_linked(machine, name);
        let name = self.session_of(machine);
        let request = OpenRequest { caller: Caller::default(), name, agent: None };
        drop(self.node(machine).call::<SessionOpen>(Call::SessionOpen(request)).await);
    }

    fn note_linked(&self, machine: usize, name: String) {
        let mut ledger = self.ledger.borrow_mut();
        // Its answer waited for it, and it took that after it had been cut off.
        if let Some(revoked) = ledger.cut_off_unseen.get(&(machine, name.clone())).copied() {
            ledger.revoked.insert(machine, revoked);
        }
        ledger.linked.insert(machine, name);
    }

    /// A machine that came into the list and never came itself is cut off, as the notice about it says.
    async fn end_earlier_tries(&self, machine: usize) {
        let first = self.plan.person(machine);
        for (name, this) in self.devices_of(first).await.unwrap_or_default() {
            if this {
                continue;
            }
            // The relay may be away for a while.
            for _ in 0..4 * TRIES {
                let request = RevokeRequest { caller: Caller::default(), name: name.clone() };
                let revoked = self.node(first).call::<DeviceRevoke>(Call::DeviceRevoke(request)).await;
                if let Ok(answer) = &revoked {
                    let revoked = self.revoked_now(machine, answer);
                    self.ledger.borrow_mut().cut_off_unseen.insert((machine, name.clone()), revoked);
                }
                if !matches!(&revoked, Err(CallError::Api(error)) if error.code == ErrorCode::RelayAway) {
                    break;
                }
                sleep(PAUSE).await;
                // With the relay the machine may come after all.
                if self.own_name(machine).await.is_some() {
                    return;
                }
            }
        }
    }

    async fn own_name(&self, machine: usize) -> Option<String> {
        let rows = self.devices_of(machine).await?;
        rows.into_iter().find(|(_, this)| *this).map(|(name, _)| name)
    }

    /// Names of an account's devices as one of them lists them, and whether it is that one.
    async fn devices_of(&self, machine: usize) -> Option<Vec<(String, bool)>> {
        let request = Call::DeviceList(ListRequest::default());
        let listed = self.node(machine).call::<DeviceList>(request).await.ok()?;
        Some(listed.devices.into_iter().map(|row| (row.name, row.this)).collect())
    }

    /// Links a second machine in the storm, as well as it goes.
    pub(super) async fn link_in_storm(self: Rc<Self>, machine: usize) {
        drop(self.link(machine).await);
    }

    /// A link that nobody waited for any more may have come about by itself.
    pub(super) async fn look_for_devices(&self) {
        for machine in self.plan.homes.len()..self.plan.machines().end {
            if self.ledger.borrow().linked.contains_key(&machine) {
                continue;
            }
            self.wait_until_up(machine).await;
            self.wait_until_up(self.plan.person(machine)).await;
            if !self.has_come(machine).await {
                self.end_earlier_tries(machine).await;
            }
        }
    }

    /// Or it comes about while the rest is waited for, with the relay.
    pub(super) async fn look_for_late_devices(&self) {
        for machine in self.plan.homes.len()..self.plan.machines().end {
            if !self.ledger.borrow().linked.contains_key(&machine) {
                let _ = self.has_come(machine).await;
            }
        }
    }

    async fn has_come(&self, machine: usize) -> bool {
        let name = self.own_name(machine).await;
        let has_come = name.is_some();
        if let Some(name) = name {
            self.note_linked(machine, name);
        }
        has_come
    }

    fn revoked_now(&self, machine: usize, answer: &penpal_local_api::devices::Revoked) -> Revoked {
        let at_ms = self.node(machine).clock.wall_ms();
        Revoked {
            number: Some(self.ledger.borrow().written.len()),
            at_relay_ms: answer.at_relay.then_some(at_ms),
        }
    }

    /// Cuts a second machine off, where the root key is.
    pub(super) async fn revoke(self: Rc<Self>, machine: usize) {
        let first = self.node(self.plan.person(machine));
        let Some(name) = self.ledger.borrow().linked.get(&machine).cloned() else { return };
        self.ledger.borrow_mut().revoked.entry(machine).or_default();
        for _ in 0..TRIES {
            let request = RevokeRequest { caller: Caller::default(), name: name.clone() };
            match first.call::<DeviceRevoke>(Call::DeviceRevoke(request)).await {
                Ok(answer) => {
                    let revoked = self.revoked_now(machine, &answer);
                    self.ledger.borrow_mut().revoked.insert(machine, revoked);
                    return;
                }
                Err(CallError::Api(error)) if error.code == ErrorCode::UnknownDevice => return,
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// A machine that was put back to before it was linked has no account any more: its person cuts it off.
    pub(super) async fn cut_off_what_forgot(self: Rc<Self>, machine: usize) {
        let is_linked = self.ledger.borrow().linked.contains_key(&machine);
        if !is_linked || self.ledger.borrow().revoked.contains_key(&machine) {
            return;
        }
        self.wait_until_up(machine).await;
        let listed = self.node(machine).call::<DeviceList>(Call::DeviceList(ListRequest::default())).await;
        if matches!(listed, Err(CallError::Api(error)) if error.code == ErrorCode::NoAccount) {
            self.revoke(machine).await;
        }
    }

    /// A person with two machines who reads at one of them now and then.
    pub(super) async fn read_desk(self: Rc<Self>, machine: usize) {
        let mut dice = self.dice(&format!("desk {machine}"));
        loop {
            sleep(Duration::from_millis(dice.between(2_000, 15_000))).await;
            let request =
                InboxRequest { session: Some("desk".to_owned()), limit: Some(3), ..InboxRequest::default() };
            let node = self.node(machine);
            let Ok(inbox) = node.call::<Inbox>(Call::Inbox(request)).await else { continue };
            for message in inbox.messages.iter().filter(|message| message.room.is_none()) {
                let Some(mark) = mark_of(&message.body).filter(|_| dice.chance(500)) else { continue };
                let request =
                    ReadRequest { caller: Caller::default(), id: message.id.clone(), thread: false };
                if node.call::<Read>(Call::Read(request)).await.is_ok() {
                    self.ledger.borrow_mut().read.insert((machine, mark.to_owned()));
                }
            }
        }
    }

    /// Whether a relay that was put back may not know a machine.
    fn may_be_forgotten(&self, machine: usize) -> bool {
        self.ledger.borrow().relay_restored && self.plan.is_linked_late(machine)
    }

    /// Machines that are linked and stay so, with their first.
    pub(super) fn siblings(&self) -> Vec<(usize, usize)> {
        let linked: Vec<usize> = self.ledger.borrow().linked.keys().copied().collect();
        let linked = linked.into_iter().filter(|machine| self.takes_part(*machine));
        let linked: Vec<usize> = linked.collect();
        linked.iter().map(|machine| (self.plan.person(*machine), *machine)).collect()
    }

    /// Whether a machine has a part in its account at the end.
    pub(super) fn takes_part(&self, machine: usize) -> bool {
        let ledger = self.ledger.borrow();
        machine < self.plan.homes.len()
            || (!self.may_be_forgotten(machine)
                && ledger.linked.contains_key(&machine)
                && !ledger.revoked.contains_key(&machine))
    }

    /// Whether it is known what a machine should get.
    pub(super) fn takes_part_or_is_cut_off(&self, machine: usize) -> bool {
        self.takes_part(machine) || self.ledger.borrow().revoked.contains_key(&machine)
    }

    /// What two machines of one account say differently of it.
    pub(super) async fn devices_apart(&self) -> Option<String> {
        for (first, second) in self.siblings() {
            let (Some(one), Some(other)) = (self.devices_of(first).await, self.devices_of(second).await)
            else {
                return Some(format!("m{first} or m{second} lists no devices"));
            };
            let names = |rows: Vec<(String, bool)>| {
                rows.into_iter().map(|(name, _)| name).collect::<BTreeSet<String>>()
            };
            let (one, other) = (names(one), names(other));
            if one != other {
                return Some(format!("m{first} has the devices {one:?}, m{second} {other:?}"));
            }
            let (one, other) = (self.contacts_of(first).await, self.contacts_of(second).await);
            // Of a copy that was taken while its node ran nobody knows that it forgot what it was told.
            let unaware = |machine: usize| self.ledger.borrow().unaware.contains(&machine);
            if one != other && !unaware(first) && !unaware(second) {
                return Some(format!("m{first} has the contacts {one:?}, m{second} {other:?}"));
            }
        }
        None
    }

    /// Contacts that can be written to, or are blocked.
    async fn contacts_of(&self, machine: usize) -> Option<BTreeSet<(String, bool)>> {
        let request = Call::ContactList(ContactsRequest::default());
        let listed = self.node(machine).call::<ContactList>(request).await.ok()?;
        let rows = listed.contacts.into_iter();
        let kept = rows.filter(|row| {
            matches!(row.state, ContactState::Active | ContactState::Gone | ContactState::Blocked)
        });
        Some(kept.map(|row| (row.handle, row.state == ContactState::Blocked)).collect())
    }

    /// When all is mended, everybody writes once more to whoever has or had a second machine.
    pub(super) async fn probe(&self) {
        let of: BTreeSet<usize> =
            self.ledger.borrow().linked.keys().map(|machine| self.plan.person(*machine)).collect();
        for to in of {
            for (a, b) in self.plan.pairs.clone() {
                let from = if a == to { b } else { a };
                if (a != to && b != to) || self.ledger.borrow().are_parted(a, b) {
                    continue;
                }
                let (mark, text) = self.begin(from, Dest::Person(to), false, 20);
                self.ledger.borrow_mut().probes.insert(mark.clone());
                let request = penpal_local_api::mail::SendRequest {
                    to: Some(format!("{}/", self.node(to).name)),
                    ..plain(text)
                };
                self.send(from, mark, request).await;
            }
        }
    }
}
