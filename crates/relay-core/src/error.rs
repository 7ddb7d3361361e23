//! What can go wrong inside the machine. Nothing here is caused by a peer.

use crate::rows::records::RecordError;
use crate::rows::{RowsError, Table};

/// The machine cannot be made from what is stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data was written under another graph key: the keys folder belongs to another relay.
    #[error("the data was written with other keys than these")]
    WrongKeys,
    /// A stored row cannot be read back.
    #[error("row {key} of table {table:?} is unusable")]
    Record {
        /// Which table.
        table: Table,
        /// Which row, in hexadecimal.
        key: String,
        /// What is wrong with it.
        source: RecordError,
    },
    /// Storage failed.
    #[error(transparent)]
    Rows(#[from] RowsError),
}

/// A handler could not finish.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// A stored row cannot be read back; whatever needs it is refused, the rest goes on.
    #[error("a stored row is unusable")]
    Record {
        /// Which table.
        table: Table,
        /// Which row.
        key: Vec<u8>,
        /// What is wrong with it.
        source: RecordError,
    },
    /// Storage failed; nothing goes on.
    #[error(transparent)]
    Rows(#[from] RowsError),
}

/// Writes a key as it is shown to an operator.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl From<Fault> for StartError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Record { table, key, source } => Self::Record { table, key: hex(&key), source },
            Fault::Rows(error) => Self::Rows(error),
        }
    }
}
