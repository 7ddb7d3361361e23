//! What waits for the engine: bounded, many writers, one reader that takes everything at once.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use penpal_protocol::ids::{BlobId, TransportPublicKey};
use penpal_protocol::wire::{Answer, Deposit, Request};
use penpal_relay_core::{AddressPrefix, AdminAnswer, AdminRequest, ConnId, Grant};
use tokio::sync::{Notify, Semaphore, oneshot};

use super::upkeep::Upkeep;
use crate::net::Outbox;

/// Inputs that may wait. A batch of deposits counts as one and has at most a quarter of a MiB, so this bounds memory at
/// 64 MiB; beyond it connections are not read until the engine has caught up.
const MAX_WAITING: usize = 256;

/// What the machine says to a request.
#[derive(Debug)]
pub(crate) enum Reply {
    /// This.
    Answer(Answer),
    /// A part may move.
    Grant(Grant),
}

/// One thing that happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// A client proved its key.
    Connected { conn: ConnId, peer: TransportPublicKey, prefix: AddressPrefix, outbox: Arc<Outbox> },
    /// A connection ended.
    Closed { conn: ConnId },
    /// A client asks.
    Request { conn: ConnId, request: Request, reply: oneshot::Sender<Reply> },
    /// A part of a blob is durable in its file.
    BlobWritten { conn: ConnId, blob: BlobId, part: u32, reply: oneshot::Sender<Reply> },
    /// The file of a blob holds no more than so many bytes.
    BlobKept { blob: BlobId, bytes: u64 },
    /// A client hands over envelopes.
    Deposits { conn: ConnId, deposits: Vec<Deposit> },
    /// The operator asks.
    Admin { request: AdminRequest, reply: oneshot::Sender<AdminAnswer> },
    /// Something for the store, beside what the machine wants of it.
    Upkeep(Upkeep),
    /// Tells when everything before it is done.
    Flush { done: oneshot::Sender<()> },
    /// End, with everything before it done.
    Stop,
}

/// The engine has ended: nothing will be handled any more.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the relay's engine has stopped")]
pub(crate) struct Stopped;

#[derive(Debug, Default)]
struct Waiting {
    inputs: Vec<Input>,
    /// How many of them were waited for.
    permits: usize,
    asleep: bool,
    /// The engine has ended: what is added is dropped, which tells whoever waits for a reply.
    closed: bool,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
    ready: Condvar,
    room: Semaphore,
    bell: Option<Arc<Notify>>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        let (ready, room) = (Condvar::new(), Semaphore::new(MAX_WAITING));
        Self { waiting: Mutex::default(), ready, room, bell: None }
    }

    /// As [`Self::new`], for a host that has no thread to wait here: it is told of every input.
    pub(crate) fn with_bell(bell: Arc<Notify>) -> Self {
        Self { bell: Some(bell), ..Self::new() }
    }

    /// Adds an input, waiting for room.
    pub(crate) async fn send(&self, input: Input) -> Result<(), Stopped> {
        self.room.acquire().await.map_err(|_| Stopped)?.forget();
        self.add(input, 1);
        Ok(())
    }

    /// Adds an input at once: for those of which there is a bounded number anyway, as one for each connection.
    pub(crate) fn send_now(&self, input: Input) {
        self.add(input, 0);
    }

    fn add(&self, input: Input, permits: usize) {
        let mut waiting = self.lock();
        if waiting.closed {
            return;
        }
        waiting.inputs.push(input);
        waiting.permits += permits;
        let asleep = waiting.asleep;
        drop(waiting);
        if asleep {
            self.ready.notify_one();
        }
        if let Some(bell) = &self.bell {
            bell.notify_one();
        }
    }

    /// Takes all that waits, in order, into `inputs`; waits at most `wait` for the first.
    pub(crate) fn take(&self, inputs: &mut Vec<Input>, wait: Duration) {
        inputs.clear();
        let mut waiting = self.lock();
        if waiting.inputs.is_empty() && !wait.is_zero() {
            waiting.asleep = true;
            let empty = |waiting: &mut Waiting| waiting.inputs.is_empty();
            waiting =
                self.ready.wait_timeout_while(waiting, wait, empty).unwrap_or_else(PoisonError::into_inner).0;
            waiting.asleep = false;
        }
        std::mem::swap(&mut waiting.inputs, inputs);
        self.room.add_permits(std::mem::take(&mut waiting.permits));
    }

    /// The engine has ended: whoever waits for room gives up.
    pub(crate) fn close(&self) {
        self.room.close();
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.inputs.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
