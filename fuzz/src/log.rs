//! The store's log as a disk may hand it back: any bytes, a genuine log that was spoiled, and right checksums around any records.

use std::sync::{Arc, LazyLock};

use penpal_store::{
    Batch, KvStore as _, LogStore, MemIndex, OpenError, Options, QueueId, SpoolStore as _, Store as _,
    conformance::{TABLES, describe},
    disk::{Crash, Disk as _, MemDisk},
};

const LOG: u64 = 7;
const SEGMENT_BYTES: usize = 64 * 1024;
const SEGMENTS: [&str; 3] = ["0000000001.log", "0000000002.log", "0000000003.log"];
const QUEUE: QueueId = QueueId([7; 16]);

/// Rows in two segments, some replaced and removed.
static GENUINE: LazyLock<MemDisk> = LazyLock::new(|| {
    let disk = MemDisk::new();
    let mut store = open(&disk, false).expect("an empty disk");
    for number in 1..=40 {
        let mut batch = Batch::new().append(QUEUE, number, 0, value(number, 2000));
        let key = number % 8;
        batch = batch.put(TABLES[1], key.to_be_bytes(), value(key, 700));
        if number % 10 == 0 {
            batch = batch.remove(QUEUE, [number - 1]).delete(TABLES[1], 3_u64.to_be_bytes());
        }
        assert!(store.commit(vec![batch]).expect("memory").iter().all(|outcome| outcome.is_done()));
    }
    drop(store);
    disk.crash(Crash::KeepAll);
    disk
});

/// The first byte chooses what the rest does to the log.
pub fn check(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let disk = GENUINE.fork();
    match how % 4 {
        0 => {
            // The whole log is these bytes.
            for name in SEGMENTS {
                drop(disk.remove(name));
            }
            let parts = rest.chunks(rest.len().div_ceil(usize::from(how / 4 % 3) + 1).max(1));
            for (name, part) in SEGMENTS.iter().zip(parts) {
                disk.set_content(name, part);
            }
            any_log(&disk);
        }
        1 => {
            checksummed(&disk, rest);
            any_log(&disk);
        }
        2 => {
            disk.set_content("format", rest);
            any_log(&disk);
        }
        _ => {
            spoil(&disk, rest);
            spoiled_log(&disk);
        }
    }
}

/// What a row holds follows from its number, so that a wrong one shows.
fn value(number: u64, bytes: usize) -> Vec<u8> {
    number.to_be_bytes().into_iter().cycle().take(bytes).collect()
}

fn open(disk: &MemDisk, repair: bool) -> Result<LogStore, OpenError> {
    let options =
        Options { segment_bytes: SEGMENT_BYTES as u64, log_id: Some(LOG), repair, ..Options::default() };
    LogStore::open_in(Arc::new(disk.clone()), Box::new(MemIndex::new()), options)
}

/// Edits of five bytes: which segment, where, what to do, with which value.
fn spoil(disk: &MemDisk, edits: &[u8]) {
    for edit in edits.chunks_exact(5) {
        let [which, high, low, what, value] = *edit else { continue };
        let name = SEGMENTS[usize::from(which) % SEGMENTS.len()];
        let Some(mut content) = disk.content(name) else { continue };
        let at = usize::from(u16::from_be_bytes([high, low]));
        match what % 6 {
            0 | 1 if at < content.len() => content[at] ^= value,
            2 => content.truncate(at),
            3 => content.iter_mut().skip(at).take(512 * usize::from(value)).for_each(|byte| *byte = 0),
            4 => {
                // A sector that was written somewhere else.
                let (from, to) = (at / 512 * 512, usize::from(value) % 128 * 512);
                if from.max(to) + 512 <= content.len() {
                    content.copy_within(from..from + 512, to);
                }
            }
            5 if value == 0xff => {
                drop(disk.remove(name));
                continue;
            }
            _ => continue,
        }
        disk.set_content(name, &content);
    }
}

/// Batches with right headers and checksums around any records: `segment u8, length u16, records …`, again and again.
fn checksummed(disk: &MemDisk, mut data: &[u8]) {
    let mut contents = SEGMENTS.map(|_| Vec::new());
    let mut number = 0_u64;
    while let Some(([which, high, low], rest)) = data.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (records, rest) = rest.split_at(length);
        data = rest;
        number += 1;
        let which = usize::from(*which) % SEGMENTS.len();
        contents[which].extend(batch(which as u64 + 1, number, records));
        contents[which].resize(contents[which].len().next_multiple_of(512).min(SEGMENT_BYTES), 0);
    }
    for (name, mut content) in SEGMENTS.iter().zip(contents) {
        content.resize(SEGMENT_BYTES, 0);
        disk.set_content(name, &content);
    }
}

/// `magic 8 | segment u64 | number u64 | length u32 | CRC32C u32 | records`, little-endian.
fn batch(segment: u64, number: u64, records: &[u8]) -> Vec<u8> {
    let length = u32::try_from(records.len()).expect("inputs are short");
    let [a, b, c, d, seed @ ..] = LOG.to_le_bytes();
    let mut out = [b'P', b'P', b'L', b'1', a, b, c, d].to_vec();
    out.extend(segment.to_le_bytes());
    out.extend(number.to_le_bytes());
    out.extend(length.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&seed), &out), records);
    out.extend(crc.to_le_bytes());
    out.extend(records);
    out
}

/// Opening says no or gives a store that is whole and goes on.
fn any_log(disk: &MemDisk) {
    for repair in [false, true] {
        let disk = disk.fork();
        if let Ok(store) = open(&disk, repair) {
            goes_on(&disk, store);
        }
    }
}

/// As [`any_log`]; and repair always opens what spoiling left, and no row is another than was written.
fn spoiled_log(disk: &MemDisk) {
    for repair in [false, true] {
        let disk = disk.fork();
        let store = match open(&disk, repair) {
            Ok(store) => store,
            Err(error) => {
                assert!(!repair, "repair fails: {error}");
                continue;
            }
        };
        for row in store.read(QUEUE, 0, usize::MAX, usize::MAX).expect("rows of a store that opened") {
            assert_eq!(row.bytes, value(row.seq, 2000), "row {}", row.seq);
        }
        for (key, found) in store.scan(TABLES[1], b"", None, usize::MAX).expect("rows of a store that opened")
        {
            let number = key.try_into().map(u64::from_be_bytes).expect("a key as written");
            assert_eq!(found, value(number, 700), "row {number}");
        }
        goes_on(&disk, store);
    }
}

/// What opened reads completely, verifies, takes another batch, and opens again without repair with all that it held.
fn goes_on(disk: &MemDisk, mut store: LogStore) {
    describe(&store);
    assert_eq!(store.verify(&mut |_| {}).expect("verify").findings, []);
    let batch = Batch::new().put(TABLES[2], b"fuzz", "goes on");
    let outcomes = store.commit(vec![batch]).expect("a disk without a limit");
    assert!(outcomes.iter().all(|outcome| outcome.is_done()));
    let before = describe(&store);
    drop(store);
    disk.crash(Crash::KeepAll);
    match open(disk, false) {
        Ok(store) => assert_eq!(describe(&store), before),
        Err(error) => panic!("does not open again: {error}"),
    }
}
