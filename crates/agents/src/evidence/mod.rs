//! What a hook, an MCP server or a command finds out about its caller. Nothing here decides anything.
//!
//! | module | looks at |
//! | --- | --- |
//! | [`process`] | the processes above the caller |
//! | [`git`] | repository and worktree of a folder, by reading `.git`, without running git |
//!
//! ```no_run
//! use penpal_agents::evidence::{Environment, Surroundings};
//! let surroundings = Surroundings::of_this_process(None);
//! let caller = surroundings.for_command();
//! ```

pub mod git;
pub mod process;
#[cfg(all(test, target_os = "linux"))]
#[path = "process_ps.rs"]
#[expect(unreachable_pub, reason = "it is public on systems where it is the process table")]
mod process_ps;
#[cfg(any(test, not(target_os = "linux")))]
mod ps;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use penpal_local_api::caller::{Caller, Conversation, ConversationSource, Process, Via};
use penpal_local_api::wake::WakeOffer;
use penpal_protocol::text::Label;
use serde_json::Value;

use crate::hook::HookReport;
use crate::kind::{self, AgentKind, Model};
use process::{ProcessTable, SystemProcesses};

/// Most processes above the caller that are looked at.
pub const MAX_ANCESTORS: usize = 32;

/// Variable in which a person wants a name for a session.
pub const NAME_VARIABLE: &str = "PENPAL_SESSION";

/// Variable by which `penpal run` is known to what it started: the agent's name, the supervisor's process id and what names the run, with
/// dots between.
pub const RUN_VARIABLE: &str = "PENPAL_RUN";

/// Programs that only start another one: between an agent and what it started they do not count.
const LAUNCHERS: [&str; 22] = [
    "sh", "bash", "dash", "zsh", "fish", "ash", "ksh", "busybox", "env", "timeout", "nice", "nohup",
    "setsid", "stdbuf", "npx", "npm", "bunx", "pnpm", "mise", "direnv", "cmd.exe", "xargs",
];

/// Environment variables; those whose name or value is not UTF-8 are absent.
pub type Environment = BTreeMap<String, String>;

/// A process above the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ancestor {
    process: Process,
    kind: Option<AgentKind>,
    launcher: bool,
    headless: bool,
}

/// Where a process stands: what is above it, around it and under which folder it works.
#[derive(Debug, Clone)]
pub struct Surroundings {
    own: Option<Process>,
    /// Nearest first.
    ancestors: Vec<Ancestor>,
    environment: Environment,
    folder: Option<PathBuf>,
}

impl Surroundings {
    /// Looks around this process. `folder` is used instead of the working folder when given.
    #[must_use]
    pub fn of_this_process(folder: Option<&Path>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let folder = folder.map(Path::to_path_buf).or_else(|| std::env::current_dir().ok());
        Self::new(&SystemProcesses::new(), std::process::id(), environment, folder)
    }

    /// Looks around a process of a table.
    #[must_use]
    pub fn new(
        table: &dyn ProcessTable,
        pid: u32,
        environment: Environment,
        folder: Option<PathBuf>,
    ) -> Self {
        let own = table.look(pid);
        let mut ancestors: Vec<Ancestor> = Vec::new();
        let mut next = own.as_ref().map(|found| found.parent);
        while let Some(pid) = next.filter(|pid| *pid > 0 && ancestors.len() < MAX_ANCESTORS) {
            let seen = ancestors.iter().any(|ancestor| ancestor.process.pid == pid);
            let Some(found) = table.look(pid).filter(|_| !seen) else { break };
            let kind = AgentKind::from_arguments(&found.arguments);
            let program = found.arguments.first().map_or("", String::as_str);
            // A login shell's name begins with a dash.
            let program = program.rsplit('/').next().unwrap_or(program).trim_start_matches('-');
            ancestors.push(Ancestor {
                process: found.process,
                headless: kind.as_ref().is_some_and(|kind| kind.headless_arguments(&found.arguments)),
                launcher: kind.is_none() && LAUNCHERS.contains(&program),
                kind,
            });
            next = Some(found.parent);
        }
        Self { own: own.map(|found| found.process), ancestors, environment, folder }
    }

    /// Evidence of a hook that an agent ran: `agent` from its argument, `report` from its standard input.
    ///
    /// Grok runs hooks that were installed for Claude Code; such a report becomes Grok's, so that one conversation never gets two sessions.
    #[must_use]
    pub fn for_hook(&self, agent: &AgentKind, report: &HookReport) -> Caller {
        let grok = self.environment.get("GROK_SESSION_ID");
        let runs_in_grok = self.starter().and_then(|starter| starter.kind.as_ref()) == Some(&AgentKind::Grok);
        let is_grok = runs_in_grok && grok.is_some() && grok == report.conversation.as_ref();
        let agent = if is_grok { &AgentKind::Grok } else { agent };
        let folder = report.folder.as_deref().map(Path::new);
        let mut caller = self.base(Some(agent), folder);
        caller.client = self.started_by(agent).map(|ancestor| ancestor.process);
        caller.headless = self.headless(agent);
        caller.wakes = self.wakes(agent, caller.headless);
        caller.conversation = report
            .conversation
            .clone()
            .map(|id| Conversation { id, source: ConversationSource::Hook })
            .or_else(|| self.guess(agent));
        caller
    }

    /// Evidence of an MCP server: `client` and `version` from what its client calls itself, `meta` from the call; `None`
    /// stands for a start, a call without `_meta` is `Some(&Value::Null)`.
    ///
    /// The process above counts as the client only when it is that agent's program. Otherwise the server's own process
    /// stands for it: a server on standard input and output has exactly one client.
    #[must_use]
    pub fn for_mcp(&self, client: &str, version: Option<&str>, meta: Option<&Value>) -> Caller {
        let agent = AgentKind::from_client_name(client);
        let mut caller = self.base(Some(&agent), None);
        caller.via = if meta.is_some() { Via::McpCall } else { Via::McpStart };
        caller.agent_version = version.map(str::to_owned);
        caller.client = self.started_by(&agent).map(|ancestor| ancestor.process).or(self.own);
        caller.headless = self.headless(&agent) || meta.is_some_and(|meta| unwatched_call(&agent, meta));
        caller.wakes = self.wakes(&agent, caller.headless);
        caller.conversation =
            meta.and_then(|meta| conversation_of_call(&agent, meta)).or_else(|| self.guess(&agent));
        caller
    }

    /// Evidence of a command: its agent is the nearest one above it; without one, a person's.
    #[must_use]
    pub fn for_command(&self) -> Caller {
        let nearest = self.ancestors.iter().find(|ancestor| ancestor.kind.is_some());
        let agent = nearest.and_then(|ancestor| ancestor.kind.as_ref());
        let mut caller = self.base(agent, None);
        caller.client = nearest.map(|ancestor| ancestor.process);
        if let Some(agent) = agent {
            caller.headless = self.headless(agent);
            caller.conversation = self.guess(agent);
        }
        caller
    }

    fn base(&self, agent: Option<&AgentKind>, folder: Option<&Path>) -> Caller {
        let folder = folder.or(self.folder.as_deref());
        let canonical = folder.map(|folder| folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf()));
        let found = canonical.as_deref().and_then(git::worktree_of);
        let text = |path: &Path| path.to_str().map(str::to_owned);
        let wanted = self.environment.get(NAME_VARIABLE).filter(|name| !name.trim().is_empty());
        Caller {
            via: Via::Command,
            agent: agent.map(|agent| agent.label().as_str().to_owned()),
            agent_version: None,
            client: None,
            ancestors: self.ancestors.iter().map(|ancestor| ancestor.process).collect(),
            conversation: None,
            folder: canonical.as_deref().and_then(text),
            repository: found.as_ref().and_then(|found| text(&found.repository)),
            worktree: found.as_ref().and_then(|found| text(&found.worktree)),
            wanted_name: wanted.map(|name| Label::reduce(name, "session").as_str().to_owned()),
            headless: false,
            wakes: Vec::new(),
            agent_variables: kind::sign_variables()
                .filter(|name| self.environment.contains_key(*name))
                .map(str::to_owned)
                .collect(),
        }
    }

    /// How the agent's session can be woken, as its surroundings say. A run that nobody watches ends by itself and is never woken.
    fn wakes(&self, agent: &AgentKind, headless: bool) -> Vec<WakeOffer> {
        if headless {
            return Vec::new();
        }
        let program = self
            .ancestors
            .iter()
            .find(|ancestor| ancestor.kind.as_ref() == Some(agent))
            .and_then(|ancestor| process::executable(ancestor.process.pid));
        let known = crate::agent::of(agent);
        let mut offers =
            known.map_or_else(Vec::new, |agent| agent.offers(&self.environment, program.as_deref()));
        // What is typed goes to whatever conversation the window shows: where a process runs many, it could be another one.
        let alone = agent.model() == Model::OnePerConversation;
        let run = self.environment.get(RUN_VARIABLE).filter(|run| alone && self.sits_at(run, agent));
        offers.extend(run.map(|run| WakeOffer::Terminal { run: run.clone() }));
        offers
    }

    /// Whether this agent runs below the supervisor of a terminal. The variable alone says little: what an agent starts inherits it, another
    /// kind of agent too, and a terminal multiplexer with all that is ever opened in it.
    fn sits_at(&self, run: &str, agent: &AgentKind) -> bool {
        let mut parts = run.splitn(3, '.');
        let kind = parts.next() == Some(agent.label().as_str());
        let supervisor = parts.next().and_then(|pid| pid.parse().ok());
        let above = |pid: u32| self.ancestors.iter().any(|ancestor| ancestor.process.pid == pid);
        kind && supervisor.is_some_and(above) && run.len() <= 64
    }

    /// The process that started this one, launchers aside.
    fn starter(&self) -> Option<&Ancestor> {
        self.ancestors.iter().find(|ancestor| !ancestor.launcher)
    }

    fn started_by(&self, agent: &AgentKind) -> Option<&Ancestor> {
        self.starter().filter(|starter| starter.kind.as_ref() == Some(agent))
    }

    /// The id in the environment, read only for this agent.
    fn guess(&self, agent: &AgentKind) -> Option<Conversation> {
        let id = agent.id_variables().iter().find_map(|name| self.environment.get(*name))?;
        let source = ConversationSource::Environment;
        (!id.is_empty()).then(|| Conversation { id: id.clone(), source })
    }

    fn headless(&self, agent: &AgentKind) -> bool {
        if *agent == AgentKind::ClaudeCode {
            let variable = |name: &str| self.environment.get(name).map(String::as_str);
            match (variable("CLAUDE_CODE_ENTRYPOINT"), variable("CLAUDE_CODE_SESSION_ATTENDED")) {
                (_, Some("0")) | (Some("sdk-cli"), None) => return true,
                (_, Some(_)) | (Some(_), None) => return false,
                (None, None) => {}
            }
        }
        let nearest = self.ancestors.iter().find(|ancestor| ancestor.kind.as_ref() == Some(agent));
        // A shared process is one run only when it was started for it.
        nearest.is_some_and(|ancestor| ancestor.headless)
    }
}

/// Evidence of this process as a command.
#[must_use]
pub fn of_this_process() -> Caller {
    Surroundings::of_this_process(None).for_command()
}

/// Evidence of this process as an MCP server that started, for a client that calls itself `client`.
///
/// A server that serves calls keeps [`Surroundings`] and asks it for each: the process tree is read once.
#[must_use]
pub fn of_mcp_server(client: Option<&str>) -> Caller {
    Surroundings::of_this_process(None).for_mcp(client.unwrap_or_default(), None, None)
}

/// The conversation that the `_meta` of a call names, for an agent by its label.
#[must_use]
pub fn conversation_in_meta(agent: Option<&str>, meta: &Value) -> Option<Conversation> {
    let label = Label::new(agent?).ok()?;
    conversation_of_call(&AgentKind::from_label(&label), meta)
}

/// When a process started, if it is there; only compared for equality.
#[must_use]
pub fn process_started(pid: u32) -> Option<u64> {
    SystemProcesses::new().look(pid).map(|found| found.process.started)
}

/// Codex names the conversation with every call; the others say nothing of the kind.
fn conversation_of_call(agent: &AgentKind, meta: &Value) -> Option<Conversation> {
    let pointers: &[&str] = match agent {
        AgentKind::Codex => &["/threadId", "/sessionId", "/x-codex-turn-metadata/thread_id"],
        AgentKind::Opencode => &["/sessionID"],
        AgentKind::ClaudeCode
        | AgentKind::Gemini
        | AgentKind::Cursor
        | AgentKind::Cline
        | AgentKind::Grok
        | AgentKind::Copilot
        | AgentKind::Qwen
        | AgentKind::Other(_) => &[],
    };
    let id = pointers.iter().find_map(|pointer| meta.pointer(pointer).and_then(Value::as_str))?;
    (!id.is_empty()).then(|| Conversation { id: id.to_owned(), source: ConversationSource::Meta })
}

fn unwatched_call(agent: &AgentKind, meta: &Value) -> bool {
    *agent == AgentKind::Codex
        && meta.pointer("/x-codex-turn-metadata/turn_trigger").and_then(Value::as_str) == Some("exec")
}
