//! Parts of blobs and lists of them, as a relay that means harm gives them.

use penpal_protocol::blob::{BlobShape, PART_BYTES, PartSet};
use penpal_protocol::ids::{BlobId, Capability};
use penpal_seal::BlobCipher;

/// Longest content that is sealed here, in bytes: two chunks and a bit.
const MAX_CONTENT_BYTES: usize = 140_000;

/// The first byte chooses what is read; four bytes are a length; the rest is the list, or how a genuine part is spoiled.
pub fn check(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    let Some((number, rest)) = rest.split_first_chunk::<4>() else { return };
    let number = u32::from_be_bytes(*number);
    match mode % 3 {
        0 => list(number, rest),
        1 => shape(number, rest),
        _ => part(number, rest),
    }
}

fn list(parts: u32, bytes: &[u8]) {
    let parts = parts % 70_000;
    let Some(set) = PartSet::from_bytes(bytes, parts) else { return };
    let named = (0..parts).filter(|part| set.contains(*part)).count();
    assert_eq!(u32::try_from(named), Ok(set.len()), "a part beyond the last is named");
    let again = set.to_bytes();
    assert!(bytes.starts_with(&again) && bytes[again.len()..].iter().all(|byte| *byte == 0));
    assert_eq!(PartSet::from_bytes(&again, parts).map(|set| set.len()), Some(set.len()));
}

fn shape(low: u32, rest: &[u8]) {
    let high = rest.first().copied().unwrap_or_default();
    let bytes = u64::from(high) << 32 | u64::from(low);
    let Some(shape) = BlobShape::of_sealed(bytes) else { return };
    assert_eq!(shape.bytes(), bytes);
    let (begin, length) = shape.part(shape.parts() - 1).expect("the last part");
    assert_eq!(begin + length as u64, bytes);
    assert!(length <= PART_BYTES && shape.part(shape.parts()).is_none());
}

/// Nothing but the genuine part opens.
fn part(bytes: u32, spoil: &[u8]) {
    let length = usize::try_from(bytes).unwrap_or_default() % MAX_CONTENT_BYTES;
    let cipher =
        BlobCipher::new(&Capability::from_bytes([1; 32]), &BlobId::from_bytes([2; 16]), length as u64);
    let cipher = cipher.expect("a short content");
    let content = vec![7; length];
    let genuine = cipher.seal_part(0, &content).expect("its first part");
    let mut sealed = genuine.clone();
    for edit in spoil.chunks_exact(4).take(16) {
        let &[a, b, c, how] = edit else { continue };
        let at = usize::from(u16::from_be_bytes([a, b])) % sealed.len().max(1);
        match how % 4 {
            0 => sealed.truncate(at),
            1 => sealed.insert(at, c),
            2 if !sealed.is_empty() => sealed.swap(at, 0),
            _ => {
                if let Some(byte) = sealed.get_mut(at) {
                    *byte ^= c;
                }
            }
        }
    }
    match cipher.open_part(0, &sealed) {
        Ok(opened) => assert!(sealed == genuine && opened == content, "a part that nobody sealed opens"),
        Err(_) => assert!(sealed != genuine, "a genuine part does not open"),
    }
    assert!(cipher.open_part(1, &sealed).is_err());
}
