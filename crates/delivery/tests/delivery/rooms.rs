//! One message to several people, and messages from rooms that wait for an entry.

use penpal_delivery::{Destination, HeldReason, MailKey, MailState, Mailbox, Placement, Selection, Stage};
use penpal_protocol::ids::{RoomId, ShortHash};
use penpal_protocol::sealed::{RoomRef, Stage as StatedStage};

use crate::world::{Node, Send, World, peer};

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
    let ask =
        world.send(0, Send { kind: penpal_protocol::sealed::Kind::Ask, ..said(&[1, 2], "who?") }).unwrap();
    world.run_seconds(1);
    let question = MailKey::from_contact(ask.msg_id, peer(0).account);
    let answer =
        Send { kind: penpal_protocol::sealed::Kind::Reply, reply_to: Some(question), ..said(&[0, 2], "me") };
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
