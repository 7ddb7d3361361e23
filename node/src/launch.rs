//! Reaching the node from a client: calling it, starting it when it does not run, making an older one give way.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use penpal_local_api::client::{CallError, Client};
use penpal_local_api::daemon::StopRequest;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::home::Home;
use penpal_local_api::method::Method;
use penpal_local_api::methods::DaemonStop;

/// How long a started node may take until it answers. A first start makes keys; a damaged index is rebuilt behind an
/// answering socket, so this is never about the size of the data.
const START_LIMIT: Duration = Duration::from_secs(10);

/// How long an older node may take to finish what is under way.
const DRAIN_LIMIT: Duration = Duration::from_secs(15);

/// Variables that the node inherits from whoever starts it: where things are, and how to speak. Keys of other programs are not
/// its business, and it outlives the shell they belong to.
const KEPT_VARIABLES: [&str; 17] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "RUST_BACKTRACE",
    "PENPAL_LOG",
    "PENPAL_HISTORY_DAYS",
    "PENPAL_HISTORY_BYTES",
    "PENPAL_MESSAGE_DAYS",
    "PENPAL_NOTIFY",
    "PENPAL_WAKES",
    "PENPAL_DNS",
];

/// Whether a client may start the node, and past a stop by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// A person typed a command, or an agent started its MCP server: the mark of a stop by hand is cleared.
    Always,
    /// Hooks and running MCP servers: not past a stop by hand.
    UnlessStopped,
    /// `doctor`, `daemon …` and their like.
    Never,
}

/// A way to the node of one home.
#[derive(Debug, Clone)]
pub struct Node {
    home: Home,
    client: Client,
    start: Start,
}

impl Node {
    /// A way to the node of `home`.
    #[must_use]
    pub fn new(home: Home, start: Start) -> Self {
        Self { client: Client::new(&home), home, start }
    }

    /// The home.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The same node, but started only as `start` says.
    #[must_use]
    pub fn with_start(&self, start: Start) -> Self {
        Self { start, ..self.clone() }
    }

    /// Calls a method, starting the node first where that is allowed and needed.
    ///
    /// # Errors
    /// The node's own failure, or one that says why it cannot be reached.
    pub fn call<M: Method>(&self, request: &M::Request) -> Result<M::Answer, ApiError> {
        self.call_within::<M>(request, Duration::from_millis(M::TIMEOUT_MS))
    }

    /// As [`Self::call`], with another limit for the answer.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn call_within<M: Method>(
        &self,
        request: &M::Request,
        limit: Duration,
    ) -> Result<M::Answer, ApiError> {
        match self.client.call_within::<M>(request, limit) {
            Err(CallError::NoNode { .. }) if self.start != Start::Never => self.bring_up()?,
            Err(CallError::OlderNode { .. }) if self.start != Start::Never => {
                self.replace_older()?;
            }
            other => return other.map_err(api_error),
        }
        self.client.call_within::<M>(request, limit).map_err(api_error)
    }

    /// Starts the node if it does not run.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub fn bring_up(&self) -> Result<(), ApiError> {
        if self.start == Start::UnlessStopped && self.home.stopped().exists() {
            return Err(ApiError::new(ErrorCode::Stopped, "the node was stopped by hand"));
        }
        prepare_home(&self.home)?;
        let starting = lock(&self.home.path().join("start.lock"))?;
        // Somebody else may have started it while we waited for the lock.
        if is_listening(&self.home) {
            return Ok(());
        }
        check_surroundings(&self.home)?;
        if self.start == Start::Always {
            clear_stop_mark(&self.home)?;
        }
        let outcome = spawn(&self.home);
        drop(starting);
        outcome
    }

    fn replace_older(&self) -> Result<(), ApiError> {
        // The answer of an older node may not parse; what counts is that its socket goes away.
        let asked = self.client.call::<DaemonStop>(&StopRequest { keep_stopped: false });
        drop(asked);
        let until = Instant::now() + DRAIN_LIMIT;
        while is_listening(&self.home) {
            if Instant::now() > until {
                return Err(ApiError::new(ErrorCode::OlderNode, "an older node runs here and does not end"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.bring_up()
    }
}

/// Whether something takes connections at a home's socket: a node, even one that is too busy or too old to answer.
pub(crate) fn is_listening(home: &Home) -> bool {
    std::os::unix::net::UnixStream::connect(home.socket()).is_ok()
}

/// Turns a failed call into what a person or an agent is told.
fn api_error(error: CallError) -> ApiError {
    match error {
        CallError::Api(error) => error,
        CallError::NoNode { socket, source } => {
            ApiError::new(ErrorCode::NoNode, format!("no node listens at {}: {source}", socket.display()))
        }
        CallError::Denied { socket, source } => {
            ApiError::new(ErrorCode::Sandboxed, format!("cannot use {}: {source}", socket.display()))
        }
        CallError::OlderNode { number } => {
            ApiError::new(ErrorCode::OlderNode, format!("the node speaks the older API {number}"))
        }
        CallError::TimedOut { waited_ms } => {
            ApiError::new(ErrorCode::NoNode, format!("the node did not answer within {waited_ms} ms"))
                .hint("penpal doctor")
        }
        other @ (CallError::Broken(_) | CallError::Nonsense { .. }) => {
            ApiError::new(ErrorCode::NoNode, other.to_string()).hint("penpal daemon logs")
        }
        other => ApiError::new(ErrorCode::Internal, other.to_string()),
    }
}

/// Makes the home folder, readable by its owner only.
///
/// # Errors
/// [`ErrorCode::HomeUnusable`], or [`ErrorCode::Sandboxed`] where this process may not write.
pub fn prepare_home(home: &Home) -> Result<(), ApiError> {
    let path = home.path();
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, error: &std::io::Error) -> ApiError {
    let denied = [std::io::ErrorKind::PermissionDenied, std::io::ErrorKind::ReadOnlyFilesystem]
        .contains(&error.kind());
    let code = if denied { ErrorCode::Sandboxed } else { ErrorCode::HomeUnusable };
    ApiError::new(code, format!("cannot use {}: {error}", path.display()))
}

/// Removes the mark of a stop by hand.
///
/// # Errors
/// When it exists and cannot be removed.
pub fn clear_stop_mark(home: &Home) -> Result<(), ApiError> {
    match std::fs::remove_file(home.stopped()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(unusable(&home.stopped(), &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn lock(path: &Path) -> Result<File, ApiError> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    let file = file.map_err(|error| unusable(path, &error))?;
    file.lock().map_err(|error| unusable(path, &error))?;
    Ok(file)
}

/// Checks what a node needs and a sandbox denies: a durable file in the home, and a UDP socket. A node started inside a sandbox
/// would hold the lock without a network.
fn check_surroundings(home: &Home) -> Result<(), ApiError> {
    let probe = home.path().join("start.probe");
    let tried = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&probe).and_then(
        |file| {
            file.sync_all()?;
            std::fs::remove_file(&probe)
        },
    );
    tried.map_err(|error| unusable(home.path(), &error))?;
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))
        .or_else(|_| std::net::UdpSocket::bind((std::net::Ipv6Addr::UNSPECIFIED, 0)));
    socket.map(drop).map_err(|error| {
        ApiError::new(ErrorCode::Sandboxed, format!("no UDP socket can be opened here: {error}"))
    })
}

/// Starts `penpal daemon run` and waits until it says that it listens.
fn spawn(home: &Home) -> Result<(), ApiError> {
    let failed =
        |what: &str| ApiError::new(ErrorCode::NoNode, format!("the node could not be started: {what}"));
    let program = crate::program::path().map_err(|error| failed(&error.to_string()))?;
    let kept = KEPT_VARIABLES.iter().filter_map(|name| std::env::var_os(name).map(|value| (name, value)));
    let mut child = Command::new(program)
        .arg("--home")
        .arg(home.path())
        .args(["daemon", "run", "--detached"])
        .env_clear()
        .envs(kept)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(&error.to_string()))?;
    let Some(mut pipe) = child.stdout.take() else { return Err(failed("it has no output")) };
    // The child says one line and closes its output; it closes it as well when it dies. A thread reads, so that a child that hangs
    // cannot hang us.
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut said = String::new();
        let read = pipe.read_to_string(&mut said);
        let delivered = sender.send(read.map(|_| said));
        drop(delivered);
    });
    match receiver.recv_timeout(START_LIMIT) {
        Ok(Ok(said)) if said.trim() == "ready" => Ok(()),
        Ok(Ok(said)) => match serde_json::from_str::<ApiError>(said.trim()) {
            Ok(error) => Err(error),
            Err(_) => Err(failed("it ended at once").hint(format!("see {}", home.log_file().display()))),
        },
        Ok(Err(error)) => Err(failed(&error.to_string())),
        Err(_) => Err(failed("it does not answer").hint(format!("see {}", home.log_file().display()))),
    }
}
