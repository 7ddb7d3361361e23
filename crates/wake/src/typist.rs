//! When the terminal supervisor may type, and what.

use std::time::Duration;

use crate::keys::{Keys, Typed};

/// How long the keyboard must have been quiet before anything is typed.
pub const QUIET: Duration = Duration::from_millis(500);

/// Time between the text and the return that sends it: some agents swallow a return that comes in the same burst.
pub const RETURN_AFTER: Duration = Duration::from_millis(400);

/// What the supervisor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Take what waits; answered by [`Typist::handle_taken`].
    Take,
    /// Write the text that was taken; answered by [`Typist::handle_written`].
    Text {
        /// As a bracketed paste: the agent's program asked for it, and line breaks do not send there.
        pasted: bool,
    },
    /// Write a return; answered by [`Typist::handle_written`].
    Return,
    /// Everything is written: what was taken reached the agent.
    Commit,
    /// Do not commit: the person typed in between, and what was taken is unread again.
    Leave,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    /// Nobody wants anything.
    #[default]
    Rest,
    /// A wake is wanted as soon as it does not disturb.
    Wanted,
    /// Asked for what waits.
    Taking,
    /// Something was taken.
    Taken,
    /// The text is being written.
    Writing,
    /// It is written; the return follows then.
    Written(Duration),
    /// The return is being written.
    Returning,
    /// All is written.
    Sent,
}

/// Decides when to type into an agent's terminal.
///
/// # How it is driven
///
/// Bytes pass untouched whatever it says; it is only told of them. After every input [`Typist::poll`] until `None`, then again when
/// [`Typist::poll_timeout`] has passed. The shell asks [`Act::Take`] and the writes in order and reports each.
///
/// # What always holds
///
/// Nothing is typed while a draft may stand in the line, or within [`QUIET`] of a key. No return follows when the person pressed a key
/// after the text was written: the line is theirs. [`Act::Commit`] comes only after the return was written.
#[derive(Debug, Default)]
pub struct Typist {
    keys: Keys,
    draft: bool,
    last_key: Option<Duration>,
    stage: Stage,
    leave: bool,
    paste: PasteMode,
}

impl Typist {
    /// A terminal in which nothing happened yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The person's terminal sent bytes to the agent.
    pub fn handle_keys(&mut self, bytes: &[u8], now: Duration) {
        match self.keys.read(bytes) {
            Typed::Nothing => return,
            Typed::Draft => self.draft = true,
            Typed::Empty => self.draft = false,
        }
        self.last_key = Some(now);
        if matches!(self.stage, Stage::Writing | Stage::Written(_)) {
            // Ours stands in one line with theirs: it is theirs to send or to throw away.
            self.give_up();
        }
    }

    /// The agent wrote to its terminal.
    pub fn handle_output(&mut self, bytes: &[u8]) {
        self.paste.read(bytes);
    }

    /// The node wants the session woken: it is idle and something waits.
    pub fn handle_wanted(&mut self) {
        if self.stage == Stage::Rest {
            self.stage = Stage::Wanted;
        }
    }

    /// What waited was taken, or nothing did.
    pub fn handle_taken(&mut self, something: bool) {
        if self.stage == Stage::Taking {
            self.stage = if something { Stage::Taken } else { Stage::Rest };
        }
    }

    /// A write that was asked for succeeded or failed.
    pub fn handle_written(&mut self, ok: bool, now: Duration) {
        match (self.stage, ok) {
            (Stage::Writing, true) => self.stage = Stage::Written(now.saturating_add(RETURN_AFTER)),
            (Stage::Returning, true) => self.stage = Stage::Sent,
            (Stage::Writing | Stage::Returning, false) => {
                self.draft = true;
                self.give_up();
            }
            _ => {}
        }
    }

    /// What to do now.
    pub fn poll(&mut self, now: Duration) -> Option<Act> {
        if std::mem::take(&mut self.leave) {
            return Some(Act::Leave);
        }
        let (stage, act) = match self.stage {
            Stage::Wanted if self.is_free(now) => (Stage::Taking, Act::Take),
            Stage::Taken if self.is_free(now) => (Stage::Writing, Act::Text { pasted: self.paste.on }),
            Stage::Taken => (Stage::Rest, Act::Leave),
            Stage::Written(at) if at <= now => (Stage::Returning, Act::Return),
            Stage::Sent => (Stage::Rest, Act::Commit),
            Stage::Rest
            | Stage::Wanted
            | Stage::Taking
            | Stage::Writing
            | Stage::Written(_)
            | Stage::Returning => return None,
        };
        self.stage = stage;
        Some(act)
    }

    /// When [`Typist::poll`] has something to say though nothing happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        match self.stage {
            Stage::Wanted if !self.draft => self.last_key.map(|at| at.saturating_add(QUIET)),
            Stage::Written(at) => Some(at),
            Stage::Rest
            | Stage::Wanted
            | Stage::Taking
            | Stage::Taken
            | Stage::Writing
            | Stage::Returning
            | Stage::Sent => None,
        }
    }

    fn give_up(&mut self) {
        self.stage = Stage::Rest;
        self.leave = true;
    }

    fn is_free(&self, now: Duration) -> bool {
        !self.draft && self.last_key.is_none_or(|at| now >= at.saturating_add(QUIET))
    }
}

/// Whether the agent's program asked its terminal to mark pastes: `CSI ? 2004 h` and `l` in its output.
#[derive(Debug, Default)]
struct PasteMode {
    on: bool,
    tail: Vec<u8>,
}

const PASTE: &[u8] = b"\x1b[?2004";

impl PasteMode {
    fn read(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        let ends = self.tail.windows(PASTE.len() + 1).filter(|window| window.starts_with(PASTE));
        if let Some(last) = ends.filter_map(|window| window.last()).rfind(|end| matches!(end, b'h' | b'l')) {
            self.on = *last == b'h';
        }
        // What may be the beginning of the next one.
        let keep = self.tail.len().saturating_sub(PASTE.len());
        self.tail.drain(..keep);
    }
}
