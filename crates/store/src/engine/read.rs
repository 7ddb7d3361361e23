//! Reading: the index says where, the log says what, a checksum says that they agree.

use std::io;

use bytes::Bytes;

use super::LogStore;
use crate::index::rows::{Place, QueuedRow};
use crate::log::layout::segment_name;
use crate::{KvStore, QueueId, Queued, ReadError, Row, SpoolStore, Table, Usage};

/// Rows further apart than this are read separately.
const MAX_GAP_BYTES: u32 = 512;

/// Most bytes read at once for several rows.
const MAX_SPAN_BYTES: u32 = 1024 * 1024;

/// Rows looked up at once where the caller's own limit does not bound them.
const PAGE: usize = 256;

impl LogStore {
    pub(super) fn check_running(&self) -> Result<(), ReadError> {
        if self.stopped.get() { Err(ReadError::Stopped) } else { Ok(()) }
    }

    /// Reads a value, also one that is gathered but not on disk yet.
    pub(super) fn value(&self, place: &Place) -> Result<Bytes, ReadError> {
        let len = usize::try_from(place.len).unwrap_or(usize::MAX);
        match self.writer.gathered(place.pos(), len) {
            Some(bytes) => Ok(Bytes::copy_from_slice(bytes)),
            None => checked(self.read_span(place.segment, place.offset, place.len)?, place),
        }
    }

    fn read_span(&self, segment: u32, offset: u32, len: u32) -> Result<Bytes, ReadError> {
        let failed =
            |action| move |source: io::Error| ReadError::Io { action, file: segment_name(segment), source };
        let file = self.segments.file(segment).map_err(failed("open"))?;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        // What a short file lacks is zeros, and a row's checksum tells.
        let _read = file.read_at(&mut bytes, u64::from(offset)).map_err(failed("read"))?;
        Ok(Bytes::from(bytes))
    }

    /// Reads rows that were found, those that lie together with one read.
    fn fetch(&self, found: &[(u64, QueuedRow)]) -> Result<Vec<Row>, ReadError> {
        let mut rows = Vec::with_capacity(found.len());
        let mut rest = found;
        while let Some((_, first)) = rest.first() {
            let start = first.place.offset;
            let mut end = start + first.place.len;
            let together = 1 + rest
                .windows(2)
                .take_while(|pair| {
                    let [(_, before), (_, row)] = pair else { return false };
                    let fits = row.place.segment == before.place.segment
                        && row.place.offset >= end
                        && row.place.offset - end <= MAX_GAP_BYTES
                        && row.place.offset + row.place.len - start <= MAX_SPAN_BYTES;
                    if fits {
                        end = row.place.offset + row.place.len;
                    }
                    fits
                })
                .count();
            let (group, others) = rest.split_at(together);
            let bytes = self.read_span(first.place.segment, start, end - start)?;
            for (seq, row) in group {
                let from = usize::try_from(row.place.offset - start).unwrap_or(usize::MAX);
                let len = usize::try_from(row.place.len).unwrap_or(usize::MAX);
                let bytes = checked(bytes.slice(from..from + len), &row.place)?;
                rows.push(Row { seq: *seq, minute: row.minute, bytes });
            }
            rest = others;
        }
        Ok(rows)
    }

    /// Rows of one queue that are due, from after `after`.
    fn due(&self, queue: QueueId, minute: u32, after: u64, limit: usize) -> Result<Vec<Queued>, ReadError> {
        let (mut due, mut after) = (Vec::new(), after);
        loop {
            let page = self.catalog.queued_after(queue, after, PAGE)?;
            let full = page.len() == PAGE;
            for (seq, row) in page {
                if row.minute < minute {
                    due.push(Queued { queue, seq });
                }
                after = seq;
                if due.len() == limit {
                    return Ok(due);
                }
            }
            if !full {
                return Ok(due);
            }
        }
    }
}

fn checked(bytes: Bytes, place: &Place) -> Result<Bytes, ReadError> {
    if crc32c::crc32c(&bytes) == place.crc {
        Ok(bytes)
    } else {
        Err(ReadError::Damaged { file: segment_name(place.segment), offset: u64::from(place.offset) })
    }
}

impl KvStore for LogStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.check_running()?;
        let place = self.catalog.find(table, key)?;
        place.map(|place| self.value(&place)).transpose()
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, ReadError> {
        self.check_running()?;
        let rows = self.catalog.scan(table, prefix, after, limit)?;
        rows.into_iter().map(|(key, place)| Ok((key, self.value(&place)?))).collect()
    }

    fn keys(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, ReadError> {
        self.check_running()?;
        let rows = self.catalog.scan(table, prefix, after, limit)?;
        Ok(rows.into_iter().map(|(key, _)| key).collect())
    }
}

impl SpoolStore for LogStore {
    fn read(
        &self,
        queue: QueueId,
        after_seq: u64,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<Vec<Row>, ReadError> {
        self.check_running()?;
        let (mut found, mut total, mut after) = (Vec::new(), 0_usize, after_seq);
        while found.len() < max_rows {
            let wanted = PAGE.min(max_rows - found.len());
            let page = self.catalog.queued_after(queue, after, wanted)?;
            let full = page.len() == wanted;
            for (seq, row) in page {
                total = total.saturating_add(usize::try_from(row.place.len).unwrap_or(usize::MAX));
                if !found.is_empty() && total > max_bytes {
                    return self.fetch(&found);
                }
                found.push((seq, row));
                after = seq;
            }
            if !full {
                break;
            }
        }
        self.fetch(&found)
    }

    fn usage(&self, queue: QueueId) -> Result<Option<Usage>, ReadError> {
        self.check_running()?;
        Ok(self.catalog.queue(queue)?.map(|state| state.usage()))
    }

    fn queues(&self, after: Option<QueueId>, limit: usize) -> Result<Vec<(QueueId, Usage)>, ReadError> {
        self.check_running()?;
        let queues = self.catalog.queues(after, false, limit)?;
        Ok(queues.into_iter().map(|(queue, state)| (queue, state.usage())).collect())
    }

    fn older_than(&self, minute: u32, after: Option<Queued>, limit: usize) -> Result<Vec<Queued>, ReadError> {
        self.check_running()?;
        let mut due = Vec::new();
        let (mut from, mut inclusive) = (after.map(|row| row.queue), true);
        loop {
            let page = self.catalog.queues(from, inclusive, PAGE)?;
            let full = page.len() == PAGE;
            for (queue, state) in page {
                (from, inclusive) = (Some(queue), false);
                if due.len() == limit {
                    return Ok(due);
                }
                if state.oldest < minute {
                    let after_seq = after.filter(|row| row.queue == queue).map_or(0, |row| row.seq);
                    due.extend(self.due(queue, minute, after_seq, limit - due.len())?);
                }
            }
            if !full {
                return Ok(due);
            }
        }
    }
}
