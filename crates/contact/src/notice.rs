//! What people are told.

use penpal_protocol::{
    ids::{Fingerprint, InviteId},
    text::Label,
    wire::RefusalCode,
};
use penpal_seal::{LinkError, RecordError, SafetyNumber};

use crate::record::KeyChange;

/// One thing that people should know. Wording belongs to the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// We have an account.
    Registered {
        /// Its handle.
        handle: Label,
    },
    /// There is no account.
    RegistrationFailed(RegistrationFailure),
    /// The relay took an invite: its code works from now on.
    InviteOpen {
        /// The invite.
        invite: InviteId,
    },
    /// The relay did not take an invite; it is gone.
    InviteFailed {
        /// The invite.
        invite: InviteId,
        /// What the relay said.
        code: RefusalCode,
    },
    /// Nobody used an invite in time.
    InviteExpired {
        /// The invite.
        invite: InviteId,
    },
    /// The secrets of an invite are not on this machine any more; it is of no use.
    InviteLost {
        /// The invite.
        invite: InviteId,
    },
    /// Somebody used an invite and must be accepted.
    Requested {
        /// The invite.
        invite: InviteId,
        /// Who.
        contact: Fingerprint,
        /// Name here.
        name: Label,
        /// To compare.
        safety: SafetyNumber,
        /// Whether it was accepted at once, with its mail held.
        accepted: bool,
    },
    /// Something that is not a request for it came for an invite: the relay or somebody on the way made it up.
    RequestForged {
        /// The invite.
        invite: InviteId,
    },
    /// Our relay took back an account that was made with an invite, because that was not used in time or was used by somebody else.
    /// There is no account any more.
    AccountLost {
        /// Its handle.
        handle: Label,
    },
    /// An invite that works once was used a second time: the code is in two hands, or the relay lies.
    SecondRequest {
        /// The invite.
        invite: InviteId,
        /// Who used it first.
        first: Option<Label>,
    },
    /// Another contact has the wanted name already, so this one is called otherwise here.
    NameTaken {
        /// The contact.
        contact: Fingerprint,
        /// What it calls itself.
        wanted: Label,
        /// What it is called here.
        name: Label,
    },
    /// The record of a code we use was verified.
    RecordVerified {
        /// The invite.
        invite: InviteId,
        /// Who invites.
        contact: Fingerprint,
        /// Name here.
        name: Label,
        /// To compare.
        safety: SafetyNumber,
    },
    /// The relay has our request; the other side must accept.
    RequestStored {
        /// The invite.
        invite: InviteId,
        /// Name here.
        name: Label,
    },
    /// A code could not be used. Nothing of it is left here.
    AddFailed {
        /// The invite.
        invite: InviteId,
        /// Why.
        why: AddFailure,
    },
    /// Our request was declined, or nobody answered it in time.
    Declined {
        /// The contact.
        contact: Fingerprint,
        /// Name here.
        name: Label,
    },
    /// Both sides are contacts now.
    Connected {
        /// The contact.
        contact: Fingerprint,
        /// Name here.
        name: Label,
        /// To compare.
        safety: SafetyNumber,
    },
    /// We accepted, and the other side had withdrawn or cannot be reached that way any more.
    Withdrawn {
        /// The contact.
        contact: Fingerprint,
        /// Name here.
        name: Label,
    },
    /// Its relay says no: it removed us, or its account is gone.
    Gone {
        /// The contact.
        contact: Fingerprint,
        /// Name here.
        name: Label,
    },
    /// Its relay says yes again.
    Back {
        /// The contact.
        contact: Fingerprint,
        /// Name here.
        name: Label,
    },
    /// A contact's key does not add up. It is blocked until a person verifies it.
    KeyChanged {
        /// The contact.
        contact: Fingerprint,
        /// Name here.
        name: Label,
        /// What.
        why: KeyChange,
    },
    /// A contact's relay served an older manifest than the one that is pinned. Ignored.
    OldManifest {
        /// The contact.
        contact: Fingerprint,
        /// Name here.
        name: Label,
    },
    /// A contact's manifest is out of date; known devices still count, new ones do not.
    StaleManifest {
        /// The contact.
        contact: Fingerprint,
        /// Name here.
        name: Label,
    },
    /// The relay ended the edge of a removed contact: nothing more can be deposited on it.
    EdgeEnded {
        /// Whose edge.
        contact: Fingerprint,
        /// Its name, if it was shown under one.
        name: Option<Label>,
    },
    /// A contact holds a manifest of ours that this machine never signed: our root key is in use elsewhere.
    ForeignManifest {
        /// Who named it.
        contact: Fingerprint,
        /// Its version.
        version: u64,
    },
    /// A machine became a device of our account.
    DeviceAdded {
        /// Its name.
        name: Label,
    },
    /// A machine used a code and is not added: the relay gave it no place, or it stands in the list, or stood, under another id.
    DeviceNotAdded,
    /// A machine was made a device and never showed itself.
    DeviceNeverCame {
        /// Its name.
        name: Label,
    },
    /// A device of ours was revoked.
    DeviceRevoked {
        /// Its name.
        name: Label,
    },
    /// This machine became a device of an account.
    Joined {
        /// Its handle.
        handle: Label,
    },
    /// This machine did not become a device.
    JoinFailed(JoinFailure),
    /// The account of a recovery code was found; which of its devices are to be revoked must be said.
    RecoveryFound {
        /// Its handle.
        handle: Label,
    },
    /// This machine is the account's, and signs for it.
    Recovered {
        /// Its handle.
        handle: Label,
    },
    /// The account of a recovery code is not on this machine.
    RecoveryFailed(RecoveryFailure),
    /// A contact's account is signed for on another machine than before: it was recovered, or its code is in other hands.
    NewPrimary {
        /// The contact.
        contact: Fingerprint,
        /// Name here.
        name: Label,
        /// Name of the machine.
        device: Label,
    },
    /// A contact has devices that it had not before.
    NewDevices {
        /// The contact.
        contact: Fingerprint,
        /// Name here.
        name: Label,
        /// Names of the devices.
        devices: Vec<Label>,
    },
    /// Our relay does not serve this account now.
    AccountRefused {
        /// What it said.
        code: RefusalCode,
    },
}

/// Why there is no account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RegistrationFailure {
    /// The handle belongs to somebody else; choose another. The token or code is unspent.
    HandleTaken,
    /// The relay wants a token or an invite, or does not take this one.
    NotAdmitted,
    /// The relay does not understand this version.
    Incompatible,
    /// It was given up here.
    Cancelled,
}

/// Why this machine is no device of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinFailure {
    /// Another machine used the code.
    Used,
    /// Expired, taken back, or unknown to that relay.
    NotFound,
    /// What the relay served for it is not what the account's device left there.
    Record(RecordError),
    /// The answer is not the account's.
    Answer(LinkError),
    /// Nobody answered in time.
    NotAnswered,
    /// Its secret is not on this machine any more.
    Lost,
}

/// Why an account was not recovered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryFailure {
    /// The relay has no account for this code: it was deleted, or is at another relay now.
    NotFound,
    /// The relay keeps nothing of the account: its node was older, or never had the time.
    NothingKept,
    /// What the relay keeps was not sealed with this code's key.
    Forged,
    /// The account has no such device.
    UnknownDevice {
        /// What was named.
        name: Label,
        /// Those that there are.
        candidates: Vec<Label>,
    },
    /// This device cannot stay: it shares nothing with others by which it would hear of this one.
    MustGo {
        /// Its name.
        name: Label,
    },
    /// The account has as many devices as it may have; some must be revoked.
    TooManyDevices,
    /// The root key is not on this machine any more.
    Lost,
    /// Since people decided it here, another machine became the one that signs.
    Overtaken,
}

/// Why a code could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddFailure {
    /// No account could be made with it.
    Registration(RegistrationFailure),
    /// Somebody else used it: it may have been intercepted.
    Used,
    /// Expired, taken back, or unknown to that relay.
    NotFound,
    /// What the relay served for it is not what the code's author left there.
    Record(RecordError),
    /// The relay does not understand this version.
    Incompatible,
    /// Its secret is not on this machine any more.
    Lost,
}
