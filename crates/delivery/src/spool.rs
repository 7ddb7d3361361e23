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
        self.ack_due |= self.record.up_to > 0;
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

    /// Returns whether sealing became possible.
    pub(crate) fn done(&mut self, row: SpoolRow, now: Duration) -> bool {
        if !self.is_current(row) {
            return false;
        }
        self.record.up_to = self.record.up_to.max(row.seq);
        self.record.open.retain(|open| *open != row.seq);
        self.ack_due = true;
        self.progress(now)
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

    fn progress(&mut self, now: Duration) -> bool {
        if self.drained || !self.connected {
            return false;
        }
        self.drained = self.record.up_to >= self.newest && self.record.open.is_empty();
        self.settle_at = (!self.drained).then(|| now.saturating_add(QUIET));
        self.drained
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

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: SpoolEpoch = SpoolEpoch::from_bytes([1; 8]);
    const OTHER: SpoolEpoch = SpoolEpoch::from_bytes([2; 8]);
    const START: Duration = Duration::from_secs(1);

    fn row(seq: u64) -> SpoolRow {
        SpoolRow { epoch: EPOCH, seq }
    }

    /// A spool that was read up to a row, but for some, and to which the relay says which row is the newest.
    fn connected(up_to: u64, open: &[u64], newest: u64) -> (Spool, bool) {
        let record = SpoolRecord { epoch: Some(EPOCH), up_to, open: open.to_vec() };
        let mut spool = Spool::new(record, START);
        let changed = spool.connected(EPOCH, newest, START);
        (spool, changed)
    }

    #[test]
    fn everything_that_waited_is_seen_before_anything_is_sealed() {
        let (mut spool, changed) = connected(0, &[], 2);
        assert!(!changed && !spool.may_seal());
        let later = START + Duration::from_millis(100);
        assert!(!spool.done(row(1), later));
        assert_eq!((spool.may_seal(), spool.deadline()), (false, Some(later + QUIET)));
        assert!(spool.done(row(2), later));
        assert_eq!((spool.may_seal(), spool.deadline()), (true, None));
        // What comes later is waited for by nobody.
        assert!(!spool.done(row(3), later));
        assert!(spool.may_seal());
        assert!(connected(2, &[], 2).0.may_seal());
        assert!(!connected(2, &[1], 2).0.may_seal());
    }

    #[test]
    fn a_row_that_is_put_off_is_waited_for_only_a_moment() {
        let (mut spool, _) = connected(0, &[], 2);
        spool.defer(row(1), START);
        assert!(!spool.done(row(2), START));
        assert!(!spool.may_seal());
        assert!(!spool.timeout(START + QUIET - Duration::from_millis(1)));
        assert!(spool.timeout(START + QUIET));
        assert!(spool.may_seal());
        spool.defer(row(3), START + QUIET);
        assert!(spool.may_seal());
    }

    #[test]
    fn rows_that_no_spool_had_are_forgotten() {
        let (spool, changed) = connected(9, &[3, 7], 5);
        assert!(changed);
        assert_eq!((spool.record.up_to, spool.record.open.as_slice()), (5, &[3][..]));
        let (spool, changed) = connected(5, &[3], 5);
        assert!(!changed);
        assert_eq!((spool.record.up_to, spool.epoch()), (5, Some(EPOCH)));
    }

    #[test]
    fn a_new_connection_is_told_what_is_done() {
        assert_eq!(connected(0, &[], 4).0.take_ack(), None);
        let ack = connected(3, &[2], 4).0.take_ack();
        assert_eq!(ack, Some(AckDue { epoch: EPOCH, up_to: 3, gaps: vec![2] }));
    }

    #[test]
    fn a_newest_row_that_was_asked_for_is_asked_for_after_a_new_connection_too() {
        let mut spool = Spool::new(SpoolRecord::default(), START);
        let ask = spool.ask_newest();
        assert_eq!(spool.take_ack(), None);
        spool.connected(EPOCH, 0, START);
        assert!(!spool.is_answered(ask));
        assert!(spool.take_ack().is_some());
        assert!(!spool.is_answered(ask));
        assert!(spool.acked(EPOCH, 7));
        assert!(spool.is_answered(ask));
        assert_eq!(spool.newest(), Some((EPOCH, 7)));
        assert!(!spool.acked(OTHER, 8));
    }

    #[test]
    fn acknowledgements_without_answer_are_bounded() {
        let (mut spool, _) = connected(0, &[], 100);
        for seq in 1..=u64::from(MAX_ACKS) {
            spool.done(row(seq), START);
            assert!(spool.take_ack().is_some());
        }
        spool.done(row(99), START);
        assert_eq!(spool.take_ack(), None);
        spool.ack_lost();
        assert_eq!(spool.take_ack().map(|ack| ack.up_to), Some(99));
        assert_eq!(spool.take_ack(), None);
    }

    #[test]
    fn what_is_processed_is_everything_up_to_a_row() {
        let (spool, _) = connected(5, &[3], 6);
        let processed = (1..=6).filter(|seq| spool.is_processed(EPOCH, *seq)).collect::<Vec<_>>();
        assert_eq!(processed, [1, 2]);
        assert!(!spool.is_processed(OTHER, 1));
        let (spool, _) = connected(5, &[], 6);
        assert!(spool.is_processed(EPOCH, 5) && !spool.is_processed(EPOCH, 6));
    }
}
