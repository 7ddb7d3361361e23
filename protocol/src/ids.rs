//! Identifiers and public keys. Each is its own type, so that one cannot be passed for another.

use std::fmt;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::text::{IdError, base32};

macro_rules! fixed_bytes {
    ($($(#[$doc:meta])* $name:ident, $len:literal;)*) => {$(
        $(#[$doc])*
        ///
        #[doc = concat!("Encoded as a byte string of ", stringify!($len), " bytes.")]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const BYTES: usize = $len;

            /// Takes the bytes as they are.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Takes the bytes of a slice, when it has the right length.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                <[u8; $len]>::try_from(bytes).ok().map(Self)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// As people see it: lower-case Crockford base32.
            #[must_use]
            pub fn to_text(&self) -> String {
                base32::encode(&self.0)
            }

            /// Reads what [`Self::to_text`] wrote; case and look-alikes are ignored.
            ///
            /// # Errors
            /// See [`IdError`].
            pub fn parse(text: &str) -> Result<Self, IdError> {
                crate::text::parse_id(text).map(Self)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text = base32::encode(&self.0);
                write!(f, "{}({})", stringify!($name), text.get(..8).unwrap_or(&text))
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
                let at = d.position();
                Self::from_slice(d.bytes()?)
                    .ok_or_else(|| decode::Error::message(concat!(stringify!($name), " has another length")).at(at))
            }
        }
    )*};
}

fixed_bytes! {
    /// Who an account is: the first half of the labelled hash of its root key.
    Fingerprint, 16;
    /// One machine of an account. Random.
    DeviceId, 16;
    /// The spool of one device at a relay. Random, given by the relay.
    SlotId, 16;
    /// One direction of a contact: the right to deposit with the account that created it. Random.
    EdgeId, 16;
    /// One message, the same in every copy. Random.
    MsgId, 16;
    /// One session's mailbox. Random, made once per name.
    SessionId, 16;
    /// What belongs together: a message and the answers to it. Random.
    ConversationId, 16;
    /// The chain of causes a message stands in. Random, made when a person starts something.
    TraceId, 16;
    /// An invite at a relay, derived from its secret.
    InviteId, 16;
    /// Makes a deposit idempotent. Random per sealing.
    DepositId, 16;
    /// An account as its relay knows it. Random; reveals no key.
    AccountId, 16;
    /// A room. Random.
    RoomId, 16;
    /// A blob of an artifact at a relay. Random.
    BlobId, 16;
    /// One version of an account's state that its relay keeps. Random.
    StateId, 16;
    /// What a relay address pins: the first half of the labelled hash of the relay's key.
    RelayPin, 16;
    /// The first half of a labelled hash that names content.
    ShortHash, 16;
    /// Id of a receive key or signed prekey. Random.
    KeyId, 8;
    /// Eight masked bytes of an envelope's header.
    KeyHint, 8;
    /// One life of a spool; another one after a restore. Random.
    SpoolEpoch, 8;
    /// One life of a node's database; another one after a rollback was seen. Random.
    Incarnation, 8;
    /// One start of a node's daemon. Random.
    RunId, 8;
    /// Ed25519 public key of an account's root.
    RootPublicKey, 32;
    /// Ed25519 public key with which a device signs messages.
    SigningPublicKey, 32;
    /// Ed25519 public key with which a device or relay shows itself in TLS.
    TransportPublicKey, 32;
    /// Whole labelled hash.
    Hash, 32;
    /// Ed25519 signature.
    Signature, 64;
    /// HMAC-SHA256 over a transcript.
    Mac, 32;
}

impl RelayPin {
    /// The pin of a relay's transport key.
    #[must_use]
    pub fn of(key: &TransportPublicKey) -> Self {
        Self(crate::hash::labelled16("relay-pin", &[key.as_bytes()]))
    }
}

impl Fingerprint {
    /// The fingerprint of an account's root key.
    #[must_use]
    pub fn of(root: &RootPublicKey) -> Self {
        Self(crate::hash::labelled16("root", &[root.as_bytes()]))
    }
}

/// Length of an X-Wing public key in bytes.
pub const XWING_PUBLIC_BYTES: usize = 1216;

/// X-Wing public key (ML-KEM-768 and X25519).
///
/// Encoded as a byte string of 1216 bytes. On the heap, because it is long.
#[derive(Clone, PartialEq, Eq)]
pub struct XWingPublicKey(Box<[u8; XWING_PUBLIC_BYTES]>);

impl XWingPublicKey {
    /// Takes the bytes of a slice, when it has the right length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let bytes: Box<[u8]> = bytes.into();
        bytes.try_into().ok().map(Self)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; XWING_PUBLIC_BYTES] {
        &self.0
    }
}

impl fmt::Debug for XWingPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = self.0.split_first_chunk::<5>().map(|(head, _)| base32::encode(head)).unwrap_or_default();
        write!(f, "XWingPublicKey({short})")
    }
}

impl<C> Encode<C> for XWingPublicKey {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.bytes(self.0.as_slice())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for XWingPublicKey {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let at = d.position();
        Self::from_slice(d.bytes()?)
            .ok_or_else(|| decode::Error::message("X-Wing key has another length").at(at))
    }
}

macro_rules! secret_bytes {
    ($($(#[$doc:meta])* $name:ident, $len:literal;)*) => {$(
        $(#[$doc])*
        ///
        #[doc = concat!("Encoded as a byte string of ", stringify!($len), " bytes. Wiped when dropped, compared in constant time, never printed.")]
        #[derive(Clone, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Takes the bytes as they are.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes, for a hash, a key derivation or the wire.
            #[must_use]
            pub const fn expose(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                subtle::ConstantTimeEq::ct_eq(self.0.as_slice(), other.0.as_slice()).into()
            }
        }

        impl Eq for $name {}

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
                let at = d.position();
                <[u8; $len]>::try_from(d.bytes()?)
                    .map(Self)
                    .map_err(|_| decode::Error::message(concat!(stringify!($name), " has another length")).at(at))
            }
        }
    )*};
}

secret_bytes! {
    /// The right to deposit on an edge. The relay keeps only its hash.
    Capability, 32;
    /// Opens an account's profile (manifest and bundles) at its relay.
    ProfileKey, 32;
    /// One side's half of the two pair keys of a contact.
    HalfSecret, 32;
    /// Shows a relay that an invite's holder may register; derived from the invite's secret.
    RegistrationProof, 32;
    /// Shows a relay that whoever adds or removes devices holds the account's root; derived from it.
    AccountProof, 32;
    /// A pair key, as a device hands it to another.
    SharedKey, 32;
    /// What an invite code carries and every key of the invite is derived from.
    InviteSecret, 20;
    /// The seed of an account's root key, as a recovery code carries it.
    RootSeed, 32;
}

impl Capability {
    /// What the relay stores in its place.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash(crate::hash::labelled("cap", &[&self.0]))
    }
}

impl RegistrationProof {
    /// What the relay stores in its place.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash(crate::hash::labelled("reg", &[&self.0]))
    }
}

impl AccountProof {
    /// What the relay stores in its place.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash(crate::hash::labelled("account-proof", &[&self.0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_print_nothing_and_public_values_a_prefix() {
        let shown = format!(
            "{:?} {:?} {:?}",
            Capability::from_bytes([7; 32]),
            InviteSecret::from_bytes([7; 20]),
            ProfileKey::from_bytes([7; 32])
        );
        assert_eq!(shown, "Capability(…) InviteSecret(…) ProfileKey(…)");
        assert_eq!(format!("{:?}", MsgId::from_bytes([0xff; 16])), "MsgId(zzzzzzzz)");
    }

    #[test]
    fn secrets_are_equal_by_value() {
        assert_eq!(Capability::from_bytes([7; 32]), Capability::from_bytes([7; 32]));
        assert_ne!(Capability::from_bytes([7; 32]), Capability::from_bytes([8; 32]));
    }

    #[test]
    fn keys_have_one_length() {
        assert_eq!(*XWingPublicKey::from_slice(&[7; XWING_PUBLIC_BYTES]).unwrap().as_bytes(), [7; 1216]);
        assert!(XWingPublicKey::from_slice(&[0; XWING_PUBLIC_BYTES - 1]).is_none());
        assert!(EdgeId::from_slice(&[0; 15]).is_none());
    }
}
