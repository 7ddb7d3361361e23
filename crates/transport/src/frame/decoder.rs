//! Frames out of bytes, however these are cut.

use bytes::{Buf, Bytes};

use super::{FRAME_HEADER_BYTES, Frame};

/// Memory given to a frame on the strength of its header alone; frames up to a small envelope need one allocation.
const FIRST_RESERVE: usize = 4 * 1024 + 256;

/// A frame was announced that is larger than allowed; nothing was allocated for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("frame of {got} bytes where at most {max} are allowed")]
pub struct TooLarge {
    /// Payload length announced.
    pub got: u32,
    /// Largest allowed.
    pub max: u32,
}

/// Puts frames together; pure.
///
/// Holds at most one frame of the allowed size, and of its payload never more than twice what has arrived.
#[derive(Debug)]
pub struct FrameDecoder {
    max_payload: u32,
    partial: Partial,
}

/// The frame being put together.
#[derive(Debug)]
enum Partial {
    Header { bytes: [u8; FRAME_HEADER_BYTES], filled: usize },
    Payload { kind: u8, expected: usize, bytes: Vec<u8> },
}

impl Partial {
    const NOTHING: Self = Self::Header { bytes: [0; FRAME_HEADER_BYTES], filled: 0 };
}

impl FrameDecoder {
    /// Starts before the first frame; `max_payload` is in bytes.
    pub fn new(max_payload: u32) -> Self {
        Self { max_payload, partial: Partial::NOTHING }
    }

    /// Changes the largest payload, for frames whose header is not complete yet.
    pub fn set_max_payload(&mut self, max_payload: u32) {
        self.max_payload = max_payload;
    }

    /// Takes bytes from the front of `chunk` until a frame is complete or none are left.
    ///
    /// The payload is a copy, so that a small frame kept for long does not keep a whole receive buffer alive. After an
    /// error the stream cannot be read on.
    pub fn decode(&mut self, chunk: &mut Bytes) -> Result<Option<Frame>, TooLarge> {
        if let Partial::Header { bytes, filled } = &mut self.partial {
            let wanted = &mut bytes[*filled..];
            let count = wanted.len().min(chunk.len());
            chunk.copy_to_slice(&mut wanted[..count]);
            *filled += count;
            if *filled < FRAME_HEADER_BYTES {
                return Ok(None);
            }
            let [a, b, c, d, kind] = *bytes;
            let announced = u32::from_be_bytes([a, b, c, d]);
            if announced > self.max_payload {
                return Err(TooLarge { got: announced, max: self.max_payload });
            }
            let expected = announced as usize;
            // The announcement is good for a little memory; the rest grows as bytes really arrive.
            let bytes = Vec::with_capacity(expected.min(FIRST_RESERVE));
            self.partial = Partial::Payload { kind, expected, bytes };
        }
        match &mut self.partial {
            Partial::Header { .. } => Ok(None),
            Partial::Payload { kind, expected, bytes } => {
                let count = (*expected - bytes.len()).min(chunk.len());
                if bytes.len() + count > bytes.capacity() {
                    let doubled = bytes.len().max(count);
                    bytes.reserve_exact(doubled.min(*expected - bytes.len()));
                }
                bytes.extend_from_slice(&chunk[..count]);
                chunk.advance(count);
                if bytes.len() < *expected {
                    return Ok(None);
                }
                let frame = Frame { kind: *kind, payload: Bytes::from(std::mem::take(bytes)) };
                self.reset();
                Ok(Some(frame))
            }
        }
    }

    /// How much of an incomplete frame has come, and how long it is as far as is known, header included.
    pub fn unfinished(&self) -> Option<(usize, usize)> {
        match &self.partial {
            Partial::Header { filled: 0, .. } => None,
            Partial::Header { filled, .. } => Some((*filled, FRAME_HEADER_BYTES)),
            Partial::Payload { expected, bytes, .. } => {
                Some((FRAME_HEADER_BYTES + bytes.len(), FRAME_HEADER_BYTES + expected))
            }
        }
    }

    pub(super) fn reset(&mut self) {
        self.partial = Partial::NOTHING;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::header;

    const MAX: u32 = 20_000;

    fn encode(frames: &[Frame]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in frames {
            bytes.extend(header(frame.kind, frame.payload.len()).expect("fits"));
            bytes.extend(&frame.payload);
        }
        bytes
    }

    fn frame() -> impl Strategy<Value = Frame> {
        let size = prop_oneof![0..20_usize, 4_000..4_500_usize, 0..=MAX as usize];
        (any::<u8>(), size, any::<u8>()).prop_map(|(kind, size, fill)| Frame::new(kind, vec![fill; size]))
    }

    #[test]
    fn bytes_are_fixed() {
        assert_eq!(encode(&[Frame::new(7, &b"ab"[..])]), [0, 0, 0, 2, 7, b'a', b'b']);
    }

    proptest! {
        #[test]
        fn cuts_make_no_difference(
            frames in prop::collection::vec(frame(), 0..8),
            cuts in prop::collection::vec(1..5_000_usize, 1..50),
        ) {
            let mut rest = Bytes::from(encode(&frames));
            let mut decoder = FrameDecoder::new(MAX);
            let mut decoded = Vec::new();
            for cut in cuts.into_iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let mut chunk = rest.split_to(cut.min(rest.len()));
                while !chunk.is_empty() {
                    decoded.extend(decoder.decode(&mut chunk).expect("small enough"));
                }
            }
            prop_assert_eq!(decoded, frames);
            prop_assert_eq!(decoder.unfinished(), None);
        }

        #[test]
        fn any_bytes_are_frames_or_an_error_in_bounded_memory(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
            max in 0..100_000_u32,
        ) {
            let mut decoder = FrameDecoder::new(max);
            let mut taken = 0;
            'chunks: for chunk in chunks {
                let mut chunk = Bytes::from(chunk);
                while !chunk.is_empty() {
                    taken += chunk.len();
                    match decoder.decode(&mut chunk) {
                        Ok(Some(frame)) => prop_assert!(frame.payload.len() <= max as usize),
                        Ok(None) => {}
                        Err(TooLarge { got, .. }) => {
                            prop_assert!(got > max);
                            break 'chunks;
                        }
                    }
                    taken -= chunk.len();
                    if let Partial::Payload { bytes, expected, .. } = &decoder.partial {
                        prop_assert!(bytes.capacity() <= *expected);
                        prop_assert!(bytes.capacity() <= FIRST_RESERVE + 2 * taken);
                    }
                }
            }
        }
    }
}
