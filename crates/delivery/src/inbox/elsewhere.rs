//! Mail that was read on another device of the same account.

use super::place::ordered_key;
use crate::address::MailKey;
use crate::event::Event;
use crate::ledger::Table;
use crate::machine::Delivery;
use crate::record::{MailRecord, MailState};
use crate::step::Step;

/// How it was surfaced, as listings say.
const MECHANISM: &str = "other-device";

impl Delivery {
    /// A message was read or answered on another device: it is read here too, and its sender is told nothing of that.
    ///
    /// Tells whether it was unread.
    pub fn read_elsewhere(&mut self, key: MailKey, answered: bool, step: &mut Step<'_>) -> bool {
        self.begin(step);
        let Some(mut mail) = self.ledger.get::<MailRecord>(step.records, Table::Mail, &key.to_key()) else {
            return false;
        };
        let ordinal = mail.ordinal;
        let Some(received) = mail.received.as_mut().filter(|received| !received.hidden) else { return false };
        let (mailbox, unread) = (received.mailbox, received.state == MailState::Unread);
        if !matches!(received.state, MailState::Unread | MailState::Surfaced)
            && received.marks.answered >= answered
        {
            return false;
        }
        if matches!(received.state, MailState::Unread | MailState::Surfaced) {
            received.state = MailState::Read;
        }
        received.marks.answered |= answered;
        if unread {
            received.mechanism = Some(MECHANISM.to_owned());
            received.surfaced_ms = Some(step.now.wall_ms);
        }
        self.ledger.put(Table::Mail, &key.to_key(), &mail);
        if unread {
            self.ledger.delete(Table::Unread, &ordered_key(&mailbox.to_key(), ordinal));
            self.inbox.remove(&key);
        }
        self.events.push_back(Event::Mailbox { mailbox });
        unread
    }
}
