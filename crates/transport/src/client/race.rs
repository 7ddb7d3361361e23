//! Several addresses, one winner.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use quinn::Endpoint;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{DialError, Dialed, Dialer, Target};
use crate::connection::Connection;
use crate::key::{PeerKey, RelayPin};
use crate::limits::{ANSWER_WITHIN, DIAL_STAGGER, MAX_ADDRESSES};
use crate::server::proved_key;
use crate::udp;

/// Where a verifier leaves the key that the server showed.
pub(super) type SeenKey = Arc<OnceLock<PeerKey>>;

/// Runs staggered attempts until one succeeds or all have failed.
pub(super) async fn run(dialer: &Dialer, target: Target<'_>, deadline: Instant) -> Result<Dialed, DialError> {
    let mut waiting = target.addresses.iter().copied().take(MAX_ADDRESSES);
    // Dropping the set aborts what is still running: losers end with the winner, and all with a dropped dial.
    let mut running = JoinSet::new();
    let mut worst = DialError::NoAddress;
    let mut next_start = Instant::now();
    let mut more = true;
    loop {
        // A dial that is due begins even when another has just ended: which of two wins must not be chance.
        tokio::select! {
            biased;
            () = sleep_until(next_start), if more => match waiting.next() {
                Some(address) => {
                    next_start = Instant::now() + DIAL_STAGGER;
                    match prepare(dialer, target, address, deadline) {
                        Ok(attempt) => {
                            running.spawn(attempt.run());
                        }
                        Err(error) => {
                            next_start = Instant::now();
                            worst = more_telling(worst, error);
                        }
                    }
                }
                None => more = false,
            },
            Some(done) = running.join_next() => match done {
                Ok(Ok(dialed)) => return Ok(dialed),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "attempt failed");
                    worst = more_telling(worst, error);
                    next_start = Instant::now();
                }
                // Nobody aborts an attempt while this function runs, so this is a bug of ours; the others go on.
                Err(error) => tracing::error!(%error, "attempt ended abnormally"),
            },
            else => return Err(worst),
        }
    }
}

fn more_telling(a: DialError, b: DialError) -> DialError {
    if b.rank() < a.rank() { b } else { a }
}

/// One address being tried.
struct Attempt {
    endpoint: Endpoint,
    config: quinn::ClientConfig,
    seen: SeenKey,
    address: SocketAddr,
    pin: RelayPin,
    max_incoming_frame: u32,
    deadline: Instant,
}

fn prepare(
    dialer: &Dialer,
    target: Target<'_>,
    address: SocketAddr,
    deadline: Instant,
) -> Result<Attempt, DialError> {
    if dialer.ask_kernel {
        udp::source_address(address).map_err(|source| DialError::NoRoute { address, source })?;
    }
    let (config, seen) = dialer.quic_config(target)?;
    Ok(Attempt {
        endpoint: dialer.endpoint.clone(),
        config,
        seen,
        address,
        pin: target.pin,
        max_incoming_frame: dialer.options.max_incoming_frame,
        deadline,
    })
}

impl Attempt {
    async fn run(self) -> Result<Dialed, DialError> {
        let address = self.address;
        let began = Instant::now();
        let mut connecting = self
            .endpoint
            .connect_with(self.config.clone(), address, crate::tls::SERVER_NAME)
            .map_err(|_| DialError::NotDialable { address })?;
        let answer_by = self.deadline.min(began + ANSWER_WITHIN);
        match timeout_at(answer_by, connecting.handshake_data()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(self.explain(error)),
            Err(_) => return Err(DialError::NoAnswer { address, waited: began.elapsed() }),
        }
        let ready = async {
            let connection = connecting.await?;
            // The handshake cannot end without a key; a missing one is treated like a broken handshake.
            let key = proved_key(&connection).ok_or(quinn::ConnectionError::LocallyClosed)?;
            let connection = Connection::new(connection, key, None);
            // The server speaks first: only now is it known that it has accepted our key.
            let incoming = connection.accept_uni_raw(self.max_incoming_frame).await?;
            Ok(Dialed { connection, incoming, address })
        };
        match timeout_at(self.deadline, ready).await {
            Ok(Ok(dialed)) => Ok(dialed),
            Ok(Err(error)) => Err(self.explain(error)),
            Err(_) => Err(DialError::Stalled { address, waited: began.elapsed() }),
        }
    }

    fn explain(&self, error: quinn::ConnectionError) -> DialError {
        match self.seen.get().map(PeerKey::pin) {
            Some(got) if got != self.pin => {
                DialError::WrongKey { address: self.address, expected: self.pin, got }
            }
            Some(_) | None => DialError::from_connection(self.address, error),
        }
    }
}
