//! Connections and requests are bounded.

use std::time::Duration;

use penpal_protocol::wire::{Answer, InviteFetch, RefusalCode, Request};
use penpal_relay_core::{CloseReason, Config, Limits, Rate};

use crate::world::{World, key, refusal};

fn fetch() -> Request {
    Request::InviteFetch(InviteFetch { invite: penpal_protocol::ids::InviteId::from_bytes([1; 16]) })
}

#[test]
fn connections_are_counted_in_all_of_strangers_and_by_prefix() {
    let limits = Limits {
        connections: 6,
        unregistered_connections: 4,
        connections_per_prefix: 3,
        ..Limits::default()
    };
    let mut world = World::with(Config { limits, ..Config::default() });
    let alice = world.person(1, "alice");
    // Alice is no stranger any more, but of the first prefix.
    let conns: Vec<_> = (2..=4).map(|number| world.connect_from(key(number), "192.0.2.99")).collect();
    assert_eq!(world.closed(conns[2]), Some(CloseReason::Busy), "a fourth of the prefix");
    let conns: Vec<_> = (5..=7).map(|number| world.connect_from(key(number), "198.51.100.1")).collect();
    assert_eq!(world.closed(conns[2]), Some(CloseReason::Busy), "a fifth stranger");
    let again = world.connect_from(alice.key, "203.0.113.1");
    assert_eq!(world.closed(again), None, "strangers do not lock devices out");
    let full = world.connect_from(alice.key, "203.0.113.2");
    assert_eq!(world.closed(full), Some(CloseReason::Busy), "a seventh");
    world.disconnect(again);
    let fits = world.connect_from(alice.key, "203.0.113.2");
    assert_eq!(world.closed(fits), None);
    assert_eq!(world.core.connections(), 6);
}

#[test]
fn a_key_has_few_connections_and_the_oldest_goes() {
    let mut world = World::new();
    let conns: Vec<_> = (0..6).map(|_| world.connect(key(1))).collect();
    let closed: Vec<_> = conns.iter().map(|conn| world.closed(*conn).is_some()).collect();
    assert_eq!(closed, [true, true, false, false, false, false]);
}

#[test]
fn requests_have_a_rate() {
    let limits = Limits { requests: Rate { per_second: 2, burst: 3 }, ..Limits::default() };
    let mut world = World::with(Config { limits, ..Config::default() });
    let conn = world.connect(key(1));
    let busy = |answer: &Answer| refusal(answer) == Some(RefusalCode::Busy);
    let answers: Vec<_> = (0..4).map(|_| busy(&world.ask(conn, fetch()))).collect();
    assert_eq!(answers, [false, false, false, true]);
    world.advance(Duration::from_millis(500));
    assert!(!busy(&world.ask(conn, fetch())));
}

#[test]
fn guessing_invites_has_a_rate_by_prefix() {
    let limits = Limits { prefix_requests: Rate { per_second: 1, burst: 5 }, ..Limits::default() };
    let mut world = World::with(Config { limits, ..Config::default() });
    let mut busy = 0;
    for number in 0..10 {
        let conn = world.connect_from(key(number), "192.0.2.7");
        busy += usize::from(refusal(&world.ask(conn, fetch())) == Some(RefusalCode::Busy));
    }
    assert_eq!(busy, 5);
    let elsewhere = world.connect_from(key(99), "2001:db8::1");
    assert_eq!(refusal(&world.ask(elsewhere, fetch())), Some(RefusalCode::No));
}

#[test]
fn requests_on_a_closed_connection_are_ignored() {
    let mut world = World::new();
    let conn = world.connect(key(1));
    world.disconnect(conn);
    let id = world.put(conn, fetch());
    world.step();
    assert_eq!(world.answer(id), None);
}
