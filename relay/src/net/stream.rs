//! One stream of a client: its first frame says whether it is a request or carries deposits.

use std::sync::Arc;
use std::time::Duration;

use penpal_protocol::cbor::Text;
use penpal_protocol::limits::MAX_FRAME_BYTES;
use penpal_protocol::wire::{
    Answer, Deposit, FrameError, FrameKind, MAX_ANSWER_BYTES, Refusal, RefusalCode, Request,
};
use penpal_relay_core::ConnId;
use penpal_transport::{CloseCode, Connection, Frame, FrameReader, FrameWriter, Patience, ReadError};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::Common;
use super::outbox::{Deposits, Outbox};
use crate::engine::{Inbox, Input, Reply};

/// How long a stream's first frame may take. A client that trickles costs a stream of its own for so long.
const FIRST_FRAME_WAIT: Duration = Duration::from_secs(10);

/// How long an answer may lie unread. Answers of one node share its link, so what counts is that bytes go.
pub(crate) const ANSWER_PATIENCE: Patience =
    Patience { silence: Duration::from_secs(30), whole: Duration::from_secs(600) };

/// KiB of answers that one connection may have asked for and not taken: four of the largest. Whoever asks for more waits for itself.
pub(super) const MAX_ANSWERS_KIB: usize = 4 * MAX_ANSWER_BYTES / 1024;

/// Deposits of one connection that may be unanswered; beyond it its stream is not read.
const MAX_UNANSWERED: usize = 1_024;

/// Deposits handed to the engine together.
const BATCH_DEPOSITS: usize = 64;

/// Bytes of envelopes after which a batch is handed over.
const BATCH_BYTES: usize = 160 * 1024;

/// The engine has ended, so the connection must.
#[derive(Debug, Clone, Copy)]
pub(super) struct EngineGone;

/// What a stream's task needs.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) connection: Connection,
    pub(super) conn: ConnId,
    pub(super) inbox: Arc<Inbox>,
    /// Where a deposits stream's answering side goes.
    pub(super) outbox: Arc<Outbox>,
    pub(super) common: Arc<Common>,
    /// Room for the connection's parts of blobs.
    pub(super) parts: Arc<Semaphore>,
    /// Room for the connection's answers, in KiB.
    pub(super) answers: Arc<Semaphore>,
}

impl Stream {
    /// Serves the stream to its end.
    pub(super) async fn serve(
        self,
        mut writer: FrameWriter,
        mut reader: FrameReader,
    ) -> Result<(), EngineGone> {
        let first = match timeout(FIRST_FRAME_WAIT, reader.read()).await {
            Ok(Ok(Some(frame))) => frame,
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(_)) | Err(_) => {
                writer.reset(CloseCode::Violation);
                reader.stop(CloseCode::Violation);
                return Ok(());
            }
        };
        if first.kind == FrameKind::Deposit.number() {
            self.deposits(first, writer, reader).await
        } else if first.kind == FrameKind::GetKeyChain.number() && first.payload.is_empty() {
            if writer.push(FrameKind::KeyChain.number(), &self.common.chain).is_ok() {
                self.finish(writer).await;
            }
            Ok(())
        } else if first.kind == FrameKind::BlobPut.number() {
            self.blob_put(&first, writer, reader).await
        } else if first.kind == FrameKind::BlobGet.number() {
            self.blob_get(&first, writer).await
        } else {
            self.request(&first, writer).await
        }
    }

    async fn request(self, frame: &Frame, writer: FrameWriter) -> Result<(), EngineGone> {
        // Before it is asked: what the engine answers is in memory. Never closed.
        let Ok(_room) = self.answers.acquire_many(most_kib(frame.kind)).await else { return Ok(()) };
        if let Some(Reply::Answer(answer)) = self.ask(frame).await? {
            self.say(frame.kind, writer, answer).await;
        }
        Ok(())
    }

    /// Asks the engine. `None` when the machine has closed the connection: there is no answer.
    pub(super) async fn ask(&self, frame: &Frame) -> Result<Option<Reply>, EngineGone> {
        match Request::decode(frame.kind, &frame.payload) {
            Err(error) => {
                let answer = malformed(&error);
                self.common.metrics.answered(&answer);
                Ok(Some(Reply::Answer(answer)))
            }
            Ok(request) => {
                let (reply, answer) = oneshot::channel();
                let input = Input::Request { conn: self.conn, request, reply };
                self.inbox.send(input).await.map_err(|_| EngineGone)?;
                Ok(answer.await.ok())
            }
        }
    }

    /// Gives an answer that is not the engine's, and ends the stream.
    pub(super) async fn refuse(&self, asked: u8, writer: FrameWriter, code: RefusalCode) {
        let answer = Answer::refused(code);
        self.common.metrics.answered(&answer);
        self.say(asked, writer, answer).await;
    }

    /// Gives an answer, and ends the stream.
    pub(super) async fn say(&self, asked: u8, mut writer: FrameWriter, answer: Answer) {
        self.common.refusals.note(&self.connection, writer.stream(), asked, &answer);
        let frame = Frame::new(answer.kind().number(), answer.encode());
        drop(answer);
        if writer.push_frame(&frame).is_ok() {
            drop(frame);
            self.finish(writer).await;
        }
    }

    /// Ends a stream with what was said on it. A client that does not want its answer is its own affair, and keeps nothing here for it.
    async fn finish(&self, mut writer: FrameWriter) {
        if writer.finish_within(self.common.patience).await.is_err() {
            writer.reset(CloseCode::Busy);
        }
    }

    async fn deposits(
        self,
        first: Frame,
        writer: FrameWriter,
        mut reader: FrameReader,
    ) -> Result<(), EngineGone> {
        let unanswered = Arc::new(Semaphore::new(MAX_UNANSWERED));
        self.outbox.open_deposits(Deposits { writer, unanswered: Arc::clone(&unanswered) });
        let mut next = Some(first);
        while let Some(frame) = next.take() {
            let mut batch = Vec::new();
            let mut bytes = 0;
            let mut waiting = Some(frame);
            let mut broken = None;
            while let Some(frame) = waiting {
                bytes += frame.payload.len();
                match Deposit::decode(frame.kind, &frame.payload) {
                    Ok(deposit) => batch.push(deposit),
                    Err(error) => {
                        broken = Some(error.to_string());
                        break;
                    }
                }
                let full = batch.len() >= BATCH_DEPOSITS || bytes >= BATCH_BYTES;
                waiting = match reader.take_buffered() {
                    Ok(frame) if !full => frame,
                    Ok(frame) => {
                        self.hand_over(std::mem::take(&mut batch), &unanswered).await?;
                        bytes = 0;
                        frame
                    }
                    Err(error) => {
                        broken = Some(error.to_string());
                        None
                    }
                };
            }
            // What came before it is as good as ever.
            self.hand_over(batch, &unanswered).await?;
            if broken.is_none() {
                match reader.read().await {
                    Ok(frame) => next = frame,
                    Err(error @ ReadError::TooLarge { .. }) => broken = Some(error.to_string()),
                    // Ended by the client or the network.
                    Err(_) => return Ok(()),
                }
            }
            if let Some(error) = broken {
                self.violation(&error);
                return Ok(());
            }
        }
        Ok(())
    }

    async fn hand_over(&self, deposits: Vec<Deposit>, unanswered: &Semaphore) -> Result<(), EngineGone> {
        let count = u32::try_from(deposits.len()).unwrap_or(u32::MAX);
        if count == 0 {
            return Ok(());
        }
        match unanswered.acquire_many(count).await {
            Ok(permits) => permits.forget(),
            // Never closed while this task holds it.
            Err(_) => return Ok(()),
        }
        self.inbox.send(Input::Deposits { conn: self.conn, deposits }).await.map_err(|_| EngineGone)
    }

    /// Ends the connection of a client that sends what the protocol does not allow among deposits: nothing behind it can
    /// be trusted to be where it seems.
    fn violation(&self, error: &str) {
        tracing::debug!(conn = self.conn.0, error, "deposits stream broken");
        self.connection.close(CloseCode::Violation, "malformed frame on the deposits stream");
    }
}

/// How long the answer to a request may be, in KiB; nothing for those that are always short.
fn most_kib(asked: u8) -> u32 {
    let bytes = match FrameKind::from_number(asked) {
        Some(FrameKind::GetContactState) => MAX_ANSWER_BYTES,
        Some(FrameKind::InviteFetch | FrameKind::GetState) => MAX_FRAME_BYTES,
        Some(_) | None => 0,
    };
    u32::try_from(bytes / 1024).unwrap_or(u32::MAX)
}

fn malformed(error: &FrameError) -> Answer {
    let detail = Some(Text::truncated(&error.to_string()));
    Answer::Refused(Refusal { code: RefusalCode::Malformed, detail })
}
