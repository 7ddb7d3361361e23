//! Accounts as the operator sees and ends them.

use penpal_protocol::wire::{Answer, DepositOutcome, RefusalCode, Request};
use penpal_relay_core::{AccountInfo, AccountState, AdminAnswer, AdminRequest, CloseReason, Table};

use crate::world::{World, delivered, hello, label, refusal};

fn account(world: &mut World, handle: &str) -> Option<AccountInfo> {
    match world.admin(AdminRequest::Account { handle: label(handle) }) {
        AdminAnswer::Account(info) => Some(info),
        AdminAnswer::NoAccount => None,
        other => panic!("{other:?}"),
    }
}

fn suspend(world: &mut World, handle: &str, suspended: bool) -> AdminAnswer {
    world.admin(AdminRequest::Suspend { handle: label(handle), suspended })
}

#[test]
fn accounts_are_shown_with_what_waits() {
    let mut world = World::new();
    let (alice, bob, way) = world.pair();
    for number in 0..3 {
        world.deposit(bob.conn, way.deposit(number, vec![1; 4096]));
    }
    let seen = account(&mut world, "alice").unwrap();
    assert_eq!((seen.state, seen.edges, seen.links, seen.invites), (AccountState::Active, 1, 0, 0));
    let [device] = seen.devices.as_slice() else { panic!("one device") };
    assert_eq!((device.receiving, device.waiting.rows, device.waiting.bytes), (false, 3, 3 * 4097));
    assert_eq!(device.waiting.oldest_minute, u32::try_from(world.now.wall_ms / 60_000).ok());
    assert_eq!(account(&mut world, "bob").unwrap().links, 1);
    assert_eq!(account(&mut world, "carol"), None);
    world.online(&alice);
    assert!(account(&mut world, "alice").unwrap().devices[0].receiving);
    match world.admin(AdminRequest::Accounts { after: None, limit: 1 }) {
        AdminAnswer::Accounts(list) => assert_eq!(list[0].handle, label("alice")),
        other => panic!("{other:?}"),
    }
    match world.admin(AdminRequest::Accounts { after: Some(label("alice")), limit: 9 }) {
        AdminAnswer::Accounts(list) => assert_eq!(list.len(), 1),
        other => panic!("{other:?}"),
    }
    match world.admin(AdminRequest::Census) {
        AdminAnswer::Census(census) => {
            assert_eq!((census.accounts, census.edges, census.rows, census.spools), (2, 1, 3, 1));
            assert_eq!((census.receiving, census.deposit_marks), (1, 3));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_suspended_account_does_nothing_and_writes_to_nobody() {
    let mut world = World::new();
    let (alice, mut bob, way) = world.pair();
    let back = world.way(&bob, alice.conn);
    world.online(&alice);
    world.online(&bob);
    world.events(alice.conn);
    assert!(matches!(suspend(&mut world, "bob", true), AdminAnswer::Account(_)));
    assert_eq!(world.closed(bob.conn), Some(CloseReason::Suspended));
    assert_eq!(account(&mut world, "bob").unwrap().state, AccountState::Suspended);
    world.restart();
    let alice_conn = world.connect(alice.key);
    world.reconnect(&mut bob);
    assert_eq!(refusal(&world.ask(bob.conn, hello(1, 1, &[]))), Some(RefusalCode::Suspended));
    assert_eq!(world.deposit(bob.conn, way.deposit(1, vec![1; 64])), DepositOutcome::No);
    let mut ephemeral = way.deposit(2, vec![1; 64]);
    ephemeral.ephemeral = Some(true);
    assert_eq!(world.deposit(bob.conn, ephemeral), DepositOutcome::No);
    // What others have for him goes on waiting.
    assert_eq!(world.deposit(alice_conn, back.deposit(3, vec![7; 64])), DepositOutcome::Accepted);
    assert!(matches!(suspend(&mut world, "bob", false), AdminAnswer::Account(_)));
    world.reconnect(&mut bob);
    world.receive(bob.conn);
    assert_eq!(delivered(&world.events(bob.conn)), [(1, 7)]);
    assert_eq!(world.deposit(bob.conn, way.deposit(4, vec![1; 64])), DepositOutcome::Accepted);
    assert_eq!(suspend(&mut world, "carol", true), AdminAnswer::NoAccount);
}

#[test]
fn a_removed_account_leaves_nothing() {
    let mut world = World::new();
    let (alice, bob, way) = world.pair();
    world.way(&bob, alice.conn);
    let epoch = world.online(&alice);
    for number in 0..3 {
        world.deposit(bob.conn, way.deposit(number, vec![0xc5; 4096]));
    }
    // An acknowledgement that waits for a commit must not bring the queue back.
    let ack = penpal_protocol::wire::Ack { epoch, up_to: 1, gaps: penpal_protocol::cbor::List::default() };
    let asked = world.put(alice.conn, Request::Ack(ack));
    world.step();
    assert!(matches!(world.answer(asked), Some(Answer::Ack(_))));
    assert!(matches!(world.admin(AdminRequest::Delete { handle: label("alice") }), AdminAnswer::Account(_)));
    assert_eq!(world.closed(alice.conn), Some(CloseReason::Refused));
    world.advance(std::time::Duration::from_secs(60));
    let registered = &alice.registered;
    for (what, bytes) in [
        ("handle", b"alice".as_slice()),
        ("account", registered.account.as_bytes()),
        ("slot", registered.slot.as_bytes()),
        ("key", alice.key.as_bytes()),
        ("edge", way.edge.as_bytes()),
        ("envelope", &[0xc5; 64]),
    ] {
        let found = world.rows.all_bytes().any(|row| row.windows(bytes.len()).any(|window| window == bytes));
        assert!(!found, "{what}");
    }
    assert_eq!(world.rows.count(Table::Account), 1);
    assert_eq!(account(&mut world, "alice"), None);
    assert_eq!(world.deposit(bob.conn, way.deposit(9, vec![1; 64])), DepositOutcome::No);
    assert_eq!(world.admin(AdminRequest::Delete { handle: label("alice") }), AdminAnswer::NoAccount);
    // The handle is free again.
    world.person(7, "alice");
}

#[test]
fn an_envelope_of_another_length_is_refused() {
    let mut world = World::new();
    let (_, bob, way) = world.pair();
    for (length, outcome) in [
        (0, DepositOutcome::No),
        (4095, DepositOutcome::No),
        (4096, DepositOutcome::Accepted),
        (4097, DepositOutcome::No),
        (80 * 1024, DepositOutcome::Accepted),
    ] {
        let mut deposit = way.deposit(length, vec![1]);
        deposit.envelope =
            penpal_protocol::cbor::Blob::new(vec![1; usize::try_from(length).unwrap()]).unwrap();
        assert_eq!(world.deposit(bob.conn, deposit), outcome, "{length}");
    }
}
