//! Keys, and everything that is signed, sealed, opened and verified with them.
//!
//! It knows bytes, never sockets. Randomness and time are arguments everywhere; the only file access is [`KeyFolder`], behind
//! [`KeyStorage`]. Decisions that take time (which key to offer, when to delete it, whether a message is a duplicate) belong to
//! the machines that use this crate.
//!
//! | module | holds |
//! | --- | --- |
//! | `labels` | every label of every hash, signature, MAC and derivation |
//! | `primitives` | SHA-256, HMAC, HKDF, Ed25519, ChaCha20-Poly1305 under labels; padding |
//! | `hybrid` | X-Wing, and HPKE over it |
//! | `keys` | secret key types |
//! | `keyfile` | `identity.key` and `receive.keys` |
//! | `profile` | manifests and bundles: sign, verify, seal for the relay |
//! | `envelope` | messages: seal, and open step by step |
//! | `invite` | the three messages of an invite |
//! | `room` | entries of a room's membership log |
//! | `artifact` | contents of artifacts, a part at a time |
//! | `state` | what a relay keeps of an account, for a recovery code |
//! | `export` | a stream in one file, sealed under a passphrase |
//!
//! ```text
//! Body ─ seal ─▶ envelope ─ relay ─▶ Arrived ─ find_contact ─▶ FromContact ─ open ─▶ Opened ─ parse ─▶ Parsed ─ verify ─▶ VerifiedMessage
//!                pair key, receive key, signing key              pair keys            receive key              contact's manifest
//! ```
//!
//! ```
//! use penpal_seal::{RootKey, SafetyNumber};
//!
//! let (alice, bob) = (RootKey::from_seed(&[1; 32]), RootKey::from_seed(&[2; 32]));
//! let shown_to_alice = SafetyNumber::of(&alice.public(), &bob.public());
//! let read_out_by_bob = SafetyNumber::of(&bob.public(), &alice.public()).to_string();
//! assert!(shown_to_alice.matches(&read_out_by_bob));
//! ```
//!
//! Trusted state is built from proof values only: [`VerifiedManifest`], [`VerifiedBundle`], [`VerifiedMessage`],
//! [`VerifiedRecord`], [`VerifiedRequest`] and [`VerifiedAccept`] come from nowhere but a verification.
//!
//! What cannot be had here: memory that the ML-KEM and elliptic-curve code used on the stack is not wiped, and disks may keep
//! what a rewritten key file held before.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

// Lets unit tests share the people of the integration tests.
#[cfg(test)]
extern crate self as penpal_seal;

mod artifact;
mod envelope;
mod export;
mod hybrid;
mod invite;
mod keyfile;
mod keys;
mod labels;
mod pair;
mod primitives;
mod profile;
mod room;
mod safety_number;
mod state;

pub use artifact::{BlobCipher, PartError};
pub use envelope::{
    Arrived, FreshBytes, FromContact, OpenError, Opened, Parsed, Recipient, SealError, Sender,
    VerifiedMessage, VerifyError, reseal_hash, seal,
};
pub use export::{ExportError, ExportOpener, ExportSealer};
pub use hybrid::{InvalidKeyError, ReceiveKey, SelfCheckError, XWING_ENCAPSULATION_BYTES, self_check};
pub use invite::{
    AcceptError, InviteKeys, LinkError, Linking, NewInvite, Offer, OfferError, RecordError, RequestError,
    SealRequestError, SealedInviteRequest, SignedAccept, VerifiedAccept, VerifiedLinkAnswer,
    VerifiedLinkRequest, VerifiedRecord, VerifiedRequest, link_mailbox, offer, open_link_answer,
    open_link_request, open_record, open_request, seal_link_answer, seal_link_request, seal_request,
    sign_accept, verify_accept,
};
pub use keyfile::{
    IdentityKeys, InviteEntry, KeyFile, KeyFileError, KeyFolder, KeyStorage, MemoryKeys, ReceiveKeys,
    SEED_POOL, StoredReceiveKeys, load_identity, store_identity,
};
pub use keys::{AccountSecret, DeviceSigningKey, HedgeSecret, PairKey, ReceiveSeed, RootKey, TransportSeed};
pub use pair::{PairHalves, boot_key, own_devices_key};
pub use penpal_protocol::ids::{
    AccountProof, Capability, HalfSecret, InviteSecret, ProfileKey, RegistrationProof, RootSeed,
};
pub use primitives::SignatureError;
pub use profile::{
    BundleError, Continuity, MAX_BUNDLE_LIFE_MS, MAX_MANIFEST_LIFE_MS, MAX_PREVIOUS_KEY_MS, ManifestError,
    ManifestUpdate, ProfileError, ProfileItem, VerifiedBundle, VerifiedManifest, open_profile, seal_profile,
};
pub use room::{RoomEntryError, SignedRoomEntry};
pub use safety_number::SafetyNumber;
pub use state::{StateBlob, StateError, open_state, seal_state};

#[cfg(test)]
#[path = "../tests/seal/people.rs"]
#[expect(dead_code, reason = "shared with the integration tests, which use all of it")]
mod people;
