//! Recently used rows in memory, and those that the present step has changed.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::records::Record;
use super::{Change, Rows};
use crate::error::Fault;

/// Rows of one kind: a bounded memory of what is committed, and over it the uncommitted changes of this step.
///
/// Absent rows are remembered too, so that a look-up costs the same whether or not a row exists. The memory has two
/// halves: when the young half is full it becomes the old one, and what was old and unused is forgotten.
#[derive(Debug)]
pub(crate) struct Cached<R: Record> {
    young: HashMap<R::Key, Option<R>>,
    old: HashMap<R::Key, Option<R>>,
    dirty: BTreeMap<R::Key, Option<R>>,
    half: usize,
}

impl<R: Record> Cached<R> {
    /// Remembers at most about `capacity` rows.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            dirty: BTreeMap::new(),
            half: (capacity / 2).max(1),
        }
    }

    /// The row as this step sees it.
    pub(crate) fn get(&mut self, key: &R::Key, rows: &dyn Rows) -> Result<Option<&R>, Fault> {
        if self.dirty.contains_key(key) {
            return Ok(self.dirty.get(key).and_then(Option::as_ref));
        }
        if !self.young.contains_key(key) {
            let row = match self.old.remove(key) {
                Some(row) => row,
                None => Self::load(key, rows)?,
            };
            if self.young.len() >= self.half {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(key.clone(), row);
        }
        Ok(self.young.get(key).and_then(Option::as_ref))
    }

    fn load(key: &R::Key, rows: &dyn Rows) -> Result<Option<R>, Fault> {
        let bytes = R::key_bytes(key);
        let Some(value) = rows.get(R::TABLE, &bytes)? else { return Ok(None) };
        let row =
            R::from_bytes(&value).map_err(|source| Fault::Record { table: R::TABLE, key: bytes, source })?;
        Ok(Some(row))
    }

    /// Sets the row in this step.
    pub(crate) fn put(&mut self, key: R::Key, row: R, changes: &mut Vec<Change>) {
        changes.push(Change::Put {
            table: R::TABLE,
            key: R::key_bytes(&key),
            value: Bytes::from(row.to_bytes()),
        });
        self.dirty.insert(key, Some(row));
    }

    /// Removes the row in this step.
    pub(crate) fn delete(&mut self, key: R::Key, changes: &mut Vec<Change>) {
        changes.push(Change::Delete { table: R::TABLE, key: R::key_bytes(&key) });
        self.dirty.insert(key, None);
    }

    /// The step happened.
    pub(crate) fn commit(&mut self) {
        while let Some((key, row)) = self.dirty.pop_first() {
            self.old.remove(&key);
            if self.young.len() >= self.half {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(key, row);
        }
    }

    /// Forgets rows that were not used since the time before the last.
    pub(crate) fn age(&mut self) {
        self.old = std::mem::take(&mut self.young);
    }

    /// Entries in memory.
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len() + self.dirty.len()
    }

    /// The step did not happen.
    pub(crate) fn abort(&mut self) {
        self.dirty.clear();
    }
}

#[cfg(test)]
mod tests {
    use penpal_protocol::ids::AccountId;
    use penpal_protocol::text::Label;

    use super::*;
    use crate::rows::MemRows;
    use crate::rows::records::HandleOwner;

    fn handle(number: usize) -> Label {
        Label::new(&format!("h{number}")).unwrap()
    }

    fn owner(byte: u8) -> HandleOwner {
        HandleOwner { account: AccountId::from_bytes([byte; 16]) }
    }

    #[test]
    fn a_step_sees_its_own_changes_and_an_abort_forgets_them() {
        let mut rows = MemRows::new();
        let mut cache = Cached::<HandleOwner>::new(8);
        let mut changes = Vec::new();
        cache.put(handle(1), owner(1), &mut changes);
        rows.commit(std::mem::take(&mut changes));
        cache.commit();
        cache.put(handle(1), owner(2), &mut changes);
        cache.delete(handle(2), &mut changes);
        assert_eq!(cache.get(&handle(1), &rows).unwrap(), Some(&owner(2)));
        cache.abort();
        assert_eq!(cache.get(&handle(1), &rows).unwrap(), Some(&owner(1)));
    }

    #[test]
    fn memory_is_bounded_and_right_after_eviction() {
        let mut rows = MemRows::new();
        let mut cache = Cached::<HandleOwner>::new(8);
        let mut changes = Vec::new();
        for number in 0..100 {
            cache.put(handle(number), owner(7), &mut changes);
            rows.commit(std::mem::take(&mut changes));
            cache.commit();
        }
        assert!(cache.young.len() + cache.old.len() <= 8);
        for number in 0..200 {
            assert_eq!(cache.get(&handle(number), &rows).unwrap().is_some(), number < 100, "{number}");
        }
        assert!(cache.young.len() + cache.old.len() <= 8);
    }
}
