//! The operator's commands, on a running relay and on the folder of a stopped one.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::path::Path;

use penpal_protocol::text::RelayAddress;
use penpal_protocol::wire::{DepositOutcome, FrameKind, RefusalCode};
use penpal_transport::chain::follow;
use penpal_transport::{Frame, RelayPin};
use serde_json::Value;

use crate::client::{Client, Way, pair};
use crate::process::{Process, binary, data};

fn run(data: &Path, args: &[&str]) -> (i32, Value, String) {
    let output = binary().args(args).arg("--data").arg(data).arg("--json").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let json = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout:?} {stderr}"));
    (output.status.code().unwrap(), json, stderr)
}

fn good(data: &Path, args: &[&str]) -> Value {
    let (status, json, stderr) = run(data, args);
    assert_eq!(status, 0, "{args:?} {json} {stderr}");
    json
}

fn token(data: &Path) -> String {
    good(data, &["token", "new", "--uses", "9"])["token"].as_str().unwrap().to_owned()
}

/// Files of a folder that hold these bytes.
fn found(dir: &Path, what: &[u8]) -> Vec<String> {
    let mut places = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            places.extend(found(&entry.path(), what));
        } else if let Ok(bytes) = fs::read(entry.path())
            && bytes.windows(what.len()).any(|window| window == what)
        {
            places.push(entry.path().display().to_string());
        }
    }
    places
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_listed_suspended_and_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(&dir);
    let process = Process::start(&data);
    let (alice, bob, way) = pair(&process.address, &token(&data)).await;
    alice.hello().await;
    bob.hello().await;
    let list = good(&data, &["account", "list"]);
    let handles: Vec<_> =
        list["accounts"].as_array().unwrap().iter().map(|one| one["handle"].clone()).collect();
    assert_eq!(handles, ["alice", "bob"]);
    let shown = good(&data, &["account", "show", "bob"]);
    assert_eq!((&shown["account"]["state"], &shown["account"]["links"]), (&"active".into(), &1.into()));
    assert_eq!(shown["account"]["devices"][0]["online"], true);
    assert_eq!(good(&data, &["account", "suspend", "bob"])["account"]["state"], "suspended");
    assert_eq!(
        crate::client::soon(bob.connection.closed()).await.to_string(),
        "closed by peer: Refused the operator has suspended this account"
    );
    let mut bob = Client::connect(&process.address, 2).await;
    assert_eq!(bob.deposit(&way, 1, vec![1; 4096]).await, DepositOutcome::No);
    assert_eq!(bob.refused_hello().await, RefusalCode::Suspended);
    assert_eq!(good(&data, &["account", "resume", "bob"])["account"]["state"], "active");
    assert_eq!(bob.deposit(&way, 2, vec![1; 4096]).await, DepositOutcome::Accepted);
    let (status, error, _) = run(&data, &["account", "show", "nobody"]);
    assert_eq!((status, &error["error"]["code"]), (1, &"no-account".into()));
    let (status, error, _) = run(&data, &["account", "delete", "bob"]);
    assert_eq!((status, &error["error"]["code"]), (4, &"needs-a-person".into()));
    let stats = good(&data, &["stats"]);
    assert_eq!((&stats["stats"]["accounts"], &stats["stats"]["deposits_accepted"]), (&2.into(), &1.into()));
    assert_eq!(process.terminate(), Some(0));
    let human = binary().args(["stats", "--data"]).arg(&data).output().unwrap();
    let human = String::from_utf8(human.stdout).unwrap();
    assert!(human.contains("stopped") && human.contains("2 accounts"), "{human}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_deleted_account_no_byte_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(&dir);
    let process = Process::start(&data);
    let token = token(&data);
    let alice = Client::connect(&process.address, 1).await;
    let mut bob = Client::connect(&process.address, 2).await;
    let carol = Client::connect(&process.address, 3).await;
    let registered = alice.register("alice-in-hiding", &token).await;
    let kept = carol.register("carol-who-stays", &token).await;
    bob.register("bob", &token).await;
    let way: Way = alice.open(0xd7, registered.slot).await;
    let other = carol.open(0xe8, kept.slot).await;
    bob.link(&way).await;
    bob.link(&other).await;
    let (gone, stays) = (vec![0x5e; 4096], vec![0x6f; 4096]);
    for number in 0..20 {
        assert_eq!(bob.deposit(&way, number, gone.clone()).await, DepositOutcome::Accepted);
        assert_eq!(bob.deposit(&other, number, stays.clone()).await, DepositOutcome::Accepted);
    }
    let key = *crate::client::key(1).public().as_bytes();
    let canaries: [(&str, &[u8]); 6] = [
        ("handle", b"alice-in-hiding"),
        ("account", registered.account.as_bytes()),
        ("slot", registered.slot.as_bytes()),
        ("transport key", &key),
        ("edge", &[0xd7; 16]),
        ("envelope", &gone[..256]),
    ];
    // What the log has not yet given to the index is given to it now.
    good(&data, &["rebuild-index"]);
    for (what, bytes) in canaries {
        assert!(!found(&data, bytes).is_empty(), "{what} is looked for rightly");
    }
    let deleted = good(&data, &["account", "delete", "alice-in-hiding", "--yes"]);
    assert_eq!(
        (&deleted["erased"], &deleted["deleted"]["handle"]),
        (&true.into(), &"alice-in-hiding".into())
    );
    for (what, bytes) in canaries {
        assert_eq!(found(&data, bytes), [""; 0], "{what}");
    }
    assert!(!found(&data, &stays[..256]).is_empty());
    assert_eq!(bob.deposit(&way, 99, gone).await, DepositOutcome::No);
    let mut carol = carol;
    carol.hello().await;
    for number in 0..20 {
        assert_eq!(carol.delivery().await.seq, number + 1);
    }
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_running_relay_is_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(&dir);
    let process = Process::start(&data);
    let address = process.address.clone();
    let (alice, mut bob, way) = pair(&address, &token(&data)).await;
    let before = alice.hello().await;
    drop(alice);
    assert_eq!(bob.deposit(&way, 1, vec![1; 4096]).await, DepositOutcome::Accepted);
    let copy = dir.path().join("copy");
    let copy_text = copy.to_str().unwrap();
    let written = good(&data, &["backup", copy_text]);
    assert!(written["backup"]["bytes"].as_u64().unwrap() > 4096, "{written}");
    assert!(found(&copy, b"graph").is_empty() && copy.with_file_name("copy.keys").exists());
    let (status, error, _) = run(&data, &["backup", copy_text]);
    assert_eq!((status, &error["error"]["code"]), (1, &"backup".into()));
    assert_eq!(bob.deposit(&way, 2, vec![2; 4096]).await, DepositOutcome::Accepted);
    assert_eq!(process.terminate(), Some(0));
    let (status, error, _) = run(&data, &["restore", copy_text]);
    assert_eq!((status, &error["error"]["code"]), (1, &"folder-in-use".into()));
    let moved = dir.path().join("elsewhere");
    let restored = good(&moved, &["restore", copy_text]);
    assert_eq!(restored["restored"]["waiting"].as_u64().map(|rows| rows > 0), Some(true), "{restored}");
    // The same port is free again: the same address in all.
    let process = Process::start(&moved);
    assert_eq!(process.address, address);
    let mut alice = Client::connect(&address, 1).await;
    let after = alice.hello().await;
    assert_ne!(after.epoch, before.epoch, "a restored relay begins anew");
    assert_eq!(after.newest, 1);
    assert_eq!(alice.delivery().await.envelope.to_vec(), vec![1; 4096]);
    assert_eq!(process.terminate(), Some(0));
    // A damaged copy is noticed, and nothing is put in place.
    let log = fs::read_dir(copy.join("store")).unwrap().map(|entry| entry.unwrap().path());
    let log = log.filter(|path| path.extension().is_some_and(|end| end == "log")).min().unwrap();
    let mut bytes = fs::read(&log).unwrap();
    // In the first batch, and others follow: no torn end.
    bytes[60] ^= 1;
    fs::write(&log, bytes).unwrap();
    let third = dir.path().join("third");
    let (status, error, _) = run(&third, &["restore", copy_text]);
    assert_eq!((status, &error["error"]["code"]), (1, &"damaged".into()));
    assert!(!third.join("store").exists() && !third.join("keys").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_repairs_after_saying_what_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(&dir);
    let process = Process::start(&data);
    let (_alice, mut bob, way) = pair(&process.address, &token(&data)).await;
    for number in 0..50 {
        assert_eq!(bob.deposit(&way, number, vec![1; 32 * 1024]).await, DepositOutcome::Accepted);
    }
    let running = good(&data, &["doctor"]);
    assert_eq!(running["checks"][2]["check"], "relay");
    assert_eq!(process.terminate(), Some(0));
    assert_eq!(good(&data, &["doctor"])["checks"][2]["ok"], true);
    let log = data.join("store/0000000001.log");
    let mut bytes = fs::read(&log).unwrap();
    // In a record, and not in the zeros between two batches, where nothing is lost.
    let written = bytes[..600_000].iter().rposition(|byte| *byte != 0).unwrap();
    bytes[written] ^= 1;
    fs::write(&log, bytes).unwrap();
    fs::write(data.join("place.json"), "noise").unwrap();
    let key = data.join("keys/relay.key");
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let (status, seen, _) = run(&data, &["doctor"]);
    let ok = |seen: &Value| -> Vec<bool> {
        seen["checks"].as_array().unwrap().iter().map(|check| check["ok"] == true).collect()
    };
    assert_eq!((status, ok(&seen)), (1, vec![false, false, false]), "{seen}");
    let (status, error, stderr) = run(&data, &["doctor", "--fix"]);
    assert_eq!((status, &error["error"]["code"]), (4, &"needs-a-person".into()));
    assert!(stderr.contains("0000000001.log"), "{stderr}");
    let (status, seen, _) = run(&data, &["doctor", "--fix", "--yes"]);
    assert_eq!((status, ok(&seen)), (0, vec![true, true, true]), "{seen}");
    let kept = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(kept.filter(|name| name.starts_with("store.damaged-")).count(), 1);
    let process = Process::start(&data);
    let mut alice = Client::connect(&process.address, 1).await;
    assert!(alice.welcome.registered, "what could be read is kept");
    alice.hello().await;
    alice.delivery().await;
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_with_another_key_can_be_followed_from_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(&dir);
    let process = Process::start(&data);
    let before = process.address.clone();
    let (status, error, _) = run(&data, &["rotate-key", "--yes"]);
    assert_eq!((status, &error["error"]["code"]), (1, &"folder-in-use".into()));
    assert_eq!(process.terminate(), Some(0));
    let (status, error, _) = run(&data, &["rotate-key"]);
    assert_eq!((status, &error["error"]["code"]), (4, &"needs-a-person".into()));
    let rotated = good(&data, &["rotate-key", "--yes"]);
    let process = Process::start(&data);
    assert_eq!(rotated["address"], process.address.to_string());
    assert_ne!(process.address, before);
    let client = Client::connect(&process.address, 9).await;
    let ask = Frame::new(FrameKind::GetKeyChain.number(), Vec::new());
    let answer = client.connection.request(&ask, 64 * 1024, crate::client::LONG).await.unwrap();
    assert_eq!(answer.kind, FrameKind::KeyChain.number());
    let pin = |address: &RelayAddress| RelayPin(*address.pin().as_bytes());
    assert_eq!(follow(&answer.payload, pin(&before), pin(&process.address)), Ok(()));
    assert!(follow(&answer.payload, pin(&process.address), pin(&before)).is_err());
    assert_eq!(process.terminate(), Some(0));
    assert_eq!(good(&data, &["doctor"])["checks"][0]["ok"], true);
}

pub(crate) fn http(at: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_health() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = crate::client::config(&dir);
    config.metrics = Some("127.0.0.1:0".parse().unwrap());
    let relay = penpal_relay::Relay::start(config, None).await.unwrap();
    let (alice, mut bob, way) = pair(relay.address(), &crate::client::token(&relay).await).await;
    for number in 0..3 {
        assert_eq!(bob.deposit(&way, number, vec![1; 4096]).await, DepositOutcome::Accepted);
    }
    let at = relay.metrics().unwrap().to_string();
    let asked = tokio::task::spawn_blocking(move || {
        ["/health", "/ready", "/metrics", "/else"].map(|path| http(&at, path))
    });
    let [health, ready, metrics, other] = asked.await.unwrap();
    assert!(health.starts_with("HTTP/1.1 200 OK\r\n") && health.ends_with("\r\n\r\nok\n"), "{health}");
    assert!(ready.ends_with("\r\n\r\nready\n"), "{ready}");
    assert!(other.starts_with("HTTP/1.1 404 "), "{other}");
    for line in [
        "penpal_relay_connections_opened_total 2",
        "penpal_relay_deposits_total{outcome=\"accepted\"} 3",
        "penpal_relay_spool_rows 3",
        "penpal_relay_accounts 2",
        "penpal_relay_handshakes_total{outcome=\"accepted\"} 2",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} not in {metrics}");
    }
    assert!(!metrics.contains("alice") && !metrics.contains("127.0.0.1"), "nobody is named");
    drop((alice, bob));
    relay.stop().await.unwrap();
}

#[test]
fn a_relay_that_is_not_there_and_one_that_gives_no_answer_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(&dir);
    for args in [&["stats"][..], &["address"], &["doctor"], &["account", "list"], &["rotate-key", "--yes"]] {
        let (status, error, stderr) = run(&data, args);
        assert_eq!((status, &error["error"]["code"]), (1, &"no-relay".into()), "{args:?}");
        assert!(stderr.contains("hint: penpal-relay serve"), "{stderr}");
    }
    assert_eq!(Process::start(&data).terminate(), Some(0));
    let path = data.join("admin.sock");
    fs::remove_file(&path).unwrap();
    let socket = UnixListener::bind(path).unwrap();
    // It hangs up on everybody, until the test's process ends.
    std::thread::spawn(move || socket.incoming().for_each(drop));
    let (status, error, _) = run(&data, &["account", "list"]);
    assert_eq!((status, &error["error"]["code"]), (1, &"unanswered".into()));
}
