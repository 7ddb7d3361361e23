//! A stream of bytes in one file, sealed under a passphrase: what an account is taken along in.
//!
//! ```text
//! "penpal export" 0 0 0 | version u8 = 1 | memory KiB u32 | passes u32 | lanes u8 | salt 16
//! chunk of 64 KiB | tag 16  …  last chunk, which may be shorter | tag 16
//! ```
//!
//! Big-endian. The key is Argon2id (RFC 9106) of the passphrase, then HKDF over the whole header, so that a changed header is a wrong
//! key. Chunks are the STREAM of age, as for [artifacts](crate::BlobCipher): one that is altered, swapped, repeated or left out does not
//! open, and a file that is cut is noticed. Nothing of a chunk is given out before it opened.

use std::io::{self, Read, Write};

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::KeyInit as _;
use chacha20poly1305::aead::{Aead as _, Payload};
use zeroize::Zeroizing;

use crate::labels::KeyLabel;
use crate::primitives::derive;

const MAGIC: &[u8; 16] = b"penpal export\0\0\0";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 42;
const CHUNK_BYTES: usize = 64 * 1024;
const TAG_BYTES: usize = 16;

/// Cost of a guess: the second choice of RFC 9106.
const COST: Cost = Cost { memory_kib: 64 * 1024, passes: 3, lanes: 4 };

/// What a file may ask for at most, so that no file can take all memory or last for hours.
const MOST: Cost = Cost { memory_kib: 1024 * 1024, passes: 16, lanes: 16 };

/// What turning a passphrase into a key costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u8,
}

/// An export cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// It does not begin as one.
    #[error("the file is no export of an account")]
    NotAnExport,
    /// Another version of this software wrote it.
    #[error("the export has version {found}, this version reads {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// Its header asks for more work than is reasonable.
    #[error("the header of the export is damaged")]
    Cost,
    /// Another passphrase, or the beginning was altered: the two cannot be told apart.
    #[error("the passphrase is wrong, or the file was altered or cut at its beginning")]
    Passphrase,
    /// A chunk does not open.
    #[error("the file was altered at byte {at}")]
    Altered {
        /// Where the chunk begins.
        at: u64,
    },
    /// The end is missing, or is another.
    #[error("the file was cut off, or altered at its end, which is at byte {at}")]
    Cut {
        /// Where it ends.
        at: u64,
    },
    /// The system said no.
    #[error("the file cannot be read")]
    Io(#[from] io::Error),
}

/// One key, and how many chunks went through it.
struct Chunks {
    cipher: ChaCha20Poly1305,
    next: u64,
}

impl Chunks {
    fn new(passphrase: &[u8], header: &[u8], salt: &[u8], cost: Cost) -> Option<Self> {
        let params = Params::new(cost.memory_kib, cost.passes, u32::from(cost.lanes), Some(32)).ok()?;
        let mut stretched = Zeroizing::new([0; 32]);
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon.hash_password_into(passphrase, salt, stretched.as_mut_slice()).ok()?;
        let key = derive::<32>(&*stretched, header, KeyLabel::Export, &[]);
        Some(Self { cipher: ChaCha20Poly1305::new(&(*key).into()), next: 0 })
    }

    fn nonce(&self, last: bool) -> [u8; 12] {
        let mut nonce = [0; 12];
        let counter = [0, 0, 0].into_iter().chain(self.next.to_be_bytes()).chain([u8::from(last)]);
        for (to, from) in nonce.iter_mut().zip(counter) {
            *to = from;
        }
        nonce
    }

    fn seal(&mut self, text: &[u8], last: bool) -> Option<Vec<u8>> {
        let sealed = self.cipher.encrypt(&self.nonce(last).into(), Payload { msg: text, aad: &[] }).ok()?;
        self.next = self.next.checked_add(1)?;
        Some(sealed)
    }

    fn open(&self, sealed: &[u8], last: bool) -> Option<Zeroizing<Vec<u8>>> {
        let opened = self.cipher.decrypt(&self.nonce(last).into(), Payload { msg: sealed, aad: &[] });
        opened.ok().map(Zeroizing::new)
    }
}

fn header(cost: Cost, salt: [u8; 16]) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.push(VERSION);
    header.extend_from_slice(&cost.memory_kib.to_be_bytes());
    header.extend_from_slice(&cost.passes.to_be_bytes());
    header.push(cost.lanes);
    header.extend_from_slice(&salt);
    header
}

/// Seals what is written to it. What was not [finished](Self::finish) does not open.
pub struct ExportSealer<W: Write> {
    out: W,
    chunks: Chunks,
    text: Zeroizing<Vec<u8>>,
}

impl<W: Write> std::fmt::Debug for ExportSealer<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExportSealer").field("chunks", &self.chunks.next).finish_non_exhaustive()
    }
}

impl<W: Write> ExportSealer<W> {
    /// Writes the header. `salt` is random, and another one for each file. Takes 64 MiB of memory for a moment.
    ///
    /// # Errors
    /// Those of `out`; a passphrase of 4 GiB.
    pub fn new(out: W, passphrase: &[u8], salt: [u8; 16]) -> io::Result<Self> {
        Self::with_cost(out, passphrase, salt, COST)
    }

    fn with_cost(mut out: W, passphrase: &[u8], salt: [u8; 16], cost: Cost) -> io::Result<Self> {
        let header = header(cost, salt);
        let chunks = Chunks::new(passphrase, &header, &salt, cost);
        let chunks = chunks.ok_or_else(|| io::Error::other("the passphrase cannot be used"))?;
        out.write_all(&header)?;
        Ok(Self { out, chunks, text: Zeroizing::new(Vec::with_capacity(CHUNK_BYTES)) })
    }

    /// Writes the last chunk.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.put(true)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn put(&mut self, last: bool) -> io::Result<()> {
        let sealed = self.chunks.seal(&self.text, last);
        let sealed = sealed.ok_or_else(|| io::Error::other("too much for one file"))?;
        self.out.write_all(&sealed)?;
        self.text.clear();
        Ok(())
    }
}

impl<W: Write> Write for ExportSealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk waits until something follows: the last one may be full as well.
        if self.text.len() >= CHUNK_BYTES {
            self.put(false)?;
        }
        let room = CHUNK_BYTES.saturating_sub(self.text.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.text.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives what was sealed, chunk by chunk. Errors of reading carry an [`ExportError`].
pub struct ExportOpener<R: Read> {
    input: R,
    chunks: Chunks,
    /// Sealed bytes that came with the present chunk and belong to the next.
    ahead: Vec<u8>,
    text: Zeroizing<Vec<u8>>,
    given: usize,
    /// Where the chunk begins that is opened next.
    at: u64,
    ended: bool,
}

impl<R: Read> std::fmt::Debug for ExportOpener<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExportOpener").field("at", &self.at).finish_non_exhaustive()
    }
}

impl<R: Read> ExportOpener<R> {
    /// Reads the header and the first chunk: a wrong passphrase is told here.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn new(mut input: R, passphrase: &[u8]) -> Result<Self, ExportError> {
        let mut header = Vec::new();
        input.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut header)?;
        let (cost, salt) = parse_header(&header)?;
        let chunks = Chunks::new(passphrase, &header, &salt, cost).ok_or(ExportError::Cost)?;
        let mut opener = Self {
            input,
            chunks,
            ahead: Vec::new(),
            text: Zeroizing::new(Vec::new()),
            given: 0,
            at: HEADER_BYTES as u64,
            ended: false,
        };
        if let Err(error) = opener.open_next() {
            let forged = matches!(error, ExportError::Altered { .. });
            return Err(if forged { ExportError::Passphrase } else { error });
        }
        Ok(opener)
    }

    /// Opens the next chunk. A byte is read beyond it, which tells whether it is the last.
    fn open_next(&mut self) -> Result<(), ExportError> {
        const FULL: usize = CHUNK_BYTES + TAG_BYTES;
        let mut sealed = std::mem::take(&mut self.ahead);
        let wanted = (FULL + 1).saturating_sub(sealed.len());
        self.input.by_ref().take(wanted as u64).read_to_end(&mut sealed)?;
        let last = sealed.len() <= FULL;
        if !last {
            self.ahead = sealed.split_off(FULL);
        }
        let end = self.at.saturating_add(sealed.len() as u64);
        match self.chunks.open(&sealed, last) {
            Some(text) => self.text = text,
            // It opens as one in the middle: what follows is missing.
            None if last && self.chunks.open(&sealed, false).is_some() => {
                return Err(ExportError::Cut { at: end });
            }
            None if last && self.at > HEADER_BYTES as u64 && sealed.len() < FULL => {
                return Err(ExportError::Cut { at: end });
            }
            None if sealed.len() < TAG_BYTES => return Err(ExportError::Cut { at: end }),
            None => return Err(ExportError::Altered { at: self.at }),
        }
        self.chunks.next = self.chunks.next.saturating_add(1);
        (self.given, self.at, self.ended) = (0, end, last);
        Ok(())
    }
}

impl<R: Read> Read for ExportOpener<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.given >= self.text.len() && !self.ended {
            self.open_next().map_err(|error| {
                if let ExportError::Io(error) = error {
                    error
                } else {
                    io::Error::new(io::ErrorKind::InvalidData, error)
                }
            })?;
        }
        let left = self.text.get(self.given..).unwrap_or_default();
        let length = left.len().min(out.len());
        for (to, from) in out.iter_mut().zip(left) {
            *to = *from;
        }
        self.given = self.given.saturating_add(length);
        Ok(length)
    }
}

fn parse_header(header: &[u8]) -> Result<(Cost, [u8; 16]), ExportError> {
    let Some((magic, rest)) = header.split_first_chunk::<16>() else { return Err(ExportError::NotAnExport) };
    if magic != MAGIC {
        return Err(ExportError::NotAnExport);
    }
    let cut = ExportError::Cut { at: header.len() as u64 };
    let Some(([version], rest)) = rest.split_first_chunk::<1>() else { return Err(cut) };
    if *version != VERSION {
        return Err(ExportError::Version { found: *version });
    }
    let Some((memory, rest)) = rest.split_first_chunk::<4>() else { return Err(cut) };
    let Some((passes, rest)) = rest.split_first_chunk::<4>() else { return Err(cut) };
    let Some(([lanes], rest)) = rest.split_first_chunk::<1>() else { return Err(cut) };
    let Some(salt) = rest.first_chunk::<16>() else { return Err(cut) };
    let cost =
        Cost { memory_kib: u32::from_be_bytes(*memory), passes: u32::from_be_bytes(*passes), lanes: *lanes };
    let fair = cost.memory_kib <= MOST.memory_kib && cost.passes <= MOST.passes && cost.lanes <= MOST.lanes;
    if fair { Ok((cost, *salt)) } else { Err(ExportError::Cost) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };

    fn sealed(passphrase: &str, text: &[u8]) -> Vec<u8> {
        let mut sealer = ExportSealer::with_cost(Vec::new(), passphrase.as_bytes(), [7; 16], QUICK).unwrap();
        for piece in text.chunks(10_000) {
            sealer.write_all(piece).unwrap();
        }
        sealer.finish().unwrap()
    }

    fn opened(passphrase: &str, sealed: &[u8]) -> Result<Vec<u8>, ExportError> {
        let mut text = Vec::new();
        let mut opener = ExportOpener::new(sealed, passphrase.as_bytes())?;
        opener.read_to_end(&mut text).map_err(|error| match error.downcast::<ExportError>() {
            Ok(error) => error,
            Err(error) => ExportError::Io(error),
        })?;
        Ok(text)
    }

    #[test]
    fn what_was_sealed_opens_with_the_passphrase_only() {
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 200_000] {
            let text: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let file = sealed("correct horse", &text);
            assert_eq!(opened("correct horse", &file).unwrap(), text, "{length}");
            assert!(matches!(opened("correct hors", &file), Err(ExportError::Passphrase)), "{length}");
        }
    }

    #[test]
    fn cut_anywhere_it_says_so() {
        let text = vec![3; 2 * CHUNK_BYTES + 100];
        let file = sealed("pass", &text);
        let chunk = CHUNK_BYTES + TAG_BYTES;
        for end in [HEADER_BYTES + chunk, HEADER_BYTES + 2 * chunk, HEADER_BYTES + chunk + 1, file.len() - 1]
        {
            let error = opened("pass", &file[..end]).unwrap_err();
            assert!(matches!(error, ExportError::Cut { at } if at == end as u64), "{end}: {error}");
        }
        for end in [16, 17, 30, 41] {
            assert!(matches!(opened("pass", &file[..end]), Err(ExportError::Cut { .. })), "{end}");
        }
        assert!(matches!(opened("pass", &file[..HEADER_BYTES]), Err(ExportError::Cut { .. })));
        assert!(matches!(opened("pass", &file[..15]), Err(ExportError::NotAnExport)));
    }

    #[test]
    fn altered_swapped_or_lengthened_it_says_so() {
        let text = vec![3; 3 * CHUNK_BYTES + 100];
        let file = sealed("pass", &text);
        let chunk = CHUNK_BYTES + TAG_BYTES;
        for at in [HEADER_BYTES + chunk + 5, HEADER_BYTES + 2 * chunk + CHUNK_BYTES, file.len() - 1] {
            let mut other = file.clone();
            other[at] ^= 1;
            let error = opened("pass", &other).unwrap_err();
            assert!(matches!(error, ExportError::Altered { .. } | ExportError::Cut { .. }), "{at}: {error}");
        }
        // A last chunk that is as long as any other is whole: it was altered, not cut.
        let mut other = sealed("pass", &text[..2 * CHUNK_BYTES]);
        *other.last_mut().unwrap() ^= 1;
        let begin = (HEADER_BYTES + chunk) as u64;
        assert!(matches!(opened("pass", &other), Err(ExportError::Altered { at }) if at == begin));
        let mut swapped = file.clone();
        let (first, second) = swapped[HEADER_BYTES..].split_at_mut(chunk);
        first.swap_with_slice(&mut second[..chunk]);
        assert!(matches!(opened("pass", &swapped), Err(ExportError::Passphrase)));
        let mut longer = file.clone();
        longer.push(0);
        opened("pass", &longer).unwrap_err();
        for at in 17..HEADER_BYTES {
            let mut other = file.clone();
            other[at] ^= 1;
            let error = opened("pass", &other).unwrap_err();
            assert!(matches!(error, ExportError::Passphrase | ExportError::Cost), "{at}: {error}");
        }
        let mut other = file.clone();
        other[16] = 2;
        assert!(matches!(opened("pass", &other), Err(ExportError::Version { found: 2 })));
        other[0] = b'P';
        assert!(matches!(opened("pass", &other), Err(ExportError::NotAnExport)));
    }

    /// In numbers, since everything else here counts in the constants that a change would change.
    #[test]
    fn a_chunk_is_64_kib() {
        assert_eq!(sealed("pass", &[3; 65_536]).len(), 42 + 65_536 + 16);
        assert_eq!(sealed("pass", &[3; 65_537]).len(), 42 + 65_537 + 2 * 16);
    }

    /// Bytes that every later version must open, with the cost that is used.
    #[test]
    fn bytes_are_frozen() {
        let mut sealer = ExportSealer::new(Vec::new(), b"correct horse battery staple", [9; 16]).unwrap();
        sealer.write_all(b"penpal").unwrap();
        let file = sealer.finish().unwrap();
        assert_eq!(hex::encode(&file), FROZEN);
        assert_eq!(opened("correct horse battery staple", &hex::decode(FROZEN).unwrap()).unwrap(), b"penpal");
    }

    const FROZEN: &str = "70656e70616c206578706f7274000000010001000000000003040909090909090909\
        09090909090909090c702bbf99412c7182ad8719ccdb6258539c705b078e";
}
