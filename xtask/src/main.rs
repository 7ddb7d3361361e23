//! Longer checks than the tests: `cargo xtask help` lists them.
//!
//! They run for as long as asked, say what ran, and end with the command that repeats a failure.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program reports on its standard streams"
)]

mod arguments;
mod fuzz;
mod model;
mod mutants;
mod processes;
mod record;
mod sim;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};

use arguments::Arguments;

const HELP: &str = "\
Run longer checks than the tests

Usage: cargo xtask <COMMAND>

Commands:
  fuzz [--seconds N] [--target T] [--seed S]
                                   Run each fuzz target for N seconds (default 5), or only target T; a seed gives the same
                                   beginning again
  fuzz-record                      What the targets were given so far in this checkout, as a table
  mutants [--package P] [--shard K/N]
                                   Break protocol, seal, delivery and store one line at a time, or only package P,
                                   or only part K of N of their mutants; fails when tests do not notice
  sim [--seeds N] [--seed S] [--trace]
                                   Run N whole worlds of nodes and relays (default 50) from seed S; --seed alone runs that
                                   one again, --trace prints what happens in it; more with sim --help
  sim-crates [--seeds N] [--seed S]
                                   Run about N of the seeded worlds of each machine (default 50); --seed repeats
                                   a run that printed S
  cuts [--count N] [--seed S]      Cut the power of nodes and relay N times (default 200); needs root
  kills [--count N] [--seed S]     Kill nodes and relay N times (default 500)
  model [--model M] [--sessions K] Give the models of envelope and invite, and their broken variants, to Verifpal
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        // Without a backtrace: what went wrong is in what was run.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = Arguments::new(std::env::args().skip(1));
    match arguments.command().as_deref() {
        Some("fuzz") => {
            let options = fuzz::Options {
                seconds: arguments.number("seconds")?.unwrap_or(5),
                target: arguments.text("target")?,
                seed: arguments.number("seed")?.unwrap_or(0),
            };
            arguments.end()?;
            fuzz::run(&workspace()?, &options)
        }
        Some("fuzz-record") => {
            arguments.text("")?;
            arguments.end()?;
            record::print(&workspace()?)
        }
        Some("mutants") => {
            let options =
                mutants::Options { package: arguments.text("package")?, shard: arguments.text("shard")? };
            arguments.end()?;
            mutants::run(&workspace()?, &options)
        }
        Some("sim") => sim::run(&workspace()?, &sim::Options { arguments: arguments.rest() }),
        Some("sim-crates") => {
            let options = sim::CrateOptions {
                seeds: arguments.number("seeds")?.unwrap_or(50),
                seed: arguments.number("seed")?,
            };
            arguments.end()?;
            sim::run_crates(&workspace()?, &options)
        }
        Some(command @ ("cuts" | "kills")) => {
            let (what, count) =
                if command == "cuts" { (processes::CUTS, 200) } else { (processes::KILLS, 500) };
            let options = processes::Options {
                count: arguments.number("count")?.unwrap_or(count),
                seed: arguments.number("seed")?,
            };
            arguments.end()?;
            processes::run(&workspace()?, &what, &options)
        }
        Some("model") => {
            let options =
                model::Options { sessions: arguments.number("sessions")?, model: arguments.text("model")? };
            arguments.end()?;
            model::run(&workspace()?, &options)
        }
        Some("help" | "--help" | "-h") => {
            print!("{HELP}");
            Ok(())
        }
        Some(other) => bail!("there is no command {other:?}\n\n{HELP}"),
        None => bail!("which command?\n\n{HELP}"),
    }
}

/// The folder of the workspace, wherever the program was started.
fn workspace() -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = manifest.parent().context("xtask lies in the workspace")?;
    Ok(folder.to_owned())
}

/// How cargo is started: by its own name, so that the tools of `.ci/run` are found beside it.
fn cargo(workspace: &Path) -> Result<std::process::Command> {
    let tools = workspace.join("target/tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(tools).chain(std::env::split_paths(&path)))
        .context("the folder of the workspace cannot stand in PATH")?;
    let mut command = std::process::Command::new("cargo");
    command.current_dir(workspace).env("PATH", path);
    Ok(command)
}
