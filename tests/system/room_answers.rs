//! Answers into rooms, and messages there that are for one session: whom they reach, and what their sender is told.

use penpal_tests::{Person, Said, wait};
use serde_json::json;

use crate::choices::inside;
use crate::rooms::{ADDRESS, ROOM, Team, has, join, members_of, messages, standing};

/// Bob's session, once Alice's node knows of it.
fn session_of(bob: &Person, alice: &Person) {
    bob.ok(&["session", "open", "web"]);
    wait::until("the session", || {
        let list = alice.json(&["contact", "sessions", "bob"]);
        list["sessions"].as_array().is_some_and(|rows| !rows.is_empty())
    });
}

#[test]
fn waiting_for_one_session_of_a_room_ends_when_that_one_has_seen_it() {
    let team = Team::of_contacts();
    let (alice, bob, carol) = (&team.alice, &team.bob, &team.carol);
    team.room(&[bob, carol]);
    session_of(bob, alice);
    let to = format!("{ADDRESS} @bob/web");
    let sent: Said = std::thread::scope(|scope| {
        let sends = scope.spawn(|| {
            alice
                .command(&["send", &to, "for bob's web", "--wait", "1m", "--json"])
                .output()
                .expect("penpal runs")
        });
        wait::until("the message", || bob.bodies("web") == ["for bob's web"]);
        let id = messages(bob, &["inbox", "web", "--all"])[0]["id"].as_str().expect("an id").to_owned();
        bob.ok(&["read", &id]);
        sends.join().expect("the command ends").into()
    });
    assert_eq!(sent.status, 0, "{sent:?}");
    assert_eq!(
        (&sent.json()["stage"], &sent.json()["timed_out"]),
        (&"surfaced".into(), &false.into()),
        "{sent:?}"
    );
    wait::until("the copy", || has(carol, "for bob's web"));
}

#[test]
fn an_agent_answers_what_is_for_another_in_its_own_name_and_leaves_it_unread() {
    let team = Team::of_contacts();
    let (alice, bob) = (&team.alice, &team.bob);
    team.room(&[bob]);
    let hook = |name: &str, event: &str| {
        let input = json!({ "session_id": name, "cwd": format!("/nowhere/{name}"), "hook_event_name": event, "source": "startup", "prompt": "go on" });
        bob.run_with(&["hook", "claude-code", event], input.to_string().as_bytes())
    };
    for name in ["api", "web"] {
        hook(name, "SessionStart");
    }
    wait::until("bob's sessions", || {
        let list = alice.json(&["contact", "sessions", "bob"]);
        list["sessions"].as_array().is_some_and(|rows| rows.len() == 2)
    });
    let to = format!("{ADDRESS} @bob/web");
    let sent = alice.json(&["send", &to, "does the migration run?", "--ask", "--wait", "0s"]);
    wait::until("the ask", || bob.bodies("web") == ["does the migration run?"]);
    let id = messages(bob, &["inbox", "web", "--all"])[0]["id"].as_str().expect("an id").to_owned();
    for args in [&["read", &id][..], &["reply", &id, "ask web"]] {
        let said = inside(bob, Some("api"), args);
        assert_eq!(said.status, 0, "{args:?}: {said:?}");
    }
    wait::until("the answer", || has(alice, "ask web"));
    let answer = messages(alice, &["room", "history", ADDRESS]).pop().expect("it");
    assert_eq!(answer["from"], "bob/api");
    let surfaced = || {
        let trace = alice.json(&["trace", sent["id"].as_str().expect("an id")]);
        let events = trace["events"].as_array().cloned().unwrap_or_default();
        events.into_iter().filter(|event| event["stage"] == "surfaced").collect::<Vec<_>>()
    };
    assert_eq!(surfaced(), Vec::<serde_json::Value>::new());
    let shown = hook("web", "UserPromptSubmit");
    assert!(shown.out.contains("does the migration run?"), "{shown:?}");
    wait::until("the receipt", || surfaced().iter().any(|event| event["mechanism"] == "prompt-hook"));
}

#[test]
fn an_answer_to_somebody_who_is_out_of_the_room_is_refused_and_sent_to_nobody() {
    let team = Team::of_contacts();
    let (alice, bob, carol) = (&team.alice, &team.bob, &team.carol);
    team.room(&[bob, carol]);
    bob.ok(&["session", "open", "web"]);
    bob.ok(&["send", ADDRESS, "does it run?", "--as", "web"]);
    wait::until("the question", || has(alice, "does it run?") && has(carol, "does it run?"));
    let id = |person: &Person| {
        let all = messages(person, &["room", "history", ADDRESS]);
        all[0]["id"].as_str().expect("an id").to_owned()
    };
    alice.ok(&["room", "remove", ROOM, "bob"]);
    wait::until("carol to know", || !members_of(carol).contains("bob"));
    for person in [alice, carol] {
        let said = person.try_json(&["reply", &id(person), "it does"]);
        assert_eq!((said.status, said.code().as_str()), (1, "room-state"), "{said:?}");
        let error = said.json()["error"].clone();
        assert_eq!(error["message"], format!("bob is not in {ADDRESS} any more"), "{error}");
        assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("penpal send")), "{error}");
    }
    // What is for everybody goes on.
    alice.ok(&["send", ADDRESS, "it does"]);
    wait::until("the message", || has(carol, "it does"));
}

#[test]
fn what_status_says_of_a_room_goes_when_it_is_not_true_any_more() {
    let team = Team::of_contacts();
    let (alice, bob, carol) = (&team.alice, &team.bob, &team.carol);
    let notices = |person: &Person| person.json(&["status"])["notices"].to_string();
    team.room(&[bob]);
    join(alice, carol);
    wait::until("carol's coming", || notices(bob).contains("carol is in #"));
    assert!(notices(bob).contains("you are in #") && notices(carol).contains("you are in #"));
    alice.ok(&["room", "remove", ROOM, "bob"]);
    wait::until("bob to be out", || notices(bob).contains("you were taken out of #"));
    assert!(!notices(bob).contains(" in #"), "{}", notices(bob));
    wait::until("carol to know", || notices(carol).contains("bob is not in #"));
    carol.ok(&["room", "leave", ROOM]);
    assert!(!notices(carol).contains('#'), "{}", notices(carol));
}

#[test]
fn a_room_made_anew_is_named_to_whoever_types_the_name_of_the_one_that_is_over() {
    let team = Team::of_contacts();
    let (alice, bob) = (&team.alice, &team.bob);
    team.room(&[bob]);
    alice.ok(&["room", "close", ROOM]);
    wait::until("the end", || standing(bob).as_deref() == Some("closed"));
    let send = || bob.try_json(&["send", ADDRESS, "is anybody there?"]);
    let said = send();
    assert_eq!(said.code(), "room-state", "{said:?}");
    assert!(said.json()["error"]["candidates"].is_null(), "{said:?}");
    alice.ok(&["room", "create", ROOM]);
    alice.ok(&["room", "invite", ROOM, "bob"]);
    let other = format!("{ADDRESS}-2");
    wait::until("the invitation", || bob.ok(&["room", "list"]).out.contains(&other));
    for said in [send(), bob.try_json(&["room", "join", ROOM])] {
        assert_eq!(said.code(), "room-state", "{said:?}");
        assert_eq!(said.json()["error"]["candidates"][0], other, "{said:?}");
        assert!(said.err.contains("hint: use one of the candidates"), "{said:?}");
    }
    bob.ok(&["room", "join", &other]);
}
