//! The one list of frame numbers.

use crate::cbor::CborError;

macro_rules! frame_kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// Number of a frame's structure. Numbers are never reused; `docs/protocol.md` lists the reserved ones.
        ///
        /// Requests stand below 64, answers from 64, events from 128. Numbers 30 and 31 are kept for
        /// account deletion, and 84–95 for answers.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FrameKind {
            $($(#[$doc])* $name,)*
        }

        impl FrameKind {
            /// Every kind that this version knows, ascending.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The byte on the wire.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self {
                    $(Self::$name => $number,)*
                }
            }

            /// Reads the byte.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

frame_kinds! {
    /// [`super::Hello`]
    Hello = 1,
    /// [`super::Register`]
    Register = 2,
    /// [`super::Ack`]
    Ack = 3,
    /// [`super::PutManifest`]
    PutManifest = 4,
    /// [`super::PutBundle`]
    PutBundle = 5,
    /// [`super::GetContactState`]
    GetContactState = 6,
    /// [`super::EdgeCreate`]
    EdgeCreate = 7,
    /// [`super::EdgeLink`]
    EdgeLink = 8,
    /// [`super::EdgeRevoke`]
    EdgeRevoke = 9,
    /// [`super::InviteCreate`]
    InviteCreate = 10,
    /// [`super::InviteFetch`]
    InviteFetch = 11,
    /// [`super::InviteRedeem`]
    InviteRedeem = 12,
    /// [`super::InviteRevoke`]
    InviteRevoke = 13,
    /// [`super::Deposit`]
    Deposit = 14,
    /// Asks for the chain of the relay's keys; nothing else to say.
    GetKeyChain = 20,
    /// [`super::BlobCreate`]
    BlobCreate = 21,
    /// [`super::BlobPut`]
    BlobPut = 22,
    /// [`super::BlobGet`]
    BlobGet = 23,
    /// [`super::BlobDelete`]
    BlobDelete = 24,
    /// [`super::PutProof`]
    PutProof = 25,
    /// [`super::DeviceAdd`]
    DeviceAdd = 26,
    /// [`super::DeviceRemove`]
    DeviceRemove = 27,
    /// [`super::PutState`]
    PutState = 28,
    /// [`super::GetState`]
    GetState = 29,
    /// Done; nothing to say.
    Done = 64,
    /// [`super::HelloAnswer`]
    HelloAnswer = 65,
    /// [`super::Registered`]
    Registered = 66,
    /// [`super::AckAnswer`]
    AckAnswer = 67,
    /// [`super::ContactState`]
    ContactState = 68,
    /// [`super::InviteAnswer`]
    InviteAnswer = 69,
    /// [`super::Refusal`]
    Refusal = 70,
    /// [`super::DepositAnswer`]
    DepositAnswer = 71,
    /// The chain: updates of 128 bytes each, oldest first, and no CBOR around them.
    KeyChain = 80,
    /// [`super::BlobState`]
    BlobState = 81,
    /// A part of a blob, sealed, and no CBOR around it: the answer to `BlobGet`, and the second frame of a client after `BlobPut`.
    BlobPart = 82,
    /// [`super::StatePart`]
    StatePart = 83,
    /// [`super::Welcome`]
    Welcome = 128,
    /// [`super::Delivery`]
    Delivery = 129,
    /// [`super::Redeemed`]
    Redeemed = 130,
    /// [`super::EdgeState`]
    EdgeState = 131,
    /// [`super::Ephemeral`]
    Ephemeral = 132,
    /// The same device connected elsewhere with another database: both stop receiving.
    Cloned = 133,
}

/// A frame cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A number that this version does not know.
    #[error("unknown frame kind {number}")]
    Unknown {
        /// The number.
        number: u8,
    },
    /// A known frame in a place where it has no meaning.
    #[error("a {kind:?} frame does not belong here")]
    Misplaced {
        /// The frame.
        kind: FrameKind,
    },
    /// The payload is malformed.
    #[error("malformed {kind:?} frame: {source}")]
    Payload {
        /// The frame.
        kind: FrameKind,
        /// What is wrong with it.
        source: CborError,
    },
}

/// Checks the payload of a kind that has none.
pub(super) fn empty(kind: FrameKind, payload: &[u8]) -> Result<(), FrameError> {
    if payload.is_empty() {
        return Ok(());
    }
    Err(FrameError::Payload { kind, source: CborError::Trailing { offset: 0, extra: payload.len() } })
}
