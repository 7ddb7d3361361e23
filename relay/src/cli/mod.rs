//! The command line. Each command is one file.

mod address;
mod output;
mod problem;
mod serve;
mod token;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::DEFAULT_DATA;
use output::Output;
use problem::Problem;

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
    Serve(serve::Serve),
    Address(address::Address),
    #[command(subcommand)]
    Token(token::Token),
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

/// Runs the command line of the relay and gives its exit status: 0 done, 1 failed, 2 usage.
///
/// `args` are those of the process, the program's name first. Prints to stdout and stderr.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, and go to stdout. A closed pipe is quiet success.
            error.print().ok();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let (json, result) = match cli.command {
        Command::Serve(command) => (command.json(), command.run()),
        Command::Address(command) => (command.json(), command.run()),
        Command::Token(command) => (command.json(), command.run()),
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
