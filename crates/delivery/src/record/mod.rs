//! Stored rows. Each is a version byte and a CBOR map with integer keys; keys are never reused.

mod copy;
mod key;
mod mail;
mod pair;
mod state;
#[cfg(test)]
mod tests;

use minicbor::{Decode, Encode};
use penpal_protocol::cbor::{self, CborError};

pub(crate) use copy::{CopyRecord, FixedOrder};
pub(crate) use key::{KeyRecord, KeyUse};
pub(crate) use mail::{MailRecord, ReceivedPart, SentPart};
pub use mail::{MailState, Marks};
pub(crate) use pair::{PairRecord, QueuedReceipt};
pub(crate) use state::{NodeRecord, SealedRecord, SeenRecord, SpoolRecord, UnreadableRecord};

/// Version that this code writes and reads.
const VERSION: u8 = 1;

/// Longest record except content: a message record with many copies.
const MAX_RECORD_BYTES: usize = 1024 * 1024;

/// A stored row cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Written by a later version, or not a record.
    #[error("record version {got:?}, this version reads {VERSION}")]
    Version {
        /// First byte; `None` for an empty value.
        got: Option<u8>,
    },
    /// The structure is malformed.
    #[error(transparent)]
    Cbor(#[from] CborError),
}

/// A stored row.
pub(crate) trait Record: Sized {
    fn to_bytes(&self) -> Vec<u8>;
    fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError>;
}

impl<T> Record for T
where
    T: Encode<()> + for<'b> Decode<'b, ()>,
{
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&cbor::encode(self));
        out
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => Ok(cbor::decode(rest, MAX_RECORD_BYTES)?),
            other => Err(RecordError::Version { got: other.map(|(first, _)| *first) }),
        }
    }
}
