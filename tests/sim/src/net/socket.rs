//! A socket on the simulated network, as QUIC wants it: no segmentation, always writable.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use penpal_transport::udp::{AsyncUdpSocket, RecvMeta, Transmit, UdpPoller};

use super::Net;

/// Datagrams that arrived at a socket.
#[derive(Debug, Default)]
pub(super) struct Mailbox(Mutex<Arrived>);

#[derive(Debug, Default)]
struct Arrived {
    waiting: VecDeque<(SocketAddr, Vec<u8>)>,
    waker: Option<Waker>,
    closed: bool,
}

impl Mailbox {
    pub(super) fn put(&self, from: SocketAddr, bytes: Vec<u8>) {
        let mut arrived = self.lock();
        if arrived.closed {
            return;
        }
        arrived.waiting.push_back((from, bytes));
        if let Some(waker) = arrived.waker.take() {
            waker.wake();
        }
    }

    pub(super) fn close(&self) {
        let mut arrived = self.lock();
        arrived.closed = true;
        arrived.waiting.clear();
        arrived.waker = None;
    }

    fn lock(&self) -> MutexGuard<'_, Arrived> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The socket.
#[derive(Debug)]
pub(super) struct SimSocket {
    net: Net,
    address: SocketAddr,
    mailbox: Arc<Mailbox>,
}

impl SimSocket {
    pub(super) fn new(net: Net, address: SocketAddr, mailbox: Arc<Mailbox>) -> Self {
        Self { net, address, mailbox }
    }
}

impl AsyncUdpSocket for SimSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if !self.mailbox.lock().closed {
            self.net.send(self.address, transmit.destination, transmit.contents);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut arrived = self.mailbox.lock();
        let mut count = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta) {
            let Some((addr, bytes)) = arrived.waiting.pop_front() else { break };
            let len = bytes.len().min(buf.len());
            buf[..len].copy_from_slice(&bytes[..len]);
            *meta = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: None };
            count += 1;
        }
        if count > 0 {
            return Poll::Ready(Ok(count));
        }
        arrived.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
