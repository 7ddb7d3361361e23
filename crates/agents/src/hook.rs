//! What an agent's hook says on its standard input: which conversation, what happened, where.

use serde_json::Value;

use crate::kind::AgentKind;

/// Longest standard input of a hook that is read, in bytes; tool results can be long.
pub const MAX_HOOK_INPUT_BYTES: usize = 4 * 1024 * 1024;

/// How a conversation started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StartKind {
    /// A new one.
    Startup,
    /// An earlier one goes on.
    Resume,
    /// The old one was cleared; the process goes on with an empty one.
    Clear,
    /// The old one was compacted.
    Compact,
    /// A copy of another one.
    Fork,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookEvent {
    /// A conversation starts or continues.
    Start(StartKind),
    /// A prompt was given.
    Prompt,
    /// Within a turn.
    Tool,
    /// The turn is over.
    Stop,
    /// The conversation is over.
    End,
    /// The conversation is over and its process goes on with another (`clear`, `resume`): a start follows.
    Replaced,
    /// Anything else.
    Other,
}

impl HookEvent {
    /// Whether nothing follows it: of a conversation that is not known, it makes no session.
    #[must_use]
    pub fn is_over(self) -> bool {
        match self {
            Self::Stop | Self::End | Self::Replaced => true,
            Self::Start(_) | Self::Prompt | Self::Tool | Self::Other => false,
        }
    }
}

/// What a hook reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookReport {
    /// The agent's id of the conversation.
    pub conversation: Option<String>,
    /// What happened.
    pub event: HookEvent,
    /// Working folder, absolute.
    pub folder: Option<String>,
    /// The turn that stops was held before.
    pub held_before: bool,
    /// Nonces of quotes in the prompt: it is a wake and not a person's, if one of them is alive.
    pub nonces: Vec<String>,
}

impl HookReport {
    /// Reads what an agent wrote for this event. What is missing or of another shape is absent from the report.
    #[must_use]
    pub fn read(kind: &AgentKind, event: &str, input: &Value) -> Self {
        let conversation = first_text(input, kind.conversation_fields()).map(str::to_owned);
        let folder = first_text(
            input,
            &["/cwd", "/directory", "/info/directory", "/workspaceRoots/0", "/workspace_roots/0"],
        );
        let held_before = ["stop_hook_active", "stopHookActive"]
            .iter()
            .any(|name| input.get(name) == Some(&Value::Bool(true)));
        let prompt = input.get("prompt").and_then(Value::as_str);
        // Qwen runs its prompt hook after every tool as well, with nothing in it.
        let after_tool = *kind == AgentKind::Qwen && prompt == Some("");
        let event = event_of(event, input);
        let event = if after_tool && event == HookEvent::Prompt { HookEvent::Tool } else { event };
        // Of an agent within the conversation's own: what it is shown the conversation does not see, and its end is not the turn's.
        let inner = *kind == AgentKind::ClaudeCode && first_text(input, &["/agent_id"]).is_some();
        let event = if inner { HookEvent::Other } else { event };
        Self {
            conversation,
            event,
            folder: folder.map(str::to_owned),
            held_before,
            nonces: crate::quote::nonces(prompt.unwrap_or_default()),
        }
    }
}

fn first_text<'v>(input: &'v Value, pointers: &[&str]) -> Option<&'v str> {
    pointers
        .iter()
        .find_map(|pointer| input.pointer(pointer).and_then(Value::as_str))
        .filter(|text| !text.is_empty())
}

/// What an event of this name is.
pub(crate) fn event_of(event: &str, input: &Value) -> HookEvent {
    let field = |name: &str| input.get(name).and_then(Value::as_str).unwrap_or_default();
    match event {
        "SessionStart" | "sessionStart" | "event:session.created" => {
            HookEvent::Start(match field("source") {
                "resume" => StartKind::Resume,
                "clear" => StartKind::Clear,
                "compact" => StartKind::Compact,
                "fork" => StartKind::Fork,
                _ => StartKind::Startup,
            })
        }
        "TaskResume" => HookEvent::Start(StartKind::Resume),
        // Cline fires TaskStart for every turn.
        "UserPromptSubmit"
        | "userPromptSubmitted"
        | "BeforeAgent"
        | "TaskStart"
        | "chat.message"
        | "beforeSubmitPrompt" => HookEvent::Prompt,
        "PreToolUse"
        | "PostToolUse"
        | "PostToolUseFailure"
        | "PostToolBatch"
        | "PermissionRequest"
        | "preToolUse"
        | "postToolUse"
        | "BeforeTool"
        | "AfterTool"
        | "BeforeModel"
        | "AfterModel"
        | "BeforeToolSelection"
        | "tool.execute.after" => HookEvent::Tool,
        "Stop" | "StopFailure" | "Interrupt" | "AfterAgent" | "agentStop" | "TaskComplete" | "TaskCancel"
        | "TaskError" | "event:session.idle" | "stop" => HookEvent::Stop,
        "event:session.status" => match input.pointer("/status/type").and_then(Value::as_str) {
            Some("busy") => HookEvent::Tool,
            Some("idle") => HookEvent::Stop,
            _ => HookEvent::Other,
        },
        "SessionEnd" | "sessionEnd" | "SessionShutdown" | "event:session.deleted" => match field("reason") {
            "clear" | "resume" => HookEvent::Replaced,
            _ => HookEvent::End,
        },
        _ => HookEvent::Other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_agent_within_the_conversation_does_is_none_of_its_own() {
        let input = json!({ "session_id": "c1", "agent_id": "a7", "hook_event_name": "PostToolUse" });
        let event = |kind: &AgentKind| HookReport::read(kind, "PostToolUse", &input).event;
        assert_eq!(event(&AgentKind::ClaudeCode), HookEvent::Other);
        // There it names the agent itself.
        assert_eq!(event(&AgentKind::Cline), HookEvent::Tool);
        let input = json!({ "session_id": "c1", "agent_type": "reviewer", "hook_event_name": "PostToolUse" });
        assert_eq!(HookReport::read(&AgentKind::ClaudeCode, "PostToolUse", &input).event, HookEvent::Tool);
    }
}
