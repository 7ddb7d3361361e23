//! The relay program: configuration, socket, threads and the operator's commands around
//! [`penpal_relay_core::RelayCore`].
//!
//! It routes sealed envelopes and contains no code that could open one.
//!
//! ```text
//!  QUIC ──► net: a task for each connection ──► inbox ──► engine: one thread ──► store
//!   ▲                                                        │ after the commit
//!   └───────────────── outbox of each connection ◄───────────┘
//! ```
//!
//! | type | what it is |
//! | --- | --- |
//! | [`Relay`] | a running relay, in tests and in the program |
//! | [`RelayConfig`] | its settings |
//! | [`hosted::HostedRelay`] | a relay without threads and sockets of its own, for simulations |
//! | [`run`] | the command line, as the binary has it and as `penpal demo` starts it |
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = penpal_relay::RelayConfig::new("/tmp/relay");
//! config.listen = "127.0.0.1:0".parse()?;
//! let relay = penpal_relay::Relay::start(config, None).await?;
//! println!("{}", relay.address());
//! relay.stop().await?;
//! # Ok(()) }
//! ```

mod admin;
mod backup;
mod blobs;
mod cli;
mod code;
mod config;
mod engine;
mod folder;
pub mod hosted;
mod http;
mod metrics;
mod net;
mod relay;
mod shared_sync;
mod shares;
mod storage;

pub use admin::check_question;
pub use cli::run;
pub use config::{Public, RelayConfig, SettingsError};
pub use engine::{EngineError, Mark, Parts};
pub use folder::{KeysError, PlaceError};
pub use penpal_relay_core::{AdminAnswer, AdminRequest, Limits, Rate, RegistrationPolicy, TokenInfo};
pub use relay::{ProgressFn, Relay, RelayError};
