//! Slips of people, and of what they rely on: said at once, with what to do.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use penpal_tests::{Pair, Person, Said, folder, wait};
use rustix::process::{Pid, Signal, kill_process};

/// Ctrl-C.
fn interrupt(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, Signal::INT).expect("a signal");
}

fn ended(child: Child) -> Said {
    child.wait_with_output().expect("an end").into()
}

#[test]
fn a_relay_that_died_is_away_long_before_the_connection_is_too_old() {
    let mut pair = Pair::connected();
    assert_eq!(pair.alice.json(&["status"])["relay"]["state"], "connected");
    pair.relay.kill();
    let asked = pair.alice.try_json(&["contact", "invite"]);
    assert_eq!(asked.code(), "relay-away", "{asked:?}");
    assert!(asked.err.starts_with("  asking the relay …\nerror: "), "{asked:?}");
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
    for words in [["send", "me", "hi"], ["send", "bob/x/y/z", "hi"], ["send", "bob/Ä", "hi"]] {
        let said = person.run(&words);
        assert!(said.err.contains("hint: write SESSION, CONTACT, CONTACT/SESSION"), "{words:?}: {said:?}");
    }
    let said = person.try_json(&["device", "link", "garbage"]);
    assert_eq!(said.code(), "bad-code");
    assert!(!said.out.contains("pp1-"), "{said:?}");
    person.ok(&["status"]);
    let log = person.ok(&["daemon", "logs", "--json"]).out;
    for line in log.lines() {
        assert!(
            serde_json::from_str::<serde_json::Value>(line).is_ok_and(|line| line["line"].is_string()),
            "{line}"
        );
    }
    let manual = folder.path().join("manual");
    person.ok(&["man", "--folder", manual.to_str().expect("a path")]);
    assert!(manual.join("penpal.1").exists());
    // A home that is a file is no sandbox.
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("a file");
    assert_eq!(Person::at(&file, "alice").try_json(&["sessions"]).code(), "home-unusable");
}

#[test]
fn who_is_gone_gets_nothing_and_a_new_invite_mends_it_at_once() {
    let pair = Pair::connected();
    pair.alice.ok(&["send", "bob/web", "before", "--as", "api"]);
    wait::until("the message", || pair.bob.bodies("web") == ["before"]);
    let id = pair.bob.json(&["inbox", "web"])["messages"][0]["short"].as_str().expect("an id").to_owned();
    pair.alice.ok(&["contact", "remove", "bob"]);
    pair.bob.run(&["send", "alice/api", "are you there?", "--as", "web"]);
    wait::until("the contact to be gone", || pair.bob.contact_state("alice").as_deref() == Some("gone"));
    for words in [
        &["send", "alice", "hello?"][..],
        &["send", "alice/api", "hello?", "--as", "web"],
        &["reply", &id, "x"],
    ] {
        let said = pair.bob.try_json(words);
        assert_eq!((said.status, said.code().as_str()), (1, "contact-gone"), "{words:?}: {said:?}");
        assert!(said.err.contains("exchange a new invite"), "{said:?}");
        let anyway = match words[0] {
            "reply" => format!("penpal reply {id} TEXT --anyway"),
            _ => "penpal send alice TEXT --anyway".to_owned(),
        };
        assert!(said.err.contains(&anyway), "{said:?}");
    }
    let answer = pair.bob.json(&["reply", &id, "here it is", "--anyway"]);
    assert_eq!((&answer["stage"], &answer["reason"]), (&"queued".into(), &"gone".into()), "{answer}");
    // It stays so over a restart, and what waits for them all the same says why.
    pair.bob.kill_node();
    let waits = pair.bob.json(&["send", "alice", "when you are back", "--anyway"]);
    assert_eq!((&waits["stage"], &waits["reason"]), (&"queued".into(), &"gone".into()), "{waits}");
    let listed = pair.bob.json(&["outbox"])["messages"].as_array().map(Vec::len);
    assert_eq!(pair.bob.json(&["status"])["queued"].as_u64(), listed.map(|count| count as u64));
    let trace = pair.bob.run(&["send", "alice", "and this", "--anyway"]);
    assert!(trace.out.contains("gone (you were removed there, or the account ended)"), "{trace:?}");
    // One of them is not to go after all.
    let never = pair.bob.json(&["send", "alice", "never mind", "--anyway"]);
    let never = never["short"].as_str().expect("an id");
    pair.bob.ok(&["dismiss", never]);
    assert!(!pair.bob.ok(&["outbox"]).out.contains(never));
    let trace = pair.bob.ok(&["trace", never]).out;
    assert!(trace.contains("refused") && trace.contains("given up here"), "{trace}");
    // Nothing of the refusals before is waited for.
    penpal_tests::connect(&pair.bob, &pair.alice);
    wait::until("what waited", || pair.alice.bodies("desk") == ["when you are back", "and this"]);
    wait::until("the answer", || pair.alice.bodies("api") == ["are you there?", "here it is"]);
}

#[test]
fn a_file_over_the_limit_is_refused_in_words_that_people_know() {
    let pair = Pair::connected_with(&["--artifact-bytes", "1048576"]);
    let big = pair.folder().join("big.bin");
    std::fs::write(&big, vec![7; 3 << 20]).expect("a file");
    let said = pair.alice.run(&["send", "bob/web", "x", "--file", big.to_str().expect("a path")]);
    assert_eq!(said.status, 1, "{said:?}");
    let why = "big.bin (3.0 MiB): the relay does not take it: files of up to 1 MiB are taken here";
    assert!(said.out.contains(why), "{said:?}");
    assert!(said.err.contains("error: the message was refused\nhint: smaller files"), "{said:?}");
    let row = pair.alice.ok(&["outbox"]).out;
    assert!(row.lines().all(|line| line.chars().count() <= 100), "{row}");
    let id = pair.alice.json(&["outbox"])["messages"][0]["short"].as_str().expect("an id").to_owned();
    let again = pair.alice.try_json(&["retry", &id]);
    assert_eq!((again.status, again.json()["stage"].clone()), (1, "refused".into()), "{again:?}");
    assert_eq!(again.code(), "refused", "{again:?}");
    assert!(again.err.contains("hint: "), "{again:?}");
}

#[test]
fn whoever_stops_waiting_for_a_message_is_told_that_it_goes_on() {
    let pair = Pair::connected();
    pair.bob.ok(&["daemon", "stop"]);
    for (words, wants_json) in [
        (&["send", "bob/web", "one", "--ask", "--wait", "60s", "--as", "api"][..], false),
        (&["--json", "send", "bob/web", "two", "--wait", "60s", "--as", "api"], true),
    ] {
        let sending = pair.alice.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let sending = sending.expect("penpal");
        let mut id = String::new();
        wait::until("the message", || {
            let outbox = pair.alice.json(&["outbox"]);
            let last = outbox["messages"].as_array().and_then(|all| all.last());
            let last = last.filter(|message| message["body"] == words[if wants_json { 3 } else { 2 }]);
            id = last.and_then(|message| message["short"].as_str()).unwrap_or_default().to_owned();
            !id.is_empty()
        });
        interrupt(&sending);
        let said = ended(sending);
        assert_eq!(said.status, 130, "{said:?}");
        if wants_json {
            assert_eq!(
                (said.json()["short"].as_str(), said.code()),
                (Some(id.as_str()), "interrupted".to_owned())
            );
        } else {
            assert!(said.out.starts_with(&format!("  {id}  ")), "{said:?}");
        }
        let told =
            "error: interrupted; the message was accepted and goes on\nhint: do not send again; penpal trace";
        assert_eq!(said.err, format!("{told} {id}\n"), "{said:?}");
    }
    pair.bob.ok(&["status"]);
    wait::until("both", || pair.bob.bodies("web") == ["one", "two"]);
}

#[test]
fn an_interrupted_copy_leaves_nothing_behind() {
    let folder = folder();
    let me = Person::new(&folder, "me");
    let file = folder.path().join("x.bin");
    std::fs::write(&file, b"content").expect("a file");
    let hash = me.json(&["artifact", "put", file.to_str().expect("a path")])["hash"]
        .as_str()
        .expect("a hash")
        .to_owned();
    // A content that comes as slowly as this test wants.
    let content = me.home().join("artifacts/content").join(&hash);
    std::fs::remove_file(&content).expect("the content goes");
    assert!(Command::new("mkfifo").arg(&content).status().expect("mkfifo").success());
    let out = folder.path().join("out");
    std::fs::create_dir(&out).expect("a folder");
    let mut command =
        me.command(&["artifact", "get", &hash[..10], "--output", out.to_str().expect("a path")]);
    let copying = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("penpal");
    let mut content = std::fs::OpenOptions::new().write(true).open(&content).expect("whoever reads it");
    let count = || std::fs::read_dir(&out).expect("a folder").count();
    wait::until("the file on its way", || count() == 1);
    interrupt(&copying);
    // It looks between two blocks. Nobody may read the last one.
    wait::until("its end", || content.write_all(&[7; 1 << 16]).is_err());
    let said = ended(copying);
    assert_eq!(said.status, 130, "{said:?}");
    assert!(said.err.contains("error: interrupted; nothing was written\nhint: "), "{said:?}");
    assert_eq!(count(), 0);
}

#[test]
fn an_interrupted_export_leaves_nothing_behind_and_the_node_goes_on() {
    let folder = folder();
    let relay = penpal_tests::Relay::start(&folder.path().join("relay"));
    let me = Person::new(&folder, "me");
    me.ok(&["register", relay.address(), "--token", &relay.token(), "--handle", "alice"]);
    let (file, secret) = (folder.path().join("me.penpal"), folder.path().join("secret"));
    std::fs::write(&secret, "four random words here").expect("a file");
    let nowhere = folder.path().join("nowhere").join("me.penpal");
    let words = ["account", "export", nowhere.to_str().expect("a path"), "--passphrase-file"];
    let said = me.try_json(&[&words[..], &[secret.to_str().expect("a path")]].concat());
    assert_eq!(said.code(), "bad-file", "{said:?}");
    let words = [
        "account",
        "export",
        file.to_str().expect("a path"),
        "--passphrase-file",
        secret.to_str().expect("a path"),
    ];
    let exporting = me.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("penpal");
    let partial = folder.path().join("me.penpal.partial");
    // The passphrase is stretched after the file was made: that takes its time.
    wait::until("the beginning", || partial.exists());
    interrupt(&exporting);
    let said = ended(exporting);
    assert_eq!(said.status, 130, "{said:?}");
    assert!(said.err.contains("error: interrupted; nothing was written\nhint: "), "{said:?}");
    assert!(!partial.exists() && !file.exists());
    assert_eq!(me.json(&["daemon", "status"])["running"], true);
}

#[test]
fn whoever_follows_ends_with_whoever_reads() {
    let folder = folder();
    let me = Person::new(&folder, "me");
    me.ok(&["session", "open", "web"]);
    let mut following =
        me.command(&["inbox", "web", "--follow"]).stdout(Stdio::piped()).spawn().expect("penpal");
    drop(following.stdout.take());
    let ended = following.wait().expect("an end, and not with the next message");
    assert!(ended.success(), "{ended:?}");
}

#[test]
fn a_file_that_cannot_be_fetched_now_says_what_it_waits_for() {
    let mut pair = Pair::connected();
    let file = pair.folder().join("x.bin");
    std::fs::write(&file, vec![7; 300_000]).expect("a file");
    pair.alice.ok(&["send", "bob/web", "x", "--file", file.to_str().expect("a path")]);
    let row = |person: &Person| person.json(&["artifact", "list"])["artifacts"][0].clone();
    wait::until("the message", || row(&pair.bob)["hash"].is_string());
    let hash = row(&pair.bob)["hash"].as_str().expect("a hash").to_owned();
    pair.relay.kill();
    pair.bob.kill_node();
    let out = pair.folder().join("y.bin");
    let words = ["artifact", "get", &hash[..10], "--output", out.to_str().expect("a path"), "--wait", "4s"];
    let said = pair.bob.run(&words);
    assert_eq!(said.status, 5, "{said:?}");
    assert!(said.err.contains("  waiting: ") && said.err.contains("; it goes on by itself"), "{said:?}");
    pair.relay.restart();
    pair.bob.ok(&["artifact", "get", &hash[..10], "--output", out.to_str().expect("a path")]);
    assert_eq!(std::fs::read(&out).expect("the file").len(), 300_000);
}

#[test]
fn a_message_whose_id_could_not_be_printed_is_named_on_standard_error() {
    let folder = folder();
    let me = Person::new(&folder, "me");
    me.ok(&["session", "open", "web"]);
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a full disk");
    let unprinted =
        |words: &[&str]| -> Said { me.command(words).stdout(full()).output().expect("penpal runs").into() };
    for words in [&["send", "web", "hi"][..], &["--json", "send", "web", "hi"]] {
        let said = unprinted(words);
        assert_eq!(said.status, 1, "{said:?}");
        let sent = me.json(&["inbox", "web"])["messages"].as_array().and_then(|all| all.last().cloned());
        let id = sent.expect("the message")["short"].as_str().expect("an id").to_owned();
        let hint = format!("hint: it was accepted, so do not send again: penpal trace {id}\n");
        assert!(said.err.ends_with(&hint), "{said:?}");
    }
    for words in [&["inbox", "web"][..], &["--json", "inbox", "web"], &["inbox", "web", "--follow"]] {
        let said = unprinted(words);
        assert_eq!(said.status, 1, "{said:?}");
        assert!(said.err.starts_with("error: standard output cannot be written: "), "{said:?}");
    }
}

#[test]
fn files_say_that_nothing_moves_before_the_relay_is_known_to_be_away() {
    let mut pair = Pair::connected();
    let file = pair.folder().join("x.bin");
    std::fs::write(&file, vec![7; 300_000]).expect("a file");
    let file = file.to_str().expect("a path").to_owned();
    pair.alice.ok(&["send", "bob/web", "x", "--file", &file]);
    let row = || pair.bob.json(&["artifact", "list"])["artifacts"][0]["hash"].clone();
    wait::until("the message", || row().is_string());
    let hash = row().as_str().expect("a hash").to_owned();
    pair.relay.kill();
    let out = pair.folder().join("y.bin");
    let words = ["artifact", "get", &hash[..10], "--output", out.to_str().expect("a path"), "--wait", "3s"];
    let said = pair.bob.run(&words);
    assert_eq!(said.status, 5, "{said:?}");
    assert!(said.err.contains("  waiting: "), "{said:?}");
    std::fs::write(&file, vec![8; 300_000]).expect("a file");
    let said = pair.alice.run(&["send", "bob/web", "y", "--file", &file, "--wait", "3s"]);
    assert_eq!(said.status, 5, "{said:?}");
    assert!(said.err.contains("  its files wait: "), "{said:?}");
}
