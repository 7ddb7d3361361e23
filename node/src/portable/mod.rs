//! An account in one file: keys, contacts, history and files, sealed under a passphrase, and put into another home.
//!
//! ```text
//! home ─ pieces ─▶ archive ─▶ sealed stream ─▶ FILE ─▶ opened stream ─▶ import.partial ─ verified ─▶ home
//! ```
//!
//! The node stands still meanwhile, its lock is held here. Nothing of a home is touched before all of the file was read, opened and
//! checked. Memory does not depend on the size: it is that of a chunk, and of Argon2id for a moment.

mod archive;
mod export;
mod import;
mod pieces;
mod still;

use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_seal::ExportError;

pub(crate) use export::export;
pub(crate) use import::{MARK, finish_interrupted, import, was_interrupted};

/// Shortest passphrase, in characters: the file leaves the machine, and whoever has it may guess for years.
pub(crate) const MIN_PASSPHRASE_CHARACTERS: usize = 12;

/// Turns a failure of reading an export into what a person is told.
fn unreadable(error: std::io::Error) -> ApiError {
    match error.downcast::<ExportError>() {
        Ok(error) => bad(&error),
        Err(error) => ApiError::new(ErrorCode::BadFile, format!("the export cannot be read: {error}")),
    }
}

fn bad(error: &ExportError) -> ApiError {
    match error {
        ExportError::Io(error) => {
            ApiError::new(ErrorCode::BadFile, format!("the export cannot be read: {error}"))
        }
        other => ApiError::new(ErrorCode::BadExport, other.to_string()),
    }
}

/// Turns a failure of writing into what a person is told.
fn unwritable(path: &std::path::Path, error: &std::io::Error) -> ApiError {
    if matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) {
        return ApiError::new(ErrorCode::DiskFull, format!("no space is left for {}", path.display()));
    }
    ApiError::new(ErrorCode::HomeUnusable, format!("{}: {error}", path.display()))
}
