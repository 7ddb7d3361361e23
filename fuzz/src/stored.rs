//! Rows of the delivery machine in memory.

use std::collections::BTreeMap;

use penpal_delivery::{Change, ReadFailed, Records, Row, Table};

/// Committed rows by table and key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stored(pub(crate) BTreeMap<(Table, Vec<u8>), Vec<u8>>);

impl Stored {
    pub(crate) fn commit(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change.value {
                Some(value) => self.0.insert((change.table, change.key), value),
                None => self.0.remove(&(change.table, change.key)),
            };
        }
    }
}

impl Records for Stored {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadFailed> {
        Ok(self.0.get(&(table, key.to_vec())).cloned())
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, ReadFailed> {
        let rows = self.0.range((table, prefix.to_vec())..);
        Ok(rows
            .take_while(|((at, key), _)| *at == table && key.starts_with(prefix))
            .filter(|((_, key), _)| after.is_none_or(|after| key.as_slice() > after))
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .take(limit)
            .collect())
    }
}
