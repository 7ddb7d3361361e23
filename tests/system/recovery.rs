//! An account on a new machine, by its recovery code.

use penpal_tests::{Pair, Person, wait};

use crate::{devices::link, restarts::copy_folder};

/// The recovery code as a person writes it down, once the relay keeps what it brings back.
fn code(person: &Person) -> String {
    let kept = || person.json(&["status"])["account"]["recovery"]["kept"] == true;
    wait::until("the state at the relay", kept);
    let code = person.json(&["account", "recovery-code"]);
    let lines = code["lines"].as_array().expect("lines");
    lines.iter().map(|line| line.as_str().expect("a line")).collect::<Vec<_>>().join("\n")
}

fn new_machine(pair: &Pair) -> Person {
    Person::at(&pair.folder().join("new-machine"), "alice")
}

#[test]
fn a_lost_machine_is_replaced_and_its_copy_is_nobody() {
    let (pair, lost) = {
        let pair = Pair::connected();
        pair.bob.ok(&["send", "alice", "before", "--as", "web"]);
        wait::until("mail", || pair.alice.bodies("desk") == ["before"]);
        let lost = pair.folder().join("lost");
        (pair, lost)
    };
    assert_eq!(pair.alice.json(&["status"])["account"]["recovery"]["shown"], false);
    let reminder = "losing this machine loses the account until you write its code down";
    assert!(pair.alice.ok(&["status"]).out.contains(reminder));
    let code = code(&pair.alice);
    assert!(!pair.alice.ok(&["status"]).out.contains(reminder), "a person has seen it");
    // The machine is lost; whoever finds it has everything on it.
    pair.alice.ok(&["daemon", "stop"]);
    copy_folder(pair.alice.home(), &lost);
    std::fs::remove_dir_all(pair.alice.home()).expect("the home goes");
    let new = new_machine(&pair);
    let asked = new.run_with(&["recover", "--json"], code.as_bytes());
    assert_eq!(asked.json()["error"]["code"], "needs-answer", "{}", asked.out);
    assert_eq!(asked.json()["error"]["candidates"][0], "laptop");
    let done = new.run_with(&["recover", "--revoke", "all", "--name", "attic"], code.as_bytes());
    assert!(done.out.contains("this machine is \"attic\"") && done.out.contains("contacts: 1"), "{done:?}");
    assert_eq!(new.devices(), ["attic"]);
    assert_eq!(new.contact_state("bob").as_deref(), Some("active"));
    wait::until("bob is told", || {
        pair.bob.ok(&["status"]).out.contains("alice's account was recovered on another machine, attic")
    });
    pair.bob.ok(&["send", "alice", "after", "--as", "web"]);
    wait::until("mail to the new machine", || new.bodies("desk") == ["after"]);
    new.ok(&["session", "open", "api"]);
    new.ok(&["send", "bob/web", "it is me again", "--as", "api"]);
    wait::until("mail to bob", || pair.bob.bodies("web") == ["it is me again"]);
    // The copy gets nothing and is nobody.
    let thief = Person::at(&lost, "alice");
    wait::until("the word of the relay", || {
        thief.ok(&["status"]).out.contains("the relay does not know this device: it was revoked")
    });
    thief.run(&["send", "bob", "it is me", "--anyway", "--wait", "0s"]);
    pair.bob.ok(&["send", "alice", "later", "--as", "web"]);
    wait::until("mail to the new machine alone", || new.bodies("desk") == ["after", "later"]);
    assert_eq!(thief.bodies("desk"), ["before"]);
    assert_eq!(pair.bob.bodies("web"), ["it is me again"]);
    assert_eq!(
        new.json(&["account", "recovery-code"])["lines"].as_array().map(Vec::len),
        Some(code.lines().count())
    );
}

#[test]
fn a_device_that_is_kept_gets_and_sends_mail_as_before() {
    let pair = Pair::connected();
    let tower = Person::at(&pair.folder().join("tower"), "alice");
    link(&pair.alice, &tower, "tower");
    wait::until("the contact there", || tower.contact_state("bob").as_deref() == Some("active"));
    let code = code(&pair.alice);
    pair.alice.ok(&["daemon", "stop"]);
    std::fs::remove_dir_all(pair.alice.home()).expect("the home goes");
    let new = new_machine(&pair);
    // The device that stays is connected all the time.
    new.run_with(&["recover", "--keep", "tower", "--name", "attic"], code.as_bytes());
    for person in [&new, &tower] {
        wait::until("the list of devices", || person.devices() == ["attic", "tower"]);
    }
    let said = tower.ok(&["device", "list"]).out;
    assert!(said.lines().any(|line| line.contains("attic") && line.contains("primary")), "{said}");
    pair.bob.ok(&["send", "alice", "to both", "--as", "web"]);
    for person in [&new, &tower] {
        wait::until("mail on each", || person.bodies("desk") == ["to both"]);
    }
    tower.ok(&["session", "open", "builds"]);
    tower.ok(&["send", "bob/web", "from the tower", "--as", "builds"]);
    new.ok(&["session", "open", "api"]);
    new.ok(&["send", "bob/web", "from the attic", "--as", "api"]);
    wait::until("mail from each", || {
        let mut bodies = pair.bob.bodies("web");
        bodies.sort_unstable();
        bodies == ["from the attic", "from the tower"]
    });
}

#[test]
fn what_can_go_wrong_is_said_and_can_be_tried_again() {
    let mut pair = Pair::connected();
    let code = code(&pair.alice);
    let new = new_machine(&pair);
    let recover = |code: &str| new.run_with(&["recover", "--revoke", "all", "--json"], code.as_bytes());
    let error = |code: &str| {
        let said = recover(code);
        assert_ne!(said.status, 0, "{}", said.out);
        let error = said.json()["error"].clone();
        (
            error["code"].as_str().expect("a code").to_owned(),
            error["message"].as_str().expect("words").to_owned(),
        )
    };
    assert_eq!(error("").0, "bad-recovery-code");
    let mistyped = {
        let mut lines: Vec<String> = code.lines().map(str::to_owned).collect();
        let other = if lines[1].starts_with('Z') { "Y" } else { "Z" };
        lines[1].replace_range(0..1, other);
        lines.join("\n")
    };
    assert_eq!(error(&mistyped).1, "line 2 of the recovery code has a mistake");
    let refused = pair.alice.run_with(&["recover", "--revoke", "all", "--json"], code.as_bytes());
    assert_eq!(refused.json()["error"]["code"], "already-registered");
    let refused = pair.bob.run_with(&["recover", "--revoke", "all", "--json"], code.as_bytes());
    assert_eq!(refused.json()["error"]["code"], "already-registered");
    pair.alice.ok(&["daemon", "stop"]);
    pair.relay.kill();
    assert_eq!(error(&code).0, "relay-away");
    assert!(new.json(&["status"])["account"].is_null());
    pair.relay.restart();
    // It dies wherever it is, until it is done.
    let mut done = None;
    for pause_ms in [0, 5, 10, 20, 40, 80, 160, 320, 5_000, 5_000] {
        let mut command = new.command(&["recover", "--revoke", "all", "--name", "attic", "--json"]);
        let mut child = command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("it starts");
        let input = child.stdin.take().expect("its input");
        let written = std::io::Write::write_all(&mut &input, code.as_bytes());
        drop((written, input));
        let ended = wait::holds_within(std::time::Duration::from_millis(pause_ms), || {
            child.try_wait().is_ok_and(|status| status.is_some())
        });
        new.kill_node();
        let said = child.wait_with_output().expect("it ends");
        if ended && said.status.success() || new.json(&["status"])["account"]["handle"] == "alice" {
            done = Some(pause_ms);
            break;
        }
    }
    assert!(done.is_some(), "never recovered");
    wait::until("the account", || new.devices() == ["attic"]);
    wait::until("bob is told", || pair.bob.ok(&["status"]).out.contains("recovered on another machine"));
    pair.bob.ok(&["send", "alice", "after all", "--as", "web"]);
    wait::until("mail", || new.bodies("desk") == ["after all"]);
}
