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
//!
//! `cargo run -p xtask -- fuzz` runs them all. `cargo test --manifest-path fuzz/Cargo.toml` runs each over its corpus without
//! the fuzzer, and is where an input that once failed stays. Most bytes that matter stand behind a checksum, a MAC or a seal,
//! which no fuzzer guesses: such a target makes them right for what it was given, and spoils genuine ones besides.

#![forbid(unsafe_code)]

mod edit;
pub mod envelope;
pub mod frames;
pub mod invite;
pub mod keyfile;
pub mod log;
mod people;
pub mod profile;
pub mod quote;
mod recode;
pub mod sealed;
pub mod text;

/// What a target does with an input: it returns, or panics.
pub type Check = fn(&[u8]);

/// Every target by name.
pub const TARGETS: [(&str, Check); 9] = [
    ("frames", frames::check),
    ("sealed", sealed::check),
    ("text", text::check),
    ("envelope", envelope::check),
    ("profile", profile::check),
    ("invite", invite::check),
    ("keyfile", keyfile::check),
    ("log", log::check),
    ("quote", quote::check),
];
