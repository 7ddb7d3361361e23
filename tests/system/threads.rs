//! Threads, and what is told to everybody on one machine.

use std::io::Write;
use std::process::Stdio;

use penpal_tests::{Pair, Person, folder, wait};
use serde_json::{Value, json};

fn shorts(thread: &Value) -> Vec<(String, Option<String>)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let all = thread["thread"].as_array().cloned().unwrap_or_default();
    all.iter().map(|one| (text(&one["body"]).unwrap_or_default(), text(&one["answers"]))).collect()
}

#[test]
fn a_thread_is_shown_in_order_on_both_sides() {
    let pair = Pair::connected();
    pair.alice.ok(&["send", "bob/web", "something else", "--as", "api"]);
    let ask = pair.alice.json(&["send", "bob/web", "which port?", "--as", "api", "--ask"]);
    let ask = ask["short"].as_str().expect("an id").to_owned();
    wait::until("the ask", || pair.bob.bodies("web").len() == 2);
    let inbox = pair.bob.json(&["inbox", "web"]);
    let theirs = inbox["messages"][1]["short"].as_str().expect("an id").to_owned();
    pair.bob.ok(&["reply", &theirs, "8080"]);
    wait::until("the answer", || pair.alice.bodies("api") == ["8080"]);
    let answer = pair.alice.json(&["inbox", "api"])["messages"][0].clone();
    assert_eq!(answer["answers"], ask, "{answer}");
    let listed = pair.alice.ok(&["inbox", "api"]).out;
    assert!(listed.contains(&format!("↳ answer to {ask}")), "{listed}");
    let short = answer["short"].as_str().expect("an id").to_owned();
    pair.alice.ok(&["reply", &short, "thanks"]);
    wait::until("the thanks", || pair.bob.bodies("web").len() == 3);
    for (person, id) in [(&pair.alice, &short), (&pair.bob, &theirs)] {
        let read = person.json(&["read", id, "--thread"]);
        let bodies: Vec<String> = shorts(&read).into_iter().map(|(body, _)| body).collect();
        assert_eq!(bodies, ["which port?", "8080", "thanks"], "{read}");
        let answers: Vec<bool> = shorts(&read).into_iter().map(|(_, answers)| answers.is_some()).collect();
        assert_eq!(answers, [false, true, true], "{read}");
        let conversations: std::collections::BTreeSet<String> = read["thread"]
            .as_array()
            .expect("it")
            .iter()
            .map(|one| one["conversation"].to_string())
            .collect();
        assert_eq!(conversations.len(), 1, "{read}");
    }
    let printed = pair.bob.ok(&["read", &theirs, "--thread"]).out;
    let indent = |text: &str| {
        let line = printed.lines().find(|line| line.contains(text)).expect("the line");
        line.len() - line.trim_start().len()
    };
    assert!(indent("| which port?") < indent("| 8080") && indent("| 8080") < indent("| thanks"), "{printed}");
}

/// What a prompt hook of an agent's session shows.
fn prompt(person: &Person, id: &str, event: &str) -> String {
    let mut command = person.command(&["hook", "claude-code", event]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the hook runs");
    let input =
        json!({ "session_id": id, "cwd": format!("/nowhere/{id}"), "source": "startup", "prompt": "go on" });
    child.stdin.take().expect("its input").write_all(input.to_string().as_bytes()).expect("the hook reads");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_is_told_to_all_is_seen_at_the_next_prompt_and_ends() {
    let folder = folder();
    let me = Person::new(&folder, "me");
    me.ok(&["daemon", "start"]);
    for id in ["api", "web"] {
        prompt(&me, id, "SessionStart");
    }
    me.ok(&["session", "open", "by-hand"]);
    let told = me.json(&["broadcast", "deploy at noon"]);
    let names: Vec<&str> = told["sessions"]
        .as_array()
        .expect("sessions")
        .iter()
        .filter_map(|one| one["session"].as_str())
        .collect();
    assert_eq!(names, ["api", "by-hand", "web"], "{told}");
    // A hook that has to wait too long for the node shows nothing; the next one does.
    wait::until("the prompt that shows it", || {
        prompt(&me, "api", "UserPromptSubmit").contains("| deploy at noon")
    });
    assert_eq!(prompt(&me, "api", "UserPromptSubmit"), "", "once");
    // Another one ends before anybody looks, also when the node died meanwhile.
    let told = me.json(&["broadcast", "coffee is ready", "--ttl", "1500ms"]);
    let ends = told["ends_ms"].as_u64().expect("its end");
    me.kill_node();
    let now = || {
        u64::try_from(
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_millis(),
        )
        .unwrap_or(0)
    };
    wait::until("its end", || now() > ends + 50);
    me.ok(&["daemon", "start"]);
    let mut shown = String::new();
    wait::until("a prompt that shows something", || {
        shown = prompt(&me, "web", "UserPromptSubmit");
        !shown.is_empty()
    });
    assert!(shown.contains("| deploy at noon") && !shown.contains("coffee"), "{shown}");
    assert_eq!(me.json(&["inbox", "by-hand"])["messages"].as_array().map(Vec::len), Some(1));
    for wrong in [vec!["broadcast", "x", "--ttl", "2d"], vec!["broadcast", "x", "--ttl", "0s"]] {
        assert_eq!(me.try_json(&wrong).code(), "usage", "{wrong:?}");
    }
    let long = "x".repeat(5000);
    assert_eq!(me.try_json(&["broadcast", &long]).code(), "body-too-large");
}
