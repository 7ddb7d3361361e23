//! Parts of blobs: who may is asked of the engine, the bytes go past it.

use std::sync::Arc;
use std::time::Duration;

use penpal_protocol::blob::PART_BYTES;
use penpal_protocol::wire::{BlobGet, BlobPut, FrameKind, RefusalCode, Request};
use penpal_relay_core::{AddressPrefix, Grant};
use penpal_transport::{CloseCode, Frame, FrameReader, FrameWriter, Offload, Patience};
use tokio::sync::oneshot;

use super::stream::{EngineGone, Stream};
use crate::engine::{Input, Reply};

/// How long a part may take, either way. Parts of one node share its link, so what counts is that bytes come; 1 MiB in ten minutes is
/// 14 kbit/s.
const PART_PATIENCE: Patience =
    Patience { silence: Duration::from_secs(30), whole: Duration::from_secs(600) };

/// Bytes of a connection that moves blobs which may be under way each way: about what fills 80 MB/s at 100 ms.
const BLOB_WINDOW: u32 = 8 * 1024 * 1024;

/// Parts of one connection that are in memory at once: what a node has under way.
pub(super) const MAX_PARTS: usize = 16;

/// Largest frame with a part.
const PART_FRAME: u32 = {
    assert!(PART_BYTES < 1 << 24);
    PART_BYTES as u32
};

impl Stream {
    /// Takes a part: its bytes are read only once the engine allows it, and counted only once they are durable.
    pub(super) async fn blob_put(
        self,
        first: &Frame,
        mut writer: FrameWriter,
        mut reader: FrameReader,
    ) -> Result<(), EngineGone> {
        let blobs = Arc::clone(&self.common.blobs);
        let asked = match Request::decode(first.kind, &first.payload) {
            Ok(Request::BlobPut(what)) => Some(what),
            Ok(_) | Err(_) => None,
        };
        // Begun before it is asked: what removes the blob from then on is noticed.
        let writing = asked.as_ref().map(|what| blobs.begin(what.blob));
        let Some(reply) = self.ask(first).await? else { return Ok(()) };
        let (BlobPut { blob, part, bytes }, writing, account) = match (reply, asked, writing) {
            (Reply::Grant(Grant::Write { account }), Some(what), Some(writing)) => (what, writing, account),
            (Reply::Answer(answer), ..) => {
                // What is sent all the same is not read.
                self.say(first.kind, writer, answer).await;
                reader.stop(CloseCode::Done);
                return Ok(());
            }
            (Reply::Grant(_), ..) => return Ok(()),
        };
        // Memory is for whoever sends, not for whoever only asked.
        if !matches!(reader.begun(PART_PATIENCE).await, Ok(true)) {
            writer.reset(CloseCode::Violation);
            reader.stop(CloseCode::Violation);
            return Ok(());
        }
        // Never closed.
        let own = Arc::clone(&self.parts).acquire_owned().await;
        let (Ok(own), Some(room)) = (own, blobs.writing.take(account).await) else { return Ok(()) };
        // Neither is the window for whoever has no room yet.
        self.connection.set_receive_window(BLOB_WINDOW);
        reader.set_max_payload(PART_FRAME);
        let frame = match reader.read_within(PART_PATIENCE).await {
            Ok(Some(frame))
                if frame.kind == FrameKind::BlobPart.number()
                    && u32::try_from(frame.payload.len()) == Ok(bytes) =>
            {
                frame
            }
            Ok(_) | Err(_) => {
                writer.reset(CloseCode::Violation);
                reader.stop(CloseCode::Violation);
                return Ok(());
            }
        };
        let files = Arc::clone(&blobs);
        let write = move || files.write(&writing, part, &frame.payload);
        let (written, _) = run_holding(blobs.offload, (own, room), write).await.ok_or(EngineGone)?;
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.refuse(first.kind, writer, RefusalCode::No).await;
                return Ok(());
            }
            Err(error) => {
                tracing::warn!(%error, "a part of a blob cannot be written");
                self.refuse(first.kind, writer, RefusalCode::Full).await;
                return Ok(());
            }
        }
        let (reply, answer) = oneshot::channel();
        let input = Input::BlobWritten { conn: self.conn, blob, part, reply };
        self.inbox.send(input).await.map_err(|_| EngineGone)?;
        if let Ok(Reply::Answer(answer)) = answer.await {
            self.say(first.kind, writer, answer).await;
        }
        Ok(())
    }

    /// Gives a part to whoever may read it.
    pub(super) async fn blob_get(self, first: &Frame, mut writer: FrameWriter) -> Result<(), EngineGone> {
        let Some(reply) = self.ask(first).await? else { return Ok(()) };
        let (BlobGet { blob, part, .. }, length) = match (reply, Request::decode(first.kind, &first.payload))
        {
            (Reply::Grant(Grant::Read { bytes }), Ok(Request::BlobGet(what))) => (what, bytes),
            (Reply::Answer(answer), _) => {
                self.say(first.kind, writer, answer).await;
                return Ok(());
            }
            (Reply::Grant(_), _) => return Ok(()),
        };
        let blobs = Arc::clone(&self.common.blobs);
        let network = AddressPrefix::of(self.connection.remote_address().ip());
        let own = Arc::clone(&self.parts).acquire_owned().await;
        let (Ok(own), Some(room)) = (own, blobs.reading.take(network).await) else { return Ok(()) };
        self.connection.set_send_window(u64::from(BLOB_WINDOW));
        let files = Arc::clone(&blobs);
        let read = move || files.read(&blob, part, length);
        let (read, _held) = run_holding(blobs.offload, (own, room), read).await.ok_or(EngineGone)?;
        match read {
            Ok(bytes) => {
                let frame = Frame::new(FrameKind::BlobPart.number(), bytes);
                if writer.push_frame(&frame).is_ok() {
                    // A client that goes away, or reads nothing for long, is its own affair.
                    writer.finish_within(PART_PATIENCE).await.ok();
                }
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "a part of a blob cannot be read");
                // Nobody is told again that it is there, when it is not.
                let files = Arc::clone(&blobs);
                let kept = tokio::task::spawn_blocking(move || files.bytes(&blob)).await;
                if let Ok(bytes) = kept.map_err(|_| EngineGone)? {
                    self.inbox.send(Input::BlobKept { blob, bytes }).await.map_err(|_| EngineGone)?;
                }
                self.refuse(first.kind, writer, RefusalCode::No).await;
                Ok(())
            }
        }
    }
}

/// Does what blocks. It goes on though nobody waits for it any more, with the part that it has in memory: what it holds is given back only
/// after it.
async fn run_holding<H: Send + 'static, T: Send + 'static>(
    offload: Offload,
    held: H,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<(T, H)> {
    offload.run(move || (work(), held)).await
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::shares::Shares;

    #[tokio::test]
    async fn a_write_that_nobody_waits_for_any_more_still_has_its_share() {
        let shares = Shares::new(1, 1);
        let share = shares.take(1).await.unwrap();
        let (begun, has_begun) = oneshot::channel();
        let (release, released) = mpsc::channel::<()>();
        let write = move || {
            begun.send(()).unwrap();
            released.recv().unwrap();
        };
        let task = tokio::spawn(run_holding(Offload::Threads, share, write));
        has_begun.await.unwrap();
        // Its connection ends.
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(shares.free(), 0);
        release.send(()).unwrap();
        drop(shares.take(2).await.unwrap());
    }
}
