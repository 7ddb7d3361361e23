//! What a client asks of a relay.

use minicbor::{Decode, Encode};

use super::kind::{FrameError, FrameKind};
use crate::blob::{BlobShape, PART_BYTES};
use crate::cbor::{self, Blob, CborError, List, Text};
use crate::envelope::MAX_ENVELOPE_BYTES;
use crate::ids::{
    AccountProof, BlobId, Capability, DepositId, EdgeId, Hash, Incarnation, InviteId, RegistrationProof,
    RunId, SlotId, SpoolEpoch, StateId, TransportPublicKey,
};
use crate::limits::{
    MAX_ACK_GAPS, MAX_FRAME_BYTES, MAX_INVITE_BLOB_BYTES, MAX_PROFILE_BLOB_BYTES, MAX_RUNS,
    MAX_STATE_PART_BYTES, MAX_STATE_PARTS,
};
use crate::text::Label;

/// What a request must satisfy beyond its structure, without context.
trait Check {
    /// The rule that is broken.
    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

fn checked<T: for<'b> Decode<'b, ()> + Check>(payload: &[u8]) -> Result<T, CborError> {
    let value: T = cbor::decode(payload, MAX_FRAME_BYTES)?;
    match value.check() {
        Ok(()) => Ok(value),
        Err(rule) => Err(CborError::Structure { offset: 0, reason: rule.to_owned() }),
    }
}

fn rule(holds: bool, broken: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(broken) }
}

macro_rules! requests {
    ($($name:ident,)*) => {
        /// One request on a stream of its own. Each may be sent again with the same effect.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Request {
            $(
                #[doc = concat!("[`", stringify!($name), "`]")]
                $name($name),
            )*
        }

        impl Request {
            /// The frame number.
            #[must_use]
            pub fn kind(&self) -> FrameKind {
                match self {
                    $(Self::$name(_) => FrameKind::$name,)*
                }
            }

            /// Encodes the payload.
            #[must_use]
            pub fn encode(&self) -> Vec<u8> {
                match self {
                    $(Self::$name(request) => cbor::encode(request),)*
                }
            }

            /// Decodes a frame.
            ///
            /// # Errors
            /// [`FrameError`] for numbers that are no requests and malformed payloads.
            pub fn decode(number: u8, payload: &[u8]) -> Result<Self, FrameError> {
                let kind = FrameKind::from_number(number).ok_or(FrameError::Unknown { number })?;
                match kind {
                    $(FrameKind::$name => checked::<$name>(payload)
                        .map(Self::$name)
                        .map_err(|source| FrameError::Payload { kind, source }),)*
                    _ => Err(FrameError::Misplaced { kind }),
                }
            }
        }
    };
}

requests! {
    Hello, Register, Ack, PutManifest, PutBundle, GetContactState, EdgeCreate, EdgeLink, EdgeRevoke,
    InviteCreate, InviteFetch, InviteRedeem, InviteRevoke, BlobCreate, BlobPut, BlobGet, BlobDelete, PutProof,
    DeviceAdd, DeviceRemove, PutState, GetState,
}

/// Starts receiving. Only a registered device may say it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// Life of the node's database.
    #[n(0)]
    pub incarnation: Incarnation,
    /// This start of the daemon, logged before it is sent.
    #[n(1)]
    pub run: RunId,
    /// The last run that the relay answered, and all after it; `run` itself not included.
    #[n(2)]
    pub since: List<RunId, MAX_RUNS>,
    /// Software of the node, such as `penpal 0.1.0`.
    #[n(3)]
    pub software: Text<64>,
}

/// Makes an account with this connection's key as its first device. The same key gets the same account again.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Register {
    /// Wanted handle, unique at this relay.
    #[n(0)]
    pub handle: Label,
    /// Token minted by the operator.
    #[n(1)]
    pub token: Option<Text<64>>,
    /// Invite whose redeemer may register, with the proof from its code.
    #[n(2)]
    pub invite: Option<InviteId>,
    /// The proof for `invite`.
    #[n(3)]
    pub proof: Option<RegistrationProof>,
}

/// Says what is durable at the node.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ack {
    /// Life of the spool that the numbers belong to.
    #[n(0)]
    pub epoch: SpoolEpoch,
    /// Everything up to here is done, but for `gaps`.
    #[n(1)]
    pub up_to: u64,
    /// Rows up to `up_to` that are not done, ascending.
    #[n(2)]
    pub gaps: List<u64, MAX_ACK_GAPS>,
}

/// A sealed, padded manifest or bundle as the relay keeps it.
///
/// Two copies while some contacts still hold the earlier profile key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Profile {
    /// Under the present profile key.
    #[n(0)]
    pub current: Blob<MAX_PROFILE_BLOB_BYTES>,
    /// Under the one before.
    #[n(1)]
    pub previous: Option<Blob<MAX_PROFILE_BLOB_BYTES>>,
}

/// Replaces the account's manifest when the relay holds the expected revision.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PutManifest {
    /// Revision that the relay must hold; 0 when none.
    #[n(0)]
    pub expect: u64,
    /// New revision, greater than `expect`.
    #[n(1)]
    pub revision: u64,
    /// The sealed manifest.
    #[n(2)]
    pub profile: Profile,
}

/// Replaces the bundle of this device.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PutBundle {
    /// The sealed bundle.
    #[n(0)]
    pub profile: Profile,
}

/// Asks for the sealed manifest and bundles behind an edge.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GetContactState {
    /// The edge.
    #[n(0)]
    pub edge: EdgeId,
    /// Its capability.
    #[n(1)]
    pub cap: Capability,
}

/// Makes an edge on which somebody else will deposit.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct EdgeCreate {
    /// The edge.
    #[n(0)]
    pub edge: EdgeId,
    /// Hash of its capability.
    #[n(1)]
    pub cap_hash: Hash,
}

/// Takes the other end of an edge. An unregistered key links it as *foreign*.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct EdgeLink {
    /// The edge.
    #[n(0)]
    pub edge: EdgeId,
    /// Its capability.
    #[n(1)]
    pub cap: Capability,
}

/// Ends an edge of this account.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct EdgeRevoke {
    /// The edge.
    #[n(0)]
    pub edge: EdgeId,
}

/// Leaves an invite at the relay.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct InviteCreate {
    /// The invite.
    #[n(0)]
    pub invite: InviteId,
    /// Hash of the proof that lets its redeemer register.
    #[n(1)]
    pub proof_hash: Hash,
    /// When it ends, Unix milliseconds.
    #[n(2)]
    pub expires_ms: u64,
    /// The sealed record.
    #[n(3)]
    pub record: Blob<MAX_INVITE_BLOB_BYTES>,
}

/// Asks what became of an invite, and for its record while it is open.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct InviteFetch {
    /// The invite.
    #[n(0)]
    pub invite: InviteId,
}

/// Uses an invite. The same request gets the same answer again, another one `used`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct InviteRedeem {
    /// The invite.
    #[n(0)]
    pub invite: InviteId,
    /// The sealed request.
    #[n(1)]
    pub request: Blob<MAX_INVITE_BLOB_BYTES>,
}

/// Takes an invite back, or clears a redeemed one.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct InviteRevoke {
    /// The invite.
    #[n(0)]
    pub invite: InviteId,
}

/// Makes room for a blob of this account, or makes it live longer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BlobCreate {
    /// The blob.
    #[n(0)]
    pub blob: BlobId,
    /// Its length in bytes, sealed and padded.
    #[n(1)]
    pub bytes: u64,
    /// Hash of the token that reads it.
    #[n(2)]
    pub token_hash: Hash,
    /// When it ends, Unix milliseconds.
    #[n(3)]
    pub expires_ms: u64,
}

/// Hands over a part of a blob, whose bytes follow in a frame of their own.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BlobPut {
    /// The blob.
    #[n(0)]
    pub blob: BlobId,
    /// Which part, from 0.
    #[n(1)]
    pub part: u32,
    /// Length of that frame.
    #[n(2)]
    pub bytes: u32,
}

/// Asks for a part of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BlobGet {
    /// The blob.
    #[n(0)]
    pub blob: BlobId,
    /// The token that reads it.
    #[n(1)]
    pub token: Capability,
    /// Which part, from 0.
    #[n(2)]
    pub part: u32,
}

/// Removes a blob of this account.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BlobDelete {
    /// The blob.
    #[n(0)]
    pub blob: BlobId,
}

/// Leaves the hash of the proof by which devices of this account are added and removed. It is set once.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PutProof {
    /// Hash of the proof.
    #[n(0)]
    pub proof_hash: Hash,
}

/// Makes a key that of a device of the account whose proof is shown. The same key gets the same slot again.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DeviceAdd {
    /// Transport key of the device.
    #[n(0)]
    pub key: TransportPublicKey,
    /// The account's proof.
    #[n(1)]
    pub proof: AccountProof,
}

/// Ends a device of the account whose proof is shown: its key, its spool and its bundle go.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DeviceRemove {
    /// Spool of the device.
    #[n(0)]
    pub slot: SlotId,
    /// The account's proof.
    #[n(1)]
    pub proof: AccountProof,
}

/// Leaves one part of the sealed state of the account whose proof is shown. Parts come in order; with the last one the state takes the
/// place of the one before, if that is still the expected one.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PutState {
    /// The account's proof.
    #[n(0)]
    pub proof: AccountProof,
    /// The state that is stored, as far as the client knows; absent when none.
    #[n(1)]
    pub expect: Option<StateId>,
    /// The new one.
    #[n(2)]
    pub state: StateId,
    /// How many parts it has, at least 1.
    #[n(3)]
    pub parts: u8,
    /// Which part this is, from 0.
    #[n(4)]
    pub part: u8,
    /// The part, sealed.
    #[n(5)]
    pub sealed: Blob<MAX_STATE_PART_BYTES>,
}

/// Asks for the account whose proof is shown, and a part of its sealed state.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GetState {
    /// The account's proof.
    #[n(0)]
    pub proof: AccountProof,
    /// Which part, from 0.
    #[n(1)]
    pub part: u8,
}

impl Check for Hello {
    fn check(&self) -> Result<(), &'static str> {
        rule(!self.since.contains(&self.run), "the present run is listed as an earlier one")
    }
}

impl Check for Register {
    fn check(&self) -> Result<(), &'static str> {
        rule(self.invite.is_some() == self.proof.is_some(), "an invite and its proof come together")
    }
}

impl Check for Ack {
    fn check(&self) -> Result<(), &'static str> {
        rule(self.gaps.is_sorted_by(|one, next| one < next), "gaps are not ascending")?;
        rule(self.gaps.first() != Some(&0), "rows count from 1")?;
        rule(self.gaps.last().is_none_or(|last| *last <= self.up_to), "a gap lies beyond the end")
    }
}

impl Check for PutManifest {
    fn check(&self) -> Result<(), &'static str> {
        rule(self.revision > self.expect, "the revision does not grow")
    }
}

impl Check for PutBundle {}
impl Check for GetContactState {}
impl Check for EdgeCreate {}
impl Check for EdgeLink {}
impl Check for EdgeRevoke {}
impl Check for InviteCreate {}
impl Check for InviteFetch {}
impl Check for InviteRedeem {}
impl Check for InviteRevoke {}

impl Check for BlobCreate {
    fn check(&self) -> Result<(), &'static str> {
        rule(BlobShape::of_sealed(self.bytes).is_some(), "no content has a blob of this length")
    }
}

impl Check for BlobPut {
    fn check(&self) -> Result<(), &'static str> {
        rule((1..=PART_BYTES as u64).contains(&u64::from(self.bytes)), "no part has this length")
    }
}

impl Check for BlobGet {}
impl Check for BlobDelete {}
impl Check for PutProof {}
impl Check for DeviceAdd {}
impl Check for DeviceRemove {}

impl Check for PutState {
    fn check(&self) -> Result<(), &'static str> {
        rule((1..=MAX_STATE_PARTS).contains(&self.parts), "no state has so many parts")?;
        rule(self.part < self.parts, "the state has no such part")?;
        rule(self.expect != Some(self.state), "the state is the one before")
    }
}

impl Check for GetState {}

macro_rules! frame_codec {
    ($($name:ident)*) => {$(
        impl $name {
            /// Encodes the payload.
            #[must_use]
            pub fn encode(&self) -> Vec<u8> {
                cbor::encode(self)
            }

            /// Decodes a frame.
            ///
            /// # Errors
            /// [`FrameError`] for another number and malformed payloads.
            pub fn decode(number: u8, payload: &[u8]) -> Result<Self, FrameError> {
                let kind = FrameKind::from_number(number).ok_or(FrameError::Unknown { number })?;
                if kind != FrameKind::$name {
                    return Err(FrameError::Misplaced { kind });
                }
                cbor::decode(payload, MAX_FRAME_BYTES).map_err(|source| FrameError::Payload { kind, source })
            }
        }
    )*};
}

frame_codec! { Deposit DepositAnswer }

/// Hands an envelope to the relay, on the deposits stream.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Deposit {
    /// The edge.
    #[n(0)]
    pub edge: EdgeId,
    /// Its capability.
    #[n(1)]
    pub cap: Capability,
    /// Device of the edge's owner that it is for.
    #[n(2)]
    pub slot: SlotId,
    /// Makes a repeated deposit harmless for 24 hours.
    #[n(3)]
    pub deposit: DepositId,
    /// Never stored: passed on when the device is connected, else dropped.
    #[n(4)]
    pub ephemeral: Option<bool>,
    /// The envelope.
    #[n(5)]
    pub envelope: Blob<MAX_ENVELOPE_BYTES>,
}

/// What became of a deposit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DepositAnswer {
    /// Which deposit.
    #[n(0)]
    pub deposit: DepositId,
    /// What became of it.
    #[n(1)]
    pub outcome: DepositOutcome,
}

/// Outcomes of a deposit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum DepositOutcome {
    /// Durable at the relay (or, when ephemeral, taken).
    #[n(1)]
    Accepted,
    /// The depositor used up what it may; try later.
    #[n(2)]
    Quota,
    /// The relay's disk is full; try later.
    #[n(3)]
    Full,
    /// The recipient's spool is full; try later.
    #[n(4)]
    RecipientFull,
    /// Not taken; no reason is given.
    #[n(5)]
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule that a request breaks, if it does.
    fn broken<T: Check>(request: &T) -> Option<&'static str> {
        request.check().err()
    }

    #[test]
    fn the_present_run_is_no_earlier_one() {
        let hello = |since: &[u8]| Hello {
            incarnation: Incarnation::from_bytes([1; 8]),
            run: RunId::from_bytes([2; 8]),
            since: List::truncated(since.iter().map(|run| RunId::from_bytes([*run; 8])).collect()),
            software: Text::default(),
        };
        assert_eq!([broken(&hello(&[])), broken(&hello(&[1, 3]))], [None, None]);
        assert_eq!(broken(&hello(&[1, 2])), Some("the present run is listed as an earlier one"));
    }

    #[test]
    fn an_invite_registers_with_its_proof_only() {
        let register = |invite: bool, proof: bool| Register {
            handle: Label::new("alice").unwrap(),
            token: None,
            invite: invite.then(|| InviteId::from_bytes([1; 16])),
            proof: proof.then(|| RegistrationProof::from_bytes([2; 32])),
        };
        assert_eq!([broken(&register(false, false)), broken(&register(true, true))], [None, None]);
        let apart = Some("an invite and its proof come together");
        assert_eq!([broken(&register(true, false)), broken(&register(false, true))], [apart, apart]);
    }

    #[test]
    fn gaps_ascend_from_1_to_the_end() {
        let gaps = |gaps: &[u64]| {
            let gaps = List::truncated(gaps.to_vec());
            broken(&Ack { epoch: SpoolEpoch::from_bytes([1; 8]), up_to: 9, gaps })
        };
        assert_eq!([gaps(&[]), gaps(&[1]), gaps(&[1, 2, 9])], [None; 3]);
        assert_eq!([gaps(&[2, 1]), gaps(&[2, 2])], [Some("gaps are not ascending"); 2]);
        assert_eq!(gaps(&[0, 1]), Some("rows count from 1"));
        assert_eq!(gaps(&[1, 10]), Some("a gap lies beyond the end"));
    }

    #[test]
    fn a_revision_grows() {
        let put = |expect, revision| {
            let profile = Profile { current: Blob::default(), previous: None };
            broken(&PutManifest { expect, revision, profile })
        };
        assert_eq!([put(0, 1), put(3, 9)], [None, None]);
        assert_eq!([put(3, 3), put(3, 2)], [Some("the revision does not grow"); 2]);
    }

    #[test]
    fn a_state_has_the_part_that_comes_and_is_a_new_one() {
        let put = |part, parts, expect: Option<u8>| {
            let id = |number| StateId::from_bytes([number; 16]);
            let proof = AccountProof::from_bytes([1; 32]);
            let (expect, state) = (expect.map(id), id(2));
            broken(&PutState { proof, expect, state, parts, part, sealed: Blob::default() })
        };
        assert_eq!([put(0, 1, None), put(127, 128, Some(1)), put(1, 3, None)], [None; 3]);
        assert_eq!([put(0, 0, None), put(0, 129, None)], [Some("no state has so many parts"); 2]);
        assert_eq!([put(1, 1, None), put(2, 1, None)], [Some("the state has no such part"); 2]);
        assert_eq!(put(0, 1, Some(2)), Some("the state is the one before"));
    }

    #[test]
    fn lengths_of_blobs_and_parts_are_possible_ones() {
        let create = |bytes| {
            let (blob, expires_ms) = (BlobId::from_bytes([1; 16]), 1);
            broken(&BlobCreate { blob, bytes, token_hash: Hash::from_bytes([2; 32]), expires_ms })
        };
        assert_eq!(create(4096 + 16), None);
        assert_eq!(create(16), Some("no content has a blob of this length"));
        let put = |bytes| broken(&BlobPut { blob: BlobId::from_bytes([1; 16]), part: 0, bytes });
        assert_eq!([put(1), put(1_048_832)], [None, None]);
        assert_eq!([put(0), put(1_048_833)], [Some("no part has this length"); 2]);
    }
}
