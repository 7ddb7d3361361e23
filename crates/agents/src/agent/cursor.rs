//! Cursor, from its documentation: it could not be run.

use std::path::PathBuf;

use serde_json::json;

use super::{Agent, HookPoint, Setup, Shows, Wiring, say};
use crate::kind::{AgentKind, Facts, Model};
use crate::wire::{JsonEntry, Wish, mcp_plain};

/// Cursor: `~/.cursor/mcp.json`, `~/.cursor/hooks.json`.
#[derive(Debug)]
pub(crate) struct Cursor;

const HOOKS: [HookPoint; 5] = [
    HookPoint::new("sessionStart", Shows::Context),
    HookPoint::new("beforeSubmitPrompt", Shows::Nothing),
    HookPoint::new("postToolUse", Shows::Context),
    HookPoint::new("stop", Shows::Hold),
    HookPoint::new("sessionEnd", Shows::Nothing),
];

const TIMEOUT_SECONDS: u32 = 5;

impl Agent for Cursor {
    fn kind(&self) -> AgentKind {
        AgentKind::Cursor
    }

    fn title(&self) -> &'static str {
        "Cursor"
    }

    fn tried(&self) -> Option<&'static str> {
        None
    }

    fn folder(&self, setup: &Setup) -> PathBuf {
        setup.user.join(".cursor")
    }

    fn hooks(&self) -> &'static [HookPoint] {
        &HOOKS
    }

    fn wiring(&self, setup: &Setup) -> Wiring {
        let folder = self.folder(setup);
        let mut hooks = vec![JsonEntry::default("version", json!(1))];
        hooks.extend(HOOKS.iter().map(|hook| {
            let command = setup.program.shell(&["hook", "cursor", hook.event]);
            JsonEntry::element(
                &["hooks", hook.event],
                json!({ "command": command, "timeout": TIMEOUT_SECONDS }),
            )
        }));
        let server = JsonEntry::member(&["mcpServers"], "penpal", mcp_plain(&setup.program));
        let files = vec![
            Wish::json(folder.join("mcp.json"), vec![server]),
            Wish::json(folder.join("hooks.json"), hooks),
        ];
        Wiring { files, remarks: vec!["unverified: built from Cursor's documentation".to_owned()] }
    }

    fn say(&self, _event: &str, shows: Shows, text: &str) -> String {
        say::with_field("additional_context", Some("followup_message"), shows, text)
    }

    fn lacks(&self) -> &'static [&'static str] {
        &[
            "Unverified: it could not be run here, so all of this is from its documentation.",
            "A prompt takes no context: mail shows at the start, after a tool, and at the end of a turn.",
        ]
    }
}

pub(crate) const FACTS: Facts = Facts {
    kind: AgentKind::Cursor,
    name: "cursor",
    model: Model::OnePerConversation,
    conversation: &["/conversation_id", "/session_id"],
    client_names: &["cursor-vscode", "cursor-agent"],
    client_prefixes: &[],
    programs: &["cursor-agent"],
    packages: &[],
    id_variables: &[],
    signs: &["CURSOR_AGENT"],
    headless: &["-p", "--print"],
};
