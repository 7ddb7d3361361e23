//! The thread that folds beside the commits, one fold at a time. It is joined when this is dropped.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use super::shard::{Fold, Folded};
use crate::IndexError;

type Folds = [Fold; 2];

#[derive(Debug)]
pub(super) struct Folder {
    worker: Option<Worker>,
    busy: bool,
}

#[derive(Debug)]
struct Worker {
    jobs: Option<Sender<Folds>>,
    results: Receiver<Result<Folded, IndexError>>,
    thread: Option<JoinHandle<()>>,
}

impl Folder {
    /// No thread: the caller folds.
    pub(super) fn none() -> Self {
        Self { worker: None, busy: false }
    }

    pub(super) fn start() -> Self {
        let (jobs, inbox) = channel::<Folds>();
        let (outbox, results) = channel();
        let work = move || {
            for folds in inbox {
                if outbox.send(Fold::run_all(&folds)).is_err() {
                    return;
                }
            }
        };
        let thread = Builder::new().name("penpal-index".to_owned()).spawn(work).ok();
        let worker = thread.map(|thread| Worker { jobs: Some(jobs), results, thread: Some(thread) });
        Self { worker, busy: false }
    }

    pub(super) fn exists(&self) -> bool {
        self.worker.is_some()
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Hands over a fold; the one before must be done.
    pub(super) fn ask(&mut self, folds: Folds) -> Result<(), IndexError> {
        let jobs = self.worker.as_ref().and_then(|worker| worker.jobs.as_ref());
        self.busy = true;
        match jobs.map(|jobs| jobs.send(folds)) {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(gone()),
        }
    }

    /// What became of the fold handed over, if it has ended since the last call.
    pub(super) fn poll(&mut self) -> Result<Option<Folded>, IndexError> {
        match &self.worker {
            Some(worker) if self.busy => match worker.results.try_recv() {
                Ok(result) => self.done(result),
                Err(std::sync::mpsc::TryRecvError::Empty) => Ok(None),
                Err(std::sync::mpsc::TryRecvError::Disconnected) => Err(gone()),
            },
            Some(_) | None => Ok(None),
        }
    }

    /// As [`Self::poll`], waiting for a fold that is under way.
    pub(super) fn wait(&mut self) -> Result<Option<Folded>, IndexError> {
        match &self.worker {
            Some(worker) if self.busy => {
                let result = worker.results.recv().map_err(|_| gone())?;
                self.done(result)
            }
            Some(_) | None => Ok(None),
        }
    }

    fn done(&mut self, result: Result<Folded, IndexError>) -> Result<Option<Folded>, IndexError> {
        self.busy = false;
        result.map(Some)
    }
}

fn gone() -> IndexError {
    IndexError::Failed { action: "write the index", detail: "its thread has ended".to_owned() }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}
