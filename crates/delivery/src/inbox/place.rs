//! Putting mail into mailboxes, holding it back and letting it go.

use penpal_protocol::ids::Fingerprint;
use penpal_protocol::sealed::Kind;

use crate::address::{MailKey, Mailbox};
use crate::arrivals::HeldReason;
use crate::event::Event;
use crate::later::Doing;
use crate::ledger::Table;
use crate::machine::Delivery;
use crate::record::{MailRecord, MailState};
use crate::step::Step;

/// How much larger than a message that is shown the shell's rows of what it refers to may be.
const NOTED: usize = 4;

/// Key of a row under a mailbox or a contact, in order of arrival.
pub(crate) fn ordered_key(prefix: &[u8; 16], ordinal: u64) -> [u8; 24] {
    let mut key = [0; 24];
    for (to, from) in key.iter_mut().zip(prefix.iter().chain(&ordinal.to_be_bytes())) {
        *to = *from;
    }
    key
}

impl Delivery {
    /// Puts a message into its mailbox, unread.
    pub(crate) fn place(&mut self, mail: &MailRecord) {
        let Some(received) = &mail.received else { return };
        let key = ordered_key(&received.mailbox.to_key(), mail.ordinal);
        self.ledger.put(Table::Mailbox, &key, &mail.key());
        if received.state == MailState::Unread {
            self.ledger.put(Table::Unread, &key, &mail.key());
            self.inbox.insert(mail);
        }
    }

    /// Takes a message out of its mailbox, to be put elsewhere.
    pub(crate) fn unplace(&mut self, mail: &MailRecord) {
        for account in contacts_of(mail) {
            self.ledger.delete(Table::Thread, &ordered_key(account.as_bytes(), mail.ordinal));
        }
        if let Some(room) = mail.room {
            self.ledger.delete(Table::Room, &ordered_key(room.as_bytes(), mail.ordinal));
        }
        self.ledger.delete(Table::Conversation, &ordered_key(mail.conversation.as_bytes(), mail.ordinal));
        let Some(received) = &mail.received else { return };
        let key = ordered_key(&received.mailbox.to_key(), mail.ordinal);
        self.ledger.delete(Table::Mailbox, &key);
        self.ledger.delete(Table::Unread, &key);
        self.inbox.remove(&mail.key());
    }

    /// Lists a message under every contact it was exchanged with, or under its room, and under what it belongs to.
    pub(crate) fn index_thread(&mut self, mail: &MailRecord) {
        if !mail.kind.is_mail() {
            return;
        }
        for account in contacts_of(mail) {
            self.ledger.put(Table::Thread, &ordered_key(account.as_bytes(), mail.ordinal), &mail.key());
        }
        if let Some(room) = mail.room {
            self.ledger.put(Table::Room, &ordered_key(room.as_bytes(), mail.ordinal), &mail.key());
        }
        let place = ordered_key(mail.conversation.as_bytes(), mail.ordinal);
        self.ledger.put(Table::Conversation, &place, &mail.key());
    }

    /// Tells of mail that can be seen from now on.
    pub(crate) fn announce_if_shown(&mut self, mail: &MailRecord, step: &Step<'_>) {
        let shown = self.inbox.entry(&mail.key()).is_some_and(|entry| !entry.hidden && !entry.waiting);
        if shown {
            let answers = self.kind_answered(mail, step);
            self.announce_arrival(mail, answers);
        }
    }

    pub(crate) fn announce_arrival(&mut self, mail: &MailRecord, answers: Option<Kind>) {
        let Some(received) = &mail.received else { return };
        self.events.push_back(Event::Arrived {
            key: mail.key(),
            mailbox: received.mailbox,
            kind: mail.kind,
            answers,
            wake_budget: mail.wake_budget,
        });
    }

    /// Kind of the own message that a reply answers.
    pub(crate) fn kind_answered(&mut self, mail: &MailRecord, step: &Step<'_>) -> Option<Kind> {
        let answered = mail.reply_to.filter(|_| mail.kind == Kind::Reply)?;
        let own = self.own_mail(answered, step.records)?;
        own.sent.map(|_| own.kind)
    }

    /// Notes why a message waits although it can be seen, and tells its sender.
    pub fn hold(&mut self, key: MailKey, reason: HeldReason, step: &mut Step<'_>) {
        self.begin(step);
        let Some(mut mail) = self.ledger.get::<MailRecord>(step.records, Table::Mail, &key.to_key()) else {
            return;
        };
        let Some(received) = &mut mail.received else { return };
        let reason = reason.as_str();
        if received.state != MailState::Unread || received.reason.as_deref() == Some(reason) {
            return;
        }
        received.reason = Some(reason.to_owned());
        self.ledger.put(Table::Mail, &key.to_key(), &mail);
        self.tell_held(&mail, step);
    }

    /// A person here wrote to the contact or verified it: its mail is shown.
    pub(crate) fn release_account(&mut self, account: Fingerprint, step: &mut Step<'_>) {
        let held = self.inbox.hidden_from(&account);
        self.do_to_all(Doing::Release(HeldReason::AwaitingPerson), held, step);
    }

    /// Shows messages from the future once the clocks agree, as many as one step has room for.
    pub(crate) fn release_held(&mut self, step: &mut Step<'_>) {
        let now_ms = step.now.wall_ms;
        while self.ledger.has_room()
            && let Some((at, key)) = self.inbox.releases.first().copied().filter(|(at, _)| *at <= now_ms)
        {
            self.inbox.releases.remove(&(at, key));
            self.release(key, HeldReason::ClockAhead, step);
        }
    }

    pub(crate) fn release(&mut self, key: MailKey, reason: HeldReason, step: &mut Step<'_>) {
        let Some(mut mail) = self.ledger.get::<MailRecord>(step.records, Table::Mail, &key.to_key()) else {
            return;
        };
        let Some(received) = &mut mail.received else { return };
        if !received.hidden || received.reason.as_deref() != Some(reason.as_str()) {
            return;
        }
        // A message from the future may as well be from a contact that nobody accepted.
        let standing = key.from.and_then(|account| self.contacts.standing(&account));
        if reason == HeldReason::ClockAhead && standing == Some(crate::Standing::OnProbation) {
            received.reason = Some(HeldReason::AwaitingPerson.as_str().to_owned());
            self.ledger.put(Table::Mail, &key.to_key(), &mail);
            return;
        }
        self.show_released(mail, step);
    }

    /// Shows what was hidden, or keeps it as history when it is for somebody else in its room.
    pub(crate) fn show_released(&mut self, mut mail: MailRecord, step: &mut Step<'_>) {
        let key = mail.key();
        // The shell notes what it refers to, now that it is shown.
        let content = usize::try_from(mail.content_bytes).unwrap_or(usize::MAX);
        self.ledger.add_bytes(content.saturating_mul(NOTED));
        let Some(received) = &mut mail.received else { return };
        received.hidden = false;
        if received.quiet == Some(true) {
            received.state = MailState::History;
            self.ledger.put(Table::Mail, &key.to_key(), &mail);
            self.unplace(&mail);
            self.index_thread(&mail);
            self.place(&mail);
            self.heed_answer(&mail, step);
            return;
        }
        self.ledger.put(Table::Mail, &key.to_key(), &mail);
        if let Some(entry) = self.inbox.entry_mut(&key) {
            entry.hidden = false;
        }
        self.heed_answer(&mail, step);
        self.announce_if_shown(&mail, step);
        self.heed_read_elsewhere(key, step);
    }

    /// Mailboxes in which something waits.
    pub fn mailboxes(&self) -> impl Iterator<Item = Mailbox> + '_ {
        self.inbox.mailboxes()
    }
}

/// Contacts under which a message is listed: none for what was said in a room.
fn contacts_of(mail: &MailRecord) -> Vec<Fingerprint> {
    if mail.room.is_some() {
        return Vec::new();
    }
    let sent = mail.sent.iter().flat_map(|sent| &sent.copies).map(|peer| peer.account);
    let mut accounts: Vec<Fingerprint> = mail.from.into_iter().chain(sent).collect();
    accounts.retain(|account| *account != crate::Peer::HERE.account);
    accounts.sort_unstable();
    accounts.dedup();
    accounts
}
