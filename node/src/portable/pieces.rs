//! Which files of a home belong to an account, and how they are called in an export.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The only files of a home that are taken along, by folder: what is made again (index, search) or belongs to the machine (settings,
/// wiring, socket) stays.
const FOLDERS: [&str; 3] = ["keys", "data", "artifacts/content"];

/// Files that lie in the home itself.
const FILES: [&str; 1] = ["relay-keys"];

/// Longest name of a file.
const MAX_NAME_BYTES: usize = 80;

/// Whether a name may stand in an export: exactly those that [`list`] gives.
pub(super) fn is_piece(name: &str) -> bool {
    if FILES.contains(&name) {
        return true;
    }
    let Some((folder, file)) = name.rsplit_once('/') else { return false };
    let plain = file.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    let fair = plain && !file.starts_with('.') && (1..=MAX_NAME_BYTES).contains(&file.len());
    fair && FOLDERS.contains(&folder)
        && match folder {
            "data" => is_log(name) || file == "format",
            "artifacts/content" => file.len() == 64 && file.bytes().all(|byte| byte.is_ascii_hexdigit()),
            _ => true,
        }
}

/// Whether it is a file of the log, which is long and ends with zeros.
pub(super) fn is_log(name: &str) -> bool {
    name.starts_with("data/") && name.ends_with(".log")
}

/// Lists the files of a home, sorted: name in the export, and path.
pub(super) fn list(home: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut all = Vec::new();
    for folder in FOLDERS {
        let entries = match fs::read_dir(home.join(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_file() && is_piece(&name) {
                all.push((name, entry.path()));
            }
        }
    }
    for file in FILES {
        let path = home.join(file);
        if path.is_file() {
            all.push((file.to_owned(), path));
        }
    }
    all.sort();
    Ok(all)
}

/// What is moved into a home as a whole, in this order: keys last, without which nothing else is used.
pub(super) const WHOLES: [&str; 4] = ["artifacts", "relay-keys", "data", "keys"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_may_stand_in_an_export() {
        let hash = format!("artifacts/content/{}", "0a".repeat(32));
        for name in ["keys/identity.key", "data/format", "data/00000001.log", "relay-keys", hash.as_str()] {
            assert!(is_piece(name), "{name}");
        }
        for name in [
            "",
            "keys",
            "keys/",
            "keys/..",
            "keys/../x",
            "../keys/x",
            "/keys/x",
            "keys/a/b",
            "data/lock",
            "data/index/short/db",
            "data/x",
            "artifacts/content/x",
            "config.toml",
            "wiring.json",
            "keys/.hidden",
            "keys/a b",
            "keys/a\0",
        ] {
            assert!(!is_piece(name), "{name:?}");
        }
    }
}
