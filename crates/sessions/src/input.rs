//! What the shell tells the machine.

use minicbor::{Decode, Encode};
use penpal_protocol::cbor::Text;
use penpal_protocol::ids::SessionId;
use penpal_protocol::limits::MAX_FOLDER_BYTES;
use penpal_protocol::text::Label;

/// Longest id that an agent may give its conversation, in bytes; the longest known is 36.
pub(crate) const MAX_CONVERSATION_BYTES: usize = 256;

/// Longest path that is compared, in bytes: Linux's `PATH_MAX`.
pub(crate) const MAX_PATH_BYTES: usize = 4096;

/// The id that an agent itself gave a conversation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct AgentConversation(#[n(0)] Text<MAX_CONVERSATION_BYTES>);

impl AgentConversation {
    /// Takes an id of 1 to 256 bytes; `None` for any other.
    #[must_use]
    pub fn new(id: &str) -> Option<Self> {
        (!id.is_empty()).then(|| Text::new(id).ok()).flatten().map(Self)
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl std::fmt::Debug for AgentConversation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A process that cannot be confused with a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(map)]
pub struct ProcessRef {
    /// Process id.
    #[n(0)]
    pub pid: u32,
    /// When it started, in whatever unit the shell uses; only compared for equality.
    #[n(1)]
    pub started: u64,
}

/// How an agent's processes and conversations relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum ProcessModel {
    /// One conversation at a time in each process: the session lives as long as its process.
    #[n(1)]
    OnePerConversation,
    /// Many conversations in one process: a session lives while it gives signs of life.
    #[n(2)]
    Shared,
    /// Opened by hand: lives until it is closed.
    #[n(3)]
    ByHand,
}

/// Where a session works.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Place {
    /// Root of the worktree, or the folder outside any repository; two sessions are in one place when this is equal.
    #[n(0)]
    pub(crate) worktree: Text<MAX_PATH_BYTES>,
    /// Root of the repository's main worktree.
    #[n(1)]
    pub(crate) repository: Option<Text<MAX_PATH_BYTES>>,
    /// Last part of the working folder: all that contacts are told.
    #[n(2)]
    pub(crate) folder: Option<Text<MAX_FOLDER_BYTES>>,
}

fn last_part(path: &str) -> Option<&str> {
    path.rsplit(['/', '\\']).find(|part| !part.is_empty())
}

impl Place {
    /// A place from absolute paths: the working folder, the root of its worktree, and of the repository's main worktree.
    ///
    /// Trailing slashes do not count. Paths beyond 4096 bytes are cut.
    #[must_use]
    pub fn new(folder: &str, worktree: Option<&str>, repository: Option<&str>) -> Self {
        let trimmed = |path: &str| {
            let trimmed = path.trim_end_matches('/');
            Text::truncated(if trimmed.is_empty() { path } else { trimmed })
        };
        Self {
            worktree: trimmed(worktree.unwrap_or(folder)),
            repository: repository.map(trimmed),
            folder: last_part(folder).map(Text::truncated),
        }
    }

    /// The name a session here gets when nobody wants another: the last part of the worktree's path as a label.
    #[must_use]
    pub fn default_name(&self) -> Label {
        let label = Label::reduce(last_part(&self.worktree).unwrap_or_default(), "session");
        if label.is_reserved() { Label::reduce(&format!("{label}-session"), "session") } else { label }
    }
}

/// A caller that belongs to no session yet.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Agent kind, such as `claude-code`.
    pub agent: Label,
    /// How its processes and conversations relate.
    pub model: ProcessModel,
    /// The agent's process.
    pub process: Option<ProcessRef>,
    /// The agent's conversation, and whether that is certain or a first guess. `None` makes a *provisional* session.
    pub conversation: Option<(AgentConversation, bool)>,
    /// Where it works.
    pub place: Place,
    /// Name that its person wants (`PENPAL_SESSION`).
    pub wanted: Option<Label>,
    /// Nobody watches it: announced only under a wanted name, and takes over nothing of a watched session.
    pub headless: bool,
    /// It is a fork of another conversation: takes over nothing.
    pub fork: bool,
}

/// A caller that belongs to a known session and says something new about it.
#[derive(Debug, Clone)]
pub struct Binding {
    /// The session.
    pub session: SessionId,
    /// Its conversation now, and whether that is certain; `None` leaves it as it is.
    pub conversation: Option<(AgentConversation, bool)>,
    /// A process that runs it now; it leaves any other session.
    pub process: Option<ProcessRef>,
    /// Another session that turned out to be this one (it was provisional, or its id a wrong guess): it is merged.
    pub absorb: Option<SessionId>,
    /// The conversation starts empty (`clear`): mail from before is marked.
    pub fresh: bool,
}

/// Which session a caller got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The session; after a binding it may be another than asked for, when a provisional one was merged.
    pub session: SessionId,
    /// Its name.
    pub name: Label,
    /// How it came to it.
    pub how: PlacedHow,
}

/// How a caller came to its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlacedHow {
    /// It was known.
    Known,
    /// A new mailbox was made.
    Created,
    /// It took over name, id and mail of an ended session.
    TookOver,
}

/// A sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    /// A hook: the conversation starts or continues.
    Start,
    /// A hook: a prompt was given, a turn begins.
    Prompt,
    /// A hook: a tool ran, a turn goes on.
    Tool,
    /// A hook: the turn is over. Never revives an ended session (Grok sends one after its end).
    Stop,
    /// An MCP or CLI call from inside the session.
    Call,
    /// Any other sign, such as an MCP server that connects again. Does not revive an ended session.
    Seen,
}

/// When mail may reach a session's model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum DeliveryMode {
    /// As reach allows.
    #[default]
    #[n(1)]
    Wake,
    /// At its person's next prompt, never by a wake.
    #[n(2)]
    Quiet,
    /// Only when asked for.
    #[n(3)]
    Off,
}
