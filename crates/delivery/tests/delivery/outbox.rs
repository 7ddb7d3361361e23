//! What is taken to be sent, what is said of it, and what it leaves.

use std::time::Duration;

use penpal_delivery::{Command, Destination, Mailbox, Sealed, Selection, SendError, Stage, Table, Witness};
use penpal_protocol::cbor::{List, Text};
use penpal_protocol::ids::{BlobId, Capability, Hash, Incarnation, KeyId, MsgId, XWingPublicKey};
use penpal_protocol::limits::{DAY_MS, HOUR_MS, MAX_CONTENT_BYTES, MAX_MESSAGE_LIFE_MS};
use penpal_protocol::sealed::{ArtifactRef, Content, Kind, OfferedKey, ReceiptBatch, Stage as Stated};

use crate::world::{RELAY, Send, World, peer};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn an_address_and_a_content_have_a_length() {
    let mut world = World::new(1100, 1);
    let mut to = |length: usize| {
        let mut message = Send::local(Mailbox::Desk, "x").message(&world.nodes[0]);
        message.to = "a".repeat(length);
        world.step(0, |machine, step| machine.send(message, step)).unwrap().unwrap();
        let view = world.nodes[0].list(Selection::All(Mailbox::Desk)).pop().unwrap();
        view.sent_to.unwrap().len()
    };
    assert_eq!([to(10), to(256), to(257), to(9999)], [10, 256, 64, 64]);
    let file = ArtifactRef {
        hash: Hash::from_bytes([1; 32]),
        bytes: u64::MAX,
        name: Text::truncated(&"n".repeat(255)),
        media: Some(Text::truncated(&"m".repeat(127))),
        blob: BlobId::from_bytes([1; 16]),
        relay: Text::truncated(&"r".repeat(320)),
        token: Capability::from_bytes([1; 32]),
        key: Capability::from_bytes([1; 32]),
    };
    let mut content = |text: usize| {
        let mut letter = Send::local(Mailbox::Desk, &"x".repeat(text)).letter();
        letter.artifacts = Some(List::new(vec![file.clone(); 16]).unwrap());
        let mut message = Send::local(Mailbox::Desk, "").message(&world.nodes[0]);
        message.content = Content::Letter(Box::new(letter));
        let encoded = message.content.encode().len();
        (encoded, world.step(0, |machine, step| machine.send(message, step)).unwrap().is_ok())
    };
    let beside = content(50_000).0 - 50_000;
    assert_eq!(content(MAX_CONTENT_BYTES - beside), (MAX_CONTENT_BYTES, true));
    assert_eq!(content(MAX_CONTENT_BYTES - beside + 1), (MAX_CONTENT_BYTES + 1, false));
    let mut life = |life_ms| {
        let send = Send { life_ms: Some(life_ms), ..Send::local(Mailbox::Desk, "x") };
        let message = send.message(&world.nodes[0]);
        world.step(0, |machine, step| machine.send(message, step)).unwrap().is_ok()
    };
    let lives = [0, 1, MAX_MESSAGE_LIFE_MS, MAX_MESSAGE_LIFE_MS + 1];
    assert_eq!(lives.map(&mut life), [false, true, true, false]);
}

#[test]
fn a_control_message_is_of_its_kind_and_goes_to_devices_only() {
    let mut world = World::new(1101, 2);
    let control = Send { kind: Kind::Control, ..Send::note(1, "") };
    let mut send = |send: &Send, kind| {
        let mut message = send.message(&world.nodes[0]);
        message.kind = kind;
        world.step(0, |machine, step| machine.send(message, step)).unwrap().map(|_| ())
    };
    assert_eq!(send(&control, Kind::Control), Ok(()));
    assert_eq!(send(&control, Kind::Note), Err(SendError::Kind { kind: Kind::Note }));
    let here = Send { to: vec![Destination::Local { mailbox: Mailbox::Desk, held: None }], ..control };
    assert_eq!(send(&here, Kind::Control), Err(SendError::Kind { kind: Kind::Control }));
}

#[test]
fn what_was_sent_is_listed_with_what_became_of_it() {
    let mut world = World::new(1104, 2);
    let id = world.send(0, Send::note(1, "mine")).unwrap().msg_id;
    world.send(1, Send::note(0, "theirs")).unwrap();
    let control = Send { kind: Kind::Control, ..Send::note(1, "") }.message(&world.nodes[0]);
    world.step(0, |machine, step| machine.send(control, step)).unwrap().unwrap();
    world.run_seconds(5);
    let sent = world.nodes[0].machine().sent(&world.nodes[0].rows).unwrap();
    let lines: Vec<_> = sent.iter().map(|entry| (entry.msg_id, entry.report.stage)).collect();
    assert_eq!(lines, [(id, Stage::Delivered)]);
    let trace = world.nodes[0].machine().trace(id, &world.nodes[0].rows).unwrap().unwrap();
    let by: Vec<_> = trace.iter().map(|event| event.by).collect();
    assert_eq!(by, [Witness::Here, Witness::Relay, Witness::Device]);
}

#[test]
fn of_several_copies_each_thing_is_said_once_and_by_time() {
    let mut world = World::new(1105, 3);
    world.take_offline(1);
    let to = [1, 2].map(|id| Destination::Device(peer(id))).to_vec();
    let id = world.send(0, Send { to, life_ms: Some(HOUR_MS), ..Send::note(1, "to both") }).unwrap().msg_id;
    world.run_seconds(10);
    world.offline.clear();
    world.run_seconds(30);
    assert_eq!(world.nodes[0].trail(id), [Stage::Queued, Stage::Relayed, Stage::Delivered, Stage::Delivered]);
    let trace = world.nodes[0].machine().trace(id, &world.nodes[0].rows).unwrap().unwrap();
    assert!(trace.is_sorted_by_key(|event| event.at_ms));
}

#[test]
fn how_it_was_surfaced_is_said_by_what_surfaced_it() {
    let mut world = World::new(1106, 2);
    let id = world.send(0, Send::note(1, "seen?")).unwrap().msg_id;
    world.run_seconds(5);
    let mut receipt = world.forge_receipt(1, 0, id, Stated::Held);
    let list = receipt.receipts.as_ref().unwrap().list.iter().map(|receipt| {
        let mut receipt = receipt.clone();
        receipt.mechanism = Some(Text::truncated("none"));
        receipt
    });
    let list = List::new(list.collect::<Vec<_>>()).unwrap();
    receipt.receipts = Some(ReceiptBatch { rseq: 1, list });
    world.deliver_forged(0, receipt);
    assert_eq!(world.nodes[0].report(id).stage, Stage::Held);
    assert_eq!(world.nodes[0].report(id).mechanism, None);
}

#[test]
fn a_message_whose_files_are_not_there_waits_for_them() {
    let mut world = World::new(1111, 2);
    let held = |world: &mut World, text: &str| {
        let id = MsgId::from_bytes([u8::try_from(text.len()).unwrap(); 16]);
        let mut message = Send::note(1, text).message(&world.nodes[0]);
        message.msg_id = Some(id);
        world.step(0, |machine, step| {
            machine.hold_back(id);
            machine.send(message, step).map(|_| ())
        });
        id
    };
    let [sent, lost] = ["with a file", "with another file"].map(|text| held(&mut world, text));
    let other = world.send(0, Send::note(1, "without")).unwrap().msg_id;
    world.run_seconds(10);
    let stages = |world: &World| [sent, lost, other].map(|id| world.nodes[0].stage(id));
    assert_eq!(stages(&world), [Stage::Queued, Stage::Queued, Stage::Delivered]);
    world.step(0, |machine, step| machine.let_go(sent, step));
    assert!(world.nodes[0].machine().is_owed_to_anybody(sent));
    world.run_seconds(10);
    assert!(!world.nodes[0].machine().is_owed_to_anybody(sent));
    assert_eq!(stages(&world), [Stage::Delivered, Stage::Queued, Stage::Delivered]);
    world.step(0, |machine, step| machine.give_up(lost, "file-lost", step));
    assert_eq!(world.nodes[0].stage(lost), Stage::Refused);
    assert_eq!(world.nodes[0].report(lost).reason.as_deref(), Some("file-lost"));
    assert!(!world.nodes[0].machine().is_owed_to_anybody(lost));
}

#[test]
fn a_held_message_that_is_given_up_and_tried_again_waits_for_nothing() {
    let mut world = World::new(1112, 2);
    let id = MsgId::from_bytes([5; 16]);
    let mut message = Send { life_ms: Some(HOUR_MS), ..Send::note(1, "file") }.message(&world.nodes[0]);
    message.msg_id = Some(id);
    world.nodes[0].machine.as_mut().unwrap().hold_back(id);
    world.step(0, |machine, step| machine.send(message, step)).unwrap().unwrap();
    world.run_for(HOUR * 2);
    assert_eq!(world.nodes[0].stage(id), Stage::Expired);
    world.step(0, |machine, step| machine.dismiss(id, step)).unwrap().unwrap();
    world.step(0, |machine, step| machine.retry(id, step)).unwrap().unwrap();
    world.run_seconds(10);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
}

#[test]
fn what_cannot_be_sealed_is_refused_with_the_reason() {
    for (seals, reason) in [(Sealed::NoDevice, "device-removed"), (Sealed::TooLong, "too-long")] {
        let mut world = World::new(1113, 2);
        world.send(1, Send::note(0, "receipt me")).unwrap();
        world.run_seconds(1);
        world.nodes[0].seals = Some(seals);
        let id = world.send(0, Send::note(1, "no way")).unwrap().msg_id;
        world.run_seconds(5);
        assert_eq!(world.nodes[0].stage(id), Stage::Refused);
        assert_eq!(world.nodes[0].report(id).reason.as_deref(), Some(reason));
        // Receipts for it have no other way either.
        world.send(1, Send::note(0, "again")).unwrap();
        world.run_seconds(5);
        assert_eq!(world.nodes[0].rows_of(Table::Receipt), 0);
    }
}

#[test]
fn a_message_that_lost_its_content_is_refused() {
    let mut world = World::new(1114, 2);
    world.relay.down = true;
    world.cut(0);
    let id = world.send(0, Send::note(1, "torn")).unwrap().msg_id;
    world.nodes[0].rows.0.retain(|(table, _), _| *table != Table::Content);
    world.relay.down = false;
    world.run_seconds(30);
    assert_eq!(world.nodes[0].stage(id), Stage::Refused);
    assert_eq!(world.nodes[0].report(id).reason.as_deref(), Some("content-lost"));
}

#[test]
fn the_last_eight_sealings_can_be_asked_for() {
    let mut world = World::new(1115, 2);
    world.swallow.insert(1, u64::MAX);
    world.send(0, Send { life_ms: Some(20 * DAY_MS), ..Send::note(1, "lost") }).unwrap();
    let mut kept = Vec::new();
    for _ in 0..60 {
        world.run_for(HOUR);
        kept.push((world.deposits, world.nodes[0].rows_of(Table::Sealed)));
    }
    assert!(kept.contains(&(8, 8)) && kept.contains(&(7, 7)), "{kept:?}");
    assert!(kept.iter().filter(|(deposits, _)| *deposits > 8).all(|(_, rows)| *rows == 8), "{kept:?}");
}

#[test]
fn what_was_said_to_a_removed_contact_leaves_nothing() {
    let mut world = World::new(1125, 2);
    world.take_offline(0);
    let mut body = world.forge_letter(1, 0, "receipt me, and take a key", None);
    let key = XWingPublicKey::from_slice(&[1; 1216]).unwrap();
    body.next_key = Some(OfferedKey { id: KeyId::from_bytes([1; 8]), key, use_until_ms: u64::MAX });
    world.deliver_forged(0, body);
    let rows = |world: &World| [Table::Receipt, Table::Offer].map(|table| world.nodes[0].rows_of(table));
    assert_eq!(rows(&world), [1, 1]);
    world.step(0, |machine, step| machine.remove_contact(peer(1).account, step));
    assert_eq!(rows(&world), [0, 0]);
    assert_eq!(world.seals(0, |_, _| {}), []);
}

#[test]
fn many_receipts_share_an_envelope() {
    let mut world = World::new(1128, 2);
    world.send(0, Send::note(1, "warm up")).unwrap();
    world.run_seconds(1);
    world.take_offline(1);
    let bodies: Vec<_> = (0..100).map(|n| world.forge_letter(0, 1, &format!("{n}"), None)).collect();
    for body in bodies {
        world.deliver_forged(1, body);
    }
    world.fetched(1, 0);
    let (epoch, newest) = world.relay.hello(peer(1));
    let jobs = world.seals(1, |machine, step| {
        machine.handle_relay_up(RELAY, step);
        machine.handle_connected(epoch, newest, step);
    });
    let counts: Vec<usize> = jobs.iter().map(|job| job.receipts.as_ref().unwrap().list.len()).collect();
    // And that of the note before.
    assert_eq!(counts, [101]);
}

#[test]
fn a_batch_that_begins_behind_a_missing_one_confirms_nothing() {
    let mut world = World::new(1129, 2);
    let id = world.send(0, Send::note(1, "warm up")).unwrap().msg_id;
    world.run_seconds(1);
    let seen = |world: &mut World| {
        let jobs = world.seals_of(0, &Send::note(1, "what did you get?"));
        jobs.first().map(|job| job.receipts_seen)
    };
    let before = seen(&mut world).unwrap();
    for (first, then) in [(before + 3, before), (before + 1, before + 1), (before + 1, before + 1)] {
        let mut forged = world.forge_receipt(1, 0, id, Stated::Surfaced);
        forged.receipts.as_mut().unwrap().rseq = first;
        world.deliver_forged(0, forged);
        assert_eq!(seen(&mut world), Some(then), "{first}");
    }
    // Nor does one of an earlier life of its database.
    let mut other = world.forge_receipt(1, 0, id, Stated::Surfaced);
    other.incarnation = Incarnation::from_bytes([9; 8]);
    other.receipts = None;
    world.deliver_forged(0, other);
    let mut earlier = world.forge_receipt(1, 0, id, Stated::Surfaced);
    earlier.receipts.as_mut().unwrap().rseq = before + 2;
    world.deliver_forged(0, earlier);
    assert_eq!(seen(&mut world), Some(before + 1));
}

#[test]
fn the_lines_of_one_copy_stand_as_they_came_whatever_the_clocks_say() {
    let mut world = World::new(1133, 2);
    world.nodes[1].skew_ms = -3_600_000;
    let id = world.send(0, Send::note(1, "slow clock")).unwrap().msg_id;
    world.run_seconds(5);
    assert_eq!(world.nodes[0].trail(id), [Stage::Queued, Stage::Relayed, Stage::Delivered]);
}

#[test]
fn what_its_recipient_refused_is_history_at_once() {
    let mut world = World::new(1134, 2);
    world.take_offline(1);
    let id = world.send(0, Send::note(1, "no")).unwrap().msg_id;
    world.run_seconds(5);
    let receipt = world.forge_receipt(1, 0, id, Stated::Refused);
    world.deliver_forged(0, receipt);
    assert_eq!(world.nodes[0].stage(id), Stage::Refused);
    let rows = [Table::Outbox, Table::Copy, Table::Sealed].map(|table| world.nodes[0].rows_of(table));
    assert_eq!(rows, [0, 1, 0]);
}

#[test]
fn receipts_that_had_to_go_for_newer_ones_are_not_numbered_again() {
    let mut world = World::new(1135, 2);
    world.take_offline(1);
    let bodies: Vec<_> = (0..4100).map(|_| world.forge_letter(0, 1, "x", None)).collect();
    for body in bodies {
        world.deliver_forged(1, body);
    }
    let first = |world: &mut World| {
        world.fetched(1, 0);
        let (epoch, newest) = world.relay.hello(peer(1));
        let jobs = world.seals(1, |machine, step| {
            machine.handle_relay_up(RELAY, step);
            machine.handle_connected(epoch, newest, step);
        });
        jobs[0].receipts.as_ref().unwrap().rseq
    };
    world.restart(1);
    assert_eq!(first(&mut world), 5);
}

#[test]
fn a_prekey_is_handed_out_when_it_is_wanted_and_the_next_key_is_known() {
    let mut world = World::new(1136, 2);
    let published = world.relay.prekeys(peer(0).account)[&peer(0).device];
    let commands = world.commands(0, |machine, step| machine.handle_prekey_wanted(step));
    assert!(
        commands
            .iter()
            .any(|command| matches!(command, Command::PublishPrekey { key, .. } if *key == published))
    );
    let next = world.nodes[0].machine().next_key().unwrap();
    assert!(world.nodes[0].machine().live_keys().all(|key| key != next));
    world.send(0, Send::note(1, "offers it")).unwrap();
    world.run_seconds(1);
    assert!(world.nodes[0].machine().live_keys().any(|key| key == next));
}
