//! Taking a message from a caller.

use penpal_protocol::ids::{ConversationId, Fingerprint, MsgId, TraceId};
use penpal_protocol::limits::{DEFAULT_MESSAGE_LIFE_MS, MAX_CONTENT_BYTES, MAX_MESSAGE_LIFE_MS};
use penpal_protocol::sealed::{Content, Kind, chain_hash, identity_hash};

use super::{Attempt, GONE};
use crate::address::{MailKey, Mailbox, Peer};
use crate::arrivals::HeldReason;
use crate::event::Event;
use crate::ledger::Table;
use crate::machine::Delivery;
use crate::record::{CopyRecord, MailRecord, MailState, Marks, ReceivedPart, SentPart};
use crate::stage::{Stage, TrailEvent};
use crate::step::Step;

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Note, ask, reply or control.
    pub kind: Kind,
    /// Its content: a letter, or a control structure.
    pub content: Content,
    /// Mailbox it is sent from; answers go there.
    pub from: Mailbox,
    /// Address as it was typed, for listings.
    pub to: String,
    /// Where it goes; at least one.
    pub destinations: Vec<Destination>,
    /// The received message that it answers; its conversation is continued.
    pub reply_to: Option<MailKey>,
    /// Chain of causes; a new one when a person started it.
    pub trace_id: Option<TraceId>,
    /// Agents' messages between a person's prompt and this one.
    pub hops: u8,
    /// Wakes that it may cause.
    pub wake_budget: u8,
    /// Life in milliseconds; 14 days when absent, at most 30.
    pub life_ms: Option<u64>,
    /// This message completes an invite: every try is sealed to a prekey fetched for it, and it goes before the contact
    /// is open.
    pub boot: bool,
    /// Id that another machine gave it; a random one when absent. With the id of an own message nothing new happens.
    pub msg_id: Option<MsgId>,
}

/// One place a message goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// A device of a contact.
    Device(Peer),
    /// A mailbox on this machine.
    Local {
        /// The mailbox.
        mailbox: Mailbox,
        /// Why it waits there for something else than the mailbox's owner.
        held: Option<HeldReason>,
    },
}

/// The message is in the outbox, or in the local mailbox, once the step is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Id of the message.
    pub msg_id: MsgId,
    /// Its short id.
    pub short: String,
    /// Where it stands: queued, or delivered or held for local mail.
    pub stage: Stage,
}

/// A message cannot be sent. All are errors of the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Nowhere to go.
    #[error("the message has no destination")]
    NoDestination,
    /// Two destinations on this machine: mail has one mailbox here.
    #[error("the message has more than one destination on this machine")]
    TwoLocal,
    /// The content does not belong to the kind, or the kind is not sent this way.
    #[error("content does not fit a message of kind {kind:?}")]
    Kind {
        /// The kind.
        kind: Kind,
    },
    /// The content is longer than an envelope holds.
    #[error("content has {got} bytes, at most {max} fit")]
    TooLong {
        /// Largest length in bytes.
        max: usize,
        /// Length in bytes.
        got: usize,
    },
    /// The life is zero or longer than 30 days.
    #[error("a message lives at most {max} ms, not {got}")]
    Life {
        /// Longest life in milliseconds.
        max: u64,
        /// The life asked for.
        got: u64,
    },
}

/// Longest address that is kept with a message, in bytes.
const MAX_TO_BYTES: usize = 256;

impl Delivery {
    /// Takes a message; it is durable, and then on its way, when the step is.
    ///
    /// Copies for devices are queued; mail for a mailbox here is delivered in the same step.
    ///
    /// # Errors
    /// [`SendError`]; nothing is changed then.
    pub fn send(&mut self, message: NewMessage, step: &mut Step<'_>) -> Result<Accepted, SendError> {
        self.begin(step);
        let content = check(&message)?;
        let msg_id = match message.msg_id {
            Some(msg_id) => msg_id,
            None => MsgId::from_bytes(step.random()),
        };
        if message.msg_id.is_some()
            && let Some(known) = self.own_mail(msg_id, step.records)
        {
            return Ok(Accepted { msg_id, short: known.short(), stage: Stage::Queued });
        }
        let conversation = match message.reply_to.and_then(|key| self.mark_answered(key, step)) {
            Some(conversation) => conversation,
            None => ConversationId::from_bytes(step.random()),
        };
        let trace_id = message.trace_id.unwrap_or_else(|| TraceId::from_bytes(step.random()));
        let now_ms = step.now.wall_ms;
        let short_len = self.short_len(&msg_id, step.records);
        let copies = message.destinations.iter().map(|to| match to {
            Destination::Device(peer) => *peer,
            Destination::Local { .. } => Peer::HERE,
        });
        let (subject, from_session, to_name, room) = match &message.content {
            Content::Letter(letter) => (
                letter.subject.as_ref().map(|subject| subject.as_str().to_owned()),
                letter.from.clone(),
                letter.to.as_ref().map(|to| to.name.as_str().to_owned()),
                letter.room.as_ref().map(|room| room.id),
            ),
            Content::Receipts
            | Content::Presence(_)
            | Content::NeedReseal(_)
            | Content::Control(_)
            | Content::Sync(_) => (None, None, None, None),
        };
        let mut to = message.to;
        if to.len() > MAX_TO_BYTES {
            to = to.chars().take(MAX_TO_BYTES / 4).collect();
        }
        let mut mail = MailRecord {
            msg_id,
            from: None,
            from_device: None,
            conversation,
            kind: message.kind,
            sent_ms: now_ms,
            expires_ms: now_ms.saturating_add(message.life_ms.unwrap_or(DEFAULT_MESSAGE_LIFE_MS)),
            trace_id,
            hops: message.hops,
            wake_budget: message.wake_budget,
            short_len,
            identity: identity_hash(message.kind, &conversation, &content),
            content_bytes: u32::try_from(content.len()).unwrap_or(u32::MAX),
            ordinal: self.take_ordinal(),
            reply_to: message.reply_to.map(|key| key.msg_id),
            sent: Some(SentPart {
                from: message.from,
                to,
                copies: copies.collect(),
                boot: message.boot,
                dismissed: false,
                elsewhere: None,
                addressed: addressed(&message.content, &message.destinations),
            }),
            received: None,
            subject,
            from_session,
            stored_ms: now_ms,
            chain: chain_hash(&msg_id, &content),
            room,
        };
        self.ledger.put_bytes(Table::Content, &mail.key().to_key(), content);
        let mut stage = Stage::Queued;
        for destination in &message.destinations {
            match destination {
                Destination::Device(peer) => self.queue_copy(*peer, &mail, step),
                Destination::Local { mailbox, held } => {
                    let reason = held.map(|held| held.as_str().to_owned());
                    stage = if reason.is_some() { Stage::Held } else { Stage::Delivered };
                    self.local_copy(&mail, stage, reason.clone());
                    mail.received = Some(ReceivedPart {
                        mailbox: *mailbox,
                        state: MailState::Unread,
                        reason,
                        mechanism: None,
                        surfaced_ms: None,
                        marks: Marks::default(),
                        to_name: to_name.clone(),
                        hidden: false,
                        quiet: None,
                        ends: None,
                    });
                }
            }
        }
        self.ledger.put(Table::Mail, &mail.key().to_key(), &mail);
        self.index_thread(&mail);
        if mail.received.is_some() {
            self.place(&mail);
            let answers = self.kind_answered(&mail, step);
            self.announce_arrival(&mail, answers);
            if mail.kind == Kind::Reply
                && let Some(answered) = mail.reply_to
            {
                self.local_answer(answered, &mail, step);
            }
        }
        Ok(Accepted { msg_id, short: mail.short(), stage })
    }

    fn queue_copy(&mut self, peer: Peer, mail: &MailRecord, step: &Step<'_>) {
        let record = CopyRecord {
            peer,
            msg_id: mail.msg_id,
            ordinal: mail.ordinal,
            stage: Stage::Queued,
            reason: self.why_it_waits(&peer.account, mail),
            order: None,
            deposits: 0,
            last_deposit_ms: 0,
            sealed: Vec::new(),
            trail: vec![TrailEvent::here(Stage::Queued, mail.sent_ms)],
            receipted_ms: None,
            expires_ms: mail.expires_ms,
            again: false,
        };
        self.save_copy(&record);
        self.enliven(record, mail, Attempt::Ready(step.now.mono));
        if completes_invite(mail) {
            // It has an edge of its own: what was refused on the one before says nothing about it.
            self.lane(peer).backoff_until = None;
        }
    }

    /// Why a copy is not tried from the beginning: nothing goes to a contact that is gone until it is back.
    pub(super) fn why_it_waits(&self, account: &Fingerprint, mail: &MailRecord) -> Option<String> {
        let gone = self.contacts.get(account).is_some_and(|contact| contact.gone);
        (gone && !completes_invite(mail)).then(|| GONE.to_owned())
    }

    fn local_copy(&mut self, mail: &MailRecord, stage: Stage, reason: Option<String>) {
        let queued = TrailEvent::here(Stage::Queued, mail.sent_ms);
        let delivered = TrailEvent { reason: reason.clone(), ..TrailEvent::here(stage, mail.sent_ms) };
        let record = CopyRecord {
            peer: Peer::HERE,
            msg_id: mail.msg_id,
            ordinal: mail.ordinal,
            stage,
            reason,
            order: None,
            deposits: 0,
            last_deposit_ms: 0,
            sealed: Vec::new(),
            trail: vec![queued, delivered],
            receipted_ms: Some(mail.sent_ms),
            expires_ms: mail.expires_ms,
            again: false,
        };
        self.save_copy(&record);
    }

    /// Notes on a received message that it was answered here; gives its conversation.
    fn mark_answered(&mut self, key: MailKey, step: &Step<'_>) -> Option<ConversationId> {
        let mut mail: MailRecord = self.ledger.get(step.records, Table::Mail, &key.to_key())?;
        if let Some(received) = &mut mail.received
            && !received.marks.answered
        {
            received.marks.answered = true;
            let mailbox = received.mailbox;
            self.ledger.put(Table::Mail, &key.to_key(), &mail);
            if key.from.is_some() {
                self.events.push_back(Event::Read { key, mailbox, answered: true });
            }
        }
        Some(mail.conversation)
    }

    /// A reply on this machine answers a message written on this machine.
    fn local_answer(&mut self, answered: MsgId, reply: &MailRecord, step: &mut Step<'_>) {
        let event =
            TrailEvent { reply: Some(reply.msg_id), ..TrailEvent::here(Stage::Answered, reply.sent_ms) };
        if self.state_copy(Peer::HERE, answered, event, step) {
            let stage = Stage::Answered;
            self.events.push_back(Event::Stage { msg_id: answered, stage, reply: Some(reply.key()) });
        }
    }
}

fn completes_invite(mail: &MailRecord) -> bool {
    mail.sent.as_ref().is_some_and(|sent| sent.boot)
}

/// Of a message to several accounts the one that it is for.
fn addressed(content: &Content, destinations: &[Destination]) -> Option<Fingerprint> {
    let Content::Letter(letter) = content else { return None };
    letter.room.as_ref().and(letter.to.as_ref())?;
    let device = letter.target_device?;
    destinations.iter().find_map(|to| match to {
        Destination::Device(peer) if peer.device == device => Some(peer.account),
        Destination::Device(_) | Destination::Local { .. } => None,
    })
}

fn check(message: &NewMessage) -> Result<Vec<u8>, SendError> {
    if message.destinations.is_empty() {
        return Err(SendError::NoDestination);
    }
    let local = message.destinations.iter().filter(|to| matches!(to, Destination::Local { .. })).count();
    if local > 1 {
        return Err(SendError::TwoLocal);
    }
    let fits = match &message.content {
        Content::Letter(_) => message.kind.is_mail(),
        Content::Control(_) => message.kind == Kind::Control && local == 0,
        Content::Receipts | Content::Presence(_) | Content::NeedReseal(_) | Content::Sync(_) => false,
    };
    if !fits {
        return Err(SendError::Kind { kind: message.kind });
    }
    let life_ms = message.life_ms.unwrap_or(DEFAULT_MESSAGE_LIFE_MS);
    if life_ms == 0 || life_ms > MAX_MESSAGE_LIFE_MS {
        return Err(SendError::Life { max: MAX_MESSAGE_LIFE_MS, got: life_ms });
    }
    let content = message.content.encode();
    if content.len() > MAX_CONTENT_BYTES {
        return Err(SendError::TooLong { max: MAX_CONTENT_BYTES, got: content.len() });
    }
    Ok(content)
}
