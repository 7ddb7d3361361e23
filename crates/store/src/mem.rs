//! The reference model: the simplest thing that behaves as a store must.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;
use std::path::Path;

use bytes::Bytes;

use crate::engine::create_target;
use crate::{
    Backup, BackupError, BackupReport, Batch, CloseError, CommitError, Compacted, Expect, KvStore,
    LogPosition, LogStore, MAX_BATCH_BYTES, Op, Options, Outcome, Progress, QueueId, Queued, ReadError,
    Refusal, Row, SpoolStore, Stats, Store, Table, Task, Usage, VerifyReport, Want,
};

/// A store in memory that forgets everything when dropped: the reference for conformance and a light
/// store for tests. Never full, never fails.
#[derive(Clone, Debug)]
pub struct MemStore {
    rows: BTreeMap<Table, BTreeMap<Vec<u8>, Bytes>>,
    queues: BTreeMap<QueueId, Queue>,
    position: LogPosition,
    max_batch_bytes: usize,
}

#[derive(Clone, Debug, Default)]
struct Queue {
    rows: BTreeMap<u64, (u32, Bytes)>,
    last_seq: u64,
}

impl Default for MemStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemStore {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self {
            rows: BTreeMap::new(),
            queues: BTreeMap::new(),
            position: LogPosition { log: 0, commit: 0 },
            max_batch_bytes: MAX_BATCH_BYTES,
        }
    }

    /// Sets another limit than [`MAX_BATCH_BYTES`], for comparing with a store of small segments.
    #[must_use]
    pub fn with_max_batch_bytes(mut self, bytes: usize) -> Self {
        self.max_batch_bytes = bytes;
        self
    }

    fn row(&self, table: Table, key: &[u8]) -> Option<&Bytes> {
        self.rows.get(&table).and_then(|rows| rows.get(key))
    }

    fn holds(&self, expect: &Expect) -> bool {
        let row = self.row(expect.table, &expect.key);
        match &expect.want {
            Want::Absent => row.is_none(),
            Want::Present => row.is_some(),
            Want::Value(value) => row == Some(value),
        }
    }

    fn check(&self, batch: &Batch) -> Result<(), Refusal> {
        let last_seq = |queue| Ok::<_, Infallible>(self.queues.get(&queue).map(|queue| queue.last_seq));
        batch.check(self.max_batch_bytes, last_seq).unwrap_or_else(|never| match never {})
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Put { table, key, value } => {
                self.rows.entry(table).or_default().insert(key, value);
            }
            Op::Delete { table, key } => {
                if let Some(rows) = self.rows.get_mut(&table) {
                    rows.remove(&key);
                }
            }
            Op::Append { queue, seq, minute, bytes } => {
                let queue = self.queues.entry(queue).or_default();
                queue.rows.insert(seq, (minute, bytes));
                queue.last_seq = seq;
            }
            Op::Ack { queue, up_to } => {
                if let Some(queue) = self.queues.get_mut(&queue) {
                    queue.rows.retain(|seq, _| *seq > up_to);
                }
            }
            Op::Remove { queue, seqs } => {
                if let Some(queue) = self.queues.get_mut(&queue) {
                    for seq in seqs {
                        queue.rows.remove(&seq);
                    }
                }
            }
            Op::DropQueue { queue } => {
                self.queues.remove(&queue);
            }
        }
    }

    fn apply_batch(&mut self, batch: Batch) -> Outcome {
        if let Some(expect) = batch.expect.iter().position(|expect| !self.holds(expect)) {
            return Outcome::Conflict { expect };
        }
        if let Err(refusal) = self.check(&batch) {
            return Outcome::Refused(refusal);
        }
        for op in batch.ops {
            self.apply(op);
        }
        Outcome::Done
    }

    fn live_bytes(&self) -> u64 {
        let rows = self.rows.values().flatten().map(|(key, value)| key.len() + value.len());
        let queued = self.queues.values().flat_map(|queue| queue.rows.values()).map(|(_, bytes)| bytes.len());
        rows.chain(queued).map(|bytes| bytes as u64).sum()
    }
}

impl Queue {
    fn usage(&self) -> Usage {
        Usage {
            rows: self.rows.len() as u64,
            bytes: self.rows.values().map(|(_, bytes)| bytes.len() as u64).sum(),
            first_seq: self.rows.keys().next().copied(),
            last_seq: self.last_seq,
            oldest_minute: self.rows.values().map(|(minute, _)| *minute).min(),
        }
    }
}

impl KvStore for MemStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(self.row(table, key).cloned())
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, ReadError> {
        let Some(rows) = self.rows.get(&table) else { return Ok(Vec::new()) };
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        Ok(rows
            .range::<[u8], _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    fn keys(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, ReadError> {
        Ok(self.scan(table, prefix, after, limit)?.into_iter().map(|(key, _)| key).collect())
    }
}

impl SpoolStore for MemStore {
    fn read(
        &self,
        queue: QueueId,
        after_seq: u64,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<Vec<Row>, ReadError> {
        let Some(queue) = self.queues.get(&queue) else { return Ok(Vec::new()) };
        let mut rows = Vec::new();
        let mut total = 0_usize;
        for (seq, (minute, bytes)) in queue.rows.range((Bound::Excluded(after_seq), Bound::Unbounded)) {
            total = total.saturating_add(bytes.len());
            if rows.len() >= max_rows || (!rows.is_empty() && total > max_bytes) {
                break;
            }
            rows.push(Row { seq: *seq, minute: *minute, bytes: bytes.clone() });
        }
        Ok(rows)
    }

    fn usage(&self, queue: QueueId) -> Result<Option<Usage>, ReadError> {
        Ok(self.queues.get(&queue).map(Queue::usage))
    }

    fn queues(&self, after: Option<QueueId>, limit: usize) -> Result<Vec<(QueueId, Usage)>, ReadError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let queues = self.queues.range((from, Bound::Unbounded)).take(limit);
        Ok(queues.map(|(id, queue)| (*id, queue.usage())).collect())
    }

    fn older_than(&self, minute: u32, after: Option<Queued>, limit: usize) -> Result<Vec<Queued>, ReadError> {
        Ok(self
            .queues
            .iter()
            .flat_map(|(id, queue)| {
                queue.rows.iter().map(|(seq, (minute, _))| (Queued { queue: *id, seq: *seq }, *minute))
            })
            .filter(|(row, row_minute)| *row_minute < minute && after.is_none_or(|after| *row > after))
            .take(limit)
            .map(|(row, _)| row)
            .collect())
    }
}

impl Store for MemStore {
    fn commit(&mut self, batches: Vec<Batch>) -> Result<Vec<Outcome>, CommitError> {
        let outcomes: Vec<Outcome> = batches.into_iter().map(|batch| self.apply_batch(batch)).collect();
        if outcomes.iter().any(Outcome::is_done) {
            self.position.commit += 1;
        }
        Ok(outcomes)
    }

    fn log_end(&self) -> LogPosition {
        self.position
    }

    fn compact(&mut self, _budget_bytes: u64) -> Result<Compacted, CommitError> {
        Ok(Compacted::default())
    }

    fn stats(&self) -> Stats {
        Stats { live_bytes: self.live_bytes(), commit: self.position.commit, ..Stats::default() }
    }

    fn scrub(&mut self) -> Result<bool, CommitError> {
        Ok(true)
    }

    fn is_scrubbing(&self) -> bool {
        false
    }

    fn verify(&self, _progress: &mut dyn FnMut(Progress)) -> Result<VerifyReport, ReadError> {
        Ok(VerifyReport {
            rows: self.rows.values().map(|rows| rows.len() as u64).sum(),
            queued: self.queues.values().map(|queue| queue.rows.len() as u64).sum(),
            ..VerifyReport::default()
        })
    }

    fn backup(&self) -> Result<Box<dyn Backup>, ReadError> {
        Ok(Box::new(MemBackup { store: self.clone() }))
    }

    fn close(self: Box<Self>) -> Result<LogPosition, CloseError> {
        Ok(self.position)
    }
}

/// Operations in one batch of a copy.
const COPY_OPS: usize = 64;

struct MemBackup {
    store: MemStore,
}

impl MemBackup {
    fn ops(self) -> impl Iterator<Item = Op> {
        let rows = self.store.rows.into_iter().flat_map(|(table, rows)| {
            rows.into_iter().map(move |(key, value)| Op::Put { table, key, value })
        });
        let queued = self.store.queues.into_iter().flat_map(|(id, queue)| {
            let last_seq = queue.last_seq;
            let lost_last = queue.rows.last_key_value().is_none_or(|(seq, _)| *seq < last_seq);
            let rows = queue.rows.into_iter();
            let rows = rows.map(move |(seq, (minute, bytes))| Op::Append { queue: id, seq, minute, bytes });
            // The last number is remembered by a row that came and went.
            let last = [
                Op::Append { queue: id, seq: last_seq, minute: 0, bytes: Bytes::new() },
                Op::Remove { queue: id, seqs: vec![last_seq] },
            ];
            rows.chain(last.into_iter().take(if lost_last { 2 } else { 0 }))
        });
        rows.chain(queued)
    }
}

impl Backup for MemBackup {
    fn write_to(
        self: Box<Self>,
        dir: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<BackupReport, BackupError> {
        create_target(dir)?;
        let mut copy = LogStore::open(dir, Options::default())?;
        let total = self.store.live_bytes();
        let mut ops = self.ops().peekable();
        while ops.peek().is_some() {
            let batches = ops.by_ref().take(COPY_OPS).map(|op| Batch::new().op(op)).collect();
            // Nothing can conflict or be refused in a new store; a full disk is seen in what follows.
            for outcome in copy.commit(batches)? {
                if outcome == Outcome::Full {
                    let source = std::io::ErrorKind::StorageFull.into();
                    return Err(BackupError::Io { action: "write", path: dir.to_owned(), source });
                }
            }
            progress(Progress { task: Task::Copy, done: copy.stats().live_bytes.min(total), total });
        }
        let position = Box::new(copy).close()?;
        Ok(BackupReport { position, bytes: total })
    }
}
