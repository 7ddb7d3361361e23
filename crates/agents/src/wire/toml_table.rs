//! The table `mcp_servers.penpal` in a TOML file: a block of lines at its end.

use std::ops::Range;

use toml::{Table, Value};

use super::ours::is_our_server;
use super::{WireError, Without};

const PARENT: &str = "mcp_servers";
const NAME: &str = "penpal";

fn read(text: &str) -> Result<Table, WireError> {
    text.parse::<Table>().map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        WireError::Unreadable { line, what: error.message().to_owned() }
    })
}

fn server(table: &Table) -> Option<&Value> {
    table.get(PARENT)?.get(NAME)
}

fn ours(value: &Value) -> bool {
    serde_json::to_value(value).is_ok_and(|value| is_our_server(&value))
}

/// The text with a server that runs these words.
pub(super) fn put(text: &str, words: &[String]) -> Result<String, WireError> {
    let before = read(text)?;
    let (command, args) = words.split_first().ok_or_else(|| shape("there is no command"))?;
    let wanted_args = Value::Array(args.iter().cloned().map(Value::String).collect());
    let mut text = text.to_owned();
    let command = Value::String(command.clone());
    if let Some(there) = server(&before) {
        if !ours(there) {
            let what =
                format!("an MCP server called {NAME} is there that does not start this program; rename it");
            return Err(WireError::Taken { what });
        }
        if there.get("command") == Some(&command) && there.get("args") == Some(&wanted_args) {
            return Ok(text);
        }
        return rewrite(&text, &command, &wanted_args);
    }
    let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push_str(line_end);
    }
    if !text.is_empty() {
        text.push_str(line_end);
    }
    for line in
        [format!("[{PARENT}.{NAME}]"), format!("command = {command}"), format!("args = {wanted_args}")]
    {
        text.push_str(&line);
        text.push_str(line_end);
    }
    let after = read(&text)
        .map_err(|_| shape("`mcp_servers` is written in one line there; give it tables of its own"))?;
    if without_server(&after) != without_server(&before) || !server(&after).is_some_and(ours) {
        return Err(shape("it cannot be changed without losing something"));
    }
    Ok(text)
}

/// The text with another command for our server; all else in its table is a person's and stays.
fn rewrite(text: &str, command: &Value, args: &Value) -> Result<String, WireError> {
    let lost = || shape("its command cannot be changed without losing something; change it by hand");
    let before = read(text)?;
    let mut changed = text.to_owned();
    for (key, wanted) in [("command", command), ("args", args)] {
        let value = value_of(&changed, key).ok_or_else(lost)?;
        changed.replace_range(value, &wanted.to_string());
    }
    let after = read(&changed)?;
    let rest = |table: &Table| {
        let mut server = server(table).and_then(Value::as_table).cloned().unwrap_or_default();
        server.retain(|key, _| !matches!(key, "command" | "args"));
        server
    };
    let found = server(&after).ok_or_else(lost)?;
    let is_wanted = found.get("command") == Some(command) && found.get("args") == Some(args);
    if !is_wanted || rest(&after) != rest(&before) || without_server(&after) != without_server(&before) {
        return Err(lost());
    }
    Ok(changed)
}

/// Where the value of a member of our table stands.
fn value_of(text: &str, key: &str) -> Option<Range<usize>> {
    let headers = headers(text);
    let number = headers.iter().position(|header| {
        let written = text.get(header.clone()).unwrap_or_default();
        header_parts(written) == [PARENT, NAME]
    })?;
    let end = headers.get(number + 1).map_or(text.len(), |next| next.start);
    let mut at = headers.get(number)?.end;
    while at < end {
        let rest = text.get(at..end)?;
        let statement = statement_length(rest);
        let written = rest.get(..statement)?;
        if let Some((name, value)) = written.split_once('=')
            && name.trim().trim_matches(['"', '\'']) == key
        {
            let start = at + name.len() + 1 + (value.len() - value.trim_start().len());
            return Some(start..start + value.trim().len());
        }
        at += statement;
        // A remark, and the line's end.
        let rest = text.get(at..end)?;
        at += rest.find('\n').map_or(rest.len(), |end| end + 1);
    }
    None
}

/// Length of what stands before a remark or the end of a line; texts and lists may go over several lines.
fn statement_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' | b'\'' => {
                at += text_length(rest.get(at..).unwrap_or_default());
                continue;
            }
            b'#' if depth > 0 => {
                let line = rest.get(at..).unwrap_or_default();
                at += line.find('\n').unwrap_or(line.len());
                continue;
            }
            b'#' => break,
            b'\r' | b'\n' if depth == 0 => break,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    at
}

/// The words of a line that begins a table.
fn header_parts(line: &str) -> Vec<&str> {
    let name = line.split('#').next().unwrap_or_default().trim().trim_matches(['[', ']']);
    name.split('.').map(|part| part.trim().trim_matches(['"', '\''])).collect()
}

/// The text without our server.
pub(super) fn take(text: &str) -> Result<Without, WireError> {
    let before = read(text)?;
    if !server(&before).is_some_and(ours) {
        return Ok(Without { text: text.to_owned(), bare: text.trim().is_empty() });
    }
    let mut without = text.to_owned();
    for table in tables(text).into_iter().rev() {
        without.replace_range(table, "");
    }
    let after = read(&without)?;
    if server(&after).is_some() || without_server(&after) != without_server(&before) {
        return Err(shape("`mcp_servers.penpal` is not written as a table of its own; take it out by hand"));
    }
    Ok(Without { bare: without.trim().is_empty(), text: without })
}

fn shape(what: &str) -> WireError {
    WireError::Shape { what: what.to_owned() }
}

fn without_server(table: &Table) -> Table {
    let mut table = table.clone();
    if let Some(Value::Table(servers)) = table.get_mut(PARENT) {
        servers.remove(NAME);
        if servers.is_empty() {
            table.remove(PARENT);
        }
    }
    table
}

/// Where our table and those within it stand, each with the blank line before it.
fn tables(text: &str) -> Vec<Range<usize>> {
    let headers = headers(text);
    let mut found = Vec::new();
    for (number, header) in headers.iter().enumerate() {
        let next = headers.get(number + 1).map_or(text.len(), |next| next.start);
        let written = text.get(header.clone()).unwrap_or_default();
        let parts = header_parts(written);
        if parts.first() != Some(&PARENT) || parts.get(1) != Some(&NAME) {
            continue;
        }
        // Remarks and blank lines before the next table are its own.
        let mut end = header.end;
        let mut at = header.end;
        for line in text.get(header.end..next).unwrap_or_default().split_inclusive('\n') {
            at += line.len();
            if !line.trim().is_empty() && !line.trim_start().starts_with('#') {
                end = at;
            }
        }
        let before = text.get(..header.start).unwrap_or_default();
        let blank = ["\r\n", "\n"].into_iter().find(|end| before.ends_with(&format!("{end}{end}")));
        let start = header.start - blank.map_or(0, str::len);
        found.push(start..end);
    }
    found
}

/// Lines that begin a table, each with its end of line; texts and lists over several lines are passed over.
fn headers(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let (mut at, mut depth, mut fresh) = (0, 0_usize, true);
    while let Some(byte) = bytes.get(at) {
        let rest = text.get(at..).unwrap_or_default();
        let line = rest.find('\n').map_or(rest.len(), |end| end + 1);
        match byte {
            b'[' if fresh && depth == 0 => {
                found.push(at..at + line);
                at += line;
                continue;
            }
            b'#' => {
                // Up to the line's end, which is looked at next.
                at += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            b'"' | b'\'' => {
                at += text_length(rest);
                fresh = false;
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        fresh = match byte {
            b'\n' => true,
            b' ' | b'\t' | b'\r' => fresh,
            _ => false,
        };
        at += 1;
    }
    found
}

/// Length of the text that begins here, quotes included.
fn text_length(rest: &str) -> usize {
    let quote = rest.get(..1).unwrap_or_default();
    let triple = quote.repeat(3);
    let (mark, many) = if rest.starts_with(&triple) { (triple.as_str(), true) } else { (quote, false) };
    let mut at = mark.len();
    while let Some(left) = rest.get(at..).filter(|left| !left.is_empty()) {
        if quote == "\"" && left.starts_with('\\') {
            at += 1 + left.chars().nth(1).map_or(0, char::len_utf8);
        } else if left.starts_with(mark) {
            at += mark.len();
            // Up to two more quotes may belong to the text.
            while many && rest.get(at..).is_some_and(|left| left.starts_with(quote)) {
                at += 1;
            }
            return at;
        } else {
            at += left.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}
