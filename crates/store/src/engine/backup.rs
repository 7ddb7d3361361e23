//! A consistent copy while the store goes on: segments only ever grow, and open files stay readable
//! when they are unlinked.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use super::LogStore;
use crate::disk::{DiskFile, RealDisk};
use crate::log::format::Format;
use crate::log::layout::{SegmentNo, segment_name};
use crate::{Backup, BackupError, BackupReport, LogPosition, Progress, ReadError, Task};

/// Bytes copied in one step.
const STEP_BYTES: usize = 1024 * 1024;

/// Files that together are the log as of one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    format: Format,
    position: LogPosition,
    segments: Vec<Part>,
    /// Keeps files from being written over.
    _reading: Arc<()>,
}

#[derive(Debug)]
struct Part {
    segment: SegmentNo,
    file: Arc<dyn DiskFile>,
    bytes: u64,
}

impl LogStore {
    pub(super) fn snapshot(&self) -> Result<Snapshot, ReadError> {
        let end = self.writer.end();
        let mut segments = Vec::new();
        for segment in self.segments.existing().iter().copied() {
            let bytes = match segment.cmp(&end.segment) {
                std::cmp::Ordering::Less => self.segments.segment_bytes(),
                std::cmp::Ordering::Equal => u64::from(end.offset),
                // Active, but nothing is in it yet: recovery makes it anew.
                std::cmp::Ordering::Greater => continue,
            };
            let file = self.segments.file(segment).map_err(|source| ReadError::Io {
                action: "open",
                file: segment_name(segment),
                source,
            })?;
            segments.push(Part { segment, file, bytes });
        }
        let format = Format { log: self.log, segment_bytes: self.segments.segment_bytes() };
        let position = LogPosition { log: self.log.0, commit: self.writer.last_number() };
        Ok(Snapshot { format, position, segments, _reading: self.segments.reading() })
    }
}

/// Creates an empty folder for a backup, mode 0700; an existing one must be empty.
pub(crate) fn create_target(dir: &Path) -> Result<(), BackupError> {
    let failed = |action| move |source| BackupError::Io { action, path: dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("create"))?;
    let mut entries = fs::read_dir(dir).map_err(failed("list"))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(BackupError::NotEmpty { path: dir.to_owned() }),
    }
}

impl Backup for Snapshot {
    fn write_to(
        self: Box<Self>,
        dir: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<BackupReport, BackupError> {
        create_target(dir)?;
        let total = self.segments.iter().map(|part| part.bytes).sum();
        let mut done = 0;
        for part in &self.segments {
            let name = segment_name(part.segment);
            copy(part, &dir.join(&name), |bytes| {
                done += bytes;
                progress(Progress { task: Task::Copy, done, total });
            })?;
        }
        let failed = |source| BackupError::Io { action: "write", path: dir.to_owned(), source };
        let disk = RealDisk::new(dir).map_err(failed)?;
        // Last: with it, the folder is a store.
        self.format.write(&disk).map_err(failed)?;
        File::open(dir.join("..")).and_then(|parent| parent.sync_all()).map_err(failed)?;
        Ok(BackupReport { position: self.position, bytes: done })
    }
}

fn copy(part: &Part, to: &Path, mut step: impl FnMut(u64)) -> Result<(), BackupError> {
    let failed = |source| BackupError::Io { action: "write", path: to.to_owned(), source };
    let target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(failed)?;
    let mut buffer = vec![0; STEP_BYTES];
    let mut at = 0;
    loop {
        let wanted = usize::try_from(part.bytes - at).unwrap_or(usize::MAX).min(STEP_BYTES);
        let piece = buffer.get_mut(..wanted).unwrap_or_default();
        let read = part.file.read_at(piece, at).map_err(|source| ReadError::Io {
            action: "read",
            file: segment_name(part.segment),
            source,
        })?;
        if read == 0 {
            break;
        }
        let piece = piece.get(..read).unwrap_or_default();
        target.write_all_at(piece, at).map_err(failed)?;
        at += read as u64;
        step(read as u64);
    }
    target.sync_all().map_err(failed)
}
