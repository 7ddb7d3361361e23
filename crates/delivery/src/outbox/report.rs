//! What listings and waiting callers are told of own messages.

use std::time::Duration;

use penpal_protocol::ids::MsgId;
use penpal_protocol::sealed::Kind;

use super::Attempt;
use super::stages::weakest;
use crate::address::{MailKey, Mailbox, Peer};
use crate::inbox::QueryError;
use crate::ledger::{Records, Table};
use crate::machine::Delivery;
use crate::record::MailRecord;
use crate::stage::{Stage, TrailEvent, Witness};

/// Where an own message stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageReport {
    /// The stage of the furthest copy; of a message to several accounts the least far of those that did not fail, or that of the
    /// one account that it is for.
    pub stage: Stage,
    /// Why it is there.
    pub reason: Option<String>,
    /// Whether the recipient's device signed it.
    pub signed: bool,
    /// How it was surfaced.
    pub mechanism: Option<String>,
    /// The answer.
    pub reply: Option<MailKey>,
    /// Every copy, one a device.
    pub copies: Vec<CopyReport>,
}

/// Where one copy stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyReport {
    /// The device; [`Peer::HERE`] for local mail.
    pub peer: Peer,
    /// Its stage.
    pub stage: Stage,
    /// Why it is there.
    pub reason: Option<String>,
}

/// One line of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// The message.
    pub msg_id: MsgId,
    /// Its short id.
    pub short: String,
    /// What it is.
    pub kind: Kind,
    /// Mailbox it was sent from.
    pub from: Mailbox,
    /// Address as it was typed.
    pub to: String,
    /// One line.
    pub subject: Option<String>,
    /// When it was sent, Unix milliseconds.
    pub sent_ms: u64,
    /// When it ends, Unix milliseconds.
    pub expires_ms: u64,
    /// Where it stands.
    pub report: StageReport,
}

impl Delivery {
    /// Where an own message stands; `None` when there is none of that id.
    ///
    /// # Errors
    /// [`QueryError`] when the records cannot be read.
    pub fn report(&self, msg_id: MsgId, records: &dyn Records) -> Result<Option<StageReport>, QueryError> {
        let Some(mail) = self.own(msg_id, records)? else { return Ok(None) };
        self.report_of(&mail, records).map(Some)
    }

    fn own(&self, msg_id: MsgId, records: &dyn Records) -> Result<Option<MailRecord>, QueryError> {
        let key = MailKey::own(msg_id).to_key();
        let mail = self.ledger.peek::<MailRecord>(records, Table::Mail, &key)?;
        Ok(mail.filter(|mail| mail.sent.is_some()))
    }

    fn report_of(&self, mail: &MailRecord, records: &dyn Records) -> Result<StageReport, QueryError> {
        let copies = self.copies_of(mail, records)?;
        let best = weakest(&copies, mail.sent.as_ref().and_then(|sent| sent.addressed));
        let last = best.and_then(|copy| copy.trail.iter().rev().find(|event| event.stage == copy.stage));
        let surfaced = copies
            .iter()
            .flat_map(|copy| &copy.trail)
            .find(|event| event.stage == Stage::Surfaced && event.mechanism.is_some());
        Ok(StageReport {
            stage: best.map_or(Stage::Queued, |copy| copy.stage),
            reason: best.and_then(|copy| copy.reason.clone()),
            signed: last.is_some_and(|event| event.signed),
            mechanism: surfaced.and_then(|event| event.mechanism.clone()),
            reply: copies.iter().flat_map(|copy| &copy.trail).find_map(|event| {
                let from = event.device.map(|peer| peer.account);
                event.reply.map(|msg_id| MailKey { msg_id, from })
            }),
            copies: copies
                .into_iter()
                .map(|copy| CopyReport { peer: copy.peer, stage: copy.stage, reason: copy.reason })
                .collect(),
        })
    }

    /// Every line of an own message's trail; of several copies, by time. `None` when there is no such message.
    ///
    /// # Errors
    /// [`QueryError`] when the records cannot be read.
    pub fn trace(&self, msg_id: MsgId, records: &dyn Records) -> Result<Option<Vec<TrailEvent>>, QueryError> {
        let Some(mail) = self.own(msg_id, records)? else { return Ok(None) };
        let copies = self.copies_of(&mail, records)?;
        let several = copies.len() > 1;
        let mut events: Vec<TrailEvent> = Vec::new();
        for event in copies.into_iter().flat_map(|copy| rising(copy.trail)) {
            // Being queued and expiring concern the message, whatever the number of its copies.
            if event.device.is_none() && events.contains(&event) {
                continue;
            }
            events.push(event);
        }
        if several {
            events.sort_by_key(|event| event.at_ms);
        }
        Ok(Some(events))
    }

    /// Own messages with a copy that is owed, oldest first.
    ///
    /// # Errors
    /// [`QueryError`] when the records cannot be read.
    pub fn outbox(&self, records: &dyn Records) -> Result<Vec<OutboxEntry>, QueryError> {
        self.entries(self.outbox.live_messages(), records)
    }

    /// Every own message that history keeps and people see, finished ones as well, oldest first. Reads all of history.
    ///
    /// # Errors
    /// [`QueryError`] when the records cannot be read.
    pub fn sent(&self, records: &dyn Records) -> Result<Vec<OutboxEntry>, QueryError> {
        let mut sent = Vec::new();
        self.ledger.for_each::<MailRecord>(records, Table::Mail, &[], |key, mail| {
            let own = MailKey::from_key(key).filter(|key| key.from.is_none());
            if mail.sent.is_some() && mail.kind.is_mail() {
                sent.extend(own.map(|key| key.msg_id));
            }
        })?;
        self.entries(sent, records)
    }

    /// When the next try of an own message is due, on the monotonic clock: the soonest of its copies.
    ///
    /// `None` when nothing waits for a time: it is under way, waits for its relay, or is done.
    #[must_use]
    pub fn next_try(&self, msg_id: MsgId) -> Option<Duration> {
        let lanes = self.lanes.iter();
        let tries = lanes.filter_map(|(peer, lane)| match self.outbox.live.get(&(*peer, msg_id))?.attempt {
            Attempt::Waiting(at) => Some(at),
            Attempt::Ready(_) => lane.backoff_until,
            Attempt::Flying(_) => None,
        });
        tries.min()
    }

    /// Own messages that ended refused or expired and were not dismissed, oldest first.
    ///
    /// # Errors
    /// [`QueryError`] when the records cannot be read.
    pub fn dead(&self, records: &dyn Records) -> Result<Vec<OutboxEntry>, QueryError> {
        self.entries(self.outbox.dead.iter().copied(), records)
    }

    /// How many messages [`Self::dead`] lists.
    #[must_use]
    pub fn dead_count(&self) -> usize {
        self.outbox.dead.len()
    }

    fn entries(
        &self,
        messages: impl IntoIterator<Item = MsgId>,
        records: &dyn Records,
    ) -> Result<Vec<OutboxEntry>, QueryError> {
        let mut entries = Vec::new();
        for msg_id in messages {
            let Some(mail) = self.own(msg_id, records)? else { continue };
            let report = self.report_of(&mail, records)?;
            let short = mail.short();
            let MailRecord { ordinal, kind, sent_ms, expires_ms, subject, sent, .. } = mail;
            let Some(sent) = sent else { continue };
            let (from, to) = (sent.from, sent.to);
            entries.push((
                ordinal,
                OutboxEntry { msg_id, short, kind, from, to, subject, sent_ms, expires_ms, report },
            ));
        }
        entries.sort_by_key(|(ordinal, _)| *ordinal);
        Ok(entries.into_iter().map(|(_, entry)| entry).collect())
    }
}

/// A relay had what a device of the recipient tells of: its answer, noted when it came, is no later than that. Clocks that differ are left.
fn rising(mut trail: Vec<TrailEvent>) -> Vec<TrailEvent> {
    let told = trail.iter().filter(|event| event.by == Witness::Device).map(|event| event.at_ms).min();
    let begun = trail.iter().find(|event| event.by == Witness::Here).map_or(0, |event| event.at_ms);
    for event in trail.iter_mut().filter(|event| event.by == Witness::Relay) {
        event.at_ms = told.map_or(event.at_ms, |told| event.at_ms.min(told.max(begun)));
    }
    trail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relays_answer_that_came_late_stands_no_later_than_what_came_of_it() {
        let trail = |times: [u64; 3]| {
            let by = [Witness::Here, Witness::Relay, Witness::Device];
            let stages = [Stage::Queued, Stage::Relayed, Stage::Delivered];
            let events = by.into_iter().zip(stages).zip(times);
            events.map(|((by, stage), at_ms)| TrailEvent { by, ..TrailEvent::here(stage, at_ms) }).collect()
        };
        let times = |trail: Vec<TrailEvent>| trail.iter().map(|event| event.at_ms).collect::<Vec<_>>();
        assert_eq!(times(rising(trail([20, 24, 22]))), [20, 22, 22]);
        assert_eq!(times(rising(trail([20, 21, 22]))), [20, 21, 22]);
        assert_eq!(times(rising(trail([20, 24, 3]))), [20, 20, 3], "their clock is behind");
    }
}
