//! The relay's side of a transfer: a connection that is made when it is needed and made again when it ended.

use std::time::Duration;

use penpal_protocol::blob::{BlobShape, PART_BYTES, PartSet};
use penpal_protocol::cbor::encode;
use penpal_protocol::ids::BlobId;
use penpal_protocol::limits::MAX_FRAME_BYTES;
use penpal_protocol::wire::{Answer, BlobCreate, BlobGet, BlobPut, FrameKind, RefusalCode};
use penpal_transfer::Trouble;
use penpal_transport::{Connection, Frame, Patience, RequestError, Stalled};
use tokio::sync::Mutex;

use super::{Failed, TransferJob};
use crate::daemon::link::{LinkContext, Live, dial};

/// How long a part may take, waiting for a free stream included: as long as the connection moves, which parts share. Longer than the
/// relay's, which knows better what it waits for.
const PART_PATIENCE: Patience =
    Patience { silence: Duration::from_secs(60), whole: Duration::from_secs(15 * 60) };

/// How long the relay may take to say what it has.
const ASK_LIMIT: Duration = Duration::from_secs(20);

/// Largest frame with a part.
const PART_FRAME: u32 = {
    assert!(PART_BYTES < 1 << 24);
    PART_BYTES as u32
};

/// Largest other answer.
const ANSWER_FRAME: u32 = {
    assert!(MAX_FRAME_BYTES < 1 << 24);
    MAX_FRAME_BYTES as u32
};

/// A relay, for the transfers that go there.
#[derive(Debug)]
pub(super) struct Remote {
    /// `None` when no socket can be opened.
    context: Option<LinkContext>,
    live: Mutex<Option<Live>>,
}

impl Remote {
    pub(super) fn new(context: Option<LinkContext>) -> Self {
        Self { context, live: Mutex::new(None) }
    }

    /// The connection, made when there is none. Whoever comes meanwhile waits for the same dial.
    async fn connection(&self) -> Result<Connection, Failed> {
        let Some(context) = &self.context else { return Err(Failed::new(Trouble::Away, "no UDP socket")) };
        let mut live = self.live.lock().await;
        if let Some(live) = live.as_ref().filter(|live| live.connection.lost().is_none()) {
            return Ok(live.connection.clone());
        }
        *live = None;
        let dialed = dial(context).await.map_err(|trouble| Failed::new(Trouble::Away, trouble.text()))?;
        let connection = dialed.connection.clone();
        *live = Some(dialed);
        Ok(connection)
    }

    async fn ask(
        &self,
        kind: FrameKind,
        payload: Vec<u8>,
        most: u32,
        limit: Duration,
    ) -> Result<Frame, Failed> {
        let connection = self.connection().await?;
        let frame = Frame::new(kind.number(), payload);
        connection.request(&frame, most, limit).await.map_err(|error| away(&error))
    }

    /// Makes room for a blob, and asks which parts are there.
    pub(super) async fn create(&self, job: &TransferJob) -> Result<PartSet, Failed> {
        let shape = BlobShape::of_content(job.bytes)
            .ok_or_else(|| Failed::new(Trouble::Refused, format!("no blob has {} bytes", job.bytes)))?;
        let what = BlobCreate {
            blob: job.blob,
            bytes: shape.bytes(),
            token_hash: job.token.hash(),
            expires_ms: job.expires_ms,
        };
        let answer = self.ask(FrameKind::BlobCreate, encode(&what), ANSWER_FRAME, ASK_LIMIT).await?;
        match decode(&answer)? {
            Answer::Blob(state) => PartSet::from_bytes(&state.there, shape.parts())
                .ok_or_else(|| Failed::new(Trouble::Away, "the relay names parts that there are not")),
            answer => Err(refused(&answer)),
        }
    }

    /// Hands over a part.
    pub(super) async fn put(&self, blob: &BlobId, part: u32, sealed: Vec<u8>) -> Result<(), Failed> {
        let connection = self.connection().await?;
        let what = BlobPut { blob: *blob, part, bytes: u32::try_from(sealed.len()).unwrap_or(u32::MAX) };
        let exchange = async {
            let (mut writer, mut reader) =
                connection.open_bi(ANSWER_FRAME).await.map_err(|error| away(&error.into()))?;
            let head = Frame::new(FrameKind::BlobPut.number(), encode(&what));
            let data = Frame::new(FrameKind::BlobPart.number(), sealed);
            // A relay that refuses, or has the part, stops reading: what it says counts.
            let written = async {
                writer.push_frame(&head)?;
                writer.flush().await?;
                writer.push_frame(&data)?;
                writer.finish().await
            };
            drop(written.await);
            match reader.read().await {
                Ok(Some(answer)) => Ok(answer),
                Ok(None) => Err(away(&RequestError::Empty)),
                Err(error) => Err(away(&error.into())),
            }
        };
        let answer = connection
            .while_moving(PART_PATIENCE, exchange)
            .await
            .unwrap_or_else(|stall| Err(stalled(stall)))?;
        match decode(&answer)? {
            // It has it already.
            Answer::Done | Answer::Blob(_) => Ok(()),
            // The relay lost it since room was made: that is done again.
            Answer::Refused(refusal) if refusal.code == RefusalCode::No => {
                Err(Failed::new(Trouble::Away, "the relay has not the file's beginning any more"))
            }
            answer => Err(refused(&answer)),
        }
    }

    /// Fetches a part.
    pub(super) async fn get(&self, job: &TransferJob, part: u32) -> Result<Vec<u8>, Failed> {
        let what = BlobGet { blob: job.blob, token: job.token.clone(), part };
        let connection = self.connection().await?;
        let frame = Frame::new(FrameKind::BlobGet.number(), encode(&what));
        let request = connection.request(&frame, PART_FRAME, PART_PATIENCE.whole);
        let answer = connection.while_moving(PART_PATIENCE, request).await.map_err(stalled)?;
        let answer = answer.map_err(|error| away(&error))?;
        if answer.kind == FrameKind::BlobPart.number() {
            return Ok(answer.payload.into());
        }
        Err(refused(&decode(&answer)?))
    }
}

fn away(error: &RequestError) -> Failed {
    Failed::new(Trouble::Away, format!("the relay does not answer: {error}"))
}

fn stalled(what: Stalled) -> Failed {
    away(&RequestError::TimedOut { waited: what.waited })
}

fn decode(answer: &Frame) -> Result<Answer, Failed> {
    Answer::decode(answer.kind, &answer.payload)
        .map_err(|error| Failed::new(Trouble::Away, format!("the relay's answer cannot be read: {error}")))
}

fn refused(answer: &Answer) -> Failed {
    let Answer::Refused(refusal) = answer else {
        return Failed::new(Trouble::Away, "the relay answers something else");
    };
    let detail = refusal.detail.as_ref().map(|detail| detail.as_str().to_owned());
    let (trouble, text) = match refusal.code {
        RefusalCode::Busy => (Trouble::Away, "the relay is busy"),
        RefusalCode::Full => (Trouble::Away, "the relay has no room for files at present"),
        RefusalCode::No => (Trouble::Gone, "the relay has no such file, or it is not there any more"),
        RefusalCode::Quota => (Trouble::Refused, "the relay does not take it"),
        RefusalCode::Suspended => (Trouble::Refused, "the operator of the relay suspended this account"),
        RefusalCode::Malformed => (Trouble::Refused, "the relay does not understand the request"),
        RefusalCode::Used
        | RefusalCode::NeedsToken
        | RefusalCode::HandleTaken
        | RefusalCode::NotRegistered
        | RefusalCode::Conflict => (Trouble::Refused, "the relay refuses"),
    };
    Failed::new(trouble, detail.map_or_else(|| text.to_owned(), |detail| format!("{text}: {detail}")))
}
