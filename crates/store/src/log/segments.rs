//! The files of the log: which exist, which are ready ahead, open handles, making and removing.
//!
//! On a real disk files are made and removed by one helper thread, so that filling 16 MiB with zeros
//! never stands in the way of a commit. It is joined when this is dropped.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use super::layout::{SegmentNo, segment_name, unfinished_name};
use crate::disk::{Disk, DiskFile, is_full};

/// Files kept open for reading.
const MAX_OPEN_FILES: usize = 256;

/// Result of an attempt to have another spare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Ready,
    DiskFull,
}

#[derive(Debug)]
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    /// Segments that hold batches, the active one included.
    existing: BTreeSet<SegmentNo>,
    /// Empty ones, ready to be written, in order. One is the reserve for batches that free space.
    spares: VecDeque<SegmentNo>,
    next: SegmentNo,
    open: RefCell<BTreeMap<SegmentNo, Arc<dyn DiskFile>>>,
    helper: Option<Helper>,
    /// Allocations asked of the helper and not answered.
    awaited: usize,
    full: bool,
    /// Whoever reads files beside the store holds a copy: while one does, no file is written over.
    readers: Arc<()>,
}

impl Segments {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
        existing: BTreeSet<SegmentNo>,
        spares: VecDeque<SegmentNo>,
    ) -> Self {
        let last = existing.iter().chain(&spares).max().copied().unwrap_or(0);
        let helper = if disk.in_background() { Helper::start(disk.clone(), segment_bytes) } else { None };
        Self {
            disk,
            segment_bytes,
            existing,
            spares,
            next: last + 1,
            open: RefCell::default(),
            helper,
            awaited: 0,
            full: false,
            readers: Arc::default(),
        }
    }

    /// To be held as long as files are read that the store may give up meanwhile.
    pub(crate) fn reading(&self) -> Arc<()> {
        self.readers.clone()
    }

    pub(crate) fn existing(&self) -> &BTreeSet<SegmentNo> {
        &self.existing
    }

    /// Whether a segment of `first..=last` other than `except` exists.
    pub(crate) fn any_in(&self, first: SegmentNo, last: SegmentNo, except: SegmentNo) -> bool {
        first <= last && self.existing.range(first..=last).any(|segment| *segment != except)
    }

    /// The existing segments as ranges.
    pub(crate) fn ranges(&self) -> Vec<(SegmentNo, SegmentNo)> {
        let mut ranges: Vec<(SegmentNo, SegmentNo)> = Vec::new();
        for segment in &self.existing {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == *segment => *last = *segment,
                Some(_) | None => ranges.push((*segment, *segment)),
            }
        }
        ranges
    }

    pub(crate) fn spares(&self) -> usize {
        self.spares.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// An open file, from those kept open where possible.
    pub(crate) fn file(&self, segment: SegmentNo) -> io::Result<Arc<dyn DiskFile>> {
        let mut open = self.open.borrow_mut();
        if let Some(file) = open.get(&segment) {
            return Ok(file.clone());
        }
        if open.len() >= MAX_OPEN_FILES {
            open.pop_first();
        }
        let file = self.disk.open(&segment_name(segment))?;
        open.insert(segment, file.clone());
        Ok(file)
    }

    /// Asks for spares without waiting; without a helper, only the reserve is made ahead of need.
    pub(crate) fn prepare(&mut self, spares: usize) -> io::Result<()> {
        if self.helper.is_none() {
            return if self.full { Ok(()) } else { self.require(1).map(|_| ()) };
        }
        self.collect(false)?;
        while !self.full && self.spares.len() + self.awaited < spares {
            let Some(helper) = &self.helper else { break };
            if !helper.ask(Job::Allocate(self.next)) {
                break;
            }
            self.next += 1;
            self.awaited += 1;
        }
        Ok(())
    }

    /// Has that many spares, waiting and making them here where needed.
    pub(crate) fn require(&mut self, spares: usize) -> io::Result<Room> {
        self.collect(false)?;
        while self.spares.len() < spares {
            if self.awaited > 0 {
                self.collect(true)?;
                continue;
            }
            let segment = self.next;
            match allocate(&*self.disk, segment, self.segment_bytes) {
                Ok(()) => {
                    self.next += 1;
                    self.spares.push_back(segment);
                    self.full = false;
                }
                Err(error) if is_full(&error) => {
                    self.full = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(if self.spares.len() >= spares { Room::Ready } else { Room::DiskFull })
    }

    /// After a full disk: looks whether there is room again.
    pub(crate) fn look_again(&mut self) -> io::Result<()> {
        self.collect(false)?;
        if !self.full {
            return Ok(());
        }
        self.full = !self.disk.has_room(self.segment_bytes)?;
        Ok(())
    }

    /// Takes a spare into use.
    pub(crate) fn take_spare(&mut self) -> Option<SegmentNo> {
        let segment = self.spares.pop_front()?;
        self.existing.insert(segment);
        Some(segment)
    }

    /// Forgets a segment that the log says is gone, and removes or renames its file.
    pub(crate) fn discard(&mut self, segment: SegmentNo, keep_as: Option<String>) -> io::Result<()> {
        self.existing.remove(&segment);
        self.open.borrow_mut().remove(&segment);
        let unread = Arc::strong_count(&self.readers) == 1;
        if self.full && keep_as.is_none() && unread && self.spares.is_empty() && self.awaited == 0 {
            return self.recycle(segment);
        }
        // There may be room again.
        self.full = false;
        let job = Job::Discard { segment, keep_as };
        match &self.helper {
            Some(helper) if helper.ask(job.clone()) => Ok(()),
            Some(_) | None => job.run(&*self.disk, self.segment_bytes),
        }
    }

    /// Makes a spare of a file that is not needed any more: on a full disk somebody else might take what it would free.
    fn recycle(&mut self, segment: SegmentNo) -> io::Result<()> {
        let job = Job::Recycle { segment, becomes: self.next };
        self.next += 1;
        match &self.helper {
            Some(helper) if helper.ask(job.clone()) => self.awaited += 1,
            Some(_) | None => {
                job.run(&*self.disk, self.segment_bytes)?;
                self.spares.push_back(self.next - 1);
            }
        }
        Ok(())
    }

    fn collect(&mut self, wait: bool) -> io::Result<()> {
        let Some(helper) = &self.helper else { return Ok(()) };
        let mut answer = if wait { helper.answers.recv().ok() } else { helper.answers.try_recv().ok() };
        if wait && answer.is_none() {
            // The helper is gone: nothing asked of it will come.
            self.awaited = 0;
        }
        while let Some((segment, result)) = answer {
            self.awaited -= 1;
            match result {
                Ok(()) => self.spares.push_back(segment),
                Err(error) if is_full(&error) => self.full = true,
                Err(error) => return Err(error),
            }
            answer = helper.answers.try_recv().ok();
        }
        Ok(())
    }
}

/// Makes a spare: complete under its name, or not there.
pub(crate) fn allocate(disk: &dyn Disk, segment: SegmentNo, bytes: u64) -> io::Result<()> {
    let unfinished = unfinished_name(segment);
    disk.allocate(&unfinished, bytes)?;
    disk.rename(&unfinished, &segment_name(segment))?;
    disk.sync_dir()
}

/// Makes a spare of a file that held something, as [`allocate`] does.
fn recycle(disk: &dyn Disk, segment: SegmentNo, becomes: SegmentNo, bytes: u64) -> io::Result<()> {
    let unfinished = unfinished_name(becomes);
    disk.rename(&segment_name(segment), &unfinished)?;
    disk.sync_dir()?;
    let file = disk.open(&unfinished)?;
    let mut at = 0;
    while at < bytes {
        let piece = usize::try_from(bytes - at).unwrap_or(usize::MAX).min(ZEROS.len());
        file.write_at(ZEROS.get(..piece).unwrap_or(&ZEROS), at)?;
        at += piece as u64;
        if at.is_multiple_of(SYNC_BYTES) {
            file.sync_data()?;
        }
    }
    file.sync_data()?;
    disk.rename(&unfinished, &segment_name(becomes))?;
    disk.sync_dir()
}

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Synced in pieces, so that a commit's own sync never queues behind a large one.
const SYNC_BYTES: u64 = 1024 * 1024;

#[derive(Clone, Debug)]
enum Job {
    Allocate(SegmentNo),
    Recycle { segment: SegmentNo, becomes: SegmentNo },
    Discard { segment: SegmentNo, keep_as: Option<String> },
}

impl Job {
    fn run(&self, disk: &dyn Disk, segment_bytes: u64) -> io::Result<()> {
        match self {
            Self::Allocate(segment) => allocate(disk, *segment, segment_bytes),
            Self::Recycle { segment, becomes } => recycle(disk, *segment, *becomes, segment_bytes),
            Self::Discard { segment, keep_as } => {
                let name = segment_name(*segment);
                match keep_as {
                    Some(other) => disk.rename(&name, other)?,
                    None => disk.remove(&name)?,
                }
                disk.sync_dir()
            }
        }
    }
}

/// The helper thread. Ends when dropped, after the jobs asked of it.
#[derive(Debug)]
struct Helper {
    jobs: Option<Sender<Job>>,
    answers: Receiver<(SegmentNo, io::Result<()>)>,
    thread: Option<JoinHandle<()>>,
}

impl Helper {
    /// `None` when no thread can be had: then everything happens in the caller.
    fn start(disk: Arc<dyn Disk>, segment_bytes: u64) -> Option<Self> {
        let (jobs, inbox) = channel::<Job>();
        let (outbox, answers) = channel();
        let work = move || {
            for job in inbox {
                let result = job.run(&*disk, segment_bytes);
                // A file that could not be removed is removed at the next opening: the log says so.
                if let Job::Allocate(segment) | Job::Recycle { becomes: segment, .. } = job
                    && outbox.send((segment, result)).is_err()
                {
                    return;
                }
            }
        };
        let thread = Builder::new().name("penpal-log-files".to_owned()).spawn(work).ok()?;
        Some(Self { jobs: Some(jobs), answers, thread: Some(thread) })
    }

    fn ask(&self, job: Job) -> bool {
        self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
