//! `penpal-relay doctor`

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use penpal_store::{Finding, LogStore, OpenError, Options, Store};
use serde::Serialize;

use super::account::confirm;
use super::output::Output;
use super::problem::{Problem, chain};
use super::words::bytes;
use crate::admin::{self, Ask, Reply};
use crate::backup::copy_tree;
use crate::code::Code;
use crate::folder::{Folder, Keys, KeysError, Place};

/// Check the relay's folder, keys and store, and say what to do
///
/// Of a stopped relay every byte of the log is read. With --fix, what can be repaired is: modes of key files, an unusable
/// place.json, and a damaged log, after saying what is lost; the log as it was stays beside it.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    place: super::Place,
    /// Repair what can be repaired
    #[arg(long)]
    fix: bool,
    /// With --fix, do not ask before the log is repaired
    #[arg(long)]
    yes: bool,
    /// Print one line of JSON: {"v":1,"checks":[{"check":…,"ok":…,"detail":…,"hint":…}]}
    #[arg(long)]
    json: bool,
}

/// What one look has shown.
#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    ok: bool,
    detail: String,
    hint: Option<String>,
}

impl Check {
    fn good(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, ok: true, detail: detail.into(), hint: None }
    }

    fn bad(check: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { check, ok: false, detail: detail.into(), hint: Some(hint.into()) }
    }
}

impl Doctor {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) fn run(self) -> Result<(), Problem> {
        let folder = Folder::new(&self.place.data, self.place.keys.as_deref());
        if !folder.is_used() {
            return Err(Problem::no_relay(folder.data()));
        }
        let running = admin::is_running(&folder);
        let mut checks = vec![self.keys(&folder), self.address(&folder)];
        checks.push(if running { self.running() } else { self.store(&folder)? });
        let bad = checks.iter().filter(|check| !check.ok).count();
        let mut out = Output::stdout();
        if self.json {
            out.json(&serde_json::json!({ "v": 1, "checks": checks }))?;
        } else {
            for check in &checks {
                let mark = if check.ok { "ok " } else { "BAD" };
                out.line(&format!("{mark}  {:<8} {}", check.check, check.detail))?;
                if let Some(hint) = &check.hint {
                    out.line(&format!("     hint: {hint}"))?;
                }
            }
        }
        if bad == 0 { Ok(()) } else { Err(Problem::quiet()) }
    }

    fn keys(&self, folder: &Folder) -> Check {
        let mut tried = Keys::open(folder.keys(), true);
        if let (true, Err(KeysError::Open { path, .. })) = (self.fix, &tried) {
            let path = path.clone();
            if close(&path).is_ok() && close_all(folder.keys()).is_ok() {
                tried = Keys::open(folder.keys(), true);
            }
        }
        let place = folder.keys().display();
        match tried {
            Ok(_) => Check::good("keys", format!("complete and private, in {place}")),
            Err(error @ KeysError::Open { .. }) => {
                Check::bad("keys", error.to_string(), "penpal-relay doctor --fix closes them")
            }
            Err(error) => Check::bad("keys", chain(&error), "put the keys back from their copy"),
        }
    }

    fn address(&self, folder: &Folder) -> Check {
        match Place::read(&folder.place()) {
            Ok(Some(place)) => Check::good("address", format!("last reached at {}", place.at)),
            Ok(None) => Check::good("address", "never started"),
            Err(error) if self.fix => match fs::remove_file(folder.place()) {
                Ok(()) => Check::good(
                    "address",
                    "the unusable place.json is removed; the next start writes it anew",
                ),
                Err(_) => Check::bad("address", chain(&error), "remove the file"),
            },
            Err(error) => Check::bad("address", chain(&error), "penpal-relay doctor --fix removes it"),
        }
    }

    /// A relay that answers has read its store; every byte is read only when it is stopped.
    fn running(&self) -> Check {
        match self.place.ask(Ask::Stats) {
            Ok(Reply::Stats { stats, .. }) if stats.disk_full => {
                Check::bad("relay", "runs, and its disk is full: deposits are refused", "free some space")
            }
            Ok(Reply::Stats { stats, .. }) if stats.alarms > 0 => Check::bad(
                "relay",
                "runs, and found rows that it cannot use",
                "see its log; restore a copy if need be",
            ),
            Ok(Reply::Stats { stats, .. }) => Check::good(
                "relay",
                format!(
                    "runs and answers; {} of files. Stop it to have every byte checked",
                    bytes(stats.disk_bytes)
                ),
            ),
            Ok(_) => {
                Check::bad("relay", "gives a strange answer", "use the penpal-relay of the version that runs")
            }
            Err(problem) => Check::bad("relay", problem.to_string(), "start it again"),
        }
    }

    fn store(&self, folder: &Folder) -> Result<Check, Problem> {
        let dir = folder.store();
        let mut progress = super::serve::progress();
        let opened =
            LogStore::open(&dir, Options { progress: super::serve::progress(), ..Options::default() });
        let store = match opened {
            Ok(store) => store,
            Err(error @ (OpenError::Damaged { .. } | OpenError::Missing { .. })) => {
                return self.damaged(&dir, &chain(&error));
            }
            Err(error) => return Ok(Check::bad("store", chain(&error), "nothing was changed")),
        };
        let report = store.verify(&mut |at| {
            if let Some(progress) = &mut progress {
                progress(at);
            }
        });
        Ok(match report {
            Ok(report) => match report.findings.first() {
                None => Check::good(
                    "store",
                    format!("{} rows and {} queued, all as they were written", report.rows, report.queued),
                ),
                Some(first) => {
                    drop(store);
                    return self.damaged(&dir, &finding(first));
                }
            },
            Err(error) => Check::bad("store", chain(&error), "look at the disk"),
        })
    }

    /// Repairs a copy, so that what is lost is known before anything is decided.
    fn damaged(&self, dir: &Path, what: &str) -> Result<Check, Problem> {
        if !self.fix {
            return Ok(Check::bad(
                "store",
                what,
                "penpal-relay doctor --fix says what can be kept, and asks; a copy (restore) keeps more",
            ));
        }
        let failed =
            |error: std::io::Error| Problem::new(Code::Repair, format!("cannot copy the store: {error}"));
        let repaired = dir.with_extension("repaired");
        if repaired.exists() {
            fs::remove_dir_all(&repaired).map_err(failed)?;
        }
        copy_tree(dir, &repaired).map_err(failed)?;
        let options = Options { repair: true, progress: super::serve::progress(), ..Options::default() };
        let store = LogStore::open(&repaired, options)
            .map_err(|error| Problem::new(Code::Repair, chain(&error)).hint("restore a copy"))?;
        let lost: Vec<String> = store.opening().repaired.iter().map(finding).collect();
        Box::new(store).close().map_err(|error| Problem::new(Code::Repair, chain(&error)))?;
        let mut stderr = Output::stderr();
        stderr.line(&format!("the log is damaged: {what}"))?;
        for line in &lost {
            stderr.line(&format!("  {line}"))?;
        }
        stderr.line(
            "what lay in the damaged part is lost, and what was removed by it may be back: revoked edges too",
        )?;
        if !self.yes {
            let decided = confirm("put the repaired log in place?", "--yes");
            if decided.is_err() {
                fs::remove_dir_all(&repaired).map_err(failed)?;
            }
            decided?;
        }
        let kept = kept_as(dir);
        fs::rename(dir, &kept).map_err(failed)?;
        fs::rename(&repaired, dir).map_err(failed)?;
        Ok(Check::good("store", format!("repaired; as it was, it is kept in {}", kept.display())))
    }
}

fn kept_as(dir: &Path) -> PathBuf {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    dir.with_extension(format!("damaged-{seconds}"))
}

fn finding(finding: &Finding) -> String {
    match finding.offset {
        Some(offset) => format!("{} at byte {offset}: {}", finding.place, finding.detail),
        None => format!("{}: {}", finding.place, finding.detail),
    }
}

fn close(path: &Path) -> std::io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

/// Takes everybody else's rights to the files of a folder.
fn close_all(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            close(&entry.path())?;
        }
    }
    Ok(())
}
