//! Nodes and a relay in memory, under one virtual clock. Nothing is sealed: an envelope is its body with the key it names.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are outside of test functions")]

mod world;

mod arriving;
mod conversation;
mod crashes;
mod elsewhere;
mod expiry;
mod history;
mod inbox;
mod keys;
mod large;
mod local;
mod order;
mod outbox;
mod random;
mod repair;
mod reseal;
mod restores;
mod rooms;
mod short;
mod tries;
