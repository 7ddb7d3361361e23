//! Why the engine cannot go on.

use penpal_local_api::error::{ApiError, ErrorCode};

/// The engine cannot go on in this process. The next start opens what is on disk.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fate {
    /// A file of the home is unusable; the message names it.
    #[error("{0}")]
    Home(String),
    /// The disk is full: what waits is answered so, and the machines are opened again.
    #[error("the disk is full")]
    Full,
    /// A step changed more than the log takes at once: a defect, and it did not happen. What waits is answered so, and the machines are opened again.
    #[error("a step was too large for the log: {0}")]
    TooMuch(String),
    /// A defect.
    #[error("{0}")]
    Defect(String),
}

impl Fate {
    pub(super) fn home(what: &str, error: &dyn std::fmt::Display) -> Self {
        Self::Home(format!("{what}: {error}"))
    }

    /// What callers are told.
    pub(super) fn api(&self) -> ApiError {
        match self {
            Self::Home(text) => ApiError::new(ErrorCode::HomeUnusable, text.clone()),
            Self::Full => {
                ApiError::new(ErrorCode::DiskFull, "the disk of the node's home is full; nothing was lost")
            }
            Self::TooMuch(_) => ApiError::new(ErrorCode::Internal, format!("{self}; nothing of it happened")),
            Self::Defect(text) => ApiError::new(ErrorCode::Internal, text.clone()),
        }
    }
}
