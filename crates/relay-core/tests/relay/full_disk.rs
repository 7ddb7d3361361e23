//! A full disk: refused and told, nothing half done, and freeing goes on.

use std::time::Duration;

use penpal_protocol::ids::AccountProof;
use penpal_protocol::wire::{
    Answer, DepositOutcome, DeviceAdd, DeviceRemove, EdgeRevoke, PutProof, RefusalCode, Request, Verdict,
};
use penpal_relay_core::{AdminAnswer, AdminRequest, CloseReason, Config, Limits, Rate, Table};

use crate::registration::{invite, redeem, registered};
use crate::world::{World, delivered, hello, key, refusal};

#[test]
fn deposits_say_full_and_work_again_later() {
    let mut world = World::new();
    let (alice, bob, way) = world.pair();
    world.deposit(bob.conn, way.deposit(1, vec![1; 64]));
    let before = world.rows.clone();
    world.disk_full = true;
    for _ in 0..3 {
        // First by a commit that fails, then without trying.
        assert_eq!(world.deposit(bob.conn, way.deposit(2, vec![2; 64])), DepositOutcome::Full);
    }
    assert!(world.rows == before);
    assert_eq!(
        world.deposit(bob.conn, way.deposit(1, vec![1; 64])),
        DepositOutcome::Accepted,
        "stored before"
    );
    world.disk_full = false;
    assert_eq!(world.deposit(bob.conn, way.deposit(2, vec![2; 64])), DepositOutcome::Full, "not tried yet");
    world.advance(Duration::from_secs(2));
    assert_eq!(world.deposit(bob.conn, way.deposit(2, vec![2; 64])), DepositOutcome::Accepted);
    world.online(&alice);
    assert_eq!(delivered(&world.events(alice.conn)), [(1, 1), (2, 2)]);
}

#[test]
fn nothing_of_a_failed_step_has_happened() {
    let mut world = World::new();
    let alice = world.person(1, "alice");
    world.ask(alice.conn, invite(1));
    let bob = world.connect(key(2));
    let before = world.rows.clone();
    world.disk_full = true;
    let register = world.put(bob, crate::registration::by_invite("bob", 1));
    let redeeming = world.put(bob, redeem(1, 5));
    let receiving = world.put(alice.conn, hello(1, 1, &[]));
    world.step();
    for id in [register, redeeming, receiving] {
        assert_eq!(refusal(&world.answer(id).unwrap()), Some(RefusalCode::Full));
    }
    assert!(world.rows == before);
    world.disk_full = false;
    world.advance(Duration::from_secs(2));
    assert!(matches!(world.ask(bob, crate::registration::by_invite("bob", 1)), Answer::Registered(_)));
    assert_eq!(world.ask(bob, redeem(1, 6)), Answer::Done);
    assert_eq!(world.hello(alice.conn, 1, 2, &[]).verdict, Verdict::Known, "run 1 was never answered");
}

#[test]
fn receiving_acknowledging_and_revoking_go_on() {
    let mut world = World::new();
    let (mut alice, bob, way) = world.pair();
    world.hello(alice.conn, 1, 1, &[]);
    for number in 0..5 {
        world.deposit(bob.conn, way.deposit(number, vec![1; 64]));
    }
    world.disk_full = true;
    assert_eq!(world.deposit(bob.conn, way.deposit(9, vec![1; 64])), DepositOutcome::Full);
    world.reconnect(&mut alice);
    let answer = world.hello(alice.conn, 1, 2, &[1]);
    assert_eq!(answer.verdict, Verdict::Known);
    assert_eq!(delivered(&world.events(alice.conn)).len(), 5);
    world.ack(alice.conn, answer.epoch, 5, &[]);
    world.advance(Duration::from_millis(100));
    use penpal_relay_core::{Queue, Rows};
    assert_eq!(world.rows.usage(Queue(*alice.registered.slot.as_bytes())).unwrap().rows, 0);
    assert_eq!(world.ask(alice.conn, Request::EdgeRevoke(EdgeRevoke { edge: way.edge })), Answer::Done);
    assert_eq!(world.rows.count(Table::Edge), 0);
    // The run that was answered meanwhile is the known one, now and after a restart.
    world.reconnect(&mut alice);
    assert_eq!(world.hello(alice.conn, 1, 3, &[2]).verdict, Verdict::Known);
    world.disk_full = false;
    world.advance(Duration::from_secs(5));
    world.restart();
    world.reconnect(&mut alice);
    assert_eq!(world.hello(alice.conn, 1, 4, &[3]).verdict, Verdict::Known);
}

#[test]
fn the_operator_is_told() {
    let mut world = World::new();
    world.disk_full = true;
    let ask = AdminRequest::TokenNew { note: String::new(), life_ms: 1_000, uses: 1 };
    assert_eq!(world.admin(ask.clone()), AdminAnswer::Full);
    assert_eq!(world.admin(ask), AdminAnswer::Full);
}

#[test]
fn a_stolen_device_is_cut_off() {
    let mut world = World::new();
    let mut alice = world.person(1, "alice");
    let proof = AccountProof::from_bytes([1; 32]);
    world.ask(alice.conn, Request::PutProof(PutProof { proof_hash: proof.hash() }));
    let devices = [5, 6].map(|number| {
        let add = DeviceAdd { key: key(number), proof: proof.clone() };
        (registered(world.ask(alice.conn, Request::DeviceAdd(add))), key(number))
    });
    world.disk_full = true;
    for (device, stolen) in devices {
        let conn = world.connect(stolen);
        let remove = || Request::DeviceRemove(DeviceRemove { slot: device.slot, proof: proof.clone() });
        // In one step with something that grows it is refused with it.
        world.advance(Duration::from_secs(2));
        let growing = world.put(alice.conn, invite(1));
        let beside = world.put(alice.conn, remove());
        world.step();
        for id in [growing, beside] {
            assert_eq!(refusal(&world.answer(id).unwrap()), Some(RefusalCode::Full));
        }
        assert_eq!(world.ask(alice.conn, remove()), Answer::Done);
        assert_eq!(world.closed(conn), Some(CloseReason::Refused));
        world.restart();
        let again = world.connect(stolen);
        assert_eq!(refusal(&world.ask(again, invite(2))), Some(RefusalCode::NotRegistered));
        world.reconnect(&mut alice);
    }
}

#[test]
fn runs_that_wait_for_room_are_written_some_at_a_time() {
    const PEOPLE: u64 = 1_100;
    let rate = Rate { per_second: 1_000_000, burst: 1_000_000 };
    let limits = Limits { prefix_requests: rate, ..Limits::default() };
    let mut world = World::with(Config { limits, ..Config::default() });
    let conns: Vec<_> = (0..PEOPLE)
        .map(|number| {
            let person = world.person(number, &format!("p{number}"));
            world.hello(person.conn, 1, 1, &[]);
            person.conn
        })
        .collect();
    world.disk_full = true;
    assert_eq!(refusal(&world.ask(conns[0], invite(1))), Some(RefusalCode::Full));
    for conn in conns {
        let id = world.put(conn, hello(1, 2, &[1]));
        world.step();
        assert!(matches!(world.answer(id), Some(Answer::Hello(answer)) if answer.verdict == Verdict::Known));
    }
    world.disk_full = false;
    world.now = world.now.plus(Duration::from_secs(2));
    world.core.handle_timeout(&world.rows, world.now).unwrap();
    assert_eq!(world.step_changes().len(), 1_024);
    world.settle();
    world.restart();
    for number in 0..PEOPLE {
        let conn = world.connect(key(number));
        assert_eq!(world.hello(conn, 1, 3, &[2]).verdict, Verdict::Known, "{number}");
    }
}
