//! The real programs, killed and cut off from power, more often than in the tests.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::cargo;

/// One test of the whole system that repeats something as often as asked.
pub(crate) struct Repeated {
    /// What people call it, here and in this program's command.
    name: &'static str,
    /// The test binary of `penpal-tests`, and the test in it.
    binary: &'static str,
    test: &'static str,
    /// Variable with the number of repetitions.
    variable: &'static str,
}

/// Power cuts on disks that lose what was not flushed.
pub(crate) const CUTS: Repeated = Repeated {
    name: "cuts",
    binary: "cuts",
    test: "what_was_accepted_survives_power_cuts",
    variable: "PENPAL_CUTS",
};

/// `kill -9`.
pub(crate) const KILLS: Repeated = Repeated {
    name: "kills",
    binary: "system",
    test: "crash::what_was_accepted_arrives_exactly_once_through_kills",
    variable: "PENPAL_CRASH_ROUNDS",
};

pub(crate) struct Options {
    pub(crate) count: u64,
    /// Of an earlier run, which printed it.
    pub(crate) seed: Option<u64>,
}

pub(crate) fn run(workspace: &Path, what: &Repeated, options: &Options) -> Result<()> {
    let mut command = cargo(workspace)?;
    // The whole workspace, as in a run of all tests: a part of it has other features, and would be compiled anew.
    command.args(["test", "--quiet", "--locked", "--workspace", "--test", what.binary, "--"]);
    command.args(["--exact", what.test, "--nocapture"]);
    command.env(what.variable, options.count.to_string());
    if let Some(seed) = options.seed {
        command.env("PENPAL_SEED", seed.to_string());
    }
    if command.status().context("cargo cannot be started")?.success() {
        return Ok(());
    }
    bail!(
        "the same choices again: cargo run -p xtask -- {} --count {} --seed <what was printed as PENPAL_SEED>",
        what.name,
        options.count
    )
}
