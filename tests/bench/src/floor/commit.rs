//! Group commit in its plainest form: one thread, one preallocated file, one write and one sync a batch.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::Context;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

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

/// Where messages go in.
pub(super) type Jobs = SyncSender<Message>;

/// Where batches come out, durable.
pub(super) type Durable = UnboundedReceiver<Vec<Message>>;

/// Starts the thread. It ends with the process.
pub(super) fn start(folder: &Path) -> anyhow::Result<(Jobs, Durable)> {
    let file = File::options().create(true).truncate(true).write(true).open(folder.join("floor.log"))?;
    let zeros = vec![0; 1024 * 1024];
    for at in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, at as u64)?;
    }
    file.sync_all()?;
    let (jobs, inbox) = sync_channel(4 * BATCH);
    let (outbox, durable) = unbounded_channel();
    thread::Builder::new()
        .name("commit".to_owned())
        .spawn(move || {
            // Without a thread that commits there is no floor: the process ends.
            if run(&file, &inbox, &outbox).is_err() {
                std::process::abort();
            }
        })
        .context("a thread that commits")?;
    Ok((jobs, durable))
}

fn run(file: &File, inbox: &Receiver<Message>, outbox: &UnboundedSender<Vec<Message>>) -> anyhow::Result<()> {
    let mut offset = 0;
    let mut block = Vec::with_capacity(BATCH * MESSAGE_BYTES);
    while let Ok(first) = inbox.recv() {
        let batch: Vec<_> = std::iter::once(first).chain(inbox.try_iter()).take(BATCH).collect();
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
        outbox.send(batch).ok().context("a network side")?;
    }
    Ok(())
}

/// The number at the beginning of a message.
pub(super) fn number_of(message: &[u8; MESSAGE_BYTES]) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&message[..8]);
    u64::from_be_bytes(number)
}
