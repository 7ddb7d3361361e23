//! Random worlds: people write, read and answer while everything that can go wrong does; then it heals.
//!
//! `PENPAL_DELIVERY_WORLDS=2000 cargo nextest run -p penpal-delivery random` runs more of them; a failing one names its seed,
//! and `PENPAL_DELIVERY_SEED=<seed>` replays it.

use std::time::Duration;

use penpal_delivery::{Mailbox, Selection};
use penpal_protocol::sealed::Kind;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

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

/// Everything that happens in one world, from its seed.
struct Story {
    delay_ms: u64,
    faults: Faults,
    acts: Vec<Act>,
}

impl Story {
    fn of(seed: u64, people: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
        let mut below = |limit: u64| rng.next_u64() % limit;
        let delay_ms = if below(2) == 0 { 1 } else { 1 + below(400) };
        let mut rate = || if below(4) == 0 { 1 + below(30) } else { 0 };
        let faults = Faults {
            crash_before_commit: rate(),
            crash_after_commit: rate(),
            crash_while_releasing: rate(),
            cut: rate(),
            full: rate(),
            clock_jump: rate(),
            row_twice: rate(),
            relay_loses: rate(),
        };
        let count = 1 + below(60);
        let acts = (0..count)
            .map(|_| {
                let mut who = || usize::try_from(below(u64::try_from(people).unwrap())).unwrap();
                let (from, to) = (who(), who());
                match below(31) {
                    0..6 => Act::Note { from, to },
                    6..10 => Act::Ask { from, to },
                    10..13 => Act::AnswerSomething { by: from },
                    13..16 => Act::TakeAll { by: from },
                    16 => Act::TakeAndForget { by: from },
                    17..19 => Act::Crash { who: from },
                    19 => Act::Cut { who: from },
                    20 => Act::Leave { who: from },
                    21 => Act::Return { who: from },
                    22 => Act::RelayAway,
                    23 | 24 => Act::RelayBack,
                    25 => Act::LoseKeys { who: from },
                    26 => Act::Rest { ms: below(20) },
                    27 => Act::Rest { ms: below(3_000) },
                    28 => Act::Rest { ms: below(200_000) },
                    _ => Act::Rest { ms: below(8_000_000) },
                }
            })
            .collect();
        Self { delay_ms, faults, acts }
    }
}

fn live(seed: u64) {
    let story = Story::of(seed, 3);
    let mut world = World::new(seed, 3);
    world.delay_ms = story.delay_ms;
    world.faults = story.faults;
    for (number, one) in story.acts.iter().enumerate() {
        act(&mut world, number, one);
    }
    world.heal();
    for id in 0..3 {
        Node::take_all(&mut world, id);
    }
    world.run_seconds(30 * 3600);
    world.check_delivered();
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

#[test]
fn nothing_accepted_is_lost_doubled_or_out_of_order() {
    if let Some(seed) = number("PENPAL_DELIVERY_SEED") {
        return live(seed);
    }
    for seed in 0..number("PENPAL_DELIVERY_WORLDS").unwrap_or(60) {
        live(seed);
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
