//! Accounts with several devices: what a person decides on one holds on all, and one device alone changes a room.

use std::collections::VecDeque;

use penpal_protocol::ids::{MsgId, ShortHash};
use penpal_protocol::sealed::RoomRef;
use penpal_room::{Notice, RoomError, Said, Standing};
use proptest::prelude::*;

use super::people::{Letter, NOW_MS, World, label};

/// Alice has the machines 0 and 1, Bob 2 and 3, Carol 4.
fn world() -> World {
    World::new(&[2, 2, 1], 9)
}

fn standing(world: &World, id: &penpal_protocol::ids::RoomId, who: usize) -> Option<Standing> {
    world.machines[who].rooms.view(id).map(|view| view.standing)
}

/// Takes out of the mail what is to come later.
fn held(world: &mut World, which: impl Fn(&Letter) -> bool) -> VecDeque<Letter> {
    let (late, mail) = std::mem::take(&mut world.mail).into_iter().partition(which);
    world.mail = mail;
    late
}

/// Delivers only such letters, until there are none.
fn settle_where(world: &mut World, which: impl Fn(&Letter) -> bool) {
    while let Some(at) = world.mail.iter().position(&which) {
        world.deliver(at);
    }
}

#[test]
fn what_a_person_decides_on_one_device_holds_on_all() {
    let mut world = world();
    let id = world.room("payments", &[2]);
    for who in 0..4 {
        assert_eq!(standing(&world, &id, who), Some(Standing::Member), "{who}");
        assert_eq!(world.members(&id, who).len(), 2);
    }
    // Each of them speaks and hears.
    assert_eq!(world.say(&id, 3, 1), Some(Said::Take));
    assert_eq!(world.say(&id, 1, 3), Some(Said::Take));
    // One leaves for both, and nobody is told that it was taken out.
    world.with(3, |rooms, step| rooms.leave(&id, step)).unwrap();
    world.settle();
    for who in [2, 3] {
        assert_eq!(standing(&world, &id, who), Some(Standing::Left), "{who}");
        let removed = Notice::Removed { name: label("payments") };
        assert!(!world.machines[who].notices.contains(&removed));
        let elsewhere = Notice::LeftElsewhere { name: label("payments") };
        assert_eq!(world.machines[who].notices.contains(&elsewhere), who == 2, "the one where nobody did it");
    }
    assert_eq!(world.members(&id, 1).len(), 1);
    // A new invitation is one as at first, for both.
    let bob = world.account(2);
    world.with(0, |rooms, step| rooms.invite(&id, bob, &label("bob"), step)).unwrap();
    world.settle();
    assert_eq!(
        (standing(&world, &id, 2), standing(&world, &id, 3)),
        (Some(Standing::Invited), Some(Standing::Invited))
    );
    world.with(2, |rooms, step| rooms.join(&id, step)).unwrap();
    world.settle();
    assert_eq!(
        (standing(&world, &id, 2), standing(&world, &id, 3)),
        (Some(Standing::Member), Some(Standing::Member))
    );
    world.with(0, |rooms, step| rooms.remove(&id, bob, step)).unwrap();
    world.settle();
    assert_eq!(
        (standing(&world, &id, 2), standing(&world, &id, 3)),
        (Some(Standing::Removed), Some(Standing::Removed))
    );
}

#[test]
fn one_device_of_the_owner_changes_a_room_and_the_one_that_signs_takes_it_over() {
    let mut world = world();
    let carol = world.account(4);
    // Made on the device that does not sign for the account.
    let id = world.with(1, |rooms, step| rooms.create(&label("team"), step)).unwrap();
    world.settle();
    assert_eq!(standing(&world, &id, 0), Some(Standing::Member));
    let refused = world.with(0, |rooms, step| rooms.invite(&id, carol, &label("carol"), step));
    let elsewhere = RoomError::KeptElsewhere { name: label("team"), device: label("machine-2") };
    assert_eq!(refused, Err(elsewhere.clone()));
    assert_eq!(world.with(0, |rooms, step| rooms.close(&id, step)), Err(elsewhere.clone()));
    assert_eq!(world.with(0, |rooms, step| rooms.remove(&id, carol, step)), Err(elsewhere));
    world.with(1, |rooms, step| rooms.invite(&id, carol, &label("carol"), step)).unwrap();
    world.settle();
    world.with(4, |rooms, step| rooms.join(&id, step)).unwrap();
    // Both of the owner's devices hear it, and one entry comes of it.
    world.settle();
    for who in [0, 1, 4] {
        assert_eq!(world.machines[who].rooms.view(&id).unwrap().epoch, Some(1), "{who}");
    }
    // It closes another one, and the other devices say so.
    let other = world.with(1, |rooms, step| rooms.create(&label("other"), step)).unwrap();
    world.with(1, |rooms, step| rooms.close(&other, step)).unwrap();
    world.settle();
    for who in [0, 1] {
        let elsewhere = Notice::ClosedElsewhere { name: label("other") };
        assert_eq!(world.machines[who].notices.contains(&elsewhere), who == 0);
    }
    // That device is revoked: what is left signs.
    world.revoke(1);
    let bob = world.account(2);
    world.with(0, |rooms, step| rooms.invite(&id, bob, &label("bob"), step)).unwrap();
    world.settle();
    world.with(2, |rooms, step| rooms.join(&id, step)).unwrap();
    world.settle();
    for who in [0, 2, 3, 4] {
        assert_eq!(world.machines[who].rooms.view(&id).unwrap().epoch, Some(2), "{who}");
        assert_eq!(world.members(&id, who).len(), 3);
    }
}

#[test]
fn who_left_while_a_room_changed_hands_is_out_all_the_same() {
    let mut world = world();
    let id = world.with(1, |rooms, step| rooms.create(&label("team"), step)).unwrap();
    let carol = world.account(4);
    world.with(1, |rooms, step| rooms.invite(&id, carol, &label("carol"), step)).unwrap();
    world.settle();
    world.with(4, |rooms, step| rooms.join(&id, step)).unwrap();
    world.settle();
    // The device that keeps the room never hears that she goes, and is revoked.
    world.with(4, |rooms, step| rooms.leave(&id, step)).unwrap();
    world.mail.retain(|letter| letter.to != 1);
    world.settle();
    world.revoke(1);
    assert_eq!(world.members(&id, 0).len(), 2);
    let bob = world.account(2);
    world.with(0, |rooms, step| rooms.invite(&id, bob, &label("bob"), step)).unwrap();
    world.settle();
    world.with(2, |rooms, step| rooms.join(&id, step)).unwrap();
    world.settle();
    assert_eq!(world.members(&id, 0), [world.account(0), bob]);
    assert_eq!(standing(&world, &id, 4), Some(Standing::Left));
}

#[test]
fn who_asked_a_device_that_is_gone_is_let_in_by_the_next_invitation() {
    let mut world = world();
    let id = world.with(1, |rooms, step| rooms.create(&label("team"), step)).unwrap();
    let carol = world.account(4);
    world.with(1, |rooms, step| rooms.invite(&id, carol, &label("carol"), step)).unwrap();
    world.settle();
    world.with(4, |rooms, step| rooms.join(&id, step)).unwrap();
    world.mail.retain(|letter| letter.to != 1);
    world.settle();
    world.revoke(1);
    assert_eq!(standing(&world, &id, 4), Some(Standing::Joining));
    world.with(0, |rooms, step| rooms.invite(&id, carol, &label("carol"), step)).unwrap();
    world.settle();
    assert_eq!(standing(&world, &id, 4), Some(Standing::Member));
    assert_eq!(world.members(&id, 0).len(), 2);
}

#[test]
fn a_device_that_is_new_is_told_of_every_room() {
    let mut world = world();
    let joined = world.room("payments", &[2]);
    let (alice, bob) = (world.account(0), world.account(2));
    let invited = world.with(0, |rooms, step| rooms.create(&label("plans"), step)).unwrap();
    world.with(0, |rooms, step| rooms.invite(&invited, bob, &label("bob"), step)).unwrap();
    let own = world.with(2, |rooms, step| rooms.create(&label("mine"), step)).unwrap();
    world.settle();
    world.machines[3].rows.clear();
    world.machines[3].notices.clear();
    world.restart(3);
    assert!(world.machines[3].rooms.list().is_empty());
    world.with(2, |rooms, step| rooms.tell_devices(step));
    world.settle();
    let expected = [(joined, Standing::Member), (invited, Standing::Invited), (own, Standing::Member)];
    for (id, expected) in expected {
        assert_eq!(standing(&world, &id, 3), Some(expected));
        assert_eq!(world.members(&id, 3), world.members(&id, 2));
    }
    let notice = Notice::Invited { room: invited, name: label("plans"), by: alice };
    assert!(world.machines[3].notices.contains(&notice), "{:?}", world.machines[3].notices);
    // It answers the invitation, and that counts.
    world.with(3, |rooms, step| rooms.join(&invited, step)).unwrap();
    world.settle();
    assert_eq!(
        (standing(&world, &invited, 2), standing(&world, &invited, 3)),
        (Some(Standing::Member), Some(Standing::Member))
    );
    // What it is told again changes nothing.
    let before = world.machines[3].rooms.list();
    world.with(2, |rooms, step| rooms.handle_contact_rolled_back(&bob, step));
    world.settle();
    assert_eq!(world.machines[3].rooms.list(), before);
    world.restart(3);
    assert_eq!(world.machines[3].rooms.list(), before);
}

#[test]
fn who_leaves_while_the_other_device_only_learns_that_they_are_in_is_out_and_asked_again() {
    for (one, other) in [(2, 3), (3, 2)] {
        let mut world = world();
        let id = world.room("payments", &[2]);
        world.machines[other].rows.clear();
        world.restart(other);
        world.with(one, |rooms, step| rooms.tell_devices(step));
        let late = held(&mut world, |letter| letter.news.entries.is_some());
        world.settle();
        assert_eq!(standing(&world, &id, other), Some(Standing::Joining));
        world.mail.extend(late);
        settle_where(&mut world, |letter| letter.to == other);
        assert_eq!(standing(&world, &id, other), Some(Standing::Member));
        world.with(one, |rooms, step| rooms.leave(&id, step)).unwrap();
        // What the owner makes of it is there first.
        settle_where(&mut world, |letter| (letter.from, letter.to) != (one, other));
        world.settle();
        let bob = world.account(2);
        world.with(0, |rooms, step| rooms.invite(&id, bob, &label("bob"), step)).unwrap();
        world.settle();
        for who in [2, 3] {
            assert_eq!(standing(&world, &id, who), Some(Standing::Invited), "{who} of {one}, {other}");
        }
        assert_eq!(world.members(&id, 0).len(), 1, "nobody said yes");
    }
}

#[test]
fn a_yes_that_the_owner_takes_for_a_later_invitation_is_one_on_all_devices() {
    let mut world = world();
    let bob = world.account(2);
    let id = world.with(0, |rooms, step| rooms.create(&label("team"), step)).unwrap();
    world.with(0, |rooms, step| rooms.invite(&id, bob, &label("bob"), step)).unwrap();
    world.settle();
    world.with(2, |rooms, step| rooms.join(&id, step)).unwrap();
    let late = held(&mut world, |letter| letter.from == 2);
    world.with(0, |rooms, step| rooms.remove(&id, bob, step)).unwrap();
    world.with(0, |rooms, step| rooms.invite(&id, bob, &label("bob"), step)).unwrap();
    world.settle();
    for who in [2, 3] {
        assert_eq!(standing(&world, &id, who), Some(Standing::Invited), "{who}");
    }
    world.mail.extend(late);
    world.settle();
    for who in [2, 3] {
        assert_eq!(standing(&world, &id, who), Some(Standing::Member), "{who}");
    }
}

#[test]
fn a_device_of_which_the_owner_did_not_know_yet_hears_from_the_others_that_they_are_in() {
    let mut world = world();
    let (alice, bob) = (world.account(0), world.account(2));
    let id = world.with(0, |rooms, step| rooms.create(&label("team"), step)).unwrap();
    world.with(0, |rooms, step| rooms.invite(&id, bob, &label("bob"), step)).unwrap();
    world.settle();
    world.machines[3].rows.clear();
    world.restart(3);
    world.with(2, |rooms, step| rooms.join(&id, step)).unwrap();
    let yes = held(&mut world, |letter| [0, 1].contains(&letter.to));
    world.with(2, |rooms, step| rooms.tell_devices(step));
    world.settle();
    world.with(3, |rooms, step| rooms.handle_contact_known(&alice, step));
    world.settle();
    assert_eq!(standing(&world, &id, 3), Some(Standing::Joining));
    world.now = world.now.plus(std::time::Duration::from_secs(60));
    world.mail.extend(yes);
    settle_where(&mut world, |letter| [0, 1].contains(&letter.to));
    world.mail.retain(|letter| letter.to != 3);
    world.settle();
    for who in [2, 3] {
        assert_eq!(standing(&world, &id, who), Some(Standing::Member), "{who}");
    }
}

#[test]
fn a_yes_that_a_device_hears_of_when_it_is_over_answers_no_invitation() {
    let mut world = world();
    let (alice, bob) = (world.account(0), world.account(2));
    let id = world.with(0, |rooms, step| rooms.create(&label("team"), step)).unwrap();
    world.with(0, |rooms, step| rooms.invite(&id, bob, &label("bob"), step)).unwrap();
    world.settle();
    world.with(2, |rooms, step| rooms.join(&id, step)).unwrap();
    let late = held(&mut world, |letter| letter.to == 3);
    world.settle();
    world.with(0, |rooms, step| rooms.remove(&id, bob, step)).unwrap();
    world.settle();
    assert_eq!(standing(&world, &id, 2), Some(Standing::Removed));
    world.mail.extend(late);
    world.settle();
    world.with(0, |rooms, step| rooms.invite(&id, bob, &label("bob"), step)).unwrap();
    world.settle();
    assert_eq!(standing(&world, &id, 2), Some(Standing::Invited));
    assert_eq!(world.members(&id, 0), [alice], "nobody said yes since");
}

#[test]
fn a_device_asks_for_a_room_of_which_only_the_name_came() {
    let mut world = world();
    let id = world.room("payments", &[2]);
    world.machines[3].rows.clear();
    world.restart(3);
    world.with(2, |rooms, step| rooms.tell_devices(step));
    world.mail.retain(|letter| letter.news.entries.is_none());
    world.settle();
    assert_eq!(standing(&world, &id, 3), Some(Standing::Joining));
    let alice = world.account(0);
    world.with(3, |rooms, step| rooms.handle_contact_known(&alice, step));
    world.settle();
    assert_eq!(standing(&world, &id, 3), Some(Standing::Member));
    // Of what is there nothing is asked.
    world.with(3, |rooms, step| rooms.handle_contact_known(&alice, step));
    assert!(world.mail.is_empty());
}

#[test]
fn a_message_waits_for_the_word_that_another_device_joined() {
    let mut world = world();
    let id = world.room("payments", &[4]);
    let bob = world.account(2);
    world.with(0, |rooms, step| rooms.invite(&id, bob, &label("bob"), step)).unwrap();
    world.settle();
    world.with(2, |rooms, step| rooms.join(&id, step)).unwrap();
    // All but what the two devices tell each other.
    while let Some(at) = world.mail.iter().position(|letter| (letter.from, letter.to) != (2, 3)) {
        world.deliver(at);
    }
    assert_eq!(standing(&world, &id, 3), Some(Standing::Invited));
    assert_eq!(world.say(&id, 4, 3), Some(Said::Hold));
    let said_in = world.machines[4].rooms.fanout(&id, &world.machines[4].me).unwrap().said_in;
    let (carol, msg) = (world.account(4), MsgId::from_bytes([7; 16]));
    world.with(3, |rooms, step| rooms.hold(carol, msg, &said_in, NOW_MS, step));
    world.settle();
    assert_eq!(world.machines[3].released, [msg]);
    // Who has one device hears nothing that it did not want to hear.
    let dave = World::new(&[1, 1], 3);
    let unknown = RoomRef { id, epoch: 0, chain: ShortHash::from_bytes([1; 16]) };
    let said = dave.machines[1].rooms.judge(&dave.account(0), &unknown, NOW_MS, &dave.machines[1].me);
    assert_eq!(said, Said::Refuse("no-such-room"));
}

#[test]
fn a_message_from_before_a_removal_does_not_wait_for_the_answer_to_the_next_invitation() {
    let mut world = world();
    let id = world.room("payments", &[2]);
    let (alice, bob) = (world.account(0), world.account(2));
    let said_in = world.machines[0].rooms.fanout(&id, &world.machines[0].me).unwrap().said_in;
    let judged = |world: &World, who: usize| {
        let machine = &world.machines[who];
        machine.rooms.judge(&alice, &said_in, NOW_MS, &machine.me)
    };
    world.with(0, |rooms, step| rooms.remove(&id, bob, step)).unwrap();
    world.with(0, |rooms, step| rooms.invite(&id, bob, &label("bob"), step)).unwrap();
    world.settle();
    for who in [2, 3] {
        assert_eq!(standing(&world, &id, who), Some(Standing::Invited));
        assert_eq!(judged(&world, who), Said::Refuse("not-a-member"), "{who}");
    }
    // Once the owner lets them in again, it is read where it comes then.
    world.with(2, |rooms, step| rooms.join(&id, step)).unwrap();
    settle_where(&mut world, |letter| (letter.from, letter.to) != (2, 3));
    assert_eq!((standing(&world, &id, 3), judged(&world, 3)), (Some(Standing::Invited), Said::Hold));
    world.settle();
    assert_eq!((judged(&world, 2), judged(&world, 3)), (Said::Take, Said::Take));
}

#[test]
fn of_several_devices_one_makes_codes_and_one_uses_them() {
    let mut world = World::new(&[2, 2, 2], 9);
    let id = world.room("payments", &[2, 4]);
    let carol = world.account(4);
    assert_eq!(world.machines[2].asked_to_introduce, [carol]);
    assert!(world.machines[3].asked_to_introduce.is_empty());
    let invite = penpal_protocol::ids::InviteId::from_bytes([4; 16]);
    let made =
        penpal_room::Introduction { to: carol, invite, code: "pp1-x".to_owned(), until_ms: NOW_MS + 1000 };
    world.with(2, |rooms, step| rooms.introduce(&id, &[made], step));
    world.settle();
    assert_eq!(world.machines[4].met.len(), 1);
    assert!(world.machines[5].met.is_empty());
}

#[test]
fn a_stolen_device_does_not_use_the_numbers_of_decisions_up() {
    let mut world = world();
    let id = world.room("payments", &[2]);
    world.with(3, |rooms, step| rooms.leave(&id, step)).unwrap();
    for letter in &mut world.mail {
        if let Some(shared) = &mut letter.news.shared {
            shared.stamp.counter = u64::MAX;
        }
    }
    world.mail.retain(|letter| letter.to == 2);
    world.settle();
    assert_eq!(standing(&world, &id, 2), Some(Standing::Member));
}

#[test]
fn a_yes_is_later_than_the_no_to_an_invitation_that_is_forgotten_here() {
    for (from, to) in [(1, 2), (2, 1)] {
        let mut world = World::new(&[1, 2], 7);
        let id = world.with(0, |rooms, step| rooms.create(&label("team"), step)).unwrap();
        let bob = world.account(1);
        world.with(0, |rooms, step| rooms.invite(&id, bob, &label("bob"), step)).unwrap();
        world.settle();
        // It is taken back, and the person declines on one device before that one hears of it.
        world.with(0, |rooms, step| rooms.remove(&id, bob, step)).unwrap();
        world.with(from, |rooms, step| rooms.leave(&id, step)).unwrap();
        world.settle();
        world.with(0, |rooms, step| rooms.invite(&id, bob, &label("bob"), step)).unwrap();
        world.settle();
        world.with(to, |rooms, step| rooms.join(&id, step)).unwrap();
        world.settle();
        for who in [1, 2] {
            assert_eq!(standing(&world, &id, who), Some(Standing::Member), "{who} of {from}");
        }
    }
}

#[test]
fn a_device_that_hears_late_of_a_removal_asks_whether_the_next_invitation_was_answered() {
    let mut world = World::new(&[1, 2], 8);
    let id = world.room("team", &[1]);
    let bob = world.account(1);
    // What the owner tells the second device is late; what the first one says is not.
    world.with(0, |rooms, step| rooms.remove(&id, bob, step)).unwrap();
    world.with(0, |rooms, step| rooms.invite(&id, bob, &label("bob"), step)).unwrap();
    let in_time = |letter: &Letter| (letter.from, letter.to) != (0, 2);
    settle_where(&mut world, in_time);
    world.with(1, |rooms, step| rooms.join(&id, step)).unwrap();
    settle_where(&mut world, in_time);
    assert_eq!(standing(&world, &id, 1), Some(Standing::Member));
    assert_eq!(standing(&world, &id, 2), Some(Standing::Member), "it has not heard that it was out");
    world.settle();
    assert_eq!(standing(&world, &id, 2), Some(Standing::Member));
}

#[test]
fn a_device_that_the_owner_does_not_know_yet_hears_from_the_others_that_they_are_out() {
    for closed in [false, true] {
        let mut world = World::new(&[1, 2], 9);
        let id = world.room("team", &[1]);
        let bob = world.account(1);
        world
            .with(0, |rooms, step| if closed { rooms.close(&id, step) } else { rooms.remove(&id, bob, step) })
            .unwrap();
        settle_where(&mut world, |letter| (letter.from, letter.to) != (0, 2));
        let ended = Some(if closed { Standing::Closed } else { Standing::Removed });
        assert_eq!([standing(&world, &id, 1), standing(&world, &id, 2)], [ended, ended]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A person joins and leaves on two devices at once, and what they say comes whenever it comes: in the end both say the same. The owner
    /// invites and removes in between.
    #[test]
    fn devices_agree(seed in any::<u64>(), choices in prop::collection::vec((0_u8..4, 2_usize..4, any::<u32>()), 1..24)) {
        let mut world = World::new(&[1, 2], seed);
        // The machines 1 and 2 are of one person here.
        let id = world.with(0, |rooms, step| rooms.create(&label("team"), step)).unwrap();
        let bob = world.account(1);
        for (what, device, order) in choices {
            let device = device - 1;
            if what == 0 || what == 3 {
                world.settle();
            }
            // What cannot be done now is not done.
            let done = match what {
                0 => world.with(0, |rooms, step| rooms.invite(&id, bob, &label("bob"), step)).is_ok(),
                1 => world.with(device, |rooms, step| rooms.join(&id, step)).is_ok(),
                2 => world.with(device, |rooms, step| rooms.leave(&id, step)).is_ok(),
                _ => world.with(0, |rooms, step| rooms.remove(&id, bob, step)).is_ok(),
            };
            let _ = done;
            // Some of what is on its way comes: of each pair of devices in its order.
            for number in 0..order % 4 {
                world.deliver_some(order.rotate_left(number * 7));
            }
        }
        for round in 0.. {
            prop_assert!(round < 10_000, "they never come to rest");
            if world.mail.is_empty() {
                // What was answered a moment ago is answered again only after a while.
                world.now = world.now.plus(std::time::Duration::from_secs(60));
                for who in 0..3 {
                    world.with(who, |rooms, step| rooms.handle_timeout(step));
                }
            }
            if world.mail.is_empty() {
                break;
            }
            world.deliver_some(u32::try_from(seed % 1009).unwrap());
        }
        let in_it = |who: usize| matches!(standing(&world, &id, who), Some(Standing::Member));
        prop_assert_eq!(in_it(1), in_it(2), "{:?} {:?}", standing(&world, &id, 1), standing(&world, &id, 2));
        let counted = world.members(&id, 0).contains(&bob);
prop_assert!(counted || !in_it(1), "a member that is none");
        let left = |who: usize| standing(&world, &id, who) == Some(Standing::Left);
        prop_assert!(!(counted && left(1) && left(2)), "who left is still counted");
    }
}
