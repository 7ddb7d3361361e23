//! Machines of a world: each has a disk, a clock and an address that outlive its process.

mod clock;
mod files;
mod node;
mod relay;

pub use clock::PartyClock;
pub use files::{Contents, Files};
pub use node::{CallError, NodeHost, Snapshot};
pub use relay::{PORT, RelayHost, RelaySnapshot};

use penpal_store::disk::Crash;

/// What ends a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doom {
    /// It dies before the step that would be so many from now: what waited is lost.
    BeforeStep(u32),
    /// It dies after that step was committed and before anything of it was said.
    AfterCommit(u32),
    /// It dies when so many of that step's outputs are said.
    AmongOutputs(u32, u32),
}

impl Doom {
    /// Counts a step down; true when this is the step.
    fn strikes(&mut self) -> bool {
        let (Self::BeforeStep(left) | Self::AfterCommit(left) | Self::AmongOutputs(left, _)) = self;
        if *left == 0 {
            return true;
        }
        *left -= 1;
        false
    }
}

/// What a dying process leaves on its disk.
#[must_use]
pub fn crash_of(number: u64, seed: u64) -> Crash {
    match number % 5 {
        0 => Crash::LoseAll,
        1 => Crash::KeepAll,
        2 => Crash::Process,
        3 => Crash::KeepBytes(seed % 9_000),
        _ => Crash::Sectors(seed),
    }
}
