//! Who gets a connection, and what the other one is told.

mod support;

use penpal_transport::{DialError, Target, TransportKey};
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
    match error {
        DialError::WrongKey { address: at, expected, got } => {
            assert_eq!((at, expected, got), (address, pin, relay_pin()));
        }
        other => panic!("{other:?}"),
    }
}
