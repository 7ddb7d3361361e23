//! Clients that do not keep to the protocol, and noise.

use std::net::UdpSocket;
use std::time::Duration;

use penpal_protocol::cbor::Blob;
use penpal_protocol::ids::{AccountProof, TransportPublicKey};
use penpal_protocol::limits::MAX_PROFILE_BLOB_BYTES;
use penpal_protocol::wire::{
    Answer, DepositOutcome, DeviceAdd, FrameKind, GetContactState, InviteFetch, MAX_ANSWER_BYTES, Profile,
    PutBundle, PutProof, RefusalCode, Request,
};
use penpal_relay::Relay;
use penpal_transport::{CloseCode, DialError, Frame, Lost, Patience, ReadError, RelayPin, RequestError};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::client::{Client, LONG, config, dial, key, pair, relay, soon, token};

#[tokio::test]
async fn a_wrong_pin_is_noticed_before_anything_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(&dir).await;
    let error = dial(relay.listening(), RelayPin([0; 16]), &key(1)).await.unwrap_err();
    assert!(matches!(error, DialError::WrongKey { .. }), "{error}");
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn unknown_and_malformed_requests_are_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(&dir).await;
    let client = Client::connect(relay.address(), 1).await;
    for (kind, payload, expected) in [
        (40, &b""[..], "unknown frame kind 40"),
        (FrameKind::Done.number(), &b""[..], "a Done frame does not belong here"),
        (FrameKind::InviteFetch.number(), &b"\xff\xff"[..], "malformed InviteFetch frame"),
        (FrameKind::InviteFetch.number(), &b""[..], "malformed InviteFetch frame"),
    ] {
        let answer = client.connection.request(&Frame::new(kind, payload), 1024, LONG).await.unwrap();
        match Answer::decode(answer.kind, &answer.payload).unwrap() {
            Answer::Refused(refusal) => {
                assert_eq!(refusal.code, RefusalCode::Malformed);
                let detail = refusal.detail.unwrap().as_str().to_owned();
                assert!(detail.starts_with(expected), "{detail}");
            }
            other => panic!("{other:?}"),
        }
    }
    // The connection goes on.
    let fetch =
        Request::InviteFetch(InviteFetch { invite: penpal_protocol::ids::InviteId::from_bytes([0; 16]) });
    assert_eq!(client.ask(fetch).await, Answer::refused(RefusalCode::No));
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_frame_too_large_ends_its_stream_only() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(&dir).await;
    let client = Client::connect(relay.address(), 1).await;
    let frame = Frame::new(FrameKind::InviteFetch.number(), vec![0; 200 * 1024]);
    let error = client.connection.request(&frame, 1024, LONG).await.unwrap_err();
    assert!(matches!(error, RequestError::Refused { code: CloseCode::Violation }), "{error}");
    assert!(client.connection.lost().is_none());
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn noise_among_deposits_ends_the_connection_and_loses_nothing_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(&dir).await;
    let (mut alice, mut bob, way) = pair(relay.address(), &token(&relay).await).await;
    alice.hello().await;
    // What cannot be read, and what is too long to be looked at.
    for (number, noise) in [(1, b"noise".to_vec()), (3, vec![0; 200 * 1024])] {
        assert_eq!(bob.deposit(&way, number, vec![1; 4096]).await, DepositOutcome::Accepted);
        let last = way.deposit(number + 1, vec![1; 4096]).encode();
        let (writer, _) = bob.deposits().await;
        writer.push(FrameKind::Deposit.number(), &last).unwrap();
        writer.push(FrameKind::Deposit.number(), &noise).unwrap();
        // It may be stopped before it is through.
        writer.flush().await.ok();
        match soon(bob.connection.closed()).await {
            Lost::ClosedByPeer { code: CloseCode::Violation, reason } => {
                assert_eq!(reason, "malformed frame on the deposits stream");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(alice.delivery().await.seq, number);
        assert_eq!(alice.delivery().await.seq, number + 1);
        bob = Client::connect(relay.address(), 2).await;
    }
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn random_datagrams_disturb_nobody() {
    let seed = u64::from(std::process::id());
    eprintln!("seed {seed}");
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(&dir).await;
    let (mut alice, mut bob, way) = pair(relay.address(), &token(&relay).await).await;
    alice.hello().await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in 0..2_000_u64 {
        let mut noise = vec![0; usize::try_from(rng.next_u64() % 1_400).unwrap()];
        rng.fill_bytes(&mut noise);
        // Also what looks like the start of a QUIC connection.
        if let (true, [first, ..]) = (number % 2 == 0, noise.as_mut_slice()) {
            *first |= 0xc0;
        }
        socket.send_to(&noise, relay.listening()).unwrap();
        if number % 200 == 0 {
            assert_eq!(bob.deposit(&way, number, vec![1; 4096]).await, DepositOutcome::Accepted);
            alice.delivery().await;
        }
    }
    Client::connect(relay.address(), 3).await;
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_that_never_reads_slows_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(&dir).await;
    let (alice, mut bob, way) = pair(relay.address(), &token(&relay).await).await;
    // Alice says Hello and never reads nor acknowledges.
    alice.hello().await;
    for number in 0..400 {
        assert_eq!(bob.deposit(&way, number, vec![1; 16 * 1024]).await, DepositOutcome::Accepted, "{number}");
    }
    let asked = std::time::Instant::now();
    let carol = Client::connect(relay.address(), 3).await;
    let fetch =
        Request::InviteFetch(InviteFetch { invite: penpal_protocol::ids::InviteId::from_bytes([0; 16]) });
    carol.ask(fetch).await;
    assert!(asked.elapsed() < Duration::from_secs(5));
    drop(alice);
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn answers_that_nobody_reads_are_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let patience = Patience { silence: Duration::from_millis(200), whole: LONG };
    let relay = Relay::start(penpal_relay::RelayConfig { answer_patience: patience, ..config(&dir) }, None);
    let relay = relay.await.unwrap();
    let (alice, bob, way) = pair(relay.address(), &token(&relay).await).await;
    // An account whose profile is as long as it may be.
    let proof = AccountProof::from_bytes([1; 32]);
    assert_eq!(alice.ask(Request::PutProof(PutProof { proof_hash: proof.hash() })).await, Answer::Done);
    for number in 20..35 {
        let key = TransportPublicKey::from_bytes(*key(number).public().as_bytes());
        let add = Request::DeviceAdd(DeviceAdd { key, proof: proof.clone() });
        assert!(matches!(alice.ask(add).await, Answer::Registered(_)));
        let device = Client::connect(relay.address(), number).await;
        let sealed = Blob::new(vec![number; MAX_PROFILE_BLOB_BYTES]).unwrap();
        let profile = Profile { current: sealed.clone(), previous: Some(sealed) };
        assert_eq!(device.ask(Request::PutBundle(PutBundle { profile })).await, Answer::Done);
    }
    let get = Request::GetContactState(GetContactState { edge: way.edge, cap: way.cap });
    let mut streams = Vec::new();
    for _ in 0..32 {
        let most = u32::try_from(MAX_ANSWER_BYTES).unwrap();
        let (mut writer, reader) = soon(bob.connection.open_bi(most)).await.unwrap();
        writer.push(get.kind().number(), &get.encode()).unwrap();
        soon(writer.finish()).await.unwrap();
        streams.push(reader);
    }
    // What bob takes without reading is full long before the last one.
    let last = soon(streams.last_mut().unwrap().read()).await;
    assert!(matches!(last, Err(ReadError::Reset { code: CloseCode::Busy })), "{last:?}");
    let mut read = 0;
    for stream in &mut streams {
        read += usize::from(matches!(soon(stream.read()).await, Ok(Some(_))));
    }
    assert!((1..32).contains(&read), "{read} were on their way");
    assert!(matches!(bob.ask(get).await, Answer::ContactState(state) if state.bundles.len() == 15));
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_node_one_revision_newer_is_served_in_this_one() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(&dir).await;
    let (mut alice, mut bob, way) = pair(relay.address(), &token(&relay).await).await;
    let (min, max) = (alice.welcome.min_revision, alice.welcome.max_revision);
    assert_eq!((min, max), (penpal_protocol::Revisions::OWN.min, penpal_protocol::Revisions::OWN.max));
    // It tries a request of its own revision, is told that there is none, and goes on in ours.
    let newer = Frame::new(60, &b"\xa1\x00\x01"[..]);
    let answer = bob.connection.request(&newer, 1024, LONG).await.unwrap();
    let answer = Answer::decode(answer.kind, &answer.payload).unwrap();
    assert!(
        matches!(&answer, Answer::Refused(refusal) if refusal.code == RefusalCode::Malformed),
        "{answer:?}"
    );
    // A field that this revision does not know is skipped; one that must be understood is refused.
    let fetch = InviteFetch { invite: penpal_protocol::ids::InviteId::from_bytes([3; 16]) };
    let mut payload = Request::InviteFetch(fetch).encode();
    payload[0] += 1;
    for (key, expected) in [(&b"\x18\x63"[..], RefusalCode::No), (&b"\x18\xc8"[..], RefusalCode::Malformed)] {
        let frame = Frame::new(FrameKind::InviteFetch.number(), [&payload[..], key, b"\x01"].concat());
        let answer = bob.connection.request(&frame, 1024, LONG).await.unwrap();
        match Answer::decode(answer.kind, &answer.payload).unwrap() {
            Answer::Refused(refusal) => assert_eq!(refusal.code, expected, "{key:?}"),
            other => panic!("{other:?}"),
        }
    }
    alice.hello().await;
    assert_eq!(bob.deposit(&way, 1, vec![1; 4096]).await, DepositOutcome::Accepted);
    assert_eq!(alice.delivery().await.seq, 1);
    // One that finds no common revision hangs up, as the protocol says; nobody else notices.
    let older = Client::connect(relay.address(), 9).await;
    older.connection.close(CloseCode::Refused, "no common revision");
    assert_eq!(bob.deposit(&way, 2, vec![1; 4096]).await, DepositOutcome::Accepted);
    relay.stop().await.unwrap();
}
