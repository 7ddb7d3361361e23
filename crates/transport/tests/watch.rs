//! Network changes and sleep as the kernel reports them, in namespaces of the test's own.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers fail a test like the test itself does")]
#![allow(clippy::print_stdout, reason = "a skipped test says so")]

use std::process::{Command, Stdio};
use std::time::Duration;

use penpal_transport::clock::suspended_since_boot;
use penpal_transport::watch::{NetworkWatch, PathChange, PathWatch, SuspendCheck};

/// Set in the child that runs inside the namespace.
const INSIDE: &str = "PENPAL_TEST_IN_NAMESPACE";

const LIMIT: Duration = Duration::from_secs(10);

/// Fresh namespaces for users and network, where loopback is down.
const NETWORK: &[&str] = &["-rn"];

/// Fresh namespaces for users and time, where the machine seems to have slept for an hour.
const SLEPT: &[&str] = &["-rT", "--boottime", "3600"];

/// Runs one test of this file again in namespaces made by unshare(1).
fn in_namespace(namespaces: &[&str], test: &str) {
    let works = Command::new("unshare").args(namespaces).args(["ip", "link"]).stdout(Stdio::null()).status();
    if !works.is_ok_and(|status| status.success()) {
        println!("skipped: unshare {namespaces:?} and ip do not work here");
        return;
    }
    let status = Command::new("unshare")
        .args(namespaces)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success());
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

#[tokio::test]
async fn link_address_and_route_changes_are_reported_once_each_burst() {
    if std::env::var_os(INSIDE).is_none() {
        return in_namespace(NETWORK, "link_address_and_route_changes_are_reported_once_each_burst");
    }
    let mut watch = NetworkWatch::new().unwrap();
    let mut path = PathWatch::new(vec!["127.0.0.1:9".parse().unwrap(), "192.0.2.7:9".parse().unwrap()]);
    assert_eq!(path.check(), None, "nothing is reachable and nothing has changed");

    ip("link set lo up");
    tokio::time::timeout(LIMIT, watch.changed()).await.expect("reported").unwrap();
    assert_eq!(path.check(), Some(PathChange::Usable), "loopback is there now");
    assert_eq!(path.check(), None);

    // A network that does not concern the peers.
    ip("address add 198.51.100.1/32 dev lo");
    tokio::time::timeout(LIMIT, watch.changed()).await.expect("reported").unwrap();
    assert_eq!(path.check(), None, "the way to the peers is the same");

    // One that does: address and route in one burst.
    ip("address add 192.0.2.1/24 dev lo");
    ip("route add 203.0.113.0/24 dev lo");
    tokio::time::timeout(LIMIT, watch.changed()).await.expect("reported").unwrap();
    assert_eq!(path.check(), Some(PathChange::Usable));

    // The burst is over: nothing is left to report, and nothing wakes anybody.
    let quiet = tokio::time::timeout(Duration::from_millis(50), watch.changed()).await;
    assert!(quiet.is_err(), "{quiet:?}");

    ip("address del 192.0.2.1/24 dev lo");
    ip("address del 127.0.0.1/8 dev lo");
    tokio::time::timeout(LIMIT, watch.changed()).await.expect("reported").unwrap();
    assert_eq!(path.check(), Some(PathChange::Gone));
}

#[test]
fn time_asleep_is_read_from_the_clocks() {
    if std::env::var_os(INSIDE).is_none() {
        return in_namespace(SLEPT, "time_asleep_is_read_from_the_clocks");
    }
    let slept = suspended_since_boot();
    assert!(slept.as_secs() >= 3_599, "{slept:?}");
    let mut check = SuspendCheck::from_known(Duration::ZERO);
    assert!(check.check().is_some_and(|reported| reported.as_secs() >= 3_599));
    assert_eq!(check.check(), None);
}
