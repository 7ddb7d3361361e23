//! What the machine asks of the shell.

use penpal_protocol::ids::{Fingerprint, MsgId, RoomId};
use penpal_protocol::sealed::RoomNews;
use penpal_protocol::text::Label;

use crate::record::Change;

/// One thing to do. Changes of a step and messages of a step belong to one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Store a row.
    Persist(Change),
    /// Tell a contact, sealed, on all its devices; with our own account our other devices.
    Send {
        /// The contact, or our own account.
        to: Fingerprint,
        /// What.
        news: Box<RoomNews>,
    },
    /// A message that waited for an entry may be shown.
    Release {
        /// Who sent it.
        from: Fingerprint,
        /// The message.
        msg_id: MsgId,
    },
    /// A message that waited for an entry is not taken.
    Refuse {
        /// Who sent it.
        from: Fingerprint,
        /// The message.
        msg_id: MsgId,
        /// Why, in one word.
        reason: &'static str,
    },
    /// Somebody is out of a room: what was said in it here and did not leave this machine is not for it any more.
    Withdraw {
        /// The room.
        room: RoomId,
        /// Who is out.
        account: Fingerprint,
    },
    /// Members that came later than this account: whoever is not a contact gets an invite, by [`crate::Rooms::introduce`].
    Introduce {
        /// The room.
        room: RoomId,
        /// The members.
        to: Vec<Fingerprint>,
    },
    /// A member made a code for this account: use it, unless it is a contact.
    Meet {
        /// The room.
        room: RoomId,
        /// Who made it.
        with: Fingerprint,
        /// The code.
        code: String,
    },
    /// For people.
    Notice(Notice),
}

/// What people should know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A contact invites.
    Invited {
        /// The room.
        room: RoomId,
        /// Its name here.
        name: Label,
        /// Who invites.
        by: Fingerprint,
    },
    /// The room can be used.
    Joined {
        /// The room.
        room: RoomId,
        /// Its name here.
        name: Label,
    },
    /// The owner took this account out.
    Removed {
        /// Its name here.
        name: Label,
    },
    /// What this account wanted to join cannot be joined any more: the invitation was taken back, or the room is over.
    InvitationOver {
        /// Its name here.
        name: Label,
    },
    /// The room is over.
    Closed {
        /// Its name here.
        name: Label,
    },
    /// Another device of this account left the room for all of them.
    LeftElsewhere {
        /// Its name here.
        name: Label,
    },
    /// Another device of this account closed a room of it.
    ClosedElsewhere {
        /// Its name here.
        name: Label,
    },
    /// The device that kept a room of this account was revoked; this one keeps it now.
    TookOver {
        /// Its name here.
        name: Label,
    },
    /// Somebody came.
    Came {
        /// Its name here.
        name: Label,
        /// Who.
        account: Fingerprint,
    },
    /// Somebody is gone.
    Went {
        /// Its name here.
        name: Label,
        /// Who.
        account: Fingerprint,
    },
    /// Somebody who was invited said no.
    Declined {
        /// Its name here.
        name: Label,
        /// Who.
        account: Fingerprint,
    },
}
