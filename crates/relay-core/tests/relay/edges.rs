//! Edges: made, linked, revoked; and who is told.

use std::time::Duration;

use penpal_protocol::ids::Capability;
use penpal_protocol::wire::{
    Answer, DepositOutcome, EdgeCreate, EdgeLink, EdgeRevoke, EdgeState, Event, RefusalCode, Request,
};
use penpal_relay_core::{Config, Limits, Table};

use crate::world::{Way, World, hello, key, refusal};

fn link(way: &Way) -> Request {
    Request::EdgeLink(EdgeLink { edge: way.edge, cap: way.cap.clone() })
}

fn revoke(way: &Way) -> Request {
    Request::EdgeRevoke(EdgeRevoke { edge: way.edge })
}

fn states(events: &[Event], way: &Way) -> Vec<bool> {
    let state = |event: &Event| match event {
        Event::EdgeState(EdgeState { edge, up }) if *edge == way.edge => Some(*up),
        _ => None,
    };
    events.iter().filter_map(state).collect()
}

#[test]
fn creating_is_idempotent_and_ids_are_taken_once() {
    let mut world = World::new();
    let (alice, bob) = (world.person(1, "alice"), world.person(2, "bob"));
    let way = world.open_way(&alice);
    let same = EdgeCreate { edge: way.edge, cap_hash: way.cap.hash() };
    assert_eq!(world.ask(alice.conn, Request::EdgeCreate(same.clone())), Answer::Done);
    assert_eq!(refusal(&world.ask(bob.conn, Request::EdgeCreate(same))), Some(RefusalCode::No));
    let other = EdgeCreate { edge: way.edge, cap_hash: Capability::from_bytes([0; 32]).hash() };
    assert_eq!(refusal(&world.ask(alice.conn, Request::EdgeCreate(other))), Some(RefusalCode::No));
}

#[test]
fn a_deposit_needs_the_link() {
    let mut world = World::new();
    let (alice, bob) = (world.person(1, "alice"), world.person(2, "bob"));
    let way = world.open_way(&alice);
    assert_eq!(world.deposit(bob.conn, way.deposit(1, vec![1; 64])), DepositOutcome::No);
    assert_eq!(world.ask(bob.conn, link(&way)), Answer::Done);
    assert_eq!(world.ask(bob.conn, link(&way)), Answer::Done);
    assert_eq!(world.deposit(bob.conn, way.deposit(1, vec![1; 64])), DepositOutcome::Accepted);
}

#[test]
fn a_linked_edge_is_its_linkers_alone() {
    let mut world = World::new();
    let (_alice, _bob, way) = world.pair();
    let carol = world.person(3, "carol");
    let stranger = world.connect(key(9));
    for conn in [carol.conn, stranger] {
        assert_eq!(refusal(&world.ask(conn, link(&way))), Some(RefusalCode::No));
        assert_eq!(world.deposit(conn, way.deposit(1, vec![1; 64])), DepositOutcome::No);
    }
}

#[test]
fn strangers_link_as_foreign_whatever_key_they_show() {
    let mut world = World::new();
    let alice = world.person(1, "alice");
    let (one, two) = (world.connect(key(8)), world.connect(key(9)));
    let way = world.way(&alice, one);
    assert_eq!(world.ask(two, link(&way)), Answer::Done);
    assert_eq!(world.deposit(two, way.deposit(1, vec![1; 64])), DepositOutcome::Accepted);
    let bob = world.person(2, "bob");
    assert_eq!(refusal(&world.ask(bob.conn, link(&way))), Some(RefusalCode::No));
}

#[test]
fn revoking_ends_it_at_once_and_says_nothing() {
    let mut world = World::new();
    let (alice, bob, way) = world.pair();
    // Somebody else's, and one that never was, look the same.
    assert_eq!(world.ask(bob.conn, revoke(&way)), Answer::Done);
    assert_eq!(world.deposit(bob.conn, way.deposit(1, vec![1; 64])), DepositOutcome::Accepted);
    assert_eq!(world.ask(alice.conn, revoke(&way)), Answer::Done);
    assert_eq!(world.ask(alice.conn, revoke(&way)), Answer::Done);
    assert_eq!(world.deposit(bob.conn, way.deposit(2, vec![1; 64])), DepositOutcome::No);
    for table in [Table::Edge, Table::OwnedEdge, Table::LinkedEdge] {
        assert_eq!(world.rows.count(table), 0, "{table:?}");
    }
}

#[test]
fn rows_name_no_linker() {
    let mut world = World::new();
    let (_alice, bob, _way) = world.pair();
    let of_bob = bob.registered.account;
    for table in [Table::Edge, Table::OwnedEdge, Table::LinkedEdge] {
        use penpal_relay_core::Rows;
        for key in world.rows.keys(table, &[], None, 10).unwrap() {
            let value = world.rows.get(table, &key).unwrap().unwrap();
            let all = [key.as_slice(), value.as_ref()].concat();
            assert!(all.windows(16).all(|window| window != of_bob.as_bytes()), "{table:?}");
        }
    }
}

#[test]
fn linkers_hear_up_and_down() {
    let mut world = World::new();
    let (mut alice, bob, way) = world.pair();
    world.online(&bob);
    assert_eq!(states(&world.events(bob.conn), &way), []);
    world.online(&alice);
    assert_eq!(states(&world.events(bob.conn), &way), [true]);
    world.disconnect(alice.conn);
    assert_eq!(states(&world.events(bob.conn), &way), []);
    world.advance(Duration::from_secs(3));
    assert_eq!(states(&world.events(bob.conn), &way), [false]);
    world.reconnect(&mut alice);
    world.online(&alice);
    assert_eq!(states(&world.events(bob.conn), &way), [true]);
    // Alice has linked nothing of Bob's and hears nothing.
    assert_eq!(states(&world.events(alice.conn), &way), []);
}

#[test]
fn flapping_is_not_heard() {
    let mut world = World::new();
    let (mut alice, bob, way) = world.pair();
    world.online(&bob);
    world.online(&alice);
    world.events(bob.conn);
    for _ in 0..20 {
        world.disconnect(alice.conn);
        world.advance(Duration::from_millis(500));
        world.reconnect(&mut alice);
        world.online(&alice);
        world.advance(Duration::from_millis(500));
    }
    assert_eq!(states(&world.events(bob.conn), &way), []);
}

#[test]
fn who_comes_back_as_it_counts_as_gone_is_there() {
    let mut world = World::new();
    let (mut alice, bob, way) = world.pair();
    world.online(&bob);
    world.online(&alice);
    world.disconnect(alice.conn);
    world.reconnect(&mut alice);
    world.events(bob.conn);
    // The shell hands in what has come, and then what is due.
    world.now = world.now.plus(Duration::from_secs(2));
    world.put(alice.conn, hello(1, 1, &[]));
    world.core.handle_timeout(&world.rows, world.now).unwrap();
    world.step();
    assert_eq!(states(&world.events(bob.conn), &way).last(), Some(&true));
    // That she goes is told later, as ever.
    world.disconnect(alice.conn);
    world.advance(Duration::from_secs(3));
    assert_eq!(states(&world.events(bob.conn), &way), [false]);
}

#[test]
fn who_comes_later_hears_what_is_up() {
    let mut world = World::new();
    let (alice, bob, way) = world.pair();
    world.online(&alice);
    world.online(&bob);
    assert_eq!(states(&world.events(bob.conn), &way), [true]);
    // A link made while both are there is told at once, and its end too.
    let second = world.way(&alice, bob.conn);
    assert_eq!(states(&world.events(bob.conn), &second), [true]);
    world.ask(alice.conn, revoke(&second));
    assert_eq!(states(&world.events(bob.conn), &second), [false]);
}

#[test]
fn a_connection_without_hello_is_nobody() {
    let mut world = World::new();
    let (mut alice, bob, way) = world.pair();
    world.online(&bob);
    world.reconnect(&mut alice);
    world.advance(Duration::from_secs(5));
    assert_eq!(states(&world.events(bob.conn), &way), []);
}

#[test]
fn edges_are_counted() {
    let limits = Limits { edges_per_account: 3, links_per_account: 2, ..Limits::default() };
    let mut world = World::with(Config { limits, ..Config::default() });
    let (alice, bob) = (world.person(1, "alice"), world.person(2, "bob"));
    let ways: Vec<Way> = (0..3).map(|_| world.open_way(&alice)).collect();
    let cap_hash = Capability::from_bytes([0; 32]).hash();
    let fourth = EdgeCreate { edge: penpal_protocol::ids::EdgeId::from_bytes([9; 16]), cap_hash };
    assert_eq!(
        refusal(&world.ask(alice.conn, Request::EdgeCreate(fourth.clone()))),
        Some(RefusalCode::Quota)
    );
    assert_eq!(world.ask(bob.conn, link(&ways[0])), Answer::Done);
    assert_eq!(world.ask(bob.conn, link(&ways[1])), Answer::Done);
    assert_eq!(refusal(&world.ask(bob.conn, link(&ways[2]))), Some(RefusalCode::Quota));
    world.ask(alice.conn, revoke(&ways[0]));
    assert_eq!(world.ask(bob.conn, link(&ways[2])), Answer::Done);
    assert_eq!(world.ask(alice.conn, Request::EdgeCreate(fourth)), Answer::Done);
}
