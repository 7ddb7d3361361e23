//! Labelled SHA-256, the only hash of this protocol.

use sha2::{Digest, Sha256};

/// Every `use` under which this crate hashes; `docs/protocol.md` lists them beside those of sealing.
pub const USES: [&str; 9] =
    ["root", "relay-pin", "cap", "reg", "manifest", "identity", "content", "chain", "invite-code"];

/// Hashes `parts`, one after another, under the label `penpal/v1/<use_>` and a zero byte.
///
/// The parts are concatenated without separators; callers pass fixed-length parts, or one variable part last.
/// Source: `docs/protocol.md`, notation.
#[must_use]
pub fn labelled(use_: &str, parts: &[&[u8]]) -> [u8; 32] {
    debug_assert!(!use_.is_empty() && !use_.contains('\0'), "a label is one word");
    let mut hasher = Sha256::new();
    hasher.update(b"penpal/v1/");
    hasher.update(use_.as_bytes());
    hasher.update([0]);
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The first 16 bytes of [`labelled`].
#[must_use]
pub fn labelled16(use_: &str, parts: &[&[u8]]) -> [u8; 16] {
    let full = labelled(use_, parts);
    let mut short = [0; 16];
    for (to, from) in short.iter_mut().zip(full) {
        *to = from;
    }
    short
}
