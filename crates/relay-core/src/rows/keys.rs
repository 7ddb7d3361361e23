//! Keys of index rows: fixed-length parts, one after another.

use penpal_protocol::ids::{AccountId, BlobId, EdgeId, InviteId};

use crate::secrets::LinkTag;

const ID: usize = 16;

/// Key of an [`OwnedEdge`](super::Table::OwnedEdge) row: account 16, edge 16, and the tag 32 of a local linker.
pub(crate) fn owned_edge(owner: &AccountId, edge: &EdgeId, linker: Option<&LinkTag>) -> Vec<u8> {
    let tag = linker.map_or(&[][..], |tag| tag.as_bytes().as_slice());
    [owner.as_bytes(), edge.as_bytes(), tag].concat()
}

/// Reads what [`owned_edge`] wrote.
pub(crate) fn read_owned_edge(key: &[u8]) -> Option<(EdgeId, Option<LinkTag>)> {
    let edge = EdgeId::from_slice(key.get(ID..2 * ID)?)?;
    let tag = key.get(2 * ID..)?;
    if tag.is_empty() { Some((edge, None)) } else { Some((edge, Some(LinkTag::from_slice(tag)?))) }
}

/// Key of a [`LinkedEdge`](super::Table::LinkedEdge) row: tag 32, edge 16, owner 16.
pub(crate) fn linked_edge(linker: &LinkTag, edge: &EdgeId, owner: &AccountId) -> Vec<u8> {
    [linker.as_bytes().as_slice(), edge.as_bytes(), owner.as_bytes()].concat()
}

/// Reads what [`linked_edge`] wrote.
pub(crate) fn read_linked_edge(key: &[u8]) -> Option<(EdgeId, AccountId)> {
    let rest = key.get(LinkTag::BYTES..)?;
    Some((EdgeId::from_slice(rest.get(..ID)?)?, AccountId::from_slice(rest.get(ID..)?)?))
}

/// Key of an [`OwnedInvite`](super::Table::OwnedInvite) row: account 16, invite 16.
pub(crate) fn owned_invite(owner: &AccountId, invite: &InviteId) -> Vec<u8> {
    [owner.as_bytes().as_slice(), invite.as_bytes()].concat()
}

/// Reads what [`owned_invite`] wrote.
pub(crate) fn read_owned_invite(key: &[u8]) -> Option<InviteId> {
    InviteId::from_slice(key.get(ID..)?)
}

/// Key of an [`InviteEnd`](super::Table::InviteEnd) row: minute 4, big-endian, rounded up, so that rows come in order of time;
/// invite 16.
pub(crate) fn invite_end(end_ms: u64, invite: &InviteId) -> Vec<u8> {
    let minute = u32::try_from(end_ms.div_ceil(crate::MINUTE_MS)).unwrap_or(u32::MAX);
    [minute.to_be_bytes().as_slice(), invite.as_bytes()].concat()
}

/// Reads what [`invite_end`] wrote.
pub(crate) fn read_invite_end(key: &[u8]) -> Option<(u32, InviteId)> {
    let (minute, invite) = key.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*minute), InviteId::from_slice(invite)?))
}

/// Key of an [`OwnedBlob`](super::Table::OwnedBlob) row: account 16, blob 16, its length 8.
pub(crate) fn owned_blob(owner: &AccountId, blob: &BlobId, bytes: u64) -> Vec<u8> {
    [owner.as_bytes().as_slice(), blob.as_bytes(), &bytes.to_be_bytes()].concat()
}

/// Reads what [`owned_blob`] wrote.
pub(crate) fn read_owned_blob(key: &[u8]) -> Option<(BlobId, u64)> {
    let bytes = <[u8; 8]>::try_from(key.get(2 * ID..)?).ok()?;
    Some((BlobId::from_slice(key.get(ID..2 * ID)?)?, u64::from_be_bytes(bytes)))
}

/// Key of a [`BlobEnd`](super::Table::BlobEnd) row, as [`invite_end`].
pub(crate) fn blob_end(end_ms: u64, blob: &BlobId) -> Vec<u8> {
    let minute = u32::try_from(end_ms.div_ceil(crate::MINUTE_MS)).unwrap_or(u32::MAX);
    [minute.to_be_bytes().as_slice(), blob.as_bytes()].concat()
}

/// Reads what [`blob_end`] wrote.
pub(crate) fn read_blob_end(key: &[u8]) -> Option<(u32, BlobId)> {
    let (minute, blob) = key.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*minute), BlobId::from_slice(blob)?))
}
