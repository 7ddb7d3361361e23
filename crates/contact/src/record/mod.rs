//! What is stored: one row for our account, one for each invite, contact and retired edge.
//!
//! A row's value is one version byte and a CBOR map; its key is the id that the row is about.

mod contact;
mod device;
mod invite;
mod own;
mod stored;

use minicbor::{Decode, Encode};
use penpal_protocol::{
    cbor::{self, CborError},
    ids::{EdgeId, Fingerprint, InviteId, SlotId},
};

pub(crate) use contact::{Accepting, Contact, Earlier, Link, OldKey, Rekeying, RetiredEdge, Telling};
pub use contact::{Change as KeyChange, Trust};
pub(crate) use device::{DeviceLink, JoinRequest, Joining, LinkState, RecoverStep, Recovering, Tombstone};
pub use invite::InviteEnd;
pub(crate) use invite::{AddStep, Adding, Invite, InviteState, Prepared, Request};
pub(crate) use own::{
    BundlePut, Copies, KeptMark, Machine, ManifestPut, Own, OwnBundle, PreviousProfile, Registering,
};
pub(crate) use stored::{Bundles, Pinned, StoredPairKey, StoredRelay};

/// Version of every row that this code writes and reads.
const VERSION: u8 = 1;

/// Longest row in bytes: a contact with a manifest and 16 bundles.
const MAX_ROW_BYTES: usize = 256 * 1024;

/// The tables of this crate. All live as long as the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Our own account: keys `own`, `registering`, `joining` and `recovering`, and codes for further devices (`l` and invite id).
    Account,
    /// Invites that we made, by invite id.
    Invite,
    /// Invites that we use, by invite id.
    Adding,
    /// Contacts, by fingerprint.
    Contact,
    /// What a relay still has to be told to forget: edges (`e` and edge id), invites (`i` and invite id) and devices (`d` and slot);
    /// what it is told again if it forgets it: devices that were revoked (`s` and slot); and contacts that were removed (`c` and fingerprint).
    Retired,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 5] = [Self::Account, Self::Invite, Self::Adding, Self::Contact, Self::Retired];
}

/// One change of stored state. A value of `None` deletes the row.
#[derive(Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub table: Table,
    /// Which row, 3 to 17 bytes.
    pub key: Vec<u8>,
    /// The whole new row.
    pub value: Option<Vec<u8>>,
}

/// Rows hold capabilities and pair keys, so only their length is shown.
impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.value.as_ref().map(Vec::len);
        f.debug_struct("Change").field("table", &self.table).field("bytes", &bytes).finish_non_exhaustive()
    }
}

/// Names one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RowKey {
    Own,
    Registering,
    Invite(InviteId),
    Adding(InviteId),
    Contact(Fingerprint),
    RetiredEdge(EdgeId),
    RetiredInvite(InviteId),
    RetiredDevice(SlotId),
    CutOff(SlotId),
    Removed(Fingerprint),
    Joining,
    Recovering,
    Link(InviteId),
}

const OWN_KEY: &[u8] = b"own";
const REGISTERING_KEY: &[u8] = b"registering";
const JOINING_KEY: &[u8] = b"joining";
const RECOVERING_KEY: &[u8] = b"recovering";

impl RowKey {
    pub(crate) fn table(self) -> Table {
        match self {
            Self::Own | Self::Registering | Self::Joining | Self::Recovering | Self::Link(_) => {
                Table::Account
            }
            Self::Invite(_) => Table::Invite,
            Self::Adding(_) => Table::Adding,
            Self::Contact(_) => Table::Contact,
            Self::RetiredEdge(_)
            | Self::RetiredInvite(_)
            | Self::RetiredDevice(_)
            | Self::CutOff(_)
            | Self::Removed(_) => Table::Retired,
        }
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Own => OWN_KEY.to_vec(),
            Self::Registering => REGISTERING_KEY.to_vec(),
            Self::Invite(id) | Self::Adding(id) => id.as_bytes().to_vec(),
            Self::Contact(fp) => fp.as_bytes().to_vec(),
            Self::RetiredEdge(edge) => [b"e".as_slice(), edge.as_bytes()].concat(),
            Self::RetiredInvite(id) => [b"i".as_slice(), id.as_bytes()].concat(),
            Self::RetiredDevice(slot) => [b"d".as_slice(), slot.as_bytes()].concat(),
            Self::CutOff(slot) => [b"s".as_slice(), slot.as_bytes()].concat(),
            Self::Removed(contact) => [b"c".as_slice(), contact.as_bytes()].concat(),
            Self::Joining => JOINING_KEY.to_vec(),
            Self::Recovering => RECOVERING_KEY.to_vec(),
            Self::Link(id) => [b"l".as_slice(), id.as_bytes()].concat(),
        }
    }

    pub(crate) fn parse(table: Table, key: &[u8]) -> Option<Self> {
        match table {
            Table::Account if key == OWN_KEY => Some(Self::Own),
            Table::Account if key == REGISTERING_KEY => Some(Self::Registering),
            Table::Account if key == JOINING_KEY => Some(Self::Joining),
            Table::Account if key == RECOVERING_KEY => Some(Self::Recovering),
            Table::Account => match key.split_first()? {
                (b'l', id) => InviteId::from_slice(id).map(Self::Link),
                _ => None,
            },
            Table::Invite => InviteId::from_slice(key).map(Self::Invite),
            Table::Adding => InviteId::from_slice(key).map(Self::Adding),
            Table::Contact => Fingerprint::from_slice(key).map(Self::Contact),
            Table::Retired => match key.split_first()? {
                (b'e', id) => EdgeId::from_slice(id).map(Self::RetiredEdge),
                (b'i', id) => InviteId::from_slice(id).map(Self::RetiredInvite),
                (b'd', slot) => SlotId::from_slice(slot).map(Self::RetiredDevice),
                (b's', slot) => SlotId::from_slice(slot).map(Self::CutOff),
                (b'c', contact) => Fingerprint::from_slice(contact).map(Self::Removed),
                _ => None,
            },
        }
    }
}

/// A stored row cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// The key is none of this table's.
    #[error("row of table {table:?} has a key of {got} bytes that is none of its keys")]
    Key {
        /// The table.
        table: Table,
        /// Length of the key in bytes.
        got: usize,
    },
    /// Written by another version of this software.
    #[error("row of table {table:?} has version {got:?}, this version reads {VERSION}")]
    Version {
        /// The table.
        table: Table,
        /// Version byte; `None` when the row is empty.
        got: Option<u8>,
    },
    /// Malformed.
    #[error("row of table {table:?} is damaged: {source}")]
    Damaged {
        /// The table.
        table: Table,
        /// What is wrong.
        source: CborError,
    },
    /// The row says that it is about something else than its key.
    #[error("row of table {table:?} is about something else than its key")]
    Mismatch {
        /// The table.
        table: Table,
    },
}

/// Encodes a row's value.
pub(crate) fn encode<T: Encode<()>>(row: &T) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend(cbor::encode(row));
    out
}

/// Decodes a row's value.
pub(crate) fn decode<'b, T: Decode<'b, ()>>(table: Table, value: &'b [u8]) -> Result<T, RowError> {
    match value.split_first() {
        Some((&VERSION, body)) => {
            cbor::decode(body, MAX_ROW_BYTES).map_err(|source| RowError::Damaged { table, source })
        }
        other => Err(RowError::Version { table, got: other.map(|(version, _)| *version) }),
    }
}

#[cfg(test)]
mod tests {
    use penpal_protocol::{
        ids::RelayPin,
        text::{Label, RelayAddress},
    };

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// These bytes are on disks: a change needs a new version of the row.
    #[test]
    fn rows_look_like_this() {
        let at = "relay.example.com".parse().unwrap();
        let relay = RelayAddress { at, pin: RelayPin::from_bytes([4; 16]) };
        let adding = Adding {
            id: InviteId::from_bytes([1; 16]),
            inviter: Fingerprint::from_bytes([2; 16]),
            relay: StoredRelay(relay),
            started_ms: 1000,
            step: AddStep::Fetching,
            prepared: None,
            ends_ms: None,
        };
        let name = Some(Label::new("bob").unwrap());
        let retired = RetiredEdge {
            edge: EdgeId::from_bytes([3; 16]),
            contact: Fingerprint::from_bytes([2; 16]),
            name,
        };
        assert_eq!(
            hex(&encode(&retired)),
            "01a300500303030303030303030303030303030301500202020202020202020202020202020202 63626f62"
                .replace(' ', "")
        );
        assert_eq!(decode(Table::Retired, &encode(&retired)), Ok(retired));
        assert!(hex(&encode(&adding)).starts_with("01a5005001010101010101010101010101010101015002"));
        assert_eq!(decode(Table::Adding, &encode(&adding)), Ok(adding));
    }

    #[test]
    fn every_key_is_read_back() {
        let keys = [
            RowKey::Own,
            RowKey::Registering,
            RowKey::Invite(InviteId::from_bytes([1; 16])),
            RowKey::Adding(InviteId::from_bytes([1; 16])),
            RowKey::Contact(Fingerprint::from_bytes([2; 16])),
            RowKey::RetiredEdge(EdgeId::from_bytes([3; 16])),
            RowKey::RetiredInvite(InviteId::from_bytes([1; 16])),
            RowKey::RetiredDevice(SlotId::from_bytes([4; 16])),
            RowKey::CutOff(SlotId::from_bytes([4; 16])),
            RowKey::Removed(Fingerprint::from_bytes([2; 16])),
            RowKey::Joining,
            RowKey::Recovering,
            RowKey::Link(InviteId::from_bytes([1; 16])),
        ];
        for key in keys {
            assert_eq!(RowKey::parse(key.table(), &key.bytes()), Some(key));
        }
    }
}
