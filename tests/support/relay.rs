//! A relay process on loopback.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::binaries::{Binaries, clean_command};

/// A running relay. Killed when dropped.
#[derive(Debug)]
pub struct Relay {
    folder: PathBuf,
    child: Option<Child>,
    listening: String,
    address: String,
    settings: Vec<String>,
}

impl Relay {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When it does not say that it listens.
    #[must_use]
    pub fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[])
    }

    /// Starts one on a free port, with further arguments of `serve`.
    ///
    /// # Panics
    /// When it does not say that it listens.
    #[must_use]
    pub fn start_with(folder: &Path, settings: &[&str]) -> Self {
        let mut relay = Self {
            settings: settings.iter().map(|one| (*one).to_owned()).collect(),
            folder: folder.to_path_buf(),
            child: None,
            listening: String::new(),
            address: String::new(),
        };
        relay.restart();
        relay
    }

    /// Starts it again on the same folder and port.
    ///
    /// # Panics
    /// When it does not say that it listens.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "the relay runs");
        let listen = if self.listening.is_empty() { "127.0.0.1:0" } else { self.listening.as_str() };
        let log = std::fs::File::options().create(true).append(true).open(self.folder.with_extension("log"));
        let mut child = clean_command(&Binaries::get().relay)
            .args(["serve", "--json", "--listen", listen, "--data"])
            .arg(&self.folder)
            .args(&self.settings)
            .stdout(Stdio::piped())
            .stderr(log.expect("a log for the relay"))
            .spawn()
            .expect("the relay starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output"))
            .read_line(&mut line)
            .expect("its first line");
        let shape: serde_json::Value = serde_json::from_str(&line).expect("its first line is JSON");
        self.listening = shape["listening"].as_str().expect("where it listens").to_owned();
        self.address = shape["address"].as_str().expect("its address").to_owned();
        self.child = Some(child);
    }

    /// Ends it and starts it on the same folder and another port.
    ///
    /// # Panics
    /// When it does not end, there is no free port, or it does not say that it listens.
    pub fn move_to_another_port(&mut self) {
        self.stop();
        let free = std::net::UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        self.listening = free.expect("a free port").to_string();
        self.restart();
    }

    /// Ends it with `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it ends");
        }
    }

    /// Asks it to end, and waits until it did.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it can be told");
            let status = child.wait().expect("it ends");
            assert!(status.success(), "the relay ends with {status}");
        }
    }

    /// Process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether its process lives.
    ///
    /// # Panics
    /// When the system does not say.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().expect("its status").is_none())
    }

    /// Its address, with the pin.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where it listens: `127.0.0.1:port`.
    #[must_use]
    pub fn listening(&self) -> &str {
        &self.listening
    }

    /// Its data folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.with_extension("log")
    }

    /// A token for one account.
    ///
    /// # Panics
    /// When none is minted.
    #[must_use]
    pub fn token(&self) -> String {
        self.operator(&["token", "new"])["token"].as_str().expect("a token").to_owned()
    }

    /// Runs a command of the operator, on the running relay or on its folder.
    ///
    /// # Panics
    /// When it fails.
    pub fn operator(&self, args: &[&str]) -> serde_json::Value {
        operator_of(&self.folder, args)
    }
}

/// Runs a command of the operator on a folder, whose relay may run or not.
///
/// # Panics
/// When it fails.
pub fn operator_of(folder: &Path, args: &[&str]) -> serde_json::Value {
    let output = clean_command(&Binaries::get().relay)
        .args(args)
        .arg("--json")
        .arg("--data")
        .arg(folder)
        .output()
        .expect("penpal-relay runs");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let ended = child.kill().and_then(|()| child.wait());
            drop(ended);
        }
    }
}
