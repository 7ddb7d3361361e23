//! Group commit in its plainest form: one thread, one preallocated file, one write and one sync a batch.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::Context;
use tokio::sync::mpsc::UnboundedSender;

use crate::load::MESSAGE_BYTES;

/// Size of the file; when it is full writing begins at its start again.
const FILE_BYTES: usize = 256 * 1024 * 1024;

/// Most messages in one batch.
const BATCH: usize = 1024;

/// One message on its way.
#[derive(Debug)]
pub(super) struct Message {
    /// All of it.
    pub(super) bytes: Box<[u8; MESSAGE_BYTES]>,
    /// Who waits for its acknowledgement.
    pub(super) sender: UnboundedSender<u64>,
}

/// Who is handed what is durable.
pub(super) type Forward = UnboundedSender<Vec<Box<[u8; MESSAGE_BYTES]>>>;

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Job {
    /// From now on messages go there.
    Receiver(Forward),
    /// Store and forward this.
    Message(Message),
}

/// Starts the thread. It ends with the process.
pub(super) fn start(folder: &Path) -> anyhow::Result<SyncSender<Job>> {
    let file = File::options().create(true).truncate(true).write(true).open(folder.join("floor.log"))?;
    let zeros = vec![0; 1024 * 1024];
    for at in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, at as u64)?;
    }
    file.sync_all()?;
    let (jobs, inbox) = sync_channel(4 * BATCH);
    thread::Builder::new()
        .name("commit".to_owned())
        .spawn(move || {
            // Without a thread that commits there is no floor: the process ends.
            if run(&file, &inbox).is_err() {
                std::process::abort();
            }
        })
        .context("a thread that commits")?;
    Ok(jobs)
}

fn run(file: &File, inbox: &Receiver<Job>) -> anyhow::Result<()> {
    let mut forward: Option<Forward> = None;
    let mut offset = 0;
    let mut block = Vec::with_capacity(BATCH * MESSAGE_BYTES);
    let mut batch = Vec::with_capacity(BATCH);
    while let Ok(first) = inbox.recv() {
        for job in std::iter::once(first).chain(std::iter::from_fn(|| inbox.try_recv().ok())).take(BATCH) {
            match job {
                Job::Receiver(to) => forward = Some(to),
                Job::Message(message) => batch.push(message),
            }
        }
        if batch.is_empty() {
            continue;
        }
        block.clear();
        for message in &batch {
            block.extend_from_slice(&*message.bytes);
        }
        if offset + block.len() > FILE_BYTES {
            offset = 0;
        }
        file.write_all_at(&block, offset as u64)?;
        file.sync_data()?;
        offset += block.len();
        let mut messages = Vec::with_capacity(batch.len());
        for message in batch.drain(..) {
            let number = number_of(&message.bytes);
            messages.push(message.bytes);
            // A sender that is gone needs no answer.
            message.sender.send(number).ok();
        }
        if let Some(forward) = &forward {
            forward.send(messages).ok();
        }
    }
    Ok(())
}

/// The number at the beginning of a message.
pub(super) fn number_of(message: &[u8; MESSAGE_BYTES]) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&message[..8]);
    u64::from_be_bytes(number)
}
