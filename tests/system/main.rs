//! The real binaries, real QUIC on loopback, real files, real kills.

mod answers;
mod artifacts;
mod bad_input;
mod blind;
mod choices;
mod crash;
mod events;
mod files;
mod finding;
mod first_minutes;
mod frozen;
mod full_disk;
mod hooks;
mod local;
mod logs;
mod mcp;
mod operator;
mod persons;
mod plugin;
mod restarts;
mod search;
mod service;
mod settings;
mod two_relays;
mod wakes;
mod wiring;
