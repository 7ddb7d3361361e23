//! Bench `sizing`: what a relay needs for so many people.
//!
//! Connections that do nothing, at several numbers of them; then envelopes that wait, and how long it takes to start with
//! them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::task::JoinSet;

use crate::figures::{Figure, Target, Unit};
use crate::idle::{BEHIND_ADDRESS, connect};
use crate::load::{MESSAGE_BYTES, Sender as _};
use crate::process::{cpu_seconds, own_kib, rss_kib};
use crate::relay::{Device, Devices, EnvelopeSender, Program};
use crate::report::Report;
use crate::soak::mib_below;
use crate::{Place, runtime};

/// Connections that are looked at, one number after the other.
const CONNECTIONS: [u32; 4] = [500, 1_000, 5_000, 10_000];

/// How long connections are watched once the relay has answered the `Hello` of each.
const WATCH: Duration = Duration::from_secs(40);

/// Who deposits at once, to how many each, and how many envelopes to each of these: a spool takes 10 000.
const SENDERS: usize = 25;
const SPOOLS: [(usize, usize); 2] = [(1, 4_000), (5, 8_000)];

/// Deposits under way at a time for each sender.
const UNDER_WAY: usize = 32;

/// Runs all of it.
pub(crate) fn run(place: &Place) -> anyhow::Result<Report> {
    let mut report = Report::new("sizing");
    report.setting(format!(
        "idle: registered devices that said Hello, {BEHIND_ADDRESS} behind each address and socket, watched {} s: two keep-alives each",
        WATCH.as_secs()
    ));
    report.setting(format!(
        "spooled: envelopes of {MESSAGE_BYTES} bytes for devices that are away; started again after SIGTERM, after SIGKILL, and after rebuild-index; files in the page cache"
    ));
    runtime()?.block_on(async {
        idle(&place.folder.join("idle"), &mut report).await?;
        for (receivers, envelopes) in SPOOLS {
            let folder = place.folder.join(format!("spool-{receivers}"));
            spooled(&folder, receivers, envelopes, &mut report).await?;
            std::fs::remove_dir_all(folder)?;
        }
        anyhow::Ok(())
    })?;
    Ok(report)
}

async fn idle(folder: &Path, report: &mut Report) -> anyhow::Result<()> {
    std::fs::create_dir(folder)?;
    let program = Program::start(folder)?;
    let mut devices = connect(&program, 0, 1).await?;
    let empty = rss_kib(program.pid())?;
    report.figures.push(Figure::new("empty relay: resident", Unit::Mib, vec![empty / 1024.0]));
    let mut opened = 1;
    for number in CONNECTIONS {
        while opened < number {
            let count = BEHIND_ADDRESS.min(number - opened);
            devices.extend(connect(&program, opened, count).await?);
            opened += count;
        }
        let before = cpu_seconds(program.pid())?;
        tokio::time::sleep(WATCH).await;
        let busy = (cpu_seconds(program.pid())? - before) / WATCH.as_secs_f64() * 100.0;
        let resident = rss_kib(program.pid())?;
        let each = (resident - empty) / f64::from(number - 1);
        let lost = devices.iter().filter(|device| device.is_lost()).count();
        ensure!(lost == 0, "{lost} of {number} connections were lost");
        report.figures.extend([
            Figure::new(format!("{number} idle: resident"), Unit::Mib, vec![resident / 1024.0]),
            Figure::new(format!("{number} idle: of that each"), Unit::Kib, vec![each])
                .target(Target::AtMost(50.0)),
            Figure::new(format!("{number} idle: keep-alives, of one core"), Unit::Percent, vec![busy]),
        ]);
    }
    Ok(())
}

async fn spooled(
    folder: &Path,
    receivers: usize,
    envelopes: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    std::fs::create_dir(folder)?;
    let program = Program::start(folder)?;
    let total = SENDERS * receivers * envelopes;
    let devices = Devices::new(&program)?;
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for sender in 0..SENDERS {
        let own = devices.device(&format!("sender-{sender}")).await?;
        let mut away = Vec::new();
        for receiver in 0..receivers {
            away.push(devices.device(&format!("away-{sender}-{receiver}")).await?);
        }
        let first = away.first().context("somebody who is away")?;
        let sender = EnvelopeSender::new(own, first).await?;
        tasks.spawn(fill(sender, away, envelopes));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let took = began.elapsed().as_secs_f64();
    let name = |what: &str| format!("{total} spooled: {what}");
    let mut push =
        |what: &str, unit, value: f64| report.figures.push(Figure::new(name(what), unit, vec![value]));
    push("accepted", Unit::PerSecond, total as f64 / took);
    push("disk", Unit::Mib, mib_below(program.data()));
    push("of its own memory", Unit::Mib, own_kib(program.pid())? / 1024.0);
    let began = Instant::now();
    program.stop()?;
    push("to stop well", Unit::Seconds, began.elapsed().as_secs_f64());
    let began = Instant::now();
    let program = Program::start(folder)?;
    push("to start after that", Unit::Seconds, began.elapsed().as_secs_f64());
    drop(program);
    let began = Instant::now();
    let program = Program::start(folder)?;
    push("to start after kill -9", Unit::Seconds, began.elapsed().as_secs_f64());
    push("of its own memory then", Unit::Mib, own_kib(program.pid())? / 1024.0);
    program.stop()?;
    let began = Instant::now();
    Program::operator_at(folder, &["rebuild-index"])?;
    push("to rebuild the index", Unit::Seconds, began.elapsed().as_secs_f64());
    Ok(())
}

/// Deposits so many envelopes for each of these devices.
async fn fill(mut sender: EnvelopeSender, away: Vec<Device>, envelopes: usize) -> anyhow::Result<()> {
    for device in &away {
        sender.renew_edge(device).await?;
        let mut sent = 0;
        while sent < envelopes {
            let now = UNDER_WAY.min(envelopes - sent);
            for number in sent..sent + now {
                sender.send(number as u64).await?;
            }
            for _ in 0..now {
                sender.acknowledged().await?;
            }
            sent += now;
        }
    }
    Ok(())
}
