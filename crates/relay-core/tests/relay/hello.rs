//! `Hello`: known, rolled back, cloned, replaced.

use penpal_protocol::wire::{DepositOutcome, Event, Verdict};
use penpal_relay_core::CloseReason;

use crate::world::{World, delivered};

#[test]
fn runs_in_a_row_are_known() {
    let mut world = World::new();
    let mut alice = world.person(1, "alice");
    assert_eq!(world.hello(alice.conn, 1, 1, &[]).verdict, Verdict::Known);
    world.reconnect(&mut alice);
    assert_eq!(world.hello(alice.conn, 1, 1, &[]).verdict, Verdict::Known);
    world.reconnect(&mut alice);
    assert_eq!(world.hello(alice.conn, 1, 2, &[1]).verdict, Verdict::Known);
    // Starts 3 and 4 never reached the relay.
    world.restart();
    world.reconnect(&mut alice);
    assert_eq!(world.hello(alice.conn, 1, 5, &[2, 3, 4]).verdict, Verdict::Known);
}

#[test]
fn an_old_copy_is_rolled_back_until_it_begins_a_new_life() {
    let mut world = World::new();
    let (mut alice, bob, way) = world.pair();
    world.hello(alice.conn, 1, 1, &[]);
    world.reconnect(&mut alice);
    world.hello(alice.conn, 1, 2, &[1]);
    world.disconnect(alice.conn);
    // Restored to a time when only run 1 was known.
    world.reconnect(&mut alice);
    assert_eq!(world.hello(alice.conn, 1, 3, &[1]).verdict, Verdict::RolledBack);
    assert_eq!(world.deposit(bob.conn, way.deposit(1, vec![7; 64])), DepositOutcome::Accepted);
    assert_eq!(world.events(alice.conn), [], "nothing is delivered to an old copy");
    assert_eq!(world.hello(alice.conn, 2, 3, &[1]).verdict, Verdict::Known);
    assert_eq!(delivered(&world.events(alice.conn)), [(1, 7)]);
    // The life before is over: whoever still lives it is rolled back, also after a restart of the relay.
    world.disconnect(alice.conn);
    world.restart();
    world.reconnect(&mut alice);
    assert_eq!(world.hello(alice.conn, 1, 4, &[2]).verdict, Verdict::RolledBack);
    assert_eq!(world.hello(alice.conn, 2, 4, &[3]).verdict, Verdict::Known);
}

#[test]
fn a_copy_from_before_its_run_began_a_new_life_is_rolled_back() {
    let mut world = World::new();
    let mut alice = world.person(1, "alice");
    world.hello(alice.conn, 1, 1, &[]);
    world.reconnect(&mut alice);
    world.hello(alice.conn, 1, 2, &[1]);
    world.disconnect(alice.conn);
    // Restored, started as run 3, copied as it ran, and only then told to begin a new life.
    world.reconnect(&mut alice);
    assert_eq!(world.hello(alice.conn, 1, 3, &[1]).verdict, Verdict::RolledBack);
    assert_eq!(world.hello(alice.conn, 2, 3, &[1]).verdict, Verdict::Known);
    world.disconnect(alice.conn);
    for restarted in [false, true] {
        if restarted {
            world.restart();
        }
        world.reconnect(&mut alice);
        assert_eq!(world.hello(alice.conn, 1, 4, &[1, 3]).verdict, Verdict::RolledBack);
        assert_eq!(world.hello(alice.conn, 1, 3, &[1]).verdict, Verdict::RolledBack);
        world.disconnect(alice.conn);
    }
    world.reconnect(&mut alice);
    assert_eq!(world.hello(alice.conn, 3, 4, &[1, 3]).verdict, Verdict::Known);
}

#[test]
fn two_copies_at_once_both_stop() {
    let mut world = World::new();
    let (alice, bob, way) = world.pair();
    world.hello(alice.conn, 1, 1, &[]);
    world.events(alice.conn);
    let copy = world.connect(alice.key);
    world.events(copy);
    assert_eq!(world.hello(copy, 1, 9, &[]).verdict, Verdict::Clone);
    assert_eq!(world.events(alice.conn), [Event::Cloned]);
    assert_eq!(world.deposit(bob.conn, way.deposit(1, vec![7; 64])), DepositOutcome::Accepted);
    assert_eq!((world.events(alice.conn), world.events(copy)), (vec![], vec![]));
    assert_eq!((world.closed(alice.conn), world.closed(copy)), (None, None));
    // The copy is gone: the known one goes on and has lost nothing.
    world.disconnect(copy);
    assert_eq!(world.hello(alice.conn, 1, 1, &[]).verdict, Verdict::Known);
    assert_eq!(delivered(&world.events(alice.conn)), [(1, 7)]);
}

#[test]
fn a_copy_is_seen_even_in_the_same_step() {
    let mut world = World::new();
    let alice = world.person(1, "alice");
    let copy = world.connect(alice.key);
    let one = world.put(alice.conn, crate::world::hello(1, 1, &[]));
    let two = world.put(copy, crate::world::hello(1, 2, &[]));
    world.step();
    let verdict = |answer| match answer {
        Some(penpal_protocol::wire::Answer::Hello(answer)) => answer.verdict,
        other => panic!("{other:?}"),
    };
    assert_eq!(verdict(world.answer(one)), Verdict::Known);
    assert_eq!(verdict(world.answer(two)), Verdict::Clone);
}

#[test]
fn a_newer_connection_of_the_same_run_takes_over() {
    let mut world = World::new();
    let (mut alice, bob, way) = world.pair();
    world.online(&alice);
    let old = alice.conn;
    world.reconnect(&mut alice);
    assert_eq!(world.closed(old), None, "connecting alone takes nothing over");
    world.online(&alice);
    assert_eq!(world.closed(old), Some(CloseReason::Replaced));
    world.deposit(bob.conn, way.deposit(1, vec![7; 64]));
    assert_eq!(delivered(&world.events(alice.conn)), [(1, 7)]);
    // The end of the old one changes nothing.
    world.disconnect(old);
    world.deposit(bob.conn, way.deposit(2, vec![8; 64]));
    assert_eq!(delivered(&world.events(alice.conn)), [(2, 8)]);
}

#[test]
fn a_crashed_nodes_next_start_takes_over_from_its_dead_connection() {
    let mut world = World::new();
    let mut alice = world.person(1, "alice");
    world.hello(alice.conn, 1, 1, &[]);
    let dead = alice.conn;
    world.reconnect(&mut alice);
    assert_eq!(world.hello(alice.conn, 1, 2, &[1]).verdict, Verdict::Known);
    assert_eq!(world.closed(dead), Some(CloseReason::Replaced));
}

#[test]
fn the_answer_tells_what_a_node_needs() {
    let mut world = World::new();
    let (alice, bob, way) = world.pair();
    for number in 0..3 {
        world.deposit(bob.conn, way.deposit(number, vec![1; 64]));
    }
    let answer = world.receive(alice.conn);
    assert_eq!((answer.newest, answer.handle.as_str(), answer.manifest_revision), (3, "alice", 0));
}
