//! More than anybody can hold: the node's memory stays bounded, and it goes on.

use penpal_protocol::cbor::Blob;
use penpal_protocol::ids::{EdgeId, InviteId, SpoolEpoch};
use penpal_protocol::wire::{Delivery, EdgeState, Ephemeral, Event, Redeemed, Request};
use penpal_tests::{Person, wait};

use crate::double::{Out, Say};
use crate::scene::{Scene, told};

/// Most memory that a flood may cost a node, in KiB, beside what it had when it was connected: pages of the program's file, which an
/// unoptimized build has many of, are no matter of floods. What is sent is many times that.
const MOST_KIB: u64 = 16 * 1024;

/// Most memory that a node used since its start, in KiB.
fn peak_kib(person: &Person) -> u64 {
    let pid = person.node_pid().expect("a node");
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[expect(clippy::print_stdout, reason = "the figure is of interest when the test passes, too")]
fn stays_small(person: &Person, before: u64) {
    let peak = peak_kib(person);
    println!("at most {peak} KiB, {before} KiB before");
    assert!(peak.saturating_sub(before) < MOST_KIB, "{peak} KiB, {before} KiB before");
}

/// Sends Bob so many events; `PENPAL_FLOOD=40` makes them forty times as many, which is millions.
fn flood(scene: &Scene, count: u64, mut event: impl FnMut(u64) -> Out) {
    let times = std::env::var("PENPAL_FLOOD").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    scene.relay.with(|world| {
        for number in 0..count * times {
            world.say("bob", &event(number));
        }
    });
}

fn blob<const N: usize>(number: u64, bytes: usize) -> Blob<N> {
    let mut content = vec![1; bytes];
    content[..8].copy_from_slice(&number.to_be_bytes());
    Blob::new(content).expect("short enough")
}

/// Once mail comes through, all that was sent before it was taken.
fn is_alive(scene: &Scene, text: &str) {
    scene.send(&scene.alice, "bob", text);
    wait::until("mail behind the flood", || scene.bob.bodies("desk").iter().any(|body| body == text));
}

/// Found here: a relay's events filled the engine's queue, and local calls were turned away.
#[test]
fn floods_of_small_events_leave_memory_bounded() {
    let scene = Scene::connected();
    let before = peak_kib(&scene.bob);
    let row = scene.relay.with(|world| world.delivered("bob").pop().expect("a delivery"));
    flood(&scene, 30_000, |number| Out::Raw(255, number.to_be_bytes().to_vec()));
    flood(&scene, 30_000, |number| {
        let mut edge = [0; 16];
        edge[..8].copy_from_slice(&number.to_be_bytes());
        Out::Event(Event::EdgeState(EdgeState { edge: EdgeId::from_bytes(edge), up: true }))
    });
    flood(&scene, 10_000, |number| {
        let (epoch, seq, mut invite) = (row.epoch, row.seq, [0; 16]);
        invite[..8].copy_from_slice(&number.to_be_bytes());
        let invite = InviteId::from_bytes(invite);
        Out::Event(Event::Redeemed(Redeemed { epoch, seq, invite, request: blob(number, 64) }))
    });
    is_alive(&scene, "after small events");
    stays_small(&scene.bob, before);
}

#[test]
fn floods_of_large_envelopes_leave_memory_bounded() {
    let scene = Scene::connected();
    let before = peak_kib(&scene.bob);
    let row = scene.relay.with(|world| world.delivered("bob").pop().expect("a delivery"));
    // No acknowledgement is ever answered.
    scene.relay.lie(|malice| {
        malice.request = Box::new(|who, request| match request {
            Request::Ack(_) if who == "bob" => Say::Never,
            _ => Say::Honest,
        });
    });
    flood(&scene, 600, |number| {
        let (epoch, seq) = (row.epoch, row.seq + number);
        Out::Event(Event::Delivery(Delivery { epoch, seq, envelope: blob(number, 80 * 1024) }))
    });
    flood(&scene, 300, |number| {
        Out::Event(Event::Ephemeral(Ephemeral { envelope: blob(number, 80 * 1024) }))
    });
    flood(&scene, 300, |number| {
        let epoch = SpoolEpoch::from_bytes(number.to_be_bytes());
        Out::Event(Event::Delivery(Delivery { epoch, seq: number, envelope: blob(number, 80 * 1024) }))
    });
    is_alive(&scene, "after large envelopes");
    stays_small(&scene.bob, before);
    let acks = |(who, request): &&(String, Request)| who == "bob" && matches!(request, Request::Ack(_));
    let acks = scene.relay.with(|world| world.requests.iter().filter(acks).count());
    assert!(acks < 64, "{acks} acknowledgements wait for an answer that never comes");
}

/// Found in the first run: rows that come before the answer to `Hello` were kept without end.
#[test]
fn mail_before_the_answer_to_hello_is_bounded_and_told() {
    let scene = Scene::connected();
    let memory = peak_kib(&scene.bob);
    let row = scene.relay.with(|world| world.delivered("bob").pop().expect("a delivery"));
    scene.relay.lie(|malice| {
        malice.request = Box::new(|who, request| match request {
            Request::Hello(_) if who == "bob" => Say::Never,
            _ => Say::Honest,
        });
    });
    let before = scene.relay.with(|world| world.requests.len());
    scene.relay.with(|world| world.hang_up("bob"));
    let hello = |(who, request): &(String, Request)| who == "bob" && matches!(request, Request::Hello(_));
    scene.relay.until("a hello", |world| world.requests[before..].iter().any(hello));
    flood(&scene, 1_000, |number| {
        let (epoch, seq) = (row.epoch, row.seq + number);
        Out::Event(Event::Delivery(Delivery { epoch, seq, envelope: blob(number, 80 * 1024) }))
    });
    told(&scene.bob, "sends mail without saying which life of the spool");
    stays_small(&scene.bob, memory);
    scene.relay.repent();
    scene.bob.ok(&["daemon", "stop"]);
    is_alive(&scene, "after early mail");
}
