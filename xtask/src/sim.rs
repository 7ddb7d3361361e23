//! Simulation: whole worlds of nodes and relays, and the seeded worlds of single crates, more of them than in the tests.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};

use crate::cargo;

/// Worlds of one kind.
struct Worlds {
    package: &'static str,
    /// Which of its tests, in the language of nextest's filters.
    tests: &'static str,
    /// Variable with the number of worlds.
    count: &'static str,
    /// Worlds for each hundred that were asked for: as many as cost about the same.
    percent: u64,
    /// What they are, for people.
    what: &'static str,
}

const WORLDS: [Worlds; 7] = [
    Worlds {
        package: "penpal-contact",
        tests: "test(schedules::)",
        count: "PENPAL_SCHEDULES",
        percent: 100,
        what: "invites between nodes that die, over a network that loses and repeats",
    },
    Worlds {
        package: "penpal-delivery",
        tests: "test(random::)",
        count: "PENPAL_DELIVERY_WORLDS",
        percent: 100,
        what: "people who write and answer while everything that can go wrong does",
    },
    Worlds {
        package: "penpal-relay-core",
        tests: "test(simulation::)",
        count: "PENPAL_SIM_SEEDS",
        percent: 100,
        what: "nodes and a relay that die at any moment",
    },
    Worlds {
        package: "penpal-sessions",
        tests: "test(any_history_keeps_the_promises)",
        count: "PENPAL_MODEL_CASES",
        percent: 400,
        what: "histories of sessions",
    },
    Worlds {
        package: "penpal-store",
        tests: "binary(crash)",
        count: "PENPAL_STORE_CRASHES",
        percent: 50,
        what: "power cuts and dead processes under a store",
    },
    Worlds {
        package: "penpal-store",
        tests: "test(log_on_a_simulated_disk)",
        count: "PENPAL_STORE_HISTORIES",
        percent: 100,
        what: "histories of a store against its model",
    },
    Worlds {
        package: "penpal-store",
        tests: "binary(kill)",
        count: "PENPAL_STORE_KILLS",
        percent: 20,
        what: "real processes, killed",
    },
];

/// Read by proptest: every world of the crates that draw theirs with it follows from this.
const PROPTEST_SEED: &str = "PROPTEST_RNG_SEED";

/// Above so many worlds an optimised build is worth its time.
const FEW: u64 = 200;

pub(crate) struct Options {
    /// Arguments for the world program, as they stand.
    pub(crate) arguments: Vec<String>,
}

impl Options {
    fn are_many(&self) -> bool {
        let mut arguments = self.arguments.iter().skip_while(|argument| *argument != "--seeds").skip(1);
        arguments.next().and_then(|seeds| seeds.parse().ok()).is_some_and(|seeds: u64| seeds > FEW)
    }
}

/// Runs whole worlds.
pub(crate) fn run(workspace: &Path, options: &Options) -> Result<()> {
    let mut command = if options.are_many() {
        let mut command = cargo(workspace)?;
        command.args(["run", "--quiet", "--locked", "--release", "--bin", "penpal-sim", "--"]);
        command
    } else {
        // With everything else, so that features are those of the tests and nothing is compiled twice.
        let mut build = cargo(workspace)?;
        build.args(["build", "--quiet", "--locked", "--workspace", "--all-targets"]);
        if !build.status().context("cargo cannot be started")?.success() {
            bail!("the worlds do not build");
        }
        let beside = std::env::current_exe().context("this program has no path")?;
        std::process::Command::new(beside.with_file_name("penpal-sim"))
    };
    command.args(&options.arguments);
    if command.status().context("penpal-sim cannot be started")?.success() {
        return Ok(());
    }
    bail!("a world failed")
}

pub(crate) struct CrateOptions {
    pub(crate) seeds: u64,
    pub(crate) seed: Option<u64>,
}

/// Runs the seeded tests of single crates.
pub(crate) fn run_crates(workspace: &Path, options: &CrateOptions) -> Result<()> {
    let seed = options.seed.unwrap_or_else(|| {
        // Numbers that a person can type again.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (since.as_secs() ^ u64::from(since.subsec_nanos())) % 1_000_000_000
    });
    let mut command = cargo(workspace)?;
    command.args([
        "nextest",
        "run",
        "--locked",
        "--workspace",
        "--no-fail-fast",
        "--status-level",
        "slow",
        "--no-tests",
        "fail",
    ]);
    let filters = WORLDS.map(|worlds| format!("(package(={}) & {})", worlds.package, worlds.tests));
    command.args(["-E", &filters.join(" | ")]);
    for worlds in &WORLDS {
        let count = (options.seeds * worlds.percent).div_ceil(100).max(1);
        println!("{:17} {count:>7}  {} ({}={count})", worlds.package, worlds.what, worlds.count);
        command.env(worlds.count, count.to_string());
    }
    command.env(PROPTEST_SEED, seed.to_string());
    println!("seed {seed}");
    if command.status().context("cargo nextest cannot be started")?.success() {
        return Ok(());
    }
    bail!(
        "a world failed; the same worlds again: cargo xtask sim-crates --seeds {} --seed {seed}",
        options.seeds
    )
}
