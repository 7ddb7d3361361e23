//! The binary as a process, killed without warning.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use penpal_protocol::text::RelayAddress;
use penpal_protocol::wire::DepositOutcome;

use crate::client::{Client, pair};

pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penpal-relay"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PENPAL_")) {
        command.env_remove(name);
    }
    command
}

/// A relay in a process of its own; killed when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: RelayAddress,
    pub(crate) ready: String,
}

impl Process {
    pub(crate) fn start(data: &Path) -> Self {
        let mut child = binary()
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let shape: serde_json::Value = serde_json::from_str(&ready).unwrap();
        let address = shape["address"].as_str().unwrap().parse().unwrap();
        Self { child, address, ready }
    }

    /// Memory that is really there, in KiB; 0 where the system does not say.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop and gives its exit status.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already ended in tests that went well.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn token(data: &Path) -> String {
    let output = binary().args(["token", "new", "--uses", "9", "--data"]).arg(data).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(crate) fn data(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("data")
}

#[tokio::test]
async fn what_was_accepted_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(&dir);
    let process = Process::start(&data);
    let address = process.address.clone();
    let (alice, mut bob, way) = pair(&address, &token(&data)).await;
    let before = alice.hello().await;
    drop(alice);
    const ROUNDS: u64 = 3;
    const EACH: u64 = 40;
    let mut process = Some(process);
    for round in 0..ROUNDS {
        for number in round * EACH..(round + 1) * EACH {
            let outcome = bob.deposit(&way, number, number.to_be_bytes().repeat(512)).await;
            assert_eq!(outcome, DepositOutcome::Accepted);
        }
        process.take().unwrap().kill();
        let again = Process::start(&data);
        assert_eq!(again.address, address, "the same folder keeps key and address");
        process = Some(again);
        bob = Client::connect(&address, 2).await;
        assert!(bob.welcome.registered);
        // Deposits whose answer might have been lost are harmless.
        let outcome = bob.deposit(&way, round * EACH, vec![0; 4096]).await;
        assert_eq!(outcome, DepositOutcome::Accepted);
    }
    let mut alice = Client::connect(&address, 1).await;
    let hello = alice.hello().await;
    assert_eq!((hello.epoch, hello.newest), (before.epoch, ROUNDS * EACH));
    for number in 0..ROUNDS * EACH {
        let delivery = alice.delivery().await;
        assert_eq!(delivery.seq, number + 1);
        assert_eq!(delivery.envelope.to_vec(), number.to_be_bytes().repeat(512));
    }
    alice.ack(&hello, ROUNDS * EACH).await;
    assert_eq!(process.take().unwrap().terminate(), Some(0));
    let process = Process::start(&data);
    let alice = Client::connect(&address, 1).await;
    assert_eq!(alice.hello().await.newest, ROUNDS * EACH);
    drop(process);
}
