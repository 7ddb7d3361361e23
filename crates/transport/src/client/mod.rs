//! The node's side: one socket, from which relays are dialled.

mod error;
mod race;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::Endpoint;
use quinn::crypto::rustls::QuicClientConfig;
use tokio::time::{Instant, timeout};

use crate::close::CloseCode;
use crate::connection::Connection;
use crate::endpoint::{self, NoRandomness};
use crate::frame::FrameReader;
use crate::key::{RelayPin, TransportKey};
use crate::limits::{self, Timing};
use crate::tls;
use crate::udp::{self, AsyncUdpSocket, Runtime, TokioRuntime};
pub use error::DialError;

/// How a node dials.
#[derive(Debug, Clone, Copy)]
pub struct DialerOptions {
    /// Timers of each connection.
    pub timing: Timing,
    /// Largest payload of a frame on the server's own stream, in bytes. Default 128 KiB: the largest envelope is
    /// 80 KiB.
    pub max_incoming_frame: u32,
    /// Makes what QUIC draws repeatable. For simulations: never set it in a real node.
    pub rng_seed_for_tests: Option<[u8; 32]>,
}

impl Default for DialerOptions {
    fn default() -> Self {
        Self { timing: Timing::default(), max_incoming_frame: 128 * 1024, rng_seed_for_tests: None }
    }
}

/// Whom to dial.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Where the relay may be, best first; at most [`limits::MAX_ADDRESSES`] are tried.
    pub addresses: &'a [SocketAddr],
    /// Which key it must have.
    pub pin: RelayPin,
    /// Which key to show it: the device's, or a throw-away one.
    pub key: &'a TransportKey,
}

/// A relay that has the pinned key and has spoken.
#[derive(Debug)]
pub struct Dialed {
    /// The connection.
    pub connection: Connection,
    /// The server's own stream, whose first frame is here or on its way.
    pub incoming: FrameReader,
    /// The address that answered.
    pub address: SocketAddr,
}

/// A bound client socket; cheap to clone.
#[derive(Debug, Clone)]
pub struct Dialer {
    endpoint: Endpoint,
    options: DialerOptions,
    /// Whether the kernel's routing table says something about this socket: not in a simulation.
    ask_kernel: bool,
}

impl Dialer {
    /// Binds a UDP socket on a free port, for IPv6 and IPv4 where the machine has both. Needs a tokio runtime.
    pub fn bind(options: DialerOptions) -> Result<Self, DialError> {
        let socket = udp::node_socket().map_err(|source| DialError::Socket { source })?;
        let runtime = Arc::new(TokioRuntime);
        let socket = runtime.wrap_udp_socket(socket).map_err(|source| DialError::Socket { source })?;
        Ok(Self { ask_kernel: true, ..Self::with_socket(options, socket, runtime)? })
    }

    /// Dials from a socket of the caller's, real or simulated.
    pub fn with_socket(
        options: DialerOptions,
        socket: Arc<dyn AsyncUdpSocket>,
        runtime: Arc<dyn Runtime>,
    ) -> Result<Self, DialError> {
        // Nobody connects to a node, so nothing needs to outlive this process.
        let reset_key = match options.rng_seed_for_tests {
            Some(seed) => {
                let mut key = [0; 64];
                key[..32].copy_from_slice(&seed);
                key
            }
            None => endpoint::random()?,
        };
        let settings = endpoint::config(&reset_key, options.rng_seed_for_tests)?;
        let endpoint = Endpoint::new_with_abstract_socket(settings, None, socket, runtime)
            .map_err(|source| DialError::Socket { source })?;
        Ok(Self { endpoint, options, ask_kernel: false })
    }

    /// The local address in use.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Connects to the first of the addresses that has the pinned key and speaks, within `wait`.
    ///
    /// Addresses start 250 ms apart, or at once when the one before has failed. Nothing of ours but the handshake is
    /// sent to a server without the pinned key. Of several errors the most telling is returned. Dropping the call ends
    /// every attempt. A relay may see two connections of one dial for a moment: only requests count as presence.
    pub async fn dial(&self, target: Target<'_>, wait: Duration) -> Result<Dialed, DialError> {
        race::run(self, target, Instant::now() + wait).await
    }

    /// Closes every connection with a code and a reason and waits until the peers have been told, `wait` long at most.
    pub async fn shutdown(&self, code: CloseCode, reason: &str, wait: Duration) {
        self.endpoint.close(code.varint(), reason.as_bytes());
        if timeout(wait, self.endpoint.wait_idle()).await.is_err() {
            tracing::debug!(?wait, "some relays were not told of the shutdown");
        }
    }

    /// QUIC settings for one attempt: each has a verifier of its own, which remembers the key that was shown.
    fn quic_config(&self, target: Target<'_>) -> Result<(quinn::ClientConfig, race::SeenKey), DialError> {
        let (tls, seen) = tls::client(target.key, target.pin).map_err(|_| DialError::Tls)?;
        let tls = QuicClientConfig::try_from(tls).map_err(|_| DialError::Tls)?;
        let mut config = quinn::ClientConfig::new(Arc::new(tls));
        config
            .transport_config(limits::node_transport(self.options.timing))
            .token_store(Arc::new(quinn::NoneTokenStore));
        Ok((config, seen))
    }
}

impl From<NoRandomness> for DialError {
    fn from(NoRandomness: NoRandomness) -> Self {
        Self::Tls
    }
}
