//! Gemini CLI.

use std::path::PathBuf;

use super::{Agent, HookPoint, Setup, Shows, Wiring};
use crate::kind::{AgentKind, Facts, Model};
use crate::wire::{JsonEntry, Wish, hook_group, mcp_plain};

/// Gemini CLI: `~/.gemini/settings.json`.
#[derive(Debug)]
pub(crate) struct Gemini;

const HOOKS: [HookPoint; 5] = [
    HookPoint::new("SessionStart", Shows::Context),
    HookPoint::new("BeforeAgent", Shows::Context),
    HookPoint::new("AfterTool", Shows::Context),
    HookPoint::new("AfterAgent", Shows::Hold),
    HookPoint::new("SessionEnd", Shows::Nothing),
];

const TIMEOUT_MS: u32 = 5_000;

impl Agent for Gemini {
    fn kind(&self) -> AgentKind {
        AgentKind::Gemini
    }

    fn title(&self) -> &'static str {
        "Gemini CLI"
    }

    fn tried(&self) -> Option<&'static str> {
        Some("0.61.0")
    }

    fn folder(&self, setup: &Setup) -> PathBuf {
        setup.user.join(".gemini")
    }

    fn hooks(&self) -> &'static [HookPoint] {
        &HOOKS
    }

    fn wiring(&self, setup: &Setup) -> Wiring {
        let mut entries = vec![JsonEntry::member(&["mcpServers"], "penpal", mcp_plain(&setup.program))];
        entries.extend(HOOKS.iter().map(|hook| {
            let command = setup.program.shell(&["hook", "gemini", hook.event]);
            JsonEntry::element(&["hooks", hook.event], hook_group(Some("*"), &command, TIMEOUT_MS))
        }));
        let files = vec![Wish::json(self.folder(setup).join("settings.json"), entries)];
        Wiring { files, remarks: Vec::new() }
    }

    fn lacks(&self) -> &'static [&'static str] {
        &[
            "It has no inbox of its own: an idle session wakes only under `penpal run gemini`.",
            "It shows results of MCP tools as untrusted context, and the model follows nothing in them.",
        ]
    }
}

pub(crate) const FACTS: Facts = Facts {
    kind: AgentKind::Gemini,
    name: "gemini",
    model: Model::OnePerConversation,
    conversation: &["/session_id"],
    client_names: &["gemini-cli-mcp-client"],
    client_prefixes: &["gemini-cli-mcp-client-"],
    programs: &["gemini"],
    packages: &["@google/gemini-cli"],
    id_variables: &["GEMINI_SESSION_ID"],
    signs: &["GEMINI_CLI", "GEMINI_SESSION_ID"],
    headless: &["-p", "--prompt"],
};
