//! What the devices of one account say to each other, and to contacts when one of them is revoked. `docs/protocol.md` §7.

use minicbor::{Decode, Encode};

use super::body::Kind;
use crate::cbor::{Blob, List, Text};
use crate::ids::{
    AccountId, Capability, ConversationId, DeviceId, EdgeId, Fingerprint, Hash, MsgId, ProfileKey, SharedKey,
    SigningPublicKey, TransportPublicKey, XWingPublicKey,
};
use crate::limits::{
    MAX_ACCOUNT_STATE_BYTES, MAX_BODY_BYTES, MAX_INVITE_BLOB_BYTES, MAX_KEPT_ENTRIES, MAX_MANIFEST_BYTES,
    MAX_STATE_ENTRIES,
};
use crate::text::Label;

/// What a new device answers to a code, sealed to the one-time key of the code's record.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LinkRequest {
    /// Its id, chosen by itself.
    #[n(0)]
    pub device: DeviceId,
    /// Signs its messages, and this request.
    #[n(1)]
    pub signing: SigningPublicKey,
    /// Shows it to the relay.
    #[n(2)]
    pub transport: TransportPublicKey,
    /// Name of the machine.
    #[n(3)]
    pub name: Label,
    /// One-time key that the answer is sealed to.
    #[n(4)]
    pub one_time: XWingPublicKey,
}

/// What makes a machine a device of the account, sealed to the one-time key of its request.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LinkAnswer {
    /// Signed manifest that lists the new device.
    #[n(0)]
    pub manifest: Blob<MAX_MANIFEST_BYTES>,
    /// Handle of the account.
    #[n(1)]
    pub handle: Label,
    /// The relay's id of the account.
    #[n(2)]
    pub account: AccountId,
    /// Opens the account's own profile.
    #[n(3)]
    pub profile_key: ProfileKey,
    /// Edge on which the account's devices deposit for each other.
    #[n(4)]
    pub edge: EdgeId,
    /// Its capability.
    #[n(5)]
    pub cap: Capability,
    /// Pair key among them.
    #[n(6)]
    pub pair: SharedKey,
}

/// A new edge and pair key, in place of those that a revoked device knows.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Rekey {
    /// Edge on which the recipient deposits from now on.
    #[n(0)]
    pub edge: EdgeId,
    /// Its capability.
    #[n(1)]
    pub cap: Capability,
    /// Pair key of the direction *recipient to sender* from now on.
    #[n(2)]
    pub pair: SharedKey,
    /// The recipient shall do the same for its side.
    #[n(3)]
    pub both: bool,
    /// Version of the sender's manifest: what comes with a lower one than was taken is a repetition, and counts no more.
    #[n(4)]
    pub number: Option<u64>,
    /// When the edge was made, Unix milliseconds of the sender's clock, and later than every one before: orders those of one number.
    #[n(5)]
    pub turn: Option<u64>,
}

/// Orders changes of one thing by several devices: the greater counter wins, then the greater device id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(map)]
pub struct Stamp {
    /// Higher than every counter that the device had seen.
    #[n(0)]
    pub counter: u64,
    /// Which device made the change.
    #[n(1)]
    pub device: DeviceId,
}

/// What an account's devices tell each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OwnState {
    /// Contacts that changed.
    #[n(0)]
    pub contacts: Option<List<ContactEntry, MAX_STATE_ENTRIES>>,
    /// Mail that was read or answered.
    #[n(1)]
    pub read: Option<List<ReadMark, MAX_STATE_ENTRIES>>,
    /// A message that was sent.
    #[n(2)]
    pub sent: Option<SentCopy>,
}

/// One contact, as it stood when it was changed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ContactEntry {
    /// The account.
    #[n(0)]
    pub contact: Fingerprint,
    /// Which change this is.
    #[n(1)]
    pub stamp: Stamp,
    /// The contact; absent when it was removed.
    #[n(2)]
    pub card: Option<ContactCard>,
}

/// Everything a device must know of a contact to write to it and to be written to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ContactCard {
    /// Name here.
    #[n(0)]
    pub name: Label,
    /// The handle that it gave.
    #[n(1)]
    pub handle: Label,
    /// Whether its safety number was compared.
    #[n(2)]
    pub verified: bool,
    /// Whether a person blocked it.
    #[n(3)]
    pub blocked: bool,
    /// Whether its mail is held.
    #[n(4)]
    pub held: bool,
    /// Its signed manifest.
    #[n(5)]
    pub manifest: Blob<MAX_MANIFEST_BYTES>,
    /// Opens its profile.
    #[n(6)]
    pub profile_key: ProfileKey,
    /// Its relay.
    #[n(7)]
    pub relay: Text<320>,
    /// Which change the connection below is.
    #[n(8)]
    pub link_stamp: Stamp,
    /// Its edge, on which this account deposits.
    #[n(9)]
    pub edge_out: EdgeId,
    /// Its capability.
    #[n(10)]
    pub cap_out: Capability,
    /// This account's edge, on which it deposits.
    #[n(11)]
    pub edge_in: EdgeId,
    /// Its capability.
    #[n(12)]
    pub cap_in: Capability,
    /// Pair key to it.
    #[n(13)]
    pub pair_out: SharedKey,
    /// Pair key from it.
    #[n(14)]
    pub pair_in: SharedKey,
    /// Names the agreement.
    #[n(15)]
    pub transcript: Hash,
    /// Which change `blocked` is; absent from who never blocked it, and then it is part of the entry's.
    #[n(16)]
    pub block_stamp: Option<Stamp>,
    /// Number under which the contact told its edge; absent when it is that of the agreement.
    #[n(17)]
    pub edge_number: Option<u64>,
    /// Its turn under that number.
    #[n(18)]
    pub edge_turn: Option<u64>,
}

/// A message that was read or answered on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ReadMark {
    /// Who sent it.
    #[n(0)]
    pub from: Fingerprint,
    /// The message.
    #[n(1)]
    pub msg_id: MsgId,
    /// Whether it was answered, and not only read.
    #[n(2)]
    pub answered: bool,
}

/// A message that one device sent, for the others to keep.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SentCopy {
    /// The message.
    #[n(0)]
    pub msg_id: MsgId,
    /// Its conversation.
    #[n(1)]
    pub conversation: ConversationId,
    /// Note, ask or reply.
    #[n(2)]
    pub kind: Kind,
    /// Its encoded content.
    #[n(3)]
    pub content: Blob<MAX_BODY_BYTES>,
    /// Address as it was typed.
    #[n(4)]
    pub to: Text<256>,
    /// Accounts that it went to.
    #[n(5)]
    pub accounts: List<Fingerprint, MAX_STATE_ENTRIES>,
    /// When it was sent, Unix milliseconds.
    #[n(6)]
    pub sent_ms: u64,
    /// When it ends, Unix milliseconds.
    #[n(7)]
    pub expires_ms: u64,
}

/// What the relay keeps of an account, sealed for whoever has its root key: enough to be that account on a new machine.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AccountState {
    /// Its signed manifest.
    #[n(0)]
    pub manifest: Blob<MAX_MANIFEST_BYTES>,
    /// Opens its profile.
    #[n(1)]
    pub profile_key: ProfileKey,
    /// Highest counter of a change.
    #[n(2)]
    pub counter: u64,
    /// What its devices share; absent when it never had two.
    #[n(3)]
    pub among: Option<AmongDevices>,
    /// Contacts and removals.
    #[n(4)]
    pub contacts: List<ContactEntry, MAX_KEPT_ENTRIES>,
}

/// What the devices of an account share to write to each other.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AmongDevices {
    /// Edge on which they deposit for each other.
    #[n(0)]
    pub edge: EdgeId,
    /// Its capability.
    #[n(1)]
    pub cap: Capability,
    /// Pair key among them.
    #[n(2)]
    pub pair: SharedKey,
}

codec! {
    LinkRequest, MAX_INVITE_BLOB_BYTES;
    LinkAnswer, MAX_INVITE_BLOB_BYTES;
    Rekey, MAX_BODY_BYTES;
    OwnState, MAX_BODY_BYTES;
    AccountState, MAX_ACCOUNT_STATE_BYTES;
}
