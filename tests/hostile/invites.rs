//! What a relay does to people who become contacts.

use penpal_protocol::cbor::Blob;
use penpal_protocol::ids::{EdgeId, InviteId};
use penpal_protocol::wire::{
    Answer, Delivery, EdgeState, Event, InviteAnswer, InviteState, Redeemed, RefusalCode, Request,
};
use penpal_tests::wait;

use crate::double::{Out, Say};
use crate::scene::{Scene, told};

fn code(scene: &Scene) -> String {
    scene.alice.json(&["contact", "invite"])["code"].as_str().expect("a code").to_owned()
}

/// Records of all invites that were left at the relay.
fn records(scene: &Scene) -> Vec<(InviteId, Vec<u8>)> {
    let created = |(_, request): &(String, Request)| match request {
        Request::InviteCreate(create) => Some((create.invite, create.record.to_vec())),
        _ => None,
    };
    scene.relay.with(|world| world.requests.iter().filter_map(created).collect())
}

fn open(record: Vec<u8>) -> Say {
    let record = Some(Blob::new(record).expect("short enough"));
    Say::Answer(Answer::Invite(InviteAnswer { state: InviteState::Open, record }))
}

#[test]
fn another_record_under_a_code_is_refused_and_told() {
    let scene = Scene::strangers();
    let (code, _other) = (code(&scene), code(&scene));
    let [(_, own), (_, others)] = records(&scene).try_into().expect("two invites");
    let mut flipped = own.clone();
    flipped[own.len() / 2] ^= 1;
    // Another invite's record, an altered one, a cut one, none.
    for record in [others, flipped, own[..own.len() - 1].to_vec(), Vec::new()] {
        scene.relay.lie(|malice| {
            malice.answer = Box::new(move |_, request, _| match request {
                Request::InviteFetch(_) => open(record.clone()),
                _ => Say::Honest,
            });
        });
        let said = scene.bob.try_json(&["contact", "add", &code, "--handle", "bob"]);
        assert_eq!((said.status, said.code().as_str()), (1, "invite-forged"), "{said:?}");
        assert!(said.err.contains("hint: "), "{said:?}");
    }
    assert_eq!(scene.bob.contact_state("alice"), None);
    // The code is as good as before.
    scene.relay.repent();
    scene.bob.ok(&["contact", "add", &code, "--handle", "bob"]);
}

#[test]
fn a_code_said_to_be_used_or_unknown_is_told() {
    let scene = Scene::strangers();
    let code = code(&scene);
    for (answer, word) in [
        (Answer::Invite(InviteAnswer { state: InviteState::Redeemed, record: None }), "invite-used"),
        (Answer::refused(RefusalCode::No), "invite-gone"),
    ] {
        scene.relay.lie(|malice| {
            malice.request = Box::new(move |_, request| match request {
                Request::InviteFetch(_) => Say::Answer(answer.clone()),
                _ => Say::Honest,
            });
        });
        let said = scene.bob.try_json(&["contact", "add", &code, "--handle", "bob"]);
        assert_eq!((said.status, said.code().as_str()), (1, word), "{said:?}");
    }
    scene.relay.repent();
    scene.bob.ok(&["contact", "add", &code, "--handle", "bob"]);
}

#[test]
fn a_reopened_invite_warns_and_keeps_the_first() {
    let scene = Scene::strangers();
    let code = code(&scene);
    let [(invite, record)] = records(&scene).try_into().expect("one invite");
    scene.bob.ok(&["contact", "add", &code, "--handle", "bob"]);
    wait::until("the request", || scene.alice.contact_state("bob").as_deref() == Some("pending-in"));
    // For carol the invite is open again; what she sends is handed over like the first.
    scene.relay.lie(|malice| {
        malice.request = Box::new(move |who, request| match request {
            Request::InviteFetch(_) if who != "bob" => open(record.clone()),
            Request::InviteRedeem(_) if who != "bob" => Say::Answer(Answer::Done),
            _ => Say::Honest,
        });
    });
    let carol = scene.person("carol");
    carol.ok(&["register", scene.relay.address(), "--handle", "carol", "--device", "tablet"]);
    carol.ok(&["contact", "add", &code]);
    scene.relay.with(|world| {
        let request = world.requests.iter().rev().find_map(|(who, request)| match request {
            Request::InviteRedeem(redeem) if who == "carol" => Some(redeem.request.clone()),
            _ => None,
        });
        let row = world.events.iter().rev().find_map(|(who, event)| match event {
            Event::Redeemed(redeemed) if who == "alice" => Some((redeemed.epoch, redeemed.seq)),
            _ => None,
        });
        let ((epoch, seq), request) = row.zip(request).expect("two redemptions");
        world.say("alice", &Out::Event(Event::Redeemed(Redeemed { epoch, seq: seq + 1, invite, request })));
    });
    told(&scene.alice, "was used a second time");
    assert_eq!(scene.alice.contact_state("carol"), None);
    scene.relay.repent();
    scene.alice.ok(&["contact", "accept", "bob"]);
    wait::until("the contact", || scene.bob.contact_state("alice").as_deref() == Some("active"));
    assert_ne!(carol.contact_state("alice").as_deref(), Some("active"));
}

#[test]
fn a_swapped_request_is_told_and_the_true_one_still_counts() {
    let scene = Scene::strangers();
    let code = code(&scene);
    let [(invite, record)] = records(&scene).try_into().expect("one invite");
    // The relay holds the true request back and hands over its own.
    scene.relay.lie(|malice| {
        malice.event = Box::new(move |who, event| match event {
            Event::Redeemed(redeemed) if who == "alice" => {
                let true_one = redeemed.request.to_vec();
                let mut altered = true_one.clone();
                altered[true_one.len() - 1] ^= 1;
                let made_up = [record.clone(), altered, true_one[..100].to_vec(), vec![0; 5000]];
                let rows = made_up.into_iter().map(|request| {
                    let request = Blob::new(request).expect("short enough");
                    Out::Event(Event::Redeemed(Redeemed { request, ..redeemed.clone() }))
                });
                rows.collect()
            }
            event => vec![Out::Event(event)],
        });
    });
    scene.bob.ok(&["contact", "add", &code, "--handle", "bob"]);
    told(&scene.alice, "nobody with the code can have made");
    assert_eq!(scene.alice.contact_state("bob"), None);
    scene.relay.repent();
    scene.relay.with(|world| {
        let held = world.events.iter().find_map(|(_, event)| match event {
            Event::Redeemed(redeemed) if redeemed.invite == invite => Some(redeemed.clone()),
            _ => None,
        });
        world.say("alice", &Out::Event(Event::Redeemed(held.expect("bob's request"))));
    });
    wait::until("the request", || scene.alice.contact_state("bob").as_deref() == Some("pending-in"));
    scene.alice.ok(&["contact", "accept", "bob"]);
    wait::until("the contact", || scene.bob.contact_state("alice").as_deref() == Some("active"));
}

#[test]
fn a_contact_that_nobody_accepted_does_not_appear() {
    let scene = Scene::strangers();
    let code = code(&scene);
    scene.bob.ok(&["contact", "add", &code, "--handle", "bob"]);
    wait::until("the request", || scene.alice.contact_state("bob").as_deref() == Some("pending-in"));
    let redeemed = scene.relay.with(|world| {
        world.events.iter().find_map(|(_, event)| match event {
            Event::Redeemed(redeemed) => Some(redeemed.clone()),
            _ => None,
        })
    });
    let redeemed = redeemed.expect("bob's request");
    scene.relay.with(|world| {
        for number in 0..50 {
            let edge = EdgeId::from_bytes([number; 16]);
            world.say("alice", &Out::Event(Event::EdgeState(EdgeState { edge, up: number % 2 == 0 })));
            // A request for an invite that was never made, and bob's own under another invite.
            let row = Redeemed {
                seq: redeemed.seq + u64::from(number),
                invite: InviteId::from_bytes([number; 16]),
                ..redeemed.clone()
            };
            world.say("alice", &Out::Event(Event::Redeemed(row.clone())));
            let envelope = Blob::new(vec![number; 4096]).expect("short enough");
            let (epoch, seq) = (row.epoch, row.seq);
            world.say("alice", &Out::Event(Event::Delivery(Delivery { epoch, seq, envelope })));
            world.say("bob", &Out::Event(Event::EdgeState(EdgeState { edge, up: true })));
        }
    });
    wait::until("all are taken", || crate::scene::doubtful(&scene.alice) == 50);
    let list = scene.alice.json(&["contact", "list"]);
    assert_eq!(list["contacts"].as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!(scene.alice.contact_state("bob").as_deref(), Some("pending-in"));
    assert_eq!(scene.bob.contact_state("alice").as_deref(), Some("pending-out"));
    let said = scene.bob.try_json(&["send", "alice", "am I in?"]);
    assert_ne!(said.status, 0, "{said:?}");
}
