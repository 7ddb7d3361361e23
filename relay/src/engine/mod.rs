//! The one thread that owns machine and store: take what waits, handle it, commit once, then tell everybody.

mod inbox;
mod parts;
#[cfg(test)]
mod tests;
mod upkeep;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use penpal_protocol::ids::BlobId;
use penpal_protocol::time::Now;
use penpal_protocol::wire::Request;
use penpal_relay_core::{
    AdminAnswer, Command, Committed, ConnId, RelayCore, RequestId, Rows, RowsError, StartError, Table,
};
use penpal_store::{CloseError, CommitError, LogPosition, MemStore, OpenError, Outcome, Store};
use penpal_transport::BootInstant;
use penpal_transport::clock::Clock;
use rand_core::CryptoRng;
use tokio::sync::oneshot;

pub(crate) use inbox::{Inbox, Input, Reply, Stopped};
pub use parts::{Mark, Parts};
pub(crate) use upkeep::{Reopen, Upkeep, UpkeepError};

use crate::blobs::Blobs;
use crate::folder::KeysError;
use crate::metrics::Metrics;
use crate::net::Outbox;
use crate::storage::{StoreRows, batch};

/// Bytes of changes after which a step is committed though more waits: half of what one batch may hold, because the
/// last input may add much. What the operator asks begins a step of its own, for it may add more than that.
const STEP_BYTES: usize = penpal_store::MAX_BATCH_BYTES / 2;

/// Quiet time after which the store tidies up, so that tidying is not in the way of the next message.
const IDLE_BEFORE_TIDY: Duration = Duration::from_millis(10);

/// Bytes that the store may move at a time when tidying.
const TIDY_BYTES: u64 = 512 * 1024;

/// Commits after which the store tidies up even when there is no quiet time.
const TIDY_COMMITS: u32 = 2_000;

/// Pause between two notes of the log's end. What is restored to a point within it goes unnoticed.
const MARK_PAUSE: Duration = Duration::from_secs(10);

/// Rows of blobs looked at in one step at the start.
const BLOBS_A_PAGE: usize = 256;

/// Longest sleep of the engine, because the sleep does not count suspended time.
const MAX_SLEEP: Duration = Duration::from_secs(60);

/// The engine cannot go on. The process should end; started again, it recovers from disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Stored rows cannot be used.
    #[error("the stored data cannot be used")]
    Start(#[from] StartError),
    /// Writing failed.
    #[error("storing failed")]
    Commit(#[from] CommitError),
    /// Reading failed.
    #[error("reading failed")]
    Rows(#[from] RowsError),
    /// The store refused a batch, which is a fault of this program.
    #[error("the store refused a change: {detail}")]
    Refused {
        /// What it said.
        detail: String,
    },
    /// The keys folder cannot be written.
    #[error("the keys folder cannot be written")]
    Keys(#[from] KeysError),
    /// The store, closed to have its index rebuilt, cannot be opened again.
    #[error("the store cannot be opened again")]
    Reopen(#[source] OpenError),
    /// Ending cleanly failed; everything is on disk all the same.
    #[error("the store was not closed cleanly")]
    Close(#[from] CloseError),
    /// The thread panicked.
    #[error("the engine panicked")]
    Panicked,
}

/// A connection, as the engine sees it.
#[derive(Debug)]
struct Entry {
    outbox: Arc<Outbox>,
    /// Whether this step has something for it.
    touched: bool,
}

/// Machine, store, and who waits for what.
pub(crate) struct Engine {
    core: RelayCore,
    store: Box<dyn Store>,
    mark: Box<dyn Mark>,
    /// What the mark says.
    marked: Option<LogPosition>,
    inbox: Arc<Inbox>,
    clock: Arc<dyn Clock>,
    started: BootInstant,
    rng: Box<dyn CryptoRng + Send>,
    conns: HashMap<ConnId, Entry>,
    touched: Vec<ConnId>,
    replies: HashMap<RequestId, oneshot::Sender<Reply>>,
    admin_replies: HashMap<RequestId, oneshot::Sender<AdminAnswer>>,
    last_request: u64,
    commits_since_tidy: u32,
    /// Whether the store may have something to tidy.
    untidy: bool,
    marked_at: Duration,
    /// Opens the store anew with another index; absent in simulations.
    reopen: Option<Reopen>,
    /// Who waits for removed accounts to be gone from the files.
    erasing: Vec<oneshot::Sender<Result<(), UpkeepError>>>,
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("connections", &self.conns.len()).finish_non_exhaustive()
    }
}

impl Engine {
    /// Makes the machine from the store. A log that ends before the mark in the keys folder was restored from a copy.
    pub(crate) fn new(parts: Parts, inbox: Arc<Inbox>) -> Result<Self, EngineError> {
        let Parts { config, store, blobs, offload, graph, mark, clock, mut rng } = parts;
        let started = clock.boot();
        let now = Now { mono: Duration::ZERO, wall_ms: clock.wall_ms() };
        let marked = mark.read()?;
        let restored = marked.is_some_and(|mark| store.log_end().is_behind(&mark));
        if restored {
            tracing::warn!("the data is older than this relay was: every spool begins a new epoch");
        }
        let core = RelayCore::new(config, graph, restored, &StoreRows(&*store), now, &mut *rng)?;
        let mut engine = Self {
            core,
            store,
            mark,
            marked,
            inbox,
            clock,
            started,
            rng,
            conns: HashMap::new(),
            touched: Vec::new(),
            replies: HashMap::new(),
            admin_replies: HashMap::new(),
            last_request: 0,
            commits_since_tidy: 0,
            untidy: true,
            marked_at: now.mono,
            reopen: None,
            erasing: Vec::new(),
            blobs: Arc::new(Blobs::new(blobs, offload)),
            metrics: Arc::default(),
        };
        // The new epoch is on disk before anybody hears of it, and before the mark says that nothing was restored.
        engine.commit_step(now)?;
        engine.note_end(engine.store.log_end())?;
        engine.sweep_blobs()?;
        engine.mend_blobs(now)?;
        Ok(engine)
    }

    /// Corrects rows of blobs whose file is not there, or shorter than it was: a copy that was put back may lack it.
    fn mend_blobs(&mut self, now: Now) -> Result<(), EngineError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = StoreRows(&*self.store).keys(Table::Blob, &[], after.as_deref(), BLOBS_A_PAGE)?;
            for blob in page.iter().filter_map(|key| BlobId::from_slice(key)) {
                // What cannot be looked at now is seen when it is read.
                if let Ok(bytes) = self.blobs.bytes(&blob) {
                    self.core.handle_blob_kept(blob, bytes, &StoreRows(&*self.store))?;
                }
            }
            self.commit_step(now)?;
            let full = page.len() == BLOBS_A_PAGE;
            after = page.into_iter().next_back().filter(|_| full);
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Removes files of blobs that no row knows.
    fn sweep_blobs(&self) -> Result<(), EngineError> {
        let rows = StoreRows(&*self.store);
        let mut failed = None;
        self.blobs.sweep(|blob| match rows.get(Table::Blob, blob.as_bytes()) {
            Ok(row) => row.is_some(),
            Err(error) => {
                failed = Some(error);
                true
            }
        });
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Whether there is no account yet.
    pub(crate) fn is_new(&self) -> Result<bool, EngineError> {
        Ok(StoreRows(&*self.store).keys(Table::Account, &[], None, 1)?.is_empty())
    }

    /// Runs until told to stop or until storage fails.
    pub(crate) fn run(mut self) -> Result<(), EngineError> {
        let result = self.turn_until_stopped();
        self.inbox.close();
        result?;
        let store = std::mem::replace(&mut self.store, Box::new(MemStore::new()));
        let end = store.close()?;
        self.note_end(end)
    }

    fn turn_until_stopped(&mut self) -> Result<(), EngineError> {
        let inbox = Arc::clone(&self.inbox);
        let mut inputs = Vec::new();
        let mut idle = false;
        loop {
            inbox.take(&mut inputs, self.sleep(idle));
            idle = inputs.is_empty();
            if !self.turn(&mut inputs)? {
                return Ok(());
            }
        }
    }

    /// One turn: everything that waits and everything that is due, then quiet work. `false` when told to stop.
    pub(crate) fn turn(&mut self, inputs: &mut Vec<Input>) -> Result<bool, EngineError> {
        let idle = inputs.is_empty();
        let now = self.read_clock();
        let going_on = self.handle_all(inputs, now)?;
        if self.core.poll_timeout().is_some_and(|due| due <= now.mono) {
            self.core.handle_timeout(&StoreRows(&*self.store), now)?;
        }
        self.commit_step(now)?;
        if !going_on {
            self.last_step(now)?;
            return Ok(false);
        }
        if idle || self.commits_since_tidy >= TIDY_COMMITS {
            self.tidy(now)?;
        }
        Ok(true)
    }

    fn read_clock(&self) -> Now {
        Now { mono: self.clock.boot().saturating_since(self.started), wall_ms: self.clock.wall_ms() }
    }

    /// Notes how far the log goes, to notice at a later start that older data was put in its place. On a full disk the
    /// note of before stays, and what it says is still true.
    fn note_end(&mut self, end: LogPosition) -> Result<(), EngineError> {
        if self.marked == Some(end) {
            return Ok(());
        }
        match self.mark.write(end) {
            Ok(()) => self.marked = Some(end),
            Err(error) if error.is_full() => {
                tracing::warn!("the disk is full: how far the log goes is not noted")
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// How long nothing needs to be done.
    pub(crate) fn sleep(&self, idle: bool) -> Duration {
        let now = self.read_clock();
        let due = self.core.poll_timeout().map_or(MAX_SLEEP, |due| due.saturating_sub(now.mono));
        let tidy = match (self.untidy, idle) {
            (true, true) => Duration::ZERO,
            (true, false) => IDLE_BEFORE_TIDY,
            (false, _) => MAX_SLEEP,
        };
        due.min(tidy).min(MAX_SLEEP)
    }

    /// Hands inputs to the machine; `false` when told to stop.
    fn handle_all(&mut self, inputs: &mut Vec<Input>, now: Now) -> Result<bool, EngineError> {
        for input in inputs.drain(..) {
            match input {
                Input::Connected { conn, peer, prefix, outbox } => {
                    self.metrics.connected();
                    self.conns.insert(conn, Entry { outbox, touched: false });
                    self.core.handle_connected(conn, peer, prefix, &StoreRows(&*self.store), now)?;
                }
                Input::Closed { conn } => {
                    self.metrics.closed();
                    self.conns.remove(&conn);
                    self.core.handle_closed(conn, now);
                }
                Input::Request { conn, request, reply } => {
                    // A device must be cut off also while the disk is full, which only a step of its own can do.
                    let alone = matches!(request, Request::DeviceRemove(_));
                    if alone {
                        self.commit_pending(now)?;
                    }
                    let id = self.next_request();
                    self.replies.insert(id, reply);
                    let rows = StoreRows(&*self.store);
                    self.core.handle_request(conn, id, request, &rows, now, &mut *self.rng)?;
                    if alone {
                        self.commit_step(now)?;
                    }
                }
                Input::BlobWritten { conn, blob, part, reply } => {
                    let id = self.next_request();
                    self.replies.insert(id, reply);
                    self.core.handle_blob_written(conn, id, blob, part, &StoreRows(&*self.store))?;
                }
                Input::BlobKept { blob, bytes } => {
                    self.core.handle_blob_kept(blob, bytes, &StoreRows(&*self.store))?;
                }
                Input::Deposits { conn, deposits } => {
                    for deposit in deposits {
                        self.core.handle_deposit(conn, deposit, &StoreRows(&*self.store), now)?;
                    }
                }
                Input::Admin { request, reply } => {
                    // An account that is removed may fill most of a batch.
                    self.commit_pending(now)?;
                    let id = self.next_request();
                    self.admin_replies.insert(id, reply);
                    let rows = StoreRows(&*self.store);
                    self.core.handle_admin(id, request, &rows, now, &mut *self.rng)?;
                }
                Input::Upkeep(upkeep) => {
                    self.commit_step(now)?;
                    self.upkeep(upkeep)?;
                }
                Input::Flush { done } => {
                    self.commit_step(now)?;
                    // Nobody waiting any more is no failure.
                    done.send(()).ok();
                }
                Input::Stop => return Ok(false),
            }
            if self.core.pending_bytes() >= STEP_BYTES {
                self.commit_step(now)?;
            }
        }
        Ok(true)
    }

    fn next_request(&mut self) -> RequestId {
        self.last_request += 1;
        RequestId(self.last_request)
    }

    /// Ends a step if it has anything to store.
    fn commit_pending(&mut self, now: Now) -> Result<(), EngineError> {
        if self.core.pending_bytes() > 0 { self.commit_step(now) } else { Ok(()) }
    }

    /// Ends a step: one commit, then everything that it allows to say.
    fn commit_step(&mut self, now: Now) -> Result<(), EngineError> {
        let changes = self.core.take_changes(now);
        let committed = if changes.is_empty() {
            Committed::Done
        } else {
            self.untidy = true;
            self.commits_since_tidy += 1;
            let began = std::time::Instant::now();
            let mut batch = batch(changes);
            batch.reserve = self.core.is_urgent();
            let outcomes = self.store.commit(vec![batch])?;
            self.metrics.committed(began.elapsed());
            match outcomes.as_slice() {
                [Outcome::Done] => Committed::Done,
                [Outcome::Full] => Committed::Full,
                other => return Err(EngineError::Refused { detail: format!("{other:?}") }),
            }
        };
        if committed == Committed::Full {
            self.metrics.disk_full();
            tracing::warn!("the disk is full: deposits are refused until there is room");
        }
        self.core.handle_committed(committed, &StoreRows(&*self.store), now)?;
        while let Some(command) = self.core.poll_command() {
            self.carry_out(command);
        }
        // Whoever asked on a connection that has ended gets no answer: dropping the reply says so.
        self.replies.clear();
        self.admin_replies.clear();
        for conn in self.touched.drain(..) {
            if let Some(entry) = self.conns.get_mut(&conn) {
                entry.touched = false;
                entry.outbox.wake();
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, command: Command) {
        self.metrics.said(&command);
        match command {
            Command::Answer { request, answer, .. } => {
                if let Some(reply) = self.replies.remove(&request) {
                    // Nobody waiting any more is no failure.
                    reply.send(Reply::Answer(answer)).ok();
                }
            }
            Command::Grant { request, grant, .. } => {
                if let Some(reply) = self.replies.remove(&request) {
                    reply.send(Reply::Grant(grant)).ok();
                }
            }
            Command::DepositAnswer { conn, answer } => self.put(conn, |outbox| outbox.answer(answer)),
            Command::Push { conn, push } => self.put(conn, |outbox| outbox.push(push)),
            Command::Close { conn, reason } => self.put(conn, |outbox| outbox.close(reason)),
            Command::RemoveBlob { blob } => self.blobs.remove(&blob),
            Command::Admin { request, answer } => {
                if let Some(reply) = self.admin_replies.remove(&request) {
                    reply.send(answer).ok();
                }
            }
            Command::Alarm { what } => tracing::error!("{what}"),
        }
    }

    fn put(&mut self, conn: ConnId, into: impl FnOnce(&Outbox)) {
        let Some(entry) = self.conns.get_mut(&conn) else { return };
        into(&entry.outbox);
        if !std::mem::replace(&mut entry.touched, true) {
            self.touched.push(conn);
        }
    }

    /// Uses quiet time.
    fn tidy(&mut self, now: Now) -> Result<(), EngineError> {
        // A store that found the disk full looks again, though nothing else happens.
        if self.untidy || self.store.stats().full {
            self.untidy = self.store.compact(TIDY_BYTES)?.more;
            self.commits_since_tidy = 0;
            self.end_erasing()?;
        }
        if now.mono.saturating_sub(self.marked_at) >= MARK_PAUSE {
            self.marked_at = now.mono;
            self.note_end(self.store.log_end())?;
        }
        Ok(())
    }

    /// Writes what was allowed to wait.
    fn last_step(&mut self, now: Now) -> Result<(), EngineError> {
        let later = now.plus(Duration::from_secs(1));
        self.core.handle_timeout(&StoreRows(&*self.store), later)?;
        self.commit_step(later)
    }
}
