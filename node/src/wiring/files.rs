//! Reading and replacing one file.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Longest file that is wired, in bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Mode of a file that was not there, and of one that is run.
const PRIVATE: u32 = 0o600;
const EXECUTABLE: u32 = 0o700;

/// The text of a file; `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, String> {
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // Perhaps its folder is only away for now: writing here would take the link's place.
            return if is_link(path) {
                Err("is a link to a file that is not there".to_owned())
            } else {
                Ok(None)
            };
        }
        Err(error) => return Err(error.to_string()),
        Ok(found) if !found.is_file() => return Err("is no file".to_owned()),
        Ok(found) if found.len() > MAX_BYTES => return Err(format!("is longer than {MAX_BYTES} bytes")),
        Ok(_) => {}
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map(Some).map_err(|_| "is not UTF-8".to_owned())
}

/// Replaces a file as a whole, or makes it: what is read is the old text or the new one, never a part. A link is followed, so that a
/// file that somebody keeps elsewhere stays there. Gives the folders that were made, outermost first.
pub(super) fn write(path: &Path, text: &str, executable: bool) -> Result<Vec<PathBuf>, std::io::Error> {
    let real = match fs::canonicalize(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !is_link(path) => path.to_path_buf(),
        other => other?,
    };
    let folder = real.parent().unwrap_or(Path::new("/"));
    let made: Vec<PathBuf> =
        folder.ancestors().take_while(|folder| !folder.exists()).map(Path::to_path_buf).collect();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mode = match fs::metadata(&real) {
        Ok(found) => found.permissions().mode(),
        Err(_) if executable => EXECUTABLE,
        Err(_) => PRIVATE,
    };
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(&real).map_err(|error| error.error)?;
    Ok(made.into_iter().rev().collect())
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}

/// Removes a file; one that is gone is no failure.
pub(super) fn remove(path: &Path) -> Result<(), std::io::Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes folders that are empty, innermost first; others stay.
pub(super) fn remove_empty(folders: &[PathBuf]) {
    for folder in folders.iter().rev() {
        drop(fs::remove_dir(folder));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_a_file_that_is_away_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (link, target) = (folder.path().join("settings.json"), folder.path().join("away/settings.json"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(read(&link).unwrap_err().contains("not there"));
        assert!(write(&link, "{}", false).is_err());
        assert!(is_link(&link) && !target.exists());
        fs::create_dir(target.parent().unwrap()).unwrap();
        fs::write(&target, "old").unwrap();
        write(&link, "new", false).unwrap();
        assert_eq!(
            (read(&link), fs::read_to_string(&target).unwrap()),
            (Ok(Some("new".into())), "new".into())
        );
        assert!(is_link(&link));
    }
}
