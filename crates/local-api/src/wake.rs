//! Shapes of `wake/…`: how sessions can be woken, and what those say that wake them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;

/// A way to wake the caller's session that its agent or terminal offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum WakeOffer {
    /// The agent listens on a socket for messages from its own kind.
    NativeInbox {
        /// Path of the socket.
        socket: String,
    },
    /// The agent has a command that queues a message for a conversation.
    Queue {
        /// Path of the program.
        program: String,
        /// Folder of the agent's settings, when a variable moved it.
        folder: Option<String>,
    },
    /// It runs under `penpal run`.
    Terminal {
        /// Names that run.
        run: String,
    },
}

/// Waits until a session is to be woken by this caller.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WakeWaitRequest {
    /// Who waits: a hook or plugin of the session.
    pub caller: Caller,
    /// How it would wake: `rewake-hook`, `plugin` or `terminal`.
    pub by: String,
    /// The run whose session is meant, for `terminal`.
    pub run: Option<String>,
    /// How long to wait, in milliseconds.
    pub wait_ms: u64,
}

/// What a waiting waker is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WakeWaited {
    /// Shape version.
    pub v: u32,
    /// The session, if there is one.
    pub session: Option<String>,
    /// Wake it now: take what waits, and hand it over.
    pub wake: bool,
    /// Do not wait again: the session is over, or somebody else waits in this caller's place.
    pub over: bool,
}

/// Takes what a session is woken with.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WakeTakeRequest {
    /// The session.
    pub session: String,
    /// How it is woken.
    pub by: String,
}

/// What a session is woken with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WakeTaken {
    /// Shape version.
    pub v: u32,
    /// Commit with this once the agent has it; absent when nothing waits any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// The text; empty when nothing waits any more.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// One way in which a session can be woken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WakeWay {
    /// `native-inbox`, `queue`, `plugin`, `rewake-hook` or `terminal`.
    pub by: String,
    /// What is known of it.
    pub state: WakeState,
}

/// What is known of a way to wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WakeState {
    /// It is there and was not used yet.
    Untried,
    /// The last wake worked.
    Proved,
    /// The last wake did not show; it is left alone for a while.
    Failed,
}
