//! What was said in a room and not sent yet, for somebody who is out of it meanwhile.

use penpal_protocol::ids::{Fingerprint, MsgId, RoomId};

use super::Attempt;
use super::stages::WITHDRAWN;
use crate::address::Peer;
use crate::machine::Delivery;
use crate::stage::{Stage, TrailEvent};
use crate::step::Step;

impl Delivery {
    /// Somebody is out of a room: own messages in it that never left this machine do not go there. What was left at its relay before cannot be
    /// taken back, and where it is not known whether it was left there nobody says that it was not: it expires, until a receipt comes.
    pub fn withdraw(&mut self, room: RoomId, account: Fingerprint, step: &mut Step<'_>) {
        self.begin(step);
        let unsent = self.outbox.live.iter().filter(|((peer, _), copy)| {
            let flies = matches!(copy.attempt, Attempt::Flying(_));
            peer.account == account && copy.record.deposits == 0 && !flies
        });
        let unsent = unsent.map(|(key, copy)| (*key, copy.record.sealed.is_empty()));
        let unsent: Vec<((Peer, MsgId), bool)> = unsent.collect();
        for ((peer, msg_id), never_left) in unsent {
            let said_there = self.own_mail(msg_id, step.records).is_some_and(|mail| mail.room == Some(room));
            if said_there {
                let reason = Some(WITHDRAWN.to_owned());
                let stage = if never_left { Stage::Refused } else { Stage::Expired };
                let event = TrailEvent { reason, ..TrailEvent::here(stage, step.now.wall_ms) };
                self.state_copy(peer, msg_id, event, step);
            }
        }
    }
}
