//! Manifests and bundles that a relay serves old, swapped or altered.

use penpal_protocol::cbor::{Blob, List};
use penpal_protocol::wire::{Answer, ContactState, DeviceBundles, Profile, Request};
use penpal_tests::wait;

use crate::double::{Say, World};
use crate::scene::{Scene, reaches, told};

/// Contact states that were served to somebody, oldest first.
fn served(world: &World, who: &str) -> Vec<ContactState> {
    let of = world.answers.iter().filter(|(name, _)| name == who);
    of.filter_map(|(_, answer)| match answer {
        Answer::ContactState(state) => Some(state.clone()),
        _ => None,
    })
    .collect()
}

fn serve(scene: &Scene, to: &'static str, change: impl Fn(ContactState) -> ContactState + Send + 'static) {
    scene.relay.lie(|malice| {
        malice.answer = Box::new(move |who, _, answer| match answer {
            Answer::ContactState(state) if who == to => Say::Answer(Answer::ContactState(change(state))),
            _ => Say::Honest,
        });
    });
}

fn flip(profile: &Profile) -> Profile {
    let mut bytes = profile.current.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    Profile { current: Blob::new(bytes).expect("as long as before"), previous: None }
}

/// A profile of that account as it stands at the relay, under the slot that `like` names.
fn own_profile(world: &World, who: &str, like: &ContactState) -> ContactState {
    let requests = || world.requests.iter().rev().filter(|(name, _)| name == who).map(|(_, request)| request);
    let manifest = requests().find_map(|request| match request {
        Request::PutManifest(put) => Some(put.profile.clone()),
        _ => None,
    });
    let bundle = requests().find_map(|request| match request {
        Request::PutBundle(put) => Some(put.profile.clone()),
        _ => None,
    });
    let slot = like.bundles.first().expect("a device").slot;
    let bundles = List::truncated(vec![DeviceBundles { slot, profile: bundle.expect("a bundle") }]);
    ContactState { manifest, bundles }
}

/// What the relay serves in place of Bob's keys: somebody else's, altered ones, ones beside an altered list of devices, none.
fn swap(scene: &Scene, round: usize) {
    let mine =
        scene.relay.with(|world| served(world, "alice").pop().map(|like| own_profile(world, "alice", &like)));
    serve(scene, "alice", move |state| match (round, &mine) {
        (0, Some(mine)) => mine.clone(),
        (1, _) => {
            let mut bundles = state.bundles.into_vec();
            for one in &mut bundles {
                one.profile = flip(&one.profile);
            }
            ContactState { bundles: List::truncated(bundles), ..state }
        }
        (2, _) => ContactState { manifest: state.manifest.as_ref().map(flip), ..state },
        _ => ContactState { bundles: List::truncated(Vec::new()), ..state },
    });
}

#[test]
fn swapped_keys_at_the_acceptance_are_ignored_for_those_that_the_invited_signed() {
    let scene = Scene::strangers();
    let code = scene.alice.json(&["contact", "invite"])["code"].as_str().expect("a code").to_owned();
    swap(&scene, 1);
    connect_with(&scene, &code);
    scene.send(&scene.alice, "bob", "for bob only");
    scene.arrives(&scene.bob, &["for bob only"]);
}

fn connect_with(scene: &Scene, code: &str) {
    scene.bob.ok(&["contact", "add", code, "--handle", "bob", "--device", "desktop"]);
    wait::until("the request", || scene.alice.contact_state("bob").as_deref() == Some("pending-in"));
    scene.alice.ok(&["contact", "accept", "bob"]);
    wait::until("the contact", || scene.bob.contact_state("alice").as_deref() == Some("active"));
}

#[test]
fn swapped_keys_of_a_contact_delay_at_most() {
    let scene = Scene::connected_with_clocks();
    let texts = ["round 0", "round 1", "round 2", "round 3"];
    for (round, text) in texts.iter().enumerate() {
        swap(&scene, round);
        // A day later no key that was offered is fresh: a bundle must be fetched.
        scene.pass(60 * 26);
        let before = scene.relay.with(|world| (served(world, "alice").len(), world.mail_of("alice").len()));
        let id = scene.send(&scene.alice, "bob", text);
        scene.relay.until("a fetch, or a deposit under an offered key", |world| {
            served(world, "alice").len() > before.0 || world.mail_of("alice").len() > before.1
        });
        scene.relay.repent();
        scene.settle_after(|| scene.pass(2));
        scene.arrives(&scene.bob, &texts[..=round]);
        reaches(&scene.alice, &id, "delivered");
    }
}

#[test]
fn an_old_profile_is_refused_and_told_and_mail_still_arrives() {
    let scene = Scene::connected_with_clocks();
    scene.send(&scene.alice, "bob", "first");
    scene.arrives(&scene.bob, &["first"]);
    let old = scene.relay.with(|world| served(world, "alice").pop().expect("bob's profile"));
    // Bob's node renews its manifest before it ends.
    for _ in 0..20 {
        scene.pass(24 * 60);
        scene.settle_after(|| scene.pass(5));
    }
    let newest = scene.relay.with(|world| {
        world.requests.iter().any(|(who, request)| {
            who == "bob" && matches!(request, Request::PutManifest(put) if put.revision > 1)
        })
    });
    assert!(newest, "a newer manifest exists");
    scene.send(&scene.bob, "alice", "I have a newer manifest");
    wait::until("the mail", || scene.alice.bodies("desk").len() == 1);
    scene.settle();
    serve(&scene, "alice", move |_| old.clone());
    scene.pass(60 * 26);
    scene.send(&scene.alice, "bob", "second");
    told(&scene.alice, "older list of bob's devices; ignored");
    scene.relay.repent();
    scene.settle_after(|| scene.pass(65));
    scene.arrives(&scene.bob, &["first", "second"]);
}
