//! Shapes of `contact …`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::caller::Caller;
use crate::sessions::{Reach, SessionState};

/// Asks for invites.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteRequest {
    /// Who asks.
    #[serde(default)]
    pub caller: Caller,
    /// Life in milliseconds; 72 hours when absent.
    #[serde(default)]
    pub life_ms: Option<u64>,
    /// How many; 1 when absent, at most 64.
    #[serde(default)]
    pub count: Option<u32>,
    /// Accept whoever uses it, without asking.
    #[serde(default)]
    pub auto_accept: bool,
}

/// One invite that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invite {
    /// The code. Whoever has it can ask to become a contact.
    pub code: String,
    /// When it ends, Unix milliseconds.
    pub expires_ms: u64,
}

/// Invites that were made. The first one also stands at the top level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invites {
    /// Shape version.
    pub v: u32,
    /// The first code.
    pub code: String,
    /// When it ends, Unix milliseconds.
    pub expires_ms: u64,
    /// All of them.
    pub invites: Vec<Invite>,
}

/// Asks for the invites of this account.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InvitesRequest {
    /// Who asks.
    pub caller: Caller,
}

/// Invites and where they stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InviteList {
    /// Shape version.
    pub v: u32,
    /// Oldest first.
    pub invites: Vec<InviteRow>,
}

/// One invite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InviteRow {
    /// Id in short.
    pub id: String,
    /// `creating`, `open`, `redeemed`, `accepted`, `declined`, `expired` or `revoked`.
    pub state: String,
    /// Who used it.
    pub by: Option<String>,
    /// For whom the node made it by itself: a member of a room who is no contact yet, such as `carol in #team`.
    pub meant_for: Option<String>,
    /// The code, while the invite is open and for whomever its maker gives it to.
    pub code: Option<String>,
    /// Whether it accepts by itself.
    pub auto_accept: bool,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
    /// When it ends, Unix milliseconds.
    pub expires_ms: u64,
}

/// Uses a code.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddRequest {
    /// Who asks.
    #[serde(default)]
    pub caller: Caller,
    /// The code, a link, or text with a code in it.
    pub code: String,
    /// Handle for the account that is made when there is none.
    #[serde(default)]
    pub handle: Option<String>,
    /// Name of this machine for that account.
    #[serde(default)]
    pub device: Option<String>,
    /// How long to wait for the other's decision, in milliseconds.
    #[serde(default)]
    pub wait_ms: u64,
}

/// A code was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Added {
    /// Shape version.
    pub v: u32,
    /// The contact, `pending-out` until the other accepts.
    pub contact: ContactRow,
    /// The account that was made for it, if there was none.
    pub account: Option<Account>,
}

/// Names a contact.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NameRequest {
    /// Who asks.
    #[serde(default)]
    pub caller: Caller,
    /// The contact.
    pub name: String,
}

/// Renames a contact.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameRequest {
    /// Who asks.
    #[serde(default)]
    pub caller: Caller,
    /// The contact.
    pub name: String,
    /// Its new name here.
    pub new: String,
}

/// Shows the safety number, or says that it was compared.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// Who asks.
    #[serde(default)]
    pub caller: Caller,
    /// The contact.
    pub name: String,
    /// The number as the other side reads it, spaces ignored; absent only shows it.
    #[serde(default)]
    pub compared: Option<String>,
}

/// Asks for the contacts.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListRequest {
    /// Who asks.
    pub caller: Caller,
}

/// One contact, alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Contact {
    /// Shape version.
    pub v: u32,
    /// The contact.
    pub contact: ContactRow,
}

/// A contact was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Removed {
    /// Shape version.
    pub v: u32,
    /// Its name.
    pub name: String,
    /// Whether the relay knows; when not, it is told as soon as it can be reached.
    pub at_relay: bool,
}

/// All contacts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Contacts {
    /// Shape version.
    pub v: u32,
    /// By name.
    pub contacts: Vec<ContactRow>,
}

/// One contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContactRow {
    /// Its name here.
    pub name: String,
    /// Where it stands.
    pub state: ContactState,
    /// How its key was checked.
    pub trust: Trust,
    /// Whether one of its devices is connected.
    pub online: bool,
    /// 60 digits in groups of five, the same on both sides; absent until both roots are known.
    pub safety_number: Option<String>,
    /// The handle that the other side gave.
    pub handle: String,
    /// Fingerprint of its root key.
    pub fingerprint: String,
    /// Its relay, when it is another one than ours.
    pub relay: Option<String>,
    /// Through whom it became a contact, when that was no invite of its own or ours: `alice in #payments`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introduced_by: Option<String>,
    /// Whether its mail is held until a person here writes to it or verifies it.
    pub held: bool,
    /// What a person should know about it.
    pub notice: Option<String>,
    /// Since when it stands so, Unix milliseconds.
    pub since_ms: u64,
}

/// Where a contact stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ContactState {
    /// It asked; a person here must decide.
    PendingIn,
    /// We asked; a person there must decide.
    PendingOut,
    /// Both sides accepted.
    Active,
    /// Its mail is not taken.
    Blocked,
    /// It declined, or did not answer in time.
    Declined,
    /// Its relay refuses: removed there, or the account is gone.
    Gone,
}

/// How a key was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// This machine.
    Local,
    /// Came with an invite.
    Invited,
    /// The safety number was compared.
    Verified,
    /// Changed without the old key's signature: blocked.
    Changed,
}

/// Asks for sessions of contacts.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SessionsRequest {
    /// Who asks.
    pub caller: Caller,
    /// Only of this contact.
    pub name: Option<String>,
}

/// Sessions of contacts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContactSessions {
    /// Shape version.
    pub v: u32,
    /// By contact, device and name.
    pub sessions: Vec<ContactSession>,
}

/// One session of a contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContactSession {
    /// The contact.
    pub contact: String,
    /// The session.
    pub session: String,
    /// Its device.
    pub device: String,
    /// Agent kind.
    pub agent: String,
    /// What it is doing.
    pub state: SessionState,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// How it can be reached.
    pub reach: Reach,
    /// Last part of its folder's path.
    pub folder: Option<String>,
    /// One line about what it is doing.
    pub summary: Option<String>,
    /// Full address.
    pub address: String,
    /// Whether its device is connected.
    pub online: bool,
    /// When its device was last heard of, Unix milliseconds.
    pub last_seen_ms: u64,
}
