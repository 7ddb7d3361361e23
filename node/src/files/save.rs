//! Writes a content where a person wants it: whole and verified, or not at all.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use penpal_local_api::artifact::{Got, parse_hash};
use penpal_local_api::error::{ApiError, ErrorCode};
use rustix::fs::OFlags;

use super::{BLOCK_BYTES, OnProgress, failed, safe_name};
use crate::interrupt;

/// Where a content goes.
#[derive(Debug, Clone)]
pub(crate) struct Save<'s> {
    /// A file, or a folder in which it gets its own name; the present folder when absent.
    pub(crate) output: Option<&'s Path>,
    /// Replaces a file that exists.
    pub(crate) force: bool,
    /// A name that is not given begins with the content's hash: nothing that a sender calls `CLAUDE.md` or `Makefile` then stands where a
    /// program looks for that name. For agents, who write wherever they work.
    pub(crate) marked: bool,
}

/// Digits of the hash before a marked name.
const MARK_DIGITS: usize = 8;

/// Digits of the target's name in the name of a file on its way.
const TARGET_DIGITS: usize = 8;

/// Names that are tried for a file on its way: others who clear away in the same moment may take one.
const TRIES: usize = 8;

/// How names of files on their way end.
const PART: &str = ".part";

/// Copies a content out and gives the path of the new file: mode 0600, never through a link, nothing replaced unless forced, and
/// visible under its name only after its hash was compared.
///
/// # Errors
/// [`ErrorCode::FileExists`], [`ErrorCode::ArtifactDamaged`], [`ErrorCode::DiskFull`], [`ErrorCode::BadFile`].
pub(crate) fn save(got: &Got, to: &Save<'_>, progress: OnProgress<'_>) -> Result<PathBuf, ApiError> {
    let target = target(got, to)?;
    let exists = std::fs::symlink_metadata(&target);
    if exists.is_ok() && !to.force {
        return Err(exists_already(&target));
    }
    if exists.is_ok_and(|found| found.is_dir()) {
        return Err(super::bad_file(&target, "is a folder"));
    }
    let Some(source) = got.path.as_deref().map(Path::new) else {
        return Err(ApiError::new(ErrorCode::UnknownArtifact, "the content is not here yet"));
    };
    let mut content = File::open(source).map_err(|error| failed(source, &error))?;
    let temporary = Temporary::beside(&target)?;
    temporary.fill(got, &mut content, progress)?;
    temporary.publish(&target, to.force)?;
    Ok(target)
}

fn target(got: &Got, to: &Save<'_>) -> Result<PathBuf, ApiError> {
    let mark: String = got.hash.chars().take(MARK_DIGITS).collect();
    let name = match safe_name(&got.name) {
        name if to.marked => format!("{mark}-{name}"),
        name => name,
    };
    let target = match to.output {
        None => PathBuf::from(name),
        Some(path) if path.is_dir() => path.join(name),
        Some(path) if path.as_os_str().as_encoded_bytes().ends_with(b"/") => {
            return Err(no_folder(path.components().as_path()));
        }
        Some(path) => path.to_owned(),
    };
    std::path::absolute(&target).map_err(|error| failed(&target, &error))
}

fn no_folder(path: &Path) -> ApiError {
    super::bad_file(path, "there is no such folder")
}

fn exists_already(target: &Path) -> ApiError {
    ApiError::new(ErrorCode::FileExists, format!("{} exists", target.display()))
}

/// How names of files on their way begin that are for one target.
fn part_prefix(target: &Path) -> String {
    let name = target.file_name().unwrap_or_default().as_encoded_bytes();
    let digest = blake3::hash(name).to_hex();
    format!(".penpal-{}-", digest.get(..TARGET_DIGITS).unwrap_or_default())
}

/// Removes what commands that were killed left of a target. What cannot be looked at stays.
fn remove_left(folder: &Path, of_target: &str) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_part = name.to_str().is_some_and(|name| name.starts_with(of_target) && name.ends_with(PART));
        if !is_part || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        // Never through a link, and no pipe is waited for.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let opened = OpenOptions::new().read(true).custom_flags(flags).open(entry.path());
        if opened.is_ok_and(|file| file.try_lock().is_ok() && std::fs::remove_file(entry.path()).is_ok()) {
            tracing::debug!("a file that was left on its way is removed");
        }
    }
}

/// A file that nobody sees yet; removed when dropped, unless it was published. It is locked for as long as somebody writes to it: what is not
/// was left behind by a `kill -9`, and goes when its target is written again.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    fn beside(target: &Path) -> Result<Self, ApiError> {
        let folder = target.parent().unwrap_or(Path::new("/"));
        if !folder.is_dir() {
            return Err(no_folder(folder));
        }
        let of_target = part_prefix(target);
        remove_left(folder, &of_target);
        for _ in 0..TRIES {
            let number = getrandom::u64().map_err(|error| super::bad_file(target, &error.to_string()))?;
            let path = folder.join(format!("{of_target}{number:016x}{PART}"));
            let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            let this = Self { file: made.map_err(|error| failed(target, &error))?, path };
            // Whoever clears away before it is locked may take it for left behind: then it is no more, or locked.
            let taken = matches!(this.file.try_lock(), Err(TryLockError::WouldBlock));
            if !taken && std::fs::symlink_metadata(&this.path).is_ok() {
                return Ok(this);
            }
        }
        Err(super::bad_file(target, "others write beside it at the same moment").hint("try again"))
    }

    fn fill(&self, got: &Got, content: &mut File, progress: OnProgress<'_>) -> Result<(), ApiError> {
        let wrong = || ApiError::new(ErrorCode::ArtifactDamaged, "the content is not what its hash says");
        let mut file = &self.file;
        let mut hasher = blake3::Hasher::new();
        let mut block = vec![0; BLOCK_BYTES];
        let mut bytes: u64 = 0;
        loop {
            let got = match content.read(&mut block) {
                Ok(got) => got,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(&self.path, &error)),
            };
            let Some(part) = block.get(..got).filter(|part| !part.is_empty()) else { break };
            hasher.update(part);
            file.write_all(part).map_err(|error| failed(&self.path, &error))?;
            bytes = bytes.saturating_add(u64::try_from(got).unwrap_or_default());
            progress(bytes);
            interrupt::check("nothing was written")?;
        }
        let expected = parse_hash(&got.hash).ok_or_else(wrong)?;
        if hasher.finalize().as_bytes() != expected.as_bytes() || bytes != got.bytes {
            return Err(wrong());
        }
        file.sync_all().map_err(|error| failed(&self.path, &error))
    }

    fn publish(&self, target: &Path, force: bool) -> Result<(), ApiError> {
        let published = if force {
            std::fs::rename(&self.path, target)
        } else {
            // A link fails where a name exists, on every file system that has links: nothing is replaced in between.
            std::fs::hard_link(&self.path, target)
        };
        match published {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(exists_already(target)),
            // A file system without links: the check before is all there is.
            Err(_) if !force && std::fs::symlink_metadata(target).is_err() => {
                std::fs::rename(&self.path, target).map_err(|error| failed(target, &error))
            }
            Err(error) => Err(failed(target, &error)),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Gone already when it was published by a rename.
        let removed = std::fs::remove_file(&self.path);
        drop(removed);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn got(folder: &Path, name: &str, text: &str) -> Got {
        let path = folder.join("content");
        fs::write(&path, text).unwrap();
        let hash = blake3::hash(b"text").to_hex().to_string();
        let path = Some(path.to_string_lossy().into_owned());
        Got { v: 1, hash, name: name.to_owned(), bytes: 4, path, here_bytes: 4, waits_for: None }
    }

    fn left(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_content_is_saved_under_a_safe_name_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        fs::create_dir(&out).unwrap();
        let to = Save { output: Some(&out), force: false, marked: false };
        let saved = save(&got(folder.path(), "../../.x\u{202e}y", "text"), &to, &mut |_| {}).unwrap();
        assert_eq!(saved, out.join("_xy"));
        assert_eq!(fs::metadata(&saved).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(left(&out), ["_xy"]);
    }

    #[test]
    fn a_marked_name_is_none_that_a_program_looks_for() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        fs::create_dir(&out).unwrap();
        let to = Save { output: Some(&out), force: false, marked: true };
        let content = got(folder.path(), "CLAUDE.md", "text");
        let saved = save(&content, &to, &mut |_| {}).unwrap();
        assert_eq!(saved, out.join(format!("{}-CLAUDE.md", &content.hash[..8])));
    }

    #[test]
    fn nothing_is_replaced_unless_forced_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (out, victim) = (folder.path().join("out"), folder.path().join("victim"));
        fs::write(&victim, "mine").unwrap();
        std::os::unix::fs::symlink(&victim, &out).unwrap();
        let content = got(folder.path(), "x", "text");
        let error = save(&content, &Save { output: Some(&out), force: false, marked: false }, &mut |_| {})
            .unwrap_err();
        assert_eq!(error.code, ErrorCode::FileExists);
        save(&content, &Save { output: Some(&out), force: true, marked: false }, &mut |_| {}).unwrap();
        assert_eq!((fs::read(&victim).unwrap(), fs::read(&out).unwrap()), (b"mine".into(), b"text".into()));
        assert!(!fs::symlink_metadata(&out).unwrap().is_symlink());
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let content = got(folder.path(), "x", "text");
        let missing = folder.path().join("missing");
        for out in [missing.join("x"), missing.join("")] {
            let to = Save { output: Some(&out), force: false, marked: false };
            let error = save(&content, &to, &mut |_| {}).unwrap_err();
            assert_eq!(error.message, format!("{}: there is no such folder", missing.display()));
        }
    }

    #[test]
    fn what_a_killed_command_left_goes_when_its_target_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        fs::create_dir(&out).unwrap();
        let [target, other] = ["x", "y"].map(|name| out.join(name));
        let moving = Temporary::beside(&target).unwrap();
        // As after a kill: there, and locked by nobody.
        for (number, target) in [(1, &target), (2, &target), (3, &other)] {
            fs::write(out.join(format!("{}{number:016x}.part", part_prefix(target))), "te").unwrap();
        }
        let link = out.join(format!("{}{:016x}.part", part_prefix(&target), 4));
        std::os::unix::fs::symlink(out.join("nowhere"), &link).unwrap();
        assert_eq!(left(&out).len(), 5);
        let to = Save { output: Some(&target), force: false, marked: false };
        save(&got(folder.path(), "x", "text"), &to, &mut |_| {}).unwrap();
        let there = left(&out);
        assert!(moving.path.exists(), "it is being written: {there:?}");
        assert!(link.is_symlink(), "that is none of ours: {there:?}");
        assert!(there.iter().any(|name| name.starts_with(&part_prefix(&other))), "of another: {there:?}");
        assert!(target.exists() && there.len() == 4, "{there:?}");
    }

    #[test]
    fn a_damaged_content_is_never_seen() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["texx", "tex", "textt", ""] {
            let content = got(folder.path(), "x", text);
            let out = folder.path().join("out");
            let error =
                save(&content, &Save { output: Some(&out), force: false, marked: false }, &mut |_| {})
                    .unwrap_err();
            assert_eq!(error.code, ErrorCode::ArtifactDamaged, "{text:?}");
            assert_eq!(left(folder.path()), ["content"]);
        }
    }
}
