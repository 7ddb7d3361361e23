//! Wiring as text: what a configuration file looks like with penpal in it, and without it again.
//!
//! Pure: no file is touched here. Files keep their comments, order, indentation and line ends, because entries are put in and taken
//! out of the text itself; each result is read again and compared with what was meant, and anything else is an error.
//!
//! Entries are recognised by what they run (a program called `penpal`), not by a record, so that a file that somebody changed since
//! is unwired as well.

mod json;
mod jsonc;
mod ours;
mod program;
mod toml_table;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

pub use ours::{is_our_command, is_our_script, names_ours, shared_line, wrapped_command};
pub use program::{Program, quote, split};

/// What one file should hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// Which file.
    pub path: PathBuf,
    /// What it should hold.
    pub content: Content,
}

/// Kinds of content.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Entries in a JSON file, which may have comments and trailing commas.
    Json(Vec<JsonEntry>),
    /// The table `mcp_servers.penpal` of a TOML file.
    Toml {
        /// Program and its arguments.
        words: Vec<String>,
    },
    /// A file that is penpal's alone.
    Whole {
        /// Its text.
        text: String,
        /// Whether it is run.
        executable: bool,
    },
}

/// One entry of a JSON file.
#[derive(Debug, Clone, PartialEq)]
pub enum JsonEntry {
    /// A member of an object; the objects on the way are made.
    Member {
        /// Names on the way to the object.
        at: Vec<String>,
        /// Its name.
        name: String,
        /// Its value.
        value: Value,
    },
    /// An element of an array that runs a command of ours; the array and the objects on the way are made.
    Element {
        /// Names on the way to the array.
        at: Vec<String>,
        /// The element.
        value: Value,
    },
    /// `statusLine` of Claude Code: a command that is there is wrapped.
    StatusLine {
        /// Our command.
        command: String,
    },
    /// A member that the file needs and that stays when others use it.
    Default {
        /// Its name.
        name: String,
        /// Its value.
        value: Value,
    },
}

impl JsonEntry {
    /// See [`JsonEntry::Member`].
    #[must_use]
    pub fn member(at: &[&str], name: &str, value: Value) -> Self {
        Self::Member { at: at.iter().map(|part| (*part).to_owned()).collect(), name: name.to_owned(), value }
    }

    /// See [`JsonEntry::Element`].
    #[must_use]
    pub fn element(at: &[&str], value: Value) -> Self {
        Self::Element { at: at.iter().map(|part| (*part).to_owned()).collect(), value }
    }

    /// See [`JsonEntry::Default`].
    #[must_use]
    pub fn default(name: &str, value: Value) -> Self {
        Self::Default { name: name.to_owned(), value }
    }
}

impl Wish {
    /// Entries in a JSON file.
    #[must_use]
    pub fn json(path: PathBuf, entries: Vec<JsonEntry>) -> Self {
        Self { path, content: Content::Json(entries) }
    }

    /// Our MCP server in a TOML file.
    #[must_use]
    pub fn toml_server(path: PathBuf, program: &Program) -> Self {
        Self { path, content: Content::Toml { words: program.words(&["mcp"]) } }
    }

    /// A file that is penpal's alone.
    #[must_use]
    pub fn whole(path: PathBuf, text: String, executable: bool) -> Self {
        Self { path, content: Content::Whole { text, executable } }
    }

    /// The file's text with the content in it. The same text when it is in already.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn put(&self, text: Option<&str>) -> Result<String, WireError> {
        match &self.content {
            Content::Json(entries) => json::put(text.unwrap_or_default(), entries),
            Content::Toml { words } => toml_table::put(text.unwrap_or_default(), words),
            Content::Whole { text: whole, .. } => match text {
                Some(other) if !is_our_script(other) => {
                    Err(WireError::Taken { what: "the file is somebody else's".to_owned() })
                }
                Some(_) | None => Ok(whole.clone()),
            },
        }
    }

    /// The file's text without anything of ours.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn take(&self, text: &str) -> Result<Without, WireError> {
        match &self.content {
            Content::Json(entries) => json::take(text, entries),
            Content::Toml { .. } => toml_table::take(text),
            Content::Whole { .. } if is_our_script(text) => Ok(Without { text: String::new(), bare: true }),
            // Somebody wrote something of theirs into a list of hooks.
            Content::Whole { .. } if is_json(&self.path) => json::take(text, &json::hook_list()),
            Content::Whole { .. } => Ok(Without { text: text.to_owned(), bare: false }),
        }
    }

    /// What takes our entries out of a file of which nothing but its path is known any more.
    ///
    /// Whose file it is shows in its name only: one that holds nothing but our commands may hold settings as well.
    #[must_use]
    pub fn of_file(path: PathBuf) -> Self {
        let ours_alone = path.file_stem().is_some_and(|stem| stem == "penpal");
        let content = if is_json(&path) && !ours_alone {
            Content::Json(vec![
                JsonEntry::member(&["mcpServers"], "penpal", Value::Null),
                JsonEntry::member(&["mcp"], "penpal", Value::Null),
                JsonEntry::element(&["hooks"], Value::Null),
                JsonEntry::StatusLine { command: String::new() },
                JsonEntry::default("version", json!(1)),
            ])
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            Content::Toml { words: Vec::new() }
        } else {
            Content::Whole { text: String::new(), executable: false }
        };
        Self { path, content }
    }

    /// What it is, for a person: `MCP server`, `5 hooks`.
    #[must_use]
    pub fn parts(&self) -> Vec<String> {
        let entries = match &self.content {
            Content::Json(entries) => entries.as_slice(),
            Content::Toml { .. } => return vec!["MCP server".to_owned()],
            Content::Whole { text, .. } => {
                let hooks = text.matches(" hook ").count().max(1);
                let script = text.contains("import ");
                return vec![if script { "plugin".to_owned() } else { plural(hooks) }];
            }
        };
        let mut parts = Vec::new();
        let mut hooks = 0;
        for entry in entries {
            match entry {
                JsonEntry::Member { .. } => parts.push("MCP server".to_owned()),
                JsonEntry::Element { .. } => hooks += 1,
                JsonEntry::StatusLine { .. } | JsonEntry::Default { .. } => {}
            }
        }
        if hooks > 0 {
            parts.push(plural(hooks));
        }
        if entries.iter().any(|entry| matches!(entry, JsonEntry::StatusLine { .. })) {
            parts.push("status line".to_owned());
        }
        parts
    }
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json" || extension == "jsonc")
}

fn plural(hooks: usize) -> String {
    if hooks == 1 { "1 hook".to_owned() } else { format!("{hooks} hooks") }
}

/// A text without anything of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Without {
    /// What is left.
    pub text: String,
    /// Nothing but the file's frame is left: it can go, if penpal made it.
    pub bare: bool,
}

/// A file cannot be wired or unwired.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// It is not what its name says.
    #[error("line {line}: {what}")]
    Unreadable {
        /// Where, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// Something else stands where ours would.
    #[error("{what}")]
    Taken {
        /// What stands there.
        what: String,
    },
    /// It has a form in which ours cannot be put or found.
    #[error("{what}")]
    Shape {
        /// What is in the way.
        what: String,
    },
}

/// A hook as Claude Code and those after it write it.
pub(crate) fn hook_group(matcher: Option<&str>, command: &str, timeout: u32) -> Value {
    let hook = json!({ "type": "command", "command": command, "timeout": timeout });
    match matcher {
        Some(matcher) => {
            json!({ "matcher": matcher, "hooks": [{ "name": "penpal", "type": "command", "command": command, "timeout": timeout }] })
        }
        None => json!({ "hooks": [hook] }),
    }
}

/// An MCP server as `claude mcp add` writes it.
pub(crate) fn mcp_stdio(program: &Program) -> Value {
    let (command, args) = program.command_and_args(&["mcp"]);
    json!({ "type": "stdio", "command": command, "args": args, "env": {} })
}

/// An MCP server as most write it.
pub(crate) fn mcp_plain(program: &Program) -> Value {
    let (command, args) = program.command_and_args(&["mcp"]);
    json!({ "command": command, "args": args })
}
