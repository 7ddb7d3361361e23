//! Real QUIC over a simulated UDP socket, in virtual time.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use penpal_transport::udp::{AsyncUdpSocket, RecvMeta, TokioRuntime, Transmit, UdpPoller};
use penpal_transport::{Dialer, DialerOptions, Listener, ServerOptions};
use turmoil::net::UdpSocket;

/// Datagrams sent by all sockets of a simulation.
pub type Sent = Arc<AtomicU64>;

type Readable = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// A turmoil socket as quinn wants it: no ECN, no segmentation, always writable.
struct SimSocket {
    inner: Arc<UdpSocket>,
    readable: Mutex<Option<Readable>>,
    sent: Sent,
}

impl std::fmt::Debug for SimSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimSocket").finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for SimSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.inner.try_send_to(transmit.contents, transmit.destination).map(drop)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut readable = self.readable.lock().unwrap();
        loop {
            match self.inner.try_recv_from(&mut bufs[0]) {
                Ok((len, addr)) => {
                    meta[0] = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: None };
                    return Poll::Ready(Ok(1));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let socket = Arc::clone(&self.inner);
                    let waiting =
                        readable.get_or_insert_with(|| Box::pin(async move { socket.readable().await }));
                    let result = ready!(waiting.as_mut().poll(cx));
                    *readable = None;
                    result?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn socket(port: u16, sent: &Sent) -> Arc<dyn AsyncUdpSocket> {
    let inner = Arc::new(UdpSocket::bind(("0.0.0.0", port)).await.unwrap());
    Arc::new(SimSocket { inner, readable: Mutex::new(None), sent: Arc::clone(sent) })
}

/// Port of every simulated relay.
pub const PORT: u16 = 4433;

pub async fn listener(sent: &Sent) -> Listener {
    let options = ServerOptions { rng_seed_for_tests: Some([5; 32]), ..super::server_options() };
    Listener::with_socket(options, socket(PORT, sent).await, Arc::new(TokioRuntime)).unwrap()
}

pub async fn dialer(sent: &Sent) -> Dialer {
    let options = DialerOptions { rng_seed_for_tests: Some([6; 32]), ..DialerOptions::default() };
    Dialer::with_socket(options, socket(0, sent).await, Arc::new(TokioRuntime)).unwrap()
}
