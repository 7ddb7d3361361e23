//! The machine over rows in memory, under a clock that the tests move.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "tests fail by panicking, print seeds, and look for the one variant that they expect"
)]

mod accounts;
mod batches;
mod blobs;
mod delivery;
mod deposits;
mod devices;
mod edges;
mod expiry;
mod full_disk;
mod hello;
mod invites;
mod limits;
mod memory;
mod model;
mod operator;
mod panics;
mod people;
mod profiles;
mod registration;
mod simulation;
mod state;
mod uniform_no;
mod world;
