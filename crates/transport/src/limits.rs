//! The constants of a connection, one per purpose, and the QUIC settings made of them.
//!
//! The costs in mind: a relay holds 10 000 mostly idle devices at ≤ 50 KiB each and < 3 % of one core, and a hostile
//! peer must not be able to make it hold more than a stated amount.

use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, VarInt};

/// Pause after which the *client* sends a keep-alive.
///
/// Only the client does: it is the side behind the NAT whose mapping must be kept, and the side that must notice a
/// restarted relay, which by then has nothing to send from. The relay answers with a bare acknowledgement, so it has
/// one datagram in and one out per device and 20 s, and no timer of its own but the idle timeout.
pub const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Silence after which either side gives the connection up: three keep-alives lost in a row.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

const _: () = assert!(KEEP_ALIVE.as_secs() * 3 <= IDLE_TIMEOUT.as_secs());

/// Most request and deposit streams a client may have open at a relay.
///
/// QUIC keeps a table entry for each *permitted* stream, so this costs memory per idle device; further requests wait
/// in the client's `open_bi`.
pub const MAX_CLIENT_STREAMS: u32 = 32;

/// Most streams a relay may open towards a client: the delivery stream, its successor, and room for two more.
pub const MAX_RELAY_STREAMS: u32 = 4;

/// Bytes of one stream that a relay receives without having read them.
///
/// Three largest envelopes (80 KiB) fit, and 1 KiB deposits pipeline 250 deep.
pub const RELAY_STREAM_WINDOW: u32 = 256 * 1024;

/// Bytes of all streams of one connection that a relay receives without having read them: what a hostile client can
/// make it hold. Raised for a connection that transfers blobs ([`crate::Connection::set_receive_window`]).
pub const RELAY_CONNECTION_WINDOW: u32 = 512 * 1024;

/// Bytes that a relay keeps for a client until it has acknowledged them.
///
/// A slow reader holds this much of relay memory; beyond it writes wait.
pub const RELAY_SEND_WINDOW: u64 = 512 * 1024;

/// Bytes of one stream that a node receives without having read them: it has one relay, so it can afford a window
/// that fills 10 MB/s at 100 ms.
pub const NODE_STREAM_WINDOW: u32 = 1024 * 1024;

/// Bytes of all streams that a node receives without having read them.
pub const NODE_CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// Bytes that a node keeps for its relay until they are acknowledged.
pub const NODE_SEND_WINDOW: u64 = 4 * 1024 * 1024;

/// Bytes that a [`FrameWriter`](crate::FrameWriter) queues by default before it refuses: a few of the largest envelopes.
pub const MAX_QUEUED: usize = 512 * 1024;

/// Most addresses that one dial tries.
pub const MAX_ADDRESSES: usize = 4;

/// Head start of each address over the next one (RFC 8305 §5 recommends 250 ms).
pub const DIAL_STAGGER: Duration = Duration::from_millis(250);

/// Silence after which UDP to an address counts as unanswered.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(4);

// "Gets no answer" is said within 5 s, also when every address is tried.
const _: () =
    assert!(ANSWER_WITHIN.as_millis() + DIAL_STAGGER.as_millis() * (MAX_ADDRESSES as u128 - 1) < 5_000);

/// The timers of one connection; only tests and simulations have reason to change them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// See [`KEEP_ALIVE`]. `None` sends none. Used by the client only.
    pub keep_alive: Option<Duration>,
    /// See [`IDLE_TIMEOUT`]; the smaller of both sides' values holds.
    pub idle_timeout: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { keep_alive: Some(KEEP_ALIVE), idle_timeout: IDLE_TIMEOUT }
    }
}

/// Settings for connections that a relay accepts.
pub(crate) fn relay_transport(timing: Timing) -> Arc<TransportConfig> {
    let mut config = shared_transport(timing);
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_CLIENT_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(RELAY_STREAM_WINDOW))
        .receive_window(VarInt::from_u32(RELAY_CONNECTION_WINDOW))
        .send_window(RELAY_SEND_WINDOW);
    Arc::new(config)
}

/// Settings for the connection that a node dials.
pub(crate) fn node_transport(timing: Timing) -> Arc<TransportConfig> {
    let mut config = shared_transport(timing);
    config
        .keep_alive_interval(timing.keep_alive)
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(MAX_RELAY_STREAMS))
        .stream_receive_window(VarInt::from_u32(NODE_STREAM_WINDOW))
        .receive_window(VarInt::from_u32(NODE_CONNECTION_WINDOW))
        .send_window(NODE_SEND_WINDOW);
    Arc::new(config)
}

fn shared_transport(timing: Timing) -> TransportConfig {
    let mut config = TransportConfig::default();
    // A value too large for QUIC's integer would mean "for ever"; it is cut to the largest there is.
    let idle = IdleTimeout::try_from(timing.idle_timeout).unwrap_or_else(|_| VarInt::MAX.into());
    config
        .max_idle_timeout(Some(idle))
        // Datagrams would be a second way in with its own buffer; frames on streams do everything.
        .datagram_receive_buffer_size(None)
        .datagram_send_buffer_size(0)
        // The spin bit tells an observer the round-trip time and us nothing.
        .allow_spin(false);
    // MTU discovery (1200, then up to 1452) and segmentation offload stay on: quinn falls back by itself.
    config
}
