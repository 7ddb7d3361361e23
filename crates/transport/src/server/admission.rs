//! Who gets past the first datagram: limits on connections, on handshakes, and on what one network may take.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Limits of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// Most connections at a time, handshakes included; beyond it attempts are refused. Default 20 000: at ≤ 50 KiB
    /// each about 1 GiB.
    pub max_connections: usize,
    /// Most connections from one network (IPv4 address, IPv6 /56). Default 1 024: an office behind one address.
    pub max_per_network: usize,
    /// Handshakes under way with clients that have not proved their address, beyond which further ones must do so by
    /// Retry, at the price of one round trip. 0 demands it of everybody. Default 64.
    pub retry_above: usize,
    /// Most handshakes under way at a time, each costing about a third of a millisecond of CPU. Default 512.
    pub max_handshakes: usize,
    /// Most handshakes under way with one network that proved its address, so that one that ends none keeps nobody else out. Those of
    /// clients that did not prove theirs count for nobody: whoever claims an address must not keep its owner out. Default 128.
    pub max_handshakes_per_network: usize,
    /// Longest handshake. Default 10 s.
    pub handshake_timeout: Duration,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            max_connections: 20_000,
            max_per_network: 1_024,
            retry_above: 64,
            max_handshakes: 512,
            max_handshakes_per_network: 128,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

/// What to do with a client's first datagram.
#[derive(Debug)]
pub(super) enum Verdict {
    Refuse,
    Retry,
    Accept(PrefixSlot),
}

/// The counts behind the verdicts.
#[derive(Debug)]
pub(super) struct Gate {
    limits: Admission,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    handshakes: AtomicUsize,
    unproved: AtomicUsize,
    networks: Mutex<BTreeMap<IpAddr, Held>>,
}

/// What one network holds.
#[derive(Debug, Default)]
struct Held {
    connections: usize,
    /// Those of them that are no more than a handshake, with a proved address.
    handshakes: usize,
}

impl Gate {
    pub(super) fn new(limits: Admission) -> Self {
        Self { limits, counts: Arc::default() }
    }

    /// Judges one attempt; `open` is the number of connections that exist.
    pub(super) fn judge(&self, remote: IpAddr, proved: bool, open: usize) -> Verdict {
        if open >= self.limits.max_connections {
            return Verdict::Refuse;
        }
        if !proved && self.counts.unproved.load(Ordering::Relaxed) >= self.limits.retry_above {
            return Verdict::Retry;
        }
        if self.counts.handshakes.load(Ordering::Relaxed) >= self.limits.max_handshakes {
            return Verdict::Refuse;
        }
        let network = network_of(remote);
        let mut networks = self.counts.networks.lock().unwrap_or_else(PoisonError::into_inner);
        let held = networks.entry(network).or_default();
        if held.connections >= self.limits.max_per_network
            || (proved && held.handshakes >= self.limits.max_handshakes_per_network)
        {
            // An entry that was just made, under a limit of none, goes.
            if held.connections == 0 {
                networks.remove(&network);
            }
            return Verdict::Refuse;
        }
        held.connections += 1;
        held.handshakes += usize::from(proved);
        drop(networks);
        self.counts.handshakes.fetch_add(1, Ordering::Relaxed);
        if !proved {
            self.counts.unproved.fetch_add(1, Ordering::Relaxed);
        }
        let handshake = Mutex::new(Some(Handshake { counts: Arc::clone(&self.counts), network, proved }));
        Verdict::Accept(PrefixSlot { counts: Arc::clone(&self.counts), network, handshake })
    }
}

/// One connection's share of its network's limit, and of the handshake limit until [`Self::validated`].
#[derive(Debug)]
pub(crate) struct PrefixSlot {
    counts: Arc<Counts>,
    network: IpAddr,
    handshake: Mutex<Option<Handshake>>,
}

impl PrefixSlot {
    /// The handshake is over: only the network's share stays taken.
    pub(super) fn validated(&self) {
        let handshake = self.handshake.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(handshake);
    }
}

impl Drop for PrefixSlot {
    fn drop(&mut self) {
        // The handshake looks its network up in the same list.
        self.validated();
        let mut networks = self.counts.networks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = networks.get_mut(&self.network) {
            held.connections -= 1;
            if held.connections == 0 {
                networks.remove(&self.network);
            }
        }
    }
}

#[derive(Debug)]
struct Handshake {
    counts: Arc<Counts>,
    network: IpAddr,
    proved: bool,
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.counts.handshakes.fetch_sub(1, Ordering::Relaxed);
        if !self.proved {
            self.counts.unproved.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let mut networks = self.counts.networks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = networks.get_mut(&self.network) {
            held.handshakes -= 1;
        }
    }
}

/// The part of an address that one party is taken to control.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[7..].fill(0);
            IpAddr::from(octets)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(max_per_network: usize, retry_above: usize, max_handshakes: usize) -> Gate {
        Gate::new(Admission {
            max_connections: 100,
            max_per_network,
            retry_above,
            max_handshakes,
            ..Admission::default()
        })
    }

    fn slot(verdict: Verdict) -> PrefixSlot {
        match verdict {
            Verdict::Accept(slot) => slot,
            Verdict::Refuse | Verdict::Retry => panic!("not accepted: {verdict:?}"),
        }
    }

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn retry_is_asked_only_above_the_bound_and_only_once() {
        let gate = gate(10, 1, 10);
        let first = slot(gate.judge(A, false, 0));
        assert!(matches!(gate.judge(A, false, 1), Verdict::Retry));
        let second = slot(gate.judge(A, true, 1));
        first.validated();
        let third = slot(gate.judge(A, false, 2));
        drop((first, second, third));
        assert_eq!(gate.counts.unproved.load(Ordering::Relaxed), 0);
        assert_eq!(gate.counts.handshakes.load(Ordering::Relaxed), 0);
        assert!(gate.counts.networks.lock().unwrap().is_empty());
    }

    #[test]
    fn one_network_cannot_take_everything() {
        let gate = gate(2, 10, 10);
        let held = [slot(gate.judge(A, true, 0)), slot(gate.judge(A, true, 1))];
        assert!(matches!(gate.judge(A, true, 2), Verdict::Refuse));
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        assert!(matches!(gate.judge(mapped, true, 2), Verdict::Refuse));
        let other = slot(gate.judge("192.0.2.2".parse().unwrap(), true, 2));
        drop(held);
        drop(slot(gate.judge(A, true, 2)));
        drop(other);
    }

    #[test]
    fn one_network_cannot_take_every_handshake() {
        let limits = Admission { max_handshakes: 8, max_handshakes_per_network: 2, ..Admission::default() };
        let gate = Gate::new(limits);
        let other: IpAddr = "192.0.2.2".parse().unwrap();
        let mut held = vec![slot(gate.judge(A, true, 0)), slot(gate.judge(A, true, 1))];
        assert!(matches!(gate.judge(A, true, 2), Verdict::Refuse));
        held.push(slot(gate.judge(other, true, 2)));
        // Claims that nobody proved are nobody's, and connections beyond their handshake do not count.
        held.push(slot(gate.judge(A, false, 3)));
        held[0].validated();
        held.push(slot(gate.judge(A, true, 3)));
        assert!(matches!(gate.judge(A, true, 4), Verdict::Refuse));
        held.clear();
        assert!(gate.counts.networks.lock().unwrap().is_empty());
    }

    #[test]
    fn ipv6_counts_by_prefix() {
        let gate = gate(1, 10, 10);
        let _held = slot(gate.judge("2001:db8:0:100::1".parse().unwrap(), true, 0));
        assert!(matches!(gate.judge("2001:db8:0:1ff::2".parse().unwrap(), true, 1), Verdict::Refuse));
        drop(slot(gate.judge("2001:db8:0:200::1".parse().unwrap(), true, 1)));
    }

    #[test]
    fn totals_hold() {
        let gate = gate(10, 10, 1);
        assert!(matches!(gate.judge(A, true, 100), Verdict::Refuse));
        let _held = slot(gate.judge(A, true, 0));
        assert!(matches!(gate.judge(A, true, 1), Verdict::Refuse));
    }
}
