//! One message to several people, and messages from rooms that wait for an entry.

use penpal_delivery::{
    Destination, DismissError, Event, HeldReason, MailKey, MailState, Mailbox, Placement, ResolveError,
    RetryError, Selection, Stage, Standing, exact_id,
};
use penpal_protocol::ids::{DeviceId, MsgId, RoomId, ShortHash};
use penpal_protocol::limits::DAY_MS;
use penpal_protocol::sealed::{Kind, RoomRef, Stage as StatedStage};

use crate::world::{Node, Send, World, info, peer};

const ROOM: RoomId = RoomId::from_bytes([9; 16]);

fn said(to: &[usize], text: &str) -> Send {
    let room = RoomRef { id: ROOM, epoch: 3, chain: ShortHash::from_bytes([3; 16]) };
    let to = to.iter().map(|id| Destination::Device(peer(*id))).collect();
    Send { to, room: Some(room), ..Send::note(1, text) }
}

#[test]
fn one_message_reaches_several_people_and_each_copy_has_its_own_stage() {
    let mut world = World::new(41, 5);
    let id = world.send(0, said(&[1, 2, 3], "to three")).unwrap().msg_id;
    // One of them is away.
    world.crash(3);
    world.run_seconds(2);
    for who in [1, 2] {
        assert_eq!(world.nodes[who].texts(Selection::Room(ROOM)), ["to three"]);
        assert_eq!(world.nodes[who].texts(Selection::Unread(Mailbox::Desk)), ["to three"]);
        assert!(world.nodes[who].texts(Selection::With(peer(0).account)).is_empty(), "it is the room's");
    }
    assert!(world.nodes[4].texts(Selection::Room(ROOM)).is_empty());
    let report = world.nodes[0].report(id);
    let stages: Vec<Stage> = report.copies.iter().map(|copy| copy.stage).collect();
    assert_eq!(stages, [Stage::Delivered, Stage::Delivered, Stage::Relayed]);
    assert_eq!(report.stage, Stage::Relayed, "the least far");
    // Whoever did not get it can state nothing of it.
    let forged = world.forge_receipt(4, 0, id, StatedStage::Answered);
    world.deliver_forged(0, forged);
    assert!(world.nodes[0].report(id).copies.iter().all(|copy| copy.stage < Stage::Surfaced));
    // Reading by one says nothing of the others.
    assert_eq!(Node::take_all(&mut world, 2).len(), 1);
    world.restart(3);
    world.run_seconds(300);
    let report = world.nodes[0].report(id);
    let stages: Vec<Stage> = report.copies.iter().map(|copy| copy.stage).collect();
    assert_eq!(stages, [Stage::Delivered, Stage::Surfaced, Stage::Delivered]);
    assert_eq!(report.stage, Stage::Delivered);
    world.check_delivered();
}

#[test]
fn an_own_message_stands_in_its_room_and_an_answer_names_one_copy() {
    let mut world = World::new(42, 3);
    let ask = world.send(0, Send { kind: Kind::Ask, ..said(&[1, 2], "who?") }).unwrap();
    world.run_seconds(1);
    let question = MailKey::from_contact(ask.msg_id, peer(0).account);
    let answer = Send { kind: Kind::Reply, reply_to: Some(question), ..said(&[0, 2], "me") };
    world.send(1, answer).unwrap();
    world.run_seconds(1);
    for who in [0, 1, 2] {
        assert_eq!(world.nodes[who].texts(Selection::Room(ROOM)), ["who?", "me"], "{who}");
        let conversation = world.nodes[who].list(Selection::Room(ROOM))[0].conversation;
        assert_eq!(world.nodes[who].texts(Selection::Conversation(conversation)), ["who?", "me"], "{who}");
    }
    let stages: Vec<Stage> = world.nodes[0].report(ask.msg_id).copies.iter().map(|copy| copy.stage).collect();
    assert_eq!(stages, [Stage::Answered, Stage::Delivered]);
}

#[test]
fn a_message_that_waits_for_an_entry_is_seen_by_nobody_until_it_comes() {
    let mut world = World::new(43, 3);
    world.nodes[1].places.held = Some(HeldReason::RoomEpoch);
    let (first, second) =
        (world.send(0, said(&[1], "shown")).unwrap(), world.send(0, said(&[1], "not")).unwrap());
    world.run_seconds(3);
    assert!(world.nodes[1].texts(Selection::Unread(Mailbox::Desk)).is_empty());
    assert!(world.nodes[1].texts(Selection::Room(ROOM)).is_empty());
    let report = world.nodes[0].report(first.msg_id);
    assert_eq!((report.stage, report.reason.as_deref()), (Stage::Held, Some("room-epoch")));
    // It is kept through a death.
    world.crash(1);
    world.restart(1);
    world.run_seconds(3);
    let key = |sent: &penpal_delivery::Accepted| MailKey::from_contact(sent.msg_id, peer(0).account);
    world.step(1, |machine, step| machine.release_from_room(key(&first), step)).unwrap();
    world.step(1, |machine, step| machine.refuse_from_room(key(&second), "not-a-member", step)).unwrap();
    // Twice is once.
    world.step(1, |machine, step| machine.refuse_from_room(key(&first), "not-a-member", step)).unwrap();
    world.run_seconds(3);
    assert_eq!(world.nodes[1].texts(Selection::Unread(Mailbox::Desk)), ["shown"]);
    assert_eq!(world.nodes[1].texts(Selection::Room(ROOM)), ["shown"]);
    let report = world.nodes[0].report(second.msg_id);
    assert_eq!((report.stage, report.reason.as_deref()), (Stage::Refused, Some("not-a-member")));
    assert_eq!(Node::take_all(&mut world, 1).len(), 1);
}

#[test]
fn what_is_for_somebody_else_waits_for_nobody() {
    let mut world = World::new(44, 2);
    for held in [None, Some(HeldReason::RoomEpoch)] {
        world.nodes[1].places = Placement { mailbox: Mailbox::Desk, held, quiet: true };
        let sent = world.send(0, said(&[1], "for another")).unwrap();
        world.run_seconds(3);
        let key = MailKey::from_contact(sent.msg_id, peer(0).account);
        world.step(1, |machine, step| machine.release_from_room(key, step)).unwrap();
        world.run_seconds(1);
        let kept = world.nodes[1].list(Selection::Room(ROOM)).pop().unwrap();
        assert_eq!((kept.key, kept.state), (key, Some(MailState::History)));
        assert!(world.nodes[1].texts(Selection::Unread(Mailbox::Desk)).is_empty());
        assert_eq!(world.nodes[1].machine().unread(Mailbox::Desk).unread, 0);
    }
}

#[test]
fn an_id_that_two_people_used_means_neither_of_their_messages() {
    let mut world = World::new(45, 4);
    let bobs = world.send(1, said(&[0, 2], "from bob")).unwrap();
    world.run_seconds(1);
    // Everybody in the room knows the id, and one of them uses it.
    let mut copied = Send::note(0, "from mallory").message(&world.nodes[2]);
    copied.msg_id = Some(bobs.msg_id);
    world.step(2, |machine, step| machine.send(copied, step)).unwrap().unwrap();
    world.run_seconds(1);
    let [from_bob, from_mallory] = [1, 2].map(|who| MailKey::from_contact(bobs.msg_id, peer(who).account));
    let node = &world.nodes[0];
    assert_eq!(
        [from_bob, from_mallory].map(|key| node.text(key)),
        ["from bob", "from mallory"].map(str::to_owned)
    );
    let find = |typed: &str| node.machine().resolve(typed, |_| true, &node.rows);
    assert!(matches!(
        find(&bobs.msg_id.to_text()),
        Err(ResolveError::Ambiguous { candidates, .. }) if candidates.len() == 2
    ));
    // The short id is the one that it was shown with, and each can be named.
    assert_eq!(find(&bobs.short), Ok(from_bob));
    for key in [from_bob, from_mallory] {
        assert_eq!(find(&exact_id(&key)), Ok(key));
    }
    let stranger = MailKey::from_contact(bobs.msg_id, peer(3).account);
    assert!(matches!(find(&exact_id(&stranger)), Err(ResolveError::Unknown { .. })));
    // The start of a fingerprint can be chosen, too: a few characters of it name nobody.
    let few = format!("{}.{}", bobs.msg_id.to_text(), &peer(1).account.to_text()[..3]);
    assert!(matches!(find(&few), Err(ResolveError::Unknown { .. })));
}

#[test]
fn the_answer_is_that_of_whoever_gave_it_and_no_message_with_its_id() {
    let mut world = World::new(46, 3);
    let ask = world.send(0, Send { kind: Kind::Ask, ..said(&[1, 2], "who?") }).unwrap();
    world.run_seconds(1);
    // It has the id of the question itself.
    let mut answer = Send::reply(0, "mine", MailKey::from_contact(ask.msg_id, peer(0).account));
    answer.room.clone_from(&said(&[], "").room);
    let mut answer = answer.message(&world.nodes[2]);
    answer.msg_id = Some(ask.msg_id);
    world.step(2, |machine, step| machine.send(answer, step)).unwrap().unwrap();
    world.run_seconds(1);
    let theirs = MailKey::from_contact(ask.msg_id, peer(2).account);
    assert_eq!(world.nodes[0].report(ask.msg_id).reply, Some(theirs));
}

/// Bob has a message, and Carol's machine did not take it.
fn lost_for_one(seed: u64) -> (World, MsgId) {
    let mut world = World::new(seed, 3);
    world.nodes[2].places.held = Some(HeldReason::RoomEpoch);
    let id = world.send(0, said(&[1, 2], "to both")).unwrap().msg_id;
    world.run_seconds(1);
    assert_eq!(world.nodes[0].machine().dead_count(), 0);
    assert_eq!(Node::take_all(&mut world, 1).len(), 1);
    let key = MailKey::from_contact(id, peer(0).account);
    world.step(2, |machine, step| machine.refuse_from_room(key, "room-epoch", step)).unwrap();
    world.run_seconds(1);
    world.nodes[2].places.held = None;
    (world, id)
}

#[test]
fn that_one_of_several_got_nothing_is_told_and_it_alone_is_tried_again() {
    let (mut world, id) = lost_for_one(47);
    let stages =
        |world: &World| world.nodes[0].report(id).copies.iter().map(|copy| copy.stage).collect::<Vec<_>>();
    assert_eq!(stages(&world), [Stage::Surfaced, Stage::Refused]);
    assert_eq!(world.nodes[0].machine().dead_count(), 1);
    let carol = peer(2).account;
    let told = Event::FailedFor { msg_id: id, account: carol, stage: Stage::Refused };
    assert_eq!(world.nodes[0].events.iter().filter(|event| **event == told).count(), 1);
    world.restart(0);
    assert_eq!(world.nodes[0].machine().dead_count(), 1);
    // Not for somebody who is out of the room meanwhile.
    let none =
        world.step(0, |machine, step| machine.retry_for(id, |account| *account != carol, step)).unwrap();
    assert!(matches!(none, Err(RetryError::Done { .. })));
    let before = world.deposits;
    world.step(0, |machine, step| machine.retry(id, step)).unwrap().unwrap();
    assert_eq!(world.nodes[0].machine().dead_count(), 0);
    world.run_seconds(1);
    assert_eq!(stages(&world), [Stage::Surfaced, Stage::Delivered]);
    assert_eq!(world.nodes[2].texts(Selection::Unread(Mailbox::Desk)), ["to both"]);
    assert!(world.nodes[1].texts(Selection::Unread(Mailbox::Desk)).is_empty());
    // One there, and its receipt.
    assert_eq!(world.deposits - before, 2);
}

#[test]
fn what_did_not_leave_is_not_sent_to_whoever_is_out_meanwhile() {
    let mut world = World::new(52, 3);
    world.offline.insert(0);
    world.cut(0);
    let id = world.send(0, said(&[1, 2], "to both")).unwrap().msg_id;
    world.send(0, Send::note(1, "to bob")).unwrap();
    world.run_seconds(5);
    let bob = peer(1).account;
    let other = RoomId::from_bytes([8; 16]);
    for room in [other, ROOM] {
        assert!(world.nodes[0].report(id).copies.iter().all(|copy| copy.stage == Stage::Queued));
        world.step(0, |machine, step| machine.withdraw(room, bob, step)).unwrap();
    }
    world.offline.clear();
    world.run_seconds(5);
    assert_eq!(world.nodes[1].texts(Selection::Unread(Mailbox::Desk)), ["to bob"]);
    assert_eq!(world.nodes[2].texts(Selection::Unread(Mailbox::Desk)), ["to both"]);
    let report = world.nodes[0].report(id);
    let stages: Vec<Stage> = report.copies.iter().map(|copy| copy.stage).collect();
    assert_eq!(stages, [Stage::Refused, Stage::Delivered]);
    // It is no failure, and nothing to try again.
    assert_eq!(world.nodes[0].machine().dead_count(), 0);
    let again = world.step(0, |machine, step| machine.retry(id, step)).unwrap();
    assert!(matches!(again, Err(RetryError::Done { .. })));
}

/// The relay took it, and its answer was lost: whether it went is not known, and *refused* could not be taken back.
#[test]
fn what_may_have_left_is_not_called_refused_when_its_reader_is_out() {
    let mut world = World::new(53, 3);
    world.run_seconds(1);
    let id = world.send(0, said(&[1, 2], "to both")).unwrap().msg_id;
    let before = world.deposits;
    while world.deposits < before + 2 {
        world.run_for(std::time::Duration::from_millis(1));
    }
    world.offline.insert(0);
    world.crash(0);
    world.start(0);
    let bob = peer(1).account;
    world.step(0, |machine, step| machine.withdraw(ROOM, bob, step)).unwrap();
    let stage_of_bob = |world: &World| {
        let copies = world.nodes[0].report(id).copies;
        copies.into_iter().find(|copy| copy.peer == peer(1)).unwrap().stage
    };
    assert_eq!(stage_of_bob(&world), Stage::Expired);
    world.offline.clear();
    world.run_seconds(60);
    assert_eq!(world.nodes[1].texts(Selection::Unread(Mailbox::Desk)), ["to both"]);
    assert_eq!(stage_of_bob(&world), Stage::Delivered);
}

#[test]
fn that_one_of_several_got_nothing_can_be_dismissed() {
    let (mut world, id) = lost_for_one(48);
    world.step(0, |machine, step| machine.dismiss(id, step)).unwrap().unwrap();
    assert_eq!(world.nodes[0].machine().dead_count(), 0);
    // The list knows it after a restart, and a message that everybody has is no failure.
    world.restart(0);
    assert_eq!(world.nodes[0].machine().dead_count(), 0);
    let other = world.send(0, said(&[1, 2], "to both again")).unwrap().msg_id;
    world.run_seconds(1);
    let early = world.step(0, |machine, step| machine.dismiss(other, step)).unwrap();
    assert!(matches!(early, Err(DismissError::NotFailed { .. })));
}

#[test]
fn a_failure_after_others_were_dismissed_is_listed_again() {
    let mut world = World::new(49, 3);
    for who in [1, 2] {
        world.nodes[who].places.held = Some(HeldReason::RoomEpoch);
    }
    let id = world.send(0, said(&[1, 2], "to both")).unwrap().msg_id;
    world.run_seconds(1);
    let key = MailKey::from_contact(id, peer(0).account);
    for who in [1, 2] {
        world.step(who, |machine, step| machine.refuse_from_room(key, "room-epoch", step)).unwrap();
        world.run_seconds(1);
        assert_eq!(world.nodes[0].machine().dead_count(), 1);
        world.step(0, |machine, step| machine.dismiss(id, step)).unwrap().unwrap();
        assert_eq!(world.nodes[0].machine().dead_count(), 0);
    }
}

#[test]
fn what_is_for_one_of_the_room_stands_as_it_does_with_that_one() {
    let mut world = World::new(50, 3);
    // The others keep it and show it to nobody, so they never say more than that they have it.
    world.nodes[2].places.quiet = true;
    let id = world.send(0, Send { for_session_of: Some(1), ..said(&[2, 1], "for bob") }).unwrap().msg_id;
    world.run_seconds(1);
    assert_eq!(Node::take_all(&mut world, 1).len(), 1);
    world.run_seconds(1);
    let report = world.nodes[0].report(id);
    let stages: Vec<Stage> = report.copies.iter().map(|copy| copy.stage).collect();
    assert_eq!(stages, [Stage::Delivered, Stage::Surfaced]);
    assert_eq!(report.stage, Stage::Surfaced);
    world.restart(0);
    assert_eq!(world.nodes[0].report(id).stage, Stage::Surfaced);
}

#[test]
fn an_answer_that_is_held_answers_nothing_until_it_is_shown() {
    let mut world = World::new(51, 2);
    for (held, probation) in [(Some(HeldReason::RoomEpoch), false), (None, true)] {
        let ask = world.send(0, Send { kind: Kind::Ask, ..said(&[1], "well?") }).unwrap();
        world.run_seconds(1);
        world.nodes[0].places.held = held;
        let standing = if probation { Standing::OnProbation } else { Standing::Active };
        world
            .step(0, |machine, step| machine.set_contact(peer(1).account, info(peer(1), standing), step))
            .unwrap();
        let question = MailKey::from_contact(ask.msg_id, peer(0).account);
        let answer = Send { kind: Kind::Reply, reply_to: Some(question), ..said(&[0], "yes") };
        let answer = MailKey::from_contact(world.send(1, answer).unwrap().msg_id, peer(1).account);
        world.run_seconds(1);
        let report = world.nodes[0].report(ask.msg_id);
        assert_eq!((report.stage, report.reply), (Stage::Delivered, None));
        let node = &world.nodes[0];
        let found = node.machine().resolve(&answer.msg_id.to_text(), |_| true, &node.rows);
        assert!(matches!(found, Err(ResolveError::Held { .. })), "{found:?}");
        world.step(0, |machine, step| machine.release_from_room(answer, step)).unwrap();
        world
            .step(0, |machine, step| {
                machine.set_contact(peer(1).account, info(peer(1), Standing::Active), step)
            })
            .unwrap();
        world.run_seconds(1);
        let report = world.nodes[0].report(ask.msg_id);
        assert_eq!((report.stage, report.reply), (Stage::Answered, Some(answer)));
    }
}

#[test]
fn a_message_from_the_future_waits_for_its_time_after_its_entry_came() {
    for restarts in [true, false] {
        let mut world = World::new(53, 2);
        world.nodes[1].places.held = Some(HeldReason::RoomEpoch);
        world.nodes[0].skew_ms = i64::try_from(3 * DAY_MS).unwrap();
        let id = world.send(0, said(&[1], "from the future")).unwrap().msg_id;
        world.run_seconds(3);
        let key = MailKey::from_contact(id, peer(0).account);
        world.step(1, |machine, step| machine.release_from_room(key, step)).unwrap();
        assert!(world.nodes[1].texts(Selection::Unread(Mailbox::Desk)).is_empty());
        if restarts {
            world.restart(1);
        }
        world.run_seconds(2 * 24 * 3600 + 60);
        assert_eq!(world.nodes[1].texts(Selection::Unread(Mailbox::Desk)), ["from the future"]);
    }
}

#[test]
fn an_entry_that_comes_when_the_clocks_agree_just_so_shows_the_message() {
    let mut world = World::new(54, 2);
    world.nodes[1].places.held = Some(HeldReason::RoomEpoch);
    world.nodes[0].skew_ms = i64::try_from(2 * DAY_MS).unwrap();
    let sent_ms = world.now(0).wall_ms;
    let id = world.send(0, said(&[1], "just so")).unwrap().msg_id;
    world.run_seconds(3);
    let ahead = sent_ms - world.now(1).wall_ms - penpal_protocol::limits::MAX_CLOCK_AHEAD_MS;
    world.run_for(std::time::Duration::from_millis(ahead));
    let key = MailKey::from_contact(id, peer(0).account);
    world.step(1, |machine, step| machine.release_from_room(key, step)).unwrap();
    assert_eq!(world.nodes[1].texts(Selection::Unread(Mailbox::Desk)), ["just so"]);
    // What is said in a room is of nobody's thread, and whoever said it is known.
    let newer = world.nodes[1].machine().newer(0, 9, &world.nodes[1].rows).unwrap();
    assert_eq!(
        newer.iter().map(|(view, from)| (view.key, *from)).collect::<Vec<_>>(),
        [(key, Some(peer(0).account))]
    );
}

#[test]
fn a_message_for_hundreds_of_devices_is_one_record_that_can_be_read() {
    let mut world = World::new(55, 2);
    let device = |number: u16| {
        let mut id = [0xee; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        Destination::Device(penpal_delivery::Peer::new(peer(1).account, DeviceId::from_bytes(id)))
    };
    let to = (0..500).map(device).collect();
    let message = Send { to, ..said(&[], "to everybody") }.message(&world.nodes[0]);
    let sent = world.step(0, |machine, step| machine.send(message, step)).unwrap().unwrap();
    world.restart(0);
    assert_eq!(world.nodes[0].report(sent.msg_id).copies.len(), 500);
}
