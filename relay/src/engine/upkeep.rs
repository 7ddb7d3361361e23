//! What is done with the store itself while the relay runs: copies, another index, and erasing what was removed.

use penpal_store::{Backup, MemStore, OpenError, ReadError, Stats, Store};
use tokio::sync::oneshot;

use super::{Engine, EngineError};

/// Closes over the folder: opens the same store with its index rebuilt.
pub(crate) type Reopen = Box<dyn FnMut() -> Result<Box<dyn Store>, OpenError> + Send>;

/// One thing to do. Each is answered once; a dropped answer means that the engine has ended.
pub(crate) enum Upkeep {
    /// Take a consistent copy, to be written beside what goes on.
    Backup { reply: oneshot::Sender<Result<Box<dyn Backup>, ReadError>> },
    /// Rebuild the index. Nothing else happens meanwhile.
    Rebuild { done: oneshot::Sender<Result<(), UpkeepError>> },
    /// Write everything stored anew, in quiet moments, and then the index: nothing is left of what was removed.
    Erase { done: oneshot::Sender<Result<(), UpkeepError>> },
    /// Sizes of the store.
    Sizes { reply: oneshot::Sender<Stats> },
}

impl std::fmt::Debug for Upkeep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Backup { .. } => "Backup",
            Self::Rebuild { .. } => "Rebuild",
            Self::Erase { .. } => "Erase",
            Self::Sizes { .. } => "Sizes",
        })
    }
}

/// Something could not be done; the relay goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UpkeepError {
    /// Writing the log anew needs a free segment, writing the index anew its size.
    #[error("there is no room on the disk for writing log and index anew")]
    NoRoom,
}

impl Engine {
    /// Says how the store is opened anew.
    pub(crate) fn with_reopen(mut self, reopen: Reopen) -> Self {
        self.reopen = Some(reopen);
        self
    }

    pub(super) fn upkeep(&mut self, what: Upkeep) -> Result<(), EngineError> {
        match what {
            // Nobody waiting any more is no failure, here and below.
            Upkeep::Backup { reply } => {
                reply.send(self.store.backup()).ok();
            }
            Upkeep::Rebuild { done } => {
                let result = self.rebuild_index()?;
                done.send(result).ok();
            }
            Upkeep::Erase { done } => {
                if self.store.scrub()? {
                    self.untidy = true;
                    self.erasing.push(done);
                } else {
                    done.send(Err(UpkeepError::NoRoom)).ok();
                }
            }
            Upkeep::Sizes { reply } => {
                reply.send(self.store.stats()).ok();
            }
        }
        Ok(())
    }

    /// Ends an erasure whose log is written anew.
    pub(super) fn end_erasing(&mut self) -> Result<(), EngineError> {
        if self.erasing.is_empty() || (self.untidy && self.store.is_scrubbing()) {
            return Ok(());
        }
        let result = if self.store.is_scrubbing() { Err(UpkeepError::NoRoom) } else { self.rebuild_index()? };
        for done in self.erasing.drain(..) {
            done.send(result).ok();
        }
        Ok(())
    }

    fn rebuild_index(&mut self) -> Result<Result<(), UpkeepError>, EngineError> {
        if self.store.stats().full {
            return Ok(Err(UpkeepError::NoRoom));
        }
        let Some(mut reopen) = self.reopen.take() else { return Ok(Ok(())) };
        // The machine remembers rows by what they say, so another store with the same rows is as good.
        let store = std::mem::replace(&mut self.store, Box::new(MemStore::new()));
        let end = store.close()?;
        self.note_end(end)?;
        self.store = reopen().map_err(EngineError::Reopen)?;
        self.reopen = Some(reopen);
        Ok(Ok(()))
    }
}
