//! What callers say to a store: tables, queues, operations, batches, outcomes.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

/// Longest key of a table row, in bytes.
///
/// Keys live in the index, which is only compact with short ones; hash what is longer.
pub const MAX_KEY_BYTES: usize = 1024;

/// Largest batch, in bytes as stored (keys, values and about 50 bytes for each operation).
///
/// Half a segment, so that a batch always fits in a fresh one. A store opened with smaller segments
/// has a smaller limit.
pub const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Bytes beside key and value that an operation may need in the log, its marks included.
const MAX_OP_OVERHEAD: usize = 96;

/// Most sequence numbers in one [`Op::Remove`]: more is split by the caller.
pub const MAX_REMOVED_ROWS: usize = 65_536;

/// How long the rows of a table usually live, which decides the database that indexes them.
///
/// Mixing both kinds in one database lets its file grow without bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Life {
    /// Minutes to weeks: spools, duplicate filters, outboxes. All queues are of this kind.
    Short,
    /// As long as the account: contacts, keys, names.
    Long,
}

/// A named collection of rows.
///
/// `id` and `life` together identify a table for ever: changing either makes another table. Neither
/// may be reused for something else while old data exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table {
    /// Number chosen by the caller, unique among its tables.
    pub id: u8,
    /// Which database indexes it.
    pub life: Life,
}

impl Table {
    /// Names a table; meant for constants.
    pub const fn new(id: u8, life: Life) -> Self {
        Self { id, life }
    }
}

/// Names one queue: 16 opaque bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub [u8; 16]);

impl fmt::Debug for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "QueueId({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets a row, replacing what was there.
    Put {
        /// Where.
        table: Table,
        /// 0 to [`MAX_KEY_BYTES`] bytes.
        key: Vec<u8>,
        /// Any bytes, also none.
        value: Bytes,
    },
    /// Removes a row; removing what is absent is done at no cost.
    Delete {
        /// Where.
        table: Table,
        /// Which.
        key: Vec<u8>,
    },
    /// Adds a row at the end of a queue; the queue exists from its first row on.
    Append {
        /// Which queue.
        queue: QueueId,
        /// Must be above every number the queue ever held, acknowledged ones included; gaps are fine.
        seq: u64,
        /// Minutes since the Unix epoch, used by [`SpoolStore::older_than`](crate::SpoolStore::older_than).
        minute: u32,
        /// The row.
        bytes: Bytes,
    },
    /// Removes all rows up to and including this number; the queue keeps its last number.
    Ack {
        /// Which queue.
        queue: QueueId,
        /// Inclusive.
        up_to: u64,
    },
    /// Removes single rows, in any order; absent ones are skipped.
    Remove {
        /// Which queue.
        queue: QueueId,
        /// At most [`MAX_REMOVED_ROWS`].
        seqs: Vec<u64>,
    },
    /// Removes the queue, its rows and the memory of its last number. It may be created anew.
    DropQueue {
        /// Which queue.
        queue: QueueId,
    },
}

impl Op {
    /// Whether it can only free space: such batches are still taken when the disk is full.
    pub fn frees_space(&self) -> bool {
        match self {
            Self::Put { .. } | Self::Append { .. } => false,
            Self::Delete { .. } | Self::Ack { .. } | Self::Remove { .. } | Self::DropQueue { .. } => true,
        }
    }
}

/// What a row must be for a batch to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// There must be none.
    Absent,
    /// There must be one, whatever it holds.
    Present,
    /// There must be one with exactly these bytes.
    Value(Bytes),
}

/// A precondition: compare, then swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// Where.
    pub table: Table,
    /// Which row.
    pub key: Vec<u8>,
    /// What it must be.
    pub want: Want,
}

/// Changes that happen together or not at all, also across a crash.
///
/// Conditions see the state after all batches before this one in the same commit; operations are
/// applied in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// All must hold.
    pub expect: Vec<Expect>,
    /// Applied in order.
    pub ops: Vec<Op>,
    /// Whether it may take what is kept for freeing space, though it may grow. For what must happen on a full disk too, and of which
    /// there is no more than of rows that it removes: otherwise nothing is left in the end for what frees space.
    pub reserve: bool,
}

impl Batch {
    /// Makes an empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requires that there is no such row.
    #[must_use]
    pub fn absent(self, table: Table, key: impl Into<Vec<u8>>) -> Self {
        self.expect(table, key, Want::Absent)
    }

    /// Requires that the row exists.
    #[must_use]
    pub fn present(self, table: Table, key: impl Into<Vec<u8>>) -> Self {
        self.expect(table, key, Want::Present)
    }

    /// Requires that the row holds exactly this.
    #[must_use]
    pub fn equals(self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Bytes>) -> Self {
        self.expect(table, key, Want::Value(value.into()))
    }

    /// Adds a condition.
    #[must_use]
    pub fn expect(mut self, table: Table, key: impl Into<Vec<u8>>, want: Want) -> Self {
        self.expect.push(Expect { table, key: key.into(), want });
        self
    }

    /// Adds [`Op::Put`].
    #[must_use]
    pub fn put(self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Bytes>) -> Self {
        self.op(Op::Put { table, key: key.into(), value: value.into() })
    }

    /// Adds [`Op::Delete`].
    #[must_use]
    pub fn delete(self, table: Table, key: impl Into<Vec<u8>>) -> Self {
        self.op(Op::Delete { table, key: key.into() })
    }

    /// Adds [`Op::Append`].
    #[must_use]
    pub fn append(self, queue: QueueId, seq: u64, minute: u32, bytes: impl Into<Bytes>) -> Self {
        self.op(Op::Append { queue, seq, minute, bytes: bytes.into() })
    }

    /// Adds [`Op::Ack`].
    #[must_use]
    pub fn ack(self, queue: QueueId, up_to: u64) -> Self {
        self.op(Op::Ack { queue, up_to })
    }

    /// Adds [`Op::Remove`].
    #[must_use]
    pub fn remove(self, queue: QueueId, seqs: impl Into<Vec<u64>>) -> Self {
        self.op(Op::Remove { queue, seqs: seqs.into() })
    }

    /// Adds [`Op::DropQueue`].
    #[must_use]
    pub fn drop_queue(self, queue: QueueId) -> Self {
        self.op(Op::DropQueue { queue })
    }

    /// Sets [`Self::reserve`].
    #[must_use]
    pub fn from_reserve(mut self) -> Self {
        self.reserve = true;
        self
    }

    /// Adds any operation.
    #[must_use]
    pub fn op(mut self, op: Op) -> Self {
        self.ops.push(op);
        self
    }

    /// Whether the batch can only free space.
    pub fn frees_space(&self) -> bool {
        self.ops.iter().all(Op::frees_space)
    }

    /// Upper bound of its size as stored.
    pub(crate) fn stored_bytes(&self) -> usize {
        let sizes = self.ops.iter().map(|op| {
            MAX_OP_OVERHEAD
                + match op {
                    Op::Put { key, value, .. } => key.len() + value.len(),
                    Op::Delete { key, .. } => key.len(),
                    Op::Append { bytes, .. } => bytes.len(),
                    Op::Remove { seqs, .. } => seqs.len() * 8,
                    Op::Ack { .. } | Op::DropQueue { .. } => 0,
                }
        });
        sizes.sum()
    }

    /// Finds what can never work, given how to look up a queue's last number.
    pub(crate) fn check<E>(
        &self,
        max_bytes: usize,
        last_seq: impl Fn(QueueId) -> Result<Option<u64>, E>,
    ) -> Result<Result<(), Refusal>, E> {
        let bytes = self.stored_bytes();
        if bytes > max_bytes {
            return Ok(Err(Refusal::TooLarge { bytes, max: max_bytes }));
        }
        // What this batch itself does to queues hides what was there before.
        let mut lasts: BTreeMap<QueueId, u64> = BTreeMap::new();
        for op in &self.ops {
            match op {
                Op::Put { key, .. } | Op::Delete { key, .. } if key.len() > MAX_KEY_BYTES => {
                    return Ok(Err(Refusal::KeyTooLong { bytes: key.len(), max: MAX_KEY_BYTES }));
                }
                Op::Remove { seqs, .. } if seqs.len() > MAX_REMOVED_ROWS => {
                    return Ok(Err(Refusal::TooManyRows { count: seqs.len(), max: MAX_REMOVED_ROWS }));
                }
                Op::Append { queue, seq, .. } => {
                    let last = match lasts.get(queue) {
                        Some(last) => *last,
                        None => last_seq(*queue)?.unwrap_or(0),
                    };
                    if *seq <= last {
                        return Ok(Err(Refusal::SequenceNotRising { queue: *queue, last, got: *seq }));
                    }
                    lasts.insert(*queue, *seq);
                }
                Op::DropQueue { queue } => {
                    lasts.insert(*queue, 0);
                }
                Op::Put { .. } | Op::Delete { .. } | Op::Remove { .. } | Op::Ack { .. } => {}
            }
        }
        Ok(Ok(()))
    }
}

/// What became of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It happened and is on disk.
    Done,
    /// A condition did not hold; nothing of it happened.
    Conflict {
        /// Index of the first condition that failed.
        expect: usize,
    },
    /// There is no room for more; nothing of it happened. Batches that only free space still work.
    Full,
    /// The batch can never work; nothing of it happened. A bug of the caller.
    Refused(Refusal),
}

impl Outcome {
    /// Whether it happened.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// Why a batch can never work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// More bytes than a batch may have.
    #[error("batch of {bytes} bytes, at most {max}")]
    TooLarge {
        /// Its size as stored.
        bytes: usize,
        /// The limit of this store.
        max: usize,
    },
    /// A key above [`MAX_KEY_BYTES`].
    #[error("key of {bytes} bytes, at most {max}")]
    KeyTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Too many numbers in one removal.
    #[error("{count} rows removed at once, at most {max}")]
    TooManyRows {
        /// How many.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// An appended number that is not above all before it.
    #[error("row {got} appended to {queue:?} after {last}")]
    SequenceNotRising {
        /// Which queue.
        queue: QueueId,
        /// Its last number.
        last: u64,
        /// The number refused.
        got: u64,
    },
}

/// One row of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its number.
    pub seq: u64,
    /// The minute given when it was appended.
    pub minute: u32,
    /// What was appended.
    pub bytes: Bytes,
}

/// What a queue holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Rows waiting.
    pub rows: u64,
    /// Their bytes, without overhead.
    pub bytes: u64,
    /// Number of the first row waiting; `None` when empty.
    pub first_seq: Option<u64>,
    /// Highest number ever appended, waiting or not; the next one must be above it.
    pub last_seq: u64,
    /// Smallest minute among the rows waiting; `None` when empty.
    pub oldest_minute: Option<u32>,
}

/// How far a store's history goes, for comparing with a mark kept elsewhere.
///
/// Stable across restarts and compaction. 16 bytes when stored: log id u64, commits u64, big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPosition {
    /// Random at creation of the store's log; a copy restored from a backup has the same.
    pub log: u64,
    /// Number of the last durable write.
    pub commit: u64,
}

impl LogPosition {
    /// Whether this history lacks something that existed when `mark` was taken: it was restored from
    /// an older copy, or is another log altogether.
    pub fn is_behind(&self, mark: &Self) -> bool {
        self.log != mark.log || self.commit < mark.commit
    }

    /// 16 bytes for keeping.
    pub fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.log) << 64) | u128::from(self.commit)).to_be_bytes()
    }

    /// Reads what [`Self::to_bytes`] wrote; every 16 bytes are a position.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(bytes);
        #[expect(clippy::cast_possible_truncation, reason = "splits a u128 into its two halves")]
        Self { log: (both >> 64) as u64, commit: both as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Table = Table::new(1, Life::Long);
    const QUEUE: QueueId = QueueId([7; 16]);

    fn refusal(batch: &Batch, max_bytes: usize) -> Option<Refusal> {
        batch.check(max_bytes, |_| Ok::<_, std::convert::Infallible>(Some(5))).unwrap().err()
    }

    #[test]
    fn limits_are_kept_to_the_last_byte() {
        let one = Batch::new().put(TABLE, b"key", vec![0; 100]).append(QUEUE, 6, 0, vec![0; 50]);
        let bytes = 2 * MAX_OP_OVERHEAD + 153;
        assert_eq!(refusal(&one, bytes), None);
        assert_eq!(refusal(&one, bytes - 1), Some(Refusal::TooLarge { bytes, max: bytes - 1 }));
        for length in [MAX_KEY_BYTES, MAX_KEY_BYTES + 1] {
            for batch in
                [Batch::new().put(TABLE, vec![7; length], ""), Batch::new().delete(TABLE, vec![7; length])]
            {
                let too_long = Refusal::KeyTooLong { bytes: length, max: MAX_KEY_BYTES };
                assert_eq!(refusal(&batch, usize::MAX), (length > MAX_KEY_BYTES).then_some(too_long));
            }
        }
        for count in [MAX_REMOVED_ROWS, MAX_REMOVED_ROWS + 1] {
            let batch = Batch::new().remove(QUEUE, vec![1; count]);
            let too_many = Refusal::TooManyRows { count, max: MAX_REMOVED_ROWS };
            assert_eq!(refusal(&batch, usize::MAX), (count > MAX_REMOVED_ROWS).then_some(too_many));
            assert_eq!(batch.stored_bytes(), MAX_OP_OVERHEAD + 8 * count);
        }
        for seq in [4, 5, 6] {
            let batch = Batch::new().append(QUEUE, seq, 0, "");
            assert_eq!(refusal(&batch, usize::MAX).is_none(), seq > 5, "{seq}");
        }
    }

    #[test]
    fn only_what_happened_is_done() {
        assert!(Outcome::Done.is_done());
        assert!(!Outcome::Full.is_done() && !Outcome::Conflict { expect: 0 }.is_done());
    }
}
