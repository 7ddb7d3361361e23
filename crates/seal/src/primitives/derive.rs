//! SHA-256, HMAC-SHA256 and HKDF-SHA256 under labels.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use zeroize::Zeroizing;

use crate::labels::{HashLabel, KeyLabel, MacLabel};

/// Bytes of a derived key, wiped when dropped.
pub(crate) type Derived<const N: usize> = Zeroizing<[u8; N]>;

/// SHA-256 over label and parts, one after another.
///
/// Callers pass parts of fixed length, or one of variable length last.
pub(crate) fn hash(label: HashLabel, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new_with_prefix(label.bytes());
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The first 16 bytes of [`hash`].
pub(crate) fn hash_short(label: HashLabel, parts: &[&[u8]]) -> [u8; 16] {
    first(&hash(label, parts))
}

/// HMAC-SHA256 over label and parts.
pub(crate) fn mac(key: &[u8; 32], label: MacLabel, parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a MAC key may have any length");
    mac.update(label.bytes());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Compares a MAC, or the beginning of one, in constant time.
pub(crate) fn mac_matches(expected: &[u8], got: &[u8]) -> Choice {
    expected.ct_eq(got)
}

/// HKDF-SHA256 (RFC 5869) with `info` = label and parts.
pub(crate) fn derive<const N: usize>(
    ikm: &[u8],
    salt: &[u8],
    label: KeyLabel,
    parts: &[&[u8]],
) -> Derived<N> {
    const { assert!(N <= 255 * 32) };
    let mut out = Zeroizing::new([0; N]);
    let hkdf = Hkdf::<Sha256>::new(Some(salt), ikm);
    hkdf.expand(&info(label, parts), out.as_mut_slice()).expect("N is at most 255 digests");
    out
}

/// Label and parts as one string, for HKDF and HPKE.
pub(crate) fn info(label: KeyLabel, parts: &[&[u8]]) -> Vec<u8> {
    let mut all = label.bytes().to_vec();
    for part in parts {
        all.extend_from_slice(part);
    }
    all
}

/// The first `N` bytes of a digest.
pub(crate) fn first<const N: usize>(digest: &[u8; 32]) -> [u8; N] {
    const { assert!(N <= 32) };
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(digest) {
        *to = *from;
    }
    out
}
