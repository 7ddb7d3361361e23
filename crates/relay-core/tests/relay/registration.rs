//! Who gets an account, and what is spent.

use penpal_protocol::cbor::{Blob, Text};
use penpal_protocol::ids::{InviteId, RegistrationProof};
use penpal_protocol::wire::{
    Answer, Event, InviteCreate, InviteRedeem, RefusalCode, Register, Registered, Request,
};
use penpal_relay_core::{CloseReason, Config, ConnId, RegistrationPolicy, Table};

use crate::people::Person;
use crate::world::{START_MS, World, id16, key, label, refusal};

fn by_token(handle: &str, token: &str) -> Request {
    let token = Some(Text::new(token.to_owned()).unwrap());
    Request::Register(Register { handle: label(handle), token, invite: None, proof: None })
}

fn by_nothing(handle: &str) -> Request {
    Request::Register(Register { handle: label(handle), token: None, invite: None, proof: None })
}

pub(crate) fn proof(number: u8) -> RegistrationProof {
    RegistrationProof::from_bytes([number; 32])
}

pub(crate) fn by_invite(handle: &str, number: u8) -> Request {
    Request::Register(Register {
        handle: label(handle),
        token: None,
        invite: Some(InviteId::from_bytes([number; 16])),
        proof: Some(proof(number)),
    })
}

pub(crate) fn invite(number: u8) -> Request {
    Request::InviteCreate(InviteCreate {
        invite: InviteId::from_bytes([number; 16]),
        proof_hash: proof(number).hash(),
        expires_ms: START_MS + 3_600_000,
        record: Blob::new(vec![number; 100]).unwrap(),
    })
}

pub(crate) fn redeem(number: u8, request: u8) -> Request {
    let request = Blob::new(vec![request; 50]).unwrap();
    Request::InviteRedeem(InviteRedeem { invite: InviteId::from_bytes([number; 16]), request })
}

pub(crate) fn registered(answer: Answer) -> Registered {
    match answer {
        Answer::Registered(registered) => registered,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_token_makes_one_account_and_the_same_key_gets_it_again() {
    let mut world = World::new();
    let token = world.token();
    let alice = world.connect(key(1));
    let first = registered(world.ask(alice, by_token("alice", &token)));
    assert_eq!(registered(world.ask(alice, by_token("other", &token))), first);
    assert_eq!(registered(world.ask(alice, by_nothing("alice"))), first);
    let bob = world.connect(key(2));
    assert_eq!(refusal(&world.ask(bob, by_token("bob", &token))), Some(RefusalCode::NeedsToken));
    world.restart();
    let alice = world.connect(key(1));
    assert!(matches!(world.events(alice).as_slice(), [Event::Welcome(welcome)] if welcome.registered));
    assert_eq!(registered(world.ask(alice, by_nothing("alice"))), first);
}

#[test]
fn tokens_forgive_typing_and_a_taken_handle_leaves_them_unspent() {
    let mut world = World::new();
    world.person(1, "alice");
    let token = world.token().to_lowercase().replace('-', "");
    let bob = world.connect(key(2));
    assert_eq!(refusal(&world.ask(bob, by_token("alice", &token))), Some(RefusalCode::HandleTaken));
    assert_eq!(refusal(&world.ask(bob, by_token("me", &token))), Some(RefusalCode::HandleTaken));
    registered(world.ask(bob, by_token("bob", &token)));
}

#[test]
fn without_a_token_or_invite_nobody_registers() {
    let mut world = World::new();
    let conn = world.connect(key(1));
    for request in [by_nothing("a"), by_token("a", "K4XD-0000"), by_token("a", "!")] {
        assert_eq!(refusal(&world.ask(conn, request)), Some(RefusalCode::NeedsToken));
    }
    assert_eq!(refusal(&world.ask(conn, by_invite("a", 1))), Some(RefusalCode::No));
    assert_eq!(world.rows.count(Table::Account), 0);
}

#[test]
fn policies() {
    let with = |registration| World::with(Config { registration, ..Config::default() });
    let mut open = with(RegistrationPolicy::Open);
    let conn = open.connect(key(1));
    registered(open.ask(conn, by_nothing("a")));
    let mut list = with(RegistrationPolicy::AllowList([label("a")].into()));
    let (one, two) = (list.connect(key(1)), list.connect(key(2)));
    assert_eq!(refusal(&list.ask(one, by_nothing("b"))), Some(RefusalCode::NeedsToken));
    let alice = registered(list.ask(one, by_nothing("a")));
    assert_eq!(refusal(&list.ask(two, by_nothing("a"))), Some(RefusalCode::HandleTaken));
    // Invites of accounts let nobody in here; the operator's tokens do.
    let alice = Person { key: key(1), conn: one, registered: alice };
    assert_eq!(list.ask(alice.conn, invite(1)), Answer::Done);
    assert_eq!(refusal(&list.ask(two, by_invite("b", 1))), Some(RefusalCode::NeedsToken));
    let token = list.token();
    registered(list.ask(two, by_token("b", &token)));
}

/// Alice with an open invite, and somebody who has not registered.
fn inviting() -> (World, Person, ConnId) {
    let mut world = World::new();
    let alice = world.person(1, "alice");
    assert_eq!(world.ask(alice.conn, invite(1)), Answer::Done);
    let bob = world.connect(key(2));
    (world, alice, bob)
}

#[test]
fn an_invite_registers_and_is_spent_with_its_redeem() {
    let (mut world, _alice, bob) = inviting();
    let first = registered(world.ask(bob, by_invite("bob", 1)));
    assert_eq!(registered(world.ask(bob, by_invite("bob", 1))), first);
    assert_eq!(world.ask(bob, redeem(1, 9)), Answer::Done);
    let carol = world.connect(key(3));
    assert_eq!(refusal(&world.ask(carol, by_invite("carol", 1))), Some(RefusalCode::No));
    // The account outlives the invite.
    world.advance(std::time::Duration::from_secs(40 * 24 * 3600));
    assert_eq!(registered(world.ask(bob, by_nothing("bob"))), first);
}

#[test]
fn until_the_redeem_another_key_replaces_the_account() {
    let (mut world, alice, lost) = inviting();
    let first = registered(world.ask(lost, by_invite("bob", 1)));
    let lost_way = world.open_way(&Person { key: key(2), conn: lost, registered: first.clone() });
    assert_eq!(world.rows.count(Table::Edge), 1);
    // With the same handle, which the replaced account gives up.
    let bob = world.connect(key(3));
    let second = registered(world.ask(bob, by_invite("bob", 1)));
    assert_ne!(second.account, first.account);
    assert_eq!(world.closed(lost), Some(CloseReason::Refused));
    assert_eq!(world.rows.count(Table::Account), 2);
    assert_eq!(world.rows.count(Table::Edge), 0);
    assert!(world.rows.all_bytes().all(|bytes| bytes != lost_way.edge.as_bytes()));
    let again = world.connect(key(2));
    assert!(matches!(world.events(again).as_slice(), [Event::Welcome(welcome)] if !welcome.registered));
    assert_eq!(world.ask(bob, redeem(1, 9)), Answer::Done);
    assert_eq!(refusal(&world.ask(again, by_invite("bob", 1))), Some(RefusalCode::No));
    drop(alice);
}

#[test]
fn a_taken_handle_leaves_invite_and_earlier_account() {
    let (mut world, _alice, bob) = inviting();
    let first = registered(world.ask(bob, by_invite("bob", 1)));
    let other = world.connect(key(3));
    assert_eq!(refusal(&world.ask(other, by_invite("alice", 1))), Some(RefusalCode::HandleTaken));
    assert_eq!(registered(world.ask(bob, by_nothing("bob"))), first);
    assert_eq!(world.ask(bob, redeem(1, 9)), Answer::Done);
}

#[test]
fn an_account_whose_invite_ends_unredeemed_goes_with_it() {
    for end in ["expiry", "revoke", "redeemed by somebody else"] {
        let (mut world, alice, bob) = inviting();
        registered(world.ask(bob, by_invite("bob", 1)));
        match end {
            "expiry" => world.advance(std::time::Duration::from_secs(3_600 + 700)),
            "revoke" => {
                let revoke = penpal_protocol::wire::InviteRevoke { invite: InviteId::from_bytes([1; 16]) };
                assert_eq!(world.ask(alice.conn, Request::InviteRevoke(revoke)), Answer::Done);
            }
            _ => {
                let stranger = world.connect(key(9));
                assert_eq!(world.ask(stranger, redeem(1, 9)), Answer::Done);
            }
        }
        assert_eq!(world.rows.count(Table::Account), 1, "{end}");
        assert_eq!(world.rows.count(Table::Device), 1, "{end}");
        assert_eq!(world.rows.count(Table::Handle), 1, "{end}");
        assert_eq!(world.closed(bob), Some(CloseReason::Refused), "{end}");
    }
}

#[test]
fn a_provisional_account_that_redeems_another_invite_stays_and_frees_the_first() {
    let (mut world, alice, bob) = inviting();
    assert_eq!(world.ask(alice.conn, invite(2)), Answer::Done);
    let first = registered(world.ask(bob, by_invite("bob", 1)));
    assert_eq!(world.ask(bob, redeem(2, 9)), Answer::Done);
    let carol = world.connect(key(3));
    registered(world.ask(carol, by_invite("carol", 1)));
    assert_eq!(registered(world.ask(bob, by_nothing("bob"))), first);
}

#[test]
fn a_provisional_account_can_do_little() {
    let (mut world, alice, bob) = inviting();
    registered(world.ask(bob, by_invite("bob", 1)));
    assert_eq!(refusal(&world.ask(bob, invite(7))), Some(RefusalCode::No));
    for number in 0..9 {
        let create = penpal_protocol::wire::EdgeCreate {
            edge: penpal_protocol::ids::EdgeId::from_bytes(id16(1_000 + number)),
            cap_hash: penpal_protocol::ids::Hash::from_bytes([1; 32]),
        };
        let answer = world.ask(bob, Request::EdgeCreate(create));
        let expected = (number == 8).then_some(RefusalCode::Quota);
        assert_eq!(refusal(&answer), expected, "{number}");
    }
    for number in 0..9 {
        let way = world.open_way(&alice);
        let link = penpal_protocol::wire::EdgeLink { edge: way.edge, cap: way.cap };
        let expected = (number == 8).then_some(RefusalCode::Quota);
        assert_eq!(refusal(&world.ask(bob, Request::EdgeLink(link))), expected, "{number}");
    }
}

#[test]
fn requests_of_strangers_that_need_an_account_say_so() {
    let mut world = World::new();
    let stranger = world.connect(key(1));
    for request in [crate::world::hello(1, 1, &[]), invite(1)] {
        assert_eq!(refusal(&world.ask(stranger, request)), Some(RefusalCode::NotRegistered));
    }
}
