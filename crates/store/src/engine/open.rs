//! Opening: lock, format, the log's end, the index, and room to go on.

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::replay::{Newest, Reader, ReplayError, Replayed, io_error};
use super::{LogStore, Opening};
use crate::disk::{Disk, DiskFile, RealDisk, is_full};
use crate::index::catalog::Catalog;
use crate::index::sled::SledIndex;
use crate::index::{Found, IndexHome, ROOM_BYTES, Rebuilt};
use crate::log::batch::LogId;
use crate::log::format::{Format, check_segment_bytes};
use crate::log::layout::{
    FORMAT_FILE, FileKind, LOCK_FILE, SEGMENT_BYTES, SegmentNo, file_kind, segment_name,
};
use crate::log::record::{Record, unlink_size};
use crate::log::recover::{Damage, End, SegmentReader};
use crate::log::segments::{Segments, allocate};
use crate::log::writer::{Need, Resume, Writer};
use crate::{Finding, MAX_BATCH_BYTES, OpenError, Progress};

/// How to open a store.
pub struct Options {
    /// Size of a segment for a store that is created: a power of two from 64 KiB to 16 MiB, the
    /// default. A batch can have half of it. An existing store keeps its own.
    pub segment_bytes: u64,
    /// Memory that each of the index's two databases may use for caching. Default 4 MiB.
    pub index_cache_bytes: u64,
    /// Identity of a log that is created; random by default. For simulations that must repeat.
    pub log_id: Option<u64>,
    /// Takes damaged parts out of the log instead of refusing: acknowledged data in them is lost, and
    /// what was removed by records in them may be back.
    pub repair: bool,
    /// Rebuilds the index from the log though nothing seems wrong with it, and leaves no copy of the old one.
    pub rebuild: bool,
    /// Told how far a long opening is.
    pub progress: Option<Box<dyn FnMut(Progress) + Send>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES,
            index_cache_bytes: 4 * 1024 * 1024,
            log_id: None,
            repair: false,
            rebuild: false,
            progress: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("segment_bytes", &self.segment_bytes)
            .field("index_cache_bytes", &self.index_cache_bytes)
            .field("repair", &self.repair)
            .field("rebuild", &self.rebuild)
            .finish_non_exhaustive()
    }
}

impl LogStore {
    /// Opens or creates the store in a folder, with its index in databases on disk.
    ///
    /// Creates the folder (mode 0700). Recovers what a crash left; rebuilds the index when it cannot be
    /// trusted. Refuses, changing nothing, when acknowledged data is damaged or missing.
    pub fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        let disk = RealDisk::new(dir).map_err(io_error("create", &dir.display().to_string()))?;
        let index = SledIndex::new(dir, options.index_cache_bytes);
        Self::open_in(Arc::new(disk), Box::new(index), options)
    }

    /// Opens or creates a store on any disk with any index: for simulations and tests.
    pub fn open_in(
        disk: Arc<dyn Disk>,
        home: Box<dyn IndexHome>,
        options: Options,
    ) -> Result<Self, OpenError> {
        let lock = disk.lock(LOCK_FILE).map_err(|source| {
            if source.kind() == io::ErrorKind::WouldBlock {
                OpenError::Locked { file: LOCK_FILE.to_owned() }
            } else {
                io_error("lock", LOCK_FILE)(source)
            }
        })?;
        let mut opening = Opening::default();
        let files = Files::look(&*disk, &mut opening.warnings)?;
        let format = files.format(&*disk, &options, &mut opening)?;
        let reader =
            Reader { disk, log: format.log, segment_bytes: format.segment_bytes, repair: options.repair };
        Opener { reader, home, options, opening }.open(lock, files)
    }
}

/// What lies in the folder.
struct Files {
    segments: BTreeSet<SegmentNo>,
    has_format: bool,
}

impl Files {
    fn look(disk: &dyn Disk, warnings: &mut Vec<Finding>) -> Result<Self, OpenError> {
        let mut names = disk.list().map_err(io_error("list", "the folder"))?;
        names.sort_unstable();
        let mut segments = BTreeSet::new();
        for name in &names {
            match file_kind(name) {
                FileKind::Segment(segment) => {
                    segments.insert(segment);
                }
                FileKind::Unfinished => disk.remove(name).map_err(io_error("remove", name))?,
                FileKind::Foreign => warnings.push(Finding {
                    place: name.clone(),
                    offset: None,
                    detail: "does not belong here and is ignored".to_owned(),
                }),
                FileKind::SetAside => warnings.push(Finding {
                    place: name.clone(),
                    offset: None,
                    detail: "was set aside by an earlier repair and is no longer used".to_owned(),
                }),
                FileKind::Known => {}
            }
        }
        Ok(Self { segments, has_format: names.iter().any(|name| name == FORMAT_FILE) })
    }

    /// Reads the format, or creates a log where there is none.
    fn format(&self, disk: &dyn Disk, options: &Options, opening: &mut Opening) -> Result<Format, OpenError> {
        if self.has_format {
            let format = Format::parse(&read_small(disk, FORMAT_FILE)?)?;
            // The format file is written when the first segment exists, and one always does since.
            if self.segments.is_empty() {
                return Err(OpenError::Missing { file: segment_name(1) });
            }
            return Ok(format);
        }
        check_segment_bytes(options.segment_bytes)?;
        for segment in &self.segments {
            let name = segment_name(*segment);
            let file = disk.open(&name).map_err(io_error("open", &name))?;
            let mut reader = SegmentReader::new(LogId(0), *segment, file, SEGMENT_BYTES);
            if reader.any_after(0)? {
                let detail = format!("it is missing, although {name} holds data");
                return Err(OpenError::NotAStore { file: FORMAT_FILE.to_owned(), detail });
            }
        }
        let log = match options.log_id {
            Some(log) => log,
            None => getrandom::u64().map_err(|error| OpenError::Io {
                action: "get random bytes for",
                file: FORMAT_FILE.to_owned(),
                source: io::Error::other(error.to_string()),
            })?,
        };
        let format = Format { log: LogId(log), segment_bytes: options.segment_bytes };
        allocate(disk, 1, format.segment_bytes).map_err(|error| allocation(error, format.segment_bytes))?;
        format.write(disk).map_err(io_error("write", FORMAT_FILE))?;
        opening.created = true;
        Ok(format)
    }
}

/// Reads a file of at most 4 KiB.
fn read_small(disk: &dyn Disk, name: &str) -> Result<Vec<u8>, OpenError> {
    let file = disk.open(name).map_err(io_error("open", name))?;
    let mut bytes = vec![0; 4096];
    let read = file.read_at(&mut bytes, 0).map_err(io_error("read", name))?;
    bytes.truncate(read);
    Ok(bytes)
}

fn allocation(error: io::Error, needed: u64) -> OpenError {
    if is_full(&error) { OpenError::Full { needed } } else { io_error("create", "the next segment")(error) }
}

/// The segments by what they are for.
struct Survey {
    newest: Option<Newest>,
    existing: BTreeSet<SegmentNo>,
    spares: VecDeque<SegmentNo>,
    /// The log says that they are gone.
    leftover: Vec<SegmentNo>,
    /// The log says that they exist; they do not, and repair was asked for.
    missing: Vec<SegmentNo>,
}

struct Opener {
    reader: Reader,
    home: Box<dyn IndexHome>,
    options: Options,
    opening: Opening,
}

impl Opener {
    fn open(mut self, lock: Box<dyn Send>, files: Files) -> Result<LogStore, OpenError> {
        let disk = self.reader.disk.clone();
        let files = if self.opening.created { BTreeSet::from([1]) } else { files.segments };
        let survey = self.survey(files)?;
        let (catalog, replayed) = self.catalog(&survey)?;
        for segment in &survey.leftover {
            let name = segment_name(*segment);
            disk.remove(&name).map_err(io_error("remove", &name))?;
        }
        disk.sync_dir().map_err(io_error("sync", "the folder"))?;
        let damaged = damaged_segments(&survey, &replayed);
        let flushed_to =
            catalog.watermarks().map_or(0, |[short, long]| short.end.segment.min(long.end.segment));
        let Survey { newest, existing, mut spares, missing, .. } = survey;
        let segment_bytes = self.reader.segment_bytes;

        let resume = match &newest {
            Some(newest) => Resume {
                segment: newest.segment,
                offset: newest.scanned.offset,
                last: newest.scanned.last.map_or(replayed.last, |last| last.max(replayed.last)),
            },
            None => Resume { segment: spares.pop_front().unwrap_or(1), offset: 0, last: (0, 0) },
        };
        let mut existing = existing;
        existing.insert(resume.segment);
        self.mend_tail(newest.as_ref(), &resume)?;
        let segments = Segments::new(disk, segment_bytes, existing, spares);
        let file = segments.file(resume.segment).map_err(io_error("open", &segment_name(resume.segment)))?;
        let writer = Writer::new(self.reader.log, segment_bytes, file, resume);
        let mut store = LogStore {
            log: self.reader.log,
            segments,
            writer,
            catalog,
            home: self.home,
            max_batch_bytes: MAX_BATCH_BYTES.min(usize::try_from(segment_bytes / 2).unwrap_or(usize::MAX)),
            stopped: Cell::new(false),
            changed: false,
            flushed_to,
            cleaning: None,
            scrub_to: None,
            unmovable: BTreeSet::new(),
            opening: self.opening,
            _lock: lock,
        };
        let sealed = newest.is_some_and(|newest| newest.scanned.end == End::Sealed);
        store.go_on(sealed, &damaged, missing)?;
        Ok(store)
    }

    /// Finds the newest segment with batches, and what the others are.
    fn survey(&mut self, files: BTreeSet<SegmentNo>) -> Result<Survey, OpenError> {
        let mut survey = Survey {
            newest: None,
            existing: BTreeSet::new(),
            spares: VecDeque::new(),
            leftover: Vec::new(),
            missing: Vec::new(),
        };
        for segment in files.iter().rev().copied() {
            let mut reader = self.reader.segment(segment, &mut self.opening.warnings)?;
            if reader.next_valid(0, 0)?.is_some() {
                survey.newest = Some(self.reader.newest(&mut reader)?);
                break;
            }
            if reader.any_after(0)? {
                self.overwrite_with_zeros(segment, 0)?;
            }
            survey.spares.push_front(segment);
        }
        let Some(newest) = &survey.newest else { return Ok(survey) };
        let present: BTreeSet<SegmentNo> = files.range(..=newest.segment).copied().collect();
        let expected = newest.existing.as_ref().unwrap_or(&present);
        for segment in expected.difference(&present) {
            let file = segment_name(*segment);
            if !self.options.repair {
                return Err(OpenError::Missing { file });
            }
            let detail = "it is missing; what it held is lost".to_owned();
            self.opening.repaired.push(Finding { place: file, offset: None, detail });
            survey.missing.push(*segment);
        }
        survey.leftover = present.difference(expected).copied().collect();
        survey.existing = expected.intersection(&present).copied().collect();
        Ok(survey)
    }

    /// Opens the index and brings it up to date, or rebuilds it.
    fn catalog(&mut self, survey: &Survey) -> Result<(Catalog, Replayed), OpenError> {
        let log = self.reader.log.0;
        if !self.home.has_room() {
            // Tried and failed, it would have to be rebuilt.
            return Err(OpenError::Full { needed: ROOM_BYTES });
        }
        let why = if self.options.repair {
            Rebuilt::Repair
        } else if self.options.rebuild {
            Rebuilt::Asked
        } else {
            match self.home.open(log) {
                Found::Untrusted(why) => why,
                Found::Trusted { bases, clean_end } => {
                    let opened = Catalog::open(bases, self.home.in_background()).map_err(ReplayError::Index);
                    match opened.and_then(|catalog| self.catch_up(catalog, clean_end, survey)) {
                        Ok(done) => return Ok(done),
                        Err(ReplayError::Open(error)) => return Err(error),
                        Err(ReplayError::Stale(detail)) => Rebuilt::Stale { detail },
                        Err(ReplayError::Index(error)) => Rebuilt::Failed { detail: error.to_string() },
                    }
                }
            }
        };
        let rebuilt = Catalog::open(self.home.reset(log)?, self.home.in_background())?;
        let done = self.replay(rebuilt, survey).map_err(|error| match error {
            ReplayError::Open(error) => error,
            ReplayError::Index(error) => OpenError::Index(error),
            ReplayError::Stale(detail) => OpenError::NotAStore { file: FORMAT_FILE.to_owned(), detail },
        })?;
        if why == Rebuilt::Asked {
            self.home.forget()?;
        }
        if !(self.opening.created && why == Rebuilt::Absent) {
            self.opening.rebuilt = Some(why);
        }
        Ok(done)
    }

    /// Replays what a trusted index does not have yet, if it fits the log.
    fn catch_up(
        &mut self,
        catalog: Catalog,
        clean_end: Option<u64>,
        survey: &Survey,
    ) -> Result<(Catalog, Replayed), ReplayError> {
        let end = survey.newest.as_ref().and_then(|newest| newest.scanned.last).map_or(0, |(last, _)| last);
        match (catalog.watermarks(), clean_end) {
            // Replaying from the beginning would leave the other one's rows, whose tombstones may be gone.
            (None, None) if catalog.is_half() => {
                return Err(ReplayError::Stale("one of its maps has no watermark".to_owned()));
            }
            (None, None) => {}
            (None, Some(_)) => return Err(ReplayError::Stale("it has no watermark".to_owned())),
            (Some(marks), clean_end) => {
                let fits = |mark: u64| clean_end.map_or(mark <= end, |clean| clean == end && mark == end);
                if let Some(mark) = marks.iter().find(|mark| !fits(mark.batch)) {
                    let detail = format!("it ends with batch {}, the log with {end}", mark.batch);
                    return Err(ReplayError::Stale(detail));
                }
            }
        }
        self.replay(catalog, survey)
    }

    fn replay(&mut self, mut catalog: Catalog, survey: &Survey) -> Result<(Catalog, Replayed), ReplayError> {
        let mut ignore = |_: Progress| {};
        let progress: &mut dyn FnMut(Progress) = match &mut self.options.progress {
            Some(progress) => progress,
            None => &mut ignore,
        };
        let warnings = &mut self.opening.warnings;
        let replayed =
            self.reader.replay(&mut catalog, &survey.existing, survey.newest.as_ref(), warnings, progress)?;
        Ok((catalog, replayed))
    }

    /// Cuts what was never finished, completes a short file, and syncs what is there: it may be visible
    /// only because the machine did not stop with the process.
    fn mend_tail(&mut self, newest: Option<&Newest>, resume: &Resume) -> Result<(), OpenError> {
        let name = segment_name(resume.segment);
        if let Some(Newest { scanned, .. }) = newest
            && let End::Open { torn: true } = scanned.end
        {
            self.overwrite_with_zeros(resume.segment, scanned.offset)?;
        }
        let file = self.reader.disk.open(&name).map_err(io_error("open", &name))?;
        let bytes = file.bytes().map_err(io_error("measure", &name))?;
        write_zeros(&*file, bytes, self.reader.segment_bytes).map_err(io_error("extend", &name))?;
        file.sync_data().map_err(io_error("sync", &name))
    }

    fn overwrite_with_zeros(&mut self, segment: SegmentNo, from: u32) -> Result<(), OpenError> {
        let name = segment_name(segment);
        let file = self.reader.disk.open(&name).map_err(io_error("open", &name))?;
        write_zeros(&*file, u64::from(from), self.reader.segment_bytes).map_err(io_error("write", &name))?;
        file.sync_data().map_err(io_error("sync", &name))?;
        self.opening.warnings.push(Finding {
            place: name,
            offset: Some(u64::from(from)),
            detail: "a write that never finished was cut off".to_owned(),
        });
        Ok(())
    }
}

fn write_zeros(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let zeros = [0; 16 * 1024];
    let mut at = from;
    while at < to {
        let piece = usize::try_from(to - at).unwrap_or(usize::MAX).min(zeros.len());
        file.write_at(zeros.get(..piece).unwrap_or(&zeros), at)?;
        at += piece as u64;
    }
    Ok(())
}

fn damaged_segments(survey: &Survey, replayed: &Replayed) -> Vec<Damage> {
    let newest = survey.newest.iter().flat_map(|newest| &newest.damages);
    let mut damages: Vec<Damage> = newest.chain(&replayed.damages).cloned().collect();
    damages.sort_by_key(|damage| (damage.segment, damage.offset));
    damages.dedup();
    damages
}

/// Missing segments that one record declares gone: some thousand bytes, which every segment has room for.
const UNLINKED_AT_ONCE: usize = 1024;

impl LogStore {
    /// Makes the store ready for commits.
    fn go_on(&mut self, sealed: bool, damages: &[Damage], missing: Vec<SegmentNo>) -> Result<(), OpenError> {
        let needed = self.segments.segment_bytes();
        let failed = |error: crate::CommitError| OpenError::Io {
            action: "write",
            file: "the log".to_owned(),
            source: io::Error::other(error),
        };
        if sealed || !damages.is_empty() {
            self.segments.require(1).map_err(|error| allocation(error, needed))?;
            // Never write behind a seal, nor into a file that is about to be set aside.
            let advanced = if sealed { self.advance() } else { self.rotate(Need::Free) };
            if !advanced.map_err(failed)? {
                return Err(OpenError::Full { needed });
            }
        } else if self.writer.at_beginning() {
            self.begin_segment();
        }
        for segments in missing.chunks(UNLINKED_AT_ONCE) {
            // What is written past the end of a segment is not looked for by the next opening.
            if !self.make_room(unlink_size(segments.len()), Need::Unlink).map_err(failed)? {
                return Err(OpenError::Full { needed });
            }
            self.record(Record::Unlink { segments: segments.to_vec() }).map_err(failed)?;
            self.flush().map_err(failed)?;
        }
        let mut segments: Vec<SegmentNo> = damages.iter().map(|damage| damage.segment).collect();
        segments.dedup();
        for damage in damages {
            self.opening.repaired.push(Finding {
                place: segment_name(damage.segment),
                offset: Some(u64::from(damage.offset)),
                detail: damage.detail.clone(),
            });
        }
        let Some(findings) = self.set_aside(&segments).map_err(failed)? else {
            return Err(OpenError::Full { needed });
        };
        self.opening.repaired.extend(findings);
        self.prepare_spares().map_err(failed)
    }
}
