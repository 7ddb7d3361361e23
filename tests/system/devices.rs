//! Several devices of one account: linked, seen by contacts, and cut off.

use std::path::Path;

use penpal_tests::{Pair, Person, wait};

use crate::restarts::copy_folder;

/// Makes another machine a device of a person's account.
pub(crate) fn link(person: &Person, other: &Person, name: &str) {
    let code = person.json(&["device", "link"])["code"].as_str().expect("a code").to_owned();
    assert!(code.starts_with("pp2-"), "{code}");
    let account = other.json(&["device", "link", &code, "--name", name]);
    assert_eq!((&account["handle"], &account["device"]), (&"alice".into(), &name.into()), "{account}");
    assert_eq!(account["primary"], false, "{account}");
}

pub(crate) fn other_machine(pair: &Pair) -> Person {
    Person::at(&pair.folder().join("other-machine"), "alice")
}

fn addresses(person: &Person) -> Vec<String> {
    let list = person.json(&["contact", "sessions"]);
    let rows = list["sessions"].as_array().expect("rows");
    rows.iter().map(|row| row["address"].as_str().expect("an address").to_owned()).collect()
}

/// A pair whose first has two machines, each with a session: `laptop/api` and `tower/builds`.
pub(crate) fn with_two_devices() -> (Pair, Person) {
    let pair = Pair::connected();
    let other = other_machine(&pair);
    link(&pair.alice, &other, "tower");
    wait::until("the contact on the new device", || other.contact_state("bob").as_deref() == Some("active"));
    other.ok(&["session", "open", "builds"]);
    (pair, other)
}

#[test]
fn a_linked_machine_has_the_account_and_contacts_see_it() {
    let (pair, other) = with_two_devices();
    for person in [&pair.alice, &other] {
        assert_eq!(person.devices(), ["laptop", "tower"]);
    }
    wait::until("both under their device", || {
        addresses(&pair.bob) == ["alice/laptop/api", "alice/tower/builds"]
    });
    let said = pair.bob.ok(&["status"]);
    assert!(said.out.contains("alice has a new device: tower"), "{}", said.out);
    // What is for the person reaches both machines, what is for a session the one that has it.
    pair.bob.ok(&["send", "alice", "for both", "--as", "web"]);
    pair.bob.ok(&["send", "alice/builds", "for one", "--as", "web"]);
    wait::until("both desks", || {
        pair.alice.bodies("desk") == ["for both"] && other.bodies("desk") == ["for both"]
    });
    wait::until("the session", || other.bodies("builds") == ["for one"]);
    assert_eq!(pair.alice.bodies("api"), [""; 0]);
    // The new machine writes by itself, and is answered there.
    other.ok(&["send", "bob/web", "from the tower", "--as", "builds"]);
    wait::until("its message", || pair.bob.bodies("web") == ["from the tower"]);
    let row = pair.bob.json(&["inbox", "web", "--all"])["messages"][0].clone();
    assert_eq!((&row["from"], &row["device"]), (&"alice/builds".into(), &"tower".into()), "{row}");
    pair.bob.ok(&["reply", row["short"].as_str().expect("an id"), "seen"]);
    wait::until("the answer", || other.bodies("builds") == ["for one", "seen"]);
    // And one's own machines write to each other.
    pair.alice.ok(&["send", "me/tower/builds", "build it", "--as", "api", "--anyway"]);
    wait::until("mail to oneself", || other.bodies("builds").contains(&"build it".to_owned()));
    wait::until("the other's sessions", || {
        pair.alice.json(&["sessions"])["others"][0]["address"] == "me/tower/builds"
    });
}

#[test]
fn devices_are_listed_and_renamed_where_the_root_key_is() {
    let (pair, other) = with_two_devices();
    wait::until("the other machine online", || {
        let list = pair.alice.json(&["device", "list"]);
        list["devices"][1]["online"] == true && list["devices"][0]["primary"] == true
    });
    let refused = other.run(&["device", "rename", "tower", "desktop", "--json"]);
    assert_eq!(refused.json()["error"]["code"], "not-primary");
    pair.alice.ok(&["device", "rename", "tower", "desktop"]);
    wait::until("the new name", || {
        other.devices() == ["desktop", "laptop"]
            && addresses(&pair.bob).contains(&"alice/desktop/builds".to_owned())
    });
    let refused = pair.alice.run(&["device", "revoke", "laptop", "--json"]);
    assert_eq!(refused.json()["error"]["code"], "usage", "not the machine itself");
    let refused = pair.alice.run(&["device", "revoke", "nothing", "--json"]);
    assert_eq!(refused.json()["error"]["code"], "unknown-device");
}

#[test]
fn a_code_works_once_and_for_nothing_else() {
    let pair = Pair::connected();
    let (first, second) = (other_machine(&pair), Person::at(&pair.folder().join("third"), "alice"));
    let code = pair.alice.json(&["device", "link"])["code"].as_str().expect("a code").to_owned();
    let refused = first.run(&["contact", "add", &code, "--handle", "mallory", "--json"]);
    assert_eq!(refused.json()["error"]["code"], "bad-code");
    first.ok(&["device", "link", &code, "--name", "tower"]);
    let refused = second.run(&["device", "link", &code, "--name", "tower", "--json"]);
    let why = refused.json()["error"]["code"].as_str().expect("a code").to_owned();
    assert!(["invite-used", "invite-gone"].contains(&why.as_str()), "{why}");
    let invite = pair.alice.json(&["contact", "invite"])["code"].as_str().expect("a code").to_owned();
    let refused = second.run(&["device", "link", &invite, "--json"]);
    assert_eq!(refused.json()["error"]["code"], "bad-code");
    let refused = first.run(&["device", "link", &code, "--json"]);
    assert_eq!(refused.json()["error"]["code"], "already-registered");
}

#[test]
fn linking_survives_kills_of_everybody() {
    let mut pair = Pair::connected();
    let other = other_machine(&pair);
    let code = pair.alice.json(&["device", "link"])["code"].as_str().expect("a code").to_owned();
    pair.alice.kill_node();
    let begun = other.run(&["device", "link", &code, "--name", "tower", "--json"]);
    drop(begun);
    other.kill_node();
    pair.relay.kill();
    pair.relay.restart();
    pair.alice.ok(&["status"]);
    wait::until("the device", || {
        let again = other.run(&["device", "link", &code, "--name", "tower", "--json"]);
        other.kill_node();
        again.out.contains("already-registered") || again.out.contains("\"handle\"")
    });
    wait::until("its contacts", || other.contact_state("bob").as_deref() == Some("active"));
    assert_eq!(pair.alice.devices(), ["laptop", "tower"]);
}

#[test]
fn what_people_decide_on_one_device_holds_on_the_other() {
    let (pair, other) = with_two_devices();
    other.ok(&["contact", "rename", "bob", "robert"]);
    wait::until("the name", || pair.alice.contact_state("robert").as_deref() == Some("active"));
    pair.alice.ok(&["contact", "block", "robert"]);
    wait::until("the block", || other.contact_state("robert").as_deref() == Some("blocked"));
    other.ok(&["contact", "unblock", "robert"]);
    wait::until("its end", || pair.alice.contact_state("robert").as_deref() == Some("active"));
    // A contact made on the device without the root key is one on both.
    let carol = Person::at(&pair.folder().join("carol"), "carol");
    penpal_tests::connect(&other, &carol);
    wait::until("the new contact", || pair.alice.contact_state("carol").as_deref() == Some("active"));
    carol.ok(&["send", "alice", "hello both"]);
    wait::until("both desks", || {
        pair.alice.bodies("desk").contains(&"hello both".to_owned())
            && other.bodies("desk").contains(&"hello both".to_owned())
    });
    pair.alice.ok(&["contact", "remove", "carol"]);
    wait::until("the removal", || other.contact_state("carol").is_none());
    wait::until("carol to see it", || {
        carol.contact_state("alice").as_deref() == Some("gone") || {
            carol.run(&["send", "alice", "still there?", "--wait", "0s"]);
            false
        }
    });
}

#[test]
fn what_is_read_or_sent_on_one_device_is_so_on_the_other() {
    let (pair, other) = with_two_devices();
    pair.bob.ok(&["send", "alice", "a question", "--ask", "--as", "web"]);
    wait::until("both desks", || {
        pair.alice.bodies("desk") == ["a question"] && other.bodies("desk") == ["a question"]
    });
    let state = |person: &Person| person.json(&["inbox", "--all"])["messages"][0]["state"].clone();
    assert_eq!((state(&pair.alice), state(&other)), ("unread".into(), "unread".into()));
    let short = other.json(&["inbox"])["messages"][0]["short"].as_str().expect("an id").to_owned();
    other.ok(&["read", &short]);
    wait::until("the mark", || state(&pair.alice) == "read");
    // Its sender was told once, by the device where it was read.
    let id = pair.bob.json(&["outbox", "--all"])["messages"][0]["id"].as_str().expect("an id").to_owned();
    let surfaced = |row: &serde_json::Value| row["stage"] == "surfaced";
    wait::until("the receipt", || {
        let trace = pair.bob.json(&["trace", &id]);
        trace["events"].as_array().expect("events").iter().filter(|event| surfaced(event)).count() == 1
    });
    // The answer is kept on both, and found on both.
    other.ok(&["reply", &short, "a well considered answer"]);
    wait::until("the answer", || pair.bob.bodies("web") == ["a well considered answer"]);
    for person in [&pair.alice, &other] {
        wait::until("the copy", || {
            let hits = person.json(&["search", "considered"]);
            hits["hits"].as_array().is_some_and(|hits| hits.len() == 1)
        });
        let thread = person.json(&["inbox", "--with", "bob", "--all"]);
        let bodies: Vec<_> =
            thread["messages"].as_array().expect("rows").iter().map(|row| &row["body"]).collect();
        assert_eq!(bodies, ["a question", "a well considered answer"], "{thread}");
    }
    let sent = pair.alice.json(&["outbox", "--all"]);
    let row = &sent["messages"][0];
    assert_eq!((&row["to"], &row["stage"]), (&"bob/web".into(), &"queued".into()), "{sent}");
    let id = row["id"].as_str().expect("an id").to_owned();
    assert_eq!(pair.alice.json(&["trace", &id])["events"][0]["by"], "me/tower");
    let refused = pair.alice.run(&["retry", &id, "--json"]);
    assert_eq!(refused.code(), "not-retryable");
    // Nothing of it is sent again from here, also after a restart.
    pair.alice.kill_node();
    pair.alice.ok(&["status"]);
    assert_eq!(pair.alice.json(&["outbox"])["messages"].as_array().map(Vec::len), Some(0));
    assert_eq!(pair.bob.bodies("web"), ["a well considered answer"]);
}

#[test]
fn a_revoked_device_gets_nothing_and_is_nobody() {
    let (mut pair, other) = with_two_devices();
    pair.bob.ok(&["send", "alice", "before", "--as", "web"]);
    wait::until("mail on both", || {
        pair.alice.bodies("desk") == ["before"] && other.bodies("desk") == ["before"]
    });
    // The thief has the machine, and a copy of everything on it.
    other.ok(&["daemon", "stop"]);
    let stolen = pair.folder().join("stolen");
    copy_folder(other.home(), &stolen);
    let revoked = pair.alice.json(&["device", "revoke", "tower"]);
    assert_eq!(revoked["at_relay"], true, "{revoked}");
    assert_eq!(pair.alice.devices(), ["laptop"]);
    let thief = Person::at(&stolen, "alice");
    // Before it has heard of it, and after.
    let send = ["send", "bob/web", "it is me", "--as", "builds", "--anyway", "--wait", "0s"];
    thief.run(&send);
    wait::until("the word of the relay", || {
        thief.ok(&["status"]).out.contains("the relay does not know this device: it was revoked")
    });
    for words in [&send[..], &["contact", "invite"]] {
        let said = thief.try_json(words);
        assert_eq!((said.status, said.code().as_str()), (1, "device-revoked"), "{words:?}: {said:?}");
    }
    assert_eq!(thief.json(&["status"])["relay"]["state"], "offline");
    for words in [&[][..], &["status"]] {
        let said = thief.ok(words).out;
        assert_eq!(said.matches("does not know this device").count(), 1, "{said}");
        assert!(said.contains("next      penpal device link on a device that is left"), "{said}");
    }
    pair.bob.ok(&["send", "alice", "after", "--as", "web"]);
    pair.bob.ok(&["send", "alice/api", "to the session", "--as", "web"]);
    wait::until("mail on the laptop", || {
        pair.alice.bodies("desk") == ["before", "after"] && pair.alice.bodies("api") == ["to the session"]
    });
    pair.alice.ok(&["send", "bob/web", "still me", "--as", "api"]);
    wait::until("mail to bob", || pair.bob.bodies("web") == ["still me"]);
    assert_eq!(thief.bodies("desk"), ["before"]);
    thief.ok(&["daemon", "stop"]);
    // Everybody starts anew: nothing of it was only in memory.
    for person in [&pair.alice, &pair.bob] {
        person.kill_node();
    }
    pair.relay.kill();
    pair.relay.restart();
    pair.bob.ok(&["send", "alice", "later", "--as", "web"]);
    wait::until("mail after restarts", || pair.alice.bodies("desk") == ["before", "after", "later"]);
    assert_eq!(addresses(&pair.bob), ["alice/laptop/api"]);
    pair.relay.stop();
    assert_no_canary(pair.relay.folder(), &["tower"]);
}

/// No file below a folder holds any of these.
fn assert_no_canary(folder: &Path, canaries: &[&str]) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            assert_no_canary(&path, canaries);
        } else if let Ok(bytes) = std::fs::read(&path) {
            for canary in canaries {
                let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
                assert!(!found, "{canary} stands in {}", path.display());
            }
        }
    }
}

#[test]
fn a_room_that_a_revoked_machine_kept_goes_on() {
    let (pair, other) = with_two_devices();
    let members = |person: &Person| -> Option<usize> {
        let said = person.try_json(&["room", "members", "team"]);
        (said.status == 0).then(|| said.json()["members"].as_array().map_or(0, Vec::len))
    };
    other.ok(&["room", "create", "team"]);
    wait::until("the room on the laptop", || members(&pair.alice) == Some(1));
    other.ok(&["room", "invite", "team", "bob"]);
    wait::until("the invitation", || pair.bob.run(&["room", "join", "team"]).status == 0);
    for person in [&pair.alice, &other, &pair.bob] {
        wait::until("both members", || members(person) == Some(2));
    }
    let refused = pair.alice.try_json(&["room", "close", "team"]);
    assert_ne!(refused.status, 0, "{refused:?}");
    pair.alice.ok(&["device", "revoke", "tower"]);
    wait::until("the word that it is kept here now", || {
        pair.alice.ok(&["status"]).out.contains("#team was kept by a machine that is revoked")
    });
    pair.bob.ok(&["send", "#team", "who keeps this now?", "--as", "web"]);
    wait::until("what is said there", || {
        pair.alice.bodies("desk").contains(&"who keeps this now?".to_owned())
    });
    pair.alice.ok(&["room", "close", "team"]);
    wait::until("its end", || pair.bob.ok(&["status"]).out.contains("#team was closed by its owner"));
}
