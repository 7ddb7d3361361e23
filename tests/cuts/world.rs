//! Two people and a relay, each on a machine of their own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use penpal_tests::seed::Seeded;
use penpal_tests::{Person, Relay, introduce, wait};

use crate::disk::{Keep, Lost};
use crate::machine::{Machine, empty_image};
use crate::surroundings::BootId;

/// Longest wait for an arranged cut: an idle machine writes nothing.
const CUT_LIMIT: Duration = Duration::from_millis(300);

const RELAY: usize = 0;
const ALICE: usize = 1;
const BOB: usize = 2;

/// Who writes what to whom.
struct Writer<'w> {
    person: &'w Person,
    to: &'static str,
    session: &'static str,
    /// Closed while its machine has no power.
    gate: RwLock<()>,
    /// Numbers of the messages that were accepted.
    accepted: Mutex<Vec<u64>>,
}

impl Writer<'_> {
    fn write(&self, ends: &AtomicBool, total: &AtomicU64) {
        for number in 0.. {
            if ends.load(Ordering::Relaxed) {
                return;
            }
            let text = format!("{} {number:08}", self.session);
            let arguments = ["send", self.to, &text, "--as", self.session, "--anyway", "--wait", "0s"];
            let mut command = self.person.command(&arguments);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
            let open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            let mut child = command.spawn().expect("penpal starts");
            drop(open);
            if child.wait().expect("penpal ends").success() {
                self.accepted.lock().unwrap_or_else(PoisonError::into_inner).push(number);
                total.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// What all cuts did.
#[derive(Debug, Default)]
struct Summary {
    machines: [u64; 3],
    with_unflushed: u64,
    torn: u64,
    unflushed: u64,
    gone: u64,
}

impl Summary {
    fn add(&mut self, machine: usize, lost: Lost) {
        self.machines[machine] += 1;
        self.with_unflushed += u64::from(lost.unflushed > 0);
        self.torn += u64::from(lost.gone > 0 && lost.gone < lost.unflushed);
        self.unflushed += lost.unflushed;
        self.gone += lost.gone;
    }
}

pub(crate) fn run(cuts: u64) {
    let started = Instant::now();
    let mut seeded = Seeded::printed("cuts");
    let folder = penpal_tests::folder();
    let boot = BootId::replaced(folder.path());
    let image = empty_image(folder.path());
    let mut machines = ["relay", "alice", "bob"].map(|name| Machine::new(folder.path(), name, &image));
    drop(image);
    let mut relay = Relay::start(&machines[RELAY].path().join("data"));
    let [alice, bob] = [(ALICE, "alice"), (BOB, "bob")]
        .map(|(machine, name)| Person::at(&machines[machine].path().join("home"), name));
    introduce(&relay, &alice, &bob);
    let writer = |person, to, session| Writer {
        person,
        to,
        session,
        gate: RwLock::default(),
        accepted: Mutex::default(),
    };
    let _logs = Logs([&alice, &bob]);
    let writers = [writer(&alice, "bob/web", "api"), writer(&bob, "alice/api", "web")];
    let (total, ends) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut summary = Summary::default();
    std::thread::scope(|scope| {
        for writer in &writers {
            scope.spawn(|| writer.write(&ends, &total));
        }
        let stopping = Stopping(&ends);
        for number in 0..cuts {
            // One in four comes while the last one is still being recovered from.
            let goal =
                total.load(Ordering::Relaxed) + if seeded.below(4) == 0 { 0 } else { 1 + seeded.below(8) };
            wait::until("messages to flow", || total.load(Ordering::Relaxed) >= goal);
            one_cut(number, &mut seeded, &mut machines, &mut relay, &writers, &mut summary, &boot);
        }
        drop(stopping);
    });
    check(&writers);
    let Summary { machines: [relays, alices, bobs], with_unflushed, torn, unflushed, gone } = summary;
    println!(
        "{cuts} power cuts: relay {relays}, alice {alices}, bob {bobs}; unflushed sectors in {with_unflushed} of {}, {unflushed} in \
         all, {gone} lost, torn or reordered in {torn}; {} messages accepted, all there once and in order; {} s",
        relays + alices + bobs,
        total.load(Ordering::Relaxed),
        started.elapsed().as_secs()
    );
}

/// Shows what the nodes said last, when a check fails: their disks go with the test.
struct Logs<'l>([&'l Person; 2]);

impl Drop for Logs<'_> {
    fn drop(&mut self) {
        for person in self.0.iter().filter(|_| std::thread::panicking()) {
            let log = std::fs::read_to_string(person.home().join("node.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            println!("{}\n{}", person.name(), lines[lines.len().saturating_sub(30)..].join("\n"));
        }
    }
}

/// Ends the writers also when a check fails.
struct Stopping<'s>(&'s AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn one_cut(
    number: u64,
    seeded: &mut Seeded,
    machines: &mut [Machine; 3],
    relay: &mut Relay,
    writers: &[Writer<'_>; 2],
    summary: &mut Summary,
    boot: &BootId,
) {
    // Every choice is made here, so that a seed means the same ones whatever the programs do.
    let mask = 1 + seeded.below(7);
    let hit: Vec<usize> = (0..machines.len()).filter(|machine| mask >> machine & 1 == 1).collect();
    let first = hit[usize::try_from(seeded.below(hit.len() as u64)).unwrap_or(0)];
    let operations = seeded.below(60);
    let keep: Vec<Keep> = (0..machines.len())
        .map(|_| match seeded.below(4) {
            0 => Keep::Nothing,
            1 => Keep::All,
            _ => Keep::Some(1 + seeded.below(7)),
        })
        .collect();
    // What an inbox has shown must be there afterwards, at once.
    let looks = number.is_multiple_of(4);
    let shown: BTreeMap<usize, Vec<String>> = hit
        .iter()
        .filter(|machine| looks && **machine != RELAY)
        .map(|machine| (*machine, bodies(&writers[machine - 1])))
        .collect();
    machines[first].disk().cut_after(operations);
    machines[first].disk().wait_for_cut(CUT_LIMIT);
    for machine in &hit {
        machines[*machine].disk().cut();
    }
    let closed: Vec<_> = hit
        .iter()
        .filter(|machine| **machine != RELAY)
        .map(|machine| writers[machine - 1].gate.write().unwrap_or_else(PoisonError::into_inner))
        .collect();
    for machine in &hit {
        machines[*machine].end_processes();
    }
    boot.change(number + 1);
    for machine in &hit {
        let lost = machines[*machine].power_back(keep[*machine], seeded);
        summary.add(*machine, lost);
        if *machine == RELAY {
            relay.kill();
            relay.restart();
        }
    }
    for (machine, before) in shown {
        let after = bodies(&writers[machine - 1]);
        let missing: Vec<_> = before.iter().filter(|body| !after.contains(body)).collect();
        assert!(missing.is_empty(), "cut {number}: gone from an inbox: {missing:?}");
    }
    drop(closed);
}

fn bodies(writer: &Writer<'_>) -> Vec<String> {
    writer.person.bodies(writer.session)
}

fn check(writers: &[Writer<'_>; 2]) {
    // A last word each way: whoever waits before dialling again dials now.
    for writer in writers {
        wait::until("the last word to be accepted", || {
            let last = ["send", writer.to, "last", "--as", writer.session, "--anyway", "--wait", "0s"];
            writer.person.run(&last).status == 0
        });
    }
    for (sender, receiver) in [(&writers[0], &writers[1]), (&writers[1], &writers[0])] {
        let expected = sender.accepted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let arrived = || -> Vec<u64> {
            let bodies = bodies(receiver);
            bodies.iter().filter_map(|body| body.strip_prefix(sender.session)?.trim().parse().ok()).collect()
        };
        wait::until("everything accepted to arrive", || {
            let arrived = arrived();
            expected.iter().all(|number| arrived.contains(number))
        });
        let arrived = arrived();
        let mut once = arrived.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), arrived.len(), "something arrived twice from {}", sender.session);
        assert_eq!(once, arrived, "out of order from {}", sender.session);
    }
    for writer in writers {
        let log = std::fs::read_to_string(writer.person.home().join("node.log")).unwrap_or_default();
        assert!(!log.contains("rolled back"), "{} took a power cut for a restored backup", writer.session);
        wait::until("empty outboxes", || {
            let outbox = writer.person.json(&["outbox"]);
            outbox["messages"].as_array().is_some_and(Vec::is_empty)
        });
    }
}
