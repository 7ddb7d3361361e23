//! A node dies at each of its steps, before and after the commit, and the invite is completed all the same.

use crate::support::{ALICE, BOB, Crash, World};

/// Steps that each person takes in an undisturbed world.
fn undisturbed(homes: &[usize]) -> [u32; 2] {
    let mut world = World::new(7, homes);
    assert!(world.pursue(20));
    [world.steps[ALICE], world.steps[BOB]]
}

fn die_at_each_step(who: usize, how: Crash, homes: &[usize]) {
    let steps = undisturbed(homes)[who];
    assert!(steps > 10, "{steps} steps");
    for at in 0..steps {
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
    die_at_each_step(ALICE, Crash::BeforeCommit, &[0, 0]);
}

#[test]
fn inviter_dies_after_each_commit() {
    die_at_each_step(ALICE, Crash::AfterCommit, &[0, 0]);
}

#[test]
fn invited_dies_before_each_commit() {
    die_at_each_step(BOB, Crash::BeforeCommit, &[0, 0]);
}

#[test]
fn invited_dies_after_each_commit() {
    die_at_each_step(BOB, Crash::AfterCommit, &[0, 0]);
}

#[test]
fn either_dies_with_relays_of_their_own() {
    for who in [ALICE, BOB] {
        for how in [Crash::BeforeCommit, Crash::AfterCommit] {
            die_at_each_step(who, how, &[0, 1]);
        }
    }
}
