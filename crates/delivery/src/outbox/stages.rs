//! Stages of copies: reading, merging and saving them, and what follows for the message as a whole.

use std::collections::{BTreeMap, BTreeSet};

use penpal_protocol::ids::{Fingerprint, MsgId};

use super::KEEP_RECEIPTED_MS;
use crate::address::{MailKey, Peer};
use crate::event::Event;
use crate::ledger::{LedgerError, Records, Table};
use crate::machine::Delivery;
use crate::record::{CopyRecord, MailRecord};
use crate::stage::{Stage, TrailEvent, note};
use crate::step::Step;

pub(crate) fn copy_key(peer: Peer, msg_id: MsgId) -> [u8; 48] {
    let mut key = [0; 48];
    for (to, from) in key.iter_mut().zip(peer.to_key().iter().chain(msg_id.as_bytes())) {
        *to = *from;
    }
    key
}

/// Why a copy ended whose recipient is out of the room: no failure, for it is not for that one any more.
pub(super) const WITHDRAWN: &str = "out-of-room";

/// Why a copy ended that the program took back by itself.
pub(super) const CANCELLED: &str = "cancelled";

/// Why a copy ended that a person gave up.
pub(super) const GIVEN_UP: &str = "given-up";

impl Delivery {
    /// Writes a copy where it belongs: among the owed and recently receipted ones, or into history.
    pub(super) fn save_copy(&mut self, record: &CopyRecord) {
        let key = copy_key(record.peer, record.msg_id);
        let recent =
            record.receipted_ms.is_some_and(|at| at.saturating_add(KEEP_RECEIPTED_MS) > self.last.wall_ms);
        let owed = Self::is_owed(record.stage) || record.again;
        let here = record.peer == Peer::HERE;
        if !here && (owed || (recent && !record.stage.is_failure())) {
            self.ledger.put(Table::Outbox, &key, record);
        } else {
            if !here {
                self.ledger.delete(Table::Outbox, &key);
            }
            self.ledger.put(Table::Copy, &key, record);
        }
    }

    /// Reads a copy, wherever it is.
    pub(crate) fn copy(
        &self,
        peer: Peer,
        msg_id: MsgId,
        records: &dyn Records,
    ) -> Result<Option<CopyRecord>, LedgerError> {
        if let Some(copy) = self.outbox.live.get(&(peer, msg_id)) {
            return Ok(Some(copy.record.clone()));
        }
        let key = copy_key(peer, msg_id);
        // A copy that came back from history is in both; the owed one is newer.
        match self.ledger.peek(records, Table::Outbox, &key)? {
            Some(copy) => Ok(Some(copy)),
            None => self.ledger.peek(records, Table::Copy, &key),
        }
    }

    /// Every copy of an own message.
    pub(crate) fn copies_of(
        &self,
        mail: &MailRecord,
        records: &dyn Records,
    ) -> Result<Vec<CopyRecord>, LedgerError> {
        let mut copies = Vec::new();
        for peer in mail.sent.iter().flat_map(|sent| &sent.copies) {
            copies.extend(self.copy(*peer, mail.msg_id, records)?);
        }
        Ok(copies)
    }

    pub(crate) fn own_mail(&mut self, msg_id: MsgId, records: &dyn Records) -> Option<MailRecord> {
        self.ledger.get(records, Table::Mail, &MailKey::own(msg_id).to_key())
    }

    /// The copy that a statement of `peer` is about: its own, or the first for its account.
    pub(crate) fn copy_stated_by(&mut self, peer: Peer, msg_id: MsgId, step: &Step<'_>) -> Option<Peer> {
        if self.outbox.live.contains_key(&(peer, msg_id)) {
            return Some(peer);
        }
        let mail = self.own_mail(msg_id, step.records)?;
        let copies = &mail.sent.as_ref()?.copies;
        let own = copies.iter().find(|copy| **copy == peer);
        let same_account = || copies.iter().find(|copy| copy.account == peer.account);
        own.or_else(same_account).copied()
    }

    /// Adds a line to a copy's trail and moves its stage on if the line says so; returns whether the stage moved.
    pub(crate) fn state_copy(
        &mut self,
        peer: Peer,
        msg_id: MsgId,
        event: TrailEvent,
        step: &mut Step<'_>,
    ) -> bool {
        let mut record = match self.copy(peer, msg_id, step.records) {
            Ok(Some(record)) => record,
            Ok(None) => return false,
            Err(error) => {
                self.ledger.blame(error);
                return false;
            }
        };
        let stage = event.stage;
        let reason = event.reason.clone();
        let meant = matches!(reason.as_deref(), Some(CANCELLED | WITHDRAWN | GIVEN_UP));
        let signed = event.signed;
        let noted = note(&mut record.trail, event);
        let moved = record.stage.may_become(stage);
        if moved {
            record.stage = stage;
            record.reason = reason;
        }
        // A recipient that states anything has it, so the copy owed because it was lost is not owed any more.
        let settled = signed && record.again;
        if settled {
            record.again = false;
        }
        if !(noted || moved || settled) {
            return false;
        }
        if signed && record.receipted_ms.is_none() {
            record.receipted_ms = Some(self.last.wall_ms);
        }
        self.write_back(record, step);
        if moved {
            if stage.is_failure() && !meant {
                self.undismiss(msg_id, step);
            }
            self.message_moved(msg_id, step);
        }
        moved
    }

    /// Saves a changed copy, and takes it out of its lane when nothing is owed.
    pub(super) fn write_back(&mut self, record: CopyRecord, step: &Step<'_>) {
        let (peer, msg_id) = (record.peer, record.msg_id);
        let owed = Self::is_owed(record.stage) || record.again;
        if !owed {
            self.deaden(peer, msg_id);
            if record.stage.is_failure() {
                self.forget_sealed(&record);
            }
        } else if let Some(live) = self.outbox.live.get_mut(&(peer, msg_id)) {
            live.record = record.clone();
        } else if let Some(mail) = self.own_mail(msg_id, step.records) {
            self.enliven(record.clone(), &mail, super::Attempt::Ready(step.now.mono));
        }
        self.save_copy(&record);
    }

    /// A failure that comes after others were dismissed is one that nobody has seen.
    fn undismiss(&mut self, msg_id: MsgId, step: &Step<'_>) {
        let Some(mut mail) = self.own_mail(msg_id, step.records) else { return };
        if let Some(sent) = mail.sent.as_mut().filter(|sent| sent.dismissed) {
            sent.dismissed = false;
            self.ledger.put(Table::Mail, &mail.key().to_key(), &mail);
        }
    }

    fn forget_sealed(&mut self, record: &CopyRecord) {
        for hash in &record.sealed {
            self.ledger.delete(Table::Sealed, hash.as_bytes());
        }
    }

    /// Tells of the stage of a message as a whole, and keeps the list of failed ones.
    pub(super) fn message_moved(&mut self, msg_id: MsgId, step: &Step<'_>) {
        let Some(mail) = self.own_mail(msg_id, step.records) else { return };
        let copies = match self.copies_of(&mail, step.records) {
            Ok(copies) => copies,
            Err(error) => return self.ledger.blame(error),
        };
        let Some(stage) = overall(&copies).map(|copy| copy.stage) else { return };
        let dismissed = mail.sent.as_ref().is_some_and(|sent| sent.dismissed);
        // Whoever got nothing is not made up for by the others.
        let failed = furthest(&copies).into_values().find(|copy| is_lost(copy));
        let dead = failed.is_some() && !dismissed;
        let key = MailKey::own(msg_id);
        if dead && self.outbox.dead.insert(msg_id) {
            self.ledger.put(Table::Dead, msg_id.as_bytes(), &key);
            if let Some(copy) = failed.filter(|_| !stage.is_failure()) {
                let (account, stage) = (copy.peer.account, copy.stage);
                self.events.push_back(Event::FailedFor { msg_id, account, stage });
            }
        } else if !dead && self.outbox.dead.remove(&msg_id) {
            self.ledger.delete(Table::Dead, msg_id.as_bytes());
        }
        // An answer is told by whoever has it, with its id.
        if stage != Stage::Answered {
            self.events.push_back(Event::Stage { msg_id, stage, reply: None });
        }
    }
}

/// The copy whose stage is told of the message: of each account the furthest, and of several accounts the least far one that did not fail.
///
/// What is for one account among several is told as that one's copies stand: the others only keep it.
pub(super) fn weakest(copies: &[CopyRecord], addressed: Option<Fingerprint>) -> Option<&CopyRecord> {
    let mut accounts = furthest(copies);
    if let Some(copy) = addressed.and_then(|account| accounts.remove(&account)) {
        return Some(copy);
    }
    let going = accounts.values().filter(|copy| !copy.stage.is_failure()).min_by_key(|copy| copy.stage);
    going.copied().or_else(|| overall(copies))
}

/// Of each account the furthest copy.
pub(super) fn furthest(copies: &[CopyRecord]) -> BTreeMap<Fingerprint, &CopyRecord> {
    let mut accounts: BTreeMap<Fingerprint, &CopyRecord> = BTreeMap::new();
    for copy in copies {
        let best = accounts.entry(copy.peer.account).or_insert(copy);
        if copy.stage >= best.stage {
            *best = copy;
        }
    }
    accounts
}

/// Whether a copy failed that was still meant to arrive.
fn is_lost(copy: &CopyRecord) -> bool {
    copy.stage.is_failure() && copy.reason.as_deref() != Some(WITHDRAWN)
}

/// Accounts to whom no copy of the message got, and none will.
pub(super) fn failed_accounts(copies: &[CopyRecord]) -> BTreeSet<Fingerprint> {
    let failed = furthest(copies).into_iter().filter(|(_, copy)| is_lost(copy));
    failed.map(|(account, _)| account).collect()
}

/// The copy whose stage stands for the message: the furthest.
pub(super) fn overall(copies: &[CopyRecord]) -> Option<&CopyRecord> {
    copies.iter().max_by_key(|copy| copy.stage)
}
