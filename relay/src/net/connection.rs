//! One connection's task: takes streams, and writes what the engine has for it.

use std::sync::Arc;

use penpal_protocol::ids::TransportPublicKey;
use penpal_protocol::limits::MAX_FRAME_BYTES;
use penpal_protocol::wire::FrameKind;
use penpal_relay_core::{AddressPrefix, CloseReason, ConnId};
use penpal_transport::{Accepted, CloseCode, Connection, Frame, FrameWriter, WriteError};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Common;
use super::blob::MAX_PARTS;
use super::outbox::{Deposits, Outbox};
use super::stream;
use crate::engine::{Inbox, Input};

/// Bytes handed to a stream's writer before it must have passed some on; what is beyond stays in the outbox.
const WRITER_BYTES: usize = 128 * 1024;

/// Largest frame of a client.
pub(super) const MAX_PAYLOAD: u32 = {
    assert!(MAX_FRAME_BYTES < 1 << 20);
    MAX_FRAME_BYTES as u32
};

/// Why a connection's task ends.
#[derive(Debug)]
enum End {
    /// By the relay.
    Close(CloseReason),
    /// By the client or the network.
    Lost,
    /// With the engine.
    Stopped,
}

/// Serves one connection to its end.
pub(super) async fn serve(accepted: Accepted, conn: ConnId, inbox: Arc<Inbox>, common: Arc<Common>) {
    let Accepted { connection, outgoing } = accepted;
    let outbox = Arc::new(Outbox::default());
    let connected = Input::Connected {
        conn,
        peer: TransportPublicKey::from_bytes(*connection.peer_key().as_bytes()),
        prefix: AddressPrefix::of(connection.remote_address().ip()),
        outbox: Arc::clone(&outbox),
    };
    if inbox.send(connected).await.is_err() {
        return;
    }
    // From here on the engine knows the connection and must be told of its end, also when this task is cancelled.
    let _farewell = Farewell { conn, inbox: Arc::clone(&inbox) };
    let (reason, code) = match run(&connection, conn, &inbox, &outbox, &common, outgoing).await {
        End::Close(CloseReason::Replaced) => {
            ("a newer connection of this device took over", CloseCode::Replaced)
        }
        End::Close(CloseReason::Refused) => ("this key has no account here any more", CloseCode::Refused),
        End::Close(CloseReason::Suspended) => ("the operator has suspended this account", CloseCode::Refused),
        End::Close(CloseReason::Busy) => ("too much at once; try later", CloseCode::Busy),
        End::Stopped => ("the relay is stopping", CloseCode::GoingAway),
        End::Lost => return,
    };
    connection.close(code, reason);
}

/// Tells the engine exactly once that a connection is gone.
#[derive(Debug)]
struct Farewell {
    conn: ConnId,
    inbox: Arc<Inbox>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        self.inbox.send_now(Input::Closed { conn: self.conn });
    }
}

async fn run(
    connection: &Connection,
    conn: ConnId,
    inbox: &Arc<Inbox>,
    outbox: &Arc<Outbox>,
    common: &Arc<Common>,
    mut delivery: FrameWriter,
) -> End {
    let mut deposits: Option<Deposits> = None;
    let mut unflushed_answers = 0;
    let mut streams = JoinSet::new();
    let parts = Arc::new(Semaphore::new(MAX_PARTS));
    let answers = Arc::new(Semaphore::new(stream::MAX_ANSWERS_KIB));
    loop {
        let room = WRITER_BYTES.saturating_sub(delivery.queued());
        let outgoing = outbox.take(room);
        if let Some(reason) = outgoing.close {
            return End::Close(reason);
        }
        if let Some(new) = outgoing.deposits {
            deposits = Some(new);
            unflushed_answers = 0;
        }
        let had_pushes = !outgoing.pushes.is_empty();
        for push in outgoing.pushes {
            // A stored row that nobody wrote has no frame; the machine's own alarms tell of such.
            let Some((kind, payload)) = push.frame() else { continue };
            if delivery.push_frame(&Frame { kind: kind.number(), payload }).is_err() {
                return End::Lost;
            }
        }
        if let Some(deposits) = &mut deposits {
            unflushed_answers += outgoing.answers.len();
            for answer in outgoing.answers {
                if deposits.writer.push(FrameKind::DepositAnswer.number(), &answer.encode()).is_err() {
                    return End::Lost;
                }
            }
        }
        let delivery_waits = delivery.queued() > 0;
        let answers_wait = deposits.as_ref().is_some_and(|deposits| deposits.writer.queued() > 0);
        tokio::select! {
            biased;
            written = delivery.flush(), if delivery_waits => match written {
                Ok(()) => {}
                Err(WriteError::Stopped { .. }) => return End::Close(CloseReason::Busy),
                Err(_) => return End::Lost,
            },
            written = flush(&mut deposits), if answers_wait => {
                if let Some(deposits) = &deposits {
                    deposits.unanswered.add_permits(std::mem::take(&mut unflushed_answers));
                }
                if written.is_err() {
                    // The client gave up its deposits stream; it may open another.
                    deposits = None;
                }
            }
            // More may be waiting than fitted.
            () = std::future::ready(()), if had_pushes && !delivery_waits => {}
            () = outbox.changed() => {}
            stream = connection.accept_bi(MAX_PAYLOAD) => {
                let Ok((writer, reader)) = stream else { return End::Lost };
                let connection = connection.clone();
                let (inbox, outbox, common) = (Arc::clone(inbox), Arc::clone(outbox), Arc::clone(common));
                let (parts, answers) = (Arc::clone(&parts), Arc::clone(&answers));
                let stream = stream::Stream { connection, conn, inbox, outbox, common, parts, answers };
                streams.spawn(stream.serve(writer, reader));
            }
            Some(ended) = streams.join_next(), if !streams.is_empty() => {
                if matches!(ended, Ok(Err(stream::EngineGone))) {
                    return End::Stopped;
                }
            }
        }
    }
}

async fn flush(deposits: &mut Option<Deposits>) -> Result<(), WriteError> {
    match deposits {
        Some(deposits) => deposits.writer.flush().await,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// Of the 50 KiB that an idle device may cost, QUIC takes 47.
    #[test]
    fn an_idle_connections_task_is_small() {
        let bytes = size_of_future(serve);
        assert!(bytes <= 1_536, "{bytes}");
    }
}
