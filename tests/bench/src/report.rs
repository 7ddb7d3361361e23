//! What a bench found, for people and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::figures::{Figure, Target};
use crate::machine::{Machine, Moment};

/// One bench.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// Its name.
    pub(crate) name: &'static str,
    /// How it was measured, one fact a line.
    pub(crate) settings: Vec<String>,
    /// What came out.
    pub(crate) figures: Vec<Figure>,
    /// The machine's state before and after.
    pub(crate) before: Option<Moment>,
    /// See `before`.
    pub(crate) after: Option<Moment>,
}

impl Report {
    /// An empty one.
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, settings: Vec::new(), figures: Vec::new(), before: None, after: None }
    }

    /// Adds a fact about how it was measured.
    pub(crate) fn setting(&mut self, line: impl Into<String>) {
        self.settings.push(line.into());
    }
}

/// Everything one run found.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    /// Version of this shape.
    pub(crate) v: u32,
    /// Where.
    pub(crate) machine: Machine,
    /// Rounds asked for.
    pub(crate) rounds: usize,
    /// In the order they ran.
    pub(crate) reports: Vec<Report>,
}

/// The machine in one paragraph.
pub(crate) fn machine_text(machine: &Machine) -> String {
    format!(
        "machine   {} cores, {}\nkernel    {}\ndisk      {}\n",
        machine.cores, machine.cpu, machine.kernel, machine.disk
    )
}

/// One bench as a table.
pub(crate) fn report_text(report: &Report) -> String {
    let mut text = format!("\n== {}\n", report.name);
    for line in &report.settings {
        push(&mut text, format_args!("   {line}\n"));
    }
    if let (Some(before), Some(after)) = (&report.before, &report.after) {
        push(
            &mut text,
            format_args!(
                "   load before {} after {} · 4 KiB overwrite + fdatasync before {:.0} µs after {:.0} µs\n",
                before.load, after.load, before.sync_us, after.sync_us
            ),
        );
    }
    let width = report.figures.iter().map(|figure| figure.name.chars().count()).max().unwrap_or(0);
    for figure in &report.figures {
        let spread = figure.spread;
        let numbers = [spread.p50, spread.min, spread.p99, spread.max].map(number);
        let [p50, min, p99, max] = numbers;
        let sign = figure.unit.sign();
        push(
            &mut text,
            format_args!(
                "   {:<width$}  {p50:>9} {sign:<5} min {min:>9}  p99 {p99:>9}  max {max:>9}{}\n",
                figure.name,
                verdict(figure)
            ),
        );
    }
    text
}

fn verdict(figure: &Figure) -> String {
    let Some(target) = figure.target else { return String::new() };
    let holds = if target.holds(figure.spread.p50) { "holds" } else { "MISSED" };
    match target {
        Target::AtMost(most) => format!("   ≤ {} {holds}", number(most)),
        Target::AtLeast(least) => format!("   ≥ {} {holds}", number(least)),
    }
}

/// Three digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing into a string cannot fail.
    text.write_fmt(line).unwrap_or_default();
}
