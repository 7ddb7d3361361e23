//! The relay with real sockets, files and processes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "tests fail by panicking, and look for the one variant that they expect"
)]

mod abuse;
mod admin;
mod cli;
mod client;
mod deploy;
mod folder;
mod load;
mod messages;
mod process;
