//! Deposits: the one thing a relay does all day.

use penpal_protocol::envelope::LADDER;
use penpal_protocol::wire::{Deposit, DepositOutcome, Event};

use crate::command::{ConnId, Push};
use crate::core::{Caller, Depositor, RelayCore};
use crate::effect::Effect;
use crate::error::Fault;
use crate::minute;
use crate::rows::Rows;
use crate::rows::records::{Edge, Link};
use crate::shares::Shares;
use crate::spool;
use penpal_protocol::time::Now;

impl RelayCore {
    /// Judges a deposit and stores it; `None` when its connection is gone.
    pub(crate) fn deposit(
        &mut self,
        conn: ConnId,
        what: Deposit,
        rows: &dyn Rows,
        now: Now,
    ) -> Result<Option<DepositOutcome>, Fault> {
        let Some(caller) = self.caller(conn, rows)? else { return Ok(None) };
        // Another length tells the relay and whoever watches the recipient more than the five sizes do.
        let on_the_ladder = LADDER.contains(&what.envelope.len());
        let Some(edge) = self.allowed(&caller, &what, rows)?.filter(|_| on_the_ladder) else {
            // Guessing costs the guesser its requests.
            let rate = self.config.limits.requests;
            let left = self.conns.get_mut(conn).is_some_and(|state| state.take_request(rate, now.mono));
            return Ok(Some(if left { DepositOutcome::No } else { DepositOutcome::Quota }));
        };
        if !self.within_quota(&caller, &what, now) {
            return Ok(Some(DepositOutcome::Quota));
        }
        if what.ephemeral == Some(true) {
            let push =
                Push::Event(Event::Ephemeral(penpal_protocol::wire::Ephemeral { envelope: what.envelope }));
            self.effects.push(Effect::Ephemeral { slot: what.slot, push });
            return Ok(Some(DepositOutcome::Accepted));
        }
        self.store(&what, &edge, rows, now).map(Some)
    }

    /// The edge, if the depositor may use it for this slot. Every refusal costs the same look-ups.
    fn allowed(&mut self, caller: &Caller, what: &Deposit, rows: &dyn Rows) -> Result<Option<Edge>, Fault> {
        let edge = self.linked_edge(caller, &what.edge, &what.cap, rows)?;
        let owner = self.db.slots.get(&what.slot, rows)?.map(|slot| slot.account);
        let suspended = caller.device.is_some_and(|device| device.suspended);
        Ok(edge.filter(|edge| Some(edge.owner) == owner && !suspended))
    }

    fn within_quota(&mut self, caller: &Caller, what: &Deposit, now: Now) -> bool {
        let depositor = caller
            .device
            .map_or(Depositor::Stranger(caller.prefix), |device| Depositor::Account(device.account));
        let kib = u32::try_from(what.envelope.len().div_ceil(1024)).unwrap_or(u32::MAX);
        self.edge_limiter.take(what.edge, 1, now.mono)
            && self.depositor_limiter.take(depositor, kib, now.mono)
    }

    fn store(
        &mut self,
        what: &Deposit,
        edge: &Edge,
        rows: &dyn Rows,
        now: Now,
    ) -> Result<DepositOutcome, Fault> {
        debug_assert_eq!(
            self.db.slots.get(&what.slot, rows).ok().flatten().map(|slot| slot.account),
            Some(edge.owner)
        );
        let mark = self.graph.deposit_mark(&what.edge, &what.deposit);
        if self.db.marks.contains(mark) {
            return Ok(DepositOutcome::Accepted);
        }
        if self.is_full(now) {
            return Ok(DepositOutcome::Full);
        }
        if !self.has_room(&what.slot, what.envelope.len(), rows)? {
            return Ok(DepositOutcome::RecipientFull);
        }
        if !self.take_share(what, edge, rows)? {
            return Ok(DepositOutcome::Quota);
        }
        self.db.marks.insert(mark);
        let row = spool::envelope_row(&what.envelope);
        self.spool(&what.slot, row, minute(now.wall_ms), rows)?;
        Ok(DepositOutcome::Accepted)
    }

    /// Whether a spool takes so many bytes more.
    pub(crate) fn has_room(
        &mut self,
        slot: &penpal_protocol::ids::SlotId,
        bytes: usize,
        rows: &dyn Rows,
    ) -> Result<bool, Fault> {
        let usage = self.db.spools.usage(slot, rows)?;
        let limits = &self.config.limits;
        Ok(usage.rows < limits.spool_rows && usage.bytes.saturating_add(bytes as u64) <= limits.spool_bytes)
    }

    /// Counts a deposit against what its edge may add to a spool; false when that is used up. What the account's own devices have for each
    /// other may take all.
    fn take_share(&mut self, what: &Deposit, edge: &Edge, rows: &dyn Rows) -> Result<bool, Fault> {
        let usage = self.db.spools.usage(&what.slot, rows)?;
        let (limits, bytes) = (&self.config.limits, what.envelope.len() as u64);
        if Shares::is_free(&usage, limits) {
            self.db.shares.forget(&what.slot);
            return Ok(true);
        }
        if !self.db.shares.allow(what.slot, what.edge, bytes, limits)
            && edge.link != Link::Local(self.graph.link_tag(&edge.owner))
        {
            return Ok(false);
        }
        self.db.shares.add(what.slot, what.edge, bytes);
        Ok(true)
    }

    /// Forgets the shares of spools that have room again.
    pub(crate) fn age_shares(&mut self, rows: &dyn Rows) -> Result<(), Fault> {
        for slot in self.db.shares.slots() {
            if Shares::is_free(&rows.usage(spool::queue(&slot))?, &self.config.limits) {
                self.db.shares.forget(&slot);
            }
        }
        Ok(())
    }

    /// Puts a row into a spool, to be sent once it is durable.
    pub(crate) fn spool(
        &mut self,
        slot: &penpal_protocol::ids::SlotId,
        row: bytes::Bytes,
        minute: u32,
        rows: &dyn Rows,
    ) -> Result<(), Fault> {
        let seq = self.db.spools.append(slot, row.clone(), minute, rows, &mut self.db.changes)?;
        self.effects.push(Effect::Spooled { slot: *slot, seq, row });
        Ok(())
    }
}
