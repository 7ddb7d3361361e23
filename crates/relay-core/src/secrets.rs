//! The graph key: without it the stored rows do not say who is whose contact.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use minicbor::{Decode, Encode};
use penpal_protocol::hash::labelled16;
use penpal_protocol::ids::{AccountId, DepositId, EdgeId, ShortHash};
use sha2::Sha256;
use zeroize::Zeroize;

/// Label before an account id whose tag is made.
const LINK_LABEL: &[u8] = b"penpal/v1/link\0";
/// Label before an edge and deposit id whose mark is made.
const DEPOSIT_LABEL: &[u8] = b"penpal/v1/deposit\0";

/// Stands for an account in the edges that it has linked: `HMAC(graph key, "link" | account)`, 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub(crate) struct LinkTag(#[n(0)] penpal_protocol::ids::Mac);

impl LinkTag {
    /// Length in bytes.
    pub(crate) const BYTES: usize = 32;

    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        penpal_protocol::ids::Mac::from_slice(bytes).map(Self)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; Self::BYTES] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for LinkTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkTag(…)")
    }
}

/// The relay's secret under which accounts become tags and deposits become marks.
///
/// Kept apart from the data: whoever steals the data alone joins no graph. 32 bytes, wiped when dropped.
#[derive(Clone)]
pub struct GraphKey {
    /// The key already taken in: a MAC costs only its own bytes.
    mac: Hmac<Sha256>,
    check: ShortHash,
}

impl GraphKey {
    /// Takes 32 random bytes, and wipes them.
    #[must_use]
    pub fn from_bytes(mut bytes: [u8; 32]) -> Self {
        let check = ShortHash::from_bytes(labelled16("graph-key", &[&bytes]));
        #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
        let mac = Hmac::<Sha256>::new_from_slice(&bytes).expect("HMAC takes every key");
        bytes.zeroize();
        Self { mac, check }
    }

    /// Tells two graph keys apart and reveals neither.
    pub(crate) fn check(&self) -> ShortHash {
        self.check
    }

    fn mac(&self, label: &[u8], parts: [&[u8]; 2]) -> [u8; 32] {
        let mut mac = self.mac.clone();
        mac.update(label);
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// The tag of an account.
    pub(crate) fn link_tag(&self, account: &AccountId) -> LinkTag {
        LinkTag(penpal_protocol::ids::Mac::from_bytes(self.mac(LINK_LABEL, [account.as_bytes(), &[]])))
    }

    /// What is remembered of a deposit: 16 bytes, here as a number.
    pub(crate) fn deposit_mark(&self, edge: &EdgeId, deposit: &DepositId) -> u128 {
        let mac = self.mac(DEPOSIT_LABEL, [edge.as_bytes(), deposit.as_bytes()]);
        mac.iter().take(16).fold(0, |number, byte| (number << 8) | u128::from(*byte))
    }
}

impl fmt::Debug for GraphKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GraphKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_marks_depend_on_every_input() {
        let (one, two) = (GraphKey::from_bytes([1; 32]), GraphKey::from_bytes([2; 32]));
        let account = AccountId::from_bytes([3; 16]);
        assert_ne!(one.link_tag(&account), two.link_tag(&account));
        assert_ne!(one.link_tag(&account), one.link_tag(&AccountId::from_bytes([4; 16])));
        let (edge, deposit) = (EdgeId::from_bytes([5; 16]), DepositId::from_bytes([6; 16]));
        let mark = one.deposit_mark(&edge, &deposit);
        assert_ne!(mark, two.deposit_mark(&edge, &deposit));
        assert_ne!(mark, one.deposit_mark(&EdgeId::from_bytes([6; 16]), &deposit));
        assert_ne!(mark, one.deposit_mark(&edge, &DepositId::from_bytes([5; 16])));
    }

    #[test]
    fn known_answers() {
        // HMAC-SHA256 with key 32 × 0x01 over the label and the ids, computed with Python's hmac.
        let key = GraphKey::from_bytes([1; 32]);
        let tag = key.link_tag(&AccountId::from_bytes([3; 16]));
        assert_eq!(hex::encode(tag.as_bytes()), KNOWN_TAG);
        let mark = key.deposit_mark(&EdgeId::from_bytes([5; 16]), &DepositId::from_bytes([6; 16]));
        assert_eq!(format!("{mark:032x}"), KNOWN_MARK);
    }

    const KNOWN_TAG: &str = "d7af65748012bd0ce6e6bdd18caf4ba2aacad11be6aa01539b327b075c93b94d";
    const KNOWN_MARK: &str = "44aa92ba0b2620b5bb9336148c5a3b06";
}
