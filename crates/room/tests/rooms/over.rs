//! Rooms that are over, invitations that are none any more, and what outsiders are told.

use std::time::Duration;

use penpal_protocol::cbor::List;
use penpal_protocol::ids::{RoomId, ShortHash};
use penpal_protocol::sealed::{
    RoomChange, RoomEntry, RoomHead, RoomInvitation, RoomMember, RoomNews, RoomWish,
};
use penpal_room::{Notice, RoomError, Standing, Table};
use penpal_seal::SignedRoomEntry;

use super::hostile::{entry, head, head_of, stored, telling};
use super::people::{NOW_MS, World, label};
use super::{ALICE, BOB, CAROL, news, world};

/// The entry with which Alice's device makes a room, whatever her node would do.
fn created(world: &World, id: &RoomId, name: &str) -> SignedRoomEntry {
    let entry = RoomEntry {
        room: *id,
        epoch: 0,
        prev: ShortHash::from_bytes([0; 16]),
        issued_ms: NOW_MS,
        owner: world.account(ALICE),
        device: world.machines[ALICE].me.device,
        change: RoomChange { created: Some(label(name)), ..RoomChange::default() },
    };
    SignedRoomEntry::sign(&world.machines[ALICE].signing, entry)
}

/// A room of Alice's that has Bob in it or had him, and is over.
fn over(world: &World, id: &RoomId, with_bob: bool, end: RoomChange) -> Vec<SignedRoomEntry> {
    let mut entries = vec![created(world, id, "ops")];
    if with_bob {
        let bob = RoomMember { account: world.account(BOB), name: label("bob") };
        let added = RoomChange { added: Some(bob), ..RoomChange::default() };
        entries.push(entry(world, id, &head(&entries[0]), added));
    }
    entries.push(entry(world, id, &head(entries.last().unwrap()), end));
    entries
}

fn closed() -> RoomChange {
    RoomChange { closed: Some(true), ..RoomChange::default() }
}

#[test]
fn a_room_that_is_over_when_it_comes_takes_no_place_and_no_name() {
    let mut world = world(2);
    let (alice, bob) = (world.account(ALICE), world.account(BOB));
    let removed = RoomChange { removed: Some(bob), ..RoomChange::default() };
    let invitation = RoomInvitation { name: label("ops"), members: List::default() };
    for number in 1..30 {
        let id = RoomId::from_bytes([number; 16]);
        let entries = match number % 3 {
            0 => over(&world, &id, false, closed()),
            1 => over(&world, &id, true, closed()),
            _ => over(&world, &id, true, removed.clone()),
        };
        // Half of them are announced by an invitation.
        if number % 2 == 0 {
            let invites = RoomNews { invitation: Some(invitation.clone()), ..news(&id) };
            world.with(BOB, |rooms, step| rooms.handle_news(alice, &invites, step)).unwrap();
        }
        let whole = telling(&id, &entries);
        world.with(BOB, |rooms, step| rooms.handle_news(alice, &whole, step)).unwrap();
    }
    let left: Vec<_> = world.machines[BOB].rooms.list().into_iter().map(|view| view.standing).collect();
    // What is announced and closed without a word of Bob is all the same over.
    assert!(left.is_empty(), "{left:?}");
    assert!(world.machines[BOB].rows.is_empty());
    let told = &world.machines[BOB].notices;
    assert!(told.iter().all(|notice| matches!(notice, Notice::Invited { .. })), "{told:?}");
}

#[test]
fn a_name_is_free_again_when_its_room_is_over() {
    let mut world = world(2);
    let old = world.room("team", &[BOB]);
    world.with(ALICE, |rooms, step| rooms.close(&old, step)).unwrap();
    world.settle();
    for who in [ALICE, BOB] {
        let new = world.with(who, |rooms, step| rooms.create(&label("team"), step)).unwrap();
        assert_eq!(world.machines[who].rooms.by_name(&label("team")), Some(new));
        assert_eq!(
            world.machines[who].rooms.name(&old),
            Some(&label("team-2")),
            "it keeps what was said in it"
        );
        let again = world.with(who, |rooms, step| rooms.create(&label("team"), step));
        assert_eq!(again, Err(RoomError::NameTaken { name: label("team") }));
    }
}

#[test]
fn whoever_wants_to_join_what_is_over_is_told() {
    for (number, end) in ["closed", "taken back", "taken back unheard"].into_iter().enumerate() {
        let mut world = World::new(&[1, 1, 1], number as u64);
        let id = world.room("team", &[CAROL]);
        let bob = world.account(BOB);
        world.with(ALICE, |rooms, step| rooms.invite(&id, bob, &label("bob"), step)).unwrap();
        world.settle();
        // What Bob decides and what Alice does cross each other.
        world.with(BOB, |rooms, step| rooms.join(&id, step)).unwrap();
        match end {
            "closed" => world.with(ALICE, |rooms, step| rooms.close(&id, step)).unwrap(),
            _ => world.with(ALICE, |rooms, step| rooms.remove(&id, bob, step)).unwrap(),
        }
        if end == "taken back unheard" {
            // The word that it is over is lost, and only the answer to his wish says so.
            world.mail.retain(|letter| letter.to != BOB);
        }
        let last = epoch(&world, &id);
        world.settle();
        assert_eq!(world.machines[BOB].rooms.view(&id).unwrap().standing, Standing::Removed, "{end}");
        let over = Notice::InvitationOver { name: label("team") };
        assert_eq!(world.machines[BOB].notices.iter().filter(|notice| **notice == over).count(), 1, "{end}");
        assert_eq!(epoch(&world, &id), last, "{end}: nothing is appended");
    }
}

fn epoch(world: &World, id: &RoomId) -> u64 {
    world.machines[ALICE].rooms.view(id).unwrap().epoch.unwrap()
}

#[test]
fn an_invitation_that_nobody_answered_goes_with_the_room() {
    let mut world = world(2);
    let id = world.room("team", &[]);
    let bob = world.account(BOB);
    for end in ["closed", "taken back"] {
        if end == "taken back" {
            world.with(ALICE, |rooms, step| rooms.create(&label("other"), step)).unwrap();
        }
        let id =
            if end == "closed" { id } else { world.machines[ALICE].rooms.by_name(&label("other")).unwrap() };
        world.with(ALICE, |rooms, step| rooms.invite(&id, bob, &label("bob"), step)).unwrap();
        world.settle();
        assert_eq!(world.machines[BOB].rooms.invitations(), 1);
        match end {
            "closed" => world.with(ALICE, |rooms, step| rooms.close(&id, step)).unwrap(),
            _ => world.with(ALICE, |rooms, step| rooms.remove(&id, bob, step)).unwrap(),
        }
        world.settle();
        assert!(world.machines[BOB].rooms.view(&id).is_none(), "{end}");
        assert!(!world.machines[BOB].rows.keys().any(|key| key.0 == Table::Room), "{end}");
    }
}

#[test]
fn a_member_that_wants_to_join_again_and_again_is_sent_the_log_once_in_a_while() {
    let mut world = world(2);
    let id = world.room("team", &[BOB]);
    world.now = world.now.plus(Duration::from_secs(60));
    let bob = world.account(BOB);
    let wish = RoomNews { wish: Some(RoomWish::Join), ..news(&id) };
    for _ in 0..50 {
        world.with(ALICE, |rooms, step| rooms.handle_news(bob, &wish, step)).unwrap();
    }
    assert_eq!(world.mail.len(), 1);
    // Neither do rooms that nobody knows bring about more than a few words.
    world.mail.clear();
    let entries = stored(&world, ALICE);
    let gap = telling(&id, &entries[1..]);
    for number in 0..50 {
        let unknown = RoomId::from_bytes([100 + number; 16]);
        let wish = RoomNews { wish: Some(RoomWish::Join), ..news(&unknown) };
        world.with(ALICE, |rooms, step| rooms.handle_news(bob, &wish, step)).unwrap();
    }
    assert_eq!(world.mail.len(), 8);
    world.mail.clear();
    world.machines[BOB].rows.clear();
    world.restart(BOB);
    let alice = world.account(ALICE);
    for _ in 0..50 {
        world.with(BOB, |rooms, step| rooms.handle_news(alice, &gap, step)).unwrap();
    }
    assert_eq!(world.mail.len(), 8);
}

#[test]
fn whoever_is_out_hears_nothing_of_what_came_then_by_asking() {
    let mut world = world(4);
    let id = world.room("team", &[BOB, CAROL]);
    let (bob, carol, dave) = (world.account(BOB), world.account(CAROL), world.account(super::DAVE));
    world.with(ALICE, |rooms, step| rooms.remove(&id, bob, step)).unwrap();
    let end = head_of(&world, &id, ALICE);
    world.with(ALICE, |rooms, step| rooms.remove(&id, carol, step)).unwrap();
    world.settle();
    world.now = world.now.plus(Duration::from_secs(60));
    // He says that he has more than there is.
    let far = RoomHead { epoch: 255, entry: ShortHash::from_bytes([9; 16]) };
    for (who, expected) in [(bob, end), (dave, RoomHead { epoch: 0, entry: ShortHash::from_bytes([0; 16]) })]
    {
        world.mail.clear();
        let asks = RoomNews { have: Some(far), ..news(&id) };
        world.with(ALICE, |rooms, step| rooms.handle_news(who, &asks, step)).unwrap();
        let said: Vec<_> = world.mail.iter().filter_map(|letter| letter.news.have).collect();
        assert_eq!(said, [expected]);
    }
}

#[test]
fn whoever_was_shut_out_is_told_what_it_missed() {
    let mut world = world(3);
    let id = world.room("team", &[BOB, CAROL]);
    let (alice, bob, carol) = (world.account(ALICE), world.account(BOB), world.account(CAROL));
    world.with(ALICE, |rooms, step| rooms.remove(&id, bob, step)).unwrap();
    // Alice had blocked Carol: nothing goes there.
    world.mail.retain(|letter| letter.to != CAROL);
    world.settle();
    assert!(world.members(&id, CAROL).contains(&bob));
    world.now = world.now.plus(Duration::from_secs(60));
    world.with(ALICE, |rooms, step| rooms.handle_contact_back(&carol, step));
    world.settle();
    assert_eq!(world.members(&id, CAROL), [alice, carol]);
    // A member asks the owner whom it had shut out itself.
    world.with(ALICE, |rooms, step| rooms.remove(&id, carol, step)).unwrap();
    world.mail.clear();
    world.now = world.now.plus(Duration::from_secs(60));
    world.with(CAROL, |rooms, step| rooms.handle_contact_back(&alice, step));
    world.settle();
    assert_eq!(world.machines[CAROL].rooms.view(&id).unwrap().standing, Standing::Removed);
}

#[test]
fn whoever_missed_its_own_end_asks_when_others_refuse_what_it_says() {
    let mut world = world(3);
    let id = world.room("team", &[BOB, CAROL]);
    let bob = world.account(BOB);
    world.with(ALICE, |rooms, step| rooms.remove(&id, bob, step)).unwrap();
    // He was away until what says so was gone.
    world.mail.retain(|letter| letter.to != BOB);
    world.settle();
    assert_eq!(world.machines[BOB].rooms.view(&id).unwrap().standing, Standing::Member);
    world.now = world.now.plus(Duration::from_secs(60));
    for _ in 0..3 {
        world.with(BOB, |rooms, step| rooms.handle_doubt(&id, step));
    }
    assert_eq!(world.mail.len(), 1, "once in a while");
    world.settle();
    assert_eq!(world.machines[BOB].rooms.view(&id).unwrap().standing, Standing::Removed);
    assert!(world.machines[BOB].notices.contains(&Notice::Removed { name: label("team") }));
}

#[test]
fn whoever_was_away_for_longer_than_news_live_asks_at_its_start() {
    let mut world = world(3);
    let id = world.room("team", &[BOB, CAROL]);
    let bob = world.account(BOB);
    let days = |days: u64| Duration::from_secs(days * 24 * 3600);
    // What came lately is not asked for.
    world.now = world.now.plus(days(24));
    world.restart(BOB);
    world.with(BOB, |rooms, step| rooms.handle_started(step));
    assert!(world.mail.is_empty());
    world.with(ALICE, |rooms, step| rooms.remove(&id, bob, step)).unwrap();
    world.mail.retain(|letter| letter.to != BOB);
    world.settle();
    world.now = world.now.plus(days(2));
    world.restart(BOB);
    world.with(BOB, |rooms, step| rooms.handle_started(step));
    assert_eq!(world.mail.len(), 1, "{:?}", world.mail);
    // However often it starts, it asks once.
    world.restart(BOB);
    world.with(BOB, |rooms, step| rooms.handle_started(step));
    assert_eq!(world.mail.len(), 1);
    world.settle();
    assert_eq!(world.machines[BOB].rooms.view(&id).unwrap().standing, Standing::Removed);
    assert!(world.machines[BOB].notices.contains(&Notice::Removed { name: label("team") }));
}
