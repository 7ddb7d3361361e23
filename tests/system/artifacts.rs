//! Files: kept once, fetched whole or not at all, removed when nobody needs them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use penpal_tests::{Person, folder};

/// Contents on a person's shelf.
fn contents(person: &Person) -> Vec<String> {
    let entries = fs::read_dir(person.home().join("artifacts/content")).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn text(path: &Path) -> String {
    path.to_str().expect("a path of text").to_owned()
}

#[test]
fn a_file_goes_from_session_to_session_and_is_kept_once() {
    let folder = folder();
    let me = Person::new(&folder, "me");
    me.ok(&["session", "open", "api"]);
    me.ok(&["session", "open", "web"]);
    let (file, out) = (folder.path().join("schema v2.sql"), folder.path().join("out"));
    fs::create_dir(&out).expect("a folder");
    let content: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(&file, &content).expect("a file");
    let hash = blake3::hash(&content).to_hex().to_string();
    for _ in 0..2 {
        let sent = me.json(&["send", "web", "the schema", "--as", "api", "--file", &text(&file)]);
        assert_eq!(sent["stage"], "delivered");
    }
    assert_eq!(contents(&me), [hash.as_str()], "one copy, however often it is sent");
    // What was sent is what the file was.
    fs::write(&file, "changed").expect("a file");
    let inbox = me.json(&["inbox", "web"]);
    let files = &inbox["messages"][0]["artifacts"];
    assert_eq!(files[0]["hash"], hash.as_str());
    assert_eq!(files[0]["name"], "schema v2.sql");
    assert_eq!(files[0]["bytes"], content.len());
    let got = me.json(&["artifact", "get", &hash[..8], "--output", &text(&out)]);
    let saved = out.join("schema v2.sql");
    assert_eq!(got["path"], text(&saved).as_str());
    assert!(fs::read(&saved).expect("the copy") == content);
    assert_eq!(fs::metadata(&saved).expect("it").permissions().mode() & 0o777, 0o600);
    // Nothing is replaced by itself.
    let said = me.try_json(&["artifact", "get", &hash, "--output", &text(&saved)]);
    assert_eq!((said.status, said.code().as_str()), (1, "file-exists"), "{said:?}");
    me.ok(&["artifact", "get", &hash, "--output", &text(&saved), "--force"]);
    // Standard error is no terminal: no bar, and JSON alone on standard output.
    let said = me.run(&["artifact", "put", &text(&saved), "--json"]);
    assert_eq!((said.json()["new"].as_bool(), said.err.as_str()), (Some(false), ""));
    let list = me.json(&["artifact", "list"]);
    let row = &list["artifacts"][0];
    assert_eq!((row["messages"].as_u64(), row["here"].as_bool()), (Some(2), Some(true)), "{list}");
    assert_eq!(row["from"], serde_json::json!(["api"]));
}

#[test]
fn what_a_message_refers_to_stays_and_the_rest_goes() {
    let folder = folder();
    let me = Person::new(&folder, "me");
    me.ok(&["session", "open", "web"]);
    let (needed, unneeded) = (folder.path().join("needed"), folder.path().join("unneeded"));
    fs::write(&needed, "needed").expect("a file");
    fs::write(&unneeded, "").expect("an empty file");
    me.ok(&["send", "web", "--file", &text(&needed)]);
    let put = me.json(&["artifact", "put", &text(&unneeded)]);
    let hash = put["hash"].as_str().expect("a hash").to_owned();
    assert_eq!(me.json(&["artifact", "gc"])["removed"].as_array().map(Vec::len), Some(0), "it is too young");
    let tried = me.json(&["artifact", "gc", "--keep", "0s", "--dry-run"]);
    assert_eq!(tried["removed"][0]["hash"], hash.as_str());
    assert_eq!(contents(&me).len(), 2);
    let done = me.json(&["artifact", "gc", "--keep", "0s"]);
    assert_eq!((done["removed"][0]["name"].as_str(), done["kept"].as_u64()), (Some("unneeded"), Some(1)));
    assert_eq!(contents(&me).len(), 1);
    let said = me.try_json(&["artifact", "get", &hash]);
    assert_eq!((said.status, said.code().as_str()), (1, "unknown-artifact"));
    // A content that no row speaks of is left from a step that never was: the next start removes it.
    let stray = me.home().join("artifacts/content").join(&hash);
    fs::write(&stray, "").expect("a stray file");
    me.kill_node();
    me.ok(&["artifact", "list"]);
    assert!(!stray.exists());
    assert_eq!(contents(&me).len(), 1);
}

#[test]
fn what_is_no_file_or_damaged_is_refused() {
    let folder = folder();
    let me = Person::new(&folder, "me");
    me.ok(&["session", "open", "web"]);
    for path in [folder.path().join("absent"), folder.path().to_path_buf(), "/dev/zero".into()] {
        let said = me.try_json(&["send", "web", "x", "--file", &text(&path)]);
        assert_eq!((said.status, said.code().as_str()), (1, "bad-file"), "{said:?}");
    }
    assert_eq!(me.bodies("web"), [""; 0]);
    let file = folder.path().join("x");
    fs::write(&file, "content").expect("a file");
    let put = me.json(&["artifact", "put", &text(&file)]);
    let hash = put["hash"].as_str().expect("a hash").to_owned();
    let kept = me.home().join("artifacts/content").join(&hash);
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o600)).expect("ours");
    fs::write(&kept, "cOntent").expect("ours");
    let out = folder.path().join("out");
    let said = me.try_json(&["artifact", "get", &hash, "--output", &text(&out)]);
    assert_eq!((said.status, said.code().as_str()), (1, "artifact-damaged"));
    assert!(!out.exists());
    for bad in ["zzzzzz", "12", "../../x"] {
        assert_eq!(me.try_json(&["artifact", "get", bad]).code(), "unknown-artifact");
    }
    let many: Vec<String> = (0..17).flat_map(|_| ["--file".to_owned(), text(&file)]).collect();
    let mut args = vec!["send", "web", "x"];
    args.extend(many.iter().map(String::as_str));
    let said = me.try_json(&args);
    assert_eq!((said.status, said.code().as_str()), (2, "usage"), "{said:?}");
}
