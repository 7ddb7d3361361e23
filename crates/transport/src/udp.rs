//! The UDP socket under a connection, so that a simulation can put its own there.
//!
//! [`Listener::with_socket`](crate::Listener::with_socket) and [`Dialer::with_socket`](crate::Dialer::with_socket) take
//! any [`AsyncUdpSocket`] with the [`Runtime`] that drives it; [`TokioRuntime`] follows tokio's clock, paused or not.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

pub use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
pub use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use socket2::{Domain, Protocol, Socket, Type};

/// Kernel buffer asked for a relay's socket, each way: 10 000 devices share it, and a burst lost here is a
/// retransmission everywhere. The kernel may grant less.
const RELAY_SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// Kernel buffer asked for a node's socket, each way.
const NODE_SOCKET_BUFFER: usize = 1024 * 1024;

/// Opens a relay's socket; a wildcard IPv6 address serves IPv4 as well.
pub(crate) fn relay_socket(listen: SocketAddr) -> io::Result<UdpSocket> {
    open(listen, RELAY_SOCKET_BUFFER)
}

/// Opens a node's socket on a free port: for both families, or for IPv4 alone where the machine has no IPv6.
pub(crate) fn node_socket() -> io::Result<UdpSocket> {
    open(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), NODE_SOCKET_BUFFER)
        .or_else(|_| open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), NODE_SOCKET_BUFFER))
}

fn open(address: SocketAddr, buffer: usize) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    // Both are wishes: a smaller buffer works, only worse.
    if let Err(error) = socket.set_recv_buffer_size(buffer).and_then(|()| socket.set_send_buffer_size(buffer))
    {
        tracing::debug!(%error, buffer, "socket buffer not granted");
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Asks the kernel which of our addresses would be used towards `remote`; nothing is sent.
///
/// Fails with "network unreachable" when there is no route, which a QUIC dial would only find out by waiting.
pub fn source_address(remote: SocketAddr) -> io::Result<std::net::IpAddr> {
    let any: SocketAddr = match remote {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(remote)?;
    Ok(socket.local_addr()?.ip())
}
