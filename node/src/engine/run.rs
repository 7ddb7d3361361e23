//! The engine's thread.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::home::Home;

use super::clock::Clock;
use super::fate::Fate;
use super::machines::Engine;
use super::storage::NotDurable;
use super::{Input, Output};
use crate::config::Config;

/// Inputs that share one step, and so one sync, at most.
const MAX_INPUTS_A_STEP: usize = 128;

/// Longest sleep: clocks may jump without a word.
const MAX_SLEEP: Duration = Duration::from_secs(3600);

/// Housekeeping of the store happens when nothing else does, in pieces of about this many bytes.
const COMPACT_BYTES: u64 = 1024 * 1024;

/// How long the engine must have been quiet before housekeeping.
const QUIET: Duration = Duration::from_secs(2);

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
    let engine = Engine::open(home, config, clock).map_err(|fate| fate.api());
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
            engine.storage.close();
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
        self.step(Vec::new(), emit)?;
        let mut tidy = true;
        while !self.stopping {
            let now = self.clock.now();
            let due = self.next_timeout().map_or(MAX_SLEEP, |at| at.saturating_sub(now.mono)).min(MAX_SLEEP);
            let sleep = if tidy { due.min(QUIET) } else { due };
            match inputs.recv_timeout(sleep) {
                Ok(first) => {
                    let mut batch = vec![first];
                    while batch.len() < MAX_INPUTS_A_STEP
                        && let Ok(next) = inputs.try_recv()
                    {
                        batch.push(next);
                    }
                    self.step(batch, emit)?;
                    tidy = true;
                }
                Err(RecvTimeoutError::Timeout) if tidy && sleep < due => tidy = self.tidy()?,
                Err(RecvTimeoutError::Timeout) => self.step(Vec::new(), emit)?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
        Ok(())
    }

    /// One durable step: inputs in, changes stored, outputs out.
    fn step(&mut self, inputs: Vec<Input>, emit: &mut dyn FnMut(Output)) -> Result<(), Fate> {
        self.now = self.clock.now();
        for input in inputs {
            self.handle(input);
        }
        self.handle_timeouts();
        self.settle();
        match self.commit() {
            Ok(()) => {}
            Err(Fate::Full) => {
                tracing::error!("the disk is full: this step did not happen");
                let full = Fate::Full.api();
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
                return Ok(());
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
            return self.step(Vec::new(), emit);
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Fate> {
        let changes =
            self.delivery.take_changes().map_err(|error| Fate::home("the log cannot be used", &error))?;
        for change in changes {
            self.storage.change(super::storage::delivery_table(change.table), change.key, change.value);
        }
        self.storage.commit().map_err(|error| match error {
            NotDurable::Full => Fate::Full,
            NotDurable::Fatal(error) => Fate::home("the log cannot be written", &error),
            NotDurable::Defect(text) => Fate::Defect(text),
        })
    }

    /// Housekeeping; tells whether there may be more.
    fn tidy(&mut self) -> Result<bool, Fate> {
        match self.storage.compact(COMPACT_BYTES) {
            Ok(more) => Ok(more),
            Err(error) => Err(Fate::home("the log cannot be tidied", &error)),
        }
    }
}

/// What a call gets when the node is ending.
pub(super) fn ending() -> ApiError {
    ApiError::new(ErrorCode::NoNode, "the node is ending").hint("try again")
}
