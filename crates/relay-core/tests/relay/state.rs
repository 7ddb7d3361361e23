//! The sealed state that a relay keeps of an account.

use penpal_protocol::cbor::Blob;
use penpal_protocol::ids::{AccountProof, StateId};
use penpal_protocol::limits::MAX_STATE_PARTS;
use penpal_protocol::wire::{Answer, GetState, PutProof, PutState, RefusalCode, Request, StatePart};
use penpal_relay_core::{AdminAnswer, AdminRequest, ConnId, Rows as _, Table};

use crate::people::Person;
use crate::world::{World, key, label, refusal};

fn proof(byte: u8) -> AccountProof {
    AccountProof::from_bytes([byte; 32])
}

fn id(byte: u8) -> StateId {
    StateId::from_bytes([byte; 16])
}

/// Part `part` of `parts` of the state `new`, in place of `expect`.
fn put(expect: Option<u8>, new: u8, part: u8, parts: u8) -> Request {
    let sealed = Blob::new(vec![new.wrapping_add(part); 40]).unwrap();
    Request::PutState(PutState {
        proof: proof(1),
        expect: expect.map(id),
        state: id(new),
        parts,
        part,
        sealed,
    })
}

fn get(byte: u8, part: u8) -> Request {
    Request::GetState(GetState { proof: proof(byte), part })
}

fn state(world: &mut World, conn: ConnId, part: u8) -> StatePart {
    match world.ask(conn, get(1, part)) {
        Answer::State(state) => state,
        other => panic!("{other:?}"),
    }
}

fn alice() -> (World, Person) {
    let mut world = World::new();
    let alice = world.person(1, "alice");
    let hash = proof(1).hash();
    assert_eq!(world.ask(alice.conn, Request::PutProof(PutProof { proof_hash: hash })), Answer::Done);
    (world, alice)
}

fn pieces(world: &World) -> usize {
    world.rows.keys(Table::State, &[], None, 1000).unwrap().len()
}

#[test]
fn a_state_takes_the_place_of_the_one_before_when_its_last_part_is_there() {
    let (mut world, alice) = alice();
    let none = state(&mut world, alice.conn, 0);
    assert_eq!((none.handle.as_str(), none.state, none.parts, none.sealed), ("alice", None, 0, None));
    assert_eq!(world.ask(alice.conn, put(None, 1, 0, 1)), Answer::Done);
    for part in 0..2 {
        assert_eq!(world.ask(alice.conn, put(Some(1), 2, part, 3)), Answer::Done);
        assert_eq!(state(&mut world, alice.conn, 0).state, Some(id(1)), "still the one before");
    }
    world.restart();
    let conn = world.connect(key(1));
    assert_eq!(world.ask(conn, put(Some(1), 2, 1, 3)), Answer::Done, "a part again");
    assert_eq!(world.ask(conn, put(Some(1), 2, 2, 3)), Answer::Done);
    assert_eq!(world.ask(conn, put(Some(1), 2, 2, 3)), Answer::Done, "the last one again");
    let stranger = world.connect(key(9));
    for part in 0..3 {
        let got = state(&mut world, stranger, part);
        assert_eq!((got.state, got.parts, got.sealed.unwrap()[0]), (Some(id(2)), 3, 2 + part));
    }
    assert_eq!(state(&mut world, stranger, 3).sealed, None);
    assert_eq!(pieces(&world), 3);
}

#[test]
fn who_expects_another_state_is_told_so() {
    let (mut world, alice) = alice();
    let conflict = Some(RefusalCode::Conflict);
    assert_eq!(refusal(&world.ask(alice.conn, put(Some(7), 1, 0, 1))), conflict);
    assert_eq!(refusal(&world.ask(alice.conn, put(None, 1, 1, 2))), conflict, "the first part is missing");
    assert_eq!(world.ask(alice.conn, put(None, 1, 0, 1)), Answer::Done);
    assert_eq!(refusal(&world.ask(alice.conn, put(None, 2, 0, 1))), conflict);
    assert_eq!(world.ask(alice.conn, put(Some(1), 2, 0, 3)), Answer::Done);
    assert_eq!(refusal(&world.ask(alice.conn, put(Some(1), 2, 2, 3))), conflict, "one between is missing");
    assert_eq!(refusal(&world.ask(alice.conn, put(Some(1), 2, 1, 4))), conflict, "another number of parts");
    assert_eq!(state(&mut world, alice.conn, 0).state, Some(id(1)));
}

#[test]
fn what_was_begun_gives_way_to_what_is_begun_next() {
    let (mut world, alice) = alice();
    for new in 1..20 {
        for part in 0..5 {
            assert_eq!(world.ask(alice.conn, put(None, new, part, MAX_STATE_PARTS)), Answer::Done);
        }
        assert_eq!(pieces(&world), 5, "an account has at most what is stored and what is begun");
    }
    assert_eq!(world.ask(alice.conn, put(None, 50, 0, 1)), Answer::Done);
    assert_eq!(pieces(&world), 1);
}

#[test]
fn only_the_proof_reads_and_writes() {
    let (mut world, alice) = alice();
    assert_eq!(world.ask(alice.conn, put(None, 1, 0, 1)), Answer::Done);
    let no = Answer::refused(RefusalCode::No);
    let stranger = world.connect(key(9));
    for conn in [alice.conn, stranger] {
        assert_eq!(world.ask(conn, get(2, 0)), no);
    }
    let Request::PutState(other) = put(Some(1), 2, 0, 1) else { unreachable!() };
    assert_eq!(world.ask(alice.conn, Request::PutState(PutState { proof: proof(2), ..other })), no);
    // Nor is the proof enough: a machine that was revoked may hold the root key still.
    let none = Answer::refused(RefusalCode::NotRegistered);
    assert_eq!(world.ask(stranger, put(Some(1), 2, 0, 1)), none);
    assert_eq!(state(&mut world, alice.conn, 0).state, Some(id(1)));
    let suspend = AdminRequest::Suspend { handle: label("alice"), suspended: true };
    assert!(matches!(world.admin(suspend), AdminAnswer::Account(_)));
    assert_eq!(world.ask(stranger, get(1, 0)), no, "a suspended account looks like none");
}

#[test]
fn it_goes_with_the_account() {
    let (mut world, alice) = alice();
    assert_eq!(world.ask(alice.conn, put(None, 1, 0, 1)), Answer::Done);
    assert_eq!(world.ask(alice.conn, put(Some(1), 2, 0, 2)), Answer::Done);
    assert_eq!(pieces(&world), 2);
    assert!(matches!(world.admin(AdminRequest::Delete { handle: label("alice") }), AdminAnswer::Account(_)));
    assert_eq!(pieces(&world), 0);
    let stranger = world.connect(key(9));
    assert_eq!(world.ask(stranger, get(1, 0)), Answer::refused(RefusalCode::No));
}

#[test]
fn a_full_disk_takes_no_state_and_gives_the_old_one() {
    let (mut world, alice) = alice();
    assert_eq!(world.ask(alice.conn, put(None, 1, 0, 1)), Answer::Done);
    world.disk_full = true;
    assert_eq!(refusal(&world.ask(alice.conn, put(Some(1), 2, 0, 1))), Some(RefusalCode::Full));
    assert_eq!(state(&mut world, alice.conn, 0).state, Some(id(1)));
    assert_eq!(pieces(&world), 1);
}
