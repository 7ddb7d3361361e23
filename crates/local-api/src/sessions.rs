//! Shapes of `sessions` and `session …`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;

/// Asks for local sessions.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SessionsRequest {
    /// Who asks.
    pub caller: Caller,
    /// Ended ones too.
    pub all: bool,
}

/// Local sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sessions {
    /// Shape version.
    pub v: u32,
    /// By name.
    pub sessions: Vec<SessionRow>,
    /// Rooms that can be written to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rooms: Vec<crate::room::RoomRow>,
    /// Sessions on other devices of this account.
    #[serde(default)]
    pub others: Vec<crate::contacts::ContactSession>,
}

/// One session, alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// Shape version.
    pub v: u32,
    /// The session.
    #[serde(flatten)]
    pub row: SessionRow,
}

/// One local session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionRow {
    /// Its name.
    pub session: String,
    /// Agent kind; `by-hand` for one opened by hand.
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
    /// Its address here.
    pub address: String,
    /// Always true: it is on this machine.
    pub online: bool,
    /// When it was last heard of, Unix milliseconds.
    pub last_seen_ms: u64,
    /// Unread messages.
    pub unread: u64,
    /// Whether contacts are told of it.
    pub announced: bool,
    /// Hidden from contacts by its person.
    #[serde(default)]
    pub hidden: bool,
    /// Whether it is shown its person's desk.
    #[serde(default)]
    pub desk: bool,
    /// When mail may reach its model.
    #[serde(default)]
    pub mode: Mode,
    /// How it can be woken, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wakes: Vec<crate::wake::WakeWay>,
}

/// When mail may reach a session's model.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// As its reach allows: an ask may wake it.
    #[default]
    Wake,
    /// At its person's next prompt, never by a wake.
    Quiet,
    /// Only when it asks.
    Off,
}

/// Says when mail may reach a session's model.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MuteRequest {
    /// Who says so: a person.
    pub caller: Caller,
    /// The session.
    pub name: String,
    /// When.
    pub mode: Mode,
}

/// Hides a session from contacts, or shows it again.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HideRequest {
    /// Who says so: a person.
    #[serde(default)]
    pub caller: Caller,
    /// The session.
    pub name: String,
    /// Whether it is hidden from now on.
    pub hidden: bool,
}

/// Lets a session see its person's desk, or ends that.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeskRequest {
    /// Who says so: a person.
    #[serde(default)]
    pub caller: Caller,
    /// The session.
    pub name: String,
    /// Whether it is shown the desk from now on.
    pub allowed: bool,
}

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SessionState {
    /// In a turn.
    Busy,
    /// Waiting for its person.
    Idle,
    /// Its process is gone; the name is kept.
    Ended,
    /// Its device is down.
    Offline,
    /// No sign of it for a while.
    Unknown,
}

/// How a session can be reached now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// A turn can be started in it.
    Wakes,
    /// It sees mail within its running turn.
    MidTurn,
    /// It sees mail at its person's next prompt.
    NextPrompt,
    /// It sees mail when it or its person looks.
    Manual,
    /// It sees mail once its machine is back.
    WhenBack,
}

/// Asks who the caller is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhoamiRequest {
    /// Who asks.
    pub caller: Caller,
    /// Make a session when the evidence is enough and there is none.
    pub attach: bool,
}

/// Who the caller is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Whoami {
    /// Shape version.
    pub v: u32,
    /// Its session, or nothing: then it acts for the desk.
    pub session: Option<SessionRow>,
    /// Address at which contacts reach it, when there is an account.
    pub address: Option<String>,
    /// Whether it runs inside an agent.
    pub inside_agent: bool,
}

/// Opens a session by hand.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenRequest {
    /// Who asks.
    #[serde(default)]
    pub caller: Caller,
    /// Its name.
    pub name: String,
    /// Agent kind to show; `by-hand` when absent.
    #[serde(default)]
    pub agent: Option<String>,
}

/// Names a session.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NameRequest {
    /// Who asks.
    #[serde(default)]
    pub caller: Caller,
    /// The session.
    pub name: String,
}

/// Renames a session.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameRequest {
    /// Who asks.
    #[serde(default)]
    pub caller: Caller,
    /// The session.
    pub name: String,
    /// Its new name.
    pub new: String,
}

/// Sets a summary.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SummaryRequest {
    /// Who asks.
    #[serde(default)]
    pub caller: Caller,
    /// The session; the caller's own when absent.
    #[serde(default)]
    pub name: Option<String>,
    /// One line of at most 200 bytes; empty clears it.
    pub text: String,
}
