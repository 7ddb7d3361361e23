//! An account that moves in a file.

use std::fs;
use std::path::Path;

use penpal_tests::{Pair, Person, wait};

fn text(path: &Path) -> String {
    path.to_str().expect("a path of text").to_owned()
}

fn export(person: &Person, file: &Path, passphrase: &Path) -> serde_json::Value {
    person.json(&["account", "export", &text(file), "--passphrase-file", &text(passphrase)])
}

#[test]
fn an_account_goes_to_another_home_with_contacts_history_and_files() {
    let pair = Pair::connected();
    let (file, words) = (pair.folder().join("alice.penpal"), pair.folder().join("words"));
    fs::write(&words, "correct horse battery staple\n").expect("a passphrase");
    let (note, big) = (pair.folder().join("note.txt"), pair.folder().join("big.bin"));
    fs::write(&note, "canary-portable-77aa").expect("a file");
    fs::write(&big, vec![5; 2_000_000]).expect("a file");
    pair.bob.ok(&["send", "alice/api", "the aardvark of portability", "--file", &text(&note), "--anyway"]);
    pair.alice.ok(&["send", "bob/web", "an own message", "--file", &text(&big), "--anyway"]);
    wait::until("the message", || pair.alice.bodies("api") == ["the aardvark of portability"]);
    let hash = blake3::hash(b"canary-portable-77aa").to_hex().to_string();
    let fetched = pair.folder().join("fetched");
    pair.alice.ok(&["artifact", "get", &hash, "--output", &text(&fetched)]);
    // Inside an agent, without a terminal, or with a short passphrase nothing is written.
    let refused = pair.alice.try_json(&["account", "export", &text(&file)]);
    assert_eq!((refused.status, refused.code().as_str()), (4, "needs-answer"), "{refused:?}");
    let mut inside =
        pair.alice.command(&["account", "export", &text(&file), "--passphrase-file", &text(&words)]);
    let inside = inside.env("CLAUDECODE", "1").output().expect("penpal runs");
    assert_eq!(inside.status.code(), Some(4), "{inside:?}");
    fs::write(pair.folder().join("short"), "short").expect("a passphrase");
    let short = text(&pair.folder().join("short"));
    let refused = pair.alice.try_json(&["account", "export", &text(&file), "--passphrase-file", &short]);
    assert_eq!((refused.status, refused.code().as_str()), (2, "usage"), "{refused:?}");
    assert!(!file.exists());
    let exported = export(&pair.alice, &file, &words);
    assert_eq!(exported["handle"], "alice", "{exported}");
    let said = pair.alice.try_json(&["account", "export", &text(&file), "--passphrase-file", &text(&words)]);
    assert_eq!(said.code(), "file-exists", "nothing is replaced");
    let bytes = fs::read(&file).expect("the export");
    for canary in [b"aardvark".as_slice(), b"canary-portable", b"alice", b"identity.key"] {
        assert!(!bytes.windows(canary.len()).any(|window| window == canary), "sealed");
    }
    // The node goes on, gets mail that the export does not have, and then its home is gone.
    pair.bob.ok(&["send", "alice/api", "after the export", "--as", "web", "--anyway", "--wait", "0s"]);
    wait::until("what came later", || pair.alice.bodies("api").len() == 2);
    pair.alice.ok(&["daemon", "stop"]);
    fs::remove_dir_all(pair.alice.home()).expect("it is lost");
    let again = Person::at(&pair.folder().join("elsewhere"), "alice");
    let said = again.json(&["account", "import", &text(&file), "--passphrase-file", &text(&words)]);
    assert_eq!((said["handle"].as_str(), said["device"].as_str()), (Some("alice"), Some("laptop")), "{said}");
    // History, files and search are there; what the export lacks is sent again; and both ways work.
    assert!(again.bodies("api").contains(&"the aardvark of portability".to_owned()));
    let found = again.json(&["search", "aardvark"]);
    assert_eq!(found["hits"].as_array().map(Vec::len), Some(1), "{found}");
    let out = pair.folder().join("again");
    again.ok(&["artifact", "get", &hash, "--output", &text(&out)]);
    assert_eq!(fs::read_to_string(&out).expect("the file"), "canary-portable-77aa");
    wait::until("what the export lacks", || {
        again.bodies("api") == ["the aardvark of portability", "after the export"]
    });
    pair.bob.ok(&["send", "alice/api", "to the new home", "--as", "web", "--anyway", "--wait", "0s"]);
    wait::until("mail to it", || again.bodies("api").last().is_some_and(|body| body == "to the new home"));
    again.ok(&["send", "bob/web", "from the new home", "--as", "api", "--anyway", "--wait", "0s"]);
    wait::until("mail from it", || {
        pair.bob.bodies("web").last().is_some_and(|body| body == "from the new home")
    });
    assert!(!again.home().join("imported").exists() && !again.home().join("import.partial").exists());
    // A home with an account is not replaced.
    let said = pair.bob.try_json(&["account", "import", &text(&file), "--passphrase-file", &text(&words)]);
    assert_eq!(said.code(), "already-registered", "{said:?}");
    assert_eq!(pair.bob.contact_state("alice").as_deref(), Some("active"));
}

#[test]
fn a_wrong_passphrase_or_a_damaged_file_changes_nothing() {
    let pair = Pair::connected();
    let (file, words) = (pair.folder().join("alice.penpal"), pair.folder().join("words"));
    fs::write(&words, "correct horse battery staple").expect("a passphrase");
    pair.alice.ok(&["send", "bob/web", "one", "--anyway", "--wait", "0s"]);
    let big = pair.folder().join("big.bin");
    fs::write(&big, vec![5; 300_000]).expect("a file");
    pair.alice.ok(&["artifact", "put", &text(&big)]);
    export(&pair.alice, &file, &words);
    let whole = fs::read(&file).expect("the export");
    let other = Person::at(&pair.folder().join("other"), "other");
    other.ok(&["session", "open", "kept"]);
    other.ok(&["send", "kept", "local mail", "--as", "kept"]);
    let wrong = pair.folder().join("wrong");
    fs::write(&wrong, "correct horse battery stapler").expect("a passphrase");
    let import = |passphrase: &Path| {
        let said =
            other.try_json(&["account", "import", &text(&file), "--passphrase-file", &text(passphrase)]);
        (said.status, said.code(), said.json()["error"]["message"].as_str().unwrap_or_default().to_owned())
    };
    let refused = import(&wrong);
    assert_eq!((refused.0, refused.1.as_str()), (1, "bad-export"), "{refused:?}");
    assert!(refused.2.contains("passphrase is wrong"), "{refused:?}");
    let end = whole.len();
    let (mut altered, mut middle) = (whole.clone(), whole.clone());
    altered[end - 100] ^= 1;
    middle[end / 2] ^= 1;
    for (bytes, part) in [
        (&whole[..end / 2], "cut off"),
        (&whole[..end - 1], "cut off"),
        (&altered[..], "altered at its end"),
        (&middle[..], "altered at byte"),
        (&whole[..10], "no export"),
        (&b"something else entirely"[..], "no export"),
    ] {
        fs::write(&file, bytes).expect("damage");
        let refused = import(&words);
        assert_eq!((refused.0, refused.1.as_str()), (1, "bad-export"), "{part}: {refused:?}");
        assert!(refused.2.contains(part), "{part}: {refused:?}");
        assert_eq!(other.bodies("kept"), ["local mail"], "{part}");
        assert!(!other.home().join("import.partial").exists(), "{part}");
    }
    assert_eq!(other.try_json(&["account", "show"]).code(), "no-account");
    // What the home held is kept aside when it works.
    fs::write(&file, &whole).expect("whole again");
    pair.alice.ok(&["daemon", "stop"]);
    other.ok(&["account", "import", &text(&file), "--passphrase-file", &text(&words)]);
    assert_eq!(other.json(&["account", "show"])["handle"], "alice");
    assert!(other.home().join("before-import/1/data").is_dir());
    assert_eq!(other.contact_state("bob").as_deref(), Some("active"));
    // Killed before anything was moved to its place: the next import, of a file that is cut, ends the one before and is refused.
    other.ok(&["daemon", "stop"]);
    let partial = other.home().join("import.partial");
    fs::create_dir(&partial).expect("a folder");
    for name in ["data", "keys"] {
        fs::rename(other.home().join(name), partial.join(name)).expect("as it was");
    }
    fs::write(partial.join("checked"), "data\nkeys").expect("a list");
    fs::write(&file, &whole[..end / 2]).expect("damage");
    let refused = import(&words);
    assert_eq!(refused.1, "already-registered", "{refused:?}");
    assert_eq!(other.json(&["account", "show"])["handle"], "alice");
    assert!(!partial.exists());
}
