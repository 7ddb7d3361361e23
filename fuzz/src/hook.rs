//! What agents write: input of hooks, `_meta` of calls, names of clients; and the decision who is calling.

use std::collections::BTreeMap;

use penpal_agents::{
    caller::{Decision, KnownSession, Occasion, decide, inside_agent},
    evidence::{
        Surroundings, conversation_in_meta,
        process::{Found, ProcessTable},
    },
    hook::{HookEvent, HookReport},
    kind::AgentKind,
};
use penpal_local_api::caller::{Caller, Process};
use penpal_protocol::ids::SessionId;
use serde_json::Value;

/// Events of all agents, and one of none.
const EVENTS: [&str; 12] = [
    "SessionStart",
    "UserPromptSubmit",
    "PreToolUse",
    "Stop",
    "SessionEnd",
    "event:session.created",
    "event:session.status",
    "chat.message",
    "TaskResume",
    "beforeSubmitPrompt",
    "agentStop",
    "Unheard",
];

/// The first two bytes choose agent and event; the rest is what it wrote.
pub fn check(data: &[u8]) {
    let Some(([agent, event], rest)) = data.split_first_chunk::<2>() else { return };
    let kinds: Vec<AgentKind> = AgentKind::known().collect();
    let text = String::from_utf8_lossy(rest);
    let kind = kinds.get(usize::from(*agent)).cloned().unwrap_or_else(|| AgentKind::from_client_name(&text));
    assert_eq!(AgentKind::from_label(&kind.label()), kind, "a kind is written as another");
    let Ok(input) = serde_json::from_slice::<Value>(rest) else { return };
    let report = HookReport::read(&kind, EVENTS[usize::from(*event) % EVENTS.len()], &input);
    assert!(report.conversation.as_deref() != Some("") && report.folder.as_deref() != Some(""));
    let around = Surroundings::new(&Above { kind: *agent }, 3, environment(&input), None);
    let meta = conversation_in_meta(Some(kind.label().as_str()), &input);
    assert!(meta.is_none_or(|found| !found.id.is_empty()));
    decided(&around.for_hook(&kind, &report), Occasion::Hook(report.event));
    decided(&around.for_mcp(&text, None, Some(&input)), Occasion::McpCall);
    decided(&around.for_mcp(kind.label().as_str(), Some(&text), None), Occasion::McpStart);
    decided(&around.for_command(), Occasion::Command);
}

/// Variables, as an agent's own JSON names them.
fn environment(input: &Value) -> BTreeMap<String, String> {
    let fields = input.as_object().into_iter().flatten();
    fields.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// Process 3 was started by an agent, that by a shell.
struct Above {
    kind: u8,
}

impl ProcessTable for Above {
    fn look(&self, pid: u32) -> Option<Found> {
        let program = ["claude", "codex", "gemini", "opencode", "zsh", "node"];
        let name = match pid {
            2 => program[usize::from(self.kind) % program.len()],
            1 => "-zsh",
            3 => "penpal",
            _ => return None,
        };
        Some(Found {
            process: Process { pid, started: u64::from(pid) },
            parent: pid - 1,
            arguments: vec![name.to_owned()],
        })
    }
}

/// The decision names only sessions that there are.
fn decided(caller: &Caller, occasion: Occasion) {
    let conversation = caller.conversation.as_ref().map(|found| found.id.clone());
    let agent = AgentKind::from_client_name(caller.agent.as_deref().unwrap_or("nobody"));
    let session = |number: u8, conversation: Option<(String, bool)>, live| KnownSession {
        session: SessionId::from_bytes([number; 16]),
        agent: agent.clone(),
        conversation,
        earlier: vec!["earlier".to_owned()],
        processes: caller.client.into_iter().collect(),
        live,
    };
    let histories = [
        vec![],
        vec![session(1, None, true)],
        vec![session(1, conversation.clone().map(|id| (id, true)), true)],
        vec![
            session(1, Some(("other".to_owned(), false)), true),
            session(2, conversation.map(|id| (id, false)), false),
        ],
    ];
    for known in histories {
        let inside = inside_agent(caller, &known);
        assert!(!inside || !known.is_empty() || !caller.agent_variables.is_empty());
        let is_known = |id: SessionId| known.iter().any(|one| one.session == id);
        match decide(caller, occasion, &known) {
            Decision::Known { session } => assert!(is_known(session)),
            Decision::Bind { session, absorb, .. } => {
                assert!(is_known(session) && absorb.is_none_or(|other| is_known(other) && other != session));
            }
            Decision::NeedsId { candidates, .. } => assert!(candidates.into_iter().all(is_known)),
            Decision::New { .. } => {
                assert!(!matches!(occasion, Occasion::Hook(HookEvent::End)), "a session out of an end");
            }
            Decision::Outside | Decision::Nothing => {}
        }
    }
}
