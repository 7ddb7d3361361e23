//! What takes minutes, or a broken network, in virtual time: keep-alives, silence, crashes, partitions.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers fail a test like the test itself does")]

mod support;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use penpal_transport::{DialError, Dialed, Frame, Lost, Target};
use support::simulated::{PORT, Sent, dialer, listener};
use support::*;
use tokio::time::Instant;
use turmoil::{Builder, Sim};

fn sim<'a>(minutes: u64) -> Sim<'a> {
    Builder::new()
        .simulation_duration(Duration::from_secs(minutes * 60))
        .tick_duration(Duration::from_millis(10))
        .min_message_latency(Duration::from_millis(10))
        .max_message_latency(Duration::from_millis(30))
        .udp_capacity(4_096)
        .rng_seed(1)
        .build()
}

/// A relay that greets everybody, echoes every request, and counts what it sends.
fn relay(sim: &mut Sim<'_>, sent: &Sent) {
    let sent = Sent::clone(sent);
    sim.host("relay", move || {
        let sent = Sent::clone(&sent);
        async move {
            let mut listener = listener(&sent).await;
            while let Some(mut accepted) = listener.accept().await {
                tokio::spawn(async move {
                    accepted.outgoing.send(WELCOME, b"welcome").await.unwrap();
                    while let Ok((frame, responder)) = accepted.connection.accept_request(1_000, LONG).await {
                        responder.respond(&frame).await.ok();
                    }
                });
            }
            Ok(())
        }
    });
}

fn relay_address() -> SocketAddr {
    (turmoil::lookup("relay"), PORT).into()
}

async fn connect(sent: &Sent) -> Dialed {
    let mut dialed = dial(&dialer(sent).await, relay_address()).await.unwrap();
    dialed.incoming.read().await.unwrap().unwrap();
    dialed
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn idle_connection_costs_six_datagrams_a_minute() {
    let sent = Sent::default();
    let mut sim = sim(30);
    relay(&mut sim, &sent);
    sim.client("node", async move {
        let dialed = connect(&sent).await;
        tokio::time::sleep(MINUTE).await;
        let before = sent.load(Ordering::Relaxed);
        tokio::time::sleep(MINUTE * 20).await;
        let count = sent.load(Ordering::Relaxed) - before;
        assert_eq!(dialed.connection.lost(), None);
        // Three keep-alives of the node and three acknowledgements of the relay; a few for path maintenance.
        assert!((118..=130).contains(&count), "{count} datagrams in twenty minutes");
        Ok(())
    });
    sim.run().unwrap();
}

#[test]
fn unanswered_udp_is_said_within_five_seconds() {
    let mut sim = sim(2);
    sim.host("relay", || async {
        std::future::pending::<()>().await;
        Ok(())
    });
    sim.client("node", async {
        let dialer = dialer(&Sent::default()).await;
        let begun = Instant::now();
        let here: SocketAddr = relay_address();
        let addresses: Vec<SocketAddr> =
            (0..10).map(|n| (here.ip(), 5_000 + n).into()).chain([here]).collect();
        let key = node_key();
        let target = Target { addresses: &addresses, pin: relay_pin(), key: &key };
        let error = dialer.dial(target, MINUTE).await.unwrap_err();
        assert!(matches!(error, DialError::NoAnswer { .. }), "{error:?}");
        assert!(begun.elapsed() <= Duration::from_secs(5), "{:?}", begun.elapsed());
        assert!(begun.elapsed() >= Duration::from_secs(4), "{:?}", begun.elapsed());
        Ok(())
    });
    sim.run().unwrap();
}

#[test]
fn crashed_relay_is_noticed_by_the_next_keep_alive_after_its_restart() {
    let sent = Sent::default();
    let mut sim = sim(5);
    relay(&mut sim, &sent);
    let (lost_tx, mut lost_rx) = tokio::sync::mpsc::unbounded_channel();
    sim.client("node", async move {
        let dialed = connect(&sent).await;
        lost_tx.send(None).unwrap();
        let lost = dialed.connection.closed().await;
        lost_tx.send(Some((lost, turmoil::sim_elapsed().unwrap()))).unwrap();
        connect(&sent).await;
        Ok(())
    });
    while lost_rx.try_recv().is_err() {
        assert!(!sim.step().unwrap(), "the node is not connected");
    }
    sim.crash("relay");
    let crashed = sim.elapsed();
    sim.bounce("relay");
    let (lost, noticed) = loop {
        if let Ok(Some(lost)) = lost_rx.try_recv() {
            break lost;
        }
        assert!(!sim.step().unwrap(), "the node did not notice");
    };
    assert_eq!(lost, Lost::Restarted);
    assert!(noticed - crashed <= Duration::from_secs(21), "{:?}", noticed - crashed);
    sim.run().unwrap();
}

#[test]
fn connection_survives_a_short_partition_and_not_a_long_one() {
    let sent = Sent::default();
    let mut sim = sim(10);
    relay(&mut sim, &sent);
    sim.client("node", async move {
        let dialed = connect(&sent).await;
        turmoil::partition("node", "relay");
        tokio::time::sleep(Duration::from_secs(30)).await;
        turmoil::repair("node", "relay");
        let ping = Frame::new(7, &b"ping"[..]);
        assert_eq!(dialed.connection.request(&ping, 100, MINUTE).await.unwrap(), ping);

        turmoil::partition("node", "relay");
        let begun = Instant::now();
        assert_eq!(dialed.connection.closed().await, Lost::TimedOut);
        assert!(begun.elapsed() <= Duration::from_secs(65), "{:?}", begun.elapsed());
        turmoil::repair("node", "relay");
        connect(&sent).await;
        Ok(())
    });
    sim.run().unwrap();
}

/// Requests at growing intervals: how many datagrams they took, and how long.
fn course() -> (u64, Duration) {
    let sent = Sent::default();
    let counted = Sent::clone(&sent);
    let mut sim = sim(30);
    relay(&mut sim, &sent);
    sim.client("node", async move {
        let dialed = connect(&sent).await;
        for n in 0..100_u64 {
            let frame = Frame::new(7, n.to_be_bytes().to_vec());
            assert_eq!(dialed.connection.request(&frame, 100, MINUTE).await.unwrap(), frame);
            tokio::time::sleep(Duration::from_millis(n * 17)).await;
        }
        Ok(())
    });
    sim.run().unwrap();
    (counted.load(Ordering::Relaxed), sim.elapsed())
}

#[test]
fn same_seed_same_course() {
    assert_eq!(course(), course());
}
