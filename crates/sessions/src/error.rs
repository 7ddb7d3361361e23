//! What can go wrong, one type an operation.

use penpal_protocol::cbor::CborError;
use penpal_protocol::text::Label;

use crate::command::Table;

/// A stored record cannot be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The key has another length than this table's keys.
    #[error("a key of table {table:?} has {got} bytes")]
    Key {
        /// The table.
        table: Table,
        /// Bytes of the key.
        got: usize,
    },
    /// The record is malformed.
    #[error("a record of table {table:?} is malformed: {source}")]
    Record {
        /// The table.
        table: Table,
        /// What is wrong.
        source: CborError,
    },
    /// The record is of a later format.
    #[error("a record of table {table:?} has format {got}, this version reads up to {known}")]
    Format {
        /// The table.
        table: Table,
        /// Format of the record.
        got: u16,
        /// Newest known format.
        known: u16,
    },
}

/// No such session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such session")]
pub struct UnknownSession;

/// A session cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// As many live sessions as there may be.
    #[error("{max} sessions are live, no more are taken")]
    TooMany {
        /// The limit.
        max: usize,
    },
}

/// A session cannot have this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// No such session.
    #[error("there is no such session")]
    Unknown,
    /// `desk` or `me`.
    #[error("no session can be called {name:?}")]
    Reserved {
        /// The word.
        name: Label,
    },
    /// A live session has it.
    #[error("a live session is called {name:?} already")]
    Taken {
        /// The name.
        name: Label,
    },
    /// As many live sessions as there may be.
    #[error("{max} sessions are live, no more are taken")]
    TooMany {
        /// The limit.
        max: usize,
    },
}

/// A session cannot be closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// No such session.
    #[error("there is no such session")]
    Unknown,
    /// It belongs to an agent and ends with it.
    #[error("session {name:?} was not opened by hand")]
    NotByHand {
        /// Its name.
        name: Label,
    },
}
