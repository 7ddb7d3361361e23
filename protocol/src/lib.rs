//! Wire types and codecs of penpal: what travels between nodes and relays, and inside sealed envelopes.
//!
//! Nothing here does I/O, reads a clock or holds a long-lived secret. Every `decode` checks the outer CBOR form first
//! ([`cbor`]) and then parses once into types that cannot be wrong, so later code never re-checks.
//!
//! | module | holds |
//! | --- | --- |
//! | [`ids`] | identifiers and public keys as newtypes |
//! | [`text`] | names, addresses, relay addresses, invite codes: what people type |
//! | [`cbor`] | the strict outer check and bounded containers |
//! | [`wire`] | frames between node and relay |
//! | [`blob`] | how long a sealed content is, and where its parts begin |
//! | [`sealed`] | structures that only end points ever see in the clear |
//! | [`envelope`] | the size ladder and header of a sealed envelope |
//! | [`limits`] | every limit with its reason |
//! | [`version`] | protocol revisions and the ALPN name |
//! | [`time`] | the two clocks that every machine is given |
//!
//! ```
//! use penpal_protocol::ids::EdgeId;
//! use penpal_protocol::wire::{EdgeRevoke, Request};
//!
//! let request = Request::EdgeRevoke(EdgeRevoke { edge: EdgeId::from_bytes([7; 16]) });
//! let (number, payload) = (request.kind().number(), request.encode());
//! assert_eq!(Request::decode(number, &payload)?, request);
//! assert!(Request::decode(number, &payload[1..]).is_err());
//! # Ok::<(), penpal_protocol::wire::FrameError>(())
//! ```
//!
//! The byte layouts are described in `docs/protocol.md`; `docs/penpal.cddl` is held against the encoders by a test.

// Tests index and count freely: a panic there is a failed test, not an outage.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

pub mod blob;
pub mod cbor;
pub mod envelope;
pub mod hash;
pub mod ids;
pub mod limits;
pub mod sealed;
pub mod text;
pub mod time;
pub mod version;
pub mod wire;

pub use version::{ALPN, MIN_PROTOCOL_REVISION, PROTOCOL_REVISION, Revisions};
