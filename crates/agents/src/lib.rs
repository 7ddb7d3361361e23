//! Coding agents as penpal meets them: which there are, who is calling, and how text from others is shown to them.
//!
//! | module | holds |
//! | --- | --- |
//! | [`kind`] | the agents, what they call themselves, and how their processes and conversations relate |
//! | [`hook`] | what an agent's hook says on its standard input |
//! | [`evidence`] | what a hook, an MCP server or a command can find out about its caller: processes, environment, git |
//! | [`agent`] | one file each: what wires it in, what its hooks may say, how it can be woken, what it cannot do |
//! | [`wire`] | configuration files with penpal in them and without it again, as text |
//! | [`detect`] | which agents are on this machine, and in which version |
//! | [`caller`] | the one decision which session a caller is, made by the node from that evidence |
//! | [`quote`] | messages as a model sees them |
//! | [`terminal`] | text from others as a terminal may show it |
//!
//! [`evidence`] does I/O in the caller's process and decides nothing; [`caller`] decides and does no I/O:
//!
//! ```text
//!   penpal hook ─┐  evidence::*            caller::decide          sessions
//!   penpal mcp  ─┼─▶ Caller ── local API ─▶ Decision ────────────▶ register / bind / sign
//!   penpal …    ─┘
//! ```

pub mod agent;
pub mod caller;
pub mod detect;
pub mod evidence;
pub mod hook;
pub mod kind;
pub mod quote;
pub mod terminal;
mod unsafe_text;
pub mod wire;
