//! Runs worlds by the hundred, and one again.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use penpal_sim::alarms;
use penpal_sim::plan::Plan;
use penpal_sim::shrink::shrink;
use penpal_sim::world::{Outcome, run};

const HELP: &str = "\
Run whole worlds of nodes and relays in virtual time

Usage: penpal-sim [--seeds N] [--seed S] [--faults 0,2,…] [--trace] [--logs]

  --seeds N     N worlds of successive seeds, from S or from a number of the clock (default: 1 with --seed, else 50)
  --seed S      the first seed
  --faults LIST only these faults of the plan, by number; an empty list is none
  --trace       print every event
  --logs        print what nodes and relays log
";

#[derive(Default)]
struct Options {
    seeds: Option<u64>,
    seed: Option<u64>,
    faults: Option<BTreeSet<usize>>,
    trace: bool,
    logs: bool,
}

fn options() -> Result<Option<Options>> {
    let mut options = Options::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--seeds" => options.seeds = Some(value()?.parse().context("--seeds is a number")?),
            "--seed" => options.seed = Some(value()?.parse().context("--seed is a number")?),
            "--faults" => {
                let list = value()?;
                let numbers = list.split(',').filter(|number| !number.is_empty()).map(str::parse);
                options.faults =
                    Some(numbers.collect::<Result<_, _>>().context("--faults is a list of numbers")?);
            }
            "--trace" => options.trace = true,
            "--logs" => options.logs = true,
            "--help" | "-h" => return Ok(None),
            other => bail!("unknown argument {other}\n\n{HELP}"),
        }
    }
    Ok(Some(options))
}

fn main() -> ExitCode {
    match options().and_then(|options| options.map_or_else(help, |options| worlds(&options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "one of two ways to end")]
fn help() -> Result<()> {
    print!("{HELP}");
    Ok(())
}

/// Sums over all worlds.
#[derive(Default)]
struct Sums {
    worlds: u64,
    failed: Vec<u64>,
    events: u64,
    messages: u64,
    envelopes: u64,
    hours: f64,
    net: [u64; 5],
    faults: std::collections::BTreeMap<&'static str, u64>,
    deeds: std::collections::BTreeMap<&'static str, u64>,
}

impl Sums {
    fn add(&mut self, outcome: &Outcome) {
        self.worlds += 1;
        self.events += outcome.events;
        self.messages += outcome.messages;
        self.envelopes += outcome.envelopes;
        self.hours += outcome.lasted.as_secs_f64() / 3600.0;
        let net = outcome.net;
        let net = [net.sent, net.lost, net.doubled, net.overtaken, net.cut];
        for (sum, count) in self.net.iter_mut().zip(net) {
            *sum += count;
        }
        for (kind, count) in &outcome.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        for (kind, count) in &outcome.deeds {
            *self.deeds.entry(kind).or_default() += count;
        }
    }

    fn print(&self, seconds: f64) {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = self.worlds as f64 / seconds.max(0.001);
        println!(
            "{} worlds in {seconds:.1} s ({rate:.1} a second), {:.0} hours of their own time",
            self.worlds, self.hours
        );
        println!("{} messages, {} envelopes, {} events", self.messages, self.envelopes, self.events);
        let [sent, lost, doubled, overtaken, cut] = self.net;
        println!(
            "{sent} datagrams: {lost} lost, {doubled} doubled, {overtaken} overtaken, {cut} dropped at cuts"
        );
        for (kind, count) in self.deeds.iter().chain(&self.faults) {
            println!("{count:>7}  {kind}");
        }
    }
}

fn worlds(options: &Options) -> Result<()> {
    alarms::listen(options.logs);
    let first = options.seed.unwrap_or_else(|| {
        // Numbers that a person can type again.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (since.as_secs() ^ u64::from(since.subsec_nanos())) % 1_000_000_000
    });
    let count = options.seeds.unwrap_or(if options.seed.is_some() { 1 } else { 50 });
    println!("{count} worlds from seed {first}");
    let mut sums = Sums::default();
    let began = Instant::now();
    for seed in first..first.saturating_add(count) {
        let whole = Plan::of(seed);
        let plan = options.faults.as_ref().map_or_else(|| whole.clone(), |keep| whole.with_faults(keep));
        let outcome = run(&plan, options.trace);
        sums.add(&outcome);
        if count == 1 {
            println!("seed {seed}: {} events, hash {}", outcome.events, outcome.hash);
        }
        if sums.worlds.is_multiple_of(100) {
            let failed = sums.failed.len();
            eprintln!("{} worlds, {failed} failed, {:.0} s", sums.worlds, began.elapsed().as_secs_f64());
        }
        if !outcome.wrong.is_empty() {
            sums.failed.push(seed);
            tell(&plan, &outcome, options.faults.is_none());
        }
    }
    sums.print(began.elapsed().as_secs_f64());
    if sums.failed.is_empty() {
        println!("every promise held");
        return Ok(());
    }
    bail!("{} of {} worlds failed: {:?}", sums.failed.len(), sums.worlds, sums.failed)
}

/// Prints what went wrong, and how to see it again with as few faults as possible.
fn tell(plan: &Plan, outcome: &Outcome, whole: bool) {
    let seed = plan.seed;
    println!("\nseed {seed} FAILED");
    let (keep, outcome) =
        if whole { shrink(plan, outcome) } else { ((0..plan.faults.len()).collect(), outcome.clone()) };
    for what in &outcome.wrong {
        println!("  {what}");
    }
    for (number, (at, fault)) in plan.faults.iter().enumerate().filter(|(number, _)| keep.contains(number)) {
        println!("  fault {number} at {at} ms: {fault}");
    }
    let list: Vec<String> = keep.iter().map(ToString::to_string).collect();
    println!("  again: cargo xtask sim --seed {seed}");
    if whole {
        println!("  shorter: cargo xtask sim --seed {seed} --faults {:?} --trace", list.join(","));
    }
}
