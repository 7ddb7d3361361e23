//! Contents of artifacts, sealed in chunks, a part at a time: bytes only, never files or sockets.
//!
//! The construction is the STREAM of age: ChaCha20-Poly1305 under one key, the nonce an 11-byte counter of chunks and a byte that is 1 for
//! the last one. So a chunk that is altered, swapped, repeated or left out does not open, and neither does a blob that is cut. Any part
//! can be sealed and opened by itself, which is what resuming needs.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use penpal_protocol::blob::{
    BlobShape, CHUNK_BYTES, CHUNK_TAG_BYTES, PART_CHUNKS, PART_CONTENT_BYTES, padded_bytes,
};
use penpal_protocol::ids::{BlobId, Capability};

use crate::labels::KeyLabel;
use crate::primitives::derive;

/// A part cannot be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartError {
    /// There is no such part.
    #[error("the blob has {parts} parts, this is number {part}")]
    NoSuchPart {
        /// Its number, from 0.
        part: u32,
        /// Parts that there are.
        parts: u32,
    },
    /// It has another length than this part has.
    #[error("the part has {got} bytes, not {expected}")]
    Length {
        /// Length that it has.
        got: usize,
        /// Length that it must have.
        expected: usize,
    },
    /// It was altered, or belongs elsewhere.
    #[error("the part does not open")]
    Forged,
    /// It opens, and what stands where padding belongs is not padding: whoever sealed it did not follow the rules.
    #[error("the part is not padded with zeros")]
    Padding,
}

/// Seals and opens the parts of one blob.
pub struct BlobCipher {
    cipher: LessSafeKey,
    shape: BlobShape,
    content_bytes: u64,
    padded_bytes: u64,
}

impl std::fmt::Debug for BlobCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobCipher").field("shape", &self.shape).finish_non_exhaustive()
    }
}

impl BlobCipher {
    /// The cipher of a blob: `key` is the random file key, used for this blob and this content only. `None` for a content beyond
    /// [`penpal_protocol::blob::MAX_CONTENT_BYTES`].
    #[must_use]
    pub fn new(key: &Capability, blob: &BlobId, content_bytes: u64) -> Option<Self> {
        let stream = derive::<32>(key.expose(), blob.as_bytes(), KeyLabel::Artifact, &[]);
        Some(Self {
            cipher: LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &*stream).ok()?),
            shape: BlobShape::of_content(content_bytes)?,
            content_bytes,
            padded_bytes: padded_bytes(content_bytes)?,
        })
    }

    /// The blob's shape.
    #[must_use]
    pub fn shape(&self) -> BlobShape {
        self.shape
    }

    /// Where a part begins in the content, and how many bytes of content it holds: none where it is padding alone.
    ///
    /// # Errors
    /// [`PartError::NoSuchPart`].
    pub fn content_of(&self, part: u32) -> Result<(u64, usize), PartError> {
        let parts = self.shape.parts();
        if part >= parts {
            return Err(PartError::NoSuchPart { part, parts });
        }
        let begin = u64::from(part).saturating_mul(u64::try_from(PART_CONTENT_BYTES).unwrap_or(u64::MAX));
        let left = self.content_bytes.saturating_sub(begin);
        Ok((begin, usize::try_from(left).unwrap_or(usize::MAX).min(PART_CONTENT_BYTES)))
    }

    /// Seals a part of the content, which is as long as [`Self::content_of`] says, padding it.
    ///
    /// # Errors
    /// [`PartError::NoSuchPart`], [`PartError::Length`].
    pub fn seal_part(&self, part: u32, content: &[u8]) -> Result<Vec<u8>, PartError> {
        let (begin, expected) = self.content_of(part)?;
        if content.len() != expected {
            return Err(PartError::Length { got: content.len(), expected });
        }
        let (_, sealed_bytes) = self.sealed(part)?;
        let mut sealed = Vec::with_capacity(sealed_bytes);
        let mut at: usize = 0;
        for chunk in self.chunks(part) {
            let length = self.chunk_bytes(begin, at);
            let from = sealed.len();
            let text = content.get(at..).unwrap_or_default();
            sealed.extend_from_slice(text.get(..length).unwrap_or(text));
            sealed.resize(from.saturating_add(length), 0);
            let text = sealed.get_mut(from..).unwrap_or_default();
            let tag = self.cipher.seal_in_place_separate_tag(self.nonce(chunk), Aad::empty(), text);
            sealed.extend_from_slice(tag.map_err(|_| PartError::Forged)?.as_ref());
            at = at.saturating_add(length);
        }
        Ok(sealed)
    }

    /// Opens a part; gives its content without padding.
    ///
    /// # Errors
    /// [`PartError`].
    pub fn open_part(&self, part: u32, sealed: &[u8]) -> Result<Vec<u8>, PartError> {
        let (begin, content) = self.content_of(part)?;
        let (_, expected) = self.sealed(part)?;
        if sealed.len() != expected {
            return Err(PartError::Length { got: sealed.len(), expected });
        }
        let mut opened = vec![0; expected];
        let (mut from, mut to): (usize, usize) = (0, 0);
        for chunk in self.chunks(part) {
            let length = self.chunk_bytes(begin, to);
            let end = from.saturating_add(length);
            let after = end.saturating_add(CHUNK_TAG_BYTES);
            let (text, tag) = sealed.get(from..end).zip(sealed.get(end..after)).ok_or(PartError::Forged)?;
            let plain = opened.get_mut(to..to.saturating_add(length)).ok_or(PartError::Forged)?;
            self.cipher
                .open_separate_gather(self.nonce(chunk), Aad::empty(), text, tag, plain)
                .map_err(|_| PartError::Forged)?;
            (from, to) = (after, to.saturating_add(length));
        }
        let padding = opened.get(content..to).unwrap_or_default();
        if padding.iter().any(|byte| *byte != 0) {
            return Err(PartError::Padding);
        }
        opened.truncate(content);
        Ok(opened)
    }

    fn sealed(&self, part: u32) -> Result<(u64, usize), PartError> {
        self.shape.part(part).ok_or(PartError::NoSuchPart { part, parts: self.shape.parts() })
    }

    /// Numbers of the chunks of a part.
    fn chunks(&self, part: u32) -> std::ops::Range<u64> {
        let chunks = u64::try_from(PART_CHUNKS).unwrap_or(u64::MAX);
        let first = u64::from(part).saturating_mul(chunks);
        first..first.saturating_add(chunks).min(self.all_chunks())
    }

    fn all_chunks(&self) -> u64 {
        self.padded_bytes.div_ceil(u64::try_from(CHUNK_BYTES).unwrap_or(u64::MAX))
    }

    /// Length of the chunk that begins `at` bytes into a part that begins at `begin`, tag excluded.
    fn chunk_bytes(&self, begin: u64, at: usize) -> usize {
        let begin = begin.saturating_add(u64::try_from(at).unwrap_or(u64::MAX));
        let left = self.padded_bytes.saturating_sub(begin);
        usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES)
    }

    fn nonce(&self, chunk: u64) -> Nonce {
        let mut nonce = [0; 12];
        let last = chunk.saturating_add(1) == self.all_chunks();
        let counter = [0, 0, 0].into_iter().chain(chunk.to_be_bytes()).chain([u8::from(last)]);
        for (to, from) in nonce.iter_mut().zip(counter) {
            *to = from;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}
