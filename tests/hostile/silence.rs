//! No answers, wrong answers, broken connections.

use penpal_protocol::wire::{Answer, DepositOutcome, Event, RefusalCode, Request, Welcome};
use penpal_tests::wait;

use crate::double::{Fate, Out, Say};
use crate::scene::{Scene, is_connected, reaches, stage, status};

fn trouble(scene: &Scene, words: &str) {
    wait::until(words, || {
        let status = status(&scene.bob);
        status["relay"]["state"] != "connected"
            && status["relay"]["trouble"].as_str().is_some_and(|text| text.contains(words))
    });
}

#[test]
fn another_key_at_the_same_place_gets_nothing_and_is_told() {
    let mut scene = Scene::connected();
    let before = scene.relay.with(|world| world.requests.len());
    scene.relay.change_key();
    trouble(&scene, "shows another key than its address pins");
    let id = scene.send(&scene.bob, "alice", "secret");
    assert_eq!(stage(&scene.bob, &id), "queued");
    assert_eq!(scene.relay.with(|world| world.requests.len()), before, "nothing was said to it");
}

#[test]
fn a_relay_of_another_revision_is_told() {
    let scene = Scene::connected();
    scene.relay.lie(|malice| {
        malice.event = Box::new(|_, event| match event {
            Event::Welcome(welcome) => {
                vec![Out::Event(Event::Welcome(Welcome { min_revision: 900, max_revision: 901, ..welcome }))]
            }
            event => vec![Out::Event(event)],
        });
    });
    scene.relay.with(|world| world.hang_up("bob"));
    trouble(
        &scene,
        "speaks revisions 900 to 901 of the protocol, this node revision 1: penpal here must be updated",
    );
    let id = scene.send(&scene.bob, "alice", "later");
    assert_eq!(stage(&scene.bob, &id), "queued");
}

#[test]
fn relays_one_revision_older_and_newer_serve_where_the_ranges_meet() {
    let scene = Scene::connected();
    let own = penpal_protocol::Revisions::OWN;
    let says = |min_revision: u16, max_revision: u16| {
        scene.relay.lie(move |malice| {
            malice.event = Box::new(move |_, event| match event {
                Event::Welcome(welcome) => {
                    vec![Out::Event(Event::Welcome(Welcome { min_revision, max_revision, ..welcome }))]
                }
                event => vec![Out::Event(event)],
            });
        });
        scene.bob.ok(&["daemon", "stop"]);
        scene.bob.ok(&["status"]);
    };
    // A newer relay that still speaks ours, and one that goes on from an older one: mail goes both ways.
    let mut there = Vec::new();
    for (min, max, text) in
        [(own.min, own.max + 1, "to a newer one"), (own.min - 1, own.max, "from an older one")]
    {
        says(min, max);
        wait::until("the connection", || is_connected(&scene.bob));
        scene.send(&scene.alice, "bob", text);
        there.push(text);
        scene.arrives(&scene.bob, &there);
    }
    // One that has dropped ours, and one that does not have it yet: nothing is asked, and it is said who is behind.
    for (revision, behind) in
        [(own.max + 1, "penpal here must be updated"), (own.min - 1, "the relay must be updated")]
    {
        says(revision, revision);
        trouble(&scene, behind);
        let status = scene.bob.json(&["status"]);
        assert_ne!(status["relay"]["state"], "connected", "{status}");
    }
    // It is updated: what was sent meanwhile comes.
    scene.send(&scene.alice, "bob", "meanwhile");
    scene.relay.repent();
    scene.bob.ok(&["daemon", "stop"]);
    scene.bob.ok(&["status"]);
    there.push("meanwhile");
    scene.arrives(&scene.bob, &there);
}

#[test]
fn a_relay_that_does_not_begin_with_a_welcome_is_told() {
    let scene = Scene::connected();
    for first in [Out::Event(Event::Cloned), Out::Raw(128, vec![0xff; 40]), Out::Raw(200, Vec::new())] {
        scene.relay.lie(|malice| {
            malice.event = Box::new(move |_, event| match event {
                Event::Welcome(_) => vec![first.clone()],
                event => vec![Out::Event(event)],
            });
        });
        scene.relay.with(|world| world.hang_up("bob"));
        scene.relay.with(|world| world.hang_up("?"));
        trouble(&scene, "does not begin with a welcome");
        scene.bob.ok(&["daemon", "stop"]);
        scene.relay.repent();
        wait::until("connected", || is_connected(&scene.bob));
    }
}

#[test]
fn malformed_events_end_the_connection_and_nothing_else() {
    let scene = Scene::connected();
    for out in [
        Out::Raw(129, vec![0xa3, 0xff]),
        Out::Raw(131, b"not cbor".to_vec()),
        // A frame that claims four gigabytes.
        Out::Bytes(vec![0xff, 0xff, 0xff, 0xff, 129, 1, 2, 3]),
        Out::End,
    ] {
        let before = scene.relay.with(|world| world.connections);
        scene.relay.with(|world| world.say("bob", &out));
        scene.relay.until("another connection", |world| world.connections > before);
        wait::until("connected", || is_connected(&scene.bob));
        // A fresh node has no series of failures.
        scene.bob.ok(&["daemon", "stop"]);
        wait::until("connected", || is_connected(&scene.bob));
    }
    scene.send(&scene.alice, "bob", "still there");
    scene.arrives(&scene.bob, &["still there"]);
}

#[test]
fn a_frame_that_never_ends_is_waited_for_without_harm() {
    let scene = Scene::connected();
    // A frame of 90 KiB, of which a few bytes come.
    scene.relay.with(|world| world.say("bob", &Out::Bytes(vec![0, 1, 0x68, 0, 129, 1, 2, 3])));
    let id = scene.send(&scene.bob, "alice", "out");
    scene.arrives(&scene.alice, &["out"]);
    reaches(&scene.bob, &id, "relayed");
    let id = scene.send(&scene.alice, "bob", "in");
    reaches(&scene.alice, &id, "relayed");
    assert_eq!(stage(&scene.alice, &id), "relayed", "nothing more is claimed");
    scene.bob.ok(&["daemon", "stop"]);
    scene.arrives(&scene.bob, &["in"]);
}

#[test]
fn hanging_up_at_each_stage_loses_and_doubles_nothing() {
    let scene = Scene::connected();
    let (mut hello, mut ack, mut before, mut after) = (true, true, true, true);
    scene.relay.lie(|malice| {
        malice.request = Box::new(move |who, request| match request {
            Request::Hello(_) if who == "bob" && std::mem::take(&mut hello) => Say::Hangup,
            _ => Say::Honest,
        });
        malice.answer = Box::new(move |who, request, _| match request {
            Request::Ack(_) if who == "bob" && std::mem::take(&mut ack) => Say::Hangup,
            _ => Say::Honest,
        });
        malice.deposit = Box::new(move |who, deposit| match who {
            "alice" if deposit.ephemeral.is_none() && std::mem::take(&mut before) => Fate::Hangup,
            _ => Fate::Honest,
        });
        malice.deposit_answer = Box::new(move |who, answer| {
            // Stored, and the answer is lost.
            let lost =
                who == "alice" && answer.outcome == DepositOutcome::Accepted && std::mem::take(&mut after);
            if lost { Vec::new() } else { vec![answer] }
        });
    });
    scene.relay.with(|world| world.hang_up("bob"));
    let ids = ["one", "two", "three"].map(|text| scene.send(&scene.alice, "bob", text));
    scene.relay.until("a deposit that is stored", |world| world.mail_of("alice").len() > 4);
    scene.relay.with(|world| world.hang_up("alice"));
    scene.arrives(&scene.bob, &["one", "two", "three"]);
    for id in &ids {
        reaches(&scene.alice, id, "delivered");
    }
    assert_eq!(scene.bob.bodies("desk"), ["one", "two", "three"]);
}

#[test]
fn answers_to_other_questions_harm_nothing() {
    let scene = Scene::connected_with_clocks();
    // Every answer is somebody else's, an old one, or of another kind.
    let stolen = scene.relay.with(|world| world.answers.clone());
    let mut next = 0;
    scene.relay.lie(|malice| {
        malice.answer = Box::new(move |_, _, _| {
            next += 1;
            Say::Answer(stolen[next % stolen.len()].1.clone())
        });
    });
    let before = scene.relay.with(|world| world.answers.len());
    scene.relay.with(|world| world.hang_up("bob"));
    scene.relay.with(|world| world.hang_up("alice"));
    scene.relay.until("some lies", |world| world.answers.len() >= before + 2);
    let id = scene.send(&scene.alice, "bob", "through it all");
    scene.alice.json(&["contact", "list"]);
    scene.relay.repent();
    for person in ["alice", "bob"] {
        scene.relay.with(|world| world.hang_up(person));
    }
    scene.settle_after(|| scene.pass(65));
    scene.arrives(&scene.bob, &["through it all"]);
    reaches(&scene.alice, &id, "delivered");
}

#[test]
fn malformed_and_endless_answers_harm_nothing() {
    let scene = Scene::connected_with_clocks();
    let mut next = 0_u8;
    scene.relay.lie(|malice| {
        malice.request = Box::new(move |_, _| {
            next = next.wrapping_add(1);
            match next % 5 {
                0 => Say::Raw(64, vec![1; 80_000]),
                1 => Say::Raw(next, vec![0xff; 100]),
                2 => Say::Bytes(vec![0xff, 0xff, 0xff, 0xff, 65]),
                3 => Say::Bytes(vec![0, 0, 1]),
                _ => Say::Bytes(Vec::new()),
            }
        });
    });
    for person in ["alice", "bob"] {
        scene.relay.with(|world| world.hang_up(person));
    }
    let before = scene.relay.with(|world| world.requests.len());
    scene.relay.until("requests", |world| world.requests.len() >= before + 2);
    let id = scene.send(&scene.alice, "bob", "later");
    scene.relay.repent();
    for person in ["alice", "bob"] {
        scene.relay.with(|world| world.hang_up(person));
    }
    scene.settle_after(|| scene.pass(65));
    scene.arrives(&scene.bob, &["later"]);
    reaches(&scene.alice, &id, "delivered");
}

#[test]
fn a_relay_that_never_answers_leaves_mail_queued_and_says_so() {
    let scene = Scene::connected_with_clocks();
    scene.relay.lie(|malice| {
        malice.request = Box::new(|_, _| Say::Never);
        malice.deposit = Box::new(|_, _| Fate::Swallow);
    });
    let stuck = scene.send(&scene.alice, "bob", "stuck");
    assert_eq!(stage(&scene.alice, &stuck), "queued");
    scene.relay.with(|world| world.hang_up("bob"));
    let hello = |(who, request): &(String, Request)| who == "bob" && matches!(request, Request::Hello(_));
    let before = scene.relay.with(|world| world.requests.iter().filter(|one| hello(one)).count());
    scene.relay.until("a hello", |world| world.requests.iter().filter(|one| hello(one)).count() > before);
    assert_eq!(status(&scene.bob)["relay"]["state"], "connecting", "not connected, and not said to be");
    for _ in 0..15 {
        scene.pass(24 * 60);
    }
    reaches(&scene.alice, &stuck, "expired");
    assert_eq!(stage(&scene.alice, &stuck), "expired");
}

#[test]
fn a_relay_that_disowns_the_account_is_told_and_nothing_is_given_up() {
    let scene = Scene::connected();
    for (code, words) in [
        (RefusalCode::NotRegistered, "does not know this device"),
        (RefusalCode::Suspended, "suspended this account"),
    ] {
        scene.relay.lie(|malice| {
            malice.request = Box::new(move |who, _| match who {
                "bob" => Say::Answer(Answer::refused(code)),
                _ => Say::Honest,
            });
        });
        scene.relay.with(|world| world.hang_up("bob"));
        crate::scene::told(&scene.bob, words);
        assert_eq!(scene.bob.contact_state("alice").as_deref(), Some("active"));
    }
    scene.relay.repent();
    scene.bob.ok(&["daemon", "stop"]);
    scene.send(&scene.alice, "bob", "welcome back");
    scene.arrives(&scene.bob, &["welcome back"]);
}

#[test]
fn lies_about_who_is_there_change_only_what_is_shown() {
    let scene = Scene::connected();
    let edges = scene.relay.with(|world| {
        let states = world.events.iter().filter_map(|(who, event)| match event {
            Event::EdgeState(state) if who == "alice" => Some(state.edge),
            _ => None,
        });
        states.collect::<std::collections::BTreeSet<_>>()
    });
    assert!(!edges.is_empty());
    for up in [false, true, true, false, false, true, false] {
        scene.relay.with(|world| {
            for edge in &edges {
                world.say(
                    "alice",
                    &Out::Event(Event::EdgeState(penpal_protocol::wire::EdgeState { edge: *edge, up })),
                );
            }
        });
    }
    // Said to be away, he is written to all the same.
    let id = scene.send(&scene.alice, "bob", "are you there?");
    scene.arrives(&scene.bob, &["are you there?"]);
    reaches(&scene.alice, &id, "delivered");
}
