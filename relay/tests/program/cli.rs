//! The command line: streams, exit status, shapes.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::process::{Process, binary, data};

struct Ran {
    status: i32,
    stdout: String,
    stderr: String,
}

fn run(args: &[&str], data: &Path) -> Ran {
    let output = binary().args(args).arg("--data").arg(data).output().unwrap();
    Ran {
        status: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn json(ran: &Ran) -> Value {
    assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn address_and_tokens_of_a_running_and_a_stopped_relay() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(&dir);
    let process = Process::start(&data);
    let ready: Value = serde_json::from_str(&process.ready).unwrap();
    assert_eq!(ready["v"], 1);
    assert!(ready["listening"].as_str().unwrap().starts_with("127.0.0.1:"));
    let address = ready["address"].clone();
    let mut ids = Vec::new();
    let mut check = |data: &Path| {
        let shown = json(&run(&["address", "--json"], data));
        assert_eq!((&shown["v"], &shown["address"]), (&Value::from(1), &address));
        assert!(address.as_str().unwrap().ends_with(shown["pin"].as_str().unwrap()));
        assert_eq!(run(&["address"], data).stdout.trim(), address.as_str().unwrap());
        let minted = json(&run(&["token", "new", "--json", "--note", "for bob"], data));
        assert_eq!(minted["token"].as_str().unwrap().len(), 19);
        ids.push(minted["id"].as_str().unwrap().to_owned());
        let list = json(&run(&["token", "list", "--json"], data));
        assert_eq!(list["tokens"].as_array().unwrap().len(), ids.len());
        let human = run(&["token", "list"], data);
        assert!(human.stdout.contains("for bob") && human.stdout.contains("in 3 days"), "{}", human.stdout);
    };
    check(&data);
    assert_eq!(process.terminate(), Some(0));
    check(&data);
    let revoked = run(&["token", "revoke", &ids[0][..5]], &data);
    assert_eq!((revoked.status, revoked.stdout), (0, format!("revoked {} for bob\n", ids[0])));
    let again = run(&["token", "revoke", &ids[0]], &data);
    assert_eq!(again.status, 1);
    assert_eq!(again.stderr, "error: no token like this can be used\nhint: penpal-relay token list\n");
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    for words in [&["version"][..], &["--help"], &["man"], &["completions", "bash"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let said = binary().args(words).stdout(full).output().unwrap();
        let err = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(1), "{words:?}: {err}");
        assert!(err.starts_with("error: ") && err.contains("cannot be written"), "{words:?}: {err}");
        assert!(err.lines().nth(1).unwrap().starts_with("hint: "), "{words:?}: {err}");
    }
}

#[test]
fn a_second_relay_in_a_folder_is_refused_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(&dir);
    let process = Process::start(&data);
    let ran = run(&["serve", "--listen", "127.0.0.1:0", "--json"], &data);
    assert_eq!(ran.status, 1);
    let error = &json(&ran)["error"];
    assert_eq!(error["code"], "folder-in-use");
    assert!(ran.stderr.contains("is in use by another process"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("hint: stop the relay that uses it, or choose another folder with --data"),
        "{}",
        ran.stderr
    );
    drop(process);
}

#[test]
fn a_person_sees_where_it_listens_and_how_to_begin() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let mut child = binary()
        .args(["serve", "--listen", "127.0.0.1:0", "--public", "relay.example.com", "--data"])
        .arg(data(&dir))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines: Vec<String> =
        BufReader::new(child.stdout.take().unwrap()).lines().take(3).map(Result::unwrap).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(lines[0].starts_with("  listening  127.0.0.1:") && lines[0].ends_with("/udp"), "{lines:?}");
    assert!(lines[1].starts_with("  address    penpal://relay.example.com:"), "{lines:?}");
    assert!(
        lines[2].starts_with("  register   by invite. First account: penpal register penpal://"),
        "{lines:?}"
    );
    assert!(lines[2].contains(" --token ") && lines[2].ends_with(" --handle you"), "{lines:?}");
}

#[test]
fn settings_are_checked_and_errors_name_them() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("relay.toml");
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        run(&["serve", "--check", "--config", file.to_str().unwrap()], &data(&dir))
    };
    let good = check("listen = '127.0.0.1:0'\nregister = 'open'\n");
    assert_eq!((good.status, good.stdout.as_str()), (0, "settings and folders are usable\n"));
    assert!(!data(&dir).exists(), "checking changes nothing");
    for (text, part) in [("port = 1", "port"), ("listen = 'x'", "listen"), ("public = 'a b'", "public")] {
        let bad = check(text);
        assert_eq!(bad.status, 2, "{text}");
        assert!(bad.stderr.starts_with("error: ") && bad.stderr.contains(part), "{}", bad.stderr);
        assert!(bad.stderr.contains("\nhint: "), "{}", bad.stderr);
    }
    let missing = run(&["serve", "--check", "--config", "/nowhere.toml"], &data(&dir));
    assert_eq!(missing.status, 2);
    assert!(missing.stderr.starts_with("error: cannot read /nowhere.toml: "), "{}", missing.stderr);
}

#[test]
fn environment_is_below_flags() {
    let dir = tempfile::tempdir().unwrap();
    let check = |args: &[&str]| {
        let mut command = binary();
        command.args(["serve", "--check"]).args(args).env("PENPAL_RELAY_DATA", data(&dir));
        command.env("PENPAL_RELAY_LISTEN", "nonsense").output().unwrap().status.code()
    };
    assert_eq!(check(&[]), Some(2));
    assert_eq!(check(&["--listen", "127.0.0.1:0"]), Some(0));
}

#[test]
fn wrong_usage_and_missing_relays() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(&dir);
    assert_eq!(binary().output().unwrap().status.code(), Some(2));
    assert_eq!(binary().arg("frobnicate").output().unwrap().status.code(), Some(2));
    let help = binary().arg("--help").output().unwrap();
    assert!(help.status.success() && help.stderr.is_empty());
    let version = binary().arg("version").output().unwrap();
    assert!(String::from_utf8(version.stdout).unwrap().starts_with("penpal-relay 0."));
    for args in [&["address"][..], &["token", "list"]] {
        let ran = run(args, &data);
        assert_eq!(ran.status, 1, "{args:?}");
        assert!(
            ran.stderr.contains(&format!("hint: penpal-relay serve --data {}", data.display())),
            "{}",
            ran.stderr
        );
    }
    assert!(!data.exists());
}

#[test]
fn a_garbage_file_and_a_torn_key_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(&dir);
    drop(Process::start(&data));
    fs::write(data.join("store/noise"), "noise").unwrap();
    drop(Process::start(&data));
    fs::write(data.join("place.json"), "noise").unwrap();
    let ran = run(&["serve", "--listen", "127.0.0.1:0"], &data);
    assert_eq!(ran.status, 1);
    assert!(ran.stderr.contains("place.json is not usable"), "{}", ran.stderr);
    fs::remove_file(data.join("place.json")).unwrap();
    fs::write(data.join("keys/graph.key"), [0; 5]).unwrap();
    let ran = run(&["serve", "--listen", "127.0.0.1:0"], &data);
    assert_eq!(ran.status, 1);
    assert!(ran.stderr.contains("graph.key has 5 bytes, 32 are expected"), "{}", ran.stderr);
}
