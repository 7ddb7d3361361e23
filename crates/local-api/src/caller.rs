//! What a client can say about who is calling. The node decides what it means.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Evidence about the caller of one request. All of it is optional; nothing here is trusted beyond what the node can check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Caller {
    /// On what occasion it calls.
    #[serde(skip_serializing_if = "Via::is_command")]
    pub via: Via,
    /// Agent kind, such as `claude-code`: a hook's argument, what MCP's client calls itself, or the nearest agent ancestor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Version of the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// Nearest ancestor process that is that agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Process>,
    /// Processes above the caller, nearest first, at most 32: tells whether it runs inside an agent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<Process>,
    /// Id that the agent gave its conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<Conversation>,
    /// Folder of the caller, absolute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Root of its repository: the main worktree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Root of its worktree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worktree: Option<String>,
    /// Name that its person wants: `PENPAL_SESSION`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted_name: Option<String>,
    /// Whether nobody watches: a run of one prompt.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub headless: bool,
    /// Agent variables that stand in the environment, by name only: a second sign of running inside an agent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agent_variables: Vec<String>,
    /// How its session can be woken, as far as this caller sees.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wakes: Vec<crate::wake::WakeOffer>,
}

/// Occasions of calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// A command, or anybody's script.
    #[default]
    Command,
    /// An MCP server that started or connected again.
    McpStart,
    /// A tool call over MCP.
    McpCall,
}

impl Via {
    fn is_command(&self) -> bool {
        *self == Self::Command
    }
}

/// A process that cannot be confused with a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// When it started, in the unit of its system (clock ticks since boot on Linux).
    pub started: u64,
}

/// An agent's own id of a conversation, and where it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Conversation {
    /// The id.
    pub id: String,
    /// Where it was found.
    pub source: ConversationSource,
}

/// Places where a conversation id is found, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConversationSource {
    /// Standard input of a hook.
    Hook,
    /// `_meta` of an MCP call.
    Meta,
    /// The environment: a first guess.
    Environment,
}
