//! Settings of a node: where they come from, and what happens to bad ones.

use penpal_tests::{Person, folder, wait};

#[test]
fn an_unknown_key_is_named_with_its_line_and_nothing_starts() {
    let folder = folder();
    let me = Person::new(&folder, "me");
    me.ok(&["daemon", "start"]);
    me.ok(&["daemon", "stop"]);
    let file = me.home().join("config.toml");
    std::fs::write(&file, "history-days = 30\n\nhistroy-bytes = 5\n").expect("settings");
    let said = me.try_json(&["status"]);
    assert_eq!((said.status, said.code().as_str()), (3, "bad-config"), "{said:?}");
    assert!(said.err.contains("config.toml, line 3") && said.err.contains("`histroy-bytes`"), "{said:?}");
    assert!(said.err.contains("hint: "), "{said:?}");
    let doctor = me.try_json(&["doctor"]);
    assert_eq!(doctor.status, 1);
    let check = doctor.json()["checks"]
        .as_array()
        .and_then(|checks| checks.iter().find(|check| check["name"] == "settings").cloned());
    let check = check.expect("a check of the settings");
    assert_eq!(check["state"], "failed", "{check}");
    assert!(check["repair"].as_str().is_some_and(|repair| repair.contains("line 3")), "{check}");
    std::fs::write(&file, "history-days = 30\n").expect("settings");
    me.ok(&["status"]);
    assert_eq!(me.run(&["doctor"]).status, 0);
}

#[test]
fn the_environment_wins_over_the_file() {
    let folder = folder();
    let me = Person::new(&folder, "me");
    std::fs::create_dir_all(me.home()).expect("a home");
    std::fs::write(me.home().join("config.toml"), "message-days = 3\n").expect("settings");
    let life_days = || {
        me.ok(&["session", "open", "api"]);
        let sent = me.json(&["send", "api", "how long?"]);
        let all = me.json(&["outbox", "--all"]);
        let mine = all["messages"]
            .as_array()
            .and_then(|rows| rows.iter().find(|row| row["id"] == sent["id"]).cloned());
        let mine = mine.expect("an own message, finished or not");
        let life = mine["expires_ms"].as_u64().zip(mine["sent_ms"].as_u64()).map(|(end, start)| end - start);
        life.expect("both times") / (24 * 3600 * 1000)
    };
    assert_eq!(life_days(), 3);
    me.ok(&["daemon", "stop"]);
    wait::until("the node to end", || me.node_pid().is_none());
    let started = me.command(&["daemon", "start"]).env("PENPAL_MESSAGE_DAYS", "5").status().expect("it runs");
    assert!(started.success());
    assert_eq!(life_days(), 5);
    me.ok(&["daemon", "stop"]);
    let refused = me.command(&["daemon", "run", "--message-days", "31"]).output().expect("it runs");
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--message-days is 31"), "{refused:?}");
}
