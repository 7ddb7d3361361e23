//! Messages that wait for the files that they refer to.

use penpal_protocol::ids::MsgId;

use crate::address::Peer;
use crate::machine::Delivery;
use crate::stage::{Stage, TrailEvent};
use crate::step::Step;

impl Delivery {
    /// Keeps a message from being sealed until [`Self::let_go`]; those behind it go on. Its life runs on.
    ///
    /// Not stored: whoever says so says it again after every opening, before anything else.
    pub fn hold_back(&mut self, msg_id: MsgId) {
        self.outbox.held.insert(msg_id);
    }

    /// The files of a message are where they are to be.
    pub fn let_go(&mut self, msg_id: MsgId, step: &mut Step<'_>) {
        self.begin(step);
        if self.outbox.held.remove(&msg_id) {
            for peer in self.live_peers(msg_id) {
                self.touch(peer);
            }
        }
    }

    /// The files of a message will never be where they are to be: what is owed of it is refused, with this reason.
    pub fn give_up(&mut self, msg_id: MsgId, reason: &str, step: &mut Step<'_>) {
        self.begin(step);
        self.outbox.held.remove(&msg_id);
        for peer in self.live_peers(msg_id) {
            let event = TrailEvent {
                reason: Some(reason.to_owned()),
                ..TrailEvent::here(Stage::Refused, step.now.wall_ms)
            };
            self.state_copy(peer, msg_id, event, step);
        }
    }

    /// Whether something of a message is still owed to somebody.
    #[must_use]
    pub fn is_owed_to_anybody(&self, msg_id: MsgId) -> bool {
        !self.live_peers(msg_id).is_empty()
    }

    fn live_peers(&self, msg_id: MsgId) -> Vec<Peer> {
        self.outbox.live.keys().filter(|(_, id)| *id == msg_id).map(|(peer, _)| *peer).collect()
    }
}
