//! The end of a world for people with two machines.

use penpal_local_api::mail::{Message, ReadState};

use super::World;
use super::checks::End;
use super::people::mark_of;
use crate::ledger::{Dest, Ledger, Told};

impl World {
    /// Mail is on all machines of an account, read on all, seen as sent on all, and on none that was cut off.
    pub(super) fn compare_devices(&self, ledger: &Ledger, ends: &[End], found: &mut Vec<String>) {
        let people = self.plan.homes.len();
        for machine in ledger.linked.keys().copied() {
            let first = self.plan.person(machine);
            match ledger.revoked.get(&machine) {
                None => {
                    self.read_on_all(ledger, [first, machine], ends, found);
                    self.read_on_all(ledger, [machine, first], ends, found);
                    self.sent_on_all(ledger, [first, machine], ends, found);
                    self.sent_on_all(ledger, [machine, first], ends, found);
                }
                Some(_) => self.cut_off(ledger, first, machine, &ends[machine], found),
            }
            self.probed(ledger, first, machine, ends, found);
        }
        for machine in
            (people..people + self.plan.seconds.len()).filter(|one| !ledger.linked.contains_key(one))
        {
            if !ends[machine].received.is_empty() {
                found.push(format!("m{machine} was never linked and has mail"));
            }
        }
    }

    /// What was read at one machine is read at the other.
    fn read_on_all(&self, ledger: &Ledger, [here, there]: [usize; 2], ends: &[End], found: &mut Vec<String>) {
        if ledger.unsteady.contains(&here) || ledger.unsteady.contains(&there) {
            return;
        }
        for (_, mark) in ledger.read.iter().filter(|(machine, _)| *machine == here) {
            let known = ends[there].received.iter().find(|one| mark_of(&one.body) == Some(mark.as_str()));
            if known.is_some_and(|message| message.state == ReadState::Unread) {
                found.push(format!("{mark} was read at m{here}, and is unread at m{there}"));
            }
        }
    }

    /// What one machine sent since the other was linked is there as sent, too.
    fn sent_on_all(&self, ledger: &Ledger, [here, there]: [usize; 2], ends: &[End], found: &mut Vec<String>) {
        let second = here.max(there) - self.plan.homes.len();
        let from_the_beginning = self.plan.seconds.get(second).is_some_and(|second| second.at_ms.is_none());
        let steady = |machine: usize| !ledger.unsteady.contains(&machine);
        if !from_the_beginning || !steady(here) || !steady(there) {
            return;
        }
        for (mark, written) in &ledger.written {
            let is_letter = matches!(written.to, Dest::Person(_)) && written.told == Told::Accepted;
            let is_letter = is_letter && written.number < ledger.storm_ended;
            if written.from == here && is_letter && !ends[there].sent.contains_key(mark) {
                found.push(format!("{mark} was sent at m{here}, and m{there} does not know"));
            }
        }
    }

    /// A machine that was cut off has nothing that came after its relay knew, and nothing that its account sent since.
    fn cut_off(&self, ledger: &Ledger, first: usize, machine: usize, end: &End, found: &mut Vec<String>) {
        let Some(revoked) = ledger.revoked.get(&machine) else { return };
        if ledger.relay_restored || ledger.wrong_clock.contains(&machine) {
            return;
        }
        let came_late = |message: &&Message| {
            // What one of two running copies decided the other does not know, and takes the machine for forgotten by the relay.
            !ledger.unsteady.contains(&first)
                && revoked.at_relay_ms.is_some_and(|at_ms| message.received_ms > at_ms)
                && mark_of(&message.body).is_some_and(|mark| ledger.written.contains_key(mark))
        };
        for message in end.received.iter().filter(came_late) {
            found.push(format!(
                "m{machine} was cut off, and has {} since",
                mark_of(&message.body).unwrap_or_default()
            ));
        }
        for mark in end.sent.keys() {
            let Some(written) = ledger.written.get(mark) else { continue };
            let later = revoked.number.is_some_and(|number| written.number >= number);
            if later && written.from == first && !ledger.unsteady.contains(&first) {
                found.push(format!("m{machine} was cut off, and knows that {mark} was sent"));
            }
        }
    }

    /// When all is mended every contact knows the devices.
    fn probed(&self, ledger: &Ledger, first: usize, machine: usize, ends: &[End], found: &mut Vec<String>) {
        let is_revoked = ledger.revoked.get(&machine).map(|revoked| revoked.number.is_some());
        for mark in &ledger.probes {
            let Some(written) = ledger.written.get(mark) else { continue };
            let out_of_touch =
                ledger.is_way_lost(written.from, first) || !self.takes_part_or_is_cut_off(machine);
            if written.to != Dest::Person(first) || written.told != Told::Accepted || out_of_touch {
                continue;
            }
            let there =
                ends[machine].received.iter().any(|message| mark_of(&message.body) == Some(mark.as_str()));
            match is_revoked {
                None if !there => found.push(format!("{mark} of p{} is not at m{machine}", written.from)),
                Some(true) if there => {
                    found.push(format!("{mark} of p{} is at m{machine}, which was cut off", written.from));
                }
                Some(_) | None => {}
            }
            let copies = ends[written.from].sent.get(mark).map(|sent| sent.copies.as_slice());
            let name = ledger.linked.get(&machine);
            let goes = copies.unwrap_or_default().iter().any(|copy| Some(&copy.device) == name);
            if is_revoked == Some(true) && goes {
                found.push(format!("p{} still sends to m{machine}, which was cut off: {mark}", written.from));
            }
        }
    }
}
