//! Counters of an ordered pair of devices, and its unconfirmed receipts.

use minicbor::{Decode, Encode};
use penpal_protocol::ids::{Incarnation, KeyId, ShortHash};
use penpal_protocol::sealed::Receipt;

/// Row of [`crate::Table::Pair`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct PairRecord {
    /// Own life in which `next_seq` and `chain` count.
    #[n(0)]
    pub own_incarnation: Option<Incarnation>,
    /// Place of the next ordered message to this peer.
    #[n(1)]
    pub next_seq: u64,
    /// Chain value of the last ordered message to this peer.
    #[n(2)]
    pub chain: ShortHash,
    /// The peer's present life.
    #[n(3)]
    pub incarnation: Option<Incarnation>,
    /// The peer's earlier lives, newest last.
    #[n(4)]
    pub earlier: Vec<Incarnation>,
    /// Highest place received in the present life.
    #[n(5)]
    pub seen_seq: u64,
    /// Chain value of that message.
    #[n(6)]
    pub seen_chain: ShortHash,
    /// Highest number of the peer's receipts received without gap.
    #[n(7)]
    pub receipts_seen: u64,
    /// Number of the first unconfirmed receipt to this peer.
    #[n(8)]
    pub receipts_floor: u64,
    /// Ids of the peer's keys that were sealed to, newest last.
    #[n(9)]
    pub used_keys: Vec<KeyId>,
    /// Places below `seen_seq` that did not arrive, ascending.
    #[n(10)]
    pub holes: Vec<u64>,
}

impl Default for PairRecord {
    fn default() -> Self {
        Self {
            own_incarnation: None,
            next_seq: 1,
            chain: ShortHash::from_bytes([0; 16]),
            incarnation: None,
            earlier: Vec::new(),
            seen_seq: 0,
            seen_chain: ShortHash::from_bytes([0; 16]),
            receipts_seen: 0,
            receipts_floor: 1,
            used_keys: Vec::new(),
            holes: Vec::new(),
        }
    }
}

/// Row of [`crate::Table::Receipt`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct QueuedReceipt {
    #[n(0)]
    pub receipt: Receipt,
    /// When its message ends; then it is no longer repeated.
    #[n(1)]
    pub expires_ms: u64,
}
