//! A person with a home: everything is said through the command line.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::binaries::{Binaries, clean_command};
use crate::wait;

/// Exit status when the node cannot be reached.
const NO_NODE: i32 = 3;

/// One person on one machine. Its node is killed when dropped.
#[derive(Debug)]
pub struct Person {
    name: String,
    home: PathBuf,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// Exit status.
    pub status: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.out.trim()).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    /// The code of the failure, when `--json` was given.
    #[must_use]
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Person {
    /// A person whose home is a folder of this name.
    #[must_use]
    pub fn new(folder: &tempfile::TempDir, name: &str) -> Self {
        Self::at(&folder.path().join(name), name)
    }

    /// A person with this home.
    #[must_use]
    pub fn at(home: &Path, name: &str) -> Self {
        Self { name: name.to_owned(), home: home.to_path_buf() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its home.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// A command that is not run yet.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = clean_command(&Binaries::get().penpal);
        command.env("PENPAL_HOME", &self.home).env("HOME", &self.home).args(args);
        command
    }

    /// Runs a command.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn run(&self, args: &[&str]) -> Said {
        self.command(args).output().expect("penpal runs").into()
    }

    /// Runs a command with something on its standard input.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn run_with(&self, args: &[&str], input: &[u8]) -> Said {
        use std::io::Write;
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("penpal runs");
        let mut stdin = child.stdin.take().expect("its input");
        // A command that refuses early need not read everything.
        let written = stdin.write_all(input);
        drop((written, stdin));
        child.wait_with_output().expect("penpal ends").into()
    }

    /// Runs a command that must succeed.
    ///
    /// # Panics
    /// When it fails.
    pub fn ok(&self, args: &[&str]) -> Said {
        let said = self.run(args);
        assert_eq!(said.status, 0, "{} {args:?}: {said:?}", self.name);
        said
    }

    /// Runs a command with `--json` that must succeed.
    ///
    /// # Panics
    /// When it fails, or says no JSON.
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        let mut all = args.to_vec();
        all.push("--json");
        self.ok(&all).json()
    }

    /// Runs a command with `--json`, whatever comes of it.
    pub fn try_json(&self, args: &[&str]) -> Said {
        let mut all = args.to_vec();
        all.push("--json");
        self.run(&all)
    }

    /// State of a contact.
    #[must_use]
    pub fn contact_state(&self, name: &str) -> Option<String> {
        let list = self.json(&["contact", "list"]);
        let rows = list["contacts"].as_array()?.iter();
        rows.clone().find(|row| row["name"] == name).and_then(|row| row["state"].as_str()).map(str::to_owned)
    }

    /// Names of the account's devices.
    ///
    /// # Panics
    /// When the node says no.
    #[must_use]
    pub fn devices(&self) -> Vec<String> {
        let list = self.json(&["device", "list"]);
        let rows = list["devices"].as_array().cloned().unwrap_or_default();
        rows.iter().filter_map(|row| row["name"].as_str()).map(str::to_owned).collect()
    }

    /// Bodies of all mail in a session, oldest first. A node that was too slow to start is asked again.
    ///
    /// # Panics
    /// When the node says no, or nothing for a long time.
    #[must_use]
    pub fn bodies(&self, session: &str) -> Vec<String> {
        let mut inbox = serde_json::Value::Null;
        wait::until("the node to answer", || {
            let said = self.try_json(&["inbox", session, "--all"]);
            assert!(said.status == 0 || said.status == NO_NODE, "{}: {said:?}", self.name);
            inbox = said.json();
            said.status == 0
        });
        let rows = inbox["messages"].as_array().cloned().unwrap_or_default();
        rows.iter().filter_map(|row| row["body"].as_str()).map(str::to_owned).collect()
    }

    /// Process id of the node, when it runs.
    #[must_use]
    pub fn node_pid(&self) -> Option<u32> {
        let status = self.try_json(&["daemon", "status"]);
        status.json()["node"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
    }

    /// Ends the node with `kill -9`, and waits until nobody listens any more.
    pub fn kill_node(&self) {
        let pid =
            self.node_pid().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended meanwhile.
            let killed = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            let _ = killed;
            // A connection that it still took would break, and say so to whoever calls next.
            let socket = self.home.join("node.sock");
            wait::until("the end of the node", || std::os::unix::net::UnixStream::connect(&socket).is_err());
        }
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        // Asked by the lock and not by the socket: a node that hangs is ended as well.
        let pid = std::fs::read_to_string(self.home.join("node.lock")).ok();
        let pid = pid.and_then(|pid| pid.trim().parse().ok()).and_then(rustix::process::Pid::from_raw);
        // A node in the process of the test ends with it.
        if let Some(pid) = pid.filter(|pid| *pid != rustix::process::getpid()) {
            let killed = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            let _ = killed;
        }
    }
}
