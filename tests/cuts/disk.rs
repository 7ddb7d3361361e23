//! A disk with a cache that loses what was not flushed: the image of a block device, served to the loop driver as the one file
//! of a FUSE file system.
//!
//! The kernel's writes and flushes arrive here one by one and in order, so a cut is exact: it keeps everything up to the last
//! flush, and of every 512-byte sector written since then what the seed decides. That is what a disk may do, and no more.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};
use penpal_tests::seed::Seeded;

/// Name of the image in the file system.
pub(crate) const IMAGE: &str = "disk";

const BLOCK: usize = 4096;
const SECTOR: usize = 512;
const FILE: INodeNo = INodeNo(2);
const TTL: Duration = Duration::from_secs(3600);

type Block = Arc<[u8; BLOCK]>;

/// What of the unflushed sectors a cut keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keep {
    /// None.
    Nothing,
    /// All.
    All,
    /// Each with this many chances in eight: reordered and torn.
    Some(u64),
}

/// What a cut did, for the summary.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lost {
    /// Sectors written since the last flush.
    pub(crate) unflushed: u64,
    /// Those of them that are gone.
    pub(crate) gone: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Power {
    /// As usual; the cut comes by itself after so many more writes and flushes.
    On(Option<u64>),
    /// The moment of the cut: whoever writes or flushes waits.
    Held,
    /// Afterwards: writes are forgotten, so that the kernel can let go of the device.
    Off,
}

#[derive(Debug)]
struct State {
    bytes: u64,
    /// As after the last flush. Absent blocks are zero.
    durable: HashMap<u64, Block>,
    /// As the kernel sees it.
    now: HashMap<u64, Block>,
    /// Writes since the last flush, in order.
    unflushed: Vec<(u64, Vec<u8>)>,
    power: Power,
}

/// The disk. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Disk(Arc<(Mutex<State>, Condvar)>);

impl Disk {
    /// A disk with this content.
    pub(crate) fn new(image: &[u8]) -> Self {
        let mut durable = HashMap::new();
        for (number, bytes) in (0..).zip(image.chunks_exact(BLOCK)) {
            if let Some(block) = block(bytes) {
                durable.insert(number, block);
            }
        }
        Self::with(image.len() as u64, durable)
    }

    fn with(bytes: u64, durable: HashMap<u64, Block>) -> Self {
        let now = durable.clone();
        let state = State { bytes, durable, now, unflushed: Vec::new(), power: Power::On(None) };
        Self(Arc::new((Mutex::new(state), Condvar::new())))
    }

    /// Cuts the power after so many more writes and flushes.
    pub(crate) fn cut_after(&self, operations: u64) {
        self.state().power = Power::On(Some(operations));
    }

    /// Waits until the arranged cut happened, not longer than `limit`.
    pub(crate) fn wait_for_cut(&self, limit: Duration) {
        let until = Instant::now() + limit;
        let mut state = self.state();
        while matches!(state.power, Power::On(_)) && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            state = self.0.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Cuts the power now: nothing becomes durable from here on.
    pub(crate) fn cut(&self) {
        self.state().power = Power::Held;
        self.0.1.notify_all();
    }

    /// Lets everybody who waits for the disk go on, for nothing. Whoever could say something must be dead by now.
    pub(crate) fn release(&self) {
        self.state().power = Power::Off;
        self.0.1.notify_all();
    }

    /// The disk as it is found when the power is back.
    pub(crate) fn after(&self, keep: Keep, seeded: &mut Seeded) -> (Self, Lost) {
        let state = self.state();
        assert_ne!(state.power, Power::On(None), "the power is on");
        let (mut durable, mut lost) = (state.durable.clone(), Lost::default());
        for (offset, bytes) in &state.unflushed {
            for (sector, part) in (0..).zip(bytes.chunks(SECTOR)) {
                let kept = match keep {
                    Keep::Nothing => false,
                    Keep::All => true,
                    Keep::Some(eighths) => seeded.below(8) < eighths,
                };
                lost.unflushed += 1;
                if kept {
                    write(&mut durable, offset + sector * SECTOR as u64, part);
                } else {
                    lost.gone += 1;
                }
            }
        }
        (Self::with(state.bytes, durable), lost)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits where a cut holds, and counts down to an arranged one.
    fn operation(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        match state.power {
            Power::On(Some(0)) => {
                state.power = Power::Held;
                self.0.1.notify_all();
            }
            Power::On(Some(left)) => state.power = Power::On(Some(left - 1)),
            Power::On(None) | Power::Held | Power::Off => {}
        }
        while state.power == Power::Held {
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }
}

/// `None` where all is zero: most of a disk is.
fn block(bytes: &[u8]) -> Option<Block> {
    let block: [u8; BLOCK] = bytes.try_into().ok()?;
    block.iter().any(|byte| *byte != 0).then(|| Arc::new(block))
}

fn write(blocks: &mut HashMap<u64, Block>, offset: u64, bytes: &[u8]) {
    let (mut offset, mut rest) = (offset, bytes);
    while !rest.is_empty() {
        let (number, start) = (offset / BLOCK as u64, (offset % BLOCK as u64) as usize);
        let (part, more) = rest.split_at(rest.len().min(BLOCK - start));
        let block = blocks.entry(number).or_insert_with(|| Arc::new([0; BLOCK]));
        Arc::make_mut(block)[start..start + part.len()].copy_from_slice(part);
        if block.iter().all(|byte| *byte == 0) {
            blocks.remove(&number);
        }
        (offset, rest) = (offset + part.len() as u64, more);
    }
}

impl State {
    fn flush(&mut self) {
        for (offset, bytes) in std::mem::take(&mut self.unflushed) {
            let last = (offset + bytes.len() as u64 - 1) / BLOCK as u64;
            for number in offset / BLOCK as u64..=last {
                match self.now.get(&number) {
                    Some(block) => self.durable.insert(number, Arc::clone(block)),
                    None => self.durable.remove(&number),
                };
            }
        }
    }

    fn attributes(&self, file: INodeNo) -> FileAttr {
        let is_file = file == FILE;
        FileAttr {
            ino: file,
            size: if is_file { self.bytes } else { 0 },
            blocks: self.bytes / SECTOR as u64,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_file { FileType::RegularFile } else { FileType::Directory },
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: BLOCK as u32,
            flags: 0,
        }
    }
}

impl Filesystem for Disk {
    fn lookup(&self, _request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == IMAGE {
            reply.entry(&TTL, &self.state().attributes(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _request: &Request, file: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.state().attributes(file));
    }

    fn open(&self, _request: &Request, _file: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn read(
        &self,
        _request: &Request,
        _file: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let state = self.state();
        let end = (offset + u64::from(size)).min(state.bytes);
        let mut bytes = Vec::with_capacity(size as usize);
        let mut at = offset;
        while at < end {
            let start = (at % BLOCK as u64) as usize;
            let len = (BLOCK - start).min((end - at) as usize);
            match state.now.get(&(at / BLOCK as u64)) {
                Some(block) => bytes.extend_from_slice(&block[start..start + len]),
                None => bytes.resize(bytes.len() + len, 0),
            }
            at += len as u64;
        }
        drop(state);
        reply.data(&bytes);
    }

    fn write(
        &self,
        _request: &Request,
        _file: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        // What is on its way to the disk when the power goes may get there.
        let mut state = self.state();
        if matches!(state.power, Power::On(_)) {
            write(&mut state.now, offset, data);
            state.unflushed.push((offset, data.to_vec()));
        }
        drop(state);
        drop(self.operation());
        reply.written(data.len() as u32);
    }

    fn fsync(&self, _request: &Request, _file: INodeNo, _handle: FileHandle, _data: bool, reply: ReplyEmpty) {
        let mut state = self.operation();
        if matches!(state.power, Power::On(_)) {
            state.flush();
        }
        drop(state);
        reply.ok();
    }
}
