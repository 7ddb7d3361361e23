//! `penpal-relay stats`

use std::time::Duration;

use clap::Args;

use super::output::Output;
use super::problem::Problem;
use super::words::{ago, bytes, count, rough};
use crate::admin::{Ask, Reply, StatsShape};

/// Say in words how the relay does
///
/// Counts since the start are those of the running relay; of a stopped one only what is stored is counted.
#[derive(Debug, Args)]
pub(super) struct Stats {
    #[command(flatten)]
    place: super::Place,
    /// Print one line of JSON: {"v":1,"stats":{…}}
    #[arg(long)]
    json: bool,
}

impl Stats {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) fn run(self) -> Result<(), Problem> {
        let folder = crate::folder::Folder::new(&self.place.data, self.place.keys.as_deref());
        let running = crate::admin::is_running(&folder);
        let reply = self.place.ask(Ask::Stats)?;
        let mut out = Output::stdout();
        match reply {
            Reply::Failed { error, .. } => Err(error.into()),
            shape if self.json => out.json(&shape),
            Reply::Stats { stats, .. } => words(&stats, running).iter().try_for_each(|line| out.line(line)),
            _ => Err(Problem::unexpected()),
        }
    }
}

fn words(stats: &StatsShape, running: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if running {
        lines.push(format!(
            "running    version {}, since {}",
            stats.version,
            rough(Duration::from_secs(stats.up_seconds))
        ));
        lines.push(format!(
            "people     {}, {} of them online; {} open",
            count(stats.accounts, "account", "accounts"),
            stats.accounts_online,
            count(stats.connections, "connection", "connections"),
        ));
    } else {
        lines.push("stopped    what is stored:".to_owned());
        lines.push(format!("people     {}", count(stats.accounts, "account", "accounts")));
    }
    lines.push(format!(
        "contacts   {}, {}",
        count(stats.edges, "edge", "edges"),
        count(stats.invites, "open invite", "open invites")
    ));
    lines.push(match stats.oldest_ms {
        Some(oldest) => format!(
            "waiting    {} ({}) for {}; the oldest from {}",
            count(stats.waiting, "envelope", "envelopes"),
            bytes(stats.waiting_bytes),
            count(stats.spools, "device", "devices"),
            ago(oldest)
        ),
        None => "waiting    nothing".to_owned(),
    });
    lines.push(format!("files      {} ({})", count(stats.blobs, "file", "files"), bytes(stats.blob_bytes)));
    if running {
        lines.push(format!(
            "since then {} accepted, {} refused, {} delivered",
            count(stats.deposits_accepted, "deposit", "deposits"),
            stats.deposits_refused,
            stats.delivered
        ));
    }
    lines.push(format!(
        "disk       {} of files, {} of them in use",
        bytes(stats.disk_bytes),
        bytes(stats.live_bytes)
    ));
    if running && stats.commits > 0 {
        lines.push(format!(
            "writing    {}, {}.{:02} ms each",
            count(stats.commits, "commit", "commits"),
            stats.commit_micros_mean / 1_000,
            stats.commit_micros_mean % 1_000 / 10
        ));
    }
    if stats.disk_full {
        lines.push("LOOK       the disk is full: deposits are refused".to_owned());
    }
    if stats.alarms > 0 {
        lines.push(format!("LOOK       {} found unusable: see the log", count(stats.alarms, "row", "rows")));
    }
    lines
}
