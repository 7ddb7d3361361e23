//! A small file system of its own for one test, filled to the last byte when the test likes.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Set for the process that has the file system.
const INSIDE: &str = "PENPAL_TESTS_SMALL_DISK";

/// Exit status when nothing can be mounted.
const NO_MOUNT: i32 = 77;

/// A file system with a fixed size.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

/// Runs the named test of this program again in a mount namespace with a small file system, and gives that there; gives nothing
/// to the caller outside, nor where this cannot be done, which it says.
///
/// # Panics
/// When the test fails inside.
#[must_use]
pub fn enter(test: &str, mebibytes: u32) -> Option<SmallDisk> {
    if let Some(path) = std::env::var_os(INSIDE) {
        return Some(SmallDisk { path: path.into() });
    }
    let folder = crate::folder();
    let mount =
        format!("mount -t tmpfs -o size={mebibytes}m tmpfs \"$1\" || exit {NO_MOUNT}; shift; exec \"$@\"");
    let program = std::env::current_exe().expect("the path of this test");
    let status = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"])
        .args(["--pid", "--fork", "--kill-child", "--mount-proc", "--", "sh", "-c", &mount, "sh"])
        .arg(folder.path())
        .arg(program)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, folder.path())
        .status();
    match status.map(|status| status.code()) {
        Ok(Some(0)) => {}
        // A test that fails ends with 101; less comes from the programs around it.
        Ok(Some(code)) if code < 100 => skipped(test, &format!("nothing can be mounted here ({code})")),
        Err(error) => skipped(test, &format!("this needs setpriv and unshare ({error})")),
        Ok(code) => panic!("{test} failed on its small disk: {code:?}"),
    }
    None
}

fn skipped(test: &str, why: &str) {
    // Nobody to read it is no failure.
    writeln!(std::io::stderr(), "{test}: SKIPPED, {why}").ok();
}

impl SmallDisk {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes every byte that is left.
    ///
    /// # Panics
    /// When nothing can be written at all.
    pub fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.ballast()).expect("a file");
        for bytes in [64 * 1024, 512, 1] {
            let piece = vec![0xa5; bytes];
            while file.write_all(&piece).is_ok() {}
        }
    }

    /// Gives back what [`Self::fill`] took.
    ///
    /// # Panics
    /// When nothing was taken.
    pub fn free(&self) {
        std::fs::remove_file(self.ballast()).expect("it was filled");
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}
