//! What worlds have found, as small worlds of its own.

use penpal_sim::alarms;
use penpal_sim::plan::{Fault, Letter, Plan};
use penpal_sim::world::{Outcome, run};

/// Two people with a relay each.
fn two(letters: Vec<Letter>, faults: Vec<(u64, Fault)>) -> Plan {
    let (homes, pairs) = (vec![0, 1], vec![(0, 1)]);
    Plan { seed: 1, relays: 2, homes, pairs, letters, parcels: Vec::new(), faults, spool_rows: 10_000 }
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
