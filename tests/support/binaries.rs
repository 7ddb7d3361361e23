//! The binaries under test, built once for all tests of a run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Variables that every test keeps, how much is logged among them; all others are gone.
const KEPT: [&str; 6] = ["PATH", "TMPDIR", "LANG", "RUST_BACKTRACE", "PENPAL_LOG", "PENPAL_RELAY_LOG"];

/// Paths of the programs.
#[derive(Debug)]
pub struct Binaries {
    /// `penpal`
    pub penpal: PathBuf,
    /// `penpal-relay`
    pub relay: PathBuf,
}

impl Binaries {
    /// Builds them when they are not up to date; takes those in the folder `PENPAL_TEST_BINARIES` as they are.
    ///
    /// # Panics
    /// When the build fails: there is nothing to test then.
    pub fn get() -> &'static Self {
        static BUILT: OnceLock<Binaries> = OnceLock::new();
        BUILT.get_or_init(|| {
            if let Some(folder) = std::env::var_os("PENPAL_TEST_BINARIES").map(PathBuf::from) {
                return Self { penpal: folder.join("penpal"), relay: folder.join("penpal-relay") };
            }
            let release = !cfg!(debug_assertions);
            let folder = target_folder().join(if release { "release" } else { "debug" });
            let binaries = Self { penpal: folder.join("penpal"), relay: folder.join("penpal-relay") };
            // A run over the whole workspace has built them just now; building again could only change what other tests run.
            if !(is_fresh(&binaries.penpal) && is_fresh(&binaries.relay)) {
                let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
                let mut build = Command::new(option_env!("CARGO").unwrap_or("cargo"));
                build.args([
                    "build",
                    "--quiet",
                    "--locked",
                    "--workspace",
                    "--bins",
                    "--manifest-path",
                    manifest,
                ]);
                if release {
                    build.arg("--release");
                }
                let status = build.status().expect("cargo runs");
                assert!(status.success(), "the binaries do not build");
                // One that a change does not reach keeps its age, and every test would ask again.
                for binary in [&binaries.penpal, &binaries.relay] {
                    let file = std::fs::File::open(binary).expect("what was built");
                    file.set_modified(std::time::SystemTime::now()).expect("its age");
                }
            }
            binaries
        })
    }
}

/// Whether a binary is newer than every source that could be in it.
fn is_fresh(binary: &Path) -> bool {
    let Ok(built) = std::fs::metadata(binary).and_then(|found| found.modified()) else { return false };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    ["Cargo.lock", "protocol/src", "crates", "node/src", "relay/src"]
        .iter()
        .all(|part| is_older(&root.join(part), built))
}

fn is_older(path: &Path, than: std::time::SystemTime) -> bool {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        return entries
            .filter(|entry| entry.file_name() != "tests")
            .all(|entry| is_older(&entry.path(), than));
    }
    std::fs::metadata(path).and_then(|found| found.modified()).is_ok_and(|changed| changed <= than)
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
