//! One copy of an own message: the one for one device.

use minicbor::{Decode, Encode};
use penpal_protocol::ids::{Incarnation, MsgId, ShortHash};
use penpal_protocol::sealed::Order;

use crate::address::Peer;
use crate::stage::{Stage, TrailEvent};

/// Row of [`crate::Table::Outbox`] and [`crate::Table::Copy`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct CopyRecord {
    #[n(0)]
    pub peer: Peer,
    #[n(1)]
    pub msg_id: MsgId,
    /// Place of its message among all messages of this node.
    #[n(2)]
    pub ordinal: u64,
    #[n(3)]
    pub stage: Stage,
    /// Why it is where it is.
    #[n(4)]
    pub reason: Option<String>,
    /// Fixed when it was first sealed.
    #[n(5)]
    pub order: Option<FixedOrder>,
    /// Deposits that a relay accepted.
    #[n(6)]
    pub deposits: u32,
    #[n(7)]
    pub last_deposit_ms: u64,
    /// Hashes of the newest envelopes it was sealed into.
    #[n(8)]
    pub sealed: Vec<ShortHash>,
    #[n(9)]
    pub trail: Vec<TrailEvent>,
    /// When its recipient's device first receipted it, by this node's clock.
    #[n(10)]
    pub receipted_ms: Option<u64>,
    #[n(11)]
    pub expires_ms: u64,
    /// To be sealed and deposited once more although it was receipted: the recipient lost it.
    #[n(12)]
    pub again: bool,
}

/// Place among the ordered messages of a pair, with the life of the database that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct FixedOrder {
    #[n(0)]
    pub incarnation: Incarnation,
    #[n(1)]
    pub order: Order,
}
