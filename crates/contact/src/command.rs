//! What the machine asks of its shell.

use std::sync::Arc;

use penpal_protocol::{
    ids::{Capability, DeviceId, EdgeId, Fingerprint, InviteId, KeyId, MsgId},
    sealed::Control,
    text::RelayAddress,
    wire::Request,
};
use penpal_seal::{IdentityKeys, InviteEntry, PairKey};

use crate::{notice::Notice, record::Change};

/// One thing for the shell to do. [`crate::Contacts`] says in which order.
#[derive(Debug)]
pub enum Command {
    /// Keep an invite's secrets in the key file, durably, *before* this step's changes are committed.
    KeepSecret(KeepSecret),
    /// Keep these keys in the key file in place of those that are there, durably, *before* this step's changes are committed, and use them
    /// from now on: another root key was given, or ours is not ours any more. All other keys are the same.
    KeepIdentity(Arc<IdentityKeys>),
    /// Store a row, in this step's batch.
    Persist(Change),
    /// Erase an invite's secrets from the key file, *after* this step's changes were committed.
    EraseSecret(InviteId),
    /// Ask a relay; the answer goes to `handle_answer`.
    Relay(RelayCall),
    /// Put a control message into the outbox, in this step's batch.
    Deliver(Deliver),
    /// Take a control message out of the outbox: it has lost its purpose.
    CancelDelivery(MsgId),
    /// Routes, keys or standing of this contact changed: deposits may be possible now, or not any more.
    RouteChanged(Fingerprint),
    /// The contact was removed: end its mail, forget its presence.
    ContactEnded(Fingerprint),
    /// A fetch that was asked for is over.
    Fetched {
        /// The contact.
        contact: Fingerprint,
        /// Whether its relay served a profile that opens. The newest bundles are in `bundle`.
        fresh: bool,
    },
    /// There is no bundle of this device yet: make one and give it to `publish_bundle`.
    BundleWanted,
    /// The relay took the bundle with this prekey; the one before may retire 48 hours from now.
    BundlePublished(KeyId),
    /// Say `Hello` again: the relay holds another manifest than expected.
    HelloWanted,
    /// Tell people.
    Notice(Notice),
}

/// Secrets of an invite, for the key file.
#[derive(Debug)]
pub struct KeepSecret {
    /// The invite.
    pub invite: InviteId,
    /// Its secret, and at the inviter the seed of its one-time key.
    pub entry: InviteEntry,
}

/// Names one outstanding request. Never used twice in one life of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub(crate) u64);

/// A request to a relay.
#[derive(Debug)]
pub struct RelayCall {
    /// Which answer belongs to it.
    pub token: Token,
    /// Whom to ask.
    pub relay: At,
    /// What.
    pub request: Request,
}

/// Which relay.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// Our own, over the connection of this device's transport key: `Contacts::home_relay`.
    Home,
    /// Another one, over a connection with a throw-away key.
    Foreign(RelayAddress),
}

/// The relay could not be reached, or the connection ended before its answer. The request may have been carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreachable;

/// A control message for the outbox: kind 7, ordered, repeated until each device's `delivered` receipt.
///
/// Its fate comes back by `handle_delivered` or `handle_undelivered`.
#[derive(Debug)]
pub struct Deliver {
    /// Its id.
    pub message: MsgId,
    /// For whom.
    pub to: Fingerprint,
    /// For which devices.
    pub devices: Vec<DeviceId>,
    /// The content.
    pub control: Box<Control>,
    /// Which route and pair key it takes.
    pub by: By,
    /// When nobody needs it any more, Unix milliseconds.
    pub expires_ms: u64,
}

/// Which route and pair key a message takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The contact's: `Contacts::route`.
    Contact,
    /// That of an acceptance: `Contacts::boot_route`. Sealed to the newest prekey fetched now, never to a receive key.
    Boot,
}

/// Where and how to deposit for a contact.
#[derive(Debug, Clone)]
pub struct Route<'a> {
    /// Relay of the contact.
    pub relay: At,
    /// Its edge.
    pub edge: EdgeId,
    /// The right to deposit there.
    pub cap: &'a Capability,
    /// Key of the direction *me to the contact*, or the boot key.
    pub pair_key: &'a PairKey,
    /// Whether deposits are possible now. Otherwise wait for `RouteChanged`.
    pub open: bool,
}
