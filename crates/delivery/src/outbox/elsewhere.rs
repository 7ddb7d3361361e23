//! Mail that another device of the same account sent.

use penpal_protocol::ids::{ConversationId, DeviceId, Fingerprint, MsgId, TraceId};
use penpal_protocol::sealed::{Kind, Letter, chain_hash, identity_hash};

use super::stages::copy_key;
use crate::address::{Mailbox, Peer};
use crate::ledger::Table;
use crate::machine::Delivery;
use crate::record::{CopyRecord, MailRecord, SentPart};
use crate::stage::{Stage, TrailEvent, Witness};
use crate::step::Step;

/// A message that another device of the account sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentElsewhere {
    /// The device.
    pub by: Peer,
    /// The message.
    pub msg_id: MsgId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// Note, ask or reply.
    pub kind: Kind,
    /// Its content.
    pub letter: Letter,
    /// The content, encoded.
    pub content: Vec<u8>,
    /// Address as it was typed.
    pub to: String,
    /// Accounts that it went to.
    pub accounts: Vec<Fingerprint>,
    /// When it was sent, Unix milliseconds.
    pub sent_ms: u64,
    /// When it ends, Unix milliseconds.
    pub expires_ms: u64,
}

/// Stands for an account in a thread, and for no copy of ours.
fn nowhere(account: Fingerprint) -> Peer {
    Peer::new(account, DeviceId::from_bytes([0; 16]))
}

impl Delivery {
    /// Keeps a message that another device sent: it is listed and found like an own one, and nothing is sent for it.
    ///
    /// Tells whether it was new.
    pub fn sent_elsewhere(&mut self, sent: SentElsewhere, step: &mut Step<'_>) -> bool {
        self.begin(step);
        if self.own_mail(sent.msg_id, step.records).is_some() {
            return false;
        }
        let letter = sent.letter;
        let mail = MailRecord {
            msg_id: sent.msg_id,
            from: None,
            from_device: None,
            conversation: sent.conversation,
            kind: sent.kind,
            sent_ms: sent.sent_ms,
            expires_ms: sent.expires_ms,
            trace_id: TraceId::from_bytes([0; 16]),
            hops: 0,
            wake_budget: 0,
            short_len: self.short_len(&sent.msg_id, step.records),
            identity: identity_hash(sent.kind, &sent.conversation, &sent.content),
            content_bytes: u32::try_from(sent.content.len()).unwrap_or(u32::MAX),
            ordinal: self.take_ordinal(),
            reply_to: letter.reply_to,
            sent: Some(SentPart {
                from: Mailbox::Desk,
                to: sent.to,
                copies: std::iter::once(sent.by).chain(sent.accounts.into_iter().map(nowhere)).collect(),
                boot: false,
                dismissed: true,
                elsewhere: Some(true),
                addressed: None,
            }),
            received: None,
            subject: letter.subject.as_ref().map(|subject| subject.as_str().to_owned()),
            from_session: letter.from,
            stored_ms: step.now.wall_ms,
            chain: chain_hash(&sent.msg_id, &sent.content),
            room: letter.room.map(|room| room.id),
        };
        // The weakest thing that is true: it is durable on that device. What became of it, that one knows.
        let queued = TrailEvent {
            by: Witness::Device,
            device: Some(sent.by),
            signed: true,
            ..TrailEvent::here(Stage::Queued, sent.sent_ms)
        };
        let copy = CopyRecord {
            peer: sent.by,
            msg_id: sent.msg_id,
            ordinal: mail.ordinal,
            stage: Stage::Queued,
            reason: None,
            order: None,
            deposits: 0,
            last_deposit_ms: 0,
            sealed: Vec::new(),
            trail: vec![queued],
            receipted_ms: Some(step.now.wall_ms),
            expires_ms: sent.expires_ms,
            again: false,
        };
        self.ledger.put_bytes(Table::Content, &mail.key().to_key(), sent.content);
        // Among the finished ones: nothing is owed from here.
        self.ledger.put(Table::Copy, &copy_key(sent.by, sent.msg_id), &copy);
        self.ledger.put(Table::Mail, &mail.key().to_key(), &mail);
        self.index_thread(&mail);
        true
    }
}
