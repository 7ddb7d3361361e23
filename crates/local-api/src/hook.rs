//! Shapes of `hook`: what an agent's hook reports, and what it shows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;

/// What happened in an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HookEvent {
    /// A conversation starts.
    Startup,
    /// An earlier one goes on.
    Resume,
    /// It was emptied.
    Clear,
    /// It was compacted.
    Compact,
    /// A copy of another one starts.
    Fork,
    /// A prompt was given.
    Prompt,
    /// Within a turn.
    Tool,
    /// The turn is over.
    Stop,
    /// The conversation is over.
    End,
    /// The process goes on with another conversation.
    Replaced,
    /// Anything else.
    Other,
}

/// What the hook can do with mail.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum HookShows {
    /// Nothing.
    #[default]
    Nothing,
    /// Give it to the model.
    Context,
    /// Keep the turn from ending and give it to the model.
    Hold,
}

/// Reports a hook, and takes the mail that it can show.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookRequest {
    /// Who calls.
    pub caller: Caller,
    /// What happened.
    pub event: HookEvent,
    /// What the hook can do with mail.
    #[serde(default)]
    pub shows: HookShows,
    /// The turn that stops was held before.
    #[serde(default)]
    pub held_before: bool,
    /// Nonces of quotes in the prompt: a live one makes it a wake, which is committed and shows nothing.
    #[serde(default)]
    pub nonces: Vec<String>,
}

/// What the hook shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookAnswer {
    /// Shape version.
    pub v: u32,
    /// The session that it belongs to.
    pub session: Option<String>,
    /// Commit with this once the quote was written; absent when there is nothing to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// Mail in the marked quote; empty for nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub quote: String,
}

/// Asks what waits for a session, without changing anything.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GlanceRequest {
    /// Who asks.
    pub caller: Caller,
}

/// What waits for a session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Glance {
    /// Shape version.
    pub v: u32,
    /// The session, if the caller is one.
    pub session: Option<String>,
    /// Unread messages.
    pub unread: u64,
    /// Whose ask waits longest for an answer.
    pub waiting: Option<String>,
}
