//! Contents of messages, one structure a kind.

use minicbor::{Decode, Encode};

use super::body::{Kind, OfferedKey};
use super::room::RoomNews;
use crate::cbor::{self, Blob, CborError, List, Text};
use crate::ids::{
    BlobId, Capability, DeviceId, Hash, Mac, MsgId, ProfileKey, RoomId, SessionId, ShortHash, Signature,
};
use crate::limits::{
    MAX_ANNOUNCED_SESSIONS, MAX_ARTIFACTS, MAX_BODY_BYTES, MAX_BUNDLE_BYTES, MAX_DEVICES, MAX_FOLDER_BYTES,
    MAX_MANIFEST_BYTES, MAX_NEED_RESEAL, MAX_RECEIPTS, MAX_SUBJECT_BYTES, MAX_SUMMARY_BYTES, MAX_TEXT_BYTES,
};
use crate::text::Label;

/// The content of a body, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Kinds 1, 2 and 3.
    Letter(Box<Letter>),
    /// Kind 4: all is in the body's receipts.
    Receipts,
    /// Kind 5.
    Presence(Presence),
    /// Kind 6.
    NeedReseal(NeedReseal),
    /// Kind 7.
    Control(Box<Control>),
    /// Kind 8.
    Sync(SyncCopy),
}

/// A note, an ask or a reply.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Letter {
    /// Mailbox it was sent from; absent for the sender's desk.
    #[n(0)]
    pub from: Option<SessionRef>,
    /// Mailbox it is for; absent for the recipient's desk.
    #[n(1)]
    pub to: Option<SessionTarget>,
    /// One line.
    #[n(2)]
    pub subject: Option<Text<MAX_SUBJECT_BYTES>>,
    /// The text.
    #[n(3)]
    pub text: Text<MAX_TEXT_BYTES>,
    /// What it answers.
    #[n(4)]
    pub reply_to: Option<MsgId>,
    /// Room it was said in.
    #[n(5)]
    pub room: Option<RoomRef>,
    /// Files that belong to it.
    #[n(6)]
    pub artifacts: Option<List<ArtifactRef, MAX_ARTIFACTS>>,
    /// The one device that surfaces, wakes and answers.
    #[n(7)]
    pub target_device: Option<DeviceId>,
}

/// A session as its own device names it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SessionRef {
    /// Its mailbox.
    #[n(0)]
    pub sid: SessionId,
    /// Its name when the message was sent.
    #[n(1)]
    pub name: Label,
}

/// A session as another device addresses it: by name, and by mailbox where it was announced.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SessionTarget {
    /// The mailbox, when the sender knows it; it wins over the name.
    #[n(0)]
    pub sid: Option<SessionId>,
    /// The name.
    #[n(1)]
    pub name: Label,
}

/// Place in a room.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RoomRef {
    /// The room.
    #[n(0)]
    pub id: RoomId,
    /// Membership epoch it was said in.
    #[n(1)]
    pub epoch: u64,
    /// Newest entry of the membership log that the sender holds.
    #[n(2)]
    pub chain: ShortHash,
}

/// A file that a message refers to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ArtifactRef {
    /// BLAKE3 of the content.
    #[n(0)]
    pub hash: Hash,
    /// Length in bytes.
    #[n(1)]
    pub bytes: u64,
    /// File name, last part only.
    #[n(2)]
    pub name: Text<255>,
    /// Media type.
    #[n(3)]
    pub media: Option<Text<127>>,
    /// Blob at the relay.
    #[n(4)]
    pub blob: BlobId,
    /// Relay that holds it.
    #[n(5)]
    pub relay: Text<320>,
    /// Reads the blob.
    #[n(6)]
    pub token: Capability,
    /// Opens the blob.
    #[n(7)]
    pub key: Capability,
}

/// Consecutive receipts from one device to another; the receipts of such a pair are numbered from 1.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ReceiptBatch {
    /// Number of the first receipt in `list`; the others follow it.
    #[n(0)]
    pub rseq: u64,
    /// The receipts.
    #[n(1)]
    pub list: List<Receipt, MAX_RECEIPTS>,
}

/// What became of one message, said by the device that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Receipt {
    /// The message.
    #[n(0)]
    pub msg_id: MsgId,
    /// How far it got.
    #[n(1)]
    pub stage: Stage,
    /// Session it reached.
    #[n(2)]
    pub session: Option<SessionRef>,
    /// How it was surfaced: `native-inbox`, `hook`, `mcp`, `cli` …
    #[n(3)]
    pub mechanism: Option<Text<32>>,
    /// Why it is held, refused or expired: `no-such-session`, `id-reused` …
    #[n(4)]
    pub reason: Option<Text<64>>,
    /// When, Unix milliseconds by that device's clock.
    #[n(5)]
    pub at_ms: u64,
}

/// Stages that a recipient can state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Stage {
    /// Durable on the recipient's machine.
    #[n(1)]
    Delivered,
    /// Durable there, and waiting for something that `reason` names.
    #[n(2)]
    Held,
    /// Handed to the agent's program, or shown to a person.
    #[n(3)]
    Surfaced,
    /// Answered.
    #[n(4)]
    Answered,
    /// Not taken; final.
    #[n(5)]
    Refused,
    /// Arrived after its end; final.
    #[n(6)]
    Expired,
}

/// All announced sessions of one device.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Presence {
    /// Highest wins within an incarnation.
    #[n(0)]
    pub revision: u64,
    /// When, Unix milliseconds by the sender's clock.
    #[n(1)]
    pub sent_ms: u64,
    /// For how long it holds, in milliseconds; at most 15 minutes.
    #[n(2)]
    pub ttl_ms: u64,
    /// The whole list.
    #[n(3)]
    pub sessions: List<SessionEntry, MAX_ANNOUNCED_SESSIONS>,
}

/// One announced session.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SessionEntry {
    /// Its mailbox.
    #[n(0)]
    pub sid: SessionId,
    /// Its name.
    #[n(1)]
    pub name: Label,
    /// Agent kind, such as `claude-code`.
    #[n(2)]
    pub agent: Label,
    /// What it is doing.
    #[n(3)]
    pub state: SessionState,
    /// Since when, Unix milliseconds.
    #[n(4)]
    pub since_ms: u64,
    /// How it can be reached.
    #[n(5)]
    pub reach: Reach,
    /// Last part of its folder's path.
    #[n(6)]
    pub folder: Option<Text<MAX_FOLDER_BYTES>>,
    /// One line about what it is doing.
    #[n(7)]
    pub summary: Option<Text<MAX_SUMMARY_BYTES>>,
}

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum SessionState {
    /// In a turn.
    #[n(1)]
    Busy,
    /// Waiting for its person.
    #[n(2)]
    Idle,
    /// Its process is gone; the name is kept.
    #[n(3)]
    Ended,
    /// Its device is down.
    #[n(4)]
    Offline,
    /// No sign of it for a while.
    #[n(5)]
    Unknown,
}

/// How a session can be reached now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Reach {
    /// A turn can be started in it.
    #[n(1)]
    Wakes,
    /// It sees mail within its running turn.
    #[n(2)]
    MidTurn,
    /// It sees mail at its person's next prompt.
    #[n(3)]
    NextPrompt,
    /// It sees mail when it or its person looks.
    #[n(4)]
    Manual,
    /// It sees mail once its machine is back.
    #[n(5)]
    WhenBack,
}

/// Envelopes that could not be opened, to be sealed again.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NeedReseal {
    /// Short labelled hashes of the envelopes.
    #[n(0)]
    pub envelopes: List<ShortHash, MAX_NEED_RESEAL>,
}

/// Changes between two contacts. Absent fields change nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Control {
    /// New key of the sender's profile.
    #[n(0)]
    pub profile_key: Option<ProfileKey>,
    /// Newest signed manifest.
    #[n(1)]
    pub manifest: Option<Blob<MAX_MANIFEST_BYTES>>,
    /// Newest signed bundle of the sending device.
    #[n(2)]
    pub bundle: Option<Blob<MAX_BUNDLE_BYTES>>,
    /// Encoded [`super::Rekey`]: where and under which key the sender takes mail from now on.
    #[n(3)]
    pub rekey: Option<Blob<MAX_BODY_BYTES>>,
    /// Completes an invite.
    #[n(4)]
    pub accept: Option<Accept>,
    /// The sender ends the contact.
    #[n(5)]
    pub goodbye: Option<bool>,
    /// A key of the sender's relay address that replaces the pinned one.
    #[n(6)]
    pub relay: Option<Text<320>>,
    /// About a room.
    #[n(7)]
    pub room: Option<RoomNews>,
    /// Encoded [`super::OwnState`]: only from a device of the same account.
    #[n(8)]
    pub own: Option<Blob<MAX_BODY_BYTES>>,
}

/// The second half of an invite, bound to its transcript.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Accept {
    /// Encoded [`super::InviteAccept`].
    #[n(0)]
    pub body: Blob<MAX_BODY_BYTES>,
    /// Device signature over the transcript.
    #[n(1)]
    pub sig: Signature,
    /// MAC over the transcript, by a key from the invite's secret.
    #[n(2)]
    pub mac: Mac,
}

/// An own message for the sender's other devices.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SyncCopy {
    /// What it is.
    #[n(0)]
    pub kind: Kind,
    /// Encoded content of that kind.
    #[n(1)]
    pub content: Blob<MAX_BODY_BYTES>,
    /// Devices it went to.
    #[n(2)]
    pub copies: List<DeviceId, MAX_DEVICES>,
}

impl Content {
    /// Encodes for the `content` field of a body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Letter(letter) => cbor::encode(letter.as_ref()),
            Self::Receipts => Vec::new(),
            Self::Presence(presence) => cbor::encode(presence),
            Self::NeedReseal(need) => cbor::encode(need),
            Self::Control(control) => cbor::encode(control.as_ref()),
            Self::Sync(copy) => cbor::encode(copy),
        }
    }

    /// Decodes the content of a body of `kind`.
    ///
    /// # Errors
    /// [`CborError`]; content in a body of receipts is one.
    pub fn decode(kind: Kind, bytes: &[u8]) -> Result<Self, CborError> {
        Ok(match kind {
            Kind::Note | Kind::Ask | Kind::Reply => {
                Self::Letter(Box::new(cbor::decode(bytes, MAX_BODY_BYTES)?))
            }
            Kind::Receipts if bytes.is_empty() => Self::Receipts,
            Kind::Receipts => return Err(CborError::Trailing { offset: 0, extra: bytes.len() }),
            Kind::Presence => {
                let presence: Presence = cbor::decode(bytes, MAX_BODY_BYTES)?;
                if presence.ttl_ms > crate::limits::MAX_PRESENCE_TTL_MS {
                    return Err(CborError::Structure {
                        offset: 0,
                        reason: "presence lives too long".to_owned(),
                    });
                }
                Self::Presence(presence)
            }
            Kind::NeedReseal => Self::NeedReseal(cbor::decode(bytes, MAX_BODY_BYTES)?),
            Kind::Control => Self::Control(Box::new(cbor::decode(bytes, MAX_BODY_BYTES)?)),
            Kind::Sync => Self::Sync(cbor::decode(bytes, MAX_BODY_BYTES)?),
        })
    }
}

const _: () = assert!(size_of::<OfferedKey>() < 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_presence_list_lives_15_minutes_at_most() {
        let of = |ttl_ms| {
            let presence = Presence { revision: 1, sent_ms: 2, ttl_ms, sessions: List::default() };
            Content::decode(Kind::Presence, &Content::Presence(presence).encode())
        };
        assert!(of(1).is_ok() && of(900_000).is_ok());
        assert!(matches!(of(900_001), Err(CborError::Structure { .. })));
        assert!(of(u64::MAX).is_err());
    }

    #[test]
    fn receipts_have_no_content() {
        assert_eq!(Content::decode(Kind::Receipts, &[]), Ok(Content::Receipts));
        let trailing = CborError::Trailing { offset: 0, extra: 1 };
        assert_eq!(Content::decode(Kind::Receipts, &[0xa0]), Err(trailing));
    }
}
