//! `Ack`: rows that are durable at the node leave the spool.

use penpal_protocol::wire::{Ack, AckAnswer, Answer, RefusalCode};

use crate::command::{ConnId, RequestId};
use crate::core::{CallerDevice, Cx, RelayCore};
use crate::effect::Effect;
use crate::error::Fault;

impl RelayCore {
    /// Takes rows out of the spool. Of the rows beyond the first gap only those sent on the present connection: which
    /// others exist is not worth a look-up, they are sent and acknowledged again.
    pub(crate) fn ack(
        &mut self,
        conn: ConnId,
        request: RequestId,
        device: CallerDevice,
        ack: &Ack,
        cx: &mut Cx<'_>,
    ) -> Result<(), Fault> {
        let Some(epoch) = self.db.slots.get(&device.slot, cx.rows)?.cloned().map(|slot| self.db.epoch(&slot))
        else {
            self.answer(conn, request, Answer::refused(RefusalCode::No));
            return Ok(());
        };
        let newest = self.db.spools.usage(&device.slot, cx.rows)?.last_seq;
        let answer = Answer::Ack(AckAnswer { epoch, newest });
        if ack.epoch != epoch {
            self.answer(conn, request, answer);
            return Ok(());
        }
        let up_to = ack.up_to.min(newest);
        // The order is checked where requests are decoded; here a wrong one must only do no harm.
        let mut gaps = ack.gaps.to_vec();
        gaps.sort_unstable();
        let whole = gaps.first().map_or(up_to, |gap| gap.saturating_sub(1).min(up_to));
        let singles = self.sent_between(&device, whole, up_to, &gaps);
        if whole > 0 || !singles.is_empty() {
            self.acks.add(device.slot, whole, singles, cx.now.mono);
        }
        let slot = device.slot;
        self.effects.push(Effect::Acknowledged { conn, request, answer, slot, up_to, gaps });
        Ok(())
    }

    fn sent_between(&mut self, device: &CallerDevice, after: u64, up_to: u64, gaps: &[u64]) -> Vec<u64> {
        if after >= up_to {
            return Vec::new();
        }
        let receiver = self.conns.receiver(&device.slot);
        let Some(receiving) = receiver.and_then(|conn| self.conns.receiving_mut(conn)) else {
            return Vec::new();
        };
        let sent = receiving.in_flight.iter().map(|(seq, _)| *seq);
        sent.filter(|seq| *seq > after && *seq <= up_to && gaps.binary_search(seq).is_err()).collect()
    }
}
