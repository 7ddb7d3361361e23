//! What an operator sees of accounts and does with them.

use penpal_protocol::ids::{AccountId, SlotId};
use penpal_protocol::limits::MAX_CONTACTS;
use penpal_protocol::text::Label;

use crate::command::{AccountInfo, AccountState, AdminAnswer, Census, CloseReason, DeviceInfo};
use crate::core::{Cx, RelayCore};
use crate::effect::Effect;
use crate::error::Fault;
use crate::rows::records::Account;
use crate::rows::{Rows, Table};
use crate::spool;

/// Index keys counted of each kind: more than any account has.
const MAX_OF_A_KIND: usize = 4 * MAX_CONTACTS;

/// Keys counted at a time.
const PAGE: usize = 4_096;

impl RelayCore {
    /// Accounts in the order of their handles.
    pub(crate) fn accounts(
        &mut self,
        after: Option<&Label>,
        limit: usize,
        rows: &dyn Rows,
    ) -> Result<AdminAnswer, Fault> {
        let mut found = Vec::new();
        let after = after.map(|handle| handle.as_str().as_bytes());
        for key in rows.keys(Table::Handle, &[], after, limit)? {
            let handle = std::str::from_utf8(&key).ok().and_then(|text| Label::new(text).ok());
            let Some(handle) = handle else { continue };
            if let Some((id, account)) = self.account_of(&handle, rows)? {
                found.push(self.info(&id, account, rows)?);
            }
        }
        Ok(AdminAnswer::Accounts(found))
    }

    /// One account.
    pub(crate) fn account(&mut self, handle: &Label, rows: &dyn Rows) -> Result<AdminAnswer, Fault> {
        Ok(match self.account_of(handle, rows)? {
            Some((id, account)) => AdminAnswer::Account(self.info(&id, account, rows)?),
            None => AdminAnswer::NoAccount,
        })
    }

    /// Stops an account's devices and with them the deposits on edges that it linked, or lets them go on. What others
    /// have for it goes on waiting.
    pub(crate) fn suspend(
        &mut self,
        handle: &Label,
        suspended: bool,
        cx: &mut Cx<'_>,
    ) -> Result<AdminAnswer, Fault> {
        let Some((id, mut account)) = self.account_of(handle, cx.rows)? else {
            return Ok(AdminAnswer::NoAccount);
        };
        if account.suspended != suspended {
            if self.is_full(cx.now) {
                return Ok(AdminAnswer::Full);
            }
            account.suspended = suspended;
            self.db.accounts.put(id, account.clone(), &mut self.db.changes);
            for device in account.devices.iter().filter(|_| suspended) {
                self.effects.push(Effect::Dismiss { peer: device.key, reason: CloseReason::Suspended });
            }
        }
        Ok(AdminAnswer::Account(self.info(&id, account, cx.rows)?))
    }

    /// Removes an account; the answer says what it was.
    pub(crate) fn delete_account(&mut self, handle: &Label, rows: &dyn Rows) -> Result<AdminAnswer, Fault> {
        let Some((id, account)) = self.account_of(handle, rows)? else { return Ok(AdminAnswer::NoAccount) };
        let info = self.info(&id, account, rows)?;
        self.remove_account(id, rows)?;
        Ok(AdminAnswer::Account(info))
    }

    /// Counts everything. A look at every queue, and none at what they hold.
    pub(crate) fn census(&mut self, rows: &dyn Rows) -> Result<AdminAnswer, Fault> {
        let mut census = Census {
            accounts: count(Table::Account, rows)?,
            edges: count(Table::Edge, rows)?,
            invites: count(Table::Invite, rows)?,
            receiving: self.presence.receiving() as u64,
            deposit_marks: self.db.marks.len() as u64,
            remembered: self.remembered() as u64,
            blobs: count(Table::Blob, rows)?,
            blob_bytes: self.db.blob_bytes(),
            ..Census::default()
        };
        let mut after = None;
        loop {
            let page = rows.keys(Table::Slot, &[], after.as_deref(), PAGE)?;
            for key in &page {
                let Some(slot) = SlotId::from_slice(key) else { continue };
                let usage = rows.usage(spool::queue(&slot))?;
                census.spools += u64::from(usage.rows > 0);
                census.rows += usage.rows;
                census.bytes += usage.bytes;
                let oldest = [census.oldest_minute, usage.oldest_minute];
                census.oldest_minute = oldest.into_iter().flatten().min();
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.clone()),
                Some(_) | None => return Ok(AdminAnswer::Census(census)),
            }
        }
    }

    fn account_of(&mut self, handle: &Label, rows: &dyn Rows) -> Result<Option<(AccountId, Account)>, Fault> {
        let Some(id) = self.db.handles.get(handle, rows)?.map(|holder| holder.account) else {
            return Ok(None);
        };
        Ok(self.db.accounts.get(&id, rows)?.map(|account| (id, account.clone())))
    }

    fn info(&mut self, id: &AccountId, account: Account, rows: &dyn Rows) -> Result<AccountInfo, Fault> {
        let tag = self.graph.link_tag(id);
        let of = |table, prefix: &[u8]| {
            Ok::<_, Fault>(self.db.index_keys(table, prefix, MAX_OF_A_KIND, rows)?.len() as u64)
        };
        let edges = of(Table::OwnedEdge, id.as_bytes())?;
        let links = of(Table::LinkedEdge, tag.as_bytes())?;
        let invites = of(Table::OwnedInvite, id.as_bytes())?;
        let (blobs, blob_bytes) = self.blobs_of(id, rows)?;
        let mut devices = Vec::new();
        for device in account.devices.iter() {
            let receiving = self.conns.receiver(&device.slot).is_some();
            devices.push(DeviceInfo { receiving, waiting: rows.usage(spool::queue(&device.slot))? });
        }
        let state = match (account.suspended, account.provisional) {
            (true, _) => AccountState::Suspended,
            (false, Some(_)) => AccountState::Provisional,
            (false, None) => AccountState::Active,
        };
        let (handle, made_minute) = (account.handle, account.made_minute);
        let blobs = blobs as u64;
        Ok(AccountInfo { handle, made_minute, state, devices, edges, links, invites, blobs, blob_bytes })
    }
}

/// Rows of a table.
fn count(table: Table, rows: &dyn Rows) -> Result<u64, Fault> {
    let (mut count, mut after) = (0, None);
    loop {
        let page = rows.keys(table, &[], after.as_deref(), PAGE)?;
        count += page.len() as u64;
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.clone()),
            Some(_) | None => return Ok(count),
        }
    }
}
