//! Epochs, row numbers, and what a relay says about this node's past.

use penpal_protocol::cbor::Blob;
use penpal_protocol::ids::SpoolEpoch;
use penpal_protocol::wire::{AckAnswer, Answer, Delivery, Event, HelloAnswer, Request, Verdict};

use crate::double::{Malice, Out, Say};
use crate::scene::{Scene, doubtful, is_connected, is_told, reaches, told};
use penpal_tests::wait;

/// Answers Bob's `Hello` with changes.
fn hello(malice: &mut Malice, mut change: impl FnMut(&mut HelloAnswer) + Send + 'static) {
    malice.answer = Box::new(move |who, _, answer| match answer {
        Answer::Hello(mut answer) if who == "bob" => {
            change(&mut answer);
            Say::Answer(Answer::Hello(answer))
        }
        _ => Say::Honest,
    });
}

fn hellos(scene: &Scene) -> usize {
    let is_hello = |(who, request): &&(String, Request)| who == "bob" && matches!(request, Request::Hello(_));
    scene.relay.with(|world| world.requests.iter().filter(is_hello).count())
}

#[test]
fn a_rewound_spool_delivers_nothing_twice() {
    let scene = Scene::connected();
    scene.send(&scene.alice, "bob", "one");
    scene.send(&scene.alice, "bob", "two");
    scene.arrives(&scene.bob, &["one", "two"]);
    scene.settle();
    // A new life of the spool, which begins with everything that ever was in it.
    let all = scene.relay.with(|world| world.delivered("bob"));
    let epoch = SpoolEpoch::from_bytes([7; 8]);
    scene.relay.lie(|malice| hello(malice, move |answer| (answer.epoch, answer.newest) = (epoch, 2)));
    scene.relay.with(|world| world.hang_up("bob"));
    let before = hellos(&scene);
    wait::until("a new hello", || hellos(&scene) > before && is_connected(&scene.bob));
    let count = u64::try_from(all.len()).expect("few");
    scene.relay.with(|world| {
        for (seq, row) in (1..).zip(all) {
            world.say("bob", &Out::Event(Event::Delivery(Delivery { epoch, seq, ..row })));
        }
    });
    let is_last = move |request: &Request| matches!(request, Request::Ack(ack) if ack.epoch == epoch && ack.up_to == count);
    scene.relay.until("the acknowledgement of it all", |world| {
        world.requests.iter().any(|(who, request)| who == "bob" && is_last(request))
    });
    assert_eq!(scene.bob.bodies("desk"), ["one", "two"]);
}

#[test]
fn rows_of_another_life_of_the_spool_are_not_taken() {
    let scene = Scene::connected();
    let doubted = doubtful(&scene.bob);
    let last = scene.relay.with(|world| world.delivered("bob").pop().expect("a delivery"));
    scene.relay.with(|world| {
        for (number, envelope) in [(1_u8, vec![1; 4096]), (2, last.envelope.to_vec())] {
            let (epoch, envelope) =
                (SpoolEpoch::from_bytes([number; 8]), Blob::new(envelope).expect("short enough"));
            let row = Delivery { epoch, seq: 99, envelope };
            world.say("bob", &Out::Event(Event::Delivery(row)));
        }
    });
    scene.send(&scene.alice, "bob", "present");
    scene.arrives(&scene.bob, &["present"]);
    assert_eq!(doubtful(&scene.bob), doubted, "not even counted");
    let other = |request: &Request| matches!(request, Request::Ack(ack) if ack.epoch != last.epoch || ack.up_to >= 99);
    assert!(
        !scene.relay.with(|world| world.requests.iter().any(|(who, request)| who == "bob" && other(request)))
    );
}

/// A row numbered so high would acknowledge all mail that ever comes.
#[test]
fn impossible_row_numbers_do_not_acknowledge_later_mail() {
    let scene = Scene::connected();
    let last = scene.relay.with(|world| world.delivered("bob").pop().expect("a delivery"));
    scene.relay.with(|world| {
        let row =
            Delivery { seq: u64::MAX, envelope: Blob::new(vec![1; 4096]).expect("short enough"), ..last };
        world.say("bob", &Out::Event(Event::Delivery(row)));
    });
    let absurd = |request: &Request| matches!(request, Request::Ack(ack) if ack.up_to == u64::MAX);
    scene
        .relay
        .until("its acknowledgement", |world| world.requests.iter().any(|(_, request)| absurd(request)));
    scene.bob.ok(&["daemon", "stop"]);
    let before = scene.relay.with(|world| world.requests.len());
    let id = scene.send(&scene.alice, "bob", "while away");
    reaches(&scene.alice, &id, "relayed");
    scene.arrives(&scene.bob, &["while away"]);
    reaches(&scene.alice, &id, "delivered");
    assert!(!scene.relay.with(|world| world.requests[before..].iter().any(|(_, request)| absurd(request))));
}

#[test]
fn a_relay_that_cries_rolled_back_is_believed_once_and_told() {
    let scene = Scene::connected();
    scene.relay.lie(|malice| hello(malice, |answer| answer.verdict = Verdict::RolledBack));
    let before = hellos(&scene);
    scene.relay.with(|world| world.hang_up("bob"));
    told(&scene.bob, "older than what the relay knows of it");
    told(&scene.bob, "it is not believed so soon");
    let most = hellos(&scene);
    assert!(most <= before + 2, "believed once, asked twice: {before} {most}");
    scene.relay.repent();
    scene.bob.ok(&["daemon", "stop"]);
    let id = scene.send(&scene.alice, "bob", "still here");
    scene.arrives(&scene.bob, &["still here"]);
    reaches(&scene.alice, &id, "delivered");
}

#[test]
fn a_relay_that_cries_clone_is_told_and_mail_comes_a_minute_later() {
    let scene = Scene::connected_with_clocks();
    scene.relay.with(|world| world.say("bob", &Out::Event(Event::Cloned)));
    told(&scene.bob, "another copy of this node is connected");
    let id = scene.send(&scene.alice, "bob", "copies?");
    reaches(&scene.alice, &id, "relayed");
    assert!(scene.bob.bodies("desk").is_empty());
    scene.pass(2);
    scene.arrives(&scene.bob, &["copies?"]);
    reaches(&scene.alice, &id, "delivered");
}

#[test]
fn a_relay_that_contradicts_itself_about_the_spool_is_left_for_a_while_and_told() {
    let scene = Scene::connected();
    let mut lives = 0_u8;
    scene.relay.lie(|malice| {
        malice.answer = Box::new(move |who, _, answer| match answer {
            Answer::Ack(AckAnswer { newest, .. }) if who == "bob" => {
                lives = lives.wrapping_add(1);
                Say::Answer(Answer::Ack(AckAnswer { epoch: SpoolEpoch::from_bytes([lives; 8]), newest }))
            }
            _ => Say::Honest,
        });
    });
    scene.send(&scene.alice, "bob", "one");
    told(&scene.bob, "contradicts itself");
    scene.relay.repent();
    scene.bob.ok(&["daemon", "stop"]);
    scene.send(&scene.alice, "bob", "two");
    scene.arrives(&scene.bob, &["one", "two"]);
}

#[test]
fn lies_about_the_newest_row_only_delay() {
    let scene = Scene::connected();
    scene.relay.lie(|malice| hello(malice, |answer| answer.newest = u64::MAX));
    scene.relay.with(|world| world.hang_up("bob"));
    let before = hellos(&scene);
    wait::until("a new hello", || hellos(&scene) > before);
    let id = scene.send(&scene.bob, "alice", "out");
    scene.arrives(&scene.alice, &["out"]);
    reaches(&scene.bob, &id, "delivered");
    scene.send(&scene.alice, "bob", "in");
    scene.arrives(&scene.bob, &["in"]);
    assert!(!is_told(&scene.bob, "contradicts"));
}
