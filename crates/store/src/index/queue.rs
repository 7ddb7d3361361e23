//! Queues in the catalog: their rows, and the running state that spares counting them.

use super::catalog::Catalog;
use super::rows::{
    Floor, Place, QueueState, QueuedRow, STATES_TO, Value, parse_queued_key, parse_state_key, queue_end,
    queued_key, state_key,
};
use crate::log::layout::{Pos, SegmentNo};
use crate::log::record::{FLOOR_SIZE, append_size};
use crate::{IndexError, Life, QueueId, Usage};

/// Rows looked at in one step when many are.
const PAGE: usize = 256;

/// Segments `first..=last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: SegmentNo,
    pub(crate) last: SegmentNo,
}

impl Span {
    /// Where records of a row may lie.
    pub(crate) fn of(place: &Place) -> Self {
        Self { first: place.since, last: place.segment }
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }
}

impl QueueState {
    fn new(since: SegmentNo) -> Self {
        Self {
            rows: 0,
            bytes: 0,
            first: 0,
            last: 0,
            oldest: u32::MAX,
            newest: 0,
            ordered: true,
            since,
            floor: None,
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        let waits = self.rows > 0;
        Usage {
            rows: self.rows,
            bytes: self.bytes,
            first_seq: waits.then_some(self.first),
            last_seq: self.last,
            oldest_minute: waits.then_some(self.oldest),
        }
    }
}

/// Queues whose state is kept at hand.
const MAX_RESIDENT: usize = 4096;

/// The state of a queue that was used since the last fold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resident {
    state: QueueState,
    /// At most so many of its rows are found below the overlay only. Mostly none: then nothing has to be asked there.
    below: u64,
}

impl Catalog {
    pub(crate) fn queue(&self, queue: QueueId) -> Result<Option<QueueState>, IndexError> {
        Ok(self.resident(queue)?.map(|resident| resident.state))
    }

    fn resident(&self, queue: QueueId) -> Result<Option<Resident>, IndexError> {
        if let Some(resident) = self.residents.borrow().get(&queue) {
            return Ok(Some(*resident));
        }
        let key = state_key(queue);
        let Some(bytes) = self.short.get(&key)? else { return Ok(None) };
        let state = QueueState::decode(&bytes)?;
        let resident = Resident { state, below: state.rows };
        self.keep(queue, resident);
        Ok(Some(resident))
    }

    fn keep(&self, queue: QueueId, resident: Resident) {
        let mut residents = self.residents.borrow_mut();
        if residents.len() >= MAX_RESIDENT {
            residents.clear();
        }
        residents.insert(queue, resident);
    }

    /// Lists queues from after `after` (from `after` on when `inclusive`).
    pub(crate) fn queues(
        &self,
        after: Option<QueueId>,
        inclusive: bool,
        limit: usize,
    ) -> Result<Vec<(QueueId, QueueState)>, IndexError> {
        let from = after.map_or_else(|| b"u".to_vec(), state_key);
        let rows = self.short.range(&from, inclusive, STATES_TO, limit)?;
        rows.iter().map(|(key, value)| Ok((parse_state_key(key)?, QueueState::decode(value)?))).collect()
    }

    pub(crate) fn queued(&self, queue: QueueId, seq: u64) -> Result<Option<QueuedRow>, IndexError> {
        let row = self.short.get(&queued_key(queue, seq))?;
        row.map(|bytes| QueuedRow::decode(&bytes)).transpose()
    }

    /// Lists rows of a queue with numbers above `after`, in order.
    pub(crate) fn queued_after(
        &self,
        queue: QueueId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, QueuedRow)>, IndexError> {
        self.queued_between(queue, after, u64::MAX, limit)
    }

    /// Lists rows with numbers above `after`, up to and including `up_to`.
    fn queued_between(
        &self,
        queue: QueueId,
        after: u64,
        up_to: u64,
        limit: usize,
    ) -> Result<Vec<(u64, QueuedRow)>, IndexError> {
        let end = up_to.checked_add(1).map_or_else(|| queue_end(queue), |next| queued_key(queue, next));
        let from = queued_key(queue, after);
        let rows = match self.resident(queue)? {
            Some(Resident { below: 0, .. }) => self.short.overlay_range(&from, &end, limit),
            Some(_) | None => self.short.range(&from, false, &end, limit)?,
        };
        rows.iter().map(|(key, value)| Ok((parse_queued_key(key)?.1, QueuedRow::decode(value)?))).collect()
    }

    /// Calls `visit` for every row with a number above `after` and of at most `up_to`.
    fn each_queued(
        &self,
        queue: QueueId,
        mut after: u64,
        up_to: u64,
        mut visit: impl FnMut(u64, QueuedRow),
    ) -> Result<(), IndexError> {
        loop {
            let page = self.queued_between(queue, after, up_to, PAGE)?;
            let full = page.len() == PAGE;
            for (seq, row) in page {
                visit(seq, row);
                after = seq;
            }
            if !full {
                return Ok(());
            }
        }
    }

    /// Where records of these rows may lie; `None` when none of them waits.
    pub(crate) fn span_of(&self, queue: QueueId, seqs: &[u64]) -> Result<Option<Span>, IndexError> {
        let mut span: Option<Span> = None;
        for seq in seqs {
            if let Some(row) = self.queued(queue, *seq)? {
                let one = Span::of(&row.place);
                span = Some(span.map_or(one, |span| span.union(one)));
            }
        }
        Ok(span)
    }

    fn store_queue(&mut self, queue: QueueId, state: &QueueState, fresh: bool) {
        self.short.put(state_key(queue), state.encode(), fresh);
        let known = self.residents.borrow().get(&queue).map(|resident| resident.below);
        let below = known.unwrap_or(if fresh { 0 } else { state.rows });
        self.keep(queue, Resident { state: *state, below });
    }

    /// Adds a row; one that is there already has moved to another place.
    pub(super) fn append(
        &mut self,
        queue: QueueId,
        seq: u64,
        minute: u32,
        mut place: Place,
    ) -> Result<(), IndexError> {
        let known = self.queue(queue)?;
        let mut state = known.unwrap_or_else(|| QueueState::new(place.segment));
        // Numbers rise, so only replay and compaction can meet a row again.
        let old = if seq > state.last { None } else { self.queued(queue, seq)? };
        if let Some(old) = &old {
            place.since = old.place.since.min(place.since);
            self.retire(Life::Short, old.place.segment, append_size(old.place.len));
            state.bytes = state.bytes.saturating_sub(u64::from(old.place.len));
        } else {
            state.ordered &= state.rows == 0 || (seq > state.last && minute >= state.newest);
            state.first = if state.rows == 0 { seq } else { state.first.min(seq) };
            state.rows += 1;
        }
        state.bytes += u64::from(place.len);
        state.last = state.last.max(seq);
        state.oldest = state.oldest.min(minute);
        state.newest = state.newest.max(minute);
        state.since = state.since.min(place.since);
        self.short.put(queued_key(queue, seq), QueuedRow { minute, place }.encode(), old.is_none());
        self.count(Life::Short, place.segment, append_size(place.len));
        if old.is_some_and(|old| old.minute != minute) {
            // Replay met the number again in a queue that was dropped and created anew.
            self.survey_minutes(queue, &mut state)?;
        }
        self.store_queue(queue, &state, known.is_none());
        Ok(())
    }

    /// Removes rows up to a number and remembers the queue's last one.
    pub(super) fn set_floor(
        &mut self,
        queue: QueueId,
        up_to: u64,
        last: u64,
        pos: Pos,
    ) -> Result<(), IndexError> {
        let known = self.queue(queue)?;
        let mut state = known.unwrap_or_else(|| QueueState::new(pos.segment));
        let mut dead = Vec::new();
        if state.rows > 0 {
            // What is below the first was removed, and may be thousands of marks of that.
            self.each_queued(queue, state.first.saturating_sub(1), up_to, |seq, row| dead.push((seq, row)))?;
        }
        self.kill(queue, &mut state, dead)?;
        if let Some(old) = state.floor.replace(Floor { pos, up_to, last }) {
            self.retire(Life::Short, old.pos.segment, FLOOR_SIZE);
        }
        self.count(Life::Short, pos.segment, FLOOR_SIZE);
        state.last = state.last.max(last);
        state.since = state.since.min(pos.segment);
        self.store_queue(queue, &state, known.is_none());
        Ok(())
    }

    /// Removes single rows that lie up to `limit`.
    pub(super) fn remove(&mut self, queue: QueueId, seqs: &[u64], limit: Pos) -> Result<(), IndexError> {
        let Some(mut state) = self.queue(queue)? else { return Ok(()) };
        let mut seqs = seqs.to_vec();
        seqs.sort_unstable();
        seqs.dedup();
        let mut dead = Vec::new();
        for seq in seqs {
            if let Some(row) = self.queued(queue, seq)?.filter(|row| row.place.pos() <= limit) {
                dead.push((seq, row));
            }
        }
        self.kill(queue, &mut state, dead)?;
        self.store_queue(queue, &state, false);
        Ok(())
    }

    /// Removes what lies up to `limit`: all of the queue, unless it was created anew since.
    pub(super) fn drop_queue(&mut self, queue: QueueId, limit: Pos) -> Result<(), IndexError> {
        let Some(mut state) = self.queue(queue)? else { return Ok(()) };
        let (mut dead, mut kept_last) = (Vec::new(), 0);
        self.each_queued(queue, 0, u64::MAX, |seq, row| {
            if row.place.pos() <= limit {
                dead.push((seq, row));
            } else {
                kept_last = seq;
            }
        })?;
        self.kill(queue, &mut state, dead)?;
        if let Some(floor) = state.floor.take_if(|floor| floor.pos <= limit) {
            self.retire(Life::Short, floor.pos.segment, FLOOR_SIZE);
        }
        if state.rows == 0 && state.floor.is_none() {
            self.short.delete(&state_key(queue));
            self.residents.borrow_mut().remove(&queue);
        } else {
            // Killing the highest row leaves a floor, so what is left tells the last number.
            state.last = state.floor.map_or(0, |floor| floor.last).max(kept_last);
            self.store_queue(queue, &state, false);
        }
        Ok(())
    }

    /// Takes rows out and brings the state up to date; does not store it.
    fn kill(
        &mut self,
        queue: QueueId,
        state: &mut QueueState,
        dead: Vec<(u64, QueuedRow)>,
    ) -> Result<(), IndexError> {
        if dead.is_empty() {
            return Ok(());
        }
        let lost_first = dead.iter().any(|(seq, _)| *seq == state.first);
        let lost_oldest = dead.iter().any(|(_, row)| row.minute == state.oldest);
        for (seq, row) in dead {
            if self.short.delete(&queued_key(queue, seq))
                && let Some(resident) = self.residents.borrow_mut().get_mut(&queue)
            {
                resident.below = resident.below.saturating_sub(1);
            }
            self.retire(Life::Short, row.place.segment, append_size(row.place.len));
            state.rows = state.rows.saturating_sub(1);
            state.bytes = state.bytes.saturating_sub(u64::from(row.place.len));
        }
        if state.rows == 0 {
            (state.first, state.oldest, state.newest, state.ordered) = (0, u32::MAX, 0, true);
            return Ok(());
        }
        if lost_first && let Some((seq, row)) = self.queued_after(queue, state.first, 1)?.first() {
            state.first = *seq;
            if state.ordered {
                state.oldest = row.minute;
            }
        }
        if lost_oldest && !state.ordered {
            self.survey_minutes(queue, state)?;
        }
        Ok(())
    }

    /// Looks at every row: minutes did not rise with numbers.
    fn survey_minutes(&self, queue: QueueId, state: &mut QueueState) -> Result<(), IndexError> {
        (state.oldest, state.newest, state.ordered) = (u32::MAX, 0, true);
        self.each_queued(queue, 0, u64::MAX, |_, row| {
            state.ordered &= row.minute >= state.newest;
            state.oldest = state.oldest.min(row.minute);
            state.newest = state.newest.max(row.minute);
        })
    }
}
