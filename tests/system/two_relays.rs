//! People on different relays: deposits by capability, without an account there.

use penpal_tests::{Person, Relay, connect, folder, wait};

#[test]
fn people_on_different_relays_are_contacts_like_any_other() {
    let folder = folder();
    let (first, second) =
        (Relay::start(&folder.path().join("relay-1")), Relay::start(&folder.path().join("relay-2")));
    let (alice, bob) = (Person::new(&folder, "alice"), Person::new(&folder, "bob"));
    alice.ok(&["register", first.address(), "--token", &first.token(), "--handle", "alice"]);
    bob.ok(&["register", second.address(), "--token", &second.token(), "--handle", "bob"]);
    connect(&alice, &bob);
    alice.ok(&["session", "open", "api"]);
    bob.ok(&["session", "open", "web"]);
    alice.ok(&["send", "bob/web", "over there?", "--as", "api", "--anyway"]);
    wait::until("the message", || bob.bodies("web") == ["over there?"]);
    let short = bob.json(&["inbox", "web"])["messages"][0]["short"].as_str().expect("an id").to_owned();
    bob.ok(&["reply", &short, "yes"]);
    wait::until("the answer", || alice.bodies("api") == ["yes"]);
    // A file lies at its sender's relay, and is fetched from there.
    let (file, out) = (folder.path().join("x.bin"), folder.path().join("out.bin"));
    std::fs::write(&file, vec![7; 1_500_000]).expect("a file");
    alice.ok(&["send", "bob/web", "the file", "--file", file.to_str().expect("text"), "--anyway"]);
    let hash = blake3::hash(&vec![7; 1_500_000]).to_hex().to_string();
    wait::until("the message with it", || bob.bodies("web").len() == 2);
    bob.ok(&["artifact", "get", &hash, "--output", out.to_str().expect("text")]);
    alice.ok(&["contact", "remove", "bob"]);
    bob.run(&["send", "alice/api", "still?", "--as", "web", "--anyway", "--wait", "0s"]);
    wait::until("the contact to be gone", || bob.contact_state("alice").as_deref() == Some("gone"));
}

/// A relay is known by its key. An address for it that does not answer, whoever named it, keeps nobody's mail from the others there.
#[test]
fn an_address_that_does_not_answer_stands_in_nobodys_way() {
    let folder = folder();
    let (first, mut second) =
        (Relay::start(&folder.path().join("relay-1")), Relay::start(&folder.path().join("relay-2")));
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| Person::new(&folder, name));
    let register = |person: &Person, relay: &Relay| {
        person.ok(&["register", relay.address(), "--token", &relay.token(), "--handle", person.name()]);
    };
    register(&alice, &first);
    register(&carol, &second);
    connect(&alice, &carol);
    carol.ok(&["daemon", "stop"]);
    second.move_to_another_port();
    register(&bob, &second);
    // Alice's node knows of Carol's address first, and dials it for her.
    alice.kill_node();
    alice.ok(&["send", "carol", "are you there?"]);
    connect(&alice, &bob);
    alice.ok(&["send", "bob", "and you?"]);
    wait::until("the message", || bob.bodies("desk") == ["and you?"]);
}
