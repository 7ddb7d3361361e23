//! Saves what was there, writes, and records what was written.

use std::path::{Path, PathBuf};

use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::home::Home;

use super::files;
use super::plan::{FilePlan, Plan};
use super::record::{Record, Wired, hash};

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Folder of the copies of what was there; `None` when nothing was.
    pub(crate) backups: Option<PathBuf>,
    /// Files that changed.
    pub(crate) written: Vec<PathBuf>,
    /// Files that could not be changed, and why.
    pub(crate) failed: Vec<(PathBuf, String)>,
}

/// Makes the files as planned. `keep` says whether penpal stays in: a record is kept then.
///
/// A file that was changed since the plan was made is left as it is. One that fails does not keep the others from being written.
///
/// # Errors
/// When the record or the copies cannot be written: then no file was touched.
pub(crate) fn apply(plan: &Plan, home: &Home, keep: bool) -> Result<Applied, ApiError> {
    let mut record = Record::load(home);
    let mut applied = Applied::default();
    let changing: Vec<&FilePlan> =
        plan.agents.iter().flat_map(|agent| &agent.files).filter(|file| file.changes()).collect();
    if changing.is_empty() {
        return Ok(applied);
    }
    crate::launch::prepare_home(home)?;
    let before = record.clone();
    let known = |path: &Path| before.files.get(path).map(|wired| wired.folders.clone()).unwrap_or_default();
    let backups = home.path().join("backups").join(stamp());
    for file in &changing {
        let copy = backups.join(file.path.strip_prefix("/").unwrap_or(&file.path));
        if let Some(before) = &file.before {
            save(&copy, before)?;
            applied.backups = Some(backups.clone());
        }
        if !keep {
            continue;
        }
        let original = match &file.original {
            None => None,
            Some(text) if file.before.as_ref() == Some(text) => Some(copy),
            Some(text) => {
                let mut name = copy.file_name().unwrap_or_default().to_owned();
                name.push(".without-penpal");
                let copy = copy.with_file_name(name);
                save(&copy, text)?;
                Some(copy)
            }
        };
        match &file.after {
            Some(after) => {
                let wired = Wired { original, written: hash(after), folders: known(&file.path) };
                record.files.insert(file.path.clone(), wired);
            }
            None => drop(record.files.remove(&file.path)),
        }
    }
    let mut folders: Vec<PathBuf> = changing
        .iter()
        .filter(|file| !keep || file.after.is_none())
        .flat_map(|file| known(&file.path))
        .collect();
    // Before the first file: whatever happens after this, `uninstall` knows.
    store(&mut record, home)?;
    for file in changing {
        match change(file) {
            Ok(made) => {
                applied.written.push(file.path.clone());
                if let Some(wired) = record.files.get_mut(&file.path).filter(|_| keep) {
                    wired.folders.extend(made);
                } else if !plan.left.contains(&file.path) {
                    record.files.remove(&file.path);
                }
            }
            Err(why) => applied.failed.push((file.path.clone(), why)),
        }
    }
    // Folders that were made for what is gone: once all files are, outermost last.
    folders.sort_by_key(|folder| folder.components().count());
    files::remove_empty(&folders);
    if !keep {
        // What is not there any more needs no record; what stays keeps its own.
        let failed: Vec<&PathBuf> = applied.failed.iter().map(|(path, _)| path).collect();
        record.files.retain(|path, _| failed.contains(&path) || plan.left.contains(path));
    }
    store(&mut record, home)?;
    Ok(applied)
}

fn store(record: &mut Record, home: &Home) -> Result<(), ApiError> {
    record.store(home).map_err(|error| {
        ApiError::new(ErrorCode::HomeUnusable, format!("{}: {error}", home.path().display()))
    })
}

fn change(file: &FilePlan) -> Result<Vec<PathBuf>, String> {
    if files::read(&file.path)? != file.before {
        return Err("was changed just now; run the command again".to_owned());
    }
    match &file.after {
        Some(after) => files::write(&file.path, after, file.executable).map_err(|error| error.to_string()),
        None => files::remove(&file.path).map(|()| Vec::new()).map_err(|error| error.to_string()),
    }
}

fn save(path: &Path, text: &str) -> Result<(), ApiError> {
    files::write(path, text, false).map(drop).map_err(|error| {
        ApiError::new(ErrorCode::HomeUnusable, format!("no copy can be kept at {}: {error}", path.display()))
            .hint("nothing was changed")
    })
}

/// The time as a folder's name.
fn stamp() -> String {
    jiff::Zoned::now().strftime("%Y-%m-%dT%H-%M-%S%.3f").to_string()
}
