//! Who gets a connection, and what the other one is told.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers fail a test like the test itself does")]

mod support;

use penpal_transport::{CloseCode, DialError, Target, TransportKey};
use rustls::crypto::aws_lc_rs;
use support::foreign::Foreign;
use support::*;

#[tokio::test]
async fn both_sides_learn_the_others_key() {
    let (mut listener, address) = listener();
    let dialer = dialer();
    let (accepted, dialed) = soon(pair(&mut listener, address, &dialer)).await;
    assert_eq!(accepted.connection.peer_key(), node_key().public());
    assert_eq!(dialed.connection.peer_key(), relay_key().public());
    assert_eq!(dialed.address, address);
    assert_eq!(accepted.connection.remote_address().port(), dialer.local_address().unwrap().port());
}

#[tokio::test]
async fn wrong_pin_is_refused_with_both_pins() {
    let (mut listener, address) = listener();
    let dialer = dialer();
    let pin = TransportKey::from_seed(&[9; 32]).public().pin();
    let key = node_key();
    let addresses = [address];
    let dial = dialer.dial(Target { addresses: &addresses, pin, key: &key }, LONG);
    let error = tokio::select! {
        result = soon(dial) => result.unwrap_err(),
        // Not even an authenticated connection may come out at the server, let alone a frame.
        accepted = listener.accept() => panic!("server accepted {accepted:?}"),
    };
    let DialError::WrongKey { address: at, expected, got } = error else { panic!("{error:?}") };
    assert_eq!((at, expected, got), (address, pin, relay_pin()));
}

/// Runs a foreign client against our server; gives how the client's connection ended.
async fn foreign_client(foreign: Foreign) -> String {
    let (mut listener, address) = listener();
    let attempt = async {
        match foreign.connect(address).await {
            Ok(connection) => connection.closed().await,
            Err(error) => error,
        }
    };
    let error = tokio::select! {
        error = soon(attempt) => error,
        accepted = listener.accept() => panic!("server accepted {accepted:?}"),
    };
    error.to_string()
}

#[tokio::test]
async fn client_without_the_hybrid_group_is_refused() {
    let error =
        foreign_client(Foreign { groups: vec![aws_lc_rs::kx_group::X25519], ..Foreign::like_ours() }).await;
    // 40 is TLS' handshake_failure.
    assert!(error.contains("cryptographic handshake failed: error 40"), "{error}");
}

#[tokio::test]
async fn client_with_another_protocol_is_refused() {
    let error = foreign_client(Foreign { alpn: b"h3", ..Foreign::like_ours() }).await;
    // 120 is TLS' no_application_protocol.
    assert!(error.contains("cryptographic handshake failed: error 120"), "{error}");
}

#[tokio::test]
async fn client_without_a_key_is_refused() {
    let error = foreign_client(Foreign { shows_key: false, ..Foreign::like_ours() }).await;
    assert!(error.contains("cryptographic handshake failed"), "{error}");
}

#[tokio::test]
async fn client_like_ours_is_accepted() {
    let (mut listener, address) = listener();
    let (accepted, connection) = tokio::join!(greet(&mut listener), Foreign::like_ours().connect(address));
    connection.unwrap();
    assert_ne!(accepted.connection.peer_key(), node_key().public());
}

#[tokio::test]
async fn server_without_our_protocol_is_incompatible() {
    let (server, address) = Foreign { alpn: b"h3", ..Foreign::like_ours() }.server();
    let serving = async {
        while let Some(incoming) = server.accept().await {
            incoming.await.ok();
        }
    };
    let error = tokio::select! {
        result = soon(dial_once(address)) => result.unwrap_err(),
        () = serving => panic!("server ended"),
    };
    assert!(matches!(error, DialError::Incompatible { address: at, .. } if at == address), "{error:?}");
}

#[tokio::test]
async fn server_without_the_hybrid_group_is_incompatible() {
    let (server, address) =
        Foreign { groups: vec![aws_lc_rs::kx_group::X25519], ..Foreign::like_ours() }.server();
    let serving = async {
        while let Some(incoming) = server.accept().await {
            incoming.await.ok();
        }
    };
    let error = tokio::select! {
        result = soon(dial_once(address)) => result.unwrap_err(),
        () = serving => panic!("server ended"),
    };
    assert!(matches!(error, DialError::Incompatible { address: at, .. } if at == address), "{error:?}");
}

async fn dial_once(address: std::net::SocketAddr) -> Result<penpal_transport::Dialed, DialError> {
    dial(&dialer(), address).await
}

#[tokio::test]
async fn dial_ends_only_when_the_server_has_spoken() {
    let (mut listener, address) = listener();
    let dialer = dialer();
    let mut dialing = std::pin::pin!(dial(&dialer, address));
    let mut accepted = tokio::select! {
        accepted = soon(listener.accept()) => accepted.unwrap(),
        dialed = &mut dialing => panic!("dial ended early: {dialed:?}"),
    };
    // The handshake is over on both sides; only the server's word is missing.
    let (sent, dialed) = tokio::join!(accepted.outgoing.send(WELCOME, b""), soon(&mut dialing));
    sent.unwrap();
    dialed.unwrap();
}

#[tokio::test]
async fn refusal_after_the_handshake_reaches_the_dial() {
    let (mut listener, address) = listener();
    let dialer = dialer();
    let refuse = async {
        let accepted = listener.accept().await.unwrap();
        accepted.connection.close(CloseCode::Refused, "unknown\x1b device");
    };
    let ((), result) = soon(async { tokio::join!(refuse, dial(&dialer, address)) }).await;
    let error = result.unwrap_err();
    let DialError::Closed { code: CloseCode::Refused, reason, .. } = error else { panic!("{error:?}") };
    assert_eq!(reason, "unknown? device");
}

#[tokio::test]
async fn good_address_wins_over_a_silent_and_a_wrong_one() {
    let (mut listener, good) = listener();
    let silent = std::net::UdpSocket::bind(LOOPBACK).unwrap();
    let mut options = server_options();
    options.key = TransportKey::from_seed(&[9; 32]);
    let (mut impostor, wrong) = listener_with(options);
    let dialer = dialer();
    let key = node_key();
    let addresses = [silent.local_addr().unwrap(), wrong, good];
    let dial = dialer.dial(Target { addresses: &addresses, pin: relay_pin(), key: &key }, LONG);
    let dialed = tokio::select! {
        (_, dialed) = soon(async { tokio::join!(greet(&mut listener), dial) }) => dialed.unwrap(),
        accepted = impostor.accept() => panic!("impostor accepted {accepted:?}"),
    };
    assert_eq!(dialed.address, good);
}

#[tokio::test]
async fn nothing_to_dial_is_said() {
    let key = node_key();
    let target = Target { addresses: &[], pin: relay_pin(), key: &key };
    assert!(matches!(dialer().dial(target, LONG).await, Err(DialError::NoAddress)));
    let zero = ["127.0.0.1:0".parse().unwrap()];
    let target = Target { addresses: &zero, pin: relay_pin(), key: &key };
    let error = dialer().dial(target, LONG).await.unwrap_err();
    assert!(matches!(error, DialError::NotDialable { .. } | DialError::NoRoute { .. }), "{error:?}");
}
