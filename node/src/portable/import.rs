//! Putting an export into a home.

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufReader, Write as _};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::home::Home;
use penpal_seal::{ExportOpener, KeyFolder, load_identity};
use penpal_store::{LogStore, Options, Store};

use super::still::Still;
use super::{archive, bad, pieces, unreadable, unwritable};

/// Where an export is unpacked and checked.
const PARTIAL: &str = "import.partial";

/// In it, once everything is checked: from then on it only has to be moved.
const CHECKED: &str = "checked";

/// Says to the node's next start that its state is an older copy: it takes fresh keys, and whoever wrote lately sends again.
pub(crate) const MARK: &str = "imported";

/// What was put in place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Imported {
    /// Files.
    pub(crate) files: u32,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// Puts an export into a home without an account. What the home held before is kept in a folder beside it.
///
/// # Errors
/// [`ErrorCode::BadExport`], [`ErrorCode::BadFile`]: nothing was changed. [`ErrorCode::Registered`]: another import had ended in the middle,
/// and is finished now instead. [`ErrorCode::DiskFull`], [`ErrorCode::HomeUnusable`].
pub(crate) fn import(home: &Home, from: &Path, passphrase: &[u8]) -> Result<Imported, ApiError> {
    let file = File::open(from).map_err(unreadable)?;
    // A wrong passphrase is told before anything stands still.
    let mut opener = ExportOpener::new(BufReader::new(file), passphrase).map_err(|error| bad(&error))?;
    let still = Still::begin(home)?;
    let imported = import_still(home, &mut opener);
    still.end();
    imported
}

/// The same, of a home that stands still.
fn import_still(home: &Home, opener: &mut ExportOpener<BufReader<File>>) -> Result<Imported, ApiError> {
    // Some of it may be in place already and be nowhere else: it is not begun anew, but ended.
    if was_interrupted(home) {
        finish_interrupted(home)?;
        let message = "another import had ended in the middle; it is finished now, and nothing was taken from this file";
        return Err(ApiError::new(ErrorCode::Registered, message));
    }
    let partial = home.path().join(PARTIAL);
    let imported = unpack(opener, &partial).and_then(|imported| {
        put_in_place(home, &partial)?;
        Ok(imported)
    });
    if imported.is_err() && !partial.join(CHECKED).exists() {
        // Keys lie in it.
        fs::remove_dir_all(&partial).ok();
    }
    imported
}

fn unpack(opener: &mut ExportOpener<BufReader<File>>, partial: &Path) -> Result<Imported, ApiError> {
    let failed = |error: io::Error| unwritable(partial, &error);
    match fs::remove_dir_all(partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    DirBuilder::new().mode(0o700).create(partial).map_err(failed)?;
    let amount = archive::extract(opener, partial).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => match error.downcast() {
            Ok(export) => bad(&export),
            Err(error) => ApiError::new(ErrorCode::BadExport, error.to_string()),
        },
        _ => failed(error),
    })?;
    check(partial)?;
    sync_folders(partial).map_err(failed)?;
    write_checked(partial).map_err(failed)?;
    Ok(Imported { files: amount.files, bytes: amount.bytes })
}

/// Reads every byte of the log, and the keys: what cannot be used is told now, not when the node starts.
fn check(partial: &Path) -> Result<(), ApiError> {
    let unusable = |what: &str, error: &dyn std::fmt::Display| {
        ApiError::new(ErrorCode::BadExport, format!("the {what} in the export cannot be used: {error}"))
    };
    let keys = KeyFolder::open(partial.join("keys")).map_err(|error| unusable("keys", &error))?;
    if load_identity(&keys).map_err(|error| unusable("keys", &error))?.is_none() {
        return Err(unusable("keys", &"there is no identity among them"));
    }
    if !partial.join("data/format").exists() {
        return Err(unusable("history", &"there is none"));
    }
    let store = LogStore::open(&partial.join("data"), Options::default());
    let store = store.map_err(|error| unusable("history", &error))?;
    let report = store.verify(&mut |_| {}).map_err(|error| unusable("history", &error))?;
    if let Some(finding) = report.findings.first() {
        return Err(unusable("history", &format!("{}: {}", finding.place, finding.detail)));
    }
    Box::new(store).close().map(drop).map_err(|error| unusable("history", &error))
}

fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    File::open(folder)?.sync_all()
}

/// Names what there is to move, so that moving can be gone on with from wherever it ended.
fn write_checked(partial: &Path) -> io::Result<()> {
    let there = pieces::WHOLES.into_iter().filter(|name| partial.join(name).exists());
    let mut file = File::create(partial.join(CHECKED))?;
    file.write_all(there.collect::<Vec<_>>().join("\n").as_bytes())?;
    file.sync_all()?;
    File::open(partial)?.sync_all()
}

/// Moves what was checked to its places, and what was there aside. Interrupted, it is gone on with by the next start of the node, or by
/// another import, which then does nothing else.
fn put_in_place(home: &Home, partial: &Path) -> Result<(), ApiError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| unwritable(&path, &error)
    };
    let list = partial.join(CHECKED);
    let list = fs::read_to_string(&list).map_err(failed(&list))?;
    let aside = aside(home.path());
    let root = home.path();
    for name in ["search.db", "search.db-wal", "search.db-shm", "search.db-journal"] {
        // Made again from the history.
        match fs::remove_file(root.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(root)(error)),
            Ok(()) | Err(_) => {}
        }
    }
    // Before anything else: with it, whatever is in place counts as a copy.
    File::create(root.join(MARK)).and_then(|mark| mark.sync_all()).map_err(failed(root))?;
    for name in pieces::WHOLES {
        let (place, piece) = (root.join(name), partial.join(name));
        if list.lines().any(|listed| listed == name) && !piece.exists() {
            // Moved before an interruption.
            continue;
        }
        if place.symlink_metadata().is_ok() {
            DirBuilder::new().recursive(true).mode(0o700).create(&aside).map_err(failed(&aside))?;
            fs::rename(&place, aside.join(name)).map_err(failed(&place))?;
        }
        if piece.exists() {
            fs::rename(&piece, &place).map_err(failed(&place))?;
        }
    }
    File::open(root).and_then(|folder| folder.sync_all()).map_err(failed(root))?;
    // First of all: what is in place now is a home like any other, which no later import may take for half of one.
    fs::remove_file(partial.join(CHECKED)).map_err(failed(partial))?;
    File::open(partial).and_then(|folder| folder.sync_all()).map_err(failed(partial))?;
    fs::remove_dir_all(partial).map_err(failed(partial))
}

/// Ends an import that was interrupted while things were moved: for whoever holds the node's lock and is about to open the home.
///
/// # Errors
/// [`ErrorCode::DiskFull`], [`ErrorCode::HomeUnusable`]: the home is half the old one and must not be used.
pub(crate) fn finish_interrupted(home: &Home) -> Result<(), ApiError> {
    if was_interrupted(home) {
        tracing::warn!("an import was interrupted: what it had checked is put in place");
        put_in_place(home, &home.path().join(PARTIAL))?;
    }
    Ok(())
}

/// Whether an import ended in the middle: what is in the home is to be replaced.
pub(crate) fn was_interrupted(home: &Home) -> bool {
    home.path().join(PARTIAL).join(CHECKED).exists()
}

/// A folder that does not exist yet.
fn aside(root: &Path) -> std::path::PathBuf {
    let name = |n: u32| root.join("before-import").join(n.to_string());
    (1..=u32::MAX).map(name).find(|path| path.symlink_metadata().is_err()).unwrap_or_else(|| name(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(path: &Path, file: &str) {
        fs::create_dir_all(path).unwrap();
        fs::write(path.join(file), file).unwrap();
    }

    /// A home after an import that ended behind so many names, or between the two moves of the next. The export has no artifacts, the home
    /// had some.
    fn interrupted(names: usize, half: bool) -> (tempfile::TempDir, Home) {
        let root = tempfile::tempdir().unwrap();
        let (home, partial) = (Home::at(root.path()), root.path().join(PARTIAL));
        for name in ["artifacts", "data", "keys"] {
            folder_with(&root.path().join(name), "old");
        }
        for name in ["relay-keys", "data", "keys"] {
            folder_with(&partial.join(name), "new");
        }
        write_checked(&partial).unwrap();
        let aside = root.path().join("before-import/1");
        fs::create_dir_all(&aside).unwrap();
        for (n, name) in pieces::WHOLES.into_iter().take(names + usize::from(half)).enumerate() {
            let (place, piece) = (root.path().join(name), partial.join(name));
            if place.exists() {
                fs::rename(&place, aside.join(name)).unwrap();
            }
            if piece.exists() && n < names {
                fs::rename(&piece, &place).unwrap();
            }
        }
        (root, home)
    }

    #[test]
    fn another_import_ends_the_one_before_and_takes_nothing_of_it_away() {
        let moved = pieces::WHOLES.iter().position(|name| *name == "keys").unwrap();
        let (root, home) = interrupted(moved, false);
        let cut = root.path().join("cut.penpal");
        let mut sealer =
            penpal_seal::ExportSealer::new(File::create(&cut).unwrap(), b"of no weight", [1; 16]).unwrap();
        sealer.write_all(&[1; 200_000]).unwrap();
        drop(sealer);
        let mut opener =
            ExportOpener::new(BufReader::new(File::open(&cut).unwrap()), b"of no weight").unwrap();
        let refused = import_still(&home, &mut opener).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Registered);
        for name in ["relay-keys", "data", "keys"] {
            assert!(root.path().join(name).join("new").exists(), "{name}");
        }
        assert!(!was_interrupted(&home));
    }

    #[test]
    fn moving_goes_on_from_wherever_it_ended() {
        for (names, half) in (0..pieces::WHOLES.len()).flat_map(|names| [(names, false), (names, true)]) {
            let (root, home) = interrupted(names, half);
            let partial = root.path().join(PARTIAL);
            finish_interrupted(&home).unwrap();
            for name in ["relay-keys", "data", "keys"] {
                assert!(root.path().join(name).join("new").exists(), "{name} after {names}, {half}");
            }
            assert!(!root.path().join("artifacts").exists() && !partial.exists() && !was_interrupted(&home));
            let kept = |name: &str| {
                let places = ["before-import/1", "before-import/2"];
                places.iter().any(|place| root.path().join(place).join(name).join("old").exists())
            };
            assert!(["artifacts", "data", "keys"].into_iter().all(kept), "after {names}, {half}");
            finish_interrupted(&home).unwrap();
        }
    }
}
