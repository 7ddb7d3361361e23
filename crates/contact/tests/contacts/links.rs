//! Links that went wrong half-way: an answer that was lost, and a relay that forgot the machine.

use std::time::Duration;

use penpal_contact::Notice;
use penpal_protocol::wire::{Answer, RefusalCode, Request};

use crate::{
    devices::TOWER,
    happy::label,
    support::{ALICE, BOB, World},
};

thread_local! {
    static KEPT_BACK: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// A machine whose answer does not come: it stands in the list, and is no device.
fn lost_answer(seed: u64) -> World {
    let mut world = World::new(seed, &[0, 0, 0]);
    assert!(world.pursue(20));
    world.settle();
    world.tamper = Some(|request, answer| match (request, &answer) {
        (Request::InviteFetch(_), Answer::Invite(found)) if found.record.is_some() && KEPT_BACK.get() => {
            Answer::refused(RefusalCode::Busy)
        }
        _ => answer,
    });
    KEPT_BACK.set(false);
    let code = world.link().unwrap();
    world.run(Duration::from_secs(10));
    world.join(&code);
    for _ in 0..10_000 {
        if world.people[ALICE].node.devices().len() == 2 || !world.happen() {
            break;
        }
    }
    KEPT_BACK.set(true);
    world.run(Duration::from_secs(60));
    assert_eq!(world.people[ALICE].node.devices().len(), 2);
    assert!(!world.is_device());
    world
}

#[test]
fn a_machine_whose_answer_was_lost_becomes_that_device_with_a_new_code() {
    for (seed, days) in [(60, 0), (61, 3)] {
        let mut world = lost_answer(seed);
        world.days(days);
        let listed = world.people[ALICE].node.devices();
        KEPT_BACK.set(false);
        let gives_up = world.on(TOWER, |node, step| node.cancel_joining(step));
        assert_eq!(gives_up, Some(days == 0), "after a day it gave up by itself");
        let code = world.link().unwrap();
        world.run(Duration::from_secs(10));
        world.join(&code);
        world.calm();
        assert!(world.is_device(), "{days} days: {:?}", world.people[TOWER].notices);
        assert_eq!(world.people[ALICE].node.devices(), listed, "the same list");
        world.check_both_write("late");
        world.days(3);
        // Who came is not said to be missing.
        let told = world.noticed(ALICE, |notice| matches!(notice, Notice::DeviceNeverCame { .. }));
        assert_eq!(told, usize::from(days > 0), "{days} days");
        assert!(!world.people[ALICE].node.is_linking());
    }
}

#[test]
fn a_machine_that_is_listed_with_other_keys_gets_no_answer() {
    // Bob's machine, which is no device of Alice's, has another account; a fourth one uses the name and a new code.
    let mut world = lost_answer(62);
    KEPT_BACK.set(false);
    world.days(2);
    let code = world.link().unwrap();
    world.run(Duration::from_secs(10));
    // Its keys are gone: it is another machine, and both stand in the list.
    let mut step = penpal_contact::Step { now: world.now, rng: &mut world.rng };
    world.people[TOWER] = crate::support::person::Person::new("carol", &mut step);
    world.join(&code);
    world.calm();
    assert!(world.is_device());
    assert_eq!(world.people[ALICE].node.devices().len(), 3);
}

#[test]
fn a_relay_from_before_a_link_gets_the_machine_again() {
    for at in 0..8 {
        let mut world = World::new(63 + at, &[0, 0, 0]);
        assert!(world.pursue(20));
        world.settle();
        let before = world.relays[0].clone();
        let code = world.link().unwrap();
        world.run(Duration::from_secs(10));
        world.join(&code);
        world.calm();
        assert!(world.is_device());
        let tower = world.people[TOWER].transport();
        world.relays[0] = before;
        world.relays[0].goes_on_after_a_restore();
        assert_eq!(world.relays[0].owner(&tower), None);
        for person in &mut world.people {
            person.hello = false;
        }
        // Whoever dies at which step of it.
        world.plan =
            (at > 0).then(|| (ALICE, u32::try_from(at).unwrap(), crate::support::Crash::AfterCommit));
        world.calm();
        world.days(1);
        world.plan = None;
        assert!(world.relays[0].owner(&tower).is_some(), "step {at}");
        assert_eq!(world.people[ALICE].node.devices().len(), 2);
        world.calm();
        assert!(world.connected(ALICE, BOB));
        world.check_both_write("again");
        // They hear each other, too.
        let bob = world.name_of_bob(ALICE).unwrap();
        world.on(ALICE, |node, step| node.rename(&bob, &label("robert"), step).unwrap());
        world.calm();
        assert_eq!(world.name_of_bob(TOWER), Some(label("robert")));
    }
}
