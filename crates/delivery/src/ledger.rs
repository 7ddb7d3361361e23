//! What the machine keeps: its tables, how it reads them, and the changes of the running step.

use std::collections::BTreeMap;

use crate::record::{Record, RecordError};

/// How long rows of a table usually live; a store may keep the two apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Life {
    /// Hours to days: gone once a message is through.
    Short,
    /// As long as history is kept.
    Long,
}

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident = $number:literal $life:ident,)*) => {
        /// Tables of this crate. Keys sort as bytes; integers in keys are big-endian.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Table {
            $($(#[$doc])* $name,)*
        }

        impl Table {
            /// Every table, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// A number that never changes its meaning, for stores that number tables.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $(Self::$name => $number,)* }
            }

            /// How long its rows live.
            #[must_use]
            pub const fn life(self) -> Life {
                match self { $(Self::$name => Life::$life,)* }
            }
        }
    };
}

tables! {
    /// `message 16 | account 16` → one message, sent or received, without its content. Also the duplicate mark.
    Mail = 1 Long,
    /// `message 16 | account 16` → encoded content, up to 64 KiB and framing.
    Content = 2 Long,
    /// `account 16 | device 16 | message 16` → a copy that is not receipted, or was less than 48 hours ago.
    Outbox = 3 Short,
    /// The same for copies that are done.
    Copy = 4 Long,
    /// `mailbox 16 | ordinal 8` → message key; mail that waits to be surfaced.
    Unread = 5 Short,
    /// `mailbox 16 | ordinal 8` → message key; everything a mailbox ever received, in order.
    Mailbox = 6 Long,
    /// `account 16 | ordinal 8` → message key; everything exchanged with a contact, in order.
    Thread = 7 Long,
    /// `H(enc) 16` → mark of an envelope that was processed. `message 16 | account 16` → mark of a message that another device of ours says
    /// was read there, and that cannot be marked here yet.
    Seen = 8 Short,
    /// `H(envelope) 16` → the copy that was sealed into it.
    Sealed = 9 Short,
    /// `account 16 | device 16` → counters of the pair.
    Pair = 10 Short,
    /// `account 16 | device 16` → the key that the peer offers.
    Offer = 11 Short,
    /// `account 16 | device 16 | index 8` → a receipt that is not confirmed.
    Receipt = 12 Short,
    /// `key id 8` → one of our receive keys or prekeys; its seed is elsewhere.
    Key = 13 Short,
    /// `account 16 | H(envelope) 16` → an envelope that could not be opened and was not asked for yet.
    Unreadable = 14 Short,
    /// `message 16` → an own message that ended refused or expired and was not dismissed.
    Dead = 15 Short,
    /// A fixed name → one of the node's single values.
    State = 16 Short,
    /// `room 16 | ordinal 8` → message key; everything said in a room, in order.
    Room = 17 Long,
    /// `conversation 16 | ordinal 8` → message key; a message and the answers to it, in order.
    Conversation = 18 Long,
}

/// One row to write (`Some`) or to remove (`None`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its table.
    pub table: Table,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

/// The store could not be read. The shell keeps the reason; the step must not be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store could not be read")]
pub struct ReadFailed;

/// One row as it is stored: key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Committed rows, as the shell's store has them.
///
/// Changes of the running step are added by the machine itself, so an implementation only shows what is committed.
pub trait Records {
    /// Gives a row's value.
    ///
    /// # Errors
    /// [`ReadFailed`] when the store cannot tell.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadFailed>;

    /// Lists rows whose key begins with `prefix` and is greater than `after`, in key order, at most `limit`.
    ///
    /// # Errors
    /// [`ReadFailed`] when the store cannot tell.
    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, ReadFailed>;
}

/// Why a step must not be committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// A stored row is not what this version writes.
    #[error("row {key} of table {table:?} is damaged")]
    Damaged {
        /// The table.
        table: Table,
        /// Start of the key, in hexadecimal.
        key: String,
        /// What is wrong with it.
        source: RecordError,
    },
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadFailed),
}

/// Changes of the running step, laid over the committed rows.
///
/// A failed read gives `None` and is remembered: [`Ledger::take`] then refuses to hand out the step's changes, so
/// nothing that was decided on missing rows ever becomes durable or visible.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pending: BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>,
    /// How often something was changed, also when it was changed before.
    changes: u64,
    /// Bytes of the step's changes, at most.
    bytes: usize,
    fault: Option<LedgerError>,
}

/// Bytes of changes after which a step begins nothing more that can wait for the next one: a quarter of what a store takes at once, for what was
/// begun adds to it, here and in other machines.
const ROOM_BYTES: usize = 2 * 1024 * 1024;

/// What a change costs beside its key and value.
const CHANGE_BYTES: usize = 96;

impl Ledger {
    pub(crate) fn put_bytes(&mut self, table: Table, key: &[u8], value: Vec<u8>) {
        self.changes += 1;
        self.bytes = self.bytes.saturating_add(CHANGE_BYTES + key.len() + value.len());
        self.pending.insert((table, key.to_vec()), Some(value));
    }

    pub(crate) fn put<R: Record>(&mut self, table: Table, key: &[u8], record: &R) {
        self.put_bytes(table, key, record.to_bytes());
    }

    pub(crate) fn delete(&mut self, table: Table, key: &[u8]) {
        self.changes += 1;
        self.bytes = self.bytes.saturating_add(CHANGE_BYTES + key.len());
        self.pending.insert((table, key.to_vec()), None);
    }

    pub(crate) fn get_bytes(&mut self, records: &dyn Records, table: Table, key: &[u8]) -> Option<Vec<u8>> {
        match self.peek_bytes(records, table, key) {
            Ok(found) => found,
            Err(error) => {
                self.blame(error.into());
                None
            }
        }
    }

    pub(crate) fn peek_bytes(
        &self,
        records: &dyn Records,
        table: Table,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, ReadFailed> {
        // A tuple key needs an owned key for the look-up; keys are at most 48 bytes.
        match self.pending.get(&(table, key.to_vec())) {
            Some(value) => Ok(value.clone()),
            None => records.get(table, key),
        }
    }

    pub(crate) fn get<R: Record>(&mut self, records: &dyn Records, table: Table, key: &[u8]) -> Option<R> {
        match self.peek(records, table, key) {
            Ok(record) => record,
            Err(error) => {
                self.blame(error);
                None
            }
        }
    }

    /// As [`Self::get`], for queries, which report a failure to their caller.
    pub(crate) fn peek<R: Record>(
        &self,
        records: &dyn Records,
        table: Table,
        key: &[u8],
    ) -> Result<Option<R>, LedgerError> {
        match self.peek_bytes(records, table, key)? {
            Some(bytes) => R::from_bytes(&bytes).map(Some).map_err(|source| damaged(table, key, source)),
            None => Ok(None),
        }
    }

    pub(crate) fn scan(
        &self,
        records: &dyn Records,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, ReadFailed> {
        let beyond = |key: &[u8]| key.starts_with(prefix) && after.is_none_or(|after| key > after);
        let pending: BTreeMap<&[u8], &Option<Vec<u8>>> = self
            .pending
            .range((table, prefix.to_vec())..)
            .take_while(|((at, key), _)| *at == table && key.starts_with(prefix))
            .filter(|((_, key), _)| beyond(key))
            .map(|((_, key), value)| (key.as_slice(), value))
            .collect();
        // Rows that the step removed may fill a page, so ask for as many more.
        let committed = records.scan(table, prefix, after, limit.saturating_add(pending.len()))?;
        let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = committed.into_iter().collect();
        for (key, value) in pending {
            match value {
                Some(value) => rows.insert(key.to_vec(), value.clone()),
                None => rows.remove(key),
            };
        }
        Ok(rows.into_iter().take(limit).collect())
    }

    /// Every row under a prefix, in pages.
    pub(crate) fn for_each<R: Record>(
        &self,
        records: &dyn Records,
        table: Table,
        prefix: &[u8],
        mut visit: impl FnMut(&[u8], R),
    ) -> Result<(), LedgerError> {
        const PAGE: usize = 256;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.scan(records, table, prefix, after.as_deref(), PAGE)?;
            for (key, value) in &rows {
                visit(key, R::from_bytes(value).map_err(|source| damaged(table, key, source))?);
            }
            if rows.len() < PAGE {
                return Ok(());
            }
            after = rows.into_iter().last().map(|(key, _)| key);
        }
    }

    pub(crate) fn blame(&mut self, error: LedgerError) {
        tracing::error!(%error, "delivery cannot read its records");
        self.fault.get_or_insert(error);
    }

    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Bytes of the step's changes, at most.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts what the shell will change for what was done here.
    pub(crate) fn add_bytes(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Whether the step may begin more that can wait.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes < ROOM_BYTES
    }

    pub(crate) fn take(&mut self) -> Result<Vec<Change>, LedgerError> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let pending = std::mem::take(&mut self.pending);
        self.bytes = 0;
        Ok(pending.into_iter().map(|((table, key), value)| Change { table, key, value }).collect())
    }
}

pub(crate) fn damaged(table: Table, key: &[u8], source: RecordError) -> LedgerError {
    use std::fmt::Write as _;
    let mut text = String::new();
    for byte in key.iter().take(8) {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    LedgerError::Damaged { table, key: text, source }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Rows(BTreeMap<(Table, Vec<u8>), Vec<u8>>);

    impl Records for Rows {
        fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadFailed> {
            if key == b"fail" {
                return Err(ReadFailed);
            }
            Ok(self.0.get(&(table, key.to_vec())).cloned())
        }

        fn scan(
            &self,
            table: Table,
            prefix: &[u8],
            after: Option<&[u8]>,
            limit: usize,
        ) -> Result<Vec<Row>, ReadFailed> {
            let rows = self.0.iter().filter(|((at, key), _)| *at == table && key.starts_with(prefix));
            let rows = rows.filter(|((_, key), _)| after.is_none_or(|after| key.as_slice() > after));
            Ok(rows.take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect())
        }
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(0_u8..3, 0..4)
    }

    proptest! {
        /// A scan sees the same with changes pending as after they are committed.
        #[test]
        fn pending_changes_lie_over_committed_rows(
            committed in prop::collection::btree_map(key(), any::<u8>(), 0..20),
            changes in prop::collection::vec((key(), any::<Option<u8>>()), 0..20),
            prefix in key(),
            after in prop::option::of(key()),
            limit in 0_usize..10,
        ) {
            let table = Table::Mail;
            let mut rows = Rows::default();
            rows.0.extend(committed.into_iter().map(|(key, value)| ((table, key), vec![value])));
            let mut ledger = Ledger::default();
            for (key, value) in changes {
                match value {
                    Some(value) => ledger.put_bytes(table, &key, vec![value]),
                    None => ledger.delete(table, &key),
                }
            }
            let before = ledger.scan(&rows, table, &prefix, after.as_deref(), limit).unwrap();
            for change in ledger.take().unwrap() {
                match change.value {
                    Some(value) => rows.0.insert((change.table, change.key), value),
                    None => rows.0.remove(&(change.table, change.key)),
                };
            }
            let after_commit = Ledger::default().scan(&rows, table, &prefix, after.as_deref(), limit).unwrap();
            prop_assert_eq!(before, after_commit);
        }

        #[test]
        fn garbage_is_an_error_with_a_name(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut rows = Rows::default();
            rows.0.insert((Table::Mail, b"key".to_vec()), bytes.clone());
            let mut ledger = Ledger::default();
            ledger.put_bytes(Table::State, b"other", Vec::new());
            if crate::record::MailRecord::from_bytes(&bytes).is_err() {
                prop_assert!(ledger.get::<crate::record::MailRecord>(&rows, Table::Mail, b"key").is_none());
                let damaged =
                    matches!(ledger.take(), Err(LedgerError::Damaged { table: Table::Mail, key, .. }) if key == "6b6579");
                prop_assert!(damaged);
            }
        }
    }

    #[test]
    fn a_step_that_could_not_read_hands_out_nothing() {
        let mut ledger = Ledger::default();
        ledger.put_bytes(Table::State, b"other", Vec::new());
        assert_eq!(ledger.get_bytes(&Rows::default(), Table::Mail, b"fail"), None);
        assert_eq!(ledger.take(), Err(LedgerError::Read(ReadFailed)));
        assert_eq!(ledger.take(), Err(LedgerError::Read(ReadFailed)));
    }

    #[test]
    fn table_numbers_are_unique() {
        let mut numbers: Vec<u8> = Table::ALL.iter().map(|table| table.number()).collect();
        numbers.dedup();
        assert_eq!(numbers, (1..=18).collect::<Vec<u8>>());
    }
}
