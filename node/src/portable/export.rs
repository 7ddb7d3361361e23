//! Writing an export.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::home::Home;
use penpal_seal::{ExportOpener, ExportSealer};

use super::still::Still;
use super::{archive, pieces, unreadable, unwritable};
use crate::interrupt;

/// What was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exported {
    /// Files of the home in it.
    pub(crate) files: u32,
    /// Length of the export.
    pub(crate) bytes: u64,
}

/// Told how many bytes were written or read again, and of how many.
pub(crate) type OnExport<'p> = &'p mut dyn FnMut(u64, u64);

/// Writes everything of a home's account into a new file, and reads it again. The node stands still meanwhile.
///
/// # Errors
/// [`ErrorCode::FileExists`], [`ErrorCode::DiskFull`], [`ErrorCode::HomeUnusable`], [`ErrorCode::Interrupted`]: there is no file then.
pub(crate) fn export(
    home: &Home,
    to: &Path,
    passphrase: &[u8],
    progress: OnExport<'_>,
) -> Result<Exported, ApiError> {
    if to.symlink_metadata().is_ok() {
        return Err(exists(to));
    }
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        let message = format!("{}: there is no such folder", folder.display());
        return Err(ApiError::new(ErrorCode::BadFile, message));
    }
    let still = Still::begin(home)?;
    let partial = partial(to);
    let written = write(home, &partial, passphrase, progress)
        .and_then(|exported| check(&partial, passphrase, exported.bytes, progress).map(|()| exported))
        .and_then(|exported| place(&partial, to).map(|()| exported));
    if written.is_err() {
        // What failed is told; a left-over is replaced by the next try.
        std::fs::remove_file(&partial).ok();
    }
    still.end();
    // However a step failed that was told to stop: that it was told is why.
    if written.is_err() {
        interrupt::check("nothing was written")?;
    }
    written
}

fn exists(to: &Path) -> ApiError {
    let message = format!("{} exists already; nothing was written", to.display());
    ApiError::new(ErrorCode::FileExists, message).hint("choose another name")
}

fn partial(to: &Path) -> PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    to.with_file_name(name)
}

/// A file that is written until somebody interrupts, and how far that is. Reading it again counts as much.
struct Watched<'p> {
    file: File,
    done: u64,
    total: u64,
    progress: OnExport<'p>,
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if interrupt::asked() {
            return Err(std::io::Error::other("interrupted"));
        }
        let taken = self.file.write(bytes)?;
        self.done = self.done.saturating_add(u64::try_from(taken).unwrap_or_default());
        (self.progress)(self.done, self.total.max(self.done).saturating_mul(2));
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

fn write(
    home: &Home,
    partial: &Path,
    passphrase: &[u8],
    progress: OnExport<'_>,
) -> Result<Exported, ApiError> {
    let failed = |error: std::io::Error| unwritable(partial, &error);
    let files = pieces::list(home.path()).map_err(|error| unwritable(home.path(), &error))?;
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)
        .map_err(|error| ApiError::new(ErrorCode::Internal, format!("no randomness: {error}")))?;
    // Somebody else's file or link of that name is never written to.
    match std::fs::remove_file(partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(partial);
    let total = archive::amount(&files).map_err(failed)?.bytes;
    let watched = Watched { file: file.map_err(failed)?, done: 0, total, progress };
    let mut sealer = ExportSealer::new(BufWriter::new(watched), passphrase, salt).map_err(failed)?;
    let amount = archive::write(&files, &mut sealer).map_err(failed)?;
    let mut out = sealer.finish().map_err(failed)?;
    out.flush().map_err(failed)?;
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?.file;
    file.sync_all().map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    Ok(Exported { files: amount.files, bytes })
}

/// Opens all of it again: a file that cannot be opened later would be worse than none.
fn check(partial: &Path, passphrase: &[u8], total: u64, progress: OnExport<'_>) -> Result<(), ApiError> {
    let file = File::open(partial).map_err(unreadable)?;
    let mut opener =
        ExportOpener::new(BufReader::new(file), passphrase).map_err(|error| super::bad(&error))?;
    let mut piece = vec![0; 64 * 1024];
    let mut done = total;
    loop {
        interrupt::check("nothing was written")?;
        let read = opener.read(&mut piece).map_err(unreadable)?;
        if read == 0 {
            return Ok(());
        }
        done = done.saturating_add(u64::try_from(read).unwrap_or_default());
        progress(done, total.saturating_mul(2));
    }
}

fn place(partial: &Path, to: &Path) -> Result<(), ApiError> {
    let failed = |error: std::io::Error| unwritable(to, &error);
    // A link takes no other file's place. Not every file system has them.
    match std::fs::hard_link(partial, to) {
        Ok(()) => std::fs::remove_file(partial).map_err(failed)?,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Err(exists(to)),
        Err(_) => std::fs::rename(partial, to).map_err(failed)?,
    }
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}
