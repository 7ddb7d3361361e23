//! Files of people and the contents that a node keeps.
//!
//! | module | does |
//! | --- | --- |
//! | [`shelf`] | the node's side: contents by hash |
//! | `put` | a client's side: copies a file in, its hash fixed on the way |
//! | `fetch` | a client's side: waits for a content |
//! | `save` | a client's side: writes a content where a person wants it |
//! | `name` | file names that cannot surprise |
//! | `size` | lengths in words |

mod fetch;
mod name;
mod put;
mod save;
pub mod shelf;
mod size;

pub(crate) use fetch::{SILENCE, fetch};
pub(crate) use name::safe_name;
pub(crate) use put::put;
pub(crate) use save::{Save, save};
pub(crate) use size::size;

/// Bytes moved at a time.
const BLOCK_BYTES: usize = 1024 * 1024;

/// Told how many bytes were moved so far.
pub(crate) type OnProgress<'p> = &'p mut dyn FnMut(u64);

fn bad_file(path: &std::path::Path, what: &str) -> penpal_local_api::error::ApiError {
    use penpal_local_api::error::{ApiError, ErrorCode};
    ApiError::new(ErrorCode::BadFile, format!("{}: {what}", path.display()))
}

/// Why a file could not be read or written, with a full disk told apart.
fn failed(path: &std::path::Path, error: &std::io::Error) -> penpal_local_api::error::ApiError {
    use penpal_local_api::error::{ApiError, ErrorCode};
    if matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) {
        return ApiError::new(ErrorCode::DiskFull, format!("no space is left for {}", path.display()));
    }
    let what = error.to_string();
    // The number behind it helps nobody.
    bad_file(path, what.split(" (os error").next().unwrap_or(&what))
}
