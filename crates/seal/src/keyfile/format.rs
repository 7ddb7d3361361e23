//! The frame of a key file.
//!
//! ```text
//! magic "penpalkf" 8 | version 1 | file 1 | payload length 4 | payload (CBOR) | H("key-file" | all before) 32
//! ```

use std::path::Path;

use minicbor::{Decoder, Encoder};
use penpal_protocol::cbor::{self, CborError};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{KeyFile, KeyFileError};
use crate::{labels::HashLabel, primitives::hash};

const MAGIC: &[u8; 8] = b"penpalkf";
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 14;
const CHECKSUM_BYTES: usize = 32;

/// Longest payload, in bytes: half a million receive keys, far above what the key rule lets live.
pub(super) const MAX_PAYLOAD_BYTES: usize = 24 * 1024 * 1024;

/// Longest key file that is read into memory, in bytes.
pub(super) const MAX_FILE_BYTES: usize =
    MAX_PAYLOAD_BYTES.saturating_add(HEAD_BYTES).saturating_add(CHECKSUM_BYTES);

const fn number(file: KeyFile) -> u8 {
    match file {
        KeyFile::Identity => 1,
        KeyFile::Receive => 2,
    }
}

/// Puts a payload into its frame.
pub(super) fn frame(file: KeyFile, payload: &[u8]) -> Zeroizing<Vec<u8>> {
    let size = HEAD_BYTES.saturating_add(payload.len()).saturating_add(CHECKSUM_BYTES);
    let mut out = Zeroizing::new(Vec::with_capacity(size));
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[VERSION, number(file)]);
    let length = u32::try_from(payload.len()).expect("payloads are bounded by MAX_PAYLOAD_BYTES");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(payload);
    let checksum = hash(HashLabel::KeyFile, &[&out]);
    out.extend_from_slice(&checksum);
    out
}

/// Takes a payload out of its frame. `path` names the file in errors.
pub(super) fn unframe<'b>(file: KeyFile, bytes: &'b [u8], path: &Path) -> Result<&'b [u8], KeyFileError> {
    let foreign = || KeyFileError::Foreign { path: path.to_owned() };
    let torn = |expected| KeyFileError::Torn { path: path.to_owned(), expected, got: bytes.len() };
    if !bytes.starts_with(MAGIC) {
        let cut_in_magic = !bytes.is_empty() && MAGIC.starts_with(bytes);
        return Err(if cut_in_magic || bytes.is_empty() { torn(HEAD_BYTES) } else { foreign() });
    }
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or_else(|| torn(HEAD_BYTES))?;
    let [.., version, which, l0, l1, l2, l3] = *head;
    if version != VERSION {
        return Err(KeyFileError::Version { path: path.to_owned(), expected: VERSION, got: version });
    }
    if which != number(file) {
        return Err(foreign());
    }
    let length = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
    let expected = HEAD_BYTES.saturating_add(length).saturating_add(CHECKSUM_BYTES);
    if bytes.len() != expected {
        return Err(torn(expected));
    }
    let (payload, checksum) = rest.split_at_checked(length).ok_or_else(|| torn(expected))?;
    let (summed, _) =
        bytes.split_at_checked(HEAD_BYTES.saturating_add(length)).ok_or_else(|| torn(expected))?;
    if !bool::from(hash(HashLabel::KeyFile, &[summed]).ct_eq(checksum)) {
        return Err(KeyFileError::Damaged { path: path.to_owned() });
    }
    Ok(payload)
}

/// A payload under construction, in memory that is wiped.
///
/// The buffer is made large enough at once, so that growing leaves no copy behind.
pub(super) struct Payload {
    encoder: Encoder<Wiped>,
}

/// A buffer that minicbor writes to.
struct Wiped(Zeroizing<Vec<u8>>);

impl minicbor::encode::Write for Wiped {
    type Error = std::convert::Infallible;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

impl Payload {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { encoder: Encoder::new(Wiped(Zeroizing::new(Vec::with_capacity(bytes)))) }
    }

    pub(super) fn map(&mut self, entries: usize) -> &mut Self {
        self.write(|e| e.map(widen(entries)).map(|_| ()))
    }

    pub(super) fn array(&mut self, entries: usize) -> &mut Self {
        self.write(|e| e.array(widen(entries)).map(|_| ()))
    }

    pub(super) fn key(&mut self, key: u8) -> &mut Self {
        self.write(|e| e.u8(key).map(|_| ()))
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.write(|e| e.bytes(bytes).map(|_| ()))
    }

    pub(super) fn finish(self) -> Zeroizing<Vec<u8>> {
        self.encoder.into_writer().0
    }

    fn write(
        &mut self,
        write: impl FnOnce(&mut Encoder<Wiped>) -> Result<(), minicbor::encode::Error<std::convert::Infallible>>,
    ) -> &mut Self {
        write(&mut self.encoder).expect("memory takes what is written");
        self
    }
}

fn widen(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Checks the strict outer form and reads with `read`.
pub(super) fn read<'b, T>(
    payload: &'b [u8],
    path: &Path,
    read: impl FnOnce(&mut Decoder<'b>) -> Result<T, minicbor::decode::Error>,
) -> Result<T, KeyFileError> {
    let malformed = |source| KeyFileError::Malformed { path: path.to_owned(), source };
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(malformed(CborError::TooLong { max: MAX_PAYLOAD_BYTES, got: payload.len() }));
    }
    cbor::check(payload).map_err(malformed)?;
    read(&mut Decoder::new(payload)).map_err(|error| {
        malformed(CborError::Structure {
            offset: error.position().unwrap_or_default(),
            reason: error.to_string(),
        })
    })
}

/// A byte string of exactly `N` bytes.
pub(super) fn fixed<const N: usize>(d: &mut Decoder<'_>) -> Result<[u8; N], minicbor::decode::Error> {
    let at = d.position();
    d.bytes()?
        .try_into()
        .map_err(|_| minicbor::decode::Error::message("byte string has another length").at(at))
}

/// The length of a definite map or array.
pub(super) fn count(length: Option<u64>) -> Result<u64, minicbor::decode::Error> {
    length.ok_or_else(|| minicbor::decode::Error::message("no definite length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_that_is_too_long_is_refused_before_it_is_looked_at() {
        let read = |bytes: usize| {
            let payload = vec![0xff; bytes];
            match read(&payload, Path::new("receive.keys"), |_| Ok(())) {
                Err(KeyFileError::Malformed { source, .. }) => source,
                other => panic!("{other:?}"),
            }
        };
        let most = MAX_PAYLOAD_BYTES;
        assert_eq!(read(most + 1), CborError::TooLong { max: most, got: most + 1 });
        assert!(!matches!(read(most), CborError::TooLong { .. }));
    }
}
