//! What the machine keeps in memory comes down again when all is acknowledged and what is remembered has ended.

use std::time::Duration;

use penpal_protocol::wire::{DepositOutcome, EdgeRevoke, Request};

use penpal_relay_core::Table;

use crate::world::{World, key};

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn a_busy_day_leaves_nothing_in_memory() {
    let mut world = World::new();
    let (mut alice, mut bob, way) = world.pair();
    let epoch = world.online(&alice);
    world.advance(30 * HOUR);
    let before = world.core.remembered();
    let mut seq = 0;
    for hour in 0..6_u64 {
        for number in 1..=150 {
            let outcome = world.deposit(bob.conn, way.deposit(hour * 1_000 + number, vec![7; 64]));
            assert_eq!(outcome, DepositOutcome::Accepted);
            seq += 1;
            if number % 50 == 0 {
                world.ack(alice.conn, epoch, seq, &[]);
            }
        }
        // Edges that come and go, strangers, and connections that end in the middle.
        for _ in 0..40 {
            let other = world.way(&alice, bob.conn);
            world.ask(alice.conn, Request::EdgeRevoke(EdgeRevoke { edge: other.edge }));
        }
        for number in 0..30 {
            let stranger = world.connect(key(10_000 + hour * 100 + number));
            world.disconnect(stranger);
        }
        world.disconnect(alice.conn);
        world.disconnect(bob.conn);
        world.reconnect(&mut alice);
        world.reconnect(&mut bob);
        world.online(&alice);
        world.advance(HOUR / 2);
    }
    world.ack(alice.conn, epoch, seq, &[]);
    let busy = world.core.remembered();
    assert!(busy >= before + 900, "{busy} entries after {before}: what was remembered is counted");
    // Rows and rates that nobody asked for leave within twenty minutes.
    world.advance(HOUR / 2);
    let quiet = world.core.remembered();
    assert!(quiet <= before + 900, "{quiet} entries, of which 900 are deposit ids");
    // Deposit ids within 28 hours.
    world.advance(29 * HOUR);
    assert_eq!(world.core.remembered(), before);
    assert_eq!(world.rows.count(Table::MarkBucket), 0, "and storage has none of them either");
}
