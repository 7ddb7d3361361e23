//! The record of our own account.

use minicbor::{Decode, Encode};
use penpal_protocol::{
    cbor::{Blob, List, Text},
    ids::{
        AccountId, DeviceId, InviteId, KeyId, ProfileKey, ShortHash, SlotId, SpoolEpoch, StateId,
        TransportPublicKey,
    },
    limits::{MAX_BUNDLE_BYTES, MAX_DEVICES, MAX_PROFILE_BLOB_BYTES},
    sealed::DeviceEntry,
    text::Label,
    wire::Profile,
};
use penpal_seal::VerifiedManifest;

use super::stored::{Pinned, StoredRelay};

/// An account that was asked for and not yet answered.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Registering {
    #[n(0)]
    pub(crate) relay: StoredRelay,
    #[n(1)]
    pub(crate) handle: Label,
    /// Chosen before the first try, so that every try makes the same device.
    #[n(2)]
    pub(crate) device: DeviceId,
    #[n(3)]
    pub(crate) device_name: Label,
    /// Minted by the operator.
    #[n(4)]
    pub(crate) token: Option<Text<64>>,
    /// The invite whose proof lets us register; the proof itself is derived from its secret at each try.
    #[n(5)]
    pub(crate) invite: Option<InviteId>,
}

/// Our account.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Own {
    #[n(0)]
    pub(crate) account: AccountId,
    #[n(1)]
    pub(crate) slot: SlotId,
    #[n(2)]
    pub(crate) handle: Label,
    #[n(3)]
    pub(crate) relay: StoredRelay,
    #[n(4)]
    pub(crate) device: DeviceId,
    #[n(5)]
    pub(crate) device_name: Label,
    #[n(6)]
    pub(crate) manifest: Pinned,
    #[n(7)]
    pub(crate) profile_key: ProfileKey,
    /// Counts the profile keys, from 1.
    #[n(8)]
    pub(crate) generation: u64,
    /// The profile key before, until every contact holds the present one.
    #[n(9)]
    pub(crate) previous: Option<PreviousProfile>,
    #[n(10)]
    pub(crate) bundle: Option<OwnBundle>,
    /// The manifest on its way to the relay: sent again as it is.
    #[n(11)]
    pub(crate) manifest_put: Option<ManifestPut>,
    /// What of the manifest the relay has taken.
    #[n(12)]
    pub(crate) manifest_published: Option<Mark>,
    /// The bundle on its way to the relay: sent again as it is.
    #[n(13)]
    pub(crate) bundle_put: Option<BundlePut>,
    /// What of the bundle the relay has taken.
    #[n(14)]
    pub(crate) bundle_published: Option<Mark>,
    /// Highest version of our own manifest that a contact's message named.
    #[n(15)]
    pub(crate) echoed: u64,
    /// Whether the account stays. One that was made with an invite goes again unless an invite is redeemed.
    #[n(16)]
    pub(crate) settled: bool,
    /// Whether the relay holds the hash of the account's proof.
    #[n(17)]
    pub(crate) proof_put: Option<bool>,
    /// Highest counter of a change that this device made or saw.
    #[n(18)]
    pub(crate) counter: Option<u64>,
    /// The state that the relay keeps of this account.
    #[n(19)]
    pub(crate) kept: Option<KeptMark>,
    /// Life of our spool when the relay last answered: another one says that the relay was put back to an older copy.
    #[n(20)]
    pub(crate) epoch: Option<SpoolEpoch>,
    /// Whether a person has seen the recovery code.
    #[n(21)]
    pub(crate) code_shown: Option<bool>,
    /// Machines that were linked here.
    #[n(22)]
    pub(crate) machines: Option<List<Machine, MAX_DEVICES>>,
}

/// Another device of the account, as its relay knows it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Machine {
    #[n(0)]
    pub(crate) device: DeviceId,
    #[n(1)]
    pub(crate) transport: TransportPublicKey,
    /// Whether the relay is to be asked to add it again.
    #[n(2)]
    pub(crate) again: bool,
    /// The place that the relay gave it since, while the manifest lists another.
    #[n(3)]
    pub(crate) slot: Option<SlotId>,
}

/// A state at the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct KeptMark {
    /// Its name.
    #[n(0)]
    pub(crate) state: StateId,
    /// Labelled hash of what is in it; absent when that is not known here.
    #[n(1)]
    pub(crate) hash: Option<ShortHash>,
}

/// A profile key that some contacts may still use.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct PreviousProfile {
    #[n(0)]
    pub(crate) key: ProfileKey,
    /// When it was replaced, Unix milliseconds.
    #[n(1)]
    pub(crate) since_ms: u64,
}

/// Our newest bundle.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct OwnBundle {
    #[n(0)]
    pub(crate) key_id: KeyId,
    #[n(1)]
    pub(crate) signed: Blob<MAX_BUNDLE_BYTES>,
}

/// What the relay has or is about to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Mark {
    /// Version of the manifest, or the prekey's id read as a number.
    #[n(0)]
    pub(crate) item: u64,
    /// Generation of the profile key it is sealed under.
    #[n(1)]
    pub(crate) generation: u64,
    /// Whether a copy under the key before stands beside it.
    #[n(2)]
    pub(crate) previous: bool,
}

/// Both sealed copies, exactly as they are sent.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Copies {
    #[n(0)]
    pub(crate) current: Blob<MAX_PROFILE_BLOB_BYTES>,
    #[n(1)]
    pub(crate) previous: Option<Blob<MAX_PROFILE_BLOB_BYTES>>,
}

impl Copies {
    pub(crate) fn profile(&self) -> Profile {
        Profile { current: self.current.clone(), previous: self.previous.clone() }
    }
}

/// A manifest on its way.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct ManifestPut {
    /// Revision that the relay must hold.
    #[n(0)]
    pub(crate) expect: u64,
    #[n(1)]
    pub(crate) mark: Mark,
    #[n(2)]
    pub(crate) copies: Copies,
}

/// A bundle on its way.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct BundlePut {
    #[n(0)]
    pub(crate) mark: Mark,
    #[n(1)]
    pub(crate) copies: Copies,
}

impl Own {
    /// An account of which this machine is the device `here`, in its list `manifest`: nothing of it is at the relay yet.
    pub(crate) fn new(
        (account, handle): (AccountId, Label),
        relay: StoredRelay,
        here: &DeviceEntry,
        manifest: VerifiedManifest,
        profile_key: ProfileKey,
    ) -> Self {
        Self {
            account,
            slot: here.slot,
            handle,
            relay,
            device: here.id,
            device_name: here.name.clone(),
            manifest: Pinned(manifest),
            profile_key,
            generation: 1,
            previous: None,
            bundle: None,
            manifest_put: None,
            manifest_published: None,
            bundle_put: None,
            bundle_published: None,
            echoed: 0,
            settled: true,
            proof_put: None,
            counter: None,
            kept: None,
            epoch: None,
            code_shown: None,
            machines: None,
        }
    }

    /// What the relay should hold of the manifest.
    pub(crate) fn manifest_mark(&self) -> Mark {
        self.mark(self.manifest.0.version())
    }

    /// What the relay should hold of the bundle; `None` before there is one.
    pub(crate) fn bundle_mark(&self) -> Option<Mark> {
        self.bundle.as_ref().map(|bundle| self.mark(u64::from_be_bytes(*bundle.key_id.as_bytes())))
    }

    fn mark(&self, item: u64) -> Mark {
        Mark { item, generation: self.generation, previous: self.previous.is_some() }
    }

    /// Whether contacts could fetch our profile.
    pub(crate) fn is_published(&self) -> bool {
        self.manifest_published.is_some() && self.bundle_published.is_some() && self.bundle.is_some()
    }
}
