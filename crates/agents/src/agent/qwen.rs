//! Qwen Code.

use std::path::PathBuf;

use super::{Agent, HookPoint, Setup, Shows, Wiring};
use crate::kind::{AgentKind, Facts, Model};
use crate::wire::{JsonEntry, Wish, hook_group, mcp_plain};

/// Qwen Code: `~/.qwen/settings.json`, laid out as Gemini's, with events named as Claude Code's.
#[derive(Debug)]
pub(crate) struct Qwen;

const HOOKS: [HookPoint; 5] = [
    HookPoint::new("SessionStart", Shows::Context),
    HookPoint::new("UserPromptSubmit", Shows::Context),
    HookPoint::new("PostToolUse", Shows::Context),
    HookPoint::new("Stop", Shows::Hold),
    HookPoint::new("SessionEnd", Shows::Nothing),
];

const TIMEOUT_MS: u32 = 5_000;

impl Agent for Qwen {
    fn kind(&self) -> AgentKind {
        AgentKind::Qwen
    }

    fn title(&self) -> &'static str {
        "Qwen Code"
    }

    fn tried(&self) -> Option<&'static str> {
        Some("0.15.10")
    }

    fn folder(&self, setup: &Setup) -> PathBuf {
        setup.user.join(".qwen")
    }

    fn hooks(&self) -> &'static [HookPoint] {
        &HOOKS
    }

    fn wiring(&self, setup: &Setup) -> Wiring {
        let mut entries = vec![JsonEntry::member(&["mcpServers"], "penpal", mcp_plain(&setup.program))];
        entries.extend(HOOKS.iter().map(|hook| {
            let command = setup.program.shell(&["hook", "qwen", hook.event]);
            JsonEntry::element(&["hooks", hook.event], hook_group(Some("*"), &command, TIMEOUT_MS))
        }));
        let files = vec![Wish::json(self.folder(setup).join("settings.json"), entries)];
        Wiring { files, remarks: Vec::new() }
    }

    fn lacks(&self) -> &'static [&'static str] {
        &[
            "`qwen -p` runs no start and no end hook.",
            "It does not show what an MCP server says of itself; the tools' own descriptions must do.",
            "It has no inbox of its own: an idle session wakes only under `penpal run qwen`.",
        ]
    }

    /// It says so at the first stop already.
    fn tells_second_stop(&self) -> bool {
        false
    }
}

pub(crate) const FACTS: Facts = Facts {
    kind: AgentKind::Qwen,
    name: "qwen",
    model: Model::OnePerConversation,
    conversation: &["/session_id"],
    client_names: &[],
    client_prefixes: &["qwen-cli-mcp-client"],
    programs: &["qwen"],
    packages: &["@qwen-code/qwen-code"],
    id_variables: &[],
    signs: &["QWEN_CODE", "QWEN_CODE_NO_RELAUNCH"],
    headless: &["-p", "--prompt"],
};
