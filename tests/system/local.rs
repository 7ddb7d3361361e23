//! Sessions on one machine: no account, no relay, no set-up.

use penpal_tests::{Person, folder, wait};

#[test]
fn sessions_on_one_machine_write_to_each_other() {
    let folder = folder();
    let me = Person::new(&folder, "me");
    me.ok(&["session", "open", "api"]);
    me.ok(&["session", "open", "web"]);
    let sent = me.json(&["send", "web", "port 4433 is free now", "--as", "api", "--subject", "ports"]);
    assert_eq!(sent["stage"], "delivered");
    let message = me.json(&["inbox", "web"])["messages"][0].clone();
    assert_eq!((message["from"].as_str(), message["to"].as_str()), (Some("api"), Some("web")));
    assert_eq!((message["subject"].as_str(), message["trust"].as_str()), (Some("ports"), Some("local")));
    let short = message["short"].as_str().expect("a short id").to_owned();
    assert!(short.len() >= 4);
    me.ok(&["read", &short]);
    assert_eq!(me.json(&["inbox", "web"])["messages"].as_array().map(Vec::len), Some(0));
    me.ok(&["reply", &short, "thanks"]);
    assert_eq!(me.json(&["inbox", "api"])["messages"][0]["body"], "thanks");
    let stages = me.json(&["trace", sent["id"].as_str().expect("an id")]);
    let last = stages["events"].as_array().and_then(|events| events.last().cloned()).expect("an event");
    assert_eq!((last["stage"].as_str(), last["signed"].as_bool()), (Some("answered"), Some(false)));
    // A person writes from the desk, and is answered there.
    me.ok(&["send", "api", "how far are you?"]);
    let ask = me.json(&["inbox", "api"]);
    let ids: Vec<&str> =
        ask["messages"].as_array().expect("mail").iter().filter_map(|one| one["short"].as_str()).collect();
    me.ok(&["reply", ids.last().expect("a message"), "half"]);
    assert_eq!(me.bodies("desk"), ["half"]);
}

#[test]
fn addresses_are_never_guessed() {
    let folder = folder();
    let me = Person::new(&folder, "me");
    me.ok(&["session", "open", "api"]);
    let said = me.try_json(&["send", "apii", "x"]);
    assert_eq!((said.status, said.code().as_str()), (1, "unknown-address"), "{said:?}");
    assert_eq!(said.json()["error"]["candidates"][0], "api");
    let said = me.try_json(&["send", "bob/web", "x"]);
    assert!(matches!(said.code().as_str(), "no-account" | "unknown-contact"), "{said:?}");
    let said = me.try_json(&["contact", "invite"]);
    assert_eq!((said.status, said.code().as_str()), (4, "no-account"));
    let said = me.try_json(&["session", "open", "desk"]);
    assert_eq!(said.code(), "bad-name");
}

#[test]
fn mail_survives_the_node_and_arrives_once() {
    let folder = folder();
    let me = Person::new(&folder, "me");
    me.ok(&["session", "open", "api"]);
    me.ok(&["session", "open", "web"]);
    for number in 0..10 {
        me.ok(&["send", "web", &format!("message {number}"), "--as", "api"]);
        if number % 3 == 0 {
            let before = me.node_pid();
            me.kill_node();
            wait::until("the node to be gone", || me.node_pid() != before);
        }
    }
    let expected: Vec<String> = (0..10).map(|number| format!("message {number}")).collect();
    assert_eq!(me.bodies("web"), expected);
}

#[test]
fn following_an_inbox_prints_what_comes() {
    use std::io::{BufRead, BufReader};
    let folder = folder();
    let me = Person::new(&folder, "me");
    me.ok(&["session", "open", "api"]);
    let mut following = me
        .command(&["inbox", "api", "--follow", "--json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it follows");
    let mut lines = BufReader::new(following.stdout.take().expect("its output"));
    for text in ["one", "two"] {
        me.ok(&["send", "api", text]);
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        let shape: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(shape["message"]["body"], text);
    }
    following.kill().expect("it can be ended");
    following.wait().expect("it ends");
}

#[test]
fn a_node_stopped_by_hand_stays_down_for_hooks_and_comes_back_for_people() {
    let folder = folder();
    let me = Person::new(&folder, "me");
    me.ok(&["daemon", "start"]);
    let first = me.node_pid().expect("a node");
    me.ok(&["daemon", "stop"]);
    wait::until("the node to end", || me.node_pid().is_none());
    assert!(me.home().join("stopped").exists());
    assert_eq!(me.run(&["doctor"]).status, 0);
    assert!(me.node_pid().is_none(), "doctor starts no node");
    me.ok(&["status"]);
    assert!(!me.home().join("stopped").exists());
    assert_ne!(me.node_pid().expect("a node"), first);
}

#[test]
fn many_commands_at_once_start_one_node() {
    let folder = folder();
    let me = Person::new(&folder, "me");
    let started: Vec<_> = (0..8)
        .map(|_| {
            me.command(&["status", "--json"]).stdout(std::process::Stdio::piped()).spawn().expect("it runs")
        })
        .collect();
    let pids: std::collections::BTreeSet<u64> = started
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().expect("it ends");
            assert!(output.status.success());
            let shape: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
            shape["node"]["pid"].as_u64().expect("a pid")
        })
        .collect();
    assert_eq!(pids.len(), 1);
}
