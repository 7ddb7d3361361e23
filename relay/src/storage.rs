//! The machine's rows in the store: which table is which, and reading through the two traits.

use penpal_relay_core::{Change, Queue, QueueRow, Rows, RowsError, Table, Usage};
use penpal_store::{Batch, Life, Op, QueueId, ReadError, Store, Table as StoreTable};

fn table(table: Table) -> StoreTable {
    StoreTable::new(table.number(), if table.is_long_lived() { Life::Long } else { Life::Short })
}

fn queue(queue: Queue) -> QueueId {
    QueueId(queue.0)
}

fn failed(error: ReadError) -> RowsError {
    RowsError(Box::new(error))
}

/// One step's changes as one batch.
pub(crate) fn batch(changes: Vec<Change>) -> Batch {
    let mut batch = Batch::new();
    batch.ops = changes.into_iter().map(op).collect();
    batch
}

fn op(change: Change) -> Op {
    match change {
        Change::Put { table: of, key, value } => Op::Put { table: table(of), key, value },
        Change::Delete { table: of, key } => Op::Delete { table: table(of), key },
        Change::Append { queue: to, seq, minute, bytes } => {
            Op::Append { queue: queue(to), seq, minute, bytes }
        }
        Change::Ack { queue: of, up_to } => Op::Ack { queue: queue(of), up_to },
        Change::Remove { queue: of, seqs } => Op::Remove { queue: queue(of), seqs },
        Change::DropQueue { queue: of } => Op::DropQueue { queue: queue(of) },
    }
}

/// A store as the machine reads it.
#[derive(Clone, Copy)]
pub(crate) struct StoreRows<'s>(pub(crate) &'s dyn Store);

impl std::fmt::Debug for StoreRows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreRows")
    }
}

impl Rows for StoreRows<'_> {
    fn get(&self, of: Table, key: &[u8]) -> Result<Option<bytes::Bytes>, RowsError> {
        self.0.get(table(of), key).map_err(failed)
    }

    fn keys(
        &self,
        of: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, RowsError> {
        self.0.keys(table(of), prefix, after, limit).map_err(failed)
    }

    fn usage(&self, of: Queue) -> Result<Usage, RowsError> {
        let usage = self.0.usage(queue(of)).map_err(failed)?.unwrap_or_default();
        Ok(Usage {
            rows: usage.rows,
            bytes: usage.bytes,
            last_seq: usage.last_seq,
            oldest_minute: usage.oldest_minute,
        })
    }

    fn read(
        &self,
        of: Queue,
        after_seq: u64,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<Vec<QueueRow>, RowsError> {
        let rows = self.0.read(queue(of), after_seq, max_rows, max_bytes).map_err(failed)?;
        Ok(rows.into_iter().map(|row| QueueRow { seq: row.seq, bytes: row.bytes }).collect())
    }

    fn older_than(&self, minute: u32, limit: usize) -> Result<Vec<(Queue, u64)>, RowsError> {
        let due = self.0.older_than(minute, None, limit).map_err(failed)?;
        Ok(due.into_iter().map(|row| (Queue(row.queue.0), row.seq)).collect())
    }
}
