//! A node dies at each of its steps, before and after the commit, and the invite is completed all the same.

use crate::support::{ALICE, BOB, Crash, World};

/// Steps that each person takes in an undisturbed world.
fn undisturbed(homes: &[usize]) -> [u32; 2] {
    let mut world = World::new(7, homes);
    assert!(world.pursue(20));
    [world.steps[ALICE], world.steps[BOB]]
}

/// Dies at every `stride`-th step.
fn die_at_steps(who: usize, how: Crash, homes: &[usize], stride: usize) {
    let steps = undisturbed(homes)[who];
    assert!(steps > 10, "{steps} steps");
    for at in (0..steps).step_by(stride) {
        let mut world = World::new(7, homes);
        world.plan = Some((who, at, how));
        assert!(world.pursue(30), "person {who} died at step {at}, {how:?}: {:?}", world.people[who].notices);
        world.plan = None;
        assert_eq!(world.crashes, 1, "person {who}, step {at}");
        world.check_rest();
    }
}

#[test]
fn inviter_dies_before_each_commit() {
    die_at_steps(ALICE, Crash::BeforeCommit, &[0, 0], 1);
}

#[test]
fn inviter_dies_after_each_commit() {
    die_at_steps(ALICE, Crash::AfterCommit, &[0, 0], 1);
}

#[test]
fn invited_dies_before_each_commit() {
    die_at_steps(BOB, Crash::BeforeCommit, &[0, 0], 1);
}

#[test]
fn invited_dies_after_each_commit() {
    die_at_steps(BOB, Crash::AfterCommit, &[0, 0], 1);
}

#[test]
fn either_dies_with_relays_of_their_own() {
    for who in [ALICE, BOB] {
        for how in [Crash::BeforeCommit, Crash::AfterCommit] {
            die_at_steps(who, how, &[0, 1], 3);
        }
    }
}
