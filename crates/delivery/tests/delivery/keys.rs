//! The key rule: one key on offer, used once; retired and erased when nothing can come under it any more.

use std::time::Duration;

use penpal_delivery::{Stage, Table};
use penpal_protocol::ids::KeyId;

use crate::world::{Send, World, peer};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Keys of node 1 that envelopes to it were sealed to, of those offered to node 0.
fn used(world: &World) -> Vec<KeyId> {
    world.used_keys.iter().filter(|(to, _)| *to == peer(1)).map(|(_, key)| *key).collect()
}

fn talk(world: &mut World) {
    world.send(0, Send::note(1, "there")).unwrap();
    world.run_seconds(1);
    world.send(1, Send::note(0, "back")).unwrap();
    world.run_seconds(1);
}

#[test]
fn each_message_of_a_conversation_has_its_own_key() {
    let mut world = World::new(200, 2);
    talk(&mut world);
    let before = used(&world).len();
    for _ in 0..5 {
        talk(&mut world);
    }
    assert!(used(&world).len() >= before + 5, "{} keys", used(&world).len());
}

#[test]
fn an_offer_is_repeated_until_it_is_used() {
    let mut world = World::new(201, 2);
    talk(&mut world);
    let live = |world: &World| world.nodes[1].machine().live_keys().count();
    let before = live(&world);
    // Only receipts go to node 0 now; each repeats the key that is on offer.
    world.offline.insert(0);
    world.cut(0);
    world.run_seconds(3600);
    world.offline.clear();
    world.run_seconds(60);
    assert_eq!(live(&world), before);
}

#[test]
fn a_key_is_erased_an_hour_after_a_newer_one_was_used() {
    let mut world = World::new(202, 2);
    talk(&mut world);
    talk(&mut world);
    let old = used(&world);
    world.run_for(HOUR / 2);
    talk(&mut world);
    assert!(old.iter().all(|key| !world.nodes[1].erased.contains(key)), "too early");
    world.run_for(HOUR + Duration::from_secs(300));
    let erased = old.iter().filter(|key| world.nodes[1].erased.contains(key)).count();
    assert!(erased + 1 >= old.len(), "{erased} of {} erased", old.len());
    assert!(old.iter().all(|key| world.nodes[1].erased.contains(key) != world.nodes[1].seeds.contains(key)));
}

#[test]
fn idle_keys_are_gone_after_three_days_at_most() {
    let mut world = World::new(203, 2);
    talk(&mut world);
    let old: Vec<KeyId> = world.nodes[1].machine().live_keys().collect();
    world.run_for(DAY * 4);
    let left: Vec<_> = old.iter().filter(|key| world.nodes[1].seeds.contains(key)).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_key_stays_while_the_spool_may_hold_something_for_it() {
    let mut world = World::new(204, 2);
    talk(&mut world);
    world.offline.insert(1);
    world.cut(1);
    let id = world.send(0, Send::note(1, "five days old")).unwrap().msg_id;
    world.run_for(DAY * 5);
    world.offline.clear();
    world.run_seconds(60);
    assert_eq!(world.nodes[1].unreadable, 0);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
}

#[test]
fn an_old_offer_is_not_used() {
    let mut world = World::new(205, 2);
    talk(&mut world);
    let before = used(&world).len();
    world.offline.insert(1);
    world.cut(1);
    world.run_for(DAY * 2);
    world.send(0, Send::note(1, "to the prekey")).unwrap();
    world.run_seconds(60);
    assert_eq!(used(&world).len(), before);
}

#[test]
fn prekeys_change_daily_and_old_ones_go_after_two_days() {
    let mut world = World::new(206, 2);
    let first = world.relay.prekeys(peer(1).account)[&peer(1).device];
    world.run_for(DAY + HOUR);
    let second = world.relay.prekeys(peer(1).account)[&peer(1).device];
    assert_ne!(first, second);
    assert!(world.nodes[1].seeds.contains(&first));
    world.run_for(DAY * 3);
    assert!(!world.nodes[1].seeds.contains(&first));
}

#[test]
fn a_lost_key_file_costs_one_request_to_seal_again() {
    let mut world = World::new(207, 2);
    talk(&mut world);
    world.offline.insert(1);
    world.cut(1);
    let ids: Vec<_> = (0..5).map(|n| world.send(0, Send::note(1, &format!("{n}"))).unwrap().msg_id).collect();
    world.run_seconds(10);
    world.nodes[1].seeds.clear();
    world.restart(1);
    world.offline.clear();
    world.run_seconds(120);
    assert_eq!(world.nodes[1].unreadable, 5);
    for id in ids {
        assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
    }
    world.check_delivered();
}

#[test]
fn few_rows_remain_of_a_long_quiet_time() {
    let mut world = World::new(208, 2);
    for _ in 0..10 {
        talk(&mut world);
    }
    world.run_for(DAY * 40);
    let node = &world.nodes[1];
    assert_eq!(node.rows_of(Table::Seen), 0);
    assert_eq!(node.rows_of(Table::Outbox), 0);
    assert_eq!(node.rows_of(Table::Sealed), 0);
    assert_eq!(node.rows_of(Table::Receipt), 0);
    // The pool, today's prekeys, and nothing else.
    assert!(node.rows_of(Table::Key) < 90, "{} keys", node.rows_of(Table::Key));
    assert_eq!(node.seeds.len(), node.rows_of(Table::Key));
    assert_eq!(node.rows_of(Table::Mail), 20);
}

#[test]
fn a_key_stays_while_a_row_that_was_given_out_before_it_retired_is_not_processed() {
    let mut world = World::new(209, 2);
    talk(&mut world);
    world.defers.insert(1);
    let id = world.send(0, Send::note(1, "put off for a week")).unwrap().msg_id;
    // Later rows are processed, and the key is long retired.
    world.run_seconds(1);
    world.defers.clear();
    for _ in 0..7 {
        world.send(0, Send { life_ms: Some(3_600_000), ..Send::note(1, "daily") }).unwrap();
        world.run_for(DAY);
    }
    // It was sent again meanwhile, so drop what that did: the first row must open by itself.
    world.restart(1);
    world.run_seconds(60);
    assert_eq!(world.nodes[1].unreadable, 0);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
    assert_eq!(world.relay.spooled(peer(1)), 0);
}
