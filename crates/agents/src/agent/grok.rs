//! Grok Build.

use std::path::PathBuf;

use serde_json::json;

use super::{Agent, HookPoint, Setup, Shows, Wiring};
use crate::kind::{AgentKind, Facts, Model};
use crate::wire::{Wish, hook_group};

/// Grok: `~/.grok/config.toml`, `~/.grok/hooks/penpal.json`. It reads Claude Code's files as well; where those are wired it needs nothing of its own.
#[derive(Debug)]
pub(crate) struct Grok;

const HOOKS: [HookPoint; 5] = [
    HookPoint::new("SessionStart", Shows::Nothing),
    HookPoint::new("UserPromptSubmit", Shows::Nothing),
    HookPoint::new("PostToolUse", Shows::Context),
    HookPoint::new("Stop", Shows::Hold),
    HookPoint::new("SessionEnd", Shows::Nothing),
];

const TIMEOUT_SECONDS: u32 = 5;

impl Agent for Grok {
    fn kind(&self) -> AgentKind {
        AgentKind::Grok
    }

    fn title(&self) -> &'static str {
        "Grok"
    }

    fn tried(&self) -> Option<&'static str> {
        Some("1.0.41")
    }

    fn folder(&self, setup: &Setup) -> PathBuf {
        setup.user.join(".grok")
    }

    fn hooks(&self) -> &'static [HookPoint] {
        &HOOKS
    }

    fn wiring(&self, setup: &Setup) -> Wiring {
        let folder = self.folder(setup);
        let mut hooks = serde_json::Map::new();
        for hook in &HOOKS {
            let command = setup.program.shell(&["hook", "grok", hook.event]);
            hooks.insert(hook.event.to_owned(), json!([hook_group(None, &command, TIMEOUT_SECONDS)]));
        }
        let text = format!("{:#}\n", json!({ "hooks": hooks }));
        let files = vec![
            Wish::toml_server(folder.join("config.toml"), &setup.program),
            Wish::whole(folder.join("hooks/penpal.json"), text, false),
        ];
        Wiring { files, remarks: Vec::new() }
    }

    fn lacks(&self) -> &'static [&'static str] {
        &[
            "It throws away what prompt and start hooks say: mail shows after a tool, or at the end of a turn when an ask waits.",
            "It has no inbox of its own: an idle session wakes only under `penpal run grok`.",
        ]
    }

    fn covered_by(&self) -> Option<AgentKind> {
        Some(AgentKind::ClaudeCode)
    }
}

pub(crate) const FACTS: Facts = Facts {
    kind: AgentKind::Grok,
    name: "grok",
    model: Model::OnePerConversation,
    conversation: &["/sessionId", "/session_id"],
    client_names: &[],
    client_prefixes: &["grok-shell-"],
    programs: &["grok"],
    packages: &["@xai-official/grok"],
    id_variables: &["GROK_SESSION_ID"],
    signs: &["GROK_SESSION_ID"],
    headless: &["-p", "--print", "--prompt"],
};
