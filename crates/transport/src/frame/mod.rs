//! Frames on a QUIC stream.
//!
//! Shape: `length u32 BE | kind u8 | payload`, where `length` counts the payload only. A reader is told the largest
//! payload it may meet and refuses a larger announcement before it allocates anything for it.

mod decoder;
mod patience;
mod reader;
mod writer;

use bytes::Bytes;

pub use decoder::{FrameDecoder, TooLarge};
pub(crate) use patience::Watch;
pub use patience::{Patience, Stalled};
pub use reader::{FrameReader, ReadError};
pub use writer::{FrameWriter, WriteError};

/// Bytes before the payload of a frame.
pub const FRAME_HEADER_BYTES: usize = 5;

/// One frame: what it is and its bytes, both opaque here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Number of the frame's type in the protocol.
    pub kind: u8,
    /// Everything after the header.
    pub payload: Bytes,
}

impl Frame {
    /// Puts a frame together.
    pub fn new(kind: u8, payload: impl Into<Bytes>) -> Self {
        Self { kind, payload: payload.into() }
    }
}

/// Writes the header, unless the payload is longer than a frame can say.
fn header(kind: u8, payload_bytes: usize) -> Option<[u8; FRAME_HEADER_BYTES]> {
    let [a, b, c, d] = u32::try_from(payload_bytes).ok()?.to_be_bytes();
    Some([a, b, c, d, kind])
}
