//! The table of all structures that stand alone: frames, and what is signed, sealed or stored.

use penpal_protocol::cbor;
use penpal_protocol::limits::{MAX_BODY_BYTES, MAX_MANIFEST_BYTES};
use penpal_protocol::sealed::*;
use penpal_protocol::wire::*;

use crate::generate::{Generator, Sample, Style};

/// One structure: how to make values of it and how to read them.
pub(crate) struct Structure {
    /// Rule in `docs/penpal.cddl`, and name of its vector file.
    pub(crate) rule: &'static str,
    /// Frame number, when it is a frame's payload.
    pub(crate) frame: Option<u8>,
    /// Encodes a value made from a generator.
    pub(crate) sample: fn(&mut Generator) -> Vec<u8>,
    /// Decodes and encodes again.
    pub(crate) recode: fn(&[u8]) -> Result<Vec<u8>, String>,
}

impl Structure {
    pub(crate) fn make(&self, seed: u64, style: Style) -> Vec<u8> {
        (self.sample)(&mut Generator::new(seed, style))
    }
}

macro_rules! frames {
    ($union:ident: $($variant:ident $rule:literal)*) => {
        vec![$(Structure {
            rule: $rule,
            frame: Some(FrameKind::$variant.number()),
            sample: |g| cbor::encode(&$variant::sample(g)),
            recode: |bytes| $union::decode(FrameKind::$variant.number(), bytes)
                .map(|value| value.encode())
                .map_err(|error| error.to_string()),
        },)*]
    };
}

macro_rules! sealed {
    ($($name:ident $rule:literal $decode:expr;)*) => {
        vec![$(Structure {
            rule: $rule,
            frame: None,
            sample: |g| cbor::encode(&$name::sample(g)),
            recode: |bytes| {
                let decoded: Result<$name, String> = $decode(bytes).map_err(|error| error.to_string());
                decoded.map(|value| cbor::encode(&value))
            },
        },)*]
    };
}

fn letter(bytes: &[u8]) -> Result<Letter, String> {
    let content = Content::decode(Kind::Note, bytes).map_err(|error| error.to_string())?;
    let Content::Letter(letter) = content else { return Err(format!("{content:?}")) };
    Ok(*letter)
}

fn presence(bytes: &[u8]) -> Result<Presence, String> {
    let content = Content::decode(Kind::Presence, bytes).map_err(|error| error.to_string())?;
    let Content::Presence(presence) = content else { return Err(format!("{content:?}")) };
    Ok(presence)
}

fn plain<T: for<'b> minicbor::Decode<'b, ()>>(bytes: &[u8]) -> Result<T, cbor::CborError> {
    cbor::decode(bytes, MAX_BODY_BYTES)
}

/// Every structure.
pub(crate) fn all() -> Vec<Structure> {
    let mut all = frames! { Request:
        Hello "hello" Register "register" Ack "ack" PutManifest "put-manifest" PutBundle "put-bundle"
        GetContactState "get-contact-state" EdgeCreate "edge-create" EdgeLink "edge-link" EdgeRevoke "edge-revoke"
        InviteCreate "invite-create" InviteFetch "invite-fetch" InviteRedeem "invite-redeem" InviteRevoke "invite-revoke"
        BlobCreate "blob-create" BlobPut "blob-put" BlobGet "blob-get" BlobDelete "blob-delete"
        PutProof "put-proof" DeviceAdd "device-add" DeviceRemove "device-remove" PutState "put-state"
        GetState "get-state"
    };
    all.extend(frames! { Deposit: Deposit "deposit" });
    all.extend(frames! { DepositAnswer: DepositAnswer "deposit-answer" });
    all.extend(frames! { Answer:
        HelloAnswer "hello-answer" Registered "registered" AckAnswer "ack-answer" ContactState "contact-state"
        InviteAnswer "invite-answer" BlobState "blob-state" Refusal "refusal" StatePart "state-part"
    });
    all.extend(frames! { Event:
        Welcome "welcome" Delivery "delivery" Redeemed "redeemed" EdgeState "edge-state" Ephemeral "ephemeral"
    });
    all.extend(sealed! {
        Manifest "manifest" Manifest::decode;
        Bundle "bundle" Bundle::decode;
        Body "body" Body::decode;
        Letter "letter" letter;
        ReceiptBatch "receipt-batch" plain::<ReceiptBatch>;
        Presence "presence" presence;
        NeedReseal "need-reseal" plain::<NeedReseal>;
        Control "control" plain::<Control>;
        Accept "accept" plain::<Accept>;
        RoomNews "room-news" plain::<RoomNews>;
        RoomChange "room-change" plain::<RoomChange>;
        RoomEntry "room-entry" RoomEntry::decode;
        SyncCopy "sync-copy" plain::<SyncCopy>;
        InviteRecord "invite-record" InviteRecord::decode;
        InviteRequest "invite-request" InviteRequest::decode;
        InviteAccept "invite-accept" InviteAccept::decode;
        SealedRequest "sealed-request" SealedRequest::decode;
        LinkRequest "link-request" LinkRequest::decode;
        LinkAnswer "link-answer" LinkAnswer::decode;
        Rekey "rekey" Rekey::decode;
        OwnState "own-state" OwnState::decode;
        AccountState "account-state" AccountState::decode;
        Signed "signed" |bytes| Signed::decode(bytes, MAX_MANIFEST_BYTES.max(MAX_BODY_BYTES));
    });
    all
}
