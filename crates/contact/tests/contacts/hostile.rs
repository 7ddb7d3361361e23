//! A relay that lies. Each test is one attack; its name says what comes of it.

use penpal_contact::{
    AddFailure, At, ControlError, Heard, InviteStatus, KeyChange, Notice, Opener, State, Step, Table, Trust,
    Via,
};
use penpal_protocol::{
    cbor::Blob,
    ids::{DeviceId, ShortHash, SlotId},
    sealed::{Control, ManifestRef},
    text::InviteCode,
    wire::{Answer, InviteAnswer, InviteState, RefusalCode, Request},
};
use penpal_seal::{ManifestError, RecordError};
use proptest::prelude::*;

use crate::{
    happy::label,
    support::{ALICE, BOB, CAROL, World, relay::Row},
};

fn invited(people: usize) -> (World, InviteCode) {
    let mut world = World::new(21, &[0, 0, 0][..people]);
    world.register(ALICE);
    world.settle();
    let code = world.invite(ALICE).unwrap();
    world.settle();
    (world, code)
}

fn failure(world: &World, who: usize) -> Option<AddFailure> {
    world.people[who].notices.iter().rev().find_map(|notice| match notice {
        Notice::AddFailed { why, .. } => Some(why.clone()),
        _ => None,
    })
}

fn link(world: &World, of: usize) -> Opener {
    Opener { contact: world.people[of].fp(), via: Via::Link }
}

fn device(world: &World, of: usize) -> DeviceId {
    world.people[of].node.account().unwrap().device
}

/// How often Alice asked for somebody's profile.
fn looked(world: &World) -> usize {
    let asked =
        |(who, request): &&(usize, Request)| *who == ALICE && matches!(request, Request::GetContactState(_));
    world.requests.iter().filter(asked).count()
}

#[test]
fn an_altered_record_is_refused() {
    let (mut world, code) = invited(2);
    for invite in world.relays[0].invites.values_mut() {
        let last = invite.record.len() - 1;
        invite.record[last] ^= 1;
    }
    world.add(BOB, &code).unwrap().unwrap();
    world.settle();
    assert_eq!(failure(&world, BOB), Some(AddFailure::Record(RecordError::Closed)));
    assert!(world.people[BOB].disk.secrets.is_empty() && world.people[BOB].node.list().is_empty());
}

#[test]
fn the_record_of_another_invite_is_refused() {
    let (mut world, code) = invited(3);
    world.register(CAROL);
    world.settle();
    world.invite(CAROL);
    world.settle();
    let carols = world.people[CAROL].node.invites()[0].invite;
    let record = world.relays[0].invites[&carols].record.clone();
    let alices = world.people[ALICE].node.invites()[0].invite;
    world.relays[0].invites.get_mut(&alices).unwrap().record = record;
    world.add(BOB, &code).unwrap().unwrap();
    world.settle();
    assert_eq!(failure(&world, BOB), Some(AddFailure::Record(RecordError::Closed)));
}

#[test]
fn a_record_of_another_account_than_the_code_names_is_refused() {
    let (mut world, code) = invited(3);
    let swapped =
        InviteCode::new(code.secret.clone(), world.people[CAROL].fp(), code.relay.clone(), code.expires_ms());
    world.add(BOB, &swapped).unwrap().unwrap();
    world.settle();
    assert!(matches!(failure(&world, BOB), Some(AddFailure::Record(RecordError::OtherAccount { .. }))));
    assert_eq!(world.state(ALICE, BOB), None);
}

#[test]
fn a_made_up_request_is_told_and_does_not_spend_the_invite() {
    let (mut world, code) = invited(2);
    let alice = world.people[ALICE].transport();
    let invite = world.people[ALICE].node.invites()[0].invite;
    for length in [0, 100, 8000] {
        world.relays[0].spools.entry(alice).or_default().push(Row::Redeemed(invite, vec![7; length]));
    }
    world.settle();
    assert_eq!(world.noticed(ALICE, |n| matches!(n, Notice::RequestForged { .. })), 1, "told once");
    world.add(BOB, &code).unwrap().unwrap();
    world.settle();
    world.on(ALICE, |node, step| node.accept(&label("bob"), step).unwrap());
    world.settle();
    assert!(world.connected(ALICE, BOB));
}

#[test]
fn a_swapped_request_never_becomes_a_contact() {
    let (mut world, code) = invited(2);
    let alice = world.people[ALICE].transport();
    // The relay holds bob's request back and hands out one that was altered.
    world.people[ALICE].hello = true;
    world.add(BOB, &code).unwrap().unwrap();
    for _ in 0..200 {
        world.happen();
        for row in world.relays[0].spools.entry(alice).or_default() {
            if let Row::Redeemed(_, request) = row {
                request[1200] ^= 1;
            }
        }
    }
    world.settle();
    assert_eq!(world.state(ALICE, BOB), None);
    assert_eq!(world.noticed(ALICE, |n| matches!(n, Notice::RequestForged { .. })), 1);
}

#[test]
fn a_reopened_invite_warns_and_keeps_the_first() {
    for accept_first in [false, true] {
        let (mut world, code) = invited(3);
        let invite = world.people[ALICE].node.invites()[0].invite;
        let open = world.relays[0].invites[&invite].clone();
        world.add(BOB, &code).unwrap().unwrap();
        world.settle();
        if accept_first {
            world.on(ALICE, |node, step| node.accept(&label("bob"), step).unwrap());
            world.settle();
        }
        world.relays[0].invites.insert(invite, open);
        world.add(CAROL, &code).unwrap().unwrap();
        world.settle();
        assert_eq!(world.noticed(ALICE, |n| matches!(n, Notice::SecondRequest { first: Some(_), .. })), 1);
        assert_eq!(world.state(ALICE, CAROL), None);
        if !accept_first {
            world.on(ALICE, |node, step| node.accept(&label("bob"), step).unwrap());
            world.settle();
        }
        assert!(world.connected(ALICE, BOB));
    }
}

#[test]
fn a_replayed_request_changes_nothing() {
    let (mut world, code) = invited(2);
    world.add(BOB, &code).unwrap().unwrap();
    let alice = world.people[ALICE].transport();
    let mut row = None;
    while row.is_none() {
        world.happen();
        row = world.relays[0].spools.get(&alice).and_then(|rows| rows.first().cloned());
    }
    let row = row.unwrap();
    let replay = |world: &mut World| {
        world.relays[0].spools.get_mut(&alice).unwrap().push(row.clone());
        world.settle();
    };
    replay(&mut world);
    world.on(ALICE, |node, step| node.accept(&label("bob"), step).unwrap());
    replay(&mut world);
    assert!(world.connected(ALICE, BOB));
    world.on(ALICE, |node, step| node.remove(&label("bob"), step).unwrap());
    replay(&mut world);
    world.start(ALICE);
    replay(&mut world);
    assert_eq!(world.state(ALICE, BOB), None);
    assert_eq!(world.noticed(ALICE, |n| matches!(n, Notice::Requested { .. })), 1);
    assert_eq!(
        world.noticed(ALICE, |n| matches!(n, Notice::SecondRequest { .. } | Notice::RequestForged { .. })),
        0
    );
}

#[test]
fn a_replayed_acceptance_is_a_repetition() {
    let (mut world, code) = invited(2);
    world.add(BOB, &code).unwrap().unwrap();
    world.settle();
    world.on(ALICE, |node, step| node.accept(&label("bob"), step).unwrap());
    let bob = world.people[BOB].transport();
    let mut row = None;
    while row.is_none() {
        world.happen();
        row = world.relays[0].spools.get(&bob).and_then(|rows| rows.first().cloned());
    }
    world.settle();
    assert!(world.connected(ALICE, BOB));
    for restart in [false, true] {
        if restart {
            // Even without the duplicate marks of delivery.
            world.people[BOB].disk.seen.clear();
            world.start(BOB);
        }
        world.relays[0].spools.get_mut(&bob).unwrap().push(row.clone().unwrap());
        world.settle();
        assert!(world.connected(ALICE, BOB));
        assert_eq!(world.people[BOB].foreign, 0);
    }
    world.check_rest();
}

#[test]
fn an_acceptance_under_another_key_is_refused() {
    let mut world = World::of_contacts(3, &[0, 0]);
    let device = world.people[ALICE].node.account().unwrap().device;
    let accept = penpal_protocol::sealed::Accept {
        body: Blob::new(vec![1; 64]).unwrap(),
        sig: penpal_protocol::ids::Signature::from_bytes([1; 64]),
        mac: penpal_protocol::ids::Mac::from_bytes([1; 32]),
    };
    let control = Control { accept: Some(accept), ..Control::default() };
    let opener = link(&world, ALICE);
    let heard = world.on(BOB, |node, step| node.handle_control(opener, &device, &control, step)).unwrap();
    assert_eq!(heard, Err(ControlError::Misplaced));
    let boot = Opener { via: Via::Boot(penpal_protocol::ids::InviteId::from_bytes([9; 16])), ..opener };
    let heard = world.on(BOB, |node, step| node.handle_control(boot, &device, &control, step)).unwrap();
    assert_eq!(heard, Err(ControlError::Late));
    assert!(world.connected(ALICE, BOB));
}

#[test]
fn a_relay_that_says_no_to_the_link_leaves_no_half_contact() {
    let (mut world, code) = invited(2);
    world.add(BOB, &code).unwrap().unwrap();
    world.settle();
    world.tamper = Some(|request, answer| match request {
        Request::EdgeLink(_) => Answer::refused(RefusalCode::No),
        _ => answer,
    });
    world.on(ALICE, |node, step| node.accept(&label("bob"), step).unwrap());
    world.settle();
    assert_eq!(world.state(ALICE, BOB), Some(State::Gone));
    world.tamper = None;
    world.days(32);
    assert!(matches!(world.state(BOB, ALICE), Some(State::Declined) | None));
    assert!(world.people.iter().all(|person| person.disk.secrets.is_empty()));
}

#[test]
fn a_relay_that_says_declined_ends_the_request_on_both_sides() {
    let (mut world, code) = invited(2);
    world.add(BOB, &code).unwrap().unwrap();
    world.settle();
    world.tamper = Some(|request, answer| match request {
        Request::InviteFetch(_) => Answer::refused(RefusalCode::No),
        _ => answer,
    });
    world.days(1);
    world.tamper = None;
    assert_eq!(world.state(BOB, ALICE), Some(State::Declined));
    world.on(ALICE, |node, step| node.accept(&label("bob"), step).unwrap());
    world.settle();
    assert_eq!(world.state(ALICE, BOB), Some(State::Gone), "neither is a contact");
}

#[test]
fn a_relay_that_says_used_is_believed_and_told() {
    let (mut world, code) = invited(2);
    world.tamper = Some(|request, answer| match (request, &answer) {
        (Request::InviteFetch(_), Answer::Invite(_)) => {
            Answer::Invite(InviteAnswer { state: InviteState::Redeemed, record: None })
        }
        _ => answer,
    });
    world.add(BOB, &code).unwrap().unwrap();
    world.settle();
    assert_eq!(failure(&world, BOB), Some(AddFailure::Used));
}

#[test]
fn nonsense_answers_are_tried_again_and_harm_nothing() {
    let (mut world, code) = invited(2);
    world.tamper = Some(|_, _| {
        Answer::Registered(penpal_protocol::wire::Registered {
            account: penpal_protocol::ids::AccountId::from_bytes([1; 16]),
            slot: SlotId::from_bytes([1; 16]),
            handle: penpal_protocol::text::Label::new("nobody").unwrap(),
        })
    });
    world.invite(ALICE);
    world.settle();
    world.tamper = Some(|_, _| Answer::refused(RefusalCode::Busy));
    world.add(BOB, &code).unwrap().unwrap();
    world.settle();
    assert_eq!(world.state(BOB, ALICE), None);
    world.tamper = None;
    world.settle();
    assert_eq!(world.state(BOB, ALICE), Some(State::PendingOut));
}

#[test]
fn an_old_manifest_is_refused_and_told() {
    let mut world = World::of_contacts(3, &[0, 0]);
    let bob = world.people[BOB].transport();
    let old = world.relays[0].accounts[&bob].clone();
    world.days(25);
    let pinned = world.people[ALICE].node.manifest(&world.people[BOB].fp()).unwrap().version();
    assert!(pinned > 1);
    let newest = world.relays[0].accounts.insert(bob, old).unwrap();
    let fp = world.people[BOB].fp();
    world.people[BOB].hello = true;
    world.on(ALICE, |node, step| node.fetch(&fp, step));
    for _ in 0..20 {
        world.happen();
    }
    assert_eq!(world.noticed(ALICE, |n| matches!(n, Notice::OldManifest { .. })), 1);
    assert_eq!(world.people[ALICE].node.manifest(&fp).unwrap().version(), pinned, "a version never falls");
    assert_eq!(world.view(ALICE, BOB).unwrap().trust, Trust::Invited);
    world.relays[0].accounts.insert(bob, newest);
}

#[test]
fn a_withheld_manifest_is_asked_for_again_and_known_devices_go_on() {
    let mut world = World::of_contacts(3, &[0, 0]);
    let fp = world.people[BOB].fp();
    let newer = ManifestRef { version: 9, hash: ShortHash::from_bytes([9; 16]) };
    let (opener, device) = (link(&world, BOB), device(&world, BOB));
    let mine = world.people[ALICE].node.account().unwrap().manifest;
    let before = looked(&world);
    world.on(ALICE, |node, step| node.handle_message(opener, &device, &newer, Some(&mine), step));
    world.settle();
    assert_eq!(looked(&world), before + 1);
    world.on(ALICE, |node, step| node.handle_message(opener, &device, &newer, Some(&mine), step));
    world.settle();
    assert_eq!(looked(&world), before + 1, "once for each version");
    world.start(ALICE);
    world.settle();
    assert_eq!(looked(&world), before + 2, "and at each start");
    assert_eq!(world.people[ALICE].node.manifest(&fp).unwrap().version(), 1);
    world.check_rest();
}

/// Whoever runs their own relay would see the difference between somebody who blocked them and somebody who is off.
#[test]
fn nothing_is_asked_about_who_is_blocked() {
    let mut world = World::of_contacts(3, &[0, 0]);
    let (opener, device) = (link(&world, BOB), device(&world, BOB));
    let newer = ManifestRef { version: 9, hash: ShortHash::from_bytes([9; 16]) };
    let fp = world.people[BOB].fp();
    world.on(ALICE, |node, step| node.block(&label("bob"), step).unwrap());
    world.settle();
    let before = looked(&world);
    world.on(ALICE, |node, step| node.handle_message(opener, &device, &newer, None, step));
    world.on(ALICE, |node, step| node.fetch(&fp, step));
    world.days(3);
    world.start(ALICE);
    world.days(3);
    assert_eq!(looked(&world), before);
    world.on(ALICE, |node, step| node.unblock(&label("bob"), step).unwrap());
    world.settle();
    assert_eq!(looked(&world), before + 1, "and at once when they are not");
}

#[test]
fn a_forked_manifest_blocks_until_a_person_verifies() {
    let mut world = World::of_contacts(3, &[0, 0]);
    let fp = world.people[BOB].fp();
    let pinned = world.people[ALICE].node.manifest(&fp).unwrap().reference();
    let forked = ManifestRef { hash: ShortHash::from_bytes([9; 16]), ..pinned };
    let (opener, device) = (link(&world, BOB), device(&world, BOB));
    world.on(ALICE, |node, step| node.handle_message(opener, &device, &forked, None, step));
    assert_eq!(world.noticed(ALICE, |n| matches!(n, Notice::KeyChanged { why: KeyChange::Fork, .. })), 1);
    let view = world.view(ALICE, BOB).unwrap();
    assert_eq!(
        (view.state, view.trust, view.changed),
        (State::Blocked, Trust::Changed, Some(KeyChange::Fork))
    );
    assert!(!world.people[ALICE].node.route(&fp).unwrap().open);
    assert!(world.people[ALICE].node.peer(&opener).unwrap().shut);
    world.send(BOB, "alice", "while blocked");
    world.settle();
    assert_eq!(world.has_mail(ALICE, "while blocked"), 0);
    world.start(ALICE);
    assert_eq!(world.view(ALICE, BOB).unwrap().trust, Trust::Changed, "also after a restart");
    let number = world.view(BOB, ALICE).unwrap().safety.unwrap();
    world.on(ALICE, |node, step| node.verify(&label("bob"), &number, step).unwrap());
    assert_eq!(world.view(ALICE, BOB).unwrap().state, State::Active);
    world.days(1);
    assert_eq!(world.has_mail(ALICE, "while blocked"), 1);
}

#[test]
fn another_root_blocks_with_a_warning_and_is_never_pinned() {
    let mut world = World::new(3, &[0, 0, 0]);
    world.connect(ALICE, BOB);
    world.connect(ALICE, CAROL);
    let [bob, carol] = [BOB, CAROL].map(|who| world.people[who].fp());
    let device = world.people[BOB].node.account().unwrap().device;
    let manifest = world.people[ALICE].node.manifest(&carol).unwrap().signed().to_vec();
    let control = Control { manifest: Some(Blob::new(manifest).unwrap()), ..Control::default() };
    let opener = link(&world, BOB);
    let heard = world.on(ALICE, |node, step| node.handle_control(opener, &device, &control, step)).unwrap();
    assert!(matches!(heard, Err(ControlError::Manifest(ManifestError::OtherRoot { .. }))));
    assert_eq!(world.view(ALICE, BOB).unwrap().changed, Some(KeyChange::Root));
    assert_eq!(world.people[ALICE].node.manifest(&bob).unwrap().fingerprint(), bob);
    let empty = Control::default();
    let heard = world.on(ALICE, |node, step| node.handle_control(opener, &device, &empty, step)).unwrap();
    assert_eq!(heard, Ok(Heard::Ignored));
}

#[test]
fn impossible_revisions_do_not_use_up_our_versions() {
    let mut world = World::of_contacts(3, &[0, 0]);
    let alice = world.people[ALICE].transport();
    let account = world.relays[0].accounts.get_mut(&alice).unwrap();
    let honest = std::mem::replace(&mut account.revision, u64::MAX);
    world.people[ALICE].hello = false;
    world.settle();
    let mine = world.people[ALICE].node.account().unwrap().manifest;
    let lie = ManifestRef { version: u64::MAX - 1, hash: mine.hash };
    let (opener, device) = (link(&world, BOB), device(&world, BOB));
    let theirs = world.people[BOB].node.account().unwrap().manifest;
    world.on(ALICE, |node, step| node.handle_message(opener, &device, &theirs, Some(&lie), step));
    world.settle();
    assert_eq!(world.people[ALICE].node.account().unwrap().manifest, mine);
    world.relays[0].accounts.get_mut(&alice).unwrap().revision = honest;
    world.people[ALICE].hello = false;
    world.days(16);
    assert_eq!(world.people[ALICE].node.account().unwrap().manifest.version, mine.version + 1);
}

#[test]
fn a_contact_that_knows_a_manifest_we_never_signed_is_told_and_overtaken() {
    let mut world = World::of_contacts(3, &[0, 0]);
    let mine = world.people[ALICE].node.account().unwrap().manifest;
    let ahead = ManifestRef { version: mine.version + 5, hash: ShortHash::from_bytes([9; 16]) };
    let (opener, device) = (link(&world, BOB), device(&world, BOB));
    let theirs = world.people[BOB].node.account().unwrap().manifest;
    world.on(ALICE, |node, step| node.handle_message(opener, &device, &theirs, Some(&ahead), step));
    world.settle();
    assert_eq!(world.noticed(ALICE, |n| matches!(n, Notice::ForeignManifest { .. })), 1);
    assert_eq!(world.people[ALICE].node.account().unwrap().manifest.version, mine.version + 6);
}

#[test]
fn a_contact_behind_is_sent_our_newest_manifest_once() {
    let mut world = World::of_contacts(3, &[0, 0]);
    world.days(16);
    let fp = world.people[ALICE].fp();
    let newest = world.people[ALICE].node.account().unwrap().manifest;
    assert!(newest.version > 1);
    let (opener, device) = (link(&world, BOB), device(&world, BOB));
    let theirs = world.people[BOB].node.account().unwrap().manifest;
    for _ in 0..2 {
        world.on(ALICE, |node, step| node.handle_message(opener, &device, &theirs, None, step));
    }
    assert_eq!(world.people[ALICE].disk.outbox.len(), 1);
    world.settle();
    assert_eq!(world.people[BOB].node.manifest(&fp).unwrap().reference(), newest);
}

#[test]
fn garbage_rows_are_refused_with_their_table() {
    let world = World::of_contacts(3, &[0, 0]);
    let keys = world.people[ALICE].keys.clone();
    for ((table, key), value) in &world.people[ALICE].disk.rows {
        let mut restoring = penpal_contact::Contacts::restoring(keys.clone());
        let mut refused = |table: Table, key: &[u8], value: &[u8]| restoring.row(table, key, value).is_err();
        assert!(refused(*table, key, &[]) && refused(*table, key, &[1]) && refused(*table, key, &[9, 9, 9]));
        assert!(refused(*table, b"x", value) && refused(*table, &[], value));
        let mut other = value.clone();
        other[0] = 2;
        assert!(refused(*table, key, &other), "another version");
        assert!(refused(*table, key, &value[..value.len() - 1]), "cut");
        if key.len() >= 16 {
            let mut swapped = key.clone();
            swapped[key.len() - 1] ^= 1;
            assert!(refused(*table, &swapped, value), "a row of {table:?} under another key");
        }
    }
}

#[test]
fn no_answer_of_a_relay_panics() {
    // Every kind of answer to every request, in a running world.
    let answers: [fn(&Request, Answer) -> Answer; 6] = [
        |_, _| Answer::Done,
        |_, _| Answer::refused(RefusalCode::No),
        |_, _| Answer::refused(RefusalCode::Used),
        |_, _| Answer::refused(RefusalCode::Conflict),
        |_, _| Answer::refused(RefusalCode::NotRegistered),
        |_, _| Answer::Invite(InviteAnswer { state: InviteState::Open, record: None }),
    ];
    for (number, tamper) in answers.into_iter().enumerate() {
        let mut world = World::new(u64::try_from(number).unwrap(), &[0, 1]);
        world.tamper = Some(tamper);
        assert!(!world.pursue(5), "nobody becomes a contact of a liar's making");
        world.days(2);
        let mut world = World::of_contacts(3, &[0, 1]);
        world.tamper = Some(tamper);
        let (alice, bob) = (world.people[ALICE].fp(), world.people[BOB].fp());
        world.on(ALICE, |node, step| node.fetch(&bob, step));
        world.on(BOB, |node, step| node.fetch(&alice, step));
        world.on(ALICE, |node, step| node.invite(2, 3_600_000, true, step).unwrap());
        world.days(6);
        world.on(ALICE, |node, step| node.handle_connected(&At::Home, step));
        world.settle();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a row says, it is refused or the machine runs on it.
    #[test]
    fn no_stored_row_panics(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut world = World::of_contacts(3, &[0, 0]);
        world.invite(ALICE);
        let rows = &mut world.people[ALICE].disk.rows;
        let which = rows.keys().nth(which.index(rows.len())).unwrap().clone();
        let row = rows.get_mut(&which).unwrap();
        let at = at.index(row.len());
        row[at] = value;
        let mut restoring = penpal_contact::Contacts::restoring(world.people[ALICE].keys.clone());
        for ((table, key), value) in &world.people[ALICE].disk.rows {
            let _refused = restoring.row(*table, key, value);
        }
        let mut step = Step { now: world.now, rng: &mut world.rng };
        world.people[ALICE].node = restoring.finish(&mut step);
        world.on(ALICE, |node, step| {
            node.handle_timeout(step);
            node.list().len()
        });
    }

    /// Whatever a relay passes on as a request, the invite stays open for the right one.
    #[test]
    fn no_request_panics(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let (mut world, _) = invited(2);
        let invite = world.people[ALICE].node.invites()[0].invite;
        world.on(ALICE, |node, step| node.handle_redeemed(&invite, &bytes, step));
        prop_assert_eq!(world.people[ALICE].node.invites()[0].status, InviteStatus::Open);
    }
}
