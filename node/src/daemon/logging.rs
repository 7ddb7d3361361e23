//! Where the node's log goes: its file, or standard error.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;

/// A log longer than this is put aside at start, in bytes. One earlier log is kept.
const MAX_LOG_BYTES: u64 = 4 * 1024 * 1024;

/// Begins logging what `filter` lets through, which was checked. Keys, texts and codes are logged at no level.
pub(super) fn begin(filter: &str, path: Option<&Path>) {
    let filter = EnvFilter::new(filter);
    // A line that cannot be written is lost; to say so on standard error could panic.
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_target(false).log_internal_errors(false);
    let set = if let Some(path) = path {
        match open(path) {
            Ok(file) => builder.with_ansi(false).with_writer(Mutex::new(file)).try_init(),
            // Without a log the node still works; doctor says that the file cannot be written.
            Err(_) => return,
        }
    } else {
        builder.with_writer(std::io::stderr).try_init()
    };
    // A second start in one process keeps the first log.
    drop(set);
}

fn open(path: &Path) -> std::io::Result<File> {
    if std::fs::metadata(path).is_ok_and(|found| found.len() > MAX_LOG_BYTES) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    File::options().create(true).append(true).mode(0o600).open(path)
}
