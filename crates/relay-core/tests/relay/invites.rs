//! Invites: left, fetched, redeemed, revoked, ended.

use std::time::Duration;

use penpal_protocol::cbor::Blob;
use penpal_protocol::ids::InviteId;
use penpal_protocol::wire::{
    Answer, Event, InviteAnswer, InviteFetch, InviteRevoke, InviteState, Redeemed, RefusalCode, Request,
};
use penpal_relay_core::{Config, Limits, Table};

use crate::registration::{invite, redeem};
use crate::world::{World, key, refusal};

fn fetch(number: u8) -> Request {
    Request::InviteFetch(InviteFetch { invite: InviteId::from_bytes([number; 16]) })
}

fn revoke(number: u8) -> Request {
    Request::InviteRevoke(InviteRevoke { invite: InviteId::from_bytes([number; 16]) })
}

fn state(answer: Answer) -> Option<(InviteState, Option<usize>)> {
    match answer {
        Answer::Invite(InviteAnswer { state, record }) => Some((state, record.map(|record| record.len()))),
        _ => None,
    }
}

#[test]
fn an_invite_is_fetched_while_open_and_redeemed_once() {
    let mut world = World::new();
    let alice = world.person(1, "alice");
    assert_eq!(world.ask(alice.conn, invite(1)), Answer::Done);
    assert_eq!(world.ask(alice.conn, invite(1)), Answer::Done);
    let stranger = world.connect(key(9));
    assert_eq!(state(world.ask(stranger, fetch(1))), Some((InviteState::Open, Some(100))));
    assert_eq!(refusal(&world.ask(stranger, fetch(2))), Some(RefusalCode::No));
    assert_eq!(refusal(&world.ask(stranger, redeem(2, 5))), Some(RefusalCode::No));
    assert_eq!(world.ask(stranger, redeem(1, 5)), Answer::Done);
    assert_eq!(world.ask(stranger, redeem(1, 5)), Answer::Done);
    assert_eq!(refusal(&world.ask(stranger, redeem(1, 6))), Some(RefusalCode::Used));
    world.restart();
    let other = world.connect(key(8));
    assert_eq!(world.ask(other, redeem(1, 5)), Answer::Done);
    assert_eq!(refusal(&world.ask(other, redeem(1, 6))), Some(RefusalCode::Used));
    assert_eq!(state(world.ask(other, fetch(1))), Some((InviteState::Redeemed, None)));
}

#[test]
fn the_inviter_is_told_once_by_a_row_of_its_own() {
    let mut world = World::new();
    let mut alice = world.person(1, "alice");
    world.ask(alice.conn, invite(1));
    let epoch = world.online(&alice);
    world.events(alice.conn);
    let stranger = world.connect(key(9));
    world.ask(stranger, redeem(1, 5));
    world.ask(stranger, redeem(1, 5));
    let request = Blob::new(vec![5; 50]).unwrap();
    let told = Event::Redeemed(Redeemed { epoch, seq: 1, invite: InviteId::from_bytes([1; 16]), request });
    assert_eq!(world.events(alice.conn), std::slice::from_ref(&told));
    // Not acknowledged, so it comes again.
    world.restart();
    world.reconnect(&mut alice);
    world.online(&alice);
    assert_eq!(world.events(alice.conn), [told]);
    assert_eq!(world.ack(alice.conn, epoch, 1, &[]).newest, 1);
    world.advance(Duration::from_secs(1));
    world.reconnect(&mut alice);
    world.online(&alice);
    assert_eq!(world.events(alice.conn), []);
}

#[test]
fn revoked_and_ended_invites_look_like_none() {
    let mut world = World::new();
    let (alice, bob) = (world.person(1, "alice"), world.person(2, "bob"));
    for number in 1..=3 {
        world.ask(alice.conn, invite(number));
    }
    // Not Bob's: nothing happens, and nothing is said.
    assert_eq!(world.ask(bob.conn, revoke(1)), Answer::Done);
    assert_eq!(world.ask(bob.conn, invite(1)), Answer::refused(RefusalCode::No));
    assert!(state(world.ask(bob.conn, fetch(1))).is_some());
    assert_eq!(world.ask(alice.conn, revoke(1)), Answer::Done);
    assert_eq!(world.ask(alice.conn, revoke(1)), Answer::Done);
    assert_eq!(refusal(&world.ask(bob.conn, fetch(1))), Some(RefusalCode::No));
    // A redeemed one is cleared by its owner too.
    assert_eq!(world.ask(bob.conn, redeem(2, 5)), Answer::Done);
    assert_eq!(world.ask(alice.conn, revoke(2)), Answer::Done);
    assert_eq!(refusal(&world.ask(bob.conn, redeem(2, 5))), Some(RefusalCode::No));
    // The third ends by itself: at once for whoever asks, in storage a little later.
    world.now = world.now.plus(Duration::from_secs(3_600));
    assert_eq!(refusal(&world.ask(bob.conn, fetch(3))), Some(RefusalCode::No));
    assert_eq!(refusal(&world.ask(bob.conn, redeem(3, 5))), Some(RefusalCode::No));
    world.advance(Duration::from_secs(1_300));
    for table in [Table::Invite, Table::OwnedInvite, Table::InviteEnd] {
        assert_eq!(world.rows.count(table), 0, "{table:?}");
    }
}

#[test]
fn a_redeemed_invite_stays_30_days() {
    let mut world = World::new();
    let alice = world.person(1, "alice");
    world.ask(alice.conn, invite(1));
    let stranger = world.connect(key(9));
    world.ask(stranger, redeem(1, 5));
    world.advance(Duration::from_secs(29 * 24 * 3600));
    assert_eq!(state(world.ask(stranger, fetch(1))), Some((InviteState::Redeemed, None)));
    world.advance(Duration::from_secs(24 * 3600 + 1_300));
    assert_eq!(refusal(&world.ask(stranger, fetch(1))), Some(RefusalCode::No));
    assert_eq!(world.rows.count(Table::Invite), 0);
}

#[test]
fn lives_are_bounded_and_invites_counted() {
    let limits = Limits { invites_per_account: 2, ..Limits::default() };
    let mut world = World::with(Config { limits, ..Config::default() });
    let alice = world.person(1, "alice");
    let Request::InviteCreate(good) = invite(1) else { panic!() };
    for expires_ms in [0, world.now.wall_ms, world.now.wall_ms + 31 * 24 * 3_600_000, u64::MAX] {
        let request =
            Request::InviteCreate(penpal_protocol::wire::InviteCreate { expires_ms, ..good.clone() });
        assert_eq!(refusal(&world.ask(alice.conn, request)), Some(RefusalCode::Malformed), "{expires_ms}");
    }
    assert_eq!(world.ask(alice.conn, invite(1)), Answer::Done);
    assert_eq!(world.ask(alice.conn, invite(2)), Answer::Done);
    assert_eq!(refusal(&world.ask(alice.conn, invite(3))), Some(RefusalCode::Quota));
    world.ask(alice.conn, revoke(1));
    assert_eq!(world.ask(alice.conn, invite(3)), Answer::Done);
}

#[test]
fn two_redeems_in_one_step_are_one_and_used() {
    let mut world = World::new();
    let alice = world.person(1, "alice");
    world.ask(alice.conn, invite(1));
    let stranger = world.connect(key(9));
    let (one, two) = (world.put(stranger, redeem(1, 5)), world.put(stranger, redeem(1, 6)));
    world.step();
    assert_eq!(world.answer(one), Some(Answer::Done));
    assert_eq!(refusal(&world.answer(two).unwrap()), Some(RefusalCode::Used));
}
