//! Deposits: accepted once, within quotas, ephemeral ones never stored.

use std::time::Duration;

use penpal_protocol::wire::{DepositOutcome, Event};
use penpal_relay_core::{Config, ConnId, Limits, Queue, Rate, Rows};

use crate::world::{Way, World, delivered, key};

#[test]
fn a_repeated_deposit_is_accepted_and_stored_once() {
    let mut world = World::new();
    let (alice, bob, way) = world.pair();
    for _ in 0..3 {
        assert_eq!(world.deposit(bob.conn, way.deposit(1, vec![7; 64])), DepositOutcome::Accepted);
    }
    // Also twice in one step, after a restart, and for 24 hours.
    world.put_deposit(bob.conn, way.deposit(2, vec![8; 64]));
    world.put_deposit(bob.conn, way.deposit(2, vec![8; 64]));
    world.step();
    assert_eq!(world.outcomes().len(), 2);
    world.restart();
    let bob = world.connect(bob.key);
    world.advance(Duration::from_secs(23 * 3600));
    for number in [1, 2] {
        assert_eq!(world.deposit(bob, way.deposit(number, vec![7; 64])), DepositOutcome::Accepted);
    }
    let alice_conn = world.connect(alice.key);
    world.receive(alice_conn);
    assert_eq!(delivered(&world.events(alice_conn)), [(1, 7), (2, 8)]);
    // Far later it is a new one.
    world.advance(Duration::from_secs(30 * 3600));
    let bob = world.connect(key(2));
    assert_eq!(world.deposit(bob, way.deposit(1, vec![9; 64])), DepositOutcome::Accepted);
    assert_eq!(delivered(&world.events(alice_conn)), [(3, 9)]);
}

#[test]
fn a_deposit_id_is_one_edges_own() {
    let mut world = World::new();
    let (alice, bob, way) = world.pair();
    let carol = world.person(3, "carol");
    let other = world.way(&alice, carol.conn);
    assert_eq!(world.deposit(bob.conn, way.deposit(1, vec![7; 64])), DepositOutcome::Accepted);
    assert_eq!(world.deposit(carol.conn, other.deposit(1, vec![8; 64])), DepositOutcome::Accepted);
    world.online(&alice);
    assert_eq!(delivered(&world.events(alice.conn)), [(1, 7), (2, 8)]);
}

#[test]
fn the_slot_must_be_the_owners() {
    let mut world = World::new();
    let (_alice, bob, mut way) = world.pair();
    let carol = world.person(3, "carol");
    for slot in
        [carol.registered.slot, bob.registered.slot, penpal_protocol::ids::SlotId::from_bytes([0; 16])]
    {
        way.slot = slot;
        assert_eq!(world.deposit(bob.conn, way.deposit(1, vec![1; 64])), DepositOutcome::No);
    }
}

#[test]
fn a_full_spool_says_so_and_takes_again_after_acknowledgement() {
    let limits = Limits { spool_rows: 3, ..Limits::default() };
    let mut world = World::with(Config { limits, ..Config::default() });
    let (alice, bob, _) = world.pair();
    // Each by an edge of its own: one alone does not fill a spool.
    let ways: Vec<_> = (1..=6).map(|_| world.way(&alice, bob.conn)).collect();
    let deposit = |number: u64| ways[usize::try_from(number - 1).unwrap()].deposit(number, vec![7; 64]);
    for number in 1..=3 {
        assert_eq!(world.deposit(bob.conn, deposit(number)), DepositOutcome::Accepted);
    }
    assert_eq!(world.deposit(bob.conn, deposit(4)), DepositOutcome::RecipientFull);
    let epoch = world.online(&alice);
    world.ack(alice.conn, epoch, 2, &[]);
    world.advance(Duration::from_millis(50));
    for (number, outcome) in
        [(4, DepositOutcome::Accepted), (5, DepositOutcome::Accepted), (6, DepositOutcome::RecipientFull)]
    {
        assert_eq!(world.deposit(bob.conn, deposit(number)), outcome, "{number}");
    }
}

/// Deposits until one is not accepted: how many were, and what the other is.
fn fill(world: &mut World, conn: ConnId, way: &Way, bytes: usize) -> (u32, DepositOutcome) {
    let mut accepted = 0;
    loop {
        let number = world.fresh();
        match world.deposit(conn, way.deposit(number, vec![7; bytes])) {
            DepositOutcome::Accepted => accepted += 1,
            other => return (accepted, other),
        }
    }
}

#[test]
fn one_contact_does_not_take_the_room_of_all_others() {
    let limits = Limits { spool_rows: 24, spool_bytes: 640 * 1024, ..Limits::default() };
    let mut world = World::with(Config { limits, ..Config::default() });
    let (alice, mallory, way) = world.pair();
    let (bob, carol) = (world.person(3, "another"), world.person(4, "third"));
    let (of_bob, of_carol) = (world.way(&alice, bob.conn), world.way(&alice, carol.conn));
    // An eighth, and a quarter.
    assert_eq!(fill(&mut world, mallory.conn, &way, 64), (3 + 6, DepositOutcome::Quota));
    assert_eq!(fill(&mut world, bob.conn, &of_bob, 64), (6, DepositOutcome::Quota));
    // What does not happen is not counted.
    world.disk_full = true;
    for number in 0..10 {
        world.advance(Duration::from_secs(2));
        let outcome = world.deposit(carol.conn, of_carol.deposit(1_000 + number, vec![7; 64]));
        assert_eq!(outcome, DepositOutcome::Full);
    }
    world.disk_full = false;
    world.advance(Duration::from_secs(2));
    assert_eq!(fill(&mut world, carol.conn, &of_carol, 64), (6, DepositOutcome::Quota));
    // The account's own devices have no share.
    let own = world.way(&alice, alice.conn);
    assert_eq!(fill(&mut world, alice.conn, &own, 64), (3, DepositOutcome::RecipientFull));
    // By bytes as well, once there is room again.
    let epoch = world.online(&alice);
    world.ack(alice.conn, epoch, 24, &[]);
    world.advance(Duration::from_millis(50));
    assert_eq!(fill(&mut world, mallory.conn, &way, 80 * 1024), (1 + 2, DepositOutcome::Quota));
    assert_eq!(world.deposit(bob.conn, of_bob.deposit(2_000, vec![7; 64])), DepositOutcome::Accepted);
}

#[test]
fn a_spool_is_full_by_bytes_too() {
    let limits = Limits { spool_bytes: 14_000, ..Limits::default() };
    let mut world = World::with(Config { limits, ..Config::default() });
    let (_alice, bob, way) = world.pair();
    assert_eq!(world.deposit(bob.conn, way.deposit(1, vec![7; 8_000])), DepositOutcome::Accepted);
    assert_eq!(world.deposit(bob.conn, way.deposit(2, vec![7; 8_000])), DepositOutcome::RecipientFull);
    assert_eq!(world.deposit(bob.conn, way.deposit(3, vec![7; 1_000])), DepositOutcome::Accepted);
}

#[test]
fn rates_are_answers() {
    let limits = Limits {
        edge_deposits: Rate { per_second: 1, burst: 2 },
        depositor_kib: Rate { per_second: 4, burst: 16 },
        ..Limits::default()
    };
    let mut world = World::with(Config { limits, ..Config::default() });
    let (alice, bob, way) = world.pair();
    let outcomes = |world: &mut World, numbers: std::ops::Range<u64>| {
        numbers.map(|number| world.deposit(bob.conn, way.deposit(number, vec![7; 64]))).collect::<Vec<_>>()
    };
    let (yes, quota) = (DepositOutcome::Accepted, DepositOutcome::Quota);
    assert_eq!(outcomes(&mut world, 0..3), [yes, yes, quota]);
    world.advance(Duration::from_secs(1));
    assert_eq!(outcomes(&mut world, 2..4), [yes, quota]);
    // By size, over all edges of the depositor.
    world.advance(Duration::from_secs(60));
    let second = world.way(&alice, bob.conn);
    assert_eq!(world.deposit(bob.conn, way.deposit(10, vec![7; 8 * 1024])), yes);
    assert_eq!(world.deposit(bob.conn, second.deposit(11, vec![7; 16 * 1024])), quota);
    assert_eq!(world.deposit(bob.conn, second.deposit(12, vec![7; 8 * 1024])), yes);
}

#[test]
fn ephemeral_deposits_reach_who_is_there_and_nothing_else() {
    let mut world = World::new();
    let (alice, bob, way) = world.pair();
    let mut presence = way.deposit(1, vec![9; 64]);
    presence.ephemeral = Some(true);
    let before = world.rows.clone();
    assert_eq!(world.deposit(bob.conn, presence.clone()), DepositOutcome::Accepted);
    assert!(world.rows == before, "an ephemeral deposit changes nothing stored");
    world.online(&alice);
    assert_eq!(world.events(alice.conn), []);
    assert_eq!(world.deposit(bob.conn, presence.clone()), DepositOutcome::Accepted);
    assert!(
        matches!(world.events(alice.conn).as_slice(), [Event::Ephemeral(event)] if event.envelope[0] == 9)
    );
    presence.cap = penpal_protocol::ids::Capability::from_bytes([0; 32]);
    assert_eq!(world.deposit(bob.conn, presence), DepositOutcome::No);
}

#[test]
fn guessing_uses_up_the_guessers_requests() {
    let limits = Limits { requests: Rate { per_second: 1, burst: 10 }, ..Limits::default() };
    let mut world = World::with(Config { limits, ..Config::default() });
    let (_alice, _bob, way) = world.pair();
    let guesser = world.connect(key(9));
    let outcomes: Vec<_> =
        (0..20).map(|number| world.deposit(guesser, way.deposit(number, vec![1; 64]))).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == DepositOutcome::No).count(), 10);
    assert_eq!(outcomes.last(), Some(&DepositOutcome::Quota));
}

#[test]
fn a_row_holds_slot_number_minute_and_envelope_only() {
    let mut world = World::new();
    let (alice, bob, way) = world.pair();
    let envelope: Vec<u8> = (0..=255).cycle().take(4096).collect();
    world.deposit(bob.conn, way.deposit(77, envelope.clone()));
    let rows = world.rows.read(Queue(*alice.registered.slot.as_bytes()), 0, 10, 10_000).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].bytes.as_ref(), [&[1], envelope.as_slice()].concat());
    for bytes in world.rows.all_bytes() {
        assert!(!bytes.windows(16).any(|window| window == way.deposit(77, vec![]).deposit.as_bytes()));
        assert!(!bytes.windows(32).any(|window| window == way.cap.expose()));
    }
}
