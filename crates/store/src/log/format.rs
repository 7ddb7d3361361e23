//! The `format` file, which says that a folder is a store, of which version, and which log it holds.
//!
//! ```text
//! penpal-store
//! format 1
//! log 0123456789abcdef
//! segment 16777216
//! check 89abcdef
//! ```
//!
//! `check` is the CRC32C of the lines before it. It is written last when a store is created, so a
//! folder with this file has a log. Lines after `check` may be added by later versions.

use std::io;

use super::batch::LogId;
use super::layout::{FORMAT_FILE, MIN_SEGMENT_BYTES, SEGMENT_BYTES};
use crate::OpenError;
use crate::disk::Disk;

/// The format this code reads and writes.
pub(crate) const FORMAT: u32 = 1;

const NEW_FILE: &str = "format.new";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) log: LogId,
    pub(crate) segment_bytes: u64,
}

impl Format {
    fn encode(self) -> String {
        let body = format!(
            "penpal-store\nformat {FORMAT}\nlog {:016x}\nsegment {}\n",
            self.log.0, self.segment_bytes
        );
        let check = crc32c::crc32c(body.as_bytes());
        format!("{body}check {check:08x}\n")
    }

    pub(crate) fn parse(content: &[u8]) -> Result<Self, OpenError> {
        let bad =
            |detail: &str| OpenError::NotAStore { file: FORMAT_FILE.to_owned(), detail: detail.to_owned() };
        let text = std::str::from_utf8(content).map_err(|_| bad("it is not text"))?;
        let mut lines = text.lines();
        if lines.next() != Some("penpal-store") {
            return Err(bad("its first line is not `penpal-store`"));
        }
        let mut field = |name: &str| {
            let value = lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value.ok_or_else(|| bad(&format!("the line `{name}` is missing")))
        };
        // The version comes first: what follows may look different in another one.
        let found = field("format")?.parse().map_err(|_| bad("its version is not a number"))?;
        if found != FORMAT {
            return Err(OpenError::Version { found, supported: FORMAT });
        }
        let log =
            u64::from_str_radix(field("log")?, 16).map_err(|_| bad("the log's id is not hexadecimal"))?;
        let segment_bytes = field("segment")?.parse().map_err(|_| bad("the segment size is not a number"))?;
        let format = Self { log: LogId(log), segment_bytes };
        check_segment_bytes(segment_bytes)?;
        let check = field("check")?;
        if !format.encode().ends_with(&format!("check {check}\n")) {
            return Err(bad("its checksum does not hold"));
        }
        Ok(format)
    }

    /// Writes the file so that it is there completely or not at all.
    pub(crate) fn write(self, disk: &dyn Disk) -> io::Result<()> {
        disk.write_file(NEW_FILE, self.encode().as_bytes())?;
        disk.rename(NEW_FILE, FORMAT_FILE)?;
        disk.sync_dir()
    }
}

pub(crate) fn check_segment_bytes(bytes: u64) -> Result<(), OpenError> {
    if bytes.is_power_of_two() && (MIN_SEGMENT_BYTES..=SEGMENT_BYTES).contains(&bytes) {
        Ok(())
    } else {
        Err(OpenError::SegmentSize { bytes, min: MIN_SEGMENT_BYTES, max: SEGMENT_BYTES })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "penpal-store\nformat 1\nlog 0123456789abcdef\nsegment 16777216\ncheck 5ddfcc95\n";

    #[test]
    fn text_is_frozen() {
        let format = Format { log: LogId(0x0123_4567_89ab_cdef), segment_bytes: SEGMENT_BYTES };
        assert_eq!(format.encode(), SAMPLE);
        assert_eq!(Format::parse(SAMPLE.as_bytes()).unwrap(), format);
        let later = SAMPLE.to_owned() + "colour blue\n";
        assert_eq!(Format::parse(later.as_bytes()).unwrap(), format);
    }

    #[test]
    fn other_versions_are_named_and_damage_is_told() {
        let newer = SAMPLE.replace("format 1", "format 2");
        assert!(matches!(
            Format::parse(newer.as_bytes()),
            Err(OpenError::Version { found: 2, supported: FORMAT })
        ));
        for (from, to) in [("penpal", "sqlite"), ("log 0", "log 1"), ("check", "chk"), ("16777216", "65536")]
        {
            let text = SAMPLE.replace(from, to);
            assert!(matches!(Format::parse(text.as_bytes()), Err(OpenError::NotAStore { .. })), "{text}");
        }
        assert!(matches!(Format::parse(b"\xff"), Err(OpenError::NotAStore { .. })));
        for odd in [1000, 32_768, 100_000, 33_554_432] {
            let text = SAMPLE.replace("16777216", &odd.to_string());
            let refused = Format::parse(text.as_bytes());
            assert!(matches!(refused, Err(OpenError::SegmentSize { bytes, .. }) if bytes == odd), "{odd}");
        }
        for size in [MIN_SEGMENT_BYTES, SEGMENT_BYTES] {
            check_segment_bytes(size).unwrap();
        }
    }
}
