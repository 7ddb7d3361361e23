//! Puts entries into a JSON file and takes them out.

use serde_json::{Value, json};

use super::jsonc::{self, Kind, Node};
use super::ours::{is_our_command, is_our_hook, is_our_server, is_shared, waits, wrap, wrapped_command};
use super::{JsonEntry, WireError, Without};

/// Most of our entries that one file is thought to hold.
const MAX_ENTRIES: usize = 1_000;

/// The text with all entries in it.
pub(super) fn put(text: &str, entries: &[JsonEntry]) -> Result<String, WireError> {
    let mut text = text.to_owned();
    for entry in entries {
        let before = jsonc::parse(&text)?;
        let put = put_one(&text, before.as_ref(), entry)?;
        let after = jsonc::parse(&put)?;
        let (before, mut after) = (value_of(before.as_ref()), value_of(after.as_ref()));
        if let JsonEntry::Default { name, .. } = entry
            && before.get(name).is_none()
            && let Some(members) = after.as_object_mut()
        {
            members.remove(name);
        }
        check(&before, &after)?;
        text = put;
    }
    Ok(text)
}

fn put_one(text: &str, root: Option<&Node>, entry: &JsonEntry) -> Result<String, WireError> {
    match entry {
        JsonEntry::Member { at, name, value } => put_member(text, root, at, name, value),
        JsonEntry::Element { at, value } => put_element(text, root, at, value),
        JsonEntry::Default { name, value } => {
            if root.is_some_and(|root| root.get(name).is_some()) {
                return Ok(text.to_owned());
            }
            make(text, root, &[], Some(name), value)
        }
        JsonEntry::StatusLine { command } => put_status_line(text, root, command),
    }
}

fn put_member(
    text: &str,
    root: Option<&Node>,
    at: &[String],
    name: &str,
    value: &Value,
) -> Result<String, WireError> {
    let found = root.and_then(|root| root.at(at)).and_then(|parent| parent.get(name));
    let Some(found) = found else { return make(text, root, at, Some(name), value) };
    let there = found.value();
    if !is_our_server(&there) {
        let what =
            format!("an MCP server called {name} is there that does not start this program; rename it");
        return Err(WireError::Taken { what });
    }
    // What its person added stays.
    let mut wanted = there.clone();
    if let (Some(wanted), Some(ours)) = (wanted.as_object_mut(), value.as_object()) {
        for (name, value) in ours {
            let kept = name == "env" || name == "enabled" || name == "tools";
            if !(kept && wanted.contains_key(name)) {
                wanted.insert(name.clone(), value.clone());
            }
        }
    }
    Ok(if wanted == there { text.to_owned() } else { jsonc::replace(text, found, &wanted) })
}

fn put_element(text: &str, root: Option<&Node>, at: &[String], value: &Value) -> Result<String, WireError> {
    let found = root.and_then(|root| root.at(at));
    let command = command_of(value).unwrap_or_default();
    // One event can have two of ours: one that shows mail, and one that waits for a wake.
    let same_part = |node: &&Node| node.value().as_str().is_some_and(|line| waits(line) == waits(&command));
    let lines = || found.map(Node::items).unwrap_or_default().iter().flat_map(lines).filter(same_part);
    if let Some(line) =
        lines().find_map(|node| node.value().as_str().filter(|line| is_shared(line)).map(str::to_owned))
    {
        return Err(shared("a hook", &line));
    }
    let ours: Vec<&Node> = lines().filter(|node| node.value().as_str().is_some_and(is_our_command)).collect();
    match ours.split_first() {
        None => make(text, root, at, None, value),
        Some((first, more)) => {
            // One is enough: others are from another place where the program was once.
            if let Some(last) = more.last() {
                let without =
                    take_hooks_where(text, &mut |node| std::ptr::eq(node, *last) || node.span == last.span)?;
                let root = jsonc::parse(&without)?;
                return put_element(&without, root.as_ref(), at, value);
            }
            let command = Value::from(command);
            let same = first.value() == command;
            Ok(if same { text.to_owned() } else { jsonc::replace(text, first, &command) })
        }
    }
}

fn put_status_line(text: &str, root: Option<&Node>, command: &str) -> Result<String, WireError> {
    let way = ["statusLine".to_owned()];
    let Some(there) = root.and_then(|root| root.at(&way)) else {
        return make(text, root, &[], Some("statusLine"), &json!({ "type": "command", "command": command }));
    };
    let Some(found) = there.get("command") else {
        return Err(WireError::Taken {
            what: "a status line is there that is no command; it stays".to_owned(),
        });
    };
    let Value::String(line) = found.value() else {
        return Err(WireError::Taken {
            what: "a status line is there that is no command; it stays".to_owned(),
        });
    };
    if is_shared(&line) {
        return Err(shared("the status line", &line));
    }
    let wanted = match wrapped_command(&line) {
        Some(None) => command.to_owned(),
        Some(Some(inner)) => wrap(command, &inner),
        None => wrap(command, &line),
    };
    Ok(if wanted == line { text.to_owned() } else { jsonc::replace(text, found, &Value::from(wanted)) })
}

/// Adds a child where there is none yet, with everything on the way to it.
fn make(
    text: &str,
    root: Option<&Node>,
    at: &[String],
    name: Option<&str>,
    value: &Value,
) -> Result<String, WireError> {
    let mut node = root;
    let mut missing = at;
    if let Some(mut here) = root {
        for (depth, part) in at.iter().enumerate() {
            match here.get(part) {
                Some(next) => here = next,
                None => {
                    missing = at.get(depth..).unwrap_or_default();
                    break;
                }
            }
            missing = at.get(depth + 1..).unwrap_or_default();
        }
        node = Some(here);
    }
    // From inside out: the child, then what holds it.
    let holder = |name: Option<&str>, value: Value| match name {
        Some(name) => json!({ name: value }),
        None => json!([value]),
    };
    let (mut name, mut value) = (name.map(str::to_owned), value.clone());
    for part in missing.iter().rev() {
        value = holder(name.as_deref(), value);
        name = Some(part.clone());
    }
    let Some(node) = node else { return Ok([text, &jsonc::fresh(&holder(name.as_deref(), value))].concat()) };
    match (&node.kind, &name) {
        (Kind::Object(_), Some(_)) | (Kind::Array(_), None) => {
            Ok(jsonc::append(text, node, name.as_deref(), &value))
        }
        _ => {
            let way = if at.is_empty() { "the file".to_owned() } else { at.join(".") };
            Err(WireError::Shape { what: format!("{way} is not of the kind that is needed there") })
        }
    }
}

/// What a list of hooks holds that is a file of its own.
pub(super) fn hook_list() -> [JsonEntry; 2] {
    [JsonEntry::element(&["hooks"], Value::Null), JsonEntry::default("version", json!(1))]
}

/// The text without anything of ours.
pub(super) fn take(text: &str, entries: &[JsonEntry]) -> Result<Without, WireError> {
    let before = value_of(jsonc::parse(text)?.as_ref());
    let mut text = text.to_owned();
    for entry in entries {
        text = match entry {
            JsonEntry::Member { at, name, .. } => take_member(&text, at, name)?,
            JsonEntry::Element { .. } => take_hooks_where(&text, &mut |_| true)?,
            JsonEntry::StatusLine { .. } => take_status_line(&text)?,
            JsonEntry::Default { .. } => text,
        };
    }
    let is_default = |name: &str, value: Value| entries.contains(&JsonEntry::default(name, value));
    let root = jsonc::parse(&text)?;
    check(&before, &value_of(root.as_ref()))?;
    let bare = match root {
        None => true,
        Some(Node { kind: Kind::Object(members), .. }) => {
            members.iter().all(|member| is_default(&member.name, member.value.value()))
        }
        Some(_) => false,
    };
    let remarks = text.contains("//") || text.contains("/*");
    Ok(Without { bare: bare && !remarks, text })
}

fn take_member(text: &str, at: &[String], name: &str) -> Result<String, WireError> {
    let Some(root) = jsonc::parse(text)? else { return Ok(text.to_owned()) };
    let Some(parent) = root.at(at) else { return Ok(text.to_owned()) };
    let place = parent
        .members()
        .iter()
        .position(|member| member.name == name && is_our_server(&member.value.value()));
    let Some(place) = place else { return Ok(text.to_owned()) };
    let without = jsonc::remove(text, parent, place);
    prune(&without, at)
}

fn take_status_line(text: &str) -> Result<String, WireError> {
    let Some(root) = jsonc::parse(text)? else { return Ok(text.to_owned()) };
    let place = root.members().iter().position(|member| member.name == "statusLine");
    let Some((place, member)) = place.and_then(|place| Some((place, root.members().get(place)?))) else {
        return Ok(text.to_owned());
    };
    let Some(command) = member.value.get("command") else { return Ok(text.to_owned()) };
    let line = command.value();
    Ok(match line.as_str().and_then(wrapped_command) {
        None => text.to_owned(),
        Some(None) => jsonc::remove(text, &root, place),
        Some(Some(inner)) => jsonc::replace(text, command, &Value::from(inner)),
    })
}

/// Takes out hooks of ours, of whatever event, whose command the caller wants gone.
fn take_hooks_where(text: &str, wanted: &mut dyn FnMut(&Node) -> bool) -> Result<String, WireError> {
    let mut text = text.to_owned();
    for _ in 0..MAX_ENTRIES {
        let Some(root) = jsonc::parse(&text)? else { return Ok(text) };
        let Some(hooks) = root.get("hooks") else { return Ok(text) };
        let found = hooks.members().iter().find_map(|event| {
            let way = vec!["hooks".to_owned(), event.name.clone()];
            find_hook(&event.value, wanted).map(|steps| (way, steps))
        });
        let Some((way, steps)) = found else { return Ok(text) };
        text = remove_hook(&text, &root, &way, &steps);
        text = prune(&text, &way)?;
    }
    Ok(text)
}

/// Steps from an event's array to a hook of ours: an element, or an element of a group.
fn find_hook(event: &Node, wanted: &mut dyn FnMut(&Node) -> bool) -> Option<Vec<usize>> {
    for (index, item) in event.items().iter().enumerate() {
        if is_our_hook(&item.value()) && commands(item).any(&mut *wanted) {
            return Some(vec![index]);
        }
        let group = item.get("hooks").map(Node::items).unwrap_or_default();
        for (inner, hook) in group.iter().enumerate() {
            if is_our_hook(&hook.value()) && commands(hook).any(&mut *wanted) {
                // A group of ours alone goes as a whole.
                return Some(if group.len() == 1 { vec![index] } else { vec![index, inner] });
            }
        }
    }
    None
}

fn remove_hook(text: &str, root: &Node, way: &[String], steps: &[usize]) -> String {
    let Some(event) = root.at(way) else { return text.to_owned() };
    match steps {
        [index] => jsonc::remove(text, event, *index),
        [index, inner] => {
            let group = event.items().get(*index).and_then(|group| group.get("hooks"));
            group.map_or_else(|| text.to_owned(), |group| jsonc::remove(text, group, *inner))
        }
        _ => text.to_owned(),
    }
}

/// Takes out what became empty, from the end of a way on.
fn prune(text: &str, way: &[String]) -> Result<String, WireError> {
    let Some((name, above)) = way.split_last() else { return Ok(text.to_owned()) };
    let Some(root) = jsonc::parse(text)? else { return Ok(text.to_owned()) };
    let Some(parent) = root.at(above) else { return Ok(text.to_owned()) };
    let place = parent.members().iter().position(|member| {
        let empty = member.value.items().is_empty() && member.value.members().is_empty();
        let brackets = text.get(member.value.span.clone()).unwrap_or_default();
        // A remark between the brackets is somebody's.
        member.name == *name && empty && !brackets.contains('/')
    });
    match place {
        Some(place) => prune(&jsonc::remove(text, parent, place), above),
        None => Ok(text.to_owned()),
    }
}

fn shared(what: &str, line: &str) -> WireError {
    WireError::Taken { what: format!("{what} runs penpal and more, and stays; make two of it: {line}") }
}

/// Texts within a hook's entry that are commands of ours.
fn commands(node: &Node) -> impl Iterator<Item = &Node> {
    lines(node).filter(|found| found.value().as_str().is_some_and(is_our_command))
}

/// Texts within a hook's entry that are commands.
fn lines(node: &Node) -> impl Iterator<Item = &Node> {
    let own = ["command", "bash"].into_iter().filter_map(|name| node.get(name));
    let inner = node.get("hooks").map(Node::items).unwrap_or_default().iter();
    let inner = inner.flat_map(|hook| ["command", "bash"].into_iter().filter_map(|name| hook.get(name)));
    own.chain(inner)
}

fn command_of(value: &Value) -> Option<String> {
    let own = value.get("command").or_else(|| value.get("bash"));
    let own = own.or_else(|| value.pointer("/hooks/0/command"));
    own.and_then(Value::as_str).map(str::to_owned)
}

fn value_of(root: Option<&Node>) -> Value {
    root.map_or_else(|| json!({}), Node::value)
}

/// What is not ours is the same before and after: an edit that changes anything else is not made.
fn check(before: &Value, after: &Value) -> Result<(), WireError> {
    if theirs(before) == theirs(after) {
        return Ok(());
    }
    Err(WireError::Shape { what: "it cannot be changed without losing something".to_owned() })
}

/// A value without anything of ours and without what is empty; `None` when nothing is left.
fn theirs(value: &Value) -> Option<Value> {
    match value {
        Value::Object(members) => {
            let mut members = members.clone();
            let wrapped = members.get("command").and_then(Value::as_str).and_then(wrapped_command).flatten();
            if let Some(inner) = wrapped {
                members.insert("command".to_owned(), Value::from(inner));
            } else if is_our_hook(value) || is_our_server(value) || is_our_group(value) {
                return None;
            }
            let left: serde_json::Map<String, Value> =
                members.into_iter().filter_map(|(name, value)| Some((name, theirs(&value)?))).collect();
            (!left.is_empty()).then_some(Value::Object(left))
        }
        Value::Array(items) => {
            let left: Vec<Value> = items.iter().filter_map(theirs).collect();
            (!left.is_empty()).then_some(Value::Array(left))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(value.clone()),
    }
}

/// A group that holds hooks of ours only.
fn is_our_group(value: &Value) -> bool {
    let hooks = value.get("hooks").and_then(Value::as_array);
    hooks.is_some_and(|hooks| !hooks.is_empty() && hooks.iter().all(is_our_hook))
}
