//! The binaries under test, built once for all tests of a run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Variables that every test keeps; all others are gone.
const KEPT: [&str; 4] = ["PATH", "TMPDIR", "LANG", "RUST_BACKTRACE"];

/// Paths of the programs.
#[derive(Debug)]
pub struct Binaries {
    /// `penpal`
    pub penpal: PathBuf,
    /// `penpal-relay`
    pub relay: PathBuf,
}

impl Binaries {
    /// Builds them when they are not up to date.
    ///
    /// # Panics
    /// When the build fails: there is nothing to test then.
    pub fn get() -> &'static Self {
        static BUILT: OnceLock<Binaries> = OnceLock::new();
        BUILT.get_or_init(|| {
            let release = !cfg!(debug_assertions);
            let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
            let mut build = Command::new(option_env!("CARGO").unwrap_or("cargo"));
            build.args([
                "build",
                "--quiet",
                "--locked",
                "--manifest-path",
                manifest,
                "-p",
                "penpal",
                "-p",
                "penpal-relay",
                "--bins",
            ]);
            if release {
                build.arg("--release");
            }
            let status = build.status().expect("cargo runs");
            assert!(status.success(), "the binaries do not build");
            let folder = target_folder().join(if release { "release" } else { "debug" });
            Self { penpal: folder.join("penpal"), relay: folder.join("penpal-relay") }
        })
    }
}

fn target_folder() -> PathBuf {
    let given = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"))
}

/// A command that inherits nothing of whoever runs the tests: no agent's variables, no home of penpal.
#[must_use]
pub fn clean_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    for name in KEPT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.stdin(std::process::Stdio::null());
    command
}
