//! What a person does about a message that failed, or takes long.

use penpal_protocol::ids::{Fingerprint, MsgId};

use super::Attempt;
use super::expiry::unreached;
use super::stages::{CANCELLED, GIVEN_UP, failed_accounts};
use crate::ledger::{LedgerError, Table};
use crate::machine::Delivery;
use crate::record::CopyRecord;
use crate::stage::{Stage, TrailEvent, note};
use crate::step::Step;

/// A message cannot be tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RetryError {
    /// No own message has this id.
    #[error("no message of this node has that id")]
    Unknown,
    /// Every copy arrived.
    #[error("the message is {}, nothing is left to try", .stage.as_str())]
    Done {
        /// Where it stands.
        stage: Stage,
    },
    /// Its records cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// A message cannot be dismissed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DismissError {
    /// No own message has this id.
    #[error("no message of this node has that id")]
    Unknown,
    /// It did not fail, and may still arrive.
    #[error("the message is {}: only what was refused, expired or waits for a contact who is gone can be dismissed", .stage.as_str())]
    NotFailed {
        /// Where it stands.
        stage: Stage,
    },
    /// Its records cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Delivery {
    /// Tries every copy that is owed at once, and starts anew those of accounts that got none: same id, same place in the
    /// order, and the life that the message had at first, from now on.
    ///
    /// # Errors
    /// [`RetryError`].
    pub fn retry(&mut self, msg_id: MsgId, step: &mut Step<'_>) -> Result<(), RetryError> {
        self.retry_for(msg_id, |_| true, step)
    }

    /// The same, for the accounts that `wanted` names.
    ///
    /// # Errors
    /// [`RetryError`].
    pub fn retry_for(
        &mut self,
        msg_id: MsgId,
        wanted: impl Fn(&Fingerprint) -> bool,
        step: &mut Step<'_>,
    ) -> Result<(), RetryError> {
        self.begin(step);
        let mut mail = self.own_mail(msg_id, step.records).ok_or(RetryError::Unknown)?;
        let copies = self.copies_of(&mail, step.records)?;
        let stage = super::stages::overall(&copies).map_or(Stage::Queued, |copy| copy.stage);
        let now_ms = step.now.wall_ms;
        let mut failed = failed_accounts(&copies);
        failed.retain(wanted);
        let owed = copies.iter().any(|copy| Self::is_owed(copy.stage));
        let elsewhere = mail.sent.as_ref().is_some_and(|sent| sent.elsewhere == Some(true));
        if elsewhere || (failed.is_empty() && !owed) {
            return Err(RetryError::Done { stage });
        }
        if !failed.is_empty() {
            let life_ms = mail.expires_ms.saturating_sub(mail.sent_ms);
            // A life is counted from `sent_ms` and limited, so a new one needs a new start.
            mail.sent_ms = now_ms;
            mail.expires_ms = now_ms.saturating_add(life_ms);
            if let Some(sent) = &mut mail.sent {
                sent.dismissed = false;
            }
            self.ledger.put(Table::Mail, &mail.key().to_key(), &mail);
        }
        for mut copy in copies {
            if failed.contains(&copy.peer.account) {
                note(&mut copy.trail, TrailEvent::here(Stage::Queued, now_ms));
                copy.stage = Stage::Queued;
                copy.reason = self.why_it_waits(&copy.peer.account, &mail);
                copy.deposits = 0;
                copy.expires_ms = mail.expires_ms;
            } else if !Self::is_owed(copy.stage) {
                continue;
            }
            let peer = copy.peer;
            if !matches!(
                self.outbox.live.get(&(peer, msg_id)).map(|copy| copy.attempt),
                Some(Attempt::Flying(_))
            ) {
                self.enliven(copy.clone(), &mail, Attempt::Ready(step.now.mono));
            }
            self.lane(peer).backoff_until = None;
            self.save_copy(&copy);
        }
        self.message_moved(msg_id, step);
        Ok(())
    }

    /// Stops sending a message of another machine, such as an acceptance that was taken back. An unknown id is nothing.
    pub fn cancel(&mut self, msg_id: MsgId, step: &mut Step<'_>) {
        self.begin(step);
        let Some(mut mail) = self.own_mail(msg_id, step.records) else { return };
        let Some(sent) = &mut mail.sent else { return };
        sent.dismissed = true;
        let peers = sent.copies.clone();
        self.ledger.put(Table::Mail, &mail.key().to_key(), &mail);
        for peer in peers {
            if self.is_live(peer, msg_id) {
                let event = TrailEvent {
                    reason: Some(CANCELLED.to_owned()),
                    ..TrailEvent::here(Stage::Refused, step.now.wall_ms)
                };
                self.state_copy(peer, msg_id, event, step);
            }
        }
    }

    /// Takes a failed message off the list of those that need attention, and gives up what waits for a contact who is gone: that ends as it
    /// would with its life, at once.
    ///
    /// # Errors
    /// [`DismissError`].
    pub fn dismiss(&mut self, msg_id: MsgId, step: &mut Step<'_>) -> Result<(), DismissError> {
        self.begin(step);
        let mut mail = self.own_mail(msg_id, step.records).ok_or(DismissError::Unknown)?;
        let copies = self.copies_of(&mail, step.records)?;
        let stage = super::stages::overall(&copies).map_or(Stage::Queued, |copy| copy.stage);
        let has_failed = !failed_accounts(&copies).is_empty();
        let given_up: Vec<_> = copies.into_iter().filter(|copy| self.waits_for_gone(copy)).collect();
        if !has_failed && given_up.is_empty() {
            return Err(DismissError::NotFailed { stage });
        }
        if let Some(sent) = &mut mail.sent {
            sent.dismissed = true;
        }
        self.ledger.put(Table::Mail, &mail.key().to_key(), &mail);
        for copy in given_up {
            let reason = Some(GIVEN_UP.to_owned());
            let event = TrailEvent { reason, ..TrailEvent::here(unreached(&copy), step.now.wall_ms) };
            self.state_copy(copy.peer, msg_id, event, step);
        }
        if !self.is_owed_to_anybody(msg_id) {
            self.outbox.held.remove(&msg_id);
        }
        if self.outbox.dead.remove(&msg_id) {
            self.ledger.delete(Table::Dead, msg_id.as_bytes());
        }
        Ok(())
    }

    /// Whether a copy is owed to a contact whose relay takes nothing. What completes an invite is not the person's to give up.
    fn waits_for_gone(&self, copy: &CopyRecord) -> bool {
        let live = self.outbox.live.get(&(copy.peer, copy.msg_id));
        Self::is_owed(copy.stage) && live.is_some_and(|live| !live.boot) && self.is_gone(copy)
    }
}
