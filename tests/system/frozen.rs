//! Folders written by earlier versions, opened by this one.
//!
//! `tests/frozen/N` holds a relay and two nodes as the format of version N left them: stopped, logs cut where only zeros follow,
//! without their indexes, which are rebuilt. `PENPAL_WRITE_FROZEN=N` writes one instead of reading them all; a written one
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
        assert_eq!(operator_of(&relay, &["account", "show", "bob"])["account"]["links"], 1);
        // Old mail goes after 90 days, which the folder may have seen.
        for (name, other, session, text) in [
            ("alice", "bob", "api", "yes, since this morning"),
            ("bob", "alice", "web", "is the v2 schema final?"),
        ] {
            let home = folder.path().join(name);
            std::fs::write(home.join("config.toml"), "history-days = 36500\n").expect("settings");
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
