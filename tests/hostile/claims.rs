//! What a relay says of deposits, and receipts that it repeats.

use penpal_protocol::ids::DepositId;
use penpal_protocol::wire::{Delivery, DepositAnswer, DepositOutcome, Event};

use crate::double::{Fate, Out};
use crate::scene::{Scene, reaches, reason, stage, trail};

#[test]
fn accepted_without_storing_is_not_delivered_and_is_sent_again() {
    let scene = Scene::connected_with_clocks();
    scene.relay.lie(|malice| {
        malice.deposit = Box::new(|who, deposit| match who {
            "alice" if deposit.ephemeral.is_none() => Fate::Lie(DepositOutcome::Accepted),
            _ => Fate::Honest,
        });
    });
    let id = scene.send(&scene.alice, "bob", "swallowed");
    reaches(&scene.alice, &id, "relayed");
    assert_eq!(trail(&scene.alice, &id), [("queued".into(), false), ("relayed".into(), false)]);
    scene.relay.repent();
    scene.pass(65);
    scene.arrives(&scene.bob, &["swallowed"]);
    reaches(&scene.alice, &id, "delivered");
    assert!(trail(&scene.alice, &id).contains(&("delivered".into(), true)));
}

#[test]
fn a_relay_that_swallows_everything_ends_in_expired_and_is_told() {
    let scene = Scene::connected_with_clocks();
    scene.relay.lie(|malice| {
        malice.deposit = Box::new(|who, _| match who {
            "alice" => Fate::Lie(DepositOutcome::Accepted),
            _ => Fate::Honest,
        });
    });
    let id = scene.send(&scene.alice, "bob", "never");
    reaches(&scene.alice, &id, "relayed");
    for _ in 0..15 {
        scene.pass(24 * 60);
    }
    reaches(&scene.alice, &id, "expired");
    assert_eq!(stage(&scene.alice, &id), "expired");
    let status = scene.alice.json(&["status"]);
    assert_eq!(status["dead"], 1, "shown until a person dismisses it: {status}");
    assert!(scene.bob.bodies("desk").is_empty());
}

#[test]
fn a_relay_that_says_no_is_told_as_gone_and_then_refused() {
    let scene = Scene::connected_with_clocks();
    let refuse = |scene: &Scene| {
        scene.relay.lie(|malice| {
            malice.deposit = Box::new(|who, _| match who {
                "alice" => Fate::Lie(DepositOutcome::No),
                _ => Fate::Honest,
            });
        });
    };
    refuse(&scene);
    let id = scene.send(&scene.alice, "bob", "no?");
    penpal_tests::wait::until("gone", || scene.alice.contact_state("bob").as_deref() == Some("gone"));
    assert_eq!(reason(&scene.alice, &id).as_deref(), Some("gone"), "the sender sees why");
    // Honest again: tried every hour.
    scene.relay.repent();
    scene.pass(65);
    scene.arrives(&scene.bob, &["no?"]);
    penpal_tests::wait::until("back", || scene.alice.contact_state("bob").as_deref() == Some("active"));
    refuse(&scene);
    let id = scene.send(&scene.alice, "bob", "still no");
    penpal_tests::wait::until("gone", || reason(&scene.alice, &id).as_deref() == Some("gone"));
    for _ in 0..15 {
        scene.pass(24 * 60);
    }
    reaches(&scene.alice, &id, "refused");
    assert_eq!(reason(&scene.alice, &id).as_deref(), Some("gone"));
}

#[test]
fn a_relay_that_pleads_to_be_full_is_told_and_tried_again() {
    let scene = Scene::connected_with_clocks();
    let mut texts = Vec::new();
    for (outcome, word) in [
        (DepositOutcome::Quota, "quota"),
        (DepositOutcome::Full, "relay-full"),
        (DepositOutcome::RecipientFull, "recipient-full"),
    ] {
        scene.relay.lie(|malice| {
            malice.deposit = Box::new(move |who, deposit| match who {
                "alice" if deposit.ephemeral.is_none() => Fate::Lie(outcome),
                _ => Fate::Honest,
            });
        });
        let id = scene.send(&scene.alice, "bob", word);
        penpal_tests::wait::until(word, || reason(&scene.alice, &id).as_deref() == Some(word));
        assert_eq!(stage(&scene.alice, &id), "queued");
        scene.relay.repent();
        scene.pass(1);
        texts.push(word);
        scene.arrives(&scene.bob, &texts);
        reaches(&scene.alice, &id, "delivered");
    }
}

#[test]
fn answers_to_deposits_of_others_count_nothing() {
    let scene = Scene::connected();
    scene.relay.lie(|malice| malice.deposit = Box::new(|_, _| Fate::Swallow));
    let id = scene.send(&scene.alice, "bob", "one");
    let others = scene.send(&scene.bob, "alice", "two");
    scene.relay.until("both deposits", |world| {
        let has = |who: &str| {
            world.deposits.iter().any(|(name, deposit)| name == who && deposit.ephemeral.is_none())
        };
        has("alice") && has("bob")
    });
    let known = scene.relay.with(|world| {
        let newest =
            |world: &crate::double::World, who: &str| world.mail_of(who).pop().expect("a deposit").deposit;
        let (alices, bobs) = (newest(world, "alice"), newest(world, "bob"));
        let made_up = (0..100).map(|number| DepositId::from_bytes([number; 16]));
        for deposit in made_up.chain([bobs]) {
            for outcome in [DepositOutcome::Accepted, DepositOutcome::No, DepositOutcome::Accepted] {
                world.say_deposit_answer("alice", DepositAnswer { deposit, outcome });
            }
        }
        alices
    });
    // Answers on one stream keep their order: once this one counts, the others were taken.
    scene.relay.with(|world| {
        world.say_deposit_answer("alice", DepositAnswer { deposit: known, outcome: DepositOutcome::Full });
    });
    penpal_tests::wait::until("relay-full", || reason(&scene.alice, &id).as_deref() == Some("relay-full"));
    assert_eq!(stage(&scene.alice, &id), "queued");
    assert_eq!(stage(&scene.bob, &others), "queued");
    assert_eq!(
        scene.alice.contact_state("bob").as_deref(),
        Some("active"),
        "no is for the deposit that it answers"
    );
}

#[test]
fn a_replayed_receipt_proves_nothing_about_a_later_message() {
    let scene = Scene::connected();
    let first = scene.send(&scene.alice, "bob", "one");
    reaches(&scene.alice, &first, "delivered");
    scene.settle();
    let receipts = scene.relay.with(|world| world.delivered("alice"));
    scene.relay.lie(|malice| {
        malice.deposit = Box::new(|who, deposit| match who {
            "alice" if deposit.ephemeral.is_none() => Fate::Lie(DepositOutcome::Accepted),
            _ => Fate::Honest,
        });
    });
    let second = scene.send(&scene.alice, "bob", "two");
    reaches(&scene.alice, &second, "relayed");
    scene.relay.with(|world| {
        let newest = receipts.last().expect("a receipt").seq;
        for (number, receipt) in (1..).zip(receipts) {
            let again = Delivery { seq: newest + number, ..receipt };
            world.say("alice", &Out::Event(Event::Delivery(again)));
        }
    });
    // Once this has come, all before it was taken.
    scene.send(&scene.bob, "alice", "done?");
    scene.arrives(&scene.alice, &["done?"]);
    assert_eq!(stage(&scene.alice, &second), "relayed", "nobody signed more");
    assert_eq!(scene.bob.bodies("desk"), ["one"]);
}
