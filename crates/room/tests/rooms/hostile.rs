//! Members and owners who mean ill, and what they cannot bring about.

use penpal_protocol::cbor::{Blob, List};
use penpal_protocol::ids::{RoomId, ShortHash};
use penpal_protocol::sealed::{RoomChange, RoomEntry, RoomHead, RoomMember, RoomNews};
use penpal_room::{NewsError, Notice, RoomError, Standing, Table};
use penpal_seal::SignedRoomEntry;

use super::people::{NOW_MS, World, label};
use super::{ALICE, BOB, CAROL, DAVE, news, world};

/// An entry of Alice's device at this place, whatever her node would do.
fn entry(world: &World, id: &RoomId, before: &RoomHead, change: RoomChange) -> SignedRoomEntry {
    let entry = RoomEntry {
        room: *id,
        epoch: before.epoch + 1,
        prev: before.entry,
        issued_ms: NOW_MS,
        owner: world.account(ALICE),
        device: world.machines[ALICE].me.device,
        change,
    };
    SignedRoomEntry::sign(&world.machines[ALICE].signing, entry)
}

fn head(signed: &SignedRoomEntry) -> RoomHead {
    RoomHead { epoch: signed.entry().epoch, entry: signed.name() }
}

fn head_of(world: &World, id: &RoomId, who: usize) -> RoomHead {
    let said_in = world.machines[who].rooms.fanout(id, &world.machines[who].me).unwrap().said_in;
    RoomHead { epoch: said_in.epoch, entry: said_in.chain }
}

fn telling(id: &RoomId, entries: &[SignedRoomEntry]) -> RoomNews {
    let blobs = entries.iter().map(|signed| Blob::new(signed.signed().to_vec()).unwrap());
    RoomNews { entries: Some(List::new(blobs.collect()).unwrap()), ..news(id) }
}

/// Every entry that a machine stored.
fn stored(world: &World, who: usize) -> Vec<SignedRoomEntry> {
    let rows = world.machines[who].rows.iter().filter(|((table, _), _)| *table == Table::Entry);
    let mut all: Vec<_> = rows.map(|(_, row)| SignedRoomEntry::read(&row[1..]).unwrap()).collect();
    all.sort_by_key(|signed| signed.entry().epoch);
    all
}

#[test]
fn entries_of_one_room_make_no_other_and_revive_none() {
    let mut world = world(2);
    let id = world.room("team", &[BOB]);
    let bob = world.account(BOB);
    let entries = stored(&world, BOB);
    for number in 1..20 {
        let other = RoomId::from_bytes([number; 16]);
        let taken =
            world.with(ALICE, |rooms, step| rooms.handle_news(bob, &telling(&other, &entries[..1]), step));
        assert_eq!(taken, Err(NewsError::Misfit));
    }
    let rooms = world.machines[ALICE].rows.keys().filter(|(table, _)| *table == Table::Room).count();
    assert_eq!((world.machines[ALICE].rooms.list().len(), rooms), (1, 1));
    // A room that its owner does not know any more is over, whatever a member kept of it.
    world.machines[ALICE].rows.clear();
    world.restart(ALICE);
    let taken = world.with(ALICE, |rooms, step| rooms.handle_news(bob, &telling(&id, &entries), step));
    assert_eq!(taken, Err(NewsError::NotOwner));
    assert!(world.machines[ALICE].rows.is_empty());
    let closed = world.with(ALICE, |rooms, step| rooms.close(&id, step));
    assert_eq!(closed, Err(RoomError::Unknown));
    // Of an owner's entries with a gap nothing is taken either.
    world.machines[BOB].rows.clear();
    world.restart(BOB);
    let alice = world.account(ALICE);
    let late =
        entry(&world, &id, &head(&entries[1]), RoomChange { left: Some(bob), ..RoomChange::default() });
    let gap = telling(&id, &[entries[0].clone(), late]);
    let taken = world.with(BOB, |rooms, step| rooms.handle_news(alice, &gap, step));
    assert_eq!(taken, Err(NewsError::Misfit));
    assert!(world.machines[BOB].rows.is_empty());
}

#[test]
fn an_entry_that_cannot_be_read_keeps_no_node_from_starting() {
    let mut world = world(2);
    let id = world.room("team", &[BOB]);
    let nothing = RoomHead { epoch: 0, entry: ShortHash::from_bytes([0; 16]) };
    let mut wrong = entry(&world, &id, &nothing, RoomChange { closed: Some(true), ..RoomChange::default() });
    let mut body = wrong.entry().clone();
    body.epoch = 0;
    wrong = SignedRoomEntry::sign(&world.machines[ALICE].signing, body);
    let key = [id.as_bytes().as_slice(), wrong.name().as_bytes()].concat();
    let row = [&[1], wrong.signed()].concat();
    world.machines[ALICE].rows.insert((Table::Entry, key), row);
    let before = world.machines[ALICE].rooms.list();
    world.restart(ALICE);
    assert_eq!(world.machines[ALICE].rooms.list(), before);
}

#[test]
fn the_owner_cannot_put_back_whom_it_removed() {
    let mut world = world(2);
    let id = world.room("team", &[BOB]);
    let (alice, bob) = (world.account(ALICE), world.account(BOB));
    world.with(ALICE, |rooms, step| rooms.remove(&id, bob, step)).unwrap();
    world.settle();
    let added = RoomMember { account: bob, name: label("bob") };
    let back = entry(
        &world,
        &id,
        &head_of(&world, &id, ALICE),
        RoomChange { added: Some(added), ..RoomChange::default() },
    );
    world.machines[BOB].notices.clear();
    world.with(BOB, |rooms, step| rooms.handle_news(alice, &telling(&id, &[back]), step)).unwrap();
    assert_eq!(world.machines[BOB].rooms.view(&id).unwrap().standing, Standing::Invited);
    assert_eq!(
        world.machines[BOB].notices,
        [Notice::Invited { room: id, name: label("team"), by: alice }],
        "it is an invitation like any other"
    );
    assert_eq!(world.say(&id, ALICE, BOB), None);
}

#[test]
fn a_removal_that_counts_no_more_was_none() {
    let mut world = world(4);
    let id = world.room("team", &[BOB]);
    let (alice, bob) = (world.account(ALICE), world.account(BOB));
    let fork = head_of(&world, &id, ALICE);
    world.with(ALICE, |rooms, step| rooms.remove(&id, bob, step)).unwrap();
    world.settle();
    assert_eq!(world.machines[BOB].rooms.view(&id).unwrap().standing, Standing::Removed);
    let adds = |who: usize, name: &str| RoomChange {
        added: Some(RoomMember { account: world.account(who), name: label(name) }),
        ..RoomChange::default()
    };
    let one = entry(&world, &id, &fork, adds(CAROL, "carol"));
    let two = entry(&world, &id, &head(&one), adds(DAVE, "dave"));
    world.with(BOB, |rooms, step| rooms.handle_news(alice, &telling(&id, &[one, two]), step)).unwrap();
    assert_eq!(world.machines[BOB].rooms.view(&id).unwrap().standing, Standing::Member);
}
