//! Receipts that this device owes to the senders of what it received.

use penpal_protocol::cbor::Text;
use penpal_protocol::ids::MsgId;
use penpal_protocol::sealed::{Receipt, SessionRef, Stage as StatedStage};

use crate::address::Peer;
use crate::contacts::Standing;
use crate::machine::Delivery;
use crate::record::{MailRecord, MailState, QueuedReceipt};

/// What is to be stated about a received message.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub msg_id: MsgId,
    pub stage: StatedStage,
    pub session: Option<SessionRef>,
    pub mechanism: Option<String>,
    pub reason: Option<String>,
    pub at_ms: u64,
    /// When the message ends, and with it the repetition of the receipt.
    pub expires_ms: u64,
}

impl Statement {
    pub(crate) fn new(msg_id: MsgId, stage: StatedStage, at_ms: u64, expires_ms: u64) -> Self {
        Self { msg_id, stage, session: None, mechanism: None, reason: None, at_ms, expires_ms }
    }
}

impl Delivery {
    /// Queues a receipt; it goes out when the step ends, alone or in an envelope that goes anyway.
    pub(crate) fn owe(&mut self, peer: Peer, statement: Statement) {
        // A blocked contact is answered nothing, and one that was removed cannot be.
        if self.contacts.standing(&peer.account).is_none_or(|standing| standing == Standing::Blocked) {
            return;
        }
        let queued = QueuedReceipt {
            receipt: Receipt {
                msg_id: statement.msg_id,
                stage: statement.stage,
                session: statement.session,
                mechanism: statement.mechanism.map(|mechanism| Text::truncated(&mechanism)),
                reason: statement.reason.map(|reason| Text::truncated(&reason)),
                at_ms: statement.at_ms,
            },
            expires_ms: statement.expires_ms,
        };
        let lane = self.lanes.entry(peer).or_default();
        let floor = lane.pair.receipts_floor;
        lane.receipts.push(peer, &mut lane.pair.receipts_floor, queued, &mut self.ledger);
        if lane.pair.receipts_floor != floor {
            lane.save(peer, &mut self.ledger);
        }
        self.touch(peer);
    }

    /// Says again where a message stands that came once more.
    pub(crate) fn owe_present_stage(&mut self, peer: Peer, mail: &MailRecord) {
        let Some(received) = &mail.received else { return };
        let stage = match received.state {
            MailState::Unread if received.reason.is_some() => StatedStage::Held,
            MailState::Unread | MailState::Control | MailState::History => StatedStage::Delivered,
            MailState::Surfaced | MailState::Read => StatedStage::Surfaced,
            MailState::Refused => StatedStage::Refused,
            MailState::Expired => StatedStage::Expired,
        };
        let at_ms = received.surfaced_ms.unwrap_or(mail.stored_ms);
        let mut statement = Statement::new(mail.msg_id, stage, at_ms, mail.expires_ms);
        statement.mechanism.clone_from(&received.mechanism);
        if stage != StatedStage::Surfaced {
            statement.reason.clone_from(&received.reason);
        }
        self.owe(peer, statement);
    }
}
