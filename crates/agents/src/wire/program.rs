//! The program as configuration files name it, and the shell's way of writing words.

/// How penpal is started from a file: an absolute path, and the home when it is not the usual one.
///
/// The strings made from it never depend on the version: Codex trusts a hook by the hash of its command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    path: String,
    home: Option<String>,
}

impl Program {
    /// A program at an absolute path; `home` only when it is not the usual one.
    #[must_use]
    pub fn new(path: &str, home: Option<&str>) -> Self {
        Self { path: path.to_owned(), home: home.map(str::to_owned) }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Program, home and the rest, as a list of words.
    #[must_use]
    pub fn words(&self, rest: &[&str]) -> Vec<String> {
        let mut words = vec![self.path.clone()];
        if let Some(home) = &self.home {
            words.extend(["--home".to_owned(), home.clone()]);
        }
        words.extend(rest.iter().map(|word| (*word).to_owned()));
        words
    }

    /// The same as one line for a shell.
    #[must_use]
    pub fn shell(&self, rest: &[&str]) -> String {
        let words: Vec<String> = self.words(rest).iter().map(|word| quote(word)).collect();
        words.join(" ")
    }

    /// Program, and its arguments.
    pub(crate) fn command_and_args(&self, rest: &[&str]) -> (String, Vec<String>) {
        let mut words = self.words(rest);
        let args = words.split_off(1);
        (self.path.clone(), args)
    }
}

/// A word as a POSIX shell reads it: in single quotes where it needs any.
#[must_use]
pub fn quote(word: &str) -> String {
    let plain = |one: char| {
        one.is_ascii_alphanumeric()
            || matches!(one, '_' | '-' | '.' | '/' | '@' | '%' | '+' | '=' | ':' | ',')
    };
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The words of a simple shell line; `None` when it does not end its quotes.
///
/// Knows single and double quotes and backslashes. Everything else (`|`, `;`, `$`) is a character like any other: this recognises
/// lines that [`quote`] wrote, it does not run them.
#[must_use]
pub fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = line.chars();
    while let Some(one) = rest.next() {
        match one {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let into = word.get_or_insert_default();
                loop {
                    match rest.next()? {
                        '\'' => break,
                        inner => into.push(inner),
                    }
                }
            }
            '"' => {
                let into = word.get_or_insert_default();
                loop {
                    match rest.next()? {
                        '"' => break,
                        '\\' => match rest.next()? {
                            inner @ ('"' | '\\' | '$' | '`') => into.push(inner),
                            inner => into.extend(['\\', inner]),
                        },
                        inner => into.push(inner),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(rest.next()?),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Some(words)
}

/// The first command of a shell line, and whether the line goes on after it with another one, a file or the like.
pub(super) fn first_command(line: &str) -> (&str, bool) {
    let line = line.trim();
    let mut quote = None;
    let mut chars = line.char_indices();
    while let Some((at, one)) = chars.next() {
        match (quote, one) {
            (None | Some('"'), '\\') => drop(chars.next()),
            (None, '\'' | '"') => quote = Some(one),
            (Some(open), close) if open == close => quote = None,
            (None, ';' | '&' | '|' | '<' | '>' | '(' | ')' | '\n' | '\r') => {
                return (line.get(..at).unwrap_or_default(), true);
            }
            _ => {}
        }
    }
    (line, false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_are_the_same_in_every_version() {
        let program = Program::new("/home/alice/.cargo/bin/penpal", None);
        assert_eq!(
            program.shell(&["hook", "codex", "Stop"]),
            "/home/alice/.cargo/bin/penpal hook codex Stop"
        );
        let elsewhere = Program::new("/home/alice/my tools/penpal", Some("/tmp/it's"));
        assert_eq!(elsewhere.shell(&["mcp"]), r"'/home/alice/my tools/penpal' --home '/tmp/it'\''s' mcp");
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_read_again(words in proptest::collection::vec("\\PC{0,12}", 1..5)) {
            let line: Vec<String> = words.iter().map(|word| quote(word)).collect();
            prop_assert_eq!(split(&line.join(" ")), Some(words));
        }
    }
}
