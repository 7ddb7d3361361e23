//! Records of invites: those we made, and those we use.

use minicbor::{Decode, Encode};
use penpal_protocol::{
    cbor::Blob,
    ids::{Capability, EdgeId, Fingerprint, HalfSecret, Hash, InviteId, ShortHash},
    limits::MAX_INVITE_BLOB_BYTES,
    sealed::InviteRequest,
    text::Label,
};

use super::stored::{Pinned, StoredRelay};

/// An invite that we made.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Invite {
    #[n(0)]
    pub(crate) id: InviteId,
    #[n(1)]
    pub(crate) created_ms: u64,
    #[n(2)]
    pub(crate) expires_ms: u64,
    #[n(3)]
    pub(crate) auto_accept: bool,
    #[n(4)]
    pub(crate) record_hash: Hash,
    #[n(5)]
    pub(crate) state: InviteState,
    /// Hash of the sealed request that was taken, to know it when it comes again.
    #[n(6)]
    pub(crate) request: Option<ShortHash>,
    /// Local name of who used it.
    #[n(7)]
    pub(crate) by: Option<Label>,
}

/// Where an invite that we made stands.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) enum InviteState {
    /// On its way to the relay; the record is sent again as it is.
    #[n(0)]
    Creating {
        #[n(0)]
        sealed_record: Blob<MAX_INVITE_BLOB_BYTES>,
    },
    /// At the relay.
    #[n(1)]
    Open,
    /// Used; a person must decide.
    #[n(2)]
    Requested {
        #[n(0)]
        request: Box<Request>,
    },
    /// Accepted; the contact's record holds the rest.
    #[n(3)]
    Accepted {
        #[n(0)]
        contact: Fingerprint,
    },
    /// Over; kept for a while so that late requests are recognised.
    #[n(4)]
    Ended {
        #[n(0)]
        why: InviteEnd,
        #[n(1)]
        at_ms: u64,
    },
}

/// How an invite that we made ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum InviteEnd {
    /// A contact came of it.
    #[n(1)]
    Confirmed,
    /// Its request was declined here.
    #[n(2)]
    Declined,
    /// Nobody used it in time.
    #[n(3)]
    Expired,
    /// Taken back here.
    #[n(4)]
    Revoked,
    /// The other side withdrew, or became a contact in another way.
    #[n(5)]
    Withdrawn,
    /// Its secrets are gone from this machine.
    #[n(6)]
    Lost,
}

/// A verified request that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Request {
    #[n(0)]
    pub(crate) body: InviteRequest,
    #[n(1)]
    pub(crate) manifest: Pinned,
    /// `T3`.
    #[n(2)]
    pub(crate) transcript: Hash,
    /// Name it is shown under here.
    #[n(3)]
    pub(crate) name: Label,
    #[n(4)]
    pub(crate) relay: StoredRelay,
    #[n(5)]
    pub(crate) received_ms: u64,
}

impl Request {
    /// Who asks.
    pub(crate) fn contact(&self) -> Fingerprint {
        self.manifest.0.fingerprint()
    }
}

/// An invite that we use.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Adding {
    #[n(0)]
    pub(crate) id: InviteId,
    #[n(1)]
    pub(crate) inviter: Fingerprint,
    #[n(2)]
    pub(crate) relay: StoredRelay,
    #[n(3)]
    pub(crate) started_ms: u64,
    #[n(4)]
    pub(crate) step: AddStep,
    /// Known once the record was verified.
    #[n(5)]
    pub(crate) prepared: Option<Box<Prepared>>,
    /// When the code ends, Unix milliseconds; absent in rows of earlier versions.
    #[n(6)]
    pub(crate) ends_ms: Option<u64>,
}

/// How far the use of an invite has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub(crate) enum AddStep {
    /// An account is being made.
    #[n(0)]
    Registering,
    /// Our profile is being published, so that the inviter can seal to us.
    #[n(1)]
    Publishing,
    /// The record is asked for.
    #[n(2)]
    Fetching,
    /// The request is sealed; our edge is being made.
    #[n(3)]
    MakingEdge,
    /// The request is on its way.
    #[n(4)]
    Redeeming,
    /// The relay has the request.
    #[n(5)]
    Waiting,
    /// It was declined or is out of date.
    #[n(6)]
    Declined,
    /// The relay did not let us register with it, or took the account back: it is asked what became of the invite.
    #[n(7)]
    Refused,
}

/// Everything of a request that was sealed: sent again as it is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Prepared {
    /// The inviter's manifest from the record.
    #[n(0)]
    pub(crate) manifest: Pinned,
    /// The inviter's handle.
    #[n(1)]
    pub(crate) handle: Label,
    /// Name it is shown under here.
    #[n(2)]
    pub(crate) name: Label,
    #[n(3)]
    pub(crate) edge: EdgeId,
    #[n(4)]
    pub(crate) cap: Capability,
    #[n(5)]
    pub(crate) half: HalfSecret,
    #[n(6)]
    pub(crate) sealed: Blob<MAX_INVITE_BLOB_BYTES>,
    /// `T3`.
    #[n(7)]
    pub(crate) transcript: Hash,
    /// Generation of our profile key in the request.
    #[n(8)]
    pub(crate) generation: u64,
}
