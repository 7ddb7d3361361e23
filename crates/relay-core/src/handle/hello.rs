//! `Hello`: is this the database that the relay knows, and from where does it receive.

use penpal_protocol::cbor::List;
use penpal_protocol::ids::RunId;
use penpal_protocol::time::Now;
use penpal_protocol::wire::{Answer, Hello, HelloAnswer, RefusalCode, Verdict};

use crate::command::{ConnId, RequestId};
use crate::core::{CallerDevice, Cx, RelayCore};
use crate::effect::{Effect, Receive};
use crate::error::Fault;
use crate::rows::Rows;
use crate::rows::records::{Known, MAX_EARLIER, Slot};

/// Runs written in one step, of which each is some hundred bytes; the rest goes on at once in the next.
const SAVED_RUNS: usize = 1_024;

impl RelayCore {
    /// Judges a database by its runs, and starts receiving when it is the known one.
    ///
    /// | stored run | verdict |
    /// | --- | --- |
    /// | none | known |
    /// | the present one, or listed in `since`, and the incarnation is of no earlier life | known |
    /// | connected now | clone |
    /// | not connected, and the incarnation was never seen | known: a new life after a rollback |
    /// | not connected, incarnation seen before | rolled back |
    pub(crate) fn hello(
        &mut self,
        conn: ConnId,
        request: RequestId,
        device: CallerDevice,
        hello: &Hello,
        cx: &mut Cx<'_>,
    ) -> Result<(), Fault> {
        let Some(mut slot) = self.db.slots.get(&device.slot, cx.rows)?.cloned() else {
            self.answer(conn, request, Answer::refused(RefusalCode::No));
            return Ok(());
        };
        if let Some(known) = self.unsaved_runs.get(&device.slot) {
            learn(&mut slot, *known);
        }
        let (verdict, other) = self.judge(conn, device, &slot, hello);
        let epoch = self.db.epoch(&slot);
        let newest = self.db.spools.usage(&device.slot, cx.rows)?.last_seq;
        let Some(account) = self.db.accounts.get(&device.account, cx.rows)? else {
            self.answer(conn, request, Answer::refused(RefusalCode::No));
            return Ok(());
        };
        let (handle, manifest_revision) = (account.handle.clone(), account.manifest_revision);
        let answer = HelloAnswer { verdict, epoch, newest, handle, manifest_revision };
        match (verdict, other) {
            (Verdict::Known, _) => {
                let known = Known { incarnation: hello.incarnation, run: hello.run };
                self.remember(device, slot, known, cx);
                let before = self.conns.set_hello(conn, Some((device.slot, hello.run)));
                self.acks.hurry(&device.slot);
                let (account, slot) = (device.account, device.slot);
                let receive = Receive { conn, request, answer, account, slot, before };
                self.effects.push(Effect::Receive(Box::new(receive)));
            }
            (Verdict::Clone, Some(other)) => {
                self.effects.push(Effect::Clone { conn, request, answer, other });
            }
            (Verdict::Clone, None) | (Verdict::RolledBack, _) => {
                self.answer(conn, request, Answer::Hello(answer));
            }
        }
        Ok(())
    }

    fn judge(
        &self,
        conn: ConnId,
        device: CallerDevice,
        slot: &Slot,
        hello: &Hello,
    ) -> (Verdict, Option<ConnId>) {
        let Some(known) = slot.known else { return (Verdict::Known, None) };
        // A run may begin a new life: a copy made before knows the run, and not that its own life is over.
        let is_over = slot.earlier.contains(&hello.incarnation);
        if !is_over && (known.run == hello.run || hello.since.contains(&known.run)) {
            return (Verdict::Known, None);
        }
        if let Some(other) = self.speaking(conn, device, known.run) {
            return (Verdict::Clone, Some(other));
        }
        let seen = known.incarnation == hello.incarnation || is_over;
        (if seen { Verdict::RolledBack } else { Verdict::Known }, None)
    }

    /// Another connection of the device that speaks for this run.
    fn speaking(&self, conn: ConnId, device: CallerDevice, run: RunId) -> Option<ConnId> {
        let of_slot = self.conns.of_slot(&device.slot).iter().copied();
        of_slot.filter(|other| *other != conn).find(|other| {
            self.conns.get(*other).and_then(|state| state.hello).is_some_and(|(_, spoken)| spoken == run)
        })
    }

    fn remember(&mut self, device: CallerDevice, mut slot: Slot, known: Known, cx: &Cx<'_>) {
        if slot.known == Some(known) && !self.unsaved_runs.contains_key(&device.slot) {
            return;
        }
        if self.is_full(cx.now) {
            self.unsaved_runs.insert(device.slot, known);
            return;
        }
        self.unsaved_runs.remove(&device.slot);
        learn(&mut slot, known);
        self.db.slots.put(device.slot, slot, &mut self.db.changes);
    }

    /// Writes some of the runs that were answered while the disk was full, when it may have room again.
    pub(crate) fn save_runs(&mut self, rows: &dyn Rows, now: Now) -> Result<(), Fault> {
        if self.is_full(now) {
            return Ok(());
        }
        while self.saving_runs.len() < SAVED_RUNS
            && let Some((id, known)) = self.unsaved_runs.pop_first()
        {
            // Before it is read: a step that is undone gives it back.
            self.saving_runs.insert(id, known);
            if let Some(mut slot) = self.db.slots.get(&id, rows)?.cloned() {
                learn(&mut slot, known);
                self.db.slots.put(id, slot, &mut self.db.changes);
            }
        }
        Ok(())
    }
}

/// Takes a run, and a new incarnation with it, into a slot's row.
fn learn(slot: &mut Slot, known: Known) {
    if let Some(before) = slot.known.replace(known)
        && before.incarnation != known.incarnation
    {
        let mut earlier = std::mem::take(&mut slot.earlier).into_vec();
        earlier.retain(|one| *one != before.incarnation && *one != known.incarnation);
        earlier.push(before.incarnation);
        let surplus = earlier.len().saturating_sub(MAX_EARLIER);
        slot.earlier = List::truncated(earlier.split_off(surplus));
    }
}
