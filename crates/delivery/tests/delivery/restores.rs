//! A relay, or a node, restored from a backup.

use std::collections::BTreeSet;
use std::time::Duration;

use penpal_delivery::{Event, Mailbox, Selection, Stage};
use penpal_protocol::ids::MsgId;
use proptest::prelude::*;

use crate::random::{Act, act};
use crate::world::{Node, Send, World, peer};

const HOUR: Duration = Duration::from_secs(3600);

fn send_many(world: &mut World, from: usize, to: usize, texts: &[&str]) -> Vec<MsgId> {
    texts.iter().map(|text| world.send(from, Send::note(to, text)).unwrap().msg_id).collect()
}

#[test]
fn a_restored_relay_loses_and_doubles_nothing() {
    let mut world = World::new(400, 2);
    world.offline.insert(1);
    world.cut(1);
    send_many(&mut world, 0, 1, &["a", "b"]);
    world.run_seconds(5);
    let backup = world.relay.clone();
    // What came later is unknown to the backup; what was fetched later is there again.
    let late = send_many(&mut world, 0, 1, &["c", "d"]);
    world.offline.clear();
    world.run_seconds(60);
    world.offline.insert(1);
    world.cut(1);
    let lost = send_many(&mut world, 0, 1, &["e", "f"]);
    world.run_seconds(60);
    world.restore_relay(&backup);
    world.offline.clear();
    world.run_seconds(60);
    assert_eq!(world.nodes[0].stage(late[0]), Stage::Delivered);
    assert_eq!(world.nodes[0].stage(lost[0]), Stage::Relayed);
    world.heal();
    world.check_delivered();
    assert_eq!(world.nodes[1].texts(Selection::All(Mailbox::Desk)), ["a", "b", "c", "d", "e", "f"]);
}

#[test]
fn an_acknowledgement_of_an_earlier_spool_is_no_harm() {
    let mut world = World::new(401, 2);
    send_many(&mut world, 0, 1, &["a"]);
    world.run_seconds(5);
    let backup = world.relay.clone();
    for round in 0..5 {
        world.restore_relay(&backup);
        send_many(&mut world, 0, 1, &[&format!("after restore {round}")]);
        world.run_seconds(90);
    }
    world.heal();
    world.check_delivered();
    assert_eq!(world.nodes[1].texts(Selection::All(Mailbox::Desk)).len(), 6);
}

/// Everything that node 0 sent is at node 1 once, although node 1 fell back to `seeds` and older rows.
fn restored_recipient(
    seed: u64,
    seeds: impl Fn(&Node, &BTreeSet<penpal_protocol::ids::KeyId>) -> BTreeSet<penpal_protocol::ids::KeyId>,
) {
    let mut world = World::new(seed, 2);
    send_many(&mut world, 0, 1, &["before"]);
    world.run_seconds(5);
    let rows = world.nodes[1].rows.clone();
    let old_seeds = world.nodes[1].seeds.clone();
    let ids = send_many(&mut world, 0, 1, &["a", "b", "c"]);
    world.run_seconds(5);
    assert!(ids.iter().all(|id| world.nodes[0].stage(*id) == Stage::Delivered));
    let seeds = seeds(&world.nodes[1], &old_seeds);
    world.restore_node(1, rows, seeds);
    world.run_seconds(5);
    world.send(0, Send::note(1, "after")).unwrap();
    world.heal();
    let changed = Event::IncarnationChanged { peer: peer(1) };
    assert_eq!(world.nodes[0].events.iter().filter(|event| **event == changed).count(), 1);
    let mut texts = world.nodes[1].texts(Selection::All(Mailbox::Desk));
    texts.sort();
    assert_eq!(texts, ["a", "after", "b", "before", "c"]);
    world.check_delivered();
}

#[test]
fn a_recipient_restored_with_its_present_keys_gets_everything_again() {
    restored_recipient(410, |node, _| node.seeds.clone());
}

#[test]
fn a_recipient_restored_with_its_older_keys_gets_everything_again() {
    restored_recipient(411, |_, old| old.clone());
}

#[test]
fn a_recipient_restored_without_keys_gets_everything_again() {
    restored_recipient(412, |_, _| BTreeSet::new());
}

#[test]
fn a_restored_sender_sends_again_and_nothing_is_doubled() {
    let mut world = World::new(420, 2);
    world.offline.insert(0);
    world.cut(0);
    send_many(&mut world, 0, 1, &["a", "b"]);
    let rows = world.nodes[0].rows.clone();
    world.offline.clear();
    world.run_seconds(60);
    send_many(&mut world, 0, 1, &["c"]);
    world.run_seconds(60);
    let seeds = world.nodes[0].seeds.clone();
    world.restore_node(0, rows, seeds);
    world.nodes[0].sent.truncate(2);
    world.run_seconds(60);
    send_many(&mut world, 0, 1, &["d"]);
    world.heal();
    assert_eq!(world.nodes[1].texts(Selection::All(Mailbox::Desk)), ["a", "b", "c", "d"]);
    world.check_delivered();
}

#[test]
fn receipts_agree_again_after_both_sides_fell_back() {
    let mut world = World::new(421, 2);
    let talk = |world: &mut World, tag: &str| {
        for n in 0..10 {
            send_many(world, 0, 1, &[&format!("{tag} {n}")]);
            send_many(world, 1, 0, &[&format!("{tag} {n}")]);
            world.run_seconds(1);
        }
    };
    talk(&mut world, "before");
    let copies: Vec<_> = world.nodes.iter().map(|node| (node.rows.clone(), node.sent.len())).collect();
    talk(&mut world, "between");
    for (id, (rows, sent)) in copies.into_iter().enumerate() {
        let seeds = world.nodes[id].seeds.clone();
        world.restore_node(id, rows, seeds);
        world.nodes[id].sent.truncate(sent);
        world.run_seconds(600);
    }
    talk(&mut world, "after");
    world.heal();
    world.check_delivered();
    send_many(&mut world, 0, 1, &["last"]);
    world.run_seconds(60);
    send_many(&mut world, 1, 0, &["last"]);
    world.run_seconds(60);
    for node in &world.nodes {
        assert!(node.rows_of(penpal_delivery::Table::Receipt) <= 2, "receipts pile up");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Node 1 is put back to a random earlier state, the relay perhaps as well.
    #[test]
    fn random_restores(
        seed in any::<u64>().no_shrink(),
        before in 0_u64..12,
        after in 0_u64..12,
        relay_too in any::<bool>(),
        keys in 0..3,
        gap_ms in 0_u64..5_000,
    ) {
        let mut world = World::new(seed, 3);
        let chat = |world: &mut World, rounds: u64, base: usize| {
            for round in 0..rounds {
                let number = base + usize::try_from(round).unwrap();
                act(world, number, &Act::Note { from: 0, to: 1 });
                act(world, number, &Act::Ask { from: 1, to: 2 });
                act(world, number, &Act::Note { from: 2, to: 1 });
                act(world, number, &Act::AnswerSomething { by: 2 });
                act(world, number, &Act::Rest { ms: gap_ms });
            }
        };
        chat(&mut world, before, 0);
        let rows = world.nodes[1].rows.clone();
        let old_seeds = world.nodes[1].seeds.clone();
        let kept = world.nodes[1].sent.len();
        let backup = world.relay.clone();
        chat(&mut world, after, 100);
        let seeds = match keys {
            0 => world.nodes[1].seeds.clone(),
            1 => old_seeds,
            _ => BTreeSet::new(),
        };
        if relay_too {
            world.restore_relay(&backup);
        }
        world.restore_node(1, rows, seeds);
        // What node 1 sent after the backup it does not know any more.
        world.nodes[1].sent.truncate(kept);
        chat(&mut world, 3, 200);
        world.heal();
        world.run_for(HOUR * 30);
        for from in [0, 2] {
            for (msg_id, _) in world.nodes[from].sent.iter().filter(|(_, send)| send.to_node() == Some(1)) {
                let times = world.nodes[1].times_in_mailboxes(*msg_id, peer(from).account);
                prop_assert_eq!(times, 1, "seed {}", seed);
            }
        }
        for (msg_id, send) in &world.nodes[1].sent {
            let to = send.to_node().unwrap();
            let times = world.nodes[to].times_in_mailboxes(*msg_id, peer(1).account);
            prop_assert_eq!(times, 1, "seed {}", seed);
        }
        for node in &world.nodes {
            node.check_queues_empty(&world);
        }
    }
}
