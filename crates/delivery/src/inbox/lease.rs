//! Surfacing in two steps: take a lease, commit it once the last byte reached the agent.

use penpal_protocol::sealed::{SessionRef, Stage as StatedStage};

use super::{LEASE, Leased, MailView};
use crate::address::{MailKey, Mailbox, Peer};
use crate::event::Event;
use crate::inbox::place::ordered_key;
use crate::ledger::Table;
use crate::machine::Delivery;
use crate::receipts::Statement;
use crate::record::{MailRecord, MailState};
use crate::stage::{Stage, TrailEvent};
use crate::step::Step;

/// Names one lease, within one run of the program. Random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// Mail handed out, to be committed within ten seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// The messages, oldest first.
    pub messages: Vec<MailView>,
}

/// How mail was surfaced, as its sender will be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surfacing {
    /// `native-inbox`, `hook`, `mcp`, `cli` …; at most 32 bytes.
    pub mechanism: String,
    /// Session it reached; `None` for the desk.
    pub session: Option<SessionRef>,
    /// Whether a person or the agent itself asked for this message: then it is read, not only surfaced.
    pub read: bool,
}

/// Mail cannot be surfaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SurfaceError {
    /// There never was one, it was committed, or it ended more than five minutes ago.
    #[error("no lease {lease}: it ended, or was committed")]
    NoLease {
        /// The lease.
        lease: u64,
    },
    /// No received message has this key, or it is held where nobody may see it.
    #[error("no such message here")]
    Unknown,
}

impl Delivery {
    /// Hands out what waits in a mailbox, oldest first, at most `limit`; it is not handed out again for ten seconds.
    ///
    /// `only` narrows it to certain messages. An empty lease needs no commit.
    pub fn take(
        &mut self,
        mailbox: Mailbox,
        only: Option<&[MailKey]>,
        limit: usize,
        step: &mut Step<'_>,
    ) -> Lease {
        self.begin(step);
        let keys: Vec<MailKey> = self
            .inbox
            .in_mailbox(mailbox)
            .filter(|entry| !entry.hidden && !entry.waiting && entry.lease.is_none())
            .map(|entry| entry.key)
            .filter(|key| only.is_none_or(|only| only.contains(key)))
            .take(limit)
            .collect();
        // Random, so that a commit that outlives this run of the program cannot meet another lease.
        let id = LeaseId(u64::from_be_bytes(step.random()));
        let mut messages = Vec::new();
        for key in &keys {
            let Some(mut mail) = self.ledger.get::<MailRecord>(step.records, Table::Mail, &key.to_key())
            else {
                continue;
            };
            messages.extend(MailView::of(&mail));
            let again = mail.received.as_ref().is_some_and(|received| received.marks.again);
            // Durable with the lease: if nothing is committed, it may have been seen all the same.
            if let Some(received) = &mut mail.received
                && !received.marks.again
            {
                received.marks.again = true;
                self.ledger.put(Table::Mail, &key.to_key(), &mail);
            }
            if let Some(entry) = self.inbox.entry_mut(key) {
                entry.lease = Some(id);
                entry.again = again;
            }
        }
        if !keys.is_empty() {
            let until = step.now.mono.saturating_add(LEASE);
            self.inbox.leases.insert(id, Leased { until, over: false, keys });
        }
        Lease { id, messages }
    }

    /// Whether a message may be seen: it is not held back, and waits for no earlier one.
    #[must_use]
    pub fn is_shown(&self, view: &MailView) -> bool {
        !view.hidden && !self.inbox.entry(&view.key).is_some_and(|entry| entry.waiting)
    }

    /// Whether a message is handed out at present.
    #[must_use]
    pub fn is_leased(&self, key: &MailKey) -> bool {
        self.inbox.entry(key).is_some_and(|entry| entry.lease.is_some())
    }

    /// The last byte of leased mail reached the agent: it is surfaced, and its senders are told.
    ///
    /// `only` commits a part; the rest stays leased. A commit counts for five minutes after the lease ended as well: what
    /// reached the agent is surfaced, even if it was handed out anew meanwhile.
    ///
    /// # Errors
    /// [`SurfaceError::NoLease`].
    pub fn commit(
        &mut self,
        lease: LeaseId,
        only: Option<&[MailKey]>,
        surfacing: &Surfacing,
        step: &mut Step<'_>,
    ) -> Result<(), SurfaceError> {
        self.begin(step);
        let Some(leased) = self.inbox.leases.get_mut(&lease) else {
            return Err(SurfaceError::NoLease { lease: lease.0 });
        };
        let wanted = |key: &MailKey| only.is_none_or(|only| only.contains(key));
        let keys: Vec<MailKey> = leased.keys.iter().copied().filter(wanted).collect();
        leased.keys.retain(|key| !keys.contains(key));
        if leased.keys.is_empty() {
            self.inbox.leases.remove(&lease);
        }
        for key in keys {
            // Unless it was surfaced otherwise meanwhile.
            if self.inbox.entry(&key).is_some() {
                self.surface(key, surfacing, step)?;
            }
        }
        Ok(())
    }

    /// Gives leased mail back at once; it is marked as perhaps seen.
    pub fn give_back(&mut self, lease: LeaseId, step: &mut Step<'_>) {
        self.begin(step);
        if let Some(leased) = self.inbox.leases.get_mut(&lease) {
            leased.until = step.now.mono;
        }
        self.inbox.end_leases(step.now.mono, &mut self.events);
    }

    /// Surfaces one message without a lease, because it was asked for by its id, or returned to a waiting caller.
    ///
    /// # Errors
    /// [`SurfaceError::Unknown`].
    pub fn surface(
        &mut self,
        key: MailKey,
        surfacing: &Surfacing,
        step: &mut Step<'_>,
    ) -> Result<(), SurfaceError> {
        self.begin(step);
        let mut mail: MailRecord =
            self.ledger.get(step.records, Table::Mail, &key.to_key()).ok_or(SurfaceError::Unknown)?;
        let ordinal = mail.ordinal;
        let received =
            mail.received.as_mut().filter(|received| !received.hidden).ok_or(SurfaceError::Unknown)?;
        let mailbox = received.mailbox;
        let first = received.state == MailState::Unread;
        let next = match received.state {
            MailState::Unread | MailState::Surfaced if surfacing.read => MailState::Read,
            MailState::Unread => MailState::Surfaced,
            MailState::Surfaced | MailState::Read | MailState::History => received.state,
            MailState::Refused | MailState::Expired | MailState::Control => {
                return Err(SurfaceError::Unknown);
            }
        };
        if next == received.state {
            return Ok(());
        }
        received.state = next;
        if first {
            // The mark that was made for this lease is not true when nothing was handed out before.
            received.marks.again = self.inbox.entry(&key).is_some_and(|entry| entry.again);
            received.mechanism = Some(surfacing.mechanism.clone());
            received.surfaced_ms = Some(step.now.wall_ms);
        }
        self.ledger.put(Table::Mail, &key.to_key(), &mail);
        if first {
            self.ledger.delete(Table::Unread, &ordered_key(&mailbox.to_key(), ordinal));
            self.inbox.remove(&key);
            self.tell_surfaced(&mail, surfacing, step);
        }
        self.events.push_back(Event::Mailbox { mailbox });
        if key.from.is_some() {
            self.events.push_back(Event::Read { key, mailbox, answered: false });
        }
        Ok(())
    }

    fn tell_surfaced(&mut self, mail: &MailRecord, surfacing: &Surfacing, step: &mut Step<'_>) {
        let now_ms = step.now.wall_ms;
        if let Some(peer) = sender(mail) {
            let mut statement = Statement::new(mail.msg_id, StatedStage::Surfaced, now_ms, mail.expires_ms);
            statement.mechanism = Some(surfacing.mechanism.clone());
            statement.session.clone_from(&surfacing.session);
            self.owe(peer, statement);
        } else {
            let event = TrailEvent {
                session: surfacing.session.as_ref().map(|session| session.name.as_str().to_owned()),
                mechanism: Some(surfacing.mechanism.clone()),
                ..TrailEvent::here(Stage::Surfaced, now_ms)
            };
            self.state_copy(Peer::HERE, mail.msg_id, event, step);
        }
    }

    /// Tells the sender why its message waits.
    pub(super) fn tell_held(&mut self, mail: &MailRecord, step: &mut Step<'_>) {
        let now_ms = step.now.wall_ms;
        let reason = mail.received.as_ref().and_then(|received| received.reason.clone());
        if let Some(peer) = sender(mail) {
            let mut statement = Statement::new(mail.msg_id, StatedStage::Held, now_ms, mail.expires_ms);
            statement.reason = reason;
            self.owe(peer, statement);
        } else {
            let event = TrailEvent { reason, ..TrailEvent::here(Stage::Held, now_ms) };
            self.state_copy(Peer::HERE, mail.msg_id, event, step);
        }
    }
}

/// Device that sent a message; `None` for mail from this machine.
fn sender(mail: &MailRecord) -> Option<Peer> {
    Some(Peer::new(mail.from?, mail.from_device?))
}
