//! Blobs: made within quotas, written by their owner, read by token, ended.

use std::time::Duration;

use penpal_protocol::blob::{BlobShape, PART_BYTES, PartSet};
use penpal_protocol::ids::{BlobId, Capability};
use penpal_protocol::limits::DAY_MS;
use penpal_protocol::wire::{
    Answer, BlobCreate, BlobDelete, BlobGet, BlobPut, Refusal, RefusalCode, Request,
};
use penpal_relay_core::{AdminAnswer, AdminRequest, Config, ConnId, Limits, Table};

use crate::world::{World, key, label, refusal};

fn id(number: u8) -> BlobId {
    BlobId::from_bytes([number; 16])
}

fn token(number: u8) -> Capability {
    Capability::from_bytes([number; 32])
}

fn bytes(content: u64) -> u64 {
    BlobShape::of_content(content).unwrap().bytes()
}

fn create(world: &World, number: u8, content: u64) -> Request {
    Request::BlobCreate(BlobCreate {
        blob: id(number),
        bytes: bytes(content),
        token_hash: token(number).hash(),
        expires_ms: world.now.wall_ms + DAY_MS,
    })
}

fn put(number: u8, part: u32, bytes: usize) -> Request {
    Request::BlobPut(BlobPut { blob: id(number), part, bytes: u32::try_from(bytes).unwrap() })
}

fn get(number: u8, shown: u8, part: u32) -> Request {
    Request::BlobGet(BlobGet { blob: id(number), token: token(shown), part })
}

fn there(answer: Answer) -> Option<Vec<u8>> {
    match answer {
        Answer::Blob(state) => Some(state.there.to_vec()),
        _ => None,
    }
}

fn detail(answer: Answer) -> String {
    match answer {
        Answer::Refused(Refusal { detail: Some(detail), .. }) => detail.as_str().to_owned(),
        other => panic!("{other:?}"),
    }
}

/// A part that was allowed is durable in its file.
fn written(world: &mut World, conn: ConnId, number: u8, part: u32) -> Answer {
    world.written(conn, id(number), part)
}

const MIB: u64 = 1024 * 1024;

#[test]
fn parts_count_once_they_are_written_and_are_read_by_token_only() {
    let mut world = World::new();
    let alice = world.person(1, "alice");
    let make = create(&world, 1, MIB + 5);
    assert_eq!(there(world.ask(alice.conn, make.clone())), Some(vec![]));
    let (_, last) = BlobShape::of_content(MIB + 5).unwrap().part(1).unwrap();
    assert_eq!(world.ask(alice.conn, put(1, 1, last)), Answer::Done);
    assert_eq!(refusal(&world.ask(alice.conn, get(1, 1, 1))), Some(RefusalCode::No), "not written yet");
    assert_eq!(written(&mut world, alice.conn, 1, 1), Answer::Done);
    assert_eq!(there(world.ask(alice.conn, put(1, 1, last))), Some(vec![2]), "there already");
    for (part, bytes) in [(0, PART_BYTES - 1), (1, last + 1), (2, last), (u32::MAX, 1)] {
        let answer = world.ask(alice.conn, put(1, part, bytes));
        assert_eq!(refusal(&answer), Some(RefusalCode::Malformed), "{part}");
    }
    world.restart();
    // A stranger with the token, and nobody without.
    let stranger = world.connect(key(9));
    assert_eq!(world.ask(stranger, get(1, 1, 1)), Answer::Done);
    for no in [get(1, 2, 1), get(1, 1, 0), get(2, 1, 1)] {
        assert_eq!(world.ask(stranger, no), Answer::refused(RefusalCode::No));
    }
    // What is there is told to whoever makes it again, and to nobody else.
    let alice_again = world.connect(key(1));
    assert_eq!(there(world.ask(alice_again, make.clone())), Some(vec![2]));
    let mut bob = world.person(2, "bob");
    bob.conn = world.connect(key(2));
    assert_eq!(refusal(&world.ask(bob.conn, make.clone())), Some(RefusalCode::No));
    assert_eq!(refusal(&world.ask(bob.conn, put(1, 1, last))), Some(RefusalCode::No));
    world.ask(bob.conn, Request::BlobDelete(BlobDelete { blob: id(1) }));
    assert_eq!(world.ask(stranger, get(1, 1, 1)), Answer::Done, "not his to delete");
    assert_eq!(refusal(&world.ask(stranger, make)), Some(RefusalCode::NotRegistered));
    world.ask(alice_again, Request::BlobDelete(BlobDelete { blob: id(1) }));
    assert_eq!(world.removed_blobs, [id(1)]);
    assert_eq!(refusal(&world.ask(stranger, get(1, 1, 1))), Some(RefusalCode::No));
    // A part that came while the blob went brings its file back, which goes again.
    assert_eq!(refusal(&written(&mut world, alice_again, 1, 0)), Some(RefusalCode::No));
    assert_eq!(world.removed_blobs, [id(1), id(1)]);
}

/// Whoever was allowed parts of a long blob, removed it, and made a short one of the same id, has no more parts than that has.
#[test]
fn a_part_of_a_blob_that_is_another_now_does_not_count() {
    let mut world = World::new();
    let alice = world.person(1, "alice");
    let (long, short) = (create(&world, 1, 5 * MIB), create(&world, 1, 5));
    world.ask(alice.conn, long);
    assert_eq!(world.ask(alice.conn, put(1, 4, PART_BYTES)), Answer::Done);
    world.ask(alice.conn, Request::BlobDelete(BlobDelete { blob: id(1) }));
    assert_eq!(there(world.ask(alice.conn, short.clone())), Some(vec![]));
    assert_eq!(refusal(&written(&mut world, alice.conn, 1, 4)), Some(RefusalCode::No));
    assert_eq!(there(world.ask(alice.conn, short)), Some(vec![]));
    assert_eq!(world.removed_blobs, [id(1)], "the file of the other one stays");
}

#[test]
fn quotas_are_told_with_both_numbers() {
    let limits = Limits {
        artifact_bytes: 10 * MIB,
        blob_account_bytes: bytes(10 * MIB) + bytes(5 * MIB),
        blob_total_bytes: bytes(10 * MIB) + bytes(5 * MIB) + bytes(MIB),
        blobs_per_account: 3,
        ..Limits::default()
    };
    let mut world = World::with(Config { limits, ..Config::default() });
    let (alice, bob) = (world.person(1, "alice"), world.person(2, "bob"));
    let ask = |world: &mut World, conn, number, content| {
        let make = create(world, number, content);
        world.ask(conn, make)
    };
    let answer = ask(&mut world, alice.conn, 1, 11 * MIB);
    assert_eq!(refusal(&answer), Some(RefusalCode::Quota));
    let said = detail(answer);
    assert_eq!(said, "files of up to 10 MiB are taken here");
    assert!(there(ask(&mut world, alice.conn, 1, 10 * MIB)).is_some());
    let answer = ask(&mut world, alice.conn, 2, 6 * MIB);
    assert_eq!(refusal(&answer), Some(RefusalCode::Full));
    let said = detail(answer);
    assert!(
        said.contains(&bytes(6 * MIB).to_string()) && said.contains("at most 15732480 are kept"),
        "{said}"
    );
    assert!(there(ask(&mut world, alice.conn, 2, 5 * MIB)).is_some());
    // Room for all is not one account's fault, and may come again.
    let answer = ask(&mut world, bob.conn, 3, 2 * MIB);
    assert_eq!(refusal(&answer), Some(RefusalCode::Full));
    // The same across a restart, and one that goes makes room.
    world.restart();
    let (alice, bob) = (world.connect(key(1)), world.connect(key(2)));
    assert_eq!(refusal(&ask(&mut world, bob, 3, 2 * MIB)), Some(RefusalCode::Full));
    world.ask(alice, Request::BlobDelete(BlobDelete { blob: id(2) }));
    for number in 3..6 {
        assert!(there(ask(&mut world, bob, number, 1)).is_some());
    }
    let answer = ask(&mut world, bob, 6, 1);
    assert_eq!(detail(answer), "the account has 3 files here, at most 3");
}

#[test]
fn blobs_end_and_can_be_made_to_live_longer() {
    let mut world = World::new();
    let alice = world.person(1, "alice");
    for number in [1, 2] {
        let make = create(&world, number, 5);
        world.ask(alice.conn, make);
        world.ask(alice.conn, put(number, 0, usize::try_from(bytes(5)).unwrap()));
        written(&mut world, alice.conn, number, 0);
    }
    world.advance(Duration::from_millis(DAY_MS / 2));
    let longer = create(&world, 2, 5);
    assert_eq!(there(world.ask(alice.conn, longer)), Some(vec![1]));
    world.advance(Duration::from_millis(DAY_MS / 2 + 700_000));
    assert_eq!(world.removed_blobs, [id(1)]);
    assert_eq!(world.ask(alice.conn, get(2, 2, 0)), Answer::Done);
    world.advance(Duration::from_millis(DAY_MS));
    assert_eq!(world.removed_blobs, [id(1), id(2)]);
    for table in [Table::Blob, Table::OwnedBlob, Table::BlobEnd] {
        assert_eq!(world.count(table), 0, "{table:?}");
    }
    let far = create(&world, 3, 5);
    let Request::BlobCreate(mut far) = far else { panic!() };
    far.expires_ms = world.now.wall_ms + 40 * DAY_MS;
    assert_eq!(refusal(&world.ask(alice.conn, Request::BlobCreate(far))), Some(RefusalCode::Malformed));
}

#[test]
fn an_account_that_goes_takes_its_blobs_along() {
    let mut world = World::new();
    let (alice, bob) = (world.person(1, "alice"), world.person(2, "bob"));
    for (conn, number) in [(alice.conn, 1), (alice.conn, 2), (bob.conn, 3)] {
        let make = create(&world, number, 5);
        world.ask(conn, make);
    }
    let AdminAnswer::Account(info) = world.admin(AdminRequest::Delete { handle: label("alice") }) else {
        panic!()
    };
    assert_eq!((info.blobs, info.blob_bytes), (2, 2 * bytes(5)));
    assert_eq!(world.removed_blobs, [id(1), id(2)]);
    let AdminAnswer::Census(census) = world.admin(AdminRequest::Census) else { panic!() };
    assert_eq!((census.blobs, census.blob_bytes), (1, bytes(5)));
}

#[test]
fn a_step_that_did_not_happen_counts_nothing() {
    let mut world = World::new();
    let alice = world.person(1, "alice");
    world.disk_full = true;
    let make = create(&world, 1, 5);
    assert_eq!(refusal(&world.ask(alice.conn, make.clone())), Some(RefusalCode::Full));
    world.disk_full = false;
    world.advance(Duration::from_secs(2));
    let AdminAnswer::Census(census) = world.admin(AdminRequest::Census) else { panic!() };
    assert_eq!((census.blobs, census.blob_bytes), (0, 0));
    assert!(there(world.ask(alice.conn, make)).is_some());
    assert_eq!(PartSet::from_bytes(&[], 1), Some(PartSet::default()));
}

/// A copy of the log knows of parts whose file it does not have.
#[test]
fn parts_whose_bytes_are_gone_are_asked_for_again() {
    let mut world = World::new();
    let alice = world.person(1, "alice");
    let make = create(&world, 1, 3 * MIB);
    assert!(there(world.ask(alice.conn, make.clone())).is_some());
    for part in 0..3 {
        assert_eq!(written(&mut world, alice.conn, 1, part), Answer::Done);
    }
    let part_bytes = u64::try_from(PART_BYTES).unwrap();
    world.kept(id(1), 3 * part_bytes);
    assert_eq!(there(world.ask(alice.conn, make.clone())), Some(vec![0b111]), "all of it is there");
    world.kept(id(1), 2 * part_bytes - 1);
    assert_eq!(there(world.ask(alice.conn, make.clone())), Some(vec![0b001]));
    assert_eq!(refusal(&world.ask(alice.conn, get(1, 1, 1))), Some(RefusalCode::No), "the reader is told");
    assert_eq!(world.ask(alice.conn, get(1, 1, 0)), Answer::Done);
    world.kept(id(1), 0);
    world.kept(id(7), 0);
    world.restart();
    let alice = world.connect(key(1));
    assert_eq!(there(world.ask(alice, make.clone())), Some(vec![]));
    let (_, bytes) = BlobShape::of_content(3 * MIB).unwrap().part(2).unwrap();
    assert_eq!(world.ask(alice, put(1, 2, bytes)), Answer::Done, "it may come again");
    assert_eq!(written(&mut world, alice, 1, 2), Answer::Done);
    assert_eq!(there(world.ask(alice, make)), Some(vec![0b100]));
}
