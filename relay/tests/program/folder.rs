//! The folder: keys, old copies, somebody else's data.

use std::fs;
use std::path::Path;

use penpal_protocol::wire::DepositOutcome;
use penpal_relay::{KeysError, Relay, RelayError};

use crate::client::{Client, config, pair, relay, token};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn data_put_back_from_a_copy_begins_a_new_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let (store, backup) = (dir.path().join("data/store"), dir.path().join("backup"));
    let first = relay(&dir).await;
    let address = first.address().clone();
    let (alice, mut bob, way) = pair(&address, &token(&first).await).await;
    let epoch = alice.hello().await.epoch;
    assert_eq!(bob.deposit(&way, 1, vec![1; 4096]).await, DepositOutcome::Accepted);
    first.stop().await.unwrap();
    copy(&store, &backup);
    let second = relay(&dir).await;
    let mut bob = Client::connect(&address, 2).await;
    assert_eq!(bob.deposit(&way, 2, vec![2; 4096]).await, DepositOutcome::Accepted);
    let alice = Client::connect(&address, 1).await;
    assert_eq!(alice.hello().await.epoch, epoch, "a plain restart keeps it");
    second.stop().await.unwrap();
    fs::remove_dir_all(&store).unwrap();
    copy(&backup, &store);
    for _ in 0..2 {
        // New once, and then kept.
        let third = relay(&dir).await;
        let alice = Client::connect(&address, 1).await;
        let hello = alice.hello().await;
        assert_ne!(hello.epoch, epoch);
        assert_eq!(hello.newest, 1);
        third.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_folder_has_one_relay() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(&dir).await;
    match Relay::start(config(&dir), None).await {
        Err(RelayError::InUse { data }) => assert_eq!(data, dir.path().join("data")),
        other => panic!("{other:?}"),
    }
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn data_without_its_keys_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    relay(&dir).await.stop().await.unwrap();
    let keys = dir.path().join("data/keys");
    let kept = dir.path().join("kept");
    fs::rename(&keys, &kept).unwrap();
    match Relay::start(config(&dir), None).await {
        Err(RelayError::Keys(KeysError::Missing { path })) => assert_eq!(path, keys.join("relay.key")),
        other => panic!("{other:?}"),
    }
    // Keys of another relay are noticed too.
    let other = tempfile::tempdir().unwrap();
    relay(&other).await.stop().await.unwrap();
    copy(&other.path().join("data/keys"), &keys);
    let error = Relay::start(config(&dir), None).await.unwrap_err();
    let source = std::error::Error::source(&error).map(ToString::to_string);
    assert_eq!(source.as_deref(), Some("the data was written with other keys than these"), "{error:?}");
    fs::remove_dir_all(&keys).unwrap();
    fs::rename(&kept, &keys).unwrap();
    relay(&dir).await.stop().await.unwrap();
}

#[tokio::test]
async fn keys_can_be_kept_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir);
    config.keys = Some(dir.path().join("elsewhere"));
    config.public = Some("relay.example.com".parse().unwrap());
    let relay = Relay::start(config.clone(), None).await.unwrap();
    let address = relay.address().clone();
    assert_eq!(address.at.to_string(), format!("relay.example.com:{}", relay.listening().port()));
    relay.stop().await.unwrap();
    assert!(dir.path().join("elsewhere/graph.key").exists());
    assert!(!dir.path().join("data/keys").exists());
    // The name is remembered.
    config.public = None;
    let relay = Relay::start(config, None).await.unwrap();
    assert_eq!(*relay.address(), address);
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_path_has_its_admin_socket_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir);
    config.data = dir.path().join("d".repeat(120));
    let relay = Relay::start(config.clone(), None).await.unwrap();
    let output =
        crate::process::binary().args(["token", "list", "--json", "--data"]).arg(&config.data).output();
    assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), "{\"v\":1,\"tokens\":[]}\n");
    relay.stop().await.unwrap();
}
