//! Mail from rooms that waits for an entry of the room's membership log.

use penpal_protocol::limits::MAX_CLOCK_AHEAD_MS;

use crate::address::MailKey;
use crate::arrivals::HeldReason;
use crate::ledger::Table;
use crate::machine::Delivery;
use crate::record::{MailRecord, MailState};
use crate::step::Step;

impl Delivery {
    /// The entry came, and the message counts: it is shown, or is history when it is for somebody else. What else holds it
    /// goes on doing so.
    pub fn release_from_room(&mut self, key: MailKey, step: &mut Step<'_>) {
        self.begin(step);
        let Some(mut mail) = self.waiting_for_entry(key, step) else { return };
        let standing = key.from.and_then(|account| self.contacts.standing(&account));
        let Some(received) = &mut mail.received else { return };
        if standing == Some(crate::Standing::OnProbation) {
            received.reason = Some(HeldReason::AwaitingPerson.as_str().to_owned());
            self.ledger.put(Table::Mail, &key.to_key(), &mail);
            return;
        }
        if mail.sent_ms > step.now.wall_ms.saturating_add(MAX_CLOCK_AHEAD_MS) {
            received.reason = Some(HeldReason::ClockAhead.as_str().to_owned());
            self.ledger.put(Table::Mail, &key.to_key(), &mail);
            self.inbox.release_at(mail.sent_ms.saturating_sub(MAX_CLOCK_AHEAD_MS), key);
            return;
        }
        self.show_released(mail, step);
    }

    /// The message does not count, or its entry never came: only the mark remains, and its sender is told.
    pub fn refuse_from_room(&mut self, key: MailKey, reason: &str, step: &mut Step<'_>) {
        self.begin(step);
        let Some(mut mail) = self.waiting_for_entry(key, step) else { return };
        self.unplace(&mail);
        if let Some(received) = &mut mail.received {
            received.state = MailState::Refused;
            received.reason = Some(reason.to_owned());
        }
        self.ledger.put(Table::Mail, &key.to_key(), &mail);
        self.ledger.delete(Table::Content, &key.to_key());
        if let Some(peer) =
            mail.from.zip(mail.from_device).map(|(account, device)| crate::Peer::new(account, device))
        {
            self.owe_present_stage(peer, &mail);
        }
    }

    fn waiting_for_entry(&mut self, key: MailKey, step: &Step<'_>) -> Option<MailRecord> {
        let mail: MailRecord = self.ledger.get(step.records, Table::Mail, &key.to_key())?;
        let waits = mail.received.as_ref().is_some_and(|received| {
            received.hidden
                && received.state == MailState::Unread
                && received.reason.as_deref() == Some(HeldReason::RoomEpoch.as_str())
        });
        waits.then_some(mail)
    }
}
