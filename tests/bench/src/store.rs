//! Bench `store`: the durable log by itself.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use penpal_store::{Batch, LogStore, Options, QueueId, SpoolStore as _, Store};

use crate::Place;
use crate::figures::{Figure, Samples, Target, Unit, latency};
use crate::load::MESSAGE_BYTES;
use crate::report::Report;

/// Commits of one row in one round.
const SINGLES: usize = 2_000;

/// Commits of several rows in one round.
const BATCHES: usize = 500;

/// Rows in such a commit.
const BATCH_ROWS: usize = 64;

/// Rows in one queue: what a device may have waiting.
const QUEUE_ROWS: u32 = 10_000;

/// Rows in one commit while the large store is filled.
const FILL_ROWS: u32 = 500;

/// Commits in rounds, and opening a large store again.
pub(crate) fn run(place: &Place, rows: u32) -> anyhow::Result<Report> {
    let mut report = Report::new("store");
    report.setting(format!(
        "rows of {MESSAGE_BYTES} bytes appended to one queue and acknowledged later; one fdatasync a commit; compaction between rounds"
    ));
    commits(place, &mut report)?;
    reopen(&place.folder.join("large"), rows, &mut report)?;
    Ok(report)
}

fn commits(place: &Place, report: &mut Report) -> anyhow::Result<()> {
    let mut store = LogStore::open(&place.folder.join("small"), Options::default())?;
    let mut row = Rows::new();
    let (mut singles, mut batches, mut per_second) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..place.rounds {
        let mut single = Samples::with_capacity(SINGLES);
        for _ in 0..SINGLES {
            let batch = row.append(Batch::new());
            single.push(commit(&mut store, batch)?);
        }
        singles.push(single);
        let mut batch_times = Samples::with_capacity(BATCHES);
        let mut spent = Duration::ZERO;
        for _ in 0..BATCHES {
            let batch = (0..BATCH_ROWS).fold(Batch::new(), |batch, _| row.append(batch));
            let took = commit(&mut store, batch)?;
            batch_times.push(took);
            spent += took;
        }
        per_second.push((BATCHES * BATCH_ROWS) as f64 / spent.as_secs_f64());
        batches.push(batch_times);
        commit(&mut store, Batch::new().ack(row.queue, row.seq))?;
        while store.compact(64 * 1024 * 1024)?.more {}
    }
    report.figures.extend(latency("append 4 KiB + sync", Unit::Micros, &singles));
    report.figures.extend(latency("append 64 × 4 KiB + sync", Unit::Micros, &batches));
    report.figures.push(Figure::new("rows in batches of 64", Unit::PerSecond, per_second));
    let segments = store.stats().segments - store.stats().spare_segments;
    report.figures.push(
        Figure::new("segments once all is acknowledged", Unit::Count, vec![segments as f64])
            .target(Target::AtMost(2.0)),
    );
    Box::new(store).close()?;
    Ok(())
}

/// Fills a store, then opens it as after a clean end, after a kill, and without its index.
fn reopen(folder: &Path, rows: u32, report: &mut Report) -> anyhow::Result<()> {
    let begun = Instant::now();
    fill(folder, rows)?;
    let filled = begun.elapsed().as_secs_f64();
    report.setting(format!(
        "large store: {rows} rows of {MESSAGE_BYTES} bytes in queues of {QUEUE_ROWS}, filled in {filled:.0} s"
    ));
    let name = |what| format!("open with {rows} rows, {what}");
    let clean = open(folder, rows)?;
    report.figures.push(
        Figure::new(name("closed well"), Unit::Seconds, vec![clean.as_secs_f64()])
            .target(Target::AtMost(2.0)),
    );
    let killed = open(folder, rows)?;
    report.figures.push(
        Figure::new(name("dropped like killed"), Unit::Seconds, vec![killed.as_secs_f64()])
            .target(Target::AtMost(2.0)),
    );
    remove_index(folder)?;
    let rebuilt = open(folder, rows)?;
    report.figures.push(
        Figure::new(name("index rebuilt"), Unit::Seconds, vec![rebuilt.as_secs_f64()])
            .target(Target::AtMost(30.0)),
    );
    Ok(())
}

fn fill(folder: &Path, rows: u32) -> anyhow::Result<()> {
    let mut store = LogStore::open(folder, Options::default())?;
    let mut row = Rows::new();
    let mut left = rows;
    while left > 0 {
        let count = left.min(FILL_ROWS);
        let batch = (0..count).fold(Batch::new(), |batch, _| row.append(batch));
        commit(&mut store, batch)?;
        left -= count;
        if row.seq >= u64::from(QUEUE_ROWS) {
            row.next_queue();
        }
    }
    Box::new(store).close()?;
    Ok(())
}

/// Opens the store, looks at every queue, and drops it without closing.
fn open(folder: &Path, rows: u32) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let store = LogStore::open(folder, Options::default())?;
    let queues = store.queues(None, usize::MAX)?;
    let took = begun.elapsed();
    let held: u64 = queues.iter().map(|(_, usage)| usage.rows).sum();
    ensure!(held == u64::from(rows), "{held} rows of {rows} are there");
    Ok(took)
}

/// Removes what is not the log.
fn remove_index(folder: &Path) -> anyhow::Result<()> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
            removed += 1;
        }
    }
    ensure!(removed > 0, "no index was found in {}", folder.display());
    Ok(())
}

fn commit(store: &mut LogStore, batch: Batch) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let outcomes = store.commit(vec![batch])?;
    let took = begun.elapsed();
    ensure!(outcomes == [penpal_store::Outcome::Done], "the store answers {outcomes:?}");
    Ok(took)
}

/// Makes rows.
struct Rows {
    queue: QueueId,
    seq: u64,
    bytes: Bytes,
}

impl Rows {
    fn new() -> Self {
        let bytes: Vec<u8> = (0..MESSAGE_BYTES).map(|at| (at * 31 % 251) as u8).collect();
        Self { queue: QueueId([1; 16]), seq: 0, bytes: bytes.into() }
    }

    fn append(&mut self, batch: Batch) -> Batch {
        self.seq += 1;
        batch.append(self.queue, self.seq, 1, self.bytes.clone())
    }

    fn next_queue(&mut self) {
        let number = u128::from_be_bytes(self.queue.0).wrapping_add(1);
        self.queue = QueueId(number.to_be_bytes());
        self.seq = 0;
    }
}
