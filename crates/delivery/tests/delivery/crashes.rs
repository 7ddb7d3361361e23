//! A crash at every step of one delivery, on either side, before and after each commit.

use std::time::Duration;

use penpal_delivery::{Mailbox, Selection, Stage};

use crate::world::{Faults, Node, Send, World};

/// Runs one delivery in which the `nth` commit after the start of node `who` is followed, or prevented, by a crash.
fn one_delivery(who: usize, nth: u64, faults: Faults) -> bool {
    let mut world = World::new(100 + nth, 2);
    let mut crashed = false;
    world.nodes[who].crash_at = Some((nth, faults));
    let mut id = world.send(0, Send::ask(1, "survive")).map(|accepted| accepted.msg_id);
    if id.is_none() && world.nodes[0].sent.is_empty() {
        // The caller was never told that it was accepted, and it was not.
        crashed = true;
        world.run_seconds(2);
        id = world.send(0, Send::ask(1, "survive")).map(|accepted| accepted.msg_id);
    }
    world.run_seconds(2);
    Node::take_all(&mut world, 1);
    world.run_seconds(2);
    crashed |= world.nodes[who].crash_at.is_none();
    world.nodes[who].crash_at = None;
    world.heal();
    Node::take_all(&mut world, 1);
    world.run_for(Duration::from_secs(30 * 3600));
    world.check_delivered();
    if let Some(id) = id {
        assert_eq!(world.nodes[0].stage(id), Stage::Surfaced, "crash {nth} of node {who}");
    }
    assert_eq!(world.nodes[1].texts(Selection::All(Mailbox::Desk)), ["survive"], "crash {nth} of node {who}");
    crashed
}

fn at_every_step(faults: Faults) {
    for who in 0..2 {
        let mut nth = 1;
        while one_delivery(who, nth, faults) {
            nth += 1;
            assert!(nth < 100, "a delivery has fewer steps");
        }
        assert!(nth > 4, "node {who} made only {nth} steps");
    }
}

#[test]
fn before_a_commit() {
    at_every_step(Faults { crash_before_commit: 1000, ..Faults::default() });
}

#[test]
fn after_a_commit_with_nothing_released() {
    at_every_step(Faults { crash_after_commit: 1000, ..Faults::default() });
}

#[test]
fn while_releasing() {
    at_every_step(Faults { crash_while_releasing: 500, ..Faults::default() });
}

#[test]
fn both_nodes_and_the_connection_at_once() {
    let mut world = World::new(150, 2);
    for round in 0..20 {
        world.send(0, Send::note(1, &format!("{round}")));
        world.send(1, Send::note(0, &format!("{round}")));
        world.run_for(Duration::from_micros(300 * round));
        world.restart(0);
        world.restart(1);
    }
    world.heal();
    world.check_delivered();
}

#[test]
fn mail_that_was_taken_and_not_committed_comes_again_with_a_mark() {
    let mut world = World::new(151, 2);
    let id = world.send(0, Send::note(1, "perhaps seen")).unwrap().msg_id;
    world.run_seconds(1);
    let lease = world.step(1, |machine, step| machine.take(Mailbox::Desk, None, 10, step)).unwrap();
    assert!(!lease.messages[0].marks.again);
    world.restart(1);
    world.run_seconds(1);
    assert_ne!(world.nodes[0].stage(id), Stage::Surfaced);
    let taken = Node::take_all(&mut world, 1);
    assert!(taken[0].marks.again);
    world.run_seconds(1);
    assert_eq!(world.nodes[0].stage(id), Stage::Surfaced);
}
