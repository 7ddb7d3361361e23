//! Mail that changes its mailbox: sessions merge, end for good, or are taken over.

use crate::address::{MailKey, Mailbox};
use crate::arrivals::HeldReason;
use crate::event::Event;
use crate::later::Doing;
use crate::ledger::Table;
use crate::machine::Delivery;
use crate::record::{MailRecord, MailState};
use crate::step::Step;

impl Delivery {
    /// Moves everything that waits in one mailbox to another, in order; returns how much it was.
    ///
    /// With a reason, senders are told that it is held there. What one step has no room for moves in the next ones.
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
        let count = keys.len();
        self.do_to_all(Doing::Move { from, to, held }, keys, step);
        count
    }

    /// Moves one message that waits in `from`, behind all that is there.
    pub(crate) fn move_one(
        &mut self,
        key: MailKey,
        from: Mailbox,
        to: Mailbox,
        held: Option<HeldReason>,
        step: &mut Step<'_>,
    ) {
        let Some(waiting) = self.inbox.waits_in(&key, from) else { return };
        let Some(mut mail) = self.ledger.get::<MailRecord>(step.records, Table::Mail, &key.to_key()) else {
            return;
        };
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
        self.inbox.set_waiting(&key, waiting);
        if tell {
            self.tell_held(&mail, step);
        }
        self.announce_if_shown(&mail, step);
        if self.inbox.is_empty(from) {
            self.events.push_back(Event::Mailbox { mailbox: from });
        }
    }

    /// Marks what waits in a mailbox as sent to an earlier conversation: another one took the session over.
    pub fn mark_earlier(&mut self, mailbox: Mailbox, step: &mut Step<'_>) {
        self.begin(step);
        let keys: Vec<MailKey> = self.inbox.in_mailbox(mailbox).map(|entry| entry.key).collect();
        self.do_to_all(Doing::MarkEarlier, keys, step);
    }

    pub(crate) fn mark_one_earlier(&mut self, key: MailKey, step: &mut Step<'_>) {
        let mail = self.ledger.get::<MailRecord>(step.records, Table::Mail, &key.to_key());
        let Some(mut mail) = mail else { return };
        if let Some(received) = mail.received.as_mut().filter(|received| received.state == MailState::Unread)
        {
            received.marks.earlier = true;
            self.ledger.put(Table::Mail, &key.to_key(), &mail);
        }
    }
}
