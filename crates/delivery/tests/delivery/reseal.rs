//! Envelopes that could not be opened are asked for, and sealed again.

use std::collections::BTreeSet;
use std::time::Duration;

use penpal_delivery::{Arrival, Command, ContactInfo, SealJob, Stage, Standing, Table, Verdict};
use penpal_protocol::ids::{DeviceId, ShortHash};
use penpal_protocol::limits::{HOUR_MS, MAX_NEED_RESEAL};
use penpal_protocol::sealed::{Content, Kind};

use crate::world::{Send, World, info, peer};

const HOUR: Duration = Duration::from_secs(3600);

/// Envelopes that node 0 could be asked for.
fn sealed(world: &World) -> Vec<ShortHash> {
    let rows = world.nodes[0].rows.0.keys().filter(|(table, _)| *table == Table::Sealed);
    rows.map(|(_, key)| ShortHash::from_slice(key).expect("a hash")).collect()
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
    world.take_offline(1);
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
fn what_is_owed_again_goes_at_once_after_a_restart() {
    let mut world = World::new(1140, 2);
    let id = world.send(0, Send::note(1, "twice")).unwrap().msg_id;
    world.run_seconds(5);
    world.relay.down = true;
    world.cut(0);
    let ask = world.forge_need_reseal(1, 0, &sealed(&world));
    world.deliver_forged(0, ask);
    world.restart(0);
    world.relay.down = false;
    let before = world.deposits;
    world.run_seconds(30);
    assert!(world.deposits > before);
    assert!(!world.nodes[0].machine().is_owed_to_anybody(id));
}

#[test]
fn every_envelope_of_a_copy_is_forgotten_with_it() {
    let mut world = World::new(1141, 2);
    world.swallow.insert(1, 1);
    world.send(0, Send::note(1, "sealed twice")).unwrap();
    world.run_seconds(5);
    let first = sealed(&world);
    world.run_for(HOUR * 2);
    assert_eq!(sealed(&world).len(), 2);
    let ask = world.forge_need_reseal(1, 0, &first);
    world.deliver_forged(0, ask);
    world.run_for(HOUR * 24 * 4);
    assert_eq!((sealed(&world).len(), world.nodes[0].rows_of(Table::Copy)), (0, 1));
}

#[test]
fn what_is_over_is_not_sealed_again() {
    let mut world = World::new(1142, 2);
    let id = world.send(0, Send { life_ms: Some(HOUR_MS), ..Send::note(1, "over") }).unwrap().msg_id;
    world.run_for(HOUR * 2);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
    let ask = world.forge_need_reseal(1, 0, &sealed(&world));
    world.deliver_forged(0, ask);
    assert!(!world.nodes[0].machine().is_owed_to_anybody(id));
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
}

/// Hands a node envelopes of node 0 that it cannot open.
fn unreadable(world: &mut World, numbers: std::ops::Range<u16>) -> Vec<Command> {
    let account = peer(0).account;
    world.commands(1, |machine, step| {
        for number in numbers {
            let mut id = [7; 16];
            id[..2].copy_from_slice(&number.to_be_bytes());
            let id = ShortHash::from_bytes(id);
            let arrival =
                Arrival { row: None, enc: id, envelope: id, verdict: Verdict::Unreadable { account } };
            machine.handle_arrival(arrival, step);
        }
    })
}

/// The envelopes that are asked for.
fn asked(commands: Vec<Command>) -> Vec<ShortHash> {
    let jobs = commands
        .into_iter()
        .filter_map(|command| if let Command::Seal(job) = command { Some(*job) } else { None });
    let jobs = jobs.filter(|job| job.kind == Kind::NeedReseal);
    let lists = jobs.map(|SealJob { kind, content, .. }| match Content::decode(kind, &content) {
        Ok(Content::NeedReseal(need)) => need.envelopes.iter().copied().collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    });
    lists.flatten().collect()
}

#[test]
fn all_that_cannot_be_opened_is_asked_for_once_a_minute_and_in_bounded_bites() {
    let mut world = World::new(1143, 2);
    let most = u16::try_from(MAX_NEED_RESEAL).unwrap();
    // A bundle that was fetched before the keys were lost is of no use: a new one comes first.
    world.fetched(1, 0);
    world.run_seconds(60);
    let commands = unreadable(&mut world, 0..most + 10);
    assert_eq!(commands, [Command::FetchPrekeys { account: peer(0).account }]);
    assert_eq!(world.nodes[1].rows_of(Table::Unreadable), MAX_NEED_RESEAL + 10);
    let first: BTreeSet<ShortHash> = asked(world.fetched(1, 0)).into_iter().collect();
    assert_eq!(first.len(), MAX_NEED_RESEAL);
    let start = world.mono;
    world.mono += Duration::from_secs(59);
    assert_eq!(asked(unreadable(&mut world, 900..901)), []);
    assert_eq!(asked(world.fetched(1, 0)), []);
    world.mono = start + Duration::from_secs(60);
    world.commands(1, |machine, step| machine.handle_timeout(step));
    let second = asked(world.fetched(1, 0));
    assert_eq!(second.len(), 11);
    assert!(second.iter().all(|hash| !first.contains(hash)));
}
