//! Mail that waits for its reader only as long as it lives.

use crate::address::MailKey;
use crate::event::Event;
use crate::ledger::Table;
use crate::machine::Delivery;
use crate::record::{MailRecord, MailState};
use crate::step::Step;

impl Delivery {
    /// A message that waits here is no longer shown once its life is over.
    pub fn let_end(&mut self, key: MailKey, step: &mut Step<'_>) {
        self.begin(step);
        let Some(mut mail) = self.ledger.get::<MailRecord>(step.records, Table::Mail, &key.to_key()) else {
            return;
        };
        let Some(received) = &mut mail.received else { return };
        received.ends = Some(true);
        self.ledger.put(Table::Mail, &key.to_key(), &mail);
        if self.inbox.entry(&key).is_some() {
            self.inbox.ends.insert((mail.expires_ms, key));
        }
    }

    /// Ends what nobody read in time. What was handed out just now may still be committed.
    pub(crate) fn end_unread(&mut self, step: &mut Step<'_>) {
        let now_ms = step.now.wall_ms;
        while self.ledger.has_room()
            && let Some((at, key)) = self.inbox.ends.first().copied().filter(|(at, _)| *at <= now_ms)
        {
            self.inbox.ends.remove(&(at, key));
            let Some(mut mail) = self.ledger.get::<MailRecord>(step.records, Table::Mail, &key.to_key())
            else {
                continue;
            };
            let Some(received) = &mut mail.received else { continue };
            if received.state != MailState::Unread {
                continue;
            }
            received.state = MailState::Expired;
            let mailbox = received.mailbox;
            self.ledger.put(Table::Mail, &key.to_key(), &mail);
            self.unplace(&mail);
            self.index_thread(&mail);
            self.place(&mail);
            self.events.push_back(Event::Mailbox { mailbox });
        }
    }
}
