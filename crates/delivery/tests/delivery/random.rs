//! Random worlds: people write, read and answer while everything that can go wrong does; then it heals.
//!
//! `PENPAL_DELIVERY_WORLDS=2000 cargo nextest run -p penpal-delivery random` runs more of them; a failing one names its seed,
//! and `PENPAL_DELIVERY_SEED=<seed>` replays it.

use std::time::Duration;

use penpal_delivery::{Mailbox, Selection};
use penpal_protocol::sealed::Kind;
use proptest::prelude::*;

use crate::world::{Faults, Node, Send, World};

/// What somebody does, and how long nothing else happens then.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Note { from: usize, to: usize },
    Ask { from: usize, to: usize },
    AnswerSomething { by: usize },
    TakeAll { by: usize },
    TakeAndForget { by: usize },
    Crash { who: usize },
    Cut { who: usize },
    Leave { who: usize },
    Return { who: usize },
    RelayAway,
    RelayBack,
    LoseKeys { who: usize },
    Rest { ms: u64 },
}

pub(crate) fn act(world: &mut World, number: usize, act: &Act) {
    let running = |world: &World, id: usize| world.nodes[id].machine.is_some();
    match act {
        Act::Note { from, to } if from != to && running(world, *from) => {
            world.send(*from, Send::note(*to, &format!("note {number}")));
        }
        Act::Ask { from, to } if from != to && running(world, *from) => {
            world.send(*from, Send::ask(*to, &format!("ask {number}")));
        }
        Act::AnswerSomething { by } if running(world, *by) => answer(world, *by, number),
        Act::TakeAll { by } if running(world, *by) => {
            Node::take_all(world, *by);
        }
        Act::TakeAndForget { by } if running(world, *by) => {
            world.step(*by, |machine, step| machine.take(Mailbox::Desk, None, 3, step));
        }
        Act::Crash { who } => world.restart(*who),
        Act::Cut { who } => world.cut(*who),
        Act::Leave { who } => {
            world.offline.insert(*who);
            world.cut(*who);
        }
        Act::Return { who } => {
            world.offline.remove(who);
        }
        Act::RelayAway => {
            world.relay.down = true;
            for id in 0..world.nodes.len() {
                world.cut(id);
            }
        }
        Act::RelayBack => world.relay.down = false,
        Act::LoseKeys { who } => {
            world.nodes[*who].seeds.clear();
            world.restart(*who);
        }
        Act::Rest { ms } => world.run_for(Duration::from_millis(*ms)),
        Act::Note { .. }
        | Act::Ask { .. }
        | Act::AnswerSomething { .. }
        | Act::TakeAll { .. }
        | Act::TakeAndForget { .. } => {}
    }
}

fn answer(world: &mut World, by: usize, number: usize) {
    let asks = world.nodes[by].list(Selection::All(Mailbox::Desk));
    let open = asks.iter().find(|view| view.kind == Kind::Ask && !view.marks.answered);
    if let Some(view) = open {
        let to = usize::from(view.key.from.unwrap().as_bytes()[0]) - 1;
        world.send(by, Send::reply(to, &format!("reply {number}"), view.key));
    }
}

fn acts(people: usize) -> impl Strategy<Value = Vec<Act>> {
    let who = 0..people;
    let one = prop_oneof![
        6 => (who.clone(), who.clone()).prop_map(|(from, to)| Act::Note { from, to }),
        4 => (who.clone(), who.clone()).prop_map(|(from, to)| Act::Ask { from, to }),
        3 => who.clone().prop_map(|by| Act::AnswerSomething { by }),
        3 => who.clone().prop_map(|by| Act::TakeAll { by }),
        1 => who.clone().prop_map(|by| Act::TakeAndForget { by }),
        2 => who.clone().prop_map(|who| Act::Crash { who }),
        1 => who.clone().prop_map(|who| Act::Cut { who }),
        1 => who.clone().prop_map(|who| Act::Leave { who }),
        1 => who.clone().prop_map(|who| Act::Return { who }),
        1 => Just(Act::RelayAway),
        2 => Just(Act::RelayBack),
        1 => who.prop_map(|who| Act::LoseKeys { who }),
        6 => prop_oneof![0_u64..20, 20_u64..3_000, 3_000_u64..200_000, 200_000_u64..8_000_000].prop_map(|ms| Act::Rest { ms }),
    ];
    prop::collection::vec(one, 1..60)
}

fn faults() -> impl Strategy<Value = Faults> {
    let rate = || prop_oneof![3 => Just(0_u64), 1 => 1_u64..30];
    (rate(), rate(), rate(), rate(), rate(), rate(), rate(), rate()).prop_map(
        |(before, after, releasing, cut, full, jump, twice, loses)| Faults {
            crash_before_commit: before,
            crash_after_commit: after,
            crash_while_releasing: releasing,
            cut,
            full,
            clock_jump: jump,
            row_twice: twice,
            relay_loses: loses,
        },
    )
}

fn worlds() -> u32 {
    std::env::var("PENPAL_DELIVERY_WORLDS").ok().and_then(|count| count.parse().ok()).unwrap_or(48)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: worlds(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_accepted_is_lost_doubled_or_out_of_order(
        seed in any::<u64>().no_shrink(),
        delay_ms in prop_oneof![Just(1_u64), 1_u64..400],
        acts in acts(3),
        faults in faults(),
    ) {
        let mut world = World::new(seed, 3);
        world.delay_ms = delay_ms;
        world.faults = faults;
        for (number, one) in acts.iter().enumerate() {
            act(&mut world, number, one);
        }
        world.heal();
        for id in 0..3 {
            Node::take_all(&mut world, id);
        }
        world.run_seconds(30 * 3600);
        world.check_delivered();
    }
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let run = || {
        let mut world = World::new(77, 3);
        world.faults = Faults { crash_after_commit: 20, cut: 20, row_twice: 100, ..Faults::default() };
        for number in 0..40 {
            let from = usize::try_from(world.rng.next_u64() % 3).unwrap();
            act(&mut world, number, &Act::Note { from, to: (from + 1) % 3 });
            act(&mut world, number, &Act::Rest { ms: 50 });
        }
        world.nodes.iter().map(|node| node.rows.0.clone()).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}
