//! What logs say at their default level: enough to find what was refused, and nobody's id, address, name or words.

use std::collections::BTreeSet;

use penpal_tests::{Person, Relay, connect, wait};

const ALICE: &str = "quillfeather";
const BOB: &str = "thistledown";
const CAROL: &str = "marrowbone";
const BODY: &str = "canary-body-4c1d";
const SUBJECT: &str = "canary-subject-77e0";
const SESSION: &str = "canary-session-19aa";
const SUMMARY: &str = "canary-summary-d3b2";
const RENAMED: &str = "canary-contact-c0fe";
const NOTE: &str = "canary-note-8d11";

/// Keys of JSON answers whose texts name somebody or something.
const NAMING: [&str; 16] = [
    "id",
    "fingerprint",
    "address",
    "handle",
    "name",
    "device",
    "folder",
    "session",
    "body",
    "subject",
    "safety_number",
    "code",
    "relay",
    "contact",
    "home",
    "summary",
];

fn collect(json: &serde_json::Value, into: &mut BTreeSet<String>) {
    match json {
        serde_json::Value::Array(list) => list.iter().for_each(|one| collect(one, into)),
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                match value.as_str() {
                    Some(text) if NAMING.contains(&key.as_str()) && text.len() >= 5 => {
                        into.insert(text.to_owned());
                    }
                    _ => collect(value, into),
                }
            }
        }
        serde_json::Value::String(_)
        | serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_) => {}
    }
}

/// A word that looks like an id: long, and with digits among its letters.
fn looks_like_an_id(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    word.len() >= 12 && digits >= 3 && digits < word.len()
}

fn log_of(person: &Person) -> String {
    std::fs::read_to_string(person.home().join("node.log")).expect("the node's log")
}

#[test]
fn logs_hold_no_ids_addresses_names_or_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut relay = Relay::start(&folder.path().join("relay"));
    let [alice, bob, carol] = [ALICE, BOB, CAROL].map(|name| Person::new(&folder, name));
    let mut secrets: BTreeSet<String> = [SESSION, SUMMARY, BODY, SUBJECT, RENAMED, NOTE, ALICE, BOB, CAROL]
        .into_iter()
        .map(str::to_owned)
        .collect();
    let token = relay.operator(&["token", "new", "--note", NOTE])["token"].as_str().expect("one").to_owned();
    secrets.insert(token.clone());

    // Accounts, refusals, contacts.
    alice.ok(&[
        "register",
        relay.address(),
        "--token",
        &token,
        "--handle",
        ALICE,
        "--device",
        "canary-laptop",
    ]);
    let refused =
        carol.try_json(&["register", relay.address(), "--token", "K4XD-9QTM-0000-0000", "--handle", CAROL]);
    assert_eq!(refused.code(), "needs-token", "{refused:?}");
    let code = alice.json(&["contact", "invite"])["code"].as_str().expect("a code").to_owned();
    let taken = carol.try_json(&["contact", "add", &code, "--handle", ALICE]);
    assert_eq!(taken.code(), "handle-taken", "{taken:?}");
    secrets.insert(code);
    connect(&alice, &bob);

    // Mail of all kinds, with names changed meanwhile.
    alice.ok(&["session", "open", SESSION]);
    alice.ok(&["session", "summary", SESSION, SUMMARY]);
    bob.ok(&["session", "open", "canary-web-51f0"]);
    bob.ok(&["contact", "rename", ALICE, RENAMED]);
    let to = format!("{RENAMED}/{SESSION}");
    bob.ok(&[
        "send",
        &to,
        BODY,
        "--subject",
        SUBJECT,
        "--as",
        "canary-web-51f0",
        "--anyway",
        "--ask",
        "--wait",
        "0s",
    ]);
    wait::until("the message", || alice.bodies(SESSION) == [BODY]);
    let mail = alice.json(&["inbox", SESSION, "--all"]);
    let id = mail["messages"][0]["id"].as_str().expect("an id").to_owned();
    alice.ok(&["reply", &id, BODY]);
    wait::until("the answer", || bob.bodies("canary-web-51f0") == [BODY]);
    assert_eq!(bob.try_json(&["send", "nobody-9e1c", BODY]).code(), "unknown-address");

    // The relay dies, is away, comes back; an account is suspended and resumed; a node restarts.
    relay.kill();
    bob.ok(&["send", &to, BODY, "--anyway", "--wait", "0s"]);
    bob.ok(&["daemon", "stop"]);
    bob.ok(&["status"]);
    wait::until("the relay to be missed", || bob.json(&["status"])["relay"]["state"] == "offline");
    relay.restart();
    bob.ok(&["daemon", "stop"]);
    wait::until("what waited", || {
        bob.run(&["status"]);
        alice.bodies(SESSION).len() == 2
    });
    relay.operator(&["account", "suspend", BOB]);
    wait::until("bob is told", || bob.run(&["status"]).out.contains("suspended this account"));
    relay.operator(&["account", "resume", BOB]);

    for person in [&alice, &bob] {
        for command in [
            &["status"][..],
            &["account", "show"],
            &["contact", "list"],
            &["contact", "sessions"],
            &["sessions", "--all"],
            &["inbox", "--all"],
            &["outbox", "--all"],
        ] {
            collect(&person.try_json(command).json(), &mut secrets);
        }
    }
    collect(&relay.operator(&["account", "show", ALICE]), &mut secrets);
    alice.ok(&["contact", "remove", BOB]);
    relay.operator(&["account", "delete", BOB, "--yes"]);
    let pin = relay.address().rsplit('/').next().expect("a pin").to_owned();
    let place = folder.path().display().to_string();
    secrets.extend([pin, place, relay.listening().to_owned(), "127.0.0.1".to_owned()]);
    assert!(secrets.len() > 25, "too little is looked for: {secrets:?}");

    relay.stop();
    let of_relay = std::fs::read_to_string(relay.log()).expect("the relay's log");
    let logs = [
        ("relay", of_relay.clone()),
        ("alice", log_of(&alice)),
        ("bob", log_of(&bob)),
        ("carol", log_of(&carol)),
    ];
    for (whose, log) in &logs {
        for line in log.lines() {
            let found: Vec<&String> =
                secrets.iter().filter(|secret| line.contains(secret.as_str())).collect();
            assert!(found.is_empty(), "{whose}: {found:?} in {line:?}");
            let words = line.split(|one: char| !one.is_ascii_alphanumeric());
            let ids: Vec<&str> = words.filter(|word| looks_like_an_id(word)).collect();
            assert!(ids.is_empty(), "{whose}: {ids:?} in {line:?}");
        }
    }
    // They do say what happened.
    assert!(of_relay.contains("refused") && logs[1].1.contains("registered"), "{logs:?}");
    assert!(logs[2].1.contains("no connection to the relay"), "{:?}", logs[2]);

    // What was refused has one name, in the answer, in the node's log and in the relay's.
    for said in [&refused, &taken] {
        let name = said.json()["error"]["request"].as_str().expect("a name to quote").to_owned();
        assert!(said.err.contains(&format!("request: {name}")), "{said:?}");
        let has = |log: &str| log.lines().any(|line| line.contains("refused") && line.contains(&name));
        assert!(has(&of_relay) && has(&logs[3].1), "{name} in {of_relay} and {}", logs[3].1);
    }
}
