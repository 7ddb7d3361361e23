//! Structures that only end points ever see in the clear: manifests, bundles, message bodies and invites.
//!
//! All are CBOR maps with integer keys. Keys are never reused; the next free key of each map is in `docs/protocol.md`.

/// Encoding and decoding of structures that stand alone, each with its greatest length in bytes.
macro_rules! codec {
    ($($name:ident, $max:expr;)*) => {$(
        impl $name {
            /// Encodes the structure.
            #[must_use]
            pub fn encode(&self) -> Vec<u8> {
                crate::cbor::encode(self)
            }

            /// Decodes the structure.
            ///
            /// # Errors
            /// [`CborError`](crate::cbor::CborError).
            pub fn decode(bytes: &[u8]) -> Result<Self, crate::cbor::CborError> {
                crate::cbor::decode(bytes, $max)
            }
        }
    )*};
}

mod body;
mod content;
mod device;
mod invite;
mod profile;
mod room;
mod signed;

pub use body::{Body, BodyError, Kind, ManifestRef, OfferedKey, Order, chain_hash, identity_hash};
pub use content::{
    Accept, ArtifactRef, Content, Control, Letter, NeedReseal, Presence, Reach, Receipt, ReceiptBatch,
    RoomRef, SessionEntry, SessionRef, SessionState, SessionTarget, Stage, SyncCopy,
};
pub use device::{
    AccountState, AmongDevices, ContactCard, ContactEntry, LinkAnswer, LinkRequest, OwnState, ReadMark,
    Rekey, SentCopy, Stamp,
};
pub use invite::{InviteAccept, InviteRecord, InviteRequest, SealedRequest};
pub use profile::{Bundle, DeviceEntry, Manifest, ManifestVersion, PreviousKey};
pub use room::{
    RoomChange, RoomEntry, RoomHead, RoomIntroduction, RoomInvitation, RoomMember, RoomNews, RoomShared,
    RoomWish,
};
pub use signed::Signed;
