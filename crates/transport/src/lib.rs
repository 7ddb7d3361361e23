//! Connections between a node and a relay: QUIC with raw public keys in both directions, frames in and out.
//!
//! This crate carries opaque frames. It proves who is at the other end (an Ed25519 key, [`PeerKey`]), keeps the bytes
//! secret on the way (TLS 1.3, X25519MLKEM768 and nothing else), bounds everything a peer can make us hold, and says
//! precisely why something failed. It does not know what a frame means, who may do what, or how to store anything.
//!
//! ```text
//!  node                                                        relay
//!  Dialer ── dial(addresses, pin, key) ── QUIC, ALPN penpal/1 ── Listener ── accept()
//!    │                                                             │
//!  Dialed { connection, incoming }                             Accepted { connection, outgoing }
//!    │         FrameReader  ◄──── one uni stream, opened first ────  FrameWriter
//!    ├── connection.open_bi ◄───► deposits: one framed stream ◄───►  connection.accept_bi
//!    └── connection.request ────► one stream per request ─────────►  connection.accept_bi → read_request
//! ```
//!
//! A client can believe itself connected before the server has refused its key, so **the server speaks first**:
//! [`Dialer::dial`] returns only once the server's own stream has arrived.
//!
//! Main types: [`Listener`], [`Dialer`], [`Connection`], [`FrameReader`], [`FrameWriter`]; [`Reconnect`] decides when to
//! dial again (pure); [`watch`] reports network changes and resume from suspend.
//!
//! ```no_run
//! use std::time::Duration;
//! use penpal_transport::{Dialer, DialerOptions, Frame, Listener, ServerOptions, ServerSecrets, Target, TransportKey};
//!
//! # async fn relay(seed: [u8; 32], secrets: ServerSecrets) -> Result<(), Box<dyn std::error::Error>> {
//! let listen = "[::]:4433".parse()?;
//! let mut listener = Listener::bind(ServerOptions::new(listen, TransportKey::from_seed(&seed), secrets))?;
//! while let Some(mut accepted) = listener.accept().await {
//!     tokio::spawn(async move {
//!         accepted.outgoing.send(1, b"welcome").await?;
//!         let (frame, responder) = accepted.connection.accept_request(64 * 1024, Duration::from_secs(10)).await?;
//!         responder.respond(&frame).await?;
//!         Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//!     });
//! }
//! # Ok(()) }
//! # async fn node(key: TransportKey, pin: penpal_transport::RelayPin) -> Result<(), Box<dyn std::error::Error>> {
//! let dialer = Dialer::bind(DialerOptions::default())?;
//! let addresses = penpal_transport::discovery::resolve("relay.example", 4433, Duration::from_secs(5)).await?;
//! let target = Target { addresses: &addresses, pin, key: &key };
//! let mut dialed = dialer.dial(target, Duration::from_secs(10)).await?;
//! let welcome = dialed.incoming.read().await?;
//! let answer = dialed.connection.request(&Frame::new(2, &b"hello"[..]), 64 * 1024, Duration::from_secs(10)).await?;
//! # Ok(()) }
//! ```

pub mod chain;
pub mod clock;
pub mod discovery;
pub mod limits;
pub mod udp;
pub mod watch;

mod client;
pub mod close;
mod connection;
mod endpoint;
mod frame;
mod key;
mod offload;
mod reconnect;
mod request;
mod server;
mod tls;

pub use client::{DialError, Dialed, Dialer, DialerOptions, Target};
pub use clock::BootInstant;
pub use close::{CloseCode, Lost};
pub use connection::{Connection, ConnectionStats};
pub use frame::{
    FRAME_HEADER_BYTES, Frame, FrameDecoder, FrameReader, FrameWriter, Patience, ReadError, Stalled,
    TooLarge, WriteError,
};
pub use key::{KeyError, PeerKey, RelayPin, TransportKey, relay_pin};
pub use offload::Offload;
pub use reconnect::{LossKind, Reconnect, ReconnectCommand, ReconnectConfig, ReconnectState};
pub use request::{RequestError, Responder};
pub use server::{Accepted, Admission, BindError, Listener, ListenerStats, ServerOptions, ServerSecrets};
pub use tls::ALPN;
