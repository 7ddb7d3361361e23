//! Three people who invite, accept, decline, remove and block each other at random, in both directions at once.
//!
//! Once everything has come to rest, two people are contacts on both sides with keys that fit, or on neither.

use std::time::Duration;

use penpal_contact::State;
use penpal_protocol::text::InviteCode;
use proptest::{prelude::*, test_runner::TestRunner};

use crate::{
    schedules::schedules,
    support::{ALICE, BOB, CAROL, Faults, World},
};

const PEOPLE: [usize; 3] = [ALICE, BOB, CAROL];
const HOUR: u64 = 3600;

fn pick(world: &mut World, below: u32) -> u32 {
    world.rng.next_u32() % below
}

fn two(world: &mut World) -> (usize, usize) {
    let one = pick(world, 3) as usize;
    let other = (one + 1 + pick(world, 2) as usize) % 3;
    (one, other)
}

/// One thing that somebody does, whether or not it makes sense.
fn do_something(world: &mut World, codes: &mut Vec<InviteCode>) {
    let (one, other) = two(world);
    if world.people[one].node.account().is_none() {
        world.register(one);
        return;
    }
    let name = world.view(one, other).map(|view| view.name);
    match (pick(world, 16), name) {
        (0..=2, _) => {
            let auto_accept = pick(world, 4) == 0;
            let life_ms = 1000 * HOUR * u64::from(1 + pick(world, 72));
            let made = world.on(one, |node, step| node.invite(1, life_ms, auto_accept, step));
            codes.extend(made.into_iter().flatten().flatten().map(|new| new.code));
        }
        (3..=6, _) if !codes.is_empty() => {
            let code = codes[pick(world, u32::try_from(codes.len()).unwrap()) as usize].clone();
            let _added = world.add(one, &code);
        }
        (7..=10, Some(name)) => {
            let _accepted = world.on(one, |node, step| node.accept(&name, step));
        }
        (11, Some(name)) => {
            let _declined = world.on(one, |node, step| node.decline(&name, step));
        }
        (12, Some(name)) => {
            let _removed = world.on(one, |node, step| node.remove(&name, step));
        }
        (13, Some(name)) => {
            let block = pick(world, 2) == 0;
            let _done =
                world.on(
                    one,
                    |node, step| if block { node.block(&name, step) } else { node.unblock(&name, step) },
                );
        }
        (14, Some(_)) => {
            let other = world.people[other].fp();
            world.on(one, |node, step| node.fetch(&other, step));
        }
        (15, _) => {
            let open = world.people[one].node.invites().into_iter().map(|invite| invite.invite).next();
            if let Some(invite) = open {
                world.on(one, |node, step| node.revoke_invite(&invite, step));
            }
        }
        _ => {}
    }
}

fn live(world: &mut World) {
    let mut codes = Vec::new();
    for _ in 0..60 {
        do_something(world, &mut codes);
        let span = match pick(world, 12) {
            0 => 24 * HOUR,
            1 => HOUR,
            2..=5 => 60,
            _ => 0,
        };
        for _ in 0..pick(world, 30) {
            world.happen();
        }
        world.run(Duration::from_secs(span));
    }
}

/// Lets everything come to rest, and everybody look at everybody.
fn rest(world: &mut World) {
    world.faults = Faults::default();
    for who in PEOPLE {
        for of in PEOPLE {
            if let Some(name) = world.view(who, of).map(|view| view.name) {
                let _only_contacts = world.on(who, |node, step| node.unblock(&name, step));
            }
        }
    }
    for _ in 0..2 {
        for (who, of) in PEOPLE.into_iter().flat_map(|who| PEOPLE.map(|of| (who, of))) {
            let of = world.people[of].fp();
            world.on(who, |node, step| node.fetch(&of, step));
        }
        // Longer than a request waits, an invite lives and an acceptance is repeated.
        world.run(Duration::from_secs(33 * 24 * HOUR));
    }
}

fn check(world: &mut World) {
    for (one, other) in [(ALICE, BOB), (BOB, CAROL), (CAROL, ALICE)] {
        let open = |who: usize, of: usize| {
            world.view(who, of).is_some_and(|view| view.state == State::Active && view.confirmed)
        };
        let (here, there) = (open(one, other), open(other, one));
        assert_eq!(
            here,
            there,
            "{one} and {other}: {:?} {:?}",
            world.view(one, other),
            world.view(other, one)
        );
        if here {
            assert!(world.connected(one, other));
        }
    }
    let active: usize = PEOPLE
        .iter()
        .map(|who| {
            world.people[*who]
                .node
                .list()
                .iter()
                .filter(|view| view.confirmed && view.state == State::Active)
                .count()
        })
        .sum();
    let edges: usize = world.relays.iter().map(|relay| relay.edges.len()).sum();
    // A contact that is gone keeps its edge: its other side may come back.
    assert!(edges >= active, "{edges} edges for {active} sides");
    for person in &world.people {
        assert!(
            person.disk.secrets.is_empty(),
            "{} keeps {:?} {:?}",
            person.handle,
            person.disk.secrets,
            person.node.invites()
        );
        assert_eq!(person.node.retiring(), 0);
    }
}

#[test]
fn people_end_up_contacts_on_both_sides_or_on_neither() {
    let faults = (0..40_u8, 0..40_u8, 0..40_u8, prop_oneof![Just(0_u8), 1..10_u8], any::<bool>());
    let config = ProptestConfig {
        cases: schedules().div_ceil(3),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let result = TestRunner::new(config).run(&(any::<u64>(), faults), |(seed, faults)| {
        let (lose_request, lose_answer, repeat_answer, crash, shuffle) = faults;
        let mut world = World::new(seed, &[0, 0, 1]);
        world.faults = Faults { lose_request, lose_answer, repeat_answer, crash, shuffle };
        live(&mut world);
        rest(&mut world);
        check(&mut world);
        Ok(())
    });
    result.unwrap();
}
