//! What each fuzz target checks, apart from the fuzzer that feeds it: bytes in, a panic if a promise is broken.
//!
//! | target | reads |
//! | --- | --- |
//! | [`frames`] | payloads of every frame number |
//! | [`sealed`] | what is inside an envelope, and the strict outer form of all structures |
//! | [`text`] | names, addresses, relay addresses, invite codes, ids |
//! | [`envelope`] | envelopes, by a device that has keys |
//! | [`profile`] | manifests and bundles, sealed for a relay and open |
//! | [`invite`] | records, requests and acceptances of invites |
//! | [`keyfile`] | `identity.key` and `receive.keys` |
//! | [`log`] | segments of the store's log |
//! | [`quote`] | text from others, on its way to a model or a terminal |
//! | [`stream`] | frames out of a stream that is cut anywhere |
//! | [`blob`] | parts of blobs, and lists of those that are there |
//! | [`rows`] | stored rows of the contact, delivery, session and relay machines |
//! | [`local`] | calls of the local API, answers to them, questions of an operator |
//! | [`config`] | the settings file of a relay |
//! | [`hook`] | input of hooks, `_meta` of calls, names of clients; who is calling |
//!
//! These drive a machine: the input is steps, and what must hold is checked after each.
//!
//! | target | drives |
//! | --- | --- |
//! | [`sessions`] | every `handle_*` of `Sessions` but what comes from contacts |
//! | [`contact`] | every `handle_*` and operation of `Contacts`, with a relay whose answers lie |
//! | [`delivery`] | every `handle_*` and operation of `Delivery`, honest until it heals, or hostile |
//! | [`relay`] | every `handle_*` of `RelayCore`, under small limits, with a full disk and restarts |
//! | [`room`] | every input of `Rooms`: entries that are genuine, forged and garbage, and messages from rooms |
//! | [`reconnect`] | `Reconnect`, and the gate before a relay's handshakes |
//! | [`pair`] | two nodes that really seal, and a relay in between that means harm |
//!
//! `cargo run -p xtask -- fuzz` runs them all. `cargo test --manifest-path fuzz/Cargo.toml` runs each over its corpus without
//! the fuzzer, and is where an input that once failed stays. Most bytes that matter stand behind a checksum, a MAC or a seal,
//! which no fuzzer guesses: such a target makes them right for what it was given, and spoils genuine ones besides.

#![forbid(unsafe_code)]

pub mod blob;
pub mod config;
pub mod contact;
pub mod delivery;
mod edit;
pub mod envelope;
pub mod frames;
pub mod hook;
pub mod invite;
pub mod keyfile;
pub mod local;
pub mod log;
pub mod pair;
mod people;
pub mod profile;
pub mod quote;
mod recode;
pub mod reconnect;
pub mod relay;
pub mod room;
pub mod rows;
pub mod sealed;
pub mod sessions;
mod steps;
mod stored;
pub mod stream;
pub mod text;

/// What a target does with an input: it returns, or panics.
pub type Check = fn(&[u8]);

/// Every target by name.
pub const TARGETS: [(&str, Check); 22] = [
    ("frames", frames::check),
    ("sealed", sealed::check),
    ("text", text::check),
    ("envelope", envelope::check),
    ("profile", profile::check),
    ("invite", invite::check),
    ("keyfile", keyfile::check),
    ("log", log::check),
    ("quote", quote::check),
    ("stream", stream::check),
    ("blob", blob::check),
    ("rows", rows::check),
    ("local", local::check),
    ("config", config::check),
    ("hook", hook::check),
    ("sessions", sessions::check),
    ("contact", contact::check),
    ("delivery", delivery::check),
    ("relay", relay::check),
    ("reconnect", reconnect::check),
    ("pair", pair::check),
    ("room", room::check),
];
