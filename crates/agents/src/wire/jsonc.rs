//! JSON with comments and trailing commas as a tree of places in its text, and edits of that text.

use std::ops::Range;

use serde_json::{Map, Value};

use super::WireError;

/// Deepest nesting that is read.
const MAX_DEPTH: usize = 128;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// From its first to after its last byte.
    pub(super) span: Range<usize>,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Object(Vec<Member>),
    Array(Vec<Node>),
    Scalar(Value),
}

/// A member of an object.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) name: String,
    /// Where its name begins.
    pub(super) start: usize,
    pub(super) value: Node,
}

impl Node {
    /// The value without its place.
    pub(super) fn value(&self) -> Value {
        match &self.kind {
            Kind::Object(members) => {
                let pairs = members.iter().map(|member| (member.name.clone(), member.value.value()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
            Kind::Array(items) => Value::Array(items.iter().map(Node::value).collect()),
            Kind::Scalar(value) => value.clone(),
        }
    }

    /// Its members, of an object; the last of several with one name counts.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Object(members) => {
                members.iter().rev().find(|member| member.name == name).map(|member| &member.value)
            }
            Kind::Array(_) | Kind::Scalar(_) => None,
        }
    }

    /// What stands at the end of this way.
    pub(super) fn at(&self, way: &[String]) -> Option<&Self> {
        way.iter().try_fold(self, |node, name| node.get(name))
    }

    /// Its elements, of an array.
    pub(super) fn items(&self) -> &[Self] {
        match &self.kind {
            Kind::Array(items) => items,
            Kind::Object(_) | Kind::Scalar(_) => &[],
        }
    }

    /// Its members, of an object.
    pub(super) fn members(&self) -> &[Member] {
        match &self.kind {
            Kind::Object(members) => members,
            Kind::Array(_) | Kind::Scalar(_) => &[],
        }
    }

    /// Where each of its children begins and ends, names included.
    fn children(&self) -> Vec<Range<usize>> {
        match &self.kind {
            Kind::Object(members) => {
                members.iter().map(|member| member.start..member.value.span.end).collect()
            }
            Kind::Array(items) => items.iter().map(|item| item.span.clone()).collect(),
            Kind::Scalar(_) => Vec::new(),
        }
    }
}

/// Reads a text; one that is empty or blank is an empty object without a place, which is why it is `None`.
pub(super) fn parse(text: &str) -> Result<Option<Node>, WireError> {
    let mut reader = Reader { text, at: 0 };
    if text.starts_with('\u{feff}') {
        reader.at = '\u{feff}'.len_utf8();
    }
    reader.space()?;
    if reader.at == text.len() {
        return Ok(None);
    }
    let node = reader.value(0)?;
    reader.space()?;
    if reader.at < text.len() {
        return Err(reader.wrong("something follows the value"));
    }
    Ok(Some(node))
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn wrong(&self, what: &str) -> WireError {
        let before = self.text.get(..self.at).unwrap_or(self.text);
        WireError::Unreadable { line: before.matches('\n').count() + 1, what: what.to_owned() }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Skips white space and comments.
    fn space(&mut self) -> Result<(), WireError> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(b'/') if self.rest().starts_with("//") => {
                    self.at += self.rest().find('\n').unwrap_or(self.rest().len());
                }
                Some(b'/') if self.rest().starts_with("/*") => {
                    let Some(end) = self.rest().find("*/") else {
                        return Err(self.wrong("a comment has no end"));
                    };
                    self.at += end + 2;
                }
                _ => return Ok(()),
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, WireError> {
        if depth > MAX_DEPTH {
            return Err(self.wrong("it is nested too deeply"));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => {
                let start = self.at;
                let text = self.string()?;
                Ok(Node { span: start..self.at, kind: Kind::Scalar(Value::String(text)) })
            }
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Result<Node, WireError> {
        let start = self.at;
        let part = |one: char| one.is_ascii_alphanumeric() || matches!(one, '-' | '+' | '.');
        self.at += self.rest().find(|one| !part(one)).unwrap_or(self.rest().len());
        let word = self.text.get(start..self.at).unwrap_or_default();
        match serde_json::from_str::<Value>(word) {
            Ok(value) => Ok(Node { span: start..self.at, kind: Kind::Scalar(value) }),
            Err(_) => Err(Reader { text: self.text, at: start }.wrong("no value of JSON")),
        }
    }

    fn string(&mut self) -> Result<String, WireError> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(b'\n') | None => return Err(self.wrong("a text has no end")),
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        let written = self.text.get(start..self.at).unwrap_or_default();
        serde_json::from_str(written)
            .map_err(|_| Reader { text: self.text, at: start }.wrong("a text is written wrongly"))
    }

    fn object(&mut self, depth: usize) -> Result<Node, WireError> {
        let start = self.at;
        self.at += 1;
        let mut members = Vec::new();
        loop {
            self.space()?;
            match self.peek() {
                Some(b'}') => break,
                Some(b'"') => {}
                _ => return Err(self.wrong("a name is missing")),
            }
            let name_at = self.at;
            let name = self.string()?;
            self.space()?;
            if self.peek() != Some(b':') {
                return Err(self.wrong("a colon is missing"));
            }
            self.at += 1;
            self.space()?;
            let value = self.value(depth + 1)?;
            members.push(Member { name, start: name_at, value });
            self.space()?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {}
                _ => return Err(self.wrong("a comma or brace is missing")),
            }
        }
        self.at += 1;
        Ok(Node { span: start..self.at, kind: Kind::Object(members) })
    }

    fn array(&mut self, depth: usize) -> Result<Node, WireError> {
        let start = self.at;
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.space()?;
            if self.peek() == Some(b']') {
                break;
            }
            items.push(self.value(depth + 1)?);
            self.space()?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {}
                _ => return Err(self.wrong("a comma or bracket is missing")),
            }
        }
        self.at += 1;
        Ok(Node { span: start..self.at, kind: Kind::Array(items) })
    }
}

/// Adds a child at the end of an object (`name` given) or array.
pub(super) fn append(text: &str, parent: &Node, name: Option<&str>, value: &Value) -> String {
    let style = Style::of(text);
    let children = parent.children();
    let inside = slice(text, parent.span.start + 1..parent.span.end - 1);
    let inline = !inside.contains('\n')
        && (!children.is_empty()
            || !text.trim_end().contains('\n') && text.contains('{') && text.trim() != "{}");
    let outer = line_indent(text, parent.span.start);
    let inner = match children.first() {
        Some(first) if !inline => line_indent(text, first.start),
        _ => format!("{outer}{}", style.unit),
    };
    let written = write(value, name, inline, &inner, &style);
    let line = format!("{}{inner}", style.line_end);
    let Some(last) = children.last() else {
        let tail = if inline || inside.contains('\n') {
            String::new()
        } else {
            format!("{}{outer}", style.line_end)
        };
        let lead = if inline { String::new() } else { line };
        return splice(text, parent.span.start + 1..parent.span.start + 1, &format!("{lead}{written}{tail}"));
    };
    let lead = if inline { gap(text, &children) } else { line };
    match comma_after(text, last.end) {
        // A trailing comma stays the style of the list.
        Some(comma) => {
            let at = end_of_remark(text, comma + 1, inline);
            splice(text, at..at, &format!("{lead}{written},"))
        }
        None => {
            let at = end_of_remark(text, last.end, inline);
            let with = splice(text, at..at, &format!("{lead}{written}"));
            splice(&with, last.end..last.end, ",")
        }
    }
}

/// Takes a child out of its object or array, with the comma that parted it.
pub(super) fn remove(text: &str, parent: &Node, index: usize) -> String {
    let children = parent.children();
    let Some(child) = children.get(index).cloned() else { return text.to_owned() };
    let before = slice(text, 0..child.start);
    let start = before.trim_end().len().max(parent.span.start + 1);
    let comma = comma_after(text, child.end);
    let last = index + 1 == children.len();
    let Some(previous) = index.checked_sub(1).and_then(|index| children.get(index)).filter(|_| last) else {
        let end = comma.map_or(child.end, |comma| comma + 1);
        let without = splice(text, start..end, "");
        if children.len() > 1 {
            return without;
        }
        // Nothing is left: the brackets close again, if nothing but space is between them.
        let close = parent.span.end - (end - start) - 1;
        let between = slice(&without, parent.span.start + 1..close);
        let blank = between.trim().is_empty();
        return if blank { splice(&without, parent.span.start + 1..close, "") } else { without };
    };
    // The last of several: with a trailing comma its own goes, else the one before it.
    if let Some(comma) = comma {
        return splice(text, start..comma + 1, "");
    }
    let without = splice(text, start..child.end, "");
    match comma_after(text, previous.end) {
        Some(comma) => splice(&without, comma..comma + 1, ""),
        None => without,
    }
}

/// Puts a value in the place of another.
pub(super) fn replace(text: &str, node: &Node, value: &Value) -> String {
    let style = Style::of(text);
    let inline = !slice(text, node.span.clone()).contains('\n');
    let indent = line_indent(text, node.span.start);
    splice(text, node.span.clone(), &write(value, None, inline, &indent, &style))
}

/// A new text that holds only this.
pub(super) fn fresh(value: &Value) -> String {
    format!("{value:#}\n")
}

struct Style {
    unit: String,
    line_end: &'static str,
}

impl Style {
    fn of(text: &str) -> Self {
        let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let indented = text
            .lines()
            .find(|line| line.starts_with([' ', '\t']) && line.trim_start().starts_with(['"', '{']));
        let unit = indented.map(|line| slice(line, 0..line.len() - line.trim_start().len()).to_owned());
        Self { unit: unit.unwrap_or_else(|| "  ".to_owned()), line_end }
    }
}

fn write(value: &Value, name: Option<&str>, inline: bool, indent: &str, style: &Style) -> String {
    let body = if inline { value.to_string() } else { pretty(value, indent, style) };
    match name {
        Some(name) => format!("{}: {body}", Value::from(name)),
        None => body,
    }
}

fn pretty(value: &Value, indent: &str, style: &Style) -> String {
    let plain = format!("{value:#}");
    let mut out = String::new();
    for (number, line) in plain.split('\n').enumerate() {
        if number > 0 {
            out.push_str(style.line_end);
            out.push_str(indent);
        }
        let spaces = line.len() - line.trim_start_matches(' ').len();
        out.push_str(&style.unit.repeat(spaces / 2));
        out.push_str(line.trim_start_matches(' '));
    }
    out
}

fn slice(text: &str, range: Range<usize>) -> &str {
    text.get(range).unwrap_or_default()
}

fn splice(text: &str, range: Range<usize>, with: &str) -> String {
    let (before, after) = (slice(text, 0..range.start), slice(text, range.end..text.len()));
    [before, with, after].concat()
}

/// White space at the begin of the line in which a place stands.
fn line_indent(text: &str, at: usize) -> String {
    let before = slice(text, 0..at);
    let line = before.rsplit('\n').next().unwrap_or_default();
    line.chars().take_while(|one| matches!(one, ' ' | '\t')).collect()
}

/// The next comma, past white space and comments.
fn comma_after(text: &str, at: usize) -> Option<usize> {
    let mut reader = Reader { text, at };
    reader.space().ok()?;
    (reader.peek() == Some(b',')).then_some(reader.at)
}

/// The end of a remark that stands on the same line; where there is none, the place itself.
fn end_of_remark(text: &str, at: usize, inline: bool) -> usize {
    let line = slice(text, at..text.len()).split('\n').next().unwrap_or_default();
    let remark = line.trim();
    let alone = remark.starts_with("//") || (remark.starts_with("/*") && remark.ends_with("*/"));
    if alone && !inline { at + line.trim_end().len() } else { at }
}

/// What parts children on one line.
fn gap(text: &str, children: &[Range<usize>]) -> String {
    match children {
        [.., one, other] => {
            let between = slice(text, one.end..other.start);
            between.chars().skip_while(|one| *one != ',').skip(1).filter(|one| *one == ' ').collect()
        }
        _ => {
            if text.contains(", ") || text.contains(": ") {
                " ".to_owned()
            } else {
                String::new()
            }
        }
    }
}
