//! One error type for each operation.

use penpal_protocol::{
    ids::Fingerprint,
    limits::{DAY_MS, HOUR_MS, MAX_CONTACTS, MAX_DEVICES},
    text::Label,
};
use penpal_seal::{BundleError, ManifestError};

/// No account can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// There is one.
    #[error("this node has the account {handle} already")]
    Registered {
        /// Its handle.
        handle: Label,
    },
    /// Another one was asked for and is not answered yet.
    #[error("the account {handle} is being registered")]
    Running {
        /// Its handle.
        handle: Label,
    },
    /// `desk` and `me` mean something else.
    #[error("{handle} is a reserved word")]
    Reserved {
        /// The wanted handle.
        handle: Label,
    },
    /// The root key is on another device.
    #[error("this machine does not hold the account's root key")]
    NoRoot,
    /// It is becoming a device of an account.
    #[error("this machine is becoming a device of another account")]
    Joining,
}

/// No code for a device can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkDeviceError {
    /// There is no account.
    #[error("there is no account yet")]
    NoAccount,
    /// The root key is on another device.
    #[error("{} holds the account's root key, and only it adds devices", or_another(primary.as_ref()))]
    NoRoot {
        /// Name of that device.
        primary: Option<Label>,
    },
    /// More devices than an account may have.
    #[error("an account has at most {MAX_DEVICES} devices")]
    TooMany,
    /// Our manifest ends too early, and it cannot be renewed before the relay has answered.
    #[error("the account's manifest must be renewed first; the relay must be reachable for that")]
    ManifestEnds,
    /// Our own manifest does not fit.
    #[error(transparent)]
    Offer(#[from] penpal_seal::OfferError),
}

/// This machine cannot become a device with that code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// It is one of an account already.
    #[error("this machine has the account {handle} already")]
    Registered {
        /// Its handle.
        handle: Label,
    },
    /// An account is being made.
    #[error("the account {handle} is being registered")]
    Registering {
        /// Its handle.
        handle: Label,
    },
    /// An account comes back here.
    #[error("an account is being recovered here")]
    Recovering,
    /// The code makes contacts.
    #[error("this code is an invite for a contact")]
    ForContacts,
    /// Out of date.
    #[error("the code has expired")]
    Expired,
    /// `desk` and `me` mean something else.
    #[error("{name} is a reserved word")]
    Reserved {
        /// The wanted name.
        name: Label,
    },
}

/// A device of our account cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// There is no account.
    #[error("there is no account yet")]
    NoAccount,
    /// No device has that name.
    #[error("this account has no device {name}")]
    Unknown {
        /// The name.
        name: Label,
        /// Those that there are.
        candidates: Vec<Label>,
    },
    /// The root key is on another device.
    #[error("{} holds the account's root key, and only it changes the list of devices", or_another(primary.as_ref()))]
    NoRoot {
        /// Name of that device.
        primary: Option<Label>,
    },
    /// Another device is called that.
    #[error("{name} is another device's name")]
    NameTaken {
        /// The wanted name.
        name: Label,
    },
    /// `desk` and `me` mean something else.
    #[error("{name} is a reserved word")]
    Reserved {
        /// The wanted name.
        name: Label,
    },
    /// It is this one.
    #[error("{name} is this device")]
    This {
        /// Its name.
        name: Label,
    },
    /// The relay has not said yet which list it holds, or is taking one.
    #[error("the relay must be reachable for that")]
    NotNow,
}

fn or_another(primary: Option<&Label>) -> &str {
    primary.map_or("another device", Label::as_str)
}

/// No invite can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InviteError {
    /// There is no account.
    #[error("there is no account yet")]
    NoAccount,
    /// None, or more than [`MAX_INVITES_AT_ONCE`](crate::MAX_INVITES_AT_ONCE).
    #[error("{got} invites at once, at least 1 and at most {max} are possible")]
    Count {
        /// Asked for.
        got: u32,
        /// The limit.
        max: u32,
    },
    /// Too many are open.
    #[error("{open} invites are open, at most {max} may be")]
    TooMany {
        /// Open ones.
        open: usize,
        /// The limit.
        max: usize,
    },
    /// Shorter than an hour or longer than 29 days.
    #[error("an invite lives from {} hour to {} days", min_ms / HOUR_MS, max_ms / DAY_MS)]
    Life {
        /// Asked for.
        got_ms: u64,
        /// Shortest.
        min_ms: u64,
        /// Longest.
        max_ms: u64,
    },
    /// Our manifest ends too early, and it cannot be renewed before the relay has answered.
    #[error("the account's manifest must be renewed first; the relay must be reachable for that")]
    ManifestEnds,
    /// Our own manifest does not fit.
    #[error("invite cannot be made: {0}")]
    Manifest(#[from] ManifestError),
    /// Our own manifest does not fit.
    #[error(transparent)]
    Offer(#[from] penpal_seal::OfferError),
}

/// A code cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// Out of date.
    #[error("the code expired at {expires_ms} ms")]
    Expired {
        /// When, Unix milliseconds.
        expires_ms: u64,
    },
    /// We made it ourselves.
    #[error("the code is this account's own")]
    Own,
    /// It makes a device, not a contact.
    #[error("this code is for a further device of an account")]
    ForDevices,
    /// There is no account, and no handle was given for one.
    #[error("there is no account yet, and no handle was given")]
    NoHandle,
    /// No account can be asked for.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// A request to the same account waits already.
    #[error("a request to {} waits already", name.as_ref().map_or("that account", Label::as_str))]
    Pending {
        /// Its name here, once known.
        name: Option<Label>,
    },
    /// More contacts than an account may have.
    #[error("an account has at most {MAX_CONTACTS} contacts")]
    TooMany,
}

/// Nobody has that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no contact {name}")]
pub struct UnknownName {
    /// The name.
    pub name: Label,
    /// Names like it, at most five.
    pub candidates: Vec<Label>,
}

/// A request cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptRequestError {
    /// Nobody has that name.
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    /// It did not ask.
    #[error("{name} has no request waiting")]
    NoRequest {
        /// The contact.
        name: Label,
    },
    /// It is blocked: unblock it first.
    #[error("{name} is blocked")]
    Blocked {
        /// The contact.
        name: Label,
    },
    /// Something about its key does not add up: verify it first.
    #[error("the key of {name} changed")]
    Changed {
        /// The contact.
        name: Label,
    },
    /// This device has no bundle yet.
    #[error("this node has not finished registering")]
    NotReady,
    /// The invite's secrets are not on this machine any more.
    #[error("the secrets of the invite that {name} used are lost; invite again")]
    Lost {
        /// The contact.
        name: Label,
    },
    /// More contacts than an account may have.
    #[error("an account has at most {MAX_CONTACTS} contacts")]
    TooMany,
    /// Our own manifest and bundle do not fit.
    #[error("the acceptance is too long: {0}")]
    TooLong(#[from] penpal_protocol::cbor::Bounded),
}

/// A recovery code cannot be used here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// There is another account here.
    #[error("this node has the account {handle} already, which is not the one of this code")]
    Registered {
        /// Its handle.
        handle: Label,
    },
    /// This is the device that the code would make it.
    #[error("this machine holds the root key already")]
    Primary,
    /// An account was asked for and not answered.
    #[error("the account {handle} was asked for and not answered yet")]
    Registering {
        /// Its handle.
        handle: Label,
    },
    /// A code for a device is in use.
    #[error("this machine is becoming a device of an account")]
    Joining,
    /// Another code is in use.
    #[error("another account is being recovered here")]
    Running,
    /// `desk` and `me` mean something else.
    #[error("{name} is a reserved word")]
    Reserved {
        /// The wanted name.
        name: Label,
    },
}

/// A contact cannot be changed that way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContactError {
    /// Nobody has that name.
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    /// Only contacts that both sides accepted can be.
    #[error("{name} is not a contact yet")]
    NotYet {
        /// The contact.
        name: Label,
    },
    /// It did not ask.
    #[error("{name} has no request waiting")]
    NoRequest {
        /// The contact.
        name: Label,
    },
    /// Somebody else is called that.
    #[error("{name} is another contact's name")]
    NameTaken {
        /// The wanted name.
        name: Label,
    },
    /// `desk` and `me` mean something else.
    #[error("{name} is a reserved word")]
    Reserved {
        /// The wanted name.
        name: Label,
    },
    /// The number that was compared is not this contact's: somebody is in between, or it is another contact's.
    #[error("the safety number of {name} is another one")]
    SafetyNumber {
        /// The contact.
        name: Label,
    },
}

/// Our own bundle cannot be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// There is no account.
    #[error("there is no account yet")]
    NoAccount,
    /// Not a bundle of this device.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Longer than any.
    #[error(transparent)]
    TooLong(#[from] penpal_protocol::cbor::Bounded),
}

/// A control message, or one that names a contact, is refused. The sender gets a receipt `refused`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The contact is none any more.
    #[error("{contact:?} is no contact")]
    NoContact {
        /// Who.
        contact: Fingerprint,
    },
    /// State of an account that cannot be read.
    #[error(transparent)]
    State(#[from] penpal_protocol::cbor::CborError),
    /// It does not belong under the key under which it came.
    #[error("control message under another key than its content belongs to")]
    Misplaced,
    /// An acceptance that does not verify.
    #[error(transparent)]
    Accept(#[from] penpal_seal::AcceptError),
    /// An acceptance of a request that was given up, or that crossed another one.
    #[error("the acceptance came too late")]
    Late,
    /// A manifest that does not verify, or contradicts what is pinned.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A bundle that does not verify.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A relay address that is none.
    #[error(transparent)]
    Relay(#[from] penpal_protocol::text::RelayAddressError),
}
