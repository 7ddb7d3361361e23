//! Rows in memory: for tests and simulations of the machine.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::{Change, Queue, QueueRow, Rows, RowsError, Table, Usage};

/// A store in memory that takes [`Change`]s. Cloning it is a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemRows {
    rows: BTreeMap<(Table, Vec<u8>), Bytes>,
    queues: BTreeMap<Queue, MemQueue>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct MemQueue {
    rows: BTreeMap<u64, (u32, Bytes)>,
    last_seq: u64,
}

impl MemRows {
    /// Makes an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies the changes of one step.
    ///
    /// # Panics
    /// When a queue's numbers do not rise, which is a bug of the machine.
    pub fn commit(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Put { table, key, value } => {
                    self.rows.insert((table, key), value);
                }
                Change::Delete { table, key } => {
                    self.rows.remove(&(table, key));
                }
                Change::Append { queue, seq, minute, bytes } => {
                    let queue = self.queues.entry(queue).or_default();
                    assert!(seq > queue.last_seq, "row {seq} appended after {}", queue.last_seq);
                    queue.rows.insert(seq, (minute, bytes));
                    queue.last_seq = seq;
                }
                Change::Ack { queue, up_to } => {
                    if let Some(queue) = self.queues.get_mut(&queue) {
                        queue.rows.retain(|seq, _| *seq > up_to);
                    }
                }
                Change::Remove { queue, seqs } => {
                    if let Some(queue) = self.queues.get_mut(&queue) {
                        queue.rows.retain(|seq, _| !seqs.contains(seq));
                    }
                }
                Change::DropQueue { queue } => {
                    self.queues.remove(&queue);
                }
            }
        }
    }

    /// Every byte held, for looking for what must not be there.
    pub fn all_bytes(&self) -> impl Iterator<Item = &[u8]> {
        let rows = self.rows.iter().flat_map(|((_, key), value)| [key.as_slice(), value.as_ref()]);
        let queued =
            self.queues.values().flat_map(|queue| queue.rows.values().map(|(_, bytes)| bytes.as_ref()));
        rows.chain(queued)
    }

    /// Number of rows in a table.
    #[must_use]
    pub fn count(&self, table: Table) -> usize {
        self.rows.keys().filter(|(of, _)| *of == table).count()
    }
}

impl Rows for MemRows {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, RowsError> {
        Ok(self.rows.get(&(table, key.to_vec())).cloned())
    }

    fn keys(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, RowsError> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded((table, after.to_vec())),
            Some(_) | None => Bound::Included((table, prefix.to_vec())),
        };
        Ok(self
            .rows
            .range((from, Bound::Unbounded))
            .map(|(key, _)| key)
            .take_while(|(of, key)| *of == table && key.starts_with(prefix))
            .take(limit)
            .map(|(_, key)| key.clone())
            .collect())
    }

    fn usage(&self, queue: Queue) -> Result<Usage, RowsError> {
        Ok(self.queues.get(&queue).map_or_else(Usage::default, |queue| Usage {
            rows: queue.rows.len() as u64,
            bytes: queue.rows.values().map(|(_, bytes)| bytes.len() as u64).sum(),
            last_seq: queue.last_seq,
            oldest_minute: queue.rows.values().map(|(minute, _)| *minute).min(),
        }))
    }

    fn read(
        &self,
        queue: Queue,
        after_seq: u64,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<Vec<QueueRow>, RowsError> {
        let Some(queue) = self.queues.get(&queue) else { return Ok(Vec::new()) };
        let mut total = 0_usize;
        let mut rows = Vec::new();
        for (seq, (_, bytes)) in queue.rows.range((Bound::Excluded(after_seq), Bound::Unbounded)) {
            total = total.saturating_add(bytes.len());
            if rows.len() >= max_rows || (!rows.is_empty() && total > max_bytes) {
                break;
            }
            rows.push(QueueRow { seq: *seq, bytes: bytes.clone() });
        }
        Ok(rows)
    }

    fn older_than(&self, minute: u32, limit: usize) -> Result<Vec<(Queue, u64)>, RowsError> {
        let all = self.queues.iter().flat_map(|(queue, held)| held.rows.iter().map(move |row| (*queue, row)));
        Ok(all
            .filter(|(_, (_, (of, _)))| *of < minute)
            .map(|(queue, (seq, _))| (queue, *seq))
            .take(limit)
            .collect())
    }
}
