//! Which deposits were taken in the last 24 hours.
//!
//! A mark is 16 bytes. All of them are in memory, so a new deposit costs no look-up in storage; in storage they are rows
//! of a queue, one a step, so they cost next to nothing to write and vanish bucket by bucket.
//!
//! ```text
//! bucket (4 h or a quarter of the limit) = queue of rows; row = marks of one step, 16 bytes each
//! ```

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use bytes::Bytes;
use penpal_protocol::limits::DEPOSIT_ID_LIFE_MS;
use penpal_protocol::time::Now;

use crate::error::Fault;
use crate::rows::records::{MarkBucket, Record, RecordError};
use crate::rows::{Change, Queue, Rows, Table};
use crate::{MINUTE_MS, minute};

const MARK_BYTES: usize = 16;

/// More buckets than ever exist at once.
const MAX_BUCKETS: usize = 4_096;

/// How long a bucket takes marks, in minutes.
const BUCKET_MINUTES: u32 = 4 * 60;

/// Life of a mark in minutes.
const LIFE_MINUTES: u32 = {
    let minutes = DEPOSIT_ID_LIFE_MS / MINUTE_MS;
    assert!(minutes < 100_000);
    minutes as u32
};

/// Rows of few marks after which they are written again as one, so that a start reads few rows.
const MERGE_ROWS: usize = 512;

/// Rows with more marks than this are dense enough.
const DENSE_MARKS: usize = 64;

/// First bytes of a bucket's queue; slots are random, so the two never meet.
const QUEUE_PREFIX: [u8; 8] = *b"\0marks\0\0";

/// Marks are MACs under a secret key: they are their own hash.
#[derive(Debug, Default)]
struct OwnHash(u64);

impl Hasher for OwnHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, number: u128) {
        #[expect(clippy::cast_possible_truncation, reason = "the low half is as random as the whole")]
        let low = number as u64;
        self.0 = low;
    }
}

#[derive(Debug)]
struct Bucket {
    number: u64,
    begun_minute: u32,
    marks: MarkSet,
    last_seq: u64,
}

impl Bucket {
    fn drop_rows(&self, changes: &mut Vec<Change>) {
        changes.push(Change::DropQueue { queue: queue(self.number) });
        changes.push(Change::Delete { table: Table::MarkBucket, key: MarkBucket::key_bytes(&self.number) });
    }
}

type MarkSet = HashSet<u128, BuildHasherDefault<OwnHash>>;

/// What a step's commit does to the buckets.
#[derive(Debug)]
struct Plan {
    /// Drop so many of the oldest buckets.
    drop: usize,
    /// Begin a bucket at this minute.
    begin: Option<u32>,
    /// Number of the row written.
    seq: u64,
    /// Whether the row holds few marks.
    thin: bool,
    /// Whether the row holds those of all thin rows before it, too.
    merge: bool,
}

/// All marks.
#[derive(Debug)]
pub(crate) struct Marks {
    buckets: VecDeque<Bucket>,
    /// Number of the next bucket: one that is being dropped is not used again at once.
    next_number: u64,
    max: usize,
    /// Marks of the newest bucket's thin rows, and the numbers of those rows.
    thin_marks: Vec<u128>,
    thin_rows: Vec<u64>,
    /// Marks of the present step, in order and for looking up.
    step: Vec<u128>,
    step_set: MarkSet,
    plan: Option<Plan>,
}

fn queue(number: u64) -> Queue {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&QUEUE_PREFIX);
    id[8..].copy_from_slice(&number.to_be_bytes());
    Queue(id)
}

fn row<'m>(marks: impl Iterator<Item = &'m u128>) -> Bytes {
    let bytes: Vec<u8> = marks.flat_map(|mark| mark.to_be_bytes()).collect();
    Bytes::from(bytes)
}

impl Marks {
    /// Reads all marks back.
    pub(crate) fn load(max: usize, rows: &dyn Rows) -> Result<Self, Fault> {
        let mut buckets = VecDeque::new();
        let mut next_number = 1;
        for key in rows.keys(Table::MarkBucket, &[], None, MAX_BUCKETS)? {
            let (Ok(number), Some(value)) = (key.as_slice().try_into(), rows.get(Table::MarkBucket, &key)?)
            else {
                continue;
            };
            let number = u64::from_be_bytes(number);
            let fault = |source| Fault::Record { table: Table::MarkBucket, key, source };
            let (Some(next), record) = (number.checked_add(1), MarkBucket::from_bytes(&value)) else {
                return Err(fault(RecordError::Number));
            };
            let record = record.map_err(fault)?;
            next_number = next_number.max(next);
            let last_seq = rows.usage(queue(number))?.last_seq;
            let marks = read_all(number, rows)?;
            buckets.push_back(Bucket { number, begun_minute: record.begun_minute, marks, last_seq });
        }
        Ok(Self {
            buckets,
            next_number,
            max,
            thin_marks: Vec::new(),
            thin_rows: Vec::new(),
            step: Vec::new(),
            step_set: MarkSet::default(),
            plan: None,
        })
    }

    /// How many deposits are remembered.
    pub(crate) fn len(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.marks.len()).sum()
    }

    /// Whether this deposit was taken before.
    pub(crate) fn contains(&self, mark: u128) -> bool {
        self.step_set.contains(&mark) || self.buckets.iter().any(|bucket| bucket.marks.contains(&mark))
    }

    /// Remembers a deposit from this step on.
    pub(crate) fn insert(&mut self, mark: u128) {
        self.step.push(mark);
        self.step_set.insert(mark);
    }

    /// Writes the step's marks. Called once, at the end of a step.
    pub(crate) fn finish_step(&mut self, now: Now, changes: &mut Vec<Change>) {
        if self.step.is_empty() {
            return;
        }
        let minute = minute(now.wall_ms);
        let newest = self.buckets.back().filter(|bucket| {
            bucket.marks.len() < (self.max / 4).max(1)
                && minute.saturating_sub(bucket.begun_minute) < BUCKET_MINUTES
        });
        let thin = self.step.len() < DENSE_MARKS;
        let (number, mut plan) = match newest {
            Some(bucket) => {
                let merge = thin && self.thin_rows.len() + 1 >= MERGE_ROWS;
                (bucket.number, Plan { drop: 0, begin: None, seq: bucket.last_seq + 1, thin, merge })
            }
            None => {
                let number = self.next_number;
                changes.push(Change::Put {
                    table: Table::MarkBucket,
                    key: MarkBucket::key_bytes(&number),
                    value: Bytes::from(MarkBucket { begun_minute: minute }.to_bytes()),
                });
                (number, Plan { drop: 0, begin: Some(minute), seq: 1, thin, merge: false })
            }
        };
        // Whatever the clock says: this bounds memory. The bucket that is written to stays.
        let others = self.buckets.len() - usize::from(plan.begin.is_none());
        let mut all = self.len() + self.step.len();
        for bucket in self.buckets.iter().take(others) {
            if all <= self.max {
                break;
            }
            all -= bucket.marks.len();
            plan.drop += 1;
            bucket.drop_rows(changes);
        }
        let earlier = if plan.merge { self.thin_marks.as_slice() } else { &[] };
        let bytes = row(earlier.iter().chain(&self.step));
        changes.push(Change::Append { queue: queue(number), seq: plan.seq, minute, bytes });
        if plan.merge {
            changes.push(Change::Remove { queue: queue(number), seqs: self.thin_rows.clone() });
        }
        self.plan = Some(plan);
    }

    /// The step happened.
    pub(crate) fn commit(&mut self) {
        let Some(plan) = self.plan.take() else { return };
        for _ in 0..plan.drop {
            self.buckets.pop_front();
        }
        if let Some(begun_minute) = plan.begin {
            let number = self.next_number;
            self.next_number += 1;
            self.buckets.push_back(Bucket { number, begun_minute, marks: MarkSet::default(), last_seq: 0 });
            self.forget_thin();
        }
        if plan.merge {
            self.forget_thin();
        } else if plan.thin {
            self.thin_marks.extend_from_slice(&self.step);
            self.thin_rows.push(plan.seq);
        }
        if let Some(bucket) = self.buckets.back_mut() {
            bucket.last_seq = plan.seq;
            bucket.marks.extend(self.step.drain(..));
        }
        self.step_set.clear();
    }

    /// The step did not happen.
    pub(crate) fn abort(&mut self) {
        self.plan = None;
        self.step.clear();
        self.step_set.clear();
    }

    /// Forgets what is older than 24 hours. Outside of a step's commit; if that fails, the buckets come back at the next
    /// start, where they do no harm.
    pub(crate) fn expire(&mut self, now: Now, changes: &mut Vec<Change>) {
        let minute = minute(now.wall_ms);
        while let Some(bucket) = self.buckets.front() {
            if minute < bucket.begun_minute.saturating_add(BUCKET_MINUTES + LIFE_MINUTES) {
                return;
            }
            bucket.drop_rows(changes);
            self.buckets.pop_front();
            if self.buckets.is_empty() {
                self.forget_thin();
            }
        }
    }

    fn forget_thin(&mut self) {
        self.thin_marks.clear();
        self.thin_rows.clear();
    }
}

fn read_all(number: u64, rows: &dyn Rows) -> Result<MarkSet, Fault> {
    const PAGE_ROWS: usize = 1_024;
    const PAGE_BYTES: usize = 1024 * 1024;
    let mut marks = MarkSet::default();
    let mut after = 0;
    loop {
        let page = rows.read(queue(number), after, PAGE_ROWS, PAGE_BYTES)?;
        let Some(last) = page.last() else { return Ok(marks) };
        after = last.seq;
        for row in &page {
            marks.extend(row.bytes.as_chunks::<MARK_BYTES>().0.iter().map(|mark| u128::from_be_bytes(*mark)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rows::MemRows;

    fn at_minute(minute: u64) -> Now {
        Now { mono: Duration::from_secs(minute * 60), wall_ms: minute * MINUTE_MS }
    }

    fn mark(number: u128) -> u128 {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
    }

    fn step(marks: &mut Marks, rows: &mut MemRows, numbers: std::ops::Range<u128>, now: Now) {
        let mut changes = Vec::new();
        for number in numbers {
            marks.insert(mark(number));
        }
        marks.finish_step(now, &mut changes);
        rows.commit(changes);
        marks.commit();
    }

    #[test]
    fn marks_survive_a_restart_in_few_rows() {
        let mut rows = MemRows::new();
        let mut marks = Marks::load(1_000_000, &rows).unwrap();
        for number in 0..5_000 {
            step(&mut marks, &mut rows, number..number + 1, at_minute(100));
        }
        step(&mut marks, &mut rows, 5_000..6_000, at_minute(101));
        assert!(rows.usage(queue(1)).unwrap().rows < 1_024);
        let again = Marks::load(1_000_000, &rows).unwrap();
        for number in 0..6_000 {
            assert!(again.contains(mark(number)), "{number}");
        }
        assert!(!again.contains(mark(6_000)));
    }

    #[test]
    fn a_bucket_after_which_no_other_can_come_is_damage() {
        let mut rows = MemRows::new();
        rows.commit(vec![Change::Put {
            table: Table::MarkBucket,
            key: MarkBucket::key_bytes(&u64::MAX),
            value: Bytes::from(MarkBucket { begun_minute: 1 }.to_bytes()),
        }]);
        let fault = Marks::load(1_000_000, &rows).unwrap_err();
        assert!(matches!(fault, Fault::Record { source: RecordError::Number, .. }), "{fault}");
    }

    #[test]
    fn an_aborted_step_leaves_no_mark() {
        let mut rows = MemRows::new();
        let mut marks = Marks::load(1_000_000, &rows).unwrap();
        step(&mut marks, &mut rows, 0..1, at_minute(1));
        marks.insert(mark(1));
        assert!(marks.contains(mark(1)));
        marks.finish_step(at_minute(1), &mut Vec::new());
        marks.abort();
        assert!(marks.contains(mark(0)) && !marks.contains(mark(1)));
        step(&mut marks, &mut rows, 2..3, at_minute(1));
        assert!(Marks::load(1_000_000, &rows).unwrap().contains(mark(2)));
    }

    #[test]
    fn marks_live_24_hours_and_at_most_4_more() {
        let mut rows = MemRows::new();
        let mut marks = Marks::load(1_000_000, &rows).unwrap();
        for hour in 0..60 {
            step(&mut marks, &mut rows, hour..hour + 1, at_minute(u64::try_from(hour).unwrap() * 60));
            let mut changes = Vec::new();
            marks.expire(at_minute(u64::try_from(hour).unwrap() * 60), &mut changes);
            rows.commit(changes);
            for old in 0..=hour {
                let age = hour - old;
                assert!(age > 24 || marks.contains(mark(old)), "hour {hour}: {age} h old is forgotten");
                assert!(age <= 28 || !marks.contains(mark(old)), "hour {hour}: {age} h old is remembered");
            }
        }
        assert_eq!(rows.count(Table::MarkBucket), marks.buckets.len());
    }

    #[test]
    fn too_many_marks_cost_the_oldest_whatever_the_clock_says() {
        let mut rows = MemRows::new();
        let mut marks = Marks::load(100, &rows).unwrap();
        for number in 0..1_000 {
            step(&mut marks, &mut rows, number..number + 1, at_minute(5));
        }
        assert!(marks.contains(mark(999)) && marks.contains(mark(930)) && !marks.contains(mark(100)));
        assert!(marks.len() <= 100);
        assert_eq!(rows.count(Table::MarkBucket), marks.buckets.len());
        // A step that does not happen drops none.
        let before = marks.len();
        for number in 2_000..2_030 {
            marks.insert(mark(number));
        }
        marks.finish_step(at_minute(5), &mut Vec::new());
        marks.abort();
        assert_eq!(marks.len(), before);
    }
}
