//! Copies of a relay: its data in a folder, its keys in a file that is kept elsewhere.
//!
//! ```text
//! DIR/store/        the log; the index is rebuilt when it is opened
//! DIR/blobs/        sealed contents of artifacts
//! DIR/place.json    port and public name
//! DIR/backup.json   whose copy it is, and of when
//! FILE              the keys, mode 0600
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use penpal_protocol::ids::RelayPin;
use penpal_protocol::text::pin_to_text;
use penpal_store::{Backup, BackupError, LogPosition, LogStore, OpenError, Options, ReadError, Store};
use serde::{Deserialize, Serialize};

use crate::folder::{Folder, KeyCopy, Keys, KeysError, copy_file, create_private_dir, replace};
use crate::relay::ProgressFn;

const VERSION: u32 = 1;

/// What `backup.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    v: u32,
    /// When the copy was taken.
    pub(crate) made_ms: u64,
    /// Pin of the relay's key.
    pub(crate) pin: String,
    log: u64,
    commit: u64,
}

/// A copy cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum WriteError {
    /// The folder or the file exists already.
    #[error("{path} exists already")]
    Exists { path: PathBuf },
    /// The keys of a copy must not lie in the copy.
    #[error("the keys would lie in the copy of the data")]
    Together,
    /// The copy would take what a relay needs that lives on the same disk.
    #[error("the copy needs {needed} bytes, and {free} may be taken where {path} is to be")]
    NoRoom { path: PathBuf, needed: u64, free: u64 },
    /// The data cannot be copied.
    #[error("the data cannot be copied")]
    Data(#[from] BackupError),
    /// The keys cannot be read.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The system said no.
    #[error("cannot write {path}")]
    Io { path: PathBuf, source: io::Error },
}

/// Left free where a copy is written, for the log of a relay on the same disk.
const KEPT_FREE_BYTES: u64 = 64 * 1024 * 1024;

/// Writes data and keys; gives the bytes of data. What was made goes again when it fails.
pub(crate) fn write(
    folder: &Folder,
    copy: Box<dyn Backup>,
    to: &Path,
    keys_to: &Path,
) -> Result<u64, WriteError> {
    if keys_to.starts_with(to) {
        return Err(WriteError::Together);
    }
    for path in [to, keys_to] {
        if path.exists() {
            return Err(WriteError::Exists { path: path.to_owned() });
        }
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| WriteError::Io { path, source }
    };
    create_private_dir(to).map_err(failed(to))?;
    let written = check_room(folder, to).and_then(|()| write_all(folder, copy, to, keys_to));
    if written.is_err() {
        for removed in [fs::remove_dir_all(to), fs::remove_file(keys_to)] {
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, "half a copy stays");
                }
                Ok(()) | Err(_) => {}
            }
        }
    }
    written
}

/// Refuses a copy that would leave too little. Where the room cannot be known, writing will tell.
fn check_room(folder: &Folder, to: &Path) -> Result<(), WriteError> {
    let Ok(stat) = rustix::fs::statvfs(to) else { return Ok(()) };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize).saturating_sub(KEPT_FREE_BYTES);
    let needed = bytes_in(&folder.store()).saturating_add(bytes_in(&folder.blobs()));
    if needed <= free { Ok(()) } else { Err(WriteError::NoRoom { path: to.to_owned(), needed, free }) }
}

/// Bytes of the files of a folder, as far as they can be seen: more than a copy takes, the index being left out of it.
fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_in(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    bytes.fold(0, u64::saturating_add)
}

fn write_all(folder: &Folder, copy: Box<dyn Backup>, to: &Path, keys_to: &Path) -> Result<u64, WriteError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| WriteError::Io { path, source }
    };
    let keys = Keys::export(folder.keys())?;
    let report = copy.write_to(&to.join("store"), &mut |_| {})?;
    // After the log: parts that came meanwhile are more than it knows; blobs that went meanwhile nobody may read.
    let blobs = copy_blobs(&folder.blobs(), &to.join("blobs")).map_err(failed(&to.join("blobs")))?;
    if folder.place().exists() {
        copy_file(&folder.place(), &to.join("place.json")).map_err(failed(to))?;
    }
    let about = About {
        v: VERSION,
        made_ms: now_ms(),
        pin: pin_of(folder)?,
        log: report.position.log,
        commit: report.position.commit,
    };
    let text = serde_json::to_string(&about).map_err(|error| failed(to)(error.into()))?;
    replace(keys_to, keys.to_text().as_bytes()).map_err(failed(keys_to))?;
    // Last: with it, the folder is a whole copy.
    let path = to.join("backup.json");
    replace(&path, text.as_bytes()).map_err(failed(&path))?;
    Ok(report.bytes.saturating_add(blobs))
}

/// A copy cannot be put back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RestoreError {
    /// There is a relay already.
    #[error("there is a relay in {data} already")]
    InUse { data: PathBuf },
    /// The folder is no copy, or not a whole one.
    #[error("{path} is not a whole copy: {detail}")]
    NotACopy { path: PathBuf, detail: String },
    /// The keys are of another relay.
    #[error("the keys belong to {keys}, the data to {data}")]
    OtherKeys { keys: String, data: String },
    /// The keys folder holds another relay's keys.
    #[error("{path} holds the keys of another relay")]
    KeysInUse { path: PathBuf },
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The copied log cannot be opened.
    #[error("the copied log cannot be used")]
    Store(#[from] OpenError),
    /// The copied log cannot be read.
    #[error("the copied log cannot be read")]
    Read(#[from] ReadError),
    /// The copied log is damaged.
    #[error("the copy is damaged: {place}: {detail}")]
    Damaged { place: String, detail: String },
    /// The system said no.
    #[error("cannot write {path}")]
    Io { path: PathBuf, source: io::Error },
}

/// What was put back.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) about: About,
    pub(crate) rows: u64,
    pub(crate) waiting: u64,
}

/// Puts data and keys into folders without a relay, and checks every byte of the log on the way.
pub(crate) fn restore(
    folder: &Folder,
    from: &Path,
    keys_from: &Path,
    progress: Option<ProgressFn>,
) -> Result<Restored, RestoreError> {
    if folder.is_used() {
        return Err(RestoreError::InUse { data: folder.data().to_owned() });
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| RestoreError::Io { path, source }
    };
    let about = about(from)?;
    let keys = KeyCopy::read(keys_from)?;
    let pin = pin_to_text(&RelayPin::from_bytes(keys.public().pin().0));
    if pin != about.pin {
        return Err(RestoreError::OtherKeys { keys: pin, data: about.pin });
    }
    create_private_dir(folder.data()).map_err(failed(folder.data()))?;
    let aside = folder.data().join("store.restoring");
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(failed(&aside))?;
    }
    copy_tree(&from.join("store"), &aside).map_err(failed(&aside))?;
    let (rows, waiting) = check(&aside, progress)?;
    if !Keys::import(folder.keys(), &keys)? {
        return Err(RestoreError::KeysInUse { path: folder.keys().to_owned() });
    }
    // Whatever this relay had said after the copy is unknown: the next start begins a new epoch for every spool.
    let mark = LogPosition { log: about.log, commit: u64::MAX };
    Keys::set_mark(folder.keys(), mark)?;
    copy_blobs(&from.join("blobs"), &folder.blobs()).map_err(failed(&folder.blobs()))?;
    let place = from.join("place.json");
    if place.exists() {
        copy_file(&place, &folder.place()).map_err(failed(&folder.place()))?;
    }
    fs::rename(&aside, folder.store()).map_err(failed(&folder.store()))?;
    Ok(Restored { about, rows, waiting })
}

fn about(from: &Path) -> Result<About, RestoreError> {
    let path = from.join("backup.json");
    let not = |detail: String| RestoreError::NotACopy { path: from.to_owned(), detail };
    let text = fs::read_to_string(&path).map_err(|error| not(format!("{}: {error}", path.display())))?;
    let about: About = serde_json::from_str(&text).map_err(|error| not(error.to_string()))?;
    if about.v != VERSION {
        return Err(not(format!("version {}, this version reads {VERSION}", about.v)));
    }
    Ok(about)
}

fn check(store: &Path, mut progress: Option<ProgressFn>) -> Result<(u64, u64), RestoreError> {
    let opened = LogStore::open(store, Options::default())?;
    let report = opened.verify(&mut |at| {
        if let Some(progress) = &mut progress {
            progress(at);
        }
    })?;
    if let Some(finding) = report.findings.first() {
        let (place, detail) = (finding.place.clone(), finding.detail.clone());
        return Err(RestoreError::Damaged { place, detail });
    }
    // Dropping without closing is safe; the index is rebuilt where it is needed.
    Ok((report.rows, report.queued))
}

/// Copies the files of blobs; gives their bytes. One that goes away meanwhile was removed.
fn copy_blobs(from: &Path, to: &Path) -> io::Result<u64> {
    let ids = crate::blobs::ids(from);
    if ids.is_empty() {
        return Ok(0);
    }
    create_private_dir(to)?;
    let mut bytes: u64 = 0;
    for id in ids {
        let target = to.join(id.to_text());
        match copy_file(&from.join(id.to_text()), &target) {
            Ok(()) => bytes = bytes.saturating_add(fs::metadata(&target)?.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    fs::File::open(to)?.sync_all()?;
    Ok(bytes)
}

/// Copies a folder of plain files and folders.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    create_private_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            copy_file(&entry.path(), &target)?;
        }
    }
    fs::File::open(to)?.sync_all()
}

fn pin_of(folder: &Folder) -> Result<String, KeysError> {
    Ok(pin_to_text(&RelayPin::from_bytes(Keys::identity(folder.keys())?.public().pin().0)))
}

fn now_ms() -> u64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A copy that cannot be written, because there is no room or for anything else.
    struct Fails;

    impl Backup for Fails {
        fn write_to(
            self: Box<Self>,
            dir: &Path,
            _: &mut dyn FnMut(penpal_store::Progress),
        ) -> Result<penpal_store::BackupReport, BackupError> {
            let made = create_private_dir(dir).and_then(|()| fs::write(dir.join("half"), "a segment"));
            assert!(made.is_ok(), "{made:?}");
            Err(BackupError::NotEmpty { path: dir.to_owned() })
        }
    }

    #[test]
    fn half_a_copy_goes_again() {
        let all = tempfile::tempdir().unwrap();
        let folder = Folder::new(&all.path().join("data"), None);
        create_private_dir(folder.data()).unwrap();
        drop(Keys::open(folder.keys(), false).unwrap());
        let (to, keys) = (all.path().join("copy"), all.path().join("copy.keys"));
        let error = write(&folder, Box::new(Fails), &to, &keys).unwrap_err();
        assert!(matches!(error, WriteError::Data(_)), "{error:?}");
        assert!(!to.exists() && !keys.exists());
        // A store with more than any disk has, in a file with holes.
        create_private_dir(&folder.store()).unwrap();
        let stat = rustix::fs::statvfs(all.path()).unwrap();
        let beyond = (stat.f_blocks * stat.f_frsize).min(1 << 43);
        fs::File::create(folder.store().join("0001")).unwrap().set_len(beyond).unwrap();
        let error = write(&folder, Box::new(Fails), &to, &keys).unwrap_err();
        assert!(matches!(error, WriteError::NoRoom { .. }), "{error:?}");
        assert!(!to.exists() && !keys.exists());
    }
}
