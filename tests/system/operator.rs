//! What nodes see of what an operator does.

use penpal_tests::{Pair, wait};

fn stage(pair: &Pair, id: &str, stage: &str) -> bool {
    let trail = pair.alice.json(&["trace", id]);
    trail["events"].as_array().is_some_and(|events| events.iter().any(|event| event["stage"] == stage))
}

fn send(pair: &Pair, text: &str) -> String {
    let sent = pair.alice.json(&["send", "bob/web", text, "--as", "api", "--anyway", "--wait", "0s"]);
    sent["id"].as_str().expect("an id").to_owned()
}

#[test]
fn nodes_follow_a_relay_to_another_key_and_never_back() {
    let mut pair = Pair::connected();
    pair.relay.stop();
    let key = pair.relay.folder().join("keys/relay.key");
    let stolen = std::fs::read(&key).expect("the key");
    let before = pair.relay.address().to_owned();
    pair.relay.operator(&["rotate-key", "--yes"]);
    pair.relay.restart();
    assert_ne!(pair.relay.address(), before);
    let id = send(&pair, "after the first");
    wait::until("the message", || pair.bob.bodies("web") == ["after the first"]);
    wait::until("the receipt", || stage(&pair, &id, "delivered"));
    // Twice, and a node that was away for both steps.
    pair.bob.ok(&["daemon", "stop"]);
    pair.relay.stop();
    pair.relay.operator(&["rotate-key", "--yes"]);
    pair.relay.restart();
    send(&pair, "after the second");
    pair.bob.ok(&["status"]);
    wait::until("the second message", || pair.bob.bodies("web") == ["after the first", "after the second"]);
    // Whoever has only the address of before finds the way too.
    let code = pair.alice.json(&["contact", "invite"])["code"].as_str().expect("a code").to_owned();
    assert!(code.starts_with("pp1-"));
    // A thief of the first key, with the chain that everybody may have: nobody who followed comes back.
    pair.relay.stop();
    std::fs::remove_file(pair.relay.folder().join("keys/relay.chain")).expect("the chain goes");
    std::fs::write(&key, &stolen).expect("the old key is put back");
    pair.relay.restart();
    assert_eq!(pair.relay.address(), before);
    for person in [&pair.alice, &pair.bob] {
        wait::until("the wrong key to be told", || {
            let said = person.run(&["doctor", "--json"]);
            said.out.contains("another key")
        });
    }
}

#[test]
fn a_copy_taken_while_people_write_is_put_back_and_loses_nothing() {
    let mut pair = Pair::connected();
    send(&pair, "before");
    wait::until("the first", || pair.bob.bodies("web") == ["before"]);
    pair.bob.ok(&["daemon", "stop"]);
    send(&pair, "waits in the copy");
    wait::until("it waits at the relay", || {
        pair.relay.operator(&["stats"])["stats"]["waiting"].as_u64().is_some_and(|rows| rows > 0)
    });
    let copy = pair.folder().join("copy");
    let copy = copy.to_str().expect("text").to_owned();
    pair.relay.operator(&["backup", &copy]);
    let after = send(&pair, "after the copy");
    wait::until("the relay has it", || stage(&pair, &after, "relayed"));
    // The machine is lost.
    pair.relay.kill();
    std::fs::remove_dir_all(pair.relay.folder()).expect("it goes");
    let restored = pair.relay.operator(&["restore", &copy]);
    assert!(restored["restored"]["waiting"].as_u64().is_some_and(|rows| rows > 0), "{restored}");
    pair.relay.restart();
    pair.bob.ok(&["status"]);
    // What the relay had taken after the copy is gone there: the sender has it still, and sends it again when it is due.
    wait::until("what was in the copy", || {
        pair.bob.bodies("web").iter().any(|body| body == "waits in the copy")
    });
    let later = send(&pair, "after the restore");
    wait::until("all of it, in order and once", || {
        pair.alice.run(&["retry", &after]);
        pair.bob.bodies("web") == ["before", "waits in the copy", "after the copy", "after the restore"]
    });
    wait::until("the receipt", || stage(&pair, &later, "delivered"));
    // Both ways.
    pair.bob.ok(&["send", "alice/api", "hello", "--as", "web", "--anyway", "--wait", "0s"]);
    wait::until("the answer", || pair.alice.bodies("api") == ["hello"]);
}

#[test]
fn a_suspended_person_is_told_and_comes_back_with_everything() {
    let pair = Pair::connected();
    pair.relay.operator(&["account", "suspend", "alice"]);
    wait::until("alice is told", || pair.alice.run(&["status"]).out.contains("suspended this account"));
    let kept = send(&pair, "while suspended");
    pair.bob.ok(&["send", "alice/api", "for later", "--as", "web", "--anyway", "--wait", "0s"]);
    wait::until("what waits for her", || {
        pair.relay.operator(&["account", "show", "alice"])["account"]["devices"][0]["waiting"]
            .as_u64()
            .is_some_and(|rows| rows > 0)
    });
    assert!(!stage(&pair, &kept, "relayed") && pair.bob.bodies("web").is_empty());
    pair.relay.operator(&["account", "resume", "alice"]);
    pair.alice.ok(&["daemon", "stop"]);
    pair.alice.ok(&["status"]);
    wait::until("what waited", || pair.alice.bodies("api") == ["for later"]);
    wait::until("what she wrote", || pair.bob.bodies("web") == ["while suspended"]);
}
