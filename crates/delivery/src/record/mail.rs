//! One message, sent or received or both, without its content.

use minicbor::{Decode, Encode};
use penpal_protocol::ids::{ConversationId, DeviceId, Fingerprint, MsgId, RoomId, ShortHash, TraceId};
use penpal_protocol::sealed::{Kind, SessionRef};
use penpal_protocol::text::base32;

use crate::address::{MailKey, Mailbox, Peer};

/// Row of [`crate::Table::Mail`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct MailRecord {
    #[n(0)]
    pub msg_id: MsgId,
    /// Absent for messages written on this node.
    #[n(1)]
    pub from: Option<Fingerprint>,
    #[n(2)]
    pub from_device: Option<DeviceId>,
    #[n(3)]
    pub conversation: ConversationId,
    #[n(4)]
    pub kind: Kind,
    #[n(5)]
    pub sent_ms: u64,
    #[n(6)]
    pub expires_ms: u64,
    #[n(7)]
    pub trace_id: TraceId,
    #[n(8)]
    pub hops: u8,
    #[n(9)]
    pub wake_budget: u8,
    /// Characters of the short id.
    #[n(10)]
    pub short_len: u8,
    #[n(11)]
    pub identity: ShortHash,
    #[n(12)]
    pub content_bytes: u32,
    /// Place among all messages of this node.
    #[n(13)]
    pub ordinal: u64,
    #[n(14)]
    pub reply_to: Option<MsgId>,
    #[n(15)]
    pub sent: Option<SentPart>,
    #[n(16)]
    pub received: Option<ReceivedPart>,
    #[n(17)]
    pub subject: Option<String>,
    /// Session it was written in, as its sender names it; absent for a desk.
    #[n(18)]
    pub from_session: Option<SessionRef>,
    /// When this node stored it.
    #[n(19)]
    pub stored_ms: u64,
    /// Chain value for the next ordered message of the pair.
    #[n(20)]
    pub chain: ShortHash,
    /// Room it was said in.
    #[n(21)]
    pub room: Option<RoomId>,
}

impl MailRecord {
    pub(crate) fn key(&self) -> MailKey {
        MailKey { msg_id: self.msg_id, from: self.from }
    }

    /// The short id, as people see it.
    pub(crate) fn short(&self) -> String {
        let text = base32::encode(self.msg_id.as_bytes());
        text.chars().take(usize::from(self.short_len)).collect()
    }
}

/// What concerns an own message.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct SentPart {
    /// Mailbox it was sent from; answers go there.
    #[n(0)]
    pub from: Mailbox,
    /// Address as it was typed.
    #[n(1)]
    pub to: String,
    /// Devices it went to; [`Peer::HERE`] for local mail.
    #[n(2)]
    pub copies: Vec<Peer>,
    /// Completes an invite: sealed to prekeys fetched for it, even before the contact is open.
    #[n(3)]
    pub boot: bool,
    /// The failure was seen and needs no attention.
    #[n(4)]
    pub dismissed: bool,
    /// Another device of the account sent it: nothing is done for it here.
    #[n(5)]
    pub elsewhere: Option<bool>,
    /// Of several accounts the one with the session that it is for.
    #[n(6)]
    pub addressed: Option<Fingerprint>,
}

/// What concerns a message that arrived here.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct ReceivedPart {
    #[n(0)]
    pub mailbox: Mailbox,
    #[n(1)]
    pub state: MailState,
    /// Why it is, or was, held; or why it was refused.
    #[n(2)]
    pub reason: Option<String>,
    #[n(3)]
    pub mechanism: Option<String>,
    #[n(4)]
    pub surfaced_ms: Option<u64>,
    #[n(5)]
    pub marks: Marks,
    /// Session the mail was for, by the name its sender used.
    #[n(6)]
    pub to_name: Option<String>,
    /// Not to be shown yet.
    #[n(7)]
    pub hidden: bool,
    /// For somebody else in its room: once it may be shown it is history.
    #[n(8)]
    pub quiet: Option<bool>,
    /// It waits for its reader only as long as it lives.
    #[n(9)]
    pub ends: Option<bool>,
}

/// Remarks shown with a received message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Marks {
    /// An earlier message of the same sending device is missing.
    #[n(0)]
    pub gap: bool,
    /// Shown after messages that were sent later.
    #[n(1)]
    pub late: bool,
    /// Was handed out before and perhaps seen.
    #[n(2)]
    pub again: bool,
    /// Was sent to an earlier conversation of this session.
    #[n(3)]
    pub earlier: bool,
    /// Was answered from here.
    #[n(4)]
    pub answered: bool,
}

/// What became of a received message here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum MailState {
    /// Waits to be surfaced.
    #[n(1)]
    Unread,
    /// Handed to the agent's program.
    #[n(2)]
    Surfaced,
    /// Read by a person or by the agent's own call.
    #[n(3)]
    Read,
    /// Not taken; only the mark remains.
    #[n(4)]
    Refused,
    /// Arrived after its end; only the mark remains.
    #[n(5)]
    Expired,
    /// No mail: a control message, handed to the program.
    #[n(6)]
    Control,
    /// Said in a room to somebody else: it waits for nobody here.
    #[n(7)]
    History,
}
