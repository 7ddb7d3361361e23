//! What reaches the engine's thread, and how calls wait for their answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};

use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::methods::Call;
use tokio::sync::{Notify, oneshot};

use crate::engine::{CallId, Input};

/// Inputs that may wait for the engine. Full: local calls are told to try again, links stop reading until there is room.
pub const MAX_WAITING_INPUTS: usize = 1024;

/// Whoever waits for the answer to a call.
type Waiters = std::collections::HashMap<CallId, oneshot::Sender<Result<Vec<u8>, ApiError>>>;

type Waiting = Arc<Mutex<Waiters>>;

/// The way into the engine, for sockets and links.
#[derive(Debug, Clone)]
pub struct EngineHandle {
    inputs: SyncSender<Input>,
    waiting: Waiting,
    next: Arc<AtomicU64>,
    bell: Option<Arc<Notify>>,
}

impl EngineHandle {
    /// A handle to the engine behind `inputs`.
    #[must_use]
    pub fn new(inputs: SyncSender<Input>) -> Self {
        Self { inputs, waiting: Waiting::default(), next: Arc::new(AtomicU64::new(1)), bell: None }
    }

    /// As [`Self::new`], for a host that has no thread to wait on the other end: it is told of every input.
    #[must_use]
    pub fn with_bell(inputs: SyncSender<Input>, bell: Arc<Notify>) -> Self {
        Self { bell: Some(bell), ..Self::new(inputs) }
    }

    /// Hands a call to the engine and waits for its answer. When the caller goes away the engine is told.
    ///
    /// # Errors
    /// The engine's failure, or that the node is ending or overloaded.
    pub async fn call(&self, call: Call) -> Result<Vec<u8>, ApiError> {
        let id = CallId(self.next.fetch_add(1, Ordering::Relaxed));
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(id, sender);
        let guard = Gone { handle: self, id, armed: true };
        match self.hand_over(Input::Call { id, call: Box::new(call) }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return Err(ApiError::new(ErrorCode::Busy, "the node has too much to do"));
            }
            Err(TrySendError::Disconnected(_)) => return Err(ending()),
        }
        let outcome = receiver.await;
        let mut guard = guard;
        guard.armed = false;
        outcome.unwrap_or_else(|_| Err(ending()))
    }

    /// Gives a call its answer. Nobody waiting any more is fine.
    pub fn answer(&self, id: CallId, outcome: Result<Vec<u8>, ApiError>) {
        if let Some(sender) = self.lock().remove(&id) {
            let delivered = sender.send(outcome);
            drop(delivered);
        }
    }

    /// Hands over an input from a link or a watcher, waiting in a blocking-safe way while the engine is full.
    pub async fn input(&self, mut input: Input) {
        loop {
            match self.hand_over(input) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(back)) => {
                    input = back;
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            }
        }
    }

    /// Hands over an input that may be lost while the engine is full.
    pub(super) fn try_input(&self, input: Input) {
        let handed = self.hand_over(input);
        drop(handed);
    }

    fn hand_over(&self, input: Input) -> Result<(), TrySendError<Input>> {
        self.inputs.try_send(input)?;
        if let Some(bell) = &self.bell {
            bell.notify_one();
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiters> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the engine when a caller hung up before its answer.
struct Gone<'h> {
    handle: &'h EngineHandle,
    id: CallId,
    armed: bool,
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.handle.lock().remove(&self.id);
            // A full queue only means that the engine finds nobody waiting later.
            let told = self.handle.hand_over(Input::CallGone(self.id));
            drop(told);
        }
    }
}

fn ending() -> ApiError {
    ApiError::new(ErrorCode::NoNode, "the node is ending").hint("try again")
}
