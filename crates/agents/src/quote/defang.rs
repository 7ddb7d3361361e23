//! Takes from a text what a model could mistake for the words of its own program.

use crate::unsafe_text;

/// Names of tags that agents and chat templates give a meaning, in lower case, with `-` for `_`.
const TAGS: [&str; 53] = [
    "additional-context",
    "assistant",
    "assistant-message",
    "bos",
    "channel",
    "command-args",
    "command-message",
    "command-name",
    "cross-session-message",
    "developer",
    "document",
    "documents",
    "end-of-turn",
    "end-of-utterance",
    "eos",
    "environment-context",
    "eot",
    "function",
    "function-call",
    "function-calls",
    "function-result",
    "function-results",
    "hook-context",
    "hook-prompt",
    "human",
    "im-end",
    "im-start",
    "instructions",
    "invoke",
    "local-command-stdout",
    "message",
    "parameter",
    "penpal",
    "pad",
    "role",
    "s",
    "start-of-turn",
    "sys",
    "system",
    "system-message",
    "system-notification",
    "system-prompt",
    "system-reminder",
    "task-notification",
    "think",
    "thinking",
    "tool",
    "tool-call",
    "tool-result",
    "tool-use",
    "unk",
    "untrusted-context",
    "user",
];

/// Beginnings of names of tags that agents give a meaning.
const TAG_PREFIXES: [&str; 6] = ["antml:", "function-", "penpal", "system-", "tool-", "user-prompt-"];

/// Template tokens in square brackets, in lower case.
const BRACKETS: [&str; 7] = [
    "inst",
    "/inst",
    "system notification",
    "system notification - not user input",
    "system",
    "/system",
    "sys",
];

/// Longest inside of a bracket that is looked at, in bytes.
const MAX_BRACKET_BYTES: usize = 48;

/// Stands in place of `<`: looks like it, and begins no tag.
const NO_TAG: char = '‹';

/// A text that cannot leave a quote, with all line ends as `\n`.
///
/// Escape sequences, control, bidirectional and invisible characters go. `<` becomes `‹` where it begins a tag or a
/// template token that some agent gives a meaning (`</penpal`, `<system-reminder`, `<|im_start|>` …), `[` becomes `(` in
/// `[INST]` and its like; other code stays as it is.
#[must_use]
pub fn defang(text: &str) -> String {
    let text = unsafe_text::visible(text);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    let mut before = ' ';
    while let Some(character) = rest.chars().next() {
        let (head, tail) = rest.split_at(character.len_utf8());
        match character {
            '<' | '＜' | '﹤' if begins_token(tail, before) => out.push(NO_TAG),
            '[' | '［' if begins_bracket(tail) => out.push('('),
            _ => out.push_str(head),
        }
        before = character;
        rest = tail;
    }
    out
}

/// The same on one line, for names, subjects, file names and summaries.
#[must_use]
pub fn inline(text: &str) -> String {
    defang(&unsafe_text::visible_line(text))
}

/// Whether what follows a `<` makes it the begin of a tag or token that has a meaning.
///
/// `before` is the character before it: `Vec<Message>` is code.
fn begins_token(tail: &str, before: char) -> bool {
    // `<|…|>` and its wide form; `<<SYS>>`.
    if tail.starts_with(['|', '｜', '∣']) {
        return true;
    }
    let inner = tail.trim_start_matches(|character: char| {
        character.is_whitespace() || matches!(character, '/' | '／' | '\\' | '<' | '＜' | '﹤' | '!' | '?')
    });
    let written: String = inner
        .chars()
        .take_while(|character| {
            character.is_alphanumeric() || matches!(character, '-' | '_' | ':' | '‐' | '‑' | '▁')
        })
        .take(64)
        .map(|character| match fold(character) {
            '_' | '‐' | '‑' | '▁' => '-',
            folded => folded,
        })
        .collect();
    if is_type_name(&written) && (before.is_alphanumeric() || matches!(before, '_' | ':')) {
        return false;
    }
    let name = written.to_ascii_lowercase();
    TAGS.contains(&name.as_str()) || TAG_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// One capitalised word, as types are written.
fn is_type_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_uppercase())
        && characters.next().is_some_and(|second| second.is_ascii_lowercase())
        && !name.contains(['-', ':'])
}

fn begins_bracket(tail: &str) -> bool {
    let inside: String = tail.chars().take(MAX_BRACKET_BYTES).map(fold).collect();
    let Some((inside, _)) = inside.split_once([']', '］']) else { return false };
    BRACKETS.contains(&inside.trim().to_ascii_lowercase().as_str())
}

/// Full-width letters as plain ones.
fn fold(character: char) -> char {
    match character {
        '\u{FF01}'..='\u{FF5E}' => {
            u32::from(character).checked_sub(0xFEE0).and_then(char::from_u32).unwrap_or(character)
        }
        _ => character,
    }
}
