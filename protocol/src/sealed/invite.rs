//! What an invite carries in each step. `docs/protocol.md` §4.

use minicbor::{Decode, Encode};

use crate::cbor::{Blob, List, Text};
use crate::ids::{
    Capability, EdgeId, HalfSecret, InviteId, Mac, ProfileKey, RootPublicKey, ShortHash, Signature,
    XWingPublicKey,
};
use crate::limits::{
    MAX_BODY_BYTES, MAX_BUNDLE_BYTES, MAX_DEVICES, MAX_INVITE_BLOB_BYTES, MAX_MANIFEST_BYTES,
};
use crate::text::Label;

/// What the inviter leaves at the relay, signed by its device and sealed under a key from the code.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct InviteRecord {
    /// The invite it belongs to.
    #[n(0)]
    pub invite: InviteId,
    /// When it ends, Unix milliseconds.
    #[n(1)]
    pub expires_ms: u64,
    /// Root key; its fingerprint stands in the code.
    #[n(2)]
    pub root: RootPublicKey,
    /// Signed manifest.
    #[n(3)]
    pub manifest: Blob<MAX_MANIFEST_BYTES>,
    /// One-time key that the request is sealed to.
    #[n(4)]
    pub one_time: XWingPublicKey,
    /// The inviter's handle.
    #[n(5)]
    pub name: Label,
    /// Makes two records of one account unlike.
    #[n(6)]
    pub nonce: ShortHash,
}

/// What the invited person answers, sealed to the one-time key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct InviteRequest {
    /// Root key.
    #[n(0)]
    pub root: RootPublicKey,
    /// Handle.
    #[n(1)]
    pub name: Label,
    /// Signed manifest.
    #[n(2)]
    pub manifest: Blob<MAX_MANIFEST_BYTES>,
    /// Signed bundles, one a device.
    #[n(3)]
    pub bundles: List<Blob<MAX_BUNDLE_BYTES>, MAX_DEVICES>,
    /// Opens the profile at the relay.
    #[n(4)]
    pub profile_key: ProfileKey,
    /// Edge on which the inviter may deposit.
    #[n(5)]
    pub edge: EdgeId,
    /// Its capability.
    #[n(6)]
    pub cap: Capability,
    /// Relay of this account, as an address.
    #[n(7)]
    pub relay: Text<320>,
    /// Half of the pair keys.
    #[n(8)]
    pub half: HalfSecret,
}

/// What the inviter answers on acceptance.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct InviteAccept {
    /// Newest signed manifest.
    #[n(0)]
    pub manifest: Blob<MAX_MANIFEST_BYTES>,
    /// Signed bundles, one a device.
    #[n(1)]
    pub bundles: List<Blob<MAX_BUNDLE_BYTES>, MAX_DEVICES>,
    /// Opens the profile at the relay.
    #[n(2)]
    pub profile_key: ProfileKey,
    /// Edge on which the invited person may deposit.
    #[n(3)]
    pub edge: EdgeId,
    /// Its capability.
    #[n(4)]
    pub cap: Capability,
    /// Half of the pair keys.
    #[n(5)]
    pub half: HalfSecret,
}

/// The plaintext that is sealed to the one-time key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SealedRequest {
    /// Encoded [`InviteRequest`].
    #[n(0)]
    pub request: Blob<MAX_INVITE_BLOB_BYTES>,
    /// Device signature over the transcript.
    #[n(1)]
    pub sig: Signature,
    /// MAC over the transcript, by a key from the code's secret.
    #[n(2)]
    pub mac: Mac,
}

codec! {
    InviteRecord, MAX_INVITE_BLOB_BYTES;
    InviteRequest, MAX_INVITE_BLOB_BYTES;
    InviteAccept, MAX_BODY_BYTES;
    SealedRequest, MAX_INVITE_BLOB_BYTES;
}
