//! Presence that came in: the last list of each contact's device, and whether it still holds.

use std::collections::BTreeSet;
use std::time::Duration;

use penpal_protocol::ids::{DeviceId, Fingerprint, Incarnation, SessionId};
use penpal_protocol::sealed::{Presence, SessionEntry};
use penpal_protocol::text::Label;
use penpal_protocol::time::Now;

use crate::command::Command;
use crate::machine::Sessions;
use crate::record::{PeerRecord, peer_change};

/// What became of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresenceOutcome {
    /// It is the newest and holds now.
    Taken,
    /// A newer one is known; it was dropped.
    Older,
}

/// The last list of one device.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) record: PeerRecord,
    /// Until when it tells the present; `None` when only its names count.
    pub(crate) fresh_until: Option<Duration>,
    /// The stored record is older than `record`.
    unsaved: bool,
    /// Its contact went down since the list came.
    pub(crate) down: bool,
}

impl Peer {
    pub(crate) fn restored(record: PeerRecord) -> Self {
        Self { record, fresh_until: None, unsaved: false, down: false }
    }

    pub(crate) fn fresh(&self, mono: Duration) -> bool {
        self.fresh_until.is_some_and(|until| mono < until)
    }
}

/// What names resolve by; a change of it is stored at once, a change of state is not.
fn identity(list: &[SessionEntry]) -> Vec<(SessionId, &Label, &Label)> {
    list.iter().map(|entry| (entry.sid, &entry.name, &entry.agent)).collect()
}

impl Sessions {
    pub(crate) fn presence(
        &mut self,
        account: Fingerprint,
        device: DeviceId,
        incarnation: Incarnation,
        presence: Presence,
        now: Now,
    ) -> PresenceOutcome {
        let known = self.peers.get(&(account, device));
        let older = known.is_some_and(|peer| {
            if peer.record.incarnation == incarnation {
                presence.revision <= peer.record.revision
            } else {
                // Revisions of two lives do not compare; an old life's list that was kept back must not win over a
                // list that still holds.
                peer.fresh(now.mono) && presence.sent_ms < peer.record.sent_ms
            }
        });
        if older {
            return PresenceOutcome::Older;
        }
        let (mut sids, mut names) = (BTreeSet::new(), BTreeSet::new());
        let list: Vec<SessionEntry> = presence
            .sessions
            .into_vec()
            .into_iter()
            .filter(|entry| {
                !entry.name.is_reserved() && sids.insert(entry.sid) && names.insert(entry.name.clone())
            })
            .collect();
        let same = known.is_some_and(|peer| {
            peer.record.incarnation == incarnation && identity(&peer.record.sessions) == identity(&list)
        });
        let record = PeerRecord::new(incarnation, presence.revision, presence.sent_ms, now.wall_ms, list);
        if !same {
            self.command(Command::Change(peer_change(account, device, Some(&record))));
        }
        let fresh_until = Some(now.mono.saturating_add(Duration::from_millis(presence.ttl_ms)));
        let peer = Peer { record, fresh_until, unsaved: same, down: false };
        self.peers.insert((account, device), peer);
        PresenceOutcome::Taken
    }

    pub(crate) fn peers_down(&mut self, account: Fingerprint) {
        self.unfresh(|owner| owner == account, true);
    }

    pub(crate) fn peers_unknown(&mut self) {
        self.unfresh(|_| true, false);
    }

    pub(crate) fn peers_forget(&mut self, account: Fingerprint) {
        let devices: Vec<DeviceId> =
            self.peers.keys().filter(|(owner, _)| *owner == account).map(|(_, device)| *device).collect();
        for device in devices {
            self.peers.remove(&(account, device));
            self.command(Command::Change(peer_change(account, device, None)));
        }
    }

    /// Lists of these contacts count for names only; when they were heard last is stored now, not with every list.
    fn unfresh(&mut self, whose: impl Fn(Fingerprint) -> bool, down: bool) {
        let mut changes = Vec::new();
        for ((account, device), peer) in self.peers.iter_mut().filter(|((account, _), _)| whose(*account)) {
            peer.fresh_until = None;
            peer.down = down;
            if std::mem::take(&mut peer.unsaved) {
                changes.push(peer_change(*account, *device, Some(&peer.record)));
            }
        }
        for change in changes {
            self.command(Command::Change(change));
        }
    }
}
