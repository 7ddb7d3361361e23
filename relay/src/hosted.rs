//! A relay without threads, sockets and folders of its own: for simulations, which give it all of them.
//!
//! The engine, the connections and everything said on them are those of the program.

use std::sync::Arc;
use std::time::Duration;

use penpal_protocol::wire::{Deposit, Request};
use penpal_relay_core::{AdminAnswer, AdminRequest};
use penpal_transport::Listener;
use tokio::sync::{Notify, oneshot};

use crate::engine::{Engine, EngineError, Inbox, Input, Parts};
use crate::net::{ANSWER_PATIENCE, Accepting, accept};

/// A relay that its host drives.
///
/// Contract: [`Self::turn`] at once and again whenever the bell rang or the time that it answered has passed. Everything that a turn
/// says waits in memory until [`Self::serve`]'s tasks run: what it says is durable by then. Dropped without [`Self::end`], it is a
/// process that died; the host drops the future of [`Self::serve`] with it.
#[derive(Debug)]
pub struct HostedRelay {
    engine: Engine,
    inbox: Arc<Inbox>,
}

/// What a client said.
#[derive(Debug, Clone, Copy)]
pub enum Said<'i> {
    /// A request.
    Request(&'i Request),
    /// An envelope, for somebody's spool or for passing on at once.
    Deposit(&'i Deposit),
}

/// What a turn came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turned {
    /// How long nothing needs to be done unless the bell rings.
    pub sleep: Duration,
    /// Inputs that were taken.
    pub inputs: usize,
}

impl HostedRelay {
    /// Makes the engine; `bell` is rung for every input.
    ///
    /// # Errors
    /// Stored data that cannot be used.
    pub fn open(parts: Parts, bell: Arc<Notify>) -> Result<Self, EngineError> {
        let inbox = Arc::new(Inbox::with_bell(bell));
        Ok(Self { engine: Engine::new(parts, Arc::clone(&inbox))?, inbox })
    }

    /// Takes connections until `stop` is resolved or dropped, or until the answer is dropped.
    pub fn serve(
        &self,
        listener: Listener,
        stop: oneshot::Receiver<()>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let metrics = Arc::clone(&self.engine.metrics);
        // A hosted relay keeps its first key.
        let (inbox, blobs) = (Arc::clone(&self.inbox), Arc::clone(&self.engine.blobs));
        let patience = ANSWER_PATIENCE;
        accept(Accepting { listener, inbox, chain: Arc::default(), blobs, metrics, patience, stop })
    }

    /// Asks as an operator; the answer comes with a turn.
    pub fn admin(&self, request: AdminRequest) -> oneshot::Receiver<AdminAnswer> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send_now(Input::Admin { request, reply });
        answer
    }

    /// One turn. `seen` is shown everything that clients said.
    ///
    /// # Errors
    /// Storage that failed: the relay cannot go on, and what it was about to say is not said.
    pub fn turn(&mut self, seen: &mut dyn FnMut(Said<'_>)) -> Result<Turned, EngineError> {
        let mut inputs = Vec::new();
        self.inbox.take(&mut inputs, Duration::ZERO);
        let taken = inputs.len();
        for input in &inputs {
            show(input, seen);
        }
        self.engine.turn(&mut inputs)?;
        Ok(Turned { sleep: self.engine.sleep(taken == 0), inputs: taken })
    }

    /// Ends cleanly.
    ///
    /// # Errors
    /// As [`Self::turn`].
    pub fn end(self) -> Result<(), EngineError> {
        self.inbox.send_now(Input::Stop);
        self.engine.run()
    }
}

fn show(input: &Input, seen: &mut dyn FnMut(Said<'_>)) {
    match input {
        Input::Request { request, .. } => seen(Said::Request(request)),
        Input::Deposits { deposits, .. } => {
            for deposit in deposits {
                seen(Said::Deposit(deposit));
            }
        }
        Input::Connected { .. }
        | Input::Closed { .. }
        | Input::BlobWritten { .. }
        | Input::BlobKept { .. }
        | Input::Admin { .. }
        | Input::Upkeep(_)
        | Input::Flush { .. }
        | Input::Stop => {}
    }
}
