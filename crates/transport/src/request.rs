//! One question and one answer on a stream of their own.

use std::time::Duration;

use tokio::time::timeout;

use crate::close::{CloseCode, Lost};
use crate::connection::Connection;
use crate::frame::{Frame, FrameReader, FrameWriter, ReadError, WriteError};

/// Why a request got no answer, sorted by blame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// What came back, or what was asked, is not one well-formed frame.
    #[error("peer did not send one well-formed frame")]
    Malformed(#[source] ReadError),
    /// The peer ended the stream without a frame.
    #[error("peer sent nothing on the stream")]
    Empty,
    /// The peer refused the stream itself.
    #[error("peer refused the request: {code:?}")]
    Refused {
        /// The peer's reason.
        code: CloseCode,
    },
    /// No answer in time; the request may or may not have been carried out.
    #[error("no answer within {waited:?}")]
    TimedOut {
        /// The deadline that passed.
        waited: Duration,
    },
    /// The connection is gone; the request may or may not have been carried out.
    #[error("connection lost")]
    Lost(#[source] Lost),
    /// The frame is too large to send.
    #[error("request cannot be written")]
    Misuse(#[source] WriteError),
}

impl From<ReadError> for RequestError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Lost(lost) => Self::Lost(lost),
            ReadError::Reset { code } => Self::Refused { code },
            ReadError::TimedOut { waited } => Self::TimedOut { waited },
            ReadError::TooLarge { .. } | ReadError::Truncated { .. } | ReadError::Stopped => {
                Self::Malformed(error)
            }
        }
    }
}

impl From<WriteError> for RequestError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Lost(lost) => Self::Lost(lost),
            WriteError::Stopped { code } => Self::Refused { code },
            WriteError::TimedOut { waited } => Self::TimedOut { waited },
            WriteError::Full { .. } | WriteError::TooLarge { .. } | WriteError::Finished => {
                Self::Misuse(error)
            }
        }
    }
}

impl From<Lost> for RequestError {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

impl Connection {
    /// Opens a stream, sends one frame, and waits for the one frame that answers it.
    ///
    /// `max_response` bounds the answer's payload in bytes; `wait` covers everything, also waiting for a free stream.
    /// Dropping the call abandons the stream.
    pub async fn request(
        &self,
        frame: &Frame,
        max_response: u32,
        wait: Duration,
    ) -> Result<Frame, RequestError> {
        self.request_with_name(frame, max_response, wait).await.map(|(answer, _)| answer)
    }

    /// The same, with the name of the exchange beside the answer: see [`Connection::exchange`].
    pub async fn request_with_name(
        &self,
        frame: &Frame,
        max_response: u32,
        wait: Duration,
    ) -> Result<(Frame, String), RequestError> {
        let exchange = async {
            let (mut writer, mut reader) = self.open_bi(max_response).await?;
            let stream = writer.stream();
            writer.push_frame(frame)?;
            // A peer may answer without having read everything: its refusal is in the answer, not in the write.
            match writer.finish().await {
                Ok(()) | Err(WriteError::Stopped { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            let answer = reader.read().await?.ok_or(RequestError::Empty)?;
            Ok((answer, self.exchange(stream)))
        };
        timeout(wait, exchange).await.unwrap_or(Err(RequestError::TimedOut { waited: wait }))
    }

    /// Accepts the next stream and reads the one request on it.
    ///
    /// The stream is waited for without limit, the request `wait` long. A server that serves several clients' requests
    /// at once calls [`Connection::accept_bi`] and gives [`read_request`](Responder::read_request) a task of its own.
    pub async fn accept_request(
        &self,
        max_request: u32,
        wait: Duration,
    ) -> Result<(Frame, Responder), RequestError> {
        let (writer, reader) = self.accept_bi(max_request).await?;
        Responder::read_request(writer, reader, wait).await
    }
}

/// The way back to whoever asked; dropped without an answer it resets the stream.
#[derive(Debug)]
pub struct Responder(FrameWriter);

impl Responder {
    /// Reads the one request on an accepted stream, `wait` long at most; a request that trickles is refused.
    pub async fn read_request(
        mut writer: FrameWriter,
        mut reader: FrameReader,
        wait: Duration,
    ) -> Result<(Frame, Self), RequestError> {
        let error = match timeout(wait, reader.read()).await {
            Ok(Ok(Some(frame))) => return Ok((frame, Self(writer))),
            Ok(Ok(None)) => RequestError::Empty,
            Ok(Err(error)) => error.into(),
            Err(_) => RequestError::TimedOut { waited: wait },
        };
        writer.reset(CloseCode::Violation);
        reader.stop(CloseCode::Violation);
        Err(error)
    }

    /// Sends the answer and ends the stream.
    pub async fn respond(mut self, frame: &Frame) -> Result<(), WriteError> {
        self.0.push_frame(frame)?;
        self.0.finish().await
    }

    /// Ends the stream with a code in place of an answer.
    pub fn refuse(mut self, code: CloseCode) {
        self.0.reset(code);
    }

    /// Takes the stream for an answer of several frames, to be ended with [`FrameWriter::finish`].
    pub fn into_writer(self) -> FrameWriter {
        self.0
    }
}
