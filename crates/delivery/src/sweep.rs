//! Once a day, a few rows at a time: old marks go, receipted copies move to history, and history is kept within its limits.

use std::collections::BTreeMap;
use std::time::Duration;

use penpal_protocol::limits::{DAY_MS, DUPLICATE_MARK_GRACE_MS};

use crate::address::{MailKey, Peer};
use crate::ledger::Table;
use crate::machine::Delivery;
use crate::outbox::{KEEP_RECEIPTED_MS, copy_key};
use crate::record::{CopyRecord, MailRecord, MailState, Record as _, SeenRecord};
use crate::step::Step;

/// First sweep after a start: not while everything else starts as well.
const FIRST: Duration = Duration::from_secs(600);

/// Between sweeps.
const PERIOD: Duration = Duration::from_millis(DAY_MS);

/// Between two bites of one sweep, so that mail goes before.
const PAUSE: Duration = Duration::from_millis(50);

/// Rows looked at in one bite.
const BITE: usize = 256;

/// How much history is kept. What waits unread, is owed, or is needed to know a message again stays in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Longest age in milliseconds; 90 days by default.
    pub max_age_ms: u64,
    /// Most bytes of contents; 1 GiB by default.
    pub max_bytes: u64,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self { max_age_ms: 90 * DAY_MS, max_bytes: 1 << 30 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Marks,
    Copies,
    Count,
    Purge,
}

#[derive(Debug)]
pub(crate) struct Sweep {
    next: Duration,
    phase: Phase,
    after: Option<Vec<u8>>,
    limits: HistoryLimits,
    /// Bytes of contents by day, counted before purging.
    bytes_by_day: BTreeMap<u64, u64>,
    /// What is stored before this goes.
    cutoff_ms: u64,
}

impl Sweep {
    pub(crate) fn starting(now: Duration) -> Self {
        Self {
            next: now.saturating_add(FIRST),
            phase: Phase::Marks,
            after: None,
            limits: HistoryLimits::default(),
            bytes_by_day: BTreeMap::new(),
            cutoff_ms: 0,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        Some(self.next)
    }

    /// Ends a bite: goes on behind `last`, or with the next phase.
    fn bitten(&mut self, last: Option<Vec<u8>>, now: Duration) {
        self.next = now.saturating_add(PAUSE);
        self.after = last;
        if self.after.is_some() {
            return;
        }
        self.phase = match self.phase {
            Phase::Marks => Phase::Copies,
            Phase::Copies => Phase::Count,
            Phase::Count => Phase::Purge,
            Phase::Purge => {
                self.next = now.saturating_add(PERIOD);
                Phase::Marks
            }
        };
    }

    /// Before which moment history goes, by age and by size.
    fn decide(&mut self, wall_ms: u64) {
        let mut left = self.limits.max_bytes;
        self.cutoff_ms = wall_ms.saturating_sub(self.limits.max_age_ms);
        for (day, bytes) in self.bytes_by_day.iter().rev() {
            match left.checked_sub(*bytes) {
                Some(rest) => left = rest,
                None => {
                    self.cutoff_ms = self.cutoff_ms.max(day.saturating_add(1).saturating_mul(DAY_MS));
                    break;
                }
            }
        }
        self.bytes_by_day.clear();
    }
}

impl Delivery {
    /// Sets how much history is kept.
    pub fn set_history(&mut self, limits: HistoryLimits) {
        self.sweep.limits = limits;
    }

    pub(crate) fn sweep_some(&mut self, step: &mut Step<'_>) {
        if step.now.mono < self.sweep.next {
            return;
        }
        let table = match self.sweep.phase {
            Phase::Marks => Table::Seen,
            Phase::Copies => Table::Outbox,
            Phase::Count | Phase::Purge => Table::Mail,
        };
        let rows = match self.ledger.scan(step.records, table, &[], self.sweep.after.as_deref(), BITE) {
            Ok(rows) => rows,
            Err(error) => return self.ledger.blame(error.into()),
        };
        for (key, value) in &rows {
            match self.sweep.phase {
                Phase::Marks => self.sweep_mark(key, value, step),
                Phase::Copies => self.sweep_copy(key, value, step),
                Phase::Count => self.count(value),
                Phase::Purge => self.purge(value, step),
            }
        }
        if self.sweep.phase == Phase::Count && rows.len() < BITE {
            self.sweep.decide(step.now.wall_ms);
        }
        let last = (rows.len() == BITE).then(|| rows.into_iter().last().map(|(key, _)| key)).flatten();
        self.sweep.bitten(last, step.now.mono);
    }

    fn sweep_mark(&mut self, key: &[u8], value: &[u8], step: &Step<'_>) {
        match SeenRecord::from_bytes(value) {
            Ok(mark) if mark.until_ms > step.now.wall_ms => {}
            Ok(_) => self.ledger.delete(Table::Seen, key),
            Err(source) => self.ledger.blame(crate::ledger::damaged(Table::Seen, key, source)),
        }
    }

    fn sweep_copy(&mut self, key: &[u8], value: &[u8], step: &Step<'_>) {
        let copy = match CopyRecord::from_bytes(value) {
            Ok(copy) => copy,
            Err(source) => return self.ledger.blame(crate::ledger::damaged(Table::Outbox, key, source)),
        };
        let kept = copy.receipted_ms.is_none_or(|at| at.saturating_add(KEEP_RECEIPTED_MS) > step.now.wall_ms);
        if kept || copy.again || self.is_live(copy.peer, copy.msg_id) {
            return;
        }
        for hash in &copy.sealed {
            self.ledger.delete(Table::Sealed, hash.as_bytes());
        }
        let copy = CopyRecord { sealed: Vec::new(), ..copy };
        self.ledger.delete(Table::Outbox, key);
        self.ledger.put(Table::Copy, key, &copy);
    }

    /// Counts what the limit is for, mail that was seen: no mark without content, nor what waits, whose author could else end the history
    /// of everybody.
    fn count(&mut self, value: &[u8]) {
        let counts = |state| matches!(state, MailState::Surfaced | MailState::Read | MailState::History);
        if let Ok(mail) = MailRecord::from_bytes(value)
            && mail.received.as_ref().is_none_or(|received| counts(received.state))
        {
            let day = self.sweep.bytes_by_day.entry(mail.stored_ms / DAY_MS).or_default();
            *day = day.saturating_add(u64::from(mail.content_bytes));
        }
    }

    fn purge(&mut self, value: &[u8], step: &Step<'_>) {
        let Ok(mail) = MailRecord::from_bytes(value) else { return };
        if mail.stored_ms >= self.sweep.cutoff_ms {
            return;
        }
        let unread = mail.received.as_ref().is_some_and(|received| received.state == MailState::Unread);
        let copies: Vec<Peer> = mail.sent.iter().flat_map(|sent| sent.copies.clone()).collect();
        // Copies that are owed, or may be asked for again, are still rows of the outbox.
        let mut owed = false;
        for peer in &copies {
            let key = copy_key(*peer, mail.msg_id);
            owed |= self.ledger.get_bytes(step.records, Table::Outbox, &key).is_some();
        }
        if unread || owed {
            return;
        }
        let key = mail.key().to_key();
        self.ledger.delete(Table::Content, &key);
        if mail.expires_ms.saturating_add(DUPLICATE_MARK_GRACE_MS) > step.now.wall_ms {
            return;
        }
        self.unplace(&mail);
        self.ledger.delete(Table::Mail, &key);
        for peer in copies {
            self.ledger.delete(Table::Copy, &copy_key(peer, mail.msg_id));
        }
        if mail.key() == MailKey::own(mail.msg_id) && self.outbox.dead.remove(&mail.msg_id) {
            self.ledger.delete(Table::Dead, mail.msg_id.as_bytes());
        }
    }
}
