//! What one step adds fits into one batch of the store, however much ends at once.

use std::time::Duration;

use penpal_protocol::blob::BlobShape;
use penpal_protocol::cbor::Blob;
use penpal_protocol::ids::{AccountProof, BlobId, Capability, InviteId};
use penpal_protocol::limits::{DAY_MS, MAX_DEVICES};
use penpal_protocol::wire::{Answer, BlobCreate, DeviceAdd, InviteCreate, PutProof, Register, Request};
use penpal_relay_core::{AdminAnswer, AdminRequest, Config, ConnId, Limits, Rate, Table};

use crate::people::Person;
use crate::registration::{proof, registered};
use crate::world::{World, id16, key, label};

/// What the store takes at once.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Without rates: here much is made that takes days otherwise.
fn world(limits: Limits) -> World {
    let rate = Rate { per_second: 1_000_000, burst: 1_000_000 };
    World::with(Config {
        limits: Limits { requests: rate, prefix_requests: rate, ..limits },
        ..Config::default()
    })
}

fn done(world: &mut World, conn: ConnId, request: Request) {
    assert_eq!(world.ask(conn, request), Answer::Done);
}

/// An invite of somebody, and the account that was registered with it and is not confirmed.
fn provisional(world: &mut World, of: &Person, number: u64) -> Person {
    let invite = InviteId::from_bytes(id16(number));
    let create = InviteCreate {
        invite,
        proof_hash: proof(1).hash(),
        expires_ms: world.now.wall_ms + 3_600_000,
        record: Blob::new(vec![1; 100]).unwrap(),
    };
    done(world, of.conn, Request::InviteCreate(create));
    let key = key(10_000 + number);
    let conn = world.connect(key);
    let handle = label(&format!("guest{number}"));
    let request = Register { handle, token: None, invite: Some(invite), proof: Some(proof(1)) };
    let registered = registered(world.ask(conn, Request::Register(request)));
    Person { key, conn, registered }
}

#[test]
fn accounts_that_end_together_end_in_several_steps() {
    const LINKS: usize = 300;
    let mut world = world(Limits { edges_while_provisional: LINKS, ..Limits::default() });
    let alice = world.person(1, "alice");
    let owners = [2, 3].map(|number| world.person(number, &format!("owner{number}")));
    for number in 0..10 {
        let guest = provisional(&mut world, &alice, number);
        for _ in 0..LINKS / 2 {
            world.way(&owners[0], guest.conn);
            world.way(&owners[1], guest.conn);
        }
    }
    world.largest = 0;
    world.advance(Duration::from_secs(3_600 + 700));
    assert_eq!(world.count(Table::Account), 3);
    let one = LINKS * 1_024;
    assert!((one..1024 * 1024 + one).contains(&world.largest), "{} bytes", world.largest);
}

#[test]
fn an_account_that_has_all_it_may_goes_in_one_batch() {
    let limits = Limits::default();
    let (edges, links) = (limits.edges_per_account, limits.links_per_account);
    let (guests, few) = (limits.invites_per_account, limits.edges_while_provisional);
    let blobs = limits.blobs_per_account;
    let mut world = world(limits);
    let alice = world.person(1, "alice");
    let [bob, carol, dora] = [2, 3, 4].map(|number| world.person(number, &format!("other{number}")));
    for _ in 0..edges {
        world.way(&alice, bob.conn);
    }
    for _ in 0..links {
        world.way(&bob, alice.conn);
    }
    for number in 0..guests {
        let guest = provisional(&mut world, &alice, number as u64);
        let other = if number % 2 == 0 { &carol } else { &dora };
        for _ in 0..few {
            world.way(&guest, other.conn);
            world.way(other, guest.conn);
        }
    }
    for number in 0..blobs {
        let create = BlobCreate {
            blob: BlobId::from_bytes(id16(number as u64)),
            bytes: BlobShape::of_content(1).unwrap().bytes(),
            token_hash: Capability::from_bytes([1; 32]).hash(),
            expires_ms: world.now.wall_ms + DAY_MS,
        };
        assert!(matches!(world.ask(alice.conn, Request::BlobCreate(create)), Answer::Blob(_)));
    }
    let proof = AccountProof::from_bytes([1; 32]);
    done(&mut world, alice.conn, Request::PutProof(PutProof { proof_hash: proof.hash() }));
    for number in 1..MAX_DEVICES as u64 {
        let add = DeviceAdd { key: key(90_000 + number), proof: proof.clone() };
        assert!(matches!(world.ask(alice.conn, Request::DeviceAdd(add)), Answer::Registered(_)));
    }
    assert_eq!(world.count(Table::Account), 4 + guests);
    world.largest = 0;
    let answer = world.admin(AdminRequest::Delete { handle: label("alice") });
    assert!(matches!(answer, AdminAnswer::Account(info) if (info.edges, info.links) == (2_000, 2_000)));
    assert_eq!(world.count(Table::Account), 3);
    // Beside it the batch has acknowledgements and marks of deposits that were allowed to wait.
    let room = 1024 * 1024;
    assert!(world.largest + room <= MAX_BATCH_BYTES, "{} bytes", world.largest);
}
