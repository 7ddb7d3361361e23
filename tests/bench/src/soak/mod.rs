//! Bench `soak`: people come and go for a long time at one relay, and everything is counted.
//!
//! Everybody writes to two others and is written to by two. Connections begin and end, some without a word; edges are
//! replaced, invites made and taken back, accounts deleted. Each accepted envelope must arrive once and in its order,
//! and in the end nothing may wait; memory and disk are looked at all the time.

mod ledger;
mod person;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::task::JoinSet;

use crate::figures::{Figure, Samples, Target, Unit, latency};
use crate::relay::{Devices, Program, random};
use crate::report::Report;
use crate::{Place, runtime};
use ledger::{Counts, Ledger};
use person::Person;
pub(crate) use watch::mib_below;
use watch::{PARTS, Watch};

/// People at the relay.
const PEOPLE: usize = 64;

/// Whom each writes to: so many further on in the circle.
const STEPS: [usize; 2] = [1, 7];

/// How often an account is made, written to, and deleted by the operator.
const VISIT_EVERY: Duration = Duration::from_secs(300);

/// How long the end may take, in which everybody fetches what waits.
const DRAIN: Duration = Duration::from_secs(120);

/// Soaks for so many minutes.
pub(crate) fn run(place: &Place, minutes: u32) -> anyhow::Result<Report> {
    let mut report = Report::new("soak");
    let seed = u64::from_be_bytes(random()?);
    report.setting(format!(
        "{PEOPLE} accounts for {minutes} minutes, each writes to {} others; seed {seed}",
        STEPS.len()
    ));
    report.setting(format!(
        "online 5 to 60 s, away up to 30 s; online: an envelope every {} ms, 4 KiB mostly, up to 80 KiB; acknowledged every {} ms",
        person::SEND_EVERY.as_millis(),
        person::ACK_EVERY.as_millis()
    ));
    report.setting(format!(
        "half the connections end without acknowledging what came; every {} s online an edge is replaced and an invite made and taken back; every {} s an account is made and deleted again",
        person::CHURN_EVERY.as_secs(),
        VISIT_EVERY.as_secs()
    ));
    runtime()?.block_on(soak(place, Duration::from_secs(60) * minutes, seed, &mut report))?;
    Ok(report)
}

async fn soak(place: &Place, length: Duration, seed: u64, report: &mut Report) -> anyhow::Result<()> {
    let program = Arc::new(Program::start(&place.folder)?);
    let ledger = Arc::new(Ledger::new(PEOPLE));
    let mut people = Vec::new();
    for index in 0..PEOPLE {
        let writers = STEPS.map(|step| (index + PEOPLE - step) % PEOPLE);
        let readers = STEPS.map(|step| (index + step) % PEOPLE);
        people.push(Person::new(index, seed, Arc::clone(&program), Arc::clone(&ledger), writers, readers)?);
    }
    for person in &mut people {
        person.arrive().await?;
    }
    let end = Instant::now() + length;
    let mut tasks = JoinSet::new();
    for person in people {
        tasks.spawn(person.live(end));
    }
    let mut watch = Watch::new(&program, length)?;
    let mut visits = 0;
    let mut next_visit = Instant::now() + VISIT_EVERY;
    let mut people = Vec::new();
    while !tasks.is_empty() {
        tokio::select! {
            Some(ended) = tasks.join_next() => people.push(ended??),
            () = tokio::time::sleep(watch::EVERY) => watch.look(&program, &ledger.counts())?,
        }
        if Instant::now() > next_visit && Instant::now() + VISIT_EVERY / 2 < end {
            next_visit += VISIT_EVERY;
            visits += 1;
            visit(&program, visits).await?;
        }
    }
    let limit = Instant::now() + DRAIN;
    for person in &mut people {
        person.settle(limit).await?;
    }
    for person in &mut people {
        person.drain(limit).await?;
    }
    let counts = ledger.counts();
    ensure!(counts.accepted == counts.arrived, "{} accepted, {} arrived", counts.accepted, counts.arrived);
    watch.finish(&program, &counts)?;
    figures(&counts, visits, &ledger.latency(), &watch, report);
    Ok(())
}

/// Somebody makes an account, and the operator deletes it.
async fn visit(program: &Arc<Program>, number: u32) -> anyhow::Result<()> {
    let handle = format!("visitor-{number}");
    let mut device = Devices::new(program)?.device(&handle).await?;
    device.hello().await?;
    drop(device);
    let program = Arc::clone(program);
    let deleted =
        tokio::task::spawn_blocking(move || program.operator(&["account", "delete", "--yes", &handle]));
    deleted.await.context("deleting an account")?
}

fn figures(counts: &Counts, visits: u32, latencies: &[Samples], watch: &Watch, report: &mut Report) {
    let number = |name: &str, count: u64| Figure::new(name, Unit::Count, vec![count as f64]);
    let lost = counts.accepted.saturating_sub(counts.arrived);
    report.figures.extend([
        number("envelopes accepted", counts.accepted),
        number("of these lost, or out of order", lost).target(Target::AtMost(0.0)),
        number("came again although they were acknowledged", counts.after_ack),
        number("came again because nobody had acknowledged them", counts.repeats),
        number("deposits with another answer", counts.refused).target(Target::AtMost(0.0)),
        number("connections", counts.connections),
        number("connections that failed or were lost", counts.failed),
        number("edges replaced", counts.edges),
        number("invites made and taken back", counts.invites),
        number("accounts deleted", u64::from(visits)),
    ]);
    report.figures.extend(latency("deposit → acknowledged, by part of the time,", Unit::Millis, latencies));
    watch.figures(report);
    report.setting(format!("of the last figures each number is the median of a {PARTS}th of the time"));
}
