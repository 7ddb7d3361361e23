//! GitHub Copilot CLI.

use std::path::PathBuf;

use serde_json::json;

use super::{Agent, HookPoint, Setup, Shows, Wiring, say};
use crate::kind::{AgentKind, Facts, Model};
use crate::wire::{JsonEntry, Wish};

/// Copilot CLI: `~/.copilot/mcp-config.json`, `~/.copilot/hooks/penpal.json`.
#[derive(Debug)]
pub(crate) struct Copilot;

const HOOKS: [HookPoint; 5] = [
    HookPoint::new("sessionStart", Shows::Context),
    HookPoint::new("userPromptSubmitted", Shows::Context),
    HookPoint::new("postToolUse", Shows::Context),
    HookPoint::new("agentStop", Shows::Hold),
    HookPoint::new("sessionEnd", Shows::Nothing),
];

const TIMEOUT_SECONDS: u32 = 5;

impl Agent for Copilot {
    fn kind(&self) -> AgentKind {
        AgentKind::Copilot
    }

    fn title(&self) -> &'static str {
        "Copilot CLI"
    }

    fn tried(&self) -> Option<&'static str> {
        Some("1.0.102")
    }

    fn folder(&self, setup: &Setup) -> PathBuf {
        setup.user.join(".copilot")
    }

    fn hooks(&self) -> &'static [HookPoint] {
        &HOOKS
    }

    fn wiring(&self, setup: &Setup) -> Wiring {
        let folder = self.folder(setup);
        let words = setup.program.words(&["mcp"]);
        let (command, args) =
            words.split_first().map_or_else(Default::default, |(first, rest)| (first.clone(), rest.to_vec()));
        let server = json!({ "type": "local", "command": command, "args": args, "env": {}, "tools": ["*"] });
        let mut hooks = serde_json::Map::new();
        for hook in &HOOKS {
            let command = setup.program.shell(&["hook", "copilot", hook.event]);
            let entry = json!({ "type": "command", "bash": command, "timeoutSec": TIMEOUT_SECONDS });
            hooks.insert(hook.event.to_owned(), json!([entry]));
        }
        let text = format!("{:#}\n", json!({ "version": 1, "hooks": hooks }));
        let server = JsonEntry::member(&["mcpServers"], "penpal", server);
        let files = vec![
            Wish::json(folder.join("mcp-config.json"), vec![server]),
            Wish::whole(folder.join("hooks/penpal.json"), text, false),
        ];
        Wiring { files, remarks: Vec::new() }
    }

    fn say(&self, event: &str, shows: Shows, text: &str) -> String {
        match shows {
            Shows::Hold => say::like_claude(event, shows, text),
            Shows::Context | Shows::Nothing => say::with_field("additionalContext", None, shows, text),
        }
    }

    fn lacks(&self) -> &'static [&'static str] {
        &[
            "It does not show what an MCP server says of itself; the tools' own descriptions must do.",
            "It has no inbox of its own: an idle session wakes only under `penpal run copilot`.",
        ]
    }
}

pub(crate) const FACTS: Facts = Facts {
    kind: AgentKind::Copilot,
    name: "copilot",
    model: Model::OnePerConversation,
    conversation: &["/sessionId"],
    client_names: &["copilot-cli"],
    client_prefixes: &[],
    programs: &["copilot"],
    packages: &["@github/copilot"],
    id_variables: &["COPILOT_AGENT_SESSION_ID"],
    signs: &["COPILOT_AGENT_SESSION_ID", "COPILOT_CLI", "COPILOT_LOADER_PID"],
    headless: &["-p", "--prompt"],
};
