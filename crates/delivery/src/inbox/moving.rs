//! Mail that changes its mailbox: sessions merge, end for good, or are taken over.

use crate::address::{MailKey, Mailbox};
use crate::arrivals::HeldReason;
use crate::event::Event;
use crate::ledger::Table;
use crate::machine::Delivery;
use crate::record::MailRecord;
use crate::step::Step;

impl Delivery {
    /// Moves everything that waits in one mailbox to another, in order; returns how much it was.
    ///
    /// With a reason, senders are told that it is held there.
    pub fn retarget(
        &mut self,
        from: Mailbox,
        to: Mailbox,
        held: Option<HeldReason>,
        step: &mut Step<'_>,
    ) -> usize {
        self.begin(step);
        let keys: Vec<MailKey> = self.inbox.in_mailbox(from).map(|entry| entry.key).collect();
        if from == to || keys.is_empty() {
            return 0;
        }
        for key in &keys {
            let Some(mut mail) = self.ledger.get::<MailRecord>(step.records, Table::Mail, &key.to_key())
            else {
                continue;
            };
            let waiting = self.inbox.entry(key).is_some_and(|entry| entry.waiting);
            self.unplace(&mail);
            mail.ordinal = self.take_ordinal();
            let mut tell = false;
            if let Some(received) = &mut mail.received {
                received.mailbox = to;
                if let Some(held) = held.filter(|_| !received.hidden) {
                    received.reason = Some(held.as_str().to_owned());
                    tell = true;
                }
            }
            self.ledger.put(Table::Mail, &key.to_key(), &mail);
            self.index_thread(&mail);
            self.place(&mail);
            self.inbox.set_waiting(key, waiting);
            if tell {
                self.tell_held(&mail, step);
            }
            self.announce_if_shown(&mail, step);
        }
        self.events.push_back(Event::Mailbox { mailbox: from });
        keys.len()
    }

    /// Marks what waits in a mailbox as sent to an earlier conversation: another one took the session over.
    pub fn mark_earlier(&mut self, mailbox: Mailbox, step: &mut Step<'_>) {
        self.begin(step);
        let keys: Vec<MailKey> = self.inbox.in_mailbox(mailbox).map(|entry| entry.key).collect();
        for key in keys {
            let mail = self.ledger.get::<MailRecord>(step.records, Table::Mail, &key.to_key());
            let Some(mut mail) = mail else { continue };
            if let Some(received) = &mut mail.received {
                received.marks.earlier = true;
            }
            self.ledger.put(Table::Mail, &key.to_key(), &mail);
        }
    }
}
