//! The command line: what people type, what they read, and the exit status scripts act on.
//!
//! Each command is one file in `commands`. Commands print only through `output::Output`, so that data goes to standard output, everything else to
//! standard error, and text from peers reaches no terminal with its control characters.

mod caller;
mod commands;
pub(crate) mod output;
mod parse;
pub(crate) mod progress;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::home::Home;

use crate::launch::{Node, Start};
use output::{Output, Unprinted};

/// Let coding-agent sessions, and the people who run them, write to each other
///
/// Without a command: one screen about this node, and the next step.
#[derive(Debug, Parser)]
#[command(
    name = "penpal",
    version,
    propagate_version = true,
    max_term_width = 110,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// Folder of the node: messages, keys and its socket
    ///
    /// Default: PENPAL_HOME, else the system's place for a user's data.
    #[arg(long, global = true, value_name = "DIR")]
    home: Option<PathBuf>,

    /// Print data as JSON, in a documented and versioned shape
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(commands::demo::Args),
    Init(commands::init::Args),
    Uninstall(commands::uninstall::Args),
    Status(commands::status::Args),
    Doctor(commands::doctor::Args),
    Register(commands::register::Args),
    Recover(commands::recover::Args),
    #[command(subcommand)]
    Account(commands::account::Args),
    #[command(subcommand)]
    Contact(commands::contact::Args),
    #[command(subcommand)]
    Device(commands::device::Args),
    Send(commands::send::Args),
    Inbox(commands::inbox::Args),
    Read(commands::read::Args),
    Reply(commands::reply::Args),
    Broadcast(commands::broadcast::Args),
    Search(commands::search::Args),
    Outbox(commands::outbox::Args),
    Trace(commands::trace::Args),
    Retry(commands::retry::Args),
    Dismiss(commands::dismiss::Args),
    #[command(subcommand)]
    Artifact(commands::artifact::Args),
    #[command(subcommand)]
    Room(commands::room::Args),
    Sessions(commands::sessions::Args),
    #[command(subcommand)]
    Session(commands::session::Args),
    #[command(subcommand)]
    Daemon(commands::daemon::Args),
    WakeTest(commands::wake_test::Args),
    Run(commands::run::Args),
    Mcp(commands::mcp::Args),
    Hook(commands::hook::Args),
    Statusline(commands::statusline::Args),
    Completions(commands::completions::Args),
    Man(commands::man::Args),
    Version(commands::version::Args),
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// With code, fact and next step.
    Api(ApiError),
    /// All was said already; only the status is left.
    Status(u8),
    /// Another program's part was played; this is its status.
    Exit(ExitCode),
    /// What it says does not get out.
    Unprinted(Unprinted),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<Unprinted> for Failure {
    fn from(unprinted: Unprinted) -> Self {
        Self::Unprinted(unprinted)
    }
}

/// Outcome of a command.
pub(crate) type Done = Result<(), Failure>;

/// What every command gets.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) home: Home,
    pub(crate) out: Output,
}

impl Context {
    /// The node, started when needed: a person typed a command.
    fn node(&self) -> Node {
        Node::new(self.home.clone(), Start::Always)
    }

    /// The node, only if it runs.
    fn running_node(&self) -> Node {
        Node::new(self.home.clone(), Start::Never)
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(status) = crate::hook::light(std::env::args_os()) {
        return status;
    }
    if let Some(home) = only_mcp(std::env::args_os()) {
        return finish(Output::new(false), home.as_deref(), Some(Command::Mcp(commands::mcp::Args {})));
    }
    let mut definition = Cli::command();
    let matches = definition.try_get_matches_from_mut(std::env::args_os());
    let parsed = matches.and_then(|mut matches| {
        Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut definition))
    });
    // Taking the definition of every command apart would cost a hook a twentieth of its life; the process is its owner.
    std::mem::forget(definition);
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            return misused(&error);
        }
    };
    finish(Output::new(cli.json), cli.home.as_deref(), cli.command)
}

/// Help and version are data; what cannot be a command is a failure like others.
fn misused(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind as K;
    let is_help = matches!(error.kind(), K::DisplayHelpOnMissingArgumentOrSubcommand);
    let json = std::env::args_os().skip(1).take_while(|word| word != "--").any(|word| word == "--json");
    if !error.use_stderr() || (is_help && !json) {
        let printed = error.print().map_err(Unprinted::from);
        if error.use_stderr() {
            return ExitCode::from(ErrorCode::Usage.exit_status());
        }
        return ended(printed.map_err(Failure::from), Output::new(json));
    }
    let rendered = error.render().to_string();
    // Its first paragraph says what is wrong; usage and where help is follow.
    let fact = rendered.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    let fact = if is_help {
        "a command is missing".to_owned()
    } else {
        fact.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let error = ApiError::new(ErrorCode::Usage, fact);
    let tip = rendered.lines().find_map(|line| line.trim_start().strip_prefix("tip: "));
    Output::new(json).failure(&match tip {
        Some(tip) => error.hint(tip),
        None => error,
    });
    ExitCode::from(ErrorCode::Usage.exit_status())
}

/// The home of a command line that starts the MCP server and says nothing else, as agents' files do; `None` for every other.
///
/// The server lives as long as its agent: what the definition of all commands needs would stay in its memory.
fn only_mcp(arguments: impl IntoIterator<Item = OsString>) -> Option<Option<PathBuf>> {
    let arguments: Vec<OsString> = arguments.into_iter().skip(1).take(4).collect();
    match arguments.as_slice() {
        [mcp] if mcp == "mcp" => Some(None),
        [flag, home, mcp] if flag == "--home" && mcp == "mcp" => Some(Some(PathBuf::from(home))),
        _ => None,
    }
}

/// Runs a command and says how it ended.
fn finish(out: Output, home: Option<&Path>, command: Option<Command>) -> ExitCode {
    let outcome = Home::resolve(home)
        .map_err(|error| Failure::Api(ApiError::new(ErrorCode::HomeUnusable, error.to_string())))
        .and_then(|home| run(command, &Context { home, out }));
    ended(outcome, out)
}

/// Says why a command failed, if it did, and gives its status.
fn ended(outcome: Done, out: Output) -> ExitCode {
    match outcome {
        // Whoever closes a pipe has read enough.
        Ok(()) | Err(Failure::Unprinted(Unprinted::Closed)) => ExitCode::SUCCESS,
        Err(Failure::Unprinted(Unprinted::Failed { error, hint })) => {
            let error =
                ApiError::new(ErrorCode::Output, format!("standard output cannot be written: {error}"));
            // Not as JSON: nothing gets out there, or half a shape did.
            out.explain(&match hint {
                Some(hint) => error.hint(hint),
                None => error,
            });
            ExitCode::from(ErrorCode::Output.exit_status())
        }
        Err(Failure::Status(status)) => ExitCode::from(status),
        Err(Failure::Exit(status)) => status,
        Err(Failure::Api(error)) => {
            out.failure(&error);
            ExitCode::from(error.code.exit_status())
        }
    }
}

fn run(command: Option<Command>, context: &Context) -> Done {
    match command {
        None => commands::overview::run(context),
        Some(Command::Demo(args)) => commands::demo::run(&args, context),
        Some(Command::Init(args)) => commands::init::run(&args, context),
        Some(Command::Uninstall(args)) => commands::uninstall::run(&args, context),
        Some(Command::Status(args)) => commands::status::run(&args, context),
        Some(Command::Doctor(args)) => commands::doctor::run(&args, context),
        Some(Command::Register(args)) => commands::register::run(&args, context),
        Some(Command::Recover(args)) => commands::recover::run(&args, context),
        Some(Command::Account(args)) => commands::account::run(&args, context),
        Some(Command::Contact(args)) => commands::contact::run(&args, context),
        Some(Command::Device(args)) => commands::device::run(&args, context),
        Some(Command::Send(args)) => commands::send::run(&args, context),
        Some(Command::Inbox(args)) => commands::inbox::run(&args, context),
        Some(Command::Read(args)) => commands::read::run(&args, context),
        Some(Command::Reply(args)) => commands::reply::run(&args, context),
        Some(Command::Broadcast(args)) => commands::broadcast::run(&args, context),
        Some(Command::Search(args)) => commands::search::run(&args, context),
        Some(Command::Outbox(args)) => commands::outbox::run(&args, context),
        Some(Command::Trace(args)) => commands::trace::run(&args, context),
        Some(Command::Retry(args)) => commands::retry::run(&args, context),
        Some(Command::Dismiss(args)) => commands::dismiss::run(&args, context),
        Some(Command::Artifact(args)) => commands::artifact::run(&args, context),
        Some(Command::Room(args)) => commands::room::run(&args, context),
        Some(Command::Sessions(args)) => commands::sessions::run(&args, context),
        Some(Command::Session(args)) => commands::session::run(&args, context),
        Some(Command::Daemon(args)) => commands::daemon::run(&args, context),
        Some(Command::WakeTest(args)) => commands::wake_test::run(&args, context),
        Some(Command::Run(args)) => commands::run::run(&args, context),
        Some(Command::Mcp(args)) => commands::mcp::run(&args, context),
        Some(Command::Hook(args)) => commands::hook::run(&args, context),
        Some(Command::Statusline(args)) => commands::statusline::run(&args, context),
        Some(Command::Completions(args)) => commands::completions::run(&args, context),
        Some(Command::Man(args)) => commands::man::run(&args, context),
        Some(Command::Version(args)) => commands::version::run(&args, context),
    }
}

/// The definition of all commands, for completions and the manual.
fn definition() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_definition_is_sound() {
        super::definition().debug_assert();
    }

    #[test]
    fn the_server_alone_needs_no_definition_of_commands() {
        let of = |line: &str| super::only_mcp(line.split(' ').map(std::ffi::OsString::from));
        assert_eq!(of("penpal mcp"), Some(None));
        assert_eq!(of("penpal --home /x mcp"), Some(Some("/x".into())));
        for other in [
            "penpal",
            "penpal mcp --help",
            "penpal --json mcp",
            "penpal --home mcp",
            "penpal --home /x mcp -h",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
