//! Several devices of one account.

use penpal_protocol::cbor::Blob;
use penpal_protocol::ids::{AccountProof, EdgeId, Hash};
use penpal_protocol::limits::MAX_DEVICES;
use penpal_protocol::wire::{
    Answer, DepositOutcome, DeviceAdd, DeviceRemove, Event, GetContactState, Profile, PutManifest, PutProof,
    RefusalCode, Registered, Request,
};
use penpal_relay_core::{AdminAnswer, AdminRequest, CloseReason, ConnId};

use crate::people::Person;
use crate::world::{World, delivered, key, label, refusal};

fn proof(byte: u8) -> AccountProof {
    AccountProof::from_bytes([byte; 32])
}

fn put(hash: Hash) -> Request {
    Request::PutProof(PutProof { proof_hash: hash })
}

fn add(number: u64, byte: u8) -> Request {
    Request::DeviceAdd(DeviceAdd { key: key(number), proof: proof(byte) })
}

fn remove(device: &Registered, byte: u8) -> Request {
    Request::DeviceRemove(DeviceRemove { slot: device.slot, proof: proof(byte) })
}

fn registered(answer: Answer) -> Registered {
    match answer {
        Answer::Registered(registered) => registered,
        other => panic!("{other:?}"),
    }
}

/// Which edges went up or down.
fn ups(events: &[Event]) -> Vec<(EdgeId, bool)> {
    let state = |event: &Event| match event {
        Event::EdgeState(state) => Some((state.edge, state.up)),
        _ => None,
    };
    events.iter().filter_map(state).collect()
}

/// A second device of a person, connected.
fn second(world: &mut World, person: &Person, number: u64) -> (Registered, ConnId) {
    assert_eq!(world.ask(person.conn, put(proof(1).hash())), Answer::Done);
    let device = registered(world.ask(person.conn, add(number, 1)));
    (device, world.connect(key(number)))
}

#[test]
fn a_proof_is_set_once() {
    let mut world = World::new();
    let alice = world.person(1, "alice");
    let bob = world.person(2, "bob");
    assert_eq!(world.ask(alice.conn, put(proof(1).hash())), Answer::Done);
    assert_eq!(world.ask(alice.conn, put(proof(1).hash())), Answer::Done, "the same again");
    assert_eq!(refusal(&world.ask(alice.conn, put(proof(2).hash()))), Some(RefusalCode::Conflict));
    assert_eq!(refusal(&world.ask(bob.conn, put(proof(1).hash()))), Some(RefusalCode::Conflict));
    world.restart();
    let stranger = world.connect(key(9));
    assert_eq!(refusal(&world.ask(stranger, put(proof(3).hash()))), Some(RefusalCode::NotRegistered));
    assert!(matches!(world.ask(stranger, add(9, 1)), Answer::Registered(_)), "it is durable");
}

#[test]
fn a_device_comes_and_goes_only_with_the_proof() {
    let mut world = World::new();
    let alice = world.person(1, "alice");
    assert_eq!(refusal(&world.ask(alice.conn, add(5, 1))), Some(RefusalCode::No), "no proof is stored");
    let (device, conn) = second(&mut world, &alice, 5);
    assert_eq!((device.account, device.handle.as_str()), (alice.registered.account, "alice"));
    assert_ne!(device.slot, alice.registered.slot);
    assert_eq!(registered(world.ask(alice.conn, add(5, 1))), device, "the same again");
    assert_eq!(refusal(&world.ask(alice.conn, add(6, 2))), Some(RefusalCode::No));
    world.receive(conn);
    assert_eq!(refusal(&world.ask(conn, remove(&alice.registered, 2))), Some(RefusalCode::No));
    assert_eq!(world.ask(alice.conn, remove(&device, 1)), Answer::Done);
    assert_eq!(world.ask(alice.conn, remove(&device, 1)), Answer::Done, "the same again");
    assert_eq!(world.closed(conn), Some(CloseReason::Refused));
    let again = world.connect(key(5));
    let state = put(proof(1).hash());
    assert_eq!(refusal(&world.ask(again, state)), Some(RefusalCode::NotRegistered));
}

#[test]
fn a_key_of_another_account_is_no_device() {
    let mut world = World::new();
    let (alice, _bob) = (world.person(1, "alice"), world.person(2, "bob"));
    assert_eq!(world.ask(alice.conn, put(proof(1).hash())), Answer::Done);
    assert_eq!(refusal(&world.ask(alice.conn, add(2, 1))), Some(RefusalCode::No));
}

#[test]
fn an_account_has_a_bounded_number_of_devices() {
    let mut world = World::new();
    let alice = world.person(1, "alice");
    assert_eq!(world.ask(alice.conn, put(proof(1).hash())), Answer::Done);
    for number in 1..MAX_DEVICES as u64 {
        registered(world.ask(alice.conn, add(100 + number, 1)));
    }
    assert_eq!(refusal(&world.ask(alice.conn, add(99, 1))), Some(RefusalCode::Quota));
}

#[test]
fn each_device_has_its_own_mail_and_both_may_use_a_link() {
    let mut world = World::new();
    let (alice, bob, way) = world.pair();
    let (device, conn) = second(&mut world, &alice, 5);
    world.online(&alice);
    world.receive(conn);
    let mut to_second = way.clone();
    to_second.slot = device.slot;
    assert_eq!(world.deposit(bob.conn, way.deposit(1, vec![11])), DepositOutcome::Accepted);
    assert_eq!(world.deposit(bob.conn, to_second.deposit(2, vec![12])), DepositOutcome::Accepted);
    assert_eq!(delivered(&world.events(alice.conn)), vec![(1, 11)]);
    assert_eq!(delivered(&world.events(conn)), vec![(1, 12)]);
    // Bob's edge, linked by the first device, serves the second too.
    let back = world.way(&bob, alice.conn);
    assert_eq!(world.deposit(conn, back.deposit(3, vec![13])), DepositOutcome::Accepted);
    // And an edge of the account's own, for its devices among each other.
    let mut own = world.way(&alice, conn);
    own.slot = device.slot;
    assert_eq!(world.deposit(alice.conn, own.deposit(4, vec![14])), DepositOutcome::Accepted);
    assert_eq!(delivered(&world.events(conn)), vec![(2, 14)]);
    // Cut off, the second one deposits nowhere, and nothing more is taken for it.
    assert_eq!(world.ask(alice.conn, remove(&device, 1)), Answer::Done);
    assert_eq!(world.deposit(bob.conn, to_second.deposit(5, vec![15])), DepositOutcome::No);
    let conn = world.connect(key(5));
    assert_eq!(world.deposit(conn, back.deposit(6, vec![16])), DepositOutcome::No);
    assert_eq!(world.deposit(alice.conn, back.deposit(7, vec![17])), DepositOutcome::Accepted);
}

#[test]
fn an_account_is_up_while_one_device_is() {
    let mut world = World::new();
    let (alice, bob, way) = world.pair();
    let (_, conn) = second(&mut world, &alice, 5);
    world.online(&bob);
    world.online(&alice);
    world.receive(conn);
    world.settle();
    assert_eq!(ups(&world.events(bob.conn)), vec![(way.edge, true)]);
    world.disconnect(alice.conn);
    world.advance(std::time::Duration::from_secs(5));
    assert_eq!(ups(&world.events(bob.conn)), vec![]);
    world.disconnect(conn);
    world.advance(std::time::Duration::from_secs(5));
    assert_eq!(ups(&world.events(bob.conn)), vec![(way.edge, false)]);
}

#[test]
fn a_removed_device_leaves_no_manifest_that_nobody_could_replace() {
    let mut world = World::new();
    let (mut alice, bob, way) = world.pair();
    let (device, conn) = second(&mut world, &alice, 5);
    let put = |expect, revision, byte| {
        let profile = Profile { current: Blob::new(vec![byte; 300]).unwrap(), previous: None };
        Request::PutManifest(PutManifest { expect, revision, profile })
    };
    assert_eq!(world.ask(alice.conn, put(0, 2, 1)), Answer::Done);
    assert_eq!(refusal(&world.ask(conn, put(2, u64::MAX, 2))), Some(RefusalCode::Conflict));
    assert_eq!(world.ask(conn, put(2, 2 + (1 << 32), 2)), Answer::Done);
    assert_eq!(world.ask(alice.conn, remove(&device, 1)), Answer::Done);
    world.restart();
    world.reconnect(&mut alice);
    assert_eq!(world.receive(alice.conn).manifest_revision, 0);
    assert_eq!(world.ask(alice.conn, put(0, 3, 3)), Answer::Done);
    assert_eq!(world.ask(alice.conn, remove(&device, 1)), Answer::Done, "the same again");
    let bob = world.connect(bob.key);
    assert_eq!(world.receive(bob).manifest_revision, 0);
    let get = GetContactState { edge: way.edge, cap: way.cap.clone() };
    match world.ask(bob, Request::GetContactState(get)) {
        Answer::ContactState(state) => assert_eq!(state.manifest.unwrap().current[0], 3),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_removed_account_takes_its_devices_and_proof_along() {
    let mut world = World::new();
    let alice = world.person(1, "alice");
    let (_, conn) = second(&mut world, &alice, 5);
    let gone = world.admin(AdminRequest::Delete { handle: label("alice") });
    assert!(matches!(gone, AdminAnswer::Account(_)), "{gone:?}");
    assert_eq!(world.closed(conn), Some(CloseReason::Refused));
    let bob = world.person(2, "bob");
    assert_eq!(world.ask(bob.conn, put(proof(1).hash())), Answer::Done);
}
