//! What is stored: a row for each room, for each entry of its log, and for each message that waits for an entry.

use minicbor::{Decode, Encode};
use penpal_protocol::cbor::{self, CborError, List};
use penpal_protocol::ids::{Fingerprint, InviteId, MsgId, RoomId, ShortHash};
use penpal_protocol::limits::MAX_ROOM_MEMBERS;
use penpal_protocol::sealed::{RoomMember, RoomRef, Stamp};
use penpal_protocol::text::Label;

/// Version that this code writes and reads.
const VERSION: u8 = 1;

/// Longest row, in bytes: a room with 49 invited and 49 introduced accounts.
const MAX_ROW_BYTES: usize = 64 * 1024;

/// The tables of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Rooms, by id.
    Room,
    /// Entries of their logs, by room and name of the entry.
    Entry,
    /// Messages that wait for an entry, by room, sender and message id.
    Held,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 3] = [Self::Room, Self::Entry, Self::Held];
}

/// One change of a stored row; `None` deletes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its table.
    pub table: Table,
    /// Its key, 16, 32 or 48 bytes.
    pub key: Vec<u8>,
    /// The whole new row.
    pub value: Option<Vec<u8>>,
}

/// How this node stands to a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Standing {
    /// Invited, and not answered.
    #[n(1)]
    Invited,
    /// The owner was asked; its log has not come.
    #[n(2)]
    Joining,
    /// A member.
    #[n(3)]
    Member,
    /// Went away, or said no.
    #[n(4)]
    Left,
    /// Taken out by the owner.
    #[n(5)]
    Removed,
    /// The room is over.
    #[n(6)]
    Closed,
}

/// Row of [`Table::Room`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct RoomRecord {
    #[n(0)]
    pub id: RoomId,
    /// Its name here, without another like it.
    #[n(1)]
    pub name: Label,
    #[n(2)]
    pub owner: Fingerprint,
    #[n(3)]
    pub standing: Standing,
    /// When it was made or heard of here, Unix milliseconds.
    #[n(4)]
    pub since_ms: u64,
    /// Owner: who was invited and did not answer.
    #[n(5)]
    pub invited: List<InvitedRecord, MAX_ROOM_MEMBERS>,
    /// Before the log is here: whom the invitation named.
    #[n(6)]
    pub told: List<RoomMember, MAX_ROOM_MEMBERS>,
    /// Members for whom an invite was made here.
    #[n(7)]
    pub introduced: List<IntroducedRecord, MAX_ROOM_MEMBERS>,
    /// When the person last joined or left, on whichever device.
    #[n(8)]
    pub decided: Option<Stamp>,
    /// When the owner last told of it, or was asked after a long silence, Unix milliseconds.
    #[n(9)]
    pub heard_ms: Option<u64>,
}

/// Somebody whom the owner invited.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct InvitedRecord {
    #[n(0)]
    pub account: Fingerprint,
    #[n(1)]
    pub name: Label,
    #[n(2)]
    pub at_ms: u64,
}

/// An invite for another member.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct IntroducedRecord {
    #[n(0)]
    pub account: Fingerprint,
    #[n(1)]
    pub invite: InviteId,
    /// When it ends, Unix milliseconds.
    #[n(2)]
    pub until_ms: u64,
}

/// Row of [`Table::Held`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct HeldRecord {
    #[n(0)]
    pub from: Fingerprint,
    #[n(1)]
    pub msg_id: MsgId,
    #[n(2)]
    pub said_in: RoomRef,
    /// Until when it waits, Unix milliseconds.
    #[n(3)]
    pub until_ms: u64,
    /// When its sender says that it was sent, Unix milliseconds.
    #[n(4)]
    pub sent_ms: Option<u64>,
}

/// A stored row cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// Written by a later version, or no row.
    #[error("row version {got:?}, this version reads {VERSION}")]
    Version {
        /// First byte; `None` for an empty value.
        got: Option<u8>,
    },
    /// The structure is malformed.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// An entry that is none.
    #[error(transparent)]
    Entry(#[from] penpal_seal::RoomEntryError),
    /// A key that fits no row.
    #[error("key of {got} bytes")]
    Key {
        /// Its length.
        got: usize,
    },
}

pub(crate) fn encode<T: Encode<()>>(row: &T) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend_from_slice(&cbor::encode(row));
    out
}

pub(crate) fn decode<T: for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Result<T, RowError> {
    Ok(cbor::decode(plain(bytes)?, MAX_ROW_BYTES)?)
}

/// A row without its version.
pub(crate) fn plain(bytes: &[u8]) -> Result<&[u8], RowError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => Ok(rest),
        other => Err(RowError::Version { got: other.map(|(first, _)| *first) }),
    }
}

/// A row with its version.
pub(crate) fn versioned(bytes: &[u8]) -> Vec<u8> {
    [&[VERSION], bytes].concat()
}

pub(crate) fn two(room: &RoomId, of: &[u8; 16]) -> Vec<u8> {
    [room.as_bytes().as_slice(), of].concat()
}

/// Key of a message that waits: two members may choose one message id.
pub(crate) fn held_key(room: &RoomId, from: &Fingerprint, msg_id: &MsgId) -> Vec<u8> {
    [room.as_bytes().as_slice(), from.as_bytes(), msg_id.as_bytes()].concat()
}

pub(crate) fn entry_key(room: &RoomId, entry: &ShortHash) -> Vec<u8> {
    two(room, entry.as_bytes())
}

pub(crate) fn room_of(key: &[u8]) -> Result<RoomId, RowError> {
    key.get(..16).and_then(RoomId::from_slice).ok_or(RowError::Key { got: key.len() })
}

/// Leaves in a list what `keep` says.
pub(crate) fn retain<T, const MAX: usize>(list: &mut List<T, MAX>, keep: impl FnMut(&T) -> bool) {
    let mut all = std::mem::take(list).into_vec();
    all.retain(keep);
    *list = List::truncated(all);
}
