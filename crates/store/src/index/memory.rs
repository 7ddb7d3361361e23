//! An index in memory, for simulations: it lives as long as its handle and is complete or absent.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Bases, Found, IndexBase, IndexChange, IndexHome, IndexRow, Rebuilt};
use crate::IndexError;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// An index in memory. Clones share it: keep one over a simulated death of the process to have the
/// index found again, [`MemIndex::lose`] it for a power cut.
#[derive(Clone, Default)]
pub struct MemIndex {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    maps: [Map; 2],
    log: Option<u64>,
    clean_end: Option<u64>,
    fails: bool,
    full: bool,
    /// How many more changes have room; any number when `None`.
    room: Option<usize>,
    /// For each map, what it was before every change since the last flush; kept only when asked for.
    unflushed: Option<[Vec<Map>; 2]>,
}

impl fmt::Debug for MemIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemIndex").finish_non_exhaustive()
    }
}

impl MemIndex {
    /// Makes an empty index.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything, as after a power cut: the next opening rebuilds.
    pub fn lose(&self) {
        let mut state = self.state();
        let unflushed = state.unflushed.as_ref().map(|_| Default::default());
        *state = State { unflushed, full: state.full, room: state.room, ..State::default() };
    }

    /// Whether there is no room for changes from now on: then nothing of them is made.
    pub fn set_full(&self, full: bool) {
        let mut state = self.state();
        (state.full, state.room) = (full, None);
    }

    /// There is room for so many more changes of a map, and then none until [`Self::set_full`] says otherwise.
    pub fn set_room(&self, changes: usize) {
        self.state().room = Some(changes);
    }

    /// Keeps every state since the last flush, for [`Self::roll_back`]. Costs a copy for each change.
    #[must_use]
    pub fn remembering(self) -> Self {
        self.state().unflushed = Some(Default::default());
        self
    }

    /// Returns each map to one of its states since the last flush, as the death of the process may:
    /// `pick` is given how many there are.
    pub fn roll_back(&self, mut pick: impl FnMut(usize) -> usize) {
        let mut state = self.state();
        let State { maps, unflushed: Some(unflushed), .. } = &mut *state else { return };
        for (map, states) in maps.iter_mut().zip(unflushed) {
            let picked = pick(states.len() + 1);
            if let Some(old) = states.get(picked) {
                map.clone_from(old);
            }
            states.clear();
        }
    }

    /// Makes every use from now on fail, until it is reset.
    pub fn fail(&self) {
        self.state().fails = true;
    }

    /// An independent copy.
    #[must_use]
    pub fn fork(&self) -> Self {
        let state = self.state();
        let copy = State {
            maps: state.maps.clone(),
            log: state.log,
            clean_end: state.clean_end,
            fails: state.fails,
            full: state.full,
            room: state.room,
            unflushed: state.unflushed.clone(),
        };
        Self { state: Arc::new(Mutex::new(copy)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bases(&self) -> Bases {
        let base = |map| Arc::new(MemBase { index: self.clone(), map });
        Bases { short: base(0), long: base(1) }
    }
}

impl IndexHome for MemIndex {
    fn in_background(&self) -> bool {
        false
    }

    fn has_room(&self) -> bool {
        !self.state().full
    }

    fn open(&mut self, log: u64) -> Found {
        let mut state = self.state();
        let clean_end = state.clean_end.take();
        match state.log {
            Some(found) if found == log => {}
            Some(_) => return Found::Untrusted(Rebuilt::Stale { detail: "another log".to_owned() }),
            None => return Found::Untrusted(Rebuilt::Absent),
        }
        drop(state);
        Found::Trusted { bases: self.bases(), clean_end }
    }

    fn reset(&mut self, log: u64) -> Result<Bases, IndexError> {
        self.lose();
        self.state().log = Some(log);
        Ok(self.bases())
    }

    fn forget(&mut self) -> Result<(), IndexError> {
        Ok(())
    }

    fn close(&mut self, _log: u64, bases: Bases, end: u64) -> Result<(), IndexError> {
        drop(bases);
        self.state().clean_end = Some(end);
        Ok(())
    }

    fn distrust(&mut self) {
        self.state().log = None;
    }
}

struct MemBase {
    index: MemIndex,
    map: usize,
}

impl MemBase {
    fn with<T>(&self, action: &'static str, job: impl FnOnce(&mut Map) -> T) -> Result<T, IndexError> {
        let mut state = self.index.state();
        let fails = state.fails;
        match state.maps.get_mut(self.map) {
            Some(map) if !fails => Ok(job(map)),
            Some(_) | None => Err(IndexError::Failed { action, detail: "simulated failure".to_owned() }),
        }
    }
}

impl IndexBase for MemBase {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.with("get", |map| map.get(key).cloned())
    }

    fn range(
        &self,
        from: &[u8],
        inclusive: bool,
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<IndexRow>, IndexError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let from = if inclusive { Bound::Included(from) } else { Bound::Excluded(from) };
        self.with("range", |map| {
            let rows = map.range::<[u8], _>((from, Bound::Excluded(to))).take(limit);
            rows.map(|(key, value)| (key.clone(), value.clone())).collect()
        })
    }

    fn apply(&self, changes: &mut dyn Iterator<Item = IndexChange<'_>>) -> Result<(), IndexError> {
        let mut state = self.index.state();
        if state.room == Some(0) {
            state.full = true;
        }
        if state.full {
            return Err(IndexError::Full);
        }
        state.room = state.room.map(|room| room - 1);
        drop(state);
        if let State { maps, unflushed: Some(unflushed), .. } = &mut *self.index.state()
            && let (Some(map), Some(states)) = (maps.get(self.map), unflushed.get_mut(self.map))
        {
            states.push(map.clone());
        }
        self.with("apply", |map| {
            for (key, value) in changes {
                match value {
                    Some(value) => map.insert(key.to_vec(), value.to_vec()),
                    None => map.remove(key),
                };
            }
        })
    }

    fn flush(&self) -> Result<(), IndexError> {
        if self.index.state().full {
            return Err(IndexError::Full);
        }
        if let Some(states) = self.index.state().unflushed.as_mut().and_then(|all| all.get_mut(self.map)) {
            states.clear();
        }
        self.with("flush", |_| ())
    }
}
