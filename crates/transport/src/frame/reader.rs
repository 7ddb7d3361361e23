//! Frames out of a stream.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::{Frame, FrameDecoder, Patience, TooLarge};
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
    /// The peer was silent, or slow, for longer than this side waits.
    #[error("nothing came for {waited:?}")]
    TimedOut {
        /// What passed.
        waited: Duration,
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
            if !self.receive().await? {
                return self.end();
            }
        }
    }

    /// As [`Self::read`], as long as bytes keep coming.
    ///
    /// # Errors
    /// [`ReadError::TimedOut`] too.
    pub async fn read_within(&mut self, patience: Patience) -> Result<Option<Frame>, ReadError> {
        let reading = async {
            loop {
                if let Some(frame) = self.take_buffered()? {
                    return Ok(Some(frame));
                }
                match timeout(patience.silence, self.receive()).await {
                    Ok(Ok(true)) => {}
                    Ok(Ok(false)) => return self.end(),
                    Ok(Err(error)) => return Err(error),
                    Err(_) => return Err(ReadError::TimedOut { waited: patience.silence }),
                }
            }
        };
        let read = timeout(patience.whole, reading).await;
        read.unwrap_or(Err(ReadError::TimedOut { waited: patience.whole }))
    }

    /// Waits until some of the next frame is here, for which no memory is taken yet; `false` is the clean end of the stream.
    ///
    /// # Errors
    /// As [`Self::read_within`].
    pub async fn begun(&mut self, patience: Patience) -> Result<bool, ReadError> {
        if self.failed {
            return Err(ReadError::Stopped);
        }
        let held =
            self.chunks.get(self.next..).is_some_and(|left| left.iter().any(|chunk| !chunk.is_empty()));
        if held || self.decoder.unfinished().is_some() {
            return Ok(true);
        }
        match timeout(patience.silence, self.receive()).await {
            Ok(come) => come,
            Err(_) => Err(ReadError::TimedOut { waited: patience.silence }),
        }
    }

    /// Waits for bytes; `false` when the stream has ended.
    async fn receive(&mut self) -> Result<bool, ReadError> {
        match self.stream.read_chunks(&mut self.chunks).await {
            Ok(Some(count)) => {
                self.accept_chunks(count);
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => Err(self.fail(error.into())),
        }
    }

    fn end(&mut self) -> Result<Option<Frame>, ReadError> {
        match self.decoder.unfinished() {
            None => Ok(None),
            Some((got, expected)) => Err(self.fail(ReadError::Truncated { got, expected })),
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
