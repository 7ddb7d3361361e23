//! What was lost on the way, or cannot be opened, comes again.

use std::time::Duration;

use penpal_delivery::{ContactInfo, Destination, Event, Mailbox, Peer, Selection, Stage, Standing};
use penpal_protocol::ids::{DeviceId, EdgeId, KeyId};
use penpal_protocol::limits::HOUR_MS;

use penpal_protocol::sealed::{Kind, Stage as Stated};

use crate::world::{Send, World, info, peer};

#[test]
fn a_swallowed_message_is_sent_again_after_an_hour() {
    let mut world = World::new(300, 2);
    world.swallow.insert(1, 1);
    let id = world.send(0, Send::note(1, "lost once")).unwrap().msg_id;
    world.run_seconds(3000);
    assert_eq!(world.nodes[0].stage(id), Stage::Relayed);
    world.run_seconds(700);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
}

#[test]
fn and_two_minutes_after_the_recipient_came_up() {
    let mut world = World::new(301, 2);
    world.swallow.insert(1, 1);
    let id = world.send(0, Send::note(1, "lost once")).unwrap().msg_id;
    world.run_seconds(60);
    world.cut(1);
    world.run_seconds(100);
    assert_eq!(world.nodes[0].stage(id), Stage::Relayed);
    world.run_seconds(30);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
}

#[test]
fn tries_double_to_six_hours() {
    let mut world = World::new(302, 2);
    world.swallow.insert(1, u64::MAX);
    world.send(0, Send::note(1, "never arrives")).unwrap();
    world.run_seconds(10);
    let mut gaps = Vec::new();
    let (mut last, mut count) = (world.mono, world.deposits);
    for _ in 0..60 * 24 {
        world.run_seconds(60);
        if world.deposits > count {
            gaps.push((world.mono - last).as_secs().div_ceil(3600));
            (last, count) = (world.mono, world.deposits);
        }
    }
    assert_eq!(gaps, [1, 2, 4, 6, 6]);
}

#[test]
fn a_swallowed_receipt_is_repeated() {
    let mut world = World::new(303, 2);
    world.swallow.insert(0, 1);
    let id = world.send(0, Send::note(1, "hello")).unwrap().msg_id;
    world.run_seconds(60);
    assert_eq!(world.nodes[0].stage(id), Stage::Relayed);
    world.run_seconds(3700);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
    assert_eq!(world.nodes[1].texts(Selection::All(Mailbox::Desk)).len(), 1);
}

#[test]
fn an_hour_of_swallowed_envelopes_heals() {
    let mut world = World::new(304, 3);
    for id in 0..3 {
        world.swallow.insert(id, 40);
    }
    for round in 0..30 {
        world.send(0, Send::note(1, &format!("{round}")));
        world.send(1, Send::note(2, &format!("{round}")));
        world.send(2, Send::note(0, &format!("{round}")));
        world.run_seconds(20);
    }
    world.heal();
    world.check_delivered();
}

#[test]
fn a_request_to_seal_again_is_made_once_a_minute_and_answered_once() {
    let mut world = World::new(305, 2);
    world.send(0, Send::note(1, "warm up")).unwrap();
    world.run_seconds(1);
    world.offline.insert(1);
    world.cut(1);
    for n in 0..20 {
        world.send(0, Send::note(1, &format!("{n}"))).unwrap();
    }
    world.run_seconds(5);
    world.nodes[1].seeds.clear();
    world.restart(1);
    world.offline.clear();
    let before = world.deposits;
    world.run_seconds(180);
    // At most three requests, twenty answers, and receipts.
    assert!(world.deposits - before <= 3 + 20 + 25, "{} deposits", world.deposits - before);
    world.check_delivered();
    assert!(world.nodes[1].events.iter().any(|event| matches!(event, Event::Unreadable { .. })));
}

#[test]
fn a_stranger_cannot_ask_for_messages_of_others() {
    let mut world = World::new(306, 3);
    world.swallow.insert(1, 1);
    world.send(0, Send::note(1, "for node 1 only")).unwrap();
    world.run_seconds(5);
    let hashes: Vec<_> = world.nodes[0]
        .rows
        .0
        .keys()
        .filter(|(table, _)| *table == penpal_delivery::Table::Sealed)
        .map(|(_, key)| penpal_protocol::ids::ShortHash::from_slice(key).unwrap())
        .collect();
    assert_eq!(hashes.len(), 1);
    let before = world.deposits;
    let forged = world.forge_need_reseal(2, 0, &hashes);
    world.deliver_forged(0, forged);
    world.run_seconds(30);
    assert_eq!(world.deposits, before, "an answer to a stranger");
    assert_eq!(world.nodes[0].rows_of(penpal_delivery::Table::Sealed), 1);
}

#[test]
fn a_receipt_for_a_message_that_did_not_go_there_counts_nothing() {
    let mut world = World::new(307, 3);
    world.offline.insert(1);
    world.cut(1);
    let id = world.send(0, Send::note(1, "for node 1 only")).unwrap().msg_id;
    world.run_seconds(5);
    let forged = world.forge_receipt(2, 0, id, Stated::Delivered);
    world.deliver_forged(0, forged);
    world.run_seconds(5);
    assert_eq!(world.nodes[0].stage(id), Stage::Relayed);
    let honest = world.forge_receipt(1, 0, id, Stated::Delivered);
    world.deliver_forged(0, honest);
    world.run_seconds(5);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
}

#[test]
fn a_refused_contact_is_gone_and_tried_hourly_then_refused() {
    let mut world = World::new(308, 2);
    world.relay.refuses.insert((peer(0), peer(1)));
    let life_ms = Some(5 * 3600 * 1000);
    let id = world.send(0, Send { life_ms, ..Send::note(1, "gone") }).unwrap().msg_id;
    world.run_seconds(10);
    let gone = Event::Gone { account: peer(1).account };
    assert_eq!(world.nodes[0].events.iter().filter(|event| **event == gone).count(), 1);
    assert_eq!(world.nodes[0].report(id).reason.as_deref(), Some("gone"));
    assert_eq!(world.nodes[0].stage(id), Stage::Queued);
    let before = world.deposits;
    world.run_for(Duration::from_secs(3 * 3600 + 60));
    assert_eq!(world.deposits - before, 3);
    world.run_for(Duration::from_secs(2 * 3600));
    assert_eq!(world.nodes[0].stage(id), Stage::Refused);
    assert_eq!(world.nodes[0].machine().dead_count(), 1);
}

#[test]
fn what_is_sent_to_a_contact_that_is_gone_says_so_at_once_and_ends_refused() {
    let mut world = World::new(312, 2);
    world.relay.refuses.insert((peer(0), peer(1)));
    world.step(0, |machine, step| machine.handle_gone(peer(1).account, step)).unwrap();
    let life_ms = Some(3600 * 1000);
    let id = world.send(0, Send { life_ms, ..Send::note(1, "gone") }).unwrap().msg_id;
    assert_eq!(world.nodes[0].report(id).reason.as_deref(), Some("gone"));
    world.run_for(Duration::from_secs(3700));
    assert_eq!(world.nodes[0].stage(id), Stage::Refused);
    assert_eq!(world.nodes[0].report(id).reason.as_deref(), Some("gone"));
    world.step(0, |machine, step| machine.retry(id, step)).unwrap().unwrap();
    assert_eq!(world.nodes[0].report(id).reason.as_deref(), Some("gone"));
    // What completes another invite has an edge of its own.
    world.relay.refuses.clear();
    let accept = Send { kind: Kind::Control, boot: true, ..Send::note(1, "") };
    let accept = world.send(0, accept).unwrap().msg_id;
    assert_eq!(world.nodes[0].report(accept).reason, None);
    world.step(0, |machine, step| machine.handle_gone(peer(1).account, step)).unwrap();
    world.run_seconds(5);
    assert_eq!(world.nodes[0].stage(accept), Stage::Delivered);
}

#[test]
fn a_refusal_that_ends_lets_everything_through() {
    let mut world = World::new(309, 2);
    world.relay.refuses.insert((peer(0), peer(1)));
    world.send(0, Send::note(1, "a")).unwrap();
    world.send(0, Send::note(1, "b")).unwrap();
    world.run_seconds(100);
    world.relay.refuses.clear();
    world.run_seconds(3700);
    assert_eq!(world.nodes[1].texts(Selection::All(Mailbox::Desk)), ["a", "b"]);
    assert!(world.nodes[0].events.contains(&Event::Back { account: peer(1).account }));
}

#[test]
fn what_one_edge_refused_goes_by_the_next_at_once() {
    let mut world = World::new(311, 2);
    world.relay.refuses.insert((peer(0), peer(1)));
    let id = world.send(0, Send::note(1, "a")).unwrap().msg_id;
    world.run_seconds(10);
    assert_eq!(world.nodes[0].report(id).reason.as_deref(), Some("gone"));
    // The contact made new edges, as after a revocation; the old one is refused from then on.
    world.relay.refuses.clear();
    let edge = Some(EdgeId::from_bytes([9; 16]));
    let other = ContactInfo { edge, ..info(peer(1), Standing::Active) };
    world.step(0, |machine, step| machine.set_contact(peer(1).account, other, step));
    assert_eq!(world.nodes[0].report(id).reason, None);
    world.run_seconds(10);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
    assert!(world.nodes[0].events.contains(&Event::Back { account: peer(1).account }));
}

#[test]
fn a_refusal_of_an_edge_that_gave_place_meanwhile_is_none_of_the_contact() {
    let mut world = World::new(312, 2);
    world.relay.refuses.insert((peer(0), peer(1)));
    let id = world.send(0, Send::note(1, "a")).unwrap().msg_id;
    // The relay has said no, and the word is on its way.
    while world.refused == 0 {
        world.run_for(Duration::from_micros(20));
    }
    assert!(world.nodes[0].events.is_empty(), "{:?}", world.nodes[0].events);
    world.relay.refuses.clear();
    let edge = Some(EdgeId::from_bytes([9; 16]));
    let other = ContactInfo { edge, ..info(peer(1), Standing::Active) };
    world.step(0, |machine, step| machine.set_contact(peer(1).account, other, step));
    world.run_seconds(10);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
    assert!(!world.nodes[0].events.contains(&Event::Gone { account: peer(1).account }));
}

#[test]
fn what_was_taken_before_its_contact_was_gone_is_expired_and_not_refused() {
    let mut world = World::new(312, 2);
    world.swallow.insert(0, 9);
    let life_ms = Some(5 * HOUR_MS);
    let id = world.send(0, Send { life_ms, ..Send::note(1, "taken") }).unwrap().msg_id;
    world.run_seconds(60);
    assert_eq!(world.nodes[1].texts(Selection::All(Mailbox::Desk)), ["taken"]);
    world.relay.refuses.insert((peer(0), peer(1)));
    world.run_seconds(2 * 3600);
    assert_eq!(world.nodes[0].report(id).reason.as_deref(), Some("gone"));
    world.run_seconds(4 * 3600);
    assert_eq!(world.nodes[0].stage(id), Stage::Expired, "whether it is there is not known here");
    let receipt = world.forge_receipt(1, 0, id, Stated::Delivered);
    world.deliver_forged(0, receipt);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
}

#[test]
fn a_device_with_another_place_gets_at_once_what_was_refused_at_the_one_before() {
    let mut world = World::new(314, 2);
    let other = DeviceId::from_bytes([77; 16]);
    let laptop = Peer::new(peer(1).account, other);
    let both =
        |list| ContactInfo { devices: vec![peer(1).device, other], list, ..info(peer(1), Standing::Active) };
    world.relay.refuses.insert((peer(0), peer(1)));
    world.step(0, |machine, step| machine.set_contact(peer(1).account, both(1), step));
    let id = world.send(0, Send::note(1, "a")).unwrap().msg_id;
    world.run_seconds(10);
    assert_eq!(world.nodes[0].report(id).reason.as_deref(), Some("gone"));
    // The relay was put back, and its account put the device there again: the next list names the new place.
    world.relay.refuses.clear();
    world.relay.register(laptop);
    world.step(0, |machine, step| machine.set_contact(peer(1).account, both(2), step));
    world.run_seconds(10);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
}

#[test]
fn a_refused_receipt_keeps_no_message_from_the_next_place() {
    let mut world = World::new(315, 2);
    let other = DeviceId::from_bytes([77; 16]);
    let both =
        |list| ContactInfo { devices: vec![peer(1).device, other], list, ..info(peer(1), Standing::Active) };
    world.step(0, |machine, step| machine.set_contact(peer(1).account, both(1), step));
    world.relay.refuses.insert((peer(0), peer(1)));
    world.send(1, Send::note(0, "hello")).unwrap();
    world.run_seconds(10);
    assert_eq!(world.nodes[0].texts(Selection::Unread(Mailbox::Desk)), ["hello"]);
    world.relay.refuses.clear();
    world.relay.register(Peer::new(peer(1).account, other));
    world.step(0, |machine, step| machine.set_contact(peer(1).account, both(2), step));
    let id = world.send(0, Send::note(1, "a")).unwrap().msg_id;
    world.run_seconds(10);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
}

#[test]
fn a_device_that_is_refused_says_nothing_of_the_others_of_its_account() {
    let mut world = World::new(313, 2);
    let other = DeviceId::from_bytes([77; 16]);
    let laptop = Peer::new(peer(1).account, other);
    world.relay.refuses.insert((peer(0), laptop));
    let both = ContactInfo { devices: vec![peer(1).device, other], ..info(peer(1), Standing::Active) };
    world.step(0, |machine, step| machine.set_contact(peer(1).account, both, step));
    world.relay.register(laptop);
    world.relay.publish(laptop, KeyId::from_bytes([7; 8]));
    let to = vec![Destination::Device(peer(1)), Destination::Device(laptop)];
    let first =
        world.send(0, Send { to, life_ms: Some(3 * HOUR_MS), ..Send::note(1, "first") }).unwrap().msg_id;
    world.run_seconds(10);
    let copies = |world: &World| -> Vec<_> {
        let report = world.nodes[0].report(first);
        report.copies.into_iter().map(|copy| (copy.stage, copy.reason)).collect()
    };
    assert_eq!(copies(&world), [(Stage::Delivered, None), (Stage::Queued, Some("gone".to_owned()))]);
    let second = world.send(0, Send::note(1, "second")).unwrap().msg_id;
    world.run_seconds(10);
    assert_eq!(world.nodes[0].stage(second), Stage::Delivered);
    let gone = Event::Gone { account: peer(1).account };
    assert!(!world.nodes[0].events.contains(&gone), "one of two devices is no contact");
    // The list without it ends what was for it.
    world
        .step(0, |machine, step| machine.set_contact(peer(1).account, info(peer(1), Standing::Active), step));
    let revoked = (Stage::Refused, Some("device-revoked".to_owned()));
    assert_eq!(copies(&world), [(Stage::Delivered, None), revoked]);
}

#[test]
fn a_full_spool_is_waited_for_in_order() {
    let mut world = World::new(310, 2);
    world.faults.full = 1000;
    let id = world.send(0, Send::note(1, "a")).unwrap().msg_id;
    world.send(0, Send::note(1, "b")).unwrap();
    world.run_seconds(20);
    assert_eq!(world.nodes[0].report(id).reason.as_deref(), Some("recipient-full"));
    world.faults.full = 0;
    world.run_seconds(60);
    assert_eq!(world.nodes[1].texts(Selection::All(Mailbox::Desk)), ["a", "b"]);
}

#[test]
fn an_answer_is_believed_only_from_the_answer_itself() {
    let mut world = World::new(311, 2);
    let id = world.send(0, Send::ask(1, "answered?")).unwrap().msg_id;
    world.run_seconds(5);
    let claim = world.forge_receipt(1, 0, id, Stated::Answered);
    world.deliver_forged(0, claim);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
}

#[test]
fn receipts_that_found_a_full_spool_are_tried_again_soon() {
    let mut world = World::new(312, 2);
    let id = world.send(0, Send::note(1, "hello")).unwrap().msg_id;
    while world.nodes[1].rows_of(penpal_delivery::Table::Mail) == 0 {
        world.run_for(Duration::from_micros(50));
    }
    world.faults.full = 1000;
    world.run_seconds(20);
    assert_eq!(world.nodes[0].stage(id), Stage::Relayed);
    world.faults.full = 0;
    world.run_seconds(60);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
}

#[test]
fn a_long_queue_goes_in_bounded_bites() {
    let mut world = World::new(313, 2);
    world.relay.down = true;
    world.cut(0);
    for n in 0..100 {
        world.send(0, Send::note(1, &format!("{n}"))).unwrap();
    }
    world.relay.down = false;
    world.run_seconds(60);
    assert_eq!(world.nodes[0].most_sealed, 32);
    world.check_delivered();
}

#[test]
fn a_row_before_the_answer_to_hello_is_left_at_the_relay() {
    let mut world = World::new(314, 2);
    let (epoch, newest) = world.relay.hello(peer(1));
    world.offline.insert(1);
    world.cut(1);
    let body = world.forge_letter(0, 1, "early", None);
    let row = penpal_delivery::SpoolRow { epoch, seq: newest + 7 };
    assert_eq!(world.deliver_row(1, Some(row), body), Some(penpal_delivery::Outcome::Stale));
    assert!(world.nodes[1].list(Selection::All(Mailbox::Desk)).is_empty());
}
