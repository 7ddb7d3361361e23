//! A failure as people and scripts see it: one line of fact, one of what to do, and an exit status.

use std::borrow::Cow;
use std::error::Error;
use std::process::ExitCode;

use super::output::Output;
use crate::admin::{Failure, Reply};
use crate::config::SettingsError;
use crate::engine::EngineError;
use crate::folder::KeysError;
use crate::relay::RelayError;

/// Output that cannot be written.
const OUTPUT: &str = "output";

/// What went wrong.
#[derive(Debug)]
pub(super) struct Problem {
    code: Cow<'static, str>,
    message: String,
    hint: String,
    status: u8,
}

impl Problem {
    pub(super) fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), hint: String::new(), status: 1 }
    }

    /// What was done could not be told.
    pub(super) fn output(message: String) -> Self {
        Self::new(OUTPUT, message).hint("give the output another place; what was to be done may be done")
    }

    /// The relay answered something else than was asked.
    pub(super) fn unexpected() -> Self {
        Self::new("unexpected", "the running relay gives another answer than this program expects")
            .hint("use the penpal-relay of the version that runs")
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The command line or a setting was wrong.
    pub(super) fn usage(mut self) -> Self {
        self.status = 2;
        self
    }

    /// A person must decide.
    pub(super) fn person(mut self) -> Self {
        self.status = 4;
        self
    }

    /// A fault of the program.
    pub(super) fn internal(mut self) -> Self {
        self.status = 70;
        self
    }

    /// Everything was said already.
    pub(super) fn quiet() -> Self {
        Self::new("", "")
    }

    /// Prints it and gives the exit status.
    pub(super) fn report(self, json: bool) -> ExitCode {
        if self.code.is_empty() {
            return ExitCode::from(self.status);
        }
        // Where nothing can be written, or half a shape was, no other comes out whole.
        if json && self.code != OUTPUT {
            let reply = Reply::failed(&self.code, self.message.clone(), &self.hint);
            Output::stdout().json(&reply).ok();
        }
        let mut stderr = Output::stderr();
        // Where not even an error can be printed, the status still tells.
        stderr.line(&format!("error: {}", self.message)).ok();
        if !self.hint.is_empty() {
            stderr.line(&format!("hint: {}", self.hint)).ok();
        }
        ExitCode::from(self.status)
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// The error and all its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl From<RelayError> for Problem {
    fn from(error: RelayError) -> Self {
        let message = chain(&error);
        match error {
            RelayError::InUse { .. } => Self::new("folder-in-use", message)
                .hint("stop the relay that uses it, or choose another folder with --data"),
            RelayError::Folder { .. } => {
                Self::new("folder", message).hint("choose a folder that this user may write with --data")
            }
            RelayError::Keys(KeysError::Missing { .. }) => Self::new("keys-missing", message)
                .hint("put the keys back from their backup; --keys DIR names another folder"),
            RelayError::Keys(KeysError::Open { path, .. }) => {
                Self::new("keys-open", message).hint(format!("chmod 600 {}", path.display()))
            }
            RelayError::Keys(_) => Self::new("keys", message).hint("look at the folder given by --keys"),
            RelayError::Place(_) => {
                Self::new("place", message).hint("remove the file: the next start writes it anew")
            }
            RelayError::Store { .. } => Self::new("store", message)
                .hint("nothing was changed; penpal-relay doctor says what can be done"),
            RelayError::Engine(error) => error.into(),
            RelayError::Bind(_) => {
                Self::new("listen", message).hint("choose another address or port with --listen")
            }
            RelayError::Admin { .. } => Self::new("admin-socket", message)
                .hint("choose a folder that this user may write with --data"),
            RelayError::Metrics { .. } => {
                Self::new("metrics", message).hint("choose another address or port with --metrics")
            }
            RelayError::System { .. } => Self::new("system", message),
        }
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        let message = chain(&error);
        match error {
            EngineError::Start(_) => {
                Self::new("data", message).hint("use the keys folder that belongs to this data (--keys DIR)")
            }
            EngineError::Commit(_) | EngineError::Rows(_) | EngineError::Reopen(_) => {
                Self::new("storage-failed", message)
                    .hint("look at the disk and start again: everything accepted is kept")
            }
            EngineError::Keys(_) => Self::new("keys", message).hint("look at the folder given by --keys"),
            EngineError::Close(_) => {
                Self::new("close", message).hint("start again: everything accepted is kept")
            }
            EngineError::Refused { .. } | EngineError::Panicked => Self::new("internal", message)
                .hint("start again: everything accepted is kept; please report this")
                .internal(),
        }
    }
}

impl From<SettingsError> for Problem {
    fn from(error: SettingsError) -> Self {
        Self::new("settings", chain(&error)).hint("penpal-relay serve --help lists the settings").usage()
    }
}

impl From<anyhow::Error> for Problem {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<RelayError>() {
            Ok(error) => error.into(),
            Err(error) => Self::new("failed", format!("{error:#}")),
        }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::new(failure.code, failure.message).hint(failure.hint)
    }
}
