//! The end of a message's life, as its sender concludes it.

use super::GONE;
use crate::machine::Delivery;
use crate::record::CopyRecord;
use crate::stage::{Stage, TrailEvent};
use crate::step::Step;

impl Delivery {
    pub(crate) fn expire_copies(&mut self, step: &mut Step<'_>) {
        let now_ms = step.now.wall_ms;
        while self.ledger.has_room()
            && let Some((_, peer, msg_id)) =
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
            let gone = self.is_gone(&record);
            let stage = if gone { unreached(&record) } else { Stage::Expired };
            let reason = gone.then(|| GONE.to_owned());
            let event = TrailEvent { reason, ..TrailEvent::here(stage, now_ms) };
            if !self.state_copy(peer, msg_id, event, step) {
                // Cannot happen while every owed stage may become a failed one; the loop must end all the same.
                self.outbox.expiries.pop_first();
            }
        }
    }

    /// Whether a copy waits for a contact, or a device of it, whose relay takes nothing.
    pub(super) fn is_gone(&self, record: &CopyRecord) -> bool {
        let contact_gone = self.contacts.get(&record.peer.account).is_some_and(|contact| contact.gone);
        contact_gone || record.reason.as_deref() == Some(GONE)
    }
}

/// How a copy ends that nobody takes. What a relay took, or may have taken, can be there all the same: a refusal is final, an expiry gives way
/// to a receipt.
pub(super) fn unreached(record: &CopyRecord) -> Stage {
    let may_be_there = record.deposits > 0 || !record.sealed.is_empty();
    if may_be_there { Stage::Expired } else { Stage::Refused }
}

#[cfg(test)]
mod tests {
    use penpal_protocol::ids::{MsgId, ShortHash};

    use super::*;
    use crate::address::Peer;

    #[test]
    fn only_what_never_left_is_called_refused() {
        let sealed = ShortHash::from_bytes([1; 16]);
        for (deposits, sealed, stage) in
            [(0, vec![], Stage::Refused), (1, vec![], Stage::Expired), (0, vec![sealed], Stage::Expired)]
        {
            let record = CopyRecord {
                peer: Peer::HERE,
                msg_id: MsgId::from_bytes([1; 16]),
                ordinal: 1,
                stage: Stage::Queued,
                reason: None,
                order: None,
                deposits,
                last_deposit_ms: 0,
                sealed,
                trail: Vec::new(),
                receipted_ms: None,
                expires_ms: 0,
                again: false,
            };
            assert_eq!(unreached(&record), stage);
            // Of several copies for one account the furthest counts, in whatever order they come.
            let further = CopyRecord { stage: Stage::Delivered, ..record.clone() };
            for copies in [[record.clone(), further.clone()], [further, record]] {
                let furthest = super::super::stages::furthest(&copies);
                assert_eq!(
                    furthest.into_values().map(|copy| copy.stage).collect::<Vec<_>>(),
                    [Stage::Delivered]
                );
            }
        }
    }
}
