//! Invites: how two people who share a one-time code become contacts without trusting the relay.
//!
//! ```text
//! A  offer ─── AEAD(K, record) ──▶ relay ──▶ B  open_record (root against the code)
//! A  open_request ◀── sealed to I, T3 ─────── B  seal_request
//! A  accept ─── body, SIG(T4), HMAC(M, T4) ─▶ B  verify_accept
//! ```
//! `T3 = H("invite-request" | invite id | H("record" | record) | H("request" | request))`,
//! `T4 = H("invite-accept" | T3 | H("accept" | accept))`. Source: `docs/protocol.md` §4.

mod accept;
mod link;
mod offer;
mod request;
mod secret;

pub use accept::{AcceptError, SignedAccept, VerifiedAccept, sign_accept, verify_accept};
pub use link::{
    LinkError, Linking, VerifiedLinkAnswer, VerifiedLinkRequest, link_mailbox, open_link_answer,
    open_link_request, seal_link_answer, seal_link_request,
};
pub use offer::{NewInvite, Offer, OfferError, RecordError, VerifiedRecord, offer, open_record};
pub use request::{
    RequestError, SealRequestError, SealedInviteRequest, VerifiedRequest, open_request, seal_request,
};
pub use secret::InviteKeys;
