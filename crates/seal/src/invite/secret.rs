//! What both sides derive from the secret in an invite's code.

use penpal_protocol::ids::{Hash, InviteId, InviteSecret, Mac, RegistrationProof};
use subtle::ConstantTimeEq as _;

use crate::{
    labels::{HashLabel, KeyLabel, MacLabel},
    primitives::{Derived, derive, hash, mac},
};

/// Id, keys and registration proof of an invite, by HKDF from its secret.
#[derive(Clone)]
pub struct InviteKeys {
    id: InviteId,
    registration: RegistrationProof,
    record: Derived<32>,
    mac: Derived<32>,
}

impl InviteKeys {
    /// Derives them all.
    #[must_use]
    pub fn derive(secret: &InviteSecret) -> Self {
        let key = |label| derive::<32>(secret.expose(), &[], label, &[]);
        Self {
            id: InviteId::from_bytes(*derive(secret.expose(), &[], KeyLabel::InviteId, &[])),
            registration: RegistrationProof::from_bytes(*key(KeyLabel::InviteRegistration)),
            record: key(KeyLabel::InviteKey),
            mac: key(KeyLabel::InviteMac),
        }
    }

    /// Names the invite at the relay.
    #[must_use]
    pub fn id(&self) -> InviteId {
        self.id
    }

    /// Lets its holder register at the inviter's relay; the relay keeps only its hash.
    #[must_use]
    pub fn registration(&self) -> &RegistrationProof {
        &self.registration
    }

    /// Key of the record; seals once.
    pub(super) fn record_key(&self) -> Derived<32> {
        self.record.clone()
    }

    pub(super) fn authenticate(&self, label: MacLabel, transcript: &Hash) -> Mac {
        Mac::from_bytes(mac(&self.mac, label, &[transcript.as_bytes()]))
    }

    /// Whether a MAC over a transcript is right, in constant time.
    pub(super) fn authentic(&self, label: MacLabel, transcript: &Hash, got: &Mac) -> bool {
        self.authenticate(label, transcript).as_bytes().ct_eq(got.as_bytes()).into()
    }
}

impl std::fmt::Debug for InviteKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InviteKeys").field("id", &self.id).finish_non_exhaustive()
    }
}

/// `T3`: everything both sides said up to the request.
pub(super) fn request_transcript(id: &InviteId, record: &Hash, request: &[u8]) -> Hash {
    let request = hash(HashLabel::Request, &[request]);
    Hash::from_bytes(hash(HashLabel::InviteRequest, &[id.as_bytes(), record.as_bytes(), &request]))
}

/// `T4`: everything both sides said up to the acceptance.
pub(super) fn accept_transcript(request_transcript: &Hash, accept: &[u8]) -> Hash {
    let accept = hash(HashLabel::Accept, &[accept]);
    Hash::from_bytes(hash(HashLabel::InviteAccept, &[request_transcript.as_bytes(), &accept]))
}
