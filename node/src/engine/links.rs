//! Which links are open, and what each is asked.

use std::collections::{BTreeMap, BTreeSet};

use penpal_contact::{At, Token};
use penpal_protocol::ids::{BlobId, RelayPin};
use penpal_protocol::text::RelayAddress;
use penpal_protocol::wire::Request;

use super::LinkId;

/// Links at most, ours among them: as many contacts as an account may have would not fit a machine's sockets. Beyond them the oldest on
/// which nothing is under way is closed.
const MAX_FOREIGN: usize = 256;

/// What a request to a relay was for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// `Hello`.
    Hello,
    /// An acknowledgement.
    Ack,
    /// Something of the contact machine.
    Contact(Token),
    /// That a blob goes.
    Discard(BlobId),
}

/// State of one link.
#[derive(Debug)]
pub(super) struct OpenLink {
    pub(super) id: LinkId,
    pub(super) address: RelayAddress,
    pub(super) state: LinkState,
}

/// Where a link stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LinkState {
    /// Not connected; why, when a try failed.
    Down(Option<crate::daemon::link::Trouble>),
    /// Dialling.
    Dialing,
    /// The relay took the connection.
    Up,
}

/// All links.
#[derive(Debug, Default)]
pub(super) struct Links {
    open: BTreeMap<LinkId, OpenLink>,
    by_pin: BTreeMap<RelayPin, LinkId>,
    next_link: u64,
    next_token: u64,
    asked: BTreeMap<u64, (LinkId, Asked)>,
}

impl Links {
    /// The link to a relay; `None` when it is not open.
    pub(super) fn to(&self, pin: &RelayPin) -> Option<LinkId> {
        self.by_pin.get(pin).copied()
    }

    pub(super) fn get(&self, id: LinkId) -> Option<&OpenLink> {
        self.open.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: LinkId) -> Option<&mut OpenLink> {
        self.open.get_mut(&id)
    }

    /// Notes that the home link is open.
    pub(super) fn open_home(&mut self, address: RelayAddress) {
        self.by_pin.insert(address.pin, LinkId::HOME);
        let state = LinkState::Down(None);
        self.open.insert(LinkId::HOME, OpenLink { id: LinkId::HOME, address, state });
    }

    pub(super) fn close_home(&mut self) {
        if let Some(home) = self.open.remove(&LinkId::HOME) {
            self.by_pin.remove(&home.address.pin);
        }
    }

    /// Forgets every link; gives their names.
    pub(super) fn close_all(&mut self) -> Vec<LinkId> {
        self.by_pin.clear();
        self.asked.clear();
        std::mem::take(&mut self.open).into_keys().collect()
    }

    /// Whether there are as many links as there may be.
    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= MAX_FOREIGN
    }

    /// Links to relays of contacts that wait for no answer to a request, the oldest first.
    pub(super) fn quiet(&self) -> impl Iterator<Item = LinkId> {
        let asked: BTreeSet<LinkId> = self.asked.values().map(|(link, _)| *link).collect();
        self.open.keys().copied().filter(move |link| *link != LinkId::HOME && !asked.contains(link))
    }

    /// Forgets a link to a contact's relay; gives what it will not answer any more.
    pub(super) fn close_foreign(&mut self, id: LinkId) -> Vec<Asked> {
        if let Some(link) = self.open.remove(&id) {
            self.by_pin.remove(&link.address.pin);
        }
        self.asked.extract_if(.., |_, (link, _)| *link == id).map(|(_, (_, what))| what).collect()
    }

    /// Notes a new link to a contact's relay.
    pub(super) fn open_foreign(&mut self, address: RelayAddress) -> LinkId {
        self.next_link += 1;
        let id = LinkId(self.next_link);
        self.by_pin.insert(address.pin, id);
        self.open.insert(id, OpenLink { id, address, state: LinkState::Down(None) });
        id
    }

    /// A token for a request on a link.
    pub(super) fn ask(&mut self, link: LinkId, what: Asked) -> u64 {
        self.next_token += 1;
        self.asked.insert(self.next_token, (link, what));
        self.next_token
    }

    /// What an answer is to; each token is answered once.
    pub(super) fn answered(&mut self, token: u64) -> Option<Asked> {
        self.asked.remove(&token).map(|(_, what)| what)
    }

    /// How the contact machine names the relay of a link.
    pub(super) fn at(&self, id: LinkId) -> Option<At> {
        let link = self.open.get(&id)?;
        Some(if id == LinkId::HOME { At::Home } else { At::Foreign(link.address.clone()) })
    }
}

/// A request that waits for the end of the step.
#[derive(Debug)]
pub(super) struct PendingRequest {
    pub(super) link: LinkId,
    pub(super) token: u64,
    pub(super) request: Box<Request>,
}
