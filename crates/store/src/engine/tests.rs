//! What only a store that was tampered with shows.

use std::sync::Arc;

use super::{LogStore, Options};
use crate::disk::{Disk, MemDisk};
use crate::index::catalog::At;
use crate::index::memory::MemIndex;
use crate::log::batch::{LogId, finish};
use crate::log::layout::{HEADER_BYTES, offset32, segment_name};
use crate::log::record::{Placed, Record};
use crate::log::writer::Need;
use crate::{Batch, Life, OpenError, Outcome, QueueId, SpoolStore, Store, Table};

const SEGMENT_BYTES: usize = 64 * 1024;
const QUEUE: QueueId = QueueId([7; 16]);

fn options() -> Options {
    Options { segment_bytes: SEGMENT_BYTES as u64, log_id: Some(7), ..Options::default() }
}

fn open(disk: &MemDisk, options: Options) -> Result<LogStore, OpenError> {
    LogStore::open_in(Arc::new(disk.clone()), Box::new(MemIndex::new()), options)
}

fn batch(number: u64, records: &[Record<'_>]) -> Vec<u8> {
    let mut buffer = vec![0; HEADER_BYTES];
    for record in records {
        record.encode(&mut buffer);
    }
    finish(LogId(7), 1, number, &mut buffer);
    buffer
}

/// Right checksums, and segments that no version of this program would name: later ones, or none, or its own as gone.
#[test]
fn a_newest_segment_that_makes_no_sense_is_damage() {
    let row = Record::Append { queue: QUEUE, seq: 1, minute: 0, bytes: b"row" };
    let whole = Record::SegmentSet { ranges: vec![(1, 1)] };
    for senseless in [
        vec![Record::SegmentSet { ranges: vec![(1, 5)] }],
        vec![Record::SegmentSet { ranges: Vec::new() }],
        vec![whole.clone(), Record::Unlink { segments: vec![1] }],
    ] {
        let disk = MemDisk::new();
        drop(open(&disk, options()).unwrap());
        let mut bytes = batch(1, &senseless);
        bytes.extend(batch(2, std::slice::from_ref(&row)));
        bytes.resize(SEGMENT_BYTES, 0);
        disk.set_content(&segment_name(1), &bytes);
        let error = open(&disk, options()).unwrap_err();
        assert!(
            matches!(&error, OpenError::Damaged { detail, .. } if detail.ends_with("makes no sense")),
            "{senseless:?}: {error}"
        );
        let mut store = open(&disk, Options { repair: true, ..options() }).unwrap();
        assert_eq!(store.opening().repaired.len(), 2, "{senseless:?}: {:?}", store.opening());
        let next = Batch::new().append(QUEUE, 2, 0, "next");
        assert_eq!(store.commit(vec![next]).unwrap(), [Outcome::Done]);
        drop(store);
        let rows = open(&disk, options()).unwrap().read(QUEUE, 0, 9, 99).unwrap();
        assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [1, 2], "{senseless:?}");
    }
}

#[test]
fn an_index_that_says_otherwise_is_a_finding() {
    const TABLE: Table = Table::new(1, Life::Long);
    let disk = MemDisk::new();
    let mut store = open(&disk, options()).unwrap();
    let first = store.commit(vec![Batch::new().put(TABLE, b"k", "value")]).unwrap();
    assert_eq!(first, [Outcome::Done]);
    let place = store.catalog.find(TABLE, b"k").unwrap().unwrap();
    for (value, findings) in [(&b"value"[..], 0), (b"other", 1), (b"longer", 2)] {
        let record = Record::Put { table: TABLE, key: b"k", value };
        let size = offset32(record.encode(&mut Vec::new()) + value.len());
        let placed = Placed { record, offset: 0, value_offset: place.offset, size };
        store.catalog.apply(At { segment: 1, batch: 2 }, &placed).unwrap();
        let report = store.verify(&mut |_| {}).unwrap();
        // Of another length, it also counts other bytes for its segment.
        assert_eq!(report.findings.len(), findings, "{:?}", report.findings);
    }
}

/// What says that segments are gone is written where the next opening looks for it, however full the newest segment is.
#[test]
fn a_repaired_log_goes_on_behind_a_full_segment() {
    let disk = MemDisk::new();
    let mut store = open(&disk, options()).unwrap();
    let mut rows = 0;
    let mut append_until = |store: &mut LogStore, segment: u32| {
        while store.writer.end().segment < segment {
            rows += 1;
            let row = Batch::new().append(QUEUE, rows, 0, vec![1; 2000]);
            assert_eq!(store.commit(vec![row]).unwrap(), [Outcome::Done]);
        }
        rows
    };
    append_until(&mut store, 3);
    while store.writer.has_room(1, Need::Unlink) {
        store.record(Record::Unlink { segments: Vec::new() }).unwrap();
        store.flush().unwrap();
    }
    drop(store);
    disk.remove(&segment_name(1)).unwrap();
    let mut store = open(&disk, Options { repair: true, ..options() }).unwrap();
    let first = store.usage(QUEUE).unwrap().and_then(|usage| usage.first_seq).unwrap();
    let last = append_until(&mut store, 5);
    drop(store);
    let left = open(&disk, options()).unwrap().read(QUEUE, 0, 999, usize::MAX).unwrap();
    assert_eq!(left.iter().map(|row| row.seq).collect::<Vec<_>>(), (first..=last).collect::<Vec<_>>());
}
