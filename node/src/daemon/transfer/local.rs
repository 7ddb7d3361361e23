//! This machine's side of a transfer: a content that is read, or a file that is put together.
//!
//! A download stands in `<blob>.part`, its parts in their places, and `<blob>.have`, a number for each part that is written. Both may have
//! been left by a process that was killed; what a power cut did to them shows when the hash of the whole is compared. Hashing goes along
//! behind the parts, and the disk is told now and then to take what is written, so that little is left to do after the last one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use penpal_protocol::blob::{BlobShape, PartSet};
use penpal_seal::{BlobCipher, PartError};
use penpal_transfer::Trouble;

use super::{Failed, TransferJob};
use crate::files::shelf::private_folder;

/// Parts that are written before the disk is told to take them.
const PARTS_A_SYNC: u32 = 32;

/// How far a download has come on this machine.
#[derive(Debug, Default)]
pub(super) struct Along {
    there: PartSet,
    /// Parts in front of everything else that are hashed.
    hashed: u32,
    hasher: blake3::Hasher,
    /// Parts written since the disk was told.
    unsynced: u32,
}

/// Left free for messages: a file can be fetched later.
const KEPT_FREE_BYTES: u64 = 16 * 1024 * 1024;

/// What a file system counts blocks of a file in, whatever its own are.
const BLOCK_BYTES: u64 = 512;

/// Longest list of parts that is read: many tries may have written parts twice.
const MAX_LIST_BYTES: u64 = 4 * 1024 * 1024;

fn cipher(job: &TransferJob) -> Result<BlobCipher, Failed> {
    let cipher = BlobCipher::new(&job.key, &job.blob, job.bytes);
    cipher.ok_or_else(|| Failed::new(Trouble::Refused, format!("no blob has {} bytes", job.bytes)))
}

/// The list beside a half-written file.
fn list(path: &Path) -> PathBuf {
    path.with_extension("have")
}

fn failed(what: &str, error: &io::Error) -> Failed {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Failed::new(Trouble::DiskFull, "the disk is full")
        }
        _ => Failed::new(Trouble::DiskFull, format!("{what}: {error}")),
    }
}

/// Reads a part of the content and seals it.
pub(super) fn seal(job: &TransferJob, part: u32) -> Result<Vec<u8>, Failed> {
    let gone = |error: &dyn std::fmt::Display| {
        Failed::new(Trouble::SourceGone, format!("the content cannot be read: {error}"))
    };
    let cipher = cipher(job)?;
    let (begin, length) = cipher.content_of(part).map_err(|error| gone(&error))?;
    let mut content = vec![0; length];
    let file = File::open(&job.path).map_err(|error| gone(&error))?;
    file.read_exact_at(&mut content, begin).map_err(|error| gone(&error))?;
    cipher.seal_part(part, &content).map_err(|error| gone(&error))
}

/// Which parts are written already; makes the file when there is none.
pub(super) fn open(job: &TransferJob, along: &Mutex<Along>) -> Result<PartSet, Failed> {
    let cannot = |error: &io::Error| failed("the file cannot be put together", error);
    let shape = BlobShape::of_content(job.bytes)
        .ok_or_else(|| Failed::new(Trouble::Refused, format!("no blob has {} bytes", job.bytes)))?;
    if let Some(folder) = job.path.parent() {
        private_folder(folder).map_err(|error| cannot(&error))?;
    }
    check_room(job).map_err(|error| cannot(&error))?;
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&job.path);
    let file = file.map_err(|error| cannot(&error))?;
    // A file with holes: what was only claimed takes no room.
    file.set_len(job.bytes).map_err(|error| cannot(&error))?;
    let list = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(list(&job.path));
    let mut written = Vec::new();
    list.and_then(|list| list.take(MAX_LIST_BYTES).read_to_end(&mut written))
        .map_err(|error| cannot(&error))?;
    let mut there = PartSet::default();
    // A number that was cut off is none.
    for number in written.as_chunks::<4>().0 {
        let part = u32::from_be_bytes(*number);
        if part < shape.parts() {
            there.insert(part);
        }
    }
    *lock(along) = Along { there: there.clone(), ..Along::default() };
    Ok(there)
}

/// Looks whether the rest of a content has room, so that a full disk is told before anything is fetched. Nothing is reserved: how long a
/// content is was only claimed, and perhaps there is none. Where it cannot be known, writing will tell.
fn check_room(job: &TransferJob) -> io::Result<()> {
    let Some(folder) = job.path.parent() else { return Ok(()) };
    let Ok(stat) = rustix::fs::statvfs(folder) else { return Ok(()) };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let here = std::fs::metadata(&job.path).map_or(0, |found| found.blocks().saturating_mul(BLOCK_BYTES));
    if has_room(free, job.bytes.saturating_sub(here)) {
        Ok(())
    } else {
        Err(io::ErrorKind::StorageFull.into())
    }
}

fn has_room(free: u64, needed: u64) -> bool {
    needed.saturating_add(KEPT_FREE_BYTES) <= free
}

fn lock(along: &Mutex<Along>) -> MutexGuard<'_, Along> {
    along.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens a part and writes its content into its place.
pub(super) fn store(job: &TransferJob, part: u32, sealed: &[u8], along: &Mutex<Along>) -> Result<(), Failed> {
    let cannot = |error: &io::Error| failed("a part cannot be written", error);
    let cipher = cipher(job)?;
    let damaged = |error: PartError| Failed::new(Trouble::Damaged, format!("part {part}: {error}"));
    let (begin, _) = cipher.content_of(part).map_err(damaged)?;
    let content = cipher.open_part(part, sealed).map_err(damaged)?;
    let file = OpenOptions::new().read(true).write(true).open(&job.path).map_err(|error| cannot(&error))?;
    file.write_all_at(&content, begin).map_err(|error| cannot(&error))?;
    // Not made anew: a file that was given up meanwhile leaves nothing.
    let list = OpenOptions::new().append(true).open(list(&job.path));
    list.and_then(|mut list| list.write_all(&part.to_be_bytes())).map_err(|error| cannot(&error))?;
    let is_sync_due = {
        let mut along = lock(along);
        along.there.insert(part);
        if along.hashed == part {
            along.hasher.update(&content);
            along.hashed += 1;
            hash_on(&cipher, &file, &mut along, false).map_err(|error| cannot(&error))?;
        }
        along.unsynced += 1;
        if along.unsynced >= PARTS_A_SYNC {
            along.unsynced = 0;
            true
        } else {
            false
        }
    };
    if is_sync_due {
        file.sync_data().map_err(|error| cannot(&error))?;
    }
    Ok(())
}

/// Hashes the parts after the hashed ones: up to the first that is not there, or all.
fn hash_on(cipher: &BlobCipher, file: &File, along: &mut Along, all: bool) -> io::Result<()> {
    let mut content = Vec::new();
    while all || along.there.contains(along.hashed) {
        let Ok((begin, length)) = cipher.content_of(along.hashed) else { break };
        content.resize(length, 0);
        file.read_exact_at(&mut content, begin)?;
        along.hasher.update(&content);
        along.hashed += 1;
    }
    Ok(())
}

/// Compares the hash of the whole. A wrong one is the end of the file: nothing of it can be trusted.
pub(super) fn finish(job: &TransferJob, along: &Mutex<Along>) -> Result<(), Failed> {
    let cannot = |error: &io::Error| failed("the file cannot be read", error);
    let file = File::open(&job.path).map_err(|error| cannot(&error))?;
    let hash = {
        let mut along = lock(along);
        hash_on(&cipher(job)?, &file, &mut along, true).map_err(|error| cannot(&error))?;
        along.hasher.finalize()
    };
    if hash.as_bytes() != job.hash.as_bytes() {
        discard(&job.path);
        return Err(Failed::new(Trouble::Damaged, "the content is not what its hash says"));
    }
    file.sync_all().map_err(|error| cannot(&error))?;
    // Read again after a crash it would name parts of a file that was moved away.
    forget(&list(&job.path));
    Ok(())
}

/// Removes a half-written file.
fn discard(path: &Path) {
    forget(&list(path));
    forget(path);
}

fn forget(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "a half-written file stays");
        }
        Ok(()) | Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use penpal_protocol::blob::PART_CONTENT_BYTES;
    use penpal_protocol::ids::{BlobId, Capability, Hash};
    use penpal_transfer::Direction;

    use super::*;

    fn job(folder: &Path, content: &[u8], direction: Direction, name: &str) -> TransferJob {
        TransferJob {
            blob: BlobId::from_bytes([1; 16]),
            direction,
            relay: "penpal://127.0.0.1:1/0000000000000000000000000".parse().unwrap_or_else(|_| address()),
            identity: penpal_transport::TransportKey::from_seed(&[1; 32]),
            token: Capability::from_bytes([2; 32]),
            key: Capability::from_bytes([3; 32]),
            hash: Hash::from_bytes(*blake3::hash(content).as_bytes()),
            bytes: u64::try_from(content.len()).unwrap(),
            expires_ms: 0,
            path: folder.join(name),
        }
    }

    fn address() -> penpal_protocol::text::RelayAddress {
        let pin = penpal_protocol::ids::RelayPin::from_bytes([0; 16]);
        let at =
            penpal_protocol::text::HostPort { host: std::net::IpAddr::from([127, 0, 0, 1]).into(), port: 1 };
        penpal_protocol::text::RelayAddress { at, pin }
    }

    #[test]
    fn a_content_arrives_in_any_order_and_after_any_interruption() {
        let folder = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..2 * PART_CONTENT_BYTES + 77).map(|at| (at * 31 % 251) as u8).collect();
        std::fs::write(folder.path().join("source"), &content).unwrap();
        let (from, to) = (
            job(folder.path(), &content, Direction::Up, "source"),
            job(folder.path(), &content, Direction::Down, "x.part"),
        );
        let along = Mutex::default();
        assert!(open(&to, &along).unwrap().is_empty());
        for part in [2, 0] {
            store(&to, part, &seal(&from, part).unwrap(), &along).unwrap();
        }
        // Killed in the middle of a number.
        let mut have = OpenOptions::new().append(true).open(list(&to.path)).unwrap();
        have.write_all(&[0, 0]).unwrap();
        let along = Mutex::default();
        let there = open(&to, &along).unwrap();
        assert_eq!([0, 1, 2].map(|part| there.contains(part)), [true, false, true]);
        let mut altered = seal(&from, 1).unwrap();
        altered[5] ^= 1;
        assert_eq!(store(&to, 1, &altered, &along).unwrap_err().trouble, Trouble::Damaged);
        assert_eq!(store(&to, 1, &seal(&from, 0).unwrap(), &along).unwrap_err().trouble, Trouble::Damaged);
        store(&to, 1, &seal(&from, 1).unwrap(), &along).unwrap();
        finish(&to, &along).unwrap();
        assert!(std::fs::read(&to.path).unwrap() == content && !list(&to.path).exists());
    }

    #[test]
    fn a_length_that_was_only_claimed_takes_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let claimed = |bytes| TransferJob { bytes, ..job(folder.path(), b"", Direction::Down, "x.part") };
        open(&claimed(64 * 1024 * 1024), &Mutex::default()).unwrap();
        let found = std::fs::metadata(folder.path().join("x.part")).unwrap();
        assert_eq!((found.len(), found.blocks()), (64 * 1024 * 1024, 0));
        std::fs::remove_file(folder.path().join("x.part")).unwrap();
        std::fs::remove_file(folder.path().join("x.have")).unwrap();
        let stat = rustix::fs::statvfs(folder.path()).unwrap();
        let beyond = stat.f_blocks * stat.f_frsize;
        if beyond < penpal_protocol::blob::MAX_CONTENT_BYTES {
            let failed = open(&claimed(beyond), &Mutex::default()).unwrap_err();
            assert_eq!(failed.trouble, Trouble::DiskFull);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
        assert!(has_room(KEPT_FREE_BYTES + 7, 7) && !has_room(KEPT_FREE_BYTES + 7, 8));
        assert!(!has_room(u64::MAX - 1, u64::MAX));
    }

    #[test]
    fn what_is_not_the_content_is_thrown_away() {
        let folder = tempfile::tempdir().unwrap();
        let to = job(folder.path(), b"text", Direction::Down, "x.part");
        let along = Mutex::default();
        open(&to, &along).unwrap();
        std::fs::write(&to.path, "texx").unwrap();
        assert_eq!(finish(&to, &along).unwrap_err().trouble, Trouble::Damaged);
        assert!(!to.path.exists());
        let gone = job(folder.path(), b"text", Direction::Up, "absent");
        assert_eq!(seal(&gone, 0).unwrap_err().trouble, Trouble::SourceGone);
    }
}
