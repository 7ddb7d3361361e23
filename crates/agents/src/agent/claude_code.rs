//! Claude Code.

use std::path::PathBuf;

use super::{Agent, HookPoint, Setup, Shows, Wake, Wiring};
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
