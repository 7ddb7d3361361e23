//! Everything that the program prints.

use std::io::{self, Write};

use serde::Serialize;

use super::problem::Problem;
use crate::code::Code;

/// Where text goes. A reader that has gone away is quiet success.
pub(super) struct Output(Box<dyn Write>);

impl Output {
    /// Data.
    pub(super) fn stdout() -> Self {
        Self(Box::new(io::stdout()))
    }

    /// Progress, warnings, errors.
    pub(super) fn stderr() -> Self {
        Self(Box::new(io::stderr()))
    }

    /// Prints one line.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Problem> {
        written(writeln!(self.0, "{text}").and_then(|()| self.0.flush()))
    }

    /// Prints a value as one line of JSON.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), Problem> {
        let text =
            serde_json::to_string(value).map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
        self.line(&text)
    }

    /// Prints over the present line of a terminal.
    pub(super) fn progress(&mut self, text: &str) {
        // Progress that cannot be shown is no reason to stop.
        write!(self.0, "\r{text}\x1b[K").and_then(|()| self.0.flush()).ok();
    }
}

/// What became of text that was written: a reader that has gone away is no problem, a full disk is.
pub(super) fn written(outcome: io::Result<()>) -> Result<(), Problem> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Problem::output(format!("the output cannot be written: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
