//! What a relay tells a node without being asked, on the delivery stream.

use minicbor::{Decode, Encode};

use super::kind::{FrameError, FrameKind, empty};
use crate::cbor::{self, Blob, Text};
use crate::envelope::MAX_ENVELOPE_BYTES;
use crate::ids::{EdgeId, InviteId, SpoolEpoch};
use crate::limits::{MAX_FRAME_BYTES, MAX_INVITE_BLOB_BYTES};

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// [`Welcome`], the first frame of every connection.
    Welcome(Welcome),
    /// [`Delivery`]
    Delivery(Delivery),
    /// [`Redeemed`]
    Redeemed(Redeemed),
    /// [`EdgeState`]
    EdgeState(EdgeState),
    /// [`Ephemeral`]
    Ephemeral(Ephemeral),
    /// The same device connected elsewhere with another database: both stop receiving.
    Cloned,
}

/// The relay took the connection.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Welcome {
    /// Lowest protocol revision that the relay speaks.
    #[n(0)]
    pub min_revision: u16,
    /// Highest protocol revision that the relay speaks.
    #[n(1)]
    pub max_revision: u16,
    /// The relay's clock, Unix milliseconds.
    #[n(2)]
    pub now_ms: u64,
    /// Whether the client's key belongs to an account here.
    #[n(3)]
    pub registered: bool,
    /// Software of the relay, such as `penpal-relay 0.1.0`.
    #[n(4)]
    pub software: Text<64>,
}

/// A spooled envelope.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Delivery {
    /// Life of the spool.
    #[n(0)]
    pub epoch: SpoolEpoch,
    /// Number of the row; rows come in this order.
    #[n(1)]
    pub seq: u64,
    /// The envelope.
    #[n(2)]
    pub envelope: Blob<MAX_ENVELOPE_BYTES>,
}

/// An invite of this account was used. A spool row like an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Redeemed {
    /// Life of the spool.
    #[n(0)]
    pub epoch: SpoolEpoch,
    /// Number of the row.
    #[n(1)]
    pub seq: u64,
    /// The invite.
    #[n(2)]
    pub invite: InviteId,
    /// The sealed request.
    #[n(3)]
    pub request: Blob<MAX_INVITE_BLOB_BYTES>,
}

/// Whether any device behind a linked edge is connected. Sent after `Hello` for every linked edge that is up, then on change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct EdgeState {
    /// The edge.
    #[n(0)]
    pub edge: EdgeId,
    /// Up or down.
    #[n(1)]
    pub up: bool,
}

/// An envelope that was never stored.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ephemeral {
    /// The envelope.
    #[n(0)]
    pub envelope: Blob<MAX_ENVELOPE_BYTES>,
}

impl Event {
    /// The frame number.
    #[must_use]
    pub fn kind(&self) -> FrameKind {
        match self {
            Self::Welcome(_) => FrameKind::Welcome,
            Self::Delivery(_) => FrameKind::Delivery,
            Self::Redeemed(_) => FrameKind::Redeemed,
            Self::EdgeState(_) => FrameKind::EdgeState,
            Self::Ephemeral(_) => FrameKind::Ephemeral,
            Self::Cloned => FrameKind::Cloned,
        }
    }

    /// Encodes the payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Welcome(event) => cbor::encode(event),
            Self::Delivery(event) => cbor::encode(event),
            Self::Redeemed(event) => cbor::encode(event),
            Self::EdgeState(event) => cbor::encode(event),
            Self::Ephemeral(event) => cbor::encode(event),
            Self::Cloned => Vec::new(),
        }
    }

    /// Decodes a frame.
    ///
    /// # Errors
    /// [`FrameError`] for numbers that are no events and malformed payloads.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every other kind, also a later one, is misplaced here"
    )]
    pub fn decode(number: u8, payload: &[u8]) -> Result<Self, FrameError> {
        let kind = FrameKind::from_number(number).ok_or(FrameError::Unknown { number })?;
        let failed = |source| FrameError::Payload { kind, source };
        Ok(match kind {
            FrameKind::Welcome => Self::Welcome(cbor::decode(payload, MAX_FRAME_BYTES).map_err(failed)?),
            FrameKind::Delivery => Self::Delivery(cbor::decode(payload, MAX_FRAME_BYTES).map_err(failed)?),
            FrameKind::Redeemed => Self::Redeemed(cbor::decode(payload, MAX_FRAME_BYTES).map_err(failed)?),
            FrameKind::EdgeState => Self::EdgeState(cbor::decode(payload, MAX_FRAME_BYTES).map_err(failed)?),
            FrameKind::Ephemeral => Self::Ephemeral(cbor::decode(payload, MAX_FRAME_BYTES).map_err(failed)?),
            FrameKind::Cloned => empty(kind, payload).map(|()| Self::Cloned)?,
            _ => return Err(FrameError::Misplaced { kind }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_is_told_without_a_payload() {
        let kind = FrameKind::Cloned;
        assert_eq!(Event::Cloned.encode(), []);
        assert_eq!(Event::decode(kind.number(), &[]), Ok(Event::Cloned));
        let source = cbor::CborError::Trailing { offset: 0, extra: 1 };
        assert_eq!(Event::decode(kind.number(), &[0]), Err(FrameError::Payload { kind, source }));
    }
}
