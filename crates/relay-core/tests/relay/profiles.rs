//! Sealed manifests and bundles.

use penpal_protocol::cbor::Blob;
use penpal_protocol::wire::{
    Answer, ContactState, GetContactState, Profile, PutBundle, PutManifest, RefusalCode, Request,
};

use crate::world::{Way, World, key, refusal};

fn profile(byte: u8) -> Profile {
    Profile { current: Blob::new(vec![byte; 300]).unwrap(), previous: None }
}

fn put(expect: u64, revision: u64, byte: u8) -> Request {
    Request::PutManifest(PutManifest { expect, revision, profile: profile(byte) })
}

fn get(way: &Way) -> Request {
    Request::GetContactState(GetContactState { edge: way.edge, cap: way.cap.clone() })
}

fn state(answer: Answer) -> ContactState {
    match answer {
        Answer::ContactState(state) => state,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_manifest_is_replaced_only_over_the_expected_one() {
    let mut world = World::new();
    let mut alice = world.person(1, "alice");
    assert_eq!(world.ask(alice.conn, put(0, 3, 1)), Answer::Done);
    assert_eq!(world.ask(alice.conn, put(0, 3, 1)), Answer::Done, "the same again");
    assert_eq!(refusal(&world.ask(alice.conn, put(0, 3, 2))), Some(RefusalCode::Conflict));
    assert_eq!(refusal(&world.ask(alice.conn, put(2, 4, 2))), Some(RefusalCode::Conflict));
    assert_eq!(world.ask(alice.conn, put(3, 4, 2)), Answer::Done);
    world.restart();
    world.reconnect(&mut alice);
    assert_eq!(world.receive(alice.conn).manifest_revision, 4);
}

#[test]
fn contacts_read_it_by_capability_and_nobody_else() {
    let mut world = World::new();
    let (alice, bob, way) = world.pair();
    assert_eq!(
        state(world.ask(bob.conn, get(&way))),
        ContactState { manifest: None, bundles: Default::default() }
    );
    world.ask(alice.conn, put(0, 1, 1));
    world.ask(alice.conn, Request::PutBundle(PutBundle { profile: profile(2) }));
    let seen = state(world.ask(bob.conn, get(&way)));
    assert_eq!(seen.manifest, Some(profile(1)));
    assert_eq!((seen.bundles.len(), seen.bundles[0].slot), (1, alice.registered.slot));
    assert_eq!(seen.bundles[0].profile, profile(2));
    let stranger = world.connect(key(9));
    assert_eq!(refusal(&world.ask(stranger, get(&way))), Some(RefusalCode::No));
    let mut wrong = way.clone();
    wrong.cap = penpal_protocol::ids::Capability::from_bytes([0; 32]);
    assert_eq!(refusal(&world.ask(bob.conn, get(&wrong))), Some(RefusalCode::No));
    // Before anybody has linked it, the capability alone is enough.
    let open = world.open_way(&alice);
    assert_eq!(state(world.ask(stranger, get(&open))).manifest, Some(profile(1)));
}
