//! Contacts of two and three people through relays in memory, under a virtual clock.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests stop at the first thing that is not as it should be"
)]

mod crash;
mod devices;
mod edges;
mod flows;
mod happy;
mod hostile;
mod links;
mod people;
mod recovery;
mod schedules;
mod support;
