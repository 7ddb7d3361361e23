//! What the README tells a newcomer, word for word where a script would rely on it.

use penpal_tests::{Pair, Person, Relay, connect, folder, wait};

#[test]
fn two_people_connect_write_answer_and_part() {
    let folder = folder();
    let relay = Relay::start(&folder.path().join("relay"));
    let (alice, bob) = (Person::new(&folder, "alice"), Person::new(&folder, "bob"));

    let said = alice.ok(&[
        "register",
        relay.address(),
        "--token",
        &relay.token(),
        "--handle",
        "alice",
        "--device",
        "laptop",
    ]);
    assert!(said.out.contains("account alice at 127.0.0.1"), "{said:?}");
    let status = alice.json(&["status"]);
    assert_eq!(status["v"], 1);
    assert_eq!(status["account"]["handle"], "alice");
    assert_eq!(status["account"]["device"], "laptop");
    assert_eq!(status["relay"]["state"], "connected");

    // A person without an account gets one with the code.
    let invite = alice.json(&["contact", "invite"]);
    let code = invite["code"].as_str().expect("a code");
    assert!(code.starts_with("pp1-"));
    assert!(invite["expires_ms"].as_u64().is_some());
    let broken_over_lines = format!("hi bob, use this:\n  {}\n thanks", code.replacen('-', "-\n", 3));
    let said = bob.run_with(
        &["contact", "add", "-", "--handle", "bob", "--device", "desktop"],
        broken_over_lines.as_bytes(),
    );
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.contains("account bob at 127.0.0.1"), "{said:?}");
    assert!(said.out.contains("alice must accept"), "{said:?}");
    // Running it again changes nothing.
    bob.ok(&["contact", "add", code]);

    wait::until("the request", || alice.contact_state("bob").as_deref() == Some("pending-in"));
    assert_eq!(alice.json(&["status"])["requests"], 1);
    let accepted = alice.json(&["contact", "accept", "bob"]);
    let number = accepted["contact"]["safety_number"].as_str().expect("a safety number").to_owned();
    assert_eq!(number.split(' ').count(), 12);
    wait::until("the contact", || bob.contact_state("alice").as_deref() == Some("active"));
    let theirs = bob.json(&["contact", "list"]);
    assert_eq!(theirs["contacts"][0]["safety_number"], number.as_str());
    assert_eq!(theirs["contacts"][0]["trust"], "invited");

    // Sessions are seen by the other side.
    alice.ok(&["session", "open", "api"]);
    bob.ok(&["session", "open", "web", "--agent", "echo"]);
    bob.ok(&["session", "summary", "web", "checkout form, tests green"]);
    wait::until("bob's session at alice", || {
        let list = alice.json(&["contact", "sessions"]);
        list["sessions"][0]["session"] == "web"
            && list["sessions"][0]["summary"] == "checkout form, tests green"
    });
    let row = alice.json(&["contact", "sessions"])["sessions"][0].clone();
    assert_eq!((row["contact"].as_str(), row["device"].as_str()), (Some("bob"), Some("desktop")));
    assert_eq!((row["address"].as_str(), row["agent"].as_str()), (Some("bob/desktop/web"), Some("echo")));
    assert_eq!(row["online"], true);

    // An ask, its trail, its answer.
    let sent = alice.json(&["send", "bob/web", "is the v2 schema final?", "--ask", "--as", "api"]);
    assert_eq!(sent["stage"], "delivered", "{sent}");
    let id = sent["id"].as_str().expect("an id").to_owned();
    let inbox = bob.json(&["inbox"]);
    let message = &inbox["messages"][0];
    assert_eq!(message["from"], "alice/api");
    assert_eq!(message["to"], "web");
    assert_eq!(message["kind"], "ask");
    assert_eq!(message["body"], "is the v2 schema final?");
    assert_eq!((message["verified"].as_bool(), message["trust"].as_str()), (Some(true), Some("invited")));
    assert_eq!(message["state"], "unread");
    let short = message["short"].as_str().expect("a short id").to_owned();
    bob.ok(&["read", &short]);
    let reply = bob.json(&["reply", &short, "yes, since this morning"]);
    assert_eq!(reply["stage"], "delivered", "{reply}");
    wait::until("the answer", || {
        alice.json(&["trace", &id])["events"].as_array().is_some_and(|events| {
            events.iter().any(|event| event["stage"] == "answered" && event["signed"] == true)
        })
    });
    let stages: Vec<String> = alice.json(&["trace", &id])["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| event["stage"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(stages, ["queued", "relayed", "delivered", "surfaced", "answered"]);
    let answer = alice.json(&["inbox", "api"]);
    assert_eq!(answer["messages"][0]["body"], "yes, since this morning");
    assert_eq!(answer["messages"][0]["reply_to"], id.as_str());

    // An ask that waits for its answer.
    let waiting = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            alice.json(&["send", "bob/web", "and the port?", "--ask", "--as", "api", "--wait", "30s"])
        });
        wait::until("the question", || {
            !bob.json(&["inbox", "web"])["messages"].as_array().is_none_or(Vec::is_empty)
        });
        let short = bob.json(&["inbox", "web"])["messages"][0]["short"].as_str().expect("an id").to_owned();
        bob.ok(&["reply", &short, "4433"]);
        asking.join().expect("the sender")
    });
    assert_eq!(waiting["stage"], "answered");
    assert_eq!(waiting["reply"]["body"], "4433");
    assert!(
        waiting.get("lease").is_none() && waiting.get("reply_quote").is_none(),
        "not for scripts: {waiting}"
    );

    // Verifying, renaming, parting.
    let said = alice.try_json(&["contact", "verify", "bob", "--number", "11111 22222"]);
    assert_eq!(said.status, 1, "{said:?}");
    alice.ok(&["contact", "verify", "bob", "--number", &number]);
    assert_eq!(alice.json(&["contact", "list"])["contacts"][0]["trust"], "verified");
    alice.ok(&["contact", "rename", "bob", "robert"]);
    alice.ok(&["send", "robert", "to your desk"]);
    wait::until("mail at the desk", || bob.bodies("desk") == ["to your desk"]);
    let asked = alice.json(&["send", "robert/web", "one more thing", "--as", "api"]);
    let id = asked["id"].as_str().expect("an id").to_owned();
    wait::until("its receipt", || alice.json(&["trace", &id])["events"].to_string().contains("delivered"));
    let removed = alice.json(&["contact", "remove", "robert"]);
    assert_eq!(removed["at_relay"], true);
    // What is left of the conversation still says whose it was.
    let trail = alice.json(&["trace", &id])["events"].to_string();
    assert!(trail.contains("robert (removed)/desktop"), "{trail}");
    bob.run(&["send", "alice/api", "still there?", "--as", "web", "--wait", "0s"]);
    wait::until("the contact to be gone", || bob.contact_state("alice").as_deref() == Some("gone"));
    assert!(!alice.bodies("api").contains(&"still there?".to_owned()));
}

#[test]
fn a_blocked_contact_sees_nothing_but_relayed() {
    let pair = Pair::connected();
    pair.alice.ok(&["contact", "block", "bob"]);
    let sent = pair.bob.json(&["send", "alice/api", "hello?", "--as", "web"]);
    assert_eq!(sent["stage"], "relayed", "{sent}");
    assert!(pair.alice.bodies("api").is_empty());
    pair.alice.ok(&["contact", "unblock", "bob"]);
    pair.bob.ok(&["send", "alice/api", "hello again", "--as", "web"]);
    wait::until("mail after the block", || pair.alice.bodies("api").contains(&"hello again".to_owned()));
}

#[test]
fn a_declined_request_and_a_used_code_are_told() {
    let folder = folder();
    let relay = Relay::start(&folder.path().join("relay"));
    let (alice, bob, eve) =
        (Person::new(&folder, "alice"), Person::new(&folder, "bob"), Person::new(&folder, "eve"));
    alice.ok(&["register", relay.address(), "--token", &relay.token(), "--handle", "alice"]);
    let code = alice.json(&["contact", "invite"])["code"].as_str().expect("a code").to_owned();
    bob.ok(&["contact", "add", &code, "--handle", "bob"]);
    let said = eve.try_json(&["contact", "add", &code, "--handle", "eve"]);
    assert_eq!((said.status, said.code().as_str()), (1, "invite-used"), "{said:?}");
    wait::until("the request", || alice.contact_state("bob").as_deref() == Some("pending-in"));
    alice.ok(&["contact", "decline", "bob"]);
    assert_eq!(alice.contact_state("bob"), None);

    // Declined once is not for ever.
    let again = alice.json(&["contact", "invite"])["code"].as_str().expect("a code").to_owned();
    let carol = Person::new(&folder, "carol");
    carol.ok(&["contact", "add", &again, "--handle", "carol"]);
    wait::until("another request", || alice.contact_state("carol").as_deref() == Some("pending-in"));
    alice.ok(&["contact", "accept", "carol"]);
    wait::until("a contact", || carol.contact_state("alice").as_deref() == Some("active"));
}

#[test]
fn an_auto_accepted_contact_is_held_until_a_person_writes() {
    let folder = folder();
    let relay = Relay::start(&folder.path().join("relay"));
    let (alice, bob) = (Person::new(&folder, "alice"), Person::new(&folder, "bob"));
    alice.ok(&["register", relay.address(), "--token", &relay.token(), "--handle", "alice"]);
    alice.ok(&["session", "open", "api"]);
    let code =
        alice.json(&["contact", "invite", "--auto-accept"])["code"].as_str().expect("a code").to_owned();
    bob.ok(&["contact", "add", &code, "--handle", "bob", "--wait", "30s"]);
    bob.ok(&["session", "open", "web"]);
    let sent = bob.json(&["send", "alice/api", "let me in", "--as", "web", "--anyway"]);
    assert_eq!(sent["stage"], "held", "{sent}");
    assert_eq!(alice.json(&["status"])["held"], 1);
    // What an agent says lets nobody in.
    let by_agent = ["send", "bob/web", "who is there?", "--anyway", "--json"];
    let mut by_agent = alice.command(&by_agent);
    by_agent.env("CLAUDECODE", "1").env("PENPAL_SESSION", "api").stdin(std::process::Stdio::null());
    let said: penpal_tests::Said = by_agent.output().expect("penpal runs").into();
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(alice.json(&["status"])["held"], 1);
    alice.ok(&["send", "bob/web", "welcome", "--as", "api", "--anyway"]);
    wait::until("the hold to end", || alice.json(&["status"])["held"] == 0);
    assert_eq!(alice.json(&["inbox", "api"])["messages"][0]["body"], "let me in");
}

#[test]
fn a_second_contact_of_one_name_gets_a_number() {
    let folder = folder();
    let first = Relay::start(&folder.path().join("relay"));
    let second = Relay::start(&folder.path().join("relay-2"));
    let alice = Person::new(&folder, "alice");
    alice.ok(&["register", first.address(), "--token", &first.token(), "--handle", "alice"]);
    let here = Person::at(&folder.path().join("bob-here"), "bob");
    connect(&alice, &here);
    let there = Person::at(&folder.path().join("bob-there"), "bob");
    there.ok(&["register", second.address(), "--token", &second.token(), "--handle", "bob"]);
    let code = alice.json(&["contact", "invite"])["code"].as_str().expect("a code").to_owned();
    there.ok(&["contact", "add", &code]);
    wait::until("the second bob", || alice.contact_state("bob-2").as_deref() == Some("pending-in"));
    alice.ok(&["contact", "accept", "bob-2"]);
    wait::until("the contact", || there.contact_state("alice").as_deref() == Some("active"));
}

#[test]
fn notices_go_when_they_are_not_true_any_more() {
    let folder = folder();
    let relay = Relay::start(&folder.path().join("relay"));
    let (alice, bob) = (Person::new(&folder, "alice"), Person::new(&folder, "bob"));
    alice.ok(&["register", relay.address(), "--token", &relay.token(), "--handle", "alice"]);
    let code = alice.json(&["contact", "invite"])["code"].as_str().expect("a code").to_owned();
    bob.ok(&["contact", "add", &code, "--handle", "bob"]);
    let notices = |person: &Person| person.json(&["status"])["notices"].to_string();
    wait::until("the notice", || notices(&alice).contains("bob asks to be a contact"));
    alice.ok(&["contact", "accept", "bob"]);
    assert!(!notices(&alice).contains("bob asks"), "{}", notices(&alice));
    wait::until("the contact", || bob.contact_state("alice").as_deref() == Some("active"));
    assert!(notices(&bob).contains("alice is a contact now"));
    bob.ok(&["contact", "remove", "alice"]);
    assert!(!notices(&bob).contains("alice is a contact"), "{}", notices(&bob));
}

#[test]
fn the_outbox_says_when_it_tries_again_and_with_all_what_is_done() {
    let mut pair = Pair::connected();
    pair.bob.ok(&["daemon", "stop"]);
    let id = |sent: serde_json::Value| sent["id"].as_str().expect("an id").to_owned();
    let waiting = id(pair.alice.json(&["send", "bob/web", "for later", "--as", "api", "--anyway"]));
    let row = |person: &Person, args: &[&str], id: &str| {
        let outbox = person.json(args);
        outbox["messages"].as_array().and_then(|rows| rows.iter().find(|row| row["id"] == id).cloned())
    };
    wait::until("the relay's word", || {
        row(&pair.alice, &["outbox"], &waiting).is_some_and(|row| row["stage"] == "relayed")
    });
    let sent_ms = row(&pair.alice, &["outbox"], &waiting).and_then(|row| row["sent_ms"].as_u64());
    let next_ms = row(&pair.alice, &["outbox"], &waiting).and_then(|row| row["next_try_ms"].as_u64());
    assert!(next_ms > sent_ms, "{next_ms:?} {sent_ms:?}");
    pair.bob.ok(&["status"]);
    wait::until("its receipt", || row(&pair.alice, &["outbox"], &waiting).is_none());
    let short = pair.bob.json(&["inbox", "web"])["messages"][0]["short"].as_str().expect("an id").to_owned();
    pair.bob.ok(&["reply", &short, "got it"]);
    wait::until("the answer", || {
        row(&pair.alice, &["outbox", "--all"], &waiting).is_some_and(|row| row["stage"] == "answered")
    });
    assert!(row(&pair.alice, &["outbox", "--all"], &waiting).is_some_and(|row| row["next_try_ms"].is_null()));
    pair.relay.stop();
}

#[test]
fn the_conversation_with_a_session_on_this_machine_is_listed_both_ways() {
    let folder = folder();
    let me = Person::new(&folder, "me");
    for session in ["api", "web"] {
        me.ok(&["session", "open", session]);
    }
    me.ok(&["send", "web", "from the desk"]);
    me.ok(&["send", "./desk", "to the desk", "--as", "web"]);
    me.ok(&["send", "api", "not for web"]);
    for with in ["web", "./web"] {
        let listed = me.json(&["inbox", "--with", with]);
        let bodies = listed["messages"].as_array().expect("messages").iter().map(|one| one["body"].clone());
        assert_eq!(bodies.collect::<Vec<_>>(), ["from the desk", "to the desk"], "{with}");
    }
    assert_eq!(me.run(&["inbox", "--with", "./nobody"]).status, 1);
}
