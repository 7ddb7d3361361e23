//! What only end points see in the clear, and the strict outer form.

use penpal_protocol::{
    cbor,
    envelope::Header,
    limits::{MAX_BODY_BYTES, MAX_MANIFEST_BYTES},
    sealed::{
        AccountState, Body, Bundle, Content, InviteAccept, InviteRecord, InviteRequest, Kind, LinkAnswer,
        LinkRequest, Manifest, OwnState, Rekey, SealedRequest, Signed,
    },
};

use crate::recode::one_encoding;

const KINDS: [Kind; 8] = [
    Kind::Note,
    Kind::Ask,
    Kind::Receipts,
    Kind::Presence,
    Kind::NeedReseal,
    Kind::Control,
    Kind::Sync,
    Kind::Reply,
];

/// Structure that the first byte stands for, as vectors call it; 8 is the header of an envelope, 9 the outer form alone, and
/// contents follow in the order of their kinds; 0xf0 to 0xf3 are what devices of one account say to each other, 0xf4 what their relay keeps.
pub const STRUCTURES: [&str; 8] = [
    "body",
    "manifest",
    "bundle",
    "invite-record",
    "invite-request",
    "invite-accept",
    "sealed-request",
    "signed",
];

/// First byte of the first kind of content.
pub const FIRST_CONTENT: u8 = 10;

/// The first byte says which structure, the rest is its bytes.
pub fn check(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    match which {
        0 => body(bytes),
        1 => drop(one_encoding(bytes, Manifest::decode, Manifest::encode)),
        2 => drop(one_encoding(bytes, Bundle::decode, Bundle::encode)),
        3 => drop(one_encoding(bytes, InviteRecord::decode, InviteRecord::encode)),
        4 => drop(one_encoding(bytes, InviteRequest::decode, InviteRequest::encode)),
        5 => drop(one_encoding(bytes, InviteAccept::decode, InviteAccept::encode)),
        6 => drop(one_encoding(bytes, SealedRequest::decode, SealedRequest::encode)),
        7 => {
            let max = MAX_MANIFEST_BYTES.max(MAX_BODY_BYTES);
            drop(one_encoding(bytes, |bytes| Signed::decode(bytes, max), Signed::encode));
        }
        8 => header(bytes),
        9 => drop(cbor::check(bytes)),
        0xf0 => drop(one_encoding(bytes, LinkRequest::decode, LinkRequest::encode)),
        0xf1 => drop(one_encoding(bytes, LinkAnswer::decode, LinkAnswer::encode)),
        0xf2 => drop(one_encoding(bytes, Rekey::decode, Rekey::encode)),
        0xf3 => own_state(bytes),
        0xf4 => drop(one_encoding(bytes, AccountState::decode, AccountState::encode)),
        other => content(KINDS[usize::from(other - FIRST_CONTENT) % KINDS.len()], bytes),
    }
}

fn own_state(bytes: &[u8]) {
    let Some(state) = one_encoding(bytes, OwnState::decode, OwnState::encode) else { return };
    if let Some(sent) = state.sent
        && sent.kind.is_mail()
    {
        content(sent.kind, &sent.content);
    }
}

fn body(bytes: &[u8]) {
    let Some(body) = one_encoding(bytes, Body::decode, Body::encode) else { return };
    assert_eq!(body.identity_hash(), Body::decode(bytes).expect("read before").identity_hash());
    assert_eq!(body.chain_hash(), Body::decode(bytes).expect("read before").chain_hash());
    assert!(body.order.is_none() || body.kind.is_ordered());
    assert!(body.next_key.is_none() || body.kind.may_offer_key());
    content(body.kind, &body.content);
}

fn content(kind: Kind, bytes: &[u8]) {
    let Some(content) = one_encoding(bytes, |bytes| Content::decode(kind, bytes), Content::encode) else {
        return;
    };
    if let Content::Control(control) = &content {
        if let Some(own) = &control.own {
            own_state(own);
        }
        if let Some(rekey) = &control.rekey {
            drop(one_encoding(rekey, Rekey::decode, Rekey::encode));
        }
    }
    // A copy for our own devices has content inside; nothing inside it is read with less care.
    if let Content::Sync(copy) = content
        && copy.kind != Kind::Sync
    {
        self::content(copy.kind, &copy.content);
    }
}

fn header(bytes: &[u8]) {
    if let Ok(header) = Header::decode(bytes) {
        assert!(bytes.starts_with(&header.encode()), "{header:?}");
    }
}
