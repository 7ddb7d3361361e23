//! Members and owners who mean ill, and what they cannot bring about.

use penpal_protocol::cbor::{Blob, List};
use penpal_protocol::ids::{InviteId, MsgId, RoomId, ShortHash};
use penpal_protocol::sealed::{
    RoomChange, RoomEntry, RoomHead, RoomInvitation, RoomMember, RoomNews, RoomRef, RoomWish,
};
use penpal_room::{Introduction, NewsError, Notice, RoomError, Said, Standing, Table};
use penpal_seal::SignedRoomEntry;

use super::people::{NOW_MS, World, label};
use super::{ALICE, BOB, CAROL, DAVE, news, world};

/// An entry of Alice's device at this place, whatever her node would do.
pub(crate) fn entry(world: &World, id: &RoomId, before: &RoomHead, change: RoomChange) -> SignedRoomEntry {
    signed_entry(world, id, (ALICE, ALICE), before, change)
}

/// An entry at this place that says to be of one device of Alice's and is signed by another one.
pub(crate) fn signed_entry(
    world: &World,
    id: &RoomId,
    (says, signs): (usize, usize),
    before: &RoomHead,
    change: RoomChange,
) -> SignedRoomEntry {
    let entry = RoomEntry {
        room: *id,
        epoch: before.epoch + 1,
        prev: before.entry,
        issued_ms: NOW_MS,
        owner: world.account(ALICE),
        device: world.machines[says].me.device,
        change,
    };
    SignedRoomEntry::sign(&world.machines[signs].signing, entry)
}

pub(crate) fn head(signed: &SignedRoomEntry) -> RoomHead {
    RoomHead { epoch: signed.entry().epoch, entry: signed.name() }
}

pub(crate) fn head_of(world: &World, id: &RoomId, who: usize) -> RoomHead {
    let said_in = world.machines[who].rooms.fanout(id, &world.machines[who].me).unwrap().said_in;
    RoomHead { epoch: said_in.epoch, entry: said_in.chain }
}

pub(crate) fn telling(id: &RoomId, entries: &[SignedRoomEntry]) -> RoomNews {
    let blobs = entries.iter().map(|signed| Blob::new(signed.signed().to_vec()).unwrap());
    RoomNews { entries: Some(List::new(blobs.collect()).unwrap()), ..news(id) }
}

/// Every entry that a machine stored.
pub(crate) fn stored(world: &World, who: usize) -> Vec<SignedRoomEntry> {
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

#[test]
fn who_is_taken_out_by_one_of_two_entries_of_one_place_is_out() {
    // Whichever of the two has the lower name.
    let mut names = std::collections::BTreeSet::new();
    for seed in 0..8 {
        let mut world = World::new(&[1, 1, 1], seed);
        let id = world.room("team", &[BOB]);
        let (alice, bob, carol) = (world.account(ALICE), world.account(BOB), world.account(CAROL));
        let fork = head_of(&world, &id, ALICE);
        let added = RoomMember { account: carol, name: label("carol") };
        let one = entry(&world, &id, &fork, RoomChange { added: Some(added), ..RoomChange::default() });
        let other = entry(&world, &id, &fork, RoomChange { removed: Some(bob), ..RoomChange::default() });
        names.insert(one.name() < other.name());
        for signed in [one, other] {
            world.with(BOB, |rooms, step| rooms.handle_news(alice, &telling(&id, &[signed]), step)).unwrap();
        }
        assert_eq!(world.machines[BOB].rooms.view(&id).unwrap().standing, Standing::Removed, "{seed}");
    }
    assert_eq!(names.len(), 2, "both happened");
}

#[test]
fn two_members_may_choose_one_message_id_and_both_messages_wait() {
    let mut world = world(3);
    let id = world.room("team", &[BOB, CAROL]);
    let unknown = RoomRef { id, epoch: 9, chain: ShortHash::from_bytes([9; 16]) };
    let (bob, carol) = (world.account(BOB), world.account(CAROL));
    let msg = MsgId::from_bytes([5; 16]);
    for from in [bob, carol] {
        world.with(ALICE, |rooms, step| rooms.hold(from, msg, &unknown, NOW_MS, step));
    }
    let held = |world: &World| world.machines[ALICE].rows.keys().filter(|key| key.0 == Table::Held).count();
    assert_eq!(held(&world), 2);
    // Rows once had keys without the sender.
    let (key, row) = world.machines[ALICE]
        .rows
        .iter()
        .find(|(key, _)| key.0 == Table::Held)
        .map(|(key, row)| (key.clone(), row.clone()))
        .unwrap();
    world.machines[ALICE].rows.remove(&key);
    let old = [id.as_bytes().as_slice(), msg.as_bytes()].concat();
    world.machines[ALICE].rows.insert((Table::Held, old.clone()), row);
    world.restart(ALICE);
    world.with(ALICE, |rooms, step| rooms.handle_started(step));
    assert!(held(&world) == 2 && !world.machines[ALICE].rows.contains_key(&(Table::Held, old)));
    world.with(ALICE, |rooms, step| rooms.close(&id, step)).unwrap();
    assert!(world.machines[ALICE].refused.is_empty(), "an entry may still come");
    world.now = world.now.plus(std::time::Duration::from_secs(8 * 86_400));
    world.with(ALICE, |rooms, step| rooms.handle_timeout(step));
    assert_eq!(world.machines[ALICE].refused, [(msg, "room-epoch"), (msg, "room-epoch")]);
    assert_eq!(held(&world), 0);
}

#[test]
fn a_closed_room_takes_only_what_was_sent_before_its_end() {
    let mut world = world(2);
    let id = world.room("team", &[BOB]);
    let before = world.machines[BOB].rooms.fanout(&id, &world.machines[BOB].me).unwrap().said_in;
    world.with(ALICE, |rooms, step| rooms.close(&id, step)).unwrap();
    let (alice, bob) = (world.machines[ALICE].me, world.account(BOB));
    let judge = |sent_ms: u64| world.machines[ALICE].rooms.judge(&bob, &before, sent_ms, &alice);
    assert_eq!(judge(NOW_MS), Said::Take);
    assert_eq!(judge(NOW_MS + 600_000), Said::Take, "he may not have heard of it");
    assert_eq!(judge(NOW_MS + 600_001), Said::Refuse("not-a-member"));
}

#[test]
fn however_often_a_room_changed_its_owner_can_empty_and_close_it() {
    let mut world = world(3);
    let id = world.room("team", &[BOB]);
    let carol = world.account(CAROL);
    let wish = RoomNews { wish: Some(RoomWish::Join), ..news(&id) };
    loop {
        let invited = world.with(ALICE, |rooms, step| rooms.invite(&id, carol, &label("carol"), step));
        if invited == Err(RoomError::Worn { name: label("team") }) {
            break;
        }
        invited.unwrap();
        world.with(ALICE, |rooms, step| rooms.handle_news(carol, &wish, step)).unwrap();
        world.with(ALICE, |rooms, step| rooms.remove(&id, carol, step)).unwrap();
        world.settle();
    }
    // Another branch of the owner's does not take the place either.
    let mut last = head(&stored(&world, BOB)[0]);
    let alice = world.account(ALICE);
    for number in 0..255 {
        let change = RoomChange { removed: Some(carol), ..RoomChange::default() };
        let branch = entry(&world, &id, &last, change);
        last = head(&branch);
        let taken = world.with(BOB, |rooms, step| rooms.handle_news(alice, &telling(&id, &[branch]), step));
        assert_eq!(taken, Ok(()), "entry {number}");
    }
    let bob = world.account(BOB);
    world.with(ALICE, |rooms, step| rooms.remove(&id, bob, step)).unwrap();
    world.with(ALICE, |rooms, step| rooms.close(&id, step)).unwrap();
    let before = world.machines[BOB].rooms.list();
    world.restart(BOB);
    assert_eq!(world.machines[BOB].rooms.list(), before);
}

#[test]
fn a_contact_that_asks_and_asks_is_answered_once_in_a_while() {
    let mut world = world(3);
    let id = world.room("team", &[BOB, CAROL]);
    world.now = world.now.plus(std::time::Duration::from_secs(60));
    let bob = world.account(BOB);
    let have = RoomHead { epoch: 0, entry: ShortHash::from_bytes([0; 16]) };
    let asks = RoomNews { have: Some(have), ..news(&id) };
    for _ in 0..50 {
        world.with(ALICE, |rooms, step| rooms.handle_news(bob, &asks, step)).unwrap();
    }
    assert_eq!(world.mail.len(), 1);
    let due = world.machines[ALICE].rooms.poll_timeout().unwrap();
    world.now = world.now.plus(due.saturating_sub(world.now.mono));
    world.with(ALICE, |rooms, step| rooms.handle_timeout(step));
    assert_eq!(world.mail.len(), 2, "what it asked for meanwhile comes later");
    // Codes for the same member neither.
    world.settle();
    let carol = world.account(CAROL);
    for number in 0..5 {
        let made = Introduction {
            to: carol,
            invite: InviteId::from_bytes([number; 16]),
            code: "pp1-x".to_owned(),
            until_ms: NOW_MS + 1,
        };
        world.with(BOB, |rooms, step| rooms.introduce(&id, &[made], step));
    }
    let back = Introduction {
        to: bob,
        invite: InviteId::from_bytes([9; 16]),
        code: "pp1-y".to_owned(),
        until_ms: NOW_MS + 1,
    };
    world.with(CAROL, |rooms, step| rooms.introduce(&id, &[back], step));
    world.settle();
    assert_eq!(world.machines[CAROL].met.len(), 1);
    assert!(world.machines[BOB].met.is_empty(), "of two the first makes the code");
}

#[test]
fn invitations_neither_pile_up_nor_take_a_name() {
    let mut world = world(2);
    let alice = world.account(ALICE);
    let invitation = RoomInvitation { name: label("team"), members: List::default() };
    for number in 0..9 {
        let id = RoomId::from_bytes([number + 1; 16]);
        let invites = RoomNews { invitation: Some(invitation.clone()), ..news(&id) };
        for _ in 0..2 {
            let taken = world.with(BOB, |rooms, step| rooms.handle_news(alice, &invites, step));
            assert_eq!(taken, if number < 8 { Ok(()) } else { Err(NewsError::TooMany) });
        }
    }
    assert_eq!((world.machines[BOB].rooms.list().len(), world.machines[BOB].notices.len()), (8, 8));
    let own = world.with(BOB, |rooms, step| rooms.create(&label("team"), step)).unwrap();
    assert_eq!(world.machines[BOB].rooms.by_name(&label("team")), Some(own));
    let again = world.with(BOB, |rooms, step| rooms.create(&label("team"), step));
    assert_eq!(again, Err(RoomError::NameTaken { name: label("team") }));
}

#[test]
fn after_falling_back_to_an_old_state_everybody_is_asked() {
    let mut world = world(3);
    let id = world.room("team", &[BOB]);
    let old: Vec<_> = [ALICE, BOB].map(|who| world.machines[who].rows.clone()).into();
    world.join(&id, CAROL);
    for (who, rows) in [ALICE, BOB].into_iter().zip(old) {
        let newest = world.machines[who].rooms.view(&id).unwrap();
        world.machines[who].rows = rows;
        world.restart(who);
        assert_ne!(world.machines[who].rooms.view(&id).unwrap(), newest);
        world.now = world.now.plus(std::time::Duration::from_secs(60));
        world.with(who, |rooms, step| rooms.handle_rolled_back(step));
        world.settle();
        let now = world.machines[who].rooms.view(&id).unwrap();
        assert_eq!((now.epoch, now.members), (newest.epoch, newest.members));
    }
}

#[test]
fn an_owner_hears_of_members_whom_it_forgot() {
    let mut world = world(3);
    let id = world.room("team", &[BOB]);
    let old = world.machines[ALICE].rows.clone();
    world.join(&id, CAROL);
    let newest = world.machines[CAROL].rooms.view(&id).unwrap();
    world.machines[ALICE].rows = old;
    world.restart(ALICE);
    world.now = world.now.plus(std::time::Duration::from_secs(60));
    // Bob, whom she remembers and would ask, is away.
    let alice = world.account(ALICE);
    world.with(CAROL, |rooms, step| rooms.handle_contact_rolled_back(&alice, step));
    world.settle();
    let now = world.machines[ALICE].rooms.view(&id).unwrap();
    assert_eq!((now.epoch, now.members), (newest.epoch, newest.members));
}

#[test]
fn a_copy_from_before_the_answer_to_a_yes_asks_for_it_when_it_starts() {
    let mut world = world(2);
    let id = world.room("team", &[]);
    let bob = world.account(BOB);
    world.with(ALICE, |rooms, step| rooms.invite(&id, bob, &label("bob"), step)).unwrap();
    world.settle();
    world.with(BOB, |rooms, step| rooms.join(&id, step)).unwrap();
    let old = world.machines[BOB].rows.clone();
    world.settle();
    world.machines[BOB].rows = old;
    world.restart(BOB);
    let standing = |world: &World| world.machines[BOB].rooms.view(&id).unwrap().standing;
    assert_eq!(standing(&world), Standing::Joining);
    world.now = world.now.plus(std::time::Duration::from_secs(60));
    world.with(BOB, |rooms, step| rooms.handle_started(step));
    world.settle();
    assert_eq!(standing(&world), Standing::Member);
}

#[test]
fn who_was_taken_out_unheard_is_told_of_its_end_and_of_who_came_before_it() {
    let mut world = world(4);
    let id = world.room("team", &[BOB, CAROL]);
    let (alice, carol, dave) = (world.account(ALICE), world.account(CAROL), world.account(DAVE));
    world.with(ALICE, |rooms, step| rooms.invite(&id, dave, &label("dave"), step)).unwrap();
    world.settle();
    world.with(DAVE, |rooms, step| rooms.join(&id, step)).unwrap();
    world.deliver(0);
    world.with(ALICE, |rooms, step| rooms.remove(&id, carol, step)).unwrap();
    world.mail.retain(|letter| letter.to != CAROL);
    world.settle();
    assert!(world.members(&id, CAROL).contains(&carol));
    world.now = world.now.plus(std::time::Duration::from_secs(60));
    world.with(CAROL, |rooms, step| rooms.handle_contact_rolled_back(&alice, step));
    world.settle();
    assert_eq!(world.machines[CAROL].rooms.view(&id).unwrap().standing, Standing::Removed);
}

/// Of two entries of one place the name decides, which depends on the time: Carol's, `seconds` from now.
fn carol_comes_and_is_forgotten(world: &mut World, id: &RoomId, seconds: u64) {
    let old = world.machines[ALICE].rows.clone();
    world.now = world.now.plus(std::time::Duration::from_secs(seconds));
    world.join(id, CAROL);
    world.machines[ALICE].rows = old;
    world.restart(ALICE);
}

#[test]
fn a_member_whom_an_owner_forgot_hears_that_the_room_was_closed() {
    let mut waited = 0;
    for seconds in 1..=8 {
        let mut world = world(3);
        let id = world.room("team", &[BOB]);
        carol_comes_and_is_forgotten(&mut world, &id, seconds);
        // She does not know yet that she forgot something.
        world.now = world.now.plus(std::time::Duration::from_secs(60));
        world.with(ALICE, |rooms, step| rooms.close(&id, step)).unwrap();
        world.settle();
        waited += u32::from(world.machines[CAROL].rooms.view(&id).unwrap().standing != Standing::Closed);
        let alice = world.account(ALICE);
        for who in [BOB, CAROL] {
            world.with(who, |rooms, step| rooms.handle_contact_rolled_back(&alice, step));
        }
        world.settle();
        for who in [ALICE, BOB, CAROL] {
            let standing = world.machines[who].rooms.view(&id).unwrap().standing;
            assert_eq!(standing, Standing::Closed, "{who}, {seconds} s");
        }
    }
    assert!(waited > 0, "somebody told her before");
}

#[test]
fn a_member_whose_return_an_owner_forgot_hears_that_it_is_out() {
    let mut forgotten = 0;
    for seconds in 1..=8 {
        let mut world = world(3);
        let id = world.room("team", &[BOB, CAROL]);
        let (alice, bob, carol) = (world.account(ALICE), world.account(BOB), world.account(CAROL));
        world.with(ALICE, |rooms, step| rooms.remove(&id, carol, step)).unwrap();
        world.settle();
        carol_comes_and_is_forgotten(&mut world, &id, seconds);
        // What she tells Bob does not come to him: he would tell her what she forgot.
        world.with(ALICE, |rooms, step| rooms.remove(&id, bob, step)).unwrap();
        world.mail.clear();
        world.now = world.now.plus(std::time::Duration::from_secs(60));
        world.with(CAROL, |rooms, step| rooms.handle_contact_rolled_back(&alice, step));
        world.settle();
        // Nobody is answered twice at once.
        world.now = world.now.plus(std::time::Duration::from_secs(60));
        world.with(ALICE, |rooms, step| rooms.handle_timeout(step));
        world.settle();
        let is_in = world.members(&id, ALICE).contains(&carol);
        let says = world.machines[CAROL].rooms.view(&id).unwrap().standing;
        assert_eq!(says == Standing::Member, is_in, "{says:?}, {seconds} s");
        forgotten += u32::from(!is_in);
    }
    assert!((1..8).contains(&forgotten), "{forgotten}");
}

/// Whoever is not in the room any more does not learn who came instead.
#[test]
fn a_member_whom_an_owner_forgot_hears_of_nobody_who_came_since() {
    let mut forgotten = 0;
    for seconds in 1..=8 {
        let mut world = world(3);
        let id = world.room("team", &[]);
        carol_comes_and_is_forgotten(&mut world, &id, seconds);
        world.now = world.now.plus(std::time::Duration::from_secs(60));
        world.join(&id, BOB);
        let (alice, bob, carol) = (world.account(ALICE), world.account(BOB), world.account(CAROL));
        world.with(CAROL, |rooms, step| rooms.handle_contact_rolled_back(&alice, step));
        world.settle();
        // Either her entry counts, and Bob comes after her, or his does.
        let members = world.members(&id, ALICE);
        assert!(members.contains(&bob));
        let is_in = members.contains(&carol);
        assert_eq!(world.members(&id, CAROL).contains(&bob), is_in, "{seconds} s");
        forgotten += u32::from(!is_in);
    }
    assert!((1..8).contains(&forgotten), "{forgotten}");
}
