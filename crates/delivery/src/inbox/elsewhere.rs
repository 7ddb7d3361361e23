//! Mail that was read on another device of the same account.

use penpal_protocol::limits::MAX_MESSAGE_LIFE_MS;

use super::place::ordered_key;
use crate::address::MailKey;
use crate::event::Event;
use crate::ledger::Table;
use crate::machine::Delivery;
use crate::record::{MailRecord, MailState, SeenRecord};
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
            self.note_read_elsewhere(key, answered, step);
            return false;
        };
        let ordinal = mail.ordinal;
        let Some(received) = mail.received.as_mut() else { return false };
        if received.hidden {
            self.note_read_elsewhere(key, answered, step);
            return false;
        }
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

    /// The mark overtook the message, or this device does not show it yet: it is kept until then.
    fn note_read_elsewhere(&mut self, key: MailKey, answered: bool, step: &Step<'_>) {
        let until_ms = step.now.wall_ms.saturating_add(MAX_MESSAGE_LIFE_MS);
        let mark = SeenRecord { until_ms, from: None, msg_id: None, answered: Some(answered) };
        self.ledger.put(Table::Seen, &key.to_key(), &mark);
    }

    /// Marks a message that is shown from now on when another device said before that it was read there.
    pub(crate) fn heed_read_elsewhere(&mut self, key: MailKey, step: &mut Step<'_>) {
        let mark: Option<SeenRecord> = self.ledger.get(step.records, Table::Seen, &key.to_key());
        let Some(mark) = mark else { return };
        self.ledger.delete(Table::Seen, &key.to_key());
        self.read_elsewhere(key, mark.answered == Some(true), step);
    }
}
