//! What an agent wrote to a hook's standard input, without its long parts.

use std::fmt;
use std::io::{BufRead, IsTerminal, Read};
use std::time::{Duration, Instant};

use penpal_agents::hook::MAX_HOOK_INPUT_BYTES;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

/// How long the input may take; agents write it at once.
const LIMIT: Duration = Duration::from_secs(1);

/// Longest line that a waiting hook reads, in bytes.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// Members that can be long and say nothing of who is calling.
const LONG: [&str; 12] = [
    "tool_input",
    "tool_response",
    "tool_result",
    "tool_call",
    "toolArgs",
    "toolInput",
    "toolResult",
    "toolResponse",
    "prompt_response",
    "last_assistant_message",
    "background_tasks",
    "tool_output",
];

/// Reads it; a terminal, garbage and what is too long give `None`.
pub(super) fn read() -> Option<Value> {
    parse(&bytes()?)
}

/// Reads one line, and leaves the input open: whoever wrote it keeps the other end for as long as it lives.
pub(super) fn read_line() -> Option<Value> {
    let mut line = Vec::new();
    let read = std::io::stdin().lock().take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
    read.ok().and_then(|_| parse(&line))
}

/// The bytes as they are; nothing when there are none.
pub(super) fn read_raw() -> Vec<u8> {
    bytes().unwrap_or_default()
}

fn bytes() -> Option<Vec<u8>> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return None;
    }
    let mut bytes = Vec::new();
    let mut part = [0; 16 * 1024];
    let until = Instant::now() + LIMIT;
    let mut stdin = stdin.lock();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let limit = Timespec::try_from(left).ok()?;
        let ready = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&limit)).ok()?;
        if ready == 0 {
            return None;
        }
        match stdin.read(&mut part).ok()? {
            0 => break,
            // What is too long is read to its end all the same: an agent may take a closed pipe for a failure.
            count if bytes.len() + count > MAX_HOOK_INPUT_BYTES => bytes.truncate(MAX_HOOK_INPUT_BYTES),
            count => bytes.extend_from_slice(part.get(..count)?),
        }
    }
    Some(bytes)
}

/// An object of JSON without its long members.
pub(super) fn parse(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice::<Short>(bytes).ok().map(|short| Value::Object(short.0))
}

/// An object without its long members: they are passed over and never built.
struct Short(Map<String, Value>);

impl<'de> Deserialize<'de> for Short {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Short;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Short, A::Error> {
                let mut members = Map::new();
                while let Some(name) = access.next_key::<String>()? {
                    if LONG.contains(&name.as_str()) {
                        access.next_value::<IgnoredAny>()?;
                    } else {
                        members.insert(name, access.next_value()?);
                    }
                }
                Ok(Short(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_members_are_left_out_and_garbage_is_nothing() {
        let text = br#"{"session_id":"c1","tool_response":{"a":[1,2,{"b":"c"}]},"cwd":"/home"}"#;
        let value = parse(text).expect("an object");
        assert_eq!(value, serde_json::json!({ "session_id": "c1", "cwd": "/home" }));
        for garbage in [&b""[..], b"[]", b"{", b"\xff", b"null", b"{\"a\":1}x"] {
            assert_eq!(parse(garbage), None);
        }
    }
}
