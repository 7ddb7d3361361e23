//! Position in this device's spool: what is processed, what to acknowledge, and when everything waiting was seen.

use std::time::Duration;

use penpal_protocol::ids::SpoolEpoch;
use penpal_protocol::limits::MAX_ACK_GAPS;

use crate::record::SpoolRecord;

/// Without a row for this long after connecting, the spool counts as drained although its newest row never came: rows
/// at its end may have expired, or been acknowledged under an earlier epoch.
const QUIET: Duration = Duration::from_millis(500);

/// Without a home relay for this long, envelopes for other relays are sealed all the same.
const HOME_AWAY: Duration = Duration::from_secs(30);

/// Acknowledgements that may be unanswered. Each covers all that is done, so a relay that never answers costs no more.
const MAX_ACKS: u32 = 8;

/// One row of the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpoolRow {
    /// Life of the spool.
    pub epoch: SpoolEpoch,
    /// Number of the row.
    pub seq: u64,
}

/// What to tell the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AckDue {
    pub epoch: SpoolEpoch,
    pub up_to: u64,
    pub gaps: Vec<u64>,
}

#[derive(Debug)]
pub(crate) struct Spool {
    pub record: SpoolRecord,
    newest: u64,
    connected: bool,
    drained: bool,
    /// When it counts as drained, or as away.
    settle_at: Option<Duration>,
    ack_due: bool,
    /// Acknowledgements sent and answered, to know whether an answer is newer than a moment.
    asked: u64,
    answered: u64,
    /// Acknowledgements on their way.
    flying: u32,
}

impl Spool {
    pub(crate) fn new(record: SpoolRecord, now: Duration) -> Self {
        Self {
            record,
            newest: 0,
            connected: false,
            drained: false,
            settle_at: Some(now.saturating_add(HOME_AWAY)),
            ack_due: false,
            asked: 0,
            answered: 0,
            flying: 0,
        }
    }

    /// Returns whether the record changed.
    pub(crate) fn connected(&mut self, epoch: SpoolEpoch, newest: u64, now: Duration) -> bool {
        self.connected = true;
        self.newest = newest;
        self.flying = 0;
        let mut changed = self.record.epoch != Some(epoch);
        if changed {
            self.record = SpoolRecord { epoch: Some(epoch), up_to: 0, open: Vec::new() };
        } else if self.record.up_to > newest {
            // Rows were numbered as no honest spool numbers them. To acknowledge such a number would be to acknowledge all that
            // ever comes.
            self.record.up_to = newest;
            self.record.open.retain(|open| *open <= newest);
            changed = true;
        }
        self.drained = self.record.up_to >= newest && self.record.open.is_empty();
        self.settle_at = (!self.drained).then(|| now.saturating_add(QUIET));
        // What was acknowledged last may not have got through; and the answer names the newest row.
        self.ack_due = self.record.up_to > 0;
        self.answered = self.asked;
        changed
    }

    pub(crate) fn disconnected(&mut self, now: Duration) {
        self.connected = false;
        self.flying = 0;
        self.drained = false;
        self.settle_at = Some(now.saturating_add(HOME_AWAY));
    }

    pub(crate) fn epoch(&self) -> Option<SpoolEpoch> {
        self.record.epoch
    }

    pub(crate) fn force_drained(&mut self) {
        self.drained = true;
        self.settle_at = None;
    }

    /// Whether a row belongs to the present life of the spool and came after the answer to `Hello`, which starts again from
    /// the first row that is not acknowledged. Any other row could stand for those before it.
    pub(crate) fn is_current(&self, row: SpoolRow) -> bool {
        self.connected && self.record.epoch == Some(row.epoch)
    }

    pub(crate) fn done(&mut self, row: SpoolRow, now: Duration) {
        if !self.is_current(row) {
            return;
        }
        self.record.up_to = self.record.up_to.max(row.seq);
        self.record.open.retain(|open| *open != row.seq);
        self.ack_due = true;
        self.progress(now);
    }

    pub(crate) fn defer(&mut self, row: SpoolRow, now: Duration) {
        if !self.is_current(row) {
            return;
        }
        if let Err(at) = self.record.open.binary_search(&row.seq) {
            self.record.open.insert(at, row.seq);
        }
        self.record.up_to = self.record.up_to.max(row.seq);
        self.progress(now);
    }

    fn progress(&mut self, now: Duration) {
        if self.drained || !self.connected {
            return;
        }
        self.drained = self.record.up_to >= self.newest && self.record.open.is_empty();
        self.settle_at = (!self.drained).then(|| now.saturating_add(QUIET));
    }

    /// Whether envelopes may be sealed now.
    pub(crate) fn may_seal(&self) -> bool {
        self.drained
    }

    /// Returns whether sealing became possible.
    pub(crate) fn timeout(&mut self, now: Duration) -> bool {
        let settled = self.settle_at.is_some_and(|at| at <= now);
        if settled {
            self.force_drained();
        }
        settled
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.settle_at
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Asks for an acknowledgement although nothing new is done, to learn the newest row; returns its number.
    pub(crate) fn ask_newest(&mut self) -> u64 {
        self.ack_due = true;
        self.asked.saturating_add(1)
    }

    /// Whether the acknowledgement of that number, or a later one, was answered.
    pub(crate) fn is_answered(&self, ask: u64) -> bool {
        self.answered >= ask
    }

    pub(crate) fn take_ack(&mut self) -> Option<AckDue> {
        if !self.ack_due || !self.connected || self.flying >= MAX_ACKS {
            return None;
        }
        let epoch = self.record.epoch?;
        self.ack_due = false;
        self.flying = self.flying.saturating_add(1);
        self.asked = self.asked.saturating_add(1);
        let cut = self.record.open.get(MAX_ACK_GAPS).map(|first_left_out| first_left_out.saturating_sub(1));
        let up_to = cut.unwrap_or(self.record.up_to);
        let gaps = self.record.open.iter().copied().take(MAX_ACK_GAPS).collect();
        Some(AckDue { epoch, up_to, gaps })
    }

    /// Takes the answer; `false` when the relay's spool has another life by now.
    pub(crate) fn acked(&mut self, epoch: SpoolEpoch, newest: u64) -> bool {
        self.flying = self.flying.saturating_sub(1);
        self.answered = self.answered.saturating_add(1).min(self.asked);
        if self.record.epoch != Some(epoch) {
            return false;
        }
        self.newest = self.newest.max(newest);
        true
    }

    /// An acknowledgement was refused, or not answered in time. What it covered is acknowledged with the next one.
    pub(crate) fn ack_lost(&mut self) {
        self.flying = self.flying.saturating_sub(1);
    }

    /// Whether every row that the relay had given out up to `seq` in that life is processed.
    pub(crate) fn is_processed(&self, epoch: SpoolEpoch, seq: u64) -> bool {
        self.record.epoch == Some(epoch)
            && self.record.up_to >= seq
            && self.record.open.first().is_none_or(|open| *open > seq)
    }

    /// The newest row known, with the life of the spool.
    pub(crate) fn newest(&self) -> Option<(SpoolEpoch, u64)> {
        self.record.epoch.map(|epoch| (epoch, self.newest))
    }
}
