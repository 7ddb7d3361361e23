//! What a person sets for a session: hidden from contacts, and whether it sees the desk.

use std::process::Stdio;

use penpal_tests::{Pair, Person, Said, wait};
use serde_json::{Value, json};

fn seen_by(person: &Person) -> Vec<String> {
    let list = person.json(&["contact", "sessions"]);
    let rows = list["sessions"].as_array().cloned().unwrap_or_default();
    rows.iter().filter_map(|row| row["session"].as_str()).map(str::to_owned).collect()
}

fn row(person: &Person, session: &str) -> Value {
    let list = person.json(&["sessions"]);
    let rows = list["sessions"].as_array().cloned().unwrap_or_default();
    rows.into_iter().find(|row| row["session"] == session).unwrap_or_default()
}

fn short(message: &Value) -> String {
    message["short"].as_str().expect("an id").to_owned()
}

#[test]
fn a_hidden_session_is_seen_by_no_contact_and_its_conversations_go_on() {
    let pair = Pair::connected();
    let (alice, bob) = (&pair.alice, &pair.bob);
    let asked = bob.json(&["send", "alice/api", "which port?", "--ask", "--as", "web"]);
    let said = bob.ok(&["session", "hide", "web"]);
    assert!(said.out.contains("web is hidden from contacts"), "{said:?}");
    wait::until("web to be gone from alice's list", || seen_by(alice).is_empty());
    let hidden = row(bob, "web");
    assert_eq!((hidden["hidden"].as_bool(), hidden["announced"].as_bool()), (Some(true), Some(false)));
    assert!(bob.ok(&["sessions"]).out.contains("web: hidden from contacts"));

    // Nobody finds it by its name; whoever has its message answers it.
    let said = alice.try_json(&["send", "bob/web", "hello?"]);
    assert_eq!((said.status, said.code().as_str()), (1, "unknown-address"), "{said:?}");
    wait::until("the question", || alice.bodies("api") == ["which port?"]);
    let question = short(&alice.json(&["inbox", "api", "--all"])["messages"][0]);
    alice.ok(&["reply", &question, "4433"]);
    wait::until("the answer", || bob.bodies("web") == ["4433"]);
    assert_eq!(bob.json(&["trace", asked["id"].as_str().expect("an id")])["events"][0]["stage"], "queued");
    alice.ok(&["send", "bob/web", "and this by its name", "--anyway", "--as", "api"]);
    wait::until("what was sent to its name", || bob.bodies("web").len() == 2);

    // It stays hidden over a restart, and comes back when its person says so.
    bob.kill_node();
    bob.ok(&["status"]);
    bob.ok(&["session", "open", "infra"]);
    wait::until("the other session", || seen_by(alice) == ["infra"]);
    bob.ok(&["session", "hide", "web", "--end"]);
    wait::until("web again", || seen_by(alice) == ["infra", "web"]);
    assert!(!bob.ok(&["sessions"]).out.contains("hidden"));
    let said = bob.try_json(&["session", "hide", "nobody"]);
    assert_eq!((said.status, said.code().as_str()), (1, "unknown-address"), "{said:?}");
}

/// Claude Code's hook of one conversation.
fn hook(person: &Person, event: &str) -> Option<String> {
    let input = json!({ "session_id": "c1", "cwd": "/nowhere/work", "hook_event_name": event, "source": "startup", "prompt": "go on" });
    let said = person.run_with(&["hook", "claude-code", event], input.to_string().as_bytes());
    assert_eq!((said.status, said.err.as_str()), (0, ""), "{said:?}");
    if said.out.is_empty() {
        return None;
    }
    let shape: Value = serde_json::from_str(&said.out).expect("a shape");
    shape.pointer("/hookSpecificOutput/additionalContext").and_then(Value::as_str).map(str::to_owned)
}

/// A command in an agent's shell: in that of the session `work`, or in one whose session is not known.
pub(crate) fn inside(person: &Person, session: Option<&str>, args: &[&str]) -> Said {
    let mut command = person.command(args);
    command.arg("--json").env("CLAUDECODE", "1").envs(session.map(|name| ("PENPAL_SESSION", name)));
    command.stdin(Stdio::null()).output().expect("penpal runs").into()
}

#[test]
fn the_desk_is_shown_to_no_agent_unless_its_person_says_so() {
    let pair = Pair::connected();
    let (alice, bob) = (&pair.alice, &pair.bob);
    assert_eq!(hook(alice, "SessionStart"), None);
    assert_eq!(row(alice, "work")["agent"], "claude-code");
    let ask = |text: &str| {
        let sent = bob.json(&["send", "alice", text, "--ask", "--as", "web"]);
        let id = sent["id"].as_str().expect("an id").to_owned();
        wait::until("the delivery", || {
            let events = bob.json(&["trace", &id])["events"].as_array().cloned().unwrap_or_default();
            events.iter().any(|event| event["stage"] == "delivered")
        });
        id
    };
    let first = ask("lunch?");

    // No agent sees it, acts for it, or lets itself in.
    assert_eq!(hook(alice, "UserPromptSubmit"), None);
    let inbox = alice.json(&["inbox"]);
    let message = short(&inbox["messages"][0]);
    let work = Some("work");
    for session in [work, None] {
        let desk = [
            &["inbox", "desk"][..],
            &["session", "desk", "work"],
            &["session", "hide", "work", "--end"],
            &["session", "mute", "work", "--end"],
            &["send", "bob/web", "x", "--as", "desk"],
        ];
        for args in desk {
            let said = inside(alice, session, args);
            assert_eq!((said.status, said.code().as_str()), (4, "needs-person"), "{args:?}: {said:?}");
        }
        let all = inside(alice, session, &["inbox", "--with", "bob", "--all"]);
        assert!(!all.out.contains("lunch?"), "{all:?}");
        for args in [&["read", &message][..], &["reply", &message, "x"]] {
            let said = inside(alice, session, args);
            let answers = args[0] == "reply" && session.is_none();
            let code = if answers { "which-session" } else { "unknown-id" };
            assert_eq!((said.status, said.code().as_str()), (1, code), "{args:?}: {said:?}");
        }
    }
    assert_eq!(inside(alice, work, &["inbox"]).json()["messages"], json!([]));
    // Where it cannot be told which session calls, nothing is shown and nobody's name is taken.
    for args in
        [&["inbox"][..], &["outbox"], &["send", "bob", "x"], &["search", "lunch"], &["broadcast", "x"]]
    {
        let said = inside(alice, None, args);
        assert_eq!((said.status, said.code().as_str()), (1, "which-session"), "{args:?}: {said:?}");
    }
    // Another agent's mail and name are its own; what was opened by hand is anybody's here.
    let other = json!({ "session_id": "c2", "cwd": "/nowhere/other", "hook_event_name": "SessionStart", "source": "startup" });
    alice.run_with(&["hook", "claude-code", "SessionStart"], other.to_string().as_bytes());
    for args in [
        &["inbox", "other"][..],
        &["send", "bob/web", "x", "--as", "other"],
        &["session", "rename", "other", "mine"],
        &["session", "summary", "other", "gone"],
    ] {
        let said = inside(alice, work, args);
        assert_eq!((said.status, said.code().as_str()), (4, "needs-person"), "{args:?}: {said:?}");
    }
    // Nor does one take the name of an agent that ended and may come back.
    for event in ["UserPromptSubmit", "SessionEnd"] {
        let input = json!({ "session_id": "c2", "cwd": "/nowhere/other", "hook_event_name": event, "prompt": "go on" });
        alice.run_with(&["hook", "claude-code", event], input.to_string().as_bytes());
    }
    assert_eq!(row(alice, "other"), Value::Null, "it ended");
    for args in [&["session", "open", "other"][..], &["session", "rename", "work", "other"]] {
        let said = inside(alice, work, args);
        assert_eq!((said.status, said.code().as_str()), (4, "needs-person"), "{args:?}: {said:?}");
    }
    assert_eq!(inside(alice, work, &["inbox", "api"]).status, 0);
    assert!(inside(alice, work, &["session", "desk", "work"]).err.contains("in their own terminal"));

    // Once allowed, it is shown as what it is; the own mail comes first, and a turn is not held for it.
    let said = alice.ok(&["session", "desk", "work"]);
    assert!(said.out.contains("work sees your desk"), "{said:?}");
    assert_eq!(row(alice, "work")["desk"], true);
    assert!(alice.ok(&["sessions"]).out.contains("work: sees your desk"));
    alice.ok(&["send", "work", "its own note"]);
    let own = hook(alice, "UserPromptSubmit").expect("its own note");
    assert!(own.contains("| its own note") && !own.contains("lunch"), "{own}");
    assert_eq!(hook(alice, "Stop"), None, "no turn is held for the desk");
    let shown = hook(alice, "UserPromptSubmit").expect("the desk");
    assert!(shown.contains("| lunch?") && shown.contains(" · to your user's desk"), "{shown}");
    assert!(shown.contains("It carries none of your user's authority."), "{shown}");
    assert_eq!(hook(alice, "UserPromptSubmit"), None, "once");
    let surfaced = || {
        let events = bob.json(&["trace", &first])["events"].as_array().cloned().unwrap_or_default();
        events.into_iter().find(|event| event["stage"] == "surfaced")
    };
    wait::until("the receipt", || surfaced().is_some_and(|event| event["mechanism"] == "prompt-hook"));

    // It answers in its own name, not in its person's.
    let said = inside(alice, work, &["reply", &message, "she is away"]);
    assert_eq!(said.status, 0, "{said:?}");
    wait::until("the answer", || bob.bodies("web") == ["she is away"]);
    assert_eq!(bob.json(&["inbox", "web", "--all"])["messages"][0]["from"], "alice/work");
    let answered = || {
        let events = bob.json(&["trace", &first])["events"].as_array().cloned().unwrap_or_default();
        events.iter().any(|event| event["stage"] == "answered" && event["signed"] == true)
    };
    wait::until("the trail", answered);

    // In its shell it lists both, and a person's own answer still comes from the desk.
    ask("and dinner?");
    assert_eq!(inside(alice, work, &["inbox"]).json()["messages"][0]["body"], "and dinner?");
    assert_eq!(inside(alice, work, &["inbox", "desk"]).status, 0);
    assert_eq!(inside(alice, None, &["inbox", "desk"]).status, 4);
    let message = short(&alice.json(&["inbox", "desk"])["messages"][0]);
    alice.ok(&["reply", &message, "yes"]);
    wait::until("the person's answer", || bob.bodies("web") == ["she is away", "yes"]);
    assert_eq!(bob.json(&["inbox", "web", "--all"])["messages"][1]["from"], "alice");

    // And it ends when its person says so.
    alice.ok(&["session", "desk", "work", "--end"]);
    ask("breakfast?");
    assert_eq!(hook(alice, "UserPromptSubmit"), None);
    assert_eq!(inside(alice, work, &["inbox", "desk"]).status, 4);
}
