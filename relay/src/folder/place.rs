//! Where a relay was last reached, so that the same folder keeps its address.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::replace;

/// The file about the address cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// Not what we write.
    #[error("{path} is not usable: {detail}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The system said no.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The stored form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Version of this file.
    v: u32,
    /// UDP port listened on.
    pub(crate) port: u16,
    /// What `--public` said last.
    pub(crate) public: Option<String>,
    /// The address given out, without the pin.
    pub(crate) at: String,
}

const VERSION: u32 = 1;

impl Place {
    pub(crate) fn new(port: u16, public: Option<String>, at: String) -> Self {
        Self { v: VERSION, port, public, at }
    }

    /// Reads what the last start left, if there was one.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, PlaceError> {
        let malformed = |detail: String| PlaceError::Malformed { path: path.to_owned(), detail };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(malformed("not text".to_owned()));
            }
            Err(source) => return Err(PlaceError::Io { action: "read", path: path.to_owned(), source }),
        };
        let place: Self = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        if place.v != VERSION {
            return Err(malformed(format!("version {}, this version reads {VERSION}", place.v)));
        }
        Ok(Some(place))
    }

    /// Writes it for the next start.
    pub(crate) fn write(&self, path: &Path) -> Result<(), PlaceError> {
        let failed = |source| PlaceError::Io { action: "write", path: path.to_owned(), source };
        let mut text = serde_json::to_string(self).map_err(|error| failed(error.into()))?;
        text.push('\n');
        replace(path, text.as_bytes()).map_err(failed)
    }
}
