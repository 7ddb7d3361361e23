//! Why a dial failed, so that a person can be told what to do.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use quinn::{ConnectionError, TransportErrorCode};

use crate::close::{CloseCode, Lost};
use crate::key::RelayPin;

/// TLS alerts that mean "we have nothing in common", from RFC 8446 §6 and RFC 7301 §3.2.
const INCOMPATIBLE_ALERTS: [u8; 6] = [40, 47, 70, 109, 110, 120];

/// Why no relay could be connected, the most telling first.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Somebody answers there who does not have the relay's key: a changed relay, a wrong address, or an attacker.
    #[error("{address} has key {got} where {expected} is pinned")]
    WrongKey {
        /// Where.
        address: SocketAddr,
        /// The pin asked for.
        expected: RelayPin,
        /// The pin of the key that was shown.
        got: RelayPin,
    },
    /// The relay closed the connection with a code.
    #[error("{address} closed the connection: {code:?} {reason}")]
    Closed {
        /// Where.
        address: SocketAddr,
        /// The relay's code.
        code: CloseCode,
        /// The relay's words, printable.
        reason: String,
    },
    /// The relay takes no connections now: a limit of its own is reached.
    #[error("{address} takes no further connections now")]
    Refused {
        /// Where.
        address: SocketAddr,
    },
    /// What answers there does not speak this protocol, or no version we know.
    #[error("{address} does not speak penpal/1: {detail}")]
    Incompatible {
        /// Where.
        address: SocketAddr,
        /// What TLS or QUIC says of it.
        detail: String,
    },
    /// It answered, and then the handshake broke.
    #[error("handshake with {address} broke")]
    Broken {
        /// Where.
        address: SocketAddr,
        /// How.
        #[source]
        source: Lost,
    },
    /// It answered, but was not ready in time.
    #[error("{address} answers but was not ready within {waited:?}")]
    Stalled {
        /// Where.
        address: SocketAddr,
        /// The time given.
        waited: Duration,
    },
    /// Nothing at all came back: a firewall, a wrong port, or nothing there.
    #[error("UDP to {address} gets no answer within {waited:?}")]
    NoAnswer {
        /// Where.
        address: SocketAddr,
        /// The time given.
        waited: Duration,
    },
    /// This machine has no way to the address: no network, or none of that family.
    #[error("no route to {address}")]
    NoRoute {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// No UDP socket can be opened here.
    #[error("cannot open a UDP socket")]
    Socket {
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The TLS library refuses our own settings, or the system gives no random bytes.
    #[error("cannot set up TLS")]
    Tls,
    /// The target has no addresses.
    #[error("no address to dial")]
    NoAddress,
    /// QUIC cannot dial this address from this socket (port 0, or IPv6 from an IPv4 socket), or the dialer is shut down.
    #[error("{address} cannot be dialled from here")]
    NotDialable {
        /// Where.
        address: SocketAddr,
    },
}

impl DialError {
    /// Sorts what ended an attempt.
    pub(super) fn from_connection(address: SocketAddr, error: ConnectionError) -> Self {
        let code = match &error {
            ConnectionError::ConnectionClosed(close) => Some(close.error_code),
            ConnectionError::TransportError(error) => Some(error.code),
            ConnectionError::VersionMismatch
            | ConnectionError::ApplicationClosed(_)
            | ConnectionError::Reset
            | ConnectionError::TimedOut
            | ConnectionError::LocallyClosed
            | ConnectionError::CidsExhausted => None,
        };
        if code == Some(TransportErrorCode::CONNECTION_REFUSED) {
            return Self::Refused { address };
        }
        let alert = INCOMPATIBLE_ALERTS.into_iter().any(|a| code == Some(TransportErrorCode::crypto(a)));
        let mismatch = matches!(error, ConnectionError::VersionMismatch);
        match Lost::from(error) {
            Lost::ClosedByPeer { code, reason } => Self::Closed { address, code, reason },
            Lost::Violation { detail } if alert || mismatch => Self::Incompatible { address, detail },
            source @ (Lost::Violation { .. }
            | Lost::Restarted
            | Lost::TimedOut
            | Lost::ClosedHere
            | Lost::Environment) => Self::Broken { address, source },
        }
    }

    /// How much an error tells: of several attempts' errors the lowest is returned.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::WrongKey { .. } => 0,
            Self::Closed { .. } => 1,
            Self::Refused { .. } => 2,
            Self::Incompatible { .. } => 3,
            Self::Broken { .. } => 4,
            Self::Stalled { .. } => 5,
            Self::NoAnswer { .. } => 6,
            Self::NotDialable { .. } => 7,
            Self::NoRoute { .. } => 8,
            Self::Socket { .. } => 9,
            Self::Tls => 10,
            Self::NoAddress => 11,
        }
    }
}
