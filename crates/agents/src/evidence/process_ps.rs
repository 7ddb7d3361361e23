//! Processes on systems without `/proc`: one run of `ps`, whose words and times do not depend on the user's settings.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::evidence::process::{Found, ProcessTable};

/// The processes of this system, as they were when first asked.
///
/// A start time is in Unix seconds.
#[derive(Debug, Default)]
pub struct SystemProcesses {
    table: OnceLock<BTreeMap<u32, Found>>,
}

impl SystemProcesses {
    /// Runs `ps` when first asked.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl ProcessTable for SystemProcesses {
    fn look(&self, pid: u32) -> Option<Found> {
        self.table.get_or_init(list).get(&pid).cloned()
    }
}

/// Path of the program that a process runs: not told by `ps`.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn executable(_: u32) -> Option<std::path::PathBuf> {
    None
}

fn list() -> BTreeMap<u32, Found> {
    let output = Command::new("/bin/ps")
        .args(["-axww", "-o", "pid=,ppid=,lstart=,command="])
        .env("LC_ALL", "C")
        .env("TZ", "UTC0")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let Ok(output) = output else { return BTreeMap::new() };
    crate::evidence::ps::parse(&String::from_utf8_lossy(&output.stdout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_and_its_parent_are_found() {
        let table = SystemProcesses::new();
        let me = table.look(std::process::id()).expect("this process is there");
        assert_eq!(me.parent, std::os::unix::process::parent_id());
        assert!(me.process.started > 1_500_000_000);
        assert!(table.look(me.parent).is_some());
    }
}
