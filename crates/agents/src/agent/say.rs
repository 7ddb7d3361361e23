//! Shapes that several agents share. Text travels as a JSON string: what it holds cannot end the shape.

use serde_json::json;

use super::Shows;

/// `hookSpecificOutput.additionalContext`, and `decision: block` with a reason.
pub(super) fn like_claude(event: &str, shows: Shows, text: &str) -> String {
    match shows {
        Shows::Nothing => String::new(),
        Shows::Context => {
            json!({ "hookSpecificOutput": { "hookEventName": event, "additionalContext": text } }).to_string()
        }
        Shows::Hold => json!({ "decision": "block", "reason": text }).to_string(),
    }
}

/// The same decision, and context in a field of the outermost object.
pub(super) fn with_field(context: &str, hold: Option<&str>, shows: Shows, text: &str) -> String {
    match (shows, hold) {
        (Shows::Nothing, _) | (Shows::Hold, None) => String::new(),
        (Shows::Context, _) => json!({ context: text }).to_string(),
        (Shows::Hold, Some(field)) => json!({ field: text }).to_string(),
    }
}
