//! What the rig needs of the machine it runs on, and namespaces of its own in which it may mount.

use std::path::Path;
use std::process::Command;

/// Set for the process inside the namespaces.
const INSIDE: &str = "PENPAL_CUTS_INSIDE";

/// Whether this process is the one inside.
pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// What is missing here, if anything.
pub(crate) fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("root".to_owned());
    }
    for device in ["/dev/loop-control", "/dev/fuse"] {
        if !Path::new(device).exists() {
            return Some(device.to_owned());
        }
    }
    let programs = [("mkfs.ext4", "-V"), ("mount", "-V"), ("setpriv", "-V"), ("unshare", "-V")];
    for (program, version) in programs {
        if Command::new(program).arg(version).output().is_err() {
            return Some(program.to_owned());
        }
    }
    let tried = inside(Path::new("true")).output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("namespaces ({})", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Some(format!("namespaces ({error})")),
    }
}

/// A command that runs with mounts and processes of its own: both are gone when it ends, however it ends.
fn inside(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"]);
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"]).arg(program);
    command
}

/// Runs one test of this program again, inside.
pub(crate) fn enter(test: &str) {
    let program = std::env::current_exe().expect("the path of this test");
    let status = inside(&program).args(["--exact", test, "--nocapture"]).env(INSIDE, "1").status();
    assert!(status.expect("it starts").success(), "{test} failed inside its namespaces");
}

/// A number that the kernel makes at every start of a machine. Here the kernel goes on, so the rig gives another one.
#[derive(Debug)]
pub(crate) struct BootId(std::path::PathBuf);

impl BootId {
    /// Puts a file of ours in its place. Only inside.
    pub(crate) fn replaced(folder: &Path) -> Self {
        let boot = Self(folder.join("boot-id"));
        boot.change(0);
        let file = boot.0.to_str().expect("a path in UTF-8");
        let done = crate::machine::try_run("mount", &["--bind", file, "/proc/sys/kernel/random/boot_id"]);
        assert_eq!(done, Ok(()));
        boot
    }

    /// The machine was started again.
    pub(crate) fn change(&self, number: u64) {
        std::fs::write(&self.0, format!("00000000-0000-4000-8000-{number:012x}\n")).expect("a boot id");
    }
}
