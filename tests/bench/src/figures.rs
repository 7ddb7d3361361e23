//! Numbers with their spread: what was measured, round by round, and what it should be.

use std::borrow::Borrow;
use std::time::Duration;

use serde::Serialize;

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unit {
    /// Microseconds.
    Micros,
    /// Milliseconds.
    Millis,
    /// Seconds.
    Seconds,
    /// Messages, or whatever is said, a second.
    PerSecond,
    /// MiB a second.
    MibPerSecond,
    /// Something a minute.
    PerMinute,
    /// One number by another.
    Ratio,
    /// KiB.
    Kib,
    /// MiB.
    Mib,
    /// Hundredths.
    Percent,
    /// How many.
    Count,
}

impl Unit {
    /// As printed behind a number.
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::Micros => "µs",
            Self::Millis => "ms",
            Self::Seconds => "s",
            Self::PerSecond => "/s",
            Self::MibPerSecond => "MiB/s",
            Self::PerMinute => "/min",
            Self::Ratio => "×",
            Self::Kib => "KiB",
            Self::Mib => "MiB",
            Self::Percent => "%",
            Self::Count => "",
        }
    }
}

/// What a number should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Target {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Target {
    /// Whether a median is what it should be.
    pub(crate) fn holds(self, median: f64) -> bool {
        match self {
            Self::AtMost(most) => median <= most,
            Self::AtLeast(least) => median >= least,
        }
    }
}

/// One measured thing: one number for each round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// What it is.
    pub(crate) name: String,
    /// What it counts.
    pub(crate) unit: Unit,
    /// What it should be.
    pub(crate) target: Option<Target>,
    /// In the order of the rounds.
    pub(crate) rounds: Vec<f64>,
    /// The same in short.
    pub(crate) spread: Spread,
}

impl Figure {
    /// From one number a round.
    pub(crate) fn new(name: impl Into<String>, unit: Unit, rounds: Vec<f64>) -> Self {
        let spread = Spread::of(&rounds);
        Self { name: name.into(), unit, target: None, rounds, spread }
    }

    /// Adds what it should be.
    #[must_use]
    pub(crate) fn target(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }
}

/// The spread of some numbers. With few of them `p99` is the largest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// Smallest.
    pub(crate) min: f64,
    /// Median: the lower of two in the middle.
    pub(crate) p50: f64,
    /// 99th percentile.
    pub(crate) p99: f64,
    /// Largest.
    pub(crate) max: f64,
}

impl Spread {
    /// Of any numbers; all zero when there is none.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |part| rank(&sorted, part).copied().unwrap_or_default();
        Self { min: at(0), p50: at(500), p99: at(990), max: at(1_000) }
    }
}

/// The value at `part` thousandths of a sorted list.
fn rank<T>(sorted: &[T], part: usize) -> Option<&T> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get(last * part / 1_000)
}

/// Durations of many single acts within one round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    /// With room for so many.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds one.
    pub(crate) fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// Adds many.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// Median and 99th percentile, in microseconds.
    pub(crate) fn p50_p99_us(&self) -> (f64, f64) {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = |part| rank(&sorted, part).map_or(0.0, |sample: &Duration| sample.as_secs_f64() * 1e6);
        (at(500), at(990))
    }
}

/// Median and 99th percentile of each round, as two figures.
pub(crate) fn latency<S: Borrow<Samples>>(name: &str, unit: Unit, rounds: &[S]) -> [Figure; 2] {
    let scale = if unit == Unit::Millis { 1e-3 } else { 1.0 };
    let of_round = rounds.iter().map(|round| round.borrow().p50_p99_us());
    let (p50, p99) = of_round.map(|(p50, p99)| (p50 * scale, p99 * scale)).unzip();
    [Figure::new(format!("{name} p50"), unit, p50), Figure::new(format!("{name} p99"), unit, p99)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_of_a_hundred() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(Spread::of(&values), Spread { min: 1.0, p50: 50.0, p99: 99.0, max: 100.0 });
    }

    #[test]
    fn spread_of_one_and_none() {
        assert_eq!(Spread::of(&[3.0]), Spread { min: 3.0, p50: 3.0, p99: 3.0, max: 3.0 });
        assert_eq!(Spread::of(&[]), Spread { min: 0.0, p50: 0.0, p99: 0.0, max: 0.0 });
    }

    #[test]
    fn targets_include_their_bound() {
        assert!(Target::AtMost(2.0).holds(2.0) && !Target::AtMost(2.0).holds(2.1));
        assert!(Target::AtLeast(2.0).holds(2.0) && !Target::AtLeast(2.0).holds(1.9));
    }
}
