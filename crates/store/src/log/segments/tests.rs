//! Segments on files, which a helper prepares, and on a disk in memory, where nobody does.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::disk::{Fault, MemDisk, RealDisk};
use crate::log::layout::set_aside_name;

/// Not a whole number of the pieces in which files are filled.
const BYTES: u64 = 70_000;

/// More than any disk has.
const ENDLESS: u64 = 1 << 60;

fn on_files(bytes: u64) -> (TempDir, Segments) {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(dir.path()).unwrap();
    (dir, Segments::new(Arc::new(disk), bytes, BTreeSet::new(), VecDeque::new()))
}

/// Segments that hold something, and none ahead.
fn in_memory(segments: &[SegmentNo]) -> (MemDisk, Segments) {
    let disk = MemDisk::new();
    for segment in segments {
        disk.set_content(&segment_name(*segment), &[7; 70_000]);
    }
    let existing = segments.iter().copied().collect();
    let segments = Segments::new(Arc::new(disk.clone()), BYTES, existing, VecDeque::new());
    (disk, segments)
}

/// No other file finds room.
fn fill(disk: &MemDisk) {
    disk.set_capacity(Some(disk.used_bytes()));
}

fn zeros(segments: &Segments, segment: SegmentNo) -> bool {
    let mut bytes = vec![1; 70_001];
    let read = segments.file(segment).unwrap().read_at(&mut bytes, 0).unwrap();
    bytes.truncate(read);
    bytes == [0; 70_000]
}

fn spares(dir: &Path) -> usize {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".log")).count()
}

#[test]
fn the_existing_are_told_as_ranges() {
    let (_, segments) = in_memory(&[1, 2, 3, 5, 7, 8]);
    assert_eq!(segments.ranges(), [(1, 3), (5, 5), (7, 8)]);
}

#[test]
fn files_are_kept_open_up_to_a_number() {
    let (_, segments) = in_memory(&(1..=300).collect::<Vec<_>>());
    for segment in 1..=256 {
        segments.file(segment).unwrap();
    }
    assert_eq!(segments.open.borrow().len(), 256);
    for segment in 257..=300 {
        segments.file(segment).unwrap();
    }
    assert_eq!(segments.open.borrow().len(), 256);
}

#[test]
fn a_helper_makes_what_is_asked_for_ahead_of_need() {
    let (dir, mut segments) = on_files(BYTES);
    segments.prepare(2).unwrap();
    assert_eq!((segments.awaited, segments.next), (2, 3));
    segments.prepare(2).unwrap();
    assert_eq!(segments.awaited + segments.spares(), 2, "asked for once");
    assert_eq!(segments.require(2).unwrap(), Room::Ready);
    assert_eq!((segments.spares(), segments.awaited, segments.next), (2, 0, 3), "and waited for");
    assert_eq!(segments.take_spare(), Some(1));
    assert!(zeros(&segments, 1) && zeros(&segments, 2));
    segments.prepare(3).unwrap();
    drop(segments);
    assert_eq!(spares(dir.path()), 4, "what was asked for is there when it ends");
}

#[test]
fn without_a_helper_only_the_reserve_is_made_ahead() {
    let (disk, mut segments) = in_memory(&[1]);
    segments.prepare(2).unwrap();
    assert_eq!((segments.spares(), segments.next), (1, 3));
    segments.take_spare();
    fill(&disk);
    assert_eq!(segments.require(1).unwrap(), Room::DiskFull);
    disk.set_capacity(None);
    segments.prepare(1).unwrap();
    assert_eq!(segments.spares(), 0, "not while the disk counts as full");
}

/// A thread that is gone, for whatever reason, is missed by nobody.
#[test]
fn what_a_helper_does_not_do_is_done_here() {
    for asked in [false, true] {
        let (dir, mut segments) = on_files(BYTES);
        assert_eq!(segments.require(2).unwrap(), Room::Ready);
        segments.take_spare();
        let helper = segments.helper.as_mut().unwrap();
        helper.jobs = None;
        helper.thread.take().unwrap().join().unwrap();
        segments.awaited = usize::from(asked);
        assert_eq!(segments.require(2).unwrap(), Room::Ready);
        assert_eq!((segments.spares(), segments.awaited, spares(dir.path())), (2, 0, 3));
        segments.discard(1, None).unwrap();
        assert_eq!(spares(dir.path()), 2);
        segments.take_spare();
        segments.take_spare();
        segments.full = true;
        segments.discard(2, None).unwrap();
        assert_eq!((segments.spares(), segments.awaited, segments.next), (1, 0, 5));
        assert!(zeros(&segments, 4));
    }
}

#[test]
fn a_helper_tells_of_a_full_disk() {
    let (dir, mut segments) = on_files(ENDLESS);
    segments.prepare(1).unwrap();
    assert_eq!(segments.require(1).unwrap(), Room::DiskFull);
    assert!(segments.is_full());
    segments.prepare(1).unwrap();
    assert_eq!((segments.awaited, spares(dir.path())), (0, 0), "nothing is asked for in vain");
}

#[test]
fn any_other_failure_is_one() {
    let (dir, mut segments) = on_files(BYTES);
    fs::create_dir(dir.path().join(unfinished_name(1))).unwrap();
    segments.prepare(1).unwrap();
    segments.require(1).unwrap_err();
    let (disk, mut segments) = in_memory(&[1]);
    disk.inject(Fault::PowerCut(disk.steps()));
    segments.require(1).unwrap_err();
    assert!(!segments.is_full());
}

#[test]
fn a_full_disk_is_looked_at_again() {
    let (disk, mut segments) = in_memory(&[1]);
    fill(&disk);
    assert_eq!(segments.require(1).unwrap(), Room::DiskFull);
    segments.look_again().unwrap();
    assert!(segments.is_full());
    disk.set_capacity(Some(disk.used_bytes() + BYTES));
    segments.look_again().unwrap();
    assert!(!segments.is_full());
    assert_eq!(segments.require(1).unwrap(), Room::Ready);
}

/// Somebody else might take what a removed file frees: it becomes the next one.
#[test]
fn on_a_full_disk_a_segment_given_up_is_the_next_one() {
    let (disk, mut segments) = in_memory(&[1, 2]);
    fill(&disk);
    assert_eq!(segments.require(1).unwrap(), Room::DiskFull);
    segments.discard(1, None).unwrap();
    assert_eq!((segments.spares(), segments.next, segments.is_full()), (1, 4, true));
    assert!(zeros(&segments, 3));
    assert_eq!(disk.content(&segment_name(1)), None);
    // With that one ahead there is no need for another.
    segments.discard(2, None).unwrap();
    assert_eq!((segments.spares(), segments.is_full()), (1, false));
    assert_eq!(disk.content(&segment_name(2)), None);
}

#[test]
fn with_a_helper_too() {
    let (dir, mut segments) = on_files(BYTES);
    assert_eq!(segments.require(1).unwrap(), Room::Ready);
    segments.take_spare();
    segments.file(1).unwrap().write_at(&[7; 70_000], 0).unwrap();
    segments.full = true;
    segments.discard(1, None).unwrap();
    assert_eq!((segments.awaited, segments.next), (1, 3));
    assert_eq!(segments.require(1).unwrap(), Room::Ready);
    assert!(zeros(&segments, 2));
    assert_eq!(spares(dir.path()), 1);
}

/// What somebody reads, and what repair keeps, is not written over.
#[test]
fn what_is_read_or_kept_is_not_used_again() {
    for keeps in [false, true] {
        let (disk, mut segments) = in_memory(&[1, 2]);
        fill(&disk);
        assert_eq!(segments.require(1).unwrap(), Room::DiskFull);
        let reading = segments.reading();
        segments.discard(1, keeps.then(|| set_aside_name(1))).unwrap();
        assert_eq!((segments.spares(), segments.is_full()), (0, false));
        assert_eq!(disk.content(&set_aside_name(1)).is_some(), keeps);
        segments.full = true;
        drop(reading);
        segments.discard(2, keeps.then(|| set_aside_name(2))).unwrap();
        assert_eq!(segments.spares(), usize::from(!keeps));
    }
}
