//! Where a measurement was taken, and how quick the machine was at that moment.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use serde::Serialize;

use crate::figures::Samples;

/// Syncs that tell how quick the disk is now.
const PROBES: usize = 200;

/// What does not change during a run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    /// Processors that this process may use.
    pub(crate) cores: usize,
    /// Their name.
    pub(crate) cpu: String,
    /// Kernel release.
    pub(crate) kernel: String,
    /// Device, file system and options of the folder that is written to.
    pub(crate) disk: String,
}

impl Machine {
    /// Of this machine and this folder.
    pub(crate) fn here(folder: &Path) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model =
            cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: model.trim_start_matches([':', '\t', ' ']).to_owned(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            disk: disk_of(folder),
        }
    }
}

/// The mount that a folder is on, as the kernel describes it.
fn disk_of(folder: &Path) -> String {
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let parsed = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        Some((fields.next()?, fields.next()?, fields.next()?))
    });
    let ours =
        parsed.filter(|(_, point, _)| folder.starts_with(point)).max_by_key(|(_, point, _)| point.len());
    ours.map_or_else(|| "unknown".to_owned(), |(device, point, kind)| format!("{device} on {point}, {kind}"))
}

/// What does.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Moment {
    /// Load averages over 1, 5 and 15 minutes.
    pub(crate) load: String,
    /// Median of overwriting 4 KiB of a file and syncing it, in microseconds.
    pub(crate) sync_us: f64,
}

impl Moment {
    /// Now, in this folder.
    pub(crate) fn now(folder: &Path) -> anyhow::Result<Self> {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
        let file = tempfile::tempfile_in(folder).context("a file to probe the disk with")?;
        let block = [7_u8; 4096];
        file.write_all_at(&vec![0; 64 * block.len()], 0)?;
        file.sync_all()?;
        let mut samples = Samples::default();
        for probe in 0..PROBES {
            let begun = Instant::now();
            file.write_all_at(&block, (probe % 64 * block.len()) as u64)?;
            file.sync_data()?;
            samples.push(begun.elapsed());
        }
        Ok(Self { load, sync_us: samples.p50_p99_us().0 })
    }
}
