//! What worlds have found, as small worlds of its own.

use penpal_sim::alarms;
use penpal_sim::plan::{Act, Fault, Gathering, Letter, Plan, Second};
use penpal_sim::world::{Outcome, run};

/// Two people with a relay each.
fn two(letters: Vec<Letter>, faults: Vec<(u64, Fault)>) -> Plan {
    let (homes, pairs) = (vec![0, 1], vec![(0, 1)]);
    Plan {
        seed: 1,
        relays: 2,
        homes,
        pairs,
        letters,
        parcels: Vec::new(),
        rooms: Vec::new(),
        seconds: Vec::new(),
        faults,
        spool_rows: 10_000,
    }
}

fn letter(at_ms: u64, from: usize, to: usize) -> Letter {
    Letter { at_ms, from, to, session: false, life_ms: None, bytes: 10 }
}

#[track_caller]
fn holds(plan: &Plan) -> Outcome {
    alarms::listen(false);
    let outcome = run(plan, false);
    assert!(outcome.wrong.is_empty(), "{:#?}\n{:?}", outcome.wrong, plan.faults);
    outcome
}

#[test]
fn what_a_contacts_relay_took_without_an_answer_is_deposited_again() {
    for steps in 0..4 {
        for when in [0, 2] {
            let crash = Fault::RelayCrash { relay: 1, steps, when, crash: 0, ms: 500 };
            let letters = (0..4).map(|number| letter(10_000 + 300 * number, 0, 1)).collect();
            holds(&two(letters, vec![(9_990, crash)]));
        }
    }
}

/// What came twice, because the receipt of the first time had not, is not judged by what the room has become meanwhile.
#[test]
fn a_message_that_is_here_is_not_refused_when_its_speaker_is_taken_out() {
    let acts = vec![
        (0, Act::Create),
        (1_000, Act::Invite(1)),
        (1_000, Act::Invite(2)),
        (20_000, Act::Say { from: 2, to: None, bytes: 10 }),
        (22_000, Act::Remove(2)),
    ];
    // The speaker's relay, to which receipts go, loses them.
    let restore = Fault::RelayRestore { relay: 1, ms: 6_000 };
    let cut = Fault::Cut { node: 2, relay: 1, ms: 60_000 };
    let plan = Plan {
        relays: 2,
        homes: vec![0, 0, 1],
        pairs: vec![(0, 1), (0, 2), (1, 2)],
        rooms: vec![Gathering { owner: 0, acts }],
        ..two(Vec::new(), vec![(19_000, cut), (19_000, restore)])
    };
    let outcome = holds(&plan);
    assert_eq!(outcome.deeds.get("read in rooms"), Some(&2), "{:?}", outcome.deeds);
}

/// The machines of a node begin anew after a full disk, and know of no relay but what they are told.
#[test]
fn mail_to_another_relay_goes_on_after_a_full_disk() {
    let full = Fault::DiskFull { node: 0, ms: 10_000 };
    // Until the segment is full as well.
    let long = |number: u64| Letter { bytes: 30_000, ..letter(11_000 + 300 * number, 0, 1) };
    let letters = (0..20).map(long).chain([letter(30_000, 0, 1)]);
    holds(&two(letters.collect(), vec![(10_000, full)]));
}

/// Each step that fails wants keys, and their file can be written though the log cannot: what one made serves the next.
#[test]
fn keys_are_not_made_anew_for_each_step_that_finds_no_room() {
    let full = Fault::DiskFull { node: 0, ms: 30_000 };
    let long = |number: u64| Letter { bytes: 30_000, ..letter(11_000 + 300 * number, 0, 1) };
    let short = |number: u64| letter(21_000 + 200 * number, 0, 1);
    let letters = (0..20).map(long).chain((0..60).map(short)).chain([letter(45_000, 0, 1)]);
    holds(&two(letters.collect(), vec![(10_000, full), (20_000, Fault::LoseReceiveKeys { node: 0 })]));
}

/// The second machine joins a room while the first is off and loses its receive keys: what the owner said of the room comes to that one only
/// when it is sealed again, and what others say in it may be there before.
#[test]
fn what_is_said_in_a_room_waits_for_a_machine_that_lost_its_keys_and_does_not_know_the_room() {
    for seed in 1..=2 {
        let mut acts = vec![(0, Act::Create), (1_000, Act::Invite(2)), (20_000, Act::Invite(1))];
        acts.extend((0..5).map(|number| (40_000 + 300 * number, Act::Say { from: 2, to: None, bytes: 10 })));
        let off = Fault::Crash { node: 1, steps: 1, when: 0, crash: 0, ms: 32_768 };
        let plan = Plan {
            seed,
            relays: 1,
            homes: vec![0, 0, 0],
            pairs: vec![(0, 1), (0, 2), (1, 2)],
            rooms: vec![Gathering { owner: 0, acts }],
            seconds: vec![Second { of: 1, at_ms: None, revoked_ms: None }],
            ..two(Vec::new(), vec![(15_000, off), (17_000, Fault::LoseReceiveKeys { node: 1 })])
        };
        holds(&plan);
    }
}
