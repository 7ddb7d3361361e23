//! The real binaries, real QUIC on loopback, real files, real kills.

mod bad_input;
mod blind;
mod crash;
mod first_minutes;
mod local;
mod mcp;
mod restarts;
mod two_relays;
