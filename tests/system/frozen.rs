//! Folders written by earlier versions, opened by this one.
//!
//! `tests/frozen/N` holds a relay and nodes as they were left: stopped, logs cut where only zeros follow, without their indexes, which are
//! rebuilt. 1 has Alice and Bob; since 2 Alice has a second machine, and the room `#payments` with Bob. `PENPAL_WRITE_FROZEN=N` writes one instead of reading them all; a written one
//! is never written again.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use penpal_tests::{Pair, Person, folder, operator_of, wait};

fn frozen() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("frozen")
}

/// Files of a folder, relative, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let kind = entry.file_type().expect("its type");
        if kind.is_dir() {
            let name = PathBuf::from(entry.file_name());
            found.extend(files(&entry.path()).into_iter().map(|file| name.join(file)));
        } else if kind.is_file() {
            found.push(entry.file_name().into());
        }
    }
    found.sort();
    found
}

/// Copies what must not change with versions: logs, keys and small files, all of them private.
fn copy(from: &Path, to: &Path, keep: impl Fn(&Path) -> bool) {
    for file in files(from).into_iter().filter(|file| keep(file)) {
        let mut bytes = std::fs::read(from.join(&file)).expect("a file");
        if file.extension().is_some_and(|end| end == "log") && file.components().count() > 1 {
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            bytes.truncate(end.next_multiple_of(512));
            // A spare segment.
            if bytes.is_empty() {
                continue;
            }
        }
        let target = to.join(&file);
        let parent = target.parent().expect("a folder");
        std::fs::create_dir_all(parent).expect("a folder");
        for folder in parent.ancestors().take_while(|folder| folder.starts_with(to)) {
            std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700)).expect("its mode");
        }
        std::fs::write(&target, bytes).expect("a copy");
        std::fs::set_permissions(&target, PermissionsExt::from_mode(0o600)).expect("its mode");
    }
}

fn write(to: &Path) {
    assert!(!to.exists(), "{} is there already", to.display());
    let mut pair = Pair::connected();
    let tower = Person::at(&pair.folder().join("tower"), "alice");
    let code = pair.alice.json(&["device", "link"])["code"].as_str().expect("a code").to_owned();
    tower.ok(&["device", "link", &code, "--name", "tower"]);
    wait::until("the contact on it", || tower.contact_state("bob").as_deref() == Some("active"));
    pair.alice.ok(&["room", "create", "payments"]);
    pair.alice.ok(&["room", "invite", ROOM, "bob"]);
    wait::until("the invitation", || pair.bob.json(&["room", "list"])["rooms"][0]["standing"] == "invited");
    pair.bob.ok(&["room", "join", ROOM]);
    wait::until("the member", || members(&pair.bob) == ["alice", "me"]);
    pair.bob.ok(&["send", ROOM, "the ledger is closed for today", "--as", "web"]);
    wait::until("what was said", || said_in_room(&pair.alice) == ["the ledger is closed for today"]);
    pair.bob.ok(&["send", "alice", "for both machines", "--as", "web"]);
    wait::until("both desks", || {
        [&pair.alice, &tower].iter().all(|one| one.bodies("desk").contains(&"for both machines".to_owned()))
    });
    tower.ok(&["daemon", "stop"]);
    pair.alice.ok(&["send", "bob/web", "is the v2 schema final?", "--as", "api", "--ask", "--anyway"]);
    wait::until("the ask", || !pair.bob.bodies("web").is_empty());
    pair.bob.ok(&["send", "alice/api", "yes, since this morning", "--as", "web", "--anyway"]);
    wait::until("the answer", || !pair.alice.bodies("api").is_empty());
    pair.bob.ok(&["daemon", "stop"]);
    pair.alice.ok(&["send", "bob/web", "this one waits", "--as", "api", "--anyway", "--wait", "0s"]);
    wait::until("it waits at the relay", || {
        pair.relay.operator(&["stats"])["stats"]["waiting"].as_u64().is_some_and(|rows| rows > 0)
    });
    pair.alice.ok(&["daemon", "stop"]);
    pair.relay.stop();
    let keep = |file: &Path| {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let kept = [".log", ".key", ".keys", ".mark", ".json", ".TAG"];
        (kept.iter().any(|end| name.ends_with(end)) || ["format", "relay-keys"].contains(&name))
            && name != "node.log"
    };
    copy(pair.relay.folder(), &to.join("relay"), keep);
    copy(pair.alice.home(), &to.join("alice"), keep);
    copy(pair.bob.home(), &to.join("bob"), keep);
    copy(tower.home(), &to.join("tower"), keep);
}

const ROOM: &str = "#payments";

/// Who is in the room, as one of them lists it.
fn members(person: &Person) -> Vec<String> {
    let row = person.json(&["room", "members", ROOM]);
    let members = row["members"].as_array().expect("members");
    members.iter().map(|one| one["name"].as_str().expect("a name").to_owned()).collect()
}

fn said_in_room(person: &Person) -> Vec<String> {
    let list = person.json(&["inbox", "--with", ROOM, "--all"]);
    let rows = list["messages"].as_array().expect("messages");
    rows.iter().map(|row| row["body"].as_str().expect("a body").to_owned()).collect()
}

/// What folders with two devices and a room have besides.
fn check_room_and_devices(folder: &Path) {
    for (name, handle, here) in [("alice", "alice", "laptop"), ("tower", "alice", "tower")] {
        let person = Person::at(&folder.join(name), handle);
        let list = person.json(&["device", "list"]);
        let rows = list["devices"].as_array().expect("rows");
        let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().expect("a name")).collect();
        assert_eq!(names, ["laptop", "tower"], "{name}");
        let this: Vec<&str> =
            rows.iter().filter(|row| row["this"] == true).filter_map(|row| row["name"].as_str()).collect();
        assert_eq!(this, [here]);
        assert!(person.bodies("desk").contains(&"for both machines".to_owned()), "{name}");
        person.kill_node();
    }
    let [alice, bob] = ["alice", "bob"].map(|name| Person::at(&folder.join(name), name));
    assert_eq!(members(&alice), ["me", "bob"]);
    assert_eq!(members(&bob), ["alice", "me"]);
    for person in [&alice, &bob] {
        assert_eq!(said_in_room(person), ["the ledger is closed for today"]);
        person.kill_node();
    }
}

#[test]
fn folders_of_earlier_versions_are_opened() {
    if let Ok(version) = std::env::var("PENPAL_WRITE_FROZEN") {
        write(&frozen().join(version));
        return;
    }
    let mut versions = 0;
    for version in std::fs::read_dir(frozen()).expect("frozen folders").flatten() {
        versions += 1;
        let folder = folder();
        copy(&version.path(), folder.path(), |_| true);
        // Checks every row, and does not run: nothing is too old for it.
        let relay = folder.path().join("relay");
        let checks = operator_of(&relay, &["doctor"]);
        assert!(
            checks["checks"].as_array().is_some_and(|all| all.iter().all(|one| one["ok"] == true)),
            "{checks}"
        );
        let stored = checks["checks"][2]["detail"].as_str().expect("rows").to_owned();
        assert!(!stored.contains(" 0 queued"), "{stored}");
        let accounts = operator_of(&relay, &["account", "list"]);
        let handles: Vec<_> =
            accounts["accounts"].as_array().expect("accounts").iter().map(|one| &one["handle"]).collect();
        assert_eq!(handles, ["alice", "bob"]);
        let with_devices = folder.path().join("tower").exists();
        if !with_devices {
            assert_eq!(operator_of(&relay, &["account", "show", "bob"])["account"]["links"], 1);
        }
        // Old mail goes after 90 days, which the folder may have seen.
        for name in ["alice", "bob", "tower"] {
            let home = folder.path().join(name);
            if home.exists() {
                std::fs::write(home.join("config.toml"), "history-days = 36500\n").expect("settings");
            }
        }
        if with_devices {
            check_room_and_devices(folder.path());
        }
        for (name, other, session, text) in [
            ("alice", "bob", "api", "yes, since this morning"),
            ("bob", "alice", "web", "is the v2 schema final?"),
        ] {
            let home = folder.path().join(name);
            let person = Person::at(&home, name);
            assert_eq!(person.contact_state(other).as_deref(), Some("active"), "{name}");
            assert!(
                person.bodies(session).iter().any(|body| body == text),
                "{name}: {:?}",
                person.bodies(session)
            );
            assert_eq!(person.json(&["status"])["account"]["handle"], name);
        }
    }
    assert!(versions > 0);
}
