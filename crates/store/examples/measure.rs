//! Measures the store on real files: `cargo run --release -p penpal-store --example measure -- DIR [ROWS]`.
//!
//! Prints the floor (a preallocated overwrite and fdatasync of the same size) beside each figure, in
//! the same run. With ROWS, also restart and rebuild with that many queued rows of 4 KiB.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use penpal_store::{Batch, LogStore, Options, QueueId, SpoolStore, Store};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const ROUNDS: usize = 4000;
const ROW_BYTES: usize = 4096;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("usage: measure DIR [ROWS]")?;
    let rows: u64 = args.next().map_or(Ok(0), |rows| rows.parse())?;
    let dir = Path::new(&dir);
    std::fs::create_dir_all(dir)?;
    let mut out = io::stdout().lock();
    memory(&mut out)?;
    let idle = fresh(&dir.join("idle"))?;
    write!(out, "with an empty store open: ")?;
    memory(&mut out)?;
    drop(idle);
    for round in 0..if rows > 0 { 1 } else { 3 } {
        writeln!(out, "-- run {round}")?;
        floor(&mut out, &dir.join("floor"), ROW_BYTES + 512)?;
        singles(&mut out, &dir.join("singles"))?;
        deposits(&mut out, &dir.join("deposits"))?;
        floor(&mut out, &dir.join("floor"), 64 * (ROW_BYTES + 33))?;
        groups(&mut out, &dir.join("groups"))?;
    }
    if rows > 0 {
        restart(&mut out, &dir.join("restart"), rows)?;
    }
    Ok(())
}

fn report(out: &mut impl Write, what: &str, mut times: Vec<Duration>) -> Result<()> {
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 1000).copied().unwrap_or_default();
    let sum: Duration = times.iter().sum();
    writeln!(
        out,
        "{what:34} p50 {:7.1?} p99 {:7.1?} p99.9 {:7.1?} max {:7.1?} mean {:7.1?}",
        at(500),
        at(990),
        at(999),
        times.last().copied().unwrap_or_default(),
        sum / u32::try_from(times.len())?,
    )?;
    Ok(())
}

/// Processor time of this thread so far, which does not depend on what else runs here.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

fn report_cpu(out: &mut impl Write, began: Duration, count: usize) -> Result<()> {
    let each = (cpu() - began) / u32::try_from(count)?;
    writeln!(out, "{:34} {each:.1?} of processor time each, on this thread", "")?;
    Ok(())
}

fn fresh(dir: &Path) -> Result<LogStore> {
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    Ok(LogStore::open(dir, Options::default())?)
}

/// Overwrites of a file of zeros, each synced.
fn floor(out: &mut impl Write, path: &Path, bytes: usize) -> Result<()> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    let size = 16 * 1024 * 1024;
    file.write_all_at(&vec![0; size], 0)?;
    file.sync_all()?;
    let data = vec![7; bytes.next_multiple_of(512)];
    let mut times = Vec::new();
    let mut offset = 0;
    let began = cpu();
    for _ in 0..ROUNDS / if bytes > 100_000 { 10 } else { 1 } {
        let start = Instant::now();
        file.write_all_at(&data, offset)?;
        file.sync_data()?;
        times.push(start.elapsed());
        offset += data.len() as u64;
        if offset + data.len() as u64 > size as u64 {
            offset = 0;
        }
    }
    let count = times.len();
    report(out, &format!("floor, {bytes} bytes"), times)?;
    report_cpu(out, began, count)
}

fn singles(out: &mut impl Write, dir: &Path) -> Result<()> {
    let mut store = fresh(dir)?;
    let mut times = Vec::new();
    let began = cpu();
    for n in 0..ROUNDS as u64 {
        let batch = Batch::new().append(QueueId([1; 16]), n + 1, 1, vec![7; ROW_BYTES]);
        let start = Instant::now();
        let outcomes = store.commit(vec![batch])?;
        times.push(start.elapsed());
        assert!(outcomes.iter().all(penpal_store::Outcome::is_done));
    }
    report(out, "append 4 KiB + sync", times)?;
    report_cpu(out, began, ROUNDS)
}

/// What a relay does for one envelope: append and remember the deposit; then acknowledge; housekeeping
/// in between, not measured.
fn deposits(out: &mut impl Write, dir: &Path) -> Result<()> {
    const SEEN: penpal_store::Table = penpal_store::Table::new(1, penpal_store::Life::Short);
    let mut store = fresh(dir)?;
    let (mut puts, mut reads, mut acks) = (Vec::new(), Vec::new(), Vec::new());
    let began = cpu();
    for n in 1..=ROUNDS as u64 {
        let queue = QueueId([u8::try_from(n % 50)?; 16]);
        let batch = Batch::new().absent(SEEN, n.to_be_bytes()).put(SEEN, n.to_be_bytes(), vec![0; 8]).append(
            queue,
            n,
            1,
            vec![7; ROW_BYTES],
        );
        let start = Instant::now();
        let _outcomes = store.commit(vec![batch])?;
        puts.push(start.elapsed());
        let start = Instant::now();
        let rows = store.read(queue, n - 1, 1, usize::MAX)?;
        reads.push(start.elapsed());
        assert_eq!(rows.len(), 1);
        let start = Instant::now();
        let _outcomes = store.commit(vec![Batch::new().ack(queue, n)])?;
        acks.push(start.elapsed());
        if n % 100 == 0 {
            store.compact(1024 * 1024)?;
        }
    }
    report(out, "deposit (check, put, append)", puts)?;
    report(out, "read of the row just written", reads)?;
    report(out, "ack + sync", acks)?;
    report_cpu(out, began, ROUNDS)?;
    while store.compact(u64::MAX)?.more {}
    writeln!(out, "{:34} {:?}", "after all is acknowledged", store.stats())?;
    Ok(())
}

fn groups(out: &mut impl Write, dir: &Path) -> Result<()> {
    let mut store = fresh(dir)?;
    let mut times = Vec::new();
    let mut next = [0_u64; 64];
    let (began, began_cpu) = (Instant::now(), cpu());
    for _ in 0..ROUNDS / 10 {
        let batches: Vec<Batch> = next
            .iter_mut()
            .enumerate()
            .map(|(index, seq)| {
                *seq += 1;
                let queue = QueueId([u8::try_from(index).unwrap_or(0); 16]);
                Batch::new().append(queue, *seq, 1, vec![7; ROW_BYTES])
            })
            .collect();
        let start = Instant::now();
        let _outcomes = store.commit(batches)?;
        times.push(start.elapsed());
    }
    let rate = (64 * ROUNDS / 10) as f64 / began.elapsed().as_secs_f64();
    report(out, "64 appends of 4 KiB + sync", times)?;
    writeln!(out, "{:34} {rate:.0} rows/s", "")?;
    report_cpu(out, began_cpu, ROUNDS / 10)?;
    Ok(())
}

fn restart(out: &mut impl Write, dir: &Path, rows: u64) -> Result<()> {
    let mut store = fresh(dir)?;
    let began = Instant::now();
    let mut next = 0;
    while next < rows {
        let batches: Vec<Batch> = (0..64)
            .map(|m| {
                next += 1;
                let mut id = [0; 16];
                id[..8].copy_from_slice(&((next + m) % 200).to_be_bytes());
                Batch::new().append(QueueId(id), next, 1, vec![7; ROW_BYTES])
            })
            .collect();
        let _outcomes = store.commit(batches)?;
    }
    writeln!(out, "wrote {next} rows in {:.1?}: {:?}", began.elapsed(), store.stats())?;
    memory(out)?;
    let began = Instant::now();
    Box::new(store).close()?;
    writeln!(out, "close {:.1?}", began.elapsed())?;
    for what in ["after a clean close", "after the death of the process"] {
        let began = Instant::now();
        let store = LogStore::open(dir, Options::default())?;
        let opened = began.elapsed();
        let queues = store.queues(None, 1000)?;
        let first = queues.first().ok_or("no queue")?;
        let read = store.read(first.0, 0, 64, usize::MAX)?.len();
        writeln!(out, "open {what}: {opened:.1?}, serving {read} rows after {:.1?}", began.elapsed())?;
        assert_eq!(store.opening().rebuilt, None);
        memory(out)?;
        drop(store);
    }
    std::fs::remove_dir_all(dir.join("index"))?;
    let began = Instant::now();
    let store = LogStore::open(dir, Options::default())?;
    writeln!(out, "open with rebuild: {:.1?} ({:?})", began.elapsed(), store.opening().rebuilt)?;
    memory(out)?;
    let queued: u64 = store.queues(None, 1000)?.iter().map(|(_, usage)| usage.rows).sum();
    assert_eq!(queued, next);
    drop(store);
    memory(out)
}

fn memory(out: &mut impl Write) -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS")) {
        write!(out, "{line} ")?;
    }
    writeln!(out)?;
    Ok(())
}
