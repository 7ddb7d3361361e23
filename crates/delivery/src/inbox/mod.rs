//! Mailboxes of this machine: what waits, what is leased, what was surfaced and read.
//!
//! ```text
//! unread ──take──▶ leased (10 s) ──commit──▶ surfaced ──read──▶ read
//!    ▲                │ lease over: marked `again`
//!    └────────────────┘
//! ```
//!
//! Mail that waits is in memory by a few words each; everything else is read from the records when asked for.

mod elsewhere;
mod ending;
mod lease;
mod listing;
mod moving;
mod newer;
mod place;
mod rooms;
mod short;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use penpal_protocol::ids::Fingerprint;
use penpal_protocol::sealed::Kind;

use crate::address::{MailKey, Mailbox};
use crate::contacts::Standing;
use crate::event::Event;
use crate::record::MailRecord;

pub use lease::{Lease, LeaseId, SurfaceError, Surfacing};
pub use listing::{MailView, QueryError, Selection};
pub use short::{ResolveError, exact_id};

/// How long handed-out mail may stay without a commit.
const LEASE: Duration = Duration::from_secs(10);

/// How late a commit may come.
const LATE_COMMIT: Duration = Duration::from_secs(300);

/// What may wait of one contact, in messages and bytes of content: as much as a relay keeps for a device.
const MOST_OF_A_CONTACT: Load = Load { messages: 10_000, bytes: 256 * 1024 * 1024 };

/// The same of a contact to which no person wrote yet.
const MOST_ON_PROBATION: Load = Load { messages: 256, bytes: 4 * 1024 * 1024 };

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Load {
    messages: usize,
    bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Inbox {
    entries: BTreeMap<u64, Entry>,
    by_mailbox: BTreeMap<Mailbox, BTreeSet<u64>>,
    by_key: BTreeMap<MailKey, u64>,
    leases: BTreeMap<LeaseId, Leased>,
    /// What waits of each contact.
    loads: BTreeMap<Fingerprint, Load>,
    /// Messages from the future, by when they may be shown.
    releases: BTreeSet<(u64, MailKey)>,
    /// Messages that wait only as long as they live, by when that is over.
    ends: BTreeSet<(u64, MailKey)>,
}

/// Mail that waits to be surfaced.
#[derive(Debug, Clone)]
struct Entry {
    key: MailKey,
    mailbox: Mailbox,
    kind: Kind,
    bytes: u32,
    /// Held where nobody sees it.
    hidden: bool,
    /// Waits for an earlier message, at most two seconds.
    waiting: bool,
    lease: Option<LeaseId>,
    /// Whether it had been handed out before the present lease.
    again: bool,
}

#[derive(Debug, Clone)]
struct Leased {
    until: Duration,
    /// The mail may be handed out anew; a late commit still counts.
    over: bool,
    keys: Vec<MailKey>,
}

/// What waits in a mailbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Messages that can be surfaced, leased ones included.
    pub unread: usize,
    /// Of those, asks.
    pub asks: usize,
    /// Messages that are held where nobody sees them.
    pub hidden: usize,
}

impl Inbox {
    pub(crate) fn restore(&mut self, mail: &MailRecord) {
        self.insert(mail);
    }

    fn insert(&mut self, mail: &MailRecord) {
        let Some(received) = &mail.received else { return };
        let key = mail.key();
        let entry = Entry {
            key,
            mailbox: received.mailbox,
            kind: mail.kind,
            bytes: mail.content_bytes,
            hidden: received.hidden,
            waiting: false,
            lease: None,
            again: received.marks.again,
        };
        if received.hidden && received.reason.as_deref() == Some(crate::HeldReason::ClockAhead.as_str()) {
            let ahead = penpal_protocol::limits::MAX_CLOCK_AHEAD_MS;
            self.releases.insert((mail.sent_ms.saturating_sub(ahead), key));
        }
        if received.ends == Some(true) {
            self.ends.insert((mail.expires_ms, key));
        }
        self.by_mailbox.entry(received.mailbox).or_default().insert(mail.ordinal);
        self.by_key.insert(key, mail.ordinal);
        if let Some(contact) = key.from {
            let load = self.loads.entry(contact).or_default();
            load.messages += 1;
            load.bytes += u64::from(entry.bytes);
        }
        self.entries.insert(mail.ordinal, entry);
    }

    /// Whether so much waits of a contact that no more of its mail is taken.
    pub(crate) fn is_full_of(&self, contact: &Fingerprint, standing: Standing) -> bool {
        let most = if standing == Standing::OnProbation { MOST_ON_PROBATION } else { MOST_OF_A_CONTACT };
        let load = self.loads.get(contact).copied().unwrap_or_default();
        load.messages >= most.messages || load.bytes >= most.bytes
    }

    /// A hidden message is from the future, and may be shown from then on.
    fn release_at(&mut self, at_ms: u64, key: MailKey) {
        self.releases.insert((at_ms, key));
    }

    fn remove(&mut self, key: &MailKey) -> Option<Entry> {
        let ordinal = self.by_key.remove(key)?;
        let entry = self.entries.remove(&ordinal)?;
        if let Some(contact) = key.from
            && let Some(load) = self.loads.get_mut(&contact)
        {
            load.messages = load.messages.saturating_sub(1);
            load.bytes = load.bytes.saturating_sub(u64::from(entry.bytes));
            if load.messages == 0 {
                self.loads.remove(&contact);
            }
        }
        if let Some(ordinals) = self.by_mailbox.get_mut(&entry.mailbox) {
            ordinals.remove(&ordinal);
            if ordinals.is_empty() {
                self.by_mailbox.remove(&entry.mailbox);
            }
        }
        self.releases.retain(|(_, held)| held != key);
        self.ends.retain(|(_, ending)| ending != key);
        Some(entry)
    }

    fn entry(&self, key: &MailKey) -> Option<&Entry> {
        self.entries.get(self.by_key.get(key)?)
    }

    fn entry_mut(&mut self, key: &MailKey) -> Option<&mut Entry> {
        self.entries.get_mut(self.by_key.get(key)?)
    }

    fn in_mailbox(&self, mailbox: Mailbox) -> impl Iterator<Item = &Entry> {
        let ordinals = self.by_mailbox.get(&mailbox).into_iter().flatten();
        ordinals.filter_map(|ordinal| self.entries.get(ordinal))
    }

    /// Whether a message in this mailbox waits for an earlier one; `None` when it does not wait there to be seen.
    fn waits_in(&self, key: &MailKey, mailbox: Mailbox) -> Option<bool> {
        self.entry(key).filter(|entry| entry.mailbox == mailbox).map(|entry| entry.waiting)
    }

    fn is_empty(&self, mailbox: Mailbox) -> bool {
        !self.by_mailbox.contains_key(&mailbox)
    }

    pub(crate) fn ordinal_of(&self, key: &MailKey) -> Option<u64> {
        self.by_key.get(key).copied()
    }

    pub(crate) fn set_waiting(&mut self, key: &MailKey, waiting: bool) {
        if let Some(entry) = self.entry_mut(key) {
            entry.waiting = waiting;
        }
    }

    pub(crate) fn waiting(&self, mailbox: Mailbox) -> Waiting {
        let mut waiting = Waiting::default();
        for entry in self.in_mailbox(mailbox).filter(|entry| !entry.waiting) {
            if entry.hidden {
                waiting.hidden += 1;
            } else {
                waiting.unread += 1;
                waiting.asks += usize::from(entry.kind == Kind::Ask);
            }
        }
        waiting
    }

    /// Mailboxes in which something waits.
    pub(crate) fn mailboxes(&self) -> impl Iterator<Item = Mailbox> + '_ {
        self.by_mailbox.keys().copied()
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.leases.values().filter(|lease| !lease.over).map(|lease| lease.until).min()
    }

    pub(crate) fn next_release_ms(&self) -> Option<u64> {
        self.releases.first().map(|(at, _)| *at)
    }

    pub(crate) fn next_end_ms(&self) -> Option<u64> {
        self.ends.first().map(|(at, _)| *at)
    }

    /// Keys of hidden mail of a contact.
    fn hidden_from(&self, account: &Fingerprint) -> Vec<MailKey> {
        let held = self.entries.values().filter(|entry| entry.hidden && entry.key.from == Some(*account));
        held.map(|entry| entry.key).collect()
    }

    pub(crate) fn end_leases(&mut self, now: Duration, events: &mut std::collections::VecDeque<Event>) {
        self.leases.retain(|_, lease| now < lease.until.saturating_add(LATE_COMMIT));
        let ends = |lease: &Leased| !lease.over && lease.until <= now;
        let over: Vec<LeaseId> =
            self.leases.iter().filter(|(_, lease)| ends(lease)).map(|(id, _)| *id).collect();
        for id in over {
            let Some(lease) = self.leases.get_mut(&id) else { continue };
            lease.over = true;
            for key in lease.keys.clone() {
                if let Some(entry) = self.entry_mut(&key)
                    && entry.lease == Some(id)
                {
                    entry.lease = None;
                    let mailbox = entry.mailbox;
                    events.push_back(Event::Mailbox { mailbox });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_has_room_until_messages_or_bytes_are_many() {
        let [one, other] = [1, 2].map(|byte| Fingerprint::from_bytes([byte; 16]));
        for (standing, most) in
            [(Standing::Active, MOST_OF_A_CONTACT), (Standing::OnProbation, MOST_ON_PROBATION)]
        {
            let just_less = Load { messages: most.messages - 1, bytes: most.bytes - 1 };
            for (load, full) in [
                (just_less, false),
                (Load { messages: most.messages, ..just_less }, true),
                (Load { bytes: most.bytes, ..just_less }, true),
            ] {
                let inbox = Inbox { loads: BTreeMap::from([(one, load)]), ..Inbox::default() };
                assert_eq!(
                    (inbox.is_full_of(&one, standing), inbox.is_full_of(&other, standing)),
                    (full, false)
                );
            }
        }
    }
}
