//! Structures that only end points ever see in the clear: manifests, bundles, message bodies and invites.
//!
//! All are CBOR maps with integer keys. Keys are never reused; the next free key of each map is in `docs/protocol.md`.

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
    RoomChange, RoomEntry, RoomHead, RoomIntroduction, RoomInvitation, RoomMember, RoomNews, RoomWish,
};
pub use signed::Signed;
