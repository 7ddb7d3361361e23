//! Shapes of `room/…`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;

/// Asks for all rooms.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListRequest {
    /// Who asks.
    pub caller: Caller,
}

/// Rooms, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rooms {
    /// Shape version.
    pub v: u32,
    /// The rooms, invitations among them.
    pub rooms: Vec<RoomRow>,
}

/// Names a room.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NameRequest {
    /// Who asks.
    #[serde(default)]
    pub caller: Caller,
    /// The room, with or without `#`.
    pub name: String,
}

/// Names a room and a contact.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemberRequest {
    /// Who asks.
    #[serde(default)]
    pub caller: Caller,
    /// The room, with or without `#`.
    pub name: String,
    /// The contact.
    pub contact: String,
}

/// One room, alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Room {
    /// Shape version.
    pub v: u32,
    /// The room.
    #[serde(flatten)]
    pub row: RoomRow,
    /// Facts that whoever asked should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// One room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoomRow {
    /// Its address: `#` and its name here.
    pub room: String,
    /// Its id.
    pub id: String,
    /// How this node stands to it.
    pub standing: Standing,
    /// Who owns it; `me` for a room of one's own.
    pub owner: String,
    /// Who is in it, this account included; before it was joined, whom the invitation named.
    pub members: Vec<Member>,
    /// Owner: contacts that were invited and did not answer.
    pub invited: Vec<String>,
    /// Number of the newest change of its membership that is known here.
    pub epoch: Option<u64>,
    /// Since when it is known here, Unix milliseconds.
    pub since_ms: u64,
}

/// How this node stands to a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Invited, and not answered.
    Invited,
    /// Asked to join; the owner's machine has not confirmed it.
    Joining,
    /// A member.
    Member,
    /// Went away, or said no.
    Left,
    /// Taken out by the owner.
    Removed,
    /// The room is over.
    Closed,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    /// The contact's name here, `me`, or what the room's owner calls somebody who is no contact.
    pub name: String,
    /// Fingerprint of the account.
    pub fingerprint: String,
    /// Whether messages can go to it and come from it: it is this account, or an active contact.
    pub linked: bool,
    /// Whether it is a contact that is blocked: by a person, or because its key changed.
    #[serde(default)]
    pub blocked: bool,
    /// Whether it owns the room.
    pub owner: bool,
}
