//! Frames out of a stream that is cut anywhere.

use bytes::Bytes;
use penpal_transport::FrameDecoder;

/// The first three bytes are the largest payload and how the rest is cut; the rest is the stream.
pub fn check(data: &[u8]) {
    let Some(([high, low, cut], stream)) = data.split_first_chunk::<3>() else { return };
    let max = u32::from(u16::from_be_bytes([*high, *low]));
    let whole = decoded(stream, max, stream.len().max(1));
    assert_eq!(
        decoded(stream, max, usize::from(*cut) + 1),
        whole,
        "where a stream is cut makes a difference"
    );
    // What was read is exactly what stands there.
    let (frames, end) = whole;
    let mut again = Vec::new();
    for (kind, payload) in &frames {
        assert!(payload.len() <= max as usize, "a frame longer than allowed");
        again.extend(u32::try_from(payload.len()).expect("short").to_be_bytes());
        again.push(*kind);
        again.extend(payload);
    }
    assert!(stream.starts_with(&again));
    match end {
        End::Whole => assert_eq!(again.len(), stream.len()),
        End::Inside(come) => assert_eq!(again.len() + come, stream.len()),
        End::TooLarge(got) => {
            let announced = stream.get(again.len()..again.len() + 4).expect("a header");
            assert_eq!(announced, got.to_be_bytes());
            assert!(got > max);
        }
    }
}

/// How reading ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// After a frame.
    Whole,
    /// With so many bytes of a frame.
    Inside(usize),
    /// At a frame that announced this length.
    TooLarge(u32),
}

fn decoded(stream: &[u8], max: u32, cut: usize) -> (Vec<(u8, Vec<u8>)>, End) {
    let mut decoder = FrameDecoder::new(max);
    let mut frames = Vec::new();
    for piece in stream.chunks(cut) {
        let mut piece = Bytes::copy_from_slice(piece);
        while !piece.is_empty() {
            match decoder.decode(&mut piece) {
                Ok(Some(frame)) => frames.push((frame.kind, frame.payload.to_vec())),
                Ok(None) => assert!(piece.is_empty(), "bytes are left and no frame came"),
                Err(error) => return (frames, End::TooLarge(error.got)),
            }
        }
    }
    let end = decoder.unfinished().map_or(End::Whole, |(come, expected)| {
        assert!(come < expected);
        End::Inside(come)
    });
    (frames, end)
}
