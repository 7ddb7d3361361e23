//! One error type for each operation.

use penpal_protocol::limits::{MAX_ROOM_ENTRIES, MAX_ROOM_MEMBERS};
use penpal_protocol::text::Label;
use penpal_seal::RoomEntryError;

/// Something cannot be done in a room. All are errors of the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RoomError {
    /// There is no account to own a room or be in it.
    #[error("there is no account yet")]
    NoAccount,
    /// A room of that name is here.
    #[error("there is a room #{name} already")]
    NameTaken {
        /// The name.
        name: Label,
    },
    /// No room of that id.
    #[error("there is no such room")]
    Unknown,
    /// Only its owner may.
    #[error("only the owner of #{name} can do that")]
    NotOwner {
        /// The room.
        name: Label,
    },
    /// Another device of the owner does that, so that no two change the room at one place.
    #[error("#{name} is kept by {device}, another device of yours: it alone invites, removes and closes")]
    KeptElsewhere {
        /// The room.
        name: Label,
        /// The device.
        device: Label,
    },
    /// The owner cannot leave its own room.
    #[error("#{name} is yours: without you it would be over for everybody")]
    Owner {
        /// The room.
        name: Label,
    },
    /// This account is not in it.
    #[error("you are not in #{name}")]
    NotIn {
        /// The room.
        name: Label,
    },
    /// There is no invitation to answer.
    #[error("you are in #{name} already")]
    InAlready {
        /// The room.
        name: Label,
    },
    /// The invitation is over: only the owner can invite again.
    #[error("you are out of #{name}: its owner would have to invite you again")]
    NotInvited {
        /// The room.
        name: Label,
    },
    /// The room is over.
    #[error("#{name} is closed")]
    Closed {
        /// The room.
        name: Label,
    },
    /// That account is no member and was not invited.
    #[error("that contact is not in #{name}")]
    NotMember {
        /// The room.
        name: Label,
    },
    /// That account is a member.
    #[error("that contact is in #{name} already")]
    Member {
        /// The room.
        name: Label,
    },
    /// No more members.
    #[error("#{name} is full: {MAX_ROOM_MEMBERS} members beside the owner")]
    Full {
        /// The room.
        name: Label,
    },
    /// Its log is full.
    #[error(
        "#{name} changed too often: of {MAX_ROOM_ENTRIES} entries the last are for leaving and closing; make a new room"
    )]
    Worn {
        /// The room.
        name: Label,
    },
    /// Too many rooms here.
    #[error("there are {max} rooms here, which is the most")]
    TooMany {
        /// The limit.
        max: usize,
    },
}

/// What a contact said about a room is not taken. All are faults of the contact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NewsError {
    /// An entry is malformed, or its signature does not verify.
    #[error(transparent)]
    Entry(#[from] RoomEntryError),
    /// The owner is no contact, or has no manifest here.
    #[error("the owner of the room is no contact")]
    NoOwner,
    /// Only the owner tells of a room.
    #[error("it is not that contact's room")]
    NotOwner,
    /// An entry of another room, or out of place.
    #[error("an entry does not fit into the log")]
    Misfit,
    /// The log is full.
    #[error("the log of the room is full")]
    Full,
    /// Too many rooms here.
    #[error("there are too many rooms here")]
    TooMany,
}
