//! Disks filled to the last byte by somebody else, under real programs.

use penpal_tests::{Person, Relay, folder, introduce, small_disk, wait};

fn send(person: &Person, to: &str, text: &str) -> String {
    let sent = person.json(&["send", to, text, "--anyway", "--wait", "0s"]);
    sent["id"].as_str().expect("an id").to_owned()
}

fn stage(person: &Person, id: &str, stage: &str) -> bool {
    let trace = person.json(&["trace", id]);
    trace["events"].as_array().is_some_and(|events| events.iter().any(|event| event["stage"] == stage))
}

fn full(relay: &Relay) -> bool {
    relay.operator(&["stats"])["stats"]["disk_full"] == true
}

#[test]
fn a_relay_on_a_full_disk_goes_on_delivering_and_recovers() {
    let Some(disk) =
        small_disk::enter("full_disk::a_relay_on_a_full_disk_goes_on_delivering_and_recovers", 120)
    else {
        return;
    };
    let folder = folder();
    // Its log is elsewhere, to be read.
    let log = disk.path().join("relay.log");
    std::os::unix::fs::symlink(folder.path().join("relay.log"), log).expect("a link");
    let mut relay = Relay::start(&disk.path().join("relay"));
    let (alice, bob) = (Person::new(&folder, "alice"), Person::new(&folder, "bob"));
    introduce(&relay, &alice, &bob);
    let first = send(&alice, "bob/web", "before");
    wait::until("the first", || stage(&alice, &first, "delivered"));
    bob.ok(&["daemon", "stop"]);
    let waits: Vec<String> = (0..20).map(|n| format!("waits {n}")).collect();
    let ids: Vec<String> = waits.iter().map(|text| send(&alice, "bob/web", text)).collect();
    wait::until("all of it at the relay", || ids.iter().all(|id| stage(&alice, id, "relayed")));
    let (pid, log) = (relay.pid(), std::fs::read_to_string(relay.log()).expect("its log"));
    assert!(!log.contains("the disk is full"), "{log}");
    // Not a byte is left: what waits is delivered all the same, and acknowledged.
    disk.fill();
    bob.ok(&["status"]);
    let all: Vec<String> = std::iter::once("before".to_owned()).chain(waits).collect();
    wait::until("what waited", || bob.bodies("web") == all);
    wait::until("it is acknowledged", || {
        let shown = relay.operator(&["account", "show", "bob"]);
        shown["account"]["devices"][0]["waiting"] == 0
    });
    // Every ten seconds the relay notes how far its log goes; there is no room for that either.
    wait::until("a note that could not be made", || {
        disk.fill();
        // It is noted in the quiet after a change.
        let _token = relay.token();
        std::fs::read_to_string(relay.log())
            .is_ok_and(|log| log.contains("how far the log goes is not noted"))
    });
    // Deposits go on while the log has room of its own; then they are refused, and wait here.
    let mut later = Vec::new();
    let file = folder.path().join("file");
    std::fs::write(&file, vec![7; 3_000_000]).expect("a file");
    let path = file.to_str().expect("text");
    let filed = alice.json(&["send", "bob/web", "with a file", "--file", path, "--anyway", "--wait", "0s"]);
    for n in 0..5 {
        later.push(send(&alice, "bob/web", &format!("later {n}")));
    }
    assert_eq!(relay.pid(), pid);
    relay.operator(&["stats"]);
    let filed = filed["id"].as_str().expect("an id").to_owned();
    assert!(!stage(&alice, &filed, "delivered"), "a file has no room");
    disk.free();
    wait::until("the file", || stage(&alice, &filed, "delivered"));
    wait::until("all that came later", || later.iter().all(|id| stage(&alice, id, "delivered")));
    wait::until("room", || !full(&relay));
    assert_eq!(bob.bodies("web").len(), all.len() + 6, "once each");
    let out = folder.path().join("out");
    let hash = blake3::hash(&vec![7; 3_000_000]).to_hex().to_string();
    bob.ok(&["artifact", "get", &hash, "--output", out.to_str().expect("text")]);
    relay.stop();
    relay.restart();
    let last = send(&bob, "alice/api", "both ways");
    wait::until("the last", || stage(&bob, &last, "delivered"));
}

#[test]
fn a_node_on_a_full_disk_says_so_and_loses_nothing() {
    let Some(disk) = small_disk::enter("full_disk::a_node_on_a_full_disk_says_so_and_loses_nothing", 80)
    else {
        return;
    };
    let folder = folder();
    let relay = Relay::start(&folder.path().join("relay"));
    let alice = Person::new(&folder, "alice");
    let bob = Person::at(&disk.path().join("bob"), "bob");
    // Its log is elsewhere, to be read.
    let log = folder.path().join("bob.log");
    std::fs::create_dir(bob.home()).expect("a folder");
    std::os::unix::fs::symlink(&log, bob.home().join("node.log")).expect("a link");
    introduce(&relay, &alice, &bob);
    let first = send(&bob, "alice/api", "before");
    wait::until("the first", || stage(&bob, &first, "delivered"));
    let pid = bob.node_pid();
    disk.fill();
    // The log has some room of its own; when that is used up the answer is clear.
    let (mut taken, large) = (Vec::new(), "x".repeat(60_000));
    let refused = loop {
        disk.fill();
        let text = format!("{} {large}", taken.len());
        let said = bob.try_json(&["send", "alice/api", &text, "--anyway", "--wait", "0s"]);
        if said.status != 0 {
            break said;
        }
        taken.push(text);
        assert!(taken.len() < 2_000, "it never ends");
    };
    assert_eq!(refused.code(), "disk-full", "{refused:?}");
    assert!(refused.err.is_empty() || refused.err.contains("full"), "{refused:?}");
    let waiting = send(&alice, "bob/web", "for a full disk");
    wait::until("it waits at the relay", || stage(&alice, &waiting, "relayed"));
    // What the relay brings cannot be kept, again and again; questions are answered all the same.
    for _ in 0..20 {
        let status = bob.try_json(&["daemon", "status"]);
        assert_eq!(status.status, 0, "{status:?}\n{:?}", std::fs::read_to_string(&log));
    }
    assert_eq!(bob.node_pid(), pid, "the node goes on");
    disk.free();
    wait::until("what waited", || bob.bodies("web").contains(&"for a full disk".to_owned()));
    wait::until("mail goes out again", || {
        bob.try_json(&["send", "alice/api", "after", "--anyway", "--wait", "0s"]).status == 0
    });
    wait::until("everything that was taken, once and in order", || {
        let bodies = alice.bodies("api");
        let expected = std::iter::once("before").chain(taken.iter().map(String::as_str));
        bodies.iter().map(String::as_str).filter(|body| *body != "after").eq(expected)
    });
    bob.ok(&["daemon", "stop"]);
    bob.ok(&["status"]);
    assert!(bob.bodies("web").contains(&"for a full disk".to_owned()));
}

/// Half a part of a file is never counted: the sender is told why, and goes on when there is room.
#[test]
fn a_file_that_finds_no_room_at_the_relay_waits_and_goes_on() {
    let Some(disk) =
        small_disk::enter("full_disk::a_file_that_finds_no_room_at_the_relay_waits_and_goes_on", 80)
    else {
        return;
    };
    let folder = folder();
    let mut relay = Relay::start(&disk.path().join("relay"));
    let (alice, bob) = (Person::new(&folder, "alice"), Person::new(&folder, "bob"));
    introduce(&relay, &alice, &bob);
    let content: Vec<u8> = (0..15_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let (path, out) = (folder.path().join("large.bin"), folder.path().join("out.bin"));
    std::fs::write(&path, &content).expect("a file");
    // 60 MB do not fit beside the log.
    let sent = alice.json(&[
        "send",
        "bob/web",
        "large",
        "--file",
        path.to_str().expect("text"),
        "--anyway",
        "--wait",
        "0s",
    ]);
    let id = sent["id"].as_str().expect("an id").to_owned();
    let mut said = String::new();
    wait::until("the sender is told why", || {
        said = alice.ok(&["outbox"]).out;
        said.contains("no room for files")
    });
    assert!(bob.bodies("web").is_empty(), "nothing is visible half");
    assert!(!stage(&alice, &id, "refused") && !stage(&alice, &id, "relayed"), "it waits");
    // Its log is on the same disk: what is to be written there is lost, and nothing else.
    disk.fill();
    let carol = Person::new(&folder, "carol");
    let refused = carol.try_json(&["register", relay.address(), "--token", "K4XD-0000", "--handle", "carol"]);
    assert_ne!(refused.status, 0, "{refused:?}");
    assert!(relay.is_running());
    disk.free();
    // Room for it: the disk is made larger.
    let grown = std::process::Command::new("mount")
        .args(["-o", "remount,size=200m"])
        .arg(disk.path())
        .status()
        .expect("mount runs");
    assert!(grown.success());
    wait::until("the message with its file", || stage(&alice, &id, "delivered"));
    let hash = blake3::hash(&content).to_hex().to_string();
    bob.ok(&["artifact", "get", &hash, "--output", out.to_str().expect("text")]);
    assert!(std::fs::read(&out).expect("the copy") == content);
}
