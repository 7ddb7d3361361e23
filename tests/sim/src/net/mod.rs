//! A network in memory under real QUIC: it loses, delays, doubles, reorders, and is cut.

mod runtime;
mod socket;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use penpal_transport::udp::AsyncUdpSocket;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::dice::Dice;
use crate::note;
use crate::trace::Trace;
pub use runtime::Tasks;
use socket::{Mailbox, SimSocket};

/// One machine on the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Machine(pub u8);

impl Machine {
    /// Its address.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, self.0).into()
    }

    fn of(address: SocketAddr) -> Option<Self> {
        match address.ip() {
            IpAddr::V4(ip) => Some(Self(ip.octets()[3])),
            IpAddr::V6(_) => None,
        }
    }
}

/// What the network does to datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// Of a thousand datagrams, so many are lost.
    pub loss: u64,
    /// Of a thousand, so many arrive twice.
    pub twice: u64,
    /// Least and longest way in milliseconds; each datagram draws its own, so they overtake each other.
    pub delay_ms: (u64, u64),
}

impl Weather {
    /// Nothing goes wrong.
    pub const FINE: Self = Self { loss: 0, twice: 0, delay_ms: (1, 2) };
}

/// What happened to datagrams so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Handed to the network.
    pub sent: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Sent twice by chance.
    pub doubled: u64,
    /// That overtook one sent before.
    pub overtaken: u64,
    /// Dropped at a cut or an absent machine.
    pub cut: u64,
}

#[derive(Debug)]
struct Datagram {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct State {
    dice: Dice,
    weather: Weather,
    mailboxes: BTreeMap<SocketAddr, Arc<Mailbox>>,
    way: BTreeMap<(Instant, u64), Datagram>,
    numbered: u64,
    cuts: BTreeSet<(Machine, Machine)>,
    absent: BTreeSet<Machine>,
    next_port: u16,
    latest: BTreeMap<(SocketAddr, SocketAddr), Instant>,
    counts: Counts,
}

/// The network. Clones are the same.
#[derive(Debug, Clone)]
pub struct Net {
    state: Arc<Mutex<State>>,
    bell: Arc<Notify>,
    trace: Trace,
}

impl Net {
    /// An empty network in fine weather.
    #[must_use]
    pub fn new(seed: u64, trace: Trace) -> Self {
        let state = State {
            dice: Dice::new(seed, "network"),
            weather: Weather::FINE,
            mailboxes: BTreeMap::new(),
            way: BTreeMap::new(),
            numbered: 0,
            cuts: BTreeSet::new(),
            absent: BTreeSet::new(),
            next_port: 20_000,
            latest: BTreeMap::new(),
            counts: Counts::default(),
        };
        Self { state: Arc::new(Mutex::new(state)), bell: Arc::new(Notify::new()), trace }
    }

    /// Opens a socket of a machine; port 0 takes a free one.
    #[must_use]
    pub fn socket(&self, machine: Machine, port: u16) -> Arc<dyn AsyncUdpSocket> {
        let mut state = self.lock();
        let port = if port == 0 {
            state.next_port = state.next_port.checked_add(1).unwrap_or(20_000);
            state.next_port
        } else {
            port
        };
        let address = SocketAddr::new(machine.ip(), port);
        let mailbox = Arc::new(Mailbox::default());
        state.mailboxes.insert(address, Arc::clone(&mailbox));
        Arc::new(SimSocket::new(self.clone(), address, mailbox))
    }

    /// Closes every socket of a machine, silently.
    pub fn close(&self, machine: Machine) {
        let mut state = self.lock();
        let closed = |address: &SocketAddr| Machine::of(*address) == Some(machine);
        state.mailboxes.retain(|address, mailbox| {
            if closed(address) {
                mailbox.close();
            }
            !closed(address)
        });
    }

    /// Changes the weather.
    pub fn set_weather(&self, weather: Weather) {
        self.lock().weather = weather;
    }

    /// Cuts or mends the way between two machines.
    pub fn set_cut(&self, a: Machine, b: Machine, cut: bool) {
        let pair = (a.min(b), a.max(b));
        let mut state = self.lock();
        if cut {
            state.cuts.insert(pair);
        } else {
            state.cuts.remove(&pair);
        }
    }

    /// Takes a machine off the network, or puts it back.
    pub fn set_absent(&self, machine: Machine, absent: bool) {
        let mut state = self.lock();
        if absent {
            state.absent.insert(machine);
        } else {
            state.absent.remove(&machine);
        }
    }

    /// Mends everything.
    pub fn heal(&self) {
        let mut state = self.lock();
        state.weather = Weather::FINE;
        state.cuts.clear();
        state.absent.clear();
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Carries datagrams, for ever.
    pub async fn run(self) {
        loop {
            let next = self.lock().way.keys().next().map(|(at, _)| *at);
            match next {
                None => self.bell.notified().await,
                Some(at) => tokio::select! {
                    biased;
                    () = self.bell.notified() => {}
                    () = sleep_until(at) => self.deliver(),
                },
            }
        }
    }

    fn deliver(&self) {
        let now = Instant::now();
        loop {
            let mut state = self.lock();
            let Some(entry) = state.way.first_entry() else { return };
            if entry.key().0 > now {
                return;
            }
            let datagram = entry.remove();
            if !state.passes(&datagram) {
                state.counts.cut += 1;
                continue;
            }
            let mailbox = state.mailboxes.get(&datagram.to).cloned();
            drop(state);
            if let Some(mailbox) = mailbox {
                mailbox.put(datagram.from, datagram.bytes);
            }
        }
    }

    fn send(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let mut state = self.lock();
        state.counts.sent += 1;
        let datagram = Datagram { from, to, bytes: bytes.to_vec() };
        if !state.passes(&datagram) {
            state.counts.cut += 1;
            return;
        }
        let weather = state.weather;
        if state.dice.chance(weather.loss) {
            state.counts.lost += 1;
            note!(self.trace, "lost {from} {to} {}", bytes.len());
            return;
        }
        let copies = if state.dice.chance(weather.twice) { 2 } else { 1 };
        state.counts.doubled += copies - 1;
        let mut datagram = Some(datagram);
        for copy in 1..=copies {
            let (least, longest) = weather.delay_ms;
            let delay = Duration::from_millis(state.dice.between(least, longest));
            let at = Instant::now() + delay;
            state.numbered += 1;
            let key = (at, state.numbered);
            let latest = state.latest.entry((from, to)).or_insert(at);
            let overtakes = at < *latest;
            *latest = at.max(*latest);
            state.counts.overtaken += u64::from(overtakes);
            let next = if copy == copies { datagram.take() } else { None };
            let next = next.unwrap_or_else(|| Datagram { from, to, bytes: bytes.to_vec() });
            state.way.insert(key, next);
            note!(self.trace, "sent {from} {to} {} {delay:?}", bytes.len());
        }
        drop(state);
        self.bell.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn passes(&self, datagram: &Datagram) -> bool {
        let (Some(from), Some(to)) = (Machine::of(datagram.from), Machine::of(datagram.to)) else {
            return false;
        };
        self.mailboxes.contains_key(&datagram.from)
            && !self.absent.contains(&from)
            && !self.absent.contains(&to)
            && !self.cuts.contains(&(from.min(to), from.max(to)))
    }
}
