//! New edges that the relay does not keep yet. Nobody is told of ours, and nothing goes over those of contacts: what comes over a new edge ends
//! the one before it, and a machine that is put back to a copy then finds the new one at its relay, or still has one that stands.

use std::{collections::BTreeMap, time::Duration};

use penpal_protocol::ids::Fingerprint;

use super::{Contacts, Step};
use crate::jobs::Job;

/// Longest wait for the relay to keep an edge. One that takes no state must hold back neither mail nor a revocation.
const PATIENCE: Duration = Duration::from_secs(30);

/// Contacts with edges that wait.
#[derive(Debug, Default)]
pub(super) struct Unkept(BTreeMap<Fingerprint, Waiting>);

#[derive(Debug)]
struct Waiting {
    until: Duration,
    /// Whether the state that is on its way has its edges.
    on_way: bool,
}

impl Unkept {
    pub(super) fn has(&self, contact: &Fingerprint) -> bool {
        self.0.contains_key(contact)
    }

    pub(super) fn forget(&mut self, contact: &Fingerprint) {
        self.0.remove(contact);
    }

    /// When the first one has waited for long enough.
    pub(super) fn next(&self) -> Option<Duration> {
        self.0.values().map(|waiting| waiting.until).min()
    }

    /// A state that has everything was sealed.
    pub(super) fn sealed(&mut self) {
        self.0.values_mut().for_each(|waiting| waiting.on_way = true);
    }

    fn take(&mut self, over: impl Fn(&Waiting) -> bool) -> Vec<Fingerprint> {
        let over: Vec<_> =
            self.0.iter().filter(|(_, waiting)| over(waiting)).map(|(contact, _)| *contact).collect();
        self.0.retain(|contact, _| !over.contains(contact));
        over
    }
}

impl Contacts {
    /// Uses what is new of the edges with a contact, once the relay keeps it. Only the device that signs has a state there.
    pub(super) fn use_once_kept(&mut self, contact: Fingerprint, step: &mut Step<'_>) {
        if self.root().is_none() || self.me() == Some(contact) {
            return self.use_edges(contact, step);
        }
        let until = step.now.mono.saturating_add(PATIENCE);
        let waiting = self.unkept.0.entry(contact).or_insert(Waiting { until, on_way: false });
        waiting.on_way = false;
        self.kept.changed();
    }

    /// The relay keeps the state that was sealed last.
    pub(super) fn edges_kept(&mut self, step: &mut Step<'_>) {
        for contact in self.unkept.take(|waiting| waiting.on_way) {
            self.use_edges(contact, step);
        }
    }

    /// Goes on with what has waited for too long.
    pub(super) fn use_overdue(&mut self, step: &mut Step<'_>) {
        for contact in self.unkept.take(|waiting| waiting.until <= step.now.mono) {
            tracing::debug!("new edges are used although the relay does not keep them yet");
            self.use_edges(contact, step);
        }
    }

    fn use_edges(&mut self, contact: Fingerprint, step: &mut Step<'_>) {
        let Some(row) = self.contacts.get(&contact) else { return };
        if let Some(link) = row.link.as_ref().filter(|link| !link.linked) {
            self.jobs.want(Job::LinkEdge(contact, link.edge_in));
        }
        if row.is_untold() {
            self.tell_rekey(contact, step);
            self.plan_contact(contact, step.now.wall_ms);
        }
    }
}
