//! What is stored: one record a session, an alias, a contact's device.

use minicbor::{Decode, Encode};
use penpal_protocol::cbor::{self, CborError, List, Text};
use penpal_protocol::ids::{DeviceId, Fingerprint, Incarnation, SessionId};
use penpal_protocol::limits::{MAX_ANNOUNCED_SESSIONS, MAX_SUMMARY_BYTES};
use penpal_protocol::sealed::SessionEntry;
use penpal_protocol::text::Label;

use crate::command::{Change, Table};
use crate::error::RestoreError;
use crate::input::{AgentConversation, DeliveryMode, Place, ProcessModel, ProcessRef};

/// Newest format of every record here.
const FORMAT: u16 = 1;

/// Longest record, in bytes: a full list of a contact's device.
const MAX_RECORD_BYTES: usize = 64 * 1024;

/// Most processes of one session that are remembered: one conversation opened in several terminals.
pub(crate) const MAX_PROCESSES: usize = 8;

/// Most earlier conversations of one session that are remembered.
pub(crate) const MAX_EARLIER: usize = 16;

/// Where a name came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub(crate) enum NameOrigin {
    /// From the folder, perhaps with a number.
    #[n(1)]
    Place,
    /// A person wanted it.
    #[n(2)]
    Person,
}

/// An agent's conversation as a session knows it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Conversation {
    #[n(0)]
    pub(crate) id: AgentConversation,
    /// Not a first guess from the environment.
    #[n(1)]
    pub(crate) certain: bool,
}

/// A local session. Its `sid` is the key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct SessionRecord {
    #[n(0)]
    pub(crate) format: u16,
    #[n(1)]
    pub(crate) name: Label,
    #[n(2)]
    pub(crate) origin: NameOrigin,
    #[n(3)]
    pub(crate) agent: Label,
    #[n(4)]
    pub(crate) model: ProcessModel,
    #[n(5)]
    pub(crate) conversation: Option<Conversation>,
    #[n(6)]
    pub(crate) earlier: List<AgentConversation, MAX_EARLIER>,
    #[n(7)]
    pub(crate) processes: List<ProcessRef, MAX_PROCESSES>,
    #[n(8)]
    pub(crate) place: Option<Place>,
    #[n(9)]
    pub(crate) headless: bool,
    #[n(10)]
    pub(crate) hidden: bool,
    #[n(11)]
    pub(crate) mode: DeliveryMode,
    /// May read the desk.
    #[n(12)]
    pub(crate) desk: bool,
    #[n(13)]
    pub(crate) summary: Option<Text<MAX_SUMMARY_BYTES>>,
    #[n(14)]
    pub(crate) created_ms: u64,
    #[n(15)]
    pub(crate) ended_ms: Option<u64>,
    /// Mail from before this time is marked once the new conversation is certain.
    #[n(16)]
    pub(crate) mark_before_ms: Option<u64>,
    /// Something happened in it, so it outlives its process.
    #[n(17)]
    pub(crate) kept: bool,
}

/// Where the mail of a merged session goes. The old `sid` is the key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct AliasRecord {
    #[n(0)]
    pub(crate) format: u16,
    #[n(1)]
    pub(crate) into: SessionId,
}

/// Last list of a contact's device. Fingerprint and device id are the key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct PeerRecord {
    #[n(0)]
    pub(crate) format: u16,
    #[n(1)]
    pub(crate) incarnation: Incarnation,
    #[n(2)]
    pub(crate) revision: u64,
    #[n(3)]
    pub(crate) sent_ms: u64,
    #[n(4)]
    pub(crate) heard_ms: u64,
    #[n(5)]
    pub(crate) sessions: List<SessionEntry, MAX_ANNOUNCED_SESSIONS>,
}

/// A counter.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct CounterRecord {
    #[n(0)]
    pub(crate) format: u16,
    #[n(1)]
    pub(crate) value: u64,
}

/// Key of the revision up to which lists may be announced without storing.
pub(crate) const REVISION_KEY: &[u8] = b"revision";

/// A record of any table, read.
pub(crate) enum Restored {
    Session(SessionId, Box<SessionRecord>),
    Alias(SessionId, SessionId),
    Peer(Fingerprint, DeviceId, Box<PeerRecord>),
    Revision(u64),
    /// A counter of another version of this program.
    Skipped,
}

impl SessionRecord {
    pub(crate) fn new(
        name: Label,
        origin: NameOrigin,
        agent: Label,
        model: ProcessModel,
        created_ms: u64,
    ) -> Self {
        Self {
            format: FORMAT,
            name,
            origin,
            agent,
            model,
            conversation: None,
            earlier: List::default(),
            processes: List::default(),
            place: None,
            headless: false,
            hidden: false,
            mode: DeliveryMode::Wake,
            desk: false,
            summary: None,
            created_ms,
            ended_ms: None,
            mark_before_ms: None,
            kept: false,
        }
    }
}

impl PeerRecord {
    pub(crate) fn new(
        incarnation: Incarnation,
        revision: u64,
        sent_ms: u64,
        heard_ms: u64,
        sessions: Vec<SessionEntry>,
    ) -> Self {
        let sessions = List::truncated(sessions);
        Self { format: FORMAT, incarnation, revision, sent_ms, heard_ms, sessions }
    }
}

fn change<T: Encode<()>>(table: Table, key: Vec<u8>, record: Option<&T>) -> Change {
    Change { table, key, value: record.map(cbor::encode) }
}

pub(crate) fn session_change(sid: SessionId, record: Option<&SessionRecord>) -> Change {
    change(Table::Session, sid.as_bytes().to_vec(), record)
}

pub(crate) fn alias_change(sid: SessionId, into: Option<SessionId>) -> Change {
    let record = into.map(|into| AliasRecord { format: FORMAT, into });
    change(Table::Alias, sid.as_bytes().to_vec(), record.as_ref())
}

pub(crate) fn peer_change(account: Fingerprint, device: DeviceId, record: Option<&PeerRecord>) -> Change {
    let mut key = account.as_bytes().to_vec();
    key.extend_from_slice(device.as_bytes());
    change(Table::Peer, key, record)
}

pub(crate) fn revision_change(value: u64) -> Change {
    change(Table::Meta, REVISION_KEY.to_vec(), Some(&CounterRecord { format: FORMAT, value }))
}

/// Reads a stored record.
pub(crate) fn read(table: Table, key: &[u8], value: &[u8]) -> Result<Restored, RestoreError> {
    let wrong_key = || RestoreError::Key { table, got: key.len() };
    let malformed = |source: CborError| RestoreError::Record { table, source };
    let checked = |format: u16| {
        if format == FORMAT {
            Ok(())
        } else {
            Err(RestoreError::Format { table, got: format, known: FORMAT })
        }
    };
    Ok(match table {
        Table::Session => {
            let sid = SessionId::from_slice(key).ok_or_else(wrong_key)?;
            let record: SessionRecord = cbor::decode(value, MAX_RECORD_BYTES).map_err(malformed)?;
            checked(record.format)?;
            Restored::Session(sid, Box::new(record))
        }
        Table::Alias => {
            let sid = SessionId::from_slice(key).ok_or_else(wrong_key)?;
            let record: AliasRecord = cbor::decode(value, MAX_RECORD_BYTES).map_err(malformed)?;
            checked(record.format)?;
            Restored::Alias(sid, record.into)
        }
        Table::Peer => {
            let (account, device) = key.split_at_checked(Fingerprint::BYTES).ok_or_else(wrong_key)?;
            let account = Fingerprint::from_slice(account).ok_or_else(wrong_key)?;
            let device = DeviceId::from_slice(device).ok_or_else(wrong_key)?;
            let record: PeerRecord = cbor::decode(value, MAX_RECORD_BYTES).map_err(malformed)?;
            checked(record.format)?;
            Restored::Peer(account, device, Box::new(record))
        }
        Table::Meta => {
            let record: CounterRecord = cbor::decode(value, MAX_RECORD_BYTES).map_err(malformed)?;
            checked(record.format)?;
            if key == REVISION_KEY { Restored::Revision(record.value) } else { Restored::Skipped }
        }
    })
}
