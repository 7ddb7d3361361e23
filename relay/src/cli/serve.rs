//! `penpal-relay serve`

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use penpal_store::{Progress, Task};
use serde::Serialize;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::output::Output;
use super::problem::Problem;
use crate::code::Code;
use crate::config::{Registration, RelayConfig, Settings};
use crate::folder::{Folder, Keys};
use crate::relay::{ProgressFn, Relay, RelayError};
use crate::{AdminAnswer, AdminRequest, RegistrationPolicy};

/// How long the token for the first account works: three days, like an invite.
const FIRST_TOKEN_LIFE_MS: u64 = 72 * 60 * 60 * 1000;

/// What the token for the first account is called in the list.
const FIRST_TOKEN_NOTE: &str = "first account";

/// Run the relay until it is told to stop
///
/// Prints where it listens and the address to give to people, then serves until SIGTERM or SIGINT. Every setting can also
/// stand in the environment (PENPAL_RELAY_LISTEN and so on) or in the file given by --config; flags win over environment,
/// environment over file.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    place: super::Place,
    /// UDP address to listen on; port 0 takes a free one and keeps it [default: [::]:4433]
    #[arg(long, value_name = "IP:PORT", env = "PENPAL_RELAY_LISTEN")]
    listen: Option<SocketAddr>,
    /// Name or address under which others reach this relay, such as relay.example.com
    #[arg(long, value_name = "HOST[:PORT]", env = "PENPAL_RELAY_PUBLIC")]
    public: Option<String>,
    /// Who may register [default: invite]
    #[arg(long, value_name = "WHO", env = "PENPAL_RELAY_REGISTER")]
    register: Option<Registration>,
    /// Handles that may register with --register allow-list, separated by commas
    #[arg(long, value_name = "HANDLES", env = "PENPAL_RELAY_ALLOW", value_delimiter = ',')]
    allow: Option<Vec<String>>,
    /// Most bytes waiting for one device [default: 268435456]
    #[arg(long, value_name = "BYTES", env = "PENPAL_RELAY_SPOOL_BYTES")]
    spool_bytes: Option<u64>,
    /// Most envelopes waiting for one device [default: 10000]
    #[arg(long, value_name = "N", env = "PENPAL_RELAY_SPOOL_ENVELOPES")]
    spool_envelopes: Option<u64>,
    /// Longest file that is taken, in bytes [default: 104857600]
    #[arg(long, value_name = "BYTES", env = "PENPAL_RELAY_ARTIFACT_BYTES")]
    artifact_bytes: Option<u64>,
    /// Most bytes of files kept for one account, sealed and padded [default: 2147483648]
    #[arg(long, value_name = "BYTES", env = "PENPAL_RELAY_ARTIFACT_BYTES_PER_ACCOUNT")]
    artifact_bytes_per_account: Option<u64>,
    /// Most bytes of files kept for all accounts together [default: 34359738368]
    #[arg(long, value_name = "BYTES", env = "PENPAL_RELAY_ARTIFACT_BYTES_TOTAL")]
    artifact_bytes_total: Option<u64>,
    /// Most connections at a time [default: 20000]
    #[arg(long, value_name = "N", env = "PENPAL_RELAY_CONNECTIONS")]
    connections: Option<usize>,
    /// Most connections from one network [default: 2048]
    #[arg(long, value_name = "N", env = "PENPAL_RELAY_CONNECTIONS_PER_NETWORK")]
    connections_per_network: Option<usize>,
    /// TCP address for metrics and health, best on loopback: /metrics, /health, /ready [default: none]
    #[arg(long, value_name = "IP:PORT", env = "PENPAL_RELAY_METRICS")]
    metrics: Option<SocketAddr>,
    /// TOML file with settings
    #[arg(long, value_name = "FILE", env = "PENPAL_RELAY_CONFIG")]
    config: Option<PathBuf>,
    /// What to log to stderr: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", env = "PENPAL_RELAY_LOG", default_value = "info")]
    log: String,
    /// Log one JSON object a line instead of text
    #[arg(long, env = "PENPAL_RELAY_LOG_JSON")]
    log_json: bool,
    /// Check settings and folders and exit; nothing is changed
    #[arg(long)]
    check: bool,
    /// Print one line of JSON when ready: {"v":1,"listening":…,"address":…}
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Ready {
    v: u32,
    listening: String,
    address: String,
}

impl Serve {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) fn run(self) -> Result<(), Problem> {
        self.start_log()?;
        let (json, check) = (self.json, self.check);
        let config = self.config()?;
        if check {
            return check_folders(&config, json);
        }
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(workers())
            .thread_name("net")
            .enable_all()
            .build()
            .map_err(|error| Problem::new(Code::System, format!("cannot start threads: {error}")))?;
        runtime.block_on(serve(config, json))
    }

    fn start_log(&self) -> Result<(), Problem> {
        let filter = EnvFilter::try_new(&self.log)
            .map_err(|error| Problem::new(Code::Settings, format!("--log {:?}: {error}", self.log)))?;
        // Fails only when there is one already, as in a process that runs a relay beside something else.
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr)
            // A line that cannot be written, on a full disk for instance, is lost; to say so on the same stream would panic.
            .log_internal_errors(false)
            .with_ansi(false)
            .with_target(false);
        if self.log_json { log.json().try_init() } else { log.try_init() }.ok();
        Ok(())
    }

    fn config(self) -> Result<RelayConfig, Problem> {
        let file = self.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
        let near = Settings {
            listen: self.listen,
            public: self.public,
            keys: self.place.keys.clone(),
            register: self.register,
            allow: self.allow,
            spool_bytes: self.spool_bytes,
            spool_envelopes: self.spool_envelopes,
            artifact_bytes: self.artifact_bytes,
            artifact_bytes_per_account: self.artifact_bytes_per_account,
            artifact_bytes_total: self.artifact_bytes_total,
            connections: self.connections,
            connections_per_network: self.connections_per_network,
            metrics: self.metrics,
        };
        Ok(near.over(file).check(&self.place.data)?)
    }
}

/// Threads for the network: one for each core beside the engine's own, but not so many that they get in its way. Where
/// there is one, datagram, connection and stream are handled without a thread waking another.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1)).clamp(1, 8)
}

fn check_folders(config: &RelayConfig, json: bool) -> Result<(), Problem> {
    let folder = Folder::new(&config.data, config.keys.as_deref());
    if folder.is_used() {
        Keys::open(folder.keys(), true).map_err(RelayError::from)?;
    }
    if json {
        Output::stdout().json(&serde_json::json!({ "v": 1, "ok": true }))
    } else {
        Output::stdout().line("settings and folders are usable")
    }
}

async fn serve(config: RelayConfig, json: bool) -> Result<(), Problem> {
    let failed = |error| Problem::new(Code::System, format!("cannot wait for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let policy = config.registration.clone();
    let named = config.public.is_some();
    let mut relay = Relay::start(config, progress()).await?;
    if json {
        let (listening, address) = (relay.listening().to_string(), relay.address().to_string());
        Output::stdout().json(&Ready { v: 1, listening, address })?;
    } else {
        introduce(&relay, &policy, named).await?;
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = relay.failed() => {}
    }
    tracing::info!("stopping");
    Ok(relay.stop().await?)
}

/// Prints what a person needs to go on.
async fn introduce(relay: &Relay, policy: &RegistrationPolicy, named: bool) -> Result<(), Problem> {
    let mut out = Output::stdout();
    let address = relay.address();
    out.line(&format!("  listening  {}/udp", relay.listening()))?;
    out.line(&format!("  address    {address}        (give this to your team)"))?;
    if let Some(at) = relay.metrics() {
        out.line(&format!("  metrics    http://{at}/metrics"))?;
    }
    let who = match policy {
        RegistrationPolicy::Invite => "by invite",
        RegistrationPolicy::AllowList(_) => "by the list of handles",
        RegistrationPolicy::Open => "open to everybody",
    };
    match first_token(relay).await {
        Some(token) => out.line(&format!(
            "  register   {who}. First account: penpal register {address} --token {token} --handle you"
        ))?,
        None => out.line(&format!("  register   {who}; penpal-relay token new mints a token"))?,
    }
    if relay.listening().ip().is_unspecified() && !named {
        Output::stderr().line("hint: --public NAME puts a name that others can reach into the address")?;
    }
    Ok(())
}

/// A token for the first account, in place of the one that an earlier start printed.
async fn first_token(relay: &Relay) -> Option<String> {
    if !relay.is_new() {
        return None;
    }
    if let Some(AdminAnswer::Tokens(tokens)) = relay.admin(AdminRequest::TokenList).await {
        for token in tokens.into_iter().filter(|token| token.note == FIRST_TOKEN_NOTE) {
            relay.admin(AdminRequest::TokenRevoke { which: token.id }).await?;
        }
    }
    let note = FIRST_TOKEN_NOTE.to_owned();
    let ask = AdminRequest::TokenNew { note, life_ms: FIRST_TOKEN_LIFE_MS, uses: 1 };
    match relay.admin(ask).await? {
        AdminAnswer::TokenNew { token, .. } => Some(token),
        AdminAnswer::Tokens(_)
        | AdminAnswer::TokensRevoked(_)
        | AdminAnswer::Accounts(_)
        | AdminAnswer::Account(_)
        | AdminAnswer::NoAccount
        | AdminAnswer::Census(_)
        | AdminAnswer::Full
        | AdminAnswer::Failed => None,
    }
}

/// Shows on a terminal how far recovery is.
pub(super) fn progress() -> Option<ProgressFn> {
    if !io::stderr().is_terminal() {
        return None;
    }
    Some(Box::new(|at: Progress| {
        let what = match at.task {
            Task::Recover => "reading the log's end",
            Task::Rebuild => "rebuilding the index",
            Task::Verify => "checking",
            Task::Copy => "copying",
            _ => "working",
        };
        let percent = at.done.saturating_mul(100).checked_div(at.total).unwrap_or(100);
        let end = if at.done >= at.total { "\n" } else { "" };
        Output::stderr().progress(&format!("{what}: {percent} %{end}"));
    }))
}
