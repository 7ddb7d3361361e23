//! What ends by itself, and what a wrong clock must not end.

use std::time::Duration;

use penpal_protocol::wire::DepositOutcome;
use penpal_relay_core::{AdminAnswer, AdminRequest, Queue, Rows, Table};

use crate::world::World;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn waiting(world: &World, slot: penpal_protocol::ids::SlotId) -> u64 {
    world.rows.usage(Queue(*slot.as_bytes())).unwrap().rows
}

#[test]
fn rows_live_31_days() {
    let mut world = World::new();
    let (alice, bob, way) = world.pair();
    let slot = alice.registered.slot;
    for number in 0..3_000 {
        assert_eq!(world.deposit(bob.conn, way.deposit(number, vec![1; 8])), DepositOutcome::Accepted);
    }
    world.advance(DAY * 15);
    world.deposit(bob.conn, way.deposit(9_999, vec![1; 8]));
    world.advance(DAY * 16 - Duration::from_secs(3600));
    assert_eq!(waiting(&world, slot), 3_001);
    world.advance(Duration::from_secs(2 * 3600));
    assert_eq!(waiting(&world, slot), 1);
    world.advance(DAY * 16);
    assert_eq!(waiting(&world, slot), 0);
    // Numbers go on.
    world.online(&alice);
    world.deposit(bob.conn, way.deposit(10_000, vec![1; 8]));
    assert_eq!(crate::world::delivered(&world.events(alice.conn)), [(3_002, 1)]);
}

#[test]
fn a_clock_that_jumps_ahead_is_not_believed_at_once() {
    let mut world = World::new();
    let (alice, bob, way) = world.pair();
    world.deposit(bob.conn, way.deposit(1, vec![1; 8]));
    world.advance(Duration::from_secs(1_000));
    world.now.wall_ms += 40 * 24 * 3_600_000;
    world.advance(Duration::from_secs(1_800));
    assert_eq!(waiting(&world, alice.registered.slot), 1);
    // Put right again: nothing was lost.
    world.now.wall_ms -= 40 * 24 * 3_600_000;
    world.advance(DAY);
    assert_eq!(waiting(&world, alice.registered.slot), 1);
    // A jump that stays is believed after an hour.
    world.now.wall_ms += 40 * 24 * 3_600_000;
    world.advance(Duration::from_secs(5_000));
    assert_eq!(waiting(&world, alice.registered.slot), 0);
}

#[test]
fn tokens_end() {
    let mut world = World::new();
    world.token();
    world.advance(DAY);
    assert_eq!(world.admin(AdminRequest::TokenList), AdminAnswer::Tokens(vec![]));
    assert_eq!(world.rows.count(Table::Token), 0);
}

#[test]
fn an_idle_relay_sleeps() {
    let mut world = World::new();
    world.advance(DAY);
    let due = world.core.poll_timeout().unwrap();
    assert!(due > world.now.mono + Duration::from_secs(60), "nothing to do for a while");
}
