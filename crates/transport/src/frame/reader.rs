//! Frames out of a stream.

use bytes::Bytes;

use super::{Frame, FrameDecoder, TooLarge};
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
/// Holds at most one frame of the allowed size and 16 datagrams. A payload is copied into memory of
/// its own: a small frame kept for long must not keep a whole receive batch alive.
#[derive(Debug)]
pub struct FrameReader {
    stream: quinn::RecvStream,
    decoder: FrameDecoder,
    /// Received and not yet parsed, in order; the first `next` are used up.
    chunks: [Bytes; CHUNKS_PER_READ],
    next: usize,
    failed: bool,
}

impl FrameReader {
    pub(crate) fn new(stream: quinn::RecvStream, max_payload: u32) -> Self {
        Self {
            stream,
            decoder: FrameDecoder::new(max_payload),
            chunks: [const { Bytes::new() }; CHUNKS_PER_READ],
            next: CHUNKS_PER_READ,
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
                    return match self.decoder.unfinished() {
                        None => Ok(None),
                        Some((got, expected)) => Err(self.fail(ReadError::Truncated { got, expected })),
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
            match self.decoder.decode(chunk) {
                Ok(None) => {}
                Ok(Some(frame)) => return Ok(Some(frame)),
                Err(TooLarge { got, max }) => return Err(self.fail(ReadError::TooLarge { got, max })),
            }
        }
        Ok(None)
    }

    /// Changes the largest payload, for frames whose header has not been read yet.
    pub fn set_max_payload(&mut self, max_payload: u32) {
        self.decoder.set_max_payload(max_payload);
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
        self.decoder.reset();
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
