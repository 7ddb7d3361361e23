//! What a relay answers to a request.

use minicbor::{Decode, Encode};

use super::kind::{FrameError, FrameKind, empty};
use super::request::Profile;
use crate::cbor::{self, Blob, List, Text};
use crate::ids::{AccountId, SlotId, SpoolEpoch, StateId};
use crate::limits::{
    MAX_DEVICES, MAX_FRAME_BYTES, MAX_INVITE_BLOB_BYTES, MAX_PART_SET_BYTES, MAX_STATE_PART_BYTES,
};
use crate::text::Label;

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Done; nothing to say.
    Done,
    /// [`HelloAnswer`]
    Hello(HelloAnswer),
    /// [`Registered`]
    Registered(Registered),
    /// [`AckAnswer`]
    Ack(AckAnswer),
    /// [`ContactState`]
    ContactState(ContactState),
    /// [`InviteAnswer`]
    Invite(InviteAnswer),
    /// [`BlobState`]
    Blob(BlobState),
    /// [`StatePart`]
    State(StatePart),
    /// [`Refusal`]
    Refused(Refusal),
}

/// Receiving starts, unless `verdict` says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HelloAnswer {
    /// Whether this database is the one that the relay knows.
    #[n(0)]
    pub verdict: Verdict,
    /// Life of this device's spool.
    #[n(1)]
    pub epoch: SpoolEpoch,
    /// Newest number given out in that life; 0 when none.
    #[n(2)]
    pub newest: u64,
    /// Handle of the account.
    #[n(3)]
    pub handle: Label,
    /// Revision of the manifest that the relay holds; 0 when none.
    #[n(4)]
    pub manifest_revision: u64,
}

/// What a relay concludes from the runs in a `Hello`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Verdict {
    /// The database it knows.
    #[n(1)]
    Known,
    /// An older copy of it: take a new incarnation and fresh keys, then say `Hello` again.
    #[n(2)]
    RolledBack,
    /// A copy that is connected now: both stop receiving.
    #[n(3)]
    Clone,
}

/// The account exists.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Registered {
    /// The relay's id of the account.
    #[n(0)]
    pub account: AccountId,
    /// Spool of this device.
    #[n(1)]
    pub slot: SlotId,
    /// Handle, as registered.
    #[n(2)]
    pub handle: Label,
}

/// The rows are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AckAnswer {
    /// Present life of the spool; another one than in the request means that nothing was done.
    #[n(0)]
    pub epoch: SpoolEpoch,
    /// Newest number given out in that life.
    #[n(1)]
    pub newest: u64,
}

/// Sealed profile of the account behind an edge.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ContactState {
    /// Sealed manifest, when there is one.
    #[n(0)]
    pub manifest: Option<Profile>,
    /// Sealed bundles, one a device.
    #[n(1)]
    pub bundles: List<DeviceBundles, MAX_DEVICES>,
}

/// Sealed bundle of one device.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DeviceBundles {
    /// The device's spool.
    #[n(0)]
    pub slot: SlotId,
    /// The sealed bundle.
    #[n(1)]
    pub profile: Profile,
}

/// Where an invite stands.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct InviteAnswer {
    /// Its state.
    #[n(0)]
    pub state: InviteState,
    /// The sealed record; present while it is open.
    #[n(1)]
    pub record: Option<Blob<MAX_INVITE_BLOB_BYTES>>,
}

/// States of an invite that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum InviteState {
    /// Not used yet.
    #[n(1)]
    Open,
    /// Used, and neither accepted nor declined.
    #[n(2)]
    Redeemed,
}

/// Which parts of a blob are there.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BlobState {
    /// A bit for each part: see [`crate::blob::PartSet`].
    #[n(0)]
    pub there: Blob<MAX_PART_SET_BYTES>,
}

/// An account, and a part of its sealed state.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct StatePart {
    /// Handle of the account.
    #[n(0)]
    pub handle: Label,
    /// Revision of the manifest that the relay holds; 0 when none.
    #[n(1)]
    pub manifest_revision: u64,
    /// The stored state; absent when none.
    #[n(2)]
    pub state: Option<StateId>,
    /// How many parts it has; 0 when none.
    #[n(3)]
    pub parts: u8,
    /// The part that was asked for; absent when there is none.
    #[n(4)]
    pub sealed: Option<Blob<MAX_STATE_PART_BYTES>>,
    /// The sealed manifest, beside the first part.
    #[n(5)]
    pub manifest: Option<Profile>,
}

/// The request was understood and is not done.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Refusal {
    /// Why, as far as that is told.
    #[n(0)]
    pub code: RefusalCode,
    /// More for a person, such as a limit's value.
    #[n(1)]
    pub detail: Option<Text<200>>,
}

/// Reasons for a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum RefusalCode {
    /// No. Absent, revoked, not yours and not allowed all look like this.
    #[n(1)]
    No,
    /// The invite was redeemed with another request.
    #[n(2)]
    Used,
    /// Registration needs a token or an invite.
    #[n(3)]
    NeedsToken,
    /// The handle belongs to another account.
    #[n(4)]
    HandleTaken,
    /// This key has no account here.
    #[n(5)]
    NotRegistered,
    /// A quota is used up.
    #[n(6)]
    Quota,
    /// The relay's disk is full; try later.
    #[n(7)]
    Full,
    /// The stored revision is another one.
    #[n(8)]
    Conflict,
    /// The request cannot be understood.
    #[n(9)]
    Malformed,
    /// Too many requests at once; try later.
    #[n(10)]
    Busy,
    /// The operator suspended this account.
    #[n(11)]
    Suspended,
}

impl Answer {
    /// The frame number.
    #[must_use]
    pub fn kind(&self) -> FrameKind {
        match self {
            Self::Done => FrameKind::Done,
            Self::Hello(_) => FrameKind::HelloAnswer,
            Self::Registered(_) => FrameKind::Registered,
            Self::Ack(_) => FrameKind::AckAnswer,
            Self::ContactState(_) => FrameKind::ContactState,
            Self::Invite(_) => FrameKind::InviteAnswer,
            Self::Blob(_) => FrameKind::BlobState,
            Self::State(_) => FrameKind::StatePart,
            Self::Refused(_) => FrameKind::Refusal,
        }
    }

    /// A refusal without detail.
    #[must_use]
    pub fn refused(code: RefusalCode) -> Self {
        Self::Refused(Refusal { code, detail: None })
    }

    /// Why it was refused; `None` when it was not.
    #[must_use]
    pub fn refusal_code(&self) -> Option<RefusalCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            Self::Done
            | Self::Hello(_)
            | Self::Registered(_)
            | Self::Ack(_)
            | Self::ContactState(_)
            | Self::Invite(_)
            | Self::Blob(_)
            | Self::State(_) => None,
        }
    }

    /// Encodes the payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Done => Vec::new(),
            Self::Hello(answer) => cbor::encode(answer),
            Self::Registered(answer) => cbor::encode(answer),
            Self::Ack(answer) => cbor::encode(answer),
            Self::ContactState(answer) => cbor::encode(answer),
            Self::Invite(answer) => cbor::encode(answer),
            Self::Blob(answer) => cbor::encode(answer),
            Self::State(answer) => cbor::encode(answer),
            Self::Refused(answer) => cbor::encode(answer),
        }
    }

    /// Decodes a frame. A contact state may be longer than other frames: see [`MAX_ANSWER_BYTES`].
    ///
    /// # Errors
    /// [`FrameError`] for numbers that are no answers and malformed payloads.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every other kind, also a later one, is misplaced here"
    )]
    pub fn decode(number: u8, payload: &[u8]) -> Result<Self, FrameError> {
        let kind = FrameKind::from_number(number).ok_or(FrameError::Unknown { number })?;
        let failed = |source| FrameError::Payload { kind, source };
        Ok(match kind {
            FrameKind::Done => empty(kind, payload).map(|()| Self::Done)?,
            FrameKind::HelloAnswer => Self::Hello(cbor::decode(payload, MAX_FRAME_BYTES).map_err(failed)?),
            FrameKind::Registered => {
                Self::Registered(cbor::decode(payload, MAX_FRAME_BYTES).map_err(failed)?)
            }
            FrameKind::AckAnswer => Self::Ack(cbor::decode(payload, MAX_FRAME_BYTES).map_err(failed)?),
            FrameKind::ContactState => {
                Self::ContactState(cbor::decode(payload, MAX_ANSWER_BYTES).map_err(failed)?)
            }
            FrameKind::InviteAnswer => Self::Invite(cbor::decode(payload, MAX_FRAME_BYTES).map_err(failed)?),
            FrameKind::BlobState => Self::Blob(cbor::decode(payload, MAX_FRAME_BYTES).map_err(failed)?),
            FrameKind::StatePart => Self::State(cbor::decode(payload, MAX_FRAME_BYTES).map_err(failed)?),
            FrameKind::Refusal => Self::Refused(cbor::decode(payload, MAX_FRAME_BYTES).map_err(failed)?),
            _ => return Err(FrameError::Misplaced { kind }),
        })
    }
}

/// Longest answer: a manifest and 16 bundles, each in two copies.
pub const MAX_ANSWER_BYTES: usize = 384 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor::CborError;

    #[test]
    fn a_refusal_says_why_and_nothing_else_does() {
        assert_eq!(Answer::refused(RefusalCode::Quota).refusal_code(), Some(RefusalCode::Quota));
        assert_eq!(Answer::Done.refusal_code(), None);
    }

    #[test]
    fn done_has_no_payload() {
        let number = FrameKind::Done.number();
        assert_eq!(Answer::decode(number, &[]), Ok(Answer::Done));
        let source = CborError::Trailing { offset: 0, extra: 1 };
        assert_eq!(Answer::decode(number, &[0]), Err(FrameError::Payload { kind: FrameKind::Done, source }));
    }
}
