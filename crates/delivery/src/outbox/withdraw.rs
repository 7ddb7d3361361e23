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
    /// taken back.
    pub fn withdraw(&mut self, room: RoomId, account: Fingerprint, step: &mut Step<'_>) {
        self.begin(step);
        let unsent = self.outbox.live.iter().filter(|((peer, _), copy)| {
            let flies = matches!(copy.attempt, Attempt::Flying(_));
            peer.account == account && copy.record.deposits == 0 && !flies
        });
        let unsent: Vec<(Peer, MsgId)> = unsent.map(|(key, _)| *key).collect();
        for (peer, msg_id) in unsent {
            let said_there = self.own_mail(msg_id, step.records).is_some_and(|mail| mail.room == Some(room));
            if said_there {
                let reason = Some(WITHDRAWN.to_owned());
                let event = TrailEvent { reason, ..TrailEvent::here(Stage::Refused, step.now.wall_ms) };
                self.state_copy(peer, msg_id, event, step);
            }
        }
    }
}
