//! Tells penpal's entries from everybody else's, by what they run.

use serde_json::Value;

use super::program::first_command;
use super::{json, jsonc, split};
use crate::agent::WAIT;

/// Option after which the wrapped command of a status line stands.
const THEN: &str = "--then";

fn is_our_program(path: &str) -> bool {
    let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
    file == "penpal" || file == "penpal.exe"
}

/// What these words make penpal do (`hook`, `mcp`, `statusline`), if they run it, and the words after that.
fn part<'w>(words: &[&'w str]) -> Option<(&'w str, Vec<&'w str>)> {
    let mut words =
        words.iter().copied().skip_while(|word| word.contains('=') || *word == "exec" || *word == "env");
    if !is_our_program(words.next()?) {
        return None;
    }
    let mut next = words.next()?;
    if next == "--home" {
        words.next()?;
        next = words.next()?;
    }
    ["hook", "mcp", "statusline"].contains(&next).then(|| (next, words.collect()))
}

/// A shell line that runs penpal as an agent's hook or status line.
struct Line {
    status: bool,
    /// Words after `hook` or `statusline`.
    rest: Vec<String>,
    /// It has a form that penpal writes: nobody added anything behind it.
    plain: bool,
}

fn read(line: &str) -> Option<Line> {
    let (command, more) = first_command(line);
    let words = split(command)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (part, rest) = part(&words)?;
    let is_name = |word: &str| word.chars().all(|one| one.is_ascii_alphanumeric() || "-_.:".contains(one));
    let form = match (part, rest.as_slice()) {
        ("hook", [agent, event]) => is_name(agent) && is_name(event),
        ("statusline", []) => true,
        ("statusline", [then, _]) => *then == THEN,
        _ => false,
    };
    let rest = rest.into_iter().map(str::to_owned).collect();
    (part != "mcp").then(|| Line { status: part == "statusline", rest, plain: form && !more })
}

/// Whether a shell line runs penpal as an agent's hook or status line, and nothing else.
#[must_use]
pub fn is_our_command(line: &str) -> bool {
    read(line).is_some_and(|line| line.plain)
}

/// Whether somebody added something to a hook or status line of ours: it is theirs then.
pub(super) fn is_shared(line: &str) -> bool {
    read(line).is_some_and(|line| !line.plain)
}

/// Whether a hook waits for a wake.
pub(super) fn waits(line: &str) -> bool {
    read(line).is_some_and(|line| !line.status && line.rest.get(1).is_some_and(|event| event == WAIT))
}

/// A line in a file that runs penpal and is somebody's: they added something to it, or wrote more beside it into a script.
#[must_use]
pub fn shared_line(text: &str) -> Option<String> {
    if text.starts_with("#!") {
        let ours = |line: &&str| !is_our_script(text) && read(line).is_some();
        return text.lines().find(ours).map(str::to_owned);
    }
    shared_in(&jsonc::parse(text).ok()??.value())
}

fn shared_in(value: &Value) -> Option<String> {
    match value {
        Value::Object(members) => members.iter().find_map(|(name, value)| match value.as_str() {
            Some(line) if name == "command" || name == "bash" => is_shared(line).then(|| line.to_owned()),
            Some(_) | None => shared_in(value),
        }),
        Value::Array(items) => items.iter().find_map(shared_in),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// The command that a status line of ours wraps; `Some(None)` when it wraps none, `None` when it is not ours.
#[must_use]
pub fn wrapped_command(line: &str) -> Option<Option<String>> {
    let line = read(line).filter(|line| line.status && line.plain)?;
    Some(line.rest.into_iter().nth(1))
}

/// A status line of ours that runs `wrapped` as well.
pub(super) fn wrap(command: &str, wrapped: &str) -> String {
    format!("{command} {THEN} {}", super::quote(wrapped))
}

/// Whether the value of an MCP server starts penpal.
pub(super) fn is_our_server(value: &Value) -> bool {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let words: Vec<String> = match value.get("command") {
        Some(Value::String(command)) => {
            let args = value.get("args").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            std::iter::once(command.clone()).chain(args.iter().filter_map(text)).collect()
        }
        Some(Value::Array(words)) => words.iter().filter_map(text).collect(),
        _ => return value.get("transport").is_some_and(is_our_server),
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    part(&words).is_some_and(|(part, _)| part == "mcp")
}

/// Whether a hook's entry itself (not one within it) runs penpal.
pub(super) fn is_our_hook(value: &Value) -> bool {
    ["command", "bash"].iter().any(|name| value.get(name).and_then(Value::as_str).is_some_and(is_our_command))
}

/// Whether a text that cannot be read as what it should be names an entry of ours all the same.
#[must_use]
pub fn names_ours(text: &str) -> bool {
    let marks = [" hook ", " statusline", "\"penpal\"", "mcp_servers"];
    text.lines().any(|line| line.contains("penpal") && marks.iter().any(|mark| line.contains(mark)))
}

/// Whether a file that stands alone was written by penpal: a script, a plugin or a list of hooks with nothing else in it.
#[must_use]
pub fn is_our_script(text: &str) -> bool {
    if let Some(script) = text.strip_prefix("#!/bin/sh\n") {
        let mut lines = script.lines().filter(|line| !line.trim().is_empty()).peekable();
        return lines.peek().is_some() && lines.all(is_our_command);
    }
    if text.starts_with("// penpal: ") {
        return true;
    }
    json::take(text, &json::hook_list()).is_ok_and(|without| without.bare && without.text != text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_runs_penpal_is_ours() {
        assert!(is_our_command("/usr/bin/penpal hook codex Stop"));
        assert!(is_our_command("'/opt/my tools/penpal' --home '/a b' hook qwen Stop"));
        assert!(is_our_command("exec penpal hook cline TaskStart"));
        assert!(is_our_command("penpal statusline --then 'x'"));
        for other in [
            "echo penpal hook codex Stop",
            "penpal-relay hook x",
            "/opt/notpenpal hook x y",
            "penpal send web hook",
            "mypenpal statusline",
            "penpal",
            "'penpal hook",
            "",
        ] {
            assert!(!is_our_command(other), "{other}");
        }
        assert!(is_our_server(&json!({ "command": "/x/penpal", "args": ["mcp"] })));
        assert!(is_our_server(&json!({ "command": ["penpal", "--home", "/h", "mcp"] })));
        assert!(is_our_server(&json!({ "transport": { "command": "penpal", "args": ["mcp"] } })));
        assert!(!is_our_server(&json!({ "command": "npx", "args": ["penpal", "mcp"] })));
        assert!(!is_our_server(&json!({ "url": "https://penpal.example" })));
    }

    #[test]
    fn a_line_to_which_somebody_added_something_is_theirs() {
        for ours in [
            "/x/penpal hook gemini AfterAgent",
            "'/my;tools/penpal' --home '/a&b' hook qwen Stop\n",
            "penpal statusline --then 'a; b | c'",
        ] {
            assert!(is_our_command(ours) && !is_shared(ours), "{ours}");
        }
        for shared in [
            "/x/penpal hook gemini AfterAgent; /usr/local/bin/ding",
            "/x/penpal hook gemini AfterAgent;ding",
            "/x/penpal hook gemini AfterAgent 2>/dev/null",
            "/x/penpal hook gemini AfterAgent|tee log",
            "/x/penpal hook gemini AfterAgent && it's",
            "/x/penpal hook gemini AfterAgent\nding",
            "/x/penpal hook gemini AfterAgent # mine",
            "/x/penpal hook gemini $(ding)",
            "penpal statusline; ding",
            "penpal statusline --then 'x' more",
        ] {
            assert!(is_shared(shared) && !is_our_command(shared), "{shared}");
            assert_eq!(wrapped_command(shared), None, "{shared}");
        }
        assert!(waits("penpal hook claude-code wait; ding") && !waits("penpal hook claude-code Stop; wait"));
        let script = "#!/bin/sh\nexec penpal hook cline TaskStart\n";
        assert_eq!(shared_line(script), None);
        assert!(shared_line(&format!("{script}ding\n")).is_some());
    }

    #[test]
    fn entries_are_seen_in_a_text_that_cannot_be_read() {
        for ours in [
            "{ \"command\": \"'/my tools/penpal' --home /h hook qwen Stop\"",
            "\"command\": \"/x/penpal statusline",
            "{\n  \"penpal\": {",
            "[mcp_servers.penpal]\n[",
        ] {
            assert!(names_ours(ours), "{ours}");
        }
        for other in ["{ broken", "{ \"projects\": { \"/src/penpal\": {", "\"a hook \"\n\"/src/penpal\""] {
            assert!(!names_ours(other), "{other}");
        }
    }

    #[test]
    fn a_wrapped_status_line_is_found_again() {
        let wrapped = wrap("/x/penpal statusline", "sh -c 'echo \"it'\\''s\"'");
        assert_eq!(wrapped_command(&wrapped), Some(Some("sh -c 'echo \"it'\\''s\"'".to_owned())));
        assert_eq!(wrapped_command("/x/penpal statusline"), Some(None));
        assert_eq!(wrapped_command("starship prompt"), None);
    }
}
