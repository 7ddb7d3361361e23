//! A linked device of the owner that was stolen: what it appended counts no more once it is revoked.

use penpal_protocol::ids::{Fingerprint, RoomId, ShortHash};
use penpal_protocol::sealed::{RoomChange, RoomHead, RoomMember};
use penpal_room::{NewsError, Notice, Said, Standing};
use penpal_seal::SignedRoomEntry;
use proptest::prelude::*;

use super::hostile::{head, head_of, signed_entry as entry, stored, telling};
use super::people::{NOW_MS, World, label};

/// Alice's machine that signs, and the one that is stolen.
const ALICE: usize = 0;
const STOLEN: usize = 1;
const BOB: usize = 2;
const CAROL: usize = 3;
const MALLORY: usize = 4;

fn world() -> World {
    World::new(&[2, 1, 1, 1], 11)
}

fn added(account: Fingerprint) -> RoomChange {
    RoomChange { added: Some(RoomMember { account, name: label("x") }), ..RoomChange::default() }
}

fn removed(account: Fingerprint) -> RoomChange {
    RoomChange { removed: Some(account), ..RoomChange::default() }
}

fn closed() -> RoomChange {
    RoomChange { closed: Some(true), ..RoomChange::default() }
}

/// A chain of the stolen device from this place on.
fn chain(world: &World, id: &RoomId, from: RoomHead, changes: &[RoomChange]) -> Vec<SignedRoomEntry> {
    let mut at = from;
    changes
        .iter()
        .map(|change| {
            let signed = entry(world, id, (STOLEN, STOLEN), &at, change.clone());
            at = head(&signed);
            signed
        })
        .collect()
}

/// Tells one machine entries as the account of Alice.
fn tell(world: &mut World, who: usize, id: &RoomId, entries: &[SignedRoomEntry]) -> Result<(), NewsError> {
    let alice = world.account(ALICE);
    world.with(who, |rooms, step| rooms.handle_news(alice, &telling(id, entries), step))
}

/// The stolen device is revoked, and everybody has the newer list.
fn revoke(world: &mut World) {
    world.revoke(STOLEN);
    let alice = world.account(ALICE);
    for who in [BOB, CAROL, MALLORY] {
        world.with(who, |rooms, step| rooms.handle_list_changed(&alice, step));
    }
    world.with(ALICE, |rooms, step| rooms.handle_devices_changed(step));
    world.settle();
}

fn standing(world: &World, id: &RoomId, who: usize) -> Option<Standing> {
    world.machines[who].rooms.view(id).map(|view| view.standing)
}

#[test]
fn whom_a_stolen_device_let_in_is_out_once_it_is_revoked() {
    let mut world = world();
    let id = world.room("team", &[BOB, CAROL]);
    let (alice, bob, carol, mallory) =
        (world.account(ALICE), world.account(BOB), world.account(CAROL), world.account(MALLORY));
    let before = head_of(&world, &id, ALICE);
    let tail = chain(&world, &id, before, &[added(mallory), removed(carol)]);
    // Only to Bob: neither Alice nor Carol hears of it.
    tell(&mut world, BOB, &id, &tail).unwrap();
    assert_eq!(world.members(&id, BOB), [alice, bob, mallory]);
    let said_in = world.machines[BOB].rooms.fanout(&id, &world.machines[BOB].me).unwrap().said_in;
    assert_eq!(
        world.machines[BOB].rooms.judge(&mallory, &said_in, NOW_MS, &world.machines[BOB].me),
        Said::Take
    );
    revoke(&mut world);
    for who in [ALICE, BOB, CAROL] {
        assert_eq!(world.members(&id, who), [alice, bob, carol], "{who}");
        assert_eq!(head_of(&world, &id, who), before, "{who}");
    }
    assert_eq!(
        world.machines[BOB].rooms.judge(&mallory, &said_in, NOW_MS, &world.machines[BOB].me),
        Said::Refuse("not-a-member")
    );
    assert!(world.machines[BOB].withdrawn.contains(&mallory), "what did not leave yet does not");
    let gone = Notice::Went { name: label("team"), account: mallory };
    assert!(world.machines[BOB].notices.contains(&gone), "{:?}", world.machines[BOB].notices);
    // Longer it becomes no more, and what Alice decides now counts everywhere.
    let more = chain(&world, &id, head(&tail[1]), &[added(mallory)]);
    assert!(tell(&mut world, BOB, &id, &more).is_err());
    world.with(ALICE, |rooms, step| rooms.remove(&id, carol, step)).unwrap();
    world.settle();
    for who in [ALICE, BOB] {
        assert_eq!(world.members(&id, who), [alice, bob], "{who}");
    }
    world.with(ALICE, |rooms, step| rooms.close(&id, step)).unwrap();
    world.settle();
    assert_eq!(standing(&world, &id, BOB), Some(Standing::Closed));
    // Also after a restart, when only what is held is stored.
    world.restart(BOB);
    world.with(BOB, |rooms, step| rooms.handle_started(step));
    assert_eq!(world.members(&id, BOB), [alice, bob]);
}

#[test]
fn whom_a_stolen_device_put_out_is_in_it_again() {
    let mut world = world();
    let id = world.room("team", &[BOB, CAROL]);
    let bob = world.account(BOB);
    let before = head_of(&world, &id, ALICE);
    let tail = chain(&world, &id, before, &[removed(bob)]);
    tell(&mut world, BOB, &id, &tail).unwrap();
    let tail = chain(&world, &id, before, &[closed()]);
    tell(&mut world, CAROL, &id, &tail).unwrap();
    assert_eq!(standing(&world, &id, BOB), Some(Standing::Removed));
    assert_eq!(standing(&world, &id, CAROL), Some(Standing::Closed));
    revoke(&mut world);
    for (who, other) in [(BOB, CAROL), (CAROL, BOB)] {
        assert_eq!(standing(&world, &id, who), Some(Standing::Member), "{who}");
        assert_eq!(world.say(&id, who, other), Some(Said::Take), "{who}");
    }
}

#[test]
fn a_room_that_a_stolen_device_kept_goes_on_with_what_the_account_knew() {
    let mut world = world();
    let (alice, bob, mallory) = (world.account(ALICE), world.account(BOB), world.account(MALLORY));
    let id = world.with(STOLEN, |rooms, step| rooms.create(&label("team"), step)).unwrap();
    world.with(STOLEN, |rooms, step| rooms.invite(&id, bob, &label("bob"), step)).unwrap();
    world.settle();
    world.with(BOB, |rooms, step| rooms.join(&id, step)).unwrap();
    world.settle();
    assert_eq!(world.members(&id, ALICE), [alice, bob]);
    let known = head_of(&world, &id, ALICE);
    let tail = chain(&world, &id, known, &[added(mallory), added(mallory), added(mallory)]);
    tell(&mut world, BOB, &id, &tail).unwrap();
    assert_eq!(world.members(&id, BOB), [alice, bob, mallory]);
    revoke(&mut world);
    for who in [ALICE, BOB] {
        assert_eq!(world.members(&id, who), [alice, bob], "{who}");
        assert_eq!(world.machines[who].rooms.view(&id).unwrap().epoch, Some(known.epoch + 1), "{who}");
    }
    let took = Notice::TookOver { name: label("team") };
    assert_eq!(world.machines[ALICE].notices.iter().filter(|notice| **notice == took).count(), 1);
    // It is kept by one that is left, so nothing more is appended, however often the machine starts.
    world.with(ALICE, |rooms, step| rooms.handle_devices_changed(step));
    assert!(world.mail.is_empty());
    world.join(&id, CAROL);
    assert_eq!(world.members(&id, BOB), [alice, bob, world.account(CAROL)]);
}

#[test]
fn a_revoked_device_does_not_live_on_under_the_name_of_another() {
    let mut world = world();
    let id = world.room("team", &[BOB]);
    let (alice, bob, mallory) = (world.account(ALICE), world.account(BOB), world.account(MALLORY));
    // An entry that a good one names is taken with it, whatever it says of itself.
    let before = head_of(&world, &id, ALICE);
    let forged = entry(&world, &id, (ALICE, STOLEN), &before, added(mallory));
    let after = entry(&world, &id, (STOLEN, STOLEN), &head(&forged), removed(world.account(CAROL)));
    assert!(tell(&mut world, BOB, &id, std::slice::from_ref(&forged)).is_err());
    tell(&mut world, BOB, &id, &[forged, after]).unwrap();
    assert_eq!(world.members(&id, BOB), [alice, bob, mallory]);
    revoke(&mut world);
    assert_eq!(world.members(&id, BOB), [alice, bob]);
}

#[test]
fn who_lacks_what_gave_way_to_a_stolen_device_gets_it_again() {
    let mut world = world();
    let id = world.room("team", &[BOB]);
    let before = head_of(&world, &id, ALICE);
    world.join(&id, CAROL);
    let everybody = world.members(&id, ALICE);
    // Bob hears the longer chain, and what counts in the end never came to him.
    let entries = stored(&world, BOB);
    world.machines[BOB]
        .rows
        .retain(|(_, place), _| entries.last().is_none_or(|last| !place.ends_with(last.name().as_bytes())));
    world.restart(BOB);
    let bob = world.account(BOB);
    let tail = chain(&world, &id, before, &[removed(bob), closed(), closed()]);
    tell(&mut world, BOB, &id, &tail).unwrap();
    world.mail.clear();
    revoke(&mut world);
    assert_eq!(world.members(&id, BOB), everybody);
    assert_eq!(standing(&world, &id, BOB), Some(Standing::Member));
}

#[test]
fn nobody_is_added_where_place_is_kept_for_leaving() {
    let mut world = world();
    let id = world.room("team", &[BOB]);
    let (bob, mallory) = (world.account(BOB), world.account(MALLORY));
    let mut changes = vec![removed(mallory); 202];
    let before = head_of(&world, &id, ALICE);
    changes.push(added(mallory));
    changes.push(added(world.account(CAROL)));
    let all = chain(&world, &id, before, &changes);
    assert_eq!(all.last().unwrap().entry().epoch, 205);
    assert_eq!(tell(&mut world, BOB, &id, &all), Err(NewsError::Full));
    assert_eq!(world.members(&id, BOB), [world.account(ALICE), bob, mallory]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Three devices of the owner append anywhere; two nodes hear it in different orders, one of them before and one after a device is revoked.
    /// Both hold the same in the end and agree what counts.
    #[test]
    fn whoever_holds_the_same_and_knows_the_same_list_agrees(
        seed in any::<u64>(),
        places in prop::collection::vec((0_usize..3, any::<u16>(), 0_u8..8), 1..20),
        order in any::<u32>(),
    ) {
        let mut world = World::new(&[3, 1, 1, 1], seed);
        let (bob, carol) = (3, 4);
        let id = world.room("team", &[bob, carol]);
        let mut all = stored(&world, ALICE);
        let begun = all.len();
        for (device, place, what) in places {
            // Not before what both are in by.
            let places = &all[begun - 1..];
            let before = head(&places[usize::from(place) % places.len()]);
            let whom = Fingerprint::from_bytes([what; 16]);
            let change = if what % 2 == 0 { added(whom) } else { removed(Fingerprint::from_bytes([what - 1; 16])) };
            let signed = entry(&world, &id, (device, device), &before, change);
            if !all.contains(&signed) {
                all.push(signed);
            }
        }
        let new = all.split_off(begun);
        let known = |world: &World, who: usize| -> Vec<ShortHash> {
            stored(world, who).iter().map(SignedRoomEntry::name).collect()
        };
        // To Bob each with all that leads to it, the newest first or not; to Carol one after the other.
        let path = |last: &SignedRoomEntry| {
            let mut path = vec![last.clone()];
            while let Some(before) = new.iter().find(|one| one.name() == path[0].entry().prev) {
                path.insert(0, before.clone());
            }
            path
        };
        let turn = usize::try_from(order).unwrap() % new.len();
        let turned: Vec<_> = new[turn..].iter().chain(&new[..turn]).map(path).collect();
        for entries in turned {
            prop_assert_eq!(tell(&mut world, bob, &id, &entries), Ok(()));
        }
        for signed in &new {
            prop_assert_eq!(tell(&mut world, carol, &id, std::slice::from_ref(signed)), Ok(()));
        }
        let gone = 1 + usize::try_from(seed % 2).unwrap();
        world.revoke(gone);
        let alice = world.account(ALICE);
        for who in [bob, carol] {
            world.with(who, |rooms, step| rooms.handle_list_changed(&alice, step));
        }
        prop_assert_eq!(known(&world, bob), known(&world, carol));
        prop_assert_eq!(head_of(&world, &id, bob), head_of(&world, &id, carol));
        prop_assert_eq!(world.members(&id, bob), world.members(&id, carol));
        // The last that counts is of a device that is left, and no entry of one is further.
        let counts = head_of(&world, &id, bob);
        let of = |device: usize| world.machines[device].me.device;
        let listed = stored(&world, bob).into_iter().filter(|signed| signed.entry().device != of(gone));
        let last = listed.map(|signed| signed.entry().epoch).max();
        prop_assert_eq!(Some(counts.epoch), last);
    }
}

/// What the owner's machine had appended gives way to a longer chain of the stolen one. It is not appended again behind that chain: when the
/// chain counts no more, it is there by itself.
#[test]
fn the_owners_machine_does_not_vouch_for_what_a_stolen_device_appended() {
    let mut world = world();
    let id = world.room("team", &[BOB, CAROL]);
    let (alice, bob, carol, mallory) =
        (world.account(ALICE), world.account(BOB), world.account(CAROL), world.account(MALLORY));
    let before = head_of(&world, &id, ALICE);
    world.with(ALICE, |rooms, step| rooms.remove(&id, carol, step)).unwrap();
    world.settle();
    let tail = chain(&world, &id, before, &[added(mallory), removed(bob)]);
    for who in [ALICE, BOB] {
        tell(&mut world, who, &id, &tail).unwrap();
    }
    world.settle();
    assert_eq!(world.members(&id, ALICE), [alice, carol, mallory]);
    revoke(&mut world);
    for who in [ALICE, BOB] {
        assert_eq!(world.members(&id, who), [alice, bob], "{who}");
    }
}

/// The machine that signs never had the room of one that is revoked: another one that is left tells it, and it goes on with the room.
#[test]
fn a_machine_that_came_later_takes_over_what_a_revoked_one_kept() {
    const KEPT: usize = 2;
    const FRIEND: usize = 3;
    let mut world = World::new(&[3, 1], 12);
    let (alice, friend) = (world.account(ALICE), world.account(FRIEND));
    let id = world.with(KEPT, |rooms, step| rooms.create(&label("team"), step)).unwrap();
    world.with(KEPT, |rooms, step| rooms.invite(&id, friend, &label("bob"), step)).unwrap();
    let without = |world: &mut World| {
        while !world.mail.is_empty() {
            world.mail.retain(|letter| letter.to != ALICE);
            world.deliver(0);
        }
    };
    without(&mut world);
    world.with(FRIEND, |rooms, step| rooms.join(&id, step)).unwrap();
    without(&mut world);
    assert_eq!((world.members(&id, 1), standing(&world, &id, ALICE)), (vec![alice, friend], None));
    world.revoke(KEPT);
    world.with(FRIEND, |rooms, step| rooms.handle_list_changed(&alice, step));
    world.with(ALICE, |rooms, step| rooms.handle_devices_changed(step));
    world.with(1, |rooms, step| rooms.tell_devices(step));
    world.settle();
    assert_eq!(world.members(&id, ALICE), [alice, friend]);
    world.now.mono += std::time::Duration::from_secs(61);
    world.with(ALICE, |rooms, step| rooms.handle_timeout(step));
    world.settle();
    let took = Notice::TookOver { name: label("team") };
    assert_eq!(world.machines[ALICE].notices.iter().filter(|notice| **notice == took).count(), 1);
    world.with(ALICE, |rooms, step| rooms.close(&id, step)).unwrap();
    world.settle();
    assert_eq!(standing(&world, &id, FRIEND), Some(Standing::Closed));
}
