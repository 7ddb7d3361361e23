//! The rows, each with its key and its stored form.
//!
//! Shape of a value: version u8, then a CBOR map. Fields are only added; another version byte is another structure.

use minicbor::{Decode, Encode};
use penpal_protocol::cbor::{self, Blob as Bytes, CborError, List, Text};
use penpal_protocol::ids::{
    AccountId, BlobId, EdgeId, Hash, Incarnation, InviteId, RunId, ShortHash, SlotId, SpoolEpoch, StateId,
    TransportPublicKey,
};
use penpal_protocol::limits::{MAX_DEVICES, MAX_INVITE_BLOB_BYTES, MAX_PART_SET_BYTES, MAX_STATE_PART_BYTES};
use penpal_protocol::text::Label;
use penpal_protocol::wire::Profile;

use super::Table;
use crate::secrets::LinkTag;

/// Version byte of every record written.
const RECORD_VERSION: u8 = 1;

/// Longest stored record: an invite with its sealed record.
const MAX_RECORD_BYTES: usize = 64 * 1024;

/// Most earlier incarnations of a device's database that are remembered, to tell an old copy from a new life.
pub(crate) const MAX_EARLIER: usize = 16;

/// A stored row cannot be read back: written by a later version, or not by us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Written in a form that this version does not know.
    #[error("record version {got}, this version reads {RECORD_VERSION}")]
    Version {
        /// Version byte that was found; 0 for an empty value.
        got: u8,
    },
    /// Not the structure that belongs there.
    #[error("malformed record: {0}")]
    Malformed(#[from] CborError),
    /// A number that this version never reaches.
    #[error("a number that no relay counts up to")]
    Number,
}

/// A kind of row: where it is, how its key looks, how its value is stored.
pub(crate) trait Record: Clone + Sized {
    /// What names a row.
    type Key: Clone + Ord + std::hash::Hash;
    /// Where such rows are.
    const TABLE: Table;

    /// The key as stored.
    fn key_bytes(key: &Self::Key) -> Vec<u8>;
    /// The value as stored.
    fn to_bytes(&self) -> Vec<u8>;
    /// Reads a stored value.
    fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError>;
}

macro_rules! records {
    ($($name:ident in $table:ident by $key:ty, |$k:ident| $bytes:expr;)*) => {$(
        impl Record for $name {
            type Key = $key;
            const TABLE: Table = Table::$table;

            fn key_bytes($k: &Self::Key) -> Vec<u8> {
                $bytes
            }

            fn to_bytes(&self) -> Vec<u8> {
                let mut out = vec![RECORD_VERSION];
                out.append(&mut cbor::encode(self));
                out
            }

            fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
                match bytes.split_first() {
                    Some((&RECORD_VERSION, rest)) => Ok(cbor::decode(rest, MAX_RECORD_BYTES)?),
                    other => Err(RecordError::Version { got: other.map_or(0, |(version, _)| *version) }),
                }
            }
        }
    )*};
}

records! {
    Meta in Meta by (), |_key| b"relay".to_vec();
    Account in Account by AccountId, |key| key.as_bytes().to_vec();
    HandleOwner in Handle by Label, |key| key.as_str().as_bytes().to_vec();
    Device in Device by TransportPublicKey, |key| key.as_bytes().to_vec();
    Slot in Slot by SlotId, |key| key.as_bytes().to_vec();
    Manifest in Manifest by AccountId, |key| key.as_bytes().to_vec();
    Bundle in Bundle by SlotId, |key| key.as_bytes().to_vec();
    Edge in Edge by EdgeId, |key| key.as_bytes().to_vec();
    Invite in Invite by InviteId, |key| key.as_bytes().to_vec();
    Token in Token by ShortHash, |key| key.as_bytes().to_vec();
    Blob in Blob by BlobId, |key| key.as_bytes().to_vec();
    ProofOwner in Proof by Hash, |key| key.as_bytes().to_vec();
    StatePiece in State by (AccountId, StateId, u8), |key| {
        [key.0.as_bytes().as_slice(), key.1.as_bytes(), &[key.2]].concat()
    };
    MarkBucket in MarkBucket by u64, |key| key.to_be_bytes().to_vec();
}

/// The data as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Meta {
    /// Random; another one after each restore. Every spool epoch depends on it.
    #[n(0)]
    pub(crate) generation: ShortHash,
    /// Labelled hash of the graph key, to notice that data and keys do not belong together.
    #[n(1)]
    pub(crate) key_check: ShortHash,
}

/// A person at this relay.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Account {
    #[n(0)]
    pub(crate) handle: Label,
    /// When it was made, minutes since the Unix epoch.
    #[n(1)]
    pub(crate) made_minute: u32,
    #[n(2)]
    pub(crate) devices: List<AccountDevice, MAX_DEVICES>,
    /// Revision of the stored manifest; 0 when none.
    #[n(3)]
    pub(crate) manifest_revision: u64,
    #[n(4)]
    pub(crate) suspended: bool,
    /// Registered with this invite, which is not redeemed yet: the account goes when the invite does.
    #[n(5)]
    pub(crate) provisional: Option<InviteId>,
    /// Hash of the proof by which its devices are added and removed.
    #[n(6)]
    pub(crate) proof_hash: Option<Hash>,
    /// The sealed state that is kept for whoever shows that proof.
    #[n(7)]
    pub(crate) state: Option<KeptState>,
    /// The one that is to take its place, whose parts are not all there yet.
    #[n(8)]
    pub(crate) next_state: Option<NextState>,
}

/// A sealed state that is there as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct KeptState {
    #[n(0)]
    pub(crate) state: StateId,
    #[n(1)]
    pub(crate) parts: u8,
}

/// A sealed state of which the first parts are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct NextState {
    #[n(0)]
    pub(crate) state: StateId,
    #[n(1)]
    pub(crate) parts: u8,
    /// How many are there.
    #[n(2)]
    pub(crate) there: u8,
}

/// One part of a sealed state.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct StatePiece {
    #[n(0)]
    pub(crate) sealed: Bytes<MAX_STATE_PART_BYTES>,
}

/// A device in its account's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct AccountDevice {
    #[n(0)]
    pub(crate) slot: SlotId,
    #[n(1)]
    pub(crate) key: TransportPublicKey,
}

/// Who has a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct HandleOwner {
    #[n(0)]
    pub(crate) account: AccountId,
}

/// Whose proof has a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct ProofOwner {
    #[n(0)]
    pub(crate) account: AccountId,
}

/// What a transport key is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Device {
    #[n(0)]
    pub(crate) account: AccountId,
    #[n(1)]
    pub(crate) slot: SlotId,
}

/// The receiving side of a device.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Slot {
    #[n(0)]
    pub(crate) account: AccountId,
    /// Random per slot; the spool epoch is made of it and [`Meta::generation`].
    #[n(1)]
    pub(crate) epoch: SpoolEpoch,
    /// Database and run that the relay answered last.
    #[n(2)]
    pub(crate) known: Option<Known>,
    /// Databases before the present one, newest last.
    #[n(3)]
    pub(crate) earlier: List<Incarnation, MAX_EARLIER>,
}

/// A database of a device and its last answered run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Known {
    #[n(0)]
    pub(crate) incarnation: Incarnation,
    #[n(1)]
    pub(crate) run: RunId,
}

/// Sealed manifest of an account.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Manifest {
    #[n(0)]
    pub(crate) revision: u64,
    #[n(1)]
    pub(crate) profile: Profile,
}

/// Sealed bundle of a device.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Bundle {
    #[n(0)]
    pub(crate) profile: Profile,
}

/// The right of somebody to deposit with `owner`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Edge {
    #[n(0)]
    pub(crate) owner: AccountId,
    #[n(1)]
    pub(crate) cap_hash: Hash,
    #[n(2)]
    pub(crate) link: Link,
    /// When it was made, minutes since the Unix epoch.
    #[n(3)]
    pub(crate) made_minute: u32,
}

/// Who has taken the other end of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Link {
    /// Nobody yet: deposits are refused.
    #[n(0)]
    Open,
    /// An account here, as its tag.
    #[n(1)]
    Local(#[n(0)] LinkTag),
    /// Somebody without an account here.
    #[n(2)]
    Foreign,
}

/// An invite.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Invite {
    #[n(0)]
    pub(crate) owner: AccountId,
    /// The device that made it, and is told.
    #[n(1)]
    pub(crate) slot: SlotId,
    #[n(2)]
    pub(crate) proof_hash: Hash,
    /// End of the invite, Unix milliseconds; later than at first once it is redeemed.
    #[n(3)]
    pub(crate) expires_ms: u64,
    /// The sealed record; gone once it is redeemed.
    #[n(4)]
    pub(crate) record: Option<Bytes<MAX_INVITE_BLOB_BYTES>>,
    /// Account registered with it and not yet confirmed by a redeem.
    #[n(5)]
    pub(crate) provisional: Option<AccountId>,
    /// Labelled hash of the request that used it.
    #[n(6)]
    pub(crate) redeemed: Option<Hash>,
}

/// A registration token of the operator.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Token {
    #[n(0)]
    pub(crate) made_ms: u64,
    #[n(1)]
    pub(crate) expires_ms: u64,
    #[n(2)]
    pub(crate) uses_left: u32,
    /// The operator's words.
    #[n(3)]
    pub(crate) note: Text<64>,
}

/// A sealed content, whose bytes are in a file.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Blob {
    #[n(0)]
    pub(crate) owner: AccountId,
    /// Its whole length, which counts for quotas from the start.
    #[n(1)]
    pub(crate) bytes: u64,
    #[n(2)]
    pub(crate) token_hash: Hash,
    /// Unix milliseconds.
    #[n(3)]
    pub(crate) expires_ms: u64,
    /// A bit for each part that is durable in the file.
    #[n(4)]
    pub(crate) there: Bytes<MAX_PART_SET_BYTES>,
}

/// When a bucket of deposit marks was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct MarkBucket {
    #[n(0)]
    pub(crate) begun_minute: u32,
}
