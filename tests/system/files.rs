//! Files from one machine to another: sealed, resumed, and never seen unless whole.

use std::fs;
use std::path::{Path, PathBuf};

use penpal_tests::{Pair, Person, wait};

const CANARY_NAME: &str = "canary-name-71c4.bin";
const CANARY_TEXT: &[u8] = b"canary-content-4b1e";

fn text(path: &Path) -> String {
    path.to_str().expect("a path of text").to_owned()
}

/// A file that no compression or pattern makes smaller, with a canary in it.
fn file(folder: &Path, name: &str, bytes: usize) -> (PathBuf, Vec<u8>) {
    let mut content: Vec<u8> = Vec::with_capacity(bytes);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    while content.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        content.extend_from_slice(&state.to_be_bytes());
    }
    content.truncate(bytes);
    content[..CANARY_TEXT.len()].copy_from_slice(CANARY_TEXT);
    let path = folder.join(name);
    fs::write(&path, &content).expect("a file");
    (path, content)
}

/// Files of the relay's blobs.
fn blobs(pair: &Pair) -> Vec<PathBuf> {
    let entries = fs::read_dir(pair.relay.folder().join("blobs")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn hash_of(content: &[u8]) -> String {
    blake3::hash(content).to_hex().to_string()
}

/// The first file of the newest message in bob's `web`.
fn arrived(bob: &Person, hash: &str) {
    wait::until("the message with its file", || {
        let inbox = bob.json(&["inbox", "web", "--all"]);
        inbox["messages"].as_array().expect("mail").iter().any(|one| one["artifacts"][0]["hash"] == hash)
    });
}

#[test]
fn a_file_reaches_a_contact_and_the_relay_learns_neither_name_nor_content() {
    let pair = Pair::connected();
    let (path, content) = file(pair.folder(), CANARY_NAME, 3_500_000);
    let hash = hash_of(&content);
    let sent = pair.alice.json(&["send", "bob/web", "here it is", "--file", &text(&path), "--anyway"]);
    assert_ne!(sent["stage"], "refused", "{sent}");
    arrived(&pair.bob, &hash);
    // The recipient fetches nothing by itself.
    assert_eq!(pair.bob.json(&["artifact", "list"])["artifacts"][0]["here"], false);
    let out = pair.folder().join("fetched.bin");
    let got = pair.bob.json(&["artifact", "get", &hash[..10], "--output", &text(&out)]);
    assert_eq!(got["bytes"], content.len());
    assert!(fs::read(&out).expect("the copy") == content);
    // The same content again, to the same relay: one blob, and one copy on each shelf.
    pair.alice.ok(&["send", "bob/web", "again", "--file", &text(&path), "--anyway"]);
    assert_eq!(blobs(&pair).len(), 1);
    let sealed = fs::read(&blobs(&pair)[0]).expect("a blob");
    assert_eq!(sealed.len(), 3_538_944 + 54 * 16, "padded, a tag for each 64 KiB");
    for file in files_below(pair.relay.folder()) {
        let bytes = fs::read(&file).unwrap_or_default();
        for canary in [CANARY_NAME.as_bytes(), CANARY_TEXT, &content[1_000_000..1_000_032], hash.as_bytes()] {
            assert!(!bytes.windows(canary.len()).any(|window| window == canary), "{}", file.display());
        }
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() { all.extend(files_below(&entry.path())) } else { all.push(entry.path()) }
    }
    all
}

#[test]
fn an_altered_blob_is_never_seen() {
    let pair = Pair::connected();
    let (path, content) = file(pair.folder(), "x.bin", 2_500_000);
    let hash = hash_of(&content);
    pair.alice.ok(&["send", "bob/web", "x", "--file", &text(&path), "--anyway"]);
    arrived(&pair.bob, &hash);
    let blob = blobs(&pair).remove(0);
    let mut sealed = fs::read(&blob).expect("a blob");
    let middle = sealed.len() / 2;
    sealed[middle] ^= 1;
    fs::write(&blob, &sealed).expect("the relay's disk is its own");
    let out = pair.folder().join("out.bin");
    let said = pair.bob.try_json(&["artifact", "get", &hash, "--output", &text(&out)]);
    assert_eq!((said.status, said.code().as_str()), (1, "artifact-damaged"), "{said:?}");
    assert!(!out.exists());
    assert_eq!(pair.bob.json(&["artifact", "list"])["kept_bytes"], 0);
    // A blob that was cut is not said to be there any more: nothing of it is left here, and whoever has it sends the rest again.
    sealed[middle] ^= 1;
    fs::write(&blob, &sealed[..middle]).expect("its own");
    let said = pair.bob.try_json(&["artifact", "get", &hash, "--output", &text(&out)]);
    assert_eq!((said.status, said.code().as_str()), (1, "unknown-artifact"), "{said:?}");
    assert!(!out.exists());
    let partial = fs::read_dir(pair.bob.home().join("artifacts/partial")).expect("a folder");
    assert_eq!(partial.count(), 0);
    pair.alice.ok(&["send", "bob/web", "again", "--file", &text(&path), "--anyway"]);
    wait::until("the content", || {
        pair.bob.try_json(&["artifact", "get", &hash, "--output", &text(&out)]).status == 0
    });
    assert!(fs::read(&out).expect("the copy") == content);
}

#[test]
fn a_transfer_goes_on_after_any_kill() {
    let mut pair = Pair::connected();
    let (path, content) = file(pair.folder(), "large.bin", 40_000_000);
    let hash = hash_of(&content);
    pair.relay.kill();
    let sent =
        pair.alice.json(&["send", "bob/web", "large", "--file", &text(&path), "--anyway", "--wait", "0s"]);
    assert_eq!(sent["stage"], "queued");
    fs::remove_file(&path).expect("what is sent is the copy");
    let id = sent["id"].as_str().expect("an id").to_owned();
    pair.relay.restart();
    // Killed again and again while parts are on their way.
    for round in 0..3 {
        wait::until("some parts at the relay", || {
            let written =
                blobs(&pair).first().and_then(|blob| fs::metadata(blob).ok()).map(|found| found.len());
            written.is_some_and(|bytes| bytes > round * 8_000_000)
        });
        pair.alice.kill_node();
        pair.relay.kill();
        pair.relay.restart();
        pair.alice.ok(&["status"]);
    }
    arrived(&pair.bob, &hash);
    wait::until("a signed receipt", || {
        let trace = pair.alice.json(&["trace", &id]);
        trace["events"].as_array().expect("events").iter().any(|one| one["stage"] == "delivered")
    });
    let out = pair.folder().join("out.bin");
    let mut killed = 0;
    for _ in 0..3 {
        let mut get = pair
            .bob
            .command(&["artifact", "get", &hash, "--output", &text(&out)])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("penpal runs");
        let partial = pair.bob.home().join("artifacts/partial");
        wait::until("a part, or the end", || {
            let lists = fs::read_dir(&partial).into_iter().flatten().flatten();
            let begun =
                lists.into_iter().any(|entry| entry.path().extension().is_some_and(|end| end == "have"));
            begun || get.try_wait().expect("its status").is_some()
        });
        if get.try_wait().expect("its status").is_none() {
            killed += 1;
        }
        get.kill().ok();
        get.wait().expect("its end");
        pair.bob.kill_node();
        pair.relay.kill();
        pair.relay.restart();
    }
    eprintln!("killed in the middle of {killed} of 3 fetches");
    pair.bob.ok(&["artifact", "get", &hash, "--output", &text(&out), "--force"]);
    assert!(fs::read(&out).expect("the copy") == content);
    assert_eq!(fs::read_dir(pair.bob.home().join("artifacts/partial")).expect("a folder").count(), 0);
}

#[test]
fn a_file_beyond_a_quota_is_refused_with_both_numbers() {
    let pair = Pair::connected_with(&["--artifact-bytes", "1000000"]);
    let (path, _) = file(pair.folder(), "big.bin", 1_100_000);
    let said =
        pair.alice.try_json(&["send", "bob/web", "x", "--file", &text(&path), "--anyway", "--wait", "20s"]);
    let sent = said.json();
    assert_eq!((said.status, sent["stage"].as_str()), (1, Some("refused")), "{said:?}");
    let reason = sent["reason"].as_str().expect("a reason");
    assert!(reason.contains("(1.0 MiB)") && reason.contains("up to 976.5 KiB (1000000 bytes)"), "{reason}");
    assert_eq!(pair.bob.bodies("web"), [""; 0]);
    assert_eq!(blobs(&pair).len(), 0);
    // What was sent for a message that never went is taken back.
    let big = path;
    let (path, content) = file(pair.folder(), "small.bin", 900_000);
    let files = ["--file", &text(&path), "--file", &text(&big)];
    let said =
        pair.alice.try_json(&[&["send", "bob/web", "x", "--anyway", "--wait", "20s"], &files[..]].concat());
    assert_eq!(said.json()["stage"], "refused", "{said:?}");
    wait::until("nothing counts at the relay", || {
        pair.relay.operator(&["account", "show", "alice"])["account"]["blobs"] == 0
    });
    wait::until("nothing is kept", || blobs(&pair).is_empty());
    pair.alice.ok(&["send", "bob/web", "small", "--file", &text(&path), "--anyway"]);
    arrived(&pair.bob, &hash_of(&content));
}

fn blob_path(pair: &Pair, known: &[PathBuf]) -> PathBuf {
    let mut new = blobs(pair);
    new.retain(|path| !known.contains(path));
    assert_eq!(new.len(), 1, "one more blob than {known:?}");
    new.remove(0)
}

#[test]
fn a_relay_put_back_to_a_copy_gets_the_files_again_that_it_lacks() {
    let mut pair = Pair::connected();
    let names = ["kept.bin", "lost.bin", "cut.bin", "later.bin"];
    let files: Vec<(PathBuf, Vec<u8>)> =
        names.iter().zip(1..).map(|(name, n)| file(pair.folder(), name, 2_000_000 + n * 100_000)).collect();
    let send = |pair: &Pair, n: usize| {
        let known = blobs(pair);
        pair.alice.ok(&["send", "bob/web", "a file", "--file", &text(&files[n].0), "--anyway"]);
        arrived(&pair.bob, &hash_of(&files[n].1));
        blob_path(pair, &known)
    };
    let at_relay: Vec<PathBuf> = (0..3).map(|n| send(&pair, n)).collect();
    let copy = pair.folder().join("copy");
    pair.relay.operator(&["backup", &text(&copy)]);
    send(&pair, 3);
    // The machine is lost, and of the copy a file and half of another.
    pair.relay.kill();
    fs::remove_dir_all(pair.relay.folder()).expect("it goes");
    pair.relay.operator(&["restore", &text(&copy)]);
    fs::remove_file(&at_relay[1]).expect("it was in the copy");
    let cut = fs::File::options().write(true).open(&at_relay[2]).expect("it was in the copy");
    cut.set_len(1_500_000).expect("cut");
    // Without the sender, the reader is told the truth.
    pair.alice.ok(&["daemon", "stop"]);
    pair.relay.restart();
    let out = pair.folder().join("out.bin");
    let get = |n: usize| {
        ["artifact".to_owned(), "get".to_owned(), hash_of(&files[n].1), "--output".to_owned(), text(&out)]
    };
    for n in [1, 2, 3] {
        let args = get(n);
        let said = pair.bob.try_json(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!((said.status, said.code().as_str()), (1, "unknown-artifact"), "{n}: {said:?}");
        assert!(!out.exists());
    }
    // With it, everything is there again by itself: it sees that the relay began another life.
    pair.alice.ok(&["status"]);
    for (n, (_, content)) in files.iter().enumerate() {
        let args = get(n);
        wait::until(names[n], || {
            pair.bob.run(&args.iter().map(String::as_str).collect::<Vec<_>>()).status == 0
        });
        assert!(fs::read(&out).expect("the copy") == *content);
        fs::remove_file(&out).expect("ours");
    }
}

#[test]
fn a_file_that_vanishes_under_a_running_relay_is_no_longer_said_to_be_there() {
    let pair = Pair::connected();
    let (path, content) = file(pair.folder(), "x.bin", 2_500_000);
    let hash = hash_of(&content);
    pair.alice.ok(&["send", "bob/web", "x", "--file", &text(&path), "--anyway"]);
    arrived(&pair.bob, &hash);
    fs::remove_file(&blobs(&pair)[0]).expect("the relay's disk is its own");
    let out = pair.folder().join("out.bin");
    let said = pair.bob.try_json(&["artifact", "get", &hash, "--output", &text(&out)]);
    assert_eq!((said.status, said.code().as_str()), (1, "unknown-artifact"), "{said:?}");
    assert!(!out.exists());
    let log = fs::read_to_string(pair.relay.log()).expect("its log");
    assert!(log.contains("a part of a blob cannot be read"), "{log}");
    let again = pair.bob.try_json(&["artifact", "get", &hash, "--output", &text(&out)]);
    assert_eq!(again.code(), "unknown-artifact", "{again:?}");
    // Whoever sends it again asks whether it is still there.
    pair.alice.ok(&["send", "bob/web", "again", "--file", &text(&path), "--anyway"]);
    wait::until("the file", || {
        pair.bob.run(&["artifact", "get", &hash, "--output", &text(&out)]).status == 0
    });
    assert!(fs::read(&out).expect("the copy") == content);
}

#[test]
fn an_account_that_is_deleted_leaves_no_byte_of_its_files() {
    let pair = Pair::connected();
    let (path, content) = file(pair.folder(), "x.bin", 2_500_000);
    pair.alice.ok(&["send", "bob/web", "x", "--file", &text(&path), "--anyway"]);
    arrived(&pair.bob, &hash_of(&content));
    let blob = blobs(&pair).remove(0);
    let sealed = fs::read(&blob).expect("a blob");
    let id =
        penpal_protocol::ids::BlobId::parse(blob.file_name().and_then(|name| name.to_str()).expect("text"))
            .expect("an id");
    let found = |needle: &[u8]| {
        files_below(pair.relay.folder()).into_iter().find(|file| {
            fs::read(file).unwrap_or_default().windows(needle.len()).any(|window| window == needle)
        })
    };
    assert!(found(id.as_bytes()).is_some(), "the log knows the blob");
    let deleted = pair.relay.operator(&["account", "delete", "alice", "--yes"]);
    assert_eq!(deleted["erased"], true, "{deleted}");
    assert_eq!(blobs(&pair).len(), 0);
    for needle in [id.as_bytes().as_slice(), &sealed[..64], &sealed[1_200_000..1_200_064]] {
        assert_eq!(found(needle), None);
    }
    // The other's files are untouched, and so is what the sender has.
    let sent = pair.bob.run(&["send", "alice/api", "x", "--file", &text(&path), "--anyway", "--wait", "0s"]);
    assert_eq!(sent.status, 0, "{sent:?}");
    assert_eq!(fs::read(&path).expect("the file"), content);
}

#[test]
fn an_answer_may_carry_files() {
    let pair = Pair::connected();
    let sent = pair.alice.json(&["send", "bob/web", "send me the log?", "--ask", "--anyway", "--wait", "0s"]);
    let id = sent["id"].as_str().expect("an id").to_owned();
    wait::until("the ask", || pair.bob.bodies("web") == ["send me the log?"]);
    let (path, content) = file(pair.folder(), "the.log", 1_200_000);
    let short = sent["short"].as_str().expect("a short id");
    pair.bob.ok(&["reply", short, "--file", &text(&path)]);
    wait::until("the answer", || {
        let trace = pair.alice.json(&["trace", &id]);
        trace["events"].as_array().expect("events").iter().any(|one| one["stage"] == "answered")
    });
    let inbox = pair.alice.json(&["inbox", "--all"]);
    let row = &inbox["messages"][0];
    assert_eq!(row["artifacts"][0]["hash"], hash_of(&content).as_str(), "{inbox}");
    assert_eq!(row["body"], "", "a file alone is an answer");
    let out = pair.folder().join("out.log");
    pair.alice.ok(&["artifact", "get", &hash_of(&content), "--output", &text(&out)]);
    assert!(fs::read(&out).expect("the copy") == content);
}
