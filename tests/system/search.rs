//! `penpal search` over real histories.

use penpal_tests::{Pair, Person, Relay, folder, wait};

use crate::restarts::copy_folder;

/// Texts of what is found, latest first.
fn found(person: &Person, args: &[&str]) -> Vec<String> {
    let answer = person.json(&[&["search"], args].concat());
    assert_eq!(answer["behind"], false, "{answer}");
    let hits = answer["hits"].as_array().cloned().unwrap_or_default();
    hits.iter().map(|hit| hit["excerpt"].as_str().expect("a text").to_owned()).collect()
}

#[test]
fn both_sides_find_what_they_wrote_and_got() {
    let pair = Pair::connected();
    pair.alice.ok(&[
        "send",
        "bob/web",
        "the deploy of payments failed",
        "--as",
        "api",
        "--subject",
        "Step 3",
    ]);
    pair.alice.ok(&["send", "bob/web", "never mind: it deploys now", "--as", "api"]);
    wait::until("both", || pair.bob.bodies("web").len() == 2);
    pair.bob.ok(&["send", "alice/api", "which deploy?", "--anyway"]);
    wait::until("the answer", || pair.alice.bodies("api").len() == 1);
    for person in [&pair.alice, &pair.bob] {
        assert_eq!(found(person, &["deploy"]), ["which deploy?", "the deploy of payments failed"]);
        assert_eq!(found(person, &["step", "PAYMENTS"]), ["the deploy of payments failed"]);
        assert_eq!(found(person, &["deploy*", "--limit", "1"]), ["which deploy?"]);
        assert_eq!(found(person, &["deploy", "--until", "1d"]), [""; 0]);
        assert_eq!(found(person, &["deploy -payments", "--since", "1h"]), ["which deploy?"]);
    }
    assert_eq!(found(&pair.alice, &["deploy", "--with", "bob"]).len(), 2);
    assert_eq!(found(&pair.alice, &["bob", "payments"]).len(), 1, "names of people count");
    assert_eq!(found(&pair.bob, &["deploy", "--session", "web"]), ["the deploy of payments failed"]);
    assert_eq!(found(&pair.bob, &["deploy", "--session", "desk"]), ["which deploy?"]);
    let shown = pair.bob.ok(&["search", "payments"]);
    assert!(shown.out.contains("alice/api") && shown.out.contains("Step 3: the deploy"), "{shown:?}");
    // What is found is no less unread.
    assert_eq!(pair.bob.json(&["inbox", "web"])["messages"][0]["state"], "unread");
    let nothing = pair.bob.ok(&["search", "nowhere"]);
    assert!(nothing.out.contains("nothing found"), "{nothing:?}");
}

#[test]
fn questions_that_cannot_be_asked_are_told() {
    let folder = folder();
    let me = Person::new(&folder, "me");
    me.ok(&["session", "open", "api"]);
    for words in [&["--", "-draft"][..], &["\"open"], &["***"], &[""], &["--since", "someday", "x"]] {
        let said = me.run(&[&["search"], words].concat());
        assert_eq!(said.status, 2, "{words:?} {said:?}");
    }
    assert_eq!(me.run(&["search", "x", "--with", "nobody"]).status, 1);
    assert_eq!(found(&me, &["x"]), [""; 0]);
}

#[test]
fn an_index_that_is_lost_damaged_or_of_another_history_is_made_again() {
    let folder = folder();
    let me = Person::new(&folder, "me");
    me.ok(&["session", "open", "api"]);
    for number in 0..20 {
        me.ok(&["send", "api", &format!("word number{number}")]);
    }
    assert_eq!(found(&me, &["word"]).len(), 20);
    let index = me.home().join("search.db");
    let stop = || {
        me.ok(&["daemon", "stop"]);
    };
    stop();
    let old = folder.path().join("old");
    copy_folder(&me.home().join("data"), &old);
    for name in ["search.db", "search.db-wal", "search.db-shm"] {
        drop(std::fs::remove_file(me.home().join(name)));
    }
    assert_eq!(found(&me, &["number7"]), ["word number7"], "lost");
    stop();
    std::fs::write(&index, vec![0x5a; 64 * 1024]).expect("noise");
    assert_eq!(found(&me, &["number7"]), ["word number7"], "damaged");
    stop();
    let mut bytes = std::fs::read(&index).expect("the index");
    bytes.iter_mut().skip(4096).for_each(|byte| *byte = 0x5a);
    std::fs::write(&index, bytes).expect("damage behind the first page");
    assert_eq!(found(&me, &["number7"]), ["word number7"], "damaged within");
    // An older history under a newer index: what it does not have is not found, what comes anew is.
    me.ok(&["send", "api", "a later word"]);
    assert_eq!(found(&me, &["later"]), ["a later word"]);
    stop();
    std::fs::remove_dir_all(me.home().join("data")).expect("removed");
    copy_folder(&old, &me.home().join("data"));
    assert_eq!(found(&me, &["later"]), [""; 0]);
    me.ok(&["send", "api", "another word"]);
    assert_eq!(found(&me, &["word", "--limit", "100"]).len(), 21);
}

#[test]
fn an_agent_that_nobody_can_place_finds_nothing() {
    let folder = folder();
    let me = Person::new(&folder, "me");
    me.ok(&["session", "open", "api"]);
    me.ok(&["send", "api", "a word for api"]);
    let mut inside = me.command(&["search", "word", "--json"]);
    inside.env("CLAUDECODE", "1").env("CLAUDE_CODE_ENTRYPOINT", "cli");
    let said = inside.output().expect("it runs");
    assert!(!String::from_utf8_lossy(&said.stdout).contains("for api"), "{said:?}");
}

#[test]
fn what_is_held_from_sight_is_not_found_until_it_is_released() {
    let folder = folder();
    let relay = Relay::start(&folder.path().join("relay"));
    let (alice, bob) = (Person::new(&folder, "alice"), Person::new(&folder, "bob"));
    alice.ok(&["register", relay.address(), "--token", &relay.token(), "--handle", "alice"]);
    let code = alice.json(&["contact", "invite", "--auto-accept"])["code"].clone();
    bob.ok(&["contact", "add", code.as_str().expect("a code"), "--handle", "bob", "--wait", "30s"]);
    bob.ok(&["send", "alice/", "a hidden word"]);
    wait::until("it to be held", || alice.json(&["status"])["held"] == 1);
    assert_eq!(found(&alice, &["hidden"]), [""; 0]);
    alice.ok(&["send", "bob/", "welcome"]);
    wait::until("the hold to end", || alice.json(&["status"])["held"] == 0);
    assert_eq!(found(&alice, &["hidden"]), ["a hidden word"]);
}

/// Places of messages in an index.
fn indexed(person: &Person) -> usize {
    penpal_search::Index::open(&person.home().join("search.db"))
        .and_then(|index| index.list(None, 1_000))
        .map_or(0, |rows| rows.len())
}

#[test]
fn what_history_gives_up_leaves_the_index_too() {
    let folder = folder();
    let me = Person::new(&folder, "me");
    std::fs::create_dir_all(me.home()).expect("a home");
    std::fs::write(me.home().join("config.toml"), "history-days = 1\n").expect("settings");
    let ahead = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let clock = penpal::engine::Clock::ahead_for_tests(std::sync::Arc::clone(&ahead));
    let home = penpal_local_api::home::Home::at(me.home().to_path_buf());
    let socket = home.socket();
    let node = std::thread::spawn(move || penpal::daemon::run_for_tests(&home, clock));
    wait::until("the node's socket", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    let pass = |hours: u64| {
        ahead.fetch_add(hours * 3_600_000, std::sync::atomic::Ordering::Relaxed);
        me.ok(&["status"]);
    };
    me.ok(&["session", "open", "api"]);
    me.ok(&["session", "open", "web"]);
    for n in 0..3 {
        let sent = me.json(&["send", "web", &format!("walrus {n}"), "--as", "api"]);
        me.ok(&["read", sent["id"].as_str().expect("an id")]);
    }
    assert_eq!(found(&me, &["walrus"]).len(), 3);
    assert_eq!(indexed(&me), 3);
    // A day later the one that is new stays, and what was read goes: from history, and then from the index.
    pass(40);
    me.ok(&["send", "web", "walrus of today", "--as", "api"]);
    wait::until("history to let go", || {
        pass(0);
        found(&me, &["walrus"]) == ["walrus of today"]
    });
    // The index follows within a day, when the node has been quiet for a moment.
    pass(30);
    wait::until("the index to follow", || indexed(&me) == 1);
    assert_eq!(found(&me, &["walrus"]), ["walrus of today"], "unread mail stays whatever the limits say");
    me.ok(&["daemon", "stop"]);
    node.join().expect("the node's thread").expect("it ends well");
}
