//! One authenticated connection, the same type on both sides.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::VarInt;
use tokio::time::{Instant, sleep};

use crate::close::{CloseCode, Lost};
use crate::frame::{FrameReader, FrameWriter, Patience, Stalled, Watch};
use crate::key::PeerKey;
use crate::server::PrefixSlot;

/// Crockford's base32, as everywhere in what people read.
const SYMBOLS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// How often it is looked whether a connection moves.
const LOOK: Duration = Duration::from_secs(1);

/// A connection whose other end has proved [`Self::peer_key`].
///
/// Clones are handles to the same connection. When the last handle and the last stream are dropped it closes with
/// [`CloseCode::Done`].
#[derive(Debug, Clone)]
pub struct Connection {
    inner: quinn::Connection,
    peer_key: PeerKey,
    /// What this connection holds of its address prefix's share, given back with the last handle (server only).
    _slot: Option<Arc<PrefixSlot>>,
}

/// What has gone over a connection so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionStats {
    /// Estimated round-trip time.
    pub rtt: Duration,
    /// UDP datagrams sent and received.
    pub datagrams: (u64, u64),
    /// UDP payload bytes sent and received.
    pub bytes: (u64, u64),
    /// Packets judged lost.
    pub lost_packets: u64,
    /// Largest UDP payload the path takes at present.
    pub mtu: u16,
}

impl Connection {
    pub(crate) fn new(inner: quinn::Connection, peer_key: PeerKey, slot: Option<PrefixSlot>) -> Self {
        Self { inner, peer_key, _slot: slot.map(Arc::new) }
    }

    /// The key that the other end proved in the handshake.
    pub fn peer_key(&self) -> PeerKey {
        self.peer_key
    }

    /// Where the peer is at present; it changes when a client moves between networks.
    pub fn remote_address(&self) -> SocketAddr {
        let address = self.inner.remote_address();
        SocketAddr::new(address.ip().to_canonical(), address.port())
    }

    /// Opens a one-way stream. The peer learns of it with the first frame. Waits while the peer allows no further one.
    pub async fn open_uni(&self) -> Result<FrameWriter, Lost> {
        Ok(FrameWriter::new(self.inner.open_uni().await?))
    }

    /// Waits for a one-way stream of the peer; `max_payload` bounds its frames. Cancel-safe.
    pub async fn accept_uni(&self, max_payload: u32) -> Result<FrameReader, Lost> {
        Ok(FrameReader::new(self.inner.accept_uni().await?, max_payload))
    }

    /// As [`Self::accept_uni`], with QUIC's own error, which a dial looks at more closely.
    pub(crate) async fn accept_uni_raw(
        &self,
        max_payload: u32,
    ) -> Result<FrameReader, quinn::ConnectionError> {
        Ok(FrameReader::new(self.inner.accept_uni().await?, max_payload))
    }

    /// Opens a two-way stream. The peer learns of it with the first frame. Waits while the peer allows no further one.
    pub async fn open_bi(&self, max_payload: u32) -> Result<(FrameWriter, FrameReader), Lost> {
        let (send, receive) = self.inner.open_bi().await?;
        Ok((FrameWriter::new(send), FrameReader::new(receive, max_payload)))
    }

    /// Waits for a two-way stream of the peer; `max_payload` bounds its frames. Cancel-safe.
    pub async fn accept_bi(&self, max_payload: u32) -> Result<(FrameWriter, FrameReader), Lost> {
        let (send, receive) = self.inner.accept_bi().await?;
        Ok((FrameWriter::new(send), FrameReader::new(receive, max_payload)))
    }

    /// Closes at once, telling the peer why; unacknowledged data is dropped.
    ///
    /// `reason` is for a person, UTF-8, cut by the peer to [`MAX_REASON_CHARS`](crate::close::MAX_REASON_CHARS).
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.inner.close(code.varint(), reason.as_bytes());
    }

    /// Waits until the connection is no more and says why. Cancel-safe.
    pub async fn closed(&self) -> Lost {
        self.inner.closed().await.into()
    }

    /// Why the connection is no more, or `None` while it lives.
    pub fn lost(&self) -> Option<Lost> {
        self.inner.close_reason().map(Lost::from)
    }

    /// Changes how many two-way streams the peer may have open from now on.
    ///
    /// A larger number reaches the peer only if it grows by more than an eighth; a smaller one holds as streams end.
    pub fn set_max_streams(&self, count: u32) {
        self.inner.set_max_concurrent_bi_streams(VarInt::from_u32(count));
    }

    /// Changes how many bytes of all streams this side receives without having read them.
    ///
    /// For a connection that transfers blobs; the window of a single stream stays.
    pub fn set_receive_window(&self, bytes: u32) {
        self.inner.set_receive_window(VarInt::from_u32(bytes));
    }

    /// A name of the exchange on one stream, the same at both ends and nowhere else: `m4x9q2-17`.
    ///
    /// Six characters that both derive from the connection's TLS secrets (RFC 8446 §7.5), and the stream's number. People quote it to
    /// each other; it tells nothing of who asked or what.
    #[must_use]
    pub fn exchange(&self, stream: u64) -> String {
        let mut secret = [0; 6];
        // Fails only for lengths far beyond this one.
        self.inner.export_keying_material(&mut secret, b"EXPORTER-penpal-request-id", b"").ok();
        let name: String = secret.iter().map(|byte| char::from(SYMBOLS[usize::from(byte % 32)])).collect();
        format!("{name}-{stream}")
    }

    /// Changes how many bytes this side keeps for the peer until they are acknowledged.
    pub fn set_send_window(&self, bytes: u64) {
        self.inner.set_send_window(bytes);
    }

    /// A number that tells this connection from all others of this process; for logs and tables.
    pub fn id(&self) -> usize {
        self.inner.stable_id()
    }

    /// Waits for something that needs bytes to go over this connection, as long as any do: what shares a slow link with much else may
    /// take long.
    ///
    /// # Errors
    /// [`Stalled`]; the work is dropped then.
    pub async fn while_moving<T>(
        &self,
        patience: Patience,
        work: impl Future<Output = T>,
    ) -> Result<T, Stalled> {
        let began = Instant::now();
        let bytes = || {
            let (sent, received) = self.stats().bytes;
            sent.saturating_add(received)
        };
        let mut watch = Watch::new(patience, bytes(), Duration::ZERO);
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = sleep(LOOK) => watch.look(bytes(), began.elapsed())?,
            }
        }
    }

    /// What has gone over the connection so far.
    pub fn stats(&self) -> ConnectionStats {
        let stats = self.inner.stats();
        ConnectionStats {
            rtt: stats.path.rtt,
            datagrams: (stats.udp_tx.datagrams, stats.udp_rx.datagrams),
            bytes: (stats.udp_tx.bytes, stats.udp_rx.bytes),
            lost_packets: stats.path.lost_packets,
            mtu: stats.path.current_mtu,
        }
    }
}
