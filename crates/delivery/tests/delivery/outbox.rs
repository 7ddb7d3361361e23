//! What is owed: when it is tried, what is said of it, and what ends it.

use std::time::Duration;

use penpal_delivery::{
    Command, ContactInfo, Destination, DismissError, Event, Mailbox, Peer, Sealed, Selection, SendError,
    Stage, Standing, Table, Witness,
};
use penpal_protocol::cbor::{List, Text};
use penpal_protocol::ids::{
    BlobId, Capability, DeviceId, EdgeId, Hash, Incarnation, KeyId, MsgId, ShortHash, XWingPublicKey,
};
use penpal_protocol::limits::{DAY_MS, HOUR_MS, MAX_CONTENT_BYTES, MAX_MESSAGE_LIFE_MS};
use penpal_protocol::sealed::{ArtifactRef, Content, Kind, OfferedKey, ReceiptBatch, Stage as Stated};

use crate::world::{Faults, RELAY, Send, World, info, peer};

const HOUR: Duration = Duration::from_secs(3600);

fn fetches(commands: &[Command]) -> usize {
    commands.iter().filter(|command| matches!(command, Command::FetchPrekeys { .. })).count()
}

/// Envelopes that node 0 could be asked for.
fn sealed(world: &World) -> Vec<ShortHash> {
    let rows = world.nodes[0].rows.0.keys().filter(|(table, _)| *table == Table::Sealed);
    rows.map(|(_, key)| ShortHash::from_slice(key).expect("a hash")).collect()
}

fn take_offline(world: &mut World, id: usize) {
    world.offline.insert(id);
    world.cut(id);
}

fn send_commands(world: &mut World, from: usize, to: usize) -> Vec<Command> {
    let message = Send::note(to, "x").message(&world.nodes[from]);
    world.commands(from, |machine, step| {
        machine.send(message, step).expect("a good message");
    })
}

/// The bundles of a node come to another one.
fn fetched(world: &mut World, id: usize, of: usize) -> Vec<Command> {
    let account = peer(of).account;
    let keys = world.relay.prekeys(account);
    let keys = keys.into_iter().map(|(device, key)| (Peer::new(account, device), key));
    world.nodes[id].prekeys.extend(keys);
    world.commands(id, |machine, step| machine.handle_prekeys(account, true, step))
}

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
fn everything_owed_is_there_after_a_restart_and_what_was_left_at_a_relay_waits() {
    let mut world = World::new(1102, 2);
    take_offline(&mut world, 1);
    for number in 0..300 {
        world.send(0, Send::note(1, &format!("{number}"))).unwrap();
    }
    world.run_seconds(60);
    let owed = |world: &World| world.nodes[0].machine().outbox(&world.nodes[0].rows).unwrap().len();
    assert_eq!((owed(&world), world.deposits), (300, 300));
    world.restart(0);
    assert_eq!(owed(&world), 300);
    world.run_seconds(60);
    assert_eq!(world.deposits, 300);
    world.run_for(HOUR);
    assert_eq!(world.deposits, 600);
}

#[test]
fn the_next_try_is_told() {
    let mut world = World::new(1103, 2);
    take_offline(&mut world, 1);
    let id = world.send(0, Send::note(1, "when?")).unwrap().msg_id;
    let next = |world: &World| world.nodes[0].machine().next_try(id);
    assert_eq!(next(&world), None);
    world.run_seconds(5);
    let at = next(&world).unwrap();
    assert!(at > world.mono + HOUR - Duration::from_secs(6) && at < world.mono + HOUR);
    // Its time comes while no relay is there: it waits for that, and for no time.
    world.relay.down = true;
    world.cut(0);
    world.run_for(HOUR);
    assert_eq!(next(&world), None);
    assert_eq!(world.nodes[0].machine().sent(&world.nodes[0].rows).unwrap().len(), 1);
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
    take_offline(&mut world, 1);
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
fn bundles_are_fetched_once_for_ten_minutes() {
    let mut world = World::new(1107, 2);
    take_offline(&mut world, 1);
    let commands = send_commands(&mut world, 0, 1);
    assert_eq!(fetches(&commands), 1);
    assert_eq!(fetches(&send_commands(&mut world, 0, 1)), 0, "it is under way");
    let jobs = fetched(&mut world, 0, 1).iter().filter(|command| matches!(command, Command::Seal(_))).count();
    assert_eq!(jobs, 2);
    let at = world.mono;
    world.run_until(at + Duration::from_secs(600) - Duration::from_millis(1));
    assert_eq!(fetches(&send_commands(&mut world, 0, 1)), 0);
    world.run_until(at + Duration::from_secs(600));
    assert_eq!(fetches(&send_commands(&mut world, 0, 1)), 1);
}

#[test]
fn a_fetch_that_fails_is_tried_later_and_later() {
    let mut world = World::new(1108, 2);
    send_commands(&mut world, 0, 1);
    let mut waits = Vec::new();
    for _ in 0..12 {
        world.commands(0, |machine, step| machine.handle_prekeys(peer(1).account, false, step));
        assert_eq!(fetches(&send_commands(&mut world, 0, 1)), 0);
        let failed = world.mono;
        while {
            world.mono += Duration::from_secs(1);
            fetches(&world.commands(0, |machine, step| machine.handle_timeout(step))) == 0
        } {}
        waits.push((world.mono - failed).as_secs());
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]);
}

#[test]
fn nothing_waits_for_a_fetch_longer_than_for_its_next_try() {
    let mut world = World::new(1109, 3);
    // Nobody ever fetched a bundle of node 1, and there is none yet.
    let stranger = Peer::new(peer(1).account, DeviceId::from_bytes([9; 16]));
    let contact = ContactInfo { devices: vec![stranger.device], ..info(peer(1), Standing::Active) };
    world.step(0, |machine, step| machine.set_contact(peer(1).account, contact, step));
    let to = vec![Destination::Device(stranger)];
    let message = Send { to, ..Send::note(1, "to a new device") }.message(&world.nodes[0]);
    let id = world.step(0, |machine, step| machine.send(message, step)).unwrap().unwrap().msg_id;
    world.run_seconds(60);
    assert_eq!(world.nodes[0].stage(id), Stage::Queued);
    world.relay.register(stranger);
    world.relay.publish(stranger, KeyId::from_bytes([8; 8]));
    world.run_seconds(90);
    assert_eq!(world.nodes[0].stage(id), Stage::Relayed);
}

#[test]
fn a_full_relay_is_asked_less_and_less() {
    let mut world = World::new(1110, 2);
    world.run_seconds(5);
    world.faults = Faults { full: 1000, ..Faults::default() };
    world.send(0, Send::note(1, "no room")).unwrap();
    let before = world.deposits;
    world.run_for(HOUR);
    let tries = world.deposits - before;
    assert!((5..12).contains(&tries), "{tries} tries in an hour");
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
fn all_that_end_at_one_moment_end() {
    let mut world = World::new(1116, 3);
    take_offline(&mut world, 1);
    take_offline(&mut world, 2);
    let ids = [1, 2, 1]
        .map(|to| world.send(0, Send { life_ms: Some(HOUR_MS), ..Send::note(to, "late") }).unwrap().msg_id);
    world.run_for(HOUR + Duration::from_secs(1));
    assert_eq!(ids.map(|id| world.nodes[0].stage(id)), [Stage::Expired; 3]);
}

#[test]
fn only_a_recipient_that_comes_up_hurries_anything() {
    let mut world = World::new(1117, 2);
    world.run_seconds(60);
    world.swallow.insert(1, 1);
    let id = world.send(0, Send::note(1, "lost once")).unwrap().msg_id;
    world.run_seconds(60);
    // It is said to be up, which it was, and then to be gone.
    for up in [true, false] {
        world.step(0, |machine, step| machine.handle_edge(peer(1).account, up, step));
        world.run_seconds(200);
        assert_eq!(world.nodes[0].stage(id), Stage::Relayed);
    }
    world.step(0, |machine, step| machine.handle_edge(peer(1).account, true, step));
    world.run_seconds(121);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
}

#[test]
fn a_recipient_that_fell_back_gets_what_waits_at_once() {
    let mut world = World::new(1118, 2);
    world.swallow.insert(1, 1);
    let id = world.send(0, Send::note(1, "lost once")).unwrap().msg_id;
    let mut hello = world.forge_letter(1, 0, "I am", None);
    hello.incarnation = Incarnation::from_bytes([1; 8]);
    world.deliver_forged(0, hello.clone());
    world.run_seconds(60);
    assert_eq!(world.nodes[0].stage(id), Stage::Relayed);
    hello.incarnation = Incarnation::from_bytes([2; 8]);
    hello.msg_id = MsgId::from_bytes([2; 16]);
    world.deliver_forged(0, hello);
    world.run_seconds(5);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
}

#[test]
fn an_announcement_that_was_lost_is_made_again() {
    let mut world = World::new(1119, 2);
    world.send(0, Send::note(1, "warm up")).unwrap();
    world.run_seconds(5);
    let known = |world: &World| {
        world.nodes[1].events.iter().filter(|event| matches!(event, Event::IncarnationChanged { .. })).count()
    };
    let jobs = world.seals(0, |machine, step| {
        machine.handle_rolled_back(step);
    });
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    // It was on its way when the connection was lost.
    world.cut(0);
    world.run_seconds(30);
    assert_eq!(known(&world), 1);
}

#[test]
fn a_contact_that_is_refused_says_nothing_of_others() {
    let mut world = World::new(1120, 3);
    let ids = [1, 2].map(|to| {
        take_offline(&mut world, to);
        world.relay.down = true;
        world.cut(0);
        world.send(0, Send::note(to, "waits")).unwrap().msg_id
    });
    world.step(0, |machine, step| machine.handle_gone(peer(1).account, step));
    let reasons = ids.map(|id| world.nodes[0].report(id).reason);
    assert_eq!(reasons, [Some("gone".to_owned()), None]);
}

#[test]
fn the_same_said_again_of_a_contact_brings_it_not_back() {
    let mut world = World::new(1121, 2);
    world.relay.refuses.insert((peer(0), peer(1)));
    let id = world.send(0, Send::note(1, "refused")).unwrap().msg_id;
    world.run_seconds(5);
    let back = |world: &World| world.nodes[0].events.contains(&Event::Back { account: peer(1).account });
    let refused = world.refused;
    let same = info(peer(1), Standing::Active);
    for again in [same.clone(), ContactInfo { open: false, ..same.clone() }, same.clone()] {
        let opens = again.open;
        world.step(0, |machine, step| machine.set_contact(peer(1).account, again, step));
        world.run_seconds(60);
        assert_eq!(world.nodes[0].report(id).reason.as_deref(), Some("gone"));
        // What opens is tried, and so is another way.
        assert!(world.refused == refused || opens);
    }
    let other = ContactInfo { edge: Some(EdgeId::from_bytes([3; 16])), ..same };
    assert!(back(&world) || world.refused == refused);
    world.relay.refuses.clear();
    world.step(0, |machine, step| machine.set_contact(peer(1).account, other, step));
    world.run_seconds(5);
    assert!(back(&world));
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
}

#[test]
fn another_way_makes_no_room_at_a_full_relay() {
    let mut world = World::new(1122, 2);
    world.faults = Faults { full: 1000, ..Faults::default() };
    let id = world.send(0, Send::note(1, "no room")).unwrap().msg_id;
    world.run_seconds(120);
    let before = world.deposits;
    let other = ContactInfo { edge: Some(EdgeId::from_bytes([3; 16])), ..info(peer(1), Standing::Active) };
    world.commands(0, |machine, step| machine.set_contact(peer(1).account, other, step));
    assert_eq!(world.deposits, before);
    assert!(world.nodes[0].machine().next_try(id).is_some_and(|at| at > world.mono));
}

#[test]
fn what_completes_an_invite_is_not_given_up() {
    let mut world = World::new(1123, 2);
    world.relay.refuses.insert((peer(0), peer(1)));
    let boot = Send { boot: true, ..Send::note(1, "welcome") };
    let id = world.send(0, boot).unwrap().msg_id;
    world.run_seconds(5);
    assert_eq!(world.nodes[0].report(id).reason.as_deref(), Some("gone"));
    let dismissed = world.step(0, |machine, step| machine.dismiss(id, step)).unwrap();
    assert_eq!(dismissed, Err(DismissError::NotFailed { stage: Stage::Queued }));
}

#[test]
fn what_waits_for_who_is_gone_ends_refused_whether_it_was_tried_or_not() {
    let mut world = World::new(1124, 2);
    world.relay.refuses.insert((peer(0), peer(1)));
    let send = Send { life_ms: Some(HOUR_MS / 2), ..Send::note(1, "gone") };
    let tried = world.send(0, send.clone()).unwrap().msg_id;
    world.run_seconds(5);
    let later = world.send(0, send).unwrap().msg_id;
    world.run_for(HOUR);
    for id in [tried, later] {
        assert_eq!(world.nodes[0].stage(id), Stage::Refused);
        assert_eq!(world.nodes[0].report(id).reason.as_deref(), Some("gone"));
    }
    assert_eq!(world.nodes[0].rows_of(Table::Sealed), 0);
}

#[test]
fn what_was_said_to_a_removed_contact_leaves_nothing() {
    let mut world = World::new(1125, 2);
    take_offline(&mut world, 0);
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
fn a_copy_that_was_asked_for_again_is_owed_until_the_recipient_says_so() {
    let mut world = World::new(1126, 2);
    let id = world.send(0, Send::note(1, "twice")).unwrap().msg_id;
    world.run_seconds(5);
    let hashes = sealed(&world);
    assert_eq!(hashes.len(), 1);
    world.swallow.insert(1, 1);
    let ask = world.forge_need_reseal(1, 0, &hashes);
    world.deliver_forged(0, ask.clone());
    assert_eq!(world.nodes[0].rows_of(Table::Sealed), 0);
    world.run_seconds(5);
    // The relay took it, and it was lost there: that is no receipt.
    let owed = |world: &World| world.nodes[0].machine().is_owed_to_anybody(id);
    assert!(owed(&world));
    // The one that was asked for has no name any more; the new one has.
    assert_eq!(world.nodes[0].rows_of(Table::Sealed), 1);
    assert!(!world.nodes[0].rows.0.contains_key(&(Table::Sealed, hashes[0].as_bytes().to_vec())));
    let before = world.deposits;
    world.deliver_forged(0, ask);
    world.run_for(HOUR + Duration::from_secs(60));
    assert!(world.deposits > before);
    assert!(!owed(&world));
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
}

#[test]
fn a_copy_owed_again_is_not_owed_to_a_device_that_was_revoked() {
    let mut world = World::new(1127, 2);
    let id = world.send(0, Send::note(1, "twice")).unwrap().msg_id;
    world.run_seconds(5);
    take_offline(&mut world, 1);
    let hashes = sealed(&world);
    let ask = world.forge_need_reseal(1, 0, &hashes);
    world.deliver_forged(0, ask);
    assert!(world.nodes[0].machine().is_owed_to_anybody(id));
    let other =
        ContactInfo { devices: vec![DeviceId::from_bytes([7; 16])], ..info(peer(1), Standing::Active) };
    world.step(0, |machine, step| machine.set_contact(peer(1).account, other.clone(), step));
    assert!(!world.nodes[0].machine().is_owed_to_anybody(id));
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
    world.nodes[0].contacts.insert(peer(1).account, other);
    world.restart(0);
    assert!(!world.nodes[0].machine().is_owed_to_anybody(id));
}

#[test]
fn many_receipts_share_an_envelope() {
    let mut world = World::new(1128, 2);
    world.send(0, Send::note(1, "warm up")).unwrap();
    world.run_seconds(1);
    take_offline(&mut world, 1);
    let bodies: Vec<_> = (0..100).map(|n| world.forge_letter(0, 1, &format!("{n}"), None)).collect();
    for body in bodies {
        world.deliver_forged(1, body);
    }
    fetched(&mut world, 1, 0);
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
