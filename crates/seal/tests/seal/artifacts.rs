//! Contents of artifacts: any part alone, and nothing that was touched.

use penpal_protocol::blob::{CHUNK_BYTES, PART_BYTES, PART_CONTENT_BYTES};
use penpal_protocol::ids::{BlobId, Capability};
use penpal_seal::{BlobCipher, PartError};
use proptest::prelude::*;

fn cipher(key: u8, blob: u8, bytes: usize) -> BlobCipher {
    let bytes = u64::try_from(bytes).unwrap();
    BlobCipher::new(&Capability::from_bytes([key; 32]), &BlobId::from_bytes([blob; 16]), bytes).unwrap()
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
}

fn sealed(cipher: &BlobCipher, content: &[u8], part: u32) -> Vec<u8> {
    let (begin, length) = cipher.content_of(part).unwrap();
    let begin = usize::try_from(begin).unwrap().min(content.len());
    cipher.seal_part(part, &content[begin..begin + length]).unwrap()
}

#[test]
fn every_part_opens_by_itself() {
    for bytes in
        [0, 1, 4096, CHUNK_BYTES, CHUNK_BYTES + 1, PART_CONTENT_BYTES, PART_CONTENT_BYTES + 1, 3_500_000]
    {
        let (cipher, content) = (cipher(1, 2, bytes), content(bytes));
        let parts = cipher.shape().parts();
        let mut opened = Vec::new();
        let mut blob = Vec::new();
        for part in 0..parts {
            let sealed = sealed(&cipher, &content, part);
            assert_eq!(sealed.len(), cipher.shape().part(part).unwrap().1);
            blob.extend_from_slice(&sealed);
            opened.extend(cipher.open_part(part, &sealed).unwrap());
        }
        assert!(opened == content, "{bytes}");
        assert_eq!(u64::try_from(blob.len()).unwrap(), cipher.shape().bytes());
    }
}

/// The construction, written down once more with the primitive alone.
#[test]
fn a_chunk_is_what_the_document_says() {
    use chacha20poly1305::aead::{Aead as _, KeyInit as _};
    let mut key = [0; 32];
    let hkdf = hkdf::Hkdf::<sha2::Sha256>::new(Some(&[2; 16]), &[1; 32]);
    hkdf.expand(b"penpal/v1/artifact\0", &mut key).unwrap();
    let aead = chacha20poly1305::ChaCha20Poly1305::new(&key.into());
    let content = content(CHUNK_BYTES + 3);
    let mut nonce = [0; 12];
    let first = aead.encrypt(&nonce.into(), &content[..CHUNK_BYTES]).unwrap();
    nonce[10..].copy_from_slice(&[1, 1]);
    let mut rest = content[CHUNK_BYTES..].to_vec();
    rest.resize(67_584 - CHUNK_BYTES, 0);
    let second = aead.encrypt(&nonce.into(), rest.as_slice()).unwrap();
    assert!(sealed(&cipher(1, 2, content.len()), &content, 0) == [first, second].concat());
}

#[test]
fn parts_of_other_places_blobs_and_keys_do_not_open() {
    let bytes = 3 * PART_CONTENT_BYTES;
    let (ours, content) = (cipher(1, 2, bytes), content(bytes));
    let first = sealed(&ours, &content, 0);
    assert_eq!(ours.open_part(1, &first), Err(PartError::Forged), "swapped");
    assert_eq!(ours.open_part(2, &first), Err(PartError::Forged), "in place of the last");
    assert_eq!(cipher(9, 2, bytes).open_part(0, &first), Err(PartError::Forged));
    assert_eq!(cipher(1, 9, bytes).open_part(0, &first), Err(PartError::Forged));
    // Cut at the end of a part: what was in the middle is not the end.
    assert_eq!(cipher(1, 2, PART_CONTENT_BYTES).open_part(0, &first), Err(PartError::Forged));
    let cut = first[..PART_BYTES - 1].to_vec();
    assert_eq!(ours.open_part(0, &cut), Err(PartError::Length { got: PART_BYTES - 1, expected: PART_BYTES }));
    assert_eq!(ours.open_part(3, &first), Err(PartError::NoSuchPart { part: 3, parts: 3 }));
    let mut chunks = sealed(&ours, &content, 1);
    chunks.rotate_left(CHUNK_BYTES + 16);
    assert_eq!(ours.open_part(1, &chunks), Err(PartError::Forged), "chunks of one part in another order");
}

#[test]
fn padding_is_zero_or_refused() {
    // A content that is longer by what stands in the padding of ours: same shape, same key.
    let long = content(5000);
    let sealed = sealed(&cipher(1, 2, 5000), &long, 0);
    assert_eq!(cipher(1, 2, 4998).open_part(0, &sealed), Err(PartError::Padding));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_flipped_bit_is_an_error(bytes in 0..200_000_usize, at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let (cipher, content) = (cipher(1, 2, bytes), content(bytes));
        let mut sealed = sealed(&cipher, &content, 0);
        let at = at.index(sealed.len());
        sealed[at] ^= 1 << bit;
        prop_assert_eq!(cipher.open_part(0, &sealed), Err(PartError::Forged));
    }
}
