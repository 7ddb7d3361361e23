//! The record of a contact.

use minicbor::{Decode, Encode};
use penpal_protocol::{
    cbor::List,
    ids::{Capability, DeviceId, EdgeId, Fingerprint, Hash, InviteId, MsgId, ProfileKey},
    sealed::{Accept, Stamp},
    text::Label,
};

use super::stored::{Bundles, Pinned, StoredPairKey, StoredRelay};

/// An account that both sides accepted, or that we accepted and that has not answered yet.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Contact {
    #[n(0)]
    pub(crate) name: Label,
    /// The handle that the other side gave.
    #[n(1)]
    pub(crate) handle: Label,
    #[n(2)]
    pub(crate) trust: Trust,
    /// Why `trust` is `Changed`.
    #[n(3)]
    pub(crate) changed: Option<Change>,
    #[n(4)]
    pub(crate) blocked: bool,
    /// Its mail waits until a person here writes to it or verifies it.
    #[n(5)]
    pub(crate) held: bool,
    #[n(6)]
    pub(crate) manifest: Pinned,
    #[n(7)]
    pub(crate) bundles: Bundles,
    /// Opens its profile.
    #[n(8)]
    pub(crate) profile_key: ProfileKey,
    #[n(9)]
    pub(crate) relay: StoredRelay,
    /// The connection in use.
    #[n(10)]
    pub(crate) link: Option<Link>,
    /// A connection that we offered and that was not confirmed yet.
    #[n(11)]
    pub(crate) accepting: Option<Box<Accepting>>,
    /// Keys of an earlier connection or of the invite, under which envelopes may still arrive.
    #[n(12)]
    pub(crate) old: Option<OldKey>,
    /// Its relay said no; since when, Unix milliseconds.
    #[n(13)]
    pub(crate) gone_since_ms: Option<u64>,
    /// Generation of our profile key that it holds for sure.
    #[n(14)]
    pub(crate) told: u64,
    /// The message that tells it the present one.
    #[n(15)]
    pub(crate) telling: Option<Telling>,
    /// Version of our manifest that was last sent to it in a message of its own.
    #[n(16)]
    pub(crate) manifest_sent: u64,
    /// When it stands as it does, Unix milliseconds.
    #[n(17)]
    pub(crate) since_ms: u64,
    /// A message named a newer manifest than the one that is pinned, which was not served yet.
    #[n(18)]
    pub(crate) announced: u64,
    /// A person verified it after its history did not add up: the next manifest of its root is taken as it is.
    #[n(19)]
    pub(crate) repin: bool,
    /// Which change by people it stands at.
    #[n(20)]
    pub(crate) stamp: Option<Stamp>,
    /// Which change its connection is.
    #[n(21)]
    pub(crate) link_stamp: Option<Stamp>,
    /// A new edge for what it sends, which it has not used yet.
    #[n(22)]
    pub(crate) rekeying: Option<Box<Rekeying>>,
    /// Which change `blocked` is; absent while it is part of that by people.
    #[n(23)]
    pub(crate) block_stamp: Option<Stamp>,
    /// Keys and edges that newer ones replaced before it was heard under those, oldest first.
    #[n(24)]
    pub(crate) earlier: Option<List<Earlier, MAX_EARLIER>>,
    /// The highest number with which it asked us to use another edge.
    #[n(25)]
    pub(crate) rekey_seen: Option<u64>,
    /// The latest turn under that number.
    #[n(26)]
    pub(crate) turn_seen: Option<u64>,
}

/// Most keys of one contact that are remembered like this: as many revocations within a month.
pub(crate) const MAX_EARLIER: usize = 8;

/// A pair key of ours under which envelopes may still come.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Earlier {
    #[n(0)]
    pub(crate) pair_in: StoredPairKey,
    /// When it is forgotten, Unix milliseconds.
    #[n(1)]
    pub(crate) until_ms: u64,
    /// Its edge, while that still stands.
    #[n(2)]
    pub(crate) edge: Option<EdgeId>,
}

/// A new edge of ours, in place of one that a revoked device knows.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Rekeying {
    #[n(0)]
    pub(crate) edge: EdgeId,
    #[n(1)]
    pub(crate) cap: Capability,
    #[n(2)]
    pub(crate) pair_in: StoredPairKey,
    /// Whether the edge exists, and the contact was told.
    #[n(3)]
    pub(crate) made: bool,
    /// Whether the contact is asked for a new one too.
    #[n(4)]
    pub(crate) both: bool,
    /// When the contact was told last, Unix milliseconds.
    #[n(5)]
    pub(crate) told_ms: Option<u64>,
    /// The message that told it.
    #[n(6)]
    pub(crate) message: Option<MsgId>,
    /// Orders it among our edges with this contact.
    #[n(7)]
    pub(crate) turn: Option<u64>,
}

/// How a contact's key was checked by people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Trust {
    /// It came with an invite.
    #[n(1)]
    Invited,
    /// The safety number was compared.
    #[n(2)]
    Verified,
    /// Something about its key does not add up: nothing is taken from it or sent to it until a person verifies it.
    #[n(3)]
    Changed,
}

/// What about a contact's key does not add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Change {
    /// Its profile shows another root key, which the pinned one did not sign.
    #[n(1)]
    Root,
    /// Two manifests of one version exist.
    #[n(2)]
    Fork,
    /// A device that was revoked is listed again.
    #[n(3)]
    Unrevoked,
}

/// One agreed connection: an edge in each direction and the keys of both.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Link {
    /// Edge of the other side, on which we deposit.
    #[n(0)]
    pub(crate) edge_out: EdgeId,
    #[n(1)]
    pub(crate) cap_out: Capability,
    /// Our edge, on which the other side deposits.
    #[n(2)]
    pub(crate) edge_in: EdgeId,
    #[n(3)]
    pub(crate) cap_in: Capability,
    #[n(4)]
    pub(crate) pair_out: StoredPairKey,
    #[n(5)]
    pub(crate) pair_in: StoredPairKey,
    /// `T4`.
    #[n(6)]
    pub(crate) transcript: Hash,
    /// Whether our edge exists.
    #[n(7)]
    pub(crate) made: bool,
    /// Whether the other side's edge is linked to us.
    #[n(8)]
    pub(crate) linked: bool,
    /// Whether that edge replaces one that was linked: nobody is told of it.
    #[n(9)]
    pub(crate) rekeyed: Option<bool>,
    /// Turn of our edge; absent when it is that of the agreement.
    #[n(10)]
    pub(crate) turn_in: Option<u64>,
}

/// An acceptance under way.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Accepting {
    #[n(0)]
    pub(crate) invite: InviteId,
    #[n(1)]
    pub(crate) link: Link,
    #[n(2)]
    pub(crate) boot: StoredPairKey,
    /// Sent again as it is.
    #[n(3)]
    pub(crate) accept: Accept,
    /// The message that carries it.
    #[n(4)]
    pub(crate) message: MsgId,
    /// Whether that message was given to delivery.
    #[n(5)]
    pub(crate) queued: bool,
    /// Generation of our profile key in it.
    #[n(6)]
    pub(crate) generation: u64,
}

/// A key under which envelopes may still arrive.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct OldKey {
    /// The pair key before, when this contact was connected anew.
    #[n(0)]
    pub(crate) pair_in: Option<StoredPairKey>,
    /// The key under which the acceptance travelled, for its repetitions.
    #[n(1)]
    pub(crate) boot: Option<StoredPairKey>,
    /// When both are forgotten, Unix milliseconds.
    #[n(2)]
    pub(crate) until_ms: u64,
}

/// A message that tells a contact our present profile key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Telling {
    #[n(0)]
    pub(crate) message: MsgId,
    #[n(1)]
    pub(crate) generation: u64,
}

/// An edge that a relay still has to be told to end.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct RetiredEdge {
    #[n(0)]
    pub(crate) edge: EdgeId,
    /// Whose it was.
    #[n(1)]
    pub(crate) contact: Fingerprint,
    #[n(2)]
    pub(crate) name: Option<Label>,
}

impl Contact {
    /// Whether mail is neither taken nor sent.
    pub(crate) fn is_shut(&self) -> bool {
        self.blocked || self.trust == Trust::Changed
    }

    /// Whether mail can be deposited now.
    pub(crate) fn is_open(&self) -> bool {
        !self.is_shut() && self.gone_since_ms.is_none() && self.link.as_ref().is_some_and(|link| link.linked)
    }

    /// Whether there is a new edge of ours that nobody was told of.
    pub(crate) fn is_untold(&self) -> bool {
        self.rekeying.as_ref().is_some_and(|rekeying| rekeying.made && rekeying.told_ms.is_none())
    }

    /// Whether there is a new edge, of either side, that was not used yet.
    pub(crate) fn has_unused(&self) -> bool {
        let other = |link: &Link| link.rekeyed == Some(true) && !link.linked;
        self.is_untold() || self.link.as_ref().is_some_and(other)
    }

    /// Whether a device of it is the one that signs its list. A list that names none is of an account with one device.
    pub(crate) fn is_signed_by(&self, device: &DeviceId) -> bool {
        let devices = &self.manifest.0.manifest().devices;
        let mut primary = devices.iter().filter(|entry| entry.primary == Some(true)).peekable();
        primary.peek().is_none() || primary.any(|entry| entry.id == *device)
    }

    /// A pair key that is replaced is recognised for a while, and so is the one that was replaced before it.
    pub(crate) fn put_aside(&mut self, old: OldKey) {
        if let Some(OldKey { pair_in: Some(pair_in), until_ms, .. }) = self.old.replace(old) {
            // Without an edge none is left over.
            let _ = self.remember(Earlier { pair_in, until_ms, edge: None });
        }
    }

    /// Remembers one more earlier key. Returns the edge of the one that gave way, which is to be ended.
    #[must_use]
    pub(crate) fn remember(&mut self, earlier: Earlier) -> Option<EdgeId> {
        let mut all = self.earlier.take().unwrap_or_default().into_vec();
        all.retain(|known| known.pair_in != earlier.pair_in);
        all.push(earlier);
        let gave_way = (all.len() > MAX_EARLIER).then(|| all.remove(0)).and_then(|oldest| oldest.edge);
        self.earlier = Some(List::truncated(all));
        gave_way
    }

    /// Keys that newer ones replaced before it was heard under those.
    pub(crate) fn earlier(&self) -> &[Earlier] {
        self.earlier.as_deref().unwrap_or_default()
    }

    /// Forgets keys whose time is over.
    pub(crate) fn forget_earlier(&mut self, now_ms: u64) {
        if let Some(earlier) = self.earlier.take() {
            let mut all = earlier.into_vec();
            all.retain(|known| known.until_ms > now_ms || known.edge.is_some());
            self.earlier = (!all.is_empty()).then(|| List::truncated(all));
        }
    }

    /// Whether the present profile key need not be sent to it any more, or cannot be.
    pub(crate) fn knows_profile(&self, generation: u64) -> bool {
        self.told >= generation || self.link.is_none() || self.is_shut() || self.gone_since_ms.is_some()
    }
}
