//! One of our own receive keys or prekeys. The seed is in the key file, under the same id.

use minicbor::{Decode, Encode};
use penpal_protocol::ids::SpoolEpoch;

use crate::address::Peer;

/// Row of [`crate::Table::Key`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct KeyRecord {
    #[n(0)]
    pub state: KeyUse,
    /// Device it was made for; absent for prekeys and seeds in the pool.
    #[n(1)]
    pub peer: Option<Peer>,
    /// Place among the keys made for that device.
    #[n(2)]
    pub number: u64,
    #[n(3)]
    pub issued_ms: u64,
    /// Receive keys: until when the peer may seal to it.
    #[n(4)]
    pub use_until_ms: u64,
    /// When something newer took its place: a message under a newer key, or a prekey that the relay took.
    #[n(5)]
    pub superseded_ms: Option<u64>,
    /// When it retired.
    #[n(6)]
    pub retired_ms: Option<u64>,
    /// Spool rows up to here, of this life of the spool, may still be sealed to it.
    #[n(7)]
    pub barrier_epoch: Option<SpoolEpoch>,
    #[n(8)]
    pub barrier: u64,
    /// Prekeys: when the relay took it.
    #[n(9)]
    pub taken_ms: Option<u64>,
}

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub(crate) enum KeyUse {
    /// A seed that nobody knows of.
    #[n(1)]
    Pool,
    /// On offer, no message sealed to it is durable here.
    #[n(2)]
    Offered,
    /// A message sealed to it is durable here, or its time to be used is over.
    #[n(3)]
    Used,
    /// A signed prekey.
    #[n(4)]
    Prekey,
    /// No message may be expected under it except those in the spool.
    #[n(5)]
    Retired,
    /// Its seed is to be erased.
    #[n(6)]
    Deleting,
}
