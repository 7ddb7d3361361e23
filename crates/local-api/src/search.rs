//! Shapes of `search`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;
use crate::mail::{Artifact, Kind, ReadState};

/// Looks for words in what this device holds.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// Who asks. An agent finds mail of its own session that it was shown or wrote.
    #[serde(default)]
    pub caller: Caller,
    /// Words that must all be there, in any case; `"a phrase"`, `begin*`, `-without`.
    pub words: String,
    /// Only what was exchanged with this contact, or said in this `#room`.
    #[serde(default)]
    pub with: Option<String>,
    /// Only mail of this session; `desk` for the desk.
    #[serde(default)]
    pub session: Option<String>,
    /// Sent at this time or later, Unix milliseconds.
    #[serde(default)]
    pub since_ms: Option<u64>,
    /// Sent before this time, Unix milliseconds.
    #[serde(default)]
    pub until_ms: Option<u64>,
    /// At most so many, the latest; 20 when absent, at most 100.
    #[serde(default)]
    pub limit: Option<u32>,
    /// Give the quote that a model is shown, too.
    #[serde(default)]
    pub quote: bool,
}

/// What was found, the latest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hits {
    /// Shape version.
    pub v: u32,
    /// Messages.
    pub hits: Vec<Hit>,
    /// Whether there are more.
    pub more: bool,
    /// Whether older messages are still being read into the index: what they say is not found yet.
    pub behind: bool,
    /// The hits in the marked quote that a model is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
}

/// One message that was found; `read` gives all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hit {
    /// Its id.
    pub id: String,
    /// Its short id here.
    pub short: String,
    /// Address of the sender.
    pub from: String,
    /// Mailbox it came to, or the address it was sent to.
    pub to: String,
    /// What it is.
    pub kind: Kind,
    /// One line.
    pub subject: Option<String>,
    /// The part of the text where it was found, or its beginning.
    pub excerpt: String,
    /// Files.
    pub artifacts: Vec<Artifact>,
    /// When it was sent, Unix milliseconds by the sender's clock.
    pub sent_ms: u64,
    /// Whether it was seen.
    pub state: ReadState,
}
