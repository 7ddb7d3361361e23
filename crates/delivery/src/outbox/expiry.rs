//! The end of a message's life, as its sender concludes it.

use super::GONE;
use crate::machine::Delivery;
use crate::stage::{Stage, TrailEvent};
use crate::step::Step;

impl Delivery {
    pub(crate) fn expire_copies(&mut self, step: &mut Step<'_>) {
        let now_ms = step.now.wall_ms;
        while let Some((_, peer, msg_id)) =
            self.outbox.expiries.first().copied().filter(|(at, _, _)| *at <= now_ms)
        {
            let Some(copy) = self.outbox.live.get(&(peer, msg_id)) else {
                self.outbox.expiries.pop_first();
                continue;
            };
            let mut record = copy.record.clone();
            if record.stage.is_receipted() {
                // Only owed because its recipient lost it; it had it once, and that stands.
                record.again = false;
                self.write_back(record, step);
                continue;
            }
            let contact_gone = self.contacts.get(&peer.account).is_some_and(|contact| contact.gone);
            let gone = contact_gone || record.reason.as_deref() == Some(GONE);
            // What a relay took, or may have taken, can be there all the same: a refusal is final, an expiry gives way to a receipt.
            let may_be_there = record.deposits > 0 || !record.sealed.is_empty();
            let stage = if gone && !may_be_there { Stage::Refused } else { Stage::Expired };
            let reason = gone.then(|| GONE.to_owned());
            let event = TrailEvent { reason, ..TrailEvent::here(stage, now_ms) };
            if !self.state_copy(peer, msg_id, event, step) {
                // Cannot happen while every owed stage may become a failed one; the loop must end all the same.
                self.outbox.expiries.pop_first();
            }
        }
    }
}
