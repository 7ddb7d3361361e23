//! What every backend must do, as one suite.
//!
//! Call [`run`] in a test of the backend. It panics with the name of the check, and for random
//! histories with the seed. [`Histories`] and [`assert_same`] are of use to tests of crashes, which
//! differ from backend to backend.

use bytes::Bytes;

use crate::{
    Batch, KvStore, Life, MemStore, Op, Outcome, QueueId, Queued, Refusal, SpoolStore, Store, Table, Want,
};

/// A backend under test.
pub trait Backend {
    /// Starts over with nothing stored.
    fn clear(&mut self);

    /// Opens what is stored.
    fn open(&mut self) -> Box<dyn Store>;

    /// Whether what was committed is there again after [`Store::close`] or dropping, and [`Self::open`].
    fn is_durable(&self) -> bool;
}

/// The tables that random histories use.
pub const TABLES: [Table; 3] =
    [Table::new(1, Life::Short), Table::new(1, Life::Long), Table::new(200, Life::Long)];

const SHORT: Table = TABLES[0];
const LONG: Table = TABLES[1];
const QUEUE: QueueId = QueueId([7; 16]);
const OTHER: QueueId = QueueId([8; 16]);

/// Runs every check, and random histories with seeds from `seed` on.
pub fn run(backend: &mut dyn Backend, seed: u64, histories: u64) {
    let checks: [fn(&mut dyn Store); 11] = [
        rows_are_put_replaced_and_deleted,
        tables_are_apart,
        scans_page_in_order,
        conditions_decide,
        batches_are_all_or_nothing,
        rows_queue_up_and_are_acknowledged,
        reading_is_bounded,
        queues_remember_their_last_number,
        single_rows_are_removed,
        queues_are_listed_and_expire,
        what_cannot_work_is_refused,
    ];
    for check in checks {
        backend.clear();
        let mut store = backend.open();
        check(&mut *store);
        assert_eq!(verify(&*store), Vec::new());
    }
    if backend.is_durable() {
        committed_is_there_again(backend);
        positions_rise(backend);
    }
    for seed in seed..seed + histories {
        random_history(backend, seed);
    }
}

fn commit(store: &mut dyn Store, batch: Batch) -> Outcome {
    let mut outcomes = store.commit(vec![batch]).expect("commit");
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

fn done(store: &mut dyn Store, batch: Batch) {
    assert_eq!(commit(store, batch), Outcome::Done);
}

fn get(store: &dyn Store, table: Table, key: &[u8]) -> Option<Bytes> {
    store.get(table, key).expect("get")
}

fn seqs(store: &dyn Store, queue: QueueId) -> Vec<u64> {
    store.read(queue, 0, 1000, usize::MAX).expect("read").iter().map(|row| row.seq).collect()
}

fn verify(store: &dyn Store) -> Vec<crate::Finding> {
    store.verify(&mut |_| {}).expect("verify").findings
}

fn rows_are_put_replaced_and_deleted(store: &mut dyn Store) {
    assert_eq!(get(store, LONG, b"k"), None);
    done(store, Batch::new().put(LONG, b"k", "one"));
    assert_eq!(get(store, LONG, b"k").as_deref(), Some(&b"one"[..]));
    done(store, Batch::new().put(LONG, b"k", "two").put(LONG, b"", "").put(LONG, [255; 9], "ff"));
    assert_eq!(get(store, LONG, b"k").as_deref(), Some(&b"two"[..]));
    assert_eq!(get(store, LONG, b"").as_deref(), Some(&b""[..]));
    done(store, Batch::new().delete(LONG, b"k").delete(LONG, b"absent"));
    assert_eq!(get(store, LONG, b"k"), None);
    done(store, Batch::new().put(LONG, b"k", "a").delete(LONG, b"k").put(LONG, b"k", "b"));
    assert_eq!(get(store, LONG, b"k").as_deref(), Some(&b"b"[..]));
    let big = Bytes::from(vec![3; 20_000]);
    done(store, Batch::new().put(LONG, b"big", big.clone()));
    assert_eq!(get(store, LONG, b"big"), Some(big));
}

fn tables_are_apart(store: &mut dyn Store) {
    for (index, table) in TABLES.into_iter().enumerate() {
        done(store, Batch::new().put(table, b"k", vec![u8::try_from(index).unwrap_or(0)]));
    }
    done(store, Batch::new().delete(TABLES[1], b"k"));
    assert_eq!(get(store, TABLES[0], b"k").as_deref(), Some(&[0][..]));
    assert_eq!(get(store, TABLES[1], b"k"), None);
    assert_eq!(get(store, TABLES[2], b"k").as_deref(), Some(&[2][..]));
    assert_eq!(store.keys(TABLES[1], b"", None, 9).expect("keys"), Vec::<Vec<u8>>::new());
}

fn scans_page_in_order(store: &mut dyn Store) {
    let keys = ["a", "b", "b1", "b2", "b\u{7f}", "c"];
    for key in keys.iter().rev() {
        done(store, Batch::new().put(SHORT, *key, *key));
    }
    let scan = |prefix: &str, after: Option<&str>, limit| -> Vec<String> {
        let after = after.map(str::as_bytes);
        let rows = store.scan(SHORT, prefix.as_bytes(), after, limit).expect("scan");
        assert!(rows.iter().all(|(key, value)| key == value));
        let names = store.keys(SHORT, prefix.as_bytes(), after, limit).expect("keys");
        assert_eq!(names, rows.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>());
        names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    };
    assert_eq!(scan("", None, 99), keys);
    assert_eq!(scan("b", None, 99), ["b", "b1", "b2", "b\u{7f}"]);
    assert_eq!(scan("b", Some("b"), 2), ["b1", "b2"]);
    assert_eq!(scan("b", Some("b2"), 2), ["b\u{7f}"]);
    assert_eq!(scan("b", Some("a"), 1), ["b"]);
    assert_eq!(scan("b", Some("A"), 2), ["b", "b1"]);
    assert_eq!(scan("b", Some("c"), 9), Vec::<String>::new());
    assert_eq!(scan("", None, 0), Vec::<String>::new());
    done(store, Batch::new().put(SHORT, [255, 255], "x").put(SHORT, [255], "y"));
    assert_eq!(store.keys(SHORT, &[255], None, 9).expect("keys"), [vec![255], vec![255, 255]]);
}

fn conditions_decide(store: &mut dyn Store) {
    done(store, Batch::new().absent(LONG, b"k").put(LONG, b"k", "1"));
    let twice = Batch::new().absent(LONG, b"k").put(LONG, b"k", "2");
    assert_eq!(commit(store, twice), Outcome::Conflict { expect: 0 });
    let wrong = Batch::new().present(LONG, b"k").equals(LONG, b"k", "2").put(LONG, b"k", "3");
    assert_eq!(commit(store, wrong), Outcome::Conflict { expect: 1 });
    done(store, Batch::new().present(LONG, b"k").equals(LONG, b"k", "1").put(LONG, b"k", "4"));
    assert_eq!(commit(store, Batch::new().present(LONG, b"absent")), Outcome::Conflict { expect: 0 });
    assert_eq!(commit(store, Batch::new().equals(LONG, b"absent", "")), Outcome::Conflict { expect: 0 });
    assert_eq!(get(store, LONG, b"k").as_deref(), Some(&b"4"[..]));
    // Conditions see what earlier batches of the same commit did, although nothing is on disk yet.
    let swap =
        |from: &'static str, to: &'static str| Batch::new().equals(LONG, b"k", from).put(LONG, b"k", to);
    let outcomes = store.commit(vec![swap("4", "5"), swap("4", "6"), swap("5", "7")]).expect("commit");
    assert_eq!(outcomes, [Outcome::Done, Outcome::Conflict { expect: 0 }, Outcome::Done]);
    assert_eq!(get(store, LONG, b"k").as_deref(), Some(&b"7"[..]));
}

fn batches_are_all_or_nothing(store: &mut dyn Store) {
    let batch = Batch::new().put(LONG, b"a", "1").append(QUEUE, 1, 0, "row").absent(SHORT, b"no");
    done(store, batch.clone().put(SHORT, b"no", ""));
    let again = batch.op(Op::DropQueue { queue: QUEUE }).put(LONG, b"a", "2");
    assert_eq!(commit(store, again), Outcome::Conflict { expect: 0 });
    assert_eq!(get(store, LONG, b"a").as_deref(), Some(&b"1"[..]));
    assert_eq!(seqs(store, QUEUE), [1]);
    let refused = Batch::new().put(LONG, b"a", "3").append(QUEUE, 1, 0, "again");
    assert!(matches!(commit(store, refused), Outcome::Refused(_)));
    assert_eq!(get(store, LONG, b"a").as_deref(), Some(&b"1"[..]));
    assert_eq!(commit(store, Batch::new()), Outcome::Done);
}

fn rows_queue_up_and_are_acknowledged(store: &mut dyn Store) {
    assert_eq!(store.usage(QUEUE).expect("usage"), None);
    done(
        store,
        Batch::new().append(QUEUE, 3, 30, "abc").append(QUEUE, 5, 50, "de").append(OTHER, 1, 10, "f"),
    );
    done(store, Batch::new().append(QUEUE, 9, 90, ""));
    let rows = store.read(QUEUE, 0, 10, 1000).expect("read");
    let seen: Vec<_> = rows.iter().map(|row| (row.seq, row.minute, &row.bytes[..])).collect();
    assert_eq!(seen, [(3, 30, &b"abc"[..]), (5, 50, b"de"), (9, 90, b"")]);
    let usage = store.usage(QUEUE).expect("usage").expect("exists");
    assert_eq!((usage.rows, usage.bytes, usage.first_seq, usage.last_seq), (3, 5, Some(3), 9));
    assert_eq!(usage.oldest_minute, Some(30));
    done(store, Batch::new().ack(QUEUE, 4));
    let usage = store.usage(QUEUE).expect("usage").expect("exists");
    assert_eq!((usage.rows, usage.bytes, usage.first_seq, usage.last_seq), (2, 2, Some(5), 9));
    assert_eq!(usage.oldest_minute, Some(50));
    done(store, Batch::new().ack(QUEUE, 4).ack(QUEUE, 1).ack(QueueId([9; 16]), 1));
    assert_eq!((seqs(store, QUEUE), seqs(store, OTHER)), (vec![5, 9], vec![1]));
    assert_eq!(store.usage(QueueId([9; 16])).expect("usage"), None);
}

fn reading_is_bounded(store: &mut dyn Store) {
    for seq in 1..=300 {
        done(store, Batch::new().append(QUEUE, seq, 0, vec![0; 100]));
    }
    let read = |after, rows, bytes| -> Vec<u64> {
        let rows = store.read(QUEUE, after, rows, bytes).expect("read");
        rows.iter().map(|row| row.seq).collect()
    };
    assert_eq!(read(0, 2, 1000), [1, 2]);
    assert_eq!(read(2, 1000, 250), [3, 4]);
    assert_eq!(read(2, 1000, 300), [3, 4, 5]);
    assert_eq!(read(2, 1000, 0), [3], "one row whatever its size");
    assert_eq!(read(2, 0, 1000), Vec::<u64>::new());
    assert_eq!(read(0, usize::MAX, usize::MAX).len(), 300);
    assert_eq!(read(300, 9, 999), Vec::<u64>::new());
    assert_eq!(read(u64::MAX, 9, 999), Vec::<u64>::new());
}

fn queues_remember_their_last_number(store: &mut dyn Store) {
    done(store, Batch::new().append(QUEUE, 5, 0, "x").ack(QUEUE, 100));
    let usage = store.usage(QUEUE).expect("usage").expect("exists");
    assert_eq!((usage.rows, usage.first_seq, usage.last_seq), (0, None, 5));
    assert_eq!(usage.oldest_minute, None);
    let low = commit(store, Batch::new().append(QUEUE, 5, 0, "y"));
    assert_eq!(low, Outcome::Refused(Refusal::SequenceNotRising { queue: QUEUE, last: 5, got: 5 }));
    // An acknowledgement above the last number does not swallow later rows.
    done(store, Batch::new().append(QUEUE, 6, 0, "z"));
    assert_eq!(seqs(store, QUEUE), [6]);
    done(store, Batch::new().remove(QUEUE, [6]));
    assert!(matches!(commit(store, Batch::new().append(QUEUE, 6, 0, "")), Outcome::Refused(_)));
    done(store, Batch::new().drop_queue(QUEUE).drop_queue(OTHER));
    assert_eq!(store.usage(QUEUE).expect("usage"), None);
    done(store, Batch::new().append(QUEUE, 1, 0, "again").append(QUEUE, 2, 0, ""));
    done(store, Batch::new().drop_queue(QUEUE).append(QUEUE, 1, 0, "once more"));
    assert_eq!(seqs(store, QUEUE), [1]);
    assert_eq!(store.usage(QUEUE).expect("usage").map(|usage| usage.last_seq), Some(1));
}

fn single_rows_are_removed(store: &mut dyn Store) {
    for seq in 1..=5 {
        done(store, Batch::new().append(QUEUE, seq, 100 - u32::try_from(seq).unwrap_or(0), "row"));
    }
    done(store, Batch::new().remove(QUEUE, [4, 2, 2, 77]));
    assert_eq!(seqs(store, QUEUE), [1, 3, 5]);
    let usage = store.usage(QUEUE).expect("usage").expect("exists");
    assert_eq!((usage.rows, usage.bytes, usage.oldest_minute), (3, 9, Some(95)));
    done(store, Batch::new().remove(QUEUE, [5, 1]));
    let usage = store.usage(QUEUE).expect("usage").expect("exists");
    assert_eq!((usage.first_seq, usage.last_seq, usage.oldest_minute), (Some(3), 5, Some(97)));
}

fn queues_are_listed_and_expire(store: &mut dyn Store) {
    let queue = |n: u8| QueueId([n; 16]);
    for n in [3, 1, 2] {
        for seq in 1..=3_u8 {
            done(store, Batch::new().append(queue(n), seq.into(), u32::from(10 * n + seq), "r"));
        }
    }
    let list = |after, limit| -> Vec<u8> {
        let queues = store.queues(after, limit).expect("queues");
        queues.iter().map(|(id, _)| id.0[0]).collect()
    };
    assert_eq!(list(None, 9), [1, 2, 3]);
    assert_eq!(list(Some(queue(1)), 1), [2]);
    let due = |minute, after, limit| -> Vec<(u8, u64)> {
        let due = store.older_than(minute, after, limit).expect("older_than");
        due.iter().map(|row| (row.queue.0[0], row.seq)).collect()
    };
    assert_eq!(due(11, None, 9), []);
    assert_eq!(due(23, None, 9), [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]);
    assert_eq!(due(23, None, 2), [(1, 1), (1, 2)]);
    assert_eq!(due(23, Some(Queued { queue: queue(1), seq: 2 }), 2), [(1, 3), (2, 1)]);
    assert_eq!(due(u32::MAX, Some(Queued { queue: queue(3), seq: 3 }), 2), []);
}

fn what_cannot_work_is_refused(store: &mut dyn Store) {
    let refusal = |outcome| match outcome {
        Outcome::Refused(refusal) => refusal,
        Outcome::Done | Outcome::Conflict { .. } | Outcome::Full => {
            unreachable!("not refused: {outcome:?}")
        }
    };
    let huge = commit(store, Batch::new().put(SHORT, b"k", vec![0; crate::MAX_BATCH_BYTES]));
    assert!(matches!(refusal(huge), Refusal::TooLarge { .. }));
    let long = commit(store, Batch::new().put(SHORT, vec![0; crate::MAX_KEY_BYTES + 1], ""));
    assert!(matches!(refusal(long), Refusal::KeyTooLong { .. }));
    done(store, Batch::new().put(SHORT, vec![0; crate::MAX_KEY_BYTES], ""));
    let zero = commit(store, Batch::new().append(QUEUE, 0, 0, ""));
    assert!(matches!(refusal(zero), Refusal::SequenceNotRising { .. }));
    let equal = commit(store, Batch::new().append(QUEUE, 1, 0, "").append(QUEUE, 1, 0, ""));
    assert!(matches!(refusal(equal), Refusal::SequenceNotRising { .. }));
    assert_eq!(store.usage(QUEUE).expect("usage"), None);
}

fn committed_is_there_again(backend: &mut dyn Backend) {
    backend.clear();
    let mut store = backend.open();
    let mut model = MemStore::new();
    let batches = vec![
        Batch::new().put(SHORT, b"s", "short").put(LONG, b"l", vec![9; 5000]),
        Batch::new().append(QUEUE, 1, 1, "one").append(QUEUE, 2, 2, "two").ack(QUEUE, 1),
        Batch::new().append(OTHER, 7, 7, "").remove(OTHER, [7]),
        Batch::new().delete(LONG, b"absent").put(LONG, b"x", "").delete(LONG, b"x"),
    ];
    for batch in batches {
        done(&mut *store, batch.clone());
        done(&mut model, batch);
    }
    for round in 0..4 {
        if round % 2 == 0 {
            store.close().expect("close");
        } else {
            drop(store);
        }
        store = backend.open();
        assert_same(&*store, &model, "after opening again");
    }
}

fn positions_rise(backend: &mut dyn Backend) {
    backend.clear();
    let mut store = backend.open();
    let before = store.log_end();
    done(&mut *store, Batch::new().put(SHORT, b"k", "v"));
    let after = store.log_end();
    assert!(before.is_behind(&after) && !after.is_behind(&before));
    assert_eq!(store.close().expect("close"), after);
    assert_eq!(backend.open().log_end(), after);
}

fn random_history(backend: &mut dyn Backend, seed: u64) {
    backend.clear();
    let mut histories = Histories::new(seed);
    let (mut store, mut model) = (backend.open(), MemStore::new());
    for step in 0..60 {
        let label = format!("seed {seed} step {step}");
        let batches = histories.batches(&model);
        let outcomes = store.commit(batches.clone()).expect("commit");
        assert_eq!(outcomes, model.commit(batches).expect("commit"), "{label}");
        if histories.below(4) == 0 {
            store.compact(histories.below(20_000)).expect("compact");
        }
        if backend.is_durable() && histories.below(15) == 0 {
            if histories.below(2) == 0 {
                store.close().expect("close");
            } else {
                drop(store);
            }
            store = backend.open();
        }
        if histories.below(5) == 0 {
            assert_same(&*store, &model, &label);
        }
    }
    assert_same(&*store, &model, &format!("seed {seed} at the end"));
    assert_eq!(verify(&*store), Vec::new(), "seed {seed}");
}

/// Asserts that two stores answer every question alike.
pub fn assert_same(store: &dyn Store, model: &dyn Store, label: &str) {
    let (left, right) = (describe(store), describe(model));
    for (left, right) in left.iter().zip(&right) {
        assert_eq!(left, right, "{label}");
    }
    assert_eq!(left.len(), right.len(), "{label}");
}

/// Everything that a store answers about [`TABLES`] and its queues, one line each; values by length
/// and checksum.
pub fn describe(store: &dyn Store) -> Vec<String> {
    let brief = |bytes: &[u8]| format!("{} bytes {:08x}", bytes.len(), crc32c::crc32c(bytes));
    let mut lines = Vec::new();
    for table in TABLES {
        let mut after = None::<Vec<u8>>;
        loop {
            let page = store.scan(table, b"", after.as_deref(), 7).expect("scan");
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            lines.extend(page.iter().map(|(key, value)| format!("{table:?} {key:?}: {}", brief(value))));
        }
    }
    for (queue, usage) in store.queues(None, usize::MAX).expect("queues") {
        assert_eq!(store.usage(queue).expect("usage"), Some(usage));
        lines.push(format!("{queue:?} {usage:?}"));
        for row in store.read(queue, 0, usize::MAX, usize::MAX).expect("read") {
            lines.push(format!("{queue:?} {} of minute {}: {}", row.seq, row.minute, brief(&row.bytes)));
        }
    }
    for minute in [1, 50, u32::MAX] {
        let due = store.older_than(minute, None, usize::MAX).expect("older_than");
        lines.push(format!("due before {minute}: {due:?}"));
    }
    lines
}

/// Random batches that mean something: few keys and queues, met again and again.
#[derive(Clone, Debug)]
pub struct Histories {
    state: u64,
}

impl Histories {
    /// Everything follows from the seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A number below `limit`, 0 for 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).checked_rem(limit).unwrap_or(0)
    }

    fn small(&mut self, limit: u8) -> u8 {
        u8::try_from(self.below(u64::from(limit))).unwrap_or(0)
    }

    /// Batches for one commit, given the state that they will meet.
    pub fn batches(&mut self, model: &MemStore) -> Vec<Batch> {
        (0..=self.below(3)).map(|_| self.batch(model)).collect()
    }

    fn batch(&mut self, model: &MemStore) -> Batch {
        let mut batch = Batch::new();
        if self.below(4) == 0 {
            let (table, key) = self.row();
            let want = match self.below(3) {
                0 => Want::Absent,
                1 => Want::Present,
                _ => {
                    let value = model.get(table, &key).expect("get");
                    Want::Value(value.unwrap_or_default())
                }
            };
            batch = batch.expect(table, key, want);
        }
        let mut appended = Vec::new();
        for _ in 0..=self.below(4) {
            batch = batch.op(self.op(model, &mut appended));
        }
        batch
    }

    fn row(&mut self) -> (Table, Vec<u8>) {
        let table = TABLES[usize::from(self.small(3))];
        (table, vec![self.small(12); usize::from(self.small(3))])
    }

    fn bytes(&mut self) -> Bytes {
        let len = match self.below(10) {
            0 => self.below(9000),
            1..4 => 0,
            _ => self.below(300),
        };
        Bytes::from(vec![self.small(255); usize::try_from(len).unwrap_or(0)])
    }

    fn op(&mut self, model: &MemStore, appended: &mut Vec<(QueueId, u64)>) -> Op {
        let queue = QueueId([self.small(4); 16]);
        let usage = model.usage(queue).expect("usage").unwrap_or_default();
        let last_here = appended.iter().rev().find(|(id, _)| *id == queue).map(|(_, seq)| *seq);
        let last = last_here.unwrap_or(usage.last_seq);
        match self.below(20) {
            0..6 => {
                let (table, key) = self.row();
                Op::Put { table, key, value: self.bytes() }
            }
            6..9 => {
                let (table, key) = self.row();
                Op::Delete { table, key }
            }
            9..15 => {
                // Now and then a number that does not rise.
                let seq = (last + self.below(4)).max(1);
                appended.push((queue, seq.max(last)));
                Op::Append { queue, seq, minute: u32::from(self.small(100)), bytes: self.bytes() }
            }
            15..17 => Op::Ack { queue, up_to: self.below(last + 3) },
            17..19 => {
                let seqs = (0..self.below(4)).map(|_| self.below(last + 2)).collect();
                Op::Remove { queue, seqs }
            }
            _ => {
                appended.push((queue, 0));
                Op::DropQueue { queue }
            }
        }
    }
}
