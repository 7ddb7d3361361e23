//! The program `penpal`: daemon, command line, MCP server and demo.
//!
//! | module | does |
//! | --- | --- |
//! | [`cli`] | what people type and read |
//! | [`launch`] | reaches the node from a client, and starts it |
//! | [`config`] | settings of a node, from arguments, environment and file |
//! | [`daemon`] | the node's process: sockets, links, watchers |
//! | [`engine`] | the node's one thread of decisions and storage |
//! | [`files`] | files of people, and the shelf of contents |
//! | [`hook`] | what agents run at every prompt and tool: hooks and status line |
//! | [`mcp`] | the server that agents start |
//! | `interrupt` | Ctrl-C, where something has to be put in order first |
//! | `portable` | an account in one file: `account export`, `account import` |
//! | `wiring` | agents' files: `init`, `uninstall` |
//!
//! See `docs/architecture.md` for how one message passes through.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "errors and notices of our other crates are open lists: what has no words of its own gets the general ones"
)]

pub mod cli;
pub mod config;
pub mod daemon;
mod demo;
mod doctor;
pub mod engine;
pub mod files;
mod finding;
pub mod hook;
mod interrupt;
pub mod launch;
pub mod mcp;
mod portable;
mod program;
mod supervise;
mod wiring;
