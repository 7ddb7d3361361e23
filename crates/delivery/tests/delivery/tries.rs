//! When what is owed is tried, and when it is not.

use std::time::Duration;

use penpal_delivery::{Command, ContactInfo, Destination, DismissError, Event, Peer, Stage, Standing, Table};
use penpal_protocol::ids::{DeviceId, EdgeId, Incarnation, KeyId, MsgId};
use penpal_protocol::limits::HOUR_MS;

use crate::world::{Faults, Send, World, info, peer};

const HOUR: Duration = Duration::from_secs(3600);

fn fetches(commands: &[Command]) -> usize {
    commands.iter().filter(|command| matches!(command, Command::FetchPrekeys { .. })).count()
}

fn send_commands(world: &mut World, from: usize, to: usize) -> Vec<Command> {
    let message = Send::note(to, "x").message(&world.nodes[from]);
    world.commands(from, |machine, step| {
        machine.send(message, step).expect("a good message");
    })
}

#[test]
fn everything_owed_is_there_after_a_restart_and_what_was_left_at_a_relay_waits() {
    let mut world = World::new(1102, 2);
    world.take_offline(1);
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
    world.take_offline(1);
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
fn bundles_are_fetched_once_for_ten_minutes() {
    let mut world = World::new(1107, 2);
    world.take_offline(1);
    let commands = send_commands(&mut world, 0, 1);
    assert_eq!(fetches(&commands), 1);
    assert_eq!(fetches(&send_commands(&mut world, 0, 1)), 0, "it is under way");
    let jobs = world.fetched(0, 1).iter().filter(|command| matches!(command, Command::Seal(_))).count();
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
fn all_that_end_at_one_moment_end() {
    let mut world = World::new(1116, 3);
    world.take_offline(1);
    world.take_offline(2);
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
        world.take_offline(to);
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
fn whether_a_contact_or_only_a_device_is_gone_its_mail_ends_refused() {
    // One that waits for its files was never refused itself.
    let mut world = World::new(1130, 2);
    world.relay.refuses.insert((peer(0), peer(1)));
    let held = MsgId::from_bytes([5; 16]);
    let send = Send { life_ms: Some(HOUR_MS / 2), ..Send::note(1, "file") };
    let mut message = send.message(&world.nodes[0]);
    message.msg_id = Some(held);
    world.nodes[0].machine.as_mut().unwrap().hold_back(held);
    world.step(0, |machine, step| machine.send(message, step)).unwrap().unwrap();
    world.send(0, send.clone()).unwrap();
    world.run_for(HOUR);
    assert_eq!(world.nodes[0].stage(held), Stage::Refused);
    assert_eq!(world.nodes[0].report(held).reason.as_deref(), Some("gone"));
    // One of two devices is refused, which says nothing of the contact.
    let mut world = World::new(1131, 2);
    let devices = vec![peer(1).device, DeviceId::from_bytes([7; 16])];
    let both = ContactInfo { devices, ..info(peer(1), Standing::Active) };
    world.step(0, |machine, step| machine.set_contact(peer(1).account, both, step));
    world.relay.refuses.insert((peer(0), peer(1)));
    let id = world.send(0, send).unwrap().msg_id;
    world.run_for(HOUR);
    assert!(!world.nodes[0].events.contains(&Event::Gone { account: peer(1).account }));
    assert_eq!(world.nodes[0].stage(id), Stage::Refused);
}

#[test]
fn receipts_that_were_refused_go_by_the_next_way_at_once() {
    let mut world = World::new(1132, 2);
    let devices = vec![peer(1).device, DeviceId::from_bytes([7; 16])];
    let both = ContactInfo { devices, ..info(peer(1), Standing::Active) };
    world.step(0, |machine, step| machine.set_contact(peer(1).account, both.clone(), step));
    world.relay.refuses.insert((peer(0), peer(1)));
    let id = world.send(1, Send::note(0, "hello")).unwrap().msg_id;
    world.run_seconds(10);
    assert_eq!(world.nodes[1].stage(id), Stage::Relayed);
    world.relay.refuses.clear();
    world.run_seconds(60);
    assert_eq!(world.nodes[1].stage(id), Stage::Relayed);
    let other = ContactInfo { edge: Some(EdgeId::from_bytes([3; 16])), ..both };
    world.step(0, |machine, step| machine.set_contact(peer(1).account, other, step));
    world.run_seconds(5);
    assert_eq!(world.nodes[1].stage(id), Stage::Delivered);
}
