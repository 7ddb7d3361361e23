//! A list of changes in a file, so that applying them in pieces can be finished after the process died.
//!
//! ```text
//! (key length u32 | key | 0  or  1, value length u32, value) … | CRC32C of all before
//! ```
//!
//! Little-endian. Never synced: it need not survive the machine, after whose stop the index is rebuilt.

use std::fs;
use std::io;
use std::path::Path;

/// A key and its new value, or `None` to delete it.
pub(super) type Change = (Vec<u8>, Option<Vec<u8>>);

/// Writes the file so that it is there completely or not at all.
pub(super) fn write(path: &Path, changes: &[Change]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(changes.len() * 64);
    for (key, value) in changes {
        put(&mut bytes, key);
        match value {
            None => bytes.push(0),
            Some(value) => {
                bytes.push(1);
                put(&mut bytes, value);
            }
        }
    }
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    let unfinished = path.with_extension("redo.new");
    fs::write(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, path)).inspect_err(|_| {
        // The error that matters is the one being returned.
        let _removed = fs::remove_file(&unfinished);
    })
}

/// Reads what [`write()`] wrote; `None` when there is nothing whole.
pub(super) fn read(path: &Path) -> Option<Vec<Change>> {
    let bytes = fs::read(path).ok()?;
    let (mut rest, crc) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(rest) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let key = take(&mut rest)?;
        let (present, after) = rest.split_first()?;
        rest = after;
        let value = if *present == 0 { None } else { Some(take(&mut rest)?) };
        changes.push((key, value));
    }
    Some(changes)
}

fn put(bytes: &mut Vec<u8>, field: &[u8]) {
    let len = u32::try_from(field.len()).expect("keys and values of the index are short");
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(field);
}

fn take(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let (len, after) = rest.split_first_chunk()?;
    let (field, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
    *rest = after;
    Some(field.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_damage_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("short.redo");
        let changes = vec![
            (b"key".to_vec(), Some(b"value".to_vec())),
            (b"gone".to_vec(), None),
            (Vec::new(), Some(Vec::new())),
        ];
        assert_eq!(read(&path), None);
        write(&path, &changes).unwrap();
        assert_eq!(read(&path), Some(changes));
        let whole = fs::read(&path).unwrap();
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            assert_eq!(read(&path), None, "{len} bytes");
        }
    }
}
