//! Shapes of `status` and `doctor`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;

/// Asks for the state of the node.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StatusRequest {
    /// Who asks.
    pub caller: Caller,
}

/// State of the node in one screen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Shape version.
    pub v: u32,
    /// The node.
    pub node: Node,
    /// The account, if there is one.
    pub account: Option<AccountLine>,
    /// The account's relay.
    pub relay: Option<Relay>,
    /// Unread messages in all mailboxes.
    pub unread: u64,
    /// Contact requests that wait for a decision.
    pub requests: u64,
    /// Own requests to be a contact that wait for the other side.
    #[serde(default)]
    pub asked: u64,
    /// Invitations into rooms that wait for an answer.
    #[serde(default)]
    pub invitations: Vec<String>,
    /// Received messages that are held.
    pub held: u64,
    /// Own messages that were refused or expired and not dismissed.
    pub dead: u64,
    /// Own messages that are still on their way.
    pub queued: u64,
    /// Live local sessions.
    pub sessions: u64,
    /// Things that a person should know, newest last.
    pub notices: Vec<String>,
}

/// The node's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// Process id.
    pub pid: u32,
    /// Version of the program.
    pub version: String,
    /// Since when it runs, Unix milliseconds.
    pub started_ms: u64,
    /// Its home folder.
    pub home: String,
}

/// The account in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountLine {
    /// Handle at the relay.
    pub handle: String,
    /// Fingerprint of the root key.
    pub fingerprint: String,
    /// Name of this machine.
    pub device: String,
    /// How it could be brought back; absent on a device without the root key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryLine>,
}

/// What there is for the day on which this machine is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryLine {
    /// Whether a person has seen the recovery code.
    pub shown: bool,
    /// Whether the relay keeps everything that it brings back, as it is now.
    pub kept: bool,
}

/// The relay and the connection to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Relay {
    /// Address with pin.
    pub address: String,
    /// State of the connection.
    pub state: RelayState,
    /// Why it is not connected, as one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What a person can do about it, where the next try alone will not help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// State of the connection to the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RelayState {
    /// Greeted and receiving.
    Connected,
    /// Trying.
    Connecting,
    /// Waiting before the next try.
    Offline,
}

/// Asks the node to check itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DoctorRequest {
    /// Who asks.
    pub caller: Caller,
}

/// Checks, in the order they were made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Doctor {
    /// Shape version.
    pub v: u32,
    /// The checks.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// How it came out.
    pub state: CheckState,
    /// One line of fact.
    pub fact: String,
    /// The command that repairs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair: Option<String>,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckState {
    /// As it should be.
    Ok,
    /// Works, but somebody should look.
    Warning,
    /// Does not work.
    Failed,
}
