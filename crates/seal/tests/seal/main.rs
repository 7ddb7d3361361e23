//! Whole-crate tests of sealing.
//!
//! Properties draw from proptest, which prints and stores the failing case; everything else comes from numbered seeds.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed helper fails its test")]

mod artifacts;
mod aws_lc;
mod envelopes;
mod frozen;
mod invites;
mod key_files;
mod known_answers;
mod links;
mod people;
mod profiles;
mod wycheproof;
