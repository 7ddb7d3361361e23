//! Whole worlds in one process: nodes and relays as people run them, in virtual time, with everything that goes wrong.
//!
//! A world follows from a number, its seed. Its nodes and relays are the programs' own engines, links and connections over real QUIC;
//! only disk, network, clocks and chance are the world's. After a storm of faults everything is mended, and the end is held against
//! what people and agents were told meanwhile: see [`world`].
//!
//! ```text
//! seed ─▶ plan ─▶ world: node, node, node … ── net ── relay … ─▶ ledger ─▶ checks
//! ```
//!
//! | module | does |
//! | --- | --- |
//! | [`plan`] | who is there, who writes when, what goes wrong |
//! | [`party`] | machines: disk, clock, and the process on them |
//! | [`net`] | the network under QUIC |
//! | [`world`] | runs a plan: acquaintance, storm, mending, checks |
//! | [`ledger`] | what people were told |
//! | [`trace`] | what happened, and its hash |
//! | [`shrink`] | fewer faults that still fail |
//!
//! It does not simulate processes, sockets of the local API, or the command line: tests with real binaries do.

pub mod alarms;
pub mod dice;
pub mod ledger;
pub mod net;
pub mod party;
pub mod plan;
pub mod shrink;
pub mod trace;
pub mod world;
