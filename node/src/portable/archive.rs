//! Files one after the other in a stream.
//!
//! ```text
//! name length u16 | name | length u64 | stored u64 | stored bytes   … for each file, sorted by name
//! 0 u16 | files u32
//! ```
//!
//! Big-endian. What a file has beyond its stored bytes are zeros: segments of the log are allocated ahead.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use super::pieces;

/// Bytes moved at a time.
const STEP_BYTES: usize = 64 * 1024;

/// Longest file that is believed.
const MAX_FILE_BYTES: u64 = 1 << 40;

/// What went through.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) files: u32,
    pub(super) bytes: u64,
}

/// What [`write`] will write.
pub(super) fn amount(files: &[(String, std::path::PathBuf)]) -> io::Result<Amount> {
    let mut amount = Amount::default();
    for (name, path) in files {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        amount.files += 1;
        amount.bytes += if pieces::is_log(name) { used(&file, length)? } else { length };
    }
    Ok(amount)
}

/// Writes files with their names.
pub(super) fn write(files: &[(String, std::path::PathBuf)], out: &mut impl Write) -> io::Result<Amount> {
    let mut amount = Amount::default();
    for (name, path) in files {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let stored = if pieces::is_log(name) { used(&file, length)? } else { length };
        let named = u16::try_from(name.len()).map_err(|_| io::Error::other("a long name"))?;
        out.write_all(&named.to_be_bytes())?;
        out.write_all(name.as_bytes())?;
        out.write_all(&length.to_be_bytes())?;
        out.write_all(&stored.to_be_bytes())?;
        file.seek(SeekFrom::Start(0))?;
        let copied = io::copy(&mut file.take(stored), out)?;
        if copied != stored {
            return Err(io::Error::other(format!("{} became shorter", path.display())));
        }
        amount.files += 1;
        amount.bytes += stored;
    }
    out.write_all(&0_u16.to_be_bytes())?;
    out.write_all(&amount.files.to_be_bytes())?;
    Ok(amount)
}

/// Bytes of a file before the zeros at its end.
fn used(file: &File, length: u64) -> io::Result<u64> {
    let mut end = length;
    let mut buffer = vec![0; STEP_BYTES];
    while end > 0 {
        let begin = end.saturating_sub(STEP_BYTES as u64);
        let piece = usize::try_from(end - begin).unwrap_or(STEP_BYTES);
        let piece = buffer.get_mut(..piece).unwrap_or_default();
        file.read_exact_at(piece, begin)?;
        if let Some(last) = piece.iter().rposition(|byte| *byte != 0) {
            return Ok(begin + last as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

/// Reads files into a folder, each synced. Nothing is replaced, and no other names are taken than an export has.
pub(super) fn extract(input: &mut impl Read, into: &Path) -> io::Result<Amount> {
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("the export {what}"));
    let mut amount = Amount::default();
    let mut before = String::new();
    loop {
        let length = u16::from_be_bytes(bytes(input)?);
        if length == 0 {
            break;
        }
        let mut name = vec![0; usize::from(length)];
        input.read_exact(&mut name)?;
        let name = String::from_utf8(name).map_err(|_| damaged("holds a name that is no text"))?;
        if !pieces::is_piece(&name) || name <= before {
            return Err(damaged(&format!("holds {name:?}, which has no place in a home")));
        }
        let (length, stored) = (u64::from_be_bytes(bytes(input)?), u64::from_be_bytes(bytes(input)?));
        if stored > length || length > MAX_FILE_BYTES {
            return Err(damaged(&format!("says that {name} has {length} bytes, {stored} of them stored")));
        }
        extract_one(input, &into.join(&name), length, stored)?;
        amount.files += 1;
        amount.bytes += stored;
        before = name;
    }
    if u32::from_be_bytes(bytes(input)?) != amount.files || input.read(&mut [0])? != 0 {
        return Err(damaged("does not end as it should"));
    }
    Ok(amount)
}

fn bytes<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn extract_one(input: &mut impl Read, path: &Path, length: u64, stored: u64) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    if io::copy(&mut input.by_ref().take(stored), &mut file)? != stored {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // Written, not left out: a segment of the log is overwritten later, which must not need room.
    io::copy(&mut io::repeat(0).take(length - stored), &mut file)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_what_they_were_and_zeros_cost_nothing() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir_all(from.path().join("data/index")).unwrap();
        std::fs::create_dir_all(from.path().join("keys")).unwrap();
        let mut log = vec![0; 1_000_000];
        log[300_000] = 7;
        for (name, content) in [
            ("data/00000001.log", log.as_slice()),
            ("data/00000002.log", &[0; 70_000]),
            ("data/format", b"format"),
            ("data/lock", b""),
            ("data/index/db", b"not taken along"),
            ("keys/identity.key", b"secret\0\0"),
            ("relay-keys", b""),
            ("config.toml", b"stays"),
        ] {
            std::fs::write(from.path().join(name), content).unwrap();
        }
        let files = pieces::list(from.path()).unwrap();
        let mut stream = Vec::new();
        let written = write(&files, &mut stream).unwrap();
        assert_eq!(written, Amount { files: 5, bytes: 300_001 + 6 + 8 });
        assert!(stream.len() < 301_000);
        assert_eq!(extract(&mut stream.as_slice(), to.path()).unwrap(), written);
        for (name, path) in &files {
            assert_eq!(std::fs::read(path).unwrap(), std::fs::read(to.path().join(name)).unwrap(), "{name}");
        }
        assert_eq!(pieces::list(to.path()).unwrap().len(), files.len());
        // A second time there is something already.
        extract(&mut stream.as_slice(), to.path()).unwrap_err();
        let third = tempfile::tempdir().unwrap();
        for end in [1, 20, stream.len() - 1] {
            extract(&mut &stream[..end], &third.path().join(end.to_string())).unwrap_err();
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["../keys/x", "keys/../../x", "/etc/passwd", "config.toml", "keys/x/y"] {
            let mut stream = u16::try_from(name.len()).unwrap().to_be_bytes().to_vec();
            stream.extend_from_slice(name.as_bytes());
            stream.extend_from_slice(&[0; 16]);
            stream.extend_from_slice(&[0, 0, 0, 0, 0, 1]);
            let to = tempfile::tempdir().unwrap();
            let error = extract(&mut stream.as_slice(), to.path()).unwrap_err();
            assert!(error.to_string().contains("no place"), "{name}: {error}");
            assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 0);
        }
    }
}
