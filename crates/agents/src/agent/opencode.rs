//! opencode.

use std::path::PathBuf;

use serde_json::json;

use super::{Agent, HookPoint, Setup, Shows, Wake, Wiring, Woken, say};
use crate::kind::{AgentKind, Facts, Model};
use crate::wire::{JsonEntry, Wish};

/// opencode: `~/.config/opencode/opencode.json` (or `.jsonc`) and a plugin beside it, which takes the place of hooks.
#[derive(Debug)]
pub(crate) struct Opencode;

const HOOKS: [HookPoint; 5] = [
    HookPoint::new("event:session.created", Shows::Nothing),
    HookPoint::new("chat.message", Shows::Context),
    HookPoint::new("tool.execute.after", Shows::Nothing),
    HookPoint::new("event:session.idle", Shows::Hold),
    HookPoint::new("event:session.deleted", Shows::Nothing),
];

/// The plugin; `PENPAL_COMMAND` in it becomes the command as a JSON array.
const PLUGIN: &str = include_str!("opencode.plugin.js");

impl Agent for Opencode {
    fn kind(&self) -> AgentKind {
        AgentKind::Opencode
    }

    fn title(&self) -> &'static str {
        "opencode"
    }

    fn tried(&self) -> Option<&'static str> {
        Some("1.18.33")
    }

    fn folder(&self, setup: &Setup) -> PathBuf {
        setup.folder("XDG_CONFIG_HOME", ".config").join("opencode")
    }

    fn hooks(&self) -> &'static [HookPoint] {
        &HOOKS
    }

    fn wiring(&self, setup: &Setup) -> Wiring {
        let folder = self.folder(setup);
        let commented = folder.join("opencode.jsonc");
        let config = if commented.exists() { commented } else { folder.join("opencode.json") };
        let server = json!({ "type": "local", "command": setup.program.words(&["mcp"]), "enabled": true });
        let command = json!(setup.program.words(&["hook", "opencode"])).to_string();
        let files = vec![
            Wish::json(config, vec![JsonEntry::member(&["mcp"], "penpal", server)]),
            Wish::whole(folder.join("plugin/penpal.js"), PLUGIN.replace("PENPAL_COMMAND", &command), false),
        ];
        Wiring { files, remarks: Vec::new() }
    }

    fn say(&self, _event: &str, shows: Shows, text: &str) -> String {
        say::with_field("context", Some("prompt"), shows, text)
    }

    fn wakes(&self) -> &'static [Wake] {
        &[Wake::Plugin]
    }

    /// The plugin gives it to the conversation as a prompt.
    fn wake(&self, text: &str) -> Woken {
        let out = say::with_field("context", Some("prompt"), Shows::Hold, text);
        Woken { out, error: String::new(), status: 0 }
    }

    /// The plugin starts a turn with it, which may fail: the conversation may just end.
    fn gives_back(&self, shows: Shows) -> bool {
        shows == Shows::Hold
    }

    fn lacks(&self) -> &'static [&'static str] {
        &[
            "Mail is not shown within a running turn.",
            "One MCP server serves all its conversations: the plugin adds to each call which one it is.",
        ]
    }
}

pub(crate) const FACTS: Facts = Facts {
    kind: AgentKind::Opencode,
    name: "opencode",
    model: Model::Shared,
    conversation: &["/sessionID", "/input/sessionID"],
    client_names: &["opencode"],
    client_prefixes: &[],
    programs: &["opencode"],
    packages: &["/opencode-ai/"],
    id_variables: &[],
    signs: &["OPENCODE", "OPENCODE_PID"],
    headless: &["run"],
};
