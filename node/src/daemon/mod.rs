//! The node's process: it wires sockets, watchers and files to the engine and decides nothing itself.
//!
//! ```text
//! local clients ── http ──┐                       ┌── answers
//! relays ── link ─────────┼──▶ inputs ▶ engine ───┼── link commands
//! processes, network ─────┘     (own thread)      └── watches
//! ```

pub mod events;
pub mod http;
pub mod inputs;
pub mod link;
mod logging;
mod notify;
mod processes;
pub mod transfer;
mod wake;

use std::fs::{File, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;

use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::home::Home;
use penpal_transport::{Dialer, DialerOptions, Offload};
use tokio::sync::mpsc;

use crate::config::{Config, Settings};
use crate::engine::{self, Clock, Input, LinkId, Output};
use events::Events;
use inputs::{EngineHandle, MAX_WAITING_INPUTS};
use link::{KnownKeys, Links, Nudge, SystemSurroundings};
use processes::ProcessWatch;
use transfer::Transfers;

/// After this long an engine that is still opening its files counts as started: it is rebuilding an index, and calls wait for it.
const OPEN_LIMIT: Duration = Duration::from_secs(5);

/// How long a node that is ending may hold its lock.
const LOCK_LIMIT: Duration = Duration::from_secs(8);

/// How long links may take to say goodbye.
const GOODBYE_LIMIT: Duration = Duration::from_millis(500);

/// How a node runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manner {
    /// In a process session of its own, without output but a word to whoever started it.
    pub detached: bool,
    /// Its log goes to the file in its home, and not to standard error.
    pub log_file: bool,
}

/// Runs the node of `home` until it is told to stop.
///
/// # Errors
/// Why it could not start. When detached the same is said on standard output, for whoever started it.
pub fn run(home: &Home, settings: &Settings, manner: Manner) -> Result<(), ApiError> {
    let outcome = start(home, settings, Clock::start(), manner);
    if let Err(error) = &outcome
        && manner.detached
    {
        say(&serde_json::to_string(error).unwrap_or_default());
    }
    outcome
}

/// Runs the node of `home` in this process, on clocks of the caller, until it is told to stop.
///
/// # Errors
/// Why it could not start.
pub fn run_for_tests(home: &Home, clock: Clock) -> Result<(), ApiError> {
    start(home, &Settings::default(), clock, Manner::default())
}

fn start(home: &Home, settings: &Settings, clock: Clock, manner: Manner) -> Result<(), ApiError> {
    crate::launch::prepare_home(home)?;
    let config = Config::load(home, settings).map_err(|error| error.api())?;
    let lock = lock(home)?;
    crate::portable::finish_interrupted(home)?;
    if manner.detached {
        // Fails only for a process that leads a group already: then it has what it needs.
        let own_session = rustix::process::setsid();
        let _ = own_session;
    }
    logging::begin(&config.log, manner.log_file.then(|| home.log_file()).as_deref());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .thread_stack_size(256 * 1024)
        .build()
        .map_err(|error| internal(&format!("no runtime: {error}")))?;
    let outcome = runtime.block_on(serve(home, config, clock, manner.detached));
    runtime.shutdown_timeout(GOODBYE_LIMIT);
    drop(lock);
    outcome
}

async fn serve(home: &Home, config: Config, clock: Clock, detached: bool) -> Result<(), ApiError> {
    let unusable = |what: &str, error: &dyn std::fmt::Display| {
        ApiError::new(ErrorCode::HomeUnusable, format!("{what} in {}: {error}", home.path().display()))
    };
    let (inputs, receiver) = std::sync::mpsc::sync_channel(MAX_WAITING_INPUTS);
    let handle = EngineHandle::new(inputs);
    let (outputs, mut directives) = mpsc::unbounded_channel();
    let (opened, open) = std::sync::mpsc::channel();
    let engine_home = home.clone();
    let answers = handle.clone();
    let events = Events::default();
    let told = events.clone();
    let dns = config.dns;
    let engine = std::thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || {
            engine::run(&engine_home, config, clock, &receiver, &opened, &mut |output| {
                route(output, &answers, &told, &outputs);
            })
        })
        .map_err(|error| internal(&format!("no thread: {error}")))?;
    match open.recv_timeout(OPEN_LIMIT) {
        Ok(outcome) => outcome?,
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
            tracing::info!("still opening: an index is being rebuilt")
        }
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
            return Err(internal("the engine ended at once"));
        }
    }
    let listener = http::listen(home).map_err(|error| unusable("cannot listen", &error))?;
    let processes = ProcessWatch::start(handle.clone(), tokio::runtime::Handle::current());
    let mut processes = processes.map_err(|error| internal(&format!("cannot watch processes: {error}")))?;
    let keys = home.path().join("relay-keys");
    let keys = KnownKeys::open(&keys).map_err(|error| unusable(&keys.display().to_string(), &error))?;
    let mut links = Links::new(handle.clone(), Arc::new(keys), Arc::new(SystemSurroundings), || {
        Dialer::bind(DialerOptions::default())
    })
    .asking(dns);
    let mut transfers = Transfers::new(handle.clone(), Offload::Threads);
    watch_machine(links.nudges(), handle.clone());
    stop_on_signal(handle.clone());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(http::serve(listener, handle.clone(), events, async move {
        // Either word means the same.
        let said = stopped.await;
        drop(said);
    }));
    if detached {
        say("ready");
        leave_output();
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "the node runs");
    tracing::debug!(home = %home.path().display(), "its home");

    while let Some(directive) = directives.recv().await {
        match directive {
            Directive::OpenLink { link, address, key } => links.open(link, address, key),
            Directive::CloseLink(link) => links.close(link),
            Directive::Link(link, command) => links.command(link, command),
            Directive::Transfer(order) => transfers.order(order, &mut links),
            Directive::Watch(process) => processes.watch(process),
            Directive::Unwatch(process) => processes.unwatch(process),
            Directive::Notify { from, session } => {
                // It never keeps anything else waiting.
                drop(tokio::task::spawn_blocking(move || notify::ask(&from, &session)));
            }
            Directive::Wake(wake, push) => {
                let engine = handle.clone();
                drop(tokio::spawn(async move {
                    let ok = wake::push(push).await;
                    engine.input(Input::WakeTried { wake, ok }).await;
                }));
            }
            Directive::Stop => break,
        }
    }
    // New connections are refused from here on; answers under way are finished.
    let told = stop.send(());
    let _ = told;
    let removed = std::fs::remove_file(home.socket());
    drop(removed);
    drop(transfers);
    links.shutdown(GOODBYE_LIMIT).await;
    let finished = tokio::time::timeout(GOODBYE_LIMIT, serving).await;
    drop(finished);
    drop(handle);
    match engine.join() {
        Ok(outcome) => outcome,
        Err(_) => Err(internal("the engine panicked; see the log")),
    }
}

/// What the engine asks of the process around it.
#[derive(Debug)]
enum Directive {
    OpenLink {
        link: LinkId,
        address: penpal_protocol::text::RelayAddress,
        key: penpal_transport::TransportKey,
    },
    CloseLink(LinkId),
    Link(LinkId, link::LinkCommand),
    Transfer(transfer::TransferOrder),
    Watch(penpal_sessions::ProcessRef),
    Unwatch(penpal_sessions::ProcessRef),
    Notify {
        from: String,
        session: String,
    },
    Wake(penpal_wake::WakeId, engine::Push),
    Stop,
}

fn route(
    output: Output,
    answers: &EngineHandle,
    events: &Events,
    directives: &mpsc::UnboundedSender<Directive>,
) {
    let directive = match output {
        Output::Answer { call, outcome } => {
            answers.answer(call, outcome);
            return;
        }
        Output::Event(event) => {
            events.tell(event);
            return;
        }
        Output::OpenLink { link, address, key } => Directive::OpenLink { link, address, key },
        Output::CloseLink(link) => Directive::CloseLink(link),
        Output::Link { link, command } => Directive::Link(link, command),
        Output::Transfer(order) => Directive::Transfer(order),
        Output::Watch(process) => Directive::Watch(process),
        Output::Unwatch(process) => Directive::Unwatch(process),
        Output::Notify { from, session } => Directive::Notify { from, session },
        Output::Wake { wake, push } => Directive::Wake(wake, push),
        Output::Stop => {
            events.tell(penpal_local_api::events::Event::Ending);
            Directive::Stop
        }
    };
    let handed = directives.send(directive);
    drop(handed);
}

fn internal(what: &str) -> ApiError {
    ApiError::new(ErrorCode::Internal, what)
}

/// Takes the lock that makes this the only node of its home, until the process ends however it ends.
fn lock(home: &Home) -> Result<File, ApiError> {
    let path = home.lock();
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.map_err(|error| {
        ApiError::new(ErrorCode::HomeUnusable, format!("cannot open {}: {error}", path.display()))
    })?;
    // A node that is just ending has closed its socket already and still holds the lock for a moment.
    let patience = std::time::Instant::now() + LOCK_LIMIT;
    let mut tried = file.try_lock();
    while matches!(tried, Err(TryLockError::WouldBlock))
        && !http::answers(home)
        && std::time::Instant::now() < patience
    {
        std::thread::sleep(Duration::from_millis(10));
        tried = file.try_lock();
    }
    match tried {
        Ok(()) => {
            // The number is for people who look; what counts is the lock.
            let noted = file
                .set_len(0)
                .and_then(|()| (&file).write_all(format!("{}\n", std::process::id()).as_bytes()));
            drop(noted);
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let message = format!("a node runs in {} already", home.path().display());
            Err(ApiError::new(ErrorCode::NoNode, message).hint("penpal daemon status"))
        }
        Err(TryLockError::Error(error)) => {
            Err(ApiError::new(ErrorCode::HomeUnusable, format!("cannot lock {}: {error}", path.display())))
        }
    }
}

/// Says one line to whoever started this process.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody listening is no reason not to run.
    let said = writeln!(out, "{line}").and_then(|()| out.flush());
    drop(said);
}

/// Lets go of the pipe to whoever started this process, so that it sees the end.
fn leave_output() {
    let left =
        File::options().write(true).open("/dev/null").and_then(|null| Ok(rustix::stdio::dup2_stdout(&null)?));
    if let Err(error) = left {
        tracing::warn!(%error, "cannot leave the starter's output");
    }
}

fn watch_machine(nudges: Arc<tokio::sync::watch::Sender<Nudge>>, engine: EngineHandle) {
    let network = Arc::clone(&nudges);
    tokio::spawn(async move {
        // Where the system does not tell, lost connections are noticed by their silence.
        let Ok(mut watch) = penpal_transport::watch::NetworkWatch::new() else { return };
        while watch.changed().await.is_ok() {
            network.send_modify(|nudge| nudge.network += 1);
        }
    });
    tokio::spawn(async move {
        let mut watch = penpal_transport::watch::SuspendWatch::new();
        loop {
            let slept = watch.resumed().await;
            tracing::info!(seconds = slept.as_secs(), "the machine slept");
            nudges.send_modify(|nudge| nudge.resumed += 1);
            engine.input(Input::Resumed).await;
        }
    });
}

fn stop_on_signal(engine: EngineHandle) {
    use tokio::signal::unix::{SignalKind, signal};
    tokio::spawn(async move {
        let (Ok(mut terminate), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            return;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        engine.input(Input::Stop).await;
    });
}
