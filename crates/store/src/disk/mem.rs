//! A disk in memory that forgets what was not synced, and fails on demand. Deterministic.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile};

/// What survives of unsynced writes when the power goes; names not synced survive as a prefix of the
/// changes made, decided by the same rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Crash {
    /// Nothing: the least a disk may keep.
    LoseAll,
    /// Everything.
    KeepAll,
    /// Only the process died: everything is there, and what was unsynced still is.
    Process,
    /// The first so many unsynced bytes over all files, in the order written: a tail torn at any byte.
    KeepBytes(u64),
    /// Each unsynced 512-byte sector by itself, as this seed decides: writes reordered and torn.
    Sectors(u64),
    /// Exactly these: for trying all of them, see [`MemDisk::unsynced`].
    Chosen {
        /// One bit for each unsynced sector in the order written, the lowest for the first; later ones than 64 are lost.
        sectors: u64,
        /// So many of the unsynced changes of names, the oldest.
        names: usize,
    },
}

/// A failure to come, counted in steps: each write, sync, creation, rename or removal is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// From this step on nothing is done and everything fails, until [`MemDisk::crash`].
    PowerCut(u64),
    /// That step fails if it is a write, after half of its bytes.
    Write(u64),
    /// That step fails if it is a sync of a file. The bytes stay unsynced.
    Sync(u64),
}

/// A folder in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Names as programs see them, and as they would be after a crash.
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    /// Name tables after each unsynced change, oldest first.
    name_history: Vec<BTreeMap<String, usize>>,
    files: Vec<Content>,
    /// Unsynced writes of all files in order.
    writes: Vec<Write>,
    capacity: Option<u64>,
    faults: Vec<Fault>,
    steps: u64,
    /// Open handles of each file, so that removed files live as long as they are open.
    handles: BTreeMap<usize, usize>,
    /// Handles of an earlier life fail.
    life: u64,
    locked: bool,
}

#[derive(Debug, Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Debug)]
struct Write {
    file: usize,
    offset: usize,
    bytes: Vec<u8>,
}

impl MemDisk {
    /// Makes an empty disk without a limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Limits the bytes of all files together; `None` lifts it.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Arranges a failure. Several may be pending.
    pub fn inject(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Whether the power is gone.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.state().is_cut()
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// Counts what a crash decides about: unsynced sectors, and unsynced changes of names.
    pub fn unsynced(&self) -> (u32, usize) {
        let state = self.state();
        let sectors = state.writes.iter().map(|write| write.sectors().len()).sum::<usize>();
        (u32::try_from(sectors).unwrap_or(u32::MAX), state.name_history.len())
    }

    /// Bytes of all files.
    pub fn used_bytes(&self) -> u64 {
        self.state().used()
    }

    /// Ends the process, or cuts the power, and starts again: open files fail, unsynced data is lost as
    /// `crash` says, pending faults and the lock are gone.
    pub fn crash(&self, crash: Crash) {
        self.state().crash(crash);
    }

    /// An independent disk with the same synced and unsynced state, for trying several crashes.
    #[must_use]
    pub fn fork(&self) -> Self {
        let state = self.state();
        let copy = State {
            names: state.names.clone(),
            synced_names: state.synced_names.clone(),
            name_history: state.name_history.clone(),
            files: state
                .files
                .iter()
                .map(|file| Content { now: file.now.clone(), synced: file.synced.clone() })
                .collect(),
            writes: state
                .writes
                .iter()
                .map(|write| Write { file: write.file, offset: write.offset, bytes: write.bytes.clone() })
                .collect(),
            capacity: state.capacity,
            faults: state.faults.clone(),
            steps: state.steps,
            handles: state.handles.clone(),
            life: state.life,
            locked: state.locked,
        };
        Self { state: Arc::new(Mutex::new(copy)) }
    }

    /// The content of a file as programs see it.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let file = state.names.get(name)?;
        state.files.get(*file).map(|content| content.now.clone())
    }

    /// Replaces a file's content durably, behind the back of whoever uses the disk.
    pub fn set_content(&self, name: &str, content: &[u8]) {
        let mut state = self.state();
        let file = state.add_file(content.to_vec(), true);
        state.names.insert(name.to_owned(), file);
        state.synced_names.insert(name.to_owned(), file);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cut() -> io::Error {
    io::Error::other("simulated power cut")
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {name}"))
}

impl State {
    fn used(&self) -> u64 {
        self.names.values().filter_map(|file| self.files.get(*file)).map(|file| file.now.len() as u64).sum()
    }

    fn is_cut(&self) -> bool {
        self.faults.iter().any(|fault| matches!(fault, Fault::PowerCut(step) if self.steps >= *step))
    }

    /// Counts a step; answers its number, or fails when the power is gone.
    fn step(&mut self) -> io::Result<u64> {
        if self.is_cut() {
            return Err(cut());
        }
        self.steps += 1;
        Ok(self.steps - 1)
    }

    fn add_file(&mut self, content: Vec<u8>, synced: bool) -> usize {
        let synced = if synced { content.clone() } else { Vec::new() };
        self.files.push(Content { now: content, synced });
        self.files.len() - 1
    }

    fn names_changed(&mut self) {
        self.name_history.push(self.names.clone());
    }

    fn sync_file(&mut self, file: usize) {
        if let Some(content) = self.files.get_mut(file) {
            for write in self.writes.iter().filter(|write| write.file == file) {
                apply(&mut content.synced, write.offset, &write.bytes);
            }
        }
        self.writes.retain(|write| write.file != file);
    }

    fn crash(&mut self, crash: Crash) {
        self.faults.clear();
        self.handles.clear();
        self.locked = false;
        self.life += 1;
        if crash != Crash::Process {
            self.cut_power(crash);
        }
        self.sweep();
    }

    fn cut_power(&mut self, crash: Crash) {
        let writes = std::mem::take(&mut self.writes);
        let history = std::mem::take(&mut self.name_history);
        let mut budget = match crash {
            Crash::LoseAll | Crash::Sectors(_) | Crash::Chosen { .. } => 0,
            Crash::KeepAll | Crash::Process => u64::MAX,
            Crash::KeepBytes(bytes) => bytes,
        };
        let mut number = 0_u32;
        for write in &writes {
            let Some(content) = self.files.get_mut(write.file) else { continue };
            if let Crash::Sectors(seed) = crash {
                keep_sectors(&mut content.synced, write, |offset| {
                    mix(seed ^ mix(offset as u64) ^ mix(write.file as u64).rotate_left(7)).is_multiple_of(2)
                });
            } else if let Crash::Chosen { sectors, .. } = crash {
                keep_sectors(&mut content.synced, write, |_| {
                    number += 1;
                    sectors.checked_shr(number - 1).is_some_and(|rest| rest & 1 == 1)
                });
            } else {
                let keep = usize::try_from(budget).unwrap_or(usize::MAX).min(write.bytes.len());
                apply(&mut content.synced, write.offset, write.bytes.get(..keep).unwrap_or(&[]));
                budget -= keep as u64;
            }
        }
        let kept_names = match crash {
            Crash::LoseAll | Crash::KeepBytes(_) => 0,
            Crash::KeepAll | Crash::Process => history.len(),
            Crash::Chosen { names, .. } => names.min(history.len()),
            Crash::Sectors(seed) => {
                usize::try_from(mix(seed) % (history.len() as u64 + 1)).unwrap_or_default()
            }
        };
        if let Some(names) = kept_names.checked_sub(1).and_then(|last| history.get(last)) {
            self.synced_names.clone_from(names);
        }
        self.names.clone_from(&self.synced_names);
        for content in &mut self.files {
            content.now.clone_from(&content.synced);
        }
    }

    /// Frees the content of files that have neither a name nor a handle.
    fn sweep(&mut self) {
        let tables = [&self.names, &self.synced_names].into_iter().chain(&self.name_history);
        let named: BTreeSet<usize> = tables.flat_map(BTreeMap::values).copied().collect();
        for (file, content) in self.files.iter_mut().enumerate() {
            if !named.contains(&file) && !self.handles.contains_key(&file) {
                *content = Content::default();
            }
        }
    }
}

/// A number that depends on every bit of the seed (splitmix64).
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const SECTOR: usize = 512;

impl Write {
    /// Parts of the write that a disk keeps or loses whole: where each begins in it and on the disk, and its end.
    fn sectors(&self) -> Vec<(usize, usize, usize)> {
        let mut sectors = Vec::new();
        let mut at = 0;
        while at < self.bytes.len() {
            let offset = self.offset + at;
            let end = (at + SECTOR - offset % SECTOR).min(self.bytes.len());
            sectors.push((at, offset, end));
            at = end;
        }
        sectors
    }
}

fn keep_sectors(content: &mut Vec<u8>, write: &Write, mut keeps: impl FnMut(usize) -> bool) {
    for (at, offset, end) in write.sectors() {
        if keeps(offset) {
            apply(content, offset, write.bytes.get(at..end).unwrap_or(&[]));
        }
    }
}

fn apply(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    if let Some(target) = content.get_mut(offset..end) {
        target.copy_from_slice(bytes);
    }
}

impl Disk for MemDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        if state.is_cut() {
            return Err(cut());
        }
        let file = *state.names.get(name).ok_or_else(|| not_found(name))?;
        *state.handles.entry(file).or_default() += 1;
        Ok(Arc::new(MemFile { disk: self.clone(), file, life: state.life }))
    }

    fn allocate(&self, name: &str, bytes: u64) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        if state.capacity.is_some_and(|capacity| state.used() + bytes > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = state.add_file(vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)], true);
        state.names.insert(name.to_owned(), file);
        state.names_changed();
        Ok(())
    }

    fn has_room(&self, bytes: u64) -> io::Result<bool> {
        let state = self.state();
        Ok(state.capacity.is_none_or(|capacity| state.used() + bytes <= capacity))
    }

    fn write_file(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let file = state.add_file(content.to_vec(), true);
        state.names.insert(name.to_owned(), file);
        state.names_changed();
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let file = state.names.remove(from).ok_or_else(|| not_found(from))?;
        state.names.insert(to.to_owned(), file);
        state.names_changed();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.names.remove(name).ok_or_else(|| not_found(name))?;
        state.names_changed();
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.synced_names = state.names.clone();
        state.name_history.clear();
        state.sweep();
        Ok(())
    }

    fn lock(&self, _name: &str) -> io::Result<Box<dyn Send>> {
        let mut state = self.state();
        if state.is_cut() {
            return Err(cut());
        }
        if state.locked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.locked = true;
        Ok(Box::new(Lock { disk: self.clone(), life: state.life }))
    }

    fn in_background(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct Lock {
    disk: MemDisk,
    life: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.life == self.life {
            state.locked = false;
        }
    }
}

#[derive(Debug)]
struct MemFile {
    disk: MemDisk,
    file: usize,
    life: u64,
}

impl Drop for MemFile {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.life != self.life {
            return;
        }
        if let Some(count) = state.handles.get_mut(&self.file) {
            *count -= 1;
            if *count == 0 {
                state.handles.remove(&self.file);
            }
        }
    }
}

impl MemFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.life != self.life || state.is_cut() { Err(cut()) } else { Ok(state) }
    }
}

impl DiskFile for MemFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.state()?;
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = state.files.get(self.file).and_then(|file| file.now.get(offset..)).unwrap_or(&[]);
        let len = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..len), rest.get(..len)) {
            to.copy_from_slice(from);
        }
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state()?;
        let step = state.step()?;
        let fails = state.faults.contains(&Fault::Write(step));
        let bytes = if fails { bytes.get(..bytes.len() / 2).unwrap_or(&[]) } else { bytes };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        state.writes.push(Write { file: self.file, offset, bytes: bytes.to_vec() });
        if let Some(content) = state.files.get_mut(self.file) {
            apply(&mut content.now, offset, bytes);
        }
        if fails { Err(io::Error::other("simulated write failure")) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let step = state.step()?;
        if state.faults.contains(&Fault::Sync(step)) {
            return Err(io::Error::other("simulated sync failure"));
        }
        state.sync_file(self.file);
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        let state = self.state()?;
        Ok(state.files.get(self.file).map_or(0, |file| file.now.len() as u64))
    }
}
