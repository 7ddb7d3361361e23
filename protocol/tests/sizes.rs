//! Largest values fit where they must.

use penpal_protocol::cbor::{self, Blob, List, Text};
use penpal_protocol::envelope::{MAX_ENVELOPE_BYTES, capacity};
use penpal_protocol::limits::*;
use penpal_protocol::sealed::*;
use penpal_protocol::text::Label;
use penpal_protocol::wire::*;

use crate::generate::{Generator, Sample, Style};

fn full<T: Sample>() -> T {
    T::sample(&mut Generator::new(3, Style::Full))
}

fn text<const MAX: usize>() -> Text<MAX> {
    Text::new("x".repeat(MAX)).unwrap()
}

fn label() -> Label {
    Label::new(&"n".repeat(MAX_LABEL_BYTES)).unwrap()
}

fn list<T: Clone, const MAX: usize>(of: T) -> List<T, MAX> {
    List::new(vec![of; MAX]).unwrap()
}

fn largest_session() -> SessionRef {
    SessionRef { sid: full(), name: label() }
}

fn largest_body(content: Vec<u8>) -> Body {
    let order = Some(Order { seq: u64::MAX, prev_hash: full() });
    let reference = ManifestRef { version: u64::MAX, hash: full() };
    Body {
        manifest: reference,
        peer_manifest: Some(reference),
        order,
        sent_ms: u64::MAX - MAX_MESSAGE_LIFE_MS,
        expires_ms: u64::MAX,
        kind: Kind::Reply,
        hops: u8::MAX,
        wake_budget: u8::MAX,
        next_key: Some(OfferedKey { use_until_ms: u64::MAX, ..full() }),
        receipts: None,
        receipts_seen: Some(u64::MAX),
        content: Blob::new(content).unwrap(),
        ..full()
    }
}

fn largest_letter(artifacts: Option<List<ArtifactRef, MAX_ARTIFACTS>>) -> Content {
    Content::Letter(Box::new(Letter {
        from: Some(largest_session()),
        to: Some(SessionTarget { sid: Some(full()), name: label() }),
        subject: Some(text()),
        text: text(),
        reply_to: Some(full()),
        room: Some(RoomRef { epoch: u64::MAX, ..full() }),
        artifacts,
        target_device: Some(full()),
    }))
}

fn largest_artifact() -> ArtifactRef {
    ArtifactRef { bytes: u64::MAX, name: text(), media: Some(text()), relay: text(), ..full() }
}

#[test]
fn longest_letter_fits_the_largest_envelope_with_a_key() {
    let content = largest_letter(None).encode();
    assert!(content.len() <= MAX_CONTENT_BYTES, "{}", content.len());
    let bytes = largest_body(content).encode();
    assert!(bytes.len() <= MAX_BODY_BYTES && Body::decode(&bytes).is_ok(), "{}", bytes.len());
    assert!(bytes.len() <= capacity(MAX_ENVELOPE_BYTES));
}

#[test]
fn content_of_the_limit_leaves_room_for_all_other_fields() {
    let bytes = largest_body(vec![0; MAX_CONTENT_BYTES]).encode();
    assert!(bytes.len() <= MAX_BODY_BYTES, "{}", bytes.len());
}

#[test]
fn longest_text_leaves_room_for_a_dozen_of_the_longest_artifact_references() {
    let dozen = List::new(vec![largest_artifact(); 12]).unwrap();
    assert!(largest_letter(Some(dozen)).encode().len() <= MAX_CONTENT_BYTES);
    // All of them only beside a shorter text: the sender is told.
    assert!(largest_letter(Some(list(largest_artifact()))).encode().len() > MAX_CONTENT_BYTES);
}

#[test]
fn longest_receipts_fit_without_content() {
    let receipt = Receipt {
        session: Some(largest_session()),
        mechanism: Some(text()),
        reason: Some(text()),
        at_ms: u64::MAX,
        ..full()
    };
    let receipts = Some(ReceiptBatch { rseq: u64::MAX, list: list(receipt) });
    let body = Body { kind: Kind::Receipts, order: None, receipts, ..largest_body(Vec::new()) };
    assert!(body.encode().len() <= MAX_BODY_BYTES, "{}", body.encode().len());
}

#[test]
fn longest_presence_fits() {
    let entry = SessionEntry {
        name: label(),
        agent: label(),
        since_ms: u64::MAX,
        folder: Some(text()),
        summary: Some(text()),
        ..full()
    };
    let presence = Presence {
        revision: u64::MAX,
        sent_ms: u64::MAX,
        ttl_ms: MAX_PRESENCE_TTL_MS,
        sessions: list(entry),
    };
    assert!(Content::Presence(presence).encode().len() <= MAX_CONTENT_BYTES);
}

#[test]
fn largest_manifest_bundle_and_invite_fit_their_limits() {
    let device = DeviceEntry {
        previous: Some(PreviousKey { until_ms: u64::MAX, ..full() }),
        name: label(),
        added_ms: u64::MAX,
        ..full()
    };
    let manifest = Manifest {
        version: u64::MAX,
        previous: list(ManifestVersion { version: u64::MAX, hash: full() }),
        issued_ms: u64::MAX,
        expires_ms: u64::MAX,
        devices: list(device),
        revoked: list(full()),
        ..full()
    };
    let signed = Signed { body: manifest.encode(), sig: full() }.encode();
    assert!(signed.len() <= MAX_MANIFEST_BYTES, "{}", signed.len());

    let bundle = Bundle { issued_ms: u64::MAX, expires_ms: u64::MAX, ..full() };
    let signed = Signed { body: bundle.encode(), sig: full() }.encode();
    assert!(signed.len() <= MAX_BUNDLE_BYTES, "{}", signed.len());

    let manifest = Blob::new(vec![0; MAX_MANIFEST_BYTES]).unwrap();
    let bundles = list(Blob::new(vec![0; MAX_BUNDLE_BYTES]).unwrap());
    let request = InviteRequest {
        manifest: manifest.clone(),
        bundles: bundles.clone(),
        relay: text(),
        name: label(),
        ..full()
    };
    let sealed =
        SealedRequest { request: Blob::new(request.encode()).unwrap(), sig: full(), mac: full() }.encode();
    // Padding to whole KiB, encapsulation and tag come on top.
    assert!(sealed.len() + 1024 + 1120 + 16 <= MAX_INVITE_BLOB_BYTES, "{}", sealed.len());

    let accept = InviteAccept { manifest, bundles, ..full() };
    let accept = Accept { body: Blob::new(accept.encode()).unwrap(), sig: full(), mac: full() };
    let control = Content::Control(Box::new(Control { accept: Some(accept), ..Control::default() }));
    assert!(control.encode().len() <= MAX_CONTENT_BYTES);
}

#[test]
fn largest_frames_fit() {
    let deposit = Deposit {
        ephemeral: Some(true),
        envelope: Blob::new(vec![0; MAX_ENVELOPE_BYTES]).unwrap(),
        ..full()
    };
    assert!(Deposit::decode(FrameKind::Deposit.number(), &deposit.encode()).is_ok());

    let profile = Profile {
        current: Blob::new(vec![0; MAX_PROFILE_BLOB_BYTES]).unwrap(),
        previous: Some(Blob::new(vec![0; MAX_PROFILE_BLOB_BYTES]).unwrap()),
    };
    let put = Request::PutManifest(PutManifest {
        expect: u64::MAX - 1,
        revision: u64::MAX,
        profile: profile.clone(),
    });
    assert!(put.encode().len() <= MAX_FRAME_BYTES);
    let state = ContactState {
        manifest: Some(profile.clone()),
        bundles: list(DeviceBundles { slot: full(), profile }),
    };
    let state = Answer::ContactState(state);
    assert!(state.encode().len() <= MAX_ANSWER_BYTES);
    assert_eq!(Answer::decode(state.kind().number(), &state.encode()), Ok(state));

    let redeemed =
        Event::Redeemed(Redeemed { request: Blob::new(vec![0; MAX_INVITE_BLOB_BYTES]).unwrap(), ..full() });
    assert!(redeemed.encode().len() <= MAX_FRAME_BYTES);
    let hello = cbor::encode(&Hello { since: list(full()), software: text(), ..full() });
    assert!(hello.len() <= MAX_FRAME_BYTES);
}

#[test]
fn one_more_than_the_limit_is_refused() {
    let long = |length: usize| {
        // {3: text of `length` bytes}: a letter with nothing else.
        let mut bytes = vec![0xa1, 0x03];
        bytes.extend(crate::raw::write_head(3, length as u64));
        bytes.extend(vec![b'x'; length]);
        Content::decode(Kind::Note, &bytes)
    };
    assert!(long(MAX_TEXT_BYTES).is_ok());
    assert!(long(MAX_TEXT_BYTES + 1).is_err());
    let reseal = |count: u64| {
        let mut bytes = vec![0xa1, 0x00];
        bytes.extend(crate::raw::write_head(4, count));
        bytes.extend((0..count).flat_map(|_| [&[0x50][..], &[0; 16]].concat()));
        Content::decode(Kind::NeedReseal, &bytes)
    };
    assert!(reseal(MAX_NEED_RESEAL as u64).is_ok());
    assert!(reseal(MAX_NEED_RESEAL as u64 + 1).is_err());
}
