//! Checks that are due at a wall-clock time: invites that end, requests that may have been declined, manifests to renew.

use std::{collections::BTreeMap, time::Duration};

use penpal_protocol::{
    ids::{Fingerprint, InviteId},
    limits::{DAY_MS, HOUR_MS, MAX_MESSAGE_LIFE_MS, REDEEMED_INVITE_LIFE_MS},
    time::Now,
};

use super::{Contacts, Step};
use crate::{
    jobs::Job,
    notice::AddFailure,
    record::{AddStep, Adding, InviteState, RowKey},
};

/// How long ended invites and requests are remembered, in milliseconds: as long as a spool may still hold something about them.
pub(super) const MEMORY_MS: u64 = 31 * DAY_MS;
/// How long after an invite's end the relay is asked what became of it, in milliseconds: clocks differ.
const AFTER_EXPIRY_MS: u64 = 60 * 1000;
/// How long before a contact's manifest ends a newer one is looked for, in milliseconds.
const BEFORE_STALE_MS: u64 = 10 * DAY_MS;
/// How often a contact that does not use a new edge is told of it again, in milliseconds.
const REKEY_AGAIN_MS: u64 = 7 * DAY_MS;
/// Clocks are looked at again at least this often, in milliseconds: wall time may jump.
const LONGEST_SLEEP_MS: u64 = HOUR_MS;

/// Until when the record of a code is asked for, Unix milliseconds.
fn fetched_until(adding: &Adding) -> u64 {
    let ends_ms = adding.ends_ms.unwrap_or(u64::MAX).min(adding.started_ms.saturating_add(MEMORY_MS));
    ends_ms.saturating_add(AFTER_EXPIRY_MS)
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Check {
    Own,
    Invite(InviteId),
    Adding(InviteId),
    Contact(Fingerprint),
    Link(InviteId),
    /// A recovery code about which nobody decided.
    Recovery,
}

/// When each is due, Unix milliseconds.
#[derive(Debug, Default)]
pub(super) struct Checks {
    due_ms: BTreeMap<Check, u64>,
}

impl Checks {
    fn set(&mut self, check: Check, at_ms: Option<u64>) {
        match at_ms {
            Some(at_ms) => self.due_ms.insert(check, at_ms),
            None => self.due_ms.remove(&check),
        };
    }

    fn take_due(&mut self, now_ms: u64) -> Vec<Check> {
        let due: Vec<_> =
            self.due_ms.iter().filter(|(_, at)| **at <= now_ms).map(|(check, _)| *check).collect();
        for check in &due {
            self.due_ms.remove(check);
        }
        due
    }

    /// The next one as monotonic time, as far as the clocks of `now` tell.
    pub(super) fn next(&self, now: Now) -> Option<Duration> {
        let at_ms = self.due_ms.values().min()?;
        let wait_ms = at_ms.saturating_sub(now.wall_ms).min(LONGEST_SLEEP_MS);
        Some(now.mono.saturating_add(Duration::from_millis(wait_ms)))
    }
}

impl Contacts {
    pub(super) fn run_checks(&mut self, step: &mut Step<'_>) {
        for check in self.checks.take_due(step.now.wall_ms) {
            match check {
                Check::Own => {}
                Check::Invite(id) => self.check_invite(id, step),
                Check::Adding(id) => self.check_adding(id, step),
                Check::Contact(contact) => self.check_contact(contact, step),
                Check::Link(id) => self.check_link(id, step.now.wall_ms),
                Check::Recovery => self.check_recovery(),
            }
        }
    }

    pub(super) fn check_at(&mut self, check: Check, at_ms: u64) {
        self.checks.set(check, Some(at_ms));
    }

    /// Plans when an invite of ours is looked at next.
    pub(super) fn plan_invite(&mut self, id: InviteId) {
        let at_ms = self.invites.get(&id).and_then(|invite| match &invite.state {
            InviteState::Creating { .. } | InviteState::Open => {
                Some(invite.expires_ms.saturating_add(AFTER_EXPIRY_MS))
            }
            InviteState::Ended { at_ms, .. } => Some(at_ms.saturating_add(MEMORY_MS)),
            InviteState::Requested { request } => {
                Some(request.received_ms.saturating_add(REDEEMED_INVITE_LIFE_MS))
            }
            InviteState::Accepted { .. } => None,
        });
        self.checks.set(Check::Invite(id), at_ms);
    }

    fn check_invite(&mut self, id: InviteId, step: &mut Step<'_>) {
        let Some(invite) = self.invites.get(&id) else { return };
        match &invite.state {
            InviteState::Creating { .. } | InviteState::Open => {
                let hopeless = invite.expires_ms.saturating_add(MEMORY_MS) <= step.now.wall_ms;
                if hopeless {
                    self.expire_invite(id, step);
                } else {
                    // Only the relay knows whether it was used in time; a request may wait in our spool.
                    self.jobs.want(Job::AskInvite(id));
                    self.check_at(Check::Invite(id), step.now.wall_ms.saturating_add(DAY_MS));
                }
            }
            InviteState::Requested { .. } => self.expire_invite(id, step),
            InviteState::Ended { .. } => {
                self.invites.remove(&id);
                self.touch(RowKey::Invite(id));
            }
            InviteState::Accepted { .. } => {}
        }
    }

    /// Plans when a request of ours is looked at next: daily while it waits.
    pub(super) fn plan_adding(&mut self, id: InviteId, now_ms: u64) {
        let at_ms = self.adding.get(&id).and_then(|adding| match adding.step {
            AddStep::Waiting => Some(now_ms.saturating_add(DAY_MS)),
            AddStep::Declined => Some(adding.started_ms.saturating_add(MEMORY_MS.saturating_mul(2))),
            AddStep::Fetching => Some(fetched_until(adding)),
            AddStep::Registering
            | AddStep::Publishing
            | AddStep::MakingEdge
            | AddStep::Redeeming
            | AddStep::Refused => None,
        });
        self.checks.set(Check::Adding(id), at_ms);
    }

    fn check_adding(&mut self, id: InviteId, step: &mut Step<'_>) {
        match self.adding.get(&id).map(|adding| adding.step) {
            Some(AddStep::Waiting) => {
                self.jobs.want(Job::AskRequest(id));
                self.plan_adding(id, step.now.wall_ms);
            }
            Some(AddStep::Declined) => self.forget_adding(id),
            Some(AddStep::Fetching) => self.fail_adding(id, AddFailure::NotFound),
            Some(
                AddStep::Registering
                | AddStep::Publishing
                | AddStep::MakingEdge
                | AddStep::Redeeming
                | AddStep::Refused,
            )
            | None => {}
        }
    }

    /// Plans when a contact is looked at next: hourly while mail from before it was gone may wait, then daily; else before its manifest ends.
    pub(super) fn plan_contact(&mut self, contact: Fingerprint, now_ms: u64) {
        let at_ms = self.contacts.get(&contact).map(|row| {
            if let Some(since_ms) = row.gone_since_ms {
                // This alone brings it back: nothing is sent to a contact that is gone.
                let may_wait = now_ms.saturating_sub(since_ms) < MAX_MESSAGE_LIFE_MS;
                return now_ms.saturating_add(if may_wait { HOUR_MS } else { DAY_MS });
            }
            let stale_ms = row.manifest.0.manifest().expires_ms.saturating_sub(BEFORE_STALE_MS);
            let forget_ms = row.old.as_ref().map_or(u64::MAX, |old| old.until_ms);
            let again_ms =
                row.rekeying.as_ref().filter(|fresh| fresh.made).map_or(u64::MAX, |fresh| {
                    fresh.told_ms.unwrap_or_default().saturating_add(REKEY_AGAIN_MS)
                });
            stale_ms.min(forget_ms).min(again_ms).max(now_ms.saturating_add(DAY_MS))
        });
        self.checks.set(Check::Contact(contact), at_ms);
    }

    fn check_contact(&mut self, contact: Fingerprint, step: &mut Step<'_>) {
        let now_ms = step.now.wall_ms;
        let Some(row) = self.contacts.get_mut(&contact) else { return };
        if row.old.as_ref().is_some_and(|old| old.until_ms <= now_ms) {
            row.old = None;
        }
        row.forget_earlier(now_ms);
        self.touch(RowKey::Contact(contact));
        self.rekey_unanswered(contact, REKEY_AGAIN_MS, step);
        self.want_profile(contact);
        self.plan_contact(contact, now_ms);
    }

    /// Plans when our own profile is looked at next.
    pub(super) fn plan_own(&mut self, at_ms: u64) {
        self.checks.set(Check::Own, Some(at_ms));
    }
}
