//! The storm: people write while everything that the plan names goes wrong.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use penpal_local_api::caller::Caller;
use penpal_local_api::contacts::NameRequest;
use penpal_local_api::methods::{Call, ContactBlock, ContactRemove, ContactUnblock};
use penpal_store::disk::Crash;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};

use super::World;
use super::people::mark_of;
use crate::ledger::{Deed, Done, Told};
use crate::net::Weather;
use crate::note;
use crate::party::{Doom, NodeHost, crash_of};
use crate::plan::{Act, Fault, Letter, Parcel};

/// What happens at a moment of the plan.
enum Event {
    Fault(Fault),
    Letter(Letter),
    Parcel(Parcel),
    Room(usize, Act),
    Link(usize),
    Revoke(usize),
}

/// What a relay keeps of an account is up to five seconds old, and a room's newcomers need a moment to meet.
const UNKEPT_MS: u64 = 8_000;

impl World {
    pub(super) async fn storm(self: Rc<Self>) {
        note!(self.trace, "the storm begins");
        let began = Instant::now();
        let shared: Vec<usize> = self.plan.seconds.iter().map(|second| second.of).collect();
        for who in self.plan.machines() {
            spawn_local(Rc::clone(&self).read(who));
            if shared.contains(&self.plan.person(who)) {
                let task = spawn_local(Rc::clone(&self).read_desk(who));
                self.tasks.borrow_mut().push(task.abort_handle());
            }
            if !self.plan.rooms.is_empty() {
                self.tasks
                    .borrow_mut()
                    .push(spawn_local(Rc::clone(&self).answer_invitations(who)).abort_handle());
            }
        }
        let mut letters = JoinSet::new();
        let mut events: Vec<(u64, Event)> = Vec::new();
        events.extend(self.plan.faults.iter().map(|(at, fault)| (*at, Event::Fault(*fault))));
        events.extend(self.plan.letters.iter().map(|letter| (letter.at_ms, Event::Letter(*letter))));
        events.extend(self.plan.parcels.iter().map(|parcel| (parcel.at_ms, Event::Parcel(*parcel))));
        for (room, gathering) in self.plan.rooms.iter().enumerate() {
            events.extend(gathering.acts.iter().map(|(at, act)| (*at, Event::Room(room, *act))));
        }
        for (number, second) in self.plan.seconds.iter().enumerate() {
            let machine = self.plan.homes.len() + number;
            events.extend(second.at_ms.map(|at| (at, Event::Link(machine))));
            events.extend(second.revoked_ms.map(|at| (at, Event::Revoke(machine))));
        }
        events.sort_by_key(|(at, _)| *at);
        let mut look = 0;
        for (at, event) in events {
            // Spools keep their bounds at all times; these are some of them.
            while look < at {
                sleep_until(began + Duration::from_millis(look)).await;
                self.look_at_spools();
                look += 7_000;
            }
            sleep_until(began + Duration::from_millis(at)).await;
            match event {
                Event::Fault(fault) => {
                    note!(self.trace, "fault {fault}");
                    *self.faults.borrow_mut().entry(fault.kind()).or_default() += 1;
                    let task = spawn_local(Rc::clone(&self).strike(fault));
                    self.tasks.borrow_mut().push(task.abort_handle());
                }
                Event::Letter(letter) => drop(letters.spawn_local(Rc::clone(&self).write(letter))),
                Event::Parcel(parcel) => drop(letters.spawn_local(Rc::clone(&self).send_file(parcel))),
                Event::Link(machine) => drop(letters.spawn_local(Rc::clone(&self).link_in_storm(machine))),
                Event::Revoke(machine) => drop(letters.spawn_local(Rc::clone(&self).revoke(machine))),
                Event::Room(room, act) => drop(letters.spawn_local(Rc::clone(&self).act(room, act))),
            }
        }
        // The longest faults go on for a while.
        sleep(Duration::from_secs(10)).await;
        self.look_at_spools();
        self.stop_storm();
        // Everybody has been told something by now, or never will be.
        while letters.join_next().await.is_some() {}
    }

    /// Ends every fault at once.
    fn stop_storm(&self) {
        note!(self.trace, "the storm ends");
        let number = self.ledger.borrow().written.len();
        self.ledger.borrow_mut().storm_ended = number;
        for task in self.tasks.take() {
            task.abort();
        }
        self.net.heal();
        for (who, copy) in self.copies.take() {
            self.end_of_two(who, &copy, &self.node(who));
        }
        self.pauses.borrow_mut().clear();
        for node in self.nodes.borrow().iter() {
            node.clock.set_wrong(0);
            node.set_full(false);
            node.set_asleep(false);
            // What was arranged and has not struck does so no more.
            node.calm();
            node.find_keys();
        }
        for relay in &self.relays {
            relay.set_full(false);
            relay.calm();
        }
        self.held.borrow_mut().clear();
    }

    async fn strike(self: Rc<Self>, fault: Fault) {
        let wait = |ms: u64| sleep(Duration::from_millis(ms));
        match fault {
            Fault::Weather(weather, ms) => {
                self.net.set_weather(weather);
                wait(ms).await;
                self.net.set_weather(Weather::FINE);
            }
            Fault::Cut { node, relay, ms } => {
                let (a, b) = (self.node(node).machine, self.relays[relay].machine);
                self.net.set_cut(a, b, true);
                wait(ms).await;
                self.net.set_cut(a, b, false);
            }
            Fault::Isolate { node, ms } => {
                let machine = self.node(node).machine;
                self.net.set_absent(machine, true);
                wait(ms).await;
                self.net.set_absent(machine, false);
            }
            Fault::Crash { node, steps, when, crash, ms } => {
                let node = self.node(node);
                self.pauses.borrow_mut().insert(node.machine, ms);
                node.doom(doom(steps, when), crash_of(crash, crash));
            }
            Fault::PowerCut { node, steps, crash, ms } => {
                let node = self.node(node);
                self.pauses.borrow_mut().insert(node.machine, ms);
                node.cut_power_in(steps, crash_of(crash, crash));
            }
            Fault::DiskError { node, steps, write, ms } => {
                let node = self.node(node);
                self.pauses.borrow_mut().insert(node.machine, ms);
                node.fail_disk_in(steps, write);
            }
            Fault::DiskFull { node, ms } => {
                let node = self.node(node);
                node.set_full(true);
                wait(ms).await;
                node.set_full(false);
            }
            Fault::Clock { node, wrong_ms, ms } => {
                self.ledger.borrow_mut().wrong_clock.insert(node);
                let node = self.node(node);
                node.clock.set_wrong(wrong_ms);
                wait(ms).await;
                node.clock.set_wrong(0);
            }
            Fault::Sleep { node, ms } => {
                let node = self.node(node);
                node.set_asleep(true);
                wait(ms).await;
                node.set_asleep(false);
            }
            Fault::Restore { node, ms, running } => {
                self.restore(node, ms, running).await;
                self.cut_off_what_forgot(node).await;
            }
            Fault::Clone { node, ms, copy_stays } => {
                self.copy(node, ms, copy_stays).await;
                self.cut_off_what_forgot(node).await;
            }
            Fault::LoseReceiveKeys { node: who } => {
                let node = self.node(who);
                self.hold(&node);
                node.lose_keys(false, true);
                self.ledger.borrow_mut().keys_lost.insert(who);
                self.release(&node);
            }
            Fault::LoseIdentity { node, ms } => self.lose_identity(node, ms).await,
            Fault::RelayCrash { relay, steps, when, crash, ms } => {
                let relay = &self.relays[relay];
                self.pauses.borrow_mut().insert(relay.machine, ms);
                relay.doom(doom(steps, when), crash_of(crash, crash));
            }
            Fault::RelayPowerCut { relay, steps, crash, ms } => {
                let relay = &self.relays[relay];
                self.pauses.borrow_mut().insert(relay.machine, ms);
                relay.cut_power_in(steps, crash_of(crash, crash));
            }
            Fault::RelayDiskFull { relay, ms } => {
                let relay = &self.relays[relay];
                relay.set_full(true);
                wait(ms).await;
                relay.set_full(false);
            }
            Fault::RelayRestore { relay, ms } => {
                let relay = &self.relays[relay];
                let snapshot = relay.snapshot();
                wait(ms).await;
                self.ledger.borrow_mut().relay_restored = true;
                relay.kill(Crash::Process);
                relay.put(&snapshot);
            }
            Fault::Remove { pair, first } => {
                let (who, whom) = self.sides(pair, first);
                self.part(who, whom);
                let request = self.name(whom);
                // Whether it is heard or not: they are parted.
                self.node(who).call::<ContactRemove>(Call::ContactRemove(request)).await.ok();
            }
            Fault::Block { pair, first, ms } => {
                let (who, whom) = self.sides(pair, first);
                self.part(who, whom);
                self.blocked.borrow_mut().insert((who, whom));
                let request = self.name(whom);
                self.node(who).call::<ContactBlock>(Call::ContactBlock(request)).await.ok();
                wait(ms).await;
                self.unblock(who, whom).await;
            }
        }
    }

    /// Takes a blocked contact's mail again.
    pub(super) async fn unblock(&self, who: usize, whom: usize) {
        let request = self.name(whom);
        self.node(who).call::<ContactUnblock>(Call::ContactUnblock(request)).await.ok();
    }

    fn sides(&self, pair: usize, first: bool) -> (usize, usize) {
        let (a, b) = self.plan.pairs[pair];
        if first { (a, b) } else { (b, a) }
    }

    fn part(&self, a: usize, b: usize) {
        self.ledger.borrow_mut().parted.insert((a.min(b), a.max(b)));
    }

    fn name(&self, whom: usize) -> NameRequest {
        NameRequest { caller: Caller::default(), name: self.node(whom).name.clone() }
    }

    /// Copies a node's folder and puts the copy back later.
    async fn restore(&self, who: usize, ms: u64, running: bool) {
        let node = self.node(who);
        let before = if running { marks(&node) } else { BTreeSet::new() };
        if !running {
            self.held.borrow_mut().insert(node.machine);
            node.stop();
        }
        let (snapshot, memory) = (node.snapshot(), self.memory(who));
        if !running {
            self.release(&node);
        }
        sleep(Duration::from_millis(ms)).await;
        if !Rc::ptr_eq(&node, &self.node(who)) {
            return;
        }
        self.hold(&node);
        if running {
            // Such a copy looks like the node after a crash: what was receipted since is lost.
            self.lose(who, marks(&node).difference(&before));
            self.ledger.borrow_mut().unaware.insert(who);
        }
        node.put(&snapshot);
        self.forget(who, memory);
        note!(self.trace, "{} is put back", node.name);
        self.release(&node);
    }

    /// A copy of the machine runs beside it for a while; one of the two remains.
    async fn copy(&self, who: usize, ms: u64, copy_stays: bool) {
        let node = self.node(who);
        let memory = self.memory(who);
        let machine = crate::net::Machine(self.next_machine.get());
        self.next_machine.set(machine.0.saturating_add(1));
        let (net, trace, snapshot) = (self.net.clone(), self.trace.clone(), node.snapshot());
        let copy = NodeHost::new(self.plan.seed, machine, &node.name, self.began, net, trace, Some(snapshot));
        self.copies.borrow_mut().push((who, Rc::clone(&copy)));
        self.ledger.borrow_mut().unsteady.insert(who);
        self.ledger.borrow_mut().unaware.insert(who);
        if copy.start().is_err() {
            return;
        }
        sleep(Duration::from_millis(ms)).await;
        self.copies.borrow_mut().retain(|(_, one)| !Rc::ptr_eq(one, &copy));
        if copy_stays && Rc::ptr_eq(&node, &self.node(who)) {
            self.held.borrow_mut().insert(node.machine);
            self.end_of_two(who, &node, &copy);
            self.nodes.borrow_mut()[who] = copy;
            self.forget(who, memory);
        } else {
            self.end_of_two(who, &copy, &self.node(who));
        }
    }

    /// One of two that run with the same keys ends; what only it has received may be lost.
    fn end_of_two(&self, who: usize, ends: &NodeHost, stays: &NodeHost) {
        ends.kill(Crash::Process);
        self.lose(who, marks(ends).difference(&marks(stays)));
    }

    /// These may be gone with a disk that nobody has any more.
    fn lose<'m>(&self, who: usize, marks: impl Iterator<Item = &'m String>) {
        let mut ledger = self.ledger.borrow_mut();
        for mark in marks {
            if let Some(written) = ledger.written.get_mut(mark) {
                written.lost_by.insert(who);
            }
        }
    }

    async fn lose_identity(&self, who: usize, ms: u64) {
        let node = self.node(who);
        // Before it is linked a machine has nothing that is its own.
        if who >= self.plan.homes.len() && !self.ledger.borrow().linked.contains_key(&who) {
            return;
        }
        self.hold(&node);
        node.lose_identity();
        if node.start().is_ok() {
            self.blame(format!("{} made itself a new identity", node.name));
        }
        sleep(Duration::from_millis(ms)).await;
        node.find_keys();
        self.release(&node);
    }

    /// What was written, and shown to a person's agents, so far.
    fn memory(&self, who: usize) -> Memory {
        let ledger = self.ledger.borrow();
        // What is being written now, perhaps on a machine that sleeps, is as unknown as what comes.
        let done = ledger.written.values().filter(|one| one.told != Told::Nothing);
        Memory {
            at_ms: self.elapsed_ms(),
            written: done.map(|one| one.number).collect(),
            shown: ledger.shown.get(&who).map_or(0, Vec::len),
        }
    }

    /// What happened since then is unknown to the disk that a person's node has now.
    fn forget(&self, who: usize, memory: Memory) {
        let mut ledger = self.ledger.borrow_mut();
        ledger.unsteady.insert(who);
        for one in ledger.written.values_mut() {
            one.forgotten |= one.from == who && !memory.written.contains(&one.number);
        }
        if let Some(marks) = ledger.shown.get_mut(&who) {
            marks.truncate(memory.shown);
        }
        // Those whom a room brings become contacts a moment after.
        let since = self.elapsed_ms().saturating_sub(UNKEPT_MS);
        let lately = |done: &&Done| done.deed == Deed::Joined && done.at_ms.1 >= since;
        let came: Vec<usize> = ledger.rooms.values().flatten().filter(lately).map(|done| done.whom).collect();
        ledger.unkept.extend(came.into_iter().map(|one| (who, one)));
        let begins = |deed| matches!(deed, Deed::Joined | Deed::Created);
        let joins = |done: &&Done| begins(done.deed) && done.whom == who && done.at_ms.1 >= memory.at_ms;
        let rooms = ledger.rooms.iter().filter(|(_, all)| all.iter().any(|done| joins(&done)));
        let rooms: Vec<usize> = rooms.map(|(room, _)| *room).collect();
        ledger.unjoined.extend(rooms.into_iter().map(|room| (who, room)));
    }
}

/// What a copy of a node knows.
struct Memory {
    /// When it was made, in milliseconds of the world.
    at_ms: u64,
    /// Messages whose writers had been told.
    written: BTreeSet<usize>,
    /// How many its agents were shown.
    shown: usize,
}

/// Marks of everything that a node has received.
fn marks(node: &NodeHost) -> BTreeSet<String> {
    node.received().iter().filter_map(|message| mark_of(&message.body)).map(str::to_owned).collect()
}

fn doom(steps: u32, when: u8) -> Doom {
    match when {
        0 | 1 => Doom::BeforeStep(steps),
        2 | 3 => Doom::AfterCommit(steps),
        some => Doom::AmongOutputs(steps, u32::from(some) - 3),
    }
}
