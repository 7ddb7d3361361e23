//! Two sides on loopback, for the tests of this crate.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::print_stdout,
    reason = "each test file uses its own part; seeds are printed"
)]

pub mod foreign;
pub mod simulated;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use penpal_transport::limits::Timing;
use penpal_transport::{
    Accepted, Admission, Dialed, Dialer, DialerOptions, Listener, RelayPin, ServerOptions, ServerSecrets,
    Target, TransportKey,
};

/// Far more than anything here takes: a test that reaches it has failed.
pub const LONG: Duration = Duration::from_secs(20);

pub const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub fn relay_key() -> TransportKey {
    TransportKey::from_seed(&[1; 32])
}

pub fn node_key() -> TransportKey {
    TransportKey::from_seed(&[2; 32])
}

pub fn relay_pin() -> RelayPin {
    relay_key().public().pin()
}

pub fn secrets() -> ServerSecrets {
    ServerSecrets::new([3; 64], [4; 64])
}

pub fn server_options() -> ServerOptions {
    ServerOptions::new(LOOPBACK, relay_key(), secrets())
}

pub fn listener() -> (Listener, SocketAddr) {
    listener_with(server_options())
}

pub fn listener_with(options: ServerOptions) -> (Listener, SocketAddr) {
    let listener = Listener::bind(options).unwrap();
    let address = listener.local_address().unwrap();
    (listener, address)
}

pub fn admission(admission: Admission) -> ServerOptions {
    ServerOptions { admission, ..server_options() }
}

pub fn dialer() -> Dialer {
    Dialer::bind(DialerOptions::default()).unwrap()
}

pub fn dialer_with(timing: Timing) -> Dialer {
    Dialer::bind(DialerOptions { timing, ..DialerOptions::default() }).unwrap()
}

pub async fn dial(dialer: &Dialer, address: SocketAddr) -> Result<Dialed, penpal_transport::DialError> {
    let key = node_key();
    dialer.dial(Target { addresses: &[address], pin: relay_pin(), key: &key }, LONG).await
}

/// First frame of every server in these tests.
pub const WELCOME: u8 = 1;

/// Accepts one client and greets it.
pub async fn greet(listener: &mut Listener) -> Accepted {
    let mut accepted = listener.accept().await.expect("listener is open");
    accepted.outgoing.send(WELCOME, b"welcome").await.unwrap();
    accepted
}

/// A connected pair; the listener must be kept alive only for further clients.
pub async fn pair(listener: &mut Listener, address: SocketAddr, dialer: &Dialer) -> (Accepted, Dialed) {
    let (accepted, dialed) = tokio::join!(greet(listener), dial(dialer, address));
    let mut dialed = dialed.unwrap();
    let welcome = dialed.incoming.read().await.unwrap().unwrap();
    assert_eq!((welcome.kind, &welcome.payload[..]), (WELCOME, &b"welcome"[..]));
    (accepted, dialed)
}

/// Fails a test that hangs.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("within the test's time limit")
}

/// A small generator (SplitMix64) whose seed is printed, which the harness shows when the test fails;
/// `PENPAL_TEST_SEED` repeats a run.
pub struct Random(u64);

impl Random {
    pub fn seeded(test: &str) -> Self {
        let seed = std::env::var("PENPAL_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or_else(|| std::process::id().into());
        println!("{test}: PENPAL_TEST_SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
