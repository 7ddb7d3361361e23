//! Several devices of one account, and copies of one of them or of their relay.

use std::fs;
use std::path::Path;
use std::time::Duration;

use penpal_tests::{Pair, Person, wait};

use crate::devices::{link, other_machine, with_two_devices};
use crate::restarts::{copy_folder, restore};

fn text(path: &Path) -> String {
    path.to_str().expect("a path of text").to_owned()
}

/// A message to the person comes to both machines, and each of them writes.
fn check_both(pair: &Pair, machines: [&Person; 2], what: &str) {
    pair.bob.ok(&["send", "alice", what, "--as", "web", "--wait", "0s"]);
    for machine in machines {
        wait::until("mail on both", || machine.bodies("desk").contains(&what.to_owned()));
    }
    for (number, machine) in machines.iter().enumerate() {
        let from_there = format!("{what} from {number}");
        machine.ok(&["send", "bob/web", &from_there, "--anyway", "--wait", "0s"]);
        wait::until("its mail", || pair.bob.bodies("web").contains(&from_there));
    }
}

#[test]
fn an_export_of_a_linked_device_is_that_device_on_another_machine() {
    let (pair, other) = with_two_devices();
    let (file, words) = (pair.folder().join("tower.penpal"), pair.folder().join("words"));
    fs::write(&words, "correct horse battery staple\n").expect("a passphrase");
    pair.bob.ok(&["send", "alice", "before", "--as", "web"]);
    wait::until("mail on both", || {
        pair.alice.bodies("desk") == ["before"] && other.bodies("desk") == ["before"]
    });
    let exported = other.json(&["account", "export", &text(&file), "--passphrase-file", &text(&words)]);
    assert_eq!(exported["handle"], "alice", "{exported}");
    other.ok(&["daemon", "stop"]);
    fs::remove_dir_all(other.home()).expect("it is lost");
    // What is written meanwhile waits.
    pair.bob.ok(&["send", "alice", "meanwhile", "--as", "web", "--wait", "0s"]);
    let again = Person::at(&pair.folder().join("elsewhere"), "alice");
    let said = again.json(&["account", "import", &text(&file), "--passphrase-file", &text(&words)]);
    assert_eq!((said["handle"].as_str(), said["device"].as_str()), (Some("alice"), Some("tower")), "{said}");
    wait::until("all of it", || again.bodies("desk") == ["before", "meanwhile"]);
    assert_eq!(again.devices(), ["laptop", "tower"]);
    let refused = again.run(&["device", "link", "--json"]);
    assert_eq!(refused.code(), "not-primary");
    check_both(&pair, [&pair.alice, &again], "after");
    // And it can be cut off.
    pair.alice.ok(&["device", "revoke", "tower"]);
    wait::until("the word of the relay", || {
        again.ok(&["status"]).out.contains("the relay does not know this device: it was revoked")
    });
}

#[test]
fn a_backup_of_one_of_two_devices_goes_on_as_that_device() {
    let (pair, other) = with_two_devices();
    check_both(&pair, [&pair.alice, &other], "one");
    other.ok(&["daemon", "stop"]);
    let backup = pair.folder().join("tower-backup");
    copy_folder(other.home(), &backup);
    other.ok(&["status"]);
    // Everything that devices share changes after the backup: mail, what was read and sent, contacts, rooms.
    check_both(&pair, [&pair.alice, &other], "two");
    let carol = Person::at(&pair.folder().join("carol"), "carol");
    penpal_tests::connect(&pair.alice, &carol);
    wait::until("the new contact", || other.contact_state("carol").as_deref() == Some("active"));
    pair.alice.ok(&["room", "create", "plans"]);
    let knows_room = |person: &Person| person.run(&["room", "members", "plans"]).status == 0;
    wait::until("the room", || knows_room(&other));
    other.ok(&["daemon", "stop"]);
    restore(other.home(), &backup);
    other.ok(&["status"]);
    wait::until("what it lacks", || other.bodies("desk").contains(&"two".to_owned()));
    wait::until("the room again", || knows_room(&other));
    check_both(&pair, [&pair.alice, &other], "three");
    assert_eq!(pair.alice.devices(), ["laptop", "tower"]);
    let said = pair.alice.ok(&["status"]);
    assert!(!said.out.contains("is in use on another machine"), "{}", said.out);
}

#[test]
fn a_relay_from_before_a_link_serves_the_machine_again() {
    let mut pair = Pair::connected();
    pair.relay.stop();
    let backup = pair.folder().join("relay-backup");
    copy_folder(pair.relay.folder(), &backup);
    pair.relay.restart();
    let other = other_machine(&pair);
    link(&pair.alice, &other, "tower");
    wait::until("its contacts", || other.contact_state("bob").as_deref() == Some("active"));
    // What is written before that goes to the machines that there were.
    wait::until("bob to hear of it", || {
        pair.bob.ok(&["status"]).out.contains("alice has a new device: tower")
    });
    check_both(&pair, [&pair.alice, &other], "one");
    pair.relay.stop();
    let copy = text(&backup);
    fs::remove_dir_all(pair.relay.folder()).expect("it goes");
    copy_folder(Path::new(&copy), pair.relay.folder());
    pair.relay.restart();
    // It would say hello again by itself, after half a minute.
    wait::until("the machine to be known again", || {
        let connected = || other.json(&["status"])["relay"]["state"] == "connected";
        let is_known = wait::holds_within(Duration::from_secs(3), connected);
        if !is_known {
            other.kill_node();
        }
        is_known
    });
    wait::until("the primary to notice", || {
        let list = pair.alice.json(&["device", "list"]);
        list["devices"]
            .as_array()
            .is_some_and(|rows| rows.iter().all(|row| row["online"] == true || row["this"] == true))
    });
    check_both(&pair, [&pair.alice, &other], "two");
    assert_eq!(other.devices(), ["laptop", "tower"]);
    assert_eq!(pair.alice.devices(), ["laptop", "tower"]);
}
