//! What happened since the start, counted: for Prometheus and for `stats`.
//!
//! Counters come in pairs: what is open now is `opened - closed`. None of them names anybody.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use penpal_protocol::wire::{Answer, DepositOutcome, Event, RefusalCode};
use penpal_relay_core::{Census, CloseReason, Command, Grant, Push};
use penpal_store::Stats;

/// Upper ends of the classes of commit times, in microseconds.
const COMMIT_MICROS: [u64; 10] = [50, 100, 250, 500, 1_000, 2_500, 10_000, 50_000, 250_000, 1_000_000];

/// One number that only grows.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All counters of a relay.
#[derive(Debug)]
pub(crate) struct Metrics {
    started: Instant,
    opened: Counter,
    closed: Counter,
    ended_by_relay: [Counter; 4],
    answers: Counter,
    refusals: [Counter; 12],
    deposits: [Counter; 5],
    delivered: Counter,
    delivered_bytes: Counter,
    ephemeral: Counter,
    commits: Counter,
    commit_micros: Counter,
    commit_classes: [Counter; COMMIT_MICROS.len()],
    full: Counter,
    alarms: Counter,
    handshakes: [Counter; 4],
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            opened: Counter::default(),
            closed: Counter::default(),
            ended_by_relay: Default::default(),
            answers: Counter::default(),
            refusals: Default::default(),
            deposits: Default::default(),
            delivered: Counter::default(),
            delivered_bytes: Counter::default(),
            ephemeral: Counter::default(),
            commits: Counter::default(),
            commit_micros: Counter::default(),
            commit_classes: Default::default(),
            full: Counter::default(),
            alarms: Counter::default(),
            handshakes: Default::default(),
        }
    }
}

/// Words for the outcomes of deposits, in the order of their numbers.
const OUTCOMES: [&str; 5] = ["accepted", "quota", "full", "recipient-full", "no"];

/// Words for refusals, in the order of their numbers; the last is for numbers of later versions.
const REFUSALS: [&str; 12] = [
    "no",
    "used",
    "needs-token",
    "handle-taken",
    "not-registered",
    "quota",
    "full",
    "conflict",
    "malformed",
    "busy",
    "suspended",
    "other",
];

const ENDS: [&str; 4] = ["replaced", "refused", "suspended", "busy"];

const HANDSHAKES: [&str; 4] = ["retried", "refused", "failed", "accepted"];

fn outcome_place(outcome: DepositOutcome) -> usize {
    match outcome {
        DepositOutcome::Accepted => 0,
        DepositOutcome::Quota => 1,
        DepositOutcome::Full => 2,
        DepositOutcome::RecipientFull => 3,
        DepositOutcome::No => 4,
    }
}

fn refusal_place(code: RefusalCode) -> usize {
    match code {
        RefusalCode::No => 0,
        RefusalCode::Used => 1,
        RefusalCode::NeedsToken => 2,
        RefusalCode::HandleTaken => 3,
        RefusalCode::NotRegistered => 4,
        RefusalCode::Quota => 5,
        RefusalCode::Full => 6,
        RefusalCode::Conflict => 7,
        RefusalCode::Malformed => 8,
        RefusalCode::Busy => 9,
        RefusalCode::Suspended => 10,
    }
}

fn end_place(reason: CloseReason) -> usize {
    match reason {
        CloseReason::Replaced => 0,
        CloseReason::Refused => 1,
        CloseReason::Suspended => 2,
        CloseReason::Busy => 3,
    }
}

fn at(counters: &[Counter], place: usize) -> Option<&Counter> {
    counters.get(place)
}

/// What `stats` says of the time since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) up_seconds: u64,
    pub(crate) connections: u64,
    pub(crate) connections_opened: u64,
    pub(crate) deposits_accepted: u64,
    pub(crate) deposits_refused: u64,
    pub(crate) delivered: u64,
    pub(crate) commits: u64,
    pub(crate) commit_micros_mean: u64,
    pub(crate) disk_full: u64,
    pub(crate) alarms: u64,
    pub(crate) handshakes_refused: u64,
}

impl Metrics {
    pub(crate) fn connected(&self) {
        self.opened.add(1);
    }

    pub(crate) fn closed(&self) {
        self.closed.add(1);
    }

    pub(crate) fn disk_full(&self) {
        self.full.add(1);
    }

    pub(crate) fn committed(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.commits.add(1);
        self.commit_micros.add(micros);
        let class = COMMIT_MICROS.iter().position(|end| micros <= *end);
        if let Some(counter) = class.and_then(|class| at(&self.commit_classes, class)) {
            counter.add(1);
        }
    }

    /// Takes over what the listener has counted so far.
    pub(crate) fn handshakes(&self, stats: &penpal_transport::ListenerStats) {
        let counts = [stats.retried, stats.refused, stats.failed, stats.accepted];
        for (counter, count) in self.handshakes.iter().zip(counts) {
            counter.0.store(count, Ordering::Relaxed);
        }
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, answer: &Answer) {
        self.answers.add(1);
        if let Answer::Refused(refusal) = answer
            && let Some(counter) = at(&self.refusals, refusal_place(refusal.code))
        {
            counter.add(1);
        }
    }

    /// Counts what the machine says.
    pub(crate) fn said(&self, command: &Command) {
        match command {
            Command::Answer { answer, .. } => self.answered(answer),
            // What is read is the answer; what is written is answered once it is durable.
            Command::Grant { grant: Grant::Read { .. }, .. } => self.answers.add(1),
            Command::Grant { grant: Grant::Write { .. }, .. } => {}
            Command::DepositAnswer { answer, .. } => {
                if let Some(counter) = at(&self.deposits, outcome_place(answer.outcome)) {
                    counter.add(1);
                }
            }
            Command::Push { push: Push::Row { row, .. }, .. } => {
                self.delivered.add(1);
                self.delivered_bytes.add(row.len() as u64);
            }
            Command::Push { push: Push::Event(Event::Ephemeral(_)), .. } => self.ephemeral.add(1),
            Command::Close { reason, .. } => {
                if let Some(counter) = at(&self.ended_by_relay, end_place(*reason)) {
                    counter.add(1);
                }
            }
            Command::Alarm { .. } => self.alarms.add(1),
            Command::Push { push: Push::Event(_), .. }
            | Command::Admin { .. }
            | Command::RemoveBlob { .. } => {}
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        let deposits: Vec<u64> = self.deposits.iter().map(Counter::get).collect();
        let accepted = deposits.first().copied().unwrap_or_default();
        let commits = self.commits.get();
        let opened = self.opened.get();
        Seen {
            up_seconds: self.started.elapsed().as_secs(),
            connections: opened.saturating_sub(self.closed.get()),
            connections_opened: opened,
            deposits_accepted: accepted,
            deposits_refused: deposits.iter().sum::<u64>() - accepted,
            delivered: self.delivered.get(),
            commits,
            commit_micros_mean: self.commit_micros.get().checked_div(commits).unwrap_or(0),
            disk_full: self.full.get(),
            alarms: self.alarms.get(),
            handshakes_refused: self.handshakes.get(1).map_or(0, Counter::get),
        }
    }

    /// Everything in Prometheus' text form. `now_minute` counts from the Unix epoch, as rows do.
    pub(crate) fn prometheus(&self, census: &Census, store: &Stats, now_minute: u32) -> String {
        let mut text = Text::default();
        text.gauge("up_seconds", "Time since the start.", self.started.elapsed().as_secs());
        text.counter("connections_opened_total", "Connections of clients that proved a key.", &self.opened);
        text.counter(
            "connections_closed_total",
            "Of those, ended; the difference is open now.",
            &self.closed,
        );
        text.family(
            "connections_ended_total",
            "Connections that the relay ended, by reason.",
            "reason",
            &ENDS,
            &self.ended_by_relay,
        );
        text.family(
            "handshakes_total",
            "Attempts to connect, by what became of them.",
            "outcome",
            &HANDSHAKES,
            &self.handshakes,
        );
        text.counter("requests_answered_total", "Requests answered, refusals included.", &self.answers);
        text.family(
            "requests_refused_total",
            "Of those, refused, by code.",
            "code",
            &REFUSALS,
            &self.refusals,
        );
        text.family("deposits_total", "Deposits answered, by outcome.", "outcome", &OUTCOMES, &self.deposits);
        text.counter(
            "envelopes_delivered_total",
            "Spool rows sent to devices, repetitions included.",
            &self.delivered,
        );
        text.counter("envelope_bytes_delivered_total", "Their bytes.", &self.delivered_bytes);
        text.counter("ephemeral_delivered_total", "Unspooled envelopes passed on.", &self.ephemeral);
        text.histogram("commit_seconds", "Time of one write and sync.", self);
        text.counter("disk_full_total", "Steps that found the disk full.", &self.full);
        text.counter("alarms_total", "Stored rows found unusable.", &self.alarms);
        text.gauge("accounts", "Accounts.", census.accounts);
        text.gauge("accounts_receiving", "Accounts with a device that receives now.", census.receiving);
        text.gauge("edges", "Edges.", census.edges);
        text.gauge("invites", "Invites.", census.invites);
        text.gauge("spools_waiting", "Devices for which something waits.", census.spools);
        text.gauge("spool_rows", "Rows that wait.", census.rows);
        text.gauge("spool_bytes", "Bytes that wait.", census.bytes);
        let age = census.oldest_minute.map_or(0, |minute| u64::from(now_minute.saturating_sub(minute)) * 60);
        text.gauge("spool_oldest_seconds", "Age of what waits longest; 0 when nothing does.", age);
        text.gauge("blobs", "Files kept, sealed.", census.blobs);
        text.gauge("blob_bytes", "Bytes of files kept, as announced.", census.blob_bytes);
        text.gauge("deposit_marks", "Deposit ids remembered.", census.deposit_marks);
        text.gauge("remembered", "Entries in memory, deposit ids among them.", census.remembered);
        text.gauge("store_disk_bytes", "Bytes of all log files.", store.disk_bytes);
        text.gauge("store_live_bytes", "Bytes of records that count.", store.live_bytes);
        text.gauge("store_segments", "Log files, spare ones included.", store.segments);
        text.gauge(
            "store_full",
            "1 when the disk was full at the last attempt to grow.",
            u64::from(store.full),
        );
        text.gauge(
            "memory_resident_bytes",
            "Memory of the process, where the system says.",
            resident_bytes(),
        );
        text.0
    }
}

/// Resident memory of this process; 0 where it cannot be read.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()));
    pages.map_or(0, |pages| pages * rustix::param::page_size() as u64)
}

#[derive(Debug, Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing into memory cannot fail.
        writeln!(self.0, "# HELP penpal_relay_{name} {help}\n# TYPE penpal_relay_{name} {kind}").ok();
    }

    fn value(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        writeln!(self.0, "penpal_relay_{name}{labels} {value}").ok();
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "gauge");
        self.value(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, counter: &Counter) {
        self.head(name, help, "counter");
        self.value(name, "", counter.get());
    }

    fn family(&mut self, name: &str, help: &str, label: &str, words: &[&str], counters: &[Counter]) {
        self.head(name, help, "counter");
        for (word, counter) in words.iter().zip(counters) {
            self.value(name, &format!("{{{label}=\"{word}\"}}"), counter.get());
        }
    }

    fn histogram(&mut self, name: &str, help: &str, metrics: &Metrics) {
        self.head(name, help, "histogram");
        let mut below = 0;
        for (end, counter) in COMMIT_MICROS.iter().zip(&metrics.commit_classes) {
            below += counter.get();
            self.value(&format!("{name}_bucket"), &format!("{{le=\"{}\"}}", seconds(*end)), below);
        }
        let all = metrics.commits.get();
        self.value(&format!("{name}_bucket"), "{le=\"+Inf\"}", all);
        self.value(&format!("{name}_sum"), "", seconds(metrics.commit_micros.get()));
        self.value(&format!("{name}_count"), "", all);
    }
}

/// Microseconds as decimal seconds.
fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let metrics = Metrics::default();
        metrics.connected();
        metrics.committed(Duration::from_micros(70));
        metrics.committed(Duration::from_secs(9));
        metrics.said(&Command::Alarm { what: String::new() });
        let census = Census { oldest_minute: Some(10), ..Census::default() };
        let text = metrics.prometheus(&census, &Stats::default(), 12);
        for line in [
            "penpal_relay_connections_opened_total 1",
            "penpal_relay_connections_closed_total 0",
            "penpal_relay_commit_seconds_bucket{le=\"0.000050\"} 0",
            "penpal_relay_commit_seconds_bucket{le=\"0.000100\"} 1",
            "penpal_relay_commit_seconds_bucket{le=\"+Inf\"} 2",
            "penpal_relay_commit_seconds_sum 9.000070",
            "penpal_relay_deposits_total{outcome=\"recipient-full\"} 0",
            "penpal_relay_spool_oldest_seconds 120",
            "penpal_relay_alarms_total 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        for line in text.lines() {
            let fits = line.starts_with("# HELP penpal_relay_")
                || line.starts_with("# TYPE penpal_relay_")
                || line.rsplit_once(' ').is_some_and(|(_, value)| value.parse::<f64>().is_ok());
            assert!(fits, "{line}");
        }
    }
}
