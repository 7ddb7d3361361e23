//! Cline CLI.

use std::path::PathBuf;

use serde_json::json;

use super::{Agent, HookPoint, Setup, Shows, Wiring, say};
use crate::kind::{AgentKind, Facts, Model};
use crate::wire::{JsonEntry, Wish};

/// Cline CLI: `~/.cline/data/settings/cline_mcp_settings.json`, and an executable for each hook in `~/.cline/hooks`.
#[derive(Debug)]
pub(crate) struct Cline;

const HOOKS: [HookPoint; 4] = [
    HookPoint::new("TaskStart", Shows::Nothing),
    HookPoint::new("TaskResume", Shows::Nothing),
    HookPoint::new("PostToolUse", Shows::Context),
    HookPoint::new("TaskComplete", Shows::Nothing),
];

impl Agent for Cline {
    fn kind(&self) -> AgentKind {
        AgentKind::Cline
    }

    fn title(&self) -> &'static str {
        "Cline"
    }

    fn tried(&self) -> Option<&'static str> {
        Some("3.0.65")
    }

    fn folder(&self, setup: &Setup) -> PathBuf {
        setup.user.join(".cline")
    }

    fn hooks(&self) -> &'static [HookPoint] {
        &HOOKS
    }

    fn wiring(&self, setup: &Setup) -> Wiring {
        let folder = self.folder(setup);
        let words = setup.program.words(&["mcp"]);
        let (command, args) =
            words.split_first().map_or_else(Default::default, |(first, rest)| (first.clone(), rest.to_vec()));
        let server = json!({ "transport": { "type": "stdio", "command": command, "args": args } });
        let mut wiring = Wiring {
            files: vec![Wish::json(
                folder.join("data/settings/cline_mcp_settings.json"),
                vec![JsonEntry::member(&["mcpServers"], "penpal", server)],
            )],
            remarks: Vec::new(),
        };
        for hook in &HOOKS {
            let command = setup.program.shell(&["hook", "cline", hook.event]);
            let path = folder.join("hooks").join(hook.event);
            match taken(&path) {
                // One event runs one file: whoever has it adds the line.
                Some(other) => wiring
                    .remarks
                    .push(format!("{} is not penpal's and stays; let it run: {command}", other.display())),
                None => wiring.files.push(Wish::whole(path, format!("#!/bin/sh\nexec {command}\n"), true)),
            }
        }
        wiring
    }

    fn say(&self, _event: &str, shows: Shows, text: &str) -> String {
        say::with_field("contextModification", None, shows, text)
    }

    fn inside_its_process(&self) -> &'static [(&'static str, &'static str)] {
        &[("CLINE_SESSION_BACKEND_MODE", "local")]
    }

    fn lacks(&self) -> &'static [&'static str] {
        &[
            "Mail shows only after a tool ran; a turn without one shows nothing.",
            "The end of a turn cannot be held, and closing its window runs no hook.",
        ]
    }
}

/// A file for this event that somebody else wrote.
fn taken(path: &std::path::Path) -> Option<PathBuf> {
    let (folder, event) = (path.parent()?, path.file_name()?.to_str()?);
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    entries.map(|entry| entry.path()).find(|found| {
        let same = found.file_stem().and_then(|stem| stem.to_str()) == Some(event);
        same && !std::fs::read_to_string(found).is_ok_and(|text| crate::wire::is_our_script(&text))
    })
}

pub(crate) const FACTS: Facts = Facts {
    kind: AgentKind::Cline,
    name: "cline",
    model: Model::OnePerConversation,
    conversation: &["/taskId", "/sessionContext/rootSessionId"],
    client_names: &["@cline/core"],
    client_prefixes: &[],
    programs: &["cline"],
    packages: &["@cline/cli"],
    id_variables: &[],
    signs: &["CLINE_CONNECTOR_CLI_LAUNCH"],
    headless: &[],
};
