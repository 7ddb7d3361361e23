//! The relay as a pure state machine: registration, edges, invites, routing, spools, quotas.
//!
//! It decides what a relay does and does nothing itself: no sockets, no files, no clock, no randomness of its own. It
//! knows sealed bytes by their length only, and has no code that could open them.
//!
//! ```text
//!            inputs                                  commands
//!   connected ─┐                                  ┌─► answer, deposit answer
//!   request  ──┤   ┌───────────┐   changes        ├─► push (delivery stream)
//!   deposit  ──┼──►│ RelayCore │──────────► commit├─► close
//!   closed   ──┤   └─────▲─────┘              │   └─► admin answer, alarm
//!   timeout  ──┘         │ Rows: committed state  
//! ```
//!
//! | type | what it is |
//! | --- | --- |
//! | [`RelayCore`] | the machine; how to drive it stands there |
//! | [`Rows`], [`Change`] | storage, as the machine reads it and asks to change it |
//! | [`MemRows`] | storage in memory, for tests and simulations |
//! | [`Command`], [`Push`] | what the shell has to do |
//! | [`Config`], [`Limits`] | what an operator decides |
//! | [`GraphKey`] | the secret without which stored rows join no contact graph |
//!
//! Behaviour: `docs/protocol.md` §4 and §5.

mod acks;
mod command;
mod config;
mod connections;
mod core;
mod db;
mod delivery;
mod effect;
mod error;
mod expiry;
mod handle;
mod limiter;
mod marks;
mod presence;
mod rows;
mod secrets;
mod shares;
mod spool;

pub use crate::core::RelayCore;
pub use command::{
    AccountInfo, AccountState, AddressPrefix, AdminAnswer, AdminRequest, Census, CloseReason, Command,
    Committed, ConnId, DeviceInfo, Grant, Push, RequestId, TokenInfo,
};
pub use config::{Config, Limits, Rate, RegistrationPolicy};
pub use error::StartError;
pub use rows::records::RecordError;
pub use rows::{Change, MemRows, Queue, QueueRow, Rows, RowsError, Table, Usage};
pub use secrets::GraphKey;

const MINUTE_MS: u64 = 60_000;

/// Minutes since the Unix epoch.
fn minute(wall_ms: u64) -> u32 {
    u32::try_from(wall_ms / MINUTE_MS).unwrap_or(u32::MAX)
}
