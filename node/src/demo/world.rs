//! The demo's processes: one relay, two nodes, all children in a temporary folder.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use penpal_local_api::home::Home;
use penpal_local_api::method::Method;

use crate::cli::output::Unprinted;
use crate::launch::{Node, Start};

/// How long anything in the demo may take before it counts as broken.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Pause between two looks at something that is expected.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// Why the demo ends early.
#[derive(Debug)]
pub(super) enum Broken {
    /// Something that is promised does not hold.
    Promise {
        /// Which act.
        act: &'static str,
        /// What was seen instead.
        what: String,
    },
    /// A line did not get out.
    Unprinted(Unprinted),
}

impl From<Unprinted> for Broken {
    fn from(unprinted: Unprinted) -> Self {
        Self::Unprinted(unprinted)
    }
}

/// A failure of an act.
pub(super) fn broken(act: &'static str, what: impl Into<String>) -> Broken {
    Broken::Promise { act, what: what.into() }
}

/// Everything the acts share.
#[derive(Debug)]
pub(super) struct World {
    folder: Option<tempfile::TempDir>,
    path: PathBuf,
    keep: bool,
    program: PathBuf,
    relay: Option<Child>,
    relay_address: String,
    relay_listening: String,
    pub(super) alice: Person,
    pub(super) bob: Person,
    pub(super) canaries: Vec<String>,
}

/// One person's machine.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub(super) handle: &'static str,
    pub(super) device: &'static str,
    pub(super) session: String,
    pub(super) node: Node,
}

impl Person {
    /// Calls this person's node.
    pub(super) fn call<M: Method>(
        &self,
        act: &'static str,
        request: &M::Request,
    ) -> Result<M::Answer, Broken> {
        self.call_within::<M>(act, request, Duration::from_millis(M::TIMEOUT_MS))
    }

    /// Calls this person's node with a limit of its own.
    pub(super) fn call_within<M: Method>(
        &self,
        act: &'static str,
        request: &M::Request,
        limit: Duration,
    ) -> Result<M::Answer, Broken> {
        let outcome = self.node.call_within::<M>(request, limit);
        outcome.map_err(|error| {
            broken(
                act,
                format!("{} of {}: {} [{}]", M::NAME, self.handle, error.message, error.code.as_str()),
            )
        })
    }

    /// Process id of the running node.
    pub(super) fn pid(&self) -> Option<u32> {
        let request = penpal_local_api::status::StatusRequest::default();
        let status = self.node.with_start(Start::Never).call::<penpal_local_api::methods::Status>(&request);
        status.ok().map(|status| status.node.pid)
    }
}

impl World {
    /// Starts the relay and prepares both machines.
    pub(super) fn build(keep: bool) -> Result<Self, Broken> {
        let failed = |what: &str, error: &dyn std::fmt::Display| broken("relay", format!("{what}: {error}"));
        let folder = tempfile::Builder::new().prefix("penpal-demo-").tempdir();
        let folder = folder.map_err(|error| failed("no temporary folder", &error))?;
        let path = folder.path().to_path_buf();
        let program =
            crate::program::path().map_err(|error| failed("this program cannot be found", &error))?;
        let person = |handle: &'static str, device: &'static str, session: &str| Person {
            handle,
            device,
            session: session.to_owned(),
            node: Node::new(Home::at(path.join(handle)), Start::Always),
        };
        let (alice, bob) = (person("alice", "laptop", "api"), person("bob", "desktop", "web"));
        let mut world = Self {
            path: path.clone(),
            folder: Some(folder),
            keep,
            program,
            relay: None,
            relay_address: String::new(),
            relay_listening: String::new(),
            alice,
            bob,
            canaries: Vec::new(),
        };
        world.start_relay()?;
        Ok(world)
    }

    /// Where the relay listens.
    pub(super) fn relay_listening(&self) -> &str {
        &self.relay_listening
    }

    /// The relay's address with its pin.
    pub(super) fn relay_address(&self) -> &str {
        &self.relay_address
    }

    /// The relay's folder.
    pub(super) fn relay_folder(&self) -> PathBuf {
        self.path.join("relay")
    }

    /// Starts the relay, or starts it again on the same folder and port.
    pub(super) fn start_relay(&mut self) -> Result<(), Broken> {
        let listen = if self.relay_listening.is_empty() {
            "127.0.0.1:0".to_owned()
        } else {
            self.relay_listening.clone()
        };
        let mut child = self
            .relay_command([
                "serve".into(),
                "--data".into(),
                self.relay_folder().into(),
                "--listen".into(),
                listen.into(),
                "--json".into(),
            ])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| broken("relay", format!("does not start: {error}")))?;
        let mut line = String::new();
        let read = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        self.relay = Some(child);
        let shape: serde_json::Value = match read {
            Some(Ok(_)) => serde_json::from_str(&line)
                .map_err(|_| broken("relay", format!("says {line:?} instead of its address")))?,
            Some(Err(_)) | None => return Err(broken("relay", "says nothing")),
        };
        let text =
            |name: &str| shape.get(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
        (self.relay_listening, self.relay_address) = (text("listening"), text("address"));
        if self.relay_address.is_empty() {
            return Err(broken("relay", format!("says no address: {line}")));
        }
        Ok(())
    }

    /// A token for one account.
    pub(super) fn token(&self) -> Result<String, Broken> {
        let mut command = self.relay_command([
            "token".into(),
            "new".into(),
            "--data".into(),
            self.relay_folder().into(),
            "--json".into(),
        ]);
        let output = command
            .stdout(Stdio::piped())
            .output()
            .map_err(|error| broken("relay", format!("mints no token: {error}")))?;
        let shape: Option<serde_json::Value> = serde_json::from_slice(&output.stdout).ok();
        let token = shape.as_ref().and_then(|shape| shape.get("token")).and_then(|token| token.as_str());
        token.map(str::to_owned).ok_or_else(|| broken("relay", "mints no token"))
    }

    fn relay_command<const N: usize>(&self, args: [OsString; N]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["demo", "--relay-role", "--"]).args(args);
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Ends the relay as a power cut would end it.
    pub(super) fn kill_relay(&mut self) {
        if let Some(mut relay) = self.relay.take() {
            let killed = relay.kill().and_then(|()| relay.wait());
            drop(killed);
        }
    }

    /// Ends a node as a power cut would end it.
    pub(super) fn kill_node(person: &Person) {
        let pid =
            person.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let killed = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            let _ = killed;
        }
    }

    /// Stops everything gently.
    pub(super) fn end(&mut self) {
        for person in [&self.alice, &self.bob] {
            let request = penpal_local_api::daemon::StopRequest { keep_stopped: true };
            let stopped =
                person.node.with_start(Start::Never).call::<penpal_local_api::methods::DaemonStop>(&request);
            drop(stopped);
        }
        self.kill_relay();
    }

    /// The folder, when it stays.
    pub(super) fn kept_folder(&mut self) -> Option<String> {
        if !self.keep {
            return None;
        }
        self.folder.take().map(|folder| folder.keep().display().to_string())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.end();
        if self.keep {
            let kept = self.kept_folder();
            drop(kept);
        }
    }
}

/// Looks until something holds.
pub(super) fn until<T>(
    act: &'static str,
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>, Broken>,
) -> Result<T, Broken> {
    let limit = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > limit {
            return Err(broken(act, format!("{what} did not happen within {} s", PATIENCE.as_secs())));
        }
        std::thread::sleep(LOOK);
    }
}

/// All bytes of all files below a folder: how many, and which of the texts occur.
pub(super) fn search_files(folder: &Path, texts: &[String]) -> std::io::Result<(u64, Vec<String>)> {
    let (mut total, mut found) = (0, Vec::new());
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let (more, below) = search_files(&entry.path(), texts)?;
            total += more;
            found.extend(below);
        } else if kind.is_file() {
            let mut bytes = Vec::new();
            std::fs::File::open(entry.path())?.read_to_end(&mut bytes)?;
            // Space that was only reserved is no content.
            total += u64::try_from(bytes.iter().filter(|byte| **byte != 0).count()).unwrap_or_default();
            found.extend(texts.iter().filter(|text| contains(&bytes, text.as_bytes())).cloned());
        }
    }
    Ok((total, found))
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    !text.is_empty() && bytes.windows(text.len()).any(|window| window == text)
}
