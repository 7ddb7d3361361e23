//! `kill -9` of everything while messages flow. Every message for which `send` exited 0 arrives exactly once, in order per sender.
//!
//! `PENPAL_CRASH_ROUNDS` sets the number of rounds, 20 when absent; `PENPAL_SEED` repeats a run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use penpal_tests::seed::Seeded;
use penpal_tests::{Pair, wait};

#[test]
fn what_was_accepted_arrives_exactly_once_through_kills() {
    let rounds: u64 =
        std::env::var("PENPAL_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20);
    let mut seeded = Seeded::printed("crash");
    let started = std::time::Instant::now();
    let mut killed = 0_u64;
    let mut pair = Pair::connected();
    let (accepted, ends) = (AtomicU64::new(0), AtomicBool::new(false));
    // Number of each message that was accepted, by sender.
    let said = std::sync::Mutex::new(BTreeMap::<&str, Vec<u64>>::new());
    std::thread::scope(|scope| {
        for (person, to, session) in [(&pair.alice, "bob/web", "api"), (&pair.bob, "alice/api", "web")] {
            let (accepted, ends, said) = (&accepted, &ends, &said);
            scope.spawn(move || {
                let mut number = 0;
                while !ends.load(Ordering::Relaxed) {
                    let text = format!("{session} {number:08}");
                    let sent = person.run(&["send", to, &text, "--as", session, "--anyway", "--wait", "0s"]);
                    if sent.status == 0 {
                        said.lock().expect("not poisoned").entry(session).or_default().push(number);
                        accepted.fetch_add(1, Ordering::Relaxed);
                    }
                    number += 1;
                }
            });
        }
        let relay = &mut pair.relay;
        let (alice, bob) = (&pair.alice, &pair.bob);
        for round in 0..rounds {
            let goal = accepted.load(Ordering::Relaxed) + 1 + seeded.below(12);
            wait::until("messages to flow", || accepted.load(Ordering::Relaxed) >= goal);
            std::thread::park_timeout(Duration::from_millis(seeded.below(40)));
            let victims = (round + seeded.below(2)) % 4;
            killed += if victims == 3 { 3 } else { 1 };
            match victims {
                0 => alice.kill_node(),
                1 => bob.kill_node(),
                2 => {
                    relay.kill();
                    relay.restart();
                }
                _ => {
                    alice.kill_node();
                    relay.kill();
                    bob.kill_node();
                    relay.restart();
                }
            }
        }
        ends.store(true, Ordering::Relaxed);
    });
    // A last word each way: whoever waits before dialling again dials now.
    for (person, to, session) in [(&pair.alice, "bob/web", "api"), (&pair.bob, "alice/api", "web")] {
        wait::until("the last word to be accepted", || {
            person.run(&["send", to, "last", "--as", session, "--anyway", "--wait", "0s"]).status == 0
        });
    }
    let said = said.into_inner().expect("not poisoned");
    for (person, session, sender) in [(&pair.bob, "web", "api"), (&pair.alice, "api", "web")] {
        let expected = said.get(sender).cloned().unwrap_or_default();
        let arrived = || -> Vec<u64> {
            let bodies = person.bodies(session);
            bodies.iter().filter_map(|body| body.strip_prefix(sender)?.trim().parse().ok()).collect()
        };
        wait::until("everything accepted to arrive", || {
            let arrived = arrived();
            expected.iter().all(|number| arrived.contains(number))
        });
        let arrived = arrived();
        let mut once = arrived.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), arrived.len(), "something arrived twice from {sender}");
        assert_eq!(once, arrived, "out of order from {sender}");
    }
    println!(
        "{rounds} rounds of kill -9, {killed} processes; {} messages accepted, all there once and in order; {} s",
        accepted.load(Ordering::Relaxed),
        started.elapsed().as_secs()
    );
}
