//! Pair keys: one per contact and direction.

use penpal_protocol::ids::{Fingerprint, HalfSecret, Hash, InviteSecret};

use crate::{
    keys::{AccountSecret, PairKey},
    labels::KeyLabel,
    primitives::derive,
};

/// Both sides' halves of a contact's pair keys, tied to the transcript in which they were exchanged.
#[derive(Debug)]
pub struct PairHalves<'a> {
    /// Half of the inviting side (`a`).
    pub inviter: &'a HalfSecret,
    /// Half of the invited side (`b`).
    pub invited: &'a HalfSecret,
    /// Transcript up to the acceptance (T4).
    pub transcript: &'a Hash,
}

impl PairHalves<'_> {
    /// The key of envelopes from one account to the other: `HKDF(ikm = a | b, salt = T4, info = "pair" | from | to)`.
    #[must_use]
    pub fn pair_key(&self, from: &Fingerprint, to: &Fingerprint) -> PairKey {
        let mut halves = zeroize::Zeroizing::new(Vec::with_capacity(64));
        halves.extend_from_slice(self.inviter.expose());
        halves.extend_from_slice(self.invited.expose());
        let parts: [&[u8]; 2] = [from.as_bytes(), to.as_bytes()];
        PairKey::from_bytes(*derive::<32>(&halves, self.transcript.as_bytes(), KeyLabel::Pair, &parts))
    }
}

/// The key under which the acceptance of an invite travels, before there is a pair key: `HKDF(s, "boot" | T3)`.
#[must_use]
pub fn boot_key(secret: &InviteSecret, request_transcript: &Hash) -> PairKey {
    PairKey::from_bytes(*derive::<32>(secret.expose(), &[], KeyLabel::Boot, &[request_transcript.as_bytes()]))
}

/// The key among the devices of one account: `HKDF(account secret, "self")`, the same in every direction.
#[must_use]
pub fn own_devices_key(secret: &AccountSecret) -> PairKey {
    PairKey::from_bytes(*derive::<32>(secret.expose(), &[], KeyLabel::OwnDevices, &[]))
}
