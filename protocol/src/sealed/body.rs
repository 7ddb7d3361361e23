//! The body of a message: what a device signs and seals for one other device.

use minicbor::{Decode, Encode};

use super::content::{Content, ReceiptBatch};
use crate::cbor::{self, Blob, CborError};
use crate::ids::{
    ConversationId, DeviceId, Fingerprint, Incarnation, KeyId, MsgId, ShortHash, TraceId, XWingPublicKey,
};
use crate::limits::MAX_BODY_BYTES;

/// Everything a sealed message says. `docs/protocol.md` §3.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Body {
    /// Account of the sender.
    #[n(0)]
    pub from: Fingerprint,
    /// Device of the sender.
    #[n(1)]
    pub from_device: DeviceId,
    /// Newest manifest of the sender's account.
    #[n(2)]
    pub manifest: ManifestRef,
    /// Account of the recipient.
    #[n(3)]
    pub to: Fingerprint,
    /// Device of the recipient.
    #[n(4)]
    pub to_device: DeviceId,
    /// Newest manifest of the recipient's account that the sender holds.
    #[n(5)]
    pub peer_manifest: Option<ManifestRef>,
    /// Id, the same in every copy and every sealing.
    #[n(6)]
    pub msg_id: MsgId,
    /// What this message belongs to.
    #[n(7)]
    pub conversation: ConversationId,
    /// Life of the sender's database.
    #[n(8)]
    pub incarnation: Incarnation,
    /// Place among the ordered messages of this pair of devices; present for kinds 1, 2, 3 and 7.
    #[n(9)]
    pub order: Option<Order>,
    /// When it was sent, Unix milliseconds by the sender's clock.
    #[n(10)]
    pub sent_ms: u64,
    /// When nobody needs it any more, Unix milliseconds; at most 30 days after `sent_ms`.
    #[n(11)]
    pub expires_ms: u64,
    /// What `content` holds.
    #[n(12)]
    pub kind: Kind,
    /// Chain of causes this message stands in.
    #[n(13)]
    pub trace_id: TraceId,
    /// How many agents' messages lie between a person's prompt and this one.
    #[n(14)]
    pub hops: u8,
    /// Wakes that this message may still cause.
    #[n(15)]
    pub wake_budget: u8,
    /// A key for the recipient's next message; only in kinds 1 to 4.
    #[n(16)]
    pub next_key: Option<OfferedKey>,
    /// Receipts that ride along.
    #[n(17)]
    pub receipts: Option<ReceiptBatch>,
    /// Number of the last of the recipient's receipts that came without gap; 0 for none.
    #[n(18)]
    pub receipts_seen: Option<u64>,
    /// Encoded [`Content`] of the kind; empty for kind 4.
    #[n(19)]
    pub content: Blob<MAX_BODY_BYTES>,
}

/// Names one version of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ManifestRef {
    /// Version number.
    #[n(0)]
    pub version: u64,
    /// Labelled hash of its signed body.
    #[n(1)]
    pub hash: ShortHash,
}

/// Place of a message among the ordered ones from one device to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Order {
    /// Counts from 1 in each incarnation.
    #[n(0)]
    pub seq: u64,
    /// Chain value of the message before; all zero for the first.
    #[n(1)]
    pub prev_hash: ShortHash,
}

/// A receive key made for one peer device.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OfferedKey {
    /// Id of the key.
    #[n(0)]
    pub id: KeyId,
    /// The key.
    #[n(1)]
    pub key: XWingPublicKey,
    /// Until when a message may be sealed to it, Unix milliseconds; 24 hours after it was made.
    #[n(2)]
    pub use_until_ms: u64,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// Information; never wakes.
    #[n(1)]
    Note,
    /// A question; may wake.
    #[n(2)]
    Ask,
    /// An answer.
    #[n(3)]
    Reply,
    /// Receipts and a key only.
    #[n(4)]
    Receipts,
    /// Sessions of a device; never spooled.
    #[n(5)]
    Presence,
    /// Envelopes that could not be opened.
    #[n(6)]
    NeedReseal,
    /// Changes of keys, manifests and capabilities.
    #[n(7)]
    Control,
    /// An own message, for the sender's other devices.
    #[n(8)]
    Sync,
}

impl Kind {
    /// Whether messages of this kind carry [`Order`].
    #[must_use]
    pub fn is_ordered(self) -> bool {
        matches!(self, Self::Note | Self::Ask | Self::Reply | Self::Control)
    }

    /// Whether people and agents see messages of this kind.
    #[must_use]
    pub fn is_mail(self) -> bool {
        matches!(self, Self::Note | Self::Ask | Self::Reply)
    }

    /// Whether messages of this kind may carry a [`OfferedKey`].
    #[must_use]
    pub fn may_offer_key(self) -> bool {
        matches!(self, Self::Note | Self::Ask | Self::Reply | Self::Receipts)
    }

    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Note => 1,
            Self::Ask => 2,
            Self::Reply => 3,
            Self::Receipts => 4,
            Self::Presence => 5,
            Self::NeedReseal => 6,
            Self::Control => 7,
            Self::Sync => 8,
        }
    }
}

/// A body is not what it claims.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The bytes are malformed.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// An ordered kind without a place, or the other way round.
    #[error("a message of kind {kind:?} has the wrong ordering fields")]
    Order {
        /// The kind.
        kind: Kind,
    },
    /// Counts that start at 1 are 0, or the first message names one before it.
    #[error("ordered message or receipts with impossible count")]
    Count,
    /// A key in a message of a kind that never carries one.
    #[error("a message of kind {kind:?} offers a key")]
    Key {
        /// The kind.
        kind: Kind,
    },
    /// Lives longer than 30 days, or ends before it starts.
    #[error("message life of {life_ms} ms is out of range")]
    Life {
        /// `expires_ms − sent_ms`, negative values as 0.
        life_ms: u64,
    },
}

impl Body {
    /// Encodes the bytes that are signed and sealed.
    ///
    /// A key in a message of a kind that never carries one is left out: its offer goes with the next message that may.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        if self.next_key.is_some() && !self.kind.may_offer_key() {
            return cbor::encode(&Self { next_key: None, ..self.clone() });
        }
        cbor::encode(self)
    }

    /// Decodes and checks what needs no context: form, ordering fields, counts, offered key, life.
    ///
    /// # Errors
    /// See [`BodyError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BodyError> {
        let body: Self = cbor::decode(bytes, MAX_BODY_BYTES)?;
        if body.order.is_some() != body.kind.is_ordered() {
            return Err(BodyError::Order { kind: body.kind });
        }
        if body.next_key.is_some() && !body.kind.may_offer_key() {
            return Err(BodyError::Key { kind: body.kind });
        }
        let first = ShortHash::from_bytes([0; 16]);
        let order_fits = body.order.is_none_or(|o| o.seq > 0 && (o.seq > 1 || o.prev_hash == first));
        if !order_fits || body.receipts.as_ref().is_some_and(|batch| batch.rseq == 0) {
            return Err(BodyError::Count);
        }
        let life_ms = body.expires_ms.saturating_sub(body.sent_ms);
        if life_ms == 0 || life_ms > crate::limits::MAX_MESSAGE_LIFE_MS {
            return Err(BodyError::Life { life_ms });
        }
        Ok(body)
    }

    /// Decodes the content according to the kind.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn parse_content(&self) -> Result<Content, CborError> {
        Content::decode(self.kind, &self.content)
    }

    /// What tells two messages with one id apart: kind, conversation and content.
    #[must_use]
    pub fn identity_hash(&self) -> ShortHash {
        identity_hash(self.kind, &self.conversation, &self.content)
    }

    /// The chain value that the next ordered message names.
    #[must_use]
    pub fn chain_hash(&self) -> ShortHash {
        chain_hash(&self.msg_id, &self.content)
    }
}

/// Hash of kind, conversation and content: equal for every sealing of one message.
#[must_use]
pub fn identity_hash(kind: Kind, conversation: &ConversationId, content: &[u8]) -> ShortHash {
    ShortHash::from_bytes(crate::hash::labelled16(
        "identity",
        &[&[kind.number()], conversation.as_bytes(), content],
    ))
}

/// Chain value of an ordered message, named by the next one.
#[must_use]
pub fn chain_hash(msg_id: &MsgId, content: &[u8]) -> ShortHash {
    let content = crate::hash::labelled("content", &[content]);
    ShortHash::from_bytes(crate::hash::labelled16("chain", &[msg_id.as_bytes(), &content]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor::List;

    fn body(kind: Kind) -> Body {
        let key = XWingPublicKey::from_slice(&[1; crate::ids::XWING_PUBLIC_BYTES]).unwrap();
        let reference = ManifestRef { version: 1, hash: ShortHash::from_bytes([2; 16]) };
        Body {
            from: Fingerprint::from_bytes([3; 16]),
            from_device: DeviceId::from_bytes([4; 16]),
            manifest: reference,
            to: Fingerprint::from_bytes([5; 16]),
            to_device: DeviceId::from_bytes([6; 16]),
            peer_manifest: None,
            msg_id: MsgId::from_bytes([7; 16]),
            conversation: ConversationId::from_bytes([8; 16]),
            incarnation: Incarnation::from_bytes([9; 8]),
            order: kind.is_ordered().then_some(Order { seq: 1, prev_hash: ShortHash::from_bytes([0; 16]) }),
            sent_ms: 10,
            expires_ms: 11,
            kind,
            trace_id: TraceId::from_bytes([12; 16]),
            hops: 0,
            wake_budget: 0,
            next_key: Some(OfferedKey { id: KeyId::from_bytes([13; 8]), key, use_until_ms: 14 }),
            receipts: None,
            receipts_seen: None,
            content: Blob::default(),
        }
    }

    fn decoded(change: impl FnOnce(&mut Body)) -> Result<(), BodyError> {
        let mut body = body(Kind::Note);
        change(&mut body);
        Body::decode(&body.encode()).map(drop)
    }

    #[test]
    fn only_the_first_of_a_conversation_names_none_before_it() {
        let [none, some] = [0, 1].map(|byte| ShortHash::from_bytes([byte; 16]));
        let order = |seq, prev_hash| decoded(|body| body.order = Some(Order { seq, prev_hash }));
        assert_eq!(order(0, none), Err(BodyError::Count));
        assert_eq!(order(0, some), Err(BodyError::Count));
        assert_eq!(order(1, none), Ok(()));
        assert_eq!(order(1, some), Err(BodyError::Count));
        assert_eq!(order(2, none), Ok(()));
        assert_eq!(order(2, some), Ok(()));
        assert_eq!(decoded(|body| body.order = None), Err(BodyError::Order { kind: Kind::Note }));
        let order = Some(Order { seq: 1, prev_hash: none });
        let presence = decoded(|body| (body.kind, body.order) = (Kind::Presence, order));
        assert_eq!(presence, Err(BodyError::Order { kind: Kind::Presence }));
    }

    #[test]
    fn receipts_count_from_one() {
        let batch = |rseq| decoded(|body| body.receipts = Some(ReceiptBatch { rseq, list: List::default() }));
        assert_eq!([batch(0), batch(1), batch(2)], [Err(BodyError::Count), Ok(()), Ok(())]);
    }

    #[test]
    fn a_message_lives_30_days_at_most() {
        let life =
            |sent_ms, expires_ms| decoded(|body| (body.sent_ms, body.expires_ms) = (sent_ms, expires_ms));
        let month_ms = 30 * 86_400_000;
        assert_eq!(life(5, 4), Err(BodyError::Life { life_ms: 0 }));
        assert_eq!(life(5, 5), Err(BodyError::Life { life_ms: 0 }));
        assert_eq!(life(5, 6), Ok(()));
        assert_eq!(life(5, 5 + month_ms), Ok(()));
        assert_eq!(life(5, 6 + month_ms), Err(BodyError::Life { life_ms: month_ms + 1 }));
    }

    #[test]
    fn mail_is_what_people_write() {
        let mail = [Kind::Note, Kind::Ask, Kind::Reply];
        let others = [Kind::Receipts, Kind::Presence, Kind::NeedReseal, Kind::Control, Kind::Sync];
        assert!(mail.into_iter().all(Kind::is_mail) && !others.into_iter().any(Kind::is_mail));
    }

    #[test]
    fn whatever_is_encoded_can_be_decoded_with_a_key_only_where_it_may_be() {
        let kinds = [
            (Kind::Note, true),
            (Kind::Ask, true),
            (Kind::Reply, true),
            (Kind::Receipts, true),
            (Kind::Presence, false),
            (Kind::NeedReseal, false),
            (Kind::Control, false),
            (Kind::Sync, false),
        ];
        for (kind, carried) in kinds {
            let read = Body::decode(&body(kind).encode()).unwrap();
            assert_eq!(read.next_key.is_some(), carried, "{kind:?}");
            let raw = Body::decode(&cbor::encode(&body(kind)));
            assert_eq!(raw.is_ok(), carried, "{kind:?}: {raw:?}");
        }
    }
}
