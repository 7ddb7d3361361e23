//! Frames out of a stream.

use bytes::{Buf, Bytes};

use super::{FRAME_HEADER_BYTES, Frame};
use crate::close::{CloseCode, Lost};

/// Most chunks taken from QUIC in one call; each is at most one datagram's worth of stream data.
const CHUNKS_PER_READ: usize = 16;

/// Why no further frame can be read, sorted by blame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The peer announced a frame larger than this stream may carry. Nothing was allocated for it.
    #[error("frame of {got} bytes where at most {max} are allowed")]
    TooLarge {
        /// Payload length announced.
        got: u32,
        /// Largest allowed here.
        max: u32,
    },
    /// The peer ended the stream in the middle of a frame.
    #[error("stream ended inside a frame: {got} of {expected} bytes")]
    Truncated {
        /// Bytes of the frame that came, header included.
        got: usize,
        /// Bytes that the frame has, header included, as far as is known.
        expected: usize,
    },
    /// The peer abandoned the stream.
    #[error("stream reset by peer: {code:?}")]
    Reset {
        /// The peer's reason.
        code: CloseCode,
    },
    /// The connection is gone.
    #[error("connection lost")]
    Lost(#[source] Lost),
    /// This side stopped the stream, or an earlier error ended it.
    #[error("stream is no longer readable")]
    Stopped,
}

/// Reads frames from one stream.
///
/// Holds at most one frame of the allowed size and [`CHUNKS_PER_READ`] datagrams. A payload is copied into memory of
/// its own: a small frame kept for long must not keep a whole receive batch alive.
#[derive(Debug)]
pub struct FrameReader {
    stream: quinn::RecvStream,
    max_payload: u32,
    /// Received and not yet parsed, in order; the first `next` are used up.
    chunks: [Bytes; CHUNKS_PER_READ],
    next: usize,
    partial: Partial,
    failed: bool,
}

/// The frame being put together.
#[derive(Debug)]
enum Partial {
    Header { bytes: [u8; FRAME_HEADER_BYTES], filled: usize },
    Payload { kind: u8, expected: usize, bytes: Vec<u8> },
}

impl Partial {
    const NOTHING: Self = Self::Header { bytes: [0; FRAME_HEADER_BYTES], filled: 0 };

    fn truncated(&self) -> Option<ReadError> {
        match self {
            Self::Header { filled: 0, .. } => None,
            Self::Header { filled, .. } => {
                Some(ReadError::Truncated { got: *filled, expected: FRAME_HEADER_BYTES })
            }
            Self::Payload { expected, bytes, .. } => Some(ReadError::Truncated {
                got: FRAME_HEADER_BYTES + bytes.len(),
                expected: FRAME_HEADER_BYTES + expected,
            }),
        }
    }
}

impl FrameReader {
    pub(crate) fn new(stream: quinn::RecvStream, max_payload: u32) -> Self {
        Self {
            stream,
            max_payload,
            chunks: [const { Bytes::new() }; CHUNKS_PER_READ],
            next: CHUNKS_PER_READ,
            partial: Partial::NOTHING,
            failed: false,
        }
    }

    /// Waits for the next frame; `None` is the clean end of the stream.
    ///
    /// Cancel-safe: a dropped call loses nothing, the next one goes on where it stopped. After an error every further
    /// call fails.
    pub async fn read(&mut self) -> Result<Option<Frame>, ReadError> {
        loop {
            if let Some(frame) = self.take_buffered()? {
                return Ok(Some(frame));
            }
            match self.stream.read_chunks(&mut self.chunks).await {
                Ok(Some(count)) => self.accept_chunks(count),
                Ok(None) => {
                    return match self.partial.truncated() {
                        None => Ok(None),
                        Some(error) => Err(self.fail(error)),
                    };
                }
                Err(error) => return Err(self.fail(error.into())),
            }
        }
    }

    /// Takes a further frame that has already been received whole, without waiting.
    ///
    /// After one [`Self::read`], drains what came with it, so that a batch can be handled together. `None` says
    /// nothing about the stream's end.
    pub fn take_buffered(&mut self) -> Result<Option<Frame>, ReadError> {
        if self.failed {
            return Err(ReadError::Stopped);
        }
        while let Some(chunk) = self.chunks.get_mut(self.next) {
            if chunk.is_empty() {
                *chunk = Bytes::new();
                self.next += 1;
                continue;
            }
            match advance(&mut self.partial, chunk, self.max_payload) {
                Ok(None) => {}
                Ok(Some(frame)) => return Ok(Some(frame)),
                Err(error) => return Err(self.fail(error)),
            }
        }
        Ok(None)
    }

    /// Changes the largest payload, for frames whose header has not been read yet.
    pub fn set_max_payload(&mut self, max_payload: u32) {
        self.max_payload = max_payload;
    }

    /// Tells the peer that nothing more will be read from this stream.
    pub fn stop(&mut self, code: CloseCode) {
        self.failed = true;
        self.discard();
        // An error means that the stream has already ended, which is what was wanted.
        self.stream.stop(code.varint()).ok();
    }

    /// `read_chunks` fills from the front, so the received chunks move to the end: `next..` is what is left.
    fn accept_chunks(&mut self, count: usize) {
        self.next = CHUNKS_PER_READ.saturating_sub(count);
        self.chunks.rotate_right(self.next);
    }

    fn discard(&mut self) {
        self.chunks = [const { Bytes::new() }; CHUNKS_PER_READ];
        self.next = CHUNKS_PER_READ;
        self.partial = Partial::NOTHING;
    }

    fn fail(&mut self, error: ReadError) -> ReadError {
        self.failed = true;
        self.discard();
        if matches!(error, ReadError::TooLarge { .. }) {
            self.stream.stop(CloseCode::Violation.varint()).ok();
        }
        error
    }
}

/// Moves bytes from `chunk` into the frame under construction; returns it once complete.
fn advance(partial: &mut Partial, chunk: &mut Bytes, max_payload: u32) -> Result<Option<Frame>, ReadError> {
    if let Partial::Header { bytes, filled } = partial {
        let wanted = &mut bytes[*filled..];
        let count = wanted.len().min(chunk.len());
        chunk.copy_to_slice(&mut wanted[..count]);
        *filled += count;
        if *filled < FRAME_HEADER_BYTES {
            return Ok(None);
        }
        let [a, b, c, d, kind] = *bytes;
        let announced = u32::from_be_bytes([a, b, c, d]);
        if announced > max_payload {
            return Err(ReadError::TooLarge { got: announced, max: max_payload });
        }
        // The peer's word is good for one datagram's memory; the rest grows as bytes really arrive.
        let expected = announced as usize;
        *partial =
            Partial::Payload { kind, expected, bytes: Vec::with_capacity(expected.min(FIRST_RESERVE)) };
    }
    match partial {
        Partial::Header { .. } => Ok(None),
        Partial::Payload { kind, expected, bytes } => {
            let count = (*expected - bytes.len()).min(chunk.len());
            if bytes.len() + count > bytes.capacity() {
                let doubled = bytes.capacity().max(count);
                bytes.reserve_exact(doubled.min(*expected - bytes.len()));
            }
            bytes.extend_from_slice(&chunk.split_to(count));
            if bytes.len() < *expected {
                return Ok(None);
            }
            let frame = Frame { kind: *kind, payload: Bytes::from(std::mem::take(bytes)) };
            *partial = Partial::NOTHING;
            Ok(Some(frame))
        }
    }
}

/// Memory given to a frame on the strength of its header alone; frames up to a small envelope need one allocation.
const FIRST_RESERVE: usize = 4 * 1024 + 256;

impl From<quinn::ReadError> for ReadError {
    fn from(error: quinn::ReadError) -> Self {
        match error {
            quinn::ReadError::Reset(code) => Self::Reset { code: CloseCode::from_number(code.into_inner()) },
            quinn::ReadError::ConnectionLost(lost) => Self::Lost(lost.into()),
            // The last two cannot happen: reads are ordered and 0-RTT is off.
            quinn::ReadError::ClosedStream
            | quinn::ReadError::IllegalOrderedRead
            | quinn::ReadError::ZeroRttRejected => Self::Stopped,
        }
    }
}
