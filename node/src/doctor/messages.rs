//! Looks at the log of a node that does not run, and takes damage out of it when a person wants that.
//!
//! Damage is never touched by itself: what stands in it was accepted once. So the first look happens on the log as it is and changes nothing; what a
//! repair would take out is seen in a rehearsal on a copy; and the repair keeps every damaged file under another name.

use std::fs::File;
use std::path::{Path, PathBuf};

use penpal_local_api::home::Home;
use penpal_local_api::status::{Check, CheckState};
use penpal_store::{Finding, LogStore, OpenError, Options, ReadError, Store, VerifyReport};

use super::check;

const NAME: &str = "messages";

/// What may be done about damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Only tell.
    Refused,
    /// Take damage out, and lose what stands in it.
    Accepted,
}

/// Checks the log; `None` where there is none yet, or where a node runs: it has opened its log.
pub(super) fn messages(home: &Home, loss: Loss) -> Option<Check> {
    if !home.data().join("format").exists() {
        return None;
    }
    // The node's own lock: none starts while the log is looked at.
    let lock = File::options().create(true).truncate(false).write(true).open(home.lock()).ok()?;
    lock.try_lock().ok()?;
    Some(match look(&home.data()) {
        Ok(Ok(report)) if report.findings.is_empty() => check(NAME, CheckState::Ok, "the log is whole", None),
        Ok(Ok(report)) => damaged(home, loss, &lines(&report.findings)),
        Ok(Err(error)) => unread(&error),
        Err(OpenError::Damaged { file, offset, detail }) => {
            damaged(home, loss, &format!("{file} is damaged at byte {offset}: {detail}"))
        }
        Err(error @ OpenError::Missing { .. }) => damaged(home, loss, &error.to_string()),
        Err(error) => {
            let repair = "keep a copy of the home; nothing was changed";
            check(NAME, CheckState::Failed, format!("the log cannot be opened: {error}"), Some(repair))
        }
    })
}

/// Opens the log and reads all of it.
fn look(data: &Path) -> Result<Result<VerifyReport, ReadError>, OpenError> {
    let store = LogStore::open(data, Options::default())?;
    let report = store.verify(&mut |_| {});
    let closed = Box::new(store).close();
    drop(closed);
    Ok(report)
}

/// A log that was not read to its end is not known to be whole.
fn unread(error: &ReadError) -> Check {
    let why = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    let repair = match error {
        ReadError::Index(_) => "penpal doctor once more: the index is made anew from the log",
        _ => "look at the disk, and keep a copy of the home; nothing was changed",
    };
    check(NAME, CheckState::Failed, format!("the log cannot be read: {error}{why}"), Some(repair))
}

fn damaged(home: &Home, loss: Loss, fact: &str) -> Check {
    let failed = |fact: String| {
        let repair = "keep a copy of the home; restore a backup, or report it";
        check(NAME, CheckState::Failed, fact, Some(repair))
    };
    let rehearsed = match rehearse(home) {
        Ok(findings) => lines(&findings),
        Err(error) => return failed(format!("{fact}; a repair was tried on a copy and failed: {error}")),
    };
    let data = home.data();
    if loss == Loss::Refused {
        let fact = if rehearsed.is_empty() {
            format!("{fact}. A repair takes nothing out, and makes the index anew")
        } else {
            format!("{fact}. A repair takes out: {rehearsed}")
        };
        let repair = format!(
            "penpal doctor --fix --accept-loss: what stands in these places is lost, and what was removed by it may be back; the damaged files are kept in {}",
            data.display()
        );
        return check(NAME, CheckState::Failed, fact, Some(&repair));
    }
    match repair(&data) {
        Ok(findings) => {
            let fact =
                format!("repaired, the damaged files are kept in {}: {}", data.display(), lines(&findings));
            check(
                NAME,
                CheckState::Warning,
                fact,
                Some("penpal inbox --all and penpal contact list show what is left"),
            )
        }
        Err(error) => failed(format!("{fact}; it could not be repaired: {error}")),
    }
}

/// Repairs a log, and makes the relay take this node for one that was restored: counters may have gone back, and what contacts sent and this
/// log lost is sent again.
fn repair(data: &Path) -> anyhow::Result<Vec<Finding>> {
    let mut store = LogStore::open(data, Options { repair: true, ..Options::default() })?;
    let findings = store.opening().repaired.clone();
    store.commit(vec![crate::engine::forget_runs()])?;
    Box::new(store).close()?;
    Ok(findings)
}

/// Repairs a copy of the log's files and tells what it took out.
fn rehearse(home: &Home) -> anyhow::Result<Vec<Finding>> {
    let copy = Rehearsal::new(home)?;
    for entry in std::fs::read_dir(home.data())? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), copy.0.join(entry.file_name()))?;
        }
    }
    repair(&copy.0)
}

/// A folder beside the data, of the same owner and on the same disk, removed in the end.
struct Rehearsal(PathBuf);

impl Rehearsal {
    fn new(home: &Home) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let path = home.path().join("data.rehearsal");
        let removed = std::fs::remove_dir_all(&path);
        drop(removed);
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        let removed = std::fs::remove_dir_all(&self.0);
        drop(removed);
    }
}

fn lines(findings: &[Finding]) -> String {
    let line = |finding: &Finding| match finding.offset {
        Some(offset) => format!("{} from byte {offset} ({})", finding.place, finding.detail),
        None => format!("{} ({})", finding.place, finding.detail),
    };
    findings.iter().map(line).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_cannot_be_read_is_never_called_whole() {
        let source = std::io::Error::from_raw_os_error(5);
        let error = ReadError::Io { action: "read", file: "0000000001.log".to_owned(), source };
        let said = unread(&error);
        assert_eq!(said.state, CheckState::Failed);
        assert!(said.fact.contains("0000000001.log") && said.fact.contains("os error 5"), "{}", said.fact);
        assert!(said.repair.is_some());
    }
}
