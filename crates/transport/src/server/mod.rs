//! The relay's side: a socket that accepts whoever proves a key, within stated bounds.

mod admission;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use quinn::Endpoint;
use quinn::crypto::rustls::QuicServerConfig;
use tokio::task::JoinSet;
use tokio::time::timeout;
use zeroize::Zeroize;

use crate::close::{CloseCode, Lost};
use crate::connection::Connection;
use crate::endpoint::{self, NoRandomness};
use crate::frame::FrameWriter;
use crate::key::{PeerKey, TransportKey};
use crate::limits::{self, Timing};
use crate::tls;
use crate::udp::{self, AsyncUdpSocket, Runtime, TokioRuntime};
pub use admission::Admission;
pub(crate) use admission::PrefixSlot;
use admission::{Gate, Verdict};

/// Bytes kept of a client's further datagrams until its first has been looked at: a ClientHello has two.
const INCOMING_BUFFER_BYTES: u64 = 8 * 1024;

/// The same for all such clients together.
const INCOMING_BUFFERS_BYTES: u64 = 4 * 1024 * 1024;

/// First datagrams that may wait to be looked at; beyond it QUIC refuses by itself.
const MAX_INCOMING: usize = 1024;

/// Keys that a relay keeps over restarts beside its transport key: 64 random bytes each, zeroized on drop.
///
/// With the same reset key a restarted relay tells the clients of its earlier run at once that their connections are
/// gone; with the same token key it honours Retry tokens it gave out before.
#[derive(Clone)]
pub struct ServerSecrets {
    reset_key: [u8; 64],
    token_key: [u8; 64],
}

impl ServerSecrets {
    /// Takes both keys.
    pub fn new(reset_key: [u8; 64], token_key: [u8; 64]) -> Self {
        Self { reset_key, token_key }
    }
}

impl Drop for ServerSecrets {
    fn drop(&mut self) {
        self.reset_key.zeroize();
        self.token_key.zeroize();
    }
}

impl fmt::Debug for ServerSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSecrets").finish_non_exhaustive()
    }
}

/// How a relay listens.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Local address; `[::]:port` serves IPv4 too. Not used with a socket of one's own.
    pub listen: SocketAddr,
    /// The relay's identity.
    pub key: TransportKey,
    /// Persisted keys of the QUIC layer.
    pub secrets: ServerSecrets,
    /// Who is let in, and how many.
    pub admission: Admission,
    /// Timers of each connection.
    pub timing: Timing,
    /// Makes what QUIC draws repeatable. For simulations: never set it on a real relay.
    pub rng_seed_for_tests: Option<[u8; 32]>,
}

impl ServerOptions {
    /// Options with every default.
    pub fn new(listen: SocketAddr, key: TransportKey, secrets: ServerSecrets) -> Self {
        Self {
            listen,
            key,
            secrets,
            admission: Admission::default(),
            timing: Timing::default(),
            rng_seed_for_tests: None,
        }
    }
}

/// Why a listener cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The socket cannot be opened or bound.
    #[error("cannot listen on UDP {listen}")]
    Socket {
        /// The address asked for.
        listen: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The TLS library refuses our own settings, or the system gives no random bytes: not the caller's fault.
    #[error("cannot set up TLS")]
    Tls,
}

impl From<NoRandomness> for BindError {
    fn from(NoRandomness: NoRandomness) -> Self {
        Self::Tls
    }
}

impl From<rustls::Error> for BindError {
    fn from(_: rustls::Error) -> Self {
        Self::Tls
    }
}

/// A client that has proved its key.
#[derive(Debug)]
pub struct Accepted {
    /// The connection; who it is: [`Connection::peer_key`].
    pub connection: Connection,
    /// The server's own stream. The first frame must be written at once: the client waits for it before it believes
    /// that it is connected.
    pub outgoing: FrameWriter,
}

/// Counters since the listener was opened, and how many connections there are now.
///
/// Every attempt ends in exactly one of `retried`, `refused`, `failed`, `accepted`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListenerStats {
    /// Asked to prove their address first.
    pub retried: u64,
    /// Turned away for a limit.
    pub refused: u64,
    /// Handshakes that broke or took too long.
    pub failed: u64,
    /// Connections handed to the caller.
    pub accepted: u64,
    /// Handshakes under way now.
    pub handshakes: usize,
    /// Connections known to QUIC now, those in handshake and those just closed included.
    pub open: usize,
}

/// A bound relay socket.
///
/// [`Self::accept`] drives the handshakes: call it in a loop. Dropping the listener closes no accepted connection.
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
    gate: Gate,
    handshake_timeout: Duration,
    handshakes: JoinSet<Option<Accepted>>,
    stats: ListenerStats,
}

impl Listener {
    /// Binds a UDP socket. Needs a tokio runtime.
    pub fn bind(options: ServerOptions) -> Result<Self, BindError> {
        let failed = |source| BindError::Socket { listen: options.listen, source };
        let socket = udp::relay_socket(options.listen).map_err(failed)?;
        let runtime = Arc::new(TokioRuntime);
        let socket = runtime.wrap_udp_socket(socket).map_err(failed)?;
        Self::with_socket(options, socket, runtime)
    }

    /// Listens on a socket of the caller's, real or simulated.
    pub fn with_socket(
        options: ServerOptions,
        socket: Arc<dyn AsyncUdpSocket>,
        runtime: Arc<dyn Runtime>,
    ) -> Result<Self, BindError> {
        let tls = QuicServerConfig::try_from(tls::server(&options.key)?).map_err(|_| BindError::Tls)?;
        let mut config =
            quinn::ServerConfig::new(Arc::new(tls), endpoint::token_key(&options.secrets.token_key));
        config
            .transport_config(limits::relay_transport(options.timing))
            .max_incoming(MAX_INCOMING)
            .incoming_buffer_size(INCOMING_BUFFER_BYTES)
            .incoming_buffer_size_total(INCOMING_BUFFERS_BYTES);
        let settings = endpoint::config(&options.secrets.reset_key, options.rng_seed_for_tests)?;
        let endpoint = Endpoint::new_with_abstract_socket(settings, Some(config), socket, runtime)
            .map_err(|source| BindError::Socket { listen: options.listen, source })?;
        let handshake_timeout = options.admission.handshake_timeout;
        let gate = Gate::new(options.admission);
        Ok(Self {
            endpoint,
            gate,
            handshake_timeout,
            handshakes: JoinSet::new(),
            stats: ListenerStats::default(),
        })
    }

    /// The address in use, with the port that the system chose.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Waits for the next client that has proved its key; `None` after [`Self::shutdown`]. Cancel-safe.
    ///
    /// Any key is accepted: what it may do is the caller's decision.
    pub async fn accept(&mut self) -> Option<Accepted> {
        loop {
            // Finished handshakes first: there are never more than were admitted.
            tokio::select! {
                biased;
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some(accepted)) = done {
                        self.stats.accepted += 1;
                        return Some(accepted);
                    }
                    self.stats.failed += 1;
                }
                incoming = self.endpoint.accept() => self.admit(incoming?),
            }
        }
    }

    /// Counters and gauges.
    pub fn stats(&self) -> ListenerStats {
        ListenerStats {
            handshakes: self.handshakes.len(),
            open: self.endpoint.open_connections(),
            ..self.stats
        }
    }

    /// Closes every connection with a code and a reason, takes no new ones, and waits until the peers have been told,
    /// `wait` long at most.
    pub async fn shutdown(&mut self, code: CloseCode, reason: &str, wait: Duration) {
        self.handshakes.abort_all();
        self.endpoint.close(code.varint(), reason.as_bytes());
        if timeout(wait, self.endpoint.wait_idle()).await.is_err() {
            tracing::debug!(?wait, "some clients were not told of the shutdown");
        }
    }

    fn admit(&mut self, incoming: quinn::Incoming) {
        let open = self.endpoint.open_connections();
        let validated = incoming.remote_address_validated() || !incoming.may_retry();
        match self.gate.judge(incoming.remote_address().ip(), validated, open) {
            Verdict::Refuse => {
                self.stats.refused += 1;
                incoming.refuse();
            }
            Verdict::Retry => {
                self.stats.retried += 1;
                // Fails only for what has been validated, which the gate does not ask to retry.
                incoming.retry().ok();
            }
            Verdict::Accept(slot) => match incoming.accept() {
                Ok(connecting) => {
                    let limit = self.handshake_timeout;
                    self.handshakes.spawn(async move {
                        match timeout(limit, shake_hands(connecting, slot)).await {
                            Ok(Ok(accepted)) => Some(accepted),
                            Ok(Err(lost)) => {
                                tracing::debug!(%lost, "handshake failed");
                                None
                            }
                            Err(_) => {
                                tracing::debug!(?limit, "handshake took too long");
                                None
                            }
                        }
                    });
                }
                Err(error) => {
                    self.stats.failed += 1;
                    tracing::debug!(%error, "attempt broke before its handshake");
                }
            },
        }
    }
}

async fn shake_hands(connecting: quinn::Connecting, slot: PrefixSlot) -> Result<Accepted, Lost> {
    let connection = connecting.await?;
    slot.validated();
    let peer_key = proved_key(&connection).ok_or_else(|| {
        connection.close(CloseCode::Internal.varint(), b"");
        Lost::Violation { detail: "no key in the handshake".to_owned() }
    })?;
    let connection = Connection::new(connection, peer_key, Some(slot));
    let outgoing = connection.open_uni().await?;
    Ok(Accepted { connection, outgoing })
}

/// The key that the TLS verifier has already checked.
pub(crate) fn proved_key(connection: &quinn::Connection) -> Option<PeerKey> {
    let identity = connection.peer_identity()?;
    let certificates = identity.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().ok()?;
    tls::peer_key_of(certificates.first()?).ok()
}
