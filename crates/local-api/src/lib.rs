//! The local API of a node: its types, its methods and a blocking client.
//!
//! The node serves HTTP/1.1 with JSON on a Unix socket in its home folder. Every method is one `POST /v1/<name>`; the
//! request and the answer are the types of one [`method::Method`]. The command line prints the same answers with `--json`, the MCP
//! server hands them to models, and their schemas come from the same definitions ([`methods::schemas`]; `GET /v1/schema` gives them). What happens meanwhile
//! is a stream: [`events`].
//!
//! ```no_run
//! use penpal_local_api::{client::Client, home::Home, methods::Status, status::StatusRequest};
//!
//! let home = Home::resolve(None)?;
//! let status = Client::new(&home).call::<Status>(&StatusRequest::default())?;
//! println!("{} unread", status.unread);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! This crate starts no node and decides nothing: see `node` for both.

pub mod account;
pub mod artifact;
pub mod caller;
pub mod client;
pub mod contacts;
pub mod daemon;
pub mod devices;
pub mod error;
pub mod events;
pub mod home;
pub mod hook;
pub mod mail;
pub mod method;
pub mod methods;
pub mod recovery;
pub mod room;
pub mod search;
pub mod sessions;
pub mod status;
pub mod wake;

/// Number of the API that this code speaks. It changes only when an older client or node could not work any more.
pub const API_NUMBER: u32 = 1;

/// Header that carries [`API_NUMBER`] in requests and answers.
pub const API_HEADER: &str = "penpal-api";

/// Version of every JSON shape, printed as `v`.
pub const SHAPE_VERSION: u32 = 1;
