//! Delivery: in order, within a window, from the first unacknowledged row.

use std::time::Duration;

use penpal_protocol::cbor::List;
use penpal_protocol::ids::SpoolEpoch;
use penpal_protocol::wire::{Ack, DepositOutcome, Request};
use penpal_relay_core::{Change, Config, Limits};

use crate::people::Person;
use crate::world::{Way, World, delivered, hello};

fn send(world: &mut World, bob: &Person, way: &Way, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        let byte = u8::try_from(number % 251).unwrap();
        let outcome = world.deposit(bob.conn, way.deposit(number, vec![byte; 64]));
        assert_eq!(outcome, DepositOutcome::Accepted, "{number}");
    }
}

fn seqs(world: &mut World, person: &Person) -> Vec<u64> {
    world.settle();
    delivered(&world.events(person.conn)).into_iter().map(|(seq, _)| seq).collect()
}

#[test]
fn backlog_first_then_live_in_order() {
    let mut world = World::new();
    let (alice, bob, way) = world.pair();
    send(&mut world, &bob, &way, 1..=200);
    world.online(&alice);
    send(&mut world, &bob, &way, 201..=210);
    assert_eq!(seqs(&mut world, &alice), (1..=210).collect::<Vec<_>>());
}

#[test]
fn what_is_not_acknowledged_comes_again() {
    let mut world = World::new();
    let (mut alice, bob, way) = world.pair();
    let epoch = world.online(&alice);
    send(&mut world, &bob, &way, 1..=6);
    assert_eq!(seqs(&mut world, &alice), [1, 2, 3, 4, 5, 6]);
    assert_eq!(world.ack(alice.conn, epoch, 4, &[2]).newest, 6);
    // In one step with the end of the connection, and before the acknowledgement is written.
    world.reconnect(&mut alice);
    world.online(&alice);
    assert_eq!(seqs(&mut world, &alice), [2, 5, 6]);
    world.ack(alice.conn, epoch, 6, &[]);
    world.restart();
    world.reconnect(&mut alice);
    world.online(&alice);
    // The acknowledgement was not yet durable: a crash brings rows again, never loses one.
    assert_eq!(seqs(&mut world, &alice), [2, 5, 6]);
    world.ack(alice.conn, epoch, 6, &[]);
    world.advance(Duration::from_millis(50));
    world.restart();
    world.reconnect(&mut alice);
    world.online(&alice);
    assert_eq!(seqs(&mut world, &alice), []);
}

/// A node that lost its connection before it could acknowledge does so on the next one, while rows come again.
#[test]
fn what_was_acknowledged_is_not_sent_after_the_answer() {
    let limits = Limits { total_window_bytes: 400_000, narrow_window_bytes: 12_800, ..Limits::default() };
    let mut world = World::with(Config { limits, ..Config::default() });
    let (mut alice, bob, way) = world.pair();
    let carol = world.person(3, "carol");
    let to_carol = world.way(&carol, bob.conn);
    let epoch = world.online(&alice);
    send(&mut world, &bob, &way, 1..=60);
    assert_eq!(seqs(&mut world, &alice), (1..=60).collect::<Vec<_>>());
    world.disconnect(alice.conn);
    // Somebody else has so much under way that her window is narrow now.
    world.online(&carol);
    send(&mut world, &bob, &to_carol, 101..=220);
    world.reconnect(&mut alice);
    world.online(&alice);
    let again = seqs(&mut world, &alice);
    assert!(again.len() < 10 && again[0] == 1, "what was on its way before the answer came again: {again:?}");
    world.ack(alice.conn, epoch, 50, &[]);
    let after = seqs(&mut world, &alice);
    assert!(after[0] == 51, "storage has not removed them yet, and yet they are not sent: {after:?}");
    // With a gap, only what lies before it is out of the question.
    world.ack(alice.conn, epoch, 58, &[55, 56]);
    let after = seqs(&mut world, &alice);
    assert!(after.contains(&55) && after.iter().all(|seq| *seq >= 55), "{after:?}");
    world.reconnect(&mut alice);
    world.online(&alice);
    assert_eq!(seqs(&mut world, &alice)[..2], [55, 56]);
}

#[test]
fn a_second_hello_starts_again_from_the_first_unacknowledged() {
    let mut world = World::new();
    let (alice, bob, way) = world.pair();
    let epoch = world.online(&alice);
    send(&mut world, &bob, &way, 1..=3);
    assert_eq!(seqs(&mut world, &alice), [1, 2, 3]);
    world.ack(alice.conn, epoch, 1, &[]);
    world.online(&alice);
    assert_eq!(seqs(&mut world, &alice), [2, 3]);
}

/// What one commit removes of one spool is bounded by what was sent, not by how often it is acknowledged.
#[test]
fn rows_acknowledged_again_and_again_are_removed_once() {
    let limits = Limits { window_bytes: 4 * 1024 * 1024, ..Limits::default() };
    let mut world = World::with(Config { limits, ..Config::default() });
    let (alice, bob, way) = world.pair();
    let epoch = world.online(&alice);
    send(&mut world, &bob, &way, 1..=512);
    world.settle();
    for _ in 0..200 {
        let gaps = List::new(vec![1]).unwrap();
        // In one step all of them are still under way.
        world.put(alice.conn, Request::Ack(Ack { epoch, up_to: 512, gaps }));
    }
    world.now = world.now.plus(Duration::from_millis(20));
    let mut removed = Vec::new();
    for change in world.step_changes() {
        if let Change::Remove { seqs, .. } = change {
            assert!(seqs.len() <= 4_096, "{}", seqs.len());
            removed.extend(seqs);
        }
    }
    assert_eq!(removed, (2..=512).collect::<Vec<_>>());
}

#[test]
fn whoever_says_hello_again_and_again_has_one_turn() {
    let mut world = World::new();
    let (alice, bob, way) = world.pair();
    let carol = world.person(3, "carol");
    let to_carol = world.way(&carol, bob.conn);
    send(&mut world, &bob, &way, 1..=3);
    send(&mut world, &bob, &to_carol, 11..=13);
    world.online(&alice);
    world.online(&carol);
    // All of Alice's is under way, and Carol begins anew.
    let before = world.core.remembered();
    for _ in 0..200 {
        world.put(alice.conn, hello(1, 1, &[]));
    }
    world.put(carol.conn, hello(1, 1, &[]));
    world.events(carol.conn);
    world.step();
    let after = world.core.remembered();
    assert!(after <= before + 1, "{before} entries, then {after}");
    let carols: Vec<_> = delivered(&world.events(carol.conn)).into_iter().map(|(seq, _)| seq).collect();
    assert_eq!(carols, [1, 2, 3], "in the same step");
}

#[test]
fn an_ack_of_another_epoch_does_nothing() {
    let mut world = World::new();
    let (mut alice, bob, way) = world.pair();
    let epoch = world.online(&alice);
    send(&mut world, &bob, &way, 1..=3);
    let answer = world.ack(alice.conn, SpoolEpoch::from_bytes([0; 8]), 3, &[]);
    assert_eq!((answer.epoch, answer.newest), (epoch, 3));
    world.advance(Duration::from_secs(1));
    world.reconnect(&mut alice);
    world.online(&alice);
    assert_eq!(seqs(&mut world, &alice), [1, 2, 3]);
}

#[test]
fn an_ack_beyond_the_newest_takes_nothing_that_comes_later() {
    let mut world = World::new();
    let (alice, bob, way) = world.pair();
    let epoch = world.online(&alice);
    send(&mut world, &bob, &way, 1..=2);
    assert_eq!(world.ack(alice.conn, epoch, u64::MAX, &[]).newest, 2);
    send(&mut world, &bob, &way, 3..=4);
    world.advance(Duration::from_secs(1));
    let mut alice = alice;
    world.reconnect(&mut alice);
    world.online(&alice);
    assert_eq!(seqs(&mut world, &alice), [3, 4]);
}

#[test]
fn sending_stops_at_the_window_and_goes_on() {
    let limits = Limits { window_rows: 8, ..Limits::default() };
    let mut world = World::with(Config { limits, ..Config::default() });
    let (alice, bob, way) = world.pair();
    let epoch = world.online(&alice);
    send(&mut world, &bob, &way, 1..=30);
    assert_eq!(seqs(&mut world, &alice), (1..=8).collect::<Vec<_>>());
    world.ack(alice.conn, epoch, 2, &[]);
    assert_eq!(seqs(&mut world, &alice), [], "more than half is still out");
    world.ack(alice.conn, epoch, 5, &[]);
    assert_eq!(seqs(&mut world, &alice), [9, 10, 11, 12, 13]);
    world.ack(alice.conn, epoch, 13, &[9]);
    assert_eq!(seqs(&mut world, &alice), (14..=20).collect::<Vec<_>>());
    world.ack(alice.conn, epoch, 20, &[]);
    assert_eq!(seqs(&mut world, &alice), (21..=28).collect::<Vec<_>>());
    world.ack(alice.conn, epoch, 28, &[]);
    assert_eq!(seqs(&mut world, &alice), [29, 30]);
    send(&mut world, &bob, &way, 31..=32);
    assert_eq!(seqs(&mut world, &alice), [31, 32]);
}

#[test]
fn the_window_counts_bytes_too() {
    let limits = Limits { window_bytes: 64_000, ..Limits::default() };
    let mut world = World::with(Config { limits, ..Config::default() });
    let (alice, bob, way) = world.pair();
    send(&mut world, &bob, &way, 1..=40);
    let epoch = world.online(&alice);
    let first = seqs(&mut world, &alice);
    assert!((15..=17).contains(&first.len()), "{first:?}");
    world.ack(alice.conn, epoch, *first.last().unwrap(), &[]);
    assert!(!seqs(&mut world, &alice).is_empty());
}

#[test]
fn many_windows_together_make_each_narrow() {
    let limits = Limits { total_window_bytes: 64_000, narrow_window_bytes: 12_800, ..Limits::default() };
    let mut world = World::with(Config { limits, ..Config::default() });
    let (alice, bob, way) = world.pair();
    let carol = world.person(3, "carol");
    let to_carol = world.way(&carol, bob.conn);
    world.online(&alice);
    world.online(&carol);
    send(&mut world, &bob, &way, 1..=40);
    let to_alice = seqs(&mut world, &alice).len();
    assert!((15..=17).contains(&to_alice), "{to_alice}");
    for number in 100..140 {
        world.deposit(bob.conn, to_carol.deposit(number, vec![1; 64]));
    }
    // What is narrow is not shut.
    let to_carol = seqs(&mut world, &carol).len();
    assert!((3..=5).contains(&to_carol), "{to_carol}");
}

#[test]
fn a_restored_relay_begins_a_new_epoch() {
    let mut world = World::new();
    let (mut alice, bob, way) = world.pair();
    let epoch = world.online(&alice);
    send(&mut world, &bob, &way, 1..=2);
    let backup = world.rows.clone();
    send(&mut world, &bob, &way, 3..=5);
    assert_eq!(seqs(&mut world, &alice), [1, 2, 3, 4, 5]);
    world.rows = backup;
    world.restart_as(true);
    world.reconnect(&mut alice);
    let bob = Person { conn: world.connect(bob.key), ..bob };
    let new_epoch = world.online(&alice);
    assert_ne!(new_epoch, epoch);
    assert_eq!(seqs(&mut world, &alice), [1, 2]);
    // Acknowledging what the old life numbered does nothing here.
    assert_eq!(world.ack(alice.conn, epoch, 5, &[]).newest, 2);
    send(&mut world, &bob, &way, 6..=6);
    assert_eq!(seqs(&mut world, &alice), [3]);
    // A plain restart keeps the epoch.
    world.restart();
    world.reconnect(&mut alice);
    assert_eq!(world.online(&alice), new_epoch);
}

#[test]
fn every_slot_has_its_own_epoch() {
    let mut world = World::new();
    let (alice, bob, _way) = world.pair();
    assert_ne!(world.online(&alice), world.online(&bob));
}
