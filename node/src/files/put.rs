//! Copies a file in: a snapshot whose hash is fixed before anybody hears of it.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use penpal_local_api::artifact::{Put, PutRequest, hash_text};
use penpal_local_api::caller::Caller;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::methods::{ArtifactPut, Status};
use penpal_local_api::status::StatusRequest;
use penpal_protocol::ids::Hash;

use super::shelf::private_folder;
use super::{BLOCK_BYTES, OnProgress, bad_file, failed, safe_name};
use crate::interrupt;
use crate::launch::Node;

/// Puts a file on the node's shelf. The node keeps the copy, whatever becomes of the file.
///
/// # Errors
/// The file cannot be read, is none, or changes meanwhile; the disk is full; and the node's.
pub(crate) fn put(
    node: &Node,
    path: &Path,
    caller: &Caller,
    progress: OnProgress<'_>,
) -> Result<Put, ApiError> {
    // Without this flag a pipe that nobody writes to would be waited for.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let mut source = opened.map_err(|error| failed(path, &error))?;
    let before = source.metadata().map_err(|error| failed(path, &error))?;
    if !before.is_file() {
        return Err(bad_file(path, "not a plain file"));
    }
    // Starts the node before anything is copied, and makes its home.
    node.call::<Status>(&StatusRequest { caller: caller.clone() })?;
    let copy = Incoming::begin(node)?;
    let (hash, bytes) = copy.fill(path, &mut source, progress)?;
    let after = source.metadata().map_err(|error| failed(path, &error))?;
    if changed(&before, &after) || bytes != before.len() {
        return Err(bad_file(path, "it changed while it was read").hint("try again when nobody writes to it"));
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let request = PutRequest {
        caller: caller.clone(),
        incoming: copy.name.clone(),
        hash: hash_text(&hash),
        bytes,
        name: safe_name(&name),
    };
    node.call::<ArtifactPut>(&request)
}

fn changed(before: &Metadata, after: &Metadata) -> bool {
    let of = |found: &Metadata| (found.len(), found.mtime(), found.mtime_nsec(), found.ino());
    of(before) != of(after)
}

/// A copy on its way in; removed when dropped, unless the node took it.
struct Incoming {
    path: PathBuf,
    name: String,
}

impl Incoming {
    fn begin(node: &Node) -> Result<Self, ApiError> {
        let folder = node.home().incoming();
        let unusable = |error: &std::io::Error| {
            let denied = [std::io::ErrorKind::PermissionDenied, std::io::ErrorKind::ReadOnlyFilesystem];
            if denied.contains(&error.kind()) {
                return ApiError::new(ErrorCode::Sandboxed, format!("cannot write {}", folder.display()));
            }
            failed(&folder, error)
        };
        private_folder(&folder).map_err(|error| unusable(&error))?;
        let number = getrandom::u64().map_err(|error| bad_file(&folder, &error.to_string()))?;
        let name = format!("{number:016x}");
        let path = folder.join(&name);
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        made.map_err(|error| unusable(&error))?;
        Ok(Self { path, name })
    }

    fn fill(
        &self,
        from: &Path,
        source: &mut File,
        progress: OnProgress<'_>,
    ) -> Result<(Hash, u64), ApiError> {
        let mut copy =
            OpenOptions::new().write(true).open(&self.path).map_err(|error| failed(&self.path, &error))?;
        let mut hasher = blake3::Hasher::new();
        let mut block = vec![0; BLOCK_BYTES];
        let mut bytes: u64 = 0;
        loop {
            let got = match source.read(&mut block) {
                Ok(got) => got,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(from, &error)),
            };
            let Some(part) = block.get(..got).filter(|part| !part.is_empty()) else { break };
            hasher.update(part);
            copy.write_all(part).map_err(|error| failed(&self.path, &error))?;
            bytes = bytes.saturating_add(u64::try_from(got).unwrap_or_default());
            progress(bytes);
            interrupt::check("nothing was kept or sent")?;
        }
        copy.sync_all().map_err(|error| failed(&self.path, &error))?;
        Ok((Hash::from_bytes(*hasher.finalize().as_bytes()), bytes))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // The node has taken it, or nobody will.
        let removed = std::fs::remove_file(&self.path);
        drop(removed);
    }
}
