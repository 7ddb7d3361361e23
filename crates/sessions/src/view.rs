//! Rows for people and for whoever decides who is calling.

use penpal_protocol::ids::{DeviceId, Fingerprint, SessionId};
use penpal_protocol::sealed::{Reach, SessionState};
use penpal_protocol::text::Label;
use penpal_protocol::time::Now;

use crate::input::{AgentConversation, DeliveryMode, ProcessModel, ProcessRef};
use crate::life::Local;
use crate::machine::Sessions;
use crate::resolve::Directory;

/// One local session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalView {
    /// Its mailbox.
    pub session: SessionId,
    /// Its name.
    pub name: Label,
    /// Agent kind.
    pub agent: Label,
    /// How the agent's processes and conversations relate.
    pub model: ProcessModel,
    /// What it is doing.
    pub state: SessionState,
    /// The last that was heard of turns is that one runs, also when that was too long ago for its state to say so.
    pub in_turn: bool,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// How it can be reached.
    pub reach: Reach,
    /// Last part of its folder's path.
    pub folder: Option<String>,
    /// Root of its worktree, or its folder.
    pub worktree: Option<String>,
    /// One line about what it is doing.
    pub summary: Option<String>,
    /// When it gave its last sign, Unix milliseconds; when it began or ended, if none is known.
    pub last_seen_ms: u64,
    /// Contacts are told of it.
    pub announced: bool,
    /// No id of its agent's conversation yet.
    pub provisional: bool,
    /// Hidden from contacts by its person.
    pub hidden: bool,
    /// When mail may reach its model.
    pub mode: DeliveryMode,
    /// May read the desk.
    pub desk: bool,
    /// Its agent's conversation, and whether that is certain.
    pub conversation: Option<(AgentConversation, bool)>,
    /// Conversations it had before.
    pub earlier: Vec<AgentConversation>,
    /// Processes that run it.
    pub processes: Vec<ProcessRef>,
}

/// Whether a contact's device is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whereabouts {
    /// Its list holds now.
    Online,
    /// It is connected, or was, and its list is not refreshed yet.
    Unknown,
    /// It is away.
    Offline,
}

/// One session of a contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteView {
    /// The account.
    pub account: Fingerprint,
    /// The contact's name here.
    pub contact: Label,
    /// The device.
    pub device_id: DeviceId,
    /// What its owner calls it.
    pub device: String,
    /// Its mailbox.
    pub session: SessionId,
    /// Its name.
    pub name: Label,
    /// Agent kind.
    pub agent: Label,
    /// What it is doing, as far as is known now.
    pub state: SessionState,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// How it can be reached, never better than what is known now.
    pub reach: Reach,
    /// Last part of its folder's path.
    pub folder: Option<String>,
    /// One line about what it is doing.
    pub summary: Option<String>,
    /// `contact/device/session`.
    pub address: String,
    /// Whether its device is there.
    pub whereabouts: Whereabouts,
    /// When the device's last list came, Unix milliseconds.
    pub last_seen_ms: u64,
}

impl RemoteView {
    /// Whether its device is known to be connected now.
    #[must_use]
    pub fn online(&self) -> bool {
        self.whereabouts == Whereabouts::Online
    }
}

fn local_view(session: SessionId, local: &Local) -> LocalView {
    let record = &local.record;
    LocalView {
        session,
        name: record.name.clone(),
        agent: record.agent.clone(),
        model: record.model,
        state: local.state,
        in_turn: local.in_turn(),
        since_ms: local.since_ms,
        reach: local.reach(),
        folder: record.place.as_ref().and_then(|place| place.folder.as_deref()).map(str::to_owned),
        worktree: record.place.as_ref().map(|place| place.worktree.as_str().to_owned()),
        summary: record.summary.as_deref().map(str::to_owned),
        last_seen_ms: if local.seen_ms > 0 { local.seen_ms } else { local.since_ms },
        announced: local.announced(),
        provisional: local.provisional(),
        hidden: record.hidden,
        mode: record.mode,
        desk: record.desk,
        conversation: record.conversation.as_ref().map(|known| (known.id.clone(), known.certain)),
        earlier: record.earlier.to_vec(),
        processes: record.processes.to_vec(),
    }
}

impl Sessions {
    /// All local sessions, by name; ended ones included.
    #[must_use]
    pub fn local(&self) -> Vec<LocalView> {
        let mut rows: Vec<LocalView> =
            self.local.iter().map(|(sid, local)| local_view(*sid, local)).collect();
        rows.sort_by(|one, other| one.name.cmp(&other.name));
        rows
    }

    /// One local session, by its mailbox or that of one merged into it.
    #[must_use]
    pub fn session(&self, session: SessionId) -> Option<LocalView> {
        let session = self.canonical(session)?;
        self.local.get(&session).map(|local| local_view(session, local))
    }

    /// The local session that has a name.
    #[must_use]
    pub fn by_name(&self, name: &Label) -> Option<SessionId> {
        self.holder(name)
    }

    /// Sessions of all contacts of the directory, by contact, device and name.
    #[must_use]
    pub fn remote(&self, directory: &Directory, now: Now) -> Vec<RemoteView> {
        let mut rows = Vec::new();
        for contact in &directory.contacts {
            for ((_, device_id), peer) in
                self.peers.iter().filter(|((owner, device), _)| contact.has(*owner, *device))
            {
                let device = contact.device_name(*device_id);
                let whereabouts = if peer.fresh(now.mono) {
                    Whereabouts::Online
                } else if peer.down && !self.outgoing.is_up(contact.account) {
                    Whereabouts::Offline
                } else {
                    Whereabouts::Unknown
                };
                for entry in peer.record.sessions.iter() {
                    let (state, reach) = match whereabouts {
                        Whereabouts::Online => (entry.state, entry.reach),
                        Whereabouts::Unknown if self.outgoing.is_up(contact.account) => {
                            (SessionState::Unknown, Reach::Manual)
                        }
                        Whereabouts::Unknown => (SessionState::Unknown, Reach::WhenBack),
                        Whereabouts::Offline => (SessionState::Offline, Reach::WhenBack),
                    };
                    rows.push(RemoteView {
                        account: contact.account,
                        contact: contact.name.clone(),
                        device_id: *device_id,
                        device: device.clone(),
                        session: entry.sid,
                        name: entry.name.clone(),
                        agent: entry.agent.clone(),
                        state,
                        since_ms: entry.since_ms,
                        reach,
                        folder: entry.folder.as_deref().map(str::to_owned),
                        summary: entry.summary.as_deref().map(str::to_owned),
                        address: format!("{}/{device}/{}", contact.name, entry.name),
                        whereabouts,
                        last_seen_ms: peer.record.heard_ms,
                    });
                }
            }
        }
        rows.sort_by(|one, other| {
            (&one.contact, &one.device, &one.name).cmp(&(&other.contact, &other.device, &other.name))
        });
        rows
    }

    /// Whether the list of a device still holds, and when it was last heard of (Unix milliseconds); `None` when it never was.
    #[must_use]
    pub fn device_seen(&self, account: Fingerprint, device: DeviceId, now: Now) -> Option<(bool, u64)> {
        let peer = self.peers.get(&(account, device))?;
        Some((peer.fresh(now.mono), peer.record.heard_ms))
    }

    /// Whether the shell said that a contact is up.
    #[must_use]
    pub fn is_up(&self, account: Fingerprint) -> bool {
        self.outgoing.is_up(account)
    }

    /// Whether a contact can receive now, or its list still holds.
    #[must_use]
    pub fn contact_online(&self, account: Fingerprint, now: Now) -> bool {
        let fresh = |peer: &crate::peer::Peer| peer.fresh(now.mono);
        self.outgoing.is_up(account)
            || self.peers.iter().any(|((owner, _), peer)| *owner == account && fresh(peer))
    }
}
