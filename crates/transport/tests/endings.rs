//! How connections end, and what a relay survives.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers fail a test like the test itself does")]

mod support;

use std::net::UdpSocket;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use penpal_transport::limits::Timing;
use penpal_transport::udp::{AsyncUdpSocket, RecvMeta, Runtime, TokioRuntime, Transmit, UdpPoller};
use penpal_transport::{
    Admission, CloseCode, DialError, Dialer, DialerOptions, Frame, Listener, Lost, ServerOptions,
};
use support::*;

#[tokio::test]
async fn shutdown_tells_the_client_why() {
    let (mut listener, address) = listener();
    let dialer = dialer();
    let (accepted, dialed) = soon(pair(&mut listener, address, &dialer)).await;
    soon(listener.shutdown(CloseCode::GoingAway, "restarting", LONG)).await;
    let lost = soon(dialed.connection.closed()).await;
    assert_eq!(lost, Lost::ClosedByPeer { code: CloseCode::GoingAway, reason: "restarting".to_owned() });
    assert_eq!(dialed.connection.lost(), Some(lost));
    assert_eq!(soon(accepted.connection.closed()).await, Lost::ClosedHere);
    assert!(soon(listener.accept()).await.is_none());
}

#[tokio::test]
async fn dropping_the_client_is_a_clean_close() {
    let (mut listener, address) = listener();
    let dialer = dialer();
    let (accepted, dialed) = soon(pair(&mut listener, address, &dialer)).await;
    drop(dialed);
    let lost = soon(accepted.connection.closed()).await;
    assert_eq!(lost, Lost::ClosedByPeer { code: CloseCode::Done, reason: String::new() });
}

#[tokio::test]
async fn silence_ends_the_connection_on_both_sides() {
    let timing = Timing { keep_alive: None, idle_timeout: Duration::from_millis(100) };
    let (mut listener, address) = listener_with(ServerOptions { timing, ..server_options() });
    let dialer = dialer_with(timing);
    let (accepted, dialed) = soon(pair(&mut listener, address, &dialer)).await;
    let (here, there) =
        soon(async { tokio::join!(accepted.connection.closed(), dialed.connection.closed()) }).await;
    assert_eq!((here, there), (Lost::TimedOut, Lost::TimedOut));
}

#[tokio::test]
async fn client_of_a_killed_relay_learns_it_from_the_restarted_one() {
    // A runtime that is dropped sends nothing more, like a process that is killed.
    let doomed = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (address_tx, address_rx) = tokio::sync::oneshot::channel();
    doomed.spawn(async move {
        let (mut listener, address) = listener();
        address_tx.send(address).unwrap();
        let _accepted = greet(&mut listener).await;
        std::future::pending::<()>().await;
    });
    let address = soon(address_rx).await.unwrap();
    let dialer = dialer();
    let mut dialed = soon(dial(&dialer, address)).await.unwrap();
    soon(dialed.incoming.read()).await.unwrap().unwrap();
    tokio::task::spawn_blocking(move || doomed.shutdown_timeout(LONG)).await.unwrap();
    assert_eq!(dialed.connection.lost(), None);

    let (mut listener, _) = listener_with(ServerOptions { listen: address, ..server_options() });
    let accepting = async {
        let accepted = greet(&mut listener).await;
        std::future::pending::<()>().await;
        drop(accepted);
    };
    let noticing = async {
        let error = dialed.connection.request(&Frame::new(1, vec![0; 100]), 10, LONG).await.unwrap_err();
        assert_eq!(soon(dialed.connection.closed()).await, Lost::Restarted, "{error:?}");
        dial(&dialer, address).await.unwrap()
    };
    tokio::select! {
        () = accepting => {}
        _dialed = soon(noticing) => {}
    }
}

#[tokio::test]
async fn another_reset_key_resets_nobody() {
    let (mut listener, address) = listener();
    let dialer = dialer();
    let (accepted, dialed) = soon(pair(&mut listener, address, &dialer)).await;
    // An attacker who can send from any address but has not the key: resets must come from the key's holder.
    let stranger = UdpSocket::bind(LOOPBACK).unwrap();
    for length in 21..200 {
        let mut fake = vec![0x40; length];
        fake[length - 16..].fill(7);
        stranger.send_to(&fake, dialer.local_address().map(local).unwrap()).unwrap();
    }
    several_requests(&dialed.connection, &accepted.connection).await;
    assert_eq!(dialed.connection.lost(), None);
}

#[tokio::test]
async fn noise_does_no_harm() {
    let (mut listener, address) = listener();
    let dialer = dialer();
    let (accepted, dialed) = soon(pair(&mut listener, address, &dialer)).await;
    let noise = UdpSocket::bind(LOOPBACK).unwrap();
    let mut random = Random::seeded("noise_does_no_harm");
    for round in 0..2_000_u32 {
        let mut bytes = vec![0; (random.next() % 1_473) as usize];
        for byte in &mut bytes {
            *byte = random.next() as u8;
        }
        // A quarter looks like the start of a QUIC connection, a quarter like packets of an established one.
        match (round % 4, bytes.len()) {
            (0, 6..) => bytes[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]),
            (1, 1..) => bytes[0] = 0x40 | (bytes[0] & 0x3f),
            _ => {}
        }
        noise.send_to(&bytes, address).unwrap();
        if round % 100 == 0 {
            several_requests(&dialed.connection, &accepted.connection).await;
        }
    }
    let (_a, _b) = soon(pair(&mut listener, address, &dialer)).await;
    several_requests(&dialed.connection, &accepted.connection).await;
    assert_eq!(accepted.connection.lost(), None);
}

/// Proves that both sides still serve.
async fn several_requests(client: &penpal_transport::Connection, server: &penpal_transport::Connection) {
    let serve = async {
        let (frame, responder) = server.accept_request(100, LONG).await.unwrap();
        responder.respond(&frame).await.unwrap();
    };
    let ask = Frame::new(1, &b"still there?"[..]);
    let ((), answer) = soon(async { tokio::join!(serve, client.request(&ask, 100, LONG)) }).await;
    assert_eq!(answer.unwrap(), ask);
}

fn local(address: std::net::SocketAddr) -> std::net::SocketAddr {
    (std::net::Ipv4Addr::LOCALHOST, address.port()).into()
}

#[tokio::test]
async fn connections_beyond_the_limit_are_refused() {
    let limits = Admission { max_connections: 1, ..Admission::default() };
    let (mut listener, address) = listener_with(admission(limits));
    let dialer = dialer();
    let (_accepted, dialed) = soon(pair(&mut listener, address, &dialer)).await;
    let refused = tokio::select! {
        refused = soon(dial(&dialer, address)) => refused.unwrap_err(),
        accepted = listener.accept() => panic!("{accepted:?}"),
    };
    assert!(matches!(refused, DialError::Refused { address: at } if at == address), "{refused:?}");
    assert_eq!(listener.stats().refused, 1);
    assert_eq!(dialed.connection.lost(), None);
}

#[tokio::test]
async fn one_network_cannot_take_all_connections_and_gives_them_back() {
    let limits = Admission { max_per_network: 1, ..Admission::default() };
    let (mut listener, address) = listener_with(admission(limits));
    let dialer = dialer();
    let (accepted, dialed) = soon(pair(&mut listener, address, &dialer)).await;
    let refused = tokio::select! {
        refused = soon(dial(&dialer, address)) => refused.unwrap_err(),
        accepted = listener.accept() => panic!("{accepted:?}"),
    };
    assert!(matches!(refused, DialError::Refused { .. }), "{refused:?}");
    drop(dialed);
    soon(accepted.connection.closed()).await;
    drop(accepted);
    let (_accepted, _dialed) = soon(pair(&mut listener, address, &dialer)).await;
}

#[tokio::test]
async fn retry_is_invisible_to_an_honest_client() {
    let limits = Admission { retry_above: 0, ..Admission::default() };
    let (mut listener, address) = listener_with(admission(limits));
    let dialer = dialer();
    let (_accepted, _dialed) = soon(pair(&mut listener, address, &dialer)).await;
    let stats = listener.stats();
    assert_eq!((stats.retried, stats.accepted, stats.refused), (1, 1, 0));
}

#[tokio::test]
async fn handshakes_that_never_end_make_others_prove_their_address() {
    let limits = Admission { retry_above: 3, ..Admission::default() };
    let (mut listener, address) = listener_with(admission(limits));
    let dialer = dialer();
    // Clients that hear nothing: the server's side of their handshake stays open.
    let deaf: Vec<Dialer> = (0..3).map(|_| deaf_dialer()).collect();
    let mut hanging = tokio::task::JoinSet::new();
    for dialer in deaf {
        hanging.spawn(async move { dial(&dialer, address).await.map(drop) });
    }
    while listener.stats().handshakes < 3 {
        tokio::select! {
            accepted = listener.accept() => panic!("{accepted:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(listener.stats().retried, 0);
    let (_accepted, _dialed) = soon(pair(&mut listener, address, &dialer)).await;
    assert_eq!(listener.stats().retried, 1);
}

/// A client socket that sends and never receives.
#[derive(Debug)]
struct Deaf(Arc<dyn AsyncUdpSocket>);

impl AsyncUdpSocket for Deaf {
    fn create_io_poller(self: Arc<Self>) -> std::pin::Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.0).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> std::io::Result<()> {
        self.0.try_send(transmit)
    }

    fn poll_recv(
        &self,
        _: &mut Context<'_>,
        _: &mut [std::io::IoSliceMut<'_>],
        _: &mut [RecvMeta],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Pending
    }

    fn local_addr(&self) -> std::io::Result<std::net::SocketAddr> {
        self.0.local_addr()
    }
}

fn deaf_dialer() -> Dialer {
    let socket = TokioRuntime.wrap_udp_socket(UdpSocket::bind(LOOPBACK).unwrap()).unwrap();
    Dialer::with_socket(DialerOptions::default(), Arc::new(Deaf(socket)), Arc::new(TokioRuntime)).unwrap()
}

#[tokio::test]
async fn port_in_use_is_said() {
    let (_listener, address) = listener();
    let error = Listener::bind(ServerOptions { listen: address, ..server_options() }).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on UDP {address}"));
}
