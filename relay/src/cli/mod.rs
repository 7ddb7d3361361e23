//! The command line. Each command is one file.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a command expects one kind of reply; every other is the same surprise"
)]

mod account;
mod address;
mod backup;
mod doctor;
mod install;
mod output;
mod owner;
mod problem;
mod rebuild;
mod rotate;
mod serve;
mod shell;
mod stats;
mod token;
mod words;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::admin;
use crate::config::{DEFAULT_DATA, RelayConfig};
use output::Output;
use problem::Problem;
pub(crate) use problem::chain;

/// Store and forward sealed envelopes between penpal nodes
///
/// A relay keeps accounts, who may write to whom, and envelopes until they are fetched. It cannot open an envelope.
#[derive(Debug, Parser)]
#[command(name = "penpal-relay", version, propagate_version = true, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Address(address::Address),
    #[command(subcommand)]
    Token(token::Token),
    #[command(subcommand)]
    Account(account::Account),
    Stats(stats::Stats),
    Doctor(doctor::Doctor),
    Backup(backup::Backup),
    Restore(backup::Restore),
    RebuildIndex(rebuild::RebuildIndex),
    RotateKey(rotate::RotateKey),
    Install(install::Install),
    Completions(shell::Completions),
    /// Print the manual page
    Man,
    /// Print the version
    Version,
}

/// Which relay is meant.
#[derive(Debug, Args)]
struct Place {
    /// Folder with the relay's data
    #[arg(long, value_name = "DIR", env = "PENPAL_RELAY_DATA", default_value = DEFAULT_DATA)]
    data: PathBuf,
    /// Folder with the relay's keys [default: keys in the data folder]
    #[arg(long, value_name = "DIR", env = "PENPAL_RELAY_KEYS")]
    keys: Option<PathBuf>,
}

impl Drop for Place {
    /// The command is done with the folder, well or badly.
    fn drop(&mut self) {
        owner::give_back(&self.data, self.keys.as_deref());
    }
}

impl Place {
    fn config(&self) -> RelayConfig {
        let mut config = RelayConfig::new(&self.data);
        config.keys.clone_from(&self.keys);
        config
    }

    /// Asks the running relay, or does it on the folder of a stopped one.
    fn ask(&self, ask: admin::Ask) -> Result<admin::Reply, Problem> {
        Ok(admin::run(&self.config(), ask, serve::progress())?)
    }
}

/// Runs the command line of the relay and gives its exit status: 0 done, 1 failed, 2 usage.
///
/// `args` are those of the process, the program's name first. Prints to stdout and stderr.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, and go to stdout.
            return match output::written(error.print()) {
                Err(problem) if !error.use_stderr() => problem.report(false),
                Ok(()) | Err(_) => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)),
            };
        }
    };
    let (json, result) = match cli.command {
        Command::Serve(command) => (command.json(), command.run()),
        Command::Address(command) => (command.json(), command.run()),
        Command::Token(command) => (command.json(), command.run()),
        Command::Account(command) => (command.json(), command.run()),
        Command::Stats(command) => (command.json(), command.run()),
        Command::Doctor(command) => (command.json(), command.run()),
        Command::Backup(command) => (command.json(), command.run()),
        Command::Restore(command) => (command.json(), command.run()),
        Command::RebuildIndex(command) => (command.json(), command.run()),
        Command::RotateKey(command) => (command.json(), command.run()),
        Command::Install(command) => (false, command.run()),
        Command::Completions(command) => (false, command.run()),
        Command::Man => (false, shell::manual()),
        Command::Version => (false, version()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => problem.report(json),
    }
}

fn version() -> Result<(), Problem> {
    Output::stdout().line(concat!("penpal-relay ", env!("CARGO_PKG_VERSION")))
}
