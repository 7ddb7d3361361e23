//! All mail in the order of its places, whoever has it: for what is made from history.

use std::collections::BTreeMap;

use super::listing::{MailView, QueryError};
use super::place::ordered_key;
use penpal_protocol::ids::Fingerprint;

use crate::address::MailKey;
use crate::ledger::{Records, Table};
use crate::machine::Delivery;
use crate::record::Record as _;

/// Rows read at once.
const PAGE: usize = 64;

/// Messages by their places, each with the contact it was exchanged with.
type Places = BTreeMap<u64, (MailKey, Option<Fingerprint>)>;

impl Delivery {
    /// Mail of all mailboxes and contacts with an ordinal above `after`, oldest first, at most `limit`. What is hidden or waits for an
    /// earlier message is among it: whoever shows it looks at that then. With each comes the contact it was exchanged with.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn newer(
        &self,
        after: u64,
        limit: usize,
        records: &dyn Records,
    ) -> Result<Vec<(MailView, Option<Fingerprint>)>, QueryError> {
        let mut found = Places::new();
        for table in [Table::Mailbox, Table::Thread, Table::Room] {
            self.collect_newer(table, after, limit, records, &mut found)?;
        }
        let mut views = Vec::with_capacity(found.len());
        for (key, contact) in found.into_values() {
            views.extend(self.view(key, records)?.map(|view| (view, contact)));
        }
        Ok(views)
    }

    /// Goes from one mailbox or contact to the next, past what is older, so that it costs no more than there are of them.
    fn collect_newer(
        &self,
        table: Table,
        after: u64,
        limit: usize,
        records: &dyn Records,
        found: &mut Places,
    ) -> Result<(), QueryError> {
        let mut from: Option<Vec<u8>> = None;
        loop {
            // One row tells whose rows come next; then those above `after`.
            let first = self.ledger.scan(records, table, &[], from.as_deref(), 1)?;
            let Some(prefix) = first.first().and_then(|(row, _)| row.first_chunk::<16>()).copied() else {
                return Ok(());
            };
            let mut at = ordered_key(&prefix, after).to_vec();
            'rows: loop {
                let rows = self.ledger.scan(records, table, &prefix, Some(&at), PAGE)?;
                for (row, value) in &rows {
                    let ordinal = row.get(16..).and_then(|rest| rest.first_chunk()).copied();
                    let ordinal = ordinal.map(u64::from_be_bytes).unwrap_or_default();
                    let last = found.last_key_value().map(|(last, _)| *last);
                    if found.len() >= limit && last.is_some_and(|last| last < ordinal) {
                        break 'rows;
                    }
                    let key = MailKey::from_bytes(value)
                        .map_err(|source| crate::ledger::damaged(table, row, source))?;
                    let contact = if table == Table::Thread {
                        Some(Fingerprint::from_bytes(prefix))
                    } else {
                        key.from.filter(|_| table == Table::Room)
                    };
                    found.insert(ordinal, (key, contact));
                    while found.len() > limit {
                        found.pop_last();
                    }
                }
                match rows.into_iter().next_back() {
                    Some((row, _)) => at = row,
                    None => break,
                }
            }
            from = Some(ordered_key(&prefix, u64::MAX).to_vec());
        }
    }
}
