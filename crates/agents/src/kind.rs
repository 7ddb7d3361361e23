//! The coding agents: names, variables and habits of each.

use std::fmt;

use penpal_protocol::text::Label;

use crate::agent;

/// Agent kind of a session that was opened by hand.
pub const BY_HAND: &str = "by-hand";

/// A coding agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgentKind {
    /// Claude Code.
    ClaudeCode,
    /// Codex CLI.
    Codex,
    /// opencode.
    Opencode,
    /// Gemini CLI.
    Gemini,
    /// Cursor.
    Cursor,
    /// Cline CLI.
    Cline,
    /// Grok Build.
    Grok,
    /// GitHub Copilot CLI.
    Copilot,
    /// Qwen Code.
    Qwen,
    /// Any other, by the name it gives itself.
    Other(Label),
}

/// How an agent's processes and conversations relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// A process runs one conversation at a time: what its hook said last holds for its MCP server.
    OnePerConversation,
    /// A process runs many conversations: nothing follows from the process, every call brings its id.
    Shared,
}

/// What tells one agent from the others; each stands in the agent's own file.
pub(crate) struct Facts {
    pub(crate) kind: AgentKind,
    pub(crate) name: &'static str,
    pub(crate) model: Model,
    /// Where its hooks write the id of the conversation, as JSON pointers, best first.
    pub(crate) conversation: &'static [&'static str],
    /// What its MCP client calls itself: whole names.
    pub(crate) client_names: &'static [&'static str],
    /// What its MCP client calls itself: beginnings, where the server's name follows.
    pub(crate) client_prefixes: &'static [&'static str],
    /// File names of its program.
    pub(crate) programs: &'static [&'static str],
    /// Part of the path of its script or binary.
    pub(crate) packages: &'static [&'static str],
    /// Variables that hold the id of its conversation.
    pub(crate) id_variables: &'static [&'static str],
    /// Variables that stand in the environment of what it starts.
    pub(crate) signs: &'static [&'static str],
    /// Arguments of a run that nobody watches.
    pub(crate) headless: &'static [&'static str],
}

const FACTS: [Facts; 9] = [
    agent::claude_code::FACTS,
    agent::codex::FACTS,
    agent::opencode::FACTS,
    agent::gemini::FACTS,
    agent::cursor::FACTS,
    agent::cline::FACTS,
    agent::grok::FACTS,
    agent::copilot::FACTS,
    agent::qwen::FACTS,
];

/// Programs that run a script and are not an agent themselves.
const INTERPRETERS: [&str; 4] = ["node", "bun", "deno", "nodejs"];

impl AgentKind {
    /// The nine agents penpal knows.
    pub fn known() -> impl Iterator<Item = Self> {
        FACTS.iter().map(|facts| facts.kind.clone())
    }

    /// The kind of this name, as [`AgentKind::label`] gives it; any other label is [`AgentKind::Other`].
    #[must_use]
    pub fn from_label(label: &Label) -> Self {
        let known = FACTS.iter().find(|facts| facts.name == label.as_str());
        known.map_or_else(|| Self::Other(label.clone()), |facts| facts.kind.clone())
    }

    /// The kind of an MCP client, by the name it gives itself (`clientInfo.name`).
    ///
    /// An unknown client gets a kind of its own from its name reduced to a label.
    #[must_use]
    pub fn from_client_name(name: &str) -> Self {
        let known = FACTS.iter().find(|facts| {
            facts.client_names.contains(&name)
                || facts.client_prefixes.iter().any(|prefix| name.starts_with(prefix))
        });
        known.map_or_else(
            || match Label::reduce(name, "mcp-client") {
                label if label.as_str() == BY_HAND => {
                    Self::Other(Label::reduce("by-hand-client", "mcp-client"))
                }
                label => Self::from_label(&label),
            },
            |facts| facts.kind.clone(),
        )
    }

    /// The kind whose program a process runs, from its arguments.
    ///
    /// Looks at the program's file name and, for a script's interpreter, at the script; never at anything the program was given.
    #[must_use]
    pub fn from_arguments(arguments: &[String]) -> Option<Self> {
        let program = arguments.first()?;
        let by_path = |path: &str| {
            let file = file_name(path);
            let stem = file.rsplit_once('.').map_or(file, |(stem, extension)| match extension {
                "js" | "mjs" | "cjs" | "exe" => stem,
                _ => file,
            });
            // Nix keeps the real program as `.claude-wrapped`.
            let stem =
                stem.strip_prefix('.').and_then(|inner| inner.strip_suffix("-wrapped")).unwrap_or(stem);
            FACTS.iter().find(|facts| {
                facts.programs.contains(&stem) || facts.packages.iter().any(|package| path.contains(package))
            })
        };
        let script = || {
            let interpreter = INTERPRETERS.contains(&file_name(program));
            arguments.iter().skip(1).find(|argument| !argument.starts_with('-')).filter(|_| interpreter)
        };
        let facts = by_path(program).or_else(|| script().and_then(|script| by_path(script)))?;
        Some(facts.kind.clone())
    }

    /// Its name: a label such as `claude-code`.
    #[must_use]
    pub fn label(&self) -> Label {
        match self.facts() {
            Some(facts) => Label::reduce(facts.name, "agent"),
            None => match self {
                Self::Other(label) => label.clone(),
                Self::ClaudeCode
                | Self::Codex
                | Self::Opencode
                | Self::Gemini
                | Self::Cursor
                | Self::Cline
                | Self::Grok
                | Self::Copilot
                | Self::Qwen => Label::reduce("agent", "agent"),
            },
        }
    }

    /// How its processes and conversations relate.
    ///
    /// Of an unknown agent every MCP server it starts is a conversation of its own.
    #[must_use]
    pub fn model(&self) -> Model {
        self.facts().map_or(Model::OnePerConversation, |facts| facts.model)
    }

    /// Variables that hold the id of its conversation, best first. They are read only for this kind, because agents
    /// inherit each other's environment.
    #[must_use]
    pub fn id_variables(&self) -> &'static [&'static str] {
        self.facts().map_or(&[], |facts| facts.id_variables)
    }

    /// Whether a run with these arguments (program first) answers one prompt and ends, with nobody watching.
    #[must_use]
    pub fn headless_arguments(&self, arguments: &[String]) -> bool {
        self.facts().is_some_and(|facts| {
            arguments.iter().skip(1).any(|argument| facts.headless.contains(&argument.as_str()))
        })
    }

    /// File names of its program, best first.
    #[must_use]
    pub fn programs(&self) -> &'static [&'static str] {
        self.facts().map_or(&[], |facts| facts.programs)
    }

    /// Where its hooks write the id of the conversation, as JSON pointers, best first.
    pub(crate) fn conversation_fields(&self) -> &'static [&'static str] {
        self.facts().map_or(&["/session_id", "/sessionId", "/conversation_id"], |facts| facts.conversation)
    }

    fn facts(&self) -> Option<&'static Facts> {
        FACTS.iter().find(|facts| facts.kind == *self)
    }
}

impl fmt::Display for AgentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.label().fmt(f)
    }
}

/// Names of variables that agents leave in the environment of what they start.
pub fn sign_variables() -> impl Iterator<Item = &'static str> {
    FACTS.iter().flat_map(|facts| facts.signs.iter().copied())
}

fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}
