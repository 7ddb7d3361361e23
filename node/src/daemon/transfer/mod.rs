//! Moves blobs: does what the engine's transfer machine wants done, and reports what came of it.
//!
//! Bytes of files never pass through the engine: parts are read and sealed, or opened and written, in threads of their own, a bounded
//! number at a time. Connections are of their own as well, so that no message waits behind a file.
//!
//! ```text
//! engine ─ Directive ▶ Transfers ─▶ a task for each command ─┬─ remote: one connection for each relay
//!        ◀─ Input ────────────────────────────────────────────┴─ local: the content, or the half-written file
//! ```

mod local;
mod remote;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use penpal_protocol::blob::PartSet;
use penpal_protocol::ids::{BlobId, Capability, Hash};
use penpal_protocol::text::RelayAddress;
use penpal_transfer::{Command, Direction, Trouble};
use penpal_transport::{Offload, TransportKey};
use tokio::task::AbortHandle;

use super::inputs::EngineHandle;
use super::link::Links;
use crate::engine::Input;
use local::Along;
use remote::Remote;

/// One blob on its way, as the engine describes it.
#[derive(Debug, Clone)]
pub struct TransferJob {
    /// The blob.
    pub blob: BlobId,
    /// Which way.
    pub direction: Direction,
    /// Relay that keeps it.
    pub relay: RelayAddress,
    /// Key to show there.
    pub identity: TransportKey,
    /// Reads the blob.
    pub token: Capability,
    /// Opens the blob.
    pub key: Capability,
    /// Hash of the content.
    pub hash: Hash,
    /// Length of the content.
    pub bytes: u64,
    /// When the blob ends, Unix milliseconds; uploads only.
    pub expires_ms: u64,
    /// The content, or where it is put together.
    pub path: PathBuf,
}

/// What the engine wants of transfers.
#[derive(Debug)]
pub enum TransferOrder {
    /// A job, before the first command about it.
    Begin(Box<TransferJob>),
    /// Do this and report.
    Do(Command),
    /// Forget it; nothing about it is reported any more. What is half there stays for another time.
    End(BlobId),
}

/// What became of a command.
#[derive(Debug)]
pub enum TransferReport {
    /// What is there already.
    Opened {
        /// Which transfer.
        blob: BlobId,
        /// Parts, or why not.
        there: Result<PartSet, Failed>,
    },
    /// A part.
    Moved {
        /// Which transfer.
        blob: BlobId,
        /// Which part.
        part: u32,
        /// Whether it is where it was to go.
        outcome: Result<(), Failed>,
    },
    /// The whole: of a download, the file at [`TransferJob::path`] is the content.
    Finished {
        /// Which transfer.
        blob: BlobId,
        /// Whether it is right.
        outcome: Result<(), Failed>,
    },
}

/// Why something did not come about, and what people are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// What kind of trouble.
    pub trouble: Trouble,
    /// One line for people.
    pub text: String,
}

impl Failed {
    fn new(trouble: Trouble, text: impl Into<String>) -> Self {
        Self { trouble, text: text.into() }
    }
}

/// All transfers under way. Dropping them ends their tasks and connections.
#[derive(Debug)]
pub struct Transfers {
    engine: EngineHandle,
    jobs: BTreeMap<BlobId, Running>,
    next_key: u64,
    offload: Offload,
}

#[derive(Debug)]
struct Running {
    job: Arc<TransferJob>,
    along: Arc<Mutex<Along>>,
    remote: Arc<Remote>,
    tasks: BTreeMap<u64, AbortHandle>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.values().for_each(AbortHandle::abort);
    }
}

impl Transfers {
    /// None yet; `offload` says where parts are read, sealed, opened and written.
    #[must_use]
    pub fn new(engine: EngineHandle, offload: Offload) -> Self {
        Self { engine, jobs: BTreeMap::new(), next_key: 0, offload }
    }

    /// Does what the engine wants. Connections are made with what links have.
    pub fn order(&mut self, order: TransferOrder, links: &mut Links) {
        match order {
            TransferOrder::Begin(job) => self.begin(*job, links),
            TransferOrder::Do(command) => self.command(command),
            TransferOrder::End(blob) => {
                self.jobs.remove(&blob);
            }
        }
    }

    fn begin(&mut self, job: TransferJob, links: &mut Links) {
        let shared = self.jobs.values().find(|running| {
            running.job.relay == job.relay && running.job.identity.public() == job.identity.public()
        });
        let remote = match shared {
            Some(running) => Arc::clone(&running.remote),
            None => Arc::new(Remote::new(links.context(
                crate::engine::LinkId::TRANSFERS,
                job.relay.clone(),
                job.identity.clone(),
            ))),
        };
        let running = Running { job: Arc::new(job), along: Arc::default(), remote, tasks: BTreeMap::new() };
        self.jobs.insert(running.job.blob, running);
    }

    fn command(&mut self, command: Command) {
        let (Command::Open { blob } | Command::Move { blob, .. } | Command::Finish { blob }) = command;
        let Some(running) = self.jobs.get_mut(&blob) else { return };
        self.next_key += 1;
        running.tasks.retain(|_, task| !task.is_finished());
        let (job, along) = (Arc::clone(&running.job), Arc::clone(&running.along));
        let (remote, engine, offload) = (Arc::clone(&running.remote), self.engine.clone(), self.offload);
        let task = tokio::spawn(async move {
            let report = perform(command, job, along, &remote, offload).await;
            engine.input(Input::Transfer(report)).await;
        });
        running.tasks.insert(self.next_key, task.abort_handle());
    }
}

async fn perform(
    command: Command,
    job: Arc<TransferJob>,
    along: Arc<Mutex<Along>>,
    remote: &Remote,
    offload: Offload,
) -> TransferReport {
    let blob = job.blob;
    match (command, job.direction) {
        (Command::Open { .. }, Direction::Up) => {
            TransferReport::Opened { blob, there: remote.create(&job).await }
        }
        (Command::Open { .. }, Direction::Down) => {
            TransferReport::Opened { blob, there: blocking(offload, move || local::open(&job, &along)).await }
        }
        (Command::Move { part, .. }, Direction::Up) => {
            TransferReport::Moved { blob, part, outcome: up(job, part, remote, offload).await }
        }
        (Command::Move { part, .. }, Direction::Down) => {
            TransferReport::Moved { blob, part, outcome: down(job, along, part, remote, offload).await }
        }
        (Command::Finish { .. }, Direction::Up) => TransferReport::Finished { blob, outcome: Ok(()) },
        (Command::Finish { .. }, Direction::Down) => TransferReport::Finished {
            blob,
            outcome: blocking(offload, move || local::finish(&job, &along)).await,
        },
    }
}

async fn up(job: Arc<TransferJob>, part: u32, remote: &Remote, offload: Offload) -> Result<(), Failed> {
    let blob = job.blob;
    let sealed = blocking(offload, move || local::seal(&job, part)).await?;
    remote.put(&blob, part, sealed).await
}

async fn down(
    job: Arc<TransferJob>,
    along: Arc<Mutex<Along>>,
    part: u32,
    remote: &Remote,
    offload: Offload,
) -> Result<(), Failed> {
    let sealed = remote.get(&job, part).await?;
    blocking(offload, move || local::store(&job, part, &sealed, &along)).await
}

async fn blocking<T: Send + 'static>(
    offload: Offload,
    work: impl FnOnce() -> Result<T, Failed> + Send + 'static,
) -> Result<T, Failed> {
    offload.run(work).await.unwrap_or_else(|| Err(Failed::new(Trouble::Away, "the work was lost")))
}
