//! The log: segments of checksummed batches of records. Format in `docs/protocol.md` §6.
//!
//! Nothing here decides what a record means; that is [`crate::index`]'s catalog.

pub(crate) mod batch;
pub(crate) mod format;
pub(crate) mod layout;
pub(crate) mod record;
pub(crate) mod recover;
pub(crate) mod segments;
pub(crate) mod writer;
