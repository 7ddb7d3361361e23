//! Bench `files`: a file from one node's shelf to the relay, durable, and from there onto another's, verified; beside one raw QUIC stream.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use penpal_local_api::artifact::GetRequest;
use penpal_local_api::caller::Caller;
use penpal_local_api::client::Client;
use penpal_local_api::mail::{Attached, InboxRequest, SendRequest};
use penpal_local_api::methods::{ArtifactGet, Inbox, Send};
use penpal_tests::{Pair, Person};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

use crate::figures::{Figure, Target, Unit};
use crate::floor::Bulk;
use crate::nodes::{client, wait_for_presence};
use crate::process::peak_kib;
use crate::report::Report;
use crate::{Place, runtime};

const MIB: u64 = 1024 * 1024;

/// How long one file may take.
const LIMIT: Duration = Duration::from_secs(300);

/// How long one request waits for mail.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Rounds {
    raw_up: Vec<f64>,
    raw_down: Vec<f64>,
    kept_up: Vec<f64>,
    kept_down: Vec<f64>,
    put: Vec<f64>,
    up: Vec<f64>,
    down: Vec<f64>,
}

/// Throughput, and memory at its peak.
pub(crate) fn run(place: &Place, mib: u64) -> anyhow::Result<Report> {
    let mut report = Report::new("files");
    report.setting(format!(
        "{mib} MiB a round, another content each; two nodes and a relay on loopback and one disk; up ends when the message is there, which goes once the last part is synced at the relay, down when the hash of the whole was compared; raw: one stream from memory into nothing, two processes; kept: the same into a file that is synced"
    ));
    let most = (mib * MIB).to_string();
    let total = (mib * MIB * (place.rounds as u64 + 1) * 2).to_string();
    let settings =
        ["--artifact-bytes", &most, "--artifact-bytes-per-account", &total, "--artifact-bytes-total", &total];
    let pair = Pair::connected_with(&settings);
    wait_for_presence(&pair.alice, 1);
    let runtime = runtime()?;
    let bulk = runtime.block_on(Bulk::start(&place.folder))?;
    let (mut rounds, mut last) = (Rounds::default(), None);
    let kept = place.folder.join("kept");
    let rate = |seconds: f64| mib as f64 / seconds;
    for round in 0..place.rounds {
        let file = place.folder.join(format!("file-{round}"));
        fill(&file, mib * MIB, round as u64)?;
        rounds.raw_up.push(rate(runtime.block_on(bulk.up(mib * MIB, false))?));
        rounds.kept_up.push(rate(runtime.block_on(bulk.up(mib * MIB, true))?));
        let begun = Instant::now();
        let put = pair.alice.json(&["artifact", "put", file.to_str().context("a path of text")?]);
        rounds.put.push(rate(begun.elapsed().as_secs_f64()));
        let hash = put["hash"].as_str().context("a hash")?.to_owned();
        let (seconds, message) = up(&client(&pair.alice), &client(&pair.bob), &hash, last.take())?;
        rounds.up.push(rate(seconds));
        last = Some(message);
        rounds.raw_down.push(rate(runtime.block_on(bulk.down(mib * MIB, None))?));
        rounds.kept_down.push(rate(runtime.block_on(bulk.down(mib * MIB, Some(&kept)))?));
        rounds.down.push(rate(down(&client(&pair.bob), &hash)?));
        std::fs::remove_file(&file)?;
    }
    let ratio = |ours: &[f64], raw: &[f64]| ours.iter().zip(raw).map(|(ours, raw)| ours / raw).collect();
    let (of_up, of_down) = (ratio(&rounds.up, &rounds.raw_up), ratio(&rounds.down, &rounds.raw_down));
    let (of_kept_up, of_kept_down) =
        (ratio(&rounds.up, &rounds.kept_up), ratio(&rounds.down, &rounds.kept_down));
    report.figures.extend([
        Figure::new("up: shelf → relay, synced", Unit::MibPerSecond, rounds.up),
        Figure::new("raw QUIC stream, up", Unit::MibPerSecond, rounds.raw_up),
        Figure::new("up / raw", Unit::Ratio, of_up).target(Target::AtLeast(0.6)),
        Figure::new("raw QUIC stream into a synced file, up", Unit::MibPerSecond, rounds.kept_up),
        Figure::new("up / that", Unit::Ratio, of_kept_up),
        Figure::new("down: relay → shelf, verified", Unit::MibPerSecond, rounds.down),
        Figure::new("raw QUIC stream, down", Unit::MibPerSecond, rounds.raw_down),
        Figure::new("down / raw", Unit::Ratio, of_down).target(Target::AtLeast(0.6)),
        Figure::new("raw QUIC stream into a synced file, down", Unit::MibPerSecond, rounds.kept_down),
        Figure::new("down / that", Unit::Ratio, of_kept_down),
        Figure::new("artifact put, whole process: copy, hash, sync", Unit::MibPerSecond, rounds.put),
    ]);
    let relay = pair.relay.pid().context("the relay's process")?;
    for (name, pid) in
        [("sending node", node(&pair.alice)?), ("receiving node", node(&pair.bob)?), ("relay", relay)]
    {
        let peak = peak_kib(pid)? / 1024.0;
        report.figures.push(Figure::new(format!("{name}: peak resident memory"), Unit::Mib, vec![peak]));
    }
    Ok(report)
}

fn node(person: &Person) -> anyhow::Result<u32> {
    person.node_pid().context("the node's process")
}

/// A content that nothing makes smaller.
fn fill(file: &Path, bytes: u64, seed: u64) -> anyhow::Result<()> {
    use std::io::Write;
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut out = std::fs::File::create(file)?;
    let mut block = vec![0; 1024 * 1024];
    for _ in 0..bytes / MIB {
        rng.fill_bytes(&mut block);
        out.write_all(&block)?;
    }
    Ok(out.sync_all()?)
}

/// Seconds from `send` until the message is with the other side, and its id; `last` came before it.
fn up(node: &Client, other: &Client, hash: &str, last: Option<String>) -> anyhow::Result<(f64, String)> {
    let begun = Instant::now();
    let request = SendRequest {
        caller: Caller::default(),
        to: Some("bob/web".to_owned()),
        text: String::new(),
        subject: None,
        ask: false,
        reply_to: None,
        from_session: Some("api".to_owned()),
        anyway: true,
        artifacts: vec![Attached { hash: hash.to_owned(), name: "file".to_owned() }],
        life_ms: None,
        wait_ms: Some(0),
        mechanism: None,
    };
    node.call::<Send>(&request)?;
    let wait_ms = u64::try_from(PATIENCE.as_millis())?;
    let request =
        InboxRequest { session: Some("web".to_owned()), after: last, wait_ms, ..InboxRequest::default() };
    loop {
        let come = other.call_within::<Inbox>(&request, PATIENCE * 2)?;
        if let Some(message) = come.messages.into_iter().next() {
            return Ok((begun.elapsed().as_secs_f64(), message.id));
        }
        ensure!(begun.elapsed() < LIMIT, "it does not arrive");
    }
}

/// Seconds until the content is on the shelf.
fn down(node: &Client, hash: &str) -> anyhow::Result<f64> {
    let request = GetRequest { caller: Caller::default(), hash: hash.to_owned(), wait_ms: 1_000 };
    let begun = Instant::now();
    while node.call::<ArtifactGet>(&request)?.path.is_none() {
        ensure!(begun.elapsed() < LIMIT, "it does not arrive");
    }
    Ok(begun.elapsed().as_secs_f64())
}
