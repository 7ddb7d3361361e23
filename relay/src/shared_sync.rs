//! One `fdatasync` for all parts of a blob that were written while the last one ran.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use penpal_protocol::ids::BlobId;

/// Writers that wait for the same sync.
#[derive(Debug, Default)]
struct Batch {
    done: OnceLock<Result<(), io::ErrorKind>>,
}

#[derive(Debug, Default)]
struct Turns {
    /// Whoever has written joins this one; a sync that begins takes it.
    next: Arc<Batch>,
    syncing: bool,
    waiting: usize,
}

/// Syncs of files that have several writers, by blob. Holds nothing once nobody waits.
#[derive(Debug, Default)]
pub(crate) struct SharedSync {
    turns: Mutex<HashMap<BlobId, Turns>>,
    changed: Condvar,
}

impl SharedSync {
    fn lock(&self) -> MutexGuard<'_, HashMap<BlobId, Turns>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when a sync has ended that began after this call. One caller in turn does it, with its own handle.
    ///
    /// # Errors
    /// The system's, told to everybody whose bytes that sync was for.
    pub(crate) fn sync(&self, blob: &BlobId, file: &File) -> io::Result<()> {
        self.sync_with(blob, || file.sync_data())
    }

    fn sync_with(&self, blob: &BlobId, sync: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let mut turns = self.lock();
        let mine = turns.entry(*blob).or_default();
        mine.waiting += 1;
        let batch = Arc::clone(&mine.next);
        let outcome = loop {
            if let Some(outcome) = batch.done.get() {
                break *outcome;
            }
            let mine = turns.entry(*blob).or_default();
            if mine.syncing {
                turns = self.changed.wait(turns).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            mine.syncing = true;
            mine.next = Arc::default();
            drop(turns);
            let outcome = sync().map_err(|error| error.kind());
            turns = self.lock();
            turns.entry(*blob).or_default().syncing = false;
            batch.done.set(outcome).ok();
            self.changed.notify_all();
        };
        let mine = turns.entry(*blob).or_default();
        mine.waiting -= 1;
        if mine.waiting == 0 {
            turns.remove(blob);
        }
        outcome.map_err(io::Error::from)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// A first sync that stands still until eight more have written: they share the second.
    #[test]
    fn whoever_wrote_during_a_sync_shares_the_next_and_its_failure() {
        let shared = SharedSync::default();
        let blob = BlobId::from_bytes([1; 16]);
        let syncs = AtomicUsize::new(0);
        let (began, has_begun) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let released = Mutex::new(released);
        let outcomes = thread::scope(|scope| {
            let first = scope.spawn(|| {
                shared.sync_with(&blob, || {
                    began.send(()).unwrap();
                    released.lock().unwrap().recv().unwrap();
                    Ok(())
                })
            });
            has_begun.recv().unwrap();
            let later: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        shared.sync_with(&blob, || {
                            syncs.fetch_add(1, Ordering::Relaxed);
                            Err(io::ErrorKind::StorageFull.into())
                        })
                    })
                })
                .collect();
            while shared.lock().get(&blob).is_some_and(|turns| turns.waiting < 9) {
                thread::yield_now();
            }
            release.send(()).unwrap();
            first.join().unwrap().unwrap();
            later.into_iter().map(|one| one.join().unwrap().unwrap_err().kind()).collect::<Vec<_>>()
        });
        assert_eq!((outcomes, syncs.into_inner()), (vec![io::ErrorKind::StorageFull; 8], 1));
        assert!(shared.lock().is_empty());
    }
}
