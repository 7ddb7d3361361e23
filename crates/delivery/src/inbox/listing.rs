//! Listings of mail. They change nothing.

use penpal_protocol::ids::{ConversationId, DeviceId, Fingerprint, MsgId, RoomId, TraceId};
use penpal_protocol::sealed::{Kind, SessionRef};

use super::place::ordered_key;
use crate::address::{MailKey, Mailbox, Peer};
use crate::arrivals::revives;
use crate::ledger::{LedgerError, ReadFailed, Records, Table};
use crate::machine::Delivery;
use crate::record::{MailRecord, MailState, Marks, Record as _};

/// A listing failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// A record is damaged, or the store cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<ReadFailed> for QueryError {
    fn from(failed: ReadFailed) -> Self {
        Self::Ledger(failed.into())
    }
}

/// One message as listings show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailView {
    /// The message.
    pub key: MailKey,
    /// Its short id.
    pub short: String,
    /// Place among all messages of this node: the order of listings, and where the next page starts.
    pub ordinal: u64,
    /// What it is.
    pub kind: Kind,
    /// Device that sent it; `None` for mail from this machine.
    pub from_device: Option<DeviceId>,
    /// Session it was written in, by its sender's name for it; `None` for a desk.
    pub from_session: Option<SessionRef>,
    /// Mailbox here that it was sent from, for own and local messages.
    pub sent_from: Option<Mailbox>,
    /// Address it was sent to, for own messages.
    pub sent_to: Option<String>,
    /// Mailbox it is in; `None` for own messages that went elsewhere.
    pub mailbox: Option<Mailbox>,
    /// Session it was for, by the name its sender used; `None` for the desk.
    pub to_name: Option<String>,
    /// What it belongs to.
    pub conversation: ConversationId,
    /// Room it was said in.
    pub room: Option<RoomId>,
    /// What it answers.
    pub reply_to: Option<MsgId>,
    /// One line.
    pub subject: Option<String>,
    /// When it was sent, Unix milliseconds by its sender's clock.
    pub sent_ms: u64,
    /// When it was stored here, Unix milliseconds.
    pub stored_ms: u64,
    /// When it ends, Unix milliseconds.
    pub expires_ms: u64,
    /// Chain of causes.
    pub trace_id: TraceId,
    /// Agents' messages before it.
    pub hops: u8,
    /// Wakes that its sender allowed.
    pub wake_budget: u8,
    /// Length of its encoded content in bytes.
    pub content_bytes: u32,
    /// What became of it; `None` for own messages that went elsewhere.
    pub state: Option<MailState>,
    /// Why it is held.
    pub reason: Option<String>,
    /// Whether it is held where nobody may see it.
    pub hidden: bool,
    /// How it was surfaced.
    pub mechanism: Option<String>,
    /// Remarks.
    pub marks: Marks,
}

impl MailView {
    /// Nothing for messages that are no mail.
    pub(super) fn of(mail: &MailRecord) -> Option<Self> {
        let received = mail.received.as_ref();
        mail.kind.is_mail().then(|| Self {
            key: mail.key(),
            short: mail.short(),
            ordinal: mail.ordinal,
            kind: mail.kind,
            from_device: mail.from_device,
            from_session: mail.from_session.clone(),
            sent_from: mail.sent.as_ref().map(|sent| sent.from),
            sent_to: mail.sent.as_ref().map(|sent| sent.to.clone()),
            mailbox: received.map(|received| received.mailbox),
            to_name: received.and_then(|received| received.to_name.clone()),
            conversation: mail.conversation,
            room: mail.room,
            reply_to: mail.reply_to,
            subject: mail.subject.clone(),
            sent_ms: mail.sent_ms,
            stored_ms: mail.stored_ms,
            expires_ms: mail.expires_ms,
            trace_id: mail.trace_id,
            hops: mail.hops,
            wake_budget: mail.wake_budget,
            content_bytes: mail.content_bytes,
            state: received.map(|received| received.state),
            reason: received.and_then(|received| received.reason.clone()),
            hidden: received.is_some_and(|received| received.hidden),
            mechanism: received.and_then(|received| received.mechanism.clone()),
            marks: received.map(|received| received.marks).unwrap_or_default(),
        })
    }

    /// The device that sent it; `None` for mail from this machine.
    #[must_use]
    pub fn sender(&self) -> Option<Peer> {
        Some(Peer::new(self.key.from?, self.from_device?))
    }
}

/// Which messages to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// What waits in a mailbox.
    Unread(Mailbox),
    /// Everything a mailbox received.
    All(Mailbox),
    /// Everything exchanged with a contact, both ways.
    With(Fingerprint),
    /// Everything said in a room.
    Room(RoomId),
    /// A message, what it answers, and the answers to it.
    Conversation(ConversationId),
}

/// Rows that are read at once.
const PAGE: usize = 128;

impl Selection {
    /// Where it is kept.
    fn place(&self) -> (Table, [u8; 16]) {
        match self {
            Self::Unread(mailbox) => (Table::Unread, mailbox.to_key()),
            Self::All(mailbox) => (Table::Mailbox, mailbox.to_key()),
            Self::With(account) => (Table::Thread, *account.as_bytes()),
            Self::Room(room) => (Table::Room, *room.as_bytes()),
            Self::Conversation(conversation) => (Table::Conversation, *conversation.as_bytes()),
        }
    }
}

impl Delivery {
    /// Lists messages, oldest first: those with an ordinal above `after`, at most `limit`.
    ///
    /// Held messages that nobody may see, and messages that wait for an earlier one, are left out.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn list(
        &self,
        selection: Selection,
        after: Option<u64>,
        limit: usize,
        records: &dyn Records,
    ) -> Result<Vec<MailView>, QueryError> {
        let (table, prefix) = selection.place();
        let mut views = Vec::new();
        let mut from = after.map(|ordinal| ordered_key(&prefix, ordinal).to_vec());
        loop {
            let rows = self.ledger.scan(records, table, &prefix, from.as_deref(), PAGE)?;
            for (row, value) in &rows {
                let key = MailKey::from_bytes(value)
                    .map_err(|source| crate::ledger::damaged(table, row, source))?;
                views.extend(self.seen(key, records)?.filter(|_| views.len() < limit));
            }
            if rows.len() < PAGE || views.len() == limit {
                return Ok(views);
            }
            from = rows.into_iter().last().map(|(row, _)| row);
        }
    }

    /// The newest of what [`Self::list`] lists after `after`, at most `limit`, oldest first. Of the others no more is read than that they are there.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn newest(
        &self,
        selection: Selection,
        after: Option<u64>,
        limit: usize,
        records: &dyn Records,
    ) -> Result<Vec<MailView>, QueryError> {
        let mut views = Vec::new();
        for key in self.keys(selection, after, records)?.into_iter().rev() {
            if views.len() >= limit {
                break;
            }
            views.extend(self.seen(key, records)?);
        }
        views.reverse();
        Ok(views)
    }

    /// The message with this id in a conversation, whoever wrote it; `None` when it is not there or nobody may see it.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn said_in(
        &self,
        conversation: ConversationId,
        msg_id: MsgId,
        records: &dyn Records,
    ) -> Result<Option<MailView>, QueryError> {
        let keys = self.keys(Selection::Conversation(conversation), None, records)?;
        for key in keys.into_iter().filter(|key| key.msg_id == msg_id) {
            if let Some(view) = self.seen(key, records)? {
                return Ok(Some(view));
            }
        }
        Ok(None)
    }

    /// One message, unless nobody may see it, or not yet.
    fn seen(&self, key: MailKey, records: &dyn Records) -> Result<Option<MailView>, QueryError> {
        let waiting = self.inbox.entry(&key).is_some_and(|entry| entry.waiting);
        Ok(self.view(key, records)?.filter(|view| !view.hidden && !waiting))
    }

    /// What is kept of a selection, without a look at the messages.
    fn keys(
        &self,
        selection: Selection,
        after: Option<u64>,
        records: &dyn Records,
    ) -> Result<Vec<MailKey>, QueryError> {
        let (table, prefix) = selection.place();
        let mut keys = Vec::new();
        let mut from = after.map(|ordinal| ordered_key(&prefix, ordinal).to_vec());
        loop {
            let rows = self.ledger.scan(records, table, &prefix, from.as_deref(), PAGE)?;
            for (row, value) in &rows {
                let key = MailKey::from_bytes(value);
                keys.push(key.map_err(|source| crate::ledger::damaged(table, row, source))?);
            }
            if rows.len() < PAGE {
                return Ok(keys);
            }
            from = rows.into_iter().last().map(|(row, _)| row);
        }
    }

    /// One message; `None` when there is none.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn view(&self, key: MailKey, records: &dyn Records) -> Result<Option<MailView>, QueryError> {
        let mail = self.ledger.peek::<MailRecord>(records, Table::Mail, &key.to_key())?;
        Ok(mail.as_ref().and_then(MailView::of))
    }

    /// Whether a message or control message of this id was recorded here.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn is_known(&self, key: MailKey, records: &dyn Records) -> Result<bool, QueryError> {
        Ok(self.ledger.peek::<MailRecord>(records, Table::Mail, &key.to_key())?.is_some())
    }

    /// Whether a message that ends then was taken or refused here before, so that another copy of it changes nothing.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn is_settled(
        &self,
        key: MailKey,
        expires_ms: u64,
        records: &dyn Records,
    ) -> Result<bool, QueryError> {
        let known = self.ledger.peek::<MailRecord>(records, Table::Mail, &key.to_key())?;
        Ok(known.is_some_and(|known| !revives(&known, expires_ms)))
    }

    /// Encoded content of a message; `None` when history no longer has it.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn content(&self, key: MailKey, records: &dyn Records) -> Result<Option<Vec<u8>>, QueryError> {
        Ok(self.ledger.peek_bytes(records, Table::Content, &key.to_key())?)
    }

    /// How much mail is held where nobody sees it, or waits with a reason, over all mailboxes.
    #[must_use]
    pub fn hidden_count(&self) -> usize {
        self.inbox.mailboxes().map(|mailbox| self.inbox.waiting(mailbox).hidden).sum()
    }
}
