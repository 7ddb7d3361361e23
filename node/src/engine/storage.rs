//! Between the machines' tables and the store: numbering, reading, and one batch a step.

use bytes::Bytes;
use penpal_store::{Batch, CommitError, Life, Op, Outcome, ReadError, Refusal, Store, Table};

/// Highest number of rows read at once when a table is restored.
const PAGE: usize = 512;

/// First number of each machine's tables. Numbers are never reused: they are on disk.
const CONTACT: u8 = 1;
const SESSIONS: u8 = 16;
const DELIVERY: u8 = 32;
const NODE: u8 = 96;
const ROOM: u8 = 112;

/// Single values of the engine itself.
pub(super) const META: Table = Table::new(NODE, Life::Long);

/// Names of contacts that were removed, and of their devices: fingerprint, or fingerprint and device → name. Messages and trails stay, and
/// people ask whose they were.
pub(super) const FORMER: Table = Table::new(NODE + 1, Life::Long);

/// Contents of artifacts that are on the shelf: hash → length, name, times.
pub(super) const CONTENTS: Table = Table::new(NODE + 2, Life::Long);

/// Which messages refer to which artifacts: hash and message → what the message says of it.
pub(super) const REFERENCES: Table = Table::new(NODE + 3, Life::Long);

/// Blobs of ours at our relay: blob → content, keys, end, whether all of it is there.
pub(super) const UPLOADS: Table = Table::new(NODE + 4, Life::Short);

/// Own messages that wait for their files to be at the relay: message → blobs.
pub(super) const WAITING: Table = Table::new(NODE + 5, Life::Short);

/// Blobs of ours at our relay that nobody needs any more: blob → relay and end.
pub(super) const DISCARDS: Table = Table::new(NODE + 7, Life::Short);

/// Through whom a contact became one: fingerprint → owner and room, in words.
pub(super) const INTRODUCED: Table = Table::new(NODE + 6, Life::Long);

/// Our other devices that were told of our rooms: device → nothing.
pub(super) const TOLD_OF_ROOMS: Table = Table::new(NODE + 8, Life::Long);

/// The store's table for one of the room machine.
pub(super) fn room_table(table: penpal_room::Table) -> Table {
    use penpal_room::Table as T;
    match table {
        T::Room => Table::new(ROOM, Life::Long),
        T::Entry => Table::new(ROOM + 1, Life::Long),
        T::Held => Table::new(ROOM + 2, Life::Short),
    }
}

/// The store's table for one of the contact machine.
pub(super) fn contact_table(table: penpal_contact::Table) -> Table {
    use penpal_contact::Table as T;
    let number = match table {
        T::Account => 0,
        T::Invite => 1,
        T::Adding => 2,
        T::Contact => 3,
        T::Retired => 4,
    };
    Table::new(CONTACT + number, Life::Long)
}

/// The store's table for one of the sessions machine.
pub(super) fn sessions_table(table: penpal_sessions::Table) -> Table {
    use penpal_sessions::Table as T;
    let number = match table {
        T::Session => 0,
        T::Alias => 1,
        T::Peer => 2,
        T::Meta => 3,
    };
    Table::new(SESSIONS + number, Life::Long)
}

/// The store's table for one of the delivery machine.
pub(super) fn delivery_table(table: penpal_delivery::Table) -> Table {
    let life = match table.life() {
        penpal_delivery::Life::Short => Life::Short,
        penpal_delivery::Life::Long => Life::Long,
    };
    Table::new(DELIVERY + table.number(), life)
}

/// The store, and what the running step adds to it.
pub(super) struct Storage {
    store: Box<dyn Store>,
    batch: Batch,
    /// Bytes of the batch, about.
    bytes: usize,
}

/// What a change costs beside its key and value, about.
const CHANGE_BYTES: usize = 96;

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").field("pending", &self.batch.ops.len()).finish_non_exhaustive()
    }
}

/// Why a step did not become durable. Nothing of it happened.
#[derive(Debug)]
pub(super) enum NotDurable {
    /// The disk is full.
    Full,
    /// It changes more than the store takes at once.
    TooMuch(String),
    /// The store is of no use any more in this process.
    Fatal(CommitError),
    /// A defect: the batch can never work.
    Defect(String),
}

impl Storage {
    pub(super) fn new(store: Box<dyn Store>) -> Self {
        Self { store, batch: Batch::new(), bytes: 0 }
    }

    /// Adds a change to the step.
    pub(super) fn change(&mut self, table: Table, key: Vec<u8>, value: Option<Vec<u8>>) {
        let size = CHANGE_BYTES + key.len() + value.as_ref().map_or(0, Vec::len);
        self.bytes = self.bytes.saturating_add(size);
        let batch = std::mem::take(&mut self.batch);
        self.batch = match value {
            Some(value) => batch.put(table, key, Bytes::from(value)),
            None => batch.delete(table, key),
        };
    }

    /// Makes the step durable. With nothing to store it costs nothing.
    pub(super) fn commit(&mut self) -> Result<(), NotDurable> {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        if batch.ops.is_empty() {
            return Ok(());
        }
        let outcomes = self.store.commit(vec![batch]).map_err(NotDurable::Fatal)?;
        match outcomes.into_iter().next() {
            Some(Outcome::Done) | None => Ok(()),
            Some(Outcome::Full) => Err(NotDurable::Full),
            Some(Outcome::Conflict { expect }) => {
                Err(NotDurable::Defect(format!("condition {expect} without conditions")))
            }
            Some(Outcome::Refused(refusal @ Refusal::TooLarge { .. })) => {
                Err(NotDurable::TooMuch(refusal.to_string()))
            }
            Some(Outcome::Refused(refusal)) => Err(NotDurable::Defect(refusal.to_string())),
        }
    }

    /// How many changes the step has so far.
    pub(super) fn changes(&self) -> usize {
        self.batch.ops.len()
    }

    /// Bytes of the step's changes so far, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keys of the rows of a table that the step puts.
    pub(super) fn put_in_this_step(&self, table: Table) -> impl Iterator<Item = &[u8]> {
        self.batch.ops.iter().filter_map(move |op| match op {
            Op::Put { table: of, key, .. } if *of == table => Some(key.as_slice()),
            _ => None,
        })
    }

    /// Forgets what the step added.
    pub(super) fn forget(&mut self) {
        self.bytes = 0;
        self.batch = Batch::new();
    }

    /// A committed row.
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.store.get(table, key)?.map(|value| value.to_vec()))
    }

    /// A row as the running step sees it.
    pub(super) fn get_now(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        for op in self.batch.ops.iter().rev() {
            match op {
                Op::Put { table: of, key: name, value } if *of == table && name.as_slice() == key => {
                    return Ok(Some(value.to_vec()));
                }
                Op::Delete { table: of, key: name } if *of == table && name.as_slice() == key => {
                    return Ok(None);
                }
                _ => {}
            }
        }
        self.get(table, key)
    }

    /// Gives every row of a table, in key order.
    pub(super) fn each<E: From<ReadError>>(
        &self,
        table: Table,
        row: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each_under(table, &[], row)
    }

    /// Gives every row of a table whose key begins like this, in key order.
    pub(super) fn each_under<E: From<ReadError>>(
        &self,
        table: Table,
        prefix: &[u8],
        mut row: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.store.scan(table, prefix, after.as_deref(), PAGE)?;
            for (key, value) in &page {
                row(key, value)?;
            }
            if page.len() < PAGE {
                return Ok(());
            }
            after = page.last().map(|(key, _)| key.to_vec());
        }
    }

    /// Housekeeping, a bounded piece; tells whether there is more.
    pub(super) fn compact(&mut self, budget_bytes: u64) -> Result<bool, CommitError> {
        self.store.compact(budget_bytes).map(|done| done.more)
    }

    /// Ends cleanly.
    pub(super) fn close(self) {
        if let Err(error) = self.store.close() {
            tracing::warn!(%error, "the store did not close cleanly; the next start takes longer");
        }
    }
}

impl penpal_delivery::Records for Storage {
    fn get(
        &self,
        table: penpal_delivery::Table,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, penpal_delivery::ReadFailed> {
        Self::get(self, delivery_table(table), key).map_err(|error| {
            tracing::error!(%error, "the store cannot be read");
            penpal_delivery::ReadFailed
        })
    }

    fn scan(
        &self,
        table: penpal_delivery::Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, penpal_delivery::ReadFailed> {
        let rows = self.store.scan(delivery_table(table), prefix, after, limit);
        let rows = rows.map_err(|error| {
            tracing::error!(%error, "the store cannot be read");
            penpal_delivery::ReadFailed
        })?;
        Ok(rows.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect())
    }
}
