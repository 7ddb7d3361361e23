//! Breaks the code one line at a time and looks whether a test notices.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::cargo;

/// The version that the figures in `docs/reliability.md` were made with.
const VERSION: &str = "27.1.0";

/// What is worth it: where a wrong line costs a secret, a message or a receipt.
const PACKAGES: [&str; 4] = ["penpal-protocol", "penpal-seal", "penpal-delivery", "penpal-store"];

pub(crate) struct Options {
    /// Only this one.
    pub(crate) package: Option<String>,
    /// Part `k/n` of its mutants, spread over all of its files.
    pub(crate) shard: Option<String>,
}

pub(crate) fn run(workspace: &Path, options: &Options) -> Result<()> {
    install(workspace)?;
    let packages = match &options.package {
        Some(package) => vec![package.as_str()],
        None => PACKAGES.to_vec(),
    };
    let mut survivors = 0;
    for package in packages {
        survivors += try_package(workspace, package, options.shard.as_deref())?;
    }
    if survivors == 0 {
        return Ok(());
    }
    bail!("{survivors} survive: write the test that kills each, or say in .cargo/mutants.toml why none can")
}

/// Puts the pinned version beside the other tools of `.ci/run`.
fn install(workspace: &Path) -> Result<()> {
    let tools = workspace.join("target/tools");
    let found = Command::new(tools.join("bin/cargo-mutants")).args(["mutants", "--version"]).output();
    if found.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim().ends_with(VERSION)) {
        return Ok(());
    }
    let crate_version = format!("cargo-mutants@{VERSION}");
    let status = cargo(workspace)?
        .args(["install", "--locked", "--root"])
        .arg(&tools)
        .arg(&crate_version)
        .status()
        .context("cargo install cannot be started")?;
    if status.success() { Ok(()) } else { bail!("{crate_version} cannot be installed") }
}

/// Tries one package and prints what came of it; gives the number of survivors.
fn try_package(workspace: &Path, package: &str, shard: Option<&str>) -> Result<usize> {
    let out = workspace.join("target/mutants").join(package);
    fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let mut command = cargo(workspace)?;
    command.args(["mutants", "--no-times", "--colors", "never", "--package", package, "--output"]).arg(&out);
    // Dependencies are built once for all parts, and of the package only what a mutant changes: half of the time is saved.
    command.env("CARGO_TARGET_DIR", workspace.join("target/mutants/build")).env("CARGO_INCREMENTAL", "1");
    if let Some(shard) = shard {
        command.args(["--shard", shard, "--sharding", "round-robin"]);
    }
    // Its own status says whether mutants survived; so do its results, which say more.
    command.status().context("cargo mutants cannot be started")?;
    let found = Found::read(&out)?;
    println!("{}", found.line(package, shard));
    Ok(found.count("missed") + found.count("timeout"))
}

/// Mutants by outcome.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found(BTreeMap<&'static str, usize>);

const OUTCOMES: [&str; 4] = ["caught", "missed", "timeout", "unviable"];

impl Found {
    /// Reads the lists that cargo-mutants leaves, one mutant a line.
    fn read(out: &Path) -> Result<Self> {
        let mut found = Self::default();
        for outcome in OUTCOMES {
            let path: PathBuf = out.join("mutants.out").join(format!("{outcome}.txt"));
            let text = fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
            found.0.insert(outcome, text.lines().filter(|line| !line.is_empty()).count());
        }
        Ok(found)
    }

    fn count(&self, outcome: &str) -> usize {
        self.0.get(outcome).copied().unwrap_or_default()
    }

    fn line(&self, package: &str, shard: Option<&str>) -> String {
        let [caught, missed, timeout, unviable] = OUTCOMES.map(|outcome| self.count(outcome));
        let all = caught + missed + timeout + unviable;
        let part = shard.map_or_else(String::new, |shard| format!(" (part {shard})"));
        format!(
            "{package}{part}: {all} mutants, {caught} killed, {missed} survived, {timeout} hung, {unviable} unviable"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_mutants_leaves_is_counted() {
        let found = Found(BTreeMap::from([("caught", 7), ("missed", 2), ("timeout", 1), ("unviable", 3)]));
        assert_eq!(found.count("missed"), 2);
        assert_eq!(
            found.line("penpal-seal", Some("0/8")),
            "penpal-seal (part 0/8): 13 mutants, 7 killed, 2 survived, 1 hung, 3 unviable"
        );
    }
}
