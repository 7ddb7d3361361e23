//! Single values of the node, and marks of processed envelopes.

use minicbor::{Decode, Encode};
use penpal_protocol::ids::{Incarnation, MsgId, ShortHash, SpoolEpoch};

use crate::address::Peer;

/// Row `node` of [`crate::Table::State`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct NodeRecord {
    #[n(0)]
    pub incarnation: Incarnation,
    /// Places of messages below this may have been given out.
    #[n(1)]
    pub ordinals: u64,
}

/// Row `spool` of [`crate::Table::State`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct SpoolRecord {
    #[n(0)]
    pub epoch: Option<SpoolEpoch>,
    /// Every row up to here is processed, but for `open`.
    #[n(1)]
    pub up_to: u64,
    /// Rows up to `up_to` that are not processed, ascending.
    #[n(2)]
    pub open: Vec<u64>,
}

/// Row of [`crate::Table::Seen`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct SeenRecord {
    /// When the mark may go.
    #[n(0)]
    pub until_ms: u64,
    /// Who sealed it, when it could be opened.
    #[n(1)]
    pub from: Option<Peer>,
    #[n(2)]
    pub msg_id: Option<MsgId>,
    /// Of a message that is not here: whether it was answered on another device, which says that it was read.
    #[n(3)]
    pub answered: Option<bool>,
}

/// Row of [`crate::Table::Sealed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(map)]
pub(crate) struct SealedRecord {
    #[n(0)]
    pub peer: Peer,
    #[n(1)]
    pub msg_id: MsgId,
}

/// Row of [`crate::Table::Unreadable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct UnreadableRecord {
    /// Hash of the envelope.
    #[n(0)]
    pub envelope: ShortHash,
    /// When it arrived, Unix milliseconds.
    #[n(1)]
    pub at_ms: u64,
}
