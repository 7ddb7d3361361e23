//! The coding agents: names, variables and habits of each.

use std::fmt;

use penpal_protocol::text::Label;

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

/// What is known of one agent.
struct Facts {
    kind: AgentKind,
    name: &'static str,
    model: Model,
    /// What its MCP client calls itself: whole names.
    client_names: &'static [&'static str],
    /// What its MCP client calls itself: beginnings, where the server's name follows.
    client_prefixes: &'static [&'static str],
    /// File names of its program.
    programs: &'static [&'static str],
    /// Part of the path of its script or binary.
    packages: &'static [&'static str],
    /// Variables that hold the id of its conversation.
    id_variables: &'static [&'static str],
    /// Variables that stand in the environment of what it starts.
    signs: &'static [&'static str],
    /// Arguments of a run that nobody watches.
    headless: &'static [&'static str],
}

const FACTS: [Facts; 9] = [
    Facts {
        kind: AgentKind::ClaudeCode,
        name: "claude-code",
        model: Model::OnePerConversation,
        client_names: &["claude-code"],
        client_prefixes: &[],
        programs: &["claude"],
        packages: &["@anthropic-ai/claude-code"],
        id_variables: &["CLAUDE_CODE_SESSION_ID"],
        signs: &["CLAUDECODE", "CLAUDE_CODE_SESSION_ID", "CLAUDE_CODE_CHILD_SESSION"],
        headless: &["-p", "--print"],
    },
    Facts {
        kind: AgentKind::Codex,
        name: "codex",
        model: Model::Shared,
        client_names: &["codex-mcp-client"],
        client_prefixes: &[],
        programs: &["codex"],
        packages: &["@openai/codex"],
        id_variables: &[],
        signs: &[
            "CODEX_SANDBOX",
            "CODEX_SANDBOX_NETWORK_DISABLED",
            "CODEX_THREAD_ID",
            "CODEX_MANAGED_BY_NPM",
        ],
        headless: &["exec", "e"],
    },
    Facts {
        kind: AgentKind::Opencode,
        name: "opencode",
        model: Model::Shared,
        client_names: &["opencode"],
        client_prefixes: &[],
        programs: &["opencode"],
        packages: &["/opencode-ai/"],
        id_variables: &[],
        signs: &["OPENCODE", "OPENCODE_PID"],
        headless: &["run"],
    },
    Facts {
        kind: AgentKind::Gemini,
        name: "gemini",
        model: Model::OnePerConversation,
        client_names: &["gemini-cli-mcp-client"],
        client_prefixes: &["gemini-cli-mcp-client-"],
        programs: &["gemini"],
        packages: &["@google/gemini-cli"],
        id_variables: &["GEMINI_SESSION_ID"],
        signs: &["GEMINI_CLI", "GEMINI_SESSION_ID"],
        headless: &["-p", "--prompt"],
    },
    Facts {
        kind: AgentKind::Cursor,
        name: "cursor",
        model: Model::OnePerConversation,
        client_names: &["cursor-vscode", "cursor-agent"],
        client_prefixes: &[],
        programs: &["cursor-agent"],
        packages: &[],
        id_variables: &[],
        signs: &["CURSOR_AGENT"],
        headless: &["-p", "--print"],
    },
    Facts {
        kind: AgentKind::Cline,
        name: "cline",
        model: Model::OnePerConversation,
        client_names: &["@cline/core"],
        client_prefixes: &[],
        programs: &["cline"],
        packages: &["@cline/cli"],
        id_variables: &[],
        signs: &["CLINE_CONNECTOR_CLI_LAUNCH"],
        headless: &[],
    },
    Facts {
        kind: AgentKind::Grok,
        name: "grok",
        model: Model::OnePerConversation,
        client_names: &[],
        client_prefixes: &["grok-shell-"],
        programs: &["grok"],
        packages: &["@xai-official/grok"],
        id_variables: &["GROK_SESSION_ID"],
        signs: &["GROK_SESSION_ID"],
        headless: &["-p", "--print", "--prompt"],
    },
    Facts {
        kind: AgentKind::Copilot,
        name: "copilot",
        model: Model::OnePerConversation,
        client_names: &["copilot-cli"],
        client_prefixes: &[],
        programs: &["copilot"],
        packages: &["@github/copilot"],
        id_variables: &["COPILOT_AGENT_SESSION_ID"],
        signs: &["COPILOT_AGENT_SESSION_ID", "COPILOT_CLI", "COPILOT_LOADER_PID"],
        headless: &["-p", "--prompt"],
    },
    Facts {
        kind: AgentKind::Qwen,
        name: "qwen",
        model: Model::OnePerConversation,
        client_names: &[],
        client_prefixes: &["qwen-cli-mcp-client"],
        programs: &["qwen"],
        packages: &["@qwen-code/qwen-code"],
        id_variables: &[],
        signs: &["QWEN_CODE", "QWEN_CODE_NO_RELAUNCH"],
        headless: &["-p", "--prompt"],
    },
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
