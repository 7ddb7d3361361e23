//! Rooms of several people: joining, leaving, what counts and what does not, and what survives.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod devices;
mod hostile;
mod over;
mod people;
mod stolen;

use std::time::Duration;

use penpal_protocol::cbor::{Blob, List};
use penpal_protocol::ids::{Fingerprint, MsgId, RoomId, ShortHash};
use penpal_protocol::sealed::{RoomChange, RoomEntry, RoomNews, RoomRef};
use penpal_room::{NewsError, Notice, RoomError, Said, Standing};
use penpal_seal::SignedRoomEntry;
use people::{NOW_MS, World, label};
use proptest::prelude::*;

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;
const DAVE: usize = 3;

fn world(count: usize) -> World {
    World::new(&vec![1; count], 7)
}

#[test]
fn members_join_and_everybody_knows() {
    let mut world = world(3);
    let id = world.room("payments", &[BOB, CAROL]);
    let everybody = vec![world.account(ALICE), world.account(BOB), world.account(CAROL)];
    for who in [ALICE, BOB, CAROL] {
        assert_eq!(world.members(&id, who), everybody);
        assert_eq!(world.machines[who].rooms.view(&id).unwrap().standing, Standing::Member);
        for to in [ALICE, BOB, CAROL] {
            assert_eq!(world.say(&id, who, to), (who != to).then_some(Said::Take));
        }
    }
    let came = Notice::Came { name: label("payments"), account: world.account(CAROL) };
    assert!(world.machines[BOB].notices.contains(&came), "{:?}", world.machines[BOB].notices);
}

#[test]
fn nobody_is_in_a_room_without_wanting_it() {
    let mut world = world(3);
    let id = world.room("payments", &[]);
    let (bob, carol) = (world.account(BOB), world.account(CAROL));
    world.with(ALICE, |rooms, step| rooms.invite(&id, bob, &label("bob"), step)).unwrap();
    world.settle();
    assert_eq!(world.machines[BOB].rooms.view(&id).unwrap().standing, Standing::Invited);
    assert_eq!(world.members(&id, ALICE), [world.account(ALICE)]);
    // One who was not invited may want what it likes.
    let wish = RoomNews { wish: Some(penpal_protocol::sealed::RoomWish::Join), ..news(&id) };
    world.with(ALICE, |rooms, step| rooms.handle_news(carol, &wish, step)).unwrap();
    assert_eq!(world.members(&id, ALICE).len(), 1);
    // An invitation that was taken back is none.
    world.with(ALICE, |rooms, step| rooms.remove(&id, bob, step)).unwrap();
    world.with(BOB, |rooms, step| rooms.join(&id, step)).unwrap();
    world.settle();
    assert_eq!(world.members(&id, ALICE).len(), 1);
    let error = world.with(ALICE, |rooms, step| rooms.remove(&id, carol, step));
    assert_eq!(error, Err(RoomError::NotMember { name: label("payments") }));
}

fn news(id: &RoomId) -> RoomNews {
    RoomNews {
        room: *id,
        invitation: None,
        wish: None,
        entries: None,
        have: None,
        introductions: None,
        shared: None,
    }
}

#[test]
fn who_left_or_was_removed_is_neither_written_to_nor_heard() {
    let mut world = world(4);
    let id = world.room("payments", &[BOB, CAROL, DAVE]);
    let old = world.machines[BOB].rooms.fanout(&id, &world.machines[BOB].me).unwrap();
    let bob = world.account(BOB);
    world.with(ALICE, |rooms, step| rooms.remove(&id, bob, step)).unwrap();
    world.with(DAVE, |rooms, step| rooms.leave(&id, step)).unwrap();
    // It holds for whoever goes at once.
    assert_eq!(world.say(&id, DAVE, CAROL), None);
    world.settle();
    assert_eq!(world.machines[BOB].rooms.view(&id).unwrap().standing, Standing::Removed);
    assert_eq!(world.machines[DAVE].rooms.view(&id).unwrap().standing, Standing::Left);
    assert_eq!(world.members(&id, CAROL), [world.account(ALICE), world.account(CAROL)]);
    assert_eq!(world.say(&id, CAROL, BOB), None);
    assert_eq!(world.machines[CAROL].withdrawn, [bob, world.account(DAVE)]);
    // What was said before counts no more, and so does what names an old entry afterwards.
    let carol = &world.machines[CAROL];
    assert_eq!(carol.rooms.judge(&bob, &old.said_in, NOW_MS, &carol.me), Said::Refuse("not-a-member"));
    // Nor does a member hear what is said from outside, and one outside nothing.
    let now = carol.rooms.fanout(&id, &carol.me).unwrap();
    assert_eq!(carol.rooms.judge(&bob, &now.said_in, NOW_MS, &carol.me), Said::Refuse("not-a-member"));
    let bobs = &world.machines[BOB];
    assert_eq!(
        bobs.rooms.judge(&carol.me.account, &now.said_in, NOW_MS, &bobs.me),
        Said::Refuse("not-a-member")
    );
}

#[test]
fn what_was_said_before_somebody_came_is_not_for_them() {
    let mut world = world(3);
    let id = world.room("payments", &[BOB]);
    let before = world.machines[BOB].rooms.fanout(&id, &world.machines[BOB].me).unwrap();
    world.join(&id, CAROL);
    let (bob, carol) = (world.account(BOB), world.account(CAROL));
    assert!(!before.to.contains(&carol));
    let said = world.machines[CAROL].rooms.judge(&bob, &before.said_in, NOW_MS, &world.machines[CAROL].me);
    assert_eq!(said, Said::Refuse("not-a-member"));
}

#[test]
fn a_message_that_overtakes_its_entry_waits_for_it_even_through_a_restart() {
    let mut world = world(3);
    let id = world.room("payments", &[BOB]);
    let carol = world.account(CAROL);
    world.with(ALICE, |rooms, step| rooms.invite(&id, carol, &label("carol"), step)).unwrap();
    world.settle();
    world.with(CAROL, |rooms, step| rooms.join(&id, step)).unwrap();
    world.deliver(0);
    // Alice appended; what she tells Bob is late, Carol has it.
    let late = world.mail.iter().position(|letter| letter.to == BOB).unwrap();
    let late = world.mail.remove(late).unwrap();
    world.settle();
    let fanout = world.machines[CAROL].rooms.fanout(&id, &world.machines[CAROL].me).unwrap();
    let bobs = &world.machines[BOB];
    assert_eq!(bobs.rooms.judge(&carol, &fanout.said_in, NOW_MS, &bobs.me), Said::Hold);
    let msg = MsgId::from_bytes([5; 16]);
    world.with(BOB, |rooms, step| rooms.hold(carol, msg, &fanout.said_in, NOW_MS, step));
    world.restart(BOB);
    // He asked the owner, who tells him; what was late comes as well.
    world.mail.push_back(late);
    world.settle();
    assert_eq!(world.machines[BOB].released, [msg]);
    assert_eq!(world.members(&id, BOB).len(), 3);
}

#[test]
fn a_message_that_names_what_never_comes_is_refused_in_the_end() {
    let mut world = world(2);
    let id = world.room("payments", &[BOB]);
    let (alice, bob) = (world.account(ALICE), world.machines[BOB].me);
    let made_up = RoomRef { id, epoch: 99, chain: ShortHash::from_bytes([9; 16]) };
    for number in 0..40 {
        let said = world.machines[BOB].rooms.judge(&alice, &made_up, NOW_MS, &bob);
        if number >= penpal_room::MAX_HELD {
            assert_eq!(said, Said::Refuse("room-epoch"));
            continue;
        }
        assert_eq!(said, Said::Hold);
        let msg = MsgId::from_bytes([u8::try_from(number).unwrap(); 16]);
        world.with(BOB, |rooms, step| rooms.hold(alice, msg, &made_up, NOW_MS, step));
    }
    world.settle();
    assert!(world.machines[BOB].refused.is_empty());
    let due = world.machines[BOB].rooms.poll_timeout().unwrap();
    world.now = world.now.plus(due.saturating_sub(world.now.mono));
    for _ in 0..40 {
        // Looking for members comes due as well.
        let Some(due) = world.machines[BOB].rooms.poll_timeout() else { break };
        world.now = world.now.plus(due.saturating_sub(world.now.mono));
        world.with(BOB, |rooms, step| rooms.handle_timeout(step));
    }
    assert_eq!(world.machines[BOB].refused.len(), penpal_room::MAX_HELD);
    assert!(world.machines[BOB].refused.iter().all(|(_, reason)| *reason == "room-epoch"));
}

#[test]
fn entries_count_only_from_the_owner() {
    let mut world = world(4);
    let id = world.room("payments", &[BOB, CAROL]);
    let head = world.machines[BOB].rooms.fanout(&id, &world.machines[BOB].me).unwrap().said_in;
    let forged = |owner: usize, signer: usize, world: &World| {
        let entry = RoomEntry {
            room: id,
            epoch: head.epoch + 1,
            prev: head.chain,
            issued_ms: NOW_MS,
            owner: world.account(owner),
            device: world.machines[signer].me.device,
            change: RoomChange { removed: Some(world.account(CAROL)), ..RoomChange::default() },
        };
        let signed = SignedRoomEntry::sign(&world.machines[signer].signing, entry);
        let list = List::new(vec![Blob::new(signed.signed().to_vec()).unwrap()]).unwrap();
        RoomNews { entries: Some(list), ..news(&id) }
    };
    for (owner, signer, from) in [(BOB, BOB, BOB), (ALICE, BOB, BOB), (ALICE, BOB, ALICE), (BOB, BOB, ALICE)]
    {
        let wrong = forged(owner, signer, &world);
        let from_account = world.account(from);
        let taken = world.with(CAROL, |rooms, step| rooms.handle_news(from_account, &wrong, step));
        assert!(
            matches!(taken, Err(NewsError::NotOwner | NewsError::Entry(_))),
            "{owner} {signer} {from}: {taken:?}"
        );
    }
    assert_eq!(world.members(&id, CAROL).len(), 3);
    // The owner's own is taken: the forgeries above failed for their signatures and nothing else.
    let right = forged(ALICE, ALICE, &world);
    let alice = world.account(ALICE);
    world.with(BOB, |rooms, step| rooms.handle_news(alice, &right, step)).unwrap();
    assert_eq!(world.members(&id, BOB).len(), 2);
    // A stranger cannot take the name of a room for a room of its own.
    let dave = world.account(DAVE);
    let invitation =
        penpal_protocol::sealed::RoomInvitation { name: label("payments"), members: List::default() };
    let invites = RoomNews { invitation: Some(invitation), ..news(&id) };
    let taken = world.with(BOB, |rooms, step| rooms.handle_news(dave, &invites, step));
    assert_eq!(taken, Err(NewsError::NotOwner));
}

/// Dave comes into Alice's room; what is told to Bob of it is lost.
fn dave_comes_unheard_by_bob(world: &mut World, id: &RoomId) -> Fingerprint {
    let dave = world.account(DAVE);
    world.with(ALICE, |rooms, step| rooms.invite(id, dave, &label("dave"), step)).unwrap();
    world.settle();
    world.with(DAVE, |rooms, step| rooms.join(id, step)).unwrap();
    world.deliver(0);
    world.mail.retain(|letter| letter.to != BOB);
    world.settle();
    dave
}

#[test]
fn an_owner_that_fell_back_to_an_old_state_is_told() {
    let mut world = world(4);
    let id = world.room("payments", &[BOB]);
    let old = world.machines[ALICE].rows.clone();
    world.join(&id, CAROL);
    let bob = world.account(BOB);
    world.with(ALICE, |rooms, step| rooms.remove(&id, bob, step)).unwrap();
    world.settle();
    world.machines[ALICE].rows = old;
    world.restart(ALICE);
    assert_eq!(world.members(&id, ALICE).len(), 2);
    // She changes something: Carol knows better, and what Alice did is done again on top.
    // Bob, whom Alice takes for a member again, would tell her; he hears nothing.
    let dave = dave_comes_unheard_by_bob(&mut world, &id);
    // Carol was not told by an owner who does not know her; she says something, and Alice asks her.
    let said = world.machines[CAROL].rooms.fanout(&id, &world.machines[CAROL].me).unwrap().said_in;
    let (alice, carol) = (world.account(ALICE), world.account(CAROL));
    let alices = &world.machines[ALICE];
    assert_eq!(alices.rooms.judge(&carol, &said, NOW_MS, &alices.me), Said::Hold);
    let msg = MsgId::from_bytes([1; 16]);
    world.with(ALICE, |rooms, step| rooms.hold(carol, msg, &said, NOW_MS, step));
    world.settle();
    for who in [ALICE, CAROL, DAVE] {
        assert_eq!(world.members(&id, who), [alice, carol, dave], "{who}");
    }
    assert_eq!(world.machines[ALICE].released, [msg]);
}

#[test]
fn a_closed_room_is_over_for_everybody() {
    let mut world = world(2);
    let id = world.room("payments", &[BOB]);
    assert!(matches!(world.with(ALICE, |rooms, step| rooms.leave(&id, step)), Err(RoomError::Owner { .. })));
    assert!(matches!(world.with(BOB, |rooms, step| rooms.close(&id, step)), Err(RoomError::NotOwner { .. })));
    world.with(ALICE, |rooms, step| rooms.close(&id, step)).unwrap();
    world.settle();
    assert_eq!(world.machines[BOB].rooms.view(&id).unwrap().standing, Standing::Closed);
    assert_eq!(world.say(&id, BOB, ALICE), None);
    assert_eq!(world.say(&id, ALICE, BOB), None);
}

#[test]
fn everything_survives_a_restart() {
    let mut world = world(3);
    let id = world.room("payments", &[BOB]);
    let carol = world.account(CAROL);
    world.with(ALICE, |rooms, step| rooms.invite(&id, carol, &label("carol"), step)).unwrap();
    world.settle();
    for who in [ALICE, BOB, CAROL] {
        let before = world.machines[who].rooms.list();
        world.restart(who);
        assert_eq!(world.machines[who].rooms.list(), before);
    }
    // And goes on from there.
    world.with(CAROL, |rooms, step| rooms.join(&id, step)).unwrap();
    world.settle();
    assert_eq!(world.members(&id, BOB).len(), 3);
}

#[test]
fn two_rooms_of_one_name_have_two_names_here() {
    let mut world = world(2);
    world.with(BOB, |rooms, step| rooms.create(&label("payments"), step)).unwrap();
    let id = world.room("payments", &[BOB]);
    assert_eq!(world.machines[BOB].rooms.name(&id), Some(&label("payments-2")));
    let again = world.with(BOB, |rooms, step| rooms.create(&label("payments"), step));
    assert_eq!(again, Err(RoomError::NameTaken { name: label("payments") }));
}

#[test]
fn of_two_members_the_one_that_was_there_first_introduces_itself_through_the_owner() {
    let mut world = world(3);
    let id = world.room("payments", &[BOB, CAROL]);
    let carol = world.account(CAROL);
    assert_eq!(world.machines[BOB].asked_to_introduce, [carol]);
    assert!(world.machines[CAROL].asked_to_introduce.is_empty());
    let invite = penpal_protocol::ids::InviteId::from_bytes([4; 16]);
    let made =
        penpal_room::Introduction { to: carol, invite, code: "pp1-x".to_owned(), until_ms: NOW_MS + 1000 };
    world.with(BOB, |rooms, step| rooms.introduce(&id, &[made], step));
    world.settle();
    let bob = world.account(BOB);
    assert_eq!(world.machines[CAROL].met, [(bob, "pp1-x".to_owned())]);
    assert_eq!(world.machines[BOB].rooms.meant_for(&invite), Some((id, carol)));
    world.with(ALICE, |rooms, step| rooms.remove(&id, carol, step)).unwrap();
    world.settle();
    assert_eq!(world.machines[BOB].rooms.meant_for(&invite), None);
}

#[test]
fn a_member_that_was_away_for_long_asks_for_what_it_lacks() {
    let mut world = world(4);
    let id = world.room("payments", &[BOB]);
    world.join(&id, CAROL);
    // What was told to Bob meanwhile is lost.
    dave_comes_unheard_by_bob(&mut world, &id);
    world.with(DAVE, |rooms, step| rooms.leave(&id, step)).unwrap();
    world.now = world.now.plus(Duration::from_secs(60));
    // The next entry does not fit, and the rest is asked for.
    world.settle();
    assert_eq!(world.members(&id, BOB), world.members(&id, ALICE));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Two copies of the device that keeps a room change it at once; whatever comes in whatever order, all agree in the end, and nothing is lost.
    #[test]
    fn concurrent_changes_converge(seed in any::<u64>(), choices in prop::collection::vec((0_usize..2, 0_usize..8, any::<u32>()), 1..24)) {
        // The owner with two machines, and eight people with one each.
        let mut world = World::new(&[2, 1, 1, 1, 1, 1, 1, 1, 1], seed);
        let id = world.room("payments", &[2, 3]);
        world.copy(0, 1);
        let mut removed = std::collections::BTreeSet::new();
        for (device, person, order) in choices {
            let who = 2 + person;
            let account = world.account(who);
            let is_in = world.members(&id, device).contains(&account);
            if is_in {
                prop_assert!(world.with(device, |rooms, step| rooms.remove(&id, account, step)).is_ok());
                removed.insert(account);
            } else if !removed.contains(&account) && world.with(device, |rooms, step| rooms.invite(&id, account, &label("x"), step)).is_ok() {
                let wish = RoomNews { wish: Some(penpal_protocol::sealed::RoomWish::Join), ..news(&id) };
                prop_assert!(world.with(device, |rooms, step| rooms.handle_news(account, &wish, step)).is_ok());
            }
            // Some of what is on its way comes, in any order.
            for number in 0..order % 5 {
                if !world.mail.is_empty() {
                    let at = usize::try_from(order.rotate_left(number * 7)).unwrap() % world.mail.len();
                    world.deliver(at);
                }
            }
        }
        let mut rounds = 0;
        loop {
            if world.mail.is_empty() {
                // Time goes on until nobody has anything to ask.
                world.now = world.now.plus(Duration::from_secs(31));
                for who in 0..world.machines.len() {
                    world.with(who, |rooms, step| rooms.handle_timeout(step));
                }
            }
            if world.mail.is_empty() {
                break;
            }
            let at = usize::try_from(seed % 1009).unwrap() % world.mail.len();
            world.deliver(at);
            world.now = world.now.plus(Duration::from_secs(31));
            rounds += 1;
            prop_assert!(rounds < 20_000, "they never come to rest");
        }
        let head = world.machines[0].rooms.view(&id).unwrap().epoch;
        prop_assert_eq!(head, world.machines[1].rooms.view(&id).unwrap().epoch);
        let members = world.members(&id, 0);
        for account in &removed {
            prop_assert!(!members.contains(account), "somebody who was removed is back");
        }
        for who in 0..world.machines.len() {
            let account = world.account(who);
            let view = world.machines[who].rooms.view(&id).filter(|view| view.epoch.is_some());
            if let Some(view) = view.filter(|_| members.contains(&account)) {
                let known: Vec<_> = view.members.iter().map(|(account, _)| *account).collect();
                prop_assert_eq!(&known, &members, "machine {} knows something else", who);
            }
            // And all of it is on disk.
            let before = world.machines[who].rooms.list();
            world.restart(who);
            prop_assert_eq!(world.machines[who].rooms.list(), before);
        }
    }
}
