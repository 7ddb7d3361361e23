//! Frames into a stream.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::time::timeout;

use super::{FRAME_HEADER_BYTES, Frame, Patience, header};
use crate::close::{CloseCode, Lost};
use crate::limits::MAX_QUEUED;

/// Payloads up to this size are copied together into shared blocks; larger ones travel as they are.
const COPY_UP_TO: usize = 2 * 1024;

/// Size of such a block.
const BLOCK_BYTES: usize = 16 * 1024;

/// Chunks handed to QUIC in one call.
const CHUNKS_PER_WRITE: usize = 32;

/// Why a frame could not be written, sorted by blame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The peer reads no more of this stream.
    #[error("peer stopped reading: {code:?}")]
    Stopped {
        /// The peer's reason.
        code: CloseCode,
    },
    /// The peer took nothing, or too little, for longer than this side waits.
    #[error("nothing was taken for {waited:?}")]
    TimedOut {
        /// What passed.
        waited: Duration,
    },
    /// The connection is gone.
    #[error("connection lost")]
    Lost(#[source] Lost),
    /// So much waits unsent that this frame is refused: flush first, or drop the frame.
    #[error("{queued} bytes wait unsent, {max} are allowed")]
    Full {
        /// Bytes waiting.
        queued: usize,
        /// Bound of this writer.
        max: usize,
    },
    /// A frame's length does not fit its header.
    #[error("payload of {got} bytes does not fit a frame")]
    TooLarge {
        /// Payload length.
        got: usize,
    },
    /// The stream was finished or reset by this side.
    #[error("stream is finished")]
    Finished,
}

/// Writes frames to one stream, several per system call.
///
/// [`Self::push`] queues, [`Self::flush`] hands everything queued to QUIC. The queue is bounded: a full one refuses.
/// A writer dropped before [`Self::finish`] resets its stream, so that an abandoned stream never looks complete.
#[derive(Debug)]
pub struct FrameWriter {
    stream: quinn::SendStream,
    queue: VecDeque<Bytes>,
    /// Small frames, copied together; always younger than the queue.
    block: BytesMut,
    queued: usize,
    max_queued: usize,
    finished: bool,
}

impl FrameWriter {
    pub(crate) fn new(stream: quinn::SendStream) -> Self {
        Self {
            stream,
            queue: VecDeque::new(),
            block: BytesMut::new(),
            queued: 0,
            max_queued: MAX_QUEUED,
            finished: false,
        }
    }

    /// Number of the stream among those that its opener opened: both ends know it.
    #[must_use]
    pub fn stream(&self) -> u64 {
        self.stream.id().index()
    }

    /// Changes the bound of the queue in bytes, headers included; default [`MAX_QUEUED`].
    ///
    /// One frame is always taken by an empty queue, whatever its size.
    pub fn set_max_queued(&mut self, max_queued: usize) {
        self.max_queued = max_queued;
    }

    /// Bytes queued and not yet handed to QUIC.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Queues a frame made of borrowed bytes.
    pub fn push(&mut self, kind: u8, payload: &[u8]) -> Result<(), WriteError> {
        let head = self.admit(kind, payload.len())?;
        self.reserve(FRAME_HEADER_BYTES + payload.len());
        self.block.put_slice(&head);
        self.block.put_slice(payload);
        self.queued += FRAME_HEADER_BYTES + payload.len();
        Ok(())
    }

    /// Queues bytes that need not be frames, for peers that misbehave on purpose.
    pub fn push_raw_for_tests(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.block.put_slice(bytes);
        self.queued += bytes.len();
    }

    /// Queues a frame; a large payload is not copied.
    pub fn push_frame(&mut self, frame: &Frame) -> Result<(), WriteError> {
        if frame.payload.len() <= COPY_UP_TO {
            return self.push(frame.kind, &frame.payload);
        }
        let head = self.admit(frame.kind, frame.payload.len())?;
        self.reserve(FRAME_HEADER_BYTES);
        self.block.put_slice(&head);
        self.seal_block();
        self.queue.push_back(frame.payload.clone());
        self.queued += FRAME_HEADER_BYTES + frame.payload.len();
        Ok(())
    }

    /// Hands everything queued to QUIC, waiting while the peer's window or ours is full.
    ///
    /// Cancel-safe: what was not handed over stays queued, in order. Success does not mean that the peer has it.
    pub async fn flush(&mut self) -> Result<(), WriteError> {
        self.seal_block();
        while !self.queue.is_empty() {
            self.hand_some().await?;
        }
        Ok(())
    }

    async fn hand_some(&mut self) -> Result<(), WriteError> {
        let queue = self.queue.make_contiguous();
        let count = queue.len().min(CHUNKS_PER_WRITE);
        let written = self.stream.write_chunks(&mut queue[..count]).await?;
        self.queue.drain(..written.chunks);
        self.queued -= written.bytes;
        Ok(())
    }

    /// Queues one frame and flushes.
    ///
    /// If the call is dropped the frame may stay queued, never half sent.
    pub async fn send(&mut self, kind: u8, payload: &[u8]) -> Result<(), WriteError> {
        self.push(kind, payload)?;
        self.flush().await
    }

    /// Queues one frame and flushes, without copying a large payload.
    pub async fn send_frame(&mut self, frame: &Frame) -> Result<(), WriteError> {
        self.push_frame(frame)?;
        self.flush().await
    }

    /// Flushes and ends the stream; the peer reads the clean end after the last frame.
    pub async fn finish(&mut self) -> Result<(), WriteError> {
        if self.finished {
            return Err(WriteError::Finished);
        }
        self.flush().await?;
        self.finished = true;
        self.stream.finish().map_err(|_| WriteError::Finished)
    }

    /// As [`Self::finish`], as long as the peer keeps taking bytes.
    ///
    /// # Errors
    /// [`WriteError::TimedOut`] too.
    pub async fn finish_within(&mut self, patience: Patience) -> Result<(), WriteError> {
        self.seal_block();
        let writing = async {
            while !self.queue.is_empty() {
                let some = timeout(patience.silence, self.hand_some()).await;
                some.unwrap_or(Err(WriteError::TimedOut { waited: patience.silence }))?;
            }
            Ok(())
        };
        let written = timeout(patience.whole, writing).await;
        written.unwrap_or(Err(WriteError::TimedOut { waited: patience.whole }))?;
        self.finish().await
    }

    /// Waits until the peer has acknowledged everything after [`Self::finish`], or has stopped reading.
    pub async fn acknowledged(&mut self) -> Result<(), WriteError> {
        match self.stream.stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(WriteError::Stopped { code: CloseCode::from_number(code.into_inner()) }),
            Err(quinn::StoppedError::ConnectionLost(lost)) => Err(WriteError::Lost(lost.into())),
            // Cannot happen: 0-RTT is off.
            Err(quinn::StoppedError::ZeroRttRejected) => Err(WriteError::Finished),
        }
    }

    /// Abandons the stream: what is queued or unacknowledged is dropped.
    pub fn reset(&mut self, code: CloseCode) {
        self.finished = true;
        self.queue.clear();
        self.block.clear();
        self.queued = 0;
        // An error means that the stream has already ended, which is what was wanted.
        self.stream.reset(code.varint()).ok();
    }

    /// Sets what is sent first when several streams have data: higher goes first, default 0.
    pub fn set_priority(&self, priority: i32) {
        // An error means that the stream has ended and has nothing to order.
        self.stream.set_priority(priority).ok();
    }

    fn admit(&self, kind: u8, payload: usize) -> Result<[u8; FRAME_HEADER_BYTES], WriteError> {
        if self.finished {
            return Err(WriteError::Finished);
        }
        let head = header(kind, payload).ok_or(WriteError::TooLarge { got: payload })?;
        let fits = self.queued.saturating_add(payload).saturating_add(FRAME_HEADER_BYTES) <= self.max_queued;
        if self.queued > 0 && !fits {
            return Err(WriteError::Full { queued: self.queued, max: self.max_queued });
        }
        Ok(head)
    }

    /// Makes room for `bytes` more in the block, starting a new one when the present one is full.
    fn reserve(&mut self, bytes: usize) {
        if self.block.capacity() - self.block.len() < bytes {
            self.seal_block();
            let wanted = if self.queue.is_empty() { bytes } else { bytes.max(BLOCK_BYTES) };
            self.block.reserve(wanted);
        }
    }

    fn seal_block(&mut self) {
        if !self.block.is_empty() {
            self.queue.push_back(self.block.split().freeze());
        }
    }
}

impl Drop for FrameWriter {
    fn drop(&mut self) {
        if !self.finished {
            self.reset(CloseCode::Internal);
        }
    }
}

impl From<quinn::WriteError> for WriteError {
    fn from(error: quinn::WriteError) -> Self {
        match error {
            quinn::WriteError::Stopped(code) => {
                Self::Stopped { code: CloseCode::from_number(code.into_inner()) }
            }
            quinn::WriteError::ConnectionLost(lost) => Self::Lost(lost.into()),
            quinn::WriteError::ClosedStream | quinn::WriteError::ZeroRttRejected => Self::Finished,
        }
    }
}
