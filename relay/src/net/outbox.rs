//! What the engine has for one connection, until its task takes it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use penpal_protocol::wire::DepositAnswer;
use penpal_relay_core::{CloseReason, Push};
use penpal_transport::FrameWriter;
use tokio::sync::{Notify, Semaphore};

/// Bytes of unsent pushes beyond which what may be dropped is dropped.
const DROP_BYTES: usize = 256 * 1024;

/// Bytes of unsent pushes beyond which the connection is hopeless and ends. The machine sends no more spool rows than its
/// window; only a client that never reads while its contacts come and go can get here.
const HOPELESS_BYTES: usize = 4 * 1024 * 1024;

/// What an event other than an envelope counts, in bytes.
const SMALL_BYTES: usize = 64;

#[derive(Debug, Default)]
struct Waiting {
    pushes: VecDeque<Push>,
    push_bytes: usize,
    answers: Vec<DepositAnswer>,
    /// The answering side of a deposits stream that was just opened.
    deposits: Option<Deposits>,
    close: Option<CloseReason>,
}

/// The answering side of a deposits stream.
#[derive(Debug)]
pub(super) struct Deposits {
    pub(super) writer: FrameWriter,
    /// One for each deposit that may be unanswered: given back as answers leave.
    pub(super) unanswered: Arc<Semaphore>,
}

/// One connection's outgoing queue.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

/// What the connection's task takes at a time.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) pushes: Vec<Push>,
    pub(super) answers: Vec<DepositAnswer>,
    pub(super) deposits: Option<Deposits>,
    pub(super) close: Option<CloseReason>,
}

impl Outbox {
    /// Adds something for the delivery stream.
    pub(crate) fn push(&self, push: Push) {
        let mut waiting = self.lock();
        if waiting.push_bytes >= DROP_BYTES && push.may_be_dropped() {
            return;
        }
        waiting.push_bytes += bytes(&push);
        waiting.pushes.push_back(push);
        if waiting.push_bytes > HOPELESS_BYTES {
            waiting.close.get_or_insert(CloseReason::Busy);
        }
    }

    /// Adds an answer for the deposits stream.
    pub(crate) fn answer(&self, answer: DepositAnswer) {
        self.lock().answers.push(answer);
    }

    /// Hands over the answering side of a deposits stream. Before its first deposit is handed to the engine: then it is
    /// taken no later than the first answer.
    pub(super) fn open_deposits(&self, deposits: Deposits) {
        self.lock().deposits = Some(deposits);
    }

    /// Ends the connection.
    pub(crate) fn close(&self, reason: CloseReason) {
        self.lock().close.get_or_insert(reason);
    }

    /// Tells the connection's task that there is something.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Waits for [`Self::wake`]. Cancel-safe.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes everything but pushes beyond `push_bytes`; one push is always taken when any are wanted.
    pub(super) fn take(&self, push_bytes: usize) -> Outgoing {
        let mut waiting = self.lock();
        let mut taken = 0;
        let mut pushes = Vec::new();
        while taken < push_bytes
            && let Some(push) = waiting.pushes.pop_front()
        {
            taken += bytes(&push);
            pushes.push(push);
        }
        waiting.push_bytes -= taken;
        Outgoing {
            pushes,
            answers: std::mem::take(&mut waiting.answers),
            deposits: waiting.deposits.take(),
            close: waiting.close,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes(push: &Push) -> usize {
    use penpal_protocol::wire::Event;
    match push {
        Push::Row { row, .. } => SMALL_BYTES + row.len(),
        Push::Event(Event::Ephemeral(event)) => SMALL_BYTES + event.envelope.len(),
        Push::Event(_) => SMALL_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use penpal_protocol::cbor::Blob;
    use penpal_protocol::ids::{EdgeId, SpoolEpoch};
    use penpal_protocol::wire::{EdgeState, Ephemeral, Event};

    use super::*;

    fn row(seq: u64) -> Push {
        Push::Row { epoch: SpoolEpoch::from_bytes([0; 8]), seq, row: vec![1; 80 * 1024].into() }
    }

    fn ephemeral() -> Push {
        Push::Event(Event::Ephemeral(Ephemeral { envelope: Blob::new(vec![0; 4096]).unwrap() }))
    }

    fn state() -> Push {
        Push::Event(Event::EdgeState(EdgeState { edge: EdgeId::from_bytes([1; 16]), up: true }))
    }

    #[test]
    fn a_full_queue_drops_only_what_may_be_dropped() {
        let outbox = Outbox::default();
        for seq in 0..4 {
            outbox.push(row(seq));
        }
        outbox.push(ephemeral());
        outbox.push(state());
        let taken = outbox.take(usize::MAX);
        assert_eq!(taken.pushes, [row(0), row(1), row(2), row(3), state()]);
        assert_eq!(taken.close, None);
        outbox.push(ephemeral());
        assert_eq!(outbox.take(usize::MAX).pushes.len(), 1);
    }

    #[test]
    fn a_hopeless_connection_ends() {
        let outbox = Outbox::default();
        for _ in 0..=HOPELESS_BYTES / SMALL_BYTES {
            outbox.push(state());
        }
        assert_eq!(outbox.take(0).close, Some(CloseReason::Busy));
    }

    #[test]
    fn pushes_are_taken_by_bytes() {
        let outbox = Outbox::default();
        for seq in 0..3 {
            outbox.push(row(seq));
        }
        assert_eq!(outbox.take(0).pushes.len(), 0);
        assert_eq!(outbox.take(1).pushes, [row(0)]);
        assert_eq!(outbox.take(90 * 1024).pushes, [row(1), row(2)]);
    }
}
