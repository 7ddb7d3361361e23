//! Slips of people, and of what they rely on: said at once, with what to do.

use std::time::Duration;

use penpal_tests::{Pair, Person, folder, wait};

#[test]
fn a_relay_that_died_is_away_long_before_the_connection_is_too_old() {
    let mut pair = Pair::connected();
    assert_eq!(pair.alice.json(&["status"])["relay"]["state"], "connected");
    pair.relay.kill();
    let asked = pair.alice.try_json(&["contact", "invite"]);
    assert_eq!(asked.code(), "relay-away", "{asked:?}");
    let away = || pair.alice.json(&["status"])["relay"]["state"] != "connected";
    assert!(
        wait::holds_within(Duration::from_secs(30), away),
        "an idle connection ends after a minute or more"
    );
    pair.relay.restart();
    wait::until("the relay again", || pair.alice.json(&["status"])["relay"]["state"] == "connected");
    pair.alice.ok(&["contact", "invite"]);
}

#[test]
fn nobody_answers_an_own_message_or_sends_nothing() {
    let pair = Pair::connected();
    let sent = pair.alice.json(&["send", "bob/web", "is it final?", "--as", "api"]);
    let id = sent["short"].as_str().expect("an id");
    for words in [
        &["reply", id, "one more thing"][..],
        &["reply", id, "one more thing", "--as", "api"],
        &["send", "bob/web", ""],
        &["send", "bob/web", " \n\t "],
        &["broadcast", ""],
    ] {
        assert_eq!(pair.alice.try_json(words).code(), "usage", "{words:?}");
    }
    pair.alice.ok(&["send", "bob/web", "one more thing", "--reply-to", id, "--as", "api"]);
    wait::until("both", || pair.bob.bodies("web") == ["is it final?", "one more thing"]);
    assert_eq!(pair.alice.bodies("api"), [""; 0]);
}

#[test]
fn what_is_no_command_fails_like_everything_else() {
    let folder = folder();
    let person = Person::new(&folder, "alice");
    for words in
        [&["nosuch"][..], &["send"], &["send", "bob", "hi", "--wait", "xx"], &["inbox", "--limit", "0"]]
    {
        let said = person.try_json(words);
        assert_eq!((said.status, said.code().as_str()), (2, "usage"), "{words:?}: {said:?}");
        let said = person.run(words);
        assert_eq!(said.status, 2);
        assert!(said.err.starts_with("error: ") && said.err.contains("\nhint: "), "{words:?}: {said:?}");
    }
    let manual = folder.path().join("manual");
    person.ok(&["man", "--folder", manual.to_str().expect("a path")]);
    assert!(manual.join("penpal.1").exists());
    // A home that is a file is no sandbox.
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("a file");
    assert_eq!(Person::at(&file, "alice").try_json(&["sessions"]).code(), "home-unusable");
}
