//! Frames between node and relay. `docs/protocol.md` §5.
//!
//! ```text
//! frame = length u32 (of what follows the kind) | kind u8 | payload (CBOR map, or nothing)
//! ```
//!
//! | stream | opened by | carries |
//! | --- | --- | --- |
//! | request | client, bidirectional | one [`Request`], one [`Answer`] |
//! | deposits | client, bidirectional | [`Deposit`]s, answered one by one with [`DepositAnswer`] |
//! | delivery | relay, unidirectional | [`Welcome`](Event::Welcome) first, then [`Event`]s |
//!
//! The first frame on a bidirectional stream tells which of the two it is.

mod answer;
mod event;
mod kind;
mod request;

pub use answer::{
    AckAnswer, Answer, BlobState, ContactState, DeviceBundles, HelloAnswer, InviteAnswer, InviteState,
    MAX_ANSWER_BYTES, Refusal, RefusalCode, Registered, StatePart, Verdict,
};
pub use event::{Delivery, EdgeState, Ephemeral, Event, Redeemed, Welcome};
pub use kind::{FrameError, FrameKind};
pub use request::{
    Ack, BlobCreate, BlobDelete, BlobGet, BlobPut, Deposit, DepositAnswer, DepositOutcome, DeviceAdd,
    DeviceRemove, EdgeCreate, EdgeLink, EdgeRevoke, GetContactState, GetState, Hello, InviteCreate,
    InviteFetch, InviteRedeem, InviteRevoke, Profile, PutBundle, PutManifest, PutProof, PutState, Register,
    Request,
};
