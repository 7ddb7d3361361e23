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

#[cfg(test)]
mod tests {
    use super::super::memory::MemIndex;
    use super::super::rows::Watermark;
    use super::super::shard::Shard;
    use super::super::{Bases, IndexHome};
    use super::*;
    use crate::log::layout::Pos;

    const MARK: Watermark = Watermark { log: 7, batch: 1, end: Pos::START, crc: 0 };

    fn shards(index: &mut MemIndex) -> [Shard; 2] {
        let Bases { short, long } = index.reset(7).unwrap();
        [short, long].map(|base| Shard::open(base).unwrap())
    }

    #[test]
    fn a_fold_is_done_by_the_thread_and_told_once() {
        let mut index = MemIndex::new();
        let mut shards = shards(&mut index);
        let mut folder = Folder::start();
        assert!(folder.exists() && !folder.is_busy() && !Folder::none().exists());
        assert_eq!(folder.poll().unwrap(), None);
        for (full, ended) in [(true, Folded::NoRoom), (false, Folded::Done)] {
            index.set_full(full);
            folder.ask(shards.each_mut().map(|shard| shard.begin_fold(MARK))).unwrap();
            assert!(folder.is_busy());
            assert_eq!(folder.wait().unwrap(), Some(ended));
            assert!(!folder.is_busy());
            assert_eq!((folder.wait().unwrap(), folder.poll().unwrap()), (None, None));
        }
        folder.ask(shards.each_mut().map(|shard| shard.begin_fold(MARK))).unwrap();
        let polled = loop {
            if let Some(ended) = folder.poll().unwrap() {
                break ended;
            }
            std::thread::yield_now();
        };
        assert_eq!((polled, folder.is_busy()), (Folded::Done, false));
    }

    #[test]
    fn a_failure_is_told_and_so_is_the_end_of_the_thread() {
        let mut index = MemIndex::new();
        let mut shards = shards(&mut index);
        let mut folder = Folder::start();
        index.fail();
        folder.ask(shards.each_mut().map(|shard| shard.begin_fold(MARK))).unwrap();
        folder.wait().unwrap_err();
        assert!(!folder.is_busy());
        let worker = folder.worker.as_mut().unwrap();
        worker.jobs = None;
        worker.thread.take().unwrap().join().unwrap();
        folder.ask(shards.each_mut().map(|shard| shard.begin_fold(MARK))).unwrap_err();
        folder.wait().unwrap_err();
        folder.poll().unwrap_err();
    }

    /// Whoever closes the maps counts on nobody else holding them.
    #[test]
    fn the_thread_has_ended_when_it_is_dropped() {
        let mut index = MemIndex::new();
        let mut shards = shards(&mut index);
        let mut folder = Folder::start();
        folder.ask(shards.each_mut().map(|shard| shard.begin_fold(MARK))).unwrap();
        drop(folder);
        for shard in shards {
            assert_eq!(std::sync::Arc::strong_count(&shard.into_base()), 1);
        }
    }
}
