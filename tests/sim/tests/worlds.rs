//! A few worlds, as every change has to pass them; `cargo xtask sim` runs more.

use penpal_sim::alarms;
use penpal_sim::plan::Plan;
use penpal_sim::world::{Outcome, run};

fn world(seed: u64) -> Outcome {
    alarms::listen(false);
    run(&Plan::of(seed), false)
}

#[test]
fn worlds_keep_their_promises() {
    for seed in 1..=6 {
        let outcome = world(seed);
        assert!(
            outcome.wrong.is_empty(),
            "seed {seed}: {:#?}\nagain: cargo xtask sim --seed {seed}",
            outcome.wrong
        );
        assert!(outcome.envelopes > 0, "seed {seed}: nothing was sent");
    }
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let (first, again) = (world(7), world(7));
    assert_eq!(first, again);
    assert_ne!(first.hash, world(8).hash);
}
