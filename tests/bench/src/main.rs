//! Measures penpal: `cargo run --release -p penpal-bench -- [NAME…]`.
//!
//! What is measured, with the numbers that were found, stands in `docs/performance.md`. Each bench starts what it needs in
//! temporary folders and removes it; none takes longer than a minute or two.

mod commands;
mod figures;
mod files;
mod floor;
mod hooks;
mod idle;
mod load;
mod machine;
mod nodes;
mod options;
mod peers;
mod process;
mod relay;
mod report;
mod room;
mod seal;
mod search;
mod sizing;
mod soak;
mod spooled;
mod store;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Parser;
use tokio::runtime::{Builder, Runtime};

use machine::{Machine, Moment};
use options::{Name, Options, Role};
use report::{Report, Run};

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if let (Some(role), Some(folder)) = (options.role, &options.folder) {
        return play(role, folder);
    }
    anyhow::ensure!(!cfg!(debug_assertions), "measure with `cargo run --release -p penpal-bench`");
    let folder = options.data.clone().unwrap_or_else(std::env::temp_dir);
    let mut run = Run {
        v: 1,
        machine: Machine::here(&folder),
        rounds: usize::from(options.rounds),
        reports: Vec::new(),
    };
    show(&options, || report::machine_text(&run.machine))?;
    let benches = options.benches();
    // Before anything is measured: what waits for a compiler while connections are open loses them.
    for program in benches.iter().flat_map(|name| name.programs()).filter(|_| !options.as_built) {
        process::build(program)?;
    }
    for name in benches {
        let before = Moment::now(&folder)?;
        let mut report = measure(name, &options, &folder).with_context(|| format!("bench {name:?}"))?;
        report.before = Some(before);
        report.after = Some(Moment::now(&folder)?);
        show(&options, || report::report_text(&report))?;
        run.reports.push(report);
    }
    if options.json {
        writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&run)?)?;
    }
    Ok(())
}

/// Prints for people as results come.
fn show(options: &Options, text: impl FnOnce() -> String) -> anyhow::Result<()> {
    if !options.json {
        let mut out = std::io::stdout();
        out.write_all(text().as_bytes())?;
        out.flush()?;
    }
    Ok(())
}

fn measure(name: Name, options: &Options, folder: &Path) -> anyhow::Result<Report> {
    let folder = scratch(folder)?;
    let place = Place { rounds: usize::from(options.rounds), folder: folder.path().to_path_buf() };
    match name {
        Name::Floor => spooled::floor(&place),
        Name::Relay => spooled::relay(&place, options.peers),
        Name::Seal => seal::run(&place),
        Name::Store => store::run(&place, options.rows),
        Name::Search => search::run(&place),
        Name::Node => nodes::between(&place),
        Name::Local => nodes::local(&place),
        Name::Files => files::run(&place, options.file_mib),
        Name::Room => room::run(&place),
        Name::Process => commands::run(&place),
        Name::Hook => hooks::run(&place),
        Name::Idle => idle::run(&place, options.connections, options.keep_alives),
        Name::Sizing => sizing::run(&place),
        Name::Soak => soak::run(&place, options.minutes),
    }
}

/// Where a bench writes, and how often it repeats.
#[derive(Debug)]
struct Place {
    /// Rounds asked for.
    rounds: usize,
    /// A folder of its own, removed in the end.
    folder: PathBuf,
}

fn scratch(folder: &Path) -> anyhow::Result<tempfile::TempDir> {
    let made = tempfile::Builder::new().prefix("penpal-bench-").tempdir_in(folder);
    made.with_context(|| format!("a folder in {}", folder.display()))
}

/// One thread for everything on the client's side, as a node has.
fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

fn play(role: Role, folder: &Path) -> anyhow::Result<()> {
    match role {
        Role::FloorServer => runtime()?.block_on(floor::serve(folder)),
        Role::BulkServer => runtime()?.block_on(floor::serve_bulk(folder)),
    }
}
