//! Records of devices of our own account: codes for a further one, and becoming one.

use minicbor::{Decode, Encode};
use penpal_protocol::{
    cbor::{Blob, List},
    ids::{DeviceId, Fingerprint, Hash, InviteId, SlotId},
    limits::{MAX_DEVICES, MAX_INVITE_BLOB_BYTES},
    sealed::{LinkRequest, Stamp},
    text::Label,
};

use super::stored::{Pinned, StoredRelay};

/// A code for a further device that we made.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct DeviceLink {
    #[n(0)]
    pub(crate) id: InviteId,
    /// When it ends, Unix milliseconds: the code, later the answer.
    #[n(1)]
    pub(crate) expires_ms: u64,
    #[n(2)]
    pub(crate) record_hash: Hash,
    #[n(3)]
    pub(crate) state: LinkState,
}

/// Where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) enum LinkState {
    /// On its way to the relay; the record is sent again as it is.
    #[n(0)]
    Creating {
        #[n(0)]
        sealed_record: Blob<MAX_INVITE_BLOB_BYTES>,
    },
    /// At the relay.
    #[n(1)]
    Open,
    /// Used: the relay is to give the machine a spool, and our manifest to list it.
    #[n(2)]
    Adding {
        #[n(0)]
        request: LinkRequest,
        /// `T5`.
        #[n(1)]
        transcript: Hash,
        /// Its spool, once the relay made it.
        #[n(2)]
        slot: Option<SlotId>,
    },
    /// The answer is on its way to the relay, sent again as it is.
    #[n(3)]
    Answering {
        #[n(0)]
        device: DeviceId,
        #[n(1)]
        sealed: Blob<MAX_INVITE_BLOB_BYTES>,
    },
    /// The answer is at the relay.
    #[n(4)]
    Answered {
        #[n(0)]
        device: DeviceId,
    },
}

/// The use of a code that makes this machine a device.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Joining {
    #[n(0)]
    pub(crate) id: InviteId,
    /// The account in the code.
    #[n(1)]
    pub(crate) account: Fingerprint,
    #[n(2)]
    pub(crate) relay: StoredRelay,
    /// Id of this device, chosen before the first try.
    #[n(3)]
    pub(crate) device: DeviceId,
    #[n(4)]
    pub(crate) device_name: Label,
    #[n(5)]
    pub(crate) expires_ms: u64,
    /// The request, once the record was verified: sent again as it is.
    #[n(6)]
    pub(crate) prepared: Option<Box<JoinRequest>>,
    /// Whether the relay has the request.
    #[n(7)]
    pub(crate) stored: bool,
    /// Whether the answer came: only its arrival is left to be told.
    #[n(8)]
    pub(crate) done: bool,
}

/// A sealed request to become a device.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct JoinRequest {
    /// The account's manifest from the record.
    #[n(0)]
    pub(crate) manifest: Pinned,
    #[n(1)]
    pub(crate) sealed: Blob<MAX_INVITE_BLOB_BYTES>,
    /// `T5`.
    #[n(2)]
    pub(crate) transcript: Hash,
}

/// A recovery code in use, from the moment on that a person said which devices are to be revoked. The root key is in the key file by then.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Recovering {
    /// The account.
    #[n(0)]
    pub(crate) account: Fingerprint,
    #[n(1)]
    pub(crate) relay: StoredRelay,
    /// Id of this device, chosen before the first try.
    #[n(2)]
    pub(crate) device: DeviceId,
    #[n(3)]
    pub(crate) device_name: Label,
    /// Devices to be revoked.
    #[n(4)]
    pub(crate) revoke: List<DeviceId, MAX_DEVICES>,
    #[n(5)]
    pub(crate) step: RecoverStep,
    /// The device that signed for the account when people decided; `None` in rows from before this was kept.
    #[n(6)]
    pub(crate) instead_of: Option<DeviceId>,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub(crate) enum RecoverStep {
    /// This machine is to become a device: the chosen ones go from the relay, then it is added.
    #[n(1)]
    Adding,
    /// It is a device, by a code of another one, and is to sign from now on.
    #[n(2)]
    Taking,
    /// The manifest is signed; once the relay has it, contacts are told.
    #[n(3)]
    Telling,
}

/// That people removed a contact or declined a request, so that an older word of another device does not bring it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Tombstone {
    #[n(0)]
    pub(crate) stamp: Stamp,
}
