//! Codex CLI.

use std::path::{Path, PathBuf};

use penpal_local_api::wake::WakeOffer;

use super::{Agent, HookPoint, Setup, Shows, Wake, Wiring};
use crate::evidence::Environment;
use crate::kind::{AgentKind, Facts, Model};
use crate::wire::{JsonEntry, Wish, hook_group};

/// Codex: `~/.codex/config.toml`, `~/.codex/hooks.json`; `CODEX_HOME` moves them.
///
/// It runs a hook only once a person trusted its exact command string, so that string is the same in every version of penpal.
#[derive(Debug)]
pub(crate) struct Codex;

const HOOKS: [HookPoint; 5] = [
    HookPoint::new("SessionStart", Shows::Context),
    HookPoint::new("UserPromptSubmit", Shows::Context),
    HookPoint::new("PostToolUse", Shows::Context),
    HookPoint::new("Stop", Shows::Hold),
    HookPoint::new("SessionEnd", Shows::Nothing),
];

/// Seconds; it allows its last hook no more than 3.
const TIMEOUT_SECONDS: u32 = 3;

impl Agent for Codex {
    fn kind(&self) -> AgentKind {
        AgentKind::Codex
    }

    fn title(&self) -> &'static str {
        "Codex"
    }

    fn tried(&self) -> Option<&'static str> {
        Some("0.169.0")
    }

    fn folder(&self, setup: &Setup) -> PathBuf {
        setup.folder("CODEX_HOME", ".codex")
    }

    fn hooks(&self) -> &'static [HookPoint] {
        &HOOKS
    }

    fn wiring(&self, setup: &Setup) -> Wiring {
        let folder = self.folder(setup);
        let hooks = HOOKS
            .iter()
            .map(|hook| {
                let command = setup.program.shell(&["hook", "codex", hook.event]);
                JsonEntry::element(&["hooks", hook.event], hook_group(None, &command, TIMEOUT_SECONDS))
            })
            .collect();
        let files = vec![
            Wish::toml_server(folder.join("config.toml"), &setup.program),
            Wish::json(folder.join("hooks.json"), hooks),
        ];
        let remarks = vec![
            "open codex once and approve the hooks: until then penpal reaches it only through MCP".to_owned(),
        ];
        Wiring { files, remarks }
    }

    fn wakes(&self) -> &'static [Wake] {
        &[Wake::QueueCommand]
    }

    /// `codex queue`, of the very program that runs.
    fn offers(&self, environment: &Environment, program: Option<&Path>) -> Vec<WakeOffer> {
        let program = program.and_then(Path::to_str).filter(|path| path.starts_with('/'));
        let folder = environment.get("CODEX_HOME").cloned();
        program.map(|path| WakeOffer::Queue { program: path.to_owned(), folder }).into_iter().collect()
    }

    fn lacks(&self) -> &'static [&'static str] {
        &[
            "Hooks run only once they were approved in its own window; `codex exec` leaves unapproved ones out without a word.",
            "Closing its window runs no hook: a session that gave no sign for ten minutes is shown as `unknown`.",
            "With `approval_policy = \"never\"` it refuses `send`, which is no reading tool.",
        ]
    }
}

pub(crate) const FACTS: Facts = Facts {
    kind: AgentKind::Codex,
    name: "codex",
    model: Model::Shared,
    conversation: &["/session_id"],
    client_names: &["codex-mcp-client"],
    client_prefixes: &[],
    programs: &["codex"],
    packages: &["@openai/codex"],
    id_variables: &[],
    signs: &["CODEX_SANDBOX", "CODEX_SANDBOX_NETWORK_DISABLED", "CODEX_THREAD_ID", "CODEX_MANAGED_BY_NPM"],
    headless: &["exec", "e"],
};
