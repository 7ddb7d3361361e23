//! Claude Code.

use std::path::{Path, PathBuf};

use penpal_local_api::wake::WakeOffer;
use serde_json::json;

use super::{Agent, HookPoint, Setup, Shows, WAIT, Wake, Wiring, Woken};
use crate::evidence::Environment;
use crate::kind::{AgentKind, Facts, Model};
use crate::wire::{JsonEntry, Wish, hook_group, mcp_stdio};

/// Claude Code: `~/.claude.json`, `~/.claude/settings.json`; `CLAUDE_CONFIG_DIR` moves both into one folder.
#[derive(Debug)]
pub(crate) struct ClaudeCode;

const HOOKS: [HookPoint; 5] = [
    HookPoint::new("SessionStart", Shows::Context),
    HookPoint::new("UserPromptSubmit", Shows::Context),
    HookPoint::new("PostToolUse", Shows::Context),
    HookPoint::new("Stop", Shows::Hold),
    HookPoint::new("SessionEnd", Shows::Nothing),
];

/// Seconds after which it gives a hook up; ours ends within a quarter of one.
const TIMEOUT_SECONDS: u32 = 5;

/// Hooks after which one waits in the background: when a conversation begins, and again after every turn.
const WAITS: [&str; 2] = ["SessionStart", "Stop"];

/// Seconds after which it gives up a hook that waits in the background: a week.
const WAIT_SECONDS: u32 = 7 * 24 * 3600;

impl Agent for ClaudeCode {
    fn kind(&self) -> AgentKind {
        AgentKind::ClaudeCode
    }

    fn title(&self) -> &'static str {
        "Claude Code"
    }

    fn tried(&self) -> Option<&'static str> {
        Some("2.1.329")
    }

    fn folder(&self, setup: &Setup) -> PathBuf {
        setup.folder("CLAUDE_CONFIG_DIR", ".claude")
    }

    fn hooks(&self) -> &'static [HookPoint] {
        &HOOKS
    }

    fn wiring(&self, setup: &Setup) -> Wiring {
        let folder = self.folder(setup);
        let moved = setup.variables.contains_key("CLAUDE_CONFIG_DIR");
        let servers = if moved { folder.join(".claude.json") } else { setup.user.join(".claude.json") };
        let mut settings: Vec<JsonEntry> = HOOKS
            .iter()
            .map(|hook| {
                let command = setup.program.shell(&["hook", "claude-code", hook.event]);
                JsonEntry::element(&["hooks", hook.event], hook_group(None, &command, TIMEOUT_SECONDS))
            })
            .collect();
        settings.extend(WAITS.iter().map(|event| {
            let command = setup.program.shell(&["hook", "claude-code", WAIT]);
            let hook =
                json!({ "type": "command", "command": command, "timeout": WAIT_SECONDS, "asyncRewake": true });
            JsonEntry::element(&["hooks", event], json!({ "hooks": [hook] }))
        }));
        settings.push(JsonEntry::StatusLine { command: setup.program.shell(&["statusline"]) });
        let files = vec![
            Wish::json(
                servers,
                vec![JsonEntry::member(&["mcpServers"], "penpal", mcp_stdio(&setup.program))],
            ),
            Wish::json(folder.join("settings.json"), settings),
        ];
        Wiring { files, remarks: Vec::new() }
    }

    fn wakes(&self) -> &'static [Wake] {
        &[Wake::MessagingSocket, Wake::AsyncRewake, Wake::Channel, Wake::Terminal]
    }

    /// Its socket for messages between its own sessions. The format is private: only the versions that were tried count.
    fn offers(&self, environment: &Environment, _program: Option<&Path>) -> Vec<WakeOffer> {
        let version = environment.get("AI_AGENT").and_then(|agent| agent.strip_prefix("claude-code_"));
        // 2.1.329 is the oldest known to listen.
        let known = version.is_some_and(|version| {
            let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
            let mut parts = version.split(['.', '-', '_']).take(3).map(|part| digits(part).parse::<u32>().ok());
            let mut next = || parts.next().flatten();
            matches!((next(), next(), next()), (Some(2), Some(minor), Some(patch)) if (minor, patch) >= (1, 329))
        });
        let socket = environment.get("CLAUDE_CODE_MESSAGING_SOCKET").filter(|path| path.starts_with('/'));
        socket
            .filter(|_| known)
            .map(|socket| WakeOffer::NativeInbox { socket: socket.clone() })
            .into_iter()
            .collect()
    }

    /// A hook with `asyncRewake` that ends with status 2 starts a turn with what it wrote.
    fn wake(&self, text: &str) -> Woken {
        Woken { out: String::new(), error: text.to_owned(), status: 2 }
    }

    fn lacks(&self) -> &'static [&'static str] {
        &["Its tools are deferred: the model sees their names and searches for the rest."]
    }
}

pub(crate) const FACTS: Facts = Facts {
    kind: AgentKind::ClaudeCode,
    name: "claude-code",
    model: Model::OnePerConversation,
    conversation: &["/session_id"],
    client_names: &["claude-code"],
    client_prefixes: &[],
    programs: &["claude"],
    packages: &["@anthropic-ai/claude-code"],
    id_variables: &["CLAUDE_CODE_SESSION_ID"],
    signs: &["CLAUDECODE", "CLAUDE_CODE_SESSION_ID", "CLAUDE_CODE_CHILD_SESSION"],
    headless: &["-p", "--print"],
};
