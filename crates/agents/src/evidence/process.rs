//! Processes: who started whom, and since when.

use penpal_local_api::caller::Process;

#[cfg(target_os = "linux")]
#[path = "process_linux.rs"]
mod system;
#[cfg(not(target_os = "linux"))]
#[path = "process_ps.rs"]
mod system;

pub use system::{SystemProcesses, executable};

/// A process as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub process: Process,
    /// Its parent's id; 0 for none.
    pub parent: u32,
    /// Its program and arguments; just a name where more cannot be read.
    pub arguments: Vec<String>,
}

/// A view of processes.
pub trait ProcessTable {
    /// A process that is there now.
    fn look(&self, pid: u32) -> Option<Found>;
}

/// Whether a process is still there.
#[must_use]
pub fn is_alive(process: Process) -> bool {
    SystemProcesses::new().look(process.pid).is_some_and(|found| found.process == process)
}
