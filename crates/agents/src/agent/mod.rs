//! The agents, one file each behind [`Agent`]: what is edited to wire one in, what its hooks may say, how it can be woken.
//!
//! Facts come from running the versions that [`Agent::tried`] names; an agent without one was built from its documentation only.

pub(crate) mod claude_code;
pub(crate) mod cline;
pub(crate) mod codex;
pub(crate) mod copilot;
pub(crate) mod cursor;
pub(crate) mod gemini;
pub(crate) mod grok;
pub(crate) mod opencode;
pub(crate) mod qwen;
mod say;

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use penpal_local_api::wake::WakeOffer;

use crate::evidence::Environment;
use crate::hook::HookEvent;
use crate::kind::AgentKind;
use crate::wire::{Program, Wish};

/// What a hook may do with mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shows {
    /// Nothing: its output is thrown away, or means something else.
    Nothing,
    /// Adds text that the model reads.
    Context,
    /// Keeps the turn from ending and gives the model text to go on with.
    Hold,
}

/// One hook that is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookPoint {
    /// The agent's name for it.
    pub event: &'static str,
    /// What its output can do.
    pub shows: Shows,
}

impl HookPoint {
    const fn new(event: &'static str, shows: Shows) -> Self {
        Self { event, shows }
    }
}

/// A way to start a turn in an idle session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wake {
    /// Claude Code's local messaging socket: one JSON line to `CLAUDE_CODE_MESSAGING_SOCKET`. Private format: the version is checked.
    MessagingSocket,
    /// A background command hook whose exit status 2 wakes the session that ran it; one shot, armed again by every Stop.
    AsyncRewake,
    /// Claude Code's channels: gated by its vendor and by the organisation, so only on request.
    Channel,
    /// A command that queues a message for a thread: `codex queue --thread ID --message TEXT`.
    QueueCommand,
    /// A plugin inside the agent, which starts the turn itself.
    Plugin,
    /// The terminal supervisor types: `penpal run AGENT`.
    Terminal,
}

/// Where things of one person are.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The person's home folder.
    pub user: PathBuf,
    /// Variables that move an agent's files.
    pub variables: Environment,
    /// The program that is wired in.
    pub program: Program,
}

impl Setup {
    /// The folder in a variable, else this one under the person's home.
    fn folder(&self, variable: &str, otherwise: &str) -> PathBuf {
        let given = self.variables.get(variable).filter(|path| Path::new(path.as_str()).is_absolute());
        given.map_or_else(|| self.user.join(otherwise), PathBuf::from)
    }
}

/// What wiring an agent in means on this machine.
#[derive(Debug, Clone, Default)]
pub struct Wiring {
    /// What files should hold.
    pub files: Vec<Wish>,
    /// What a person must know or do, one line each.
    pub remarks: Vec<String>,
}

/// How a background hook ends when its session is to be woken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Woken {
    /// To its standard output.
    pub out: String,
    /// To its standard error.
    pub error: String,
    /// Its exit status.
    pub status: u8,
}

/// Event of `penpal hook AGENT` under which it waits in the background until its session is to be woken.
pub const WAIT: &str = "wait";

/// One coding agent.
pub trait Agent: Debug + Sync {
    /// Which.
    fn kind(&self) -> AgentKind;

    /// What people call it.
    fn title(&self) -> &'static str;

    /// Newest version that was run; `None` for one that is known from its documentation only.
    fn tried(&self) -> Option<&'static str>;

    /// Folder of its settings: where it is, the agent was used here.
    fn folder(&self, setup: &Setup) -> PathBuf;

    /// The hooks that are installed, in the order in which a conversation meets them.
    fn hooks(&self) -> &'static [HookPoint];

    /// What files should hold.
    fn wiring(&self, setup: &Setup) -> Wiring;

    /// What a hook writes to its standard output so that the agent shows or goes on with `text`.
    fn say(&self, event: &str, shows: Shows, text: &str) -> String {
        say::like_claude(event, shows, text)
    }

    /// How it can be woken, best first.
    fn wakes(&self) -> &'static [Wake] {
        &[Wake::Terminal]
    }

    /// What an environment that the agent made offers for waking its session. `program` is the agent's own, when it is known.
    fn offers(&self, _environment: &Environment, _program: Option<&Path>) -> Vec<WakeOffer> {
        Vec::new()
    }

    /// Variables with which it runs its conversation in the process that is started, and not in one that others share: only then it is known
    /// to sit at the terminal.
    fn inside_its_process(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// What a hook that waits for a wake writes, and the status with which it ends.
    fn wake(&self, text: &str) -> Woken {
        Woken { out: say::like_claude("", Shows::Nothing, text), error: String::new(), status: 0 }
    }

    /// What cannot be done with it, one sentence each.
    fn lacks(&self) -> &'static [&'static str];

    /// Another agent whose wiring this one reads as well: both together would run every hook twice.
    fn covered_by(&self) -> Option<AgentKind> {
        None
    }

    /// Whether what is shown so becomes a prompt of its own, with which the agent's prompt hook gives it back: only then has it arrived.
    fn gives_back(&self, _shows: Shows) -> bool {
        false
    }

    /// Whether a stop hook says truly that its turn was held before.
    fn tells_second_stop(&self) -> bool {
        true
    }
}

/// Where a session of an agent sees mail next, as far as its hooks can show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Within the turn that runs.
    MidTurn,
    /// At the next prompt, or within the turn that it starts.
    NextPrompt,
    /// Only when it looks.
    Manual,
}

/// What a hook that just ran says of where its session sees mail next.
#[must_use]
pub fn sight(agent: &dyn Agent, event: HookEvent) -> Sight {
    let shows = |wanted: HookEvent, what: Shows| {
        agent.hooks().iter().any(|hook| {
            let found = crate::hook::event_of(hook.event, &serde_json::Value::Null);
            std::mem::discriminant(&found) == std::mem::discriminant(&wanted) && hook.shows == what
        })
    };
    if matches!(event, HookEvent::Prompt | HookEvent::Tool) && shows(HookEvent::Tool, Shows::Context) {
        return Sight::MidTurn;
    }
    if shows(HookEvent::Prompt, Shows::Context) || shows(HookEvent::Stop, Shows::Hold) {
        return Sight::NextPrompt;
    }
    Sight::Manual
}

const ALL: [&dyn Agent; 9] = [
    &claude_code::ClaudeCode,
    &codex::Codex,
    &opencode::Opencode,
    &gemini::Gemini,
    &cursor::Cursor,
    &cline::Cline,
    &grok::Grok,
    &copilot::Copilot,
    &qwen::Qwen,
];

/// All agents that can be wired in.
pub fn all() -> impl Iterator<Item = &'static dyn Agent> {
    ALL.into_iter()
}

/// The agent of a kind; `None` for one that penpal does not know.
#[must_use]
pub fn of(kind: &AgentKind) -> Option<&'static dyn Agent> {
    all().find(|agent| agent.kind() == *kind)
}
