//! Memory and disk of the relay over time.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::ledger::Counts;
use crate::figures::{Figure, Spread, Target, Unit};
use crate::process::{cpu_seconds, own_kib, rss_kib};
use crate::relay::Program;
use crate::report::Report;

/// How often is looked.
pub(super) const EVERY: Duration = Duration::from_secs(5);

/// Parts of the time: each figure is one number a part.
pub(super) const PARTS: usize = 6;

/// What a remembered deposit id costs at most, in bytes: sixteen of its own in a table that is half full.
const MARK_BYTES: f64 = 40.0;

#[derive(Debug, Default, Clone)]
struct Part {
    resident: Vec<f64>,
    own: Vec<f64>,
    disk: Vec<f64>,
    waiting: Vec<f64>,
}

/// All looks so far.
#[derive(Debug)]
pub(super) struct Watch {
    began: Instant,
    length: Duration,
    parts: Vec<Part>,
    cpu: f64,
    load: f64,
    marks: u64,
    end: f64,
    segments: usize,
}

impl Watch {
    pub(super) fn new(program: &Program, length: Duration) -> anyhow::Result<Self> {
        Ok(Self {
            began: Instant::now(),
            length,
            parts: vec![Part::default(); PARTS],
            cpu: cpu_seconds(program.pid())?,
            load: 0.0,
            marks: 0,
            end: 0.0,
            segments: 0,
        })
    }

    /// Looks once.
    pub(super) fn look(&mut self, program: &Program, counts: &Counts) -> anyhow::Result<()> {
        let part = self.began.elapsed().as_secs_f64() / self.length.as_secs_f64() * PARTS as f64;
        let part = (part as usize).min(PARTS - 1);
        if let Some(part) = self.parts.get_mut(part) {
            part.resident.push(rss_kib(program.pid())? / 1024.0);
            part.own.push(own_kib(program.pid())? / 1024.0);
            part.disk.push(mib_below(program.data()));
            part.waiting.push(counts.accepted.saturating_sub(counts.arrived) as f64);
        }
        Ok(())
    }

    /// Looks for the last time: everything was fetched and acknowledged.
    pub(super) fn finish(&mut self, program: &Program, counts: &Counts) -> anyhow::Result<()> {
        let seconds = self.began.elapsed().as_secs_f64();
        self.load = (cpu_seconds(program.pid())? - self.cpu) / seconds * 100.0;
        self.marks = counts.accepted;
        self.end = mib_below(program.data());
        let segments = fs::read_dir(program.data().join("store"))?.flatten();
        self.segments =
            segments.filter(|file| file.path().extension().is_some_and(|end| end == "log")).count();
        Ok(())
    }

    pub(super) fn figures(&self, report: &mut Report) {
        let parts = |of: fn(&Part) -> &Vec<f64>| -> Vec<f64> {
            self.parts
                .iter()
                .filter(|part| !of(part).is_empty())
                .map(|part| Spread::of(of(part)).p50)
                .collect()
        };
        let own = parts(|part| &part.own);
        let growth = |numbers: &[f64]| match (numbers.get(1), numbers.last()) {
            (Some(early), Some(late)) => late - early,
            _ => 0.0,
        };
        let marks = self.marks as f64 * MARK_BYTES / (1024.0 * 1024.0);
        let disk = parts(|part| &part.disk);
        let (grown, disk_grown) = (growth(&own), growth(&disk));
        report.figures.extend([
            Figure::new("relay: resident", Unit::Mib, parts(|part| &part.resident)),
            Figure::new("relay: of that its own", Unit::Mib, own),
            Figure::new("relay: own memory, last part less the second", Unit::Mib, vec![grown])
                .target(Target::AtMost(4.0 + marks)),
            Figure::new("what remembered deposit ids may explain of it", Unit::Mib, vec![marks]),
            Figure::new("relay: disk", Unit::Mib, disk),
            Figure::new("relay: disk, last part less the second", Unit::Mib, vec![disk_grown])
                .target(Target::AtMost(32.0)),
            Figure::new("relay: disk when all is acknowledged", Unit::Mib, vec![self.end]),
            Figure::new("relay: segments when all is acknowledged", Unit::Count, vec![self.segments as f64]),
            Figure::new("envelopes that wait", Unit::Count, parts(|part| &part.waiting)),
            Figure::new("relay: processor, of one core", Unit::Percent, vec![self.load]),
        ]);
    }
}

/// What a folder takes on the disk, in MiB. Files may vanish meanwhile.
pub(crate) fn mib_below(folder: &Path) -> f64 {
    let mut blocks = 0;
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => blocks += metadata.blocks(),
                Err(_) => {}
            }
        }
    }
    blocks as f64 / 2_048.0
}
