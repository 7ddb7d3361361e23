//! What a relay does to envelopes on their way.

use penpal_protocol::cbor::Blob;
use penpal_protocol::ids::DepositId;
use penpal_protocol::wire::{Delivery, Deposit, Event};

use crate::double::{Out, World};
use crate::scene::{Scene, doubtful, reaches, stage, trail};

/// Holds back all mail for Bob, in the relay's hands.
fn hold(scene: &Scene) {
    scene.relay.lie(|malice| {
        malice.event = Box::new(|who, event| match event {
            Event::Delivery(_) if who == "bob" => Vec::new(),
            event => vec![Out::Event(event)],
        });
    });
}

/// What was held since a moment, given as the number of deliveries before it.
fn held(world: &World, before: usize) -> Vec<Delivery> {
    world.delivered("bob").split_off(before)
}

fn count(scene: &Scene) -> usize {
    scene.relay.with(|world| world.delivered("bob").len())
}

#[test]
fn delayed_envelopes_arrive_once_and_in_order() {
    let scene = Scene::connected();
    let before = count(&scene);
    hold(&scene);
    let ids = ["one", "two", "three"].map(|text| scene.send(&scene.alice, "bob", text));
    scene.relay.until("all three", |world| held(world, before).len() == 3);
    for id in &ids {
        reaches(&scene.alice, id, "relayed");
        assert_eq!(stage(&scene.alice, id), "relayed", "no more is claimed than the relay's word");
    }
    assert!(scene.bob.bodies("desk").is_empty());
    scene.relay.with(|world| {
        for delivery in held(world, before) {
            world.say("bob", &Out::Event(Event::Delivery(delivery)));
        }
    });
    scene.arrives(&scene.bob, &["one", "two", "three"]);
    for id in &ids {
        reaches(&scene.alice, id, "delivered");
    }
}

#[test]
fn reordered_envelopes_are_shown_in_order() {
    let scene = Scene::connected();
    let before = count(&scene);
    hold(&scene);
    for text in ["one", "two", "three"] {
        scene.send(&scene.alice, "bob", text);
    }
    scene.relay.until("all three", |world| held(world, before).len() == 3);
    scene.relay.with(|world| {
        for delivery in held(world, before).into_iter().rev() {
            world.say("bob", &Out::Event(Event::Delivery(delivery)));
        }
    });
    scene.arrives(&scene.bob, &["one", "two", "three"]);
}

#[test]
fn a_withheld_envelope_leaves_a_mark_and_comes_late() {
    let scene = Scene::connected_with_clocks();
    let before = count(&scene);
    hold(&scene);
    for text in ["one", "two"] {
        scene.send(&scene.alice, "bob", text);
    }
    scene.relay.until("both", |world| held(world, before).len() == 2);
    let [first, second] = scene.relay.with(|world| held(world, before)).try_into().expect("two");
    scene.relay.with(|world| world.say("bob", &Out::Event(Event::Delivery(second))));
    scene.pass(1);
    scene.arrives(&scene.bob, &["two"]);
    let marks = |text: &str| {
        let inbox = scene.bob.json(&["inbox", "desk", "--all"]);
        let rows = inbox["messages"].as_array().cloned().unwrap_or_default();
        rows.into_iter().find(|row| row["body"] == text).map(|row| row["marks"].to_string())
    };
    assert_eq!(
        marks("two").as_deref(),
        Some("[\"gap-before\"]"),
        "the reader sees that something is missing"
    );
    scene.relay.with(|world| world.say("bob", &Out::Event(Event::Delivery(first))));
    scene.arrives(&scene.bob, &["two", "one"]);
    assert_eq!(marks("one").as_deref(), Some("[\"late\"]"));
}

#[test]
fn replayed_envelopes_are_shown_once() {
    let scene = Scene::connected();
    let before = count(&scene);
    let id = scene.send(&scene.alice, "bob", "once");
    scene.arrives(&scene.bob, &["once"]);
    reaches(&scene.alice, &id, "delivered");
    scene.settle();
    // The same row again; the same envelope in later rows, after its acknowledgement; and deposited again by the relay itself.
    scene.relay.with(|world| {
        let [row] = held(world, before).try_into().expect("one");
        let newest = row.seq;
        for seq in [newest, newest, newest + 1, newest + 2] {
            let again = Delivery { seq, ..row.clone() };
            world.say("bob", &Out::Event(Event::Delivery(again)));
        }
        let deposit = world.mail_of("alice").pop().expect("what alice deposited");
        for number in 0..3 {
            let deposit = Deposit { deposit: DepositId::from_bytes([number; 16]), ..deposit.clone() };
            world.deposit_as("alice", deposit);
        }
    });
    scene.send(&scene.alice, "bob", "after");
    scene.arrives(&scene.bob, &["once", "after"]);
}

#[test]
fn an_altered_byte_is_never_shown_and_the_message_comes_all_the_same() {
    let scene = Scene::connected_with_clocks();
    // Version, suite, hint, masked key id, encapsulation, ciphertext, its end.
    let places = [0, 1, 2, 10, 18, 1137, 1138, 2500, 4095];
    for place in places {
        scene.relay.lie(|malice| {
            malice.event = Box::new(move |who, event| match event {
                Event::Delivery(delivery) if who == "bob" => {
                    let mut bytes = delivery.envelope.to_vec();
                    bytes[place] ^= 1;
                    let envelope = Blob::new(bytes).expect("as long as before");
                    vec![Out::Event(Event::Delivery(Delivery { envelope, ..delivery }))]
                }
                event => vec![Out::Event(event)],
            });
        });
        let before = count(&scene);
        scene.send(&scene.alice, "bob", &format!("byte {place}"));
        scene.relay.until("its delivery", |world| held(world, before).len() == 1);
    }
    scene.relay.until("all acknowledged", |world| world.is_acknowledged("bob"));
    assert!(scene.bob.bodies("desk").is_empty());
    assert!(doubtful(&scene.bob) > 0, "doctor counts what came from nobody");
    scene.relay.repent();
    // Sent again by itself: within two hours for want of a receipt.
    scene.pass(70);
    scene.settle_after(|| scene.pass(130));
    let expected: Vec<String> = places.iter().map(|place| format!("byte {place}")).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    let mut shown = scene.bob.bodies("desk");
    shown.sort_by_key(|body| expected.iter().position(|one| one == body));
    assert_eq!(shown, expected, "each exactly once");
}

#[test]
fn truncated_and_invented_envelopes_are_dropped() {
    let scene = Scene::connected();
    let (before, doubted) = (count(&scene), doubtful(&scene.bob));
    scene.send(&scene.alice, "bob", "whole");
    scene.arrives(&scene.bob, &["whole"]);
    scene.relay.with(|world| {
        let [row] = held(world, before).try_into().expect("one");
        let whole = row.envelope.to_vec();
        let cuts = [0, 1, 17, 1138, 4095].map(|length| whole[..length].to_vec());
        let made_up = [4, 8, 16, 32, 80].map(|kib| vec![1; kib * 1024]);
        for (number, envelope) in (1..).zip(cuts.into_iter().chain(made_up)) {
            let envelope = Blob::new(envelope).expect("short enough");
            let row = Delivery { seq: row.seq + number, envelope, ..row.clone() };
            world.say("bob", &Out::Event(Event::Delivery(row)));
        }
    });
    penpal_tests::wait::until("ten dropped", || doubtful(&scene.bob) == doubted + 10);
    assert_eq!(scene.bob.bodies("desk"), ["whole"]);
    let text = scene.bob.ok(&["doctor"]).out;
    assert!(text.contains("came from nobody known here and were dropped"), "{text}");
}

#[test]
fn envelopes_swapped_between_people_are_nobodys() {
    let scene = Scene::connected();
    let doubted = [&scene.alice, &scene.bob].map(doubtful);
    let (to_bob, to_alice) =
        (scene.send(&scene.alice, "bob", "for bob"), scene.send(&scene.bob, "alice", "for alice"));
    scene.arrives(&scene.bob, &["for bob"]);
    scene.arrives(&scene.alice, &["for alice"]);
    reaches(&scene.alice, &to_bob, "delivered");
    reaches(&scene.bob, &to_alice, "delivered");
    scene.settle();
    scene.relay.with(|world| {
        for (who, other) in [("alice", "bob"), ("bob", "alice")] {
            let own = world.delivered(who).pop().expect("a delivery");
            let others = world.delivered(other).pop().expect("a delivery");
            let swapped = Delivery { seq: own.seq + 1, envelope: others.envelope, ..own };
            world.say(who, &Out::Event(Event::Delivery(swapped)));
        }
    });
    for (person, before) in [&scene.alice, &scene.bob].into_iter().zip(doubted) {
        penpal_tests::wait::until("it is dropped", || doubtful(person) == before + 1);
    }
    assert_eq!((scene.alice.bodies("desk").len(), scene.bob.bodies("desk").len()), (1, 1));
    let signed = |(_, signed): &(String, bool)| *signed;
    assert_eq!(trail(&scene.alice, &to_bob).iter().filter(|event| signed(event)).count(), 1);
}
