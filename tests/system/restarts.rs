//! Restarts of everything, gentle ones and restored backups.

use std::path::Path;

use penpal_tests::{Pair, wait};

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    let mode = std::fs::metadata(from).expect("a folder").permissions();
    std::fs::set_permissions(to, mode).expect("its mode");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        let kind = entry.file_type().expect("its type");
        if kind.is_dir() {
            copy_folder(&entry.path(), &target);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

pub(crate) fn restore(folder: &Path, backup: &Path) {
    std::fs::remove_dir_all(folder).expect("it goes");
    copy_folder(backup, folder);
}

#[test]
fn mail_waits_for_a_relay_and_for_a_node_that_are_away() {
    let mut pair = Pair::connected();
    pair.relay.stop();
    let sent = pair.alice.json(&["send", "bob/web", "one", "--as", "api", "--anyway"]);
    assert_eq!(sent["stage"], "queued", "{sent}");
    pair.bob.ok(&["daemon", "stop"]);
    pair.relay.restart();
    let id = sent["id"].as_str().expect("an id").to_owned();
    wait::until("the relay to take it", || {
        pair.alice.json(&["trace", &id])["events"]
            .as_array()
            .is_some_and(|events| events.iter().any(|event| event["stage"] == "relayed"))
    });
    pair.bob.ok(&["status"]);
    wait::until("the message", || pair.bob.bodies("web") == ["one"]);
    wait::until("the receipt", || {
        pair.alice.json(&["trace", &id])["events"].as_array().is_some_and(|events| {
            events.iter().any(|event| event["stage"] == "delivered" && event["signed"] == true)
        })
    });
}

#[test]
fn a_relay_restored_from_a_backup_loses_and_doubles_nothing() {
    let mut pair = Pair::connected();
    pair.alice.ok(&["send", "bob/web", "one", "--as", "api", "--anyway"]);
    wait::until("the message", || pair.bob.bodies("web") == ["one"]);
    pair.relay.stop();
    let backup = pair.folder().join("relay-backup");
    copy_folder(pair.relay.folder(), &backup);
    pair.relay.restart();
    pair.alice.ok(&["send", "bob/web", "two", "--as", "api", "--anyway", "--wait", "0s"]);
    wait::until("the second", || pair.bob.bodies("web") == ["one", "two"]);
    pair.relay.stop();
    restore(pair.relay.folder(), &backup);
    pair.relay.restart();
    pair.alice.ok(&["send", "bob/web", "three", "--as", "api", "--anyway", "--wait", "0s"]);
    wait::until("the third", || pair.bob.bodies("web").contains(&"three".to_owned()));
    assert_eq!(pair.bob.bodies("web"), ["one", "two", "three"]);
}

#[test]
fn a_node_restored_from_a_backup_gets_what_it_lacks_again() {
    let pair = Pair::connected();
    pair.alice.ok(&["send", "bob/web", "one", "--as", "api", "--anyway"]);
    wait::until("the message", || pair.bob.bodies("web") == ["one"]);
    pair.bob.ok(&["daemon", "stop"]);
    let backup = pair.folder().join("bob-backup");
    copy_folder(pair.bob.home(), &backup);
    pair.bob.ok(&["status"]);
    pair.alice.ok(&["send", "bob/web", "two", "--as", "api", "--anyway", "--wait", "0s"]);
    wait::until("the second", || pair.bob.bodies("web") == ["one", "two"]);
    pair.bob.ok(&["daemon", "stop"]);
    restore(pair.bob.home(), &backup);
    pair.bob.ok(&["status"]);
    // It says that it is another life of itself; who wrote to it within 48 hours sends again.
    wait::until("what it lacks", || pair.bob.bodies("web") == ["one", "two"]);
    pair.alice.ok(&["send", "bob/web", "three", "--as", "api", "--anyway", "--wait", "0s"]);
    wait::until("the third", || pair.bob.bodies("web") == ["one", "two", "three"]);
    pair.bob.ok(&["send", "alice/api", "I am back", "--as", "web", "--anyway"]);
    wait::until("mail the other way", || pair.alice.bodies("api") == ["I am back"]);
}
