//! The ordinary course: register, invite, deposit, deliver, acknowledge.

use penpal_protocol::cbor::{Blob, Text};
use penpal_protocol::ids::{InviteId, RegistrationProof};
use penpal_protocol::text::Label;
use penpal_protocol::wire::{
    Answer, DepositOutcome, EdgeState, Event, FrameKind, InviteCreate, InviteFetch, InviteRedeem,
    InviteState, Redeemed, RefusalCode, Register, Request,
};
use penpal_transport::{CloseCode, Lost};

use crate::client::{Client, pair, relay, soon, token};

#[tokio::test]
async fn an_invite_leads_to_a_message() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(&dir).await;
    let mut alice = Client::connect(relay.address(), 1).await;
    assert!(!alice.welcome.registered);
    let slot = alice.register("alice", &token(&relay).await).await.slot;
    let hello = alice.hello().await;
    let invite = InviteId::from_bytes([7; 16]);
    let proof = RegistrationProof::from_bytes([8; 32]);
    let record = Blob::new(vec![9; 3_000]).unwrap();
    let create = InviteCreate {
        invite,
        proof_hash: proof.hash(),
        expires_ms: alice.welcome.now_ms + 60_000,
        record: record.clone(),
    };
    assert_eq!(alice.ask(Request::InviteCreate(create)).await, Answer::Done);

    let mut bob = Client::connect(relay.address(), 2).await;
    match bob.ask(Request::InviteFetch(InviteFetch { invite })).await {
        Answer::Invite(answer) => {
            assert_eq!((answer.state, answer.record), (InviteState::Open, Some(record)));
        }
        other => panic!("{other:?}"),
    }
    let register = Register {
        handle: Label::new("bob").unwrap(),
        token: None,
        invite: Some(invite),
        proof: Some(proof),
    };
    assert!(matches!(bob.ask(Request::Register(register)).await, Answer::Registered(_)));
    let request = Blob::new(vec![5; 40_000]).unwrap();
    let redeem = Request::InviteRedeem(InviteRedeem { invite, request: request.clone() });
    assert_eq!(bob.ask(redeem.clone()).await, Answer::Done);
    assert_eq!(bob.ask(redeem).await, Answer::Done);
    let epoch = hello.epoch;
    assert_eq!(alice.event().await, Event::Redeemed(Redeemed { epoch, seq: 1, invite, request }));

    let way = alice.open(1, slot).await;
    bob.link(&way).await;
    bob.hello().await;
    assert_eq!(bob.event().await, Event::EdgeState(EdgeState { edge: way.edge, up: true }));
    assert_eq!(bob.deposit(&way, 1, vec![3; 80 * 1024]).await, DepositOutcome::Accepted);
    let delivery = alice.delivery().await;
    assert_eq!((delivery.epoch, delivery.seq, delivery.envelope.to_vec()), (epoch, 2, vec![3; 80 * 1024]));
    assert_eq!(alice.ack(&hello, 2).await.newest, 2);
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn many_deposits_are_answered_one_by_one_and_delivered_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(&dir).await;
    let (mut alice, mut bob, way) = pair(relay.address(), &token(&relay).await).await;
    let hello = alice.hello().await;
    const COUNT: u64 = 500;
    let sending = async {
        let (writer, reader) = bob.deposits().await;
        for number in 1..=COUNT {
            let deposit = way.deposit(number, number.to_be_bytes().repeat(512));
            writer.send(FrameKind::Deposit.number(), &deposit.encode()).await.unwrap();
        }
        for number in 1..=COUNT {
            let frame = reader.read().await.unwrap().unwrap();
            let answer = penpal_protocol::wire::DepositAnswer::decode(frame.kind, &frame.payload).unwrap();
            assert_eq!(answer.deposit, way.deposit(number, vec![]).deposit);
            assert_eq!(answer.outcome, DepositOutcome::Accepted);
        }
    };
    let receiving = async {
        for number in 1..=COUNT {
            let delivery = alice.delivery().await;
            assert_eq!(delivery.seq, number);
            assert_eq!(delivery.envelope.to_vec(), number.to_be_bytes().repeat(512));
            if number % 50 == 0 {
                alice.ack(&hello, number).await;
            }
        }
    };
    soon(async { tokio::join!(sending, receiving) }).await;
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn stopping_tells_clients_and_starting_again_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let first = relay(&dir).await;
    let (address, listening) = (first.address().clone(), first.listening());
    assert!(first.is_new());
    let (alice, mut bob, way) = pair(&address, &token(&first).await).await;
    let before = alice.hello().await;
    drop(alice);
    assert_eq!(bob.deposit(&way, 1, vec![1; 4096]).await, DepositOutcome::Accepted);
    first.stop().await.unwrap();
    match soon(bob.connection.closed()).await {
        Lost::ClosedByPeer { code: CloseCode::GoingAway, reason } => {
            assert_eq!(reason, "the relay is stopping");
        }
        other => panic!("{other:?}"),
    }
    let second = relay(&dir).await;
    assert_eq!((second.address(), second.listening()), (&address, listening));
    assert!(!second.is_new());
    let mut alice = Client::connect(&address, 1).await;
    assert!(alice.welcome.registered);
    let after = alice.hello().await;
    assert_eq!((after.epoch, after.newest), (before.epoch, 1));
    assert_eq!(alice.delivery().await.seq, 1);
    second.stop().await.unwrap();
}

#[tokio::test]
async fn a_newer_connection_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(&dir).await;
    let (alice, mut bob, way) = pair(relay.address(), &token(&relay).await).await;
    alice.hello().await;
    let mut again = Client::connect(relay.address(), 1).await;
    again.hello().await;
    match soon(alice.connection.closed()).await {
        Lost::ClosedByPeer { code: CloseCode::Replaced, .. } => {}
        other => panic!("{other:?}"),
    }
    bob.deposit(&way, 1, vec![1; 4096]).await;
    assert_eq!(again.delivery().await.seq, 1);
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_bad_token_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(&dir).await;
    let alice = Client::connect(relay.address(), 1).await;
    let token = Some(Text::new("K4XD-0000-0000-0000").unwrap());
    let register = Register { handle: Label::new("alice").unwrap(), token, invite: None, proof: None };
    match alice.ask(Request::Register(register)).await {
        Answer::Refused(refusal) => {
            assert_eq!(refusal.code, RefusalCode::NeedsToken);
            let detail = refusal.detail.unwrap();
            assert_eq!(detail.as_str(), "this token is unknown, used, revoked or expired");
        }
        other => panic!("{other:?}"),
    }
    relay.stop().await.unwrap();
}
