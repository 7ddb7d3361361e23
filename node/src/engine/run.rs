//! The engine's thread, and the step that it repeats.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::home::Home;
use penpal_local_api::methods::Call;

use super::clock::Clock;
use super::fate::Fate;
use super::machines::Engine;
use super::parts::Parts;
use super::storage::NotDurable;
use super::{CallId, Input, Output};
use crate::config::Config;

/// Inputs that share one step, and so one sync, at most.
pub const MAX_INPUTS_A_STEP: usize = 128;

/// Bytes of changes after which a step takes no more inputs: a quarter of what the log takes at once, for the last input may add much.
const STEP_BYTES: usize = penpal_store::MAX_BATCH_BYTES / 4;

/// Bytes of changes after which the machines settle before the next input, so that what they tell each other is counted.
const SETTLE_BYTES: usize = STEP_BYTES / 4;

/// Longest sleep: clocks may jump without a word.
const MAX_SLEEP: Duration = Duration::from_secs(3600);

/// Housekeeping of the store happens when nothing else does, in pieces of about this many bytes.
const COMPACT_BYTES: u64 = 1024 * 1024;

/// How long the engine must have been quiet before housekeeping.
const QUIET: Duration = Duration::from_secs(2);

/// Between two tries of what is due by itself while the disk is full.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// Runs until an [`Input::Stop`] or until every sender is gone. Reports on `opened` once whether the home could be opened.
///
/// # Errors
/// Why it ended otherwise.
pub fn run(
    home: &Home,
    config: Config,
    clock: Clock,
    inputs: &Receiver<Input>,
    opened: &Sender<Result<(), ApiError>>,
    emit: &mut dyn FnMut(Output),
) -> Result<(), ApiError> {
    let engine = Parts::of(home, config, clock).and_then(Engine::open_parts).map_err(|fate| fate.api());
    let mut engine = match engine {
        Ok(engine) => {
            // Nobody waits any more when opening took long; that is fine.
            let told = opened.send(Ok(()));
            drop(told);
            engine
        }
        Err(error) => {
            let told = opened.send(Err(error.clone()));
            drop(told);
            emit(Output::Stop);
            return Err(error);
        }
    };
    let outcome = engine.turn(inputs, emit);
    emit(Output::Stop);
    match outcome {
        Ok(()) => {
            engine.close();
            Ok(())
        }
        Err(fate) => {
            tracing::error!(%fate, "the engine cannot go on");
            Err(fate.api())
        }
    }
}

impl Engine {
    fn turn(&mut self, inputs: &Receiver<Input>, emit: &mut dyn FnMut(Output)) -> Result<(), Fate> {
        // What opening left to say.
        self.durable_step(Vec::new(), emit)?;
        self.forget_import();
        let mut tidy = true;
        while !self.stopping {
            let due = self.due_in();
            let sleep = if tidy { due.min(QUIET) } else { due };
            match inputs.recv_timeout(sleep) {
                Ok(first) => {
                    let mut batch = vec![first];
                    while batch.len() < MAX_INPUTS_A_STEP
                        && let Ok(next) = inputs.try_recv()
                    {
                        batch.push(next);
                    }
                    self.durable_step(batch, emit)?;
                    tidy = true;
                }
                Err(RecvTimeoutError::Timeout) if tidy && sleep < due => tidy = self.tidy_up()?,
                Err(RecvTimeoutError::Timeout) => self.durable_step(Vec::new(), emit)?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Opens what a host gives.
    ///
    /// # Errors
    /// Keys, log or rows that cannot be used.
    pub fn open(parts: Parts) -> Result<Self, ApiError> {
        Self::open_parts(parts).map_err(|fate| fate.api())
    }

    /// One durable step: inputs in, changes stored, outputs out. At most [`MAX_INPUTS_A_STEP`] inputs.
    ///
    /// # Errors
    /// The engine cannot go on; the next opening finds what is durable.
    pub fn step(&mut self, inputs: Vec<Input>, emit: &mut dyn FnMut(Output)) -> Result<(), ApiError> {
        self.durable_step(inputs, emit).map_err(|fate| fate.api())
    }

    /// How long nothing needs to be done; an hour at most, because clocks may jump without a word.
    #[must_use]
    pub fn due_in(&self) -> Duration {
        let now = self.clock.now();
        let next = self.next_timeout().map(|at| at.max(self.full_until));
        next.map_or(MAX_SLEEP, |at| at.saturating_sub(now.mono)).min(MAX_SLEEP)
    }

    /// Whether the engine was told to stop and did its last step.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Housekeeping of the store, a bounded piece; tells whether there may be more.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn tidy(&mut self) -> Result<bool, ApiError> {
        self.tidy_up().map_err(|fate| fate.api())
    }

    /// Ends cleanly.
    pub fn close(self) {
        self.storage.close();
    }

    fn durable_step(&mut self, inputs: Vec<Input>, emit: &mut dyn FnMut(Output)) -> Result<(), Fate> {
        let mut inputs = self.take_some(inputs, emit)?;
        while !inputs.is_empty() {
            inputs = self.take_some(inputs, emit)?;
        }
        Ok(())
    }

    /// Takes as many of the inputs as go into one step; gives the others back.
    fn take_some(&mut self, inputs: Vec<Input>, emit: &mut dyn FnMut(Output)) -> Result<Vec<Input>, Fate> {
        if !self.full {
            return self.one_step(inputs, emit);
        }
        // What cannot be kept takes no call along with it.
        let mut rest = Vec::new();
        for input in inputs {
            match input {
                Input::Call { id, call } => self.call_on_full_disk(id, call, emit)?,
                other => rest.push(other),
            }
        }
        self.one_step(rest, emit)
    }

    /// Who only asks is answered; anything else is tried by itself.
    fn call_on_full_disk(
        &mut self,
        id: CallId,
        call: Box<Call>,
        emit: &mut dyn FnMut(Output),
    ) -> Result<(), Fate> {
        self.now = self.clock.now();
        self.settle();
        let before = self.changes();
        self.handle(Input::Call { id, call });
        self.settle();
        if self.changes() != before {
            self.one_step(Vec::new(), emit)?;
            return Ok(());
        }
        let answers = std::mem::take(&mut self.answers);
        for (call, outcome) in answers {
            if call == id {
                emit(Output::Answer { call, outcome });
            } else {
                self.answers.push((call, outcome));
            }
        }
        Ok(())
    }

    /// A number that is another one when something was changed.
    fn changes(&self) -> (usize, u64) {
        (self.storage.changes(), self.delivery.changes())
    }

    /// One step of as many inputs as its changes have room for; gives the others back.
    fn one_step(&mut self, inputs: Vec<Input>, emit: &mut dyn FnMut(Output)) -> Result<Vec<Input>, Fate> {
        self.now = self.clock.now();
        let mut inputs = inputs.into_iter();
        let mut settled = 0;
        while settled < STEP_BYTES
            && let Some(input) = inputs.next()
        {
            self.handle(input);
            if self.pending_bytes() >= settled.saturating_add(SETTLE_BYTES) {
                self.settle();
                settled = self.pending_bytes();
            }
        }
        let rest: Vec<Input> = inputs.collect();
        self.handle_timeouts();
        self.settle();
        match self.commit() {
            Ok(()) => {}
            Err(fate @ (Fate::Full | Fate::TooMuch(_))) => {
                tracing::error!(%fate, "this step did not happen");
                // What was too much is tried apart from other calls, too.
                self.full = true;
                self.full_until = self.now.mono.saturating_add(FULL_PAUSE);
                let full = fate.api();
                let answers = std::mem::take(&mut self.answers);
                for (call, _) in answers {
                    self.outputs.push(Output::Answer { call, outcome: Err(full.clone()) });
                }
                for call in self.waiting.drop_all() {
                    self.outputs.push(Output::Answer { call, outcome: Err(full.clone()) });
                }
                let said = std::mem::take(&mut self.outputs);
                self.reopen()?;
                said.into_iter()
                    .filter(|output| matches!(output, Output::Answer { .. }))
                    .for_each(&mut *emit);
                self.outputs.drain(..).for_each(emit);
                return Ok(rest);
            }
            Err(fate) => {
                let error = fate.api();
                for (call, _) in std::mem::take(&mut self.answers) {
                    emit(Output::Answer { call, outcome: Err(error.clone()) });
                }
                for call in self.waiting.drop_all() {
                    emit(Output::Answer { call, outcome: Err(error.clone()) });
                }
                return Err(fate);
            }
        }
        self.release();
        self.outputs.drain(..).for_each(&mut *emit);
        self.after_commit();
        if std::mem::take(&mut self.seeds_wanted) {
            // Writing the key file takes longer than a message; its rows are stored at once, so that no start finds seeds
            // that no row knows.
            self.make_seeds();
            self.one_step(Vec::new(), emit)?;
        }
        Ok(rest)
    }

    /// Bytes of the step's changes so far, about.
    fn pending_bytes(&self) -> usize {
        self.storage.bytes().saturating_add(self.delivery.pending_bytes())
    }

    fn commit(&mut self) -> Result<(), Fate> {
        let changes =
            self.delivery.take_changes().map_err(|error| Fate::home("the log cannot be used", &error))?;
        for change in changes {
            self.storage.change(super::storage::delivery_table(change.table), change.key, change.value);
        }
        let changes = self.storage.changes();
        self.storage.commit().map_err(|error| match error {
            NotDurable::Full => Fate::Full,
            NotDurable::TooMuch(text) => Fate::TooMuch(text),
            NotDurable::Fatal(error) => Fate::home("the log cannot be written", &error),
            NotDurable::Defect(text) => Fate::Defect(text),
        })?;
        self.full &= changes == 0;
        Ok(())
    }

    fn tidy_up(&mut self) -> Result<bool, Fate> {
        match self.storage.compact(COMPACT_BYTES) {
            Ok(more) => Ok(self.tidy_search() || more),
            Err(error) => Err(Fate::home("the log cannot be tidied", &error)),
        }
    }
}

/// What a call gets when the node is ending.
pub(super) fn ending() -> ApiError {
    ApiError::new(ErrorCode::NoNode, "the node is ending").hint("try again")
}
