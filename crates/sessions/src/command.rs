//! What the machine asks of the shell.

use std::collections::BTreeSet;

use penpal_protocol::ids::{Fingerprint, SessionId};
use penpal_protocol::sealed::Presence;

use crate::input::ProcessRef;

/// Tables of this crate's records; all long-lived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Local sessions, by `sid`.
    Session,
    /// Ids of merged sessions and where their mail goes, by the old `sid`.
    Alias,
    /// Last announced list of each contact's device, by fingerprint and device id.
    Peer,
    /// Counters, by name.
    Meta,
}

/// One change of a stored record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its table.
    pub table: Table,
    /// Its key, at most 32 bytes.
    pub key: Vec<u8>,
    /// The record, or `None` to delete it.
    pub value: Option<Vec<u8>>,
}

/// What the shell has to do. Changes of one step come before what depends on them and belong to one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Store a record.
    Change(Change),
    /// Seal this list for every device of these contacts and send it, unspooled.
    Announce {
        /// The list. Its revision is higher than any before.
        presence: Presence,
        /// Accounts that get it; never empty.
        to: BTreeSet<Fingerprint>,
    },
    /// All mail of `from` belongs to `into` from now on.
    MoveMail {
        /// A session that is gone.
        from: SessionId,
        /// The session that it turned out to be.
        into: SessionId,
    },
    /// Unread mail of this session that came before `before_ms` was sent to an earlier conversation: say so where it is shown.
    MarkEarlier {
        /// The session.
        session: SessionId,
        /// Unix milliseconds.
        before_ms: u64,
    },
    /// The session is gone for good: its mail moves to the desk with `held: session-gone`.
    MailToDesk {
        /// The session.
        session: SessionId,
    },
    /// Report [`crate::Sessions::handle_process_gone`] when this process ends (at once when it is gone already).
    Watch(ProcessRef),
    /// No longer of interest.
    Unwatch(ProcessRef),
}
