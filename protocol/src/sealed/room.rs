//! Rooms: entries of a membership log, and what nodes tell each other about rooms.

use minicbor::{Decode, Encode};

use crate::cbor::{self, Blob, CborError, List, Text};
use crate::ids::{DeviceId, Fingerprint, RoomId, ShortHash};
use crate::limits::{
    MAX_INTRODUCTIONS, MAX_INVITE_CODE_BYTES, MAX_ROOM_ENTRIES, MAX_ROOM_ENTRY_BYTES, MAX_ROOM_MEMBERS,
};
use crate::sealed::Stamp;
use crate::text::Label;

/// One entry of a room's membership log, signed by a device of the room's owner under the label `room-entry-signature`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RoomEntry {
    /// The room.
    #[n(0)]
    pub room: RoomId,
    /// Place in the log; 0 for the one that creates the room.
    #[n(1)]
    pub epoch: u64,
    /// Name of the entry before it; all zero in the first.
    #[n(2)]
    pub prev: ShortHash,
    /// When it was signed, Unix milliseconds.
    #[n(3)]
    pub issued_ms: u64,
    /// Account that owns the room.
    #[n(4)]
    pub owner: Fingerprint,
    /// Device of the owner that signed it.
    #[n(5)]
    pub device: DeviceId,
    /// What it changes.
    #[n(6)]
    pub change: RoomChange,
}

/// What an entry changes: exactly one field is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RoomChange {
    /// The room begins, under this name.
    #[n(0)]
    pub created: Option<Label>,
    /// A member comes.
    #[n(1)]
    pub added: Option<RoomMember>,
    /// The owner takes a member out.
    #[n(2)]
    pub removed: Option<Fingerprint>,
    /// A member went.
    #[n(3)]
    pub left: Option<Fingerprint>,
    /// The room ends.
    #[n(4)]
    pub closed: Option<bool>,
}

/// A member of a room.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RoomMember {
    /// The account.
    #[n(0)]
    pub account: Fingerprint,
    /// What the owner calls it.
    #[n(1)]
    pub name: Label,
}

/// What one node tells another about one room. Absent fields say nothing.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RoomNews {
    /// The room.
    #[n(0)]
    pub room: RoomId,
    /// The owner invites.
    #[n(1)]
    pub invitation: Option<RoomInvitation>,
    /// A member, or somebody invited, says what it wants.
    #[n(2)]
    pub wish: Option<RoomWish>,
    /// Encoded, signed entries of the log, in their order.
    #[n(3)]
    pub entries: Option<List<Blob<MAX_ROOM_ENTRY_BYTES>, MAX_ROOM_ENTRIES>>,
    /// The newest entry here: what comes after it is asked for.
    #[n(4)]
    pub have: Option<RoomHead>,
    /// Codes by which members become contacts of each other.
    #[n(5)]
    pub introductions: Option<List<RoomIntroduction, MAX_INTRODUCTIONS>>,
    /// Among devices of one account: what the room is, and when its person decided what `wish` says.
    #[n(6)]
    pub shared: Option<RoomShared>,
}

/// What devices of one account tell each other of a room that the account is in, is invited into, or left.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RoomShared {
    /// Account that owns the room.
    #[n(0)]
    pub owner: Fingerprint,
    /// Its name on that device.
    #[n(1)]
    pub name: Label,
    /// Orders what the person decided on several devices: the greatest one holds.
    #[n(2)]
    pub stamp: Stamp,
}

/// Invites into a room.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RoomInvitation {
    /// Its name.
    #[n(0)]
    pub name: Label,
    /// Who is in it now, but for the owner.
    #[n(1)]
    pub members: List<RoomMember, MAX_ROOM_MEMBERS>,
}

/// What somebody wants of a room's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum RoomWish {
    /// To be a member.
    #[n(1)]
    Join,
    /// Not to be one.
    #[n(2)]
    Decline,
    /// To be one no more.
    #[n(3)]
    Leave,
}

/// Names one entry of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RoomHead {
    /// Its place.
    #[n(0)]
    pub epoch: u64,
    /// Its name.
    #[n(1)]
    pub entry: ShortHash,
}

/// An invite of one member for one other, which travels through the owner.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RoomIntroduction {
    /// Who made the code.
    #[n(0)]
    pub from: Fingerprint,
    /// Who is to use it.
    #[n(1)]
    pub to: Fingerprint,
    /// The code.
    #[n(2)]
    pub code: Text<MAX_INVITE_CODE_BYTES>,
}

impl RoomEntry {
    /// Encodes what is signed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Decodes what was signed.
    ///
    /// # Errors
    /// [`CborError`]; no change or several, and a first entry that creates nothing or names one before it, are one.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let entry: Self = cbor::decode(bytes, MAX_ROOM_ENTRY_BYTES)?;
        let change = &entry.change;
        let said = [
            change.created.is_some(),
            change.added.is_some(),
            change.removed.is_some(),
            change.left.is_some(),
            change.closed == Some(true),
        ];
        let wrong = |reason: &str| CborError::Structure { offset: 0, reason: reason.to_owned() };
        if said.iter().filter(|said| **said).count() != 1 || change.closed == Some(false) {
            return Err(wrong("an entry of a room says exactly one thing"));
        }
        if (entry.epoch == 0) != change.created.is_some()
            || (entry.epoch == 0) != (entry.prev == ShortHash::from_bytes([0; 16]))
        {
            return Err(wrong("only the first entry of a room creates it"));
        }
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(epoch: u64, prev: u8, change: RoomChange) -> bool {
        let entry = RoomEntry {
            room: RoomId::from_bytes([1; 16]),
            epoch,
            prev: ShortHash::from_bytes([prev; 16]),
            issued_ms: 2,
            owner: Fingerprint::from_bytes([3; 16]),
            device: DeviceId::from_bytes([4; 16]),
            change,
        };
        RoomEntry::decode(&entry.encode()).is_ok_and(|read| read == entry)
    }

    fn created() -> RoomChange {
        RoomChange { created: Label::new("garden").ok(), ..RoomChange::default() }
    }

    fn left() -> RoomChange {
        RoomChange { left: Some(Fingerprint::from_bytes([5; 16])), ..RoomChange::default() }
    }

    #[test]
    fn only_the_first_entry_creates_the_room_and_names_none_before_it() {
        assert!(read(0, 0, created()));
        assert!(read(1, 1, left()));
        assert!(!read(0, 1, created()));
        assert!(!read(1, 1, created()));
        assert!(!read(0, 0, left()));
        assert!(!read(1, 0, left()));
    }

    #[test]
    fn an_entry_says_exactly_one_thing() {
        let somebody = Fingerprint::from_bytes([5; 16]);
        let member = RoomMember { account: somebody, name: Label::new("bob").unwrap() };
        let none = RoomChange::default();
        for change in [
            RoomChange { added: Some(member.clone()), ..none.clone() },
            RoomChange { removed: Some(somebody), ..none.clone() },
            RoomChange { closed: Some(true), ..none.clone() },
        ] {
            assert!(read(1, 1, change.clone()), "{change:?}");
            let two = RoomChange { left: Some(somebody), ..change };
            assert!(!read(1, 1, two.clone()), "{two:?}");
        }
        assert!(!read(1, 1, none.clone()));
        assert!(!read(1, 1, RoomChange { closed: Some(false), ..none }));
        assert!(!read(1, 1, RoomChange { closed: Some(false), ..left() }));
    }
}
