//! What people do besides the happy path.

use penpal_contact::{
    AcceptRequestError, AddError, AddFailure, ContactError, InviteEnd, InviteError, InviteStatus, Notice,
    RegistrationFailure, State, Trust,
};
use penpal_protocol::{
    ids::SpoolEpoch,
    limits::HOUR_MS,
    wire::{HelloAnswer, Request, Verdict},
};

use crate::{
    happy::label,
    support::{ALICE, BOB, CAROL, World},
};

const LIFE_MS: u64 = 72 * HOUR_MS;

/// Alice at home with an open invite; her code.
fn invited(homes: &[usize]) -> (World, penpal_protocol::text::InviteCode) {
    let mut world = World::new(11, homes);
    world.register(ALICE);
    world.settle();
    let code = world.invite(ALICE).unwrap();
    world.settle();
    (world, code)
}

/// As [`invited`], and bob has asked.
fn requested() -> World {
    let (mut world, code) = invited(&[0, 0, 0]);
    world.add(BOB, &code).unwrap().unwrap();
    world.settle();
    assert_eq!(world.state(ALICE, BOB), Some(State::PendingIn));
    world
}

fn failure(world: &World, who: usize) -> Option<AddFailure> {
    world.people[who].notices.iter().rev().find_map(|notice| match notice {
        Notice::AddFailed { why, .. } => Some(why.clone()),
        _ => None,
    })
}

#[test]
fn taken_handle_leaves_the_code_unspent() {
    let (mut world, code) = invited(&[0, 0]);
    world.people[BOB].handle = label("alice");
    world.add(BOB, &code).unwrap().unwrap();
    world.settle();
    assert_eq!(failure(&world, BOB), Some(AddFailure::Registration(RegistrationFailure::HandleTaken)));
    assert!(world.people[BOB].disk.secrets.is_empty() && !world.people[BOB].node.is_registering());
    world.people[BOB].handle = label("bob");
    world.add(BOB, &code).unwrap().unwrap();
    world.settle();
    assert_eq!(world.state(BOB, ALICE), Some(State::PendingOut));
}

#[test]
fn a_code_can_be_used_again_and_again_by_the_same_person() {
    let (mut world, code) = invited(&[0, 0]);
    let first = world.add(BOB, &code).unwrap().unwrap();
    for _ in 0..3 {
        assert_eq!(world.add(BOB, &code).unwrap(), Ok(first));
        world.settle();
    }
    world.on(ALICE, |node, step| node.accept(&label("bob"), step).unwrap());
    world.settle();
    assert!(world.connected(ALICE, BOB));
    assert_eq!(world.noticed(ALICE, |n| matches!(n, Notice::SecondRequest { .. })), 0);
}

/// A code may name any relay and any author: what comes to nothing ends, and is in nobody's way.
#[test]
fn a_code_whose_relay_does_not_answer_ends_and_gives_way_to_another_one() {
    let mut world = World::new(41, &[1, 0]);
    for who in [ALICE, BOB] {
        world.register(who);
    }
    world.settle();
    let codes: [_; 3] = std::array::from_fn(|_| world.invite(ALICE).unwrap());
    world.settle();
    world.relays[1].down = true;
    world.add(BOB, &codes[0]).unwrap().unwrap();
    let introduced = world.on(BOB, |node, step| node.add_introduced(&codes[1], step)).unwrap();
    assert_eq!(introduced, Err(AddError::Pending { name: None }));
    world.days(4);
    assert_eq!(failure(&world, BOB), Some(AddFailure::NotFound));
    assert!(world.people[BOB].disk.secrets.is_empty());
    let asked = world.requests.len();
    world.days(2);
    let about = |(who, request): &(usize, Request)| *who == BOB && matches!(request, Request::InviteFetch(_));
    assert!(!world.requests[asked..].iter().any(about));

    let codes: [_; 2] = {
        world.relays[1].down = false;
        let codes = std::array::from_fn(|_| world.invite(ALICE).unwrap());
        world.settle();
        world.relays[1].down = true;
        codes
    };
    for code in &codes {
        world.add(BOB, code).unwrap().unwrap();
    }
    world.relays[1].down = false;
    world.days(1);
    assert_eq!(world.state(BOB, ALICE), Some(State::PendingOut));
    assert_eq!(world.people[BOB].disk.secrets.len(), 1, "of the latter");
}

/// The account is made by the first code: without its secret it could not be.
#[test]
fn a_code_by_which_a_newcomer_registers_gives_way_to_none() {
    let (mut world, first) = invited(&[0, 0]);
    let second = world.invite(ALICE).unwrap();
    world.settle();
    world.relays[0].down = true;
    world.add(BOB, &first).unwrap().unwrap();
    assert_eq!(world.add(BOB, &second).unwrap(), Err(AddError::Pending { name: None }));
    world.relays[0].down = false;
    world.days(1);
    assert_eq!(world.state(BOB, ALICE), Some(State::PendingOut));
}

#[test]
fn a_used_code_is_said_to_be_intercepted() {
    let (mut world, code) = invited(&[0, 0, 1]);
    world.register(CAROL);
    world.settle();
    world.add(CAROL, &code).unwrap().unwrap();
    world.settle();
    assert_eq!(world.state(ALICE, CAROL), Some(State::PendingIn));
    world.register(BOB);
    world.settle();
    world.add(BOB, &code).unwrap().unwrap();
    world.settle();
    assert_eq!(failure(&world, BOB), Some(AddFailure::Used));
    assert_eq!(world.view(BOB, ALICE).map(|view| view.state), None);
    assert!(world.people[BOB].disk.secrets.is_empty());
}

#[test]
fn a_newcomer_is_told_too_that_the_code_was_used() {
    let (mut world, code) = invited(&[0, 0, 1]);
    world.register(CAROL);
    world.settle();
    world.add(CAROL, &code).unwrap().unwrap();
    world.settle();
    world.add(BOB, &code).unwrap().unwrap();
    world.settle();
    assert_eq!(failure(&world, BOB), Some(AddFailure::Used));
    assert!(!world.people[BOB].node.is_registering() && world.people[BOB].disk.secrets.is_empty());
}

#[test]
fn an_account_made_with_a_code_that_somebody_else_used_first_is_forgotten() {
    let (mut world, code) = invited(&[0, 0, 1]);
    world.register(CAROL);
    world.settle();
    world.add(BOB, &code).unwrap().unwrap();
    while world.people[BOB].node.account().is_none() {
        assert!(world.happen());
    }
    // Carol, at home elsewhere, is quicker: bob's account goes with the code.
    let transport = world.people[BOB].transport();
    world.people[BOB].bundle_wanted = false;
    world.add(CAROL, &code).unwrap().unwrap();
    while world.relays[0].accounts.contains_key(&transport) {
        assert!(world.happen());
    }
    world.on(BOB, |node, step| node.handle_not_registered(step));
    world.settle();
    assert!(world.people[BOB].node.account().is_none());
    assert_eq!(failure(&world, BOB), Some(AddFailure::Used));
    assert_eq!(world.noticed(BOB, |n| matches!(n, Notice::AccountLost { .. })), 1);
    assert!(world.people[BOB].disk.rows.is_empty() && world.people[BOB].disk.secrets.is_empty());
    // Another code makes him another account.
    world.connect(ALICE, BOB);
}

#[test]
fn registering_can_be_given_up_and_done_elsewhere() {
    let (mut world, code) = invited(&[1, 1]);
    world.relays[1].down = true;
    world.add(BOB, &code).unwrap().unwrap();
    world.settle();
    assert!(world.people[BOB].node.is_registering());
    assert!(world.on(BOB, |node, step| node.cancel_registration(step)).unwrap());
    assert_eq!(failure(&world, BOB), Some(AddFailure::Registration(RegistrationFailure::Cancelled)));
    assert!(world.people[BOB].disk.rows.is_empty() && world.people[BOB].disk.secrets.is_empty());
    world.home[BOB] = 0;
    world.register(BOB);
    world.settle();
    assert!(world.ready(BOB));
}

#[test]
fn own_expired_and_handleless_codes_are_refused_at_once() {
    let (mut world, code) = invited(&[0, 0]);
    assert_eq!(world.add(ALICE, &code).unwrap(), Err(AddError::Own));
    assert_eq!(world.on(BOB, |node, step| node.add(&code, None, step)).unwrap(), Err(AddError::NoHandle));
    world.days(4);
    assert_eq!(world.add(BOB, &code).unwrap(), Err(AddError::Expired { expires_ms: code.expires_ms() }));
    assert_eq!(world.noticed(ALICE, |n| matches!(n, Notice::InviteExpired { .. })), 1);
    assert!(world.people[ALICE].disk.secrets.is_empty());
}

#[test]
fn limits_of_invites_are_told_with_their_numbers() {
    let (mut world, _) = invited(&[0, 0]);
    let mut invite = |count, life_ms| {
        world
            .on(ALICE, |node, step| node.invite(count, life_ms, false, step).map(|codes| codes.len()))
            .unwrap()
    };
    assert!(matches!(invite(0, LIFE_MS), Err(InviteError::Count { got: 0, .. })));
    assert!(matches!(invite(65, LIFE_MS), Err(InviteError::Count { got: 65, max: 64 })));
    assert!(matches!(invite(1, 1), Err(InviteError::Life { got_ms: 1, .. })));
    assert!(matches!(invite(1, 40 * 24 * HOUR_MS), Err(InviteError::Life { .. })));
    assert_eq!(invite(8, LIFE_MS).unwrap(), 8);
    assert!(matches!(
        world.on(BOB, |node, step| node.invite(1, LIFE_MS, false, step)).unwrap(),
        Err(InviteError::NoAccount)
    ));
}

#[test]
fn the_longest_invite_carries_a_manifest_that_outlives_it() {
    let (mut world, _) = invited(&[0, 0]);
    world.days(10);
    let code = world
        .on(ALICE, |node, step| node.invite(1, penpal_contact::MAX_INVITE_LIFE_MS, false, step).unwrap())
        .unwrap()
        .remove(0)
        .code;
    world.days(28);
    world.add(BOB, &code).unwrap().unwrap();
    world.settle();
    assert_eq!(world.state(BOB, ALICE), Some(State::PendingOut), "{:?}", failure(&world, BOB));
}

#[test]
fn a_revoked_invite_is_of_no_use() {
    let (mut world, code) = invited(&[0, 0]);
    let invite = world.people[ALICE].node.invites()[0].invite;
    assert!(world.on(ALICE, |node, step| node.revoke_invite(&invite, step)).unwrap());
    world.settle();
    assert_eq!(world.people[ALICE].node.invites()[0].status, InviteStatus::Ended(InviteEnd::Revoked));
    assert!(world.people[ALICE].disk.secrets.is_empty() && world.relays[0].invites.is_empty());
    world.add(BOB, &code).unwrap().unwrap();
    world.settle();
    // Without the invite the relay does not let him register; asked for the reason, it knows no such invite.
    assert_eq!(failure(&world, BOB), Some(AddFailure::NotFound));
    assert!(world.people[BOB].node.account().is_none() && world.people[BOB].disk.secrets.is_empty());
}

#[test]
fn revoked_while_the_request_is_on_its_way_is_declined() {
    let mut world = requested();
    let invite = world.people[ALICE].node.invites()[0].invite;
    assert!(world.on(ALICE, |node, step| node.revoke_invite(&invite, step)).unwrap());
    world.days(2);
    assert_eq!((world.state(ALICE, BOB), world.state(BOB, ALICE)), (None, Some(State::Declined)));
}

#[test]
fn a_declined_request_is_shown_after_a_day_and_can_be_made_again() {
    let mut world = requested();
    world.on(ALICE, |node, step| node.decline(&label("bob"), step).unwrap());
    world.settle();
    assert_eq!(world.state(ALICE, BOB), None);
    assert!(world.people[ALICE].disk.secrets.is_empty());
    assert_eq!(world.state(BOB, ALICE), Some(State::PendingOut), "nobody tells him");
    world.days(1);
    assert_eq!(world.state(BOB, ALICE), Some(State::Declined));
    assert_eq!(world.noticed(BOB, |n| matches!(n, Notice::Declined { .. })), 1);
    assert!(world.people[BOB].disk.secrets.is_empty() && world.relays[0].edges.is_empty());
    let aside = |world: &World| world.people[ALICE].node.was_put_aside(&world.people[BOB].fp());
    world.start(ALICE);
    assert!(aside(&world), "she said no");
    world.connect(ALICE, BOB);
    assert_eq!(world.people[BOB].node.list().len(), 1);
    assert!(!aside(&world));
}

#[test]
fn a_start_asks_at_once_whether_a_request_was_declined() {
    let mut world = requested();
    world.on(ALICE, |node, step| node.decline(&label("bob"), step).unwrap());
    world.settle();
    world.start(BOB);
    world.settle();
    assert_eq!(world.state(BOB, ALICE), Some(State::Declined));
}

#[test]
fn a_request_that_nobody_answers_ends_on_both_sides() {
    let mut world = requested();
    world.days(33);
    assert_eq!((world.state(ALICE, BOB), world.state(BOB, ALICE)), (None, Some(State::Declined)));
    for who in [ALICE, BOB] {
        assert!(world.people[who].disk.secrets.is_empty());
    }
}

#[test]
fn a_withdrawn_request_cannot_be_completed() {
    let mut world = requested();
    world.on(BOB, |node, step| node.remove(&label("alice"), step).unwrap());
    world.settle();
    world.on(ALICE, |node, step| node.accept(&label("bob"), step).unwrap());
    world.settle();
    assert_eq!((world.state(ALICE, BOB), world.state(BOB, ALICE)), (Some(State::Gone), None));
    assert_eq!(world.noticed(ALICE, |n| matches!(n, Notice::Withdrawn { .. })), 1);
    assert!(world.relays[0].edges.is_empty() && world.people[ALICE].disk.secrets.is_empty());
    world.connect(ALICE, BOB);
    world.connect(BOB, ALICE);
}

#[test]
fn removal_ends_deposits_at_once_and_the_other_side_sees_gone() {
    for (remover, other, names) in [(ALICE, BOB, ["bob", "alice"]), (BOB, ALICE, ["alice", "bob"])] {
        let mut world = World::of_contacts(3, &[0, 0]);
        world.on(remover, |node, step| node.remove(&label(names[0]), step).unwrap());
        world.settle();
        assert_eq!(world.noticed(remover, |n| matches!(n, Notice::EdgeEnded { .. })), 1);
        assert_eq!(world.state(remover, other), None);
        assert_eq!(world.state(other, remover), Some(State::Active), "no notice is sent");
        world.send(other, names[1], "are you there?");
        world.settle();
        assert_eq!(world.state(other, remover), Some(State::Gone));
        assert_eq!(world.noticed(other, |n| matches!(n, Notice::Gone { .. })), 1);
        assert_eq!(world.has_mail(remover, "are you there?"), 0);

        // Either may invite the other anew.
        world.people[other].disk.outbox.clear();
        world.connect(other, remover);
        let new = format!("again from {names:?}");
        world.send(other, names[1], &new);
        world.settle();
        assert_eq!(world.has_mail(remover, &new), 1);
        world.on(remover, |node, step| node.remove(&label(names[0]), step).unwrap());
        world.settle();
        world.connect(remover, other);
        assert_eq!(world.people[other].node.list().len(), 1);
    }
}

#[test]
fn removal_without_the_relay_is_told_to_it_later() {
    let mut world = World::of_contacts(3, &[0, 0]);
    world.relays[0].down = true;
    let removed = world.on(ALICE, |node, step| node.remove(&label("bob"), step).unwrap()).unwrap();
    assert!(!removed.at_relay);
    world.settle();
    world.start(ALICE);
    assert_eq!(world.people[ALICE].node.retiring(), 1);
    world.relays[0].down = false;
    world.settle();
    assert_eq!(world.people[ALICE].node.retiring(), 0);
    assert_eq!(world.relays[0].edges.len(), 1, "only bob's edge is left");
}

#[test]
fn inviting_a_contact_anew_replaces_its_connection_without_losing_mail() {
    let mut world = World::of_contacts(3, &[0, 0]);
    world.on(BOB, |node, step| node.verify(&label("alice"), &world_safety(node), step).unwrap());
    world.connect(ALICE, BOB);
    world.connect(BOB, ALICE);
    assert_eq!(world.view(BOB, ALICE).unwrap().trust, Trust::Verified, "the root is the same");
    world.check_rest();
}

fn world_safety(node: &penpal_contact::Contacts) -> penpal_seal::SafetyNumber {
    node.list()[0].safety.unwrap()
}

#[test]
fn invites_that_cross_make_one_connection() {
    for seed in 0..12 {
        let mut world = World::new(seed, &[0, 0]);
        world.faults.shuffle = true;
        for who in [ALICE, BOB] {
            world.register(who);
        }
        world.settle();
        let codes = [world.invite(ALICE).unwrap(), world.invite(BOB).unwrap()];
        world.settle();
        world.add(BOB, &codes[0]).unwrap().unwrap();
        world.add(ALICE, &codes[1]).unwrap().unwrap();
        world.settle();
        world.on(ALICE, |node, step| node.accept(&label("bob"), step).unwrap());
        // One of the two may be complete already; then there is nothing left to accept.
        let _accepted = world.on(BOB, |node, step| node.accept(&label("alice"), step));
        world.settle();
        assert!(world.connected(ALICE, BOB), "seed {seed}");
        world.faults.shuffle = false;
        world.check_rest();
    }
}

#[test]
fn of_two_invites_that_cross_one_acceptance_is_enough() {
    let mut world = World::new(5, &[0, 0]);
    for who in [ALICE, BOB] {
        world.register(who);
    }
    world.settle();
    let codes = [world.invite(ALICE).unwrap(), world.invite(BOB).unwrap()];
    world.settle();
    world.add(BOB, &codes[0]).unwrap().unwrap();
    world.add(ALICE, &codes[1]).unwrap().unwrap();
    world.settle();
    world.on(ALICE, |node, step| node.accept(&label("bob"), step).unwrap());
    world.settle();
    assert!(world.connected(ALICE, BOB));
    for who in [ALICE, BOB] {
        assert_eq!(world.people[who].node.request_count(), 0, "nothing is left to decide");
    }
    world.check_rest();
}

#[test]
fn mail_confirms_an_acceptance_whose_receipt_was_lost() {
    let mut world = requested();
    world.on(ALICE, |node, step| node.accept(&label("bob"), step).unwrap());
    while world.people[BOB].disk.receipts.is_empty() {
        assert!(world.happen());
    }
    world.people[BOB].disk.receipts.clear();
    assert!(!world.view(ALICE, BOB).unwrap().confirmed);
    world.send(BOB, "alice", "thank you");
    while world.people[ALICE].disk.mail.is_empty() {
        assert!(world.happen());
    }
    assert!(world.view(ALICE, BOB).unwrap().confirmed);
    world.settle();
    world.check_rest();
}

#[test]
fn mail_under_the_keys_of_a_replaced_connection_is_still_read() {
    let mut world = World::of_contacts(3, &[0, 0]);
    let alice = world.people[ALICE].transport();
    world.send(BOB, "alice", "slow");
    let mut row = None;
    while row.is_none() {
        assert!(world.happen());
        row = world.relays[0].spools.get_mut(&alice).and_then(Vec::pop);
    }
    world.people[BOB].disk.outbox.clear();
    world.connect(ALICE, BOB);
    world.relays[0].spools.get_mut(&alice).unwrap().push(row.unwrap());
    world.settle();
    assert_eq!(world.has_mail(ALICE, "slow"), 1);
    world.days(40);
    assert!(
        world.people[ALICE].node.openers().all(|(opener, _)| opener.via == penpal_contact::Via::Link),
        "in the end it is forgotten"
    );
}

#[test]
fn a_relay_that_lost_our_newest_profile_gets_it_again() {
    let (mut world, _) = invited(&[0, 0]);
    let alice = world.people[ALICE].transport();
    let backup = world.relays[0].clone();
    world.days(16);
    let newest = world.relays[0].accounts[&alice].revision;
    assert!(newest > backup.accounts[&alice].revision);
    world.relays[0] = backup;
    world.relays[0].accounts.get_mut(&alice).unwrap().bundle = None;
    world.people[ALICE].hello = false;
    world.settle();
    let account = &world.relays[0].accounts[&alice];
    assert_eq!(account.revision, newest, "nothing had to be signed for it");
    assert!(account.bundle.is_some());
}

#[test]
fn a_second_contact_of_one_name_gets_a_number() {
    let mut world = World::new(3, &[0, 0, 1]);
    world.people[CAROL].handle = label("bob");
    world.connect(ALICE, BOB);
    world.connect(ALICE, CAROL);
    let names: Vec<_> = world.people[ALICE].node.list().into_iter().map(|view| view.name).collect();
    assert_eq!(names, [label("bob"), label("bob-2")]);
    assert_eq!(world.noticed(ALICE, |n| matches!(n, Notice::NameTaken { .. })), 1);
    let rename = |world: &mut World, from: &str, to: &str| {
        world.on(ALICE, |node, step| node.rename(&label(from), &label(to), step)).unwrap()
    };
    assert_eq!(rename(&mut world, "bob-2", "bob"), Err(ContactError::NameTaken { name: label("bob") }));
    assert_eq!(rename(&mut world, "bob-2", "desk"), Err(ContactError::Reserved { name: label("desk") }));
    assert_eq!(rename(&mut world, "bob-2", "robert"), Ok(()));
    assert!(
        matches!(rename(&mut world, "bobby", "x"), Err(ContactError::Unknown(unknown)) if unknown.candidates == [label("bob")])
    );
    world.start(ALICE);
    assert_eq!(world.view(ALICE, CAROL).unwrap().name, label("robert"));
}

#[test]
fn automatic_acceptance_holds_mail_until_a_person_acts() {
    for verify in [true, false] {
        let mut world = World::new(3, &[0, 0]);
        world.register(ALICE);
        world.settle();
        let code = world.invite_with(ALICE, true).unwrap();
        world.settle();
        world.add(BOB, &code).unwrap().unwrap();
        world.settle();
        assert!(world.connected(ALICE, BOB));
        assert_eq!(world.noticed(ALICE, |n| matches!(n, Notice::Requested { accepted: true, .. })), 1);
        assert!(world.view(ALICE, BOB).unwrap().held);
        assert!(!world.view(BOB, ALICE).unwrap().held);
        if verify {
            world.on(ALICE, |node, step| node.verify(&label("bob"), &world_safety(node), step).unwrap());
        } else {
            world.send(ALICE, "bob", "hello");
        }
        assert!(!world.view(ALICE, BOB).unwrap().held);
    }
}

#[test]
fn a_blocked_contact_is_neither_heard_nor_answered() {
    let mut world = World::of_contacts(3, &[0, 0]);
    world.on(ALICE, |node, step| node.block(&label("bob"), step).unwrap());
    world.send(BOB, "alice", "can you hear me");
    world.settle();
    assert_eq!(world.state(ALICE, BOB), Some(State::Blocked));
    assert_eq!(world.has_mail(ALICE, "can you hear me"), 0);
    assert_eq!(world.state(BOB, ALICE), Some(State::Active), "he sees nothing of it");
    assert!(!world.people[ALICE].node.route(&world.people[BOB].fp()).unwrap().open);
    world.on(ALICE, |node, step| node.unblock(&label("bob"), step).unwrap());
    world.days(1);
    assert_eq!(world.has_mail(ALICE, "can you hear me"), 1);
}

#[test]
fn a_request_of_a_blocked_contact_is_not_accepted() {
    let mut world = World::of_contacts(3, &[0, 0]);
    world.on(ALICE, |node, step| node.block(&label("bob"), step).unwrap());
    let code = world.invite_with(ALICE, true).unwrap();
    world.settle();
    world.add(BOB, &code).unwrap().unwrap();
    world.settle();
    let accepted = world.on(ALICE, |node, step| node.accept(&label("bob"), step)).unwrap();
    assert_eq!(accepted, Err(AcceptRequestError::Blocked { name: label("bob") }));
}

#[test]
fn only_the_right_safety_number_verifies() {
    let mut world = World::new(3, &[0, 0, 0]);
    world.connect(ALICE, BOB);
    world.connect(ALICE, CAROL);
    let numbers = [BOB, CAROL].map(|who| world.view(ALICE, who).unwrap().safety.unwrap());
    let wrong = world.on(ALICE, |node, step| node.verify(&label("bob"), &numbers[1], step)).unwrap();
    assert_eq!(wrong, Err(ContactError::SafetyNumber { name: label("bob") }));
    assert_eq!(world.view(ALICE, BOB).unwrap().trust, Trust::Invited);
    world.on(ALICE, |node, step| node.verify(&label("bob"), &numbers[0], step).unwrap());
    assert_eq!(world.view(ALICE, BOB).unwrap().trust, Trust::Verified);
}

#[test]
fn removal_makes_a_new_profile_key_that_every_other_contact_learns() {
    let mut world = World::new(3, &[0, 0, 1]);
    world.connect(ALICE, BOB);
    world.connect(ALICE, CAROL);
    let before = world.relays[0].accounts[&world.people[ALICE].transport()].clone();
    world.on(ALICE, |node, step| node.remove(&label("bob"), step).unwrap());
    world.settle();
    world.days(3);
    let after = &world.relays[0].accounts[&world.people[ALICE].transport()];
    assert!(
        after.revision > before.revision
            && after.manifest != before.manifest
            && after.bundle != before.bundle
    );
    assert!(
        after.manifest.as_ref().is_some_and(|profile| profile.previous.is_none()),
        "the old copy goes in the end"
    );
    let alice = world.people[ALICE].fp();
    let version = world.people[ALICE].node.account().unwrap().manifest.version;
    world.on(CAROL, |node, step| node.fetch(&alice, step));
    world.settle();
    assert_eq!(world.people[CAROL].node.manifest(&alice).unwrap().version(), version);
}

#[test]
fn a_contact_that_was_away_during_two_removals_still_learns_the_newest_key() {
    let mut world = World::new(3, &[0, 0, 1]);
    world.connect(ALICE, BOB);
    world.connect(ALICE, CAROL);
    for _ in 0..2 {
        world.relays[1].down = true;
        world.on(ALICE, |node, step| node.remove(&label("bob"), step).unwrap());
        world.settle();
        world.relays[1].down = false;
        world.connect(ALICE, BOB);
    }
    world.days(2);
    let alice = world.people[ALICE].fp();
    world.on(CAROL, |node, step| node.fetch(&alice, step));
    world.settle();
    let version = world.people[ALICE].node.account().unwrap().manifest.version;
    assert_eq!(world.people[CAROL].node.manifest(&alice).unwrap().version(), version);
}

#[test]
fn own_manifest_is_renewed_and_contacts_follow() {
    let mut world = World::of_contacts(3, &[0, 1]);
    world.days(70);
    for (who, of) in [(ALICE, BOB), (BOB, ALICE)] {
        let view = world.view(who, of).unwrap();
        assert!(!view.stale, "renewed every fortnight, fetched before it ends");
        assert!(world.people[who].node.account().unwrap().manifest.version >= 4);
    }
}

#[test]
fn secrets_that_are_gone_end_what_needs_them() {
    let mut world = requested();
    for who in [ALICE, BOB] {
        world.people[who].disk.secrets.clear();
        world.start(who);
    }
    world.settle();
    assert_eq!(world.noticed(ALICE, |n| matches!(n, Notice::InviteLost { .. })), 1);
    assert_eq!(failure(&world, BOB), Some(AddFailure::Lost));
    assert_eq!((world.state(ALICE, BOB), world.state(BOB, ALICE)), (None, None));
    assert!(world.relays[0].edges.is_empty());
}

#[test]
fn a_relay_that_went_back_to_a_backup_gets_profile_and_request_again() {
    let (mut world, code) = invited(&[0, 1]);
    world.register(BOB);
    world.settle();
    let backup = world.relays.clone();
    world.add(BOB, &code).unwrap().unwrap();
    world.settle();
    assert_eq!(world.state(BOB, ALICE), Some(State::PendingOut));
    // Alice's relay forgets the redeem, and her row was not delivered twice.
    world.relays[0] = backup[0].clone();
    world.days(1);
    world.on(ALICE, |node, step| node.accept(&label("bob"), step).unwrap());
    world.settle();
    assert!(world.connected(ALICE, BOB));
}

#[test]
fn a_node_that_went_back_to_a_backup_signs_above_what_it_signed_before() {
    let mut world = World::of_contacts(3, &[0, 0]);
    let backup = world.people[ALICE].disk.clone();
    world.on(ALICE, |node, step| node.invite(1, penpal_contact::MAX_INVITE_LIFE_MS, false, step).unwrap());
    world.days(16);
    let signed = world.people[ALICE].node.account().unwrap().manifest;
    assert!(signed.version > 1);
    world.people[ALICE].disk = backup;
    world.start(ALICE);
    world.settle();
    let again = world.people[ALICE].node.account().unwrap().manifest;
    assert!(again.version > signed.version, "{} after {}", again.version, signed.version);
}

#[test]
fn a_node_that_forgot_its_profile_key_tells_a_fresh_one() {
    let mut world = World::new(3, &[0, 0, 1]);
    world.connect(ALICE, BOB);
    world.connect(ALICE, CAROL);
    world.settle();
    let backup = world.people[ALICE].disk.clone();
    world.on(ALICE, |node, step| node.remove(&label("bob"), step).unwrap());
    world.days(3);
    // Carol has the key that was made then; Alice has not, and what was stored under hers is gone.
    world.people[ALICE].disk = backup;
    world.start(ALICE);
    fell_back(&mut world, ALICE);
    world.days(1);
    let (alice, version) =
        (world.people[ALICE].fp(), world.people[ALICE].node.account().unwrap().manifest.version);
    world.on(CAROL, |node, step| node.fetch(&alice, step));
    world.settle();
    assert_eq!(world.people[CAROL].node.manifest(&alice).unwrap().version(), version);
}

#[test]
fn a_node_put_back_by_a_day_can_still_read_who_made_a_new_key_meanwhile() {
    let mut world = World::new(3, &[0, 0, 1]);
    world.connect(CAROL, BOB);
    world.connect(CAROL, ALICE);
    let backup = world.people[ALICE].disk.clone();
    world.on(CAROL, |node, step| node.remove(&label("bob"), step).unwrap());
    world.days(1);
    world.people[ALICE].disk = backup;
    world.start(ALICE);
    let (carol, version) =
        (world.people[CAROL].fp(), world.people[CAROL].node.account().unwrap().manifest.version);
    world.on(ALICE, |node, step| node.fetch(&carol, step));
    world.settle();
    assert_eq!(world.people[ALICE].node.manifest(&carol).unwrap().version(), version);
}

/// The relay says that this node is an older copy.
pub(crate) fn fell_back(world: &mut World, who: usize) {
    let account = world.relays[0].accounts[&world.people[who].transport()].clone();
    let answer = HelloAnswer {
        verdict: Verdict::RolledBack,
        epoch: SpoolEpoch::from_bytes([1; 8]),
        newest: 0,
        handle: account.handle.clone(),
        manifest_revision: account.revision,
    };
    world.on(who, |node, step| node.handle_hello(&answer, step));
    world.people[who].hello = false;
}

#[test]
fn after_a_detected_rollback_nothing_is_signed_until_the_relay_has_answered() {
    let mut world = World::of_contacts(3, &[0, 0]);
    let before = world.people[ALICE].node.account().unwrap().manifest;
    let rolled_back = HelloAnswer {
        verdict: Verdict::RolledBack,
        epoch: SpoolEpoch::from_bytes([1; 8]),
        newest: 0,
        handle: label("alice"),
        manifest_revision: before.version,
    };
    world.on(ALICE, |node, step| node.handle_hello(&rolled_back, step));
    world.days(20);
    assert_eq!(world.people[ALICE].node.account().unwrap().manifest, before);
    world.people[ALICE].hello = false;
    world.settle();
    assert_eq!(world.people[ALICE].node.account().unwrap().manifest.version, before.version + 1);
}

#[test]
fn a_code_may_wait_for_an_account_that_is_being_made_with_a_token() {
    let (mut world, code) = invited(&[0, 0]);
    world.register(BOB);
    world.add(BOB, &code).unwrap().unwrap();
    world.settle();
    assert_eq!(world.state(BOB, ALICE), Some(State::PendingOut));
}

#[test]
fn a_relay_that_was_away_is_asked_again_with_the_same_bytes() {
    let (mut world, code) = invited(&[0, 1]);
    world.register(BOB);
    world.settle();
    world.add(BOB, &code).unwrap().unwrap();
    while !world.requests.iter().any(|(_, request)| matches!(request, Request::InviteRedeem(_))) {
        assert!(world.happen());
    }
    world.relays[0].down = true;
    world.settle();
    world.start(BOB);
    world.settle();
    assert_eq!(world.state(BOB, ALICE), Some(State::PendingOut));
    world.relays[0].down = false;
    world.run(std::time::Duration::from_secs(3700));
    let redeems = world.requests.iter().filter(|(_, request)| matches!(request, Request::InviteRedeem(_)));
    let redeems: Vec<_> = redeems.map(|(_, request)| request).collect();
    assert!(redeems.len() > 3 && redeems.iter().all(|request| *request == redeems[0]));
    assert_eq!(world.state(ALICE, BOB), Some(State::PendingIn));
}

#[test]
fn the_relay_never_learns_a_root_key_or_fingerprint() {
    let world = World::of_contacts(3, &[0, 0]);
    for person in &world.people {
        let root = person.keys.root.as_ref().unwrap().public();
        for needle in [root.as_bytes().as_slice(), person.fp().as_bytes()] {
            assert!(!world.relays[0].seen.windows(needle.len()).any(|window| window == needle));
        }
    }
    // A code's secret neither: only what is derived from it.
    assert!(world.requests.iter().any(|(_, request)| matches!(request, Request::InviteCreate(_))));
}
