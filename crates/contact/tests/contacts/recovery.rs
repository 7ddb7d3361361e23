//! An account on a new machine, by its recovery code, whoever dies when and whatever the relay says.

use std::time::Duration;

use penpal_contact::{JoinError, Notice, RecoverError, RecoveryFailure, RegisterError, Revoke, State, Trust};
use penpal_protocol::{
    ids::{RootSeed, StateId},
    text::RecoveryCode,
    wire::{Answer, RefusalCode, Request},
};

use crate::{
    happy::label,
    support::{ALICE, BOB, CAROL, Crash, DAVE, World},
};

/// Carol's machine: the one that Alice's account comes to.
const NEW: usize = CAROL;

impl World {
    /// Alice with Bob as a contact; her relay keeps her state.
    fn kept(seed: u64) -> (Self, RecoveryCode) {
        Self::kept_among(seed, 3)
    }

    fn kept_among(seed: u64, machines: usize) -> (Self, RecoveryCode) {
        let mut world = Self::new(seed, &vec![0; machines]);
        assert!(world.pursue(20));
        world.settle();
        assert!(world.people[ALICE].node.is_kept());
        let code = world.people[ALICE].node.recovery_code().unwrap();
        (world, code)
    }

    fn recover(&mut self, who: usize, code: &RecoveryCode, choice: Option<Revoke>) {
        self.on(who, |node, step| node.recover(code, label("new"), choice, step).unwrap());
    }

    /// Like [`Self::calm`], and longer.
    fn quiet(&mut self) {
        for _ in 0..2 {
            self.calm();
        }
    }

    fn failures(&self) -> Vec<&RecoveryFailure> {
        fn failure(notice: &Notice) -> Option<&RecoveryFailure> {
            match notice {
                Notice::RecoveryFailed(why) => Some(why),
                _ => None,
            }
        }
        self.people[NEW].notices.iter().filter_map(failure).collect()
    }

    fn devices_of_alice(&self) -> Vec<String> {
        let devices = self.view(BOB, ALICE).unwrap().devices;
        devices.iter().map(|device| device.name.to_string()).collect()
    }

    /// Mail goes between Bob and the new machine, both ways.
    fn check_mail(&mut self, text: &str) {
        let bob = self.view(NEW, BOB).unwrap().name;
        self.send(NEW, bob.as_str(), &format!("{text} from the new one"));
        self.send(BOB, "alice", &format!("{text} to alice"));
        self.quiet();
        assert_eq!(self.has_mail(BOB, &format!("{text} from the new one")), 1);
        assert_eq!(self.has_mail(NEW, &format!("{text} to alice")), 1);
    }
}

#[test]
fn an_account_comes_back_with_its_contacts_who_are_told() {
    let (mut world, code) = World::kept(1);
    let bob = world.people[BOB].fp();
    let safety = world.view(ALICE, BOB).unwrap().safety.unwrap();
    world.on(ALICE, |node, step| node.verify(&label("bob"), &safety, step).unwrap());
    world.on(ALICE, |node, step| node.rename(&label("bob"), &label("robert"), step).unwrap());
    world.settle();
    let before = world.people[ALICE].node.route(&bob).unwrap().edge;
    world.recover(NEW, &code, None);
    world.run(Duration::from_secs(5));
    let found = world.people[NEW].node.recovery_found().unwrap();
    assert_eq!((found.handle, found.contacts), (label("alice"), 1));
    assert_eq!(found.devices.iter().map(|device| device.name.as_str()).collect::<Vec<_>>(), ["desktop"]);
    assert_eq!(world.noticed(NEW, |n| matches!(n, Notice::RecoveryFound { .. })), 1);
    assert!(world.people[NEW].node.account().is_none(), "nothing changed yet");
    world.recover(NEW, &code, Some(Revoke::All));
    world.quiet();
    assert!(world.failures().is_empty(), "{:?}", world.failures());
    assert_eq!(world.noticed(NEW, |n| matches!(n, Notice::Recovered { .. })), 1);
    let view = world.people[NEW].node.view(&bob).unwrap();
    assert_eq!((view.state, view.trust, view.name), (State::Active, Trust::Verified, label("robert")));
    assert_eq!(
        world.noticed(BOB, |n| matches!(n, Notice::NewPrimary { device, .. } if *device == label("new"))),
        1
    );
    assert_eq!(world.devices_of_alice(), ["new"]);
    world.check_mail("one");
    assert_ne!(world.people[NEW].node.route(&bob).unwrap().edge, before, "new edges and keys");
    assert!(world.people[NEW].node.is_kept());
    assert_eq!(world.people[NEW].node.recovery_code().as_ref(), Some(&code));
    // It can be done again, from what the new machine left.
    world.check_mail("two");
}

#[test]
fn the_machine_before_is_nobody_and_opens_nothing() {
    let (mut world, code) = World::kept(2);
    world.recover(NEW, &code, Some(Revoke::All));
    world.quiet();
    let old = world.people[ALICE].transport();
    assert_eq!(world.relays[0].owner(&old), None);
    world.start(ALICE);
    let mail = world.people[ALICE].disk.mail.len();
    world.check_mail("later");
    assert_eq!(world.people[ALICE].disk.mail.len(), mail);
    let bob = world.people[BOB].fp();
    let [stale, fresh] = [ALICE, NEW].map(|who| world.people[who].node.route(&bob).unwrap().pair_key.clone());
    assert_ne!(stale, fresh);
}

#[test]
fn recovery_is_completed_whoever_dies_at_which_step() {
    for how in [Crash::BeforeCommit, Crash::AfterCommit] {
        for at in 0.. {
            let (mut world, code) = World::kept(3);
            world.plan = Some((NEW, at, how));
            for _ in 0..20 {
                if world.people[NEW].node.account().is_some() && !world.people[NEW].node.is_recovering() {
                    break;
                }
                // Who died before it was decided is asked again.
                world.on(NEW, |node, step| drop(node.recover(&code, label("new"), Some(Revoke::All), step)));
                world.run(Duration::from_secs(30));
            }
            let happened = world.plan.take().is_none();
            assert!(world.failures().is_empty(), "step {at}, {how:?}: {:?}", world.failures());
            assert!(world.people[NEW].node.account().is_some(), "step {at}, {how:?}");
            world.quiet();
            assert_eq!(world.devices_of_alice(), ["new"], "step {at}, {how:?}");
            world.check_mail("after");
            if !happened {
                assert!(at > 5, "{at} steps");
                break;
            }
        }
    }
}

#[test]
fn a_wrong_code_and_an_empty_relay_change_nothing() {
    let (mut world, code) = World::kept(4);
    let wrong = RecoveryCode { seed: RootSeed::from_bytes([9; 32]), ..code.clone() };
    world.recover(NEW, &wrong, Some(Revoke::All));
    world.run(Duration::from_secs(5));
    assert_eq!(world.failures(), [&RecoveryFailure::NotFound]);
    let first = *world.relays[0].accounts.keys().next().unwrap();
    world.relays[0].accounts.get_mut(&first).unwrap().state = None;
    world.recover(NEW, &code, Some(Revoke::All));
    world.run(Duration::from_secs(5));
    assert_eq!(world.failures().last(), Some(&&RecoveryFailure::NothingKept));
    assert!(world.people[NEW].node.account().is_none() && world.people[NEW].node.home_relay().is_none());
    assert_eq!(world.devices_of_alice(), ["desktop"]);
}

#[test]
fn a_relay_that_is_away_is_waited_for_and_a_lying_one_is_found_out() {
    let (mut world, code) = World::kept(5);
    world.relays[0].down = true;
    world.recover(NEW, &code, Some(Revoke::All));
    world.run(Duration::from_secs(60));
    assert!(world.failures().is_empty() && world.people[NEW].node.account().is_none());
    world.settle();
    world.settle();
    assert!(world.people[NEW].node.home_relay().is_none(), "nobody decided: the code leaves memory");
    world.relays[0].down = false;
    world.recover(NEW, &code, Some(Revoke::All));
    world.tamper = Some(|request, answer| match (request, answer) {
        (Request::GetState(_), Answer::State(mut part)) => {
            part.state = Some(StateId::from_bytes([1; 16]));
            Answer::State(part)
        }
        (_, answer) => answer,
    });
    world.settle();
    assert_eq!(world.failures(), [&RecoveryFailure::Forged]);
    assert!(world.people[NEW].node.account().is_none());
    world.tamper = Some(|request, answer| match request {
        Request::DeviceAdd(_) => Answer::refused(RefusalCode::No),
        _ => answer,
    });
    let root = |world: &World| world.people[NEW].keys.root.as_ref().map(penpal_seal::RootKey::fingerprint);
    world.recover(NEW, &code, Some(Revoke::All));
    world.settle();
    assert_eq!(world.failures().last(), Some(&&RecoveryFailure::NotFound));
    assert_ne!(root(&world), Some(world.people[ALICE].fp()), "the root key does not stay behind");
    world.tamper = None;
    world.recover(NEW, &code, Some(Revoke::All));
    world.quiet();
    world.check_mail("after all");
}

#[test]
fn a_linked_device_takes_over_with_the_code() {
    let (mut world, code) = World::kept(6);
    let link = world.on(ALICE, |node, step| node.link_device(step)).unwrap().unwrap().code;
    world.run(Duration::from_secs(10));
    world.on(NEW, |node, step| node.join_account(&link, label("tower"), step).unwrap());
    world.calm();
    assert!(world.people[NEW].node.recovery_code().is_none(), "a linked device has no root key");
    let other = RecoveryCode { seed: RootSeed::from_bytes([9; 32]), ..code.clone() };
    let refused = world.on(NEW, |node, step| node.recover(&other, label("new"), None, step).unwrap_err());
    assert_eq!(refused, Some(RecoverError::Registered { handle: label("alice") }));
    let refused = world.on(ALICE, |node, step| node.recover(&code, label("new"), None, step).unwrap_err());
    assert_eq!(refused, Some(RecoverError::Primary));
    world.recover(NEW, &code, None);
    assert_eq!(world.people[NEW].node.recovery_found().unwrap().devices.len(), 2);
    world.recover(NEW, &code, Some(Revoke::All));
    world.quiet();
    assert!(world.failures().is_empty(), "{:?}", world.failures());
    assert_eq!(world.devices_of_alice(), ["tower"]);
    assert_eq!(world.noticed(BOB, |n| matches!(n, Notice::NewPrimary { .. })), 1);
    assert!(world.people[NEW].node.recovery_code().is_some());
    assert!(world.people[NEW].node.is_kept(), "from now on it keeps the account's state");
    world.check_mail("taken over");
    // It does what only the device that signs may do.
    world.on(NEW, |node, step| node.link_device(step).unwrap()).unwrap();
}

#[test]
fn a_machine_that_stays_gives_its_root_key_up() {
    let (mut world, code) = World::kept(7);
    let link = world.on(ALICE, |node, step| node.link_device(step)).unwrap().unwrap().code;
    world.run(Duration::from_secs(10));
    world.on(NEW, |node, step| node.join_account(&link, label("tower"), step).unwrap());
    world.calm();
    world.recover(NEW, &code, Some(Revoke::Only(Vec::new())));
    world.quiet();
    assert!(world.failures().is_empty(), "{:?}", world.failures());
    assert!(world.people[ALICE].keys.root.is_none(), "the key file has it no more");
    assert!(world.people[ALICE].node.recovery_code().is_none());
    assert!(world.people[NEW].node.devices().iter().any(|device| device.here && device.primary));
    assert_eq!(world.devices_of_alice().len(), 2);
    world.start(ALICE);
    world.days(20);
    assert_eq!(world.devices_of_alice().len(), 2, "nobody signs against the other");
    let versions: Vec<_> =
        [ALICE, NEW].map(|who| world.people[who].node.account().unwrap().manifest.version).into();
    assert_eq!(versions[0], versions[1]);
    world.check_mail("both stay");
    assert_eq!(world.has_mail(ALICE, "both stay to alice"), 1);
}

#[test]
fn a_machine_that_shares_nothing_cannot_stay() {
    let (mut world, code) = World::kept(8);
    world.recover(NEW, &code, Some(Revoke::Only(Vec::new())));
    world.run(Duration::from_secs(5));
    assert_eq!(world.failures(), [&RecoveryFailure::MustGo { name: label("desktop") }]);
    world.recover(NEW, &code, Some(Revoke::AllBut(vec![label("attic")])));
    world.run(Duration::from_secs(5));
    let unknown = RecoveryFailure::UnknownDevice { name: label("attic"), candidates: vec![label("desktop")] };
    assert_eq!(world.failures().last(), Some(&&unknown));
}

#[test]
fn what_changed_is_kept_together_and_a_removal_comes_along() {
    let (mut world, code) = World::kept(9);
    let puts = |world: &World| {
        world
            .requests
            .iter()
            .filter(|(who, what)| *who == ALICE && matches!(what, Request::PutState(_)))
            .count()
    };
    let before = puts(&world);
    for round in 0..20 {
        let (from, to) = if round % 2 == 0 { ("bob", "bert") } else { ("bert", "bob") };
        world.on(ALICE, |node, step| node.rename(&label(from), &label(to), step).unwrap());
    }
    world.settle();
    assert_eq!(puts(&world), before + 1);
    world.on(ALICE, |node, step| node.remove(&label("bob"), step).unwrap());
    assert!(!world.people[ALICE].node.is_kept());
    world.settle();
    assert!(world.people[ALICE].node.is_kept());
    world.recover(NEW, &code, Some(Revoke::All));
    world.quiet();
    assert!(world.people[NEW].node.account().is_some());
    assert_eq!(world.state(NEW, BOB), None);
}

#[test]
fn a_relay_that_went_back_is_told_again() {
    let (mut world, _) = World::kept(10);
    let old = world.relays[0].clone();
    let link = world.on(ALICE, |node, step| node.link_device(step)).unwrap().unwrap().code;
    world.run(Duration::from_secs(10));
    world.on(NEW, |node, step| node.join_account(&link, label("tower"), step).unwrap());
    world.calm();
    let with_tower = world.relays[0].clone();
    world.on(ALICE, |node, step| node.revoke_device(&label("tower"), step).unwrap());
    world.calm();
    let tower = world.people[NEW].transport();
    assert_eq!(world.relays[0].owner(&tower), None);
    world.relays[0] = with_tower;
    world.relays[0].epoch = 2;
    assert!(world.relays[0].owner(&tower).is_some());
    for who in [ALICE, BOB] {
        world.people[who].hello = false;
    }
    world.calm();
    assert_eq!(world.relays[0].owner(&tower), None, "revoked again");
    assert!(world.people[ALICE].node.is_kept());
    // And one that has neither proof nor state.
    world.relays[0] = old;
    world.relays[0].epoch = 3;
    let first = *world.relays[0].accounts.keys().next().unwrap();
    let account = world.relays[0].accounts.get_mut(&first).unwrap();
    (account.proof, account.state) = (None, None);
    world.people[ALICE].hello = false;
    world.calm();
    let account = &world.relays[0].accounts[&first];
    assert!(account.proof.is_some() && account.state.is_some());
    assert!(world.people[ALICE].node.is_kept());
}

#[test]
fn a_conflict_is_read_and_nothing_of_it_is_lost() {
    let (mut world, code) = World::kept(11);
    // An older copy of Alice's machine: before Bob was renamed and the state written.
    let (disk, keys) = (world.people[ALICE].disk.clone(), world.people[ALICE].keys.clone());
    world.on(ALICE, |node, step| node.rename(&label("bob"), &label("bert"), step).unwrap());
    world.settle();
    (world.people[ALICE].disk, world.people[ALICE].keys) = (disk, keys);
    world.start(ALICE);
    world.on(ALICE, |node, step| node.rename_device(&label("desktop"), &label("attic"), step).is_ok());
    world.calm();
    world.on(ALICE, |node, step| node.rename_device(&label("desktop"), &label("attic"), step).is_ok());
    world.quiet();
    assert_eq!(world.view(ALICE, BOB).unwrap().name, label("bert"), "learned from the relay");
    assert!(world.people[ALICE].node.is_kept());
    drop(code);
}

/// An older copy of Alice's machine, from before another was linked: it signs nothing that leaves the other out.
#[test]
fn a_copy_from_before_a_link_finds_the_linked_machine_again() {
    for written in [true, false] {
        let (mut world, _) = World::kept(20);
        let (disk, keys) = (world.people[ALICE].disk.clone(), world.people[ALICE].keys.clone());
        let code = world.link().unwrap();
        world.run(Duration::from_secs(10));
        if !written {
            // The state that is kept is that of before; beside it stands the newest list.
            world.tamper = Some(|request, answer| match request {
                Request::PutState(_) => Answer::refused(RefusalCode::No),
                _ => answer,
            });
        }
        world.join(&code);
        world.calm();
        assert!(world.is_device());
        world.tamper = None;
        (world.people[ALICE].disk, world.people[ALICE].keys) = (disk, keys);
        world.start(ALICE);
        world.quiet();
        let named = |who: usize| {
            let devices = world.people[who].node.devices();
            devices.into_iter().map(|device| device.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!([named(ALICE), named(NEW)], [["desktop", "tower"], ["desktop", "tower"]]);
        assert_eq!(world.devices_of_alice(), ["desktop", "tower"]);
        if written {
            world.check_both_write("again");
        }
    }
}

/// An older copy of Alice's machine gives a code to another one that it does not know to be linked already.
#[test]
fn a_machine_that_turns_out_to_be_linked_under_another_id_is_not_added_again() {
    let (mut world, _) = World::kept(21);
    let (disk, keys) = (world.people[ALICE].disk.clone(), world.people[ALICE].keys.clone());
    let before = world.people[NEW].disk.clone();
    let code = world.link().unwrap();
    world.run(Duration::from_secs(10));
    world.join(&code);
    world.calm();
    assert!(world.is_device());
    (world.people[ALICE].disk, world.people[ALICE].keys) = (disk, keys);
    world.people[NEW].disk = before;
    world.start(NEW);
    // What was signed since comes only when the place for the machine is there.
    world.tamper = Some(|request, answer| match request {
        Request::GetContactState(_) | Request::GetState(_) => Answer::refused(RefusalCode::Busy),
        _ => answer,
    });
    world.start(ALICE);
    let code = world.link().unwrap();
    world.run(Duration::from_secs(10));
    world.join(&code);
    world.run(Duration::from_secs(30));
    assert!(world.people[ALICE].node.is_linking());
    world.tamper = None;
    world.calm();
    assert!(!world.people[ALICE].node.is_linking() && !world.is_device());
    assert_eq!(world.noticed(ALICE, |n| matches!(n, Notice::DeviceNotAdded)), 1);
    assert_eq!(world.devices_of_alice().len(), 2);
    // Once the old one is cut off, the machine can come again.
    world.on(ALICE, |node, step| node.revoke_device(&label("tower"), step).unwrap());
    world.calm();
    world.on(NEW, |node, step| node.cancel_joining(step));
    let code = world.link().unwrap();
    world.run(Duration::from_secs(10));
    world.join(&code);
    world.calm();
    assert!(world.is_device());
}

#[test]
fn a_relay_that_keeps_nothing_is_asked_again_without_haste() {
    let mut world = World::new(12, &[0, 0]);
    world.tamper = Some(|request, answer| match request {
        Request::PutState(_) => Answer::refused(RefusalCode::No),
        _ => answer,
    });
    assert!(world.pursue(20));
    world.settle();
    assert!(!world.people[ALICE].node.is_kept());
    let before = world.requests.len();
    world.run(Duration::from_secs(3600));
    assert!(world.requests.len() - before < 40, "{}", world.requests.len() - before);
}

#[test]
fn a_machine_that_was_revoked_while_it_runs_takes_and_replaces_nothing() {
    let (mut world, code) = World::kept(13);
    world.recover(NEW, &code, Some(Revoke::All));
    world.quiet();
    let first = *world.relays[0].accounts.keys().next().unwrap();
    let state = |world: &World| format!("{:?}", world.relays[0].accounts[&first].state);
    let (before, bob) = (state(&world), world.people[BOB].fp());
    let edge = world.people[ALICE].node.route(&bob).map(|route| route.edge);
    // Whether or not the relay looks who asks: this one takes the proof of the root key from anybody.
    world.on(ALICE, |node, step| node.rename(&label("bob"), &label("mallory"), step).unwrap());
    world.quiet();
    assert_eq!(state(&world), before);
    assert_eq!(world.people[ALICE].node.route(&bob).map(|route| route.edge), edge, "no fresh edges");
    assert_eq!(world.people[NEW].node.view(&bob).unwrap().name, label("bob"));
    world.check_mail("still");
}

#[test]
fn what_the_machine_before_signed_unseen_is_no_fork() {
    let (mut world, code) = World::kept(14);
    world.recover(NEW, &code, None);
    world.run(Duration::from_secs(5));
    assert!(world.people[NEW].node.recovery_found().is_some());
    // It is not lost after all, and signs, while somebody looks at the list of its devices.
    let renamed = |node: &mut penpal_contact::Contacts, step: &mut penpal_contact::Step<'_>| {
        node.rename_device(&label("desktop"), &label("attic"), step).is_ok()
    };
    assert_eq!(world.on(ALICE, renamed), Some(true));
    world.run(Duration::from_secs(1));
    world.recover(NEW, &code, Some(Revoke::All));
    world.quiet();
    assert!(world.failures().is_empty(), "{:?}", world.failures());
    let view = world.view(BOB, ALICE).unwrap();
    assert_eq!((view.state, view.trust), (State::Active, Trust::Invited), "nothing contradicts itself");
    assert_eq!(world.devices_of_alice(), ["new"]);
    world.check_mail("one");
}

#[test]
fn a_recovery_that_cannot_be_leaves_no_key_behind() {
    let (mut world, code) = World::kept(15);
    let before = world.people[NEW].node.recovery_code();
    world.tamper = Some(|request, answer| match request {
        Request::DeviceAdd(_) => Answer::refused(RefusalCode::Quota),
        _ => answer,
    });
    world.recover(NEW, &code, Some(Revoke::All));
    world.quiet();
    assert!(!world.failures().is_empty());
    world.tamper = None;
    // It registers as anybody, and under a key of its own.
    let address = code.relay.clone();
    world.on(NEW, |node, step| node.register(address, label("carol"), label("mac"), None, step).unwrap());
    world.quiet();
    assert!(before.is_none());
    assert_ne!(world.people[NEW].node.recovery_code(), Some(code));
}

#[test]
fn what_a_linked_device_did_meanwhile_comes_along() {
    let (mut world, code) = World::kept_among(16, 4);
    let link = world.on(ALICE, |node, step| node.link_device(step)).unwrap().unwrap().code;
    world.run(Duration::from_secs(10));
    world.on(DAVE, |node, step| node.join_account(&link, label("tower"), step).unwrap());
    world.quiet();
    // The primary is gone, and hears nothing of what is decided on the other one.
    world.off.push(ALICE);
    world.on(DAVE, |node, step| node.rename(&label("bob"), &label("robert"), step).unwrap());
    world.quiet();
    world.recover(NEW, &code, Some(Revoke::AllBut(vec![label("tower")])));
    world.quiet();
    assert!(world.failures().is_empty(), "{:?}", world.failures());
    assert_eq!(world.view(NEW, BOB).unwrap().name, label("robert"));
    world.check_mail("with the tower");
    // The tower published its key under the profile key before, and hears of the new one all the same.
    world.on(NEW, |node, step| node.rename(&label("robert"), &label("rob"), step).unwrap());
    world.quiet();
    assert_eq!(world.view(DAVE, BOB).unwrap().name, label("rob"));
}

#[test]
fn nothing_else_begins_while_an_account_comes_back() {
    let (mut world, code) = World::kept_among(17, 4);
    let link = world.on(ALICE, |node, step| node.link_device(step)).unwrap().unwrap().code;
    world.recover(NEW, &code, Some(Revoke::All));
    while !world.people[NEW].node.is_recovering() && world.happen() {}
    let refused = world.on(NEW, |node, step| {
        let relay = code.relay.clone();
        let registered = node.register(relay, label("carol"), label("mac"), None, step).unwrap_err();
        (registered, node.join_account(&link, label("mac"), step).unwrap_err())
    });
    assert_eq!(refused, Some((RegisterError::Joining, JoinError::Recovering)));
    world.quiet();
    world.check_mail("all the same");
}

#[test]
fn a_recovery_that_was_left_alone_ends_when_another_machine_has_the_account_meanwhile() {
    let (mut world, code) = World::kept_among(18, 4);
    let link = world.on(ALICE, |node, step| node.link_device(step)).unwrap().unwrap().code;
    world.run(Duration::from_secs(10));
    world.on(DAVE, |node, step| node.join_account(&link, label("tower"), step).unwrap());
    world.quiet();
    world.off.push(ALICE);
    // It was decided that all go, and the machine was put aside at once.
    world.recover(NEW, &code, Some(Revoke::All));
    while !world.people[NEW].node.is_recovering() && world.happen() {}
    world.unplug(NEW);
    world.recover(DAVE, &code, Some(Revoke::All));
    world.quiet();
    assert_eq!(world.noticed(DAVE, |n| matches!(n, Notice::Recovered { .. })), 1);
    world.off.retain(|who| *who != NEW);
    world.start(NEW);
    world.quiet();
    assert_eq!(world.failures(), [&RecoveryFailure::Overtaken]);
    assert!(world.people[NEW].node.account().is_none() && world.people[NEW].node.recovery_code().is_none());
    assert_eq!(world.devices_of_alice(), ["tower"]);
    // Nor is the tower cut off by it, which was to go.
    world.send(DAVE, "bob", "still one of them");
    world.quiet();
    assert_eq!(world.has_mail(BOB, "still one of them"), 1);
    // Whoever wants it all the same says so again.
    world.recover(NEW, &code, Some(Revoke::All));
    world.quiet();
    assert_eq!(world.noticed(NEW, |n| matches!(n, Notice::Recovered { .. })), 1);
    world.check_mail("in the end");
}

#[test]
fn a_device_that_was_to_take_over_leaves_it_to_the_one_that_did() {
    let (mut world, code) = World::kept_among(19, 4);
    let link = world.on(ALICE, |node, step| node.link_device(step)).unwrap().unwrap().code;
    world.run(Duration::from_secs(10));
    world.on(DAVE, |node, step| node.join_account(&link, label("tower"), step).unwrap());
    world.quiet();
    // It does not know what the relay has when it is decided there.
    world.off.extend([ALICE, DAVE]);
    world.start(DAVE);
    world.recover(DAVE, &code, Some(Revoke::All));
    assert!(world.people[DAVE].node.is_recovering());
    world.recover(NEW, &code, Some(Revoke::AllBut(vec![label("tower")])));
    world.quiet();
    world.off.retain(|who| *who != DAVE);
    world.start(DAVE);
    world.quiet();
    assert_eq!(
        world.noticed(DAVE, |n| matches!(n, Notice::RecoveryFailed(RecoveryFailure::Overtaken))),
        1,
        "{:?}",
        world.people[DAVE].notices
    );
    assert!(world.people[DAVE].node.recovery_code().is_none(), "the root key is nothing for it");
    assert_eq!(world.people[NEW].node.recovery_code(), Some(code));
    assert_eq!(world.devices_of_alice(), ["new", "tower"]);
    world.check_mail("all the same");
}
