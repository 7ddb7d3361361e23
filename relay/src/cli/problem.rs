//! A failure as people and scripts see it: one line of fact, one of what to do, and an exit status.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use super::output::Output;
use crate::admin::{AskError, Failure, Reply};
use crate::code::Code;
use crate::config::SettingsError;
use crate::engine::EngineError;
use crate::folder::KeysError;
use crate::relay::RelayError;

/// What went wrong.
#[derive(Debug)]
pub(super) struct Problem {
    /// None when everything was said already.
    failure: Option<Failure>,
    status: u8,
}

impl Problem {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        let failure = Failure { code: code.to_string(), message: message.into(), hint: String::new() };
        Self { failure: Some(failure), status: code.exit_status() }
    }

    /// What was done could not be told.
    pub(super) fn output(message: String) -> Self {
        Self::new(Code::Output, message)
            .hint("give the output another place; what was to be done may be done")
    }

    /// The relay answered something else than was asked.
    pub(super) fn unexpected() -> Self {
        Self::new(Code::Unexpected, "the running relay gives another answer than this program expects")
            .hint("use the penpal-relay of the version that runs")
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Some(failure) = &mut self.failure {
            failure.hint = hint.into();
        }
        self
    }

    /// Nothing is in the folder.
    pub(super) fn no_relay(data: &Path) -> Self {
        let data = data.display();
        Self::new(Code::NoRelay, format!("there is no relay in {data}"))
            .hint(format!("penpal-relay serve --data {data}"))
    }

    /// Everything was said already.
    pub(super) fn quiet() -> Self {
        Self { failure: None, status: 1 }
    }

    /// Prints it and gives the exit status.
    pub(super) fn report(self, json: bool) -> ExitCode {
        let status = ExitCode::from(self.status);
        let Some(failure) = self.failure else { return status };
        let mut stderr = Output::stderr();
        // Where not even an error can be printed, the status still tells.
        stderr.line(&format!("error: {}", failure.message)).ok();
        if !failure.hint.is_empty() {
            stderr.line(&format!("hint: {}", failure.hint)).ok();
        }
        // Where nothing can be written, or half a shape was, no other comes out whole.
        if json && failure.code != Code::Output.as_str() {
            Output::stdout().json(&Reply::Failed { v: 1, error: failure }).ok();
        }
        status
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.failure.as_ref().map_or("", |failure| &failure.message))
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
            RelayError::InUse { .. } => Self::new(Code::FolderInUse, message)
                .hint("stop the relay that uses it, or choose another folder with --data"),
            RelayError::Folder { .. } => {
                Self::new(Code::Folder, message).hint("choose a folder that this user may write with --data")
            }
            RelayError::Keys(KeysError::Missing { .. }) => Self::new(Code::KeysMissing, message)
                .hint("put the keys back from their backup; --keys DIR names another folder"),
            RelayError::Keys(KeysError::Open { path, .. }) => {
                Self::new(Code::KeysOpen, message).hint(format!("chmod 600 {}", path.display()))
            }
            RelayError::Keys(_) => Self::new(Code::Keys, message).hint("look at the folder given by --keys"),
            RelayError::Place(_) => {
                Self::new(Code::Place, message).hint("remove the file: the next start writes it anew")
            }
            RelayError::Store { .. } => Self::new(Code::Store, message)
                .hint("nothing was changed; penpal-relay doctor says what can be done"),
            RelayError::Engine(error) => error.into(),
            RelayError::Bind(_) => {
                Self::new(Code::Listen, message).hint("choose another address or port with --listen")
            }
            RelayError::Admin { .. } => Self::new(Code::AdminSocket, message)
                .hint("choose a folder that this user may write with --data"),
            RelayError::Metrics { .. } => {
                Self::new(Code::Metrics, message).hint("choose another address or port with --metrics")
            }
            RelayError::System { .. } => Self::new(Code::System, message),
        }
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        let message = chain(&error);
        match error {
            EngineError::Start(_) => Self::new(Code::Data, message)
                .hint("use the keys folder that belongs to this data (--keys DIR)"),
            EngineError::Commit(_) | EngineError::Rows(_) | EngineError::Reopen(_) => {
                Self::new(Code::StorageFailed, message)
                    .hint("look at the disk and start again: everything accepted is kept")
            }
            EngineError::Keys(_) => Self::new(Code::Keys, message).hint("look at the folder given by --keys"),
            EngineError::Close(_) => {
                Self::new(Code::StorageFailed, message).hint("start again: everything accepted is kept")
            }
            EngineError::Refused { .. } | EngineError::Panicked => Self::new(Code::Internal, message)
                .hint("start again: everything accepted is kept; please report this"),
        }
    }
}

impl From<SettingsError> for Problem {
    fn from(error: SettingsError) -> Self {
        Self::new(Code::Settings, chain(&error)).hint("penpal-relay serve --help lists the settings")
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        let message = chain(&error);
        match error {
            AskError::NoRelay { data } => Self::no_relay(&data),
            AskError::Unanswered { .. } => {
                Self::new(Code::Unanswered, message).hint("run it as root or as the user of the relay; its log (journalctl -u penpal-relay) tells what it does")
            }
            AskError::Relay(error) => error.into(),
        }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        // A relay of a later version may name what this one does not know.
        Self { failure: Some(failure), status: 1 }
    }
}
