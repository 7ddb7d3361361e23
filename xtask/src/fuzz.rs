//! Fuzz targets, one after the other, without a sanitizer: the code is safe Rust, and stable compilers have none.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{cargo, record};

/// Longest time for one input before it counts as hanging, in seconds; shorter than any run of a person, far above what any
/// input needs.
const INPUT_SECONDS: u64 = 60;

/// Most memory for one input, in MiB: everything that is read is bounded, so nothing needs more.
const MEMORY_MIB: u64 = 1024;

/// Lines that are shown of a failure, from the panic on: its message and where it happened.
const SHOWN_LINES: usize = 40;

/// Longest line that is shown, in characters: assertions print all of what they compare.
const SHOWN_CHARACTERS: usize = 2000;

pub(crate) struct Options {
    /// For each target.
    pub(crate) seconds: u64,
    /// Only this one.
    pub(crate) target: Option<String>,
    /// Of libFuzzer's choices; 0 lets it take one.
    pub(crate) seed: u64,
}

pub(crate) fn run(workspace: &Path, options: &Options) -> Result<()> {
    let targets = match &options.target {
        Some(target) => vec![target.clone()],
        None => targets(workspace)?,
    };
    let mut build = fuzz(workspace, "build")?;
    build.args(&options.target);
    if !build.status().context("cargo fuzz cannot be started")?.success() {
        bail!("the fuzz targets do not build");
    }
    let mut failed = Vec::new();
    for target in &targets {
        if !try_target(workspace, target, options)? {
            failed.push(target.as_str());
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("found something: {}", failed.join(", ")) }
}

/// `cargo fuzz VERB` with the flags that every verb shares, and none of the caller's for the compiler.
fn fuzz(workspace: &Path, verb: &str) -> Result<Command> {
    let mut command = cargo(workspace)?;
    command.args(["fuzz", verb]);
    if verb != "list" {
        command.args(["--sanitizer", "none"]);
    }
    for flags in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_INCREMENTAL"] {
        command.env_remove(flags);
    }
    Ok(command)
}

fn targets(workspace: &Path) -> Result<Vec<String>> {
    let output =
        fuzz(workspace, "list")?.stderr(Stdio::inherit()).output().context("cargo fuzz cannot be started")?;
    if !output.status.success() {
        bail!("cargo fuzz list failed; is cargo-fuzz installed? `bash .ci/run fuzz` installs it");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// Runs one target; says whether it held.
///
/// What it finds of interest is kept below `target`, so that the next run starts from there and the corpus in the repository
/// stays small.
fn try_target(workspace: &Path, target: &str, options: &Options) -> Result<bool> {
    let Options { seconds, seed, .. } = *options;
    let kept = workspace.join("target/fuzz-corpus").join(target);
    fs::create_dir_all(&kept).with_context(|| format!("cannot create {}", kept.display()))?;
    let seeds = workspace.join("fuzz/corpus").join(target);
    let output = fuzz(workspace, "run")?
        .arg(target)
        .args([&kept, &seeds])
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-seed={seed}"))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .args(["-print_final_stats=1", "-verbosity=1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .context("cargo fuzz cannot be started")?;
    let text = String::from_utf8_lossy(&output.stderr);
    let executions = statistic(&text, "number_of_executed_units");
    let peak_mib = statistic(&text, "peak_rss_mb");
    record::add(workspace, target, seconds, executions, output.status.success())?;
    if output.status.success() {
        println!("{target:10} {executions:>9} executions in {seconds} s, {peak_mib} MiB");
        return Ok(true);
    }
    for line in failure(&text) {
        println!("{}", line.chars().take(SHOWN_CHARACTERS).collect::<String>());
    }
    println!("{target:10} FAILED after {executions} executions");
    if let Some(input) = artifact(&text) {
        println!("repeat it: cargo fuzz run -s none {target} {}", input.display());
        println!("keep it:   move it to fuzz/corpus/{target}/found-<what it was>");
    }
    Ok(false)
}

/// A number of libFuzzer's final statistics; `?` where it died before.
fn statistic<'t>(text: &'t str, name: &str) -> &'t str {
    let line = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name)?.strip_prefix(':'));
    line.map_or("?", str::trim)
}

/// What is worth showing: from the panic on, or the end where there is none.
fn failure(text: &str) -> impl Iterator<Item = &str> {
    let count = text.lines().count();
    let panic =
        text.lines().position(|line| line.contains("panicked at") || line.contains("ERROR: libFuzzer"));
    text.lines().skip(panic.unwrap_or(count.saturating_sub(SHOWN_LINES))).take(SHOWN_LINES)
}

/// Where libFuzzer wrote the input.
fn artifact(text: &str) -> Option<PathBuf> {
    text.lines()
        .find_map(|line| line.split_once("Test unit written to "))
        .map(|(_, path)| PathBuf::from(path.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says_is_understood() {
        let text = "\
#4096\tpulse  cov: 1
artifact_prefix='/x/'; Test unit written to /x/crash-0a
stat::number_of_executed_units: 4242
stat::peak_rss_mb:              58
";
        assert_eq!(statistic(text, "number_of_executed_units"), "4242");
        assert_eq!(statistic(text, "peak_rss_mb"), "58");
        assert_eq!(statistic(text, "new_units_added"), "?");
        assert_eq!(failure(text).count(), 4, "no panic: the end");
        assert_eq!(
            failure("INFO\nthread panicked at x\nmessage").collect::<Vec<_>>(),
            ["thread panicked at x", "message"]
        );
        assert_eq!(artifact(text), Some(PathBuf::from("/x/crash-0a")));
    }
}
