//! What was written into agents' files, and what was there before: `<home>/wiring.json`.
//!
//! It lets `uninstall` give a file back byte by byte. Without it entries are recognised all the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use penpal_local_api::home::Home;
use serde::{Deserialize, Serialize};

/// The record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Shape version.
    pub(super) v: u32,
    /// By absolute path.
    pub(super) files: BTreeMap<PathBuf, Wired>,
    /// Folders that were made for the unit that starts the node at login, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) login_folders: Vec<PathBuf>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wired {
    /// A copy of it as it is without penpal; `None` when it was not there.
    pub(super) original: Option<PathBuf>,
    /// Hash of it as it was written: while it is the same, the original is exactly what it was.
    pub(super) written: String,
    /// Folders that were made for it.
    #[serde(default)]
    pub(super) folders: Vec<PathBuf>,
}

fn path(home: &Home) -> PathBuf {
    home.path().join("wiring.json")
}

/// Hash of a text, as it stands in the record.
pub(super) fn hash(text: &str) -> String {
    let hash = penpal_protocol::hash::labelled16("wired-file", &[text.as_bytes()]);
    penpal_protocol::text::base32::encode(&hash)
}

impl Record {
    /// Reads it; one that is missing or damaged is empty.
    pub(super) fn load(home: &Home) -> Self {
        let read = std::fs::read(path(home)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        read.unwrap_or_default()
    }

    /// Writes it; an empty one is removed.
    pub(super) fn store(&mut self, home: &Home) -> Result<(), std::io::Error> {
        self.v = 1;
        let path = path(home);
        if self.files.is_empty() && self.login_folders.is_empty() {
            return super::files::remove(&path);
        }
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::other)?;
        super::files::write(&path, &text, false).map(drop)
    }

    /// What is known of a file whose text is this: its original, if nobody changed it since.
    pub(super) fn unchanged(&self, path: &Path, text: &str) -> Option<&Wired> {
        self.files.get(path).filter(|wired| wired.written == hash(text))
    }
}
